"""Tree cache: all nodes of a Merkle tree on disk, so that a demanded leaf is shown without hashing its blob.

One file per tree, named by the counted root and the rows of a leaf:

    head     64 bytes: `tree`, number of values or contributions (uint64, all big-endian), offset of the first in its
             blob (uint64), CID of the blob (36 bytes), size of the blob (uint64)
    nodes    32 bytes each: the leaf hashes, then level by level up to the root
    leaves   only for a list of contributions and for inner products, whose CIDs are zeros

A file takes 64 bytes per leaf, 6.25 % of a blob of F32 values. Writes are atomic: to a temporary file, then renamed.
Files are not trusted: only a Merkle path that verifies is shown, and a missing or damaged tree is rebuilt from the
blob.
"""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
from registry.errors import ContentError, FormError, InputError, VerificationFailed
from registry.rounds.gram_tree import GramTree, gram_bytes, gram_count, gram_rows, has_gram
from registry.store.base import ContentStore
from registry.store.blobs import file_pieces, open_blob, read_range
from registry.types import Blob, ModelId, Root

__all__ = [
    "TreeWriter",
    "disk_bytes",
    "find_opening",
    "is_kept",
    "keep_blob",
    "keep_gram",
    "keep_listing",
    "place_of",
    "remove_before",
    "tree_bytes",
    "tree_writers",
]

_HEAD = struct.Struct(">4sQQ36sQ")
_MAGIC = b"tree"
_NO_CID = bytes(36)
_BATCH = 1 << 13  # nodes read, or hashes written, at once: 256 KiB; must be even


def tree_bytes(count: int, rows: Rows) -> int:
    """Return the bytes of disk that head and nodes of a tree over `count` numbers take."""
    return _HEAD.size + 32 * sum(level_sizes(rows.leaves(count)))


def disk_bytes(contributions: int, values: int, states: int, *, selects: bool = False) -> int:
    """Return the most bytes of disk that all trees of a round take.

    Args:
        contributions: Updates that may be admitted.
        values: F32 values of a version.
        states: States per coordinate, under the round's rules.
        selects: Whether these rules select, so that the report may anchor inner products.
    """
    sums = gram_count(values, contributions) if has_gram(selects, contributions) else 0
    of_gram = tree_bytes(sums, gram_rows(contributions)) + gram_bytes(values, contributions) if sums else 0
    of_state = tree_bytes(values * states, state_rows(states)) if states else 0
    of_list = tree_bytes(contributions, CONTRIBUTIONS) + CONTRIBUTIONS.size * contributions if contributions else 0
    of_values = (3 + contributions) * tree_bytes(values, VALUES)  # 3: aggregate, version, parent
    return of_values + 2 * of_state + of_list + of_gram


# Paths ----------------------------------------------------------------------------------------------------------------


def place_of(folder: Path, model_id: ModelId, number: int) -> Path:
    """Return the folder of a round's trees, inside an aggregator's folder."""
    return folder / "trees" / f"{model_id.hex()}-{number}"


def remove_before(folder: Path, model_id: ModelId, number: int) -> None:
    """Remove the trees of a model's rounds before `number`, whose leaves cannot be demanded any more."""
    for place in (folder / "trees").glob(f"{model_id.hex()}-*"):
        if int(place.name.rpartition("-")[2]) < number:
            shutil.rmtree(place)


def _path(place: Path, root: Root, rows: Rows) -> Path:
    return place / f"{root.hex()}-{rows.entry_bytes}x{rows.entries}"


# Writing --------------------------------------------------------------------------------------------------------------


def keep_blob(
    place: Path, store: ContentStore, blob: Blob, root: Root, rows: Rows, *, file: Path | None = None
) -> bool:
    """Write the tree over a stored file's numbers if it has the given root; return whether it has.

    Reads the blob once, with a few hundred KiB in memory.

    Args:
        place: The folder of the round's trees; created if missing.
        store: Holds the blob.
        blob: The file.
        root: As anchored.
        rows: What its leaves hold.
        file: A local copy, which is read instead.

    Raises:
        FormError: The blob is no canonical safetensors file with such numbers.
        ContentError: A block is missing or changed.
        OSError: The disk is full.
    """
    pieces = open_blob(store, blob) if file is None else file_pieces(file)
    numbers = numbers_in(pieces, blob.size, rows)
    head = _HEAD.pack(_MAGIC, numbers.count(rows), numbers.begin, bytes(blob.cid), blob.size)
    return _write(_path(place, root, rows), root, rows, head, tensor_leaves(numbers.pieces, rows))


def keep_listing(place: Path, listing: Listing) -> None:
    """Write the tree over a list of one or more contributions, with the leaves, which no blob holds.

    Raises:
        OSError: The disk is full.
    """
    count = len(listing.contributions)
    head = _HEAD.pack(_MAGIC, count, tree_bytes(count, CONTRIBUTIONS), _NO_CID, 0)
    leaves = map(contribution_leaf, listing.contributions)
    path = _path(place, listing.root, CONTRIBUTIONS)
    _write(path, listing.root, CONTRIBUTIONS, head, listing.hashes, leaves)


def keep_gram(place: Path, gram: GramTree) -> None:
    """Write the tree of inner products, with the leaves, which no blob holds.

    Raises:
        VerificationFailed: Its file changed since it was computed.
        OSError: The disk is full.
    """
    rows = gram_rows(gram.updates)
    count = gram.file.stat().st_size // rows.entry_bytes
    head = _HEAD.pack(_MAGIC, count, tree_bytes(count, rows), _NO_CID, 0)
    hashes = map(leaf_hash, _pieces(gram.file, rows.size))
    if not _write(_path(place, gram.root, rows), gram.root, rows, head, hashes, _pieces(gram.file, rows.size)):
        raise VerificationFailed(f"{gram.file}: expected inner products that hash to 0x{gram.root.hex()}, got others")


def _pieces(path: Path, size: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(size):
            yield piece


@dataclass(frozen=True, slots=True)
class TreeWriter:
    """Takes a blob's leaf hashes in any order, from several processes, and then completes its tree.

    Attributes:
        partial: The temporary file.
    """

    partial: Path

    def __call__(self, index: int, hashes: bytes, /) -> None:
        """Write leaf hashes from the leaf with this index on.

        Raises:
            OSError: The disk is full.
        """
        descriptor = os.open(self.partial, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(descriptor, hashes, _HEAD.size + 32 * index)
        finally:
            os.close(descriptor)

    def complete(self, blob: Blob, begin: int, root: Root, rows: Rows) -> bool:
        """Write the nodes above the leaf hashes and give the tree its name; return whether the root is the given one.

        Args:
            blob: A file whose numbers are its bytes from begin on.
            begin: Offset of the first number.
            root: As anchored.
            rows: What its leaves hold.
        """
        count = (blob.size - begin) // rows.entry_bytes
        head = _HEAD.pack(_MAGIC, count, begin, bytes(blob.cid), blob.size)
        return _complete(self.partial, _path(self.partial.parent, root, rows), root, rows, head)


@contextmanager
def tree_writers(place: Path, number: int) -> Iterator[list[TreeWriter]]:
    """Give a number of tree writers; what is not completed is removed on exit.

    Args:
        place: The folder of the round's trees; created if missing.
        number: How many.
    """
    writers: list[TreeWriter] = []
    try:
        for _ in range(number):
            writers.append(TreeWriter(_partial(place)))
        yield writers
    finally:
        for writer in writers:
            writer.partial.unlink(missing_ok=True)


def _partial(place: Path) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=place, suffix=".partial")
    os.close(descriptor)
    return Path(name)


def _write(
    path: Path, root: Root, rows: Rows, head: bytes, hashes: Iterable[bytes], leaves: Iterable[bytes] = ()
) -> bool:
    partial = _partial(path.parent)
    try:
        with partial.open("wb") as file:
            file.seek(_HEAD.size)
            each = iter(hashes)
            while batch := b"".join(islice(each, _BATCH)):
                file.write(batch)
        return _complete(partial, path, root, rows, head, leaves)
    finally:
        partial.unlink(missing_ok=True)


def _complete(partial: Path, path: Path, root: Root, rows: Rows, head: bytes, leaves: Iterable[bytes] = ()) -> bool:
    count = _HEAD.unpack(head)[1]
    with partial.open("r+b") as file:
        file.write(head)
        file.seek(_HEAD.size + 32 * rows.leaves(count))
        if counted_root(count, _write_levels(file, rows.leaves(count))) != root:
            return False
        file.writelines(leaves)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    sync_folder(path.parent)
    return True


def _write_levels(file: IO[bytes], leaves: int) -> bytes:
    """Write the nodes above the leaves, level by level; return the root."""
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
    """Say whether a tree is cached whose length and root are right. The other nodes are not checked."""
    try:
        with _kept(place, root, rows):
            return True
    except (OSError, FormError):
        return False


def find_opening(place: Path, store: ContentStore, root: Root, rows: Rows, index: int) -> Opening | None:
    """Return the opening of a leaf, or the proof that there is no such leaf; None if no cached tree proves it.

    Reads the nodes of one Merkle path, and the one or two blocks of the blob that hold the leaf with the nodes above.

    Args:
        place: The folder of the round's trees.
        store: Holds the blob.
        root: The tree's root.
        rows: What its leaves hold.
        index: Index of the leaf.
    """
    try:
        with _kept(place, root, rows) as (data, tree, head):
            counted = Counted(head[0], tree.root)
            leaf = b"" if index >= tree.leaves else _leaf(data, store, rows, index, head)
            opening = Opening(counted, leaf, () if index >= tree.leaves else prove(tree, index))
    except (OSError, ContentError, FormError, InputError):
        return None  # missing, damaged, or of an unavailable blob: the caller rebuilds it
    return opening if _proves(opening, root, rows, index) else None


_Head = tuple[int, int, bytes, int]


@contextmanager
def _kept(place: Path, root: Root, rows: Rows) -> Iterator[tuple[memoryview, MerkleTree, _Head]]:
    """Map a tree's file, and parse its head.

    Raises:
        OSError: The file is missing or unreadable.
        FormError: Its length is not what its head says, or its last node and count do not give the root.
    """
    path = _path(place, root, rows)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            raise FormError(f"{path}: expected a head of {_HEAD.size} bytes, got {len(head)}")
        magic, count, begin, cid, blob_size = _HEAD.unpack(head)
        # Refuse a count too large for this file before computing with it.
        if magic != _MAGIC or not 0 < rows.leaves(count) <= size:
            raise FormError(f"{path}: expected a tree, got something else")
        end = tree_bytes(count, rows)
        if size != end + (rows.entry_bytes * count if cid == _NO_CID else 0):
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
    """Whether an opening proves a leaf of a root, or that there is no such leaf, by the contract's check."""
    counted = opening.counted
    if counted_root(counted.count, counted.inner) != root:
        return False
    leaves = rows.leaves(counted.count)
    if index >= leaves:
        return not opening.leaf and not opening.proof
    return verify_inclusion(leaf_hash(opening.leaf), index, leaves, opening.proof, counted.inner)
