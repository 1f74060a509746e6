"""Small parts of the stores: opening by URI, links, prefetching."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.dev.store_suite import block
from registry.errors import BlockMismatch, BlockTooLarge, FormError, InputError
from registry.store.ahead import ordered
from registry.store.base import ContentStore
from registry.store.blobs import add_blob
from registry.store.gateway import GatewayStore
from registry.store.kubo import KuboStore
from registry.store.layered import LayeredStore
from registry.store.links import links_of, reachable
from registry.store.local import LocalStore
from registry.store.memory import MemoryStore
from registry.store.uri import kubo_api_of, open_store
from registry.types import MAX_BLOCK_BYTES, Cid, Codec, NamedBlock

MIB = 1 << 20


def link(cid: Cid) -> bytes:
    return b"\xd8\x2a\x58\x25\x00" + bytes(cid)


def listed(*items: bytes) -> tuple[Cid, bytes]:
    """Return a DAG-CBOR block that is a list of up to 23 items."""
    return block(bytes([0x80 + len(items)]) + b"".join(items), Codec.DAG_CBOR)


# By name -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("memory:", MemoryStore),
        ("store", LocalStore),
        ("/data/c++/store", LocalStore),
        ("file:///data/a%20b", LocalStore),
        ("kubo:/ip4/127.0.0.1/tcp/5001", KuboStore),
        ("kubo:http://127.0.0.1:5001,http://10.0.0.7:5001", KuboStore),
        ("gateway:https://gateway.example", GatewayStore),
        ("cache+kubo:/ip4/127.0.0.1/tcp/5001+gateway:https://gateway.example", LayeredStore),
        ("memory:+file:///data", LayeredStore),
    ],
)
def test_a_name_opens_its_kind_of_store_and_touches_nothing(
    uri: str, kind: type[ContentStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store(uri)
    assert type(store) is kind
    assert list(tmp_path.iterdir()) == []
    if uri.startswith("file:"):
        assert store.root == Path("/data/a b")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "s3://bucket",
        "memory:x",
        "kubo:",
        "kubo:5001",
        "gateway:",
        "gateway:example",
        "file:relative",
        "file://host/x",
    ],
)
def test_a_name_of_no_store_is_refused(uri: str) -> None:
    with pytest.raises(InputError, match="expected"):
        open_store(uri)


def test_a_layered_name_publishes_to_its_nodes_only(tmp_path: Path) -> None:
    store = open_store(f"{tmp_path}/a+file://{tmp_path}/b")
    cid, data = block(b"x")
    store.put(cid, data)
    assert LocalStore(tmp_path / "a").has(cid)
    assert not LocalStore(tmp_path / "b").has(cid)


def test_the_usual_node_is_found_where_ipfs_finds_it(tmp_path: Path) -> None:
    assert kubo_api_of({"IPFS_PATH": str(tmp_path)}) is None
    assert kubo_api_of({"HOME": str(tmp_path)}) is None
    (tmp_path / ".ipfs").mkdir()
    (tmp_path / ".ipfs" / "api").write_text("/ip4/127.0.0.1/tcp/5001\n")
    (tmp_path / "api").write_text("/ip4/127.0.0.1/tcp/6001")
    assert kubo_api_of({"HOME": str(tmp_path)}) == "/ip4/127.0.0.1/tcp/5001"
    assert kubo_api_of({"HOME": str(tmp_path), "IPFS_PATH": str(tmp_path)}) == "/ip4/127.0.0.1/tcp/6001"


# Links ---------------------------------------------------------------------------------------------------------------


def test_links_come_in_the_order_they_stand() -> None:
    one, two = block(b"one")[0], block(b"two", Codec.DAG_CBOR)[0]
    inner = b"\xa2\x61a" + link(two) + b"\x61b\x82\x01" + link(one)
    assert links_of(*listed(link(one), inner)) == (one, two, one)
    assert links_of(*block(bytes(one))) == ()  # bytes that look like a link are none


def test_what_is_reachable_comes_once_and_before_what_it_links_to() -> None:
    store = MemoryStore()
    blob = add_blob(store, [bytes(3 * MIB)])
    first = listed(link(blob.cid))
    second = listed(link(first[0]), link(blob.cid))
    third = listed(link(first[0]), link(second[0]))
    store.put_many([first, second, third])
    found = list(reachable(store.get, third[0]))
    assert found[0] == third[0]
    assert len(found) == len(set(found)) == 5
    assert found.index(second[0]) < found.index(first[0]) or found.index(third[0]) < found.index(first[0])


def test_a_long_lineage_is_followed_without_recursion() -> None:
    store = MemoryStore()
    cid, data = listed(b"\x00")
    store.put(cid, data)
    for _ in range(3000):
        cid, data = listed(link(cid))
        store.put(cid, data)
    assert len(list(reachable(store.get, cid))) == 3001


@pytest.mark.parametrize(
    ("codec", "data"),
    [
        (Codec.DAG_CBOR, b"\xff"),
        (Codec.DAG_CBOR, b""),
        (Codec.DAG_CBOR, b"\x81" * 100_000),
        (Codec.DAG_CBOR, b"\xd8\x2a\x49\x00\x01\x55\x00\x04abcd"),  # an identity CID
        (Codec.DAG_CBOR, b"\x5a" + (1 << 20).to_bytes(4, "big") + bytes(1 << 20)),  # canonical, and too large
        (Codec.DAG_PB, b"\xff"),
        (Codec.DAG_PB, b""),
    ],
)
def test_a_block_that_is_not_of_its_codec_is_refused(codec: Codec, data: bytes) -> None:
    with pytest.raises(FormError):
        links_of(*block(data, codec))


def test_one_changed_block_of_many_is_found() -> None:
    store, blocks = MemoryStore(), [block(bytes([number]) * 100) for number in range(5)]
    for cid, data in blocks:
        store.put(cid, data)
    store._blocks[blocks[3][0].digest] = b"changed"
    found = store.get_many(cid for cid, _ in blocks)
    assert [next(found) for _ in range(3)] == [data for _, data in blocks[:3]]
    with pytest.raises(BlockMismatch):
        next(found)


# Working ahead -------------------------------------------------------------------------------------------------------


def test_results_come_in_order_though_work_ends_out_of_order() -> None:
    def slow_first(number: int) -> int:
        time.sleep(0.02 if number == 0 else 0)
        return number

    assert list(ordered(slow_first, range(20), workers=4, ahead=8)) == list(range(20))


def test_no_more_than_ahead_items_are_taken_in_advance() -> None:
    taken: list[int] = []

    def source() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = ordered(lambda number: number, source(), ahead=4)
    assert next(results) == 0
    assert len(taken) == 4
    assert next(results) == 1
    assert len(taken) == 5


def test_items_are_taken_in_the_caller_s_thread() -> None:
    threads: set[int] = set()

    def source() -> Iterator[int]:
        for number in range(10):
            threads.add(threading.get_ident())
            yield number

    list(ordered(lambda number: number, source()))
    assert threads == {threading.get_ident()}


def test_a_source_s_error_comes_after_the_results_before_it() -> None:
    def source() -> Iterator[int]:
        yield from range(3)
        raise ZeroDivisionError

    results = ordered(lambda number: number, source(), ahead=8)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_a_function_s_error_comes_in_its_place() -> None:
    results = ordered(lambda number: 6 // number, [3, 2, 0, 1])
    assert [next(results), next(results)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_leaving_early_leaves_no_threads() -> None:
    before = threading.active_count()
    results = ordered(os.urandom, iter(lambda: 10, None))
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


# Blocks named here ---------------------------------------------------------------------------------------------------


def test_a_block_named_here_is_still_hashed_when_it_is_read() -> None:
    store = MemoryStore()
    cid, _ = block(b"one thing")
    store.put_many([NamedBlock(cid, b"another")])  # what no honest caller does
    with pytest.raises(BlockMismatch):
        store.get(cid)
    with pytest.raises(BlockMismatch):
        list(store.get_many([cid, cid]))


def test_a_block_named_here_is_held_to_the_cap() -> None:
    store = MemoryStore()
    cid, data = block(bytes(MAX_BLOCK_BYTES + 1))
    with pytest.raises(BlockTooLarge):
        store.put_many([NamedBlock(cid, data)])
    assert not store.has(cid)
