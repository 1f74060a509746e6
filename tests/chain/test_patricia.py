"""Merkle-Patricia tries: the reference package's roots, proofs of inclusion and of absence, and no false proof."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trie import HexaryTrie

from registry.errors import InputError, VerificationFailed
from registry.ethereum import rlp
from registry.ethereum.hashing import keccak
from registry.ethereum.patricia import EMPTY_ROOT, TrieNodes, index_key, indexed_root, prove, trie_root, verify_proof

hashed = st.dictionaries(st.binary(max_size=4).map(keccak), st.binary(min_size=1, max_size=60), max_size=40)
indexed = st.lists(st.binary(min_size=1, max_size=60), max_size=300).map(
    lambda values: {index_key(index): value for index, value in enumerate(values)}
)
short = st.dictionaries(st.binary(min_size=3, max_size=3), st.binary(min_size=1, max_size=3), max_size=40)
"""Keys and values so small that nodes stand inside their parents."""
tries = st.one_of(hashed, indexed, short)


def theirs(values: Mapping[bytes, bytes]) -> bytes:
    trie = HexaryTrie({})
    for key, value in values.items():
        trie[key] = value
    return bytes(trie.root_hash)


@given(tries)
def test_the_root_is_the_reference_package_s(values: dict[bytes, bytes]) -> None:
    assert trie_root(values) == theirs(values)


@given(tries, st.data())
def test_a_proof_shows_what_is_there_and_the_reference_package_believes_it(
    values: dict[bytes, bytes], data: st.DataObject
) -> None:
    root = trie_root(values)
    lengths = sorted({len(key) for key in values}) or [3]
    absent = st.binary(min_size=lengths[-1], max_size=lengths[-1])
    key = data.draw(st.one_of(st.sampled_from(sorted(values)), absent) if values else absent)
    nodes = prove(values, key)
    assert verify_proof(root, key, nodes) == values.get(key)
    if nodes:
        proof = [listed(rlp.decode(node)) for node in nodes]
        assert HexaryTrie.get_from_proof(root, key, proof) == values.get(key, b"")


def listed(item: rlp.Item) -> object:
    return item if isinstance(item, bytes) else [listed(inner) for inner in item]


def test_the_empty_trie_has_its_root_and_proves_that_nothing_is_there() -> None:
    assert keccak(rlp.encode(b"")) == EMPTY_ROOT == trie_root({}) == indexed_root([])
    assert prove({}, b"key") == ()
    assert verify_proof(EMPTY_ROOT, b"key", ()) is None
    with pytest.raises(VerificationFailed, match="no more nodes"):
        verify_proof(EMPTY_ROOT, b"key", (b"\x80",))


@pytest.mark.parametrize("values", [{b"a": b""}, {b"a": b"1", b"ab": b"2"}, {b"": b"1", b"ab": b"2"}])
def test_no_trie_is_made_of_empty_values_or_of_keys_that_begin_another(values: dict[bytes, bytes]) -> None:
    with pytest.raises(InputError, match="trie: expected"):
        trie_root(values)


VALUES = {index_key(index): bytes([index]) * 40 for index in range(200)}
ROOT = trie_root(VALUES)
KEY = index_key(150)
NODES = prove(VALUES, KEY)


def test_a_proof_of_several_nodes_is_what_the_next_tests_change() -> None:
    assert len(NODES) >= 3
    assert verify_proof(ROOT, KEY, NODES) == VALUES[KEY]


@pytest.mark.parametrize("at", range(len(NODES)))
def test_a_missing_a_doubled_and_a_foreign_node_are_refused(at: int) -> None:
    for nodes in (
        NODES[:at] + NODES[at + 1 :],
        NODES[: at + 1] + NODES[at:],
        (*NODES[:at], prove(VALUES, index_key(1))[-1], *NODES[at + 1 :]),
        (*NODES[:at], NODES[at] + b"\0", *NODES[at + 1 :]),
        (*NODES[:at], b"", *NODES[at + 1 :]),
    ):
        with pytest.raises(VerificationFailed, match=r"trie proof: expected .*, got "):
            verify_proof(ROOT, KEY, nodes)


def test_unused_nodes_are_refused() -> None:
    for extra in (b"", b"\x80", NODES[-1], prove(VALUES, index_key(1))[-1]):
        with pytest.raises(VerificationFailed, match="no more nodes than the path has"):
            verify_proof(ROOT, KEY, (*NODES, extra))


def test_nodes_in_another_order_are_refused() -> None:
    with pytest.raises(VerificationFailed, match="hashes to"):
        verify_proof(ROOT, KEY, NODES[::-1])


def test_another_root_and_another_key_are_refused() -> None:
    with pytest.raises(VerificationFailed, match="hashes to"):
        verify_proof(bytes(32), KEY, NODES)
    for index in range(200):
        if index != 150 and prove(VALUES, index_key(index)) != NODES:
            with pytest.raises(VerificationFailed):
                verify_proof(ROOT, index_key(index), NODES)


# Nodes that no honest trie has, under roots that name them -----------------------------------------------------------

LEAF, ODD_LEAF, EXTENSION, ODD_EXTENSION = 0x20, 0x30, 0x00, 0x10
LONG = b"v" * 40
Node = rlp.Item


def branch(**children: Node) -> Node:
    items: list[Node] = [b""] * 17
    for name, child in children.items():
        items[int(name[1:])] = child
    return tuple(items)


def named(node: Node) -> bytes:
    return keccak(rlp.encode(node))


INNER = branch(n0=(bytes([0x20]), LONG), n1=(bytes([0x31]), LONG))
SMALL_BRANCH = branch(n0=(b"\x20", b"a"), n1=(b"\x20", b"b"))

FORGED: dict[str, tuple[bytes, tuple[Node, ...]]] = {
    "a byte string": (b"\x12", (b"x" * 40,)),
    "three items": (b"\x12", ((b"\x20\x12", LONG, b""),)),
    "no items": (b"\x12", ((),)),
    "sixteen items": (b"\x12", ((b"",) * 16,)),
    "an empty prefix": (b"\x12", ((b"", LONG),)),
    "a prefix that is a list": (b"\x12", (((b"\x20",), LONG),)),
    "an unknown flag": (b"\x12", ((b"\x60\x12", LONG),)),
    "an unknown high flag": (b"\x12", ((b"\xe0\x12", LONG),)),
    "a pad that is not zero": (b"\x12", ((b"\x2f\x12", LONG),)),
    "an empty value": (b"\x12", ((b"\x20\x12", b""),)),
    "a value that is a list": (b"\x12", ((b"\x20\x12", (LONG,)),)),
    "a leaf that runs past the key": (b"\x12", ((b"\x20\x12\x34", LONG),)),
    "an extension that runs past the key": (b"\x12", ((b"\x00\x12\x34", named(INNER)), INNER)),
    "an extension of nothing": (b"\x12", ((b"\x00", SMALL_BRANCH),)),
    "an extension below an extension": (
        b"\x12\x99",
        ((b"\x00\x12", named((b"\x13", LONG[:32]))), (b"\x13", LONG[:32])),
    ),
    "a leaf below an extension": (b"\x12\x34", ((b"\x00\x12", named((b"\x20\x34", LONG))), (b"\x20\x34", LONG))),
    "an extension to a short hash": (b"\x12\x34", ((b"\x00\x12", b"h" * 31),)),
    "an extension to nothing": (b"\x12\x34", ((b"\x00\x12", b""),)),
    "a branch with a value": (b"\x32", (branch(n1=named(INNER), n2=named(INNER), n16=LONG),)),
    "a branch with one child": (b"\x32", (branch(n1=named(INNER)),)),
    "a branch with a short hash": (b"\x12", (branch(n1=b"h" * 31, n2=named(INNER)),)),
    "a branch at the end of the key": (
        b"\x12",
        (
            branch(n1=named(branch(n2=named(INNER), n3=named(INNER))), n2=b"x" * 32),
            branch(n2=named(INNER), n3=named(INNER)),
            INNER,
        ),
    ),
    "a large node inside its parent": (b"\x12", (branch(n1=(b"\x32", LONG), n2=named(INNER)),)),
    "a small node named by its hash": (b"\x12", (branch(n1=named((b"\x32", b"v")), n2=named(INNER)), (b"\x32", b"v"))),
    "a byte string inside its parent": (b"\x12", (branch(n1=b"v", n2=named(INNER)),)),
    "a list of one inside its parent": (b"\x12", (branch(n1=(b"v",), n2=named(INNER)),)),
    "an empty list inside its parent": (b"\x12", (branch(n1=(), n2=named(INNER)),)),
}


@pytest.mark.parametrize(("key", "nodes"), FORGED.values(), ids=FORGED.keys())
def test_a_node_that_no_honest_trie_has_proves_nothing(key: bytes, nodes: tuple[Node, ...]) -> None:
    with pytest.raises(VerificationFailed, match=r"trie proof: expected .*, got "):
        verify_proof(named(nodes[0]), key, [rlp.encode(node) for node in nodes])


@pytest.mark.parametrize("raw", [b"", b"\xc1", b"\x80\x80", b"\xb8\x01a", b"\xc1" * 3000, bytes(600)])
def test_bytes_that_are_no_node_prove_nothing(raw: bytes) -> None:
    with pytest.raises(VerificationFailed, match="trie proof: expected a node, got bytes that are none"):
        verify_proof(keccak(raw), b"\x12", [raw])


HONEST: dict[str, tuple[Node, bytes, bytes | None]] = {
    "a leaf of a branch in an extension": ((b"\x11", SMALL_BRANCH), b"\x10", b"a"),
    "no leaf of a branch in an extension": ((b"\x11", SMALL_BRANCH), b"\x12", None),
    "another leaf": ((b"\x20\x13", LONG), b"\x12", None),
    "another extension": ((b"\x11", SMALL_BRANCH), b"\x20", None),
}


@pytest.mark.parametrize(("node", "key", "value"), HONEST.values(), ids=HONEST.keys())
def test_small_nodes_inside_their_parents_are_followed(node: Node, key: bytes, value: bytes | None) -> None:
    assert verify_proof(named(node), key, [rlp.encode(node)]) == value


# Several paths at once ----------------------------------------------------------------------------------------------


def test_nodes_of_several_paths_prove_each_and_no_other() -> None:
    values = {keccak(bytes([n])): bytes([n]) * 40 for n in range(50)}
    root, keys = trie_root(values), [keccak(bytes([n])) for n in (1, 2, 60)]
    nodes = sorted({node for key in keys for node in prove(values, key)})
    shared = TrieNodes(nodes)
    assert [shared.value(root, key) for key in keys] == [bytes([1]) * 40, bytes([2]) * 40, None]
    shared.require_all_used()
    with pytest.raises(VerificationFailed, match="expected a node that hashes to"):
        [TrieNodes(nodes).value(root, keccak(bytes([n]))) for n in range(3, 50)]
    half = TrieNodes(nodes)
    half.value(root, keys[0])
    with pytest.raises(VerificationFailed, match="expected no more nodes than the paths have, got"):
        half.require_all_used()
    for wrong in ([*nodes, nodes[-1]], nodes[::-1]):
        with pytest.raises(VerificationFailed, match="in ascending order, each once"):
            TrieNodes(wrong)
