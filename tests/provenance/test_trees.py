"""The tree cache on disk: every opening equals that of a tree in memory, and a damaged file yields none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registry.chain.contract_structs import Demanded, Listed
from registry.content.merkle import VALUES, Rows, leaf_hash, level_sizes, state_rows, tensor_root
from registry.content.tensors import write_tensors
from registry.disputes.answers import answer_to
from registry.disputes.charges import CONTRIBUTIONS
from registry.disputes.openings import Listing, chunks_of_blob, listing_of
from registry.disputes.tree_cache import (
    disk_bytes,
    find_opening,
    is_kept,
    keep_blob,
    keep_listing,
    place_of,
    remove_before,
    tree_bytes,
)
from registry.errors import BlockNotFound, FormError
from registry.store.blobs import add_blob, leaf_cids
from registry.store.memory import MemoryStore
from registry.types import Address, Blob, Cid, Digest, ModelId, Root, RoundId

MIB = 1 << 20
MODEL = ModelId(b"\x0b" * 32)


class Counting(MemoryStore):
    """Notes every block that is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Cid] = []

    def _get(self, cid: Cid) -> bytes:
        self.asked.append(cid)
        return super()._get(cid)


def stored(store: MemoryStore, values: int, rows: Rows = VALUES, *, seed: int = 0) -> tuple[Blob, Root]:
    """A file of so many numbers between other tensors, and its root."""
    dtype, kind = ("F32", "<i4") if rows == VALUES else ("I64", "<i8")
    body = (np.arange(1, values + 1) + (seed << 24)).astype(kind).tobytes()
    tensors = {"a": ("U8", (5,), b"other"), "w": (dtype, (values,), body)}
    blob = add_blob(store, write_tensors(tensors))
    return blob, chunks_of_blob(store, blob, rows).root


ROWS = [VALUES, state_rows(1), state_rows(2), state_rows(3)]


@pytest.mark.parametrize("rows", ROWS, ids=["values", "one state", "two states", "three states"])
@pytest.mark.parametrize("leaves", [1, 2, 3, 255, 256, 257])
@pytest.mark.parametrize("short", [0, 3])
def test_a_kept_tree_opens_every_leaf_as_one_in_memory(tmp_path: Path, leaves: int, rows: Rows, short: int) -> None:
    store, count = MemoryStore(), leaves * rows.entries - short
    blob, root = stored(store, count, rows)
    assert keep_blob(tmp_path, store, blob, root, rows)
    assert is_kept(tmp_path, root, rows)
    chunks = chunks_of_blob(store, blob, rows)
    for index in range(leaves + 2):  # the last two are past the end
        assert find_opening(tmp_path, store, root, rows, index) == chunks.opening(index)
    (file,) = tmp_path.iterdir()
    assert file.stat().st_size == tree_bytes(count, rows) == 64 + 32 * sum(level_sizes(leaves))
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_tree_of_more_leaves_than_are_written_at_once_opens_alike(tmp_path: Path) -> None:
    store, leaves = MemoryStore(), (1 << 16) + 1
    blob, root = stored(store, leaves * 256 - 1)
    assert keep_blob(tmp_path, store, blob, root, VALUES)
    chunks = chunks_of_blob(store, blob)
    for index in (0, 1, 8191, 8192, 40_000, leaves - 2, leaves - 1, leaves):
        assert find_opening(tmp_path, store, root, VALUES, index) == chunks.opening(index)
    assert tree_bytes(leaves * 256 - 1, VALUES) / blob.size == pytest.approx(1 / 16, rel=1e-3)


def test_of_values_with_another_root_nothing_is_kept(tmp_path: Path) -> None:
    store = MemoryStore()
    blob, _ = stored(store, 5000)
    assert not keep_blob(tmp_path, store, blob, Root(b"\x05" * 32), VALUES)
    assert list(tmp_path.iterdir()) == []


def test_of_a_file_that_cannot_be_read_to_its_end_nothing_is_kept(tmp_path: Path) -> None:
    store = MemoryStore()
    blob, root = stored(store, MIB)
    store._blocks.pop(leaf_cids(store, blob)[-1].digest)
    with pytest.raises(BlockNotFound):
        keep_blob(tmp_path, store, blob, root, VALUES)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("values", [100, 600])
def test_one_root_may_have_two_trees_of_other_rows(tmp_path: Path, values: int) -> None:
    """Whoever attests a state's root for a version's is asked for leaves of both; each tree is its own."""
    store = MemoryStore()
    blob, root = stored(store, values)
    assert keep_blob(tmp_path, store, blob, root, VALUES)
    assert find_opening(tmp_path, store, root, state_rows(2), 0) is None
    with pytest.raises(FormError, match="expected values of 8 bytes"):
        keep_blob(tmp_path, store, blob, root, state_rows(2))
    (file,) = tmp_path.iterdir()
    (tmp_path / file.name.replace("4x256", "8x128")).write_bytes(file.read_bytes())
    for index in range(4):
        shown = find_opening(tmp_path, store, root, state_rows(2), index)
        assert shown is None or not shown.leaf, "a leaf of other rows proves nothing"
    assert find_opening(tmp_path, store, root, VALUES, 0) == chunks_of_blob(store, blob).opening(0)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "a head alone": lambda data: data[:64],
    "half of a head": lambda data: data[:40],
    "a node short": lambda data: data[:-32],
    "a byte short": lambda data: data[:-1],
    "a byte more": lambda data: data + b"\0",
    "zeros": lambda data: bytes(len(data)),
    "a count that no file has": lambda data: data[:4] + b"\xff" * 8 + data[12:],
    "no values": lambda data: data[:4] + bytes(8) + data[12:],
}


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_noticed_at_once_and_made_anew(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    store = MemoryStore()
    blob, root = stored(store, 3000)
    keep_blob(tmp_path, store, blob, root, VALUES)
    (file,) = tmp_path.iterdir()
    file.write_bytes(change(file.read_bytes()))
    assert not is_kept(tmp_path, root, VALUES)
    assert find_opening(tmp_path, store, root, VALUES, 1) is None
    keep_blob(tmp_path, store, blob, root, VALUES)
    assert find_opening(tmp_path, store, root, VALUES, 1) == chunks_of_blob(store, blob).opening(1)


def test_the_file_of_another_root_is_noticed_at_once(tmp_path: Path) -> None:
    store = MemoryStore()
    (blob, root), (_, other) = stored(store, 3000), stored(store, 3000, seed=1)
    keep_blob(tmp_path, store, blob, root, VALUES)
    (file,) = tmp_path.iterdir()
    file.rename(tmp_path / file.name.replace(root.hex(), other.hex()))
    assert not is_kept(tmp_path, other, VALUES)
    assert find_opening(tmp_path, store, other, VALUES, 1) is None


def test_whatever_byte_is_flipped_nothing_is_shown_but_the_truth(tmp_path: Path) -> None:
    store = MemoryStore()
    blob, root = stored(store, 5 * 256 - 9)
    keep_blob(tmp_path, store, blob, root, VALUES)
    (file,) = tmp_path.iterdir()
    good, chunks, noticed = file.read_bytes(), chunks_of_blob(store, blob), 0
    for at in range(len(good)):
        file.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        shown = [find_opening(tmp_path, store, root, VALUES, index) for index in range(6)]
        assert all(found in (None, chunks.opening(index)) for index, found in enumerate(shown)), at
        noticed += None in shown
    # The fifth leaf has nothing beside it, nor has its copy above: no proof holds these two nodes.
    assert noticed == len(good) - 64


def entry(number: int) -> Listed:
    seed = number.to_bytes(4, "big")
    return Listed(Address(seed * 5), Digest(seed * 8), Root(seed[::-1] * 8), number + 1, number + 2, number)


@pytest.mark.parametrize("count", [1, 2, 7, 300])
def test_a_kept_list_opens_every_contribution(tmp_path: Path, count: int) -> None:
    listing = listing_of(entry(number) for number in range(count))
    keep_listing(tmp_path, listing)
    for index in range(0, count + 1, 1 if count < 10 else 43):
        found = find_opening(tmp_path, MemoryStore(), listing.root, CONTRIBUTIONS, index)
        assert found == listing.opening(index)
    (file,) = tmp_path.iterdir()
    assert file.stat().st_size == tree_bytes(count, CONTRIBUTIONS) + 192 * count


def test_a_changed_contribution_in_a_kept_list_is_not_shown(tmp_path: Path) -> None:
    listing = Listing(tuple(entry(number) for number in range(5)))
    keep_listing(tmp_path, listing)
    (file,) = tmp_path.iterdir()
    data = bytearray(file.read_bytes())
    data[-192 * 2] ^= 1
    file.write_bytes(data)
    shown = [find_opening(tmp_path, MemoryStore(), listing.root, CONTRIBUTIONS, index) for index in range(5)]
    assert [found is None for found in shown] == [False, False, False, True, False]


def test_answers_over_alternating_trees_read_few_blocks_and_hash_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attacker demands leaves of three trees in turn; each answer costs the block of its leaf and the node above."""
    store = Counting()
    named = [stored(store, 9 * MIB // 4, seed=seed) for seed in range(3)]
    for blob, root in named:
        keep_blob(tmp_path, store, blob, root, VALUES)
    expected = {root: chunks_of_blob(store, blob) for blob, root in named}

    def hashed(*_: Any) -> Any:
        raise AssertionError("a file is hashed")

    monkeypatch.setattr("registry.disputes.tree_cache.tensor_leaves", hashed)
    straddling = (MIB - 200) // 1024
    for turn in range(100):
        _, root = named[turn % 3]
        index = straddling if turn == 50 else turn * 89
        demanded = Demanded(RoundId(bytes(32)), bytes(32), root, *VALUES, index)
        store.asked.clear()
        # Neither round nor result is looked at, and so no report.
        found = answer_to(store, None, None, demanded, tmp_path)  # type: ignore[arg-type]
        assert len(store.asked) <= 4, "the node above and the leaf, or two of each"
        assert found == expected[root].opening(index)
    assert len(leaf_cids(store, named[0][0])) == 10


def test_what_all_trees_of_a_round_take_is_known_beforehand(tmp_path: Path) -> None:
    store, values, states = MemoryStore(), 3000, 2
    updates = [stored(store, values, seed=seed) for seed in range(3 + 4)]  # aggregate, version, parent; four updates
    kept = [stored(store, values * states, state_rows(states), seed=seed) for seed in range(2)]
    for blob, root in updates:
        keep_blob(tmp_path, store, blob, root, VALUES)
    for blob, root in kept:
        keep_blob(tmp_path, store, blob, root, state_rows(states))
    keep_listing(tmp_path, listing_of(entry(number) for number in range(4)))
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) == disk_bytes(4, values, states)
    assert disk_bytes(4, values, 0) < disk_bytes(4, values, 1) < disk_bytes(4, values, states)
    assert disk_bytes(100, 10**8, 0) == pytest.approx(103 * 10**8 * 4 / 16, rel=1e-3)


def test_trees_of_earlier_rounds_of_the_model_are_removed(tmp_path: Path) -> None:
    other = ModelId(b"\x0c" * 32)
    for model, number in ((MODEL, 1), (MODEL, 9), (MODEL, 10), (MODEL, 11), (other, 1)):
        place = place_of(tmp_path, model, number)
        place.mkdir(parents=True)
        (place / "tree").write_bytes(b"x")
    remove_before(tmp_path, MODEL, 10)
    left = [(MODEL, 10), (MODEL, 11), (other, 1)]
    assert {path.name for path in (tmp_path / "trees").iterdir()} == {place_of(tmp_path, *of).name for of in left}
    remove_before(tmp_path / "nothing there", MODEL, 10)


def test_a_blob_of_one_leaf_is_proved_by_its_hash_alone(tmp_path: Path) -> None:
    store = MemoryStore()
    blob, root = stored(store, 3)
    keep_blob(tmp_path, store, blob, root, VALUES)
    found = find_opening(tmp_path, store, root, VALUES, 0)
    assert found is not None
    assert (found.proof, found.counted.inner, tensor_root(found.leaf)) == ((), leaf_hash(found.leaf), root)
