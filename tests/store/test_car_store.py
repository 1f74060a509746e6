"""A CAR file as a store: what is in it, hashed, and nothing else."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from registry.content.car import write_car
from registry.errors import BlockMismatch, BlockNotFound, FormError, InputError, StoreUnavailable
from registry.store.blobs import add_blob, open_blob
from registry.store.car_store import CarStore, walk_links
from registry.store.memory import MemoryStore
from registry.types import Blob, Cid, Codec

DATA = os.urandom((2 << 20) + 5)


@pytest.fixture
def blob(tmp_path: Path) -> Blob:
    """A file of three leaves, as a CAR."""
    store = MemoryStore()
    made = add_blob(store, [DATA])
    (tmp_path / "file.car").write_bytes(b"".join(write_car(made.cid, walk_links(store.get, made.cid))))
    return made


def raw(data: bytes) -> tuple[Cid, bytes]:
    return Cid(Codec.RAW, hashlib.sha256(data).digest()), data


def test_a_file_comes_out_as_it_went_in(blob: Blob, tmp_path: Path) -> None:
    read: list[int] = []
    with CarStore(tmp_path / "file.car", progress=read.append) as store:
        assert b"".join(open_blob(store, blob)) == DATA
        assert list(store.pins()) == [(blob.cid, True)]
        assert store.has(blob.cid) and not store.has(raw(b"other")[0])
    assert b"".join(open_blob(store, blob)) == DATA  # a store can be used again after it was closed
    assert sum(read) > len(DATA)


def test_what_is_not_in_it_is_not_found(blob: Blob, tmp_path: Path) -> None:
    with pytest.raises(BlockNotFound, match="not in this CAR file"):
        CarStore(tmp_path / "file.car").get(raw(b"other")[0])


def test_it_is_only_read(blob: Blob, tmp_path: Path) -> None:
    store, (cid, data) = CarStore(tmp_path / "file.car"), raw(b"other")
    for write in (lambda: store.put(cid, data), lambda: store.put_many([(cid, data)]),
                  lambda: store.pin(blob.cid), lambda: store.unpin(blob.cid)):  # fmt: skip
        with pytest.raises(StoreUnavailable, match="only read"):
            write()


def test_a_file_that_changes_or_goes_after_it_was_opened_is_noticed(blob: Blob, tmp_path: Path) -> None:
    path = tmp_path / "file.car"
    store = CarStore(path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(BlockMismatch):
        list(open_blob(store, blob))
    path.unlink()
    with pytest.raises(StoreUnavailable, match="No such file"):
        store.get(blob.cid)


def test_a_car_that_holds_more_or_less_than_its_root_reaches_is_refused(tmp_path: Path) -> None:
    one, other = raw(b"one"), raw(b"other")
    path = tmp_path / "one.car"
    for blocks, said in (([one, other], "expected the end"), ([], "got the end"), ([other], "expected block")):
        path.write_bytes(b"".join(write_car(one[0], blocks)))
        with pytest.raises(FormError, match=said):
            CarStore(path)
    with pytest.raises(InputError):
        CarStore(tmp_path / "nothing.car")


def test_a_walk_visits_what_is_linked_twice_where_it_is_first_come_upon() -> None:
    store = MemoryStore()

    def node(*links: Cid) -> Cid:
        data = b"\x80" if not links else bytes((0x80 + len(links),)) + b"".join(
            b"\xd8\x2a\x58\x25\x00" + bytes(link) for link in links
        )  # fmt: skip
        cid = Cid(Codec.DAG_CBOR, hashlib.sha256(data).digest())
        store.put(cid, data)
        return cid

    leaf, other = raw(b"leaf"), raw(b"other")
    for cid, data in (leaf, other):
        store.put(cid, data)
    inner = node(leaf[0])
    root = node(inner, other[0], leaf[0], inner)
    assert [cid for cid, _ in walk_links(store.get, root)] == [root, inner, leaf[0], other[0]]
