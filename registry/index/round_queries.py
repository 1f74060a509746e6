"""Queries about rounds: their state, commitments, attestations, results and convictions.

Conventions as in `registry.index.queries`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from registry.chain.contract_structs import Result
from registry.index.entries import (
    AttestationEntry,
    ChallengeEntry,
    CommitmentEntry,
    ConvictionEntry,
    DemandEntry,
    ExpulsionEntry,
    LogPlace,
    QuorumEntry,
    ResultEntry,
    RoundEntry,
    ScoringEntry,
    VoidEntry,
)
from registry.index.queries import END, ORDER, PLACE, facts, place_of, roots_of
from registry.types import Address, Digest, Fault, ModelId, RoundId, Standing

__all__ = [
    "OF_MODEL",
    "attestations",
    "challenges",
    "commitments",
    "commitments_by",
    "commitments_by_before",
    "commitments_of",
    "convictions",
    "convictions_by",
    "demands",
    "expulsions",
    "is_round",
    "quorums",
    "results",
    "round_after",
    "round_of",
    "rounds",
    "rounds_before",
    "scoring",
    "voids",
]

OF_MODEL = "{0}.round IN (SELECT round FROM rounds WHERE model = ?)"
"""Condition on a table with a round: it is of a model."""
_ENDS = "commit_ends", "quorums", "finalizations", "cancellations", "commitments", "attestations", "extensions", "voids"
_OF_ROUND = "(SELECT {0} FROM {1} WHERE {1}.round = rounds.round)"
_LAST = "(SELECT {0} FROM {1} AS e WHERE e.round = rounds.round {2} ORDER BY e.block DESC, e.log_index DESC LIMIT 1)"
_STANDING = (
    "AND NOT EXISTS (SELECT 1 FROM voids WHERE voids.round = e.round "
    "AND (voids.block, voids.log_index) > (e.block, e.log_index))"
)
"""Condition: after the last result became void."""
_ROUND = f"""
SELECT {PLACE.format("rounds")}, rounds.model, rounds.number, rounds.round, rounds.parent, rounds.plan_index,
  coalesce(commit_ends.commit_deadline, rounds.commit_deadline),
  coalesce(commit_ends.publish_deadline, rounds.publish_deadline),
  coalesce({_LAST.format("aggregate_deadline", "voids", "")}, commit_ends.aggregate_deadline,
    rounds.aggregate_deadline),
  coalesce({_LAST.format("challenge_deadline", "extensions", _STANDING)},
    {_LAST.format("challenge_deadline", "quorums", _STANDING)}, 0), rounds.running_hash,
  {_OF_ROUND.format("count(*)", "commitments")}, {_OF_ROUND.format("count(*)", "attestations")},
  commit_ends.round IS NOT NULL, {_LAST.format("result_hash", "quorums", _STANDING)},
  {_OF_ROUND.format("version_digest", "finalizations")},
  EXISTS (SELECT 1 FROM cancellations WHERE cancellations.round = rounds.round),
  max(rounds.block, {", ".join(f"coalesce({_OF_ROUND.format('max(block)', table)}, 0)" for table in _ENDS)})
    <= coalesce(following.final, -1)
FROM rounds JOIN blocks ON blocks.number = rounds.block
  LEFT JOIN commit_ends ON commit_ends.round = rounds.round, following
"""


def _rounds(
    db: sqlite3.Connection, where: str, *values: object, order: str = ORDER.format("rounds")
) -> Iterator[RoundEntry]:
    for row in db.execute(f"{_ROUND} WHERE {where} {order}", values):
        *opened, early, result, version, cancelled, final = row[4:]
        shown = (*opened, bool(early), result, version, bool(cancelled), bool(final))
        yield RoundEntry(place_of(row), *shown)


def rounds(db: sqlite3.Connection, model_id: ModelId) -> tuple[RoundEntry, ...]:
    """Return a model's rounds."""
    return tuple(_rounds(db, "rounds.model = ?", model_id))


def rounds_before(db: sqlite3.Connection, model_id: ModelId, before: int, most: int) -> tuple[RoundEntry, ...]:
    """Return so many of a model's rounds with a number below `before`, newest first."""
    where, order = "rounds.model = ? AND rounds.number < ?", "ORDER BY rounds.number DESC LIMIT ?"
    return tuple(_rounds(db, where, model_id, before, most, order=order))


def round_after(db: sqlite3.Connection, model_id: ModelId, parent: Digest) -> RoundEntry | None:
    """Return the newest finalized round of a model that has a version as parent."""
    where = (
        "rounds.model = ? AND rounds.parent = ? "
        "AND EXISTS (SELECT 1 FROM finalizations WHERE finalizations.round = rounds.round)"
    )
    order = "ORDER BY rounds.number DESC LIMIT 1"
    return next(_rounds(db, where, model_id, parent, order=order), None)


def is_round(db: sqlite3.Connection, round_id: RoundId) -> bool:
    """Return whether there is a round of this id."""
    return db.execute("SELECT 1 FROM rounds WHERE round = ?", (round_id,)).fetchone() is not None


def round_of(db: sqlite3.Connection, round_id: RoundId) -> RoundEntry | None:
    """Return a round."""
    return next(_rounds(db, "rounds.round = ?", round_id), None)


_COMMITMENT = f"""
SELECT {PLACE.format("commitments")}, rounds.model, rounds.number, commitments.round, commitments.participant,
  commitments.digest, commitments.tensor_root, commitments.weight, commitments.steps
FROM commitments JOIN blocks ON blocks.number = commitments.block
  JOIN rounds ON rounds.round = commitments.round, following
"""


def _commitments(
    db: sqlite3.Connection, where: str, *values: object, order: str = ORDER.format("commitments")
) -> tuple[CommitmentEntry, ...]:
    query = f"{_COMMITMENT} WHERE {where} {order}"
    return tuple(CommitmentEntry(place_of(row), *row[4:]) for row in db.execute(query, values))


def commitments(db: sqlite3.Connection, round_id: RoundId) -> tuple[CommitmentEntry, ...]:
    """Return a round's commitments, in commit order."""
    return _commitments(db, "commitments.round = ?", round_id)


def commitments_by(db: sqlite3.Connection, participant: Address) -> tuple[CommitmentEntry, ...]:
    """Return all commitments of an account, in all models."""
    return _commitments(db, "commitments.participant = ?", participant)


def commitments_by_before(
    db: sqlite3.Connection, participant: Address, before: tuple[int, int] | None, most: int
) -> tuple[CommitmentEntry, ...]:
    """Return so many of an account's commitments before a place, (block, log_index), or the last; newest first."""
    where = "commitments.participant = ? AND (commitments.block, commitments.log_index) < (?, ?)"
    order = "ORDER BY commitments.block DESC, commitments.log_index DESC LIMIT ?"
    return _commitments(db, where, participant, *(before or END), most, order=order)


def commitments_of(db: sqlite3.Connection, digest: Digest) -> tuple[CommitmentEntry, ...]:
    """Return the commitments of an update: one, unless it was copied."""
    return _commitments(db, "commitments.digest = ?", digest)


def results(db: sqlite3.Connection, round_id: RoundId) -> tuple[ResultEntry, ...]:
    """Return the attested results of a round."""
    columns = "round result_hash version_digest tensor_root rest_root state_root state_layout step report_digest \
        aggregate_root contributions_root contributions total_weight total_steps divisor"
    rows = facts(db, "results", columns, "round = ?", round_id)
    return tuple(ResultEntry(at, name, result_hash, _result(found)) for at, name, result_hash, *found in rows)


def _result(row: Sequence[Any]) -> Result:
    digest, *others = row
    return Result(digest, roots_of(others[:5]), *others[5:])


def attestations(db: sqlite3.Connection, round_id: RoundId) -> tuple[AttestationEntry, ...]:
    """Return a round's attestations; the last one of each aggregator counts."""
    columns = "round aggregator result_hash votes"
    return tuple(AttestationEntry(*row) for row in facts(db, "attestations", columns, "round = ?", round_id))


def quorums(db: sqlite3.Connection, round_id: RoundId) -> tuple[QuorumEntry, ...]:
    """Return when results of a round reached their quorum; those before the last void are not valid."""
    columns = "round result_hash challenge_deadline"
    return tuple(QuorumEntry(*row) for row in facts(db, "quorums", columns, "round = ?", round_id))


def voids(db: sqlite3.Connection, round_id: RoundId) -> tuple[VoidEntry, ...]:
    """Return when results of a round became void."""
    rows = facts(db, "voids", "round result_hash tally standing aggregate_deadline", "round = ?", round_id)
    return tuple(VoidEntry(at, of, result, tally, Standing(how), until) for at, of, result, tally, how, until in rows)


def convictions(db: sqlite3.Connection, round_id: RoundId) -> tuple[ConvictionEntry, ...]:
    """Return the fraud proofs that convicted results of a round."""
    rows = facts(db, "convictions", "round tally challenger fault", "round = ?", round_id)
    return tuple(ConvictionEntry(at, of, tally, who, Fault(fault)) for at, of, tally, who, fault in rows)


def convictions_by(db: sqlite3.Connection, challenger: Address) -> tuple[ConvictionEntry, ...]:
    """Return the convictions by an account, in all models."""
    rows = facts(db, "convictions", "round tally challenger fault", "challenger = ?", challenger)
    return tuple(ConvictionEntry(at, of, tally, who, Fault(fault)) for at, of, tally, who, fault in rows)


def expulsions(db: sqlite3.Connection, round_id: RoundId) -> tuple[ExpulsionEntry, ...]:
    """Return the aggregators that lost their role for attesting a void result of a round."""
    rows = facts(db, "expulsions", "round aggregator tally", "round = ?", round_id)
    return tuple(ExpulsionEntry(*row) for row in rows)


def challenges(db: sqlite3.Connection, round_id: RoundId) -> tuple[ChallengeEntry, ...]:
    """Return the steps of challenges of several transactions against results of a round."""
    rows = facts(db, "advances", "round tally challenger next", "round = ?", round_id)
    return tuple(ChallengeEntry(*row) for row in rows)


def demands(db: sqlite3.Connection, round_id: RoundId) -> tuple[DemandEntry, ...]:
    """Return the leaves demanded of results of a round, each with what became of it."""
    ends: list[dict[tuple[bytes, ...], list[LogPlace]]] = []
    for table in ("answers", "closures"):
        found: dict[tuple[bytes, ...], list[LogPlace]] = {}
        for at, *leaf in facts(db, table, "tally root leaf", "round = ?", round_id):
            found.setdefault(tuple(leaf), []).append(at)
        ends.append(found)
    told = []
    columns = "tally demander root leaf deposit deadline late_deadline"
    for at, tally, who, root, leaf, deposit, *deadlines in facts(db, "demands", columns, "round = ?", round_id):
        over = (next((end for end in held.get((tally, root, leaf), ()) if end > at), None) for held in ends)
        amounts = int.from_bytes(leaf), int.from_bytes(deposit)
        told.append(DemandEntry(at, round_id, tally, who, root, *amounts, *deadlines, *over))
    return tuple(told)


_MINIMUM = """
SELECT minimum FROM score_terms JOIN rounds ON rounds.model = score_terms.model
WHERE rounds.round = ? AND (score_terms.block, score_terms.log_index) < (?, ?)
ORDER BY score_terms.block DESC, score_terms.log_index DESC LIMIT 1
"""


def scoring(db: sqlite3.Connection, round_id: RoundId, result_hash: bytes) -> ScoringEntry | None:
    """Return what validators say of a round's result; None if none committed to a score."""
    where = "round = ? AND result_hash = ?"
    begun = list(facts(db, "score_commitments", "reveal_deadline", where, round_id, result_hash))
    if not begun:
        return None
    first, deadline = begun[0]
    minimum = db.execute(_MINIMUM, (round_id, first.block, first.log_index)).fetchone()
    scores = tuple(
        (who, score) for _, who, score in facts(db, "scores", "validator score", where, round_id, result_hash)
    )
    return ScoringEntry(deadline, minimum[0] if minimum else 0, len(begun), scores)
