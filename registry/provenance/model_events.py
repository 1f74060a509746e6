"""A model's own events, read from a node once for all of its versions."""

from __future__ import annotations

from functools import cached_property

from registry.chain.events import Event, RolesChanged, RoundCancelled, RoundFinalized, RoundOpened
from registry.chain.views import Views
from registry.provenance.checks import require_same
from registry.provenance.eligibility import RoundEvents
from registry.provenance.lineage import Step
from registry.provenance.rounds import RoundRecord, block_times
from registry.types import ModelId

__all__ = ["ModelEvents"]


class ModelEvents:
    """The events of a model up to a block, and of its rounds."""

    def __init__(self, client: Views, model_id: ModelId, block: int) -> None:
        self.client, self.model_id, self.block = client, model_id, block

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """All that name the model, in the order of the chain."""
        return tuple(self.client.events(subject=self.model_id, to_block=self.block))

    def around(self, record: RoundRecord) -> RoundEvents:
        """Return what happened around a round."""
        opened = [e for e in self.events if isinstance(e, RoundOpened) and e.number == record.number]
        own = tuple(self.client.events(subject=record.round_id, to_block=self.block))
        roles = [e for e in self.events if isinstance(e, RolesChanged)]
        require_same("round: opened once", len(opened), 1)
        return RoundEvents(opened[0], own, roles, block_times(self.client, {e.at for e in record.commitments}))

    def of(self, step: Step) -> list[Event]:
        """Return the events by which a version stands on chain, roles and plans with the first."""
        if not any(step.parent):
            return [e for e in self.events if not isinstance(e, (RoundOpened, RoundFinalized, RoundCancelled))]
        return [e for e in self.events if e.at.block_number == step.block or getattr(e, "number", 0) == step.round != 0]
