"""Every store passes the suite that ships with the package."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from registry.dev.kubo_node import KuboNode
from registry.dev.store_suite import ReaderSuite, StoreSuite, block
from registry.errors import BlockNotFound, StoreUnavailable
from registry.store.base import ContentStore
from registry.store.gateway import GatewayStore
from registry.store.kubo import KuboStore
from registry.store.layered import LayeredStore
from registry.store.local import LocalStore
from registry.store.memory import MemoryStore
from registry.types import Cid

QUICK = 1.0
"""Seconds for a block here: a node without peers looks for an absent one all that time."""


class TestMemoryStore(StoreSuite):
    @pytest.fixture
    def store(self) -> ContentStore:
        return MemoryStore()


class TestLocalStore(StoreSuite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> ContentStore:
        return LocalStore(tmp_path / "store")


class TestLayeredStore(StoreSuite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> ContentStore:
        return LayeredStore(MemoryStore(), [LocalStore(tmp_path / "store")])


class TestLayeredStoreThatPublishes(StoreSuite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> ContentStore:
        behind = MemoryStore()
        return LayeredStore(LocalStore(tmp_path / "store"), [behind], publishers=[behind])


class TestLayeredStoreThatReadsFromBehind(ReaderSuite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> ContentStore:
        self.behind = MemoryStore()
        return LayeredStore(LocalStore(tmp_path / "store"), [MemoryStore(), self.behind])

    def fill(self, store: ContentStore, blocks: Iterable[tuple[Cid, bytes]]) -> None:
        self.behind.put_many(blocks)

    def test_a_block_that_is_there_is_had(self, store: ContentStore) -> None:
        cid, data = block(b"behind until it is read")
        self.fill(store, [(cid, data)])
        assert not store.has(cid)
        assert store.get(cid) == data
        assert store.has(cid)


@pytest.mark.node
class TestKuboStore(StoreSuite):
    @pytest.fixture
    def store(self, kubo: KuboNode) -> Iterator[ContentStore]:
        with KuboStore(kubo.api, block_timeout=QUICK) as store:
            yield store


@pytest.mark.node
class TestKuboStoreThatReadsThroughItsGateway(StoreSuite):
    @pytest.fixture
    def store(self, kubo: KuboNode) -> Iterator[ContentStore]:
        with KuboStore(kubo.api_url, gateway=kubo.gateway, block_timeout=QUICK) as store:
            yield store


@pytest.mark.node
class TestGatewayStore(ReaderSuite):
    @pytest.fixture
    def store(self, kubo: KuboNode) -> Iterator[ContentStore]:
        with KuboStore(kubo.api) as self.node, GatewayStore(kubo.gateway, block_timeout=QUICK) as store:
            yield store

    def fill(self, store: ContentStore, blocks: Iterable[tuple[Cid, bytes]]) -> None:
        self.node.put_many(blocks)

    def test_a_gateway_says_that_it_cannot_write(self, store: ContentStore) -> None:
        cid, data = block(b"unwanted")
        with pytest.raises(StoreUnavailable, match="read-only"):
            store.put(cid, data)
        with pytest.raises(StoreUnavailable, match="read-only"):
            store.pin(cid)
        assert list(store.pins()) == []


@pytest.mark.node
class TestNodeToNode(ReaderSuite):
    """What one node is given, another reads from its peer."""

    @pytest.fixture
    def store(self, kubo_pair: tuple[KuboNode, KuboNode]) -> Iterator[ContentStore]:
        one, other = kubo_pair
        with KuboStore(one.api) as self.giver, KuboStore(other.api, block_timeout=QUICK) as store:
            yield store

    def fill(self, store: ContentStore, blocks: Iterable[tuple[Cid, bytes]]) -> None:
        self.giver.put_many(blocks)

    def test_a_block_that_is_there_is_had(self, store: ContentStore) -> None:
        cid, data = block(b"only at the peer until it is read")
        self.fill(store, [(cid, data)])
        assert not store.has(cid)
        assert store.get(cid) == data
        assert store.has(cid)

    def test_pinning_what_only_the_peer_has_raises_block_not_found(self, store: ContentStore) -> None:
        cid, data = block(b"never read here")
        self.fill(store, [(cid, data)])
        with pytest.raises(BlockNotFound):
            store.pin(cid)
