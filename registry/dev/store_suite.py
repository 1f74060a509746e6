"""Conformance suite for content stores, as test classes to inherit.

    class TestMyStore(StoreSuite):
        @pytest.fixture
        def store(self): ...

A read-only store inherits `ReaderSuite` and overrides `fill`, which puts blocks where the store reads them.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from registry.errors import BlockMismatch, BlockNotFound, BlockTooLarge
from registry.store.base import ContentStore
from registry.store.blobs import add_blob, open_blob, walk_blob
from registry.store.links import reachable
from registry.types import MAX_BLOCK_BYTES, Blob, Cid, Codec

__all__ = ["ReaderSuite", "StoreSuite", "block"]

_MIB = 1 << 20


def block(data: bytes, codec: Codec = Codec.RAW) -> tuple[Cid, bytes]:
    """Return a block's CID and data."""
    return Cid(codec, hashlib.sha256(data).digest()), data


class ReaderSuite:
    """Tests for every `ContentStore`."""

    @pytest.fixture
    def store(self) -> ContentStore | Iterator[ContentStore]:
        """Return or yield the store under test; it may have other blocks and pins."""
        raise NotImplementedError

    def fill(self, store: ContentStore, blocks: Iterable[tuple[Cid, bytes]]) -> None:
        """Put blocks where the store finds them."""
        store.put_many(blocks)

    def add(self, store: ContentStore, data: bytes) -> Blob:
        """Put a blob where the store finds it."""
        from registry.store.memory import MemoryStore

        aside = MemoryStore()
        blob = add_blob(aside, [data])
        self.fill(store, list(walk_blob(aside, blob))[::-1])
        return blob

    # Reading ---------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("size", [0, 1, 1000, _MIB - 1, _MIB, _MIB + 1, MAX_BLOCK_BYTES])
    def test_get_returns_what_was_put(self, store: ContentStore, size: int) -> None:
        cid, data = block(os.urandom(size))
        self.fill(store, [(cid, data)])
        assert store.get(cid) == data

    @pytest.mark.parametrize("codec", list(Codec))
    def test_blocks_of_every_codec_are_kept(self, store: ContentStore, codec: Codec) -> None:
        cid, data = _sample(codec)
        self.fill(store, [(cid, data)])
        assert store.get(cid) == data

    def test_an_absent_block_is_not_had(self, store: ContentStore) -> None:
        assert not store.has(block(os.urandom(100))[0])

    def test_a_block_that_is_there_is_had(self, store: ContentStore) -> None:
        cid, data = block(os.urandom(100))
        self.fill(store, [(cid, data)])
        assert store.has(cid)

    def test_getting_an_absent_block_raises_block_not_found(self, store: ContentStore) -> None:
        with pytest.raises(BlockNotFound):
            store.get(block(os.urandom(100))[0])

    @pytest.mark.parametrize("count", [0, 1, 2, 40])
    def test_get_many_yields_in_the_order_asked(self, store: ContentStore, count: int) -> None:
        blocks = [block(os.urandom(1 + 997 * place)) for place in range(count)]
        self.fill(store, blocks)
        wanted = blocks[::-1] + blocks[:3]
        assert list(store.get_many(cid for cid, _ in wanted)) == [data for _, data in wanted]

    def test_get_many_yields_what_comes_before_an_absent_block(self, store: ContentStore) -> None:
        blocks = [block(os.urandom(1000)) for _ in range(5)]
        self.fill(store, blocks)
        names = [cid for cid, _ in blocks]
        found = store.get_many([*names, block(os.urandom(9))[0], *names])
        assert [next(found) for _ in names] == [data for _, data in blocks]
        with pytest.raises(BlockNotFound):
            next(found)

    def test_get_many_can_be_left_unfinished(self, store: ContentStore) -> None:
        blocks = [block(os.urandom(1000)) for _ in range(30)]
        self.fill(store, blocks)
        found = store.get_many([cid for cid, _ in blocks])
        next(found)
        del found
        assert store.get(blocks[-1][0]) == blocks[-1][1]

    def test_a_blob_of_many_leaves_comes_back(self, store: ContentStore) -> None:
        data = os.urandom(7 * _MIB + 5)
        assert b"".join(open_blob(store, self.add(store, data))) == data

    def test_a_blob_of_equal_leaves_comes_back(self, store: ContentStore) -> None:
        data = bytes(6 * _MIB) + b"\1" * 2 * _MIB
        assert b"".join(open_blob(store, self.add(store, data))) == data

    def test_several_threads_may_read_at_once(self, store: ContentStore) -> None:
        blocks = [block(os.urandom(50_000)) for _ in range(16)]
        self.fill(store, blocks)
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(lambda pair: store.get(pair[0]), blocks)) == [data for _, data in blocks]

    def test_a_store_can_be_used_after_close(self, store: ContentStore) -> None:
        cid, data = block(os.urandom(100))
        self.fill(store, [(cid, data)])
        store.close()
        assert store.get(cid) == data


class StoreSuite(ReaderSuite):
    """Tests for every writable `ContentStore`."""

    def test_what_does_not_hash_to_its_name_is_refused(self, store: ContentStore) -> None:
        cid, data = block(os.urandom(100))
        with pytest.raises(BlockMismatch):
            store.put(cid, data + b"!")
        assert not store.has(cid)

    def test_a_block_over_the_cap_is_refused(self, store: ContentStore) -> None:
        cid, data = block(bytes(MAX_BLOCK_BYTES + 1))
        with pytest.raises(BlockTooLarge):
            store.put(cid, data)
        assert not store.has(cid)

    def test_putting_twice_changes_nothing(self, store: ContentStore) -> None:
        cid, data = block(os.urandom(100))
        store.put(cid, data)
        store.put(cid, data)
        assert store.get(cid) == data

    def test_put_many_passes_its_source_s_error_on_and_can_be_repeated(self, store: ContentStore) -> None:
        blocks = [block(os.urandom(1000)) for _ in range(10)]

        def failing() -> Iterator[tuple[Cid, bytes]]:
            yield from blocks[:5]
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            store.put_many(failing())
        store.put_many(blocks)
        assert [store.get(cid) for cid, _ in blocks] == [data for _, data in blocks]

    def test_put_many_refuses_a_wrong_block_in_the_stream(self, store: ContentStore) -> None:
        good, bad = block(os.urandom(1000)), block(os.urandom(1000))
        with pytest.raises(BlockMismatch):
            store.put_many([good, (bad[0], b"other")])
        assert not store.has(bad[0])

    def test_put_many_of_nothing_is_fine(self, store: ContentStore) -> None:
        store.put_many([])

    def test_several_threads_may_put_the_same_blocks(self, store: ContentStore) -> None:
        blocks = [block(os.urandom(20_000)) for _ in range(8)]
        ready = threading.Barrier(3)

        def put() -> None:
            ready.wait()
            store.put_many(blocks)

        with ThreadPoolExecutor(3) as pool:
            for done in [pool.submit(put) for _ in range(3)]:
                done.result()
        assert [store.get(cid) for cid, _ in blocks] == [data for _, data in blocks]

    # Pins ------------------------------------------------------------------------------------------------------------

    def test_a_pin_is_listed_until_unpinned(self, store: ContentStore) -> None:
        cid, data = block(os.urandom(100))
        store.put(cid, data)
        store.pin(cid)
        assert (cid, True) in set(store.pins())
        store.unpin(cid)
        assert cid not in dict(store.pins())

    def test_a_direct_pin_is_told_from_a_recursive_one(self, store: ContentStore) -> None:
        cid, data = _sample(Codec.DAG_CBOR)
        store.put(cid, data)
        store.pin(cid, recursive=False)
        assert (cid, False) in set(store.pins())
        store.pin(cid, recursive=True)
        assert (cid, True) in set(store.pins())

    def test_a_recursive_pin_is_not_weakened(self, store: ContentStore) -> None:
        cid, data = block(os.urandom(100))
        store.put(cid, data)
        store.pin(cid)
        store.pin(cid, recursive=False)
        assert (cid, True) in set(store.pins())

    def test_pinning_twice_and_unpinning_twice_change_nothing(self, store: ContentStore) -> None:
        cid, data = block(os.urandom(100))
        store.put(cid, data)
        store.pin(cid)
        store.pin(cid)
        store.unpin(cid)
        store.unpin(cid)
        assert cid not in dict(store.pins())
        assert store.get(cid) == data

    def test_pinning_what_is_absent_raises_block_not_found(self, store: ContentStore) -> None:
        for recursive in (True, False):
            with pytest.raises(BlockNotFound):
                store.pin(block(os.urandom(100))[0], recursive=recursive)

    def test_pinning_a_graph_with_a_missing_leaf_raises_block_not_found(self, store: ContentStore) -> None:
        from registry.store.memory import MemoryStore

        aside = MemoryStore()
        blob = add_blob(aside, [os.urandom(3 * _MIB)])
        blocks = [(cid, data) for cid, data in walk_blob(aside, blob)]
        store.put_many(blocks[:-1])
        with pytest.raises(BlockNotFound):
            store.pin(blob.cid)
        assert blob.cid not in dict(store.pins())
        store.pin(blob.cid, recursive=False)
        store.put(*blocks[-1])
        store.pin(blob.cid)
        assert (blob.cid, True) in set(store.pins())
        assert set(reachable(store.get, blob.cid)) == {cid for cid, _ in blocks}


def _sample(codec: Codec) -> tuple[Cid, bytes]:
    """Return a new block that is valid in its codec, since some stores decode blocks."""
    if codec is Codec.DAG_PB:
        from registry.content.unixfs import Link, encode_node

        leaves = [block(os.urandom(10))[0] for _ in range(2)]
        return block(encode_node([Link(leaf, 10, 10) for leaf in leaves]), codec)
    if codec is Codec.DAG_CBOR:
        return block(b"\xa1\x61a\x50" + os.urandom(16), codec)
    return block(os.urandom(100), codec)
