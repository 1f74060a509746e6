"""Segments: which coordinates of a version belong to which tensor, how they are scaled, and what a round does to them.

A version, its updates, the aggregate and the server's state have the same coordinates: the F32 values of the version's
file, in file order. A segment is a tensor's run of them. The counted Merkle root over all segments stands in the rule
bytes, so the contract knows of any coordinate which scale exponent and kind it has, by one inclusion proof.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from registry.content.merkle import counted_root, leaf_hash, merkle_root
from registry.content.tensors import TensorHeader
from registry.errors import InputError
from registry.types import Root, SegmentKind

__all__ = ["SegmentKind", "Segment", "segment_at", "segment_leaf", "segments_of", "segments_root"]


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of coordinates.

    Attributes:
        first: Its first coordinate.
        length: How many there are, at least 1.
        exponent: e: deltas are divided by 2^e before they are rounded to the grid, steps multiplied.
        kind: What a round does to them.
    """

    first: int
    length: int
    exponent: int
    kind: SegmentKind


def segments_of(
    header: TensorHeader, exponents: Mapping[str, int], kinds: Mapping[str, SegmentKind]
) -> tuple[Segment, ...]:
    """Return the segments of a version: one for each F32 tensor with values, in file order.

    Args:
        header: Of the version's file, or of an update's: the F32 tensors are the same.
        exponents: e by tensor; 0 for those not named.
        kinds: By tensor; a parameter where not named.

    Raises:
        InputError: A name is not an F32 tensor of the header's, or there is no value.
    """
    tensors = [spec for spec in header.specs if spec.dtype == "F32"]
    unknown = sorted({*exponents, *kinds} - {spec.name for spec in tensors})
    if unknown:
        raise InputError(f"segments: expected names of F32 tensors of the parent, got {unknown[0]!r}")
    found, first = [], 0
    for spec in tensors:
        length = (spec.end - spec.begin) // 4
        if length:
            kind = kinds.get(spec.name, SegmentKind.PARAMETER)
            found.append(Segment(first, length, exponents.get(spec.name, 0), kind))
        first += length
    if not found:
        raise InputError("segments: expected one or more F32 values in the parent, got none")
    return tuple(found)


def segment_leaf(segment: Segment) -> bytes:
    """Return the 19 bytes of a leaf: uint64 first, uint64 length, int16 exponent, uint8 kind, big-endian."""
    place = segment.first.to_bytes(8, "big") + segment.length.to_bytes(8, "big")
    return place + segment.exponent.to_bytes(2, "big", signed=True) + bytes((segment.kind,))


def segments_root(segments: Iterable[Segment]) -> Root:
    """Return the counted Merkle root over segments, counting them."""
    leaves = [leaf_hash(segment_leaf(segment)) for segment in segments]
    return counted_root(len(leaves), merkle_root(leaves))


def segment_at(segments: tuple[Segment, ...], coordinate: int) -> int:
    """Return the index of the segment that a coordinate lies in.

    Raises:
        InputError: It lies past the last one.
    """
    for index, segment in enumerate(segments):
        if segment.first <= coordinate < segment.first + segment.length:
            return index
    raise InputError(
        f"segments: expected a coordinate below {segments[-1].first + segments[-1].length}, got {coordinate}"
    )
