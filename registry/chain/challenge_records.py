"""The structs of the Challenges contract as frozen Python values, in the ABI's order; a test compares them."""

from __future__ import annotations

from dataclasses import dataclass

from registry.chain.records import Result, keccak
from registry.types import Address, Digest, Fault, ModelId, Part, Root, RoundId

__all__ = [
    "Bond",
    "Conviction",
    "Counted",
    "Demand",
    "Demanded",
    "Listed",
    "MAX_DEPOSIT",
    "Membership",
    "NOWHERE",
    "NO_COORDINATE",
    "Opening",
    "Step",
    "Sum",
    "Target",
    "claim_of",
    "seal_of",
]

MAX_DEPOSIT = 10**17
"""Largest deposit of a demand, wei."""
NO_COORDINATE = (1 << 64) - 1
"""In place of a coordinate where only weights are added up."""


@dataclass(frozen=True, slots=True)
class Target:
    """A result in its challenge window."""

    model_id: ModelId
    number: int
    result: Result


@dataclass(frozen=True, slots=True)
class Counted:
    """What a counted root hashes: how many there are, and the RFC 9162 root over the leaves."""

    count: int
    inner: bytes


@dataclass(frozen=True, slots=True)
class Opening:
    """A leaf of a counted root, with its inclusion proof from the leaf's sibling up."""

    counted: Counted
    leaf: bytes
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Listed:
    """A contribution as the contributions root holds it; `Contribution` in the ABI."""

    participant: Address
    digest: Digest
    tensor_root: Root
    weight: int


@dataclass(frozen=True, slots=True)
class Membership:
    """A contribution at its place in the contributions root."""

    counted: Counted
    index: int
    contribution: Listed
    proof: tuple[bytes, ...]


NOWHERE = Membership(Counted(0, bytes(32)), 0, Listed(Address(bytes(20)), Digest(bytes(32)), Root(bytes(32)), 0), ())
"""Given where a tree is not a contribution's."""


@dataclass(frozen=True, slots=True)
class Step:
    """One contribution added to a sum, with its chunk unless only weights are added."""

    contribution: Listed
    chunk: Opening


@dataclass(frozen=True, slots=True)
class Sum:
    """How far adding up has come: contributions, weights, weight times grid integer, roots of perfect subtrees."""

    next: int = 0
    weight: int = 0
    sum: int = 0
    peaks: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Demanded:
    """A leaf that attesters are to show: of a contributions root, or of a tensor root."""

    round_id: RoundId
    tally: bytes
    root: Root
    contributions: bool
    index: int


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
