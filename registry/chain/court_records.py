"""The structs of the Court contract as frozen Python values, in the ABI's order; a test compares them."""

from __future__ import annotations

from dataclasses import dataclass

from registry.chain.challenge_records import Opening
from registry.chain.records import keccak
from registry.types import Address, Fault, Part, Root, RoundId

__all__ = [
    "Bond",
    "Conviction",
    "Demand",
    "Demanded",
    "Shown",
    "MAX_DEPOSIT",
    "claim_of",
    "seal_of",
]

MAX_DEPOSIT = 10**17
"""Largest deposit of a demand, wei."""


@dataclass(frozen=True, slots=True)
class Demanded:
    """A leaf that attesters are to show.

    Attributes:
        root: The counted root it is a leaf of.
        entry_bytes: Bytes of what that root counts.
        entries: How many of them a leaf holds: 1 for a contributions root.
    """

    round_id: RoundId
    tally: bytes
    root: Root
    entry_bytes: int
    entries: int
    index: int

    @property
    def contributions(self) -> bool:
        """Whether it is a contribution; else it holds numbers."""
        return self.entries == 1


@dataclass(frozen=True, slots=True)
class Shown:
    """A demanded leaf, and what shows it."""

    demanded: Demanded
    opening: Opening


@dataclass(frozen=True, slots=True)
class Demand:
    """How a demand stands; `deadline` is zero where there is none."""

    demander: Address
    deposit: int
    deadline: int
    closed: bool
    answered: bool


@dataclass(frozen=True, slots=True)
class Conviction:
    """By which claim a result was convicted, and who has shown the earliest seal of it."""

    claim: bytes
    fault: Fault
    order: int
    reveal_deadline: int
    leader: Address
    leader_order: int


@dataclass(frozen=True, slots=True)
class Bond:
    """An aggregator's bond, wei, and the last round attested with it."""

    amount: int
    locked_round: int


def claim_of(round_id: RoundId, tally: bytes, part: Part, index: int) -> bytes:
    """Return keccak256(abi.encode(roundId, tally, part, index)): what is sealed, and convicted by."""
    return keccak(round_id + tally + int(part).to_bytes(32, "big") + index.to_bytes(32, "big"))


def seal_of(challenger: Address, salt: bytes, claim: bytes) -> bytes:
    """Return keccak256(abi.encode(challenger, salt, claim))."""
    return keccak(challenger.rjust(32, b"\0") + salt + claim)
