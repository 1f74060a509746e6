"""A model folder in Hugging Face's layout, and its OpenSSF model signature.

The folder holds the weights, a card whose front matter `huggingface_hub` reads, and `cairn.json` with the anchors. The
signature is a Sigstore bundle (v0.3) over the sha256 of every file, as `model_signing verify key` reads it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from registry.content.manifest import VersionFile
from registry.errors import InputError
from registry.exports.exported_version import ExportedVersion, parse_name
from registry.exports.signed_envelope import SigningKey, envelope, opened
from registry.exports.version_record import VersionRecord, line
from registry.facts.model_card import model_card

__all__ = ["SIGNATURE", "WEIGHTS", "Content", "folder_files", "read_card", "read_signature", "signed_files"]

Content = bytes | VersionFile | Path
"""A file of an export: its bytes, the version's weights, or a local file to copy."""
SIGNATURE, WEIGHTS = "model.sig", "model.safetensors"
_SIGNED = "https://model_signing/signature/v1.0"
_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PIECE = 1 << 20


def folder_files(record: VersionRecord, given: Mapping[str, Content]) -> dict[str, Content]:
    """Return the files of the folder.

    Args:
        record: The version.
        given: Files that the user gives: config.json, or an adapter's files in place of the weights.

    Raises:
        InputError: A given file is not JSON.
    """
    card = model_card(
        record.facts, chain_id=record.exported.chain_id, contract=record.exported.contract, also=_front_matter(record)
    )
    anchors = {
        "name": record.exported.name,
        "weights_sha256": record.manifest.weights.sha256.hex(),
        "finding": record.finding.value,
        "checks": record.said_checks(),
        "verify": record.exported.verify,
    }
    weights: dict[str, Content] = {} if "adapter_model.safetensors" in given else {WEIGHTS: record.manifest.weights}
    for name, content in given.items():
        if name.endswith(".json") and isinstance(content, bytes):
            _require_json(name, content)
    told = json.dumps(anchors, indent=1, ensure_ascii=False).encode() + b"\n"
    return {"README.md": card.encode(), "cairn.json": told, **weights, **given}


def signed_files(record: VersionRecord, given: Mapping[str, Content], key: SigningKey) -> dict[str, Content]:
    """Return the files of the folder with their signature."""
    files = folder_files(record, given)
    digests = {name: _sha256(content) for name, content in sorted(files.items())}
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {
                "name": record.exported.name,
                "digest": {"sha256": hashlib.sha256(b"".join(digests.values())).hexdigest()},
            }
        ],
        "predicateType": _SIGNED,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [SIGNATURE],
            },
            "resources": [
                {"name": name, "algorithm": "sha256", "digest": digest.hex()} for name, digest in digests.items()
            ],
        },
    }
    bundle = {
        "mediaType": _BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": key.fingerprint}, "tlogEntries": []},
        "dsseEnvelope": envelope(statement, key, key_id=""),
    }
    return files | {SIGNATURE: json.dumps(bundle).encode() + b"\n"}


def read_card(data: bytes) -> ExportedVersion:
    """Return the version that a card's front matter names.

    Raises:
        InputError: It names none.
    """
    head, _, rest = data.decode("utf-8", "replace").removeprefix("---\n").partition("\n---\n")
    named = [one.removeprefix("cairn: ") for one in head.splitlines() if one.startswith("cairn: ")]
    try:
        return parse_name(json.loads(named[0]) if rest and len(named) == 1 else None)
    except ValueError as error:
        raise InputError(f"expected a card whose front matter names a version: {type(error).__name__}") from error


def read_signature(data: bytes) -> ExportedVersion:
    """Return the version that a signature is about; it is not checked.

    Raises:
        InputError: It is no such signature.
    """
    try:
        (subject,) = opened(json.loads(data)["dsseEnvelope"])["subject"]
        return parse_name(subject["name"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"expected a model signature of a version: {type(error).__name__}") from error


def _front_matter(record: VersionRecord) -> dict[str, Any]:
    said: dict[str, Any] = {"library_name": "cairn", "cairn": record.exported.name}
    metrics = [
        {"type": line(name), "name": line(name), "value": value} for name, value in sorted(record.mine.metrics.items())
    ]
    if metrics:
        task = line(record.statement.task) if record.statement is not None and record.statement.task else "other"
        data_set = {"type": "private", "name": "as its owner or its participants state it"}
        result = {"task": {"type": task}, "dataset": data_set, "metrics": metrics}
        said["model-index"] = [{"name": record.title, "results": [result]}]
    return said


def _require_json(name: str, data: bytes) -> None:
    try:
        json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: expected JSON: {type(error).__name__}") from error


def _sha256(content: Content) -> bytes:
    if isinstance(content, VersionFile):
        return content.sha256
    if isinstance(content, bytes):
        return hashlib.sha256(content).digest()
    digest = hashlib.sha256()
    with content.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.digest()
