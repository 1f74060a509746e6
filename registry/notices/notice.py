"""Notices: a model's versions, deprecations, convictions and scores as watchers are told of them, read from the index.

A notice holds numbers, hashes, addresses and words of this file alone. Titles, aliases, tags and notes, which strangers
write, are left out: a receiver that wants them asks for them by the notice's hashes.
"""

from __future__ import annotations

import enum
import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice

from registry.chain.validator_scores import median_of
from registry.index import queries
from registry.index.entries import Following, LogPlace
from registry.index.round_queries import OF_MODEL, scoring
from registry.types import Address, Digest, Fault, ModelId, RoundId

__all__ = [
    "NewVersion",
    "ConvictedResult",
    "DeprecatedVersion",
    "Notice",
    "NoticeKind",
    "RevealedScore",
    "notices",
]

_MOST = 256
"""Notices of a kind that are read at once."""
_AFTER = "({0}.block, {0}.log_index) > (?, ?)"
_NO_PARENT = bytes(32)


class NoticeKind(enum.Enum):
    """What a notice is of."""

    VERSION = "version"
    DEPRECATION = "deprecation"
    CONVICTION = "conviction"
    SCORE = "score"


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A round made a version, or its owner published it: then `round` is 0. The parent of a genesis is zero."""

    version: Digest
    parent: Digest
    round: int


@dataclass(frozen=True, slots=True)
class DeprecatedVersion:
    """The owner deprecated a version; `replacement` became the head unless it is zero."""

    version: Digest
    reason_digest: Digest
    replacement: Digest


@dataclass(frozen=True, slots=True)
class ConvictedResult:
    """A result of a round was convicted; `tally` is the key under which its attestations were counted."""

    round: int
    tally: bytes
    challenger: Address
    fault: Fault


@dataclass(frozen=True, slots=True)
class RevealedScore:
    """A validator revealed its score of a round's result.

    Attributes:
        round: The round's number.
        result_hash: The result.
        validator: Who scored.
        score: In millionths.
        median: Of the scores revealed so far, this one included, in millionths; None of fewer than the model asks for.
        revealed: Number of scores revealed so far.
    """

    round: int
    result_hash: bytes
    validator: Address
    score: int
    median: int | None
    revealed: int


@dataclass(frozen=True, slots=True)
class Notice:
    """An event of a model.

    Attributes:
        id: The same each time that it is delivered, and no other's: chain id, block hash and log index; of a block that
            is not final yet, with `-provisional`.
        kind: What it is of.
        chain_id: EIP-155 chain id.
        contract: The Cairn contract.
        model: The model.
        block: Number of its block.
        block_hash: Hash of its block.
        log_index: Index of its log in the block.
        final: Whether the block is final. One that is not may be removed by a reorg.
        facts: What happened.
    """

    id: str
    kind: NoticeKind
    chain_id: int
    contract: Address
    model: ModelId
    block: int
    block_hash: bytes
    log_index: int
    final: bool
    facts: NewVersion | DeprecatedVersion | ConvictedResult | RevealedScore

    @property
    def place(self) -> tuple[int, int]:
        """Block number and log index, which sort notices as the chain does."""
        return self.block, self.log_index


_Facts = NewVersion | DeprecatedVersion | ConvictedResult | RevealedScore


def notices(
    db: sqlite3.Connection,
    following: Following,
    model: ModelId,
    after: tuple[int, int],
    kinds: Collection[NoticeKind] = tuple(NoticeKind),
) -> tuple[Notice, ...]:
    """Return the notices of a model after a place, in chain order; at least the first 256 of each kind.

    Args:
        db: The index.
        following: What it follows.
        model: The model.
        after: Block number and log index.
        kinds: Which kinds.
    """
    found: list[Notice] = []
    short = queries.END
    for kind in sorted(kinds, key=lambda kind: kind.value):
        read = islice(_READERS[kind](db, model, after), _MOST)
        some = [_notice(following, model, kind, at, facts) for at, facts in read]
        found += some
        if len(some) == _MOST:  # more may follow: what other kinds have after it is for the next call
            short = min(short, some[-1].place)
    return tuple(sorted((each for each in found if each.place <= short), key=lambda each: each.place))


def _notice(following: Following, model: ModelId, kind: NoticeKind, at: LogPlace, facts: _Facts) -> Notice:
    name = f"{following.chain_id}-0x{at.block_hash.hex()}-{at.log_index}" + ("" if at.final else "-provisional")
    chain = (following.chain_id, following.contracts[0], model)
    return Notice(name, kind, *chain, at.block, at.block_hash, at.log_index, at.final, facts)


def _versions(db: sqlite3.Connection, model: ModelId, after: tuple[int, int]) -> Iterator[tuple[LogPlace, _Facts]]:
    where = f"versions.model = ? AND {_AFTER.format('versions')}"
    for at, digest, parent, made_by in queries.facts(db, "versions", "digest parent round", where, model, *after):
        number = 0 if made_by is None else _number(db, made_by)
        yield at, NewVersion(Digest(digest), Digest(parent or _NO_PARENT), number)


def _deprecations(db: sqlite3.Connection, model: ModelId, after: tuple[int, int]) -> Iterator[tuple[LogPlace, _Facts]]:
    where = f"deprecations.model = ? AND {_AFTER.format('deprecations')}"
    columns = "digest reason_digest replacement"
    for at, *digests in queries.facts(db, "deprecations", columns, where, model, *after):
        yield at, DeprecatedVersion(*map(Digest, digests))


def _convictions(db: sqlite3.Connection, model: ModelId, after: tuple[int, int]) -> Iterator[tuple[LogPlace, _Facts]]:
    where = f"{OF_MODEL.format('convictions')} AND {_AFTER.format('convictions')}"
    columns = "round tally challenger fault"
    for at, of, tally, who, fault in queries.facts(db, "convictions", columns, where, model, *after):
        yield at, ConvictedResult(_number(db, of), tally, Address(who), Fault(fault))


def _scores(db: sqlite3.Connection, model: ModelId, after: tuple[int, int]) -> Iterator[tuple[LogPlace, _Facts]]:
    where = f"{OF_MODEL.format('scores')} AND {_AFTER.format('scores')}"
    columns = "round result_hash validator score"
    so_far = "round = ? AND result_hash = ? AND (scores.block, scores.log_index) <= (?, ?)"
    for at, of, result, who, score in queries.facts(db, "scores", columns, where, model, *after):
        said = queries.facts(db, "scores", "score", so_far, of, result, at.block, at.log_index)
        revealed = sorted(each for _, each in said)
        asked = scoring(db, RoundId(of), result)
        median = median_of(revealed, asked.minimum) if asked else None
        yield at, RevealedScore(_number(db, of), result, Address(who), score, median, len(revealed))


def _number(db: sqlite3.Connection, round_id: bytes) -> int:
    ((_, number),) = queries.facts(db, "rounds", "number", "rounds.round = ?", round_id)
    return int(number)


_READERS = {
    NoticeKind.VERSION: _versions,
    NoticeKind.DEPRECATION: _deprecations,
    NoticeKind.CONVICTION: _convictions,
    NoticeKind.SCORE: _scores,
}
