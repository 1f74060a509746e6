"""Blocks in a Kubo node, over its RPC.

Publishing streams a CAR into `dag/import`; pinning is a call of its own, because the import would pin the whole graph
under its root, and a manifest links to every version before it. Reading asks for single blocks, several at once: from
the node's own gateway those that the node has (it sends them twice as fast as its RPC), the others by `block/get`,
which makes the node look for them.

The calls that send or answer little go through ipfshttpclient. Blocks are read with `registry.store.http`:
ipfshttpclient takes a body of any length into memory, and counts its time limit anew at each read.
"""

from __future__ import annotations

import io
import json
import logging
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, TypeVar
from urllib.parse import urlsplit

from registry.content.car import write_car
from registry.content.cid import parse_cid
from registry.errors import (
    BlockNotFound,
    BlockTooLarge,
    ContentError,
    FormError,
    InputError,
    StoreUnavailable,
)
from registry.store.ahead import ordered
from registry.store.base import BLOCK_TIMEOUT, ContentStore
from registry.store.http import Deadline, Endpoint, is_loopback
from registry.types import Cid

__all__ = ["KuboStore"]

log = logging.getLogger(__name__)

T = TypeVar("T")

_AT_ONCE = 3
_UPLOAD_PIECE = 1 << 20
_CALL_TIMEOUT = 30.0
_IMPORT_TIMEOUT = 120.0
"""Seconds for the node to say that it has kept all it was sent, after the last byte."""
_GRACE = 2.0
"""Seconds that a node gets beyond a time limit it was told, to say that it ran out."""


class KuboStore(ContentStore):
    """One Kubo node, or the first of several that answers.

    Reading tries the nodes in turn. Writing, pinning and unpinning go to the first that answers, and only to it; what
    is pinned on one is not on the others.

    Args:
        apis: RPC endpoints, each a multiaddr (`/ip4/127.0.0.1/tcp/5001`) or a URL (`http://127.0.0.1:5001`).
        gateway: URL of the first node's own gateway; by default what its settings say, if both are on this machine.
        block_timeout: Seconds for one block.
    """

    def __init__(
        self, apis: str | Sequence[str], *, gateway: str | None = None, block_timeout: float = BLOCK_TIMEOUT
    ) -> None:
        names = [apis] if isinstance(apis, str) else list(apis)
        if not names:
            raise InputError("expected one Kubo RPC endpoint or more, got none")
        self._nodes = [_Node(name, block_timeout) for name in names]
        if gateway is not None:
            self._nodes[0].use_gateway(gateway)

    def pin(self, cid: Cid, *, recursive: bool = True) -> None:
        self._first(lambda node: node.pin(cid, recursive))

    def unpin(self, cid: Cid) -> None:
        self._first(lambda node: node.unpin(cid))

    def pins(self) -> Iterator[tuple[Cid, bool]]:
        yield from self._first(lambda node: node.pins())

    def close(self) -> None:
        for node in self._nodes:
            node.close()

    def _get(self, cid: Cid, limit: int) -> bytes:
        return self._any(lambda node: node.block(cid, limit))

    def _get_many(self, cids: list[Cid], limit: int, parent: Cid | None) -> Iterator[bytes]:
        return ordered(partial(self._get_near, limit=limit), cids, workers=_AT_ONCE, ahead=2 * _AT_ONCE)

    def _get_near(self, cid: Cid, *, limit: int) -> bytes:
        def read(node: _Node) -> bytes:
            found = node.block_from_gateway(cid, limit)
            return node.block(cid, limit) if found is None else found

        return self._any(read)

    def _put(self, cid: Cid, data: bytes) -> None:
        self._put_many(iter([(cid, data)]), cid)

    def _put_many(self, blocks: Iterator[tuple[Cid, bytes]], root: Cid | None) -> None:
        first = next(blocks, None)
        if first is None:
            return
        # Which node answers is settled before the stream is touched: it cannot be sent twice.
        node = self._first(lambda node: node.answering())
        node.keep(write_car(root or first[0], chain((first,), blocks)))

    def _has(self, cid: Cid) -> bool:
        return self._first(lambda node: node.has(cid))

    def _first(self, call: Callable[[_Node], T]) -> T:
        """Call the first node that can be reached."""
        return self._try(call, StoreUnavailable)

    def _any(self, call: Callable[[_Node], T]) -> T:
        """Call the nodes in turn until one has an answer."""
        return self._try(call, (StoreUnavailable, BlockNotFound))

    def _try(self, call: Callable[[_Node], T], onward: Any) -> T:
        failures: list[ContentError] = []
        for node in self._nodes:
            try:
                return call(node)
            except onward as error:
                failures.append(error)
        if len(failures) == 1:
            raise failures[0]
        told = "; ".join(map(str, failures))
        absent = all(isinstance(error, BlockNotFound) for error in failures)
        raise (BlockNotFound if absent else StoreUnavailable)(told) from failures[-1]


class _Node:
    """One node's RPC."""

    def __init__(self, api: str, block_timeout: float) -> None:
        self.url, self._multiaddr = _endpoints(api)
        self._rpc = Endpoint(self.url)
        self._timeout = block_timeout
        self._gateway: Endpoint | None = None
        self._asked_for_gateway = False
        self._connection: Any = None
        self._lock = threading.Lock()

    # Reading ---------------------------------------------------------------------------------------------------------

    def block(self, cid: Cid, limit: int) -> bytes:
        """Return a block the node has or finds in time."""
        target = f"/api/v0/block/get?arg={cid}&timeout={self._timeout:g}s"
        try:
            with self._rpc.ask(target, Deadline(self._timeout + _GRACE), method="POST") as reply:
                if reply.status == 200:
                    return reply.read_all(limit)
                told = _message(reply.read(4096))
        except BlockTooLarge as error:
            raise BlockTooLarge(f"{cid}: {error}") from error
        if _says_absent(told):
            raise BlockNotFound(f"{cid}: {self.url}: {told}")
        raise StoreUnavailable(f"{self.url}: block/get: expected status 200, got {reply.status}: {told}")

    def block_from_gateway(self, cid: Cid, limit: int) -> bytes | None:
        """Return a block from the node's own gateway, or None where that cannot serve it at once."""
        gateway = self._own_gateway()
        if gateway is None:
            return None
        headers = {"Accept": "application/vnd.ipld.raw", "Cache-Control": "only-if-cached"}
        try:
            with gateway.ask(f"/ipfs/{cid}?format=raw", Deadline(self._timeout), headers=headers) as reply:
                # The type tells a gateway from whatever else may listen there.
                served = reply.status == 200 and reply.headers.get_content_type() == "application/vnd.ipld.raw"
                return reply.read_all(limit) if served else None
        except BlockTooLarge:
            return None
        except StoreUnavailable as error:
            log.info("%s: reading through the RPC from now on: %s", gateway.url, error)
            self._gateway = None
            return None

    def use_gateway(self, url: str) -> None:
        """Read what the node has through this gateway."""
        self._gateway, self._asked_for_gateway = Endpoint(url), True

    def _own_gateway(self) -> Endpoint | None:
        with self._lock:
            if not self._asked_for_gateway:
                self._asked_for_gateway = True
                self._gateway = self._find_gateway()
            return self._gateway

    def _find_gateway(self) -> Endpoint | None:
        """Return the gateway that the node's settings name, if node and gateway are on this machine."""
        if not is_loopback(self._rpc.host):
            return None
        try:
            with self._rpc.ask("/api/v0/config?arg=Addresses.Gateway", Deadline(_CALL_TIMEOUT), method="POST") as reply:
                address = json.loads(reply.read_all(4096))["Value"]
            url, _ = _endpoints(address if isinstance(address, str) else address[0])
            gateway = Endpoint(url)
        except (ContentError, InputError, ValueError, LookupError, TypeError) as error:
            log.info("%s: no gateway of its own to read from: %s", self.url, error)
            return None
        return gateway if is_loopback(gateway.host) and gateway.port else None

    # Everything else, through ipfshttpclient -------------------------------------------------------------------------

    def answering(self) -> _Node:
        """Return the node if it answers."""
        self._call(lambda client: client.version(timeout=_CALL_TIMEOUT))
        return self

    def has(self, cid: Cid) -> bool:
        """Say whether the node has a block, without its asking others."""
        try:
            self._call(lambda client: client.block.stat(str(cid), offline=True, timeout=_CALL_TIMEOUT))
        except BlockNotFound:
            return False
        return True

    def keep(self, car: Iterator[bytes]) -> None:
        """Import a CAR, pinning nothing."""
        source = _Source(car)
        options = {"pin-roots": "false", "fast-provide-root": "false", "stats": "true"}
        try:
            # With nothing pinned the statistics are the whole reply; without them the client finds none and fails.
            self._call(lambda client: client.dag.imprt(source, opts=options, timeout=_IMPORT_TIMEOUT))
        except StoreUnavailable:
            if source.failure is not None:
                raise source.failure from None
            raise

    def pin(self, cid: Cid, recursive: bool) -> None:
        """Pin what the node has, without its asking others for what is missing."""
        try:
            self._call(
                lambda client: client.pin.add(str(cid), recursive=recursive, offline=True, timeout=_IMPORT_TIMEOUT)
            )
        except StoreUnavailable as error:
            if "already pinned recursively" not in str(error):
                raise

    def unpin(self, cid: Cid) -> None:
        """Unpin a root, however it is pinned."""
        try:
            self._call(lambda client: client.pin.rm(str(cid), recursive=True, timeout=_CALL_TIMEOUT))
        except StoreUnavailable as error:
            if "not pinned" not in str(error) and "pinned indirectly" not in str(error):
                raise

    def pins(self) -> Iterator[tuple[Cid, bool]]:
        """Return the node's pinned roots that are of a kind Cairn reads; people pin other things too."""
        found: list[tuple[Cid, bool]] = []
        for kind in ("recursive", "direct"):
            reply = self._call(partial(_list_pins, kind=kind))
            for name in reply["Keys"] or {}:
                try:
                    found.append((parse_cid(name), kind == "recursive"))
                except FormError:
                    continue
        return iter(found)

    def close(self) -> None:
        """Close connections."""
        self._rpc.close()
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if self._gateway is not None:
            self._gateway.close()

    def _call(self, call: Callable[[Any], T]) -> T:
        """Call with a client of this node, and turn its errors into ours."""
        import ipfshttpclient.exceptions as theirs

        try:
            return call(self._client())
        except theirs.ErrorResponse as error:
            kind = BlockNotFound if _says_absent(str(error)) else StoreUnavailable
            raise kind(f"{self.url}: {error}") from error
        except theirs.TimeoutError as error:
            raise StoreUnavailable(f"{self.url}: no answer in time: {error}") from error
        except (theirs.Error, OSError) as error:
            raise StoreUnavailable(f"{self.url}: {error}") from error

    def _client(self) -> Any:
        import ipfshttpclient

        with self._lock:
            if self._connection is None:
                # Not ipfshttpclient.connect, which adds nothing but a warning that it does not know this Kubo.
                client = ipfshttpclient.Client(self._multiaddr, session=True, chunk_size=_UPLOAD_PIECE)
                if is_loopback(self._rpc.host):
                    client._client._request_proxies = {"no_proxy": self._rpc.host}  # there is no public way
                warnings.filterwarnings("ignore", "The 'strict' parameter is no longer", FutureWarning, "urllib3")
                self._connection = client
            return self._connection


class _Source(io.RawIOBase):
    """The pieces of a CAR as a file that ipfshttpclient uploads as it reads."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")
        self.failure: Exception | None = None

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Return the next size bytes or fewer, and none only at the end."""
        while not self._rest:
            try:
                piece = next(self._pieces, None)
            except Exception as error:  # passes through a client that may take it for its own
                self.failure = error
                raise
            if piece is None:
                return b""
            self._rest = memoryview(piece)
        taken = self._rest if size < 0 else self._rest[:size]
        self._rest = self._rest[len(taken) :]
        return bytes(taken)


def _endpoints(api: str) -> tuple[str, str]:
    """Return an RPC endpoint as URL and as multiaddr.

    Raises:
        InputError: It is neither.
    """
    if api.startswith("/"):
        parts = api.strip("/").split("/")
        kind, host, *rest = [*parts, ""]
        scheme = "https" if "https" in rest or "tls" in rest else "http"
        if kind in ("ip4", "ip6", "dns", "dns4", "dns6") and rest[0] == "tcp" and rest[1].isdecimal():
            name = f"[{host}]" if ":" in host else host
            return f"{scheme}://{name}:{rest[1]}", "/" + "/".join((kind, host, "tcp", rest[1], scheme))
    else:
        found = urlsplit(api)
        if found.scheme in ("http", "https") and found.hostname and found.path in ("", "/"):
            endpoint = Endpoint(api)
            kind = "ip6" if ":" in endpoint.host else "ip4" if endpoint.host.replace(".", "").isdecimal() else "dns"
            return endpoint.url, f"/{kind}/{endpoint.host}/tcp/{endpoint.port}/{found.scheme}"
    raise InputError(f"expected a Kubo RPC as /ip4/127.0.0.1/tcp/5001 or http://127.0.0.1:5001, got {api!r}")


def _list_pins(client: Any, *, kind: str) -> Any:
    return client.pin.ls(type=kind, timeout=_IMPORT_TIMEOUT)


def _says_absent(told: str) -> bool:
    """Say whether a node's error means that it has not, or has not found in time, a block."""
    absent = ("could not find", "not found", "context deadline exceeded", "request timed out")
    return any(words in told for words in absent)


def _message(body: bytes) -> str:
    """Return what a node's error reply says."""
    try:
        return str(json.loads(body)["Message"])
    except (ValueError, LookupError, TypeError):
        return body[:200].decode(errors="replace").strip()
