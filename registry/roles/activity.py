"""Find the models that need an auditor now, by shared reads: requests do not grow with the number of idle models.

A model needs a look while its current round has an attested result that may be challenged, or attesters to expel. That
changes by an event or at a known deadline. So one range of logs and the time are read for all models, then the state of
those with new events, and of a few others in rotation, for a node that has left events out.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from registry.chain.contract_events import (
    AggregatorExpelled,
    CommitsEnded,
    QuorumReached,
    ResultAttested,
    ResultVoided,
    RoundCancelled,
    RoundFinalized,
    RoundOpened,
    WindowExtended,
)
from registry.chain.contract_structs import Round
from registry.chain.phases import phase_at
from registry.errors import CairnError
from registry.ethereum.node import chain_time
from registry.types import ModelId, Phase

if TYPE_CHECKING:
    from registry.chain.client import Client

__all__ = ["Activity"]

_EVERY = 1.0
"""Seconds between two looks at all models."""
_BACK = 7200
"""Blocks that the first look reads, a day of Ethereum: models with events in them are read first."""
_AT_ONCE = 20
"""Most models whose state one call reads; the next call reads more."""
_ROTATED = 2
"""Models that each look reads though no event names them."""
_KINDS = (
    AggregatorExpelled,
    CommitsEnded,
    QuorumReached,
    ResultAttested,
    ResultVoided,
    RoundCancelled,
    RoundFinalized,
    RoundOpened,
    WindowExtended,
)


class Activity:
    """What each model's current round needs. Thread-safe: one thread looks, others go on by what is known."""

    def __init__(self, client: Client, models: Sequence[ModelId], clock: Callable[[], float]) -> None:
        """Begin with every model unread.

        Args:
            client: The chain.
            models: The models.
            clock: Returns seconds.
        """
        self._client, self._clock = client, clock
        self._looking = threading.Lock()
        self._looked: float | None = None
        self._time = 0
        self._since: int | None = None
        self._unread = deque(dict.fromkeys(models))
        self._rotation = deque(self._unread)
        self._models = set(models)
        self._known: dict[ModelId, tuple[int, Round | None]] = {}
        self._of_round: dict[bytes, ModelId] = {}
        self._told: dict[ModelId, list[tuple[bytes, int]]] = {}
        self._failed: dict[ModelId, CairnError] = {}
        self._error: CairnError | None = None

    def round_of(self, model_id: ModelId) -> int:
        """Return the number of a model's current round if that needs a look now, else 0.

        Raises:
            CairnError: The chain, or this model, could not be read.
        """
        self._look()
        error = self._error or self._failed.get(model_id)
        if error is not None:
            raise error
        number, state = self._known.get(model_id, (0, None))
        if state is None:
            return 0
        phase = phase_at(state, self._time)
        open_to_charges = phase in (Phase.PUBLISH, Phase.AGGREGATE) and state.attested
        return number if phase == Phase.CHALLENGE or open_to_charges or state.unexpelled else 0

    def expire(self) -> None:
        """Look again at the next call, since something was done."""
        self._looked = None

    def _look(self) -> None:
        """Read new events, then the models that they name. Does nothing while another thread does."""
        if not self._looking.acquire(blocking=False):
            return
        try:
            now = self._clock()
            if self._looked is None or not 0 <= now - self._looked < _EVERY:
                self._looked, self._error = now, None
                try:
                    self._read_events()
                except CairnError as error:
                    self._error = error
                    return
                for _ in range(min(_ROTATED, len(self._rotation))):
                    self._want(self._rotation[0])
                    self._rotation.rotate(-1)
                for model in list(self._failed)[:_AT_ONCE]:
                    self._want(model)
            for _ in range(min(_AT_ONCE, len(self._unread))):
                self._read(self._unread.popleft())
        finally:
            self._looking.release()

    def _read_events(self) -> None:
        """Put the models first whose events differ from those at the last look, in blocks that are not final."""
        client = self._client
        self._time, final, latest = chain_time(client.w3), client.final_block(), client.latest_block()
        first = max(client.deployed_at, latest - _BACK) if self._since is None else self._since
        told: dict[ModelId, list[tuple[bytes, int]]] = {}
        try:
            events = list(client.events(*_KINDS, from_block=first, to_block=latest))
        except CairnError:
            if self._since is not None:
                raise
            events = []  # pruned logs, for one: every model is read at the start anyway
        for event in events:
            if isinstance(event, RoundOpened) and event.model_id in self._models:
                self._of_round[event.round_id] = event.model_id
            model = self._of_round.get(event.round_id)  # type: ignore[attr-defined]
            if model is not None:
                told.setdefault(model, []).append((event.at.block_hash, event.at.log_index))
        for model in {**told, **self._told}:
            if told.get(model) != self._told.get(model):
                self._want(model, first=True)
        self._told, self._since = told, max(first, min(final, latest) + 1)

    def _want(self, model: ModelId, *, first: bool = False) -> None:
        if first and model in self._unread:
            self._unread.remove(model)
        if model not in self._unread:
            (self._unread.appendleft if first else self._unread.append)(model)

    def _read(self, model: ModelId) -> None:
        """Read a model's current round. A failure is the model's own, and is tried again after the others."""
        self._failed.pop(model, None)
        try:
            number = self._client.model(model).rounds
            self._known[model] = number, self._client.round(model, number) if number else None
        except CairnError as error:
            self._failed[model] = error
        else:
            self._of_round[self._client.round_id(model, number)] = model
