"""Merkle trees as in RFC 9162 section 2.1 (sha2-256), tensor roots and contributions roots.

A leaf hashes as ``sha256(0x00 ‖ leaf)``, a node as ``sha256(0x01 ‖ left ‖ right)``; the left subtree of n leaves holds
the largest power of two below n. A *counted root* is ``sha256(0x02 ‖ uint64 big-endian count ‖ root)``: an inclusion
proof means nothing without the tree's size, so the size is hashed with it. Both roots that go on chain are counted:

- the tensor root over 1 KiB chunks of a file's F32 values (256 each, the last may be shorter), counting values;
- the contributions root over ``abi.encode(participant, digest, tensorRoot, weight, steps, factor)``, counting
  contributions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from registry.errors import InputError
from registry.types import Address, Digest, Root, bytes32

__all__ = [
    "CHUNK_BYTES",
    "CHUNK_VALUES",
    "Contribution",
    "MerkleBuilder",
    "MerkleTree",
    "Rows",
    "TensorRootHasher",
    "VALUES",
    "contribution_leaf",
    "contributions_root",
    "counted_root",
    "leaf_hash",
    "level_above",
    "level_sizes",
    "merkle_root",
    "merkle_tree",
    "node_hash",
    "prove",
    "state_rows",
    "tensor_leaves",
    "tensor_root",
    "verify_inclusion",
]

CHUNK_VALUES = 256
"""F32 values in one leaf."""


class Rows(NamedTuple):
    """What a leaf of a counted root over numbers holds.

    Attributes:
        entry_bytes: Bytes of a number.
        entries: Numbers in a leaf; the last may hold fewer.
    """

    entry_bytes: int
    entries: int

    @property
    def size(self) -> int:
        """Bytes of a leaf."""
        return self.entry_bytes * self.entries

    def leaves(self, count: int) -> int:
        """Return how many leaves so many numbers take."""
        return -(-count // self.entries)


VALUES = Rows(4, CHUNK_VALUES)
"""Leaves of a tensor root."""
CHUNK_BYTES = VALUES.size
"""Bytes of F32 values in one leaf."""


def state_rows(states: int) -> Rows:
    """Return what leaves of a state's root hold: int64 states of whole coordinates in at most 1024 bytes."""
    return Rows(8, CHUNK_VALUES // 2 // states * states)


_sha256 = hashlib.sha256
_LEAF = _sha256(b"\x00")
_BATCH = 256  # leaves hashed before they are folded: 256 KiB of chunks, and a perfect subtree


def leaf_hash(leaf: bytes | bytearray | memoryview) -> bytes:
    """Return sha256(0x00 ‖ leaf)."""
    state = _LEAF.copy()
    state.update(leaf)
    return state.digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return sha256(0x01 ‖ left ‖ right)."""
    return _sha256(b"\x01" + left + right).digest()


def counted_root(count: int, root: bytes) -> Root:
    """Return sha256(0x02 ‖ uint64 big-endian count ‖ root)."""
    return Root(_sha256(b"\x02" + count.to_bytes(8, "big") + root).digest())


class MerkleBuilder:
    """A tree, or the part of one from some leaf on, that grows at its end and keeps O(log n) hashes.

    Attributes:
        count: Position of the next leaf.
    """

    __slots__ = ("_first", "_stack", "count")

    def __init__(self, first: int = 0) -> None:
        self.count = self._first = first
        self._stack: list[tuple[int, bytes]] = []  # perfect subtrees in order: how many leaves, and their root

    def append(self, leaf: bytes) -> None:
        """Add one leaf, given as its hash."""
        self._push(leaf, 1)

    def extend(self, leaves: list[bytes]) -> None:
        """Add leaf hashes in order; batches of 256 on a multiple of 256 are folded in one go, which is fastest."""
        if len(leaves) == _BATCH and self.count % _BATCH == 0:
            self._push(_perfect_root(leaves), _BATCH)
            return
        for leaf in leaves:
            self._push(leaf, 1)

    def join(self, following: MerkleBuilder) -> None:
        """Add all leaves of a part that begins where this one ends."""
        for leaves, subtree in following._stack:
            self._push(subtree, leaves)

    def root(self) -> bytes:
        """Return the root over the leaves so far; of no leaves it is sha256 of nothing (RFC 9162)."""
        if not self._stack:
            return _sha256(b"").digest()
        result = self._stack[-1][1]
        for _, left in reversed(self._stack[:-1]):
            result = node_hash(left, result)
        return result

    def copy(self) -> MerkleBuilder:
        """Return a builder that goes on from here on its own."""
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


def _perfect_root(leaves: list[bytes]) -> bytes:
    while len(leaves) > 1:
        pairs = iter(leaves)
        leaves = [_sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
    return leaves[0]


def merkle_root(leaves: Iterable[bytes]) -> bytes:
    """Return the root over leaf hashes."""
    builder = MerkleBuilder()
    for leaf in leaves:
        builder.append(leaf)
    return builder.root()


class MerkleTree(NamedTuple):
    """All nodes of a tree, in memory or mapped from a file.

    Attributes:
        leaves: How many it has, one or more.
        nodes: 32 bytes a node: the leaf hashes, then level by level up to the root. Nodes are paired from the left, and
            one that is left over goes up as it is: the same tree as RFC 9162's splits.
    """

    leaves: int
    nodes: bytes | bytearray | memoryview

    @property
    def root(self) -> bytes:
        """The last node."""
        return bytes(self.nodes[-32:])

    def leaf(self, index: int) -> bytes:
        """Return a leaf's hash."""
        return bytes(self.nodes[32 * index : 32 * index + 32])


def level_sizes(leaves: int) -> list[int]:
    """Return how many nodes each level of a tree has, from its leaves, of which there are one or more, to its root."""
    sizes = [leaves]
    while sizes[-1] > 1:
        sizes.append(-(-sizes[-1] // 2))
    return sizes


def level_above(level: bytes | bytearray | memoryview) -> bytes:
    """Return the nodes above some, 32 bytes each: above a whole level, or above an even number of nodes of one."""
    nodes = [_sha256(b"\x01" + level[at : at + 64]).digest() for at in range(0, len(level) - 32, 64)]
    return b"".join(nodes) + bytes(level[-32:] if len(level) % 64 else b"")


def merkle_tree(leaves: Iterable[bytes]) -> MerkleTree:
    """Return the tree over leaf hashes.

    Raises:
        InputError: There is none.
    """
    level = b"".join(leaves)
    if not level:
        raise InputError("merkle tree: expected one or more leaves, got none")
    count, nodes = len(level) // 32, bytearray(level)
    while len(level) > 32:
        level = level_above(level)
        nodes += level
    return MerkleTree(count, nodes)


def prove(tree: MerkleTree, index: int) -> tuple[bytes, ...]:
    """Return the inclusion proof of a leaf, from its sibling up (RFC 9162, 2.1.3.1).

    Raises:
        InputError: There is no such leaf.
    """
    if not 0 <= index < tree.leaves:
        raise InputError(f"inclusion proof: expected an index below {tree.leaves}, got {index}")
    path: list[bytes] = []
    begin = 0
    for size in level_sizes(tree.leaves):
        sibling = index ^ 1
        if sibling < size:  # else there is nothing beside it, and it goes up as it is
            path.append(bytes(tree.nodes[32 * (begin + sibling) : 32 * (begin + sibling) + 32]))
        begin += size
        index >>= 1
    return tuple(path)


def verify_inclusion(leaf: bytes, index: int, count: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Say whether proof shows the leaf hash at index of a tree of count leaves with this root (RFC 9162, 2.1.3.2)."""
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


class TensorRootHasher:
    """The counted root over numbers that come in pieces of any size; holds one leaf and some hundred hashes.

    Data may be hashed in parts, each by a hasher told its offset, in one process each, and joined in order.
    """

    __slots__ = ("_bytes", "_head", "_head_missing", "_leaves", "_partial", "_rows", "_size", "_tree")

    def __init__(self, offset: int = 0, rows: Rows = VALUES) -> None:
        self._rows = rows
        self._size = rows.size
        self._tree = MerkleBuilder(-(-offset // self._size))
        self._leaves: list[bytes] = []
        self._partial = bytearray()
        self._bytes = offset
        self._head = bytearray()  # the end of a chunk that begins in the part before
        self._head_missing = -offset % self._size

    @property
    def values(self) -> int:
        """Whole numbers up to here."""
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
        if self._partial:
            start = min(size - len(self._partial), len(data))
            self._partial += data[:start]
            if len(self._partial) < size:
                return
            self._leaves.append(leaf_hash(self._partial))
            self._fold()
            self._partial.clear()
        whole = start + (len(data) - start) // size * size
        copy = _LEAF.copy
        while start < whole:
            room = _BATCH - (self._tree.count + len(self._leaves)) % _BATCH
            stop = min(whole, start + room * size)
            for at in range(start, stop, size):
                state = copy()
                state.update(data[at : at + size])
                self._leaves.append(state.digest())
            self._fold()
            start = stop
        self._partial += data[whole:]

    def join(self, following: TensorRootHasher) -> None:
        """Go on with the data of a part that begins where this one ends."""
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
            InputError: There is no value yet, or the data ends within one.
        """
        width = self._rows.entry_bytes
        if self._bytes == 0 or self._bytes % width:
            raise InputError(f"counted root: expected one or more numbers of {width} bytes, got {self._bytes} bytes")
        tree = self._tree.copy()
        tree.extend(self._leaves + ([leaf_hash(self._partial)] if self._partial else []))
        return counted_root(self.values, tree.root())

    def _fold(self) -> None:
        if not (self._tree.count + len(self._leaves)) % _BATCH:  # so that whole batches lie on multiples of 256
            self._tree.extend(self._leaves)
            self._leaves.clear()


def tensor_root(data: bytes | bytearray | memoryview) -> Root:
    """Return the tensor root of F32 data held in memory."""
    hasher = TensorRootHasher()
    hasher.update(data)
    return hasher.digest()


def tensor_leaves(pieces: Iterable[bytes | bytearray | memoryview], rows: Rows = VALUES) -> Iterator[bytes]:
    """Yield the leaf hashes of numbers."""
    partial, size = bytearray(), rows.size
    for piece in pieces:
        data = memoryview(piece).cast("B")
        start = (size - len(partial)) % size if partial else 0
        partial += data[:start]
        if len(partial) == size:
            yield leaf_hash(partial)
            partial.clear()
        whole = max(start, start + (len(data) - start) // size * size)
        for at in range(start, whole, size):
            yield leaf_hash(data[at : at + size])
        partial += data[whole:]
    if partial:
        yield leaf_hash(partial)


class Contribution(NamedTuple):
    """An update admitted to an aggregate, as the contributions root sees it.

    Attributes:
        participant: Who committed it, 20 bytes.
        digest: Digest of the update's manifest.
        tensor_root: Its anchored tensor root.
        weight: Its declared weight, 0 < weight < 2^256.
        steps: Its declared training steps, likewise.
        factor: What the combine rule gave it in the sum, 0 <= factor <= weight; its weight in a weighted mean.
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
        InputError: A field has another length or range.
    """
    participant, digest, root, weight, steps, factor = contribution
    if len(participant) != 20:
        raise InputError(f"participant: expected 20 bytes, got {len(participant)}")
    for name, number in (("weight", weight), ("steps", steps)):
        if not 0 < number < 1 << 256:
            raise InputError(f"{name}: expected a positive number below 2^256, got {number}")
    if not 0 <= factor <= weight:
        raise InputError(f"factor: expected 0..{weight}, the weight, got {factor}")
    fixed = bytes(12) + participant + bytes32(digest, "digest") + bytes32(root, "tensor root")
    return fixed + b"".join(number.to_bytes(32, "big") for number in (weight, steps, factor))


def contributions_root(contributions: Sequence[Contribution]) -> Root:
    """Return the counted root over contributions in strictly ascending order of participant.

    Raises:
        InputError: There is none, or the order is another, or somebody stands there twice.
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
