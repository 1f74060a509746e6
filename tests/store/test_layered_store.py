"""The layered store: which store is asked, in which order, and the error when all fail."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.dev.store_suite import block
from registry.errors import BlockMismatch, BlockNotFound, ContentError, StoreUnavailable
from registry.store.base import ContentStore
from registry.store.blobs import add_blob, open_blob
from registry.store.layered import LayeredStore
from registry.store.local import LocalStore
from registry.store.memory import MemoryStore
from registry.types import Blob, Cid

MIB = 1 << 20


class Noting(MemoryStore):
    """A store that notes what it is asked for, and can be made to fail or lie."""

    def __init__(self, *, failure: ContentError | None = None, fails_after: int = 0, lies: bool = False) -> None:
        super().__init__()
        self.asked: list[Cid] = []
        self._failure = failure
        self._fails_after = fails_after
        self._lies = lies

    def _get(self, cid: Cid) -> bytes:
        self.asked.append(cid)
        if self._failure is not None and len(self.asked) > self._fails_after:
            raise self._failure
        data = super()._get(cid)
        return data + b"?" if self._lies else data


def filled(store: MemoryStore, data: bytes) -> Blob:
    return add_blob(store, [data])


def test_what_is_read_once_is_read_from_the_front_afterwards() -> None:
    front, behind = MemoryStore(), Noting()
    data = os.urandom(5 * MIB)
    blob = filled(behind, data)
    store = LayeredStore(front, [behind])
    assert b"".join(open_blob(store, blob)) == data
    asked = len(behind.asked)
    assert asked == 6
    assert b"".join(open_blob(store, blob)) == data
    assert len(behind.asked) == asked


def test_the_first_store_behind_that_has_a_block_serves_it() -> None:
    first, second, third = Noting(), Noting(), Noting()
    cid, data = block(b"wanted")
    second.put(cid, data)
    third.put(cid, data)
    assert LayeredStore(MemoryStore(), [first, second, third]).get(cid) == data
    assert (len(first.asked), len(second.asked), len(third.asked)) == (1, 1, 0)


@pytest.mark.parametrize("failure", [StoreUnavailable("down"), BlockNotFound("gone")])
@pytest.mark.parametrize("after", [0, 3])
def test_a_blob_goes_on_from_the_next_store_where_one_fails(failure: ContentError, after: int) -> None:
    first, second = Noting(failure=failure, fails_after=after), Noting()
    data = os.urandom(7 * MIB)
    filled(first, data)
    blob = filled(second, data)
    assert b"".join(open_blob(LayeredStore(MemoryStore(), [first, second]), blob)) == data


def test_a_store_that_lies_is_passed_over() -> None:
    liar, honest = Noting(lies=True), Noting()
    data = os.urandom(4 * MIB)
    filled(liar, data)
    blob = filled(honest, data)
    assert b"".join(open_blob(LayeredStore(MemoryStore(), [liar, honest]), blob)) == data


def test_a_damaged_front_is_mended_from_behind(tmp_path: Path) -> None:
    front, behind = LocalStore(tmp_path / "front"), MemoryStore()
    data = os.urandom(6 * MIB)
    blob = filled(behind, data)
    store = LayeredStore(front, [behind])
    assert b"".join(open_blob(store, blob)) == data
    for path in sorted((tmp_path / "front" / "blocks").rglob("*/*"))[::2]:
        path.write_bytes(b"rot" * 1000)
    assert b"".join(open_blob(store, blob)) == data
    assert b"".join(open_blob(front, blob)) == data


def test_when_all_fail_the_kind_says_most_and_the_message_all() -> None:
    cid, data = block(b"nowhere")
    liar = Noting(lies=True)
    liar.put(cid, data)
    down, empty = Noting(failure=StoreUnavailable("the node is down")), MemoryStore()
    with pytest.raises(BlockNotFound, match="in memory"):
        LayeredStore(MemoryStore(), [empty]).get(cid)
    with pytest.raises(StoreUnavailable, match=r"in memory.*the node is down"):
        LayeredStore(MemoryStore(), [empty, down]).get(cid)
    with pytest.raises(BlockMismatch, match=r"in memory.*the node is down.*expected sha2-256"):
        LayeredStore(MemoryStore(), [empty, down, liar]).get(cid)
    with pytest.raises(BlockMismatch, match="the node is down"):
        list(LayeredStore(MemoryStore(), [empty, down, liar]).get_many([cid, cid]))
    with pytest.raises(BlockNotFound):
        list(LayeredStore(MemoryStore()).get_many([cid, cid]))


def test_a_front_that_cannot_keep_is_not_blamed_on_who_served() -> None:
    class Full(MemoryStore):
        def _put(self, cid: Cid, data: bytes) -> None:
            raise StoreUnavailable("no space left")

    behind, other = Noting(), Noting()
    blocks = [block(b"one"), block(b"two")]
    for store in (behind, other):
        store.put_many(blocks)
    with pytest.raises(StoreUnavailable, match=r"^no space left$"):
        list(LayeredStore(Full(), [behind, other]).get_many([cid for cid, _ in blocks]))
    assert other.asked == []


def test_what_is_put_and_pinned_goes_to_publishers_and_to_nobody_else() -> None:
    front, behind, publisher = MemoryStore(), MemoryStore(), MemoryStore()
    store = LayeredStore(front, [behind, publisher], publishers=[publisher])
    blob = add_blob(store, [os.urandom(3 * MIB)])
    cid, data = block(b"a manifest")
    store.put(cid, data)
    store.pin(blob.cid)
    assert publisher.has(blob.cid)
    assert publisher.get(cid) == data
    assert not behind.has(blob.cid)
    assert list(front.pins()) == list(publisher.pins()) == [(blob.cid, True)]
    store.unpin(blob.cid)
    assert list(front.pins()) == list(publisher.pins()) == []


def test_pinning_fetches_what_the_front_lacks() -> None:
    front, behind = MemoryStore(), MemoryStore()
    blob = filled(behind, os.urandom(3 * MIB))
    LayeredStore(front, [behind]).pin(blob.cid)
    assert len(b"".join(open_blob(front, blob))) == 3 * MIB
    assert list(behind.pins()) == []


def test_closing_closes_each_store_once() -> None:
    closed: list[ContentStore] = []

    class Closing(MemoryStore):
        def close(self) -> None:
            closed.append(self)

    front, publisher = Closing(), Closing()
    with LayeredStore(front, [publisher], publishers=[publisher]):
        pass
    assert closed == [front, publisher]


def test_a_source_that_fails_leaves_publishers_untouched() -> None:
    publisher = MemoryStore()

    def failing() -> Iterator[tuple[Cid, bytes]]:
        yield block(b"one")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        LayeredStore(MemoryStore(), publishers=[publisher]).put_many(failing())
    assert not publisher.has(block(b"one")[0])
