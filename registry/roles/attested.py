"""Stored attestations: round record and result on disk, so that answering demands needs no older logs.

A node may have pruned logs from before the attestation, or return only a few blocks of logs at a time. One JSON file
per result, bytes as hexadecimal: the round's record and the result, both in the field order of their classes; everyone
who had attested a result when it was written; and the block after the last final one, before which the result has no
demand.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.chain.abi_values import parse, unparse
from registry.chain.contract_hashes import result_hash
from registry.chain.contract_structs import Dispute, Result
from registry.durable import write_whole
from registry.rounds.onchain import RoundRecord
from registry.types import Address, ModelId

__all__ = ["Attested", "forget_before", "keep_attested", "kept_attested"]


@dataclass(frozen=True, slots=True)
class Attested:
    """An attested result with its round's record; `attesters` attested a result before the block `since`."""

    record: RoundRecord
    result: Result
    attesters: Sequence[Address]
    since: int


def keep_attested(folder: Path, kept: Attested) -> None:
    """Store a result that is about to be attested. An older file of it stays, since demands of then may be open."""
    path = _path(folder, kept.record.model_id, kept.record.number, result_hash(kept.result))
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = (unparse(kept.record), unparse(kept.result), list(kept.attesters), kept.since)
    write_whole(path, json.dumps(fields, default=lambda value: "0x" + value.hex()).encode())


def kept_attested(folder: Path, model_id: ModelId, number: int, dispute: Dispute) -> Attested | None:
    """Return the stored record of the result in its challenge window; None if this folder's aggregator has none.

    A record is returned only if round, commitments and result match those on chain.
    """
    try:
        record, result, attesters, since = _bytes(
            json.loads(_path(folder, model_id, number, dispute.result_hash).read_text())
        )
        kept = Attested(parse(RoundRecord, record), parse(Result, result), [Address(a) for a in attesters], int(since))
    except (OSError, ValueError, TypeError, KeyError):
        return None  # fall back on the node's logs
    named = kept.record.round_id, kept.record.running_hash, result_hash(kept.result)
    return kept if named == (dispute.round_id, dispute.running_hash, dispute.result_hash) else None


def forget_before(folder: Path, model_id: ModelId, number: int) -> None:
    """Remove the stored attestations of a model's rounds before `number`."""
    for path in (folder / "attested").glob(f"{model_id.hex()}-*.json"):
        if int(path.name.split("-")[1]) < number:
            path.unlink()


def _path(folder: Path, model_id: ModelId, number: int, hashed: bytes) -> Path:
    return folder / "attested" / f"{model_id.hex()}-{number}-{hashed.hex()}.json"


def _bytes(value: Any) -> Any:
    """Convert hexadecimal strings back to bytes, in nested lists too."""
    if isinstance(value, list):
        return [_bytes(item) for item in value]
    return bytes.fromhex(value.removeprefix("0x")) if isinstance(value, str) else value
