"""A store that is asked for so long and no longer: what one look at what others publish may take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from registry.errors import BlockNotFound
from registry.store.base import ContentStore
from registry.types import Cid

__all__ = ["LimitedStore"]


class LimitedStore(ContentStore):
    """A store whose blocks are not to be had any more once its time is over.

    Whoever serves a block every half minute, or a file without end, so takes the time of one look and no more. What has
    come until then is kept wherever the store keeps it. What is put and pinned has no limit.

    Args:
        store: Which, and closed by whoever opened it. Its blocks are hashed there.
        seconds: For all that is read.
        clock: Returns seconds.
    """

    def __init__(self, store: ContentStore, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._seconds, self._clock = store, seconds, clock
        self._end = clock() + seconds

    def get(self, cid: Cid) -> bytes:
        return self._get(cid)

    def pin(self, cid: Cid, *, recursive: bool = True) -> None:
        self._store.pin(cid, recursive=recursive)

    def unpin(self, cid: Cid) -> None:
        self._store.unpin(cid)

    def pins(self) -> Iterator[tuple[Cid, bool]]:
        return self._store.pins()

    def _get(self, cid: Cid) -> bytes:
        self._require_time(cid)
        return self._store.get(cid)

    def _put(self, cid: Cid, data: bytes) -> None:
        self._store.put(cid, data)

    def _has(self, cid: Cid) -> bool:
        return self._store.has(cid)

    def _get_many(self, cids: list[Cid], parent: Cid | None) -> Iterator[bytes]:
        found = self._store.get_many(cids, parent=parent)
        for cid in cids:
            self._require_time(cid)
            yield next(found)

    def _require_time(self, cid: Cid) -> None:
        """Refuse to wait for what is not here once the time is over."""
        if self._clock() > self._end and not self._store.has(cid):
            raise BlockNotFound(f"{cid}: expected all of it within {self._seconds:.0f} s, which are over")
