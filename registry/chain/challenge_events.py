"""The events of the Challenges contract as frozen values, as `events` has those of Cairn."""

from __future__ import annotations

from dataclasses import dataclass

from registry.ethereum.positions import Event
from registry.types import Address, RoundId

__all__ = [
    "CHALLENGE_EVENTS",
    "ChallengeAdvanced",
]


@dataclass(frozen=True, slots=True)
class ChallengeAdvanced(Event):
    """A challenge of several transactions went on."""

    round_id: RoundId
    tally: bytes
    challenger: Address
    next: int


CHALLENGE_EVENTS: tuple[type[Event], ...] = (ChallengeAdvanced,)
