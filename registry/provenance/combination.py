"""Combining updates leaf by leaf: read once, checked, hashed and averaged as the bytes come by.

All updates of a round have the same header, so leaf i of each (the i-th MiB of its file, which is also the i-th block
of its UnixFS DAG) holds the same coordinates. Memory is a dozen leaves, whatever the model's size and the number of
updates. Leaves are independent, so the work may be split into ranges, one forked process each; Merkle subtrees of the
ranges join to the same roots.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np

from registry.content.merkle import TensorRootHasher
from registry.content.unixfs import CHUNK_SIZE as LEAF_BYTES
from registry.content.unixfs import root_of_leaves
from registry.errors import FormError, InputError
from registry.provenance.forked import Pipe, answer, forked
from registry.rules.combine import check_weights, rounded_mean, weighted_sum
from registry.rules.grid import F32, F64, check_arithmetic, grid_integers
from registry.store.base import ContentStore
from registry.store.blobs import leaf_cids
from registry.types import Blob, Cid, Root

__all__ = ["Checks", "Combined", "FileFacts", "Leaves", "Progress", "combine", "leaves_of_blob", "leaves_of_file"]

_GROUP = 12
"""Updates whose leaves are held at once, in each process: they are multiplied and added up in one pass."""
_TILE = 1 << 16
"""Values that are checked, or added up, at a time: they stay in the second-level cache meanwhile."""
Leaves = Callable[[int], bytes]
"""Returns leaf i of one update's file."""
Progress = Callable[[int], None]
"""Told how many bytes of updates were combined since the last call."""


@dataclass(frozen=True, slots=True)
class Checks:
    """What is computed and checked of the updates while they are combined."""

    cids: bool = True
    roots: bool = True
    grid: bool = True


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a file of F32 tensors is called; None for what was not computed."""

    cid: Cid | None
    tensor_root: Root | None


@dataclass(frozen=True, slots=True)
class Combined:
    """The aggregate's name and size, its plain sha256 where asked for, and what the updates turned out to be."""

    cid: Cid
    tensor_root: Root
    size: int
    total_weight: int
    updates: tuple[FileFacts, ...]


@dataclass(frozen=True, slots=True)
class _Job:
    updates: Sequence[Leaves]
    weights: Sequence[int]
    header: bytes
    size: int
    grid_bits: int
    check: Checks
    out: Path


@dataclass(frozen=True, slots=True)
class _Part:
    """What a range of leaves contributes to a file's names: sha2-256 of each leaf, and the tensor bytes' hashes."""

    leaves: list[bytes]
    values: TensorRootHasher


def leaves_of_file(path: Path, size: int) -> Leaves:
    """Return a reader of the file's leaves.

    Raises (when called):
        FormError: The file turned out shorter than size.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(index: int) -> bytes:
        begin = index * LEAF_BYTES
        length = min(LEAF_BYTES, size - begin)
        leaf = os.pread(descriptor, length, begin)
        if len(leaf) != length:
            raise FormError(f"{path}: expected {size} bytes, got fewer")
        return leaf

    return read


def leaves_of_blob(store: ContentStore, blob: Blob) -> Leaves:
    """Return a reader of a stored blob's leaves, each hashed by the store as it is read.

    Raises:
        FormError: The blob is not a file of its size under the profile.
    """
    cids = leaf_cids(store, blob)
    store.close()  # a forked process must not go on with this one's connections

    return lambda index: store.get(cids[index])


def combine(
    updates: Sequence[Leaves],
    weights: Sequence[int],
    header: bytes,
    size: int,
    *,
    grid_bits: int,
    out: Path,
    check: Checks = Checks(),
    processes: int = 1,
    progress: Progress | None = None,
) -> Combined:
    """Write the weighted mean of updates to a file.

    Args:
        updates: Readers of leaves, one an update; not shared between processes before the call.
        weights: One an update; their sum is at most 2^28.
        header: The safetensors header that every update has.
        size: Bytes of each update's file.
        grid_bits: s, 0..126.
        out: Written whole, its leaves in place; the caller renames it once satisfied.
        check: What to compute and check of the updates.
        processes: Ranges of leaves worked on at once.
        progress: Called as bytes are combined, in this process.

    Raises:
        InputError: Weights are not as said.
        FormError: An update has another header, or holds a value that is not on the grid.
    """
    check_arithmetic()
    total = check_weights(weights)
    if len(updates) != len(weights):
        raise InputError(f"expected a weight for each of {len(updates)} updates, got {len(weights)}")
    count = -(-size // LEAF_BYTES)
    bounds = [count * i // processes for i in range(processes + 1)]
    ranges = [(a, b) for a, b in pairwise(bounds) if a < b]
    job = _Job(updates, weights, header, size, grid_bits, check, out)
    with out.open("wb") as file:
        file.truncate(size)
    report = progress or (lambda done: None)
    parts = [_combine_range(job, *ranges[0], report)] if len(ranges) == 1 else _combine_forked(job, ranges, report)
    facts = [_facts([part[k] for part in parts], job, k < len(updates)) for k in range(len(updates) + 1)]
    made = facts[-1]
    assert made.cid is not None and made.tensor_root is not None
    return Combined(made.cid, made.tensor_root, size, total, tuple(facts[:-1]))


def _facts(parts: list[_Part], job: _Job, is_update: bool) -> FileFacts:
    """Join the parts of one file, in order, and name it."""
    cid = root = None
    if job.check.cids or not is_update:
        cid = root_of_leaves([leaf for part in parts for leaf in part.leaves], job.size)
    if job.check.roots or not is_update:
        values = parts[0].values
        for part in parts[1:]:
            values.join(part.values)
        root = values.digest()
    return FileFacts(cid, root)


def _combine_range(job: _Job, begin: int, end: int, progress: Progress) -> list[_Part]:
    """Combine leaves begin..end-1; return the parts of each update and, last, of the aggregate."""
    offset = max(begin * LEAF_BYTES - len(job.header), 0)
    parts = [_Part([], TensorRootHasher(offset)) for _ in range(len(job.updates) + 1)]
    rows = np.empty((min(_GROUP, len(job.updates)), LEAF_BYTES // 4), dtype="<f4")
    sums, scratch = np.empty(rows.shape[1], dtype=np.float64), np.empty(_TILE, dtype=np.float64)
    made = np.empty(rows.shape[1], dtype="<f4")
    total = sum(job.weights)
    with job.out.open("r+b", buffering=0) as file:
        for index in range(begin, end):
            at = index * LEAF_BYTES
            length = min(LEAF_BYTES, job.size - at)
            header = job.header[at : at + length]
            values = slice(len(header) // 4, length // 4)  # a header is a multiple of 8 bytes long
            for first in range(0, len(job.updates), len(rows)):
                group = range(first, min(first + len(rows), len(job.updates)))
                for row, k in zip(rows, group, strict=False):
                    _take(job, index, k, row, parts[k])
                _add(rows[: len(group), values], job, group, sums[values], scratch)
            for start in range(values.start, values.stop, _TILE):
                tile = slice(start, min(start + _TILE, values.stop))
                made[tile] = rounded_mean(sums[tile], total, job.grid_bits)
            leaf = made.data.cast("B")[:length]
            leaf[: len(header)] = header
            file.seek(at)
            file.write(leaf)
            parts[-1].leaves.append(hashlib.sha256(leaf).digest())
            parts[-1].values.update(leaf[len(header) :])
            progress(length * len(job.updates))
    return parts


def _take(job: _Job, index: int, k: int, row: F32, part: _Part) -> None:
    """Read leaf index of update k, hash and check it; the integers that its values stand for go into a row."""
    at = index * LEAF_BYTES
    length = min(LEAF_BYTES, job.size - at)
    header = job.header[at : at + length]
    leaf = memoryview(job.updates[k](index))
    if len(leaf) != length or leaf[: len(header)] != header:
        raise FormError(f"update {k}: expected the header and size of the round's updates, got others")
    if job.check.cids:
        part.leaves.append(hashlib.sha256(leaf).digest())
    if job.check.roots:
        part.values.update(leaf[len(header) :])
    values = np.frombuffer(leaf, dtype="<f4")
    integers = row[: len(values)]
    for start in range(len(header) // 4, len(values), _TILE):
        tile = slice(start, start + _TILE)
        if not job.check.grid:
            np.multiply(values[tile], np.float32(2.0**job.grid_bits), out=integers[tile])
            continue
        try:
            first = (at + start * 4 - len(job.header)) // 4
            grid_integers(values[tile], job.grid_bits, first=first, out=integers[tile])
        except FormError as error:
            raise FormError(f"update {k}: {error}") from None


def _add(rows: F32, job: _Job, group: range, sums: F64, scratch: F64) -> None:
    """Add weight times integer of every row to sums, tile by tile; the first group of updates begins them."""
    factors = np.array([float(job.weights[k]) for k in group])
    for start in range(0, len(sums), _TILE):
        tile = sums[start : start + _TILE]
        part = tile if group.start == 0 else scratch[: len(tile)]
        weighted_sum(rows[:, start : start + _TILE], factors, part)
        if part is not tile:
            np.add(tile, part, out=tile)


def _combine_forked(job: _Job, ranges: list[tuple[int, int]], progress: Progress) -> list[list[_Part]]:
    """Combine each range in a forked process; bytes done and then the parts come back over its pipe."""
    with ExitStack() as processes:
        pipes = [processes.enter_context(forked(_combine_there, job, begin, end)) for begin, end in ranges]
        return _collect(pipes, progress)


def _collect(pipes: Sequence[Pipe], progress: Progress) -> list[list[_Part]]:
    parts: dict[int, list[_Part]] = {}
    working = {pipe: i for i, pipe in enumerate(pipes)}
    while working:
        for ready in wait(list(working)):
            assert isinstance(ready, Pipe)
            said = answer(ready)
            if isinstance(said, int):
                progress(said)
            else:
                parts[working.pop(ready)] = said
    return [parts[i] for i in range(len(parts))]


def _combine_there(job: _Job, begin: int, end: int, pipe: Pipe) -> list[_Part]:
    return _combine_range(job, begin, end, pipe.send)
