"""Content store on a Kubo (IPFS) node.

Publishing streams a CAR. Pinning is a separate call, because an import would pin the whole DAG under its root, and a
manifest links to every earlier version: pin blobs recursively, manifests directly. Files are read as one stream from
the node's own gateway and cut into leaves here, which takes the node half the work of serving blocks; what it does not
have at once, or serves wrong, is fetched block by block through the RPC, which makes the node search the network.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TypeVar

from registry.errors import BlockNotFound, ContentError, InputError, StoreUnavailable
from registry.store.ahead import ordered
from registry.store.base import BLOCK_TIMEOUT, ContentStore
from registry.store.blobs import file_pieces
from registry.store.kubo_rpc import KuboRpc
from registry.types import Blob, Cid

__all__ = ["KuboStore"]

T = TypeVar("T")

log = logging.getLogger(__name__)

_NOTHING = hashlib.sha256(b"").digest()
_AT_ONCE = 3
_AVOIDED = 10.0
"""Seconds for which a node that did not answer is not asked what it has: it may hang at every question."""
_WORTH_A_STREAM = 4
"""Least number of leaves for which one stream is faster than single requests."""


class KuboStore(ContentStore):
    """One Kubo node, or several with failover.

    Reads try the nodes in turn. Writes, pins and unpins go only to the first node that answers; pins are not
    replicated. An unavailable node moves to the end of the list, so that a block is pinned where it was put and a
    hanging node does not delay every block.

    Args:
        apis: RPC endpoints, each a multiaddr (`/ip4/127.0.0.1/tcp/5001`) or a URL (`http://127.0.0.1:5001`).
        gateway: URL of the first node's own gateway; by default what its settings say, if both are on this machine.
        block_timeout: Seconds per block or other short request.
    """

    def __init__(
        self, apis: str | Sequence[str], *, gateway: str | None = None, block_timeout: float = BLOCK_TIMEOUT
    ) -> None:
        names = [apis] if isinstance(apis, str) else list(apis)
        if not names:
            raise InputError("expected one Kubo RPC endpoint or more, got none")
        self._nodes = tuple(KuboRpc(name, block_timeout) for name in names)
        self._silent: dict[str, tuple[float, StoreUnavailable]] = {}
        """When nodes did not say what they have, seconds of the monotonic clock, and why; by URL."""
        if gateway is not None:
            self._nodes[0].use_gateway(gateway)

    def pin(self, cid: Cid, *, recursive: bool = True) -> None:
        self._first(lambda node: node.pin(cid, recursive))

    def unpin(self, cid: Cid) -> None:
        self._first(lambda node: node.unpin(cid))

    def pins(self) -> Iterator[tuple[Cid, bool]]:
        yield from self._first(lambda node: node.pins())

    def get_many(self, cids: Iterable[Cid], *, parent: Cid | None = None) -> Iterator[bytes]:
        names = list(cids)
        if parent is not None and len(names) >= _WORTH_A_STREAM:
            return self._streamed(parent, names, 0, len(names))
        return super().get_many(names)

    def stream(self, root: Cid, cids: Sequence[Cid], begin: int, end: int) -> Iterator[bytes] | None:
        return self._streamed(root, cids, begin, end) if self._nodes[0].has_gateway() else None

    def _streamed(self, root: Cid, cids: Sequence[Cid], begin: int, end: int) -> Iterator[bytes]:
        """Yield leaves from the gateway while they match, and the rest block by block."""
        done = begin
        for leaf in self._nodes[0].leaves(root, begin, end - begin):
            if hashlib.sha256(leaf).digest() != cids[done].digest:
                log.info("%s: leaf %d of the gateway's file does not hash to its CID", root, done)
                break
            yield leaf
            done += 1
        yield from super().get_many(cids[done:end])

    def import_file(self, path: Path, blob: Blob) -> bool:
        # Choose a node that answers first: half a file may have gone to one that does not.
        node = self._first(lambda node: node.answering())
        return node.add(file_pieces(path)) == str(blob.cid)

    def close(self) -> None:
        for node in self._nodes:
            node.close()

    def _get(self, cid: Cid) -> bytes:
        if cid.digest == _NOTHING:  # Bitswap does not transfer the empty block
            return b""
        return self._any(lambda node: node.block(cid))

    def _get_many(self, cids: list[Cid], parent: Cid | None) -> Iterator[bytes]:
        stopped = threading.Event()

        def get(cid: Cid) -> bytes:
            return self._any(lambda node: node.near_block(cid, stopped))

        return ordered(get, cids, workers=_AT_ONCE, ahead=2 * _AT_ONCE, leave=stopped.set)

    def _put(self, cid: Cid, data: bytes) -> None:
        self._put_many(iter([(cid, data)]), cid)

    def _put_many(self, blocks: Iterator[tuple[Cid, bytes]], root: Cid | None) -> None:
        first = next(blocks, None)
        if first is None:
            return
        # Choose a node that answers before consuming the stream: it cannot be sent twice.
        node = self._first(lambda node: node.answering())
        node.keep(root or first[0], chain((first,), blocks))

    def _has(self, cid: Cid) -> bool:
        """Whether any node has it: the first may have been away when another took it."""
        failures: list[StoreUnavailable] = []
        for node in self._nodes:
            when, failure = self._silent.get(node.url, (-_AVOIDED, None))
            if failure is None or time.monotonic() - when >= _AVOIDED:
                try:
                    if node.has(cid):
                        return True
                    continue
                except StoreUnavailable as error:
                    failure = error
                    self._silent[node.url] = time.monotonic(), error
            failures.append(failure)
        if len(failures) == len(self._nodes):
            raise StoreUnavailable("; ".join(map(str, failures))) from failures[-1]
        return False

    def _first(self, call: Callable[[KuboRpc], T]) -> T:
        """Call the first node that can be reached."""
        return self._try(call, StoreUnavailable)

    def _any(self, call: Callable[[KuboRpc], T]) -> T:
        """Call the nodes in turn until one succeeds."""
        return self._try(call, (StoreUnavailable, BlockNotFound))

    def _try(self, call: Callable[[KuboRpc], T], onward: type[ContentError] | tuple[type[ContentError], ...]) -> T:
        failures: list[ContentError] = []
        for node in self._nodes:
            try:
                return call(node)
            except onward as error:
                failures.append(error)
                if isinstance(error, StoreUnavailable):
                    self._nodes = (*(other for other in self._nodes if other is not node), node)
        if len(failures) == 1:
            raise failures[0]
        told = "; ".join(map(str, failures))
        absent = all(isinstance(error, BlockNotFound) for error in failures)
        raise (BlockNotFound if absent else StoreUnavailable)(told) from failures[-1]
