from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from registry.content.merkle import (
    CHUNK_BYTES,
    Contribution,
    MerkleBuilder,
    TensorRootHasher,
    contribution_leaf,
    contributions_root,
    leaf_hash,
    level_above,
    level_sizes,
    merkle_root,
    merkle_tree,
    prove,
    tensor_leaves,
    tensor_root,
    verify_inclusion,
)
from registry.errors import InputError
from registry.types import Address, Digest, Root

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "content" / "roots.json").read_text())


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def reference_root(leaves: list[bytes]) -> bytes:
    """RFC 9162 section 2.1.1, word for word, over leaf hashes."""
    if not leaves:
        return sha(b"")
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha(b"\x01" + reference_root(leaves[:k]) + reference_root(leaves[k:]))


def reference_tensor_root(data: bytes) -> bytes:
    leaves = [sha(b"\x00" + data[at : at + 1024]) for at in range(0, len(data), 1024)]
    return sha(b"\x02" + (len(data) // 4).to_bytes(8, "big") + reference_root(leaves))


def hashes(count: int) -> list[bytes]:
    return [sha(index.to_bytes(4, "big")) for index in range(count)]


def cut(data: bytes, seed: int) -> Iterator[bytes]:
    draw = random.Random(seed)
    at = 0
    while at < len(data):
        step = draw.choice((0, 1, 3, 1023, 1024, 1025, 70_000, 1 << 20))
        yield data[at : at + step]
        at += step


def test_rfc_9162_test_tree_has_its_known_roots() -> None:
    # The tree of the certificate-transparency reference code, roots for 0 to 8 leaves.
    inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    roots = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ]
    leaves = [leaf_hash(bytes.fromhex(text)) for text in inputs]
    assert [merkle_root(leaves[:count]).hex() for count in range(9)] == roots


@pytest.mark.parametrize("count", [*range(20), 255, 256, 257, 511, 512, 513, 1000])
def test_builder_root_equals_the_rfc_recursion(count: int) -> None:
    leaves = hashes(count)
    builder = MerkleBuilder()
    for at in range(0, count, 256):
        builder.extend(leaves[at : at + 256])
    assert builder.root() == merkle_root(leaves) == reference_root(leaves)


@given(st.integers(0, 300), st.lists(st.integers(0, 300), max_size=4))
def test_tree_joined_from_parts_equals_the_whole(count: int, bounds: list[int]) -> None:
    leaves = hashes(count)
    edges = [0, *sorted(min(bound, count) for bound in bounds), count]
    whole = MerkleBuilder()
    for begin, end in pairwise(edges):
        part = MerkleBuilder(begin)
        for leaf in leaves[begin:end]:
            part.append(leaf)
        whole.join(part)
    assert whole.root() == reference_root(leaves)
    assert whole.count == count


def test_builder_holds_a_logarithm_of_its_leaves() -> None:
    builder = MerkleBuilder()
    for leaf in hashes(1023):
        builder.append(leaf)
    assert len(builder._stack) == 10


@given(st.integers(1, 200), st.data())
def test_every_proof_verifies_and_no_other_claim_does(count: int, data: st.DataObject) -> None:
    leaves = hashes(count)
    index = data.draw(st.integers(0, count - 1))
    root, proof = reference_root(leaves), prove(merkle_tree(leaves), index)
    assert verify_inclusion(leaves[index], index, count, proof, root)
    assert not verify_inclusion(sha(b"other"), index, count, proof, root)
    assert not verify_inclusion(leaves[index], index, count, proof, sha(b"other"))
    assert not verify_inclusion(leaves[index], index, count, (*proof, sha(b"")), root)
    assert not verify_inclusion(leaves[index], count, count, proof, root)
    assert not verify_inclusion(leaves[index], -1, count, proof, root)
    if proof:
        assert not verify_inclusion(leaves[index], index, count, proof[:-1], root)
        assert not verify_inclusion(leaves[index], index, count, (proof[0][:31], *proof[1:]), root)
    other = data.draw(st.integers(0, count - 1))
    if other != index:
        assert not verify_inclusion(leaves[index], other, count, proof, root)


def test_proof_is_of_a_tree_of_one_size() -> None:
    leaves = hashes(2)
    root = merkle_root(leaves)
    assert verify_inclusion(leaves[1], 1, 2, prove(merkle_tree(leaves), 1), root)
    assert not verify_inclusion(leaves[1], 0, 1, prove(merkle_tree(leaves), 1), root)
    assert not verify_inclusion(leaves[0], 0, 4, prove(merkle_tree(leaves), 0), root)


def test_proof_with_a_sibling_of_another_length_does_not_verify() -> None:
    leaf, short = sha(b"leaf"), b"short"
    assert not verify_inclusion(leaf, 1, 2, [short], sha(b"\x01" + short + leaf))


@pytest.mark.parametrize("index", [-1, 3])
def test_proof_of_a_leaf_that_is_not_there_is_an_input_error(index: int) -> None:
    with pytest.raises(InputError, match="index below 3"):
        prove(merkle_tree(hashes(3)), index)


@pytest.mark.parametrize("size", [4, 1020, 1024, 1028, 2048, 1 << 20, (1 << 20) + 4, 3_000_000])
def test_tensor_root_is_as_defined_and_independent_of_pieces(size: int) -> None:
    data = random.Random(size).randbytes(size)
    expected = reference_tensor_root(data)
    assert tensor_root(data) == expected
    for seed in range(3):
        hasher = TensorRootHasher()
        for piece in cut(data, seed):
            hasher.update(memoryview(piece))
        assert hasher.digest() == expected
        assert hasher.values == size // 4


def test_tensor_root_so_far_may_be_asked_for_on_the_way() -> None:
    data = random.Random(1).randbytes(3 * CHUNK_BYTES)
    hasher = TensorRootHasher()
    for at in range(0, len(data), 1000 * 4):
        hasher.update(data[at : at + 4000])
        assert hasher.digest() == reference_tensor_root(data[: at + 4000])


@settings(max_examples=30)
@given(st.integers(600_000, 700_000), st.lists(st.integers(0, 700_000), max_size=4), st.integers(0, 9))
@example(700_000, [3, 3, 5000, 262_143], 0)
@example(700_000, [262_144, 524_288], 1)
@example(1, [0, 1], 1)
@example(256, [1, 2, 255], 1)
def test_tensor_root_of_joined_parts_equals_that_of_the_whole(values: int, bounds: list[int], seed: int) -> None:
    data = random.Random(seed).randbytes(4 * values)
    edges = [0, *sorted(min(bound, values) * 4 for bound in bounds), len(data)]
    whole = TensorRootHasher()
    for begin, end in pairwise(edges):
        part = TensorRootHasher(begin)
        for piece in cut(data[begin:end], seed):
            part.update(piece)
        whole.join(part)
    assert whole.digest() == tensor_root(data)


@pytest.mark.parametrize("size", [0, 1, 4097])
def test_tensor_root_of_no_value_or_of_part_of_one_is_an_input_error(size: int) -> None:
    with pytest.raises(InputError, match=f"got {size} bytes"):
        tensor_root(bytes(size))


def test_tensor_root_says_how_many_values_it_is_over() -> None:
    one = tensor_root(bytes(1024))
    assert one != tensor_root(bytes(4092))
    assert one != leaf_hash(bytes(1024))


def test_one_chunk_of_tensor_data_is_proved_against_its_root() -> None:
    data = random.Random(7).randbytes(5 * CHUNK_BYTES + 12)
    leaves = list(tensor_leaves(cut(data, 7)))
    assert len(leaves) == 6
    chunk = data[5 * CHUNK_BYTES :]
    assert verify_inclusion(leaf_hash(chunk), 5, 6, prove(merkle_tree(leaves), 5), merkle_root(leaves))


def contribution(number: int, weight: int = 1) -> Contribution:
    name = number.to_bytes(20, "big")
    return Contribution(Address(name), Digest(sha(name)), Root(sha(b"root" + name)), weight, number + 1, weight)


@given(st.lists(st.integers(1, (1 << 160) - 1), min_size=1, max_size=40, unique=True), st.integers(1, 1 << 28))
def test_contributions_root_is_built_like_a_tensor_root(numbers: list[int], weight: int) -> None:
    contributions = [contribution(number, weight) for number in sorted(numbers)]
    leaves = [sha(b"\x00" + contribution_leaf(item)) for item in contributions]
    count = len(contributions).to_bytes(8, "big")
    assert contributions_root(contributions) == sha(b"\x02" + count + reference_root(leaves))
    assert {len(contribution_leaf(item)) for item in contributions} == {192}


def test_contribution_leaf_is_what_abi_encode_gives() -> None:
    eth_abi = pytest.importorskip("eth_abi")
    item = contribution(0xA1B2 << 100, 12345)
    item = item._replace(factor=12344)
    fields = ["address", "bytes32", "bytes32", "uint256", "uint256", "uint256"]
    named = ["0x" + item.participant.hex(), item.digest, item.tensor_root]
    assert contribution_leaf(item) == eth_abi.encode(fields, [*named, item.weight, item.steps, item.factor])


@pytest.mark.parametrize("numbers", [(2, 1), (1, 1), (1, 3, 2), (1, 2, 2)])
def test_contributions_out_of_order_or_twice_are_an_input_error(numbers: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="strictly ascending"):
        contributions_root([contribution(number) for number in numbers])


def test_no_contribution_weight_zero_and_short_fields_are_input_errors() -> None:
    with pytest.raises(InputError, match="got none"):
        contributions_root([])
    for weight in (0, -1, 1 << 256):
        with pytest.raises(InputError, match="weight"):
            contributions_root([contribution(1, weight)])
    for steps in (0, -1, 1 << 256):
        with pytest.raises(InputError, match="steps"):
            contributions_root([contribution(1)._replace(steps=steps)])
    for factor in (-1, (1 << 16) + 1):
        with pytest.raises(InputError, match=r"factor: expected 0\.\.65536"):
            contributions_root([contribution(1)._replace(factor=factor)])
    good = contribution(1)
    for bad in (
        good._replace(participant=Address(b"x" * 19)),
        good._replace(digest=Digest(b"x" * 31)),
        good._replace(tensor_root=Root(b"")),
    ):
        with pytest.raises(InputError, match="bytes"):
            contributions_root([bad])


@pytest.mark.parametrize("vector", GOLDEN["tensor_roots"], ids=lambda vector: str(vector["values"]))
def test_golden_tensor_root(vector: dict[str, object]) -> None:
    values = vector["values"]
    assert isinstance(values, int)
    data = b"".join(index.to_bytes(4, "little") for index in range(values))
    assert tensor_root(data).hex() == vector["root"]


def test_golden_contributions_root() -> None:
    for vector in GOLDEN["contributions_roots"]:
        items = [
            Contribution(
                Address(bytes.fromhex(item["participant"])),
                Digest(bytes.fromhex(item["digest"])),
                Root(bytes.fromhex(item["tensor_root"])),
                item["weight"],
                item["steps"],
                item["factor"],
            )
            for item in vector["contributions"]
        ]
        assert contributions_root(items).hex() == vector["root"]


def reference_proof(leaves: list[bytes], index: int) -> tuple[bytes, ...]:
    """RFC 9162 section 2.1.3.1, word for word, over leaf hashes."""
    if len(leaves) == 1:
        return ()
    k = 1 << (len(leaves) - 1).bit_length() - 1
    if index < k:
        return (*reference_proof(leaves[:k], index), reference_root(leaves[k:]))
    return (*reference_proof(leaves[k:], index - k), reference_root(leaves[:k]))


@pytest.mark.parametrize("count", [*range(1, 70), 255, 256, 257])
def test_every_proof_out_of_the_kept_nodes_is_that_of_the_rfc_recursion(count: int) -> None:
    leaves = hashes(count)
    tree = merkle_tree(leaves)
    assert (tree.leaves, tree.root) == (count, reference_root(leaves))
    assert len(tree.nodes) == 32 * sum(level_sizes(count))
    for index in range(count):
        assert tree.leaf(index) == leaves[index]
        assert prove(tree, index) == reference_proof(leaves, index)


@pytest.mark.parametrize("nodes", [2, 3, 64, 65, 257])
def test_a_level_made_in_even_parts_is_the_level_above_the_whole(nodes: int) -> None:
    level = b"".join(hashes(nodes))
    parts = (level[at : at + 128] for at in range(0, len(level), 128))
    assert b"".join(level_above(part) for part in parts) == level_above(level)


def test_of_no_leaves_there_is_no_tree() -> None:
    with pytest.raises(InputError, match="one or more leaves"):
        merkle_tree([])
