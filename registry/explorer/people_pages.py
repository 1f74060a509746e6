"""The pages of an account and of a data set: what they went into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from registry.content.manifest import DataSetManifest
from registry.explorer.reading import AsOf, NotThere, Reading, cursor_of, hex_of, page_cursor
from registry.facts.version_facts import VersionPlace, recall_facts
from registry.index import queries, round_queries
from registry.index.entries import ConvictionEntry, MemberEntry, RoundEntry
from registry.lineage.affected_versions import Use, recall_data_set, uses_of
from registry.lineage.dates_and_metrics import DatesAndMetrics
from registry.store.manifests import found_manifest
from registry.types import Address, Digest, ModelId

__all__ = ["DataSetPage", "ParticipantPage", "data_set_page", "participant_page"]

_PART = 50
_MOST = 200


@dataclass(frozen=True, slots=True)
class ParticipantPage:
    """An account.

    Attributes:
        owns: Models that it owns.
        memberships: Its last role change in each model.
        convictions: Its convictions, in chain order.
        convicted_in: The round of each of them.
        uses: A part of its commitments with their outcome, newest first.
        next: Cursor of the next part; None at the end.
    """

    as_of: AsOf
    account: Address
    owns: tuple[ModelId, ...]
    memberships: tuple[MemberEntry, ...]
    convictions: tuple[ConvictionEntry, ...]
    convicted_in: tuple[RoundEntry, ...]
    uses: tuple[Use, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class DataSetPage:
    """A data set.

    Attributes:
        digest: By which updates and versions name it; of a private one salted.
        manifest: None if it is private or unavailable.
        stated_by: Versions whose owner states that they were trained on it.
        uses: Commitments to it in chain order, at most 200.
        versions: Entries of the versions that descend from it in all models in chain order, at most 200, without their
            metrics.
        more: Whether there are more commitments or versions.
        unread: Number of unavailable manifests: with them there may be more.
    """

    as_of: AsOf
    digest: Digest
    manifest: DataSetManifest | None
    stated_by: tuple[Digest, ...]
    uses: tuple[Use, ...]
    versions: tuple[VersionPlace, ...]
    more: bool
    unread: int


def participant_page(reading: Reading, path: Mapping[str, str], query: Mapping[str, str]) -> ParticipantPage:
    """Return what an account owns, its roles and its commitments."""
    who = Address(hex_of(path["account"], 20, "address"))
    found = round_queries.commitments_by_before(reading.db, who, cursor_of(query.get("before")), _PART + 1)
    owns, memberships = queries.owned_by(reading.db, who), queries.memberships(reading.db, who)
    convictions = round_queries.convictions_by(reading.db, who)
    if not (found or owns or memberships or convictions or queries.acts(reading.db, who)):
        raise NotThere(f"account {path['account']} takes part in no model up to block {reading.as_of.block}")
    uses = uses_of(reading.db, reading.store, found[:_PART])[::-1]
    further = page_cursor(found[_PART - 1].at) if len(found) > _PART else None
    rounds = tuple(one for c in convictions if (one := round_queries.round_of(reading.db, c.round_id)) is not None)
    return ParticipantPage(reading.as_of, who, owns, memberships, convictions, rounds, uses, further)


def data_set_page(reading: Reading, path: Mapping[str, str], query: Mapping[str, str]) -> DataSetPage:
    """Return a data set that an update or a version names, and what descends from it."""
    digest = Digest(hex_of(path["digest"], 32, "data set's digest"))
    if not reading.catalogue.naming(digest):
        raise NotThere(f"no update or version at hand names the data set {path['digest']}")
    found = recall_data_set(reading.db, reading.store, reading.catalogue, digest, unread=reading.unread)
    shown = replace(found, versions=found.versions[:_MOST])
    times = reading.times_of(one.at for one in shown.versions)
    told = DatesAndMetrics(times, {one.digest: {} for one in shown.versions}, {})
    return DataSetPage(
        as_of=reading.as_of,
        digest=digest,
        manifest=found_manifest(reading.store, digest, DataSetManifest),
        stated_by=found.stated,
        uses=found.uses[:_MOST],
        versions=recall_facts(digest, shown, told).versions,
        more=len(found.uses) > _MOST or len(found.versions) > _MOST,
        unread=found.unread,
    )
