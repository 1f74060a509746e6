"""RO-Crate 1.1 of a version: its report for people, its lineage as a picture, its provenance, and a bundle if given."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from registry.errors import InputError
from registry.ethereum.keys import to_checksum
from registry.exports.bill_of_materials import bill_of_materials
from registry.exports.exported_version import ExportedVersion, parse_name
from registry.exports.model_folder import Content
from registry.exports.people_report import people_report
from registry.exports.prov_document import prov_json
from registry.exports.version_record import VersionRecord, line

__all__ = ["METADATA", "crate_files", "read_crate"]

METADATA = "ro-crate-metadata.json"
_KNOWN = {
    "report.html": ("text/html", "Report for people"),
    "lineage.svg": ("image/svg+xml", "Lineage as a picture"),
    "provenance.json": ("application/json", "Provenance as PROV-JSON"),
    "bom.cdx.json": ("application/vnd.cyclonedx+json", "CycloneDX bill of materials"),
    "bundle.car": (
        "application/vnd.ipld.car",
        "Bundle: lineage with its chain proofs; `cairn bundle verify` checks it",
    ),
}


def crate_files(record: VersionRecord, given: Mapping[str, Content]) -> dict[str, Content]:
    """Return the crate's files; `given` may have a bundle.car."""
    files: dict[str, Content] = {
        "report.html": people_report(record),
        "lineage.svg": record.picture.encode(),
        "provenance.json": prov_json(record),
        "bom.cdx.json": bill_of_materials(record),
        **{name: content for name, content in given.items() if name in _KNOWN},
    }
    return {METADATA: json.dumps(_metadata(record, files), indent=1, ensure_ascii=False).encode() + b"\n", **files}


def read_crate(data: bytes) -> ExportedVersion:
    """Return the version that a crate's metadata is of.

    Raises:
        InputError: It is no such metadata.
    """
    try:
        (root,) = (one for one in json.loads(data)["@graph"] if one["@id"] == "./")
        return parse_name(root["identifier"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"expected {METADATA} of a version: {type(error).__name__}") from error


def _metadata(record: VersionRecord, files: Mapping[str, Content]) -> dict[str, Any]:
    mine, said = record.mine, record.statement
    published = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(mine.time)) if 0 < mine.time < 1 << 37 else ""
    licence = line(said.licence) if said is not None else ""
    people = [
        {"@id": f"#account-0x{who.hex()}", "@type": "Organization", "name": to_checksum(who),
         "description": f"Participant with a mean share of {share!r} of the weight"}
        for who, share in record.shares
    ]  # fmt: skip
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": record.title,
        "description": f"Version 0x{mine.version.hex()} of a federated model. Finding: {record.finding.value}. "
        f"Verify it again: {record.exported.verify}",
        "identifier": record.exported.name,
        "datePublished": published or "1970-01-01",
        "license": licence or "not stated",
        "contributor": [{"@id": one["@id"]} for one in people],
        "hasPart": [{"@id": name} for name in files],
    }
    about = {
        "@id": METADATA,
        "@type": "CreativeWork",
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
        "about": {"@id": "./"},
    }
    parts = [
        {"@id": name, "@type": "File", "name": _KNOWN[name][1], "encodingFormat": _KNOWN[name][0], **_size(content)}
        for name, content in files.items()
    ]
    return {"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": [about, root, *parts, *people]}


def _size(content: Content) -> dict[str, str]:
    if isinstance(content, Path):
        return {"contentSize": str(content.stat().st_size)}
    return {"contentSize": str(len(content) if isinstance(content, bytes) else content.size)}
