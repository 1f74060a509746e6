"""Client of a Kubo node's RPC: blocks, CAR imports and pins.

Small requests and uploads go through ipfshttpclient. Block reads and pin progress use `registry.store.http`,
because ipfshttpclient buffers bodies of any length in memory and applies its timeout to each read.
"""

from __future__ import annotations

import io
import json
import logging
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

from registry.content.car import write_car
from registry.content.cid import parse_cid
from registry.content.unixfs import CHUNK_SIZE, MAX_LINKS
from registry.errors import BlockNotFound, BlockTooLarge, ContentError, FormError, InputError, StoreUnavailable
from registry.store.after_fork import make_anew_after_fork
from registry.store.base import block_patience
from registry.store.http import Deadline, Endpoint, Late, is_loopback
from registry.types import MAX_BLOCK_BYTES, Cid

__all__ = ["KuboRpc", "endpoints_of"]

log = logging.getLogger(__name__)

T = TypeVar("T")

_UPLOAD_PIECE = 1 << 20
_PATIENCE = 4
"""Multiple of the block timeout for requests over many blocks: completion of an import, listing of pins."""
_PIECE = 1 << 17
"""Bytes per upload piece: the client copies each piece, and small copies stay in the CPU cache."""
_MAX_LINE = 1 << 16
_GRACE = 2.0
"""Grace period, seconds, past a timeout passed to the node, in which it reports the timeout."""


class KuboRpc:
    """One node.

    Args:
        api: Its RPC, as multiaddr or URL.
        block_timeout: Seconds per block or other short request.
    """

    def __init__(self, api: str, block_timeout: float) -> None:
        self.url, self._multiaddr = endpoints_of(api)
        self._rpc = Endpoint(self.url, f"content store kubo:{self.url}")
        self._timeout = block_timeout
        self._gateway: Endpoint | None = None
        self._asked_for_gateway = False
        self.after_fork()
        make_anew_after_fork(self)

    def after_fork(self) -> None:
        """Begin without a client."""
        self._connection: Any = None
        self._lock = threading.Lock()

    # Reading ---------------------------------------------------------------------------------------------------------

    def near_block(self, cid: Cid, stopped: threading.Event) -> bytes:
        """Return a block from the node's own gateway if it has it, else as `block`."""
        found = self._from_gateway(cid, stopped)
        return self.block(cid, stopped) if found is None else found

    def block(self, cid: Cid, stopped: threading.Event | None = None) -> bytes:
        """Return a block that the node has or finds in time; stopped cancels the request."""
        patience = block_patience(self._timeout)
        target = f"/api/v0/block/get?arg={cid}&timeout={patience:g}s"
        deadline = Deadline(patience + _GRACE, stopped=stopped)
        try:
            with self._rpc.ask(target, deadline, method="POST") as reply:
                if reply.status == 200:
                    return reply.read_all(MAX_BLOCK_BYTES)
                told = _message(reply.read(4096))
        except BlockTooLarge as error:
            raise BlockTooLarge(f"{cid}: {error}") from error
        if _says_absent(told):
            raise BlockNotFound(f"{cid}: {self.url}: {told}")
        raise StoreUnavailable(f"{self.url}: block/get: expected status 200, got {reply.status}: {told}")

    def _from_gateway(self, cid: Cid, stopped: threading.Event) -> bytes | None:
        """Return a block from the node's own gateway; None if it cannot serve it immediately."""
        gateway = self._own_gateway()
        if gateway is None:
            return None
        headers = {"Accept": "application/vnd.ipld.raw", "Cache-Control": "only-if-cached"}
        deadline = Deadline(self._timeout, stopped=stopped)
        try:
            with gateway.ask(f"/ipfs/{cid}?format=raw", deadline, headers=headers) as reply:
                # The content type tells a gateway from another service on that port.
                served = reply.status == 200 and reply.headers.get_content_type() == "application/vnd.ipld.raw"
                return reply.read_all(MAX_BLOCK_BYTES) if served else None
        except BlockTooLarge:
            return None
        except StoreUnavailable as error:
            log.info("%s: reading through the RPC from now on: %s", gateway.url, error)
            gateway.close()
            self._gateway = None
            return None

    def has_gateway(self) -> bool:
        """Return whether the node's own gateway is known."""
        return self._own_gateway() is not None

    def leaves(self, root: Cid, begin: int, count: int) -> Iterator[bytes]:
        """Yield leaves of a file under the blob profile, unverified, in one request to the node's own gateway.

        Any error ends the stream early: the caller reads the rest block by block, which reports the cause.
        """
        gateway = self._own_gateway()
        if gateway is None:
            return
        last = (begin + count) * CHUNK_SIZE - 1
        headers = {"Range": f"bytes={begin * CHUNK_SIZE}-{last}", "Cache-Control": "only-if-cached"}
        deadline = Deadline(self._timeout)
        try:
            with gateway.ask(f"/ipfs/{root}", deadline, headers=headers) as reply:
                for _ in range(count if reply.status == 206 else 0):
                    deadline.allow(self._timeout)  # here, so that the consumer's time does not count
                    leaf = reply.read(CHUNK_SIZE)
                    if not leaf:
                        return
                    yield leaf
        except StoreUnavailable as error:
            log.info("%s: falling back to single blocks: %s", gateway.url, error)

    def use_gateway(self, url: str) -> None:
        """Read the node's local blocks through this gateway."""
        self._gateway, self._asked_for_gateway = Endpoint(url), True

    def _own_gateway(self) -> Endpoint | None:
        with self._lock:
            if not self._asked_for_gateway:
                self._asked_for_gateway = True
                self._gateway = self._find_gateway()
            return self._gateway

    def _find_gateway(self) -> Endpoint | None:
        """Return the gateway of the node's configuration, if node and gateway are on this machine."""
        if not is_loopback(self._rpc.host):
            return None
        try:
            with self._rpc.ask("/api/v0/config?arg=Addresses.Gateway", Deadline(self._timeout), method="POST") as reply:
                address = json.loads(reply.read_all(4096))["Value"]
            url, _ = endpoints_of(address if isinstance(address, str) else address[0])
            gateway = Endpoint(url)
        except (ContentError, InputError, ValueError, LookupError, TypeError) as error:
            log.info("%s: no gateway of its own to read from: %s", self.url, error)
            return None
        return gateway if is_loopback(gateway.host) and gateway.port else None

    # Everything else, through ipfshttpclient -------------------------------------------------------------------------

    def answering(self) -> KuboRpc:
        """Return the node if it answers."""
        self._call(lambda client: client.version(timeout=self._timeout))
        return self

    def has(self, cid: Cid) -> bool:
        """Return whether the node has a block locally."""
        try:
            self._call(lambda client: client.block.stat(str(cid), offline=True, timeout=self._timeout))
        except BlockNotFound:
            return False
        return True

    def keep(self, root: Cid, blocks: Iterator[tuple[Cid, bytes]]) -> None:
        """Import blocks, pinning nothing."""
        sent = 0

        def counted() -> Iterator[tuple[Cid, bytes]]:
            nonlocal sent
            for block in blocks:
                sent += 1
                yield block

        options = {"pin-roots": "false", "fast-provide-root": "false", "stats": "true"}
        # Without pinning, the statistics are the whole reply.
        told = self._upload(
            write_car(root, counted()),
            lambda client, source, limits: client.dag.imprt(source, opts=options, timeout=limits),
        )
        kept = (told.get("Stats") or {}).get("BlockCount")
        if kept != sent:
            raise StoreUnavailable(f"{self.url}: dag/import: expected {sent} blocks kept, got {kept}")

    def add(self, pieces: Iterator[bytes]) -> str:
        """Have the node chunk and hash a file under the blob profile, pinning nothing; return the CID it names.

        So the file is hashed once, by the node, where an import of blocks hashes them at both ends.
        """
        profile = {"cid-version": "1", "hash": "sha2-256", "max-file-links": str(MAX_LINKS)}
        profile |= {"fast-provide-root": "false"}
        chunker = f"size-{CHUNK_SIZE}"
        told = self._upload(
            pieces,
            lambda client, source, limits: client.add(
                source, chunker=chunker, raw_leaves=True, pin=False, opts=profile, timeout=limits
            ),
        )
        return str(told.get("Hash"))

    def _upload(self, pieces: Iterator[bytes], send: Callable[[Any, _Source, tuple[float, float]], Any]) -> Any:
        """Send pieces by a call of ipfshttpclient; an error of theirs is raised as it is."""
        source = _Source(pieces)
        limits = (self._timeout, _PATIENCE * self._timeout)  # per piece; for the reply after the last piece
        try:
            return self._call(lambda client: send(client, source, limits))
        except (StoreUnavailable, BlockNotFound):
            if source.failure is not None:
                raise source.failure from None
            raise

    def pin(self, cid: Cid, recursive: bool) -> None:
        """Pin a block, or a DAG, that the node has."""
        if recursive:
            self._pin_graph(cid)
            return
        try:
            self._call(lambda client: client.pin.add(str(cid), recursive=False, offline=True, timeout=self._timeout))
        except StoreUnavailable as error:
            if "already pinned recursively" not in str(error):
                raise

    def _pin_graph(self, cid: Cid) -> None:
        """Pin a DAG recursively, giving up after one block timeout without progress.

        Online or offline, Kubo's recursive pin waits forever for a missing block. So its progress is monitored, which
        ipfshttpclient cannot do.
        """
        deadline = Deadline(self._timeout)
        told, blocks = "nothing", 0
        target = f"/api/v0/pin/add?arg={cid}&offline=true&progress=true"
        with self._rpc.ask(target, deadline, method="POST") as reply:
            try:
                for line in reply.lines(_MAX_LINE):
                    told = _message(line)
                    if _field(line, "Pins") == [str(cid)]:
                        return
                    found = _field(line, "Progress")
                    if isinstance(found, int) and found > blocks:
                        blocks = found
                        deadline.allow(self._timeout)
            except Late as error:
                raise BlockNotFound(f"{cid}: {self.url} has {blocks} blocks of it and not the next: {error}") from error
        kind = BlockNotFound if _says_absent(told) else StoreUnavailable
        raise kind(f"{self.url}: pin/add {cid}: {told}")

    def unpin(self, cid: Cid) -> None:
        """Unpin a root, direct or recursive."""
        try:
            self._call(lambda client: client.pin.rm(str(cid), recursive=True, timeout=self._timeout))
        except StoreUnavailable as error:
            if "not pinned" not in str(error) and "pinned indirectly" not in str(error):
                raise

    def pins(self) -> Iterator[tuple[Cid, bool]]:
        """Yield the node's pinned roots with CIDs of a kind that Cairn reads; other pins are skipped."""
        found: list[tuple[Cid, bool]] = []
        for kind in ("recursive", "direct"):
            reply = self._call(partial(_list_pins, kind=kind, timeout=_PATIENCE * self._timeout))
            for name in reply.get("Keys") or {}:  # absent if there are none
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
        """Call with a client of this node, and translate its errors."""
        import ipfshttpclient.exceptions as theirs

        try:
            return call(self._client())
        except theirs.ErrorResponse as error:
            kind = BlockNotFound if _says_absent(str(error)) else StoreUnavailable
            raise kind(f"{self.url}: {error}") from error
        except theirs.TimeoutError as error:
            raise StoreUnavailable(f"{self.url}: no answer in time: {error}") from error
        except theirs.ConnectionError as error:
            cause = re.search(r"\[Errno -?\d+\] ([^'\")]+)", str(error))  # else the text is a dump of urllib3's objects
            why = cause[1] if cause is not None else type(error.original).__name__
            raise StoreUnavailable(f"content store kubo:{self.url} cannot be reached: {why}") from error
        except (theirs.Error, OSError) as error:
            raise StoreUnavailable(f"{self.url}: {error}") from error

    def _client(self) -> Any:
        import ipfshttpclient

        with self._lock:
            if self._connection is None:
                # Not ipfshttpclient.connect, which only adds a warning about unknown versions of Kubo.
                client = ipfshttpclient.Client(self._multiaddr, session=True, chunk_size=_UPLOAD_PIECE)
                if is_loopback(self._rpc.host):
                    client._client._request_proxies = {"no_proxy": self._rpc.host}  # there is no public API
                warnings.filterwarnings("ignore", "The 'strict' parameter is no longer", FutureWarning, "urllib3")
                self._connection = client
            return self._connection


class _Source(io.RawIOBase):
    """File over the pieces of a CAR, which ipfshttpclient uploads while reading."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")
        self.failure: Exception | None = None

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Return up to size bytes; empty only at the end."""
        while not self._rest:
            try:
                piece = next(self._pieces, None)
            except Exception as error:  # the client may mistake it for an error of its own
                self.failure = error
                raise
            if piece is None:
                return b""
            self._rest = memoryview(piece)
        taken = self._rest if size < 0 else self._rest[: min(size, _PIECE)]
        self._rest = self._rest[len(taken) :]
        return bytes(taken)


def endpoints_of(api: str) -> tuple[str, str]:
    """Return an RPC endpoint as (URL, multiaddr).

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


def _list_pins(client: Any, *, kind: str, timeout: float) -> Any:
    return client.pin.ls(type=kind, timeout=timeout)


def _says_absent(told: str) -> bool:
    """Return whether a node's error message means that it does not have, or did not find, a block."""
    absent = ("could not find", "not found", "context deadline exceeded", "request timed out")
    return any(words in told for words in absent)


def _message(body: bytes) -> str:
    """Return the message of a node's error reply."""
    message = _field(body, "Message")
    return message if isinstance(message, str) else body[:200].decode(errors="replace").strip()


def _field(body: bytes, name: str) -> Any:
    try:
        value = json.loads(body)
    except ValueError:
        return None
    return value.get(name) if isinstance(value, dict) else None
