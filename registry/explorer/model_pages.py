"""The pages of models: the list, one model, and its versions, rounds and members in parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from registry.chain.phases import phase_at
from registry.chain.validator_scores import SCORE_ONE
from registry.content.manifest import Statement, VersionManifest
from registry.explorer.reading import AsOf, Reading, cursor_of, number_of, page_cursor
from registry.facts.label_facts import LabelFacts, label_facts
from registry.index import queries, round_queries
from registry.index.entries import (
    DeprecationEntry,
    MemberEntry,
    ModelEntry,
    OwnerEntry,
    PlanEntry,
    RoundEntry,
    VersionEntry,
)
from registry.lineage.dates_and_metrics import round_score
from registry.lineage.provenance import round_provenance
from registry.lineage.version_labels import labels_of
from registry.rounds.scores import VersionScore
from registry.store.manifests import found_manifest
from registry.types import Digest, Phase

__all__ = [
    "ListedModel",
    "ListedRound",
    "ListedVersion",
    "MembersPage",
    "ModelPage",
    "ModelsPage",
    "RoundsPage",
    "JudgedVersion",
    "VersionsPage",
    "listed_rounds",
    "members_page",
    "model_page",
    "models_page",
    "rounds_page",
    "statement_of",
    "versions_page",
]

_MODELS, _PART, _SHOWN, _PLOTTED, _MEASURED = 50, 100, 20, 60, 32
"""Models and entries on a page, entries of a model's own page, rounds in its plot, and commitments of a round up to
which its plot reads each participant's own evaluation."""


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model in a list.

    Attributes:
        title: Title in the newest owner's statement of the head's lineage; None without one, or if it is unavailable.
        time: Time of the block that registered it, Unix seconds; 0 if not known yet.
    """

    model: ModelEntry
    title: str | None
    time: int


@dataclass(frozen=True, slots=True)
class ModelsPage:
    """Models in order of registration; `next` is the cursor of the next part, None at the end."""

    as_of: AsOf
    models: tuple[ListedModel, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class ListedVersion:
    """A version on a model's time line.

    Attributes:
        time: Time of the block that anchored it, Unix seconds; 0 if not known yet.
        head: Whether it is the model's head.
    """

    version: VersionEntry
    time: int
    head: bool
    labels: LabelFacts


@dataclass(frozen=True, slots=True)
class ListedRound:
    """A round in a list; `phase` is by the chain's time, `time` that of the block that opened it, Unix seconds."""

    round: RoundEntry
    phase: Phase
    time: int


@dataclass(frozen=True, slots=True)
class JudgedVersion:
    """What is said of the version that a round made.

    Attributes:
        round: Number of the round that made it; 0 for a version that none made.
        score: By the participants of the next finalized round; None if they do not say, or there is none yet.
        validators: The median of what validators say, 0 to 1; None likewise.
    """

    version: Digest
    round: int
    score: VersionScore | None
    validators: float | None


@dataclass(frozen=True, slots=True)
class ModelPage:
    """A model.

    Attributes:
        statement: The owner's newest statement in the head's lineage; None without one, or if it is unavailable.
        aliases: Versions by alias.
        owners: Everyone who owned it, the registrant first.
        members: Accounts with a role, at most a page of them.
        more_members: Whether there are more.
        plans: Its newest plans, newest first.
        versions: Its newest versions, newest first.
        rounds: Its newest rounds, newest first.
        scores: Scores of the versions of its last rounds, oldest first.
    """

    as_of: AsOf
    model: ModelEntry
    statement: Statement | None
    aliases: Mapping[str, Digest]
    owners: tuple[OwnerEntry, ...]
    members: tuple[MemberEntry, ...]
    more_members: bool
    plans: tuple[PlanEntry, ...]
    deprecations: tuple[DeprecationEntry, ...]
    versions: tuple[ListedVersion, ...]
    rounds: tuple[ListedRound, ...]
    scores: tuple[JudgedVersion, ...]


@dataclass(frozen=True, slots=True)
class VersionsPage:
    """A model's versions, newest first; `next` is the cursor of the next part, None at the end."""

    as_of: AsOf
    model: ModelEntry
    versions: tuple[ListedVersion, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class RoundsPage:
    """A model's rounds, newest first; `next` is the cursor of the next part, None at the end."""

    as_of: AsOf
    model: ModelEntry
    rounds: tuple[ListedRound, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class MembersPage:
    """Accounts that have or had a role in a model, by their last change; `next` as in `VersionsPage`."""

    as_of: AsOf
    model: ModelEntry
    members: tuple[MemberEntry, ...]
    next: str | None


def models_page(reading: Reading, path: Mapping[str, str], query: Mapping[str, str]) -> ModelsPage:
    """Return a part of the list of models."""
    found = queries.models_after(reading.db, cursor_of(query.get("after")), _MODELS + 1)
    times = reading.times_of(model.at for model in found)
    listed = tuple(ListedModel(model, _title(reading, model), times[model.at.block]) for model in found[:_MODELS])
    return ModelsPage(reading.as_of, listed, page_cursor(listed[-1].model.at) if len(found) > _MODELS else None)


def model_page(reading: Reading, path: Mapping[str, str], query: Mapping[str, str]) -> ModelPage:
    """Return a model."""
    model = reading.model(path["model"])
    db, name = reading.db, model.model_id
    members = [member for member in queries.members(db, name) if member.roles]
    versions = queries.versions_before(db, name, None, _SHOWN)
    rounds = round_queries.rounds_before(db, name, model.rounds + 1, _PLOTTED)
    return ModelPage(
        as_of=reading.as_of,
        model=model,
        statement=statement_of(reading, model),
        aliases=labels_of(queries.labels(db, name)).aliases,
        owners=queries.owners(db, name),
        members=tuple(members[:_PART]),
        more_members=len(members) > _PART,
        plans=queries.plans(db, name)[: -_SHOWN - 1 : -1],
        deprecations=queries.deprecations(db, name),
        versions=_listed_versions(reading, model, versions),
        rounds=listed_rounds(reading, rounds[:_SHOWN]),
        scores=_scores(reading, rounds),
    )


def versions_page(reading: Reading, path: Mapping[str, str], query: Mapping[str, str]) -> VersionsPage:
    """Return a part of a model's versions."""
    model = reading.model(path["model"])
    found = queries.versions_before(reading.db, model.model_id, cursor_of(query.get("before")), _PART + 1)
    listed = _listed_versions(reading, model, found[:_PART])
    return VersionsPage(reading.as_of, model, listed, page_cursor(found[_PART - 1].at) if len(found) > _PART else None)


def rounds_page(reading: Reading, path: Mapping[str, str], query: Mapping[str, str]) -> RoundsPage:
    """Return a part of a model's rounds."""
    model = reading.model(path["model"])
    before = number_of(query["before"], "round number") if "before" in query else model.rounds + 1
    found = round_queries.rounds_before(reading.db, model.model_id, before, _PART + 1)
    listed = listed_rounds(reading, found[:_PART])
    return RoundsPage(reading.as_of, model, listed, str(found[_PART - 1].number) if len(found) > _PART else None)


def members_page(reading: Reading, path: Mapping[str, str], query: Mapping[str, str]) -> MembersPage:
    """Return a part of a model's members."""
    model, after = reading.model(path["model"]), cursor_of(query.get("after")) or (-1, -1)
    every = [m for m in queries.members(reading.db, model.model_id) if (m.at.block, m.at.log_index) > after]
    return MembersPage(
        reading.as_of, model, tuple(every[:_PART]), page_cursor(every[_PART - 1].at) if len(every) > _PART else None
    )


def statement_of(reading: Reading, model: ModelEntry) -> Statement | None:
    """Return the newest owner's statement in the lineage of a model's head; None if there is none at hand."""
    by_owner = [one for one in queries.ancestors(reading.db, model.model_id, model.head) if one.round_id is None]
    manifest = found_manifest(reading.store, by_owner[-1].digest, VersionManifest) if by_owner else None
    return None if manifest is None else manifest.statement


def _title(reading: Reading, model: ModelEntry) -> str | None:
    said = statement_of(reading, model)
    return said.title or None if said is not None else None


def listed_rounds(reading: Reading, rounds: Sequence[RoundEntry]) -> tuple[ListedRound, ...]:
    """Return rounds as lists show them."""
    times = reading.times_of(one.at for one in rounds)
    return tuple(ListedRound(one, phase_at(one, reading.as_of.time), times[one.at.block]) for one in rounds)


def _listed_versions(
    reading: Reading, model: ModelEntry, versions: Sequence[VersionEntry]
) -> tuple[ListedVersion, ...]:
    times = reading.times_of(one.at for one in versions)
    labels = labels_of(queries.labels(reading.db, model.model_id))
    return tuple(
        ListedVersion(one, times[one.at.block], one.digest == model.head, label_facts(labels, one.digest))
        for one in versions
    )


def _scores(reading: Reading, rounds: Sequence[RoundEntry]) -> tuple[JudgedVersion, ...]:
    """Return the scores of the parents and versions of finalized rounds, oldest first; empty if nobody scores."""
    said: dict[Digest, VersionScore] = {}
    judged: dict[Digest, float] = {}
    made: dict[Digest, int] = {}
    for entry in sorted(rounds, key=lambda one: one.number):
        if entry.version_digest is None or entry.result_hash is None:
            continue
        made.setdefault(entry.parent, 0)
        made[entry.version_digest] = entry.number
        shown = slice(None) if entry.commitments <= _MEASURED else slice(0)
        if (score := round_score(round_provenance(reading.db, reading.store, entry, shown=shown))) is not None:
            said[entry.parent] = score
        scoring = round_queries.scoring(reading.db, entry.round_id, entry.result_hash)
        if scoring is not None and scoring.median is not None:
            judged[entry.version_digest] = scoring.median / SCORE_ONE
    scored = (JudgedVersion(d, number, said.get(d), judged.get(d)) for d, number in made.items())
    return tuple(one for one in scored if one.score is not None or one.validators is not None)
