"""Malicious gateways and nodes: they lie, drip, hang, redirect, abort or never end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import parse_headers
from itertools import accumulate, pairwise
from typing import BinaryIO

import pytest

from registry.content.car import write_car
from registry.content.cid import encode_varint
from registry.dev.store_suite import block
from registry.errors import BlockMismatch, BlockNotFound, BlockTooLarge, ContentError, InputError, StoreUnavailable
from registry.store.base import ContentStore
from registry.store.blobs import add_blob, open_blob, walk_blob
from registry.store.gateway import GatewayStore
from registry.store.http import Deadline, Endpoint
from registry.store.kubo import KuboStore
from registry.store.memory import MemoryStore
from registry.types import MAX_BLOCK_BYTES, Blob, Cid, Codec

QUICK = 0.5
"""Seconds for a block."""
SOON = 15.0
"""Seconds by which a call with a limit of QUICK must have ended, on a slow machine too."""

Script = Callable[[str, BinaryIO], None]
CID, DATA = block(b"the block that was asked for" * 1000)


@dataclass
class Server:
    """A loopback server that runs a script for each request: what it is asked, and a file to answer into."""

    script: Script
    asked: list[str] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        self.stopped.set()
        self._socket.close()

    def drip(self, out: BinaryIO, data: bytes, *, at_once: bytes = b"") -> None:
        """Send what goes at once, then a byte at a time, each well within any time limit for a read."""
        out.write(at_once)
        for byte in data:
            out.write(bytes([byte]))
            if self.stopped.wait(0.05):
                return

    def hang(self) -> None:
        self.stopped.wait()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rwb", buffering=0) as file:
            while line := file.readline():
                parse_headers(file)
                self.asked.append(line.decode().split()[1])
                self.script(self.asked[-1], file)  # type: ignore[arg-type]


@pytest.fixture
def serve() -> Iterator[Callable[[Script], Server]]:
    """Return a function that starts a server with a script."""
    servers: list[Server] = []

    def start(script: Script) -> Server:
        servers.append(Server(script))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


Serve = Callable[[Script], Server]


def reply(body: bytes, *, status: str = "200 OK", length: int | None = None, headers: str = "") -> bytes:
    """Return a reply, with a declared length that may differ from the true one."""
    declared = len(body) if length is None else length
    head = f"HTTP/1.1 {status}\r\nContent-Length: {declared}\r\nContent-Type: application/vnd.ipld.raw\r\n{headers}\r\n"
    return head.encode() + body


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/vnd.ipld.raw\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + end


def hang_up(out: BinaryIO) -> None:
    """End the connection after what was written."""
    raise OSError("scripted")


def saying(data: bytes) -> Script:
    """Return the script that answers this, whatever is asked."""

    def script(target: str, out: BinaryIO) -> None:
        out.write(data)

    return script


def stores(url: str) -> list[ContentStore]:
    """Return every store that reads blocks over HTTP, with a gateway or node at url."""
    return [GatewayStore(url, block_timeout=QUICK), KuboStore(url, block_timeout=QUICK)]


@pytest.fixture(params=["gateway", "node"])
def reader(request: pytest.FixtureRequest, serve: Serve) -> Callable[[Script], ContentStore]:
    """Return a function that opens a store on a scripted server."""

    def open_on(script: Script) -> ContentStore:
        kinds = {"gateway": GatewayStore, "node": KuboStore}
        store: ContentStore = kinds[request.param](serve(script).url, block_timeout=QUICK)
        return store

    return open_on


Reader = Callable[[Script], ContentStore]


@pytest.fixture(autouse=True)
def _in_time() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < SOON


# One block -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "whole", [reply(DATA), chunked(DATA), chunked(DATA[:7], DATA[7:]), b"HTTP/1.0 200 OK\r\n\r\n" + DATA]
)
def test_an_honest_reply_of_any_framing_is_read(reader: Reader, whole: bytes) -> None:
    def script(target: str, out: BinaryIO) -> None:
        out.write(whole)
        if b"1.0" in whole:
            hang_up(out)

    assert reader(script).get(CID) == DATA


def test_other_bytes_raise_block_mismatch(reader: Reader) -> None:
    with pytest.raises(BlockMismatch, match=str(CID)):
        reader(saying(reply(DATA[:-1] + b"?"))).get(CID)


def test_a_body_shorter_than_declared_raises_store_unavailable(reader: Reader) -> None:
    def script(target: str, out: BinaryIO) -> None:
        out.write(reply(DATA[:-1], length=len(DATA)))
        hang_up(out)

    with pytest.raises(StoreUnavailable, match="broke off"):
        reader(script).get(CID)


def test_a_chunked_body_that_breaks_off_raises_store_unavailable(reader: Reader) -> None:
    def script(target: str, out: BinaryIO) -> None:
        out.write(chunked(DATA[:1000], end=b""))
        hang_up(out)

    with pytest.raises(StoreUnavailable, match="broke off"):
        reader(script).get(CID)


def test_a_body_without_length_that_breaks_off_raises_block_mismatch(reader: Reader) -> None:
    def script(target: str, out: BinaryIO) -> None:
        out.write(b"HTTP/1.0 200 OK\r\n\r\n" + DATA[:1000])
        hang_up(out)

    with pytest.raises(BlockMismatch):
        reader(script).get(CID)


def test_a_body_that_declares_too_much_is_not_read(reader: Reader) -> None:
    def script(target: str, out: BinaryIO) -> None:
        out.write(reply(b"", length=1 << 40))

    with pytest.raises(BlockTooLarge, match=str(1 << 40)):
        reader(script).get(CID)


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"])
def test_a_body_that_never_ends_is_cut_at_the_cap(reader: Reader, head: bytes) -> None:
    sent = [0]

    def script(target: str, out: BinaryIO) -> None:
        out.write(head)
        while True:
            sent[0] += out.write(bytes(1 << 16))

    with pytest.raises(BlockTooLarge, match="bytes, got more"):
        reader(script).get(CID)
    assert sent[0] < 16 * MAX_BLOCK_BYTES  # the cap, and what buffers on the way hold


@pytest.mark.parametrize("length", [b"-1", b"ffffffffffff", b"zz", b""])
def test_a_chunk_of_impossible_length_is_refused_within_the_cap(reader: Reader, length: bytes) -> None:
    def script(target: str, out: BinaryIO) -> None:
        out.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + length + b"\r\n")
        while True:
            out.write(bytes(1 << 16))

    with pytest.raises((BlockTooLarge, StoreUnavailable)):
        reader(script).get(CID)


def test_a_drip_of_the_body_is_cut_at_the_deadline(serve: Serve) -> None:
    server = serve(
        lambda _, out: server.drip(out, reply(DATA)[-len(DATA) - 1 :], at_once=reply(DATA)[: -len(DATA) - 1])
    )
    for store in stores(server.url):
        with pytest.raises(StoreUnavailable, match="the whole body did not come: not within"):
            store.get(CID)


def test_a_drip_of_headers_is_cut_at_the_deadline(serve: Serve) -> None:
    server = serve(lambda _, out: server.drip(out, b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000))
    for store in stores(server.url):
        with pytest.raises(ContentError, match="not within"):
            store.get(CID)


def test_a_drip_of_interim_replies_is_cut_at_the_deadline(serve: Serve) -> None:
    server = serve(lambda _, out: server.drip(out, b"HTTP/1.1 100 Continue\r\n\r\n" * 1000))
    for store in stores(server.url):
        with pytest.raises(ContentError, match="not within"):
            store.get(CID)


def test_a_gateway_that_says_nothing_has_not_found_the_block(serve: Serve) -> None:
    server = serve(lambda _, out: server.hang())
    with pytest.raises(BlockNotFound, match=f"not within {QUICK}"):
        GatewayStore(server.url, block_timeout=QUICK).get(CID)


def test_a_node_that_says_nothing_is_unavailable(serve: Serve) -> None:
    server = serve(lambda _, out: server.hang())
    with pytest.raises(StoreUnavailable, match="not within"):
        KuboStore(server.url, block_timeout=QUICK).get(CID)


def test_a_server_that_hangs_up_without_a_word_is_unavailable(reader: Reader) -> None:
    with pytest.raises(StoreUnavailable, match="hung up"):
        reader(lambda _, out: hang_up(out)).get(CID)


def test_a_server_that_speaks_something_else_is_unavailable(reader: Reader) -> None:
    def script(target: str, out: BinaryIO) -> None:
        out.write(b"220 mail.example ESMTP\r\n")
        hang_up(out)

    with pytest.raises(StoreUnavailable):
        reader(script).get(CID)


def test_a_server_that_is_down_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    for store in stores(url):
        with pytest.raises(StoreUnavailable, match="refused"):
            store.get(CID)
        with pytest.raises(StoreUnavailable, match="refused"):
            store.has(CID)


@pytest.mark.parametrize(
    "status", ["500 Internal Server Error", "429 Too Many Requests", "403 Forbidden", "206 Partial"]
)
def test_another_status_is_named(reader: Reader, status: str) -> None:
    with pytest.raises(StoreUnavailable, match=status[:3]):
        reader(saying(reply(b"no", status=status))).get(CID)


@pytest.mark.parametrize("status", ["404 Not Found", "410 Gone", "504 Gateway Timeout"])
def test_a_gateway_that_does_not_have_a_block_raises_block_not_found(serve: Serve, status: str) -> None:
    server = serve(saying(reply(b"", status=status)))
    with pytest.raises(BlockNotFound, match=status[:3]):
        GatewayStore(server.url).get(CID)
    assert not GatewayStore(server.url).has(CID)


def test_a_redirect_is_named_and_not_followed(reader: Reader, serve: Serve) -> None:
    elsewhere = serve(saying(reply(DATA)))
    status = "302 Found"

    def script(target: str, out: BinaryIO) -> None:
        out.write(reply(b"", status=status, headers=f"Location: {elsewhere.url}{target}\r\n"))

    with pytest.raises(StoreUnavailable, match=r"redirects|302") as caught:
        reader(script).get(CID)
    assert elsewhere.asked == []
    if "gateway" in str(caught.value):
        assert elsewhere.url in str(caught.value)


def test_headers_without_end_are_refused(reader: Reader) -> None:
    def script(target: str, out: BinaryIO) -> None:
        out.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            out.write(b"X-More: " + b"x" * 1000 + b"\r\n")

    with pytest.raises(StoreUnavailable):
        reader(script).get(CID)


@pytest.mark.parametrize("kind", [GatewayStore, KuboStore])
def test_ctrl_c_while_a_server_hangs_ends_at_once(serve: Serve, kind: type[GatewayStore | KuboStore]) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    server = serve(lambda _, out: server.hang())
    store = kind(server.url, block_timeout=600)
    if isinstance(store, KuboStore):
        store = KuboStore(server.url, gateway=server.url, block_timeout=600)
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, QUICK)
    try:
        with pytest.raises(KeyboardInterrupt):
            list(store.get_many([block(bytes([number]))[0] for number in range(8)]))
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_closed_idle_connection_is_opened_again(serve: Serve) -> None:
    def script(target: str, out: BinaryIO) -> None:
        out.write(reply(DATA))
        hang_up(out)  # though the reply said nothing of it

    server = serve(script)
    store = GatewayStore(server.url, block_timeout=QUICK)
    for _ in range(3):
        assert store.get(CID) == DATA
        time.sleep(0.05)
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    "url", ["", "ftp://host", "http://", "gateway.example", "http://h/?q=1", "https://me:secret@h"]
)
def test_a_url_that_names_no_server_is_refused_without_showing_a_password(url: str) -> None:
    with pytest.raises(InputError) as caught:
        Endpoint(url)
    assert "secret" not in str(caught.value)


def test_a_deadline_that_has_passed_is_told_before_anything_is_sent(serve: Serve) -> None:
    server = serve(saying(reply(DATA)))
    with pytest.raises(StoreUnavailable, match="not within"):
        Endpoint(server.url).ask("/", Deadline(0))
    assert server.asked == []


# A whole blob, as a CAR ----------------------------------------------------------------------------------------------

SOURCE = MemoryStore()
BYTES = os.urandom(5 << 20) + bytes(3 << 20)
BLOB: Blob = add_blob(SOURCE, [BYTES])
BLOCKS: list[tuple[Cid, bytes]] = list(walk_blob(SOURCE, BLOB))
CAR = b"".join(write_car(BLOB.cid, BLOCKS))
HEADER = 59
"""Bytes of a CAR before its first section."""


def raw(target: str) -> bytes:
    names = {str(cid): data for cid, data in BLOCKS}
    return reply(names[target.split("?")[0].removeprefix("/ipfs/")])


def gateway_with(car: bytes) -> Script:
    """Return the script of a gateway that has the blob, and answers with this when it is asked for a CAR."""

    def script(target: str, out: BinaryIO) -> None:
        if "format=car" not in target:
            out.write(raw(target))
            return
        out.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.ipld.car\r\n\r\n" + car)
        hang_up(out)

    return script


def singles(server: Server) -> int:
    return sum("format=raw" in target for target in server.asked)


def test_a_blob_comes_as_one_car(serve: Serve) -> None:
    server = serve(gateway_with(CAR))
    assert b"".join(open_blob(GatewayStore(server.url), BLOB)) == BYTES
    assert singles(server) == 1  # its root, which tells what to expect


@pytest.mark.parametrize("cut", [0, 10, HEADER, 5000, len(CAR) // 2, len(CAR) - 1])
def test_a_car_that_breaks_off_is_continued_block_by_block(serve: Serve, cut: int) -> None:
    server = serve(gateway_with(CAR[:cut]))
    assert b"".join(open_blob(GatewayStore(server.url), BLOB)) == BYTES
    came = sum(cut >= end for end in section_ends()[1:])
    assert singles(server) == len(BLOCKS) - came


def test_a_car_with_repeated_blocks_left_out_is_continued_block_by_block(serve: Serve) -> None:
    server = serve(gateway_with(b"".join(write_car(BLOB.cid, dict(BLOCKS).items()))))
    assert b"".join(open_blob(GatewayStore(server.url), BLOB)) == BYTES


def test_a_car_in_another_order_is_continued_block_by_block(serve: Serve) -> None:
    server = serve(gateway_with(b"".join(write_car(BLOB.cid, BLOCKS[:1] + BLOCKS[:0:-1]))))
    assert b"".join(open_blob(GatewayStore(server.url), BLOB)) == BYTES


def test_a_car_of_something_else_is_not_taken(serve: Serve) -> None:
    other = block(b"something else")
    server = serve(gateway_with(b"".join(write_car(other[0], [other]))))
    assert b"".join(open_blob(GatewayStore(server.url), BLOB)) == BYTES


def test_a_gateway_without_cars_serves_block_by_block(serve: Serve) -> None:
    def script(target: str, out: BinaryIO) -> None:
        out.write(reply(b"", status="501 Not Implemented") if "format=car" in target else raw(target))

    assert b"".join(open_blob(GatewayStore(serve(script).url), BLOB)) == BYTES


def test_a_lie_inside_a_car_raises_block_mismatch_where_it_stands(serve: Serve) -> None:
    lie = [(cid, data if place != 3 else bytes(len(data))) for place, (cid, data) in enumerate(BLOCKS)]
    found = open_blob(GatewayStore(serve(gateway_with(b"".join(write_car(BLOB.cid, lie)))).url), BLOB)
    assert [next(found), next(found)] == [data for _, data in BLOCKS[1:3]]
    with pytest.raises(BlockMismatch, match=str(BLOCKS[3][0])):
        next(found)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(b"\x01\x55\x00\x04abcd", id="identity"),
        pytest.param(b"\x12\x20" + bytes(32), id="version 0"),
        pytest.param(b"\x01\x55\x1b\x20" + bytes(32), id="keccak-256"),
    ],
)
def test_a_foreign_cid_inside_a_car_is_not_taken(serve: Serve, name: bytes) -> None:
    head = CAR[: section_ends()[0]]
    section = name + b"x" * 100
    server = serve(gateway_with(head + bytes([len(section) & 0x7F | 0x80, len(section) >> 7]) + section))
    assert b"".join(open_blob(GatewayStore(server.url), BLOB)) == BYTES


def test_a_car_that_declares_a_huge_block_is_not_taken(serve: Serve) -> None:
    server = serve(gateway_with(CAR[:HEADER] + b"\xff\xff\xff\x7f" + bytes(1000)))
    assert b"".join(open_blob(GatewayStore(server.url), BLOB)) == BYTES


def test_a_car_that_never_ends_is_read_no_further_than_needed(serve: Serve) -> None:
    def script(target: str, out: BinaryIO) -> None:
        if "format=car" not in target:
            out.write(raw(target))
            return
        out.write(b"HTTP/1.1 200 OK\r\n\r\n" + CAR)
        while True:
            out.write(CAR[HEADER:])

    assert b"".join(open_blob(GatewayStore(serve(script).url), BLOB)) == BYTES


def test_a_car_that_drips_is_continued_block_by_block(serve: Serve) -> None:
    def script(target: str, out: BinaryIO) -> None:
        if "format=car" not in target:
            out.write(raw(target))
            return
        out.write(b"HTTP/1.1 200 OK\r\n\r\n" + CAR[: section_ends()[1]])
        server.drip(out, CAR[section_ends()[1] :])

    server = serve(script)
    assert b"".join(open_blob(GatewayStore(server.url, block_timeout=QUICK), BLOB)) == BYTES


def test_each_block_of_a_car_has_its_own_time(serve: Serve) -> None:
    """A stream as a whole may take longer than one block may, and so may whoever takes the blocks."""

    def script(target: str, out: BinaryIO) -> None:
        if "format=car" not in target:
            out.write(raw(target))
            return
        out.write(b"HTTP/1.1 200 OK\r\n\r\n" + CAR[:HEADER])
        for start, end in pairwise([HEADER, *section_ends()]):
            time.sleep(QUICK / 4)
            out.write(CAR[start:end])
        hang_up(out)

    server = serve(script)
    found = b""
    for piece in open_blob(GatewayStore(server.url, block_timeout=QUICK), BLOB):
        found += piece
        time.sleep(QUICK / 4)
    assert found == BYTES
    assert singles(server) == 1


def section_ends() -> list[int]:
    """Return where, in CAR, the root's section ends and then each leaf's."""
    ends = list(accumulate(len(encode_varint(36 + len(data))) + 36 + len(data) for _, data in BLOCKS))
    return [HEADER + end for end in ends]


def test_the_blob_of_these_tests_has_equal_leaves() -> None:
    assert len({cid for cid, _ in BLOCKS}) < len(BLOCKS)
    assert BLOB.cid.codec is Codec.DAG_PB


def test_a_node_that_does_not_confirm_what_it_was_sent_is_not_believed(serve: Serve) -> None:
    def script(path: str, file: BinaryIO) -> None:
        if "dag/import" not in path:
            file.write(reply(b'{"Version": "0.42.0"}'))
            return
        while size := int(file.readline(), 16):
            left = size + 2
            while left:
                left -= len(file.read(left))
        file.readline()
        file.write(reply(b'{"Stats": {"BlockCount": 1, "BlockBytesCount": 1}}'))

    store = KuboStore(serve(script).url, block_timeout=QUICK)
    store.put(CID, DATA)
    with pytest.raises(StoreUnavailable, match="expected 2 blocks kept, got 1"):
        store.put_many([(CID, DATA), block(b"another")])
