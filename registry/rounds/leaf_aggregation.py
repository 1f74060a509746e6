"""Aggregation kernel: FedAvg's weighted mean, median, trimmed mean or Bulyan of one 1 MiB leaf of all client updates.

Each leaf is validated as it is read: header, grid values and hashes. The arithmetic is in `registry.rules.grid`,
`registry.rules.combine` and `registry.rules.columns`.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from registry.content.merkle import LeafSink, TensorRootHasher
from registry.content.segments import Segment, SegmentKind
from registry.content.unixfs import CHUNK_SIZE as LEAF_BYTES
from registry.errors import FormError
from registry.rounds.tiles import Tiles, scratch_bytes
from registry.rules.columns import middle_sums, nearest_sums
from registry.rules.combine import rounded_mean
from registry.rules.encoding import MAX_VALUES
from registry.rules.grid import F32, I32, add_integers, write_integers
from registry.rules.packed import ROW_VALUES, Packing
from registry.rules.shapes import Columns, Factors, Fold, Select, SelectColumns, kept, left_out
from registry.rules.table import Combining
from registry.store.base import ContentStore
from registry.types import Cid

__all__ = [
    "LEAF_VALUES",
    "Checks",
    "Job",
    "Leaf",
    "Leaves",
    "LeafRange",
    "PackedLeaves",
    "StoredLeaves",
    "combiner",
    "leaf_of",
    "leaves_in_order",
    "measure",
    "parameter_parts",
    "scratch_of",
]

LEAF_VALUES = LEAF_BYTES // 4
_STREAMS = 32
"""Most updates that are read as one stream each, per process."""
Leaves = Callable[[int], bytes]
"""Reader that returns leaf i of one update's file."""


@dataclass(frozen=True, slots=True)
class StoredLeaves:
    """Reader of a stored blob's leaves, each verified by the store."""

    store: ContentStore
    root: Cid
    cids: Sequence[Cid]

    def __call__(self, index: int) -> bytes:
        return self.store.get(self.cids[index])


@dataclass(frozen=True, slots=True)
class PackedLeaves:
    """Reader of a packed update: of the rows whose coordinates are those of leaf i of a file of float32 values.

    Attributes:
        read: Returns bytes begin..end-1 of the file.
        header: Header that the file must have.
        first: Bytes of header in a file of float32 values.
        values: Coordinates.
        packing: Layout of the rows.
    """

    read: Callable[[int, int], bytes]
    header: bytes
    first: int
    values: int
    packing: Packing

    def __call__(self, index: int) -> bytes:
        first, last = self.rows(index)
        if not first and self.read(0, len(self.header)) != self.header:
            raise FormError("expected the header of the round's updates, got another")
        width = self.packing.row_bytes
        if first == last:
            return b""  # a leaf of nothing but header
        return self.read(len(self.header) + first * width, len(self.header) + last * width)

    def rows(self, index: int) -> tuple[int, int]:
        """Return the first row with a coordinate of leaf `index`, and the one after the last."""
        begin, end = self.coordinates(index)
        return begin // ROW_VALUES, self.packing.rows(end)

    def coordinates(self, index: int) -> tuple[int, int]:
        """Return the first coordinate of leaf `index`, and the one after its last."""
        begin, end = ((at * LEAF_BYTES - self.first) // 4 for at in (index, index + 1))
        return max(begin, 0), min(max(end, 0), self.values)

    def beginning(self, index: int) -> int:
        """Return the first row that begins in leaf `index` or later: where the hashing of that leaf begins."""
        return self.packing.rows(self.coordinates(index)[0])


def leaves_in_order(updates: Sequence[Leaves], begin: int, end: int) -> Iterator[bytes]:
    """Yield leaf begin of every update, then leaf begin + 1, and so on; stored leaves are fetched ahead of their use.

    All stored leaves are of one store: one stream per update, if it has streams and there are few, else block by block.
    """
    stored = [update for update in updates if isinstance(update, StoredLeaves)]
    fetched = _streams(stored, begin, end) or _blocks(stored, begin, end)
    for index in range(begin, end):
        for update in updates:
            yield next(fetched) if isinstance(update, StoredLeaves) else update(index)


def _streams(stored: Sequence[StoredLeaves], begin: int, end: int) -> Iterator[bytes] | None:
    if len(stored) > _STREAMS:
        return None
    streams = [update.store.stream(update.root, update.cids, begin, end) for update in stored]
    if not all(streams):
        return None
    return (next(stream) for _ in range(begin, end) for stream in streams if stream is not None)


def _blocks(stored: Sequence[StoredLeaves], begin: int, end: int) -> Iterator[bytes]:
    if stored:
        yield from stored[0].store.get_many(update.cids[index] for index in range(begin, end) for update in stored)


@dataclass(frozen=True, slots=True)
class Checks:
    """What to compute and check of the updates during combination."""

    cids: bool = True
    roots: bool = True
    grid: bool = True


@dataclass(frozen=True, slots=True)
class Job:
    """Inputs and settings of a combination.

    Attributes:
        counted: Effective weight of each update.
        sinks: Takers of the updates' leaf hashes; one an update, or none at all.
        factors: Factors of the updates; None for the shape columns.
        drawn: A random order of the updates, by their places, for rules that need one.
        segments: Of the values, for the shapes that select: their scales, and which are buffers; none means one scale.
        names: Names of the updates in errors; none calls them by their place.
    """

    updates: Sequence[Leaves]
    counted: Sequence[int]
    header: bytes
    size: int
    grid_bits: int
    combining: Combining
    check: Checks
    out: Path
    sinks: Sequence[LeafSink | None] = ()
    factors: Factors | None = None
    drawn: Sequence[int] = ()
    segments: Sequence[Segment] = ()
    names: Sequence[str] = ()

    def name_of(self, k: int) -> str:
        """Return what errors call an update."""
        return self.names[k] if self.names else f"update {k}"


@dataclass(frozen=True, slots=True)
class Leaf:
    """Geometry of leaf index, the same in every file.

    Attributes:
        at: Its offset, bytes.
        length: Its length, bytes.
        header: What it has of the header.
        first: The coordinate of its first value.
    """

    index: int
    at: int
    length: int
    header: bytes
    first: int

    @property
    def values(self) -> slice:
        """The float32 positions in it that hold values; a header's length is a multiple of 8 bytes."""
        return slice(len(self.header) // 4, self.length // 4)

    @property
    def count(self) -> int:
        return (self.length - len(self.header)) // 4


@dataclass(frozen=True, slots=True)
class LeafRange:
    """A range of leaves' contribution to a file's hashes: sha2-256 of each leaf, and the partial tensor root."""

    leaves: list[bytes]
    values: TensorRootHasher


Combiner = Callable[[Leaf, Iterator[bytes], Sequence[LeafRange], F32], None]
"""Takes a leaf of every update, adds it to the parts, and writes the aggregate's values of that leaf."""


def leaf_of(job: Job, index: int) -> Leaf:
    """Return the geometry of leaf index of the job's files."""
    at = index * LEAF_BYTES
    length = min(LEAF_BYTES, job.size - at)
    header = job.header[at : at + length]
    return Leaf(index, at, length, header, (at + len(header) - len(job.header)) // 4)


def combiner(job: Job) -> AbstractContextManager[Combiner]:
    """Return a context with the combiner of successive leaves, which owns its buffers and scratch file."""
    shape = job.combining.rule.shape
    if isinstance(shape, Columns):
        return _ordering(job, shape)
    return _nearing(job, shape) if isinstance(shape, SelectColumns) else _folding(job)


def scratch_of(job: Job) -> int:
    """Return the scratch disk needed per process, bytes."""
    if isinstance(job.combining.rule.shape, Fold):
        return 0
    return scratch_bytes(len(job.updates), min(LEAF_VALUES, job.size // 4))


@contextmanager
def _folding(job: Job) -> Iterator[Combiner]:
    assert job.factors is not None
    factors, divisor = job.factors.factors, job.factors.divisor
    sums = np.empty(LEAF_VALUES, dtype=np.float64)

    def fold(leaf: Leaf, data: Iterator[bytes], parts: Sequence[LeafRange], out: F32) -> None:
        total = sums[: leaf.count]
        total[:] = 0
        for k, factor in enumerate(factors):
            block = next(data)
            with _named(job, k):
                values, bits = _taken(job, leaf, k, block, parts[k])
                add_integers(values, bits, factor, total, first=leaf.first, check=job.check.grid)
        out[:] = rounded_mean(total, divisor, job.grid_bits)

    yield fold


@contextmanager
def _ordering(job: Job, shape: Columns) -> Iterator[Combiner]:
    count = len(job.updates)
    cut = left_out(shape.share(job.combining.parameters), count)
    sums = np.empty(LEAF_VALUES, dtype=np.float64)
    with _tiles(job, count) as tiles:

        def order(leaf: Leaf, data: Iterator[bytes], parts: Sequence[LeafRange], out: F32) -> None:
            _fill(tiles, job, leaf, data, parts)
            for here, tile in tiles.read(leaf.count):
                middle_sums(tile, cut, sums[here])
                out[here] = rounded_mean(sums[here], count - 2 * cut, job.grid_bits)

        yield order


@contextmanager
def _nearing(job: Job, shape: SelectColumns) -> Iterator[Combiner]:
    assert job.factors is not None
    selected = {k: row for row, k in enumerate(k for k, factor in enumerate(job.factors.factors) if factor)}
    most = kept(shape.left_out(job.combining.parameters), len(selected))
    sums = np.empty(LEAF_VALUES, dtype=np.float64)
    with _tiles(job, len(selected)) as tiles:

        def near(leaf: Leaf, data: Iterator[bytes], parts: Sequence[LeafRange], out: F32) -> None:
            _fill(tiles, job, leaf, data, parts, selected)
            for here, tile in tiles.read(leaf.count):
                nearest_sums(tile, len(selected) - most, sums[here])
                out[here] = rounded_mean(sums[here], 2 * most, job.grid_bits)

        yield near


def measure(job: Job, shape: Select, begin: int, end: int) -> list[int]:
    """Return the summed statistics of leaves begin..end-1, begin < end: of parameters, in units of the finest scale."""
    given = job.combining.parameters
    total = [int(number) for number in shape.measure(np.empty((len(job.updates), 0), dtype=np.int32), given)]
    for _, part, exponent in parameter_parts(job, begin, end):
        unit = 1 << shape.degree * exponent
        total = [a + unit * int(b) for a, b in zip(total, shape.measure(part, given), strict=True)]
    return total


def parameter_parts(job: Job, begin: int, end: int) -> Iterator[tuple[int, I32, int]]:
    """Yield the parameters of leaves begin..end-1 in order, as integers of all updates.

    Yields:
        The first coordinate; (K, n), int32, valid until the next one; and the scale exponent over the least.
    """
    parts = [LeafRange([], TensorRootHasher()) for _ in job.updates]
    runs, ends = _runs(job.segments)
    data = leaves_in_order(job.updates, begin, end)
    rows = len(job.updates)
    with _tiles(job, rows) as tiles, threadpool_limits(1, "blas"):  # ranges are computed side by side already
        for index in range(begin, end):
            leaf = leaf_of(job, index)
            _fill(tiles, job, leaf, data, parts)
            for here, tile in tiles.read(leaf.count):
                start, stop = leaf.first + here.start, leaf.first + here.stop
                for run in runs[bisect_right(ends, start) :]:
                    if run.first >= stop:
                        break
                    skipped = max(run.first - start, 0)
                    yield start + skipped, tile[:, skipped : run.first + run.length - start], run.exponent


def _runs(segments: Sequence[Segment]) -> tuple[list[Segment], list[int]]:
    """Return the runs of parameters of one scale, as exponents over the least, and where each ends."""
    kept = [segment for segment in segments if segment.kind is SegmentKind.PARAMETER]
    least = min((segment.exponent for segment in kept), default=0)
    runs: list[Segment] = [] if segments else [Segment(0, MAX_VALUES, 0, SegmentKind.PARAMETER)]
    for segment in kept:
        run = replace(segment, exponent=segment.exponent - least)
        if runs and (runs[-1].first + runs[-1].length, runs[-1].exponent) == (run.first, run.exponent):
            runs[-1] = replace(runs[-1], length=runs[-1].length + run.length)
        else:
            runs.append(run)
    return runs, [run.first + run.length for run in runs]


def _tiles(job: Job, rows: int) -> Tiles:
    return Tiles(rows, min(LEAF_VALUES, job.size // 4), job.out.parent)


def _fill(
    tiles: Tiles,
    job: Job,
    leaf: Leaf,
    data: Iterator[bytes],
    parts: Sequence[LeafRange],
    rows: Mapping[int, int] | None = None,
) -> None:
    """Take a leaf of every update; put it into the tiles, or only those of the updates that have a row."""
    for k in range(len(job.updates)):
        row = k if rows is None else rows.get(k)
        space = np.empty(leaf.count, dtype=np.int32) if row is None else tiles.space(row, leaf.count)
        block = next(data)
        with _named(job, k):
            values, bits = _taken(job, leaf, k, block, parts[k])
            write_integers(values, bits, space, first=leaf.first, check=job.check.grid)
        if row is not None:
            tiles.keep(row, leaf.count)


@contextmanager
def _named(job: Job, k: int) -> Iterator[None]:
    """Name the update in errors of form."""
    try:
        yield
    except FormError as error:
        raise FormError(f"{job.name_of(k)}: {error}") from None


def _taken(job: Job, leaf: Leaf, k: int, block: bytes, part: LeafRange) -> tuple[F32, int]:
    """Hash a leaf of update k; return its values, (leaf.count,), float32, and the bits of the grid that they are on."""
    reader = job.updates[k]
    if isinstance(reader, PackedLeaves):
        return _unpacked(job, leaf, reader, block, part), 0
    data, header = memoryview(block), leaf.header
    if len(data) != leaf.length or data[: len(header)] != header:
        raise FormError("expected the header and size of the round's updates, got others")
    if job.check.cids:
        part.leaves.append(hashlib.sha256(data).digest())
    if job.check.roots:
        part.values.update(data[len(header) :])
    return np.frombuffer(data, dtype="<f4")[leaf.values], job.grid_bits


def _unpacked(job: Job, leaf: Leaf, reader: PackedLeaves, block: bytes, part: LeafRange) -> F32:
    """Hash the rows that begin in this leaf, check all rows of it, and return its integers, (leaf.count,)."""
    (begin, end), (first, _) = reader.coordinates(leaf.index), reader.rows(leaf.index)
    width = reader.packing.row_bytes
    if job.check.roots:
        part.values.update(memoryview(block)[(reader.beginning(leaf.index) - first) * width :])
    rows = np.frombuffer(block, dtype=np.uint8).reshape(-1, width)
    integers = reader.packing.unpack(rows, first=first, values=reader.values, check=job.check.grid)
    return integers[begin - first * ROW_VALUES : end - first * ROW_VALUES]
