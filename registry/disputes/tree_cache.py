"""Trees on disk: all nodes of each, so that a demanded leaf is shown without hashing its file.

One file a tree, named by its counted root and what a leaf holds:

    head     64 bytes: `tree`, how many numbers or contributions (uint64, big-endian as all), where the first stands
             (uint64), CID of the blob that it stands in (36 bytes), that blob's size (uint64)
    nodes    32 bytes each: the leaf hashes, then level by level up to the root
    leaves   of a list of contributions alone, 192 bytes each: its CID is zeros

A file takes 64 bytes for each leaf, and so 6.25 % of a blob of F32 values. It is written beside its place and renamed,
so it is there whole or not at all; and nothing in it is believed: what does not prove the leaf up to the root is never
shown, and a tree that is not there or is damaged is made anew from the blob.
"""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO

from registry.chain.contract_hashes import contribution_leaf
from registry.chain.contract_structs import Counted, Opening
from registry.content.cid import decode_cid
from registry.content.merkle import (
    VALUES,
    MerkleTree,
    Rows,
    counted_root,
    leaf_hash,
    level_above,
    level_sizes,
    prove,
    state_rows,
    tensor_leaves,
    verify_inclusion,
)
from registry.disputes.charges import CONTRIBUTIONS
from registry.disputes.openings import Listing, numbers_in
from registry.durable import sync_folder
from registry.errors import ContentError, FormError, InputError
from registry.store.base import ContentStore
from registry.store.blobs import open_blob, read_range
from registry.types import Blob, ModelId, Root

__all__ = [
    "disk_bytes",
    "find_opening",
    "is_kept",
    "keep_blob",
    "keep_listing",
    "place_of",
    "remove_before",
    "tree_bytes",
]

_HEAD = struct.Struct(">4sQQ36sQ")
_MAGIC = b"tree"
_NO_CID = bytes(36)
_BATCH = 1 << 13  # nodes read, or hashes written, at once: 256 KiB, and an even number


def tree_bytes(count: int, rows: Rows) -> int:
    """Return how many bytes of disk the nodes of a tree over so many numbers take."""
    return _HEAD.size + 32 * sum(level_sizes(rows.leaves(count)))


def disk_bytes(contributions: int, values: int, states: int) -> int:
    """Return how many bytes of disk all trees of a round take at most.

    Args:
        contributions: Updates that may be admitted.
        values: F32 values of a version.
        states: Of a coordinate, under the round's rules.
    """
    of_state = tree_bytes(values * states, state_rows(states)) if states else 0
    of_list = tree_bytes(contributions, CONTRIBUTIONS) + CONTRIBUTIONS.size * contributions if contributions else 0
    return (3 + contributions) * tree_bytes(values, VALUES) + 2 * of_state + of_list  # aggregate, version, parent; two


# Where they are -------------------------------------------------------------------------------------------------------


def place_of(folder: Path, model_id: ModelId, number: int) -> Path:
    """Return the folder of a round's trees in an aggregator's folder."""
    return folder / "trees" / f"{model_id.hex()}-{number}"


def remove_before(folder: Path, model_id: ModelId, number: int) -> None:
    """Remove the trees of a model's rounds below a number: nothing of them is demanded any more."""
    for place in (folder / "trees").glob(f"{model_id.hex()}-*"):
        if int(place.name.rpartition("-")[2]) < number:
            shutil.rmtree(place)


def _path(place: Path, root: Root, rows: Rows) -> Path:
    return place / f"{root.hex()}-{rows.entry_bytes}x{rows.entries}"


# Writing --------------------------------------------------------------------------------------------------------------


def keep_blob(place: Path, store: ContentStore, blob: Blob, root: Root, rows: Rows) -> bool:
    """Write the tree over a stored file's numbers; return whether they have that root, else nothing is kept.

    Args:
        place: The folder of the round's trees; made where it is not there.
        store: Holds the blob, which is read once, to its end. Of the tree some hundred KiB are in memory at a time.
        blob: The file.
        root: As anchored.
        rows: What its leaves hold.

    Raises:
        FormError: It is no canonical safetensors file with such numbers.
        ContentError: A block is missing or changed.
        OSError: The disk is full.
    """
    numbers = numbers_in(open_blob(store, blob), blob.size, rows)
    head = _HEAD.pack(_MAGIC, numbers.count(rows), numbers.begin, bytes(blob.cid), blob.size)
    return _write(_path(place, root, rows), root, rows, head, tensor_leaves(numbers.pieces, rows))


def keep_listing(place: Path, listing: Listing) -> None:
    """Write the tree over a list of contributions, one or more, and beside it the leaves: no blob holds them.

    Raises:
        OSError: The disk is full.
    """
    count = len(listing.contributions)
    head = _HEAD.pack(_MAGIC, count, tree_bytes(count, CONTRIBUTIONS), _NO_CID, 0)
    leaves = map(contribution_leaf, listing.contributions)
    path = _path(place, listing.root, CONTRIBUTIONS)
    _write(path, listing.root, CONTRIBUTIONS, head, listing.hashes, leaves)


def _write(
    path: Path, root: Root, rows: Rows, head: bytes, hashes: Iterable[bytes], leaves: Iterable[bytes] = ()
) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, suffix=".partial")
    try:
        with open(descriptor, "w+b") as file:
            file.write(head)
            each = iter(hashes)
            while batch := b"".join(islice(each, _BATCH)):
                file.write(batch)
            count = _HEAD.unpack(head)[1]
            if counted_root(count, _write_levels(file, rows.leaves(count))) != root:
                return False
            file.writelines(leaves)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
        sync_folder(path.parent)
        return True
    finally:
        Path(name).unlink(missing_ok=True)


def _write_levels(file: IO[bytes], leaves: int) -> bytes:
    """Write the nodes above the leaves, level by level, and return the last one, the root."""
    begin, top = _HEAD.size, b""
    for size in level_sizes(leaves):
        file.flush()
        for at in range(0, size, _BATCH):
            nodes = os.pread(file.fileno(), 32 * min(_BATCH, size - at), begin + 32 * at)
            if size > 1:
                file.write(level_above(nodes))
            else:
                top = nodes
        begin += 32 * size
    return top


# Reading --------------------------------------------------------------------------------------------------------------


def is_kept(place: Path, root: Root, rows: Rows) -> bool:
    """Say whether a tree is kept that has the right length and ends in what gives the root; no more is looked at."""
    try:
        with _kept(place, root, rows):
            return True
    except (OSError, FormError):
        return False


def find_opening(place: Path, store: ContentStore, root: Root, rows: Rows, index: int) -> Opening | None:
    """Return a leaf with its proof, or what shows that there is none; None where no tree is kept that proves it.

    Reads the nodes of one path, and of the blob the block that holds the leaf with the nodes above it, or two.

    Args:
        place: The folder of the round's trees.
        store: Holds the blob.
        root: Of the tree.
        rows: What its leaves hold.
        index: Of the leaf.
    """
    try:
        with _kept(place, root, rows) as (data, tree, head):
            counted = Counted(head[0], tree.root)
            leaf = b"" if index >= tree.leaves else _leaf(data, store, rows, index, head)
            opening = Opening(counted, leaf, () if index >= tree.leaves else prove(tree, index))
    except (OSError, ContentError, FormError, InputError):
        return None  # not there, damaged, or naming what is not to be had: it is made anew
    return opening if _proves(opening, root, rows, index) else None


_Head = tuple[int, int, bytes, int]


@contextmanager
def _kept(place: Path, root: Root, rows: Rows) -> Iterator[tuple[memoryview, MerkleTree, _Head]]:
    """Map a tree's file, with what its head says after `tree`.

    Raises:
        OSError: It is not there, or cannot be read.
        FormError: It has another length than its head says, or its last node and count do not give the root.
    """
    path = _path(place, root, rows)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            raise FormError(f"{path}: expected a head of {_HEAD.size} bytes, got {len(head)}")
        magic, count, begin, cid, blob_size = _HEAD.unpack(head)
        # Before anything is computed from it: a count that this many bytes cannot hold.
        if magic != _MAGIC or not 0 < rows.leaves(count) <= size:
            raise FormError(f"{path}: expected a tree, got something else")
        end = tree_bytes(count, rows)
        if size != end + (rows.size * count if cid == _NO_CID else 0):
            raise FormError(f"{path}: expected the {end} bytes of {count} numbers, got {size}")
        mapped = mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ)
        with mapped, memoryview(mapped) as data, data[_HEAD.size : end] as nodes:
            tree = MerkleTree(rows.leaves(count), nodes)
            if counted_root(count, tree.root) != root:
                raise FormError(f"{path}: expected nodes up to 0x{root.hex()}, got others")
            yield data, tree, (count, begin, cid, blob_size)


def _leaf(data: memoryview, store: ContentStore, rows: Rows, index: int, head: _Head) -> bytes:
    count, first, cid, size = head
    begin = first + index * rows.size
    end = min(begin + rows.size, first + count * rows.entry_bytes)
    return bytes(data[begin:end]) if cid == _NO_CID else read_range(store, Blob(decode_cid(cid), size), begin, end)


def _proves(opening: Opening, root: Root, rows: Rows, index: int) -> bool:
    """Whether an opening shows a leaf of a root, or that it has none there, as the contract asks."""
    counted = opening.counted
    if counted_root(counted.count, counted.inner) != root:
        return False
    leaves = rows.leaves(counted.count)
    if index >= leaves:
        return not opening.leaf and not opening.proof
    return verify_inclusion(leaf_hash(opening.leaf), index, leaves, opening.proof, counted.inner)
