"""Serve /metrics and /health of a running command over HTTP."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from registry.errors import InputError

if TYPE_CHECKING:
    from registry.roles.loop import TaskHealth
    from registry.roles.monitoring import Board, Sample

__all__ = ["serving_metrics"]

_EVERY = 10.0
"""Seconds between two readings of node, index and accounts."""
_SLOWEST = 5.0
"""Seconds that a client has for each read and write."""
_AT_ONCE = 16
"""Connections at once; further ones are closed."""


@contextmanager
def serving_metrics(
    where: str | None,
    health: dict[str, TaskHealth],
    read: Callable[[], tuple[Sample, ...]] | None,
    stop: threading.Event,
) -> Iterator[None]:
    """Serve a process' metrics and health while the context lasts.

    Args:
        where: HOST:PORT; None for nowhere.
        health: The tasks' health; the task that reads samples is added.
        read: Reads samples, in a thread of its own; None if there are none.
        stop: Set to end the reading.

    Raises:
        InputError: The address is not to be had.
    """
    if where is None:
        yield
        return
    from registry.roles.loop import TaskHealth, follow
    from registry.roles.monitoring import Board

    board = Board(health)
    server = _listen(where, board)
    threads = [threading.Thread(target=server.serve_forever, name="metrics")]
    if read is not None:

        def step() -> str:
            board.samples = read()
            return ""

        health["readings"] = TaskHealth()
        more = {"poll": _EVERY, "health": health["readings"], "ends": ()}
        threads.append(threading.Thread(target=follow, args=(step, stop), kwargs=more, name="readings"))
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        server.shutdown()
        for thread in threads:
            thread.join()
        server.server_close()


def _listen(where: str, board: Board) -> _Server:
    host, colon, port = where.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or not 0 < int(port[:6]) < 1 << 16:
        raise InputError(f"--metrics: expected HOST:PORT such as 127.0.0.1:9464, got {where!r:.60}")
    try:
        return _Server((host or "127.0.0.1", int(port)), board)
    except (OSError, ValueError) as error:
        raise InputError(
            f"--metrics: expected an address that can be listened on, got {where!r:.60}: {error}"
        ) from error


class _Server(ThreadingHTTPServer):
    """Answers two paths, to few clients at a time, none of which holds a thread for long."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], board: Board) -> None:
        self.board = board
        self._free = threading.Semaphore(_AT_ONCE)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        logging.getLogger(__name__).debug("a client of the metrics went away", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    timeout = _SLOWEST
    server: _Server

    def do_GET(self) -> None:
        from registry.roles.monitoring import health_of, metrics_page

        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(200, metrics_page(self.server.board), "text/plain; version=0.0.4; charset=utf-8")
        elif path == "/health":
            well, facts = health_of(self.server.board)
            self._json(200 if well else 503, facts)
        else:
            self._json(404, {"error": "NotFound", "message": "expected /metrics or /health"})

    def log_message(self, *_: Any) -> None:
        """Log nothing: scrapes come every few seconds."""

    def version_string(self) -> str:
        """Return the Server header, without versions of anything."""
        return "cairn"

    def _json(self, status: int, facts: Mapping[str, object]) -> None:
        self._answer(status, json.dumps(facts).encode() + b"\n", "application/json")

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)
