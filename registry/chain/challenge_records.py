"""The structs of the Challenges contract as frozen Python values, in the ABI's order; a test compares them.

The court takes most of them too: what it has alone stands in `court_records`.
"""

from __future__ import annotations

from dataclasses import dataclass

from registry.chain.records import Result, Roots
from registry.types import Address, Digest, ModelId, Root, SegmentKind

__all__ = [
    "Basis",
    "Before",
    "Counted",
    "Listed",
    "Membership",
    "NOTHING",
    "NOWHERE",
    "NO_BASIS",
    "NO_COORDINATE",
    "Opening",
    "PlacedSegment",
    "Step",
    "Sum",
    "Target",
]

NO_COORDINATE = (1 << 64) - 1
"""In place of a coordinate where only weights are added up."""


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
