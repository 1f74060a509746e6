"""Openings: leaves of anchored trees with their Merkle paths, for challenges, answers and inclusion proofs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from registry.chain.contract_hashes import contribution_leaf
from registry.chain.contract_structs import Counted, Listed, Membership, Opening
from registry.content.merkle import (
    VALUES,
    MerkleTree,
    Rows,
    counted_root,
    leaf_hash,
    merkle_root,
    merkle_tree,
    node_hash,
    prove,
    tensor_leaves,
)
from registry.content.tensors import header_length, parse_header
from registry.errors import FormError
from registry.store.base import ContentStore
from registry.store.blobs import file_pieces, open_blob, read_range
from registry.types import Blob, Root

__all__ = [
    "Chunks",
    "Listing",
    "Numbers",
    "chunk_of_blob",
    "chunks_of_blob",
    "chunks_of_file",
    "differing_leaf",
    "listing_of",
    "numbers_in",
    "relay_numbers",
    "shown_path",
]


_DTYPES = {8: "I64", 1: "U8"}
"""Dtype of a file's numbers by their bytes: of states and packed rows; of values F32."""


@dataclass(frozen=True, slots=True)
class Chunks:
    """The numbers of a blob, split into the chunks of its counted root: F32 values, int64 states or bytes of rows.

    Attributes:
        values: Number of values.
        tree: Merkle tree over the chunks.
        read: Returns the bytes of a chunk.
    """

    values: int
    tree: MerkleTree
    read: Callable[[int], bytes]

    @property
    def counted(self) -> Counted:
        """Count and inner root, the preimage of the tensor root."""
        return Counted(self.values, self.tree.root)

    @property
    def root(self) -> Root:
        """The tensor root."""
        return counted_root(self.values, self.tree.root)

    def opening(self, index: int) -> Opening:
        """Return a chunk with its Merkle path; past the end the count alone, which proves that there is none."""
        if index >= self.tree.leaves:
            return Opening(self.counted, b"", ())
        return Opening(self.counted, self.read(index), prove(self.tree, index))


@dataclass(frozen=True, slots=True)
class Listing:
    """The contributions of a result: the leaves of its contributions root, in order."""

    contributions: tuple[Listed, ...]

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """Leaf hashes."""
        return tuple(leaf_hash(contribution_leaf(entry)) for entry in self.contributions)

    @property
    def counted(self) -> Counted:
        """Count and inner root, the preimage of the contributions root."""
        return Counted(len(self.contributions), merkle_root(self.hashes))

    @property
    def root(self) -> Root:
        """The contributions root. Unlike `contributions_root` it accepts any list, since liars attest any list."""
        counted = self.counted
        return counted_root(counted.count, counted.inner)

    def opening(self, index: int) -> Opening:
        """Return a leaf with its Merkle path; past the end the count alone, which proves that there is none."""
        if index >= len(self.contributions):
            return Opening(self.counted, b"", ())
        return Opening(self.counted, contribution_leaf(self.contributions[index]), self._proof(index))

    def membership(self, index: int) -> Membership:
        """Return a contribution with its index and Merkle path."""
        return Membership(self.counted, index, self.contributions[index], self._proof(index))

    def _proof(self, index: int) -> tuple[bytes, ...]:
        return prove(merkle_tree(self.hashes), index)


def listing_of(entries: Iterable[Listed]) -> Listing:
    """Return contributions as an honest result lists them: ascending by participant."""
    return Listing(tuple(sorted(entries, key=lambda entry: entry.participant)))


def chunks_of_file(path: Path, rows: Rows = VALUES) -> Chunks:
    """Return the chunks of a safetensors file's numbers, whether or not they are on the grid.

    Raises:
        FormError: Its header is not canonical, or it has no F32 values.
    """
    numbers = numbers_in(file_pieces(path), path.stat().st_size, rows)

    def read(begin: int, end: int) -> bytes:
        with path.open("rb") as file:
            file.seek(begin)
            return file.read(end - begin)

    return _chunks(numbers, read, rows)


def chunks_of_blob(store: ContentStore, blob: Blob, rows: Rows = VALUES) -> Chunks:
    """Return the chunks of a stored safetensors file's numbers, whether or not they are on the grid.

    Raises:
        FormError: Its header is not canonical, or it has no F32 values.
        ContentError: A block is missing or changed.
    """
    numbers = numbers_in(open_blob(store, blob), blob.size, rows)
    return _chunks(numbers, lambda begin, end: read_range(store, blob, begin, end), rows)


def relay_numbers(store: ContentStore, blob: Blob, header: bytes, path: Path, rows: Rows = VALUES) -> None:
    """Copy a stored file's numbers under another header: a liar may publish the right numbers in any layout.

    Raises:
        FormError, ContentError: As `chunks_of_blob`.
    """
    with path.open("wb") as out:
        out.write(header)
        for piece in numbers_in(open_blob(store, blob), blob.size, rows).pieces:
            out.write(piece)


def chunk_of_blob(store: ContentStore, blob: Blob, index: int, rows: Rows = VALUES) -> bytes:
    """Return one chunk of a stored file's numbers. Reads only the header and the blocks that hold the chunk.

    Raises:
        FormError, ContentError: As `chunks_of_blob`.
        InputError: There is no such chunk.
    """
    numbers = numbers_in(open_blob(store, blob), blob.size, rows)
    return read_range(store, blob, *numbers.range_of(index, rows))


def _chunks(numbers: Numbers, read: Callable[[int, int], bytes], rows: Rows) -> Chunks:
    def chunk(index: int) -> bytes:
        return read(*numbers.range_of(index, rows))

    return Chunks(numbers.count(rows), merkle_tree(tensor_leaves(numbers.pieces, rows)), chunk)


@dataclass(frozen=True, slots=True)
class Numbers:
    """Position of a file's numbers, bytes begin..end-1, and an iterator over these bytes."""

    begin: int
    end: int
    pieces: Iterator[memoryview]

    def count(self, rows: Rows) -> int:
        """Return the number of values."""
        return (self.end - self.begin) // rows.entry_bytes

    def range_of(self, index: int, rows: Rows) -> tuple[int, int]:
        """Return the first byte of a leaf in the file, and the byte after its last."""
        at = self.begin + index * rows.size
        return at, min(at + rows.size, self.end)


def numbers_in(pieces: Iterator[bytes], size: int, rows: Rows) -> Numbers:
    """Return the numbers of a safetensors file.

    Args:
        pieces: The file's bytes, split anywhere.
        size: The file's length, bytes.
        rows: Which numbers to return: F32 values, the int64 of a state, or the bytes of packed rows.

    Raises:
        FormError: Its header is not canonical, or it has no such numbers.
    """
    prefix = b""
    for piece in pieces:
        prefix += piece
        if len(prefix) >= 8 and len(prefix) >= header_length(prefix, size):
            break
    header = parse_header(prefix)
    dtype = _DTYPES.get(rows.entry_bytes, "F32")
    begin, end = (header.header_bytes + at for at in header.range_of(dtype))
    if end == header.file_bytes:
        end = size  # liars publish longer files, whose roots cover all bytes
    if not begin < end <= size or (end - begin) % rows.entry_bytes:
        raise FormError(f"expected values of {rows.entry_bytes} bytes, got {end - begin} bytes in a file of {size}")

    def data() -> Iterator[memoryview]:
        at = 0
        for piece in chain((prefix,), pieces):
            yield memoryview(piece)[max(begin - at, 0) : max(end - at, 0)]
            at += len(piece)

    return Numbers(begin, end, data())


def differing_leaf(tree: MerkleTree, shown: Mapping[int, Opening], *, first: bool = False) -> int:
    """Return the index of a leaf that differs between two trees of equal size, or the next leaf of the bisection.

    The Merkle path of a shown leaf holds the roots of the subtrees beside it. One of these differs, or the leaf itself,
    so each leaf at least halves the range of the difference.

    Args:
        tree: The recomputed tree.
        shown: Leaves of the other tree, with valid Merkle paths, by index. Its root differs from that of `tree`.
        first: Whether the first leaf that differs is sought, so that all before it are equal.
    """

    def search(low: int, high: int) -> int:
        for index in sorted(shown):
            if not low <= index < high or (first and index != low):
                continue
            if leaf_hash(shown[index].leaf) != tree.leaf(index):
                return index
            sides = zip(_siblings(tree.leaves, index), prove(tree, index), shown[index].proof, strict=True)
            for (begin, end), own, theirs in sides:
                if low <= begin and end <= high and own != theirs:
                    return search(begin, end)
        return low

    return search(0, tree.leaves)


def shown_path(tree: MerkleTree, index: int, there: int, shown: Opening) -> tuple[bytes, ...]:
    """Return the Merkle path, in another tree, of a leaf that was not shown, from a later one that was.

    Args:
        tree: A tree of equal size that is equal up to the leaf shown.
        index: A leaf before that one.
        there: Index of the leaf shown.
        shown: Its opening in the other tree.
    """
    beside = dict(zip(_siblings(tree.leaves, there), shown.proof, strict=True))
    own = zip(_siblings(tree.leaves, index), prove(tree, index), strict=True)
    over = {(there, there + 1): leaf_hash(shown.leaf)}
    (low, high), node = next(iter(over.items()))
    for (begin, end), sibling in beside.items():
        node = node_hash(sibling, node) if begin < low else node_hash(node, sibling)
        low, high = min(low, begin), max(high, end)
        over[low, high] = node
    return tuple(beside.get(span) or over.get(span) or hash_ for span, hash_ in own)


def _siblings(count: int, index: int) -> list[tuple[int, int]]:
    """Return the leaf ranges of the subtrees on a Merkle path, from the leaf's sibling up (RFC 9162, 2.1.3.1)."""
    found, low, high = [], 0, count
    while high - low > 1:
        split = low + (1 << (high - low - 1).bit_length() - 1)
        if index < split:
            found.append((split, high))
            high = split
        else:
            found.append((low, split))
            low = split
    return found[::-1]
