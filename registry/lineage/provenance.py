"""Provenance of a version, from index and manifests: its round, contributions, refusals and disputes.

Claims of manifests are reported, not checked; `cairn verify` checks them. Unavailable manifests are None.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.chain.contract_hashes import round_id_of
from registry.content.manifest import (
    Code,
    DataSetManifest,
    PlanManifest,
    Reason,
    ReportManifest,
    UpdateManifest,
    VersionManifest,
)
from registry.errors import ContentError, FormError, InputError
from registry.index import queries, round_queries
from registry.index.entries import CommitmentEntry, DeprecationEntry, PlanEntry, RoundEntry, ScoringEntry, VersionEntry
from registry.index.for_now import index_for_now
from registry.lineage.version_labels import ModelLabels, labels_of
from registry.rounds.reports import Report, load_report
from registry.store.base import ContentStore, reported_unavailable
from registry.store.manifests import found_manifest
from registry.types import Address, Cid, Digest, Fault, ModelId

if TYPE_CHECKING:
    from registry.chain.client import Client

__all__ = [
    "CommitmentProvenance",
    "DisputeProvenance",
    "RoundProvenance",
    "VersionProvenance",
    "metrics_of",
    "read_lineage",
    "standing_report",
    "provenance_of_lineage",
    "provenance_of_version",
    "round_provenance",
]


@dataclass(frozen=True, slots=True)
class CommitmentProvenance:
    """A commitment with its outcome.

    Attributes:
        reason: Its reason in the standing result's report; None if no result stands or the report is unavailable.
        share: Fraction of the total weight; 0 unless admitted.
        factor: What the combine rule multiplies it by, in the report; 0 unless admitted.
        data_set: The manifest of its data set, if public.
    """

    entry: CommitmentEntry
    reason: Reason | None
    share: float
    factor: int
    update: UpdateManifest | None
    data_set: DataSetManifest | None

    @property
    def code(self) -> Code | None:
        """The code that its participant states; None if it states none or its manifest is unavailable."""
        return self.update.code if self.update is not None and self.update.code.stated else None


@dataclass(frozen=True, slots=True)
class DisputeProvenance:
    """A voided result: the fault, the challenger, and the aggregators expelled for attesting it."""

    result_hash: bytes
    fault: Fault
    challenger: Address
    expelled: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class RoundProvenance:
    """A round with its commitments, attesters and disputes.

    Attributes:
        plan_before: The plan of the model's previous round; None for the first.
        attesters: Attesters of the standing result.
        scoring: What validators say of it; None if they say nothing.
    """

    entry: RoundEntry
    plan: PlanEntry
    plan_before: PlanEntry | None
    plan_manifest: PlanManifest | None
    report: ReportManifest | None
    commitments: tuple[CommitmentProvenance, ...]
    attesters: tuple[Address, ...]
    scoring: ScoringEntry | None
    disputes: tuple[DisputeProvenance, ...]


@dataclass(frozen=True, slots=True)
class VersionProvenance:
    """A version as an entry of one model.

    Attributes:
        entry: Its entry in the model.
        head: Whether it is that model's head.
        elsewhere: Its entries in other models.
        deprecation: The owner's deprecation, if any.
        labels: The labels of all versions of that model.
    """

    entry: VersionEntry
    head: bool
    elsewhere: tuple[VersionEntry, ...]
    deprecation: DeprecationEntry | None
    labels: ModelLabels
    manifest: VersionManifest | None
    round: RoundProvenance | None


def provenance_of_version(db: sqlite3.Connection, store: ContentStore, entry: VersionEntry) -> VersionProvenance:
    """Return the provenance of one entry of a version."""
    model = queries.model(db, entry.model_id)
    others = tuple(e for e in queries.versions_of_digest(db, entry.digest) if e.model_id != entry.model_id)
    marked = [d for d in queries.deprecations(db, entry.model_id) if d.digest == entry.digest]
    made_by = None if entry.round_id is None else round_queries.round_of(db, entry.round_id)
    return VersionProvenance(
        entry=entry,
        head=model is not None and model.head == entry.digest,
        elsewhere=others,
        deprecation=marked[0] if marked else None,
        labels=labels_of(queries.labels(db, entry.model_id)),
        manifest=found_manifest(store, entry.digest, VersionManifest),
        round=None if made_by is None else round_provenance(db, store, made_by),
    )


def metrics_of(story: VersionProvenance) -> dict[str, float]:
    """Return a version's metrics: the owner's, or the weighted mean of the contributions' own; nobody checks them."""
    if story.manifest is not None and story.manifest.statement is not None:
        return dict(story.manifest.statement.metrics)
    found: dict[str, tuple[float, float]] = {}
    for told in story.round.commitments if story.round else ():
        for name, value in (told.update.metrics if told.update and told.share else {}).items():
            total, share = found.get(name, (0.0, 0.0))
            found[name] = total + told.share * value, share + told.share
    return {name: total / share for name, (total, share) in sorted(found.items())}


def provenance_of_lineage(
    db: sqlite3.Connection, store: ContentStore, model_id: ModelId, digest: Digest
) -> Iterator[VersionProvenance]:
    """Yield a version and its ancestors in its model, newest first.

    Raises:
        InputError: The model has no such version.
    """
    entries = queries.ancestors(db, model_id, digest)
    if not entries:
        raise InputError(f"model 0x{model_id.hex()}: expected a version 0x{digest.hex()}, found none")
    for entry in reversed(entries):
        yield provenance_of_version(db, store, entry)


def read_lineage(client: Client, store: ContentStore, model_id: ModelId, digest: Digest) -> list[VersionProvenance]:
    """Return the provenance of a version and its ancestors in its model, newest first.

    Reads the contract's events into a temporary index. For repeated queries keep a persistent one (`cairn index`).

    Args:
        client: The contract.
        store: The store of the manifests; an unavailable manifest is None in the result.
        model_id: The model.
        digest: The version.

    Raises:
        InputError: The model has no such version.
        NodeUnavailable, ChainError: The node does not answer, or its logs do not decode.
    """
    with index_for_now(client) as db:
        return list(provenance_of_lineage(db, store, model_id, digest))


def round_provenance(
    db: sqlite3.Connection, store: ContentStore, entry: RoundEntry, *, shown: slice = slice(None)
) -> RoundProvenance:
    """Return the provenance of a round, with these of its commitments; by default with all."""
    plans = queries.plans(db, entry.model_id)
    before = round_queries.round_of(db, round_id_of(entry.model_id, entry.number - 1))
    plan = plans[entry.plan_index]
    report = standing_report(db, store, entry)
    last = {a.aggregator: a.result_hash for a in round_queries.attestations(db, entry.round_id)}
    expelled = {e.aggregator for e in round_queries.expulsions(db, entry.round_id)}
    attesters = [who for who, result in last.items() if result == entry.result_hash and who not in expelled]
    return RoundProvenance(
        entry=entry,
        plan=plan,
        plan_before=None if before is None else plans[before.plan_index],
        plan_manifest=found_manifest(store, plan.plan.digest, PlanManifest),
        report=None if report is None else report.manifest,
        commitments=_commitments(db, store, entry, report, shown),
        attesters=tuple(attesters),
        scoring=None if entry.result_hash is None else round_queries.scoring(db, entry.round_id, entry.result_hash),
        disputes=_disputes(db, entry),
    )


def standing_report(db: sqlite3.Connection, store: ContentStore, entry: RoundEntry) -> Report | None:
    """Return the report of a round's standing result; None if it is unavailable or lists other commitments."""
    results = {found.result_hash: found.result for found in round_queries.results(db, entry.round_id)}
    result = results.get(entry.result_hash or b"")
    if result is None:
        return None
    try:
        report = load_report(store, result.report_digest, entry.commitments)
    except (ContentError, FormError):
        return None
    committed = [(c.participant, c.digest, c.weight, c.steps) for c in round_queries.commitments(db, entry.round_id)]
    return report if [(e.participant, e.digest, e.weight, e.steps) for e in report.entries] == committed else None


def _commitments(
    db: sqlite3.Connection, store: ContentStore, entry: RoundEntry, report: Report | None, shown: slice
) -> tuple[CommitmentProvenance, ...]:
    told = []
    for number, committed in list(enumerate(round_queries.commitments(db, entry.round_id)))[shown]:
        reason = None if report is None else Reason(report.entries[number].reason)
        factor = 0 if report is None else report.entries[number].factor
        admitted = report is not None and reason is Reason.ADMITTED
        share = committed.weight / report.manifest.total_weight if admitted and report else 0.0
        with reported_unavailable(reason is Reason.UNAVAILABLE):
            update = found_manifest(store, committed.digest, UpdateManifest)
        public = update.data_set if update is not None and isinstance(update.data_set, Cid) else None
        data_set = None if public is None else found_manifest(store, public.digest, DataSetManifest)
        told.append(CommitmentProvenance(committed, reason, share, factor, update, data_set))
    return tuple(told)


def _disputes(db: sqlite3.Connection, entry: RoundEntry) -> tuple[DisputeProvenance, ...]:
    convicted = {c.tally: c for c in round_queries.convictions(db, entry.round_id)}
    expelled = round_queries.expulsions(db, entry.round_id)
    return tuple(
        DisputeProvenance(
            void.result_hash,
            convicted[void.tally].fault,
            convicted[void.tally].challenger,
            tuple(e.aggregator for e in expelled if e.tally == void.tally),
        )
        for void in round_queries.voids(db, entry.round_id)
        if void.tally in convicted
    )
