"""In-memory content store, for tests and demos."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from registry.errors import BlockNotFound
from registry.store.base import ContentStore
from registry.store.links import reachable
from registry.types import Cid

__all__ = ["MemoryStore"]


class MemoryStore(ContentStore):
    """Blocks in a dict by digest, since the codec of a CID does not affect a block's bytes."""

    def __init__(self) -> None:
        self._blocks: dict[bytes, bytes] = {}
        self._pins: dict[Cid, bool] = {}
        self._lock = threading.Lock()

    def pin(self, cid: Cid, *, recursive: bool = True) -> None:
        for member in reachable(self.get, cid) if recursive else (cid,):
            if not self._has(member):
                raise BlockNotFound(f"{member}: not in this store, so {cid} cannot be pinned")
        with self._lock:
            self._pins[cid] = recursive or self._pins.get(cid, False)

    def unpin(self, cid: Cid) -> None:
        with self._lock:
            self._pins.pop(cid, None)

    def pins(self) -> Iterator[tuple[Cid, bool]]:
        with self._lock:
            found = list(self._pins.items())
        yield from found

    def _get(self, cid: Cid) -> bytes:
        try:
            return self._blocks[cid.digest]
        except KeyError:
            raise BlockNotFound(f"{cid}: not in memory") from None

    def _put(self, cid: Cid, data: bytes) -> None:
        self._blocks[cid.digest] = bytes(data)

    def _has(self, cid: Cid) -> bool:
        return cid.digest in self._blocks
