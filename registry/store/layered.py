"""Layered store: a local read-through cache in front of other stores, with write-through to publishers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from registry.errors import BlockMismatch, BlockNotFound, BlockTooLarge, ContentError, StoreUnavailable
from registry.store.base import ContentStore
from registry.store.blobs import add_file
from registry.store.links import reachable
from registry.types import Blob, Cid, NamedBlock

__all__ = ["LayeredStore"]

_RUN = 1024
"""Blocks looked up per batch."""


class LayeredStore(ContentStore):
    """A cache store backed by other stores.

    A read returns the block from the front, else from the first backing store with a valid copy, and caches it in the
    front. Puts and pins go to the front and then to each publisher. The store that serves a block verifies it, so `get`
    and `get_many` do not hash it again.

    Args:
        front: The cache; `has` and `pins` refer to it.
        behind: Backing stores, in read order.
        publishers: Stores that are also written to; they may be among the backing stores.
    """

    def __init__(
        self, front: ContentStore, behind: Sequence[ContentStore] = (), *, publishers: Sequence[ContentStore] = ()
    ) -> None:
        self._front = front
        self._behind = tuple(behind)
        self._publishers = tuple(publishers)

    def get(self, cid: Cid) -> bytes:
        return self._get(cid)

    def get_many(self, cids: Iterable[Cid], *, parent: Cid | None = None) -> Iterator[bytes]:
        return self._get_many(list(cids), parent)

    def import_file(self, path: Path, blob: Blob) -> bool:
        return all(add_file(store, path, blob) for store in self._writers())

    def pin(self, cid: Cid, *, recursive: bool = True) -> None:
        # The front may have only part of the DAG: fetch the rest, then pin.
        for member in reachable(self.get, cid) if recursive else (cid,):
            if not self._front.has(member):
                self.get(member)
        for store in self._writers():
            store.pin(cid, recursive=recursive)

    def unpin(self, cid: Cid) -> None:
        for store in self._writers():
            store.unpin(cid)

    def pins(self) -> Iterator[tuple[Cid, bool]]:
        return self._front.pins()

    def close(self) -> None:
        for store in {id(store): store for store in (self._front, *self._behind, *self._publishers)}.values():
            store.close()

    def _writers(self) -> tuple[ContentStore, ...]:
        return (self._front, *self._publishers)

    def _has(self, cid: Cid) -> bool:
        return self._front.has(cid)

    def _put(self, cid: Cid, data: bytes) -> None:
        for store in self._writers():
            store.put(cid, data)

    def _put_many(self, blocks: Iterator[tuple[Cid, bytes]], root: Cid | None) -> None:
        names: list[Cid] = []

        def noted() -> Iterator[tuple[Cid, bytes]]:
            for cid, data in blocks:
                names.append(cid)
                yield cid, data

        self._front.put_many(noted(), root=root)
        kept = list(dict.fromkeys(names))
        for store in self._publishers:  # read back from the front, which verifies them: blocks is exhausted
            store.put_many(map(NamedBlock, kept, self._front.get_many(kept)), root=root)

    def _get(self, cid: Cid) -> bytes:
        failures: list[ContentError] = []
        for store in (self._front, *self._behind):
            try:
                data = store.get(cid)
            except ContentError as error:
                failures.append(error)
                continue
            if store is not self._front:
                self._front.put(cid, data)
            return data
        raise _most_telling(cid, failures)

    def _get_many(self, cids: list[Cid], parent: Cid | None) -> Iterator[bytes]:
        for start in range(0, len(cids), _RUN):
            for here, group in groupby(cids[start : start + _RUN], self._front.has):
                run = list(group)
                if here:
                    yield from self._from_front(run)
                else:
                    yield from self._from_behind(run, parent if len(run) == len(cids) else None)

    def _from_front(self, cids: list[Cid]) -> Iterator[bytes]:
        done = 0
        while done < len(cids):
            try:
                for data in self._front.get_many(cids[done:]):
                    yield data
                    done += 1
            except ContentError:  # corrupt, or collected meanwhile: try all stores for this block
                yield self._get(cids[done])
                done += 1

    def _from_behind(self, cids: list[Cid], parent: Cid | None) -> Iterator[bytes]:
        """Read a run of blocks from one store; after a failure read the rest from the next store."""
        failures: list[ContentError] = [BlockNotFound("not in the front store")]
        done = 0
        for store in self._behind:
            found = store.get_many(cids[done:], parent=None if done else parent)
            while done < len(cids):
                try:
                    data = next(found)
                except ContentError as error:
                    failures.append(error)
                    break
                self._front.put(cids[done], data)  # an error here is not the backing store's
                yield data
                done += 1
        if done < len(cids):
            raise _most_telling(cids[done], failures)


def _most_telling(cid: Cid, failures: Sequence[ContentError]) -> ContentError:
    """Return one error for the failures of several stores: of the most severe kind, with all reasons.

    A corrupt block outranks an unavailable store, which outranks a store without the block.
    """
    order = (BlockMismatch, BlockTooLarge, StoreUnavailable, BlockNotFound)
    kind = next(kind for kind in order if any(isinstance(failure, kind) for failure in failures))
    return kind(f"{cid}: " + "; ".join(map(str, failures)))
