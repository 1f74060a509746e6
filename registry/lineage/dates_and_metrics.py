"""Dates and metrics of versions: when the chain finalised them, and how good somebody says that they are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.index.entries import VersionEntry
from registry.index.log_source import LogSource
from registry.lineage.provenance import VersionProvenance, metrics_of, provenance_of_version
from registry.store.base import ContentStore
from registry.types import Digest

if TYPE_CHECKING:
    from web3 import Web3

__all__ = ["DatesAndMetrics", "dates_and_metrics", "metrics_of_versions"]


@dataclass(frozen=True, slots=True)
class DatesAndMetrics:
    """Dates and metrics of some versions.

    Attributes:
        times: Time of each block that anchored one, by its number, Unix seconds.
        metrics: Metrics of each, see `metrics_of`.
    """

    times: Mapping[int, int]
    metrics: Mapping[Digest, Mapping[str, float]]


def dates_and_metrics(
    w3: Web3,
    db: sqlite3.Connection,
    store: ContentStore,
    entries: Iterable[VersionEntry],
    stories: Iterable[VersionProvenance] = (),
) -> DatesAndMetrics:
    """Return the dates and metrics of versions; stories that are at hand are not read again.

    Raises:
        NodeUnavailable: The node does not answer, or lacks a block.
    """
    held = tuple(entries)
    times = LogSource(w3, ()).times(entry.at.block for entry in held)
    return DatesAndMetrics(times, metrics_of_versions(db, store, held, stories))


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
