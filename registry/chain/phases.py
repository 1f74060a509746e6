"""The phase of a round at a given time: the only contract rule that is reimplemented in Python."""

from __future__ import annotations

from typing import Protocol

from registry.types import Phase

__all__ = ["RoundState", "phase_at"]


class RoundState(Protocol):
    """What a round's phase depends on: deadlines, Unix seconds, and how it ended."""

    @property
    def commit_deadline(self) -> int: ...
    @property
    def publish_deadline(self) -> int: ...
    @property
    def aggregate_deadline(self) -> int: ...
    @property
    def challenge_deadline(self) -> int: ...
    @property
    def cancelled(self) -> bool: ...
    @property
    def finalized(self) -> bool: ...


def phase_at(state: RoundState, time: int) -> Phase:
    """Return the phase of a round at a block's timestamp.

    Args:
        state: The round as the contract or the index returns it; all zeros for a round that does not exist.
        time: The block's timestamp, Unix seconds.
    """
    if state.commit_deadline == 0:
        return Phase.NONE
    if state.cancelled:
        return Phase.CANCELLED
    if state.finalized:
        return Phase.FINAL
    if state.challenge_deadline != 0:
        return Phase.CHALLENGE if time < state.challenge_deadline else Phase.FINAL
    if time < state.commit_deadline:
        return Phase.COMMIT
    if time < state.publish_deadline:
        return Phase.PUBLISH
    if time < state.aggregate_deadline:
        return Phase.AGGREGATE
    return Phase.CANCELLED
