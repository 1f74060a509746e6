"""in-toto statement (v1) with SLSA build provenance (v1): a version as what its rounds built.

Its levels are not claimed: the predicate says what went in and came out, and what was checked of it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from registry.content.manifest import Reason, manifest_cid
from registry.errors import InputError
from registry.exports.exported_version import ExportedVersion, parse_name
from registry.exports.signed_envelope import SigningKey, envelope, opened
from registry.exports.version_record import VersionRecord, line
from registry.types import Cid

__all__ = ["BUILD_TYPE", "PREDICATE_TYPE", "build_statement", "in_toto", "read_in_toto"]

PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:cairn:federated-training:1"


def in_toto(record: VersionRecord, key: SigningKey) -> bytes:
    """Return the signed envelope of a version's build provenance, JSON."""
    return json.dumps(envelope(build_statement(record), key, key_id=key.fingerprint), indent=1).encode() + b"\n"


def read_in_toto(data: bytes) -> ExportedVersion:
    """Return the version that an envelope is about; its signature is not checked.

    Raises:
        InputError: It is no envelope of such a statement.
    """
    try:
        statement = opened(json.loads(data))
        return parse_name(statement["predicate"]["buildDefinition"]["externalParameters"]["version"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"expected an in-toto statement of a version: {type(error).__name__}") from error


def build_statement(record: VersionRecord) -> dict[str, Any]:
    """Return the statement: its subject is the weights' file."""
    exported, mine = record.exported, record.mine
    made = {"round": mine.round} if mine.round is not None else {"published": "by its owner; no round made it"}
    metadata = {"invocationId": f"{exported.place}:0x{exported.model.hex()}:{mine.round or 0}"}
    if 0 < mine.time < 253_402_300_800:
        metadata["finishedOn"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(mine.time))
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "model.safetensors", "digest": {"sha256": record.manifest.weights.sha256.hex()}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"version": exported.name, "model": record.title, **made},
                "internalParameters": {"attesters": [f"0x{who.hex()}" for who in mine.attesters]},
                "resolvedDependencies": list(_dependencies(record)),
            },
            "runDetails": {
                "builder": {"id": exported.place},
                "metadata": metadata,
                "byproducts": list(_byproducts(record)),
            },
        },
    }


def _dependencies(record: VersionRecord) -> Iterator[dict[str, Any]]:
    """Yield what the version was made of: its parents, plan, base and admitted updates, and their data as stated."""
    mine = record.mine
    for parent in mine.parents:
        yield _manifest("parent version", parent)
    if mine.plan is not None:
        yield _manifest("plan", mine.plan.plan.digest)
    if record.manifest.base is not None:
        base = record.manifest.base
        told = {"statedOrigin": line(base.origin), "statedLicence": line(base.licence)}
        yield {"name": "base", "digest": {"sha256": base.sha256.hex()}, "annotations": told}
    for told_of in mine.commitments:
        if told_of.reason is not Reason.ADMITTED:
            continue
        who = {"participant": f"0x{told_of.participant.hex()}", "share": told_of.share, "steps": told_of.steps}
        yield _manifest("update", told_of.digest, who)
        if told_of.update is not None:
            held = told_of.update.data_set
            named = told_of.data_set
            said = {} if named is None else {"statedName": line(named.name), "statedLicence": line(named.licence)}
            yield _manifest("data set, as stated", held.digest if isinstance(held, Cid) else held, said)


def _byproducts(record: VersionRecord) -> Iterator[dict[str, Any]]:
    if record.manifest.round is not None:
        yield _manifest("report", record.manifest.round.report.digest)
    yield {
        "name": "verification",
        "annotations": {
            "finding": record.finding.value,
            "checks": record.said_checks(),
            "again": record.exported.verify,
        },
    }


def _manifest(name: str, digest: bytes, annotations: dict[str, Any] | None = None) -> dict[str, Any]:
    found = {"name": name, "uri": f"ipfs://{manifest_cid(digest)}", "digest": {"sha256": digest.hex()}}
    return found | ({"annotations": annotations} if annotations else {})
