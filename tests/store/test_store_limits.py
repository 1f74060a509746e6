"""Limits of stores that no honest block reaches."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from registry.dev.store_suite import block
from registry.errors import BlockTooLarge, StoreUnavailable
from registry.store.http import Deadline, Endpoint
from registry.store.local import LocalStore


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
