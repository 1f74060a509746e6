"""Requests that no browser sends, over real sockets: odd targets, headers without end, answers that nobody reads."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from explorer_world import Ask, World, served
from starlette.requests import Request
from starlette.responses import Response

from registry.explorer import connections
from registry.explorer.pages import Page
from registry.explorer.reading import Told
from registry.explorer.site import _Site
from registry.explorer.snapshot import open_snapshot
from registry.explorer.verifying import Verifier
from registry.store.memory import MemoryStore
from registry.types import Cid, Codec

pytestmark = pytest.mark.xdist_group("explorer")  # one process makes the world for all


@pytest.fixture
def ask(world: World) -> Iterator[Ask]:
    with served(open_snapshot(world.folder)) as found:
        yield found


def connected(ask: Ask, window: int | None = None) -> socket.socket:
    where, one = urlsplit(ask.base), socket.socket()
    if window is not None:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    one.settimeout(20)
    one.connect((where.hostname, where.port))
    return one


def raw(ask: Ask, target: str) -> bytes:
    """Send a target as it stands and return the whole answer."""
    with contextlib.closing(connected(ask)) as one:
        one.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: one.recv(65536), b""))


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Return whether a condition comes to hold in a time."""
    end = time.monotonic() + seconds
    while not (held := holds()) and time.monotonic() < end:
        time.sleep(0.02)
    return held


def answered(ask: Ask, path: str) -> bool:
    """Return whether a page comes; a connection may be refused or cut."""
    try:
        return ask(path).status == 200
    except (OSError, http.client.HTTPException):
        return False


@pytest.mark.parametrize(
    ("target", "poisoned"),
    [("/models?#&after=999999999.0", "/models"), ("/models.json?#&after=999999999.0", "/models.json"),
     ("/search?#&q={model}", "/search"), ("/search?q={model}#", "/search?q={model}")],
)  # fmt: skip
def test_an_answer_is_kept_for_the_address_that_was_asked_alone(
    world: World, ask: Ask, target: str, poisoned: str
) -> None:
    target, poisoned = (one.format(model=world.model.removeprefix("/models/")) for one in (target, poisoned))
    raw(ask, target)
    after = ask(poisoned)
    with served(open_snapshot(world.folder)) as fresh:
        first = fresh(poisoned)
    assert (after.status, after.headers["Location"], after.body) == (
        first.status,
        first.headers["Location"],
        first.body,
    )


@pytest.mark.parametrize("origin", ["http://[", "http://\u2100".encode().decode("latin-1"), "http://[::1", "null"])
def test_an_origin_that_is_no_address_is_refused(world: World, origin: str) -> None:
    sim, shelf = world.simulation, open_snapshot(world.folder)
    verifier = Verifier(sim.owner, sim.store)
    with contextlib.closing(verifier), served(replace(shelf, verifier=verifier)) as ask:
        answer = ask(f"{world.model}/versions/0x{world.head.hex()}/verification/start", "POST", b"", Origin=origin)
        assert answer.status == 403


def test_a_header_of_blanks_keeps_nobody_waiting(ask: Ask) -> None:
    ask("/models")
    begun = time.monotonic()
    for _ in range(8):
        assert ask("/models", If_None_Match=f"a{' ' * 60_000}b").status in (200, 400, 431)
    assert time.monotonic() - begun < 5


def test_a_tag_among_others_is_known(ask: Ask) -> None:
    tag = ask("/models").headers["ETag"]
    for given in (tag, f'"a", {tag}', f'W/"x,y" ,\t{tag} , "b"'):
        assert ask("/models", If_None_Match=given).status == 304
    assert ask("/models", If_None_Match=tag[:-2]).status == 200


@pytest.mark.parametrize("last", ["", "Connection: close\r\n"], ids=["idle", "close"])
def test_the_end_of_an_answer_that_nobody_reads_is_not_kept_for_ever(
    world: World, last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "READING", 3.0)
    monkeypatch.setattr(connections, "PER_ADDRESS", 2)
    monkeypatch.setattr("registry.explorer.serving._IDLE", 1)
    begin, made = connections.PatientProtocol.connection_made, []

    def begun(self: connections.PatientProtocol, transport: Any) -> None:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
        begin(self, transport)
        made.append(transport)

    monkeypatch.setattr(connections.PatientProtocol, "connection_made", begun)
    # More than the kernel takes of it, less than asyncio pauses writing at.
    monkeypatch.setattr(_Site, "schema", lambda *_: Response(bytes(60_000)))
    asked = f"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n{last}\r\n".encode()
    with served(open_snapshot(world.folder)) as ask, contextlib.ExitStack() as held:
        for _ in range(2):
            held.enter_context(contextlib.closing(connected(ask, 1024))).sendall(asked)
        assert within(20, lambda: len(made) == 2 and all(one.get_write_buffer_size() for one in made))
        assert within(20, lambda: all(one.is_closing() and not one.get_write_buffer_size() for one in made))
        assert within(20, lambda: answered(ask, "/models"))


@pytest.mark.parametrize("path", ["/models", "/models.json"])
def test_what_is_read_while_the_state_moves_is_not_kept_for_the_state_before(
    world: World, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf, gather = open_snapshot(world.folder), _Site._gathered
    before, later = shelf.present.told, Told(time=2_000_000_000)

    def moved(self: _Site, page: Page, request: Request) -> Any:
        shelf.present.tell(later)
        return gather(self, page, request)

    with served(shelf) as ask, monkeypatch.context() as patch:
        patch.setattr(_Site, "_gathered", moved)
        during = ask(path)
        patch.undo()
        shelf.present.tell(before)  # as after a reorg that is undone
        after = ask(path)
    assert during.body != after.body
    assert after.headers["ETag"] is not None
    assert during.headers["ETag"] is None


class Stuck(MemoryStore):
    """A store that has everything, and gives none of the blocks of files before it is let go."""

    def __init__(self, world: World, go: threading.Event) -> None:
        super().__init__()
        self._behind, self._go = world.simulation.store, go

    def _get(self, cid: Cid) -> bytes:
        if cid.codec is not Codec.DAG_CBOR:
            self._go.wait(20)
        return self._behind.get(cid)

    def _has(self, cid: Cid) -> bool:
        return self._behind.has(cid)


def test_files_that_do_not_come_keep_no_page_waiting(world: World) -> None:
    go, shelf = threading.Event(), open_snapshot(world.folder)
    path = f"{world.model}/versions/0x{world.head.hex()}/weights.safetensors"
    with served(replace(shelf, store=Stuck(world, go))) as ask, contextlib.ExitStack() as held:
        for _ in range(60):  # more than there are threads
            one = held.enter_context(contextlib.closing(connected(ask)))
            one.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        time.sleep(1)
        begun = time.monotonic()
        try:
            assert ask("/models").status == 200
            assert time.monotonic() - begun < 10
        finally:
            go.set()
