"""Limits of stores that no honest block reaches."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from registry.dev.store_suite import block
from registry.errors import BlockNotFound, BlockTooLarge, StoreUnavailable
from registry.rounds.forked import Pipe, answer, forked
from registry.store.blobs import add_blob, leaf_cids
from registry.store.http import Deadline, Endpoint
from registry.store.kubo_rpc import KuboRpc
from registry.store.limited import LimitedStore
from registry.store.local import LocalStore
from registry.store.memory import MemoryStore
from registry.types import Cid


def test_a_block_file_that_grew_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)
    cid, data = block(os.urandom(1000))
    store.put(cid, data)
    with store.path_of(cid.digest).open("r+b") as file:
        file.truncate(1 << 32)  # sparse: it would be read into 4 GiB of memory

    def read(*_: object) -> bytes:
        pytest.fail("the file was read")

    monkeypatch.setattr(os, "read", read)
    with pytest.raises(BlockTooLarge, match="got 4294967296"):
        store.get(cid)


def test_a_block_appears_whole_by_a_rename_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the rename does not come to be, nothing stands under the block's name."""
    store = LocalStore(tmp_path)
    cid, data = block(os.urandom(1000))

    def replace(self: Path, target: Path) -> Path:
        raise OSError(5, "stopped here", str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        with pytest.raises(StoreUnavailable):
            store.put(cid, data)
    assert not store.path_of(cid.digest).exists()
    store.put(cid, data)
    assert store.get(cid) == data


def test_a_forked_process_takes_over_neither_locks_nor_connections() -> None:
    """Another thread may hold a lock at the moment of the fork, and two processes must not read one socket."""
    endpoint, node = Endpoint("http://127.0.0.1:9"), KuboRpc("/ip4/127.0.0.1/tcp/9", 1.0)
    endpoint._idle.append(object())  # type: ignore[arg-type]
    node._connection = object()

    def work(pipe: Pipe) -> tuple[bool, bool, int, bool]:
        free = endpoint._lock.acquire(timeout=1), node._lock.acquire(timeout=1)
        return *free, len(endpoint._idle), node._connection is None

    with endpoint._lock, node._lock, forked(work) as pipe:
        assert answer(pipe) == (True, True, 0, True)
    assert len(endpoint._idle) == 1  # the parent keeps its own
    assert node._connection is not None


def test_reads_of_a_limited_store_are_those_of_the_store_within_its_time() -> None:
    """Also as a stream; closing it closes the connections of the store within."""
    seen: list[str] = []

    class Streaming(MemoryStore):
        def stream(self, root: Cid, cids: Sequence[Cid], begin: int, end: int) -> Iterator[bytes]:
            return self.get_many(cids[begin:end])

        def has(self, cid: Cid) -> bool:
            return False

        def close(self) -> None:
            seen.append("closed")

    store, now = Streaming(), [0.0]
    blob = add_blob(store, [os.urandom(3 << 20)])
    cids = leaf_cids(store, blob)
    limited = LimitedStore(store, 10.0, lambda: now[0])
    stream = limited.stream(blob.cid, cids, 1, 3)
    assert stream is not None
    assert next(stream) == store.get(cids[1])
    now[0] = 11.0
    with pytest.raises(BlockNotFound, match="no time left"):
        next(stream)
    assert LimitedStore(MemoryStore(), 10.0).stream(blob.cid, cids, 0, 3) is None
    limited.close()
    assert seen == ["closed"]


def test_a_limited_store_passes_on_many_blocks_as_one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Kubo node imports them in one request."""
    store, calls = MemoryStore(), list[int]()
    put_many = store._put_many

    def noting(blocks: Iterator[tuple[Cid, bytes]], root: Cid | None) -> None:
        calls.append(1)
        put_many(blocks, root)

    monkeypatch.setattr(store, "_put_many", noting)
    blob = add_blob(LimitedStore(store, 1.0), [os.urandom(3 << 20)])
    assert calls == [1]
    assert len(leaf_cids(store, blob)) == 3


def test_what_was_waited_for_in_vain_is_skipped_for_a_few_passes() -> None:
    """Else whoever names many blocks that nobody has uses up every pass before it comes to what is there."""
    now, asked = [0.0], list[Cid]()

    class Waiting(MemoryStore):
        def _get(self, cid: Cid) -> bytes:
            asked.append(cid)
            if cid.digest not in self._blocks:
                now[0] += 30.0
            return super()._get(cid)

    store, missed = Waiting(), dict[Cid, int]()
    (absent, _), (there, data) = block(b"absent"), block(b"there")
    store.put(there, data)
    first = LimitedStore(store, 40.0, lambda: now[0], missed)
    with pytest.raises(BlockNotFound):
        first.get(absent)
    assert not first.spent
    assert list(missed) == [absent]
    asked.clear()
    second = LimitedStore(store, 10.0, lambda: now[0], missed)
    with pytest.raises(BlockNotFound, match="not served in an earlier pass"):
        second.get(absent)
    with pytest.raises(BlockNotFound, match="not served in an earlier pass"):
        list(second.get_many([absent, there]))
    assert second.get(there) == data
    assert absent not in asked
    store.put(absent, b"absent")
    assert second.get(absent) == b"absent", "it is here by now"


def test_a_lock_is_not_held_by_a_process_that_was_forked_meanwhile(tmp_path: Path) -> None:
    store = LocalStore(tmp_path, lock_timeout=0.5)
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with store.locked(exclusive=True):
            held.set()
            release.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    with forked(lambda pipe: pipe.recv()):
        release.set()
        holder.join()
        with store.locked(exclusive=True):
            pass


@pytest.fixture
def endless() -> Iterator[str]:
    """A server whose reply is one line without an end."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            while not stopped.is_set():
                try:
                    self.wfile.write(b"x" * 4096)
                except OSError:
                    return

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    stopped = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    stopped.set()
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_line_that_never_ends_is_cut(endless: str) -> None:
    endpoint = Endpoint(endless)
    with (
        endpoint.ask("/", Deadline(20.0)) as reply,
        pytest.raises(StoreUnavailable, match="expected lines of at most 1000 bytes, got a longer one"),
    ):
        list(reply.lines(1000))
