"""A round's on-chain record from the index, for checks that need no node.

The index holds what a node said: `cairn index sync --verify` checks it against headers, `cairn verify` against the
contract.
"""

from __future__ import annotations

import sqlite3

from registry.chain.contract_events import UpdateCommitted
from registry.chain.contract_hashes import roots_hash, running_hash_begin, running_hash_next
from registry.errors import InputError, VerificationFailed
from registry.ethereum.positions import Position
from registry.index import queries, round_queries
from registry.index.entries import CommitmentEntry, RoundEntry
from registry.rounds.onchain import RoundRecord
from registry.types import ZERO32

__all__ = ["indexed_round"]


def indexed_round(db: sqlite3.Connection, entry: RoundEntry) -> RoundRecord:
    """Return a round's record.

    Raises:
        InputError: The index is of no chain, or lacks the round's parent.
        VerificationFailed: Parent and plan in the index do not hash to what the round began with.
    """
    following = queries.following(db)
    parent = next((e for e in queries.versions_of_digest(db, entry.parent) if e.model_id == entry.model_id), None)
    if following is None or parent is None:
        raise InputError(f"round {entry.number}: expected its parent 0x{entry.parent.hex()} in the index, found none")
    plan = queries.plans(db, entry.model_id)[entry.plan_index].plan
    running = running_hash_begin(entry.round_id, entry.parent, plan)
    if running != entry.begun_at:
        raise VerificationFailed(
            f"round {entry.number}: expected parent and plan that hash to 0x{entry.begun_at.hex()}, "
            f"those of the index give 0x{running.hex()}"
        )
    commitments = tuple(_event(one) for one in round_queries.commitments(db, entry.round_id))
    for one in commitments:
        running = running_hash_next(running, one.participant, one.digest, one.tensor_root, one.weight, one.steps)
    return RoundRecord(
        chain_id=following.chain_id,
        contract=following.contracts[0],
        model_id=entry.model_id,
        number=entry.number,
        round_id=entry.round_id,
        opened_in=entry.at.block_hash,
        parent=entry.parent,
        parent_roots=roots_hash(parent.roots),
        plan=plan,
        commitments=commitments,
        running_hash=running,
    )


def _event(entry: CommitmentEntry) -> UpdateCommitted:
    """Return a commitment as its event; the index keeps no transaction hashes."""
    at = Position(entry.at.block, entry.at.log_index, entry.at.block_hash, ZERO32)
    said = entry.digest, entry.tensor_root, entry.weight, entry.steps
    return UpdateCommitted(at, entry.round_id, entry.participant, *said)
