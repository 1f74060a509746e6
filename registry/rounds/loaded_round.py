"""A round's record with its plan, parent and update form: all inputs of its result but the updates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from registry.content.manifest import DELTA, PlanManifest, UpdateManifest, VersionManifest
from registry.errors import BlockNotFound, ContentError, FormError, InputError, VerificationFailed
from registry.rounds.admission import UpdateForm, update_form
from registry.rounds.onchain import RoundRecord
from registry.rounds.plans import load_plan
from registry.rounds.versions import load_parent, read_header
from registry.store.base import ContentStore
from registry.store.manifests import found_manifest
from registry.types import Blob

__all__ = ["LoadedRound", "load_by_updates", "load_round"]


@dataclass(frozen=True, slots=True)
class LoadedRound:
    """A round's record with its manifests.

    Attributes:
        record: The round as anchored.
        plan: The manifest of its plan.
        parent: The version that it builds on.
        form: The form that its updates must have.
    """

    record: RoundRecord
    plan: PlanManifest
    parent: VersionManifest
    form: UpdateForm


def load_round(store: ContentStore, record: RoundRecord, *, kept: VersionManifest | None = None) -> LoadedRound:
    """Fetch a round's plan and parent.

    Args:
        store: Where to fetch them.
        record: The round.
        kept: A version with the parent's roots that was recomputed. Its files count: attesters can anchor these roots
            with a manifest that names other files, or that they withhold.

    Raises:
        ContentError: A manifest, or the parent's header, is unavailable.
        FormError, InputError, VerificationFailed: One is not what the chain says, or the plan's header another.
    """
    plan, parent = load_plan(store, record.plan), _parent(store, record, kept)
    return LoadedRound(record, plan, parent, update_form(read_header(store, parent.weights.blob), plan))


def _parent(store: ContentStore, record: RoundRecord, kept: VersionManifest | None) -> VersionManifest:
    if kept is None:
        return load_parent(store, record)
    try:
        return replace(load_parent(store, record), weights=kept.weights, state=kept.state)
    except (ContentError, FormError, VerificationFailed):
        return kept


def load_by_updates(store: ContentStore, record: RoundRecord) -> LoadedRound:
    """Fetch a round whose parent's file is withheld; the form is that of any update whose header the plan names.

    Packed updates name no tensors: then it is that of the aggregate that the parent was made of.

    Raises:
        ContentError: A manifest is unavailable, or every such update.
        FormError, VerificationFailed: A manifest is not what the chain says.
    """
    plan, parent = load_plan(store, record.plan), load_parent(store, record)
    for blob in _same_tensors(store, record, parent):
        try:
            return LoadedRound(record, plan, parent, update_form(read_header(store, blob), plan))
        except (ContentError, FormError, InputError):
            continue  # unavailable, or another header than the plan's
    raise BlockNotFound(f"round {record.number}: expected the parent's file or an update with its header, found none")


def _same_tensors(store: ContentStore, record: RoundRecord, parent: VersionManifest) -> Iterator[Blob]:
    """Yield files that may have the parent's float32 tensors."""
    for commitment in record.commitments:
        update = found_manifest(store, commitment.digest, UpdateManifest)
        if update is not None and DELTA in update.files:
            yield update.delta.blob
    if parent.round is not None:
        yield parent.round.aggregate.blob
