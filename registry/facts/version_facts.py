"""A version's provenance: its lineage, and what descends from it, an update or a data set."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from registry.content.manifest import (
    Code,
    DataSetManifest,
    PlanManifest,
    Reason,
    ReportManifest,
    UpdateManifest,
    VersionManifest,
)
from registry.errors import InputError
from registry.facts.label_facts import LabelFacts, label_facts
from registry.facts.score_facts import ValidatorsFacts, validators_facts
from registry.index.entries import DeprecationEntry, PlanEntry, VersionEntry
from registry.lineage.affected_versions import Participation, Recall, Use
from registry.lineage.ancestry import Ancestry
from registry.lineage.dates_and_metrics import DatesAndMetrics
from registry.lineage.provenance import (
    CommitmentProvenance,
    DisputeProvenance,
    VersionProvenance,
    metrics_of,
    provenance_of_version,
)
from registry.rounds.scores import VersionScore
from registry.store.base import ContentStore
from registry.types import Address, Digest, ModelId

__all__ = [
    "CommitmentOutcome",
    "LineageFacts",
    "ParticipationFacts",
    "RecallFacts",
    "VersionFacts",
    "VersionPlace",
    "ancestor_stories",
    "descendants_of",
    "lineage_entries",
    "lineage_facts",
    "participation_facts",
    "recall_facts",
    "version_facts",
]


@dataclass(frozen=True, slots=True)
class VersionPlace:
    """A version's entry in a model.

    Attributes:
        round: Number of the round that made it; None if its owner published it.
        block: Number of the block that anchored it.
        final: Whether it and any deprecation of it are final.
        time: Time of that block, Unix seconds.
        deprecated: Whether its owner deprecated it.
        metrics: Its metrics by name: the owner's, or the weighted mean of the contributions' own; nobody checks them.
    """

    model: ModelId
    version: Digest
    round: int | None
    block: int
    time: int
    final: bool
    deprecated: bool
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class CommitmentOutcome:
    """A commitment of a version's round with its outcome.

    Attributes:
        digest: Digest of the update's manifest.
        steps: Training steps that the participant declared.
        share: Fraction of the total weight; 0 unless admitted.
        reason: Its reason in the report; None if the report is unavailable.
        update: None if unavailable.
        code: What its participant says it was trained by; None if not stated.
        data_set: The manifest of its data set, if public and available.
    """

    participant: Address
    digest: Digest
    weight: int
    steps: int
    share: float
    reason: Reason | None
    update: UpdateManifest | None
    code: Code | None
    data_set: DataSetManifest | None


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """A version in one model, as chain and manifests claim. Manifests are None if unavailable.

    Attributes:
        round: Number of the round that made it; None if its owner published it. Then it has no plan, report,
            commitments, attesters or disputes.
        parent: Parent in the model; None for a genesis.
        parents: Parents in all models.
        block: Number of the block that anchored it.
        time: Time of that block, Unix seconds.
        final: Whether it and any deprecation of it are final.
        head: Whether it is the model's head.
        deprecated: Whether its owner deprecated it.
        labels: Its aliases, tags and notes in the model.
        metrics: Its metrics by name: the owner's, or the weighted mean of the contributions' own; nobody checks them.
        score: How good the participants of the round that has it as parent say that it is; None if they do not.
        validators: What validators say of the round's result; None if they say nothing.
        elsewhere: Its entries in other models.
        commitments: In commit order.
        attesters: Attesters of the round's result.
        disputes: Voided results of the round.
    """

    version: Digest
    model: ModelId
    round: int | None
    parent: Digest | None
    parents: tuple[Digest, ...]
    block: int
    time: int
    final: bool
    head: bool
    deprecated: bool
    deprecation: DeprecationEntry | None
    labels: LabelFacts
    metrics: Mapping[str, float]
    score: VersionScore | None
    validators: ValidatorsFacts | None
    elsewhere: tuple[VersionPlace, ...]
    manifest: VersionManifest | None
    plan: PlanEntry | None
    plan_manifest: PlanManifest | None
    report: ReportManifest | None
    commitments: tuple[CommitmentOutcome, ...]
    attesters: tuple[Address, ...]
    disputes: tuple[DisputeProvenance, ...]


@dataclass(frozen=True, slots=True)
class LineageFacts:
    """A version's lineage, across models.

    Attributes:
        lineage: The version and its ancestors, children first.
        descendants: Entries of its descendants in all models.
        unknown_parents: Parents that no model of this contract has.
        unread: Number of unavailable manifests: a parent in another model may be missing.
    """

    model: ModelId
    version: Digest
    lineage: tuple[VersionFacts, ...]
    descendants: tuple[VersionPlace, ...]
    unknown_parents: tuple[Digest, ...]
    unread: int


@dataclass(frozen=True, slots=True)
class ParticipationFacts:
    """An account's contributions to a model.

    Attributes:
        uses: Its commitments, in chain order.
        versions: Entries of all versions that descend from them, in all models, in chain order.
        unread: Number of unavailable manifests: with them there may be more.
    """

    model: ModelId
    participant: Address
    uses: tuple[Use, ...]
    versions: tuple[VersionPlace, ...]
    unread: int


@dataclass(frozen=True, slots=True)
class RecallFacts:
    """Everything that descends from a data set or an update.

    Attributes:
        digest: Digest of the data set or the update.
        stated_by: Versions whose owner states that they were trained on it.
        uses: Commitments to it, in chain order.
        versions: Entries of all descendants in all models, in chain order.
        unread: Number of unavailable manifests: with them there may be more.
    """

    digest: Digest
    stated_by: tuple[Digest, ...]
    uses: tuple[Use, ...]
    versions: tuple[VersionPlace, ...]
    unread: int


def ancestor_stories(
    db: sqlite3.Connection, store: ContentStore, ancestry: Ancestry, model: ModelId, version: Digest
) -> list[VersionProvenance]:
    """Return the stories of a version and its ancestors, parents first: in this model, or else the first that has it.

    Raises:
        InputError: The index lacks the version.
    """
    if version not in ancestry.places:
        raise InputError(f"version {version.hex()[:10]} is not in the index yet: run `cairn index sync`")
    stories = []
    for digest in ancestry.ancestors(version):
        held = ancestry.places.get(digest, ())
        at = next((e for e in held if e.model_id == model), held[0] if held else None)
        if at is not None:
            stories.append(provenance_of_version(db, store, at))
    return stories


def descendants_of(ancestry: Ancestry, version: Digest) -> list[VersionEntry]:
    """Return the entries of a version's descendants in all models, parents first."""
    return [entry for d in ancestry.descendants([version])[1:] for entry in ancestry.places.get(d, ())]


def lineage_entries(
    ancestry: Ancestry, stories: Sequence[VersionProvenance], version: Digest
) -> Iterator[VersionEntry]:
    """Yield all entries that a lineage shows: of the stories, of the same versions elsewhere, of descendants."""
    for story in stories:
        yield from (story.entry, *story.elsewhere)
    yield from descendants_of(ancestry, version)


def lineage_facts(
    ancestry: Ancestry,
    stories: Sequence[VersionProvenance],
    model: ModelId,
    version: Digest,
    told: DatesAndMetrics,
) -> LineageFacts:
    """Return a version's lineage, given its stories of `ancestor_stories`, and what is told of `lineage_entries`."""
    parents = ancestry.parents
    return LineageFacts(
        model=model,
        version=version,
        lineage=tuple(version_facts(story, parents[story.entry.digest], told) for story in reversed(stories)),
        descendants=tuple(_place(entry, told) for entry in descendants_of(ancestry, version)),
        unknown_parents=tuple(d for s in stories for d in parents[s.entry.digest] if d not in ancestry.places),
        unread=len(ancestry.unread),
    )


def participation_facts(
    model: ModelId, participant: Address, found: Participation, told: DatesAndMetrics
) -> ParticipationFacts:
    """Return the facts of an account's participation in a model, and of the versions found."""
    places = tuple(_place(entry, told) for entry in found.versions)
    return ParticipationFacts(model, participant, found.uses, places, found.unread)


def recall_facts(digest: Digest, found: Recall, told: DatesAndMetrics) -> RecallFacts:
    """Return the facts of the recall of a data set or an update, and of the versions found."""
    places = tuple(_place(entry, told) for entry in found.versions)
    return RecallFacts(digest, found.stated, found.uses, places, found.unread)


def version_facts(story: VersionProvenance, parents: tuple[Digest, ...], told: DatesAndMetrics) -> VersionFacts:
    """Return the facts of a version, given its parents in all models, and what is told of its entries."""
    entry, made = story.entry, story.round
    return VersionFacts(
        version=entry.digest,
        model=entry.model_id,
        round=entry.number or None,
        parent=entry.parent if any(entry.parent) else None,
        parents=parents,
        block=entry.at.block,
        time=told.times[entry.at.block],
        final=entry.final,
        head=story.head,
        deprecated=entry.deprecated,
        deprecation=story.deprecation,
        labels=label_facts(story.labels, entry.digest),
        metrics=metrics_of(story),
        score=told.scores.get(entry.digest),
        validators=validators_facts(made.scoring) if made and made.scoring else None,
        elsewhere=tuple(_place(other, told) for other in story.elsewhere),
        manifest=story.manifest,
        plan=made.plan if made else None,
        plan_manifest=made.plan_manifest if made else None,
        report=made.report if made else None,
        commitments=tuple(map(_outcome, made.commitments)) if made else (),
        attesters=made.attesters if made else (),
        disputes=made.disputes if made else (),
    )


def _outcome(told: CommitmentProvenance) -> CommitmentOutcome:
    entry = told.entry
    said = entry.participant, entry.digest, entry.weight, entry.steps
    return CommitmentOutcome(*said, told.share, told.reason, told.update, told.code, told.data_set)


def _place(entry: VersionEntry, told: DatesAndMetrics) -> VersionPlace:
    return VersionPlace(
        model=entry.model_id,
        version=entry.digest,
        round=entry.number or None,
        block=entry.at.block,
        time=told.times[entry.at.block],
        final=entry.final,
        deprecated=entry.deprecated,
        metrics=told.metrics[entry.digest],
    )
