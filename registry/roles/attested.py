"""Record and result on an attester's disk: answering demands needs no logs from before the attestation.

A node may have pruned older logs, or give those of a few blocks at a time. One file for each result, JSON, bytes as
hexadecimal: the round's record and the result, both in the field order of their classes; who had attested anything when
this was written; and the block after the last that was final then, which no demand of the result stands before.
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
    """A result that was attested, and what it is held against; `since` is a block, `attesters` are those before it."""

    record: RoundRecord
    result: Result
    attesters: Sequence[Address]
    since: int


def keep_attested(folder: Path, kept: Attested) -> None:
    """Write down what is about to be attested, unless it was before: demands of then may still be open."""
    path = _path(folder, kept.record.model_id, kept.record.number, result_hash(kept.result))
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = (unparse(kept.record), unparse(kept.result), list(kept.attesters), kept.since)
    write_whole(path, json.dumps(fields, default=lambda value: "0x" + value.hex()).encode())


def kept_attested(folder: Path, model_id: ModelId, number: int, dispute: Dispute) -> Attested | None:
    """Return what was kept of the result in its window; None if it was not attested by this folder's aggregator.

    What is kept is taken only if the chain's window is of this round, these commitments and this result.
    """
    try:
        record, result, attesters, since = _bytes(
            json.loads(_path(folder, model_id, number, dispute.result_hash).read_text())
        )
        kept = Attested(parse(RoundRecord, record), parse(Result, result), [Address(a) for a in attesters], int(since))
    except (OSError, ValueError, TypeError, KeyError):
        return None  # the chain has all of it, for whom its node shows it
    named = kept.record.round_id, kept.record.running_hash, result_hash(kept.result)
    return kept if named == (dispute.round_id, dispute.running_hash, dispute.result_hash) else None


def forget_before(folder: Path, model_id: ModelId, number: int) -> None:
    """Remove what was kept of a model's rounds below a number."""
    for path in (folder / "attested").glob(f"{model_id.hex()}-*.json"):
        if int(path.name.split("-")[1]) < number:
            path.unlink()


def _path(folder: Path, model_id: ModelId, number: int, hashed: bytes) -> Path:
    return folder / "attested" / f"{model_id.hex()}-{number}-{hashed.hex()}.json"


def _bytes(value: Any) -> Any:
    """Undo what JSON has made of bytes."""
    if isinstance(value, list):
        return [_bytes(item) for item in value]
    return bytes.fromhex(value.removeprefix("0x")) if isinstance(value, str) else value
