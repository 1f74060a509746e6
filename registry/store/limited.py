"""Time-limited store: a total read budget for one pass over untrusted publishers' data."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from registry.errors import BlockNotFound
from registry.store.base import ContentStore
from registry.types import Blob, Cid

__all__ = ["LimitedStore"]

_LONG = 1.0
"""Seconds from which on a block that does not come counts as waited for in vain."""
_SKIPPED = 4
"""Passes until such a block is asked for again."""


class LimitedStore(ContentStore):
    """A store whose blocks are unavailable once its read budget is spent.

    A publisher that serves a block every half minute, or an endless file, can thus only use up one pass. Blocks fetched
    by then remain wherever the store caches them. Puts and pins are not limited.

    Args:
        store: The wrapped store, which verifies blocks.
        seconds: Budget for all reads.
        clock: Returns seconds.
        missed: Blocks that were waited for in vain in earlier passes, each with the number of passes that still skip
            it, so that a publisher of many such blocks uses up no more than one pass with them; updated.
    """

    def __init__(
        self,
        store: ContentStore,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        missed: dict[Cid, int] | None = None,
    ) -> None:
        self._store, self._seconds, self._clock = store, seconds, clock
        self._missed = {} if missed is None else missed
        for cid in list(self._missed):
            self._missed[cid] -= 1
            if not self._missed[cid]:
                del self._missed[cid]
        self._end = clock() + seconds

    @property
    def spent(self) -> bool:
        """Whether the budget is spent."""
        return self._clock() > self._end

    def get(self, cid: Cid) -> bytes:
        return self._get(cid)

    def put_many(self, blocks: Iterable[tuple[Cid, bytes]], *, root: Cid | None = None) -> None:
        self._store.put_many(blocks, root=root)

    def import_file(self, path: Path, blob: Blob) -> bool:
        return self._store.import_file(path, blob)

    def pin(self, cid: Cid, *, recursive: bool = True) -> None:
        self._store.pin(cid, recursive=recursive)

    def unpin(self, cid: Cid) -> None:
        self._store.unpin(cid)

    def pins(self) -> Iterator[tuple[Cid, bool]]:
        return self._store.pins()

    def stream(self, root: Cid, cids: Sequence[Cid], begin: int, end: int) -> Iterator[bytes] | None:
        found = self._store.stream(root, cids, begin, end)
        return None if found is None else self._in_time(cids[begin:end], found)

    def close(self) -> None:
        self._store.close()

    def _get(self, cid: Cid) -> bytes:
        self._require_time(cid)
        return self._waited_for(cid, lambda: self._store.get(cid))

    def _put(self, cid: Cid, data: bytes) -> None:
        self._store.put(cid, data)

    def _has(self, cid: Cid) -> bool:
        return self._store.has(cid)

    def _get_many(self, cids: list[Cid], parent: Cid | None) -> Iterator[bytes]:
        return self._in_time(cids, self._store.get_many(cids, parent=parent))

    def _in_time(self, cids: Sequence[Cid], found: Iterator[bytes]) -> Iterator[bytes]:
        for cid in cids:
            self._require_time(cid)
            yield self._waited_for(cid, lambda: next(found))

    def _waited_for(self, cid: Cid, read: Callable[[], bytes]) -> bytes:
        begun = self._clock()
        try:
            return read()
        except BlockNotFound:
            if self._clock() - begun >= _LONG:
                self._missed[cid] = _SKIPPED
            raise

    def _require_time(self, cid: Cid) -> None:
        """Raise for a block that is not local once the budget is spent, or if it was waited for in vain before."""
        if (self.spent or cid in self._missed) and not self._store.has(cid):
            told = f"expected all reads within {self._seconds:.0f} s, got no time left"
            raise BlockNotFound(f"{cid}: {told if self.spent else 'it was not served in an earlier pass'}")
