"""Answers kept for a short while under their ETag, so that a crowd on one page has it made once."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

__all__ = ["Kept"]

_SECONDS = 30.0
"""An answer's longest life: what a store gets meanwhile shows after it even if the head stands still."""
_BYTES = 32 * 2**20


class Kept:
    """Bodies by ETag, the least recently used gone first; shared by threads."""

    def __init__(
        self, *, most: int = _BYTES, seconds: float = _SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Keep at most so many bytes, each for so long.

        Args:
            most: Bytes of all bodies together.
            seconds: From when a body is made.
            clock: Returns seconds.
        """
        self._most, self._seconds, self._clock = most, seconds, clock
        self._lock = threading.Lock()
        self._held: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._size = 0

    def find(self, etag: str) -> bytes | None:
        """Return the body of an ETag; None if it is not kept."""
        with self._lock:
            found = self._held.get(etag)
            if found is None or found[0] < self._clock():
                return None
            self._held.move_to_end(etag)
            return found[1]

    def keep(self, etag: str, body: bytes) -> None:
        """Keep a body, if it is not too large a part of all."""
        if len(body) > self._most // 8:
            return
        with self._lock:
            self._drop(etag)
            self._held[etag] = self._clock() + self._seconds, body
            self._size += len(body)
            while self._size > self._most:
                self._drop(next(iter(self._held)))

    def _drop(self, etag: str) -> None:
        found = self._held.pop(etag, None)
        self._size -= len(found[1]) if found is not None else 0
