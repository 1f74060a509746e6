"""Node failures: a node that is down, hangs, drips, refuses or answers nonsense gives one prompt error."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from registry.chain.client import Client, chain_id_of, open_journal
from registry.chain.deploy import deploy
from registry.chain.journal import IntentState, Journal
from registry.chain.transactions import Sending, Transactor
from registry.dev.chains import free_port
from registry.dev.embedded import Embedded, embedded, warp
from registry.errors import ChainError, InputError, NodeUnavailable, SignerError, WrongChain
from registry.ethereum.networks import EMBEDDED_CHAIN_ID, parse_finality
from registry.ethereum.node import (
    MAX_RECURSION,
    NodeRefused,
    asking,
    bound_answers,
    chain_time,
    connect,
    named,
    quantity,
)
from registry.types import Address, Digest, Root

Answer = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]
CAIRN = Address(b"\x44" * 20)


@contextmanager
def fake_node(answer: Answer) -> Iterator[str]:
    """An HTTP server that answers as told."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer(self, json.loads(body))

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def say(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def hang(handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
    time.sleep(3)


def drip(handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    try:
        for _ in range(60):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.1)
    except OSError:
        return


def reply(body: bytes, status: int = 200) -> Answer:
    return lambda handler, request: say(handler, body, status)


BAD = {
    "an internal server error": reply(b"oops", 500),
    "too many requests": reply(b"slow down", 429),
    "a web page": reply(b"<html>not a node</html>"),
    "bytes": reply(bytes(range(256))),
    "nothing": reply(b""),
    "a list": reply(b"[]"),
    "an object without result": reply(b'{"jsonrpc": "2.0", "id": 0}'),
    "a word for a number": reply(b'{"jsonrpc": "2.0", "id": 0, "result": "zzz"}'),
    "null": reply(b'{"jsonrpc": "2.0", "id": 0, "result": null}'),
    "a deep list": reply(b"[" * 100_000),
    "an RPC error": reply(b'{"jsonrpc": "2.0", "id": 0, "error": {"code": -32000, "message": "no"}}'),
    "an RPC error that is a word": reply(b'{"jsonrpc": "2.0", "id": 0, "error": "no"}'),
    "no end of bytes": drip,
    "no answer": hang,
}


@pytest.mark.parametrize("value", [None, True, "0x7", 7.0, b"\x07", [7]])
def test_what_is_no_number_is_not_taken_for_one(value: object) -> None:
    with pytest.raises(NodeUnavailable, match="expected a number for chainId from the node"):
        quantity(value, "chainId")


@pytest.mark.parametrize("answer", BAD.values(), ids=BAD.keys())
def test_a_node_that_gives_this_is_unavailable_within_its_time(answer: Answer) -> None:
    with fake_node(answer) as url:
        w3 = connect(url, timeout=0.5)
        began = time.monotonic()
        with pytest.raises(NodeUnavailable):
            Client(w3, CAIRN)
        assert time.monotonic() - began < 2.5


def test_a_node_that_is_down_is_unavailable_at_once() -> None:
    w3 = connect(f"http://127.0.0.1:{free_port()}", timeout=5)
    began = time.monotonic()
    with pytest.raises(NodeUnavailable, match="cannot be reached"):
        Client(w3, CAIRN)
    assert time.monotonic() - began < 2


def in_turn(*answers: Answer) -> Answer:
    """One answer after the other, then the last for ever."""
    left = list(answers)

    def answer(handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(handler, request)

    return answer


def said(number: int, *, id_off: int = 0) -> Answer:
    """A number, under the request's id or one beside it."""

    def answer(handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        body = {"jsonrpc": "2.0", "id": request["id"] + id_off, "result": hex(number)}
        say(handler, json.dumps(body).encode())

    return answer


def cut(handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    handler.wfile.write(b'{"jsonrpc": "2.0", ')


PASSES = {"too many requests": reply(b"", 429), "bad gateway": reply(b"", 502), "cut off": cut, "nothing": reply(b"")}


@pytest.mark.parametrize("answer", PASSES.values(), ids=PASSES.keys())
def test_what_a_node_cannot_say_now_is_asked_again(answer: Answer) -> None:
    with fake_node(in_turn(answer, answer, said(7))) as url:
        assert chain_id_of(connect(url)) == 7


@pytest.mark.parametrize("status", [400, 401, 404])
def test_what_a_node_will_not_say_is_asked_once(status: int) -> None:
    with (
        fake_node(in_turn(reply(b"", status), said(7))) as url,
        pytest.raises(NodeUnavailable, match=f"status {status}"),
    ):
        chain_id_of(connect(url))


def test_an_answer_to_another_request_is_not_believed() -> None:
    with fake_node(said(7, id_off=1)) as url, pytest.raises(NodeUnavailable, match="expected the answer to request"):
        chain_id_of(connect(url))
    with fake_node(in_turn(said(8, id_off=-1), said(7))) as url:
        assert chain_id_of(connect(url)) == 7


def test_an_answer_that_is_cut_off_each_time_is_none() -> None:
    with fake_node(cut) as url, pytest.raises(NodeUnavailable, match="cannot be reached"):
        chain_id_of(connect(url))


def test_an_answer_that_is_longer_than_wanted_is_cut_off_and_not_asked_for_again() -> None:
    asked = 0

    def long(handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        nonlocal asked
        asked += 1
        say(handler, json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": "0x" + "0" * 1000 + "7"}).encode())

    with fake_node(long) as url:
        w3 = connect(url)
        with bound_answers(1000):
            for _ in range(2):
                with pytest.raises(NodeUnavailable, match=r"expected an answer of at most 1000 bytes .* got more"):
                    chain_id_of(w3)
        assert asked == 2
        assert chain_id_of(w3) == 7


def test_a_test_chain_is_not_moved_twice() -> None:
    with fake_node(in_turn(cut, said(7))) as url:
        w3 = connect(url)
        with pytest.raises(NodeUnavailable), asking("evm_mine"):
            w3.manager.request_blocking("evm_mine", [])  # type: ignore[arg-type]


def test_a_head_that_goes_back_is_not_believed(clients: tuple[Client, ...]) -> None:
    reader = Client(clients[0].w3, clients[0].address)
    seen = reader.final_block()
    warp(reader.w3, seconds=5)
    clients[0].register_model(Digest(b"\1" * 32), Root(b"\2" * 32), Root(b"\2" * 32))
    assert reader.final_block() > seen
    behind = Client(reader.w3, reader.address, finality=parse_finality("3"))
    reader.finality = behind.finality  # a node three blocks behind
    with pytest.raises(NodeUnavailable, match="a node that is behind"):
        reader.final_block()
    assert behind.final_block() >= 0


def answering(chain: Embedded, edit: Callable[[str, Any], Any]) -> None:
    """Put edits between a chain and whoever asks it: edit(method, answer) -> answer."""
    provider = chain.w3.provider
    real = provider.make_request
    provider.make_request = lambda method, params: edit(method, real(method, params))  # type: ignore[method-assign]
    provider._request_func_cache = (None, None)  # type: ignore[assignment]


def test_nothing_is_signed_for_a_node_that_came_to_another_chain(tmp_path: Path) -> None:
    chain = embedded(1)
    maker = Transactor(chain.w3, chain.signers[0], Journal(None), chain_id=EMBEDDED_CHAIN_ID)
    address = deploy(chain.w3, maker, chain_id=EMBEDDED_CHAIN_ID).address
    journal = Journal(tmp_path / "journal.sqlite")
    client = Client(chain.w3, address, signer=chain.signers[0], journal=journal)
    answering(chain, lambda method, answer: {**answer, "result": "0x1"} if method == "eth_chainId" else answer)
    with pytest.raises(WrongChain, match=f"expected chain {EMBEDDED_CHAIN_ID}, got chain 1"):
        client.register_model(Digest(b"\1" * 32), Root(b"\2" * 32), Root(b"\2" * 32))
    assert [(intent.state, intent.attempts) for intent in journal.all()] == [(IntentState.PLANNED, ())]


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_receipt_that_is_not_shown_at_once_is_not_a_lost_transaction(tmp_path: Path, times: int) -> None:
    chain = embedded(1)
    maker = Transactor(chain.w3, chain.signers[0], Journal(None), chain_id=EMBEDDED_CHAIN_ID)
    address = deploy(chain.w3, maker, chain_id=EMBEDDED_CHAIN_ID).address
    journal, left = Journal(tmp_path / "journal.sqlite"), [times]
    client = Client(chain.w3, address, signer=chain.signers[0], journal=journal, sending=Sending(poll=0.0))

    def edit(method: str, answer: Any) -> Any:
        if method == "eth_getTransactionReceipt" and left[0]:
            left[0] -= 1
            return {**answer, "result": None}
        return answer

    answering(chain, edit)
    client.register_model(Digest(b"\1" * 32), Root(b"\2" * 32), Root(b"\2" * 32))
    (intent,) = journal.all()
    assert (left, intent.state, len(intent.attempts)) == ([0], IntentState.FINAL, 1)


def test_a_nonce_of_a_node_that_is_behind_is_asked_for_again(tmp_path: Path) -> None:
    chain = embedded(1)
    maker = Transactor(chain.w3, chain.signers[0], Journal(None), chain_id=EMBEDDED_CHAIN_ID)
    address = deploy(chain.w3, maker, chain_id=EMBEDDED_CHAIN_ID).address
    journal = Journal(tmp_path / "journal.sqlite")
    client = Client(chain.w3, address, signer=chain.signers[0], journal=journal, sending=Sending(poll=0.0))
    client.register_model(Digest(b"\1" * 32), Root(b"\2" * 32), Root(b"\2" * 32))
    behind = [3]

    def edit(method: str, answer: Any) -> Any:
        if method == "eth_getTransactionCount" and behind[0]:
            behind[0] -= 1
            return {**answer, "result": answer["result"] - 1}
        return answer

    answering(chain, edit)
    client.register_model(Digest(b"\3" * 32), Root(b"\2" * 32), Root(b"\2" * 32))
    first, second = journal.all()
    assert first.nonce is not None
    assert (second.nonce, len(second.attempts), behind) == (first.nonce + 1, 1, [0])


def test_gas_that_a_node_found_enough_and_was_not_is_the_node_s_matter(tmp_path: Path) -> None:
    chain = embedded(1)
    maker = Transactor(chain.w3, chain.signers[0], Journal(None), chain_id=EMBEDDED_CHAIN_ID)
    address = deploy(chain.w3, maker, chain_id=EMBEDDED_CHAIN_ID).address
    client = Client(chain.w3, address, signer=chain.signers[0], journal=tmp_path, sending=Sending(poll=0.0))
    low = [True]
    answering(chain, lambda method, answer: {**answer, "result": 25_000} if low[0] and "Gas" in method else answer)
    with pytest.raises(NodeUnavailable, match="ran out of the 31250 gas"):
        client.register_model(Digest(b"\1" * 32), Root(b"\2" * 32), Root(b"\2" * 32))
    low[0] = False
    client.register_model(Digest(b"\1" * 32), Root(b"\2" * 32), Root(b"\2" * 32))
    assert client.model(client.model_id(client.account, Digest(b"\1" * 32))).head == Digest(b"\1" * 32)


def test_errors_do_not_show_what_may_be_secret_in_a_url(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(NodeUnavailable) as caught:
        chain_id_of(connect(f"http://user:secret@127.0.0.1:{free_port()}/v3/apikey", timeout=1))
    assert "secret" not in str(caught.value) + caplog.text
    assert "apikey" not in str(caught.value)
    assert named("https://user:secret@example.org:8545/v3/apikey?x=1") == "https://example.org:8545"


@pytest.mark.parametrize("url", ["ws://127.0.0.1:1", "ftp://x", "localhost:8545", ""])
def test_other_kinds_of_url_are_refused(url: str) -> None:
    with pytest.raises(InputError, match=r"expected an http\(s\) URL"):
        connect(url)


def test_the_wrong_chain_id_names_both(chain: Embedded) -> None:
    with pytest.raises(WrongChain, match=f"expected chain 1, got chain {EMBEDDED_CHAIN_ID}"):
        Client(chain.w3, CAIRN, chain_id=1)


def test_no_contract_at_the_address_is_the_wrong_chain(chain: Embedded) -> None:
    with pytest.raises(WrongChain, match="got no contract there"):
        Client(chain.w3, CAIRN)


def put(chain: Embedded, runtime: str) -> Address:
    """A contract of that runtime code (at most 32 bytes)."""
    code = bytes.fromhex(runtime)
    creation = b"\x7f" + code.ljust(32, b"\0") + b"\x5f\x52\x60" + bytes([len(code)]) + b"\x5f\xf3"
    tx = chain.w3.eth.send_transaction({"from": chain.w3.eth.accounts[0], "data": creation, "gas": 200_000})
    address = chain.w3.eth.wait_for_transaction_receipt(tx)["contractAddress"]
    assert address is not None
    return Address(bytes.fromhex(address[2:]))


def test_a_contract_that_answers_otherwise_is_the_wrong_chain(chain: Embedded) -> None:
    zeros = put(chain, "60205ff3")  # returns 32 bytes of memory nobody wrote
    with pytest.raises(WrongChain, match="answers otherwise"):
        Client(chain.w3, zeros)


def test_a_contract_that_answers_nothing_is_the_wrong_chain(chain: Embedded) -> None:
    with pytest.raises(WrongChain, match="got 0 bytes"):
        Client(chain.w3, put(chain, "00"))


def test_a_client_without_a_signer_reads_and_says_so_when_asked_to_send(clients: tuple[Client, ...]) -> None:
    reader = Client(clients[0].w3, clients[0].address)
    with pytest.raises(SignerError, match="only reads"):
        reader.register_model(Digest(b"\1" * 32), Root(b"\2" * 32), Root(b"\2" * 32))


def test_a_node_that_goes_away_while_waiting_is_borne_and_then_reported(tmp_path: Path) -> None:
    chain = embedded(1)
    maker = Transactor(chain.w3, chain.signers[0], Journal(None), chain_id=EMBEDDED_CHAIN_ID)
    address = deploy(chain.w3, maker, chain_id=EMBEDDED_CHAIN_ID).address
    journal = Journal(tmp_path / "journal.sqlite")
    client = Client(
        chain.w3, address, signer=chain.signers[0], journal=journal, sending=Sending(patience=0.2, poll=0.02)
    )
    provider, down = chain.w3.provider, threading.Event()
    real = provider.make_request

    def flaky(method: Any, params: Any) -> Any:
        if down.is_set():
            raise ConnectionError("gone")
        if method == "eth_sendRawTransaction":
            down.set()
        return real(method, params)

    provider.make_request = flaky  # type: ignore[method-assign]
    provider._request_func_cache = (None, None)  # type: ignore[assignment]
    with pytest.raises(NodeUnavailable):
        client.register_model(Digest(b"\1" * 32), Root(b"\2" * 32), Root(b"\2" * 32))
    (intent,) = journal.live()
    assert intent.state is IntentState.SENT
    down.clear()
    assert (
        client.register_model(Digest(b"\1" * 32), Root(b"\2" * 32), Root(b"\2" * 32)).tx_hash
        == intent.attempts[0].tx_hash
    )


def test_a_node_that_refuses_keeps_its_words() -> None:
    body = b'{"jsonrpc": "2.0", "id": 0, "error": {"code": -32000, "message": "quota used up"}}'
    with fake_node(reply(body)) as url, pytest.raises(NodeRefused) as caught:
        chain_id_of(connect(url))
    assert (caught.value.code, caught.value.said) == (-32000, "quota used up")


def test_a_journal_is_asked_for_wherever_the_chain_outlives_the_process(chain: Embedded) -> None:
    with pytest.raises(InputError, match="journal"):
        open_journal(chain.w3, 1, CAIRN, None)
    assert open_journal(chain.w3, EMBEDDED_CHAIN_ID, CAIRN, None).all() == ()


def test_deeply_nested_json_is_an_error_and_not_the_end_of_the_process(chain: Embedded) -> None:
    chain_time(chain.w3)
    assert sys.getrecursionlimit() <= MAX_RECURSION
    with pytest.raises(RecursionError):
        json.loads("[" * 300_000)


def test_a_clock_that_does_not_move_is_an_error() -> None:
    def answer(handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        known: dict[str, Any] = {"eth_chainId": "0x1", "eth_getBlockByNumber": {"timestamp": "0x10", "number": "0x1"}}
        body: dict[str, Any] = {"jsonrpc": "2.0", "id": request["id"]}
        if request["method"] in known:
            body["result"] = known[request["method"]]
        else:
            body["error"] = {"code": -32601, "message": "no such method"}
        say(handler, json.dumps(body).encode())

    with fake_node(answer) as url:
        w3 = connect(url)
        assert chain_time(w3) == 16
        with pytest.raises(ChainError, match="clock cannot be moved"):
            warp(w3, seconds=5)


@pytest.mark.parametrize("text", ["", "soon", "-1", "1.5", "1e3", "9999999", "finalised"])
def test_a_finality_policy_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="finality"):
        parse_finality(text)
