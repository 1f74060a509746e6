"""A model's events, read from a node once and shared by all of its versions' checks."""

from __future__ import annotations

from functools import cached_property

from registry.chain.contract_events import (
    ResultAttested,
    RolesChanged,
    RoundCancelled,
    RoundFinalized,
    RoundOpened,
    UpdateCommitted,
)
from registry.chain.contract_hashes import round_id_of
from registry.chain.views import Views
from registry.ethereum.positions import Event
from registry.lineage.graph import VersionNode
from registry.rounds.eligibility import RoundEvents
from registry.rounds.onchain import RoundRecord, block_times
from registry.types import ModelId
from registry.verification.checks import require_same

__all__ = ["ModelEvents"]


class ModelEvents:
    """The events of a model and of its rounds, up to a block."""

    def __init__(self, client: Views, model_id: ModelId, block: int) -> None:
        self.client, self.model_id, self.block = client, model_id, block
        self._rounds: dict[int, tuple[Event, ...]] = {}

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """All events that name the model, in chain order."""
        return tuple(self.client.events(subject=self.model_id, to_block=self.block))

    def of_round(self, number: int) -> tuple[Event, ...]:
        """Return all events that name a round, in chain order."""
        if number not in self._rounds:
            subject = round_id_of(self.model_id, number)
            self._rounds[number] = tuple(self.client.events(subject=subject, to_block=self.block))
        return self._rounds[number]

    def around(self, record: RoundRecord) -> RoundEvents:
        """Return the events of a round, all role changes, and the times of its commitments and attestations."""
        opened = [e for e in self.events if isinstance(e, RoundOpened) and e.number == record.number]
        own = self.of_round(record.number)
        roles = [e for e in self.events if isinstance(e, RolesChanged)]
        require_same("round: opened once", len(opened), 1)
        timed = {e.at for e in (*record.commitments, *own) if isinstance(e, UpdateCommitted | ResultAttested)}
        return RoundEvents(opened[0], own, roles, block_times(self.client, timed))

    def looked_at(self, step: VersionNode) -> list[Event]:
        """Return the events that a version's checks depend on, receipts aside: its round's, and roles until then."""
        if not step.round:
            return []
        own = self.of_round(step.round)
        opened = [e for e in self.events if isinstance(e, RoundOpened) and e.number == step.round]
        roles = [e for e in self.events if isinstance(e, RolesChanged) and own and e.at < own[-1].at]
        return [*opened, *roles, *own]

    def of(self, step: VersionNode) -> list[Event]:
        """Return the events that anchor a version; the first version's include roles and plans."""
        if not any(step.parent):
            return [e for e in self.events if not isinstance(e, (RoundOpened, RoundFinalized, RoundCancelled))]
        return [e for e in self.events if e.at.block_number == step.block or getattr(e, "number", 0) == step.round != 0]
