"""The Kubo store: what the conformance suite does not ask."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from registry.dev.kubo_node import KuboNode, init_node, node_alive, start_node, stop_node
from registry.dev.store_suite import block
from registry.errors import BlockNotFound, InputError, StoreUnavailable
from registry.store.blobs import add_blob, add_file, blob_of_file, leaf_cids, open_blob
from registry.store.kubo import KuboStore
from registry.store.kubo_rpc import endpoints_of
from registry.store.layered import LayeredStore
from registry.store.local import LocalStore
from registry.types import Codec

MIB = 1 << 20
QUICK = 0.3


@pytest.fixture
def nobody() -> str:
    """Return an endpoint where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"/ip4/127.0.0.1/tcp/{listener.getsockname()[1]}"


def ipfs(node: KuboNode, program: Path, *arguments: str) -> str:
    environment = {**os.environ, "IPFS_PATH": str(node.repo)}
    done = subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


# Publishing ----------------------------------------------------------------------------------------------------------


@pytest.mark.node
def test_a_published_blob_is_the_file_that_kubo_would_have_added(kubo: KuboNode, ipfs_program: Path) -> None:
    data = os.urandom(3 * MIB + 7)
    with KuboStore(kubo.api) as store:
        blob = add_blob(store, [data])
        store.pin(blob.cid)
    file = kubo.repo / "published"
    file.write_bytes(data)
    assert ipfs(kubo, ipfs_program, "add", "-Q", "--only-hash", str(file)) == str(blob.cid)
    assert ipfs(kubo, ipfs_program, "pin", "ls", "--type=recursive", "-q", str(blob.cid)) == str(blob.cid)


@pytest.mark.node
@pytest.mark.slow
def test_a_node_hashes_a_file_by_itself_whatever_it_is_set_to(ipfs_program: Path, tmp_path: Path) -> None:
    repo, file = tmp_path / "repo", tmp_path / "file"
    init_node(repo, ipfs_program)
    command = [ipfs_program, "config", "profile", "apply", "unixfs-v0-2015"]
    subprocess.run(command, env={**os.environ, "IPFS_PATH": str(repo)}, check=True, capture_output=True)
    node = start_node(repo, ipfs_program)
    try:
        with KuboStore(node.api) as store:
            for size in (0, 1, MIB, MIB + 1, 1025 * MIB):  # the last has more leaves than a node has links
                with file.open("wb") as written:
                    written.truncate(size)
                blob = blob_of_file(file)
                assert store.import_file(file, blob), size
                assert store.has(blob.cid)
            assert not any(cid == blob.cid for cid, _ in store.pins())
            assert sum(map(len, open_blob(store, blob))) == size
    finally:
        stop_node(repo)


@pytest.mark.node
def test_a_file_that_has_changed_is_not_the_blob_that_was_named(kubo: KuboNode, tmp_path: Path) -> None:
    file, front = tmp_path / "file", LocalStore(tmp_path / "front")
    file.write_bytes(os.urandom(2 * MIB))
    blob = blob_of_file(file)
    with KuboStore(kubo.api) as store:
        assert add_file(LayeredStore(front, publishers=[store]), file, blob)
        assert store.has(blob.cid)
        assert front.has(blob.cid)
        file.write_bytes(os.urandom(2 * MIB))
        assert not add_file(store, file, blob)
        file.unlink()
        with pytest.raises(InputError, match=r"expected a file to read, got No such file"):
            add_file(store, file, blob)


@pytest.mark.node
def test_what_any_of_several_nodes_has_is_there(kubo_pair: tuple[KuboNode, KuboNode], nobody: str) -> None:
    """The first may have been unreachable when the other took it."""
    cid, data = block(os.urandom(100))
    with KuboStore([kubo_pair[0].api]) as one, KuboStore([nobody, kubo_pair[1].api, kubo_pair[0].api]) as all_:
        one.put(cid, data)
        assert all_.has(cid)
        assert not all_.has(block(os.urandom(100))[0])
    with KuboStore([nobody]) as none, pytest.raises(StoreUnavailable):
        none.has(cid)


@pytest.mark.node
def test_publishing_pins_nothing_by_itself(kubo: KuboNode) -> None:
    with KuboStore(kubo.api) as store:
        before = set(store.pins())
        add_blob(store, [os.urandom(2 * MIB)])
        assert set(store.pins()) == before


@pytest.mark.node
def test_a_manifest_can_be_pinned_though_what_it_links_to_is_elsewhere(kubo: KuboNode) -> None:
    absent = block(os.urandom(10))[0]
    manifest = block(b"\xa1\x61p\xd8\x2a\x58\x25\x00" + bytes(absent), Codec.DAG_CBOR)
    with KuboStore(kubo.api, block_timeout=1.0) as store:
        store.put(*manifest)
        store.pin(manifest[0], recursive=False)
        assert (manifest[0], False) in set(store.pins())
        with pytest.raises(BlockNotFound, match="1 blocks of it"):
            store.pin(manifest[0])
        store.unpin(manifest[0])


@pytest.mark.node
def test_blocks_that_the_node_cannot_read_are_refused_by_name(kubo: KuboNode) -> None:
    cid, data = block(b"\xff\xff", Codec.DAG_CBOR)
    with KuboStore(kubo.api) as store, pytest.raises(StoreUnavailable, match=str(cid)):
        store.put_many([block(b"good"), (cid, data)])


@pytest.mark.node
def test_memory_stays_small_and_nothing_is_warned_about(kubo: KuboNode) -> None:
    code = """if True:
    import os, sys
    from pathlib import Path
    from registry.store.blobs import add_blob, leaf_cids, open_blob
    from registry.store.kubo import KuboStore
    def private():
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Private"))
    store = KuboStore(sys.argv[1])
    store.close()
    import ipfshttpclient
    before = private()
    piece = os.urandom(1 << 20)
    blob = add_blob(store, (n.to_bytes(4, "big") + piece[4:] for n in range(200)))
    store.pin(blob.cid)
    assert sum(map(len, open_blob(store, blob))) == 200 << 20
    assert store.has(blob.cid)
    store.close()
    print(private() - before)
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-W", "always", "-c", code, kubo.api]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert int(done.stdout) < 64 * 1024  # KiB


@pytest.mark.node
def test_two_nodes_exchange_a_blob(kubo_pair: tuple[KuboNode, KuboNode]) -> None:
    one, other = kubo_pair
    data = os.urandom(9 * MIB)
    with KuboStore(one.api) as giver, KuboStore(other.api, gateway=other.gateway) as taker:
        blob = add_blob(giver, [data])
        assert not taker.has(blob.cid)
        assert b"".join(open_blob(taker, blob)) == data
        assert taker.has(blob.cid)
        taker.pin(blob.cid)


# Reading through the node's own gateway ------------------------------------------------------------------------------


@pytest.mark.node
def test_a_gateway_that_is_no_gateway_costs_nothing_but_speed(kubo: KuboNode, nobody: str) -> None:
    data = os.urandom(4 * MIB)
    port = nobody.rsplit("/", 1)[1]
    with serving(b"<html></html>", 200, "text/html") as site:
        for gateway in (f"http://127.0.0.1:{port}", kubo.api_url, site):  # nothing there; something else there
            with KuboStore(kubo.api, gateway=gateway) as store:
                blob = add_blob(store, [data])
                assert b"".join(open_blob(store, blob)) == data


@pytest.mark.node
def test_a_file_is_read_as_one_stream_from_any_leaf_to_any_leaf(kubo: KuboNode) -> None:
    data = os.urandom(5 * MIB + 77)
    with KuboStore(kubo.api, gateway=kubo.gateway) as store:
        blob = add_blob(store, [data])
        cids = leaf_cids(store, blob)
        for begin, end in ((0, 6), (2, 4), (5, 6), (3, 3)):
            stream = store.stream(blob.cid, cids, begin, end)
            assert stream is not None
            assert b"".join(stream) == data[begin * MIB : end * MIB]
        small = add_blob(store, [b"one leaf"])
        assert list(store.stream(small.cid, [small.cid], 0, 1) or ()) == [b"one leaf"]
    with KuboStore(kubo.api_url) as other:
        other._nodes[0]._asked_for_gateway = True  # and none found
        assert other.stream(blob.cid, cids, 0, 6) is None
        assert b"".join(open_blob(other, blob)) == data


@pytest.mark.node
@pytest.mark.parametrize("fault", ["wrong bytes", "short", "whole file", "nothing"])
def test_what_the_gateway_serves_wrong_is_read_block_by_block(kubo: KuboNode, fault: str) -> None:
    """A stream is only a faster way: its bytes are checked leaf by leaf, and it may end or lie anywhere."""
    data = os.urandom(5 * MIB)
    served = bytearray(data)
    served[3 * MIB] ^= 1
    body = {"wrong bytes": bytes(served), "short": data[: 3 * MIB // 2], "whole file": data, "nothing": b""}[fault]
    with serving(body, 200 if fault == "whole file" else 206) as site, KuboStore(kubo.api, gateway=site) as store:
        blob = add_blob(store, [data])
        cids = leaf_cids(store, blob)
        assert b"".join(store.stream(blob.cid, cids, 0, 5) or ()) == data
        assert b"".join(open_blob(store, blob)) == data
        assert b"".join(store.stream(blob.cid, cids, 2, 5) or ()) == data[2 * MIB :]  # serves from the wrong place


@contextmanager
def serving(body: bytes, status: int, kind: str = "application/octet-stream") -> Iterator[str]:
    """A server that answers every request with one body."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


# Nodes that are down or hang -----------------------------------------------------------------------------------------


def calls(store: KuboStore) -> list[object]:
    cid, data = block(b"x")
    return [
        lambda: store.get(cid),
        lambda: store.has(cid),
        lambda: store.put(cid, data),
        lambda: store.put_many([(cid, data)] * 3),
        lambda: store.pin(cid, recursive=False),
        lambda: store.unpin(cid),
        lambda: list(store.pins()),
    ]


def test_a_node_that_is_down_is_unavailable_in_every_call(nobody: str) -> None:
    for call in calls(KuboStore(nobody)):
        with pytest.raises(StoreUnavailable, match="refused"):
            call()  # type: ignore[operator]


def test_a_node_that_hangs_is_unavailable_in_every_call_within_its_time(silent: str) -> None:
    for call in calls(KuboStore(silent, block_timeout=QUICK)):
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            call()  # type: ignore[operator]
        assert time.monotonic() - began < 2 + 6 * QUICK


def test_a_recursive_pin_on_a_node_that_hangs_ends_in_its_time(silent: str) -> None:
    with pytest.raises(StoreUnavailable):
        KuboStore(silent, block_timeout=QUICK).pin(block(b"x")[0])


@pytest.mark.node
def test_the_first_node_that_answers_is_used(kubo: KuboNode, nobody: str, silent: str) -> None:
    data = os.urandom(3 * MIB)
    with KuboStore([nobody, silent, kubo.api_url], block_timeout=1.0) as store:
        blob = add_blob(store, [data])
        store.pin(blob.cid)
        assert b"".join(open_blob(store, blob)) == data
        assert (blob.cid, True) in set(store.pins())


def test_when_no_node_answers_all_are_named(nobody: str, silent: str) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        KuboStore([nobody, silent], block_timeout=QUICK).has(block(b"x")[0])
    for api in (nobody, silent):
        assert api.rsplit("/", 1)[1] in str(caught.value)


@pytest.mark.node
def test_an_absent_block_on_all_nodes_is_not_found(kubo_pair: tuple[KuboNode, KuboNode]) -> None:
    with KuboStore([node.api for node in kubo_pair], block_timeout=QUICK) as store:
        with pytest.raises(BlockNotFound):
            store.get(block(os.urandom(9))[0])
        assert not store.has(block(os.urandom(9))[0])


@pytest.mark.node
def test_a_node_that_dies_between_calls_is_unavailable_and_serves_again_when_back(
    ipfs_program: Path, tmp_path: Path
) -> None:
    init_node(tmp_path, ipfs_program)
    node = start_node(tmp_path, ipfs_program)
    cid, data = block(os.urandom(100))
    try:
        with KuboStore(node.api, block_timeout=5) as store:
            store.put(cid, data)
            stop_node(tmp_path)
            assert node_alive(tmp_path) is None
            with pytest.raises(StoreUnavailable):
                store.get(cid)
            with pytest.raises(StoreUnavailable):
                store.put(cid, data)
        back = start_node(tmp_path, ipfs_program)
        assert back.peer_id == node.peer_id
        with KuboStore(back.api) as store:
            assert store.get(cid) == data
    finally:
        stop_node(tmp_path)


# Names ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("api", "url", "multiaddr"),
    [
        ("/ip4/127.0.0.1/tcp/5001", "http://127.0.0.1:5001", "/ip4/127.0.0.1/tcp/5001/http"),
        ("/ip6/::1/tcp/5001", "http://[::1]:5001", "/ip6/::1/tcp/5001/http"),
        ("/dns4/ipfs.example/tcp/443/https", "https://ipfs.example:443", "/dns4/ipfs.example/tcp/443/https"),
        ("http://localhost:5001/", "http://localhost:5001", "/dns/localhost/tcp/5001/http"),
        ("https://ipfs.example", "https://ipfs.example", "/dns/ipfs.example/tcp/443/https"),
        ("http://[::1]:5001", "http://[::1]:5001", "/ip6/::1/tcp/5001/http"),
    ],
)
def test_endpoints_are_named_as_multiaddr_or_url(api: str, url: str, multiaddr: str) -> None:
    assert endpoints_of(api) == (url, multiaddr)


@pytest.mark.parametrize(
    "api", ["", "127.0.0.1:5001", "/ip4/127.0.0.1", "/ip4/127.0.0.1/udp/5001", "ftp://x", "http://h/a"]
)
def test_other_names_are_refused(api: str) -> None:
    with pytest.raises(InputError, match="Kubo RPC"):
        endpoints_of(api)


def test_no_endpoint_is_refused() -> None:
    with pytest.raises(InputError):
        KuboStore([])


def test_proxies_are_not_asked_for_this_machine(nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:1")
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:1")
    with warnings.catch_warnings():
        for call in calls(KuboStore(nobody))[:2]:
            with pytest.raises(StoreUnavailable, match="refused"):
                call()  # type: ignore[operator]
