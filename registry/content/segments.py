"""Segments: each tensor's run of coordinates, with its scale exponent and kind, under one Merkle root.

A version, its updates, the aggregate and the server's state share the same coordinates: the F32 values of the
version's file, in file order. A segment is the run of coordinates of one tensor. The rule bytes contain the counted
Merkle root over all segments, so one inclusion proof shows the contract any coordinate's scale exponent and kind.
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
        length: Number of coordinates, at least 1.
        exponent: e: deltas are divided by 2^e before rounding to the grid, steps are multiplied by 2^e.
        kind: How a round updates them.
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
        header: Header of the version's file or of an update's: the F32 tensors are the same.
        exponents: Scale exponent e by tensor; default 0.
        kinds: Segment kind by tensor; default PARAMETER.

    Raises:
        InputError: A name is not an F32 tensor of the header, or there are no values.
    """
    tensors = [spec for spec in header.specs if spec.dtype == "F32"]
    unknown = sorted({*exponents, *kinds} - {spec.name for spec in tensors})
    if unknown:
        raise InputError(
            f"expected the plan's scales and buffers to name F32 tensors of the version, got {unknown[0]}, which is "
            "none: take it out of the plan, or make the plan of the version's tensors (`cairn plan new --model`, or "
            "`--module` with `--without` for what is private)"
        )
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
    """Return the counted Merkle root over segments; the count is their number."""
    leaves = [leaf_hash(segment_leaf(segment)) for segment in segments]
    return counted_root(len(leaves), merkle_root(leaves))


def segment_at(segments: tuple[Segment, ...], coordinate: int) -> int:
    """Return the index of the segment that contains a coordinate.

    Raises:
        InputError: The coordinate lies past the last segment.
    """
    for index, segment in enumerate(segments):
        if segment.first <= coordinate < segment.first + segment.length:
            return index
    raise InputError(
        f"segments: expected a coordinate below {segments[-1].first + segments[-1].length}, got {coordinate}"
    )
