"""The tree of inner products that a report anchors under rules that select.

Coordinates are split into rows of 4096. With K updates, ascending by participant, leaf r K + k holds K sums of 32 bytes
each: of update k with every update, over all coordinates of parameters up to the end of row r. So the last K leaves
hold the Gram matrix, and two leaves K apart differ by what one row adds, which is all that a fraud proof needs.

The tree is built in the pass that measures the updates. Ranges of leaves are measured side by side and write what each
of their rows adds to one file, in place of the sums; then one pass over this file adds up and hashes. The first and the
last row of a range may belong to its neighbours too, so these are returned instead.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from registry.content.merkle import MerkleBuilder, Rows, counted_root, leaf_hashes
from registry.content.segments import Segment
from registry.rounds.leaf_aggregation import Job, parameter_parts
from registry.rules.gram import (
    MOST_CONTRIBUTIONS,
    ROW_VALUES,
    WORD_BYTES,
    Words,
    row_products,
    summed_up,
    upper_triangle,
    word_bytes,
    words_in,
)
from registry.types import Root, SegmentKind

__all__ = [
    "GramTree",
    "NO_SEGMENT",
    "RangeEnds",
    "add_up",
    "finest_segment",
    "gram_bytes",
    "gram_count",
    "gram_path",
    "gram_rows",
    "has_gram",
    "measure_rows",
    "row_count",
]

NO_SEGMENT = (1 << 64) - 1
"""Stands for the finest segment where none is of parameters."""
_AT_ONCE = 128
"""Rows of limbs multiplied at a time: 4 MiB."""
_BLOCK = 1 << 22
"""Bytes of sums added up at a time."""
RangeEnds = list[tuple[int, Words]]
"""What a range of leaves adds to the rows that it may share with its neighbours."""


@dataclass(frozen=True, slots=True)
class GramTree:
    """The tree of inner products, with all its leaves in a file.

    Attributes:
        root: Its counted root.
        updates: K.
        file: The leaves, one after the other.
    """

    root: Root
    updates: int
    file: Path


def has_gram(selects: bool, updates: int) -> bool:
    """Return whether the report of so many admitted updates anchors their inner products, if the rules select."""
    return selects and 0 < updates <= MOST_CONTRIBUTIONS


def gram_rows(updates: int) -> Rows:
    """Return what a leaf holds."""
    return Rows(WORD_BYTES, updates)


def gram_count(values: int, updates: int) -> int:
    """Return the number of sums."""
    return row_count(values) * updates * updates


def gram_bytes(values: int, updates: int) -> int:
    """Return the bytes of all leaves."""
    return gram_count(values, updates) * WORD_BYTES


def row_count(values: int) -> int:
    """Return the number of rows of so many coordinates."""
    return -(-values // ROW_VALUES)


def gram_path(aggregate: Path) -> Path:
    """Return the file of the leaves beside an aggregate's."""
    return aggregate.with_name(f"{aggregate.name}.inner-products")


def finest_segment(segments: Sequence[Segment]) -> int:
    """Return the index of the first segment of parameters with the least exponent; 2^64 - 1 where there is none."""
    parameters = (index for index, segment in enumerate(segments) if segment.kind is SegmentKind.PARAMETER)
    return min(parameters, key=lambda index: segments[index].exponent, default=NO_SEGMENT)


# Measuring -----------------------------------------------------------------------------------------------------------


def measure_rows(job: Job, begin: int, end: int, path: Path) -> RangeEnds:
    """Write what each row of coordinates adds, but for the first and the last row of leaves begin..end-1.

    Args:
        job: The combination, its updates ascending by participant.
        begin: First leaf.
        end: Past the last leaf.
        path: A file as long as all leaves of the tree, zeros.

    Returns:
        The sums of the rows not written.
    """
    count = len(job.updates)
    size = count * count * WORD_BYTES
    ends: dict[int, Words] = {}
    held: tuple[int, Words] | None = None
    with path.open("r+b", buffering=0) as file:
        for row, sums in _row_sums(job, begin, end):
            if held is not None and held[0] == row:
                held = row, held[1] + sums
                continue
            if held is not None:
                _keep(file.fileno(), size, held, ends)
            held = row, sums
    if held is not None:
        ends[held[0]] = held[1]
    return list(ends.items())


def _keep(descriptor: int, size: int, held: tuple[int, Words], ends: dict[int, Words]) -> None:
    row, sums = held
    if not ends:  # the first one
        ends[row] = sums
        return
    whole = summed_up(np.zeros_like(sums), sums[np.newaxis])
    os.pwrite(descriptor, word_bytes(whole), size * row)


def _row_sums(job: Job, begin: int, end: int) -> Iterator[tuple[int, Words]]:
    """Yield rows, in order, with a part of what each adds; one row after the other may be the same."""
    most = max(1, _AT_ONCE // (2 * len(job.updates)))
    for first, part, exponent in parameter_parts(job, begin, end):
        start = 0
        while start < part.shape[1]:
            row, within = divmod(first + start, ROW_VALUES)
            left = part.shape[1] - start
            rows = 1 if within else min(left // ROW_VALUES, most)
            length = min(ROW_VALUES - within, left) if rows <= 1 else rows * ROW_VALUES
            taken = part[:, start : start + length].reshape(len(part), max(rows, 1), -1)
            for sums in row_products(taken, 2 * exponent):
                yield row, sums
                row += 1
            start += length


# Adding up -----------------------------------------------------------------------------------------------------------


def add_up(path: Path, values: int, updates: int, ends: Sequence[tuple[int, Words]]) -> tuple[GramTree, list[int]]:
    """Add up, in place, what the rows add, and hash it.

    Args:
        path: As `measure_rows` leaves it.
        values: Number of coordinates.
        updates: K.
        ends: What all ranges returned.

    Returns:
        The tree; and the inner products of all pairs, the upper triangle row by row.
    """
    size = updates * updates * WORD_BYTES
    total = row_count(values)
    before = np.zeros((updates, updates, 8), dtype=np.int64)
    builder = MerkleBuilder()
    with path.open("r+b", buffering=0) as file:
        at_once = max(1, _BLOCK // size)
        for first in range(0, total, at_once):
            number = min(at_once, total - first)
            rows = words_in(os.pread(file.fileno(), number * size, first * size), updates)
            for row, sums in ends:
                if first <= row < first + number:
                    rows[row - first] += sums
            sums_of = summed_up(before, rows)
            before = sums_of[-1]
            data = word_bytes(sums_of)
            os.pwrite(file.fileno(), data, first * size)
            hashes = leaf_hashes(data, gram_rows(updates).size)
            builder.extend([hashes[at : at + 32] for at in range(0, len(hashes), 32)])
    root = counted_root(gram_count(values, updates), builder.root())
    return GramTree(root, updates, path), upper_triangle(before)
