"""A malicious content store, node or gateway that serves wrong bytes, too many, or none."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from registry.content.cid import parse_cid
from registry.content.manifest import Reason, manifest_cid
from registry.errors import BlockMismatch, BlockNotFound, BlockTooLarge, ContentError, StoreUnavailable
from registry.rounds.loaded_round import load_round
from registry.store.base import ContentStore
from registry.store.gateway import GatewayStore
from registry.store.layered import LayeredStore
from registry.store.memory import MemoryStore
from registry.types import Cid

if TYPE_CHECKING:
    from conftest import Federation


class Liar(MemoryStore):
    """A store that does to every block, or to those of one digest, what its lie says."""

    def __init__(self, inner: MemoryStore, lie: str, only: bytes | None = None) -> None:
        super().__init__()
        self._blocks = inner._blocks
        self._lie, self._only = lie, only

    def _get(self, cid: Cid) -> bytes:
        data = super()._get(cid)
        return data if self._only not in (None, cid.digest) else bend(self._lie, data)


def bend(lie: str, data: bytes) -> bytes:
    if lie == "flips a bit":
        return data[:-1] + bytes([data[-1] ^ 1])
    if lie == "cuts off":
        return data[:-1]
    if lie == "adds":
        return data + b"\x00"
    if lie == "empties":
        return b""
    raise BlockNotFound("not here")


LIES = ("flips a bit", "cuts off", "adds", "empties", "hides")


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_about_a_manifest_admits_nothing(published: Federation, lie: str) -> None:
    target = published.record().commitments[0].digest
    reasons = published.reasons(Liar(published.store, lie, only=target))
    assert reasons == {"ann": Reason.UNAVAILABLE, "bob": Reason.ADMITTED, "cyn": Reason.ADMITTED}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_about_a_blob_admits_nothing(published: Federation, lie: str) -> None:
    (manifest, *_) = [v.manifest for v in published.verdicts()]
    assert manifest is not None
    reasons = published.reasons(Liar(published.store, lie, only=manifest.delta.cid.digest))
    assert reasons == {"ann": Reason.UNAVAILABLE, "bob": Reason.ADMITTED, "cyn": Reason.ADMITTED}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_about_the_parent_stops_the_round(published: Federation, lie: str) -> None:
    with pytest.raises((BlockMismatch, BlockTooLarge, BlockNotFound)):
        load_round(Liar(published.store, lie, only=published.genesis), published.record())


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_about_any_block_fails_verification(published: Federation, lie: str) -> None:
    """Each block that a verified round rests on is bent in turn."""
    result = published.outcome().result
    published.force(result)
    asked: list[bytes] = []

    class Listening(MemoryStore):
        def _get(self, cid: Cid) -> bytes:
            asked.append(cid.digest)
            return published.store._get(cid)

    assert all(v.passed for v in published.verify(store=Listening()))
    # Head, manifest and blob of the genesis, of the new version and of three updates; the plan; the report,
    # its head and its page.
    assert len(set(asked)) == 19
    for digest in set(asked):
        *_, last = published.verify(store=Liar(published.store, lie, only=digest))
        bent = [v for v in (*_, last) if not v.passed]
        assert bent, digest.hex()
        assert bent[0].finding == ("unchecked" if lie == "hides" else "failed")


# Over HTTP ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def gateway(published: Federation) -> Iterator[Any]:
    """A real HTTP server that looks like a trustless gateway and serves what its lie makes of the blocks."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.split("/ipfs/")[1].split("?")[0]
            try:
                body = bend(self.server.lie, published.store.get(parse_cid(name)))  # type: ignore[attr-defined]
                status = 200
            except ContentError:
                body, status = b"", 404
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.ipld.raw")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.lie = "hides"  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def store_of(server: Any) -> ContentStore:
    return GatewayStore(f"http://127.0.0.1:{server.server_port}")


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_gateway_convinces_no_reader(published: Federation, gateway: Any, lie: str) -> None:
    gateway.lie = lie
    published.force(published.outcome().result)
    with store_of(gateway) as store:
        assert not any(v.passed for v in published.verify(store=store))


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_gateway_in_front_of_an_honest_store_changes_nothing(
    published: Federation, gateway: Any, lie: str
) -> None:
    gateway.lie = lie
    published.force(published.outcome().result)
    with store_of(gateway) as liar:
        layered = LayeredStore(MemoryStore(), [liar, published.store])
        assert all(v.passed for v in published.verify(store=layered))


def test_a_lying_gateway_puts_nothing_false_into_the_cache(published: Federation, gateway: Any) -> None:
    gateway.lie = "flips a bit"
    front = MemoryStore()
    target = published.record().commitments[0].digest
    with store_of(gateway) as liar, pytest.raises((BlockMismatch, StoreUnavailable)):
        LayeredStore(front, [liar]).get(manifest_cid(target))
    assert front._blocks == {}
