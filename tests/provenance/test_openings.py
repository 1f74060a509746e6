"""Openings of blobs and lists against brute force: every chunk, every leaf, every tree that differs in some place."""

from __future__ import annotations

import os
import random
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from registry.chain.contract_structs import Counted, Listed, Opening
from registry.content.merkle import (
    CHUNK_BYTES,
    counted_root,
    leaf_hash,
    merkle_root,
    merkle_tree,
    prove,
    tensor_root,
    verify_inclusion,
)
from registry.content.tensors import write_tensors
from registry.content.unixfs import CHUNK_SIZE as LEAF_BYTES
from registry.disputes.openings import Chunks, Listing, chunks_of_blob, chunks_of_file, differing_leaf, listing_of
from registry.errors import FormError
from registry.store.blobs import add_blob
from registry.store.memory import MemoryStore
from registry.types import Address, Digest, Root

TREES = 10_000 if os.environ.get("CAIRN_SOAK") else 250


def file_of(others: int, values: int) -> bytes:
    """The bytes of a file whose values are all different, with that many other tensors around them."""
    tensors = {f"{i:04}{'x' * 400}": ("I64" if i % 2 else "U8", (3,), bytes(24 if i % 2 else 3)) for i in range(others)}
    if values:
        tensors["w"] = ("F32", (values,), np.arange(1, values + 1, dtype="<i4").tobytes())
    return b"".join(write_tensors(tensors))


FILES = [(0, 1), (0, 255), (1, 256), (2, 257), (5, 3 * LEAF_BYTES // 4), (2500, 5000)]


@pytest.mark.parametrize(("others", "values"), FILES)
@pytest.mark.parametrize("kept", ["file", "blob"])
def test_every_chunk_opens_with_its_proof(others: int, values: int, kept: str, tmp_path: Path) -> None:
    data = file_of(others, values)
    chunks = opened(data, kept, tmp_path)
    body = np.arange(1, values + 1, dtype="<i4").tobytes()
    assert (chunks.values, chunks.root) == (values, tensor_root(body))
    count = -(-len(body) // CHUNK_BYTES)
    for index in range(count):
        opening = chunks.opening(index)
        assert opening.leaf == body[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES]
        assert opening.counted.count == values
        assert verify_inclusion(leaf_hash(opening.leaf), index, count, opening.proof, opening.counted.inner)
    assert chunks.opening(count) == Opening(chunks.counted, b"", ())


def opened(data: bytes, kept: str, folder: Path) -> Chunks:
    if kept == "blob":
        store = MemoryStore()
        return chunks_of_blob(store, add_blob(store, [data]))
    (folder / "file").write_bytes(data)
    return chunks_of_file(folder / "file")


HOLLOW = (b"1234567", file_of(2, 0), file_of(0, 1)[:-1], file_of(0, 1) + b"\0")


@pytest.mark.parametrize(("kept", "data"), [("file", b""), *product(("file", "blob"), HOLLOW)])  # no blob is empty
def test_what_holds_no_whole_values_has_no_chunks(data: bytes, kept: str, tmp_path: Path) -> None:
    with pytest.raises(FormError, match="expected"):
        opened(data, kept, tmp_path)


def entry(number: int) -> Listed:
    seed = number.to_bytes(4, "big")
    return Listed(Address(seed * 5), Digest(seed * 8), Root(seed[::-1] * 8), number + 1, number + 2, number)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 33])
def test_every_contribution_opens_at_its_place(count: int) -> None:
    mixed = [entry(number) for number in range(count)]
    random.Random(count).shuffle(mixed)
    listing = listing_of(mixed)
    assert [e.participant for e in listing.contributions] == sorted(e.participant for e in mixed)
    counted = Counted(count, merkle_root(listing.hashes))
    assert (listing.counted, listing.root) == (counted, counted_root(count, counted.inner))
    for index in range(count):
        opening, membership = listing.opening(index), listing.membership(index)
        assert (membership.index, membership.contribution) == (index, listing.contributions[index])
        assert opening.proof == membership.proof
        assert verify_inclusion(leaf_hash(opening.leaf), index, count, opening.proof, counted.inner)
    assert listing.opening(count) == Opening(counted, b"", ())


def test_a_list_in_another_order_has_another_root() -> None:
    entries = tuple(entry(number) for number in range(4))
    assert Listing(entries).root != Listing(entries[::-1]).root


def test_walking_down_any_other_tree_ends_at_a_leaf_that_differs() -> None:
    draw = random.Random(4)
    for _ in range(TREES):
        count = draw.randint(1, 70)
        here = [bytes([i]) for i in range(count)]
        there = list(here)
        for place in draw.sample(range(count), draw.randint(1, min(count, 3))):
            there[place] = b"another"
        own, others = (merkle_tree(map(leaf_hash, leaves)) for leaves in (here, there))
        counted, shown = Counted(count, others.root), dict[int, Opening]()
        while (wanted := differing_leaf(own, shown)) not in shown:
            shown[wanted] = Opening(counted, there[wanted], prove(others, wanted))
        assert here[wanted] != there[wanted]
        assert len(shown) <= 1 + (count - 1).bit_length(), "each leaf at least halves where the difference can be"
