"""A round's record with its plan, parent and update form: all inputs of its result but the updates."""

from __future__ import annotations

from dataclasses import dataclass

from registry.content.manifest import PlanManifest, VersionManifest
from registry.rounds.admission import UpdateForm, update_form
from registry.rounds.onchain import RoundRecord
from registry.rounds.plans import load_plan
from registry.rounds.versions import load_parent, read_header
from registry.store.base import ContentStore

__all__ = ["LoadedRound", "load_round"]


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


def load_round(store: ContentStore, record: RoundRecord) -> LoadedRound:
    """Fetch a round's plan and parent.

    Raises:
        ContentError: A manifest, or the parent's header, is unavailable.
        FormError, VerificationFailed: One is not what the chain says.
    """
    plan, parent = load_plan(store, record.plan), load_parent(store, record)
    return LoadedRound(record, plan, parent, update_form(read_header(store, parent.weights.blob), plan))
