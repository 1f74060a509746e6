"""Versions affected by a withdrawn data set or update, as needed for unlearning: all that descend from it.

Without the report nobody can tell whether an update was admitted: the update counts as used and is marked unknown. A
private data set is found by its digest alone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from registry.chain.contract_hashes import round_id_of
from registry.content.manifest import Reason
from registry.index import queries, round_queries
from registry.index.entries import CommitmentEntry, RoundEntry, VersionEntry
from registry.lineage.ancestry import Ancestry, read_ancestry
from registry.lineage.catalogue import Catalogue
from registry.lineage.provenance import standing_report
from registry.store.base import ContentStore
from registry.types import Address, Digest, ModelId

__all__ = [
    "Participation",
    "Recall",
    "Use",
    "learn_data_sets",
    "participation_of",
    "recall_data_set",
    "recall_update",
    "uses_of",
]


@dataclass(frozen=True, slots=True)
class Use:
    """A commitment and the version that it may have entered.

    Attributes:
        reason: Its reason in the standing result's report; None if no result stands or the report is unavailable.
        version: The version that its round made, if the update is in it or may be.
        made: Whether its round made a version; None while it still may.
    """

    commitment: CommitmentEntry
    reason: Reason | None
    share: float
    version: Digest | None
    made: bool | None


@dataclass(frozen=True, slots=True)
class Recall:
    """Everything that descends from a data set or an update.

    Attributes:
        uses: Commitments to it, in chain order.
        stated: Versions whose owner states that they were trained on it.
        versions: Entries of all descendants in all models, in chain order.
        unread: Unavailable manifests: with them there may be more.
    """

    uses: tuple[Use, ...]
    stated: tuple[Digest, ...]
    versions: tuple[VersionEntry, ...]
    unread: int


@dataclass(frozen=True, slots=True)
class Participation:
    """An account's contributions to a model, with every version that descends from them, in all models."""

    uses: tuple[Use, ...]
    versions: tuple[VersionEntry, ...]
    unread: int


def recall_update(db: sqlite3.Connection, store: ContentStore, catalogue: Catalogue, digest: Digest) -> Recall:
    """Return every version that descends from an update."""
    uses = uses_of(db, store, round_queries.commitments_of(db, digest))
    ancestry = read_ancestry(db, catalogue)
    return Recall(uses, (), _from(ancestry, uses, ()), len(ancestry.unread))


def recall_data_set(
    db: sqlite3.Connection, store: ContentStore, catalogue: Catalogue, digest: bytes, *, unread: int | None = None
) -> Recall:
    """Return every version that descends from a data set, by updates that name it and by owners' statements.

    Reads every manifest of an update or a version that was not read before, unless told how many of these are
    `unread`.
    """
    unread = learn_data_sets(db, catalogue) if unread is None else unread
    naming = sorted(catalogue.naming(digest))
    uses = uses_of(db, store, [c for named in naming for c in round_queries.commitments_of(db, named)])
    ancestry = read_ancestry(db, catalogue)
    stated = tuple(named for named in naming if named in ancestry.places)
    return Recall(uses, stated, _from(ancestry, uses, stated), unread)


def learn_data_sets(db: sqlite3.Connection, catalogue: Catalogue) -> int:
    """Read every manifest of an update or a version that was not read before; return the number of unavailable ones."""
    unread = catalogue.learn_updates(queries.committed_digests(db))
    return len(unread) + len(catalogue.learn_versions(entry.digest for entry in queries.every_version(db)))


def participation_of(
    db: sqlite3.Connection, store: ContentStore, catalogue: Catalogue, model_id: ModelId, account: Address
) -> Participation:
    """Return an account's contributions to a model, and every version that descends from them."""
    committed = [c for c in round_queries.commitments_by(db, account) if c.model_id == model_id]
    uses = uses_of(db, store, committed)
    ancestry = read_ancestry(db, catalogue)
    return Participation(uses, _from(ancestry, uses, ()), len(ancestry.unread))


def uses_of(db: sqlite3.Connection, store: ContentStore, commitments: Iterable[CommitmentEntry]) -> tuple[Use, ...]:
    """Return what became of commitments, in chain order."""
    found = []
    for commitment in sorted(commitments, key=lambda entry: entry.at):
        entry = round_queries.round_of(db, commitment.round_id)
        assert entry is not None  # the foreign key of commitments
        report = standing_report(db, store, entry)
        reason, share = None, 0.0
        if report is not None:
            said = next(e for e in report.entries if e.participant == commitment.participant)
            reason = Reason(said.reason)
            share = said.weight / report.manifest.total_weight if reason is Reason.ADMITTED else 0.0
        used = reason in (None, Reason.ADMITTED)
        found.append(Use(commitment, reason, share, entry.version_digest if used else None, _made(db, entry)))
    return tuple(found)


def _made(db: sqlite3.Connection, entry: RoundEntry) -> bool | None:
    """Return whether a round made a version; None if it is the last and not recorded as ended."""
    if entry.version_digest is not None:
        return True
    followed = round_queries.is_round(db, round_id_of(entry.model_id, entry.number + 1))
    return False if entry.cancelled or followed else None


def _from(ancestry: Ancestry, uses: Iterable[Use], stated: Iterable[Digest]) -> tuple[VersionEntry, ...]:
    starts = [*stated, *(use.version for use in uses if use.version is not None)]
    places = [place for digest in ancestry.descendants(starts) for place in ancestry.places.get(digest, ())]
    return tuple(sorted(places, key=lambda entry: entry.at))
