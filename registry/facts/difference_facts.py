"""How two versions differ: tensors, contributors, plans and metrics."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from registry.lineage.ancestry import Ancestry
from registry.lineage.diff import (
    Contributor,
    PlanChange,
    TensorChange,
    compare_tensors,
    contributors,
    leads,
    plan_changes,
)
from registry.lineage.provenance import metrics_of
from registry.store.base import ContentStore
from registry.types import Digest

__all__ = ["DifferenceFacts", "VersionMetrics", "difference_facts"]


@dataclass(frozen=True, slots=True)
class VersionMetrics:
    """A version's metrics by name: the owner's, or the weighted mean of the contributions' own; nobody checks them."""

    version: Digest
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class DifferenceFacts:
    """How two versions differ.

    Attributes:
        tensors: In the second version's order, removed tensors last.
        contributors: Contributors to the rounds that led to the second alone, largest share first.
        plan_changes: Those rounds whose plan differs from the previous round's.
        metrics: Of the versions that led to the second alone.
        only_before_first: Versions that led to the first alone, parents first.
        only_before_second: Likewise.
    """

    first: Digest
    second: Digest
    tensors: tuple[TensorChange, ...]
    contributors: tuple[Contributor, ...]
    plan_changes: tuple[PlanChange, ...]
    metrics: tuple[VersionMetrics, ...]
    only_before_first: tuple[Digest, ...]
    only_before_second: tuple[Digest, ...]


def difference_facts(
    db: sqlite3.Connection, store: ContentStore, ancestry: Ancestry, first: Digest, second: Digest
) -> DifferenceFacts:
    """Compare two versions.

    Raises:
        ContentError: A block is missing or changed.
        FormError: A version's file is not canonical.
    """
    before, after = leads(db, store, ancestry, first, second)
    return DifferenceFacts(
        first=first,
        second=second,
        tensors=tuple(compare_tensors(store, first, second)),
        contributors=contributors(after),
        plan_changes=plan_changes(after),
        metrics=tuple(VersionMetrics(story.entry.digest, metrics_of(story)) for story in after.versions),
        only_before_first=tuple(story.entry.digest for story in before.versions),
        only_before_second=tuple(story.entry.digest for story in after.versions),
    )
