"""Streaming aggregation of all client updates (weighted mean, median, …), leaf by leaf in constant memory.

All updates of a round have the same header, so leaf i of each (the i-th MiB of its file, and the i-th block of its
UnixFS DAG) holds the same coordinates. Memory is a few dozen leaves, independent of model size and number of updates.
Leaves are independent, so ranges of leaves run in parallel in forked processes; the Merkle subtrees of the ranges join
to the same roots.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from multiprocessing.connection import wait
from pathlib import Path
from typing import TypeVar

import numpy as np

from registry.content.merkle import LeafSink, Rows, TensorRootHasher
from registry.content.segments import Segment
from registry.content.unixfs import CHUNK_SIZE as LEAF_BYTES
from registry.content.unixfs import root_of_leaves
from registry.errors import FormError, InputError
from registry.kernels import kernels
from registry.rounds.admission import UpdateForm
from registry.rounds.forked import Pipe, answer, forked
from registry.rounds.gram_tree import (
    GramTree,
    RangeEnds,
    add_up,
    gram_bytes,
    gram_path,
    has_gram,
    measure_rows,
)
from registry.rounds.leaf_aggregation import (
    LEAF_VALUES,
    Checks,
    Job,
    LeafRange,
    Leaves,
    PackedLeaves,
    StoredLeaves,
    combiner,
    leaf_of,
    leaves_in_order,
    measure,
    scratch_of,
)
from registry.rounds.tiles import require_room, scratch_bytes
from registry.rules.combine import check_weights
from registry.rules.gram import Matrix, square
from registry.rules.grid import check_arithmetic
from registry.rules.shapes import Columns, Factors, Fold, Select, SelectColumns
from registry.rules.table import MULTI_KRUM, UNIFORM, UNIFORM_MEAN, Combining
from registry.store.base import ContentStore
from registry.store.blobs import leaf_cids
from registry.types import Blob, Cid, Root

__all__ = [
    "Checks",
    "Combined",
    "FileFacts",
    "Leaves",
    "Progress",
    "combine",
    "gram_matrix",
    "gram_tree",
    "in_form",
    "leaves_of_blob",
    "leaves_of_file",
]

Progress = Callable[[int], None]
"""Progress callback: number of bytes of updates combined since the last call."""
_EVERYTHING = Checks()
_Range = tuple[int, int]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class FileFacts:
    """CID and hashes of a file of F32 tensors; None if not computed."""

    cid: Cid | None
    tensor_root: Root | None


@dataclass(frozen=True, slots=True)
class Combined:
    """Result of a combination: facts of the aggregate and of the updates.

    Attributes:
        factors: Factors of the updates, in their order, and the divisor of their sum.
        gram: The tree of their inner products, under rules that select, of at most 32 updates.
    """

    cid: Cid
    tensor_root: Root
    size: int
    total_weight: int
    updates: tuple[FileFacts, ...]
    factors: Factors
    gram: GramTree | None


def leaves_of_file(path: Path, size: int) -> Leaves:
    """Return a reader of the file's leaves.

    Raises (when called):
        FormError: The file is shorter than size.
    """
    file = path.open("rb", buffering=0)  # closed with the reader

    def read(index: int) -> bytes:
        begin = index * LEAF_BYTES
        length = min(LEAF_BYTES, size - begin)
        leaf = os.pread(file.fileno(), length, begin)
        if len(leaf) != length:
            raise FormError(f"{path}: expected {size} bytes, got fewer")
        return leaf

    return read


def leaves_of_blob(store: ContentStore, blob: Blob) -> Leaves:
    """Return a reader of a stored blob's leaves, each verified by the store.

    Raises:
        FormError: The blob is not a file of its size under the profile.
    """
    cids = leaf_cids(store, blob)
    store.close()  # a forked process must not share this process's connections
    return StoredLeaves(store, blob.cid, cids)


def in_form(leaves: Leaves, form: UpdateForm) -> Leaves:
    """Return the reader of an update's file that `combine` takes: of a packed one, the rows of a leaf's coordinates.

    Args:
        leaves: Reader of the file's leaves.
        form: Form of the round's updates.
    """
    if form.packing is None:
        return leaves
    held: tuple[int, bytes] = -1, b""  # a leaf of packed rows has those of several leaves of values

    def read(begin: int, end: int) -> bytes:
        nonlocal held
        found = b""
        for index in range(begin // LEAF_BYTES, -(-end // LEAF_BYTES)):
            if index != held[0]:
                held = index, leaves(index)
            at = index * LEAF_BYTES
            found += held[1][max(begin - at, 0) : min(end - at, LEAF_BYTES)]
        if len(found) != end - begin:
            raise FormError(f"expected {form.size} bytes as the round's updates have, got fewer")
        return found

    return PackedLeaves(read, form.header, form.dense.header_bytes, form.rules.values, form.packing)


def combine(
    updates: Sequence[Leaves],
    weights: Sequence[int],
    header: bytes,
    size: int,
    *,
    grid_bits: int,
    combining: Combining,
    out: Path,
    check: Checks = _EVERYTHING,
    processes: int = 1,
    progress: Progress | None = None,
    sinks: Sequence[LeafSink | None] = (),
    segments: Sequence[Segment] = (),
    names: Sequence[str] = (),
    drawn: Sequence[int] = (),
) -> Combined:
    """Aggregate updates by the combine rule, such as FedAvg's weighted mean, and write the aggregate to a file.

    Args:
        updates: Leaf readers, one per update; not shared between processes before the call.
        weights: Committed weights, one per update; their sum is at most 2^28.
        header: Safetensors header of the aggregate, and of every update that is not packed.
        size: File length of the aggregate, bytes.
        grid_bits: s, 0..126.
        combining: The combine rule, with the plan's settings.
        out: Output file, written in place; the caller renames it after checks. Scratch files are created beside it.
        check: What to compute and check of the updates.
        processes: Number of parallel processes.
        progress: Called in this process as bytes are combined.
        sinks: Takers of the updates' leaf hashes, in several processes; one an update, or none. Needs check.roots.
        segments: Of the values: their scales, and which are buffers. A rule that selects weighs distances by them.
        names: What errors call the updates; none calls them by their place.
        drawn: A random order of the updates, by their places, for rules with buckets: see `registry.rounds.draws`.

    Raises:
        InputError: The weights are invalid, a draw is missing, or the disk lacks room for aggregate and scratch files.
        FormError: An update has another header, or a value that is not on the grid.
    """
    check_arithmetic()
    kernels(size * len(updates))  # loaded before the fork
    total = check_weights(weights)
    if len(updates) != len(weights):
        raise InputError(f"expected a weight for each of {len(updates)} updates, got {len(weights)}")
    ranges = _ranges(size, processes)
    given = (updates, combining.counted(weights), header, size, grid_bits, combining, check, out, sinks)
    job = Job(*given, segments=segments, names=names, drawn=drawn)
    what = f"combining {len(updates)} updates by rule {combining.rule.name}"
    require_room(out.parent, size + scratch_of(job) * len(ranges), what)
    made_of, gram = _factors(job, ranges)
    job = replace(job, factors=made_of)
    with out.open("wb") as file:
        file.truncate(size)
    parts = _in_ranges(_combine_range, job, ranges, progress or (lambda done: None))
    *facts, made = [_facts([part[k] for part in parts], job, k < len(updates)) for k in range(len(updates) + 1)]
    assert made.cid is not None and made.tensor_root is not None
    factors = job.factors or Factors((1,) * len(updates), len(updates))  # columns: each counts once
    return Combined(made.cid, made.tensor_root, size, total, tuple(facts), factors, gram)


def _ranges(size: int, processes: int) -> list[_Range]:
    count = -(-size // LEAF_BYTES)
    bounds = [count * i // processes for i in range(processes + 1)]
    return [(a, b) for a, b in pairwise(bounds) if a < b]


def gram_matrix(
    updates: Sequence[Leaves],
    header: bytes,
    size: int,
    *,
    grid_bits: int,
    segments: Sequence[Segment],
    folder: Path,
) -> Matrix:
    """Return the exact inner products of all pairs of updates, (K, K), in squared grid steps of the finest tensor.

    Buffers have no say, and tensors are weighed by their scales, as for rules that select.

    Args:
        updates: Leaf readers, one per update, of files of a common header and size, or packed; values are canonical.
        header: Safetensors header of every update.
        size: File length of every update, bytes.
        grid_bits: s, 0..126.
        segments: Of the values; none means one scale.
        folder: For scratch files.

    Raises:
        InputError: There is not enough free disk for scratch files.
        FormError: An update has another header.
    """
    shape = MULTI_KRUM.shape  # as every rule that selects, it measures inner products
    assert isinstance(shape, Select)
    job = _measuring(updates, header, size, grid_bits, segments, folder)
    return square(measure(job, shape, 0, -(-size // LEAF_BYTES)), len(updates))


def gram_tree(
    updates: Sequence[Leaves],
    header: bytes,
    size: int,
    *,
    grid_bits: int,
    segments: Sequence[Segment],
    folder: Path,
) -> GramTree:
    """Return the tree of inner products that a report anchors; arguments as for `gram_matrix`.

    Args:
        updates: Ascending by participant, at most 32.
        folder: For its file, too.
    """
    job = _measuring(updates, header, size, grid_bits, segments, folder)
    return _gram(job, [(0, -(-size // LEAF_BYTES))])[0]


def _measuring(
    updates: Sequence[Leaves],
    header: bytes,
    size: int,
    grid_bits: int,
    segments: Sequence[Segment],
    folder: Path,
) -> Job:
    check_arithmetic()
    count = len(updates)
    require_room(folder, scratch_bytes(count, min(LEAF_VALUES, size // 4)), f"comparing {count} updates")
    combining, nothing = Combining(UNIFORM_MEAN, UNIFORM), Checks(cids=False, roots=False, grid=False)
    given = (updates, [1] * count, header, size, grid_bits, combining, nothing, folder / "gram")
    return Job(*given, segments=segments)


def _factors(job: Job, ranges: Sequence[_Range]) -> tuple[Factors | None, GramTree | None]:
    """Factors and divisor of a fold; selection reads every update once beforehand. None for columns."""
    shape = job.combining.rule.shape
    if isinstance(shape, Columns):
        return None, None
    if isinstance(shape, Fold):
        return shape.factors(job.counted), None
    look = replace(job, check=Checks(cids=False, roots=False, grid=job.check.grid))  # the second pass hashes
    statistics, gram = _statistics(look, ranges)
    uniform = job.combining.weights == UNIFORM
    return shape.factors(statistics, job.counted, job.combining.parameters, job.drawn, uniform=uniform), gram


def _selects(combining: Combining) -> bool:
    return isinstance(combining.rule.shape, Select | SelectColumns)


def _statistics(job: Job, ranges: Sequence[_Range]) -> tuple[list[int], GramTree | None]:
    """What a selection follows from: of few updates with the tree of their inner products."""
    gram = None
    if has_gram(_selects(job.combining), len(job.updates)):
        gram, products = _gram(job, ranges)
        if _select(job).of_products:
            return products, gram
    found = _in_ranges(_measure_range, job, ranges, lambda done: None)
    return [sum(of_ranges) for of_ranges in zip(*found, strict=True)], gram


def _gram(job: Job, ranges: Sequence[_Range]) -> tuple[GramTree, list[int]]:
    """The tree of inner products, and its last sums: the upper triangle of the Gram matrix."""
    values, path = (job.size - len(job.header)) // 4, gram_path(job.out)
    size = gram_bytes(values, len(job.updates))
    require_room(path.parent, size, f"the inner products of {len(job.updates)} updates")
    with path.open("wb") as file:
        file.truncate(size)
    ends = _in_ranges(_measure_rows, job, ranges, lambda done: None)
    return add_up(path, values, len(job.updates), [one for of_range in ends for one in of_range])


def _facts(parts: list[LeafRange], job: Job, is_update: bool) -> FileFacts:
    """Join the parts of one file, in order, into its CID and hashes."""
    cid = root = None
    if (job.check.cids and parts[0].leaves) or not is_update:
        cid = root_of_leaves([leaf for part in parts for leaf in part.leaves], job.size)
    if job.check.roots or not is_update:
        values = parts[0].values
        for part in parts[1:]:
            values.join(part.values)
        root = values.digest()
    return FileFacts(cid, root)


def _measure_range(job: Job, begin: int, end: int, progress: Progress) -> list[int]:
    return measure(job, _select(job), begin, end)


def _select(job: Job) -> Select:
    shape = job.combining.rule.shape
    select = shape.select if isinstance(shape, SelectColumns) else shape
    assert isinstance(select, Select)
    return select


def _measure_rows(job: Job, begin: int, end: int, progress: Progress) -> RangeEnds:
    return measure_rows(job, begin, end, gram_path(job.out))


def _combine_range(job: Job, begin: int, end: int, progress: Progress) -> list[LeafRange]:
    """Combine leaves begin..end-1; return the part of each update and, last, of the aggregate."""
    offset = max(begin * LEAF_BYTES - len(job.header), 0)
    sinks = [*(job.sinks or [None] * len(job.updates)), None]
    hashers = [_hasher(reader, begin, offset, sink) for reader, sink in zip((*job.updates, None), sinks, strict=True)]
    parts = [LeafRange([], hasher) for hasher in hashers]
    made = np.empty(LEAF_VALUES, dtype="<f4")
    blocks = leaves_in_order(job.updates, begin, end)
    with job.out.open("r+b", buffering=0) as file, combiner(job) as combine_leaf:
        for index in range(begin, end):
            leaf = leaf_of(job, index)
            combine_leaf(leaf, blocks, parts, made[leaf.values])
            data = made.data.cast("B")[: leaf.length]
            data[: len(leaf.header)] = leaf.header
            file.seek(leaf.at)
            file.write(data)
            parts[-1].leaves.append(hashlib.sha256(data).digest())
            parts[-1].values.update(data[len(leaf.header) :])
            progress(leaf.length * len(job.updates))
    return parts


def _hasher(reader: Leaves | None, begin: int, offset: int, sink: LeafSink | None) -> TensorRootHasher:
    """Return the hasher of a file from leaf `begin` on; `offset` is where the values of float32 files begin there."""
    if not isinstance(reader, PackedLeaves):
        return TensorRootHasher(offset, sink=sink)
    width = reader.packing.row_bytes
    return TensorRootHasher(reader.beginning(begin) * width, Rows(1, width), sink)


def _in_ranges(
    work: Callable[[Job, int, int, Progress], list[_T]], job: Job, ranges: Sequence[_Range], progress: Progress
) -> list[list[_T]]:
    """Run work on each range in a forked process, which sends progress and then its result over a pipe."""
    if len(ranges) == 1:
        return [work(job, *ranges[0], progress)]
    with ExitStack() as processes:
        pipes = [processes.enter_context(forked(_work_there, work, job, begin, end)) for begin, end in ranges]
        return _collect(pipes, progress)


def _collect(pipes: Sequence[Pipe], progress: Progress) -> list[list[_T]]:
    made: dict[int, list[_T]] = {}
    working = {pipe: i for i, pipe in enumerate(pipes)}
    while working:
        for ready in wait(list(working)):
            assert isinstance(ready, Pipe)
            said = answer(ready)
            if isinstance(said, int):
                progress(said)
            else:
                made[working.pop(ready)] = said
    return [made[i] for i in range(len(made))]


def _work_there(
    work: Callable[[Job, int, int, Progress], object], job: Job, begin: int, end: int, pipe: Pipe
) -> object:
    return work(job, begin, end, pipe.send)
