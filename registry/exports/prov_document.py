"""W3C PROV: rounds as activities, versions, updates and data sets as entities, participants and aggregators as agents.

One list of statements, written as PROV-JSON (W3C submission of 2013-04-24) and as PROV-N (W3C recommendation of
2013-04-30).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from registry.content.manifest import Reason
from registry.errors import InputError
from registry.exports.exported_version import ExportedVersion, only_name
from registry.exports.version_record import VersionRecord, line
from registry.facts.version_facts import CommitmentOutcome, VersionFacts
from registry.types import Cid

__all__ = ["prov_json", "prov_n", "read_prov_json", "read_prov_n"]

_TERMS = "urn:cairn:terms:"
_LAST_TIME = 253_402_300_799
_FORMAL = {
    "entity": (),
    "activity": ("startTime", "endTime"),
    "agent": (),
    "wasGeneratedBy": ("entity", "activity", "time"),
    "used": ("activity", "entity", "time"),
    "wasDerivedFrom": ("generatedEntity", "usedEntity", "activity", "generation", "usage"),
    "wasAttributedTo": ("entity", "agent"),
    "wasAssociatedWith": ("activity", "agent", "plan"),
}
"""Kinds of statements with their positions in PROV-N."""


class _Type(str):
    """A qualified name as a value."""


_VERSION = _Type("cairn:Version")


@dataclass(frozen=True, slots=True)
class _Statement:
    """A statement of PROV.

    Attributes:
        name: Qualified name of an entity, activity or agent; empty for a relation.
        places: Values of its positions, qualified names or times, as far as it has them.
        attributes: Other attributes: text, numbers, or lists of text, by qualified name.
    """

    kind: str
    name: str
    places: tuple[str, ...]
    attributes: tuple[tuple[str, Any], ...] = ()


def prov_json(record: VersionRecord) -> bytes:
    """Return the provenance as PROV-JSON."""
    document: dict[str, Any] = {"prefix": {"on": f"{record.exported.place}:", "cairn": _TERMS}}
    for number, told in enumerate(_statements(record)):
        places = {f"prov:{role}": at for role, at in zip(_FORMAL[told.kind], told.places, strict=False) if at}
        attributes = {key: _json_value(value) for key, value in told.attributes}
        document.setdefault(told.kind, {})[told.name or f"_:s{number}"] = places | attributes
    return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"


def prov_n(record: VersionRecord) -> bytes:
    """Return the provenance as PROV-N."""
    lines = ["document", f"  prefix on <{record.exported.place}:>", f"  prefix cairn <{_TERMS}>", ""]
    for told in _statements(record):
        blanks = ("",) * (len(_FORMAL[told.kind]) - len(told.places))
        listed = ", ".join(f"{key}={one}" for key, value in told.attributes for one in _n_values(value))
        parts = [told.name, *(at or "-" for at in (*told.places, *blanks)), listed and f"[{listed}]"]
        lines.append(f"  {told.kind}({', '.join(part for part in parts if part)})")
    return "\n".join([*lines, "endDocument", ""]).encode()


def read_prov_json(data: bytes) -> ExportedVersion:
    """Return the version that a PROV-JSON export is of.

    Raises:
        InputError: It names none, or several.
    """
    try:
        entities = json.loads(data)["entity"].values()
        return only_name([one["cairn:name"] for one in entities if "cairn:name" in one])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"expected PROV-JSON with an entity that has cairn:name: {type(error).__name__}") from error


def read_prov_n(data: bytes) -> ExportedVersion:
    """Return the version that a PROV-N export is of.

    Raises:
        InputError: It names none, or several.
    """
    found = re.finditer(r'([\w:]+)="((?:[^"\\]|\\.)*)"', data.decode("utf-8", "replace"))
    return only_name([one[2] for one in found if one[1] == "cairn:name"])


# Statements -----------------------------------------------------------------------------------------------------------


def _statements(record: VersionRecord) -> Iterator[_Statement]:
    agents: dict[bytes, set[str]] = {}
    seen: set[str] = set()
    for version in reversed(record.facts.lineage):
        for told in _of_version(record, version, agents):
            if told.name not in seen or not told.name:
                seen.add(told.name)
                yield told
    for account, roles in agents.items():
        roles_said = ("cairn:role", sorted(roles))
        yield _Statement("agent", _account(account), (), (roles_said,))


def _of_version(record: VersionRecord, version: VersionFacts, agents: dict[bytes, set[str]]) -> Iterator[_Statement]:
    name = _version(version.version)
    yield _Statement("entity", name, (), tuple(_version_attributes(record, version)))
    for parent in version.parents:
        yield _Statement("entity", _version(parent), (), (("prov:type", _VERSION),))
        yield _Statement("wasDerivedFrom", "", (name, _version(parent)), (("cairn:as", "parent"),))
    if version.round is None:
        return
    made, plan = f"on:round-0x{version.model.hex()}-{version.round}", ""
    at = _instant(version.time)
    yield _Statement("activity", made, (), (("prov:type", _Type("cairn:Round")), ("cairn:number", version.round)))
    yield _Statement("wasGeneratedBy", "", (name, made, at))
    if version.plan is not None:
        plan = f"on:plan-0x{version.plan.plan.digest.hex()}"
        yield _Statement(
            "entity", plan, (), (("prov:type", _Type("prov:Plan")), ("cairn:quorum", version.plan.plan.quorum))
        )
    for parent in version.parents:
        yield _Statement("used", "", (made, _version(parent)))
    for attester in version.attesters:
        agents.setdefault(attester, set()).add("aggregator")
        yield _Statement("wasAssociatedWith", "", (made, _account(attester), plan), (("prov:role", "aggregator"),))
    for told in version.commitments:
        yield from _of_commitment(name, made, told, agents)


def _version_attributes(record: VersionRecord, version: VersionFacts) -> Iterator[tuple[str, Any]]:
    yield "prov:type", _VERSION
    if version.manifest is not None:
        yield "cairn:weightsSha256", version.manifest.weights.sha256.hex()
    if version.deprecated:
        yield "cairn:deprecated", "by its owner"
    if version.version == record.exported.version:
        yield "prov:label", record.title
        yield "cairn:name", record.exported.name
        yield "cairn:finding", record.finding.value
        yield "cairn:check", record.said_checks()


def _of_commitment(
    version: str, made: str, told: CommitmentOutcome, agents: dict[bytes, set[str]]
) -> Iterator[_Statement]:
    agents.setdefault(told.participant, set()).add("participant")
    update = f"on:update-0x{told.digest.hex()}"
    outcome = "unknown" if told.reason is None else told.reason.name.lower().replace("_", " ")
    said: list[tuple[str, Any]] = [("prov:type", _Type("cairn:Update")), ("cairn:outcome", outcome)]
    said += [("cairn:weight", told.weight), ("cairn:steps", told.steps)]
    yield _Statement("entity", update, (), tuple(said))
    yield _Statement("wasAttributedTo", "", (update, _account(told.participant)))
    if told.reason is Reason.ADMITTED:
        share = (("cairn:share", told.share),)
        yield _Statement("used", "", (made, update), share)
        yield _Statement("wasDerivedFrom", "", (version, update), share)
    if told.update is not None:
        held = told.update.data_set
        data_set = f"on:data-set-0x{(held.digest if isinstance(held, Cid) else held).hex()}"
        stated = told.data_set
        words: list[tuple[str, Any]] = [("prov:type", _Type("cairn:DataSet"))]
        if stated is not None:
            words += [("prov:label", line(stated.name)), ("cairn:statedLicence", line(stated.licence))]
            words += [("cairn:statedRecords", stated.records)]
        yield _Statement("entity", data_set, (), tuple(words))
        yield _Statement("wasDerivedFrom", "", (update, data_set), (("cairn:as", "training data, as stated"),))


def _version(digest: bytes) -> str:
    return f"on:version-0x{digest.hex()}"


def _account(address: bytes) -> str:
    return f"on:account-0x{address.hex()}"


def _instant(seconds: int) -> str:
    """Return a time as xsd:dateTime; empty for one that is not known."""
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(seconds)) if 0 < seconds <= _LAST_TIME else ""


# Values: text, names of types, integers, floating-point numbers -------------------------------------------------------


def _json_value(value: Any) -> Any:
    if isinstance(value, list):
        return value if len(value) != 1 else value[0]
    if isinstance(value, int | float):
        return {"$": repr(value), "type": _number_type(value)}
    return {"$": str(value), "type": "prov:QUALIFIED_NAME"} if isinstance(value, _Type) else value


def _n_values(value: Any) -> list[str]:
    if isinstance(value, list):
        return [_n_text(one) for one in value]
    if isinstance(value, int | float):
        return [f'"{value!r}" %% {_number_type(value)}']
    return [f"'{value}'"] if isinstance(value, _Type) else [_n_text(value)]


def _n_text(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _number_type(value: float) -> str:
    return "xsd:integer" if isinstance(value, int) else "xsd:double"
