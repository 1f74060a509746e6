"""Read-only store on an IPFS trustless gateway (specs.ipfs.tech/http-gateways/trustless-gateway).

Single blocks are fetched as `?format=raw`, the children of a node as one `?format=car` stream. The gateway is
untrusted: bodies are capped, each block has 30 s of wall-clock time, redirects are not followed, and the base class
verifies every block.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

from registry.content.car import read_car
from registry.errors import BlockNotFound, BlockTooLarge, ContentError, FormError, StoreUnavailable
from registry.store.ahead import ordered
from registry.store.base import BLOCK_TIMEOUT, ContentStore, block_patience
from registry.store.http import Deadline, Endpoint, Late, Reply
from registry.types import MAX_BLOCK_BYTES, Cid

__all__ = ["GatewayStore"]

log = logging.getLogger(__name__)

_RAW = {"Accept": "application/vnd.ipld.raw"}
_CAR = {"Accept": "application/vnd.ipld.car; version=1; order=dfs; dups=y"}
_ABSENT = (404, 410, 504)
"""HTTP status: not found, gone, gateway timeout."""
_AT_ONCE = 3
_WORTH_A_CAR = 4
"""Least number of blocks for which one stream is faster than single requests."""
_PIECE = 1 << 18


class GatewayStore(ContentStore):
    """A trustless gateway.

    Args:
        url: Base URL, without `/ipfs/`.
        block_timeout: Seconds per block, from request to last byte.
    """

    def __init__(self, url: str, *, block_timeout: float = BLOCK_TIMEOUT) -> None:
        self._endpoint = Endpoint(url)
        self._block_timeout = block_timeout
        self.url = self._endpoint.url

    def pin(self, cid: Cid, *, recursive: bool = True) -> None:
        raise StoreUnavailable(f"{self.url}: a gateway is read-only: {cid} cannot be pinned there")

    def unpin(self, cid: Cid) -> None:
        """Do nothing: a gateway holds no pins."""

    def pins(self) -> Iterator[tuple[Cid, bool]]:
        return iter(())

    def close(self) -> None:
        self._endpoint.close()

    def _put(self, cid: Cid, data: bytes) -> None:
        raise StoreUnavailable(f"{self.url}: a gateway is read-only: {cid} cannot be put there")

    def _has(self, cid: Cid) -> bool:
        headers = {**_RAW, "Cache-Control": "only-if-cached"}
        with self._endpoint.ask(f"/ipfs/{cid}?format=raw", self._deadline(), method="HEAD", headers=headers) as reply:
            if reply.status in (*_ABSENT, 412):  # 412: not in the gateway's cache
                return False
            self._must_be_ok(cid, reply)
            return True

    def _get(self, cid: Cid) -> bytes:
        return self._ask(cid, deadline=self._deadline())

    def _get_many(self, cids: list[Cid], parent: Cid | None) -> Iterator[bytes]:
        done = 0
        if parent is not None and len(cids) >= _WORTH_A_CAR:
            for data in self._children(parent, cids):
                yield data
                done += 1
        stopped = threading.Event()

        def ask(cid: Cid) -> bytes:
            return self._ask(cid, deadline=Deadline(self._block_timeout, stopped=stopped))

        yield from ordered(ask, cids[done:], workers=_AT_ONCE, ahead=2 * _AT_ONCE, leave=stopped.set)

    def _ask(self, cid: Cid, *, deadline: Deadline) -> bytes:
        try:
            reply = self._endpoint.ask(f"/ipfs/{cid}?format=raw", deadline, headers=_RAW)
        except Late as error:  # the gateway may hang or be searching for the block: indistinguishable from here
            raise BlockNotFound(f"{cid}: {error}") from error
        with reply:
            self._must_be_ok(cid, reply)
            try:
                return reply.read_all(MAX_BLOCK_BYTES)
            except BlockTooLarge as error:
                raise BlockTooLarge(f"{cid}: {error}") from error

    def _children(self, parent: Cid, cids: list[Cid]) -> Iterator[bytes]:
        """Yield the blocks of cids from the CAR of parent, as long as the stream matches.

        Any error only ends the stream: the remaining blocks are requested one by one, which reports the cause.
        """
        deadline = self._deadline()
        target = f"/ipfs/{parent}?format=car&dag-scope=all"
        try:
            with self._endpoint.ask(target, deadline, headers=_CAR) as reply:
                self._must_be_ok(parent, reply)
                total = MAX_BLOCK_BYTES + (MAX_BLOCK_BYTES + 64) * len(cids)
                _, blocks = read_car(_pieces(reply), limit=total)
                for place, expected in enumerate((parent, *cids)):
                    deadline.allow(self._block_timeout)  # here, so that the consumer's time does not count
                    found, data = next(blocks, (None, b""))
                    if found != expected:
                        raise StoreUnavailable(f"{self.url}: CAR of {parent}: expected {expected}, got {found}")
                    if place:
                        yield data
        except (ContentError, FormError) as error:
            log.info("%s: falling back to single blocks: %s", self.url, error)

    def _deadline(self) -> Deadline:
        return Deadline(block_patience(self._block_timeout))

    def _must_be_ok(self, cid: Cid, reply: Reply) -> None:
        if reply.status == 200:
            return
        if reply.status in _ABSENT:
            raise BlockNotFound(f"{cid}: {self.url} does not have it ({reply.status})")
        if 300 <= reply.status < 400:
            where = reply.headers.get("Location", "nowhere")
            raise StoreUnavailable(f"{self.url}: redirects {cid} to {where}: not followed; name that gateway itself")
        raise StoreUnavailable(f"{self.url}: expected status 200 for {cid}, got {reply.status}")


def _pieces(reply: Reply) -> Iterator[bytes]:
    while piece := reply.read(_PIECE):
        yield piece
