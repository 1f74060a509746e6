from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from registry.content.unixfs import blob_of
from registry.errors import BlockNotFound, FormError, InputError
from registry.store.blobs import add_blob, blob_of_file, file_pieces, open_blob, read_range, walk_blob
from registry.store.memory import MemoryStore
from registry.types import Blob, Cid, Codec

MIB = 1 << 20
SIZES = [0, 1, MIB - 1, MIB, MIB + 1, 5 * MIB + 3]


def data_of(size: int) -> bytes:
    return hashlib.shake_128(b"blob").digest(size)


@pytest.mark.parametrize("size", SIZES)
def test_blob_comes_back_as_it_was_added(size: int) -> None:
    store, data = MemoryStore(), data_of(size)
    blob = add_blob(store, [data[: size // 3], data[size // 3 :]])
    assert blob == blob_of([data])
    assert b"".join(open_blob(store, blob)) == data


@pytest.mark.parametrize(
    ("begin", "end"), [(0, 1), (7, MIB), (MIB - 3, MIB + 5), (2 * MIB - 1, 4 * MIB + 1), (MIB, 5 * MIB + 3)]
)
def test_a_range_of_a_blob_is_read_from_its_leaves_alone(begin: int, end: int) -> None:
    asked: list[Cid] = []

    class Noting(MemoryStore):
        def get(self, cid: Cid) -> bytes:
            asked.append(cid)
            return super().get(cid)

    store, data = Noting(), data_of(5 * MIB + 3)
    blob = add_blob(store, [data])
    assert read_range(store, blob, begin, end) == data[begin:end]
    assert len(asked) == 2 * (-(-end // MIB) - begin // MIB), "for each leaf the node above it, and it"


@pytest.mark.parametrize(("begin", "end"), [(-1, 3), (3, 3), (5, 11)])
def test_a_range_that_a_blob_does_not_have_is_an_input_error(begin: int, end: int) -> None:
    store = MemoryStore()
    blob = add_blob(store, [data_of(10)])
    with pytest.raises(InputError, match="a range of its 10 bytes"):
        read_range(store, blob, begin, end)


def test_a_range_of_a_leaf_of_another_length_is_refused() -> None:
    store = MemoryStore()
    blob = add_blob(store, [data_of(10)])
    with pytest.raises(FormError, match="a leaf of 12 bytes, got 10"):
        read_range(store, Blob(blob.cid, 12), 0, 4)


def test_walk_yields_every_block_root_first() -> None:
    store = MemoryStore()
    blob = add_blob(store, [data_of(3 * MIB)])
    blocks = list(walk_blob(store, blob))
    assert [cid.codec for cid, _ in blocks] == [Codec.DAG_PB, *[Codec.RAW] * 3]
    assert blocks[0][0] == blob.cid


def test_leaves_are_asked_for_with_their_parent() -> None:
    asked: list[tuple[int, Cid | None]] = []

    class Noting(MemoryStore):
        def get_many(self, cids: Iterable[Cid], *, parent: Cid | None = None) -> Iterator[bytes]:
            names = list(cids)
            asked.append((len(names), parent))
            return super().get_many(names, parent=parent)

    store = Noting()
    blob = add_blob(store, [data_of(3 * MIB + 1)])
    assert sum(map(len, open_blob(store, blob))) == 3 * MIB + 1
    assert asked == [(4, blob.cid)]


def test_absent_blob_is_not_found() -> None:
    store = MemoryStore()
    blob = add_blob(store, [data_of(3 * MIB)])
    missing = blob_of([data_of(3 * MIB)[:MIB]]).cid
    store._blocks.pop(missing.digest)
    with pytest.raises(BlockNotFound):
        list(open_blob(store, blob))
    with pytest.raises(BlockNotFound):
        list(open_blob(MemoryStore(), blob))


@pytest.mark.parametrize("declared", [1, 9])
def test_blob_larger_than_declared_is_refused(declared: int) -> None:
    store = MemoryStore()
    blob = add_blob(store, [data_of(10)])
    with pytest.raises(FormError, match=f"a leaf of {declared} bytes, got 10"):
        list(open_blob(store, Blob(blob.cid, declared)))


def test_blob_smaller_than_declared_is_refused() -> None:
    store = MemoryStore()
    blob = add_blob(store, [data_of(10)])
    with pytest.raises(FormError, match="leaf of 11 bytes, got 10"):
        list(open_blob(store, Blob(blob.cid, 11)))


def test_file_is_read_in_leaves(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(data_of(2 * MIB + 5))
    assert [len(piece) for piece in file_pieces(path)] == [MIB, MIB, 5]
    assert blob_of(file_pieces(path), workers=2) == blob_of([data_of(2 * MIB + 5)])


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("size", SIZES)
def test_file_is_named_by_several_threads_as_by_one(tmp_path: Path, size: int, threads: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(data_of(size))
    assert blob_of_file(path, threads=threads) == blob_of([data_of(size)])


def test_file_that_shrinks_while_it_is_named_is_an_input_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(data_of(3 * MIB))
    with path.open("rb") as file:
        stat = os.fstat(file.fileno())
    monkeypatch.setattr(os, "fstat", lambda descriptor: stat)
    path.write_bytes(data_of(2 * MIB))
    with pytest.raises(InputError, match="ended at 2097152"):
        blob_of_file(path)


def test_file_that_cannot_be_read_is_an_input_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError, match="expected a file to read"):
            list(file_pieces(path))
        with pytest.raises(InputError, match="expected a file to read"):
            blob_of_file(path)
