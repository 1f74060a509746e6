"""Dates, metrics and scores of versions: when the chain finalised them, and how good somebody says that they are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.content.manifest import Reason
from registry.index import round_queries
from registry.index.entries import VersionEntry
from registry.index.log_source import LogSource
from registry.lineage.provenance import (
    RoundProvenance,
    VersionProvenance,
    metrics_of,
    provenance_of_version,
    round_provenance,
)
from registry.rounds.scores import VersionScore, score_of
from registry.store.base import ContentStore
from registry.types import Digest

if TYPE_CHECKING:
    from web3 import Web3

__all__ = ["DatesAndMetrics", "dates_and_metrics", "metrics_of_versions", "round_score", "scores_of_versions"]


@dataclass(frozen=True, slots=True)
class DatesAndMetrics:
    """Dates, metrics and scores of some versions.

    Attributes:
        times: Time of each block that anchored one, by its number, Unix seconds.
        metrics: Metrics of each, see `metrics_of`.
        scores: Scores of those whose stories are at hand, as far as participants evaluated them.
    """

    times: Mapping[int, int]
    metrics: Mapping[Digest, Mapping[str, float]]
    scores: Mapping[Digest, VersionScore]


def dates_and_metrics(
    w3: Web3,
    db: sqlite3.Connection,
    store: ContentStore,
    entries: Iterable[VersionEntry],
    stories: Iterable[VersionProvenance] = (),
) -> DatesAndMetrics:
    """Return the dates and metrics of versions, and scores of stories; stories at hand are not read again.

    Raises:
        NodeUnavailable: The node does not answer, or lacks a block.
    """
    held, stories = tuple(entries), tuple(stories)
    times = LogSource(w3, ()).times(entry.at.block for entry in held)
    metrics = metrics_of_versions(db, store, held, stories)
    return DatesAndMetrics(times, metrics, scores_of_versions(db, store, stories))


def scores_of_versions(
    db: sqlite3.Connection, store: ContentStore, stories: Iterable[VersionProvenance]
) -> dict[Digest, VersionScore]:
    """Return the scores of versions: of each by the finalized round in its model that has it as parent."""
    held = tuple(stories)
    by_parent = {(s.round.entry.model_id, s.round.entry.parent): s.round for s in held if s.round is not None}
    found = {}
    for story in held:
        of = story.entry.model_id, story.entry.digest
        told = by_parent[of] if of in by_parent else _round_after(db, store, story.entry)
        if told is not None and (score := round_score(told)) is not None:
            found[story.entry.digest] = score
    return found


def _round_after(db: sqlite3.Connection, store: ContentStore, entry: VersionEntry) -> RoundProvenance | None:
    after = round_queries.round_after(db, entry.model_id, entry.digest)
    return None if after is None else round_provenance(db, store, after)


def round_score(told: RoundProvenance) -> VersionScore | None:
    """Return the score of a round's parent by its report and updates; None if nobody evaluated it."""
    if told.report is None:
        return None
    admitted = [(c.entry.participant, c.update) for c in told.commitments if c.reason is Reason.ADMITTED]
    given = [(who, update.evaluation) for who, update in admitted if update is not None and update.evaluation]
    return score_of(told.entry.number, told.report.evaluation, given, told.plan.plan.weight_cap)


def metrics_of_versions(
    db: sqlite3.Connection,
    store: ContentStore,
    entries: Iterable[VersionEntry],
    stories: Iterable[VersionProvenance] = (),
) -> dict[Digest, Mapping[str, float]]:
    """Return the metrics of versions, see `metrics_of`; of one in several models, as of that whose round made it."""
    made = {entry.digest: entry for entry in sorted(entries, key=lambda entry: entry.round_id is not None)}
    held = {(story.entry.model_id, story.entry.digest): story for story in stories}
    return {
        digest: metrics_of(held.get((entry.model_id, digest)) or provenance_of_version(db, store, entry))
        for digest, entry in made.items()
    }
