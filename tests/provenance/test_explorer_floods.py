"""Slow clients, half requests, stopped readers and floods over real sockets: the others get their pages."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from explorer_world import Ask, World, served

from registry.explorer import connections
from registry.explorer.snapshot import open_snapshot

pytestmark = pytest.mark.xdist_group("explorer")  # one process makes the world for all


@pytest.fixture
def ask(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ask]:
    monkeypatch.setattr(connections, "ASKING", 1.0)
    monkeypatch.setattr(connections, "READING", 1.0)
    with served(open_snapshot(world.folder)) as found:
        yield found


@contextlib.contextmanager
def connected(ask: Ask, count: int = 1, *, window: int | None = None) -> Iterator[list[socket.socket]]:
    """Open connections; `window` is the size of their receive buffer, bytes."""
    where = urlsplit(ask.base)
    with contextlib.ExitStack() as held:
        found = []
        for _ in range(count):
            one = held.enter_context(contextlib.closing(socket.socket()))
            if window is not None:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
            one.settimeout(20)
            one.connect((where.hostname, where.port))
            found.append(one)
        yield found


def closed_after(one: socket.socket) -> float:
    """Return the seconds until the server closes a connection, reading what it sends."""
    begun = time.monotonic()
    with contextlib.suppress(ConnectionError):
        while one.recv(65536):
            pass
    return time.monotonic() - begun


@pytest.mark.parametrize(
    "half",
    [b"", b"GET /mod", b"GET /models HTTP/1.1\r\nHost: localhost\r\nX: ",
     b"POST /models HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nx",
     b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\nGET /mod"],
    ids=["nothing", "line", "headers", "body", "second"],
)  # fmt: skip
def test_half_a_request_is_not_waited_for(ask: Ask, half: bytes) -> None:
    with connected(ask) as (one,):
        one.sendall(half)
        assert closed_after(one) < 8


def test_a_request_that_comes_byte_by_byte_has_no_more_time(ask: Ask) -> None:
    with connected(ask) as (one,):
        begun = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - begun < 15:
                one.sendall(b"G" if time.monotonic() == begun else b"E")
                time.sleep(0.1)
        assert time.monotonic() - begun < 8


def test_a_reader_that_stops_is_let_go(ask: Ask) -> None:
    asked = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 400
    with connected(ask, window=4096) as (one,):
        with contextlib.suppress(TimeoutError, ConnectionError):
            one.settimeout(3)
            one.sendall(asked)
        time.sleep(3)
        one.settimeout(20)
        got = 0
        with contextlib.suppress(ConnectionError):
            while piece := one.recv(65536):
                got += len(piece)
        assert got < 400 * len(ask("/openapi.json").body)


def test_half_requests_in_hundreds_keep_nobody_else_waiting(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "PER_ADDRESS", 40)
    with served(open_snapshot(world.folder)) as ask, connected(ask, 39) as held:
        for one in held:
            one.sendall(b"GET /models HTTP/1.1\r\nHost: localhost\r\nX: ")
        begun = time.monotonic()
        assert ask("/models").status == 200
        assert time.monotonic() - begun < 5
        with connected(ask, 60) as more:
            time.sleep(0.5)
            assert sum(closed_after(one) < 5 for one in more[5:]) == 55


def test_answers_that_take_longer_than_a_request_may_are_sent(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "ASKING", 0.2)
    monkeypatch.setattr("registry.explorer.live._LONGEST", 1.5)
    with served(open_snapshot(world.folder)) as ask:
        begun = time.monotonic()
        assert ask("/live").status == 200
        assert time.monotonic() - begun > 1
