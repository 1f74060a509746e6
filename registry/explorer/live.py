"""Server-sent events: tell open pages that the index, the chain's time or a verification moved on."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from registry.errors import CairnError
from registry.explorer.reading import Shelf

__all__ = ["Live"]

_EVERY = 0.5
"""Seconds between two looks at the state, for all streams together."""
_SIGN = 15.0
"""Seconds of silence after which a stream shows that it is open."""
_LONGEST = 600.0
"""Seconds after which a stream ends; the browser opens another."""
_AT_ONCE = 32
"""Streams; further pages are followed by reloading."""


class Live:
    """Streams that each send an event when the state of a shelf changes; of one event loop."""

    def __init__(self, shelf: Shelf, closing: threading.Event) -> None:
        """Bind to a shelf; streams end once `closing` is set."""
        self._shelf = shelf
        self._closing = closing
        self._open = 0
        self._looked = -_EVERY
        self._state = ""

    async def stream(self, request: Request) -> Response:
        """Answer with a stream, or with 503 if there are too many."""
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        if self._open >= _AT_ONCE:
            return Response("too many streams: reload to follow\n", 503, media_type="text/plain")
        return _Counted(self)

    async def events(self) -> AsyncIterator[bytes]:
        """Yield the state as an event at first and whenever it changed, in between a sign now and then."""
        begun = told = time.monotonic()
        last = ""
        while not self._closing.is_set() and time.monotonic() - begun < _LONGEST:
            state = await self._now()
            if state != last:
                last, told = state, time.monotonic()
                yield f"event: moved\ndata: {state}\n\n".encode()
            elif time.monotonic() - told > _SIGN:
                told = time.monotonic()
                yield b": open\n\n"
            await asyncio.sleep(_EVERY)

    def count(self, change: int) -> None:
        """Count a stream that opens, 1, or ends, -1."""
        self._open += change

    async def _now(self) -> str:
        if time.monotonic() - self._looked >= _EVERY:
            self._looked = time.monotonic()
            self._state = await run_in_threadpool(self._look)
        return self._state

    def _look(self) -> str:
        try:
            return self._shelf.state(jobs=True).hex()
        except CairnError:
            return "unreadable"


class _Counted(StreamingResponse):
    """A stream that counts while it is sent, also if nobody reads a byte of it."""

    def __init__(self, live: Live) -> None:
        super().__init__(live.events(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        self._live = live

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._live.count(1)
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._live.count(-1)
