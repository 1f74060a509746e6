"""The structs of the Challenges contract as frozen Python values, in the ABI's order; a test compares them.

The court takes most of them too: what it has alone stands in `court_records`.
"""

from __future__ import annotations

from dataclasses import dataclass

from registry.chain.records import Result, Roots
from registry.ethereum.hashing import keccak
from registry.types import Address, Digest, ModelId, Root, SegmentKind

__all__ = [
    "Basis",
    "Before",
    "COMMITMENT_BYTES",
    "CONTRIBUTION_BYTES",
    "Commitment",
    "Counted",
    "Listed",
    "Membership",
    "Middle",
    "NOTHING",
    "NOWHERE",
    "NO_BASIS",
    "NO_COMMITMENT",
    "NO_COORDINATE",
    "Opening",
    "PlacedSegment",
    "Step",
    "Sum",
    "Target",
    "commitment_sought",
    "contribution_leaf",
]

NO_COORDINATE = (1 << 64) - 1
"""In place of a coordinate where only weights, steps and factors are added up."""
COMMITMENT_BYTES, CONTRIBUTION_BYTES = 160, 192
"""Of a leaf of the contributions root, and of the commitment that it begins with."""
NO_COMMITMENT = b"\xff" * 32
"""What a leaf of another length begins with, where commitments are replayed."""


@dataclass(frozen=True, slots=True)
class Target:
    """A result in its challenge window."""

    model_id: ModelId
    number: int
    result: Result


@dataclass(frozen=True, slots=True)
class Basis:
    """What a result is held against: the rules it was made by, and the roots of the version it was made of."""

    rules: bytes
    parent: Roots


NO_BASIS = Basis(b"", Roots(Root(bytes(32)), Root(bytes(32))))
"""Given where nothing of it is needed."""


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
class Commitment:
    """What a participant committed."""

    participant: Address
    digest: Digest
    tensor_root: Root
    weight: int
    steps: int


@dataclass(frozen=True, slots=True)
class Listed:
    """A contribution as the contributions root holds it: a commitment, and its factor; `Contribution` in the ABI."""

    participant: Address
    digest: Digest
    tensor_root: Root
    weight: int
    steps: int
    factor: int

    @property
    def commitment(self) -> Commitment:
        """What of it was committed."""
        return Commitment(self.participant, self.digest, self.tensor_root, self.weight, self.steps)


@dataclass(frozen=True, slots=True)
class Membership:
    """A contribution at its place in the contributions root."""

    counted: Counted
    index: int
    contribution: Listed
    proof: tuple[bytes, ...]


_NOBODY = Listed(Address(bytes(20)), Digest(bytes(32)), Root(bytes(32)), 0, 0, 0)
NOWHERE = Membership(Counted(0, bytes(32)), 0, _NOBODY, ())
"""Given where a tree is not a contribution's."""


@dataclass(frozen=True, slots=True)
class PlacedSegment:
    """A segment at its place in the segments' root; `Segment` in the ABI."""

    counted: Counted
    index: int
    first: int
    length: int
    exponent: int
    kind: SegmentKind
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Before:
    """What a coordinate of version and state is computed from."""

    coordinate: int
    segment: PlacedSegment
    parent: Opening
    aggregate: Opening
    state: Opening


NOTHING = Opening(Counted(0, bytes(32)), b"", ())
"""Given where there is nothing to open."""


@dataclass(frozen=True, slots=True)
class Step:
    """One contribution added to a sum, with its chunk unless only its numbers are added."""

    contribution: Listed
    chunk: Opening


@dataclass(frozen=True, slots=True)
class Middle:
    """Where the values of a coordinate lie: the least and the greatest that columns do not leave out, and how many
    values are below, at and above them.
    """

    least: int = 0
    greatest: int = 0
    below: int = 0
    at_least: int = 0
    at_greatest: int = 0
    above: int = 0


@dataclass(frozen=True, slots=True)
class Sum:
    """How far adding up has come: contributions, their weights, steps and factors, factor times grid integer or, of
    columns, the values between the two of `middle`, and the roots of perfect subtrees.
    """

    next: int = 0
    weight: int = 0
    steps: int = 0
    factor: int = 0
    sum: int = 0
    middle: Middle = Middle()
    peaks: tuple[bytes, ...] = ()


def contribution_leaf(entry: Listed) -> bytes:
    """Return abi.encode of a contribution, 192 bytes: a leaf of the contributions root, whatever its numbers are."""
    numbers = (entry.weight, entry.steps, entry.factor)
    fixed = entry.participant.rjust(32, b"\0") + entry.digest + entry.tensor_root
    return fixed + b"".join(number.to_bytes(32, "big") for number in numbers)


def commitment_sought(leaf: bytes) -> bytes:
    """Return what replaying commitments looks for, to show that a leaf of the contributions root was not committed."""
    return keccak(leaf[:COMMITMENT_BYTES]) if len(leaf) == CONTRIBUTION_BYTES else NO_COMMITMENT
