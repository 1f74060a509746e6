"""CycloneDX 1.6 bill of materials of a model: model card, data sets, licences, base model, each contributor's share."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

from registry.errors import InputError
from registry.exports.exported_version import ExportedVersion, parse_name
from registry.exports.version_record import VersionRecord, line

__all__ = ["bill_of_materials", "read_bill_of_materials"]

_SPDX = (
    "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC-BY-4.0", "CC-BY-NC-4.0", "CC-BY-SA-4.0", "CC0-1.0",
    "GPL-3.0-only", "LGPL-3.0-only", "MIT", "MPL-2.0", "ODbL-1.0", "PDDL-1.0",
)  # fmt: skip
"""Ids that stand as ids; other licences stand as names, since the schema refuses an id that SPDX does not list."""


def bill_of_materials(record: VersionRecord) -> bytes:
    """Return the bill, JSON; equal records give equal bytes."""
    exported, base = record.exported, record.manifest.base
    data_sets = list(_data_sets(record))
    components = list(data_sets)
    if base is not None:
        components.append(
            {
                "type": "machine-learning-model",
                "bom-ref": "base",
                "name": line(base.origin) or "base",
                "hashes": [{"alg": "SHA-256", "content": base.sha256.hex()}],
                **_licences(base.licence),
            }
        )
    bill = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, exported.name)}",
        "version": 1,
        "metadata": {"component": _model(record, [one["bom-ref"] for one in data_sets])},
        "components": components,
        "dependencies": [
            {"ref": exported.name, "dependsOn": [one["bom-ref"] for one in components]},
            *({"ref": one["bom-ref"], "dependsOn": []} for one in components),
        ],
    }
    return json.dumps(bill, indent=1, ensure_ascii=False).encode() + b"\n"


def read_bill_of_materials(data: bytes) -> ExportedVersion:
    """Return the version that a bill is of.

    Raises:
        InputError: It is no such bill.
    """
    try:
        return parse_name(json.loads(data)["metadata"]["component"]["bom-ref"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"expected a CycloneDX bill of a version: {type(error).__name__}") from error


def _model(record: VersionRecord, data_sets: list[str]) -> dict[str, Any]:
    exported, said = record.exported, record.statement
    parameters: dict[str, Any] = {}
    if said is not None and said.task:
        parameters["task"] = line(said.task)
    if data_sets:
        parameters["datasets"] = [{"ref": name} for name in data_sets]
    card: dict[str, Any] = {"modelParameters": parameters}
    metrics = [{"type": line(name), "value": repr(value)} for name, value in sorted(record.mine.metrics.items())]
    if metrics:
        card["quantitativeAnalysis"] = {"performanceMetrics": metrics}
    limits = "Checks are listed as properties; names, licences, metrics and data sets are as their authors state them."
    card["considerations"] = {"technicalLimitations": [limits]}
    if said is not None and said.intended_use:
        card["considerations"]["useCases"] = [line(said.intended_use)]
    model: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": exported.name,
        "name": record.title,
        "version": f"0x{exported.version.hex()}",
        "hashes": [{"alg": "SHA-256", "content": record.manifest.weights.sha256.hex()}],
        "modelCard": card,
        "properties": list(_properties(record)),
    }
    if said is not None:
        model |= _licences(said.licence)
    base = said.base_model if said is not None else ""
    if base:
        ancestor = {"type": "machine-learning-model", "bom-ref": "stated-base-model", "name": line(base)}
        model["pedigree"] = {"ancestors": [ancestor], "notes": "The base model is as the owner states it."}
    return model


def _properties(record: VersionRecord) -> Iterator[dict[str, str]]:
    yield {"name": "cairn:verify", "value": record.exported.verify}
    yield {"name": "cairn:finding", "value": record.finding.value}
    if record.mine.deprecated:
        yield {"name": "cairn:deprecated", "value": "by its owner"}
    for who, share in record.shares:
        yield {"name": f"cairn:share:0x{who.hex()}", "value": repr(share)}
    for told in record.said_checks():
        yield {"name": "cairn:check", "value": told}


def _data_sets(record: VersionRecord) -> Iterator[dict[str, Any]]:
    """Yield data sets as participants and owner state them, each once."""
    stated = [(one.name, one.licence, "the owner") for one in (record.statement.sources if record.statement else ())]
    stated += [
        (told.data_set.name, told.data_set.licence, "participants")
        for version in record.facts.lineage
        for told in version.commitments
        if told.share and told.data_set is not None
    ]
    for number, (name, licence, who) in enumerate(dict.fromkeys(stated)):
        yield {
            "type": "data",
            "bom-ref": f"data-set-{number}",
            "name": line(name) or "not named",
            "description": f"As {who} state it." if who == "participants" else f"As {who} states it.",
            **_licences(licence),
        }


def _licences(text: str) -> dict[str, Any]:
    said = line(text)
    if not said:
        return {}
    named = {"id": said} if said in _SPDX else {"name": said}
    return {"licenses": [{"license": {**named, "acknowledgement": "declared"}}]}
