"""Merkle-Patricia tries: roots, and proofs of what stands in one or does not.

Yellow paper, appendix D. The package `trie` has these too, but its proofs are not strict: nodes that no path uses pass,
a hex prefix with an unknown flag counts as an extension, an empty one ends in IndexError. Tests compare the two.

In every trie of Ethereum's no key is the beginning of another (indices in RLP, or hashes), so no value stands in a
branch and no path runs past its key: either is refused here.
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
"""Root of a trie with nothing in it: keccak256 of the RLP of nothing."""
_LEAF = 2
"""Bit of a hex prefix's first nibble; the lowest bit says that an odd number of nibbles follow."""


def index_key(index: int) -> bytes:
    """Return the key under which a block's tries have what stands at an index."""
    return rlp.encode(rlp.int_to(index))


def indexed_root(values: Sequence[bytes]) -> bytes:
    """Return the root of a trie of values by their index."""
    return trie_root({index_key(index): value for index, value in enumerate(values)})


def trie_root(values: Mapping[bytes, bytes]) -> bytes:
    """Return the root of a trie.

    Raises:
        InputError: A value is empty, or a key is the beginning of another.
    """
    return _build(values, {})


def prove(values: Mapping[bytes, bytes], key: bytes) -> tuple[bytes, ...]:
    """Return the nodes, root first, that prove what a trie of values has under key, or that it has nothing there.

    Raises:
        InputError: A value is empty, or a key is the beginning of another.
    """
    nodes: dict[bytes, bytes] = {}
    root, path = _build(values, nodes), []

    def find(reference: bytes) -> bytes:
        path.append(nodes[reference])
        return nodes[reference]

    _walk(root, key, find)
    return tuple(path)


def verify_proof(root: bytes, key: bytes, nodes: Sequence[bytes]) -> bytes | None:
    """Return what a trie has under key, or None if it is proved to have nothing there.

    Args:
        root: Root of the trie, 32 bytes.
        key: The key; hashed already where the trie wants it.
        nodes: Nodes on the key's path, root first, as `eth_getProof` gives them: those under 32 bytes stand inside
            their parents. None for an empty trie.

    Raises:
        VerificationFailed: The nodes prove neither; or one is missing, too many, or not in canonical form.
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
    """The nodes of several paths, each once, in any order: what several proofs of one block have in common.

    Args:
        nodes: Each strictly above the one before as bytes, so that a set has one form.

    Raises:
        VerificationFailed: They are not.
    """

    def __init__(self, nodes: Sequence[bytes]) -> None:
        if any(before >= after for before, after in pairwise(nodes)):
            _fail("nodes in ascending order, each once", "another order")
        self._nodes = {keccak(node): node for node in nodes}
        self._unused = set(self._nodes)
        self._left = sum(map(len, nodes))

    def value(self, root: bytes, key: bytes) -> bytes | None:
        """Return what a trie has under key, or None if it is proved to have nothing there.

        Raises:
            VerificationFailed: A node on the key's path is missing, or not in canonical form; or what was returned so
                far is more than the nodes hold, so that paths end in one node, as in no trie of receipts,
                transactions or hashed keys: a few nodes would stand for any number of bytes.
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
        """Check that every node stood on a path that was followed.

        Raises:
            VerificationFailed: One did not.
        """
        if self._unused:
            _fail("no more nodes than the paths have", f"{len(self._unused)} more")


def _walk(root: bytes, key: bytes, resolve: Callable[[bytes], bytes]) -> bytes | None:
    """Follow key from root; a trie's nodes are what resolve gives for their hashes."""
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
    """The node that stands inside its parent, or is named there by its hash: always by the hash from 32 bytes on."""
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
    """The nibbles that a hex prefix holds, and whether they end in a value (yellow paper, appendix C)."""
    nibbles = _nibbles(prefix) if isinstance(prefix, bytes) else b""
    if not nibbles or nibbles[0] > 3 or (not nibbles[0] & 1 and nibbles[1]):
        _fail("a hex prefix", repr(prefix)[:80])
    return nibbles[1 if nibbles[0] & 1 else 2 :], bool(nibbles[0] & _LEAF)


def _value(item: rlp.Item) -> bytes:
    if not isinstance(item, bytes) or not item:
        _fail("a value in a leaf", "none")
    return item


def _build(values: Mapping[bytes, bytes], nodes: dict[bytes, bytes]) -> bytes:
    """Return the root, and put every node that is named by its hash into nodes."""
    if not values:
        return EMPTY_ROOT
    if not all(values.values()):
        raise InputError("trie: expected values, got an empty one")
    raw = rlp.encode(_node(sorted((_nibbles(key), value) for key, value in values.items()), 0, nodes))
    nodes[keccak(raw)] = raw
    return keccak(raw)


def _node(items: Sequence[tuple[bytes, bytes]], depth: int, nodes: dict[bytes, bytes]) -> rlp.Item:
    """The node over items, which are sorted and share their first depth nibbles."""
    first, last = items[0][0], items[-1][0]
    if len(items) == 1:
        return (_prefix(first[depth:], _LEAF), items[0][1])
    shared = depth
    while shared < len(first) and first[shared] == last[shared]:
        shared += 1
    if shared == len(first):
        raise InputError("trie: expected keys none of which begins another, got two that do")
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
