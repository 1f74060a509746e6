"""The structs of the Court contract as frozen Python values, in the ABI's order; a test compares them."""

from __future__ import annotations

from dataclasses import dataclass

from registry.chain.challenge_records import Opening
from registry.ethereum.hashing import keccak
from registry.types import Address, Fault, Part, Root, RoundId

__all__ = [
    "ANSWER_GAS",
    "Bond",
    "Conviction",
    "Demand",
    "Demanded",
    "OpenDemands",
    "Shown",
    "MAX_DEPOSIT",
    "MAX_HEAD",
    "claim_of",
    "seal_of",
]

ANSWER_GAS = 150_000
"""Times the base fee it is the least deposit of a demand, where the plan asks for no more."""
MAX_DEPOSIT = 10**17
"""Largest deposit of a demand, wei."""
MAX_HEAD = 1024
"""Bytes that are shown of a demanded head at most."""


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

    @property
    def head(self) -> bool:
        """Whether it is a head, by its digest."""
        return self.entries == 0


@dataclass(frozen=True, slots=True)
class Shown:
    """A demanded leaf, and what shows it."""

    demanded: Demanded
    opening: Opening


@dataclass(frozen=True, slots=True)
class Demand:
    """How a demand stands; `deadline` is zero where there is none.

    Attributes:
        late_deadline: First second in which no answer is taken, a late one neither; the deadline where the plan gives
            no late period.
    """

    demander: Address
    deposit: int
    deadline: int
    late_deadline: int
    closed: bool
    answered: bool


@dataclass(frozen=True, slots=True)
class OpenDemands:
    """How many demands of a tally are neither shown nor given up, their deposits, and what late answers burnt, wei."""

    count: int
    deposits: int
    late_burnt: int


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
