"""Merkle trees and inclusion proofs (RFC 9162, sha2-256); tensor roots and contributions roots.

Trees and proofs follow RFC 9162, section 2.1: a leaf hashes as ``sha256(0x00 ‖ leaf)``, a node as
``sha256(0x01 ‖ left ‖ right)``; the left subtree of n leaves holds the largest power of two below n. A *counted root*
is ``sha256(0x02 ‖ uint64 big-endian count ‖ root)``: an inclusion proof means nothing without the tree's size, so the
root commits to the size too. Both roots on chain are counted:

- the tensor root over 1 KiB chunks of a file's F32 values (256 each, the last may be shorter), counting values;
- the contributions root over ``abi.encode(participant, digest, tensorRoot, weight, steps, factor)``, counting
  contributions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np

from registry.errors import InputError
from registry.kernels import kernels
from registry.types import MAX_SHARE, Address, Digest, Root, bytes32

__all__ = [
    "CHUNK_BYTES",
    "CHUNK_VALUES",
    "Contribution",
    "LeafSink",
    "MerkleBuilder",
    "MerkleTree",
    "Rows",
    "TensorRootHasher",
    "VALUES",
    "contribution_leaf",
    "contributions_root",
    "counted_root",
    "leaf_hash",
    "leaf_hashes",
    "level_above",
    "level_sizes",
    "merkle_root",
    "merkle_tree",
    "node_hash",
    "peaks_before",
    "prove",
    "state_rows",
    "tensor_leaves",
    "tensor_root",
    "verify_inclusion",
]

CHUNK_VALUES = 256
"""F32 values in one leaf."""


class Rows(NamedTuple):
    """Leaf layout of a counted root over numbers.

    Attributes:
        entry_bytes: Bytes per number.
        entries: Numbers per leaf; the last leaf may hold fewer.
    """

    entry_bytes: int
    entries: int

    @property
    def size(self) -> int:
        """Bytes of a leaf."""
        return self.entry_bytes * self.entries

    def leaves(self, count: int) -> int:
        """Return the number of leaves for count numbers."""
        return -(-count // self.entries)


VALUES = Rows(4, CHUNK_VALUES)
"""Leaf layout of a tensor root."""
CHUNK_BYTES = VALUES.size
"""Bytes of F32 values in one leaf."""


def state_rows(states: int) -> Rows:
    """Return the leaf layout of a state root: int64 states of whole coordinates, at most 1024 bytes per leaf."""
    return Rows(8, CHUNK_VALUES // 2 // states * states)


_sha256 = hashlib.sha256
_LEAF = _sha256(b"\x00")
_BATCH = 256  # leaves hashed before they are folded: 256 KiB of chunks, and a perfect subtree
_WORTH_A_CALL = 1 << 11  # bytes below which calling a kernel costs more than it saves


def leaf_hash(leaf: bytes | bytearray | memoryview) -> bytes:
    """Return sha256(0x00 ‖ leaf)."""
    state = _LEAF.copy()
    state.update(leaf)
    return state.digest()


def leaf_hashes(data: bytes | bytearray | memoryview, size: int) -> bytes:
    """Return the leaf hashes, 32 bytes each, of the whole rows of size bytes in data."""
    rows = memoryview(data)[: len(data) // size * size]
    found = _compiled_hashes(rows, size, 0)
    if found is None:
        return b"".join([leaf_hash(rows[at : at + size]) for at in range(0, len(rows), size)])
    return found


def _compiled_hashes(rows: memoryview, size: int, tag: int) -> bytes | None:
    """Return sha256(tag ‖ row) of each row of size bytes; None where no compiled kernel is used."""
    compiled = kernels(len(rows))
    if compiled is None or len(rows) < _WORTH_A_CALL:
        return None
    hashes = np.empty(len(rows) // size * 32, dtype=np.uint8)
    compiled.hash_rows(np.frombuffer(rows, dtype=np.uint8), size, tag, hashes)
    return hashes.tobytes()


def _hashes(joined: bytes) -> list[bytes]:
    return [joined[at : at + 32] for at in range(0, len(joined), 32)]


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return sha256(0x01 ‖ left ‖ right)."""
    return _sha256(b"\x01" + left + right).digest()


def counted_root(count: int, root: bytes) -> Root:
    """Return sha256(0x02 ‖ uint64 big-endian count ‖ root)."""
    return Root(_sha256(b"\x02" + count.to_bytes(8, "big") + root).digest())


class MerkleBuilder:
    """Append-only tree, or the part of one from a given leaf on, in O(log n) memory.

    Attributes:
        count: Position of the next leaf.
    """

    __slots__ = ("_first", "_stack", "count")

    def __init__(self, first: int = 0) -> None:
        self.count = self._first = first
        self._stack: list[tuple[int, bytes]] = []  # perfect subtrees in order: (leaves, root)

    def append(self, leaf: bytes) -> None:
        """Add one leaf, given as its hash."""
        self._push(leaf, 1)

    def extend(self, leaves: list[bytes]) -> None:
        """Add leaf hashes in order; a batch of 256 at a multiple of 256 is folded at once, which is fastest."""
        if len(leaves) == _BATCH and self.count % _BATCH == 0:
            self._push(_perfect_roots(b"".join(leaves)), _BATCH)
            return
        for leaf in leaves:
            self._push(leaf, 1)

    def extend_perfect(self, leaves: bytes) -> None:
        """Add whole batches of 256 leaf hashes, 32 bytes each, at a multiple of 256."""
        for root in _hashes(_perfect_roots(leaves)):
            self._push(root, _BATCH)

    def join(self, following: MerkleBuilder) -> None:
        """Append all leaves of the part that begins where this one ends."""
        for leaves, subtree in following._stack:
            self._push(subtree, leaves)

    def root(self) -> bytes:
        """Return the root over the leaves so far; without leaves, sha256 of the empty string (RFC 9162)."""
        if not self._stack:
            return _sha256(b"").digest()
        result = self._stack[-1][1]
        for _, left in reversed(self._stack[:-1]):
            result = node_hash(left, result)
        return result

    def copy(self) -> MerkleBuilder:
        """Return an independent copy."""
        other = MerkleBuilder(self._first)
        other.count, other._stack = self.count, list(self._stack)
        return other

    def _push(self, subtree: bytes, leaves: int) -> None:
        begin, size = self.count, leaves
        while begin & size and begin - size >= self._first:  # a right child whose left sibling is in this part
            subtree = node_hash(self._stack.pop()[1], subtree)
            begin -= size
            size *= 2
        self._stack.append((size, subtree))
        self.count += leaves


def _perfect_roots(leaves: bytes) -> bytes:
    """Return the roots of successive perfect subtrees of 256 leaves; leaves and roots are 32 bytes each."""
    nodes = leaves
    while len(nodes) * _BATCH > len(leaves):
        nodes = level_above(nodes)
    return nodes


def merkle_root(leaves: Iterable[bytes]) -> bytes:
    """Return the root over leaf hashes."""
    builder = MerkleBuilder()
    for leaf in leaves:
        builder.append(leaf)
    return builder.root()


class MerkleTree(NamedTuple):
    """All nodes of a tree, in memory or mapped from a file.

    Attributes:
        leaves: Number of leaves, at least 1.
        nodes: 32 bytes per node: the leaf hashes, then level by level up to the root. Nodes are paired from the left,
            and an unpaired node is promoted unchanged: the same tree as RFC 9162's splits.
    """

    leaves: int
    nodes: bytes | bytearray | memoryview

    @property
    def root(self) -> bytes:
        """Root hash: the last node."""
        return bytes(self.nodes[-32:])

    def leaf(self, index: int) -> bytes:
        """Return a leaf's hash."""
        return bytes(self.nodes[32 * index : 32 * index + 32])


def peaks_before(tree: MerkleTree, count: int) -> tuple[bytes, ...]:
    """Return the roots of the perfect subtrees of the first count leaves, largest first."""
    sizes, found, begin = level_sizes(tree.leaves), [], 0
    for level in reversed(range(count.bit_length())):
        if count >> level & 1:
            at = sum(sizes[:level]) + (begin >> level)
            found.append(bytes(tree.nodes[32 * at : 32 * at + 32]))
            begin += 1 << level
    return tuple(found)


def level_sizes(leaves: int) -> list[int]:
    """Return the number of nodes of each level of a tree with leaves >= 1 leaves, from leaves to root."""
    sizes = [leaves]
    while sizes[-1] > 1:
        sizes.append(-(-sizes[-1] // 2))
    return sizes


def level_above(level: bytes | bytearray | memoryview) -> bytes:
    """Return the parents, 32 bytes each, of a whole level or of an even number of nodes of a level."""
    pairs = memoryview(level)[: len(level) // 64 * 64]
    nodes = _compiled_hashes(pairs, 64, 1)
    if nodes is None:
        nodes = b"".join([_sha256(b"\x01" + pairs[at : at + 64]).digest() for at in range(0, len(pairs), 64)])
    return nodes + bytes(level[-32:] if len(level) % 64 else b"")


def merkle_tree(leaves: Iterable[bytes]) -> MerkleTree:
    """Return the tree over leaf hashes.

    Raises:
        InputError: There are no leaves.
    """
    level = b"".join(leaves)
    if not level:
        raise InputError("merkle tree: expected one or more leaves, got none")
    count, nodes = len(level) // 32, bytearray(level)
    while len(level) > 32:
        level = level_above(level)
        nodes += level
    return MerkleTree(count, nodes)


def prove(tree: MerkleTree, index: int, *, level: int = 0) -> tuple[bytes, ...]:
    """Return the inclusion proof of a leaf, from its sibling up (RFC 9162, 2.1.3.1).

    Args:
        tree: The tree.
        index: Of the leaf; of a node, at its level.
        level: 0 for a leaf; of a node over 2^level leaves, or those that are left at the end.

    Raises:
        InputError: There is no such leaf or node.
    """
    sizes = level_sizes(tree.leaves)
    nodes = sizes[min(level, len(sizes) - 1)]  # above the root there is the root alone
    if not 0 <= index < nodes:
        raise InputError(f"inclusion proof: expected an index below {nodes}, got {index}")
    path: list[bytes] = []
    begin = sum(sizes[:level])
    for size in sizes[level:]:
        sibling = index ^ 1
        if sibling < size:  # else the node is unpaired and promoted
            path.append(bytes(tree.nodes[32 * (begin + sibling) : 32 * (begin + sibling) + 32]))
        begin += size
        index >>= 1
    return tuple(path)


def verify_inclusion(leaf: bytes, index: int, count: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Return whether proof opens root to leaf, a leaf hash, at index among count leaves (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < count:
        return False
    node, last, result = index, count - 1, leaf
    for sibling in proof:
        if last == 0 or len(sibling) != 32:
            return False
        if node & 1 or node == last:
            result = node_hash(sibling, result)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            result = node_hash(result, sibling)
        node >>= 1
        last >>= 1
    return last == 0 and result == root


class LeafSink(Protocol):
    """Takes leaf hashes, 32 bytes each, from the leaf with the given index on, as they are computed."""

    def __call__(self, index: int, hashes: bytes, /) -> None: ...


class TensorRootHasher:
    """Streaming counted root over numbers in pieces of any size; holds one leaf and a few hundred hashes.

    Data may be hashed in parts by several processes: one hasher per part, given its offset, joined in order.

    Args:
        offset: Position of the first number, bytes.
        rows: Leaf layout.
        sink: Called with all leaf hashes, in parts and at the latest by `digest`.
    """

    __slots__ = ("_bytes", "_head", "_head_missing", "_leaves", "_partial", "_rows", "_sink", "_size", "_tree")

    def __init__(self, offset: int = 0, rows: Rows = VALUES, sink: LeafSink | None = None) -> None:
        self._sink = sink
        self._rows = rows
        self._size = rows.size
        self._tree = MerkleBuilder(-(-offset // self._size))
        self._leaves: list[bytes] = []
        self._partial = bytearray()
        self._bytes = offset
        self._head = bytearray()  # tail of a chunk that begins in the preceding part
        self._head_missing = -offset % self._size

    @property
    def values(self) -> int:
        """Whole numbers hashed so far, those before the offset included."""
        return self._bytes // self._rows.entry_bytes

    def update(self, piece: bytes | bytearray | memoryview) -> None:
        """Hash the next bytes of tensor data, little-endian as stored."""
        data = memoryview(piece).cast("B")
        self._bytes += len(data)
        if self._head_missing:
            taken = min(self._head_missing, len(data))
            self._head += data[:taken]
            self._head_missing -= taken
            data = data[taken:]
        start = 0
        size = self._size
        first, made = self._tree.count + len(self._leaves), b""
        if self._partial:
            start = min(size - len(self._partial), len(data))
            self._partial += data[:start]
            if len(self._partial) < size:
                return
            made = leaf_hash(self._partial)
            self._leaves.append(made)
            self._fold()
            self._partial.clear()
        whole = start + (len(data) - start) // size * size
        while start < whole:
            missing = -(self._tree.count + len(self._leaves)) % _BATCH  # leaves up to a whole batch
            batches = 0 if missing else (whole - start) // size // _BATCH
            stop = start + batches * _BATCH * size if batches else min(whole, start + (missing or _BATCH) * size)
            hashes = leaf_hashes(data[start:stop], size)
            made += hashes
            if batches:
                self._tree.extend_perfect(hashes)
            else:
                self._leaves += _hashes(hashes)
                self._fold()
            start = stop
        self._partial += data[whole:]
        if self._sink is not None and made:
            self._sink(first, made)

    def join(self, following: TensorRootHasher) -> None:
        """Append the data of the part that begins where this one ends."""
        end = following._bytes
        self.update(following._head)
        self._tree.extend(self._leaves)
        self._leaves.clear()
        self._tree.join(following._tree)
        self._leaves += following._leaves
        self._partial += following._partial
        self._bytes = end

    def digest(self) -> Root:
        """Return the tensor root over the data so far.

        Raises:
            InputError: There is no value yet, or the last value is incomplete.
        """
        width = self._rows.entry_bytes
        if self._bytes == 0 or self._bytes % width:
            raise InputError(f"counted root: expected one or more numbers of {width} bytes, got {self._bytes} bytes")
        last = [leaf_hash(self._partial)] if self._partial else []
        if last and self._sink is not None:
            self._sink(self._tree.count + len(self._leaves), last[0])
        tree = self._tree.copy()
        tree.extend(self._leaves + last)
        return counted_root(self.values, tree.root())

    def _fold(self) -> None:
        if not (self._tree.count + len(self._leaves)) % _BATCH:  # keeps whole batches on multiples of 256
            self._tree.extend(self._leaves)
            self._leaves.clear()


def tensor_root(data: bytes | bytearray | memoryview) -> Root:
    """Return the tensor root of in-memory F32 data, little-endian."""
    hasher = TensorRootHasher()
    hasher.update(data)
    return hasher.digest()


def tensor_leaves(pieces: Iterable[bytes | bytearray | memoryview], rows: Rows = VALUES) -> Iterator[bytes]:
    """Yield the leaf hashes over numbers in pieces of any size."""
    partial, size = bytearray(), rows.size
    for piece in pieces:
        data = memoryview(piece).cast("B")
        start = (size - len(partial)) % size if partial else 0
        partial += data[:start]
        if len(partial) == size:
            yield leaf_hash(partial)
            partial.clear()
        whole = max(start, start + (len(data) - start) // size * size)
        yield from _hashes(leaf_hashes(data[start:whole], size))
        partial += data[whole:]
    if partial:
        yield leaf_hash(partial)


class Contribution(NamedTuple):
    """An update admitted to an aggregate, as a leaf of the contributions root.

    Attributes:
        participant: Account that committed it, 20 bytes.
        digest: Digest of the update's manifest.
        tensor_root: Anchored tensor root of the update.
        weight: Declared weight, 0 < weight < 2^256.
        steps: Declared training steps, 0 < steps < 2^256.
        factor: Multiplier in the sum, set by the combine rule, at most the larger of weight and 2^16; the weight in a
            weighted mean.
    """

    participant: Address
    digest: Digest
    tensor_root: Root
    weight: int
    steps: int
    factor: int


def contribution_leaf(contribution: Contribution) -> bytes:
    """Return the 192 bytes of abi.encode(address, bytes32, bytes32, uint256, uint256, uint256).

    Raises:
        InputError: A field has the wrong length or is out of range.
    """
    participant, digest, root, weight, steps, factor = contribution
    if len(participant) != 20:
        raise InputError(f"participant: expected 20 bytes, got {len(participant)}")
    for name, number in (("weight", weight), ("steps", steps)):
        if not 0 < number < 1 << 256:
            raise InputError(f"{name}: expected a positive number below 2^256, got {number}")
    most = max(weight, MAX_SHARE)
    if not 0 <= factor <= most:
        raise InputError(f"factor: expected 0..{most}, got {factor}")
    fixed = bytes(12) + participant + bytes32(digest, "digest") + bytes32(root, "tensor root")
    return fixed + b"".join(number.to_bytes(32, "big") for number in (weight, steps, factor))


def contributions_root(contributions: Sequence[Contribution]) -> Root:
    """Return the counted root over contributions in strictly ascending order of participant.

    Raises:
        InputError: There are no contributions, or participants are not strictly ascending.
    """
    if not contributions:
        raise InputError("contributions root: expected one or more contributions, got none")
    for before, after in pairwise(contributions):
        if before[0] >= after[0]:
            raise InputError(
                "contributions root: expected strictly ascending participants, "
                f"got 0x{after[0].hex()} after 0x{before[0].hex()}"
            )
    leaves = (leaf_hash(contribution_leaf(contribution)) for contribution in contributions)
    return counted_root(len(contributions), merkle_root(leaves))
