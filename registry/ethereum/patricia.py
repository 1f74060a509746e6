"""Merkle-Patricia tries: roots, and strict verification of inclusion and exclusion proofs.

Yellow paper, appendix D. The package `trie` implements these too, but leniently: it accepts nodes on no path, treats a
hex prefix with an unknown flag as an extension, and raises IndexError on an empty one. Tests compare the two.

In Ethereum's tries no key is a prefix of another (keys are RLP indices or hashes), so no branch has a value and no path
extends past its key: both are rejected here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NoReturn

from registry.errors import FormError, InputError, VerificationFailed
from registry.ethereum import rlp
from registry.ethereum.hashing import keccak

__all__ = ["EMPTY_ROOT", "TrieNodes", "index_key", "indexed_root", "prove", "trie_root", "verify_proof"]

EMPTY_ROOT = bytes.fromhex("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421")
"""Root of the empty trie: keccak256 of the RLP of the empty string."""
_LEAF = 2
"""Bit of a hex prefix's first nibble; the lowest bit says that an odd number of nibbles follow."""


def index_key(index: int) -> bytes:
    """Return the key of an index in a block's transactions or receipts trie."""
    return rlp.encode(rlp.int_to(index))


def indexed_root(values: Sequence[bytes]) -> bytes:
    """Return the root of a trie of values keyed by index."""
    return trie_root({index_key(index): value for index, value in enumerate(values)})


def trie_root(values: Mapping[bytes, bytes]) -> bytes:
    """Return the root of a trie.

    Raises:
        InputError: A value is empty, or a key is a prefix of another.
    """
    return _build(values, {})


def prove(values: Mapping[bytes, bytes], key: bytes) -> tuple[bytes, ...]:
    """Return an inclusion proof for key, or an exclusion proof if it is absent: the nodes on its path, root first.

    Raises:
        InputError: A value is empty, or a key is a prefix of another.
    """
    nodes: dict[bytes, bytes] = {}
    root, path = _build(values, nodes), []

    def find(reference: bytes) -> bytes:
        path.append(nodes[reference])
        return nodes[reference]

    _walk(root, key, find)
    return tuple(path)


def verify_proof(root: bytes, key: bytes, nodes: Sequence[bytes]) -> bytes | None:
    """Verify a proof and return the value under key; None if it proves the key's absence.

    Args:
        root: Root of the trie, 32 bytes.
        key: The key, already hashed if the trie uses hashed keys.
        nodes: Nodes on the key's path, root first, as from `eth_getProof`: nodes under 32 bytes are embedded in their
            parents. Empty for an empty trie.

    Raises:
        VerificationFailed: The proof is invalid, incomplete, not canonical, or has surplus nodes.
    """
    left = iter(nodes)

    def take(reference: bytes) -> bytes:
        node = next(left, None)
        if node is None:
            _fail("another node", "the end")
        if keccak(node) != reference:
            _fail(f"a node that hashes to {reference.hex()}", f"one that hashes to {keccak(node).hex()}")
        return node

    value = _walk(root, key, take)
    if next(left, None) is not None:
        _fail("no more nodes than the path has", "more")
    return value


class TrieNodes:
    """Multiproof: the deduplicated nodes of several paths.

    Args:
        nodes: Strictly ascending as bytes, so that each set has one encoding.

    Raises:
        VerificationFailed: They are not strictly ascending.
    """

    def __init__(self, nodes: Sequence[bytes]) -> None:
        if any(before >= after for before, after in pairwise(nodes)):
            _fail("nodes in ascending order, each once", "another order")
        self._nodes = {keccak(node): node for node in nodes}
        self._unused = set(self._nodes)
        self._left = sum(map(len, nodes))

    def value(self, root: bytes, key: bytes) -> bytes | None:
        """Return the value under key; None if the nodes prove the key's absence.

        Raises:
            VerificationFailed: A node on the key's path is missing or not canonical; or the values returned so far
                exceed the nodes in size, so several paths share a leaf. That never happens in tries of receipts,
                transactions or hashed keys, and would let a few nodes expand to any number of bytes.
        """

        def take(reference: bytes) -> bytes:
            node = self._nodes.get(reference)
            if node is None:
                _fail(f"a node that hashes to {reference.hex()}", "none")
            self._unused.discard(reference)
            return node

        value = _walk(root, key, take)
        self._left -= len(value or b"")
        if self._left < 0:
            _fail("each value in a node of its own", "one at the end of several paths")
        return value

    def require_all_used(self) -> None:
        """Check that every node is on a path that was followed.

        Raises:
            VerificationFailed: A node is not.
        """
        if self._unused:
            _fail("no more nodes than the paths have", f"{len(self._unused)} more")


def _walk(root: bytes, key: bytes, resolve: Callable[[bytes], bytes]) -> bytes | None:
    """Follow key from root; resolve returns nodes by hash."""
    if root == EMPTY_ROOT:
        return None
    path = _nibbles(key)
    raw = resolve(root)
    node, after_extension = _decode(raw), False
    while True:
        if len(node) == 17:
            if not path:
                _fail("a value at the end of the key", "a branch")
            child, path, after_extension = node[path[0]], path[1:], False
            if child == b"":
                return None
        else:
            segment, is_leaf = _segment(node[0])
            if after_extension or (not is_leaf and not segment):
                _fail("a branch below an extension, and a path in it", "something else")
            if len(segment) > len(path):
                _fail("a path that ends with the key", "one that runs past it")
            if is_leaf:
                return _value(node[1]) if segment == path else None
            if path[: len(segment)] != segment:
                return None
            child, path, after_extension = node[1], path[len(segment) :], True
        node = _child(child, resolve)


def _child(reference: rlp.Item, resolve: Callable[[bytes], bytes]) -> tuple[rlp.Item, ...]:
    """Return a child node, embedded in its parent if under 32 bytes, else referenced by hash."""
    if isinstance(reference, tuple):
        if len(rlp.encode(reference)) >= 32:
            _fail("the hash of a node of 32 bytes or more", "the node itself")
        return _shaped(reference)
    if len(reference) != 32:
        _fail("a node or its hash", f"{len(reference)} bytes")
    raw = resolve(reference)
    if len(raw) < 32:
        _fail("a node under 32 bytes inside its parent", "its hash")
    return _decode(raw)


def _decode(raw: bytes) -> tuple[rlp.Item, ...]:
    try:
        return _shaped(rlp.decode(raw))
    except FormError as error:
        raise VerificationFailed(f"trie proof: expected a node, got bytes that are none: {error}") from error


def _shaped(node: rlp.Item) -> tuple[rlp.Item, ...]:
    if not isinstance(node, tuple) or len(node) not in (2, 17):
        _fail("a node of 2 or 17 items", "something else")
    if len(node) == 17 and (node[16] != b"" or sum(child != b"" for child in node[:16]) < 2):
        _fail("a branch of two or more children and no value", "another")
    return node


def _segment(prefix: rlp.Item) -> tuple[bytes, bool]:
    """Decode a hex prefix: its nibbles, and whether it is a leaf's (yellow paper, appendix C)."""
    nibbles = _nibbles(prefix) if isinstance(prefix, bytes) else b""
    if not nibbles or nibbles[0] > 3 or (not nibbles[0] & 1 and nibbles[1]):
        _fail("a hex prefix", repr(prefix)[:80])
    return nibbles[1 if nibbles[0] & 1 else 2 :], bool(nibbles[0] & _LEAF)


def _value(item: rlp.Item) -> bytes:
    if not isinstance(item, bytes) or not item:
        _fail("a value in a leaf", "none")
    return item


def _build(values: Mapping[bytes, bytes], nodes: dict[bytes, bytes]) -> bytes:
    """Return the root, and add every node that is referenced by hash to nodes."""
    if not values:
        return EMPTY_ROOT
    if not all(values.values()):
        raise InputError("trie: expected values, got an empty one")
    raw = rlp.encode(_node(sorted((_nibbles(key), value) for key, value in values.items()), 0, nodes))
    nodes[keccak(raw)] = raw
    return keccak(raw)


def _node(items: Sequence[tuple[bytes, bytes]], depth: int, nodes: dict[bytes, bytes]) -> rlp.Item:
    """Build the node over items, which are sorted and share their first depth nibbles."""
    first, last = items[0][0], items[-1][0]
    if len(items) == 1:
        return (_prefix(first[depth:], _LEAF), items[0][1])
    shared = depth
    while shared < len(first) and first[shared] == last[shared]:
        shared += 1
    if shared == len(first):
        raise InputError("trie: expected keys none of which is a prefix of another, got two that are")
    if shared > depth:
        return (_prefix(first[depth:shared], 0), _reference(_node(items, shared, nodes), nodes))
    children: list[rlp.Item] = [b""] * 17
    start = 0
    for end in range(1, len(items) + 1):
        if end == len(items) or items[end][0][depth] != items[start][0][depth]:
            children[items[start][0][depth]] = _reference(_node(items[start:end], depth + 1, nodes), nodes)
            start = end
    return tuple(children)


def _reference(node: rlp.Item, nodes: dict[bytes, bytes]) -> rlp.Item:
    raw = rlp.encode(node)
    if len(raw) < 32:
        return node
    nodes[keccak(raw)] = raw
    return keccak(raw)


def _nibbles(key: bytes) -> bytes:
    """Each nibble of key as a byte."""
    return bytes(nibble for byte in key for nibble in (byte >> 4, byte & 15))


def _prefix(nibbles: bytes, flag: int) -> bytes:
    padded = bytes((flag | 1,)) + nibbles if len(nibbles) % 2 else bytes((flag, 0)) + nibbles
    return bytes(high << 4 | low for high, low in zip(padded[::2], padded[1::2], strict=True))


def _fail(expected: str, got: str) -> NoReturn:
    raise VerificationFailed(f"trie proof: expected {expected}, got {got}")
