"""A round with everything that its result is recomputed from, but for the updates."""

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
    """A round as anchored, and the manifests that it rests on.

    Attributes:
        record: What the chain holds.
        plan: Its rules.
        parent: The version that it builds on.
        form: Of its updates.
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
