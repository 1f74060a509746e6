"""Nodes and RPC providers as they are: what each is known to answer, served by a proxy before a real node."""

from __future__ import annotations

import ast
import http.client
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import pytest

from registry.chain.deploy import deploy
from registry.chain.event_logs import LogSpan, read_events
from registry.chain.journal import IntentState, Journal
from registry.chain.sending import Call
from registry.chain.transactions import Sending, Transactor
from registry.dev.chains import DevChain, anvil_chain, free_port
from registry.errors import NodeUnavailable, TransactionFailed
from registry.ethereum.blocks import fetch_headers, fetch_receipts
from registry.ethereum.fees import TRANSACTION_GAS, block_gas, gas_limit
from registry.ethereum.node import NodeBusy, NodeRefused, asking, chain_time, connect, latest_block
from registry.ethereum.node_answers import ANSWERS, KnownAnswer, Meaning, meaning_of
from registry.index.log_source import LogSource
from registry.types import Address

ROOT = Path(__file__).resolve().parents[2]
CHAIN_ID = 31337
Request = dict[str, Any]
Spoil = Callable[["Proxy", Request], "dict[str, Any] | int | tuple[int, dict[str, str]] | None"]


class Proxy:
    """A node in front of a real one. `spoil` gets each request: an error object, an HTTP status, or None to pass it.

    Attributes:
        url: Where it listens.
        asked: Requests by method; `batch` counts batches.
    """

    def __init__(self, upstream: str, spoil: Spoil, *, batches: object = True) -> None:
        self.upstream, self.spoil, self.batches = upstream.removeprefix("http://"), spoil, batches
        self.asked: Counter[str] = Counter()
        self.lock = Lock()
        self.url = ""

    def answer(self, request: Request) -> Any:
        with self.lock:
            self.asked[request["method"]] += 1
            spoilt = self.spoil(self, request)
        if isinstance(spoilt, int | tuple):
            return spoilt
        if spoilt is not None:
            return {"jsonrpc": "2.0", "id": request["id"], **spoilt}
        return self.pass_on(request)

    def pass_on(self, request: Request) -> Any:
        connection = http.client.HTTPConnection(self.upstream, timeout=30)
        try:
            connection.request("POST", "/", json.dumps(request), {"Content-Type": "application/json"})
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


@contextmanager
def before(chain: DevChain, spoil: Spoil, *, batches: object = True) -> Iterator[Proxy]:
    """Run a proxy. `batches`: whether it takes them; else an HTTP status or an error object that it answers with."""
    proxy = Proxy(str(chain.url), spoil, batches=batches)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if isinstance(request, dict):
                self.say(proxy.answer(request))
                return
            proxy.asked["batch"] += 1
            if proxy.batches is True:
                self.say([proxy.answer(one) for one in request])
            elif isinstance(proxy.batches, int):
                self.say(proxy.batches)
            else:
                self.say({"jsonrpc": "2.0", "id": None, "error": proxy.batches})

        def say(self, body: Any) -> None:
            status, headers = (body, {}) if isinstance(body, int) else body if isinstance(body, tuple) else (200, {})
            data = b"not now" if status != 200 else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def node(find_tool: Callable[[str], Path]) -> Iterator[DevChain]:
    with anvil_chain(find_tool("anvil"), "--gas-limit", "30000000") as running:
        running.w3.provider.make_request("anvil_mine", ["0x20"])  # type: ignore[arg-type]
        yield running


def times(most: int, spoilt: Any, *methods: str) -> Spoil:
    """Spoil the first so many requests of these methods, or of all."""
    return lambda proxy, request: (
        spoilt if request["method"] in (methods or proxy.asked) and proxy.asked[request["method"]] <= most else None
    )


def error(code: int, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


pytestmark = [pytest.mark.node, pytest.mark.real_time]

# The table ------------------------------------------------------------------------------------------------------------

SAID = [
    (-32005, "query returned more than 10000 results. Try with this block range [0x1, 0x2].", Meaning.LOG_CAP),
    (-32005, "project ID request rate exceeded", Meaning.BUSY),
    (-32005, "daily request count exceeded, request rate limited", Meaning.BUSY),
    (-32007, "50/second request limit reached - reduce calls per second", Meaning.BUSY),
    (-32016, "over rate limit", Meaning.BUSY),
    (429, "Your app has exceeded its compute units per second capacity", Meaning.BUSY),
    (-32000, "Too Many Requests", Meaning.BUSY),
    (-32602, "Log response size exceeded. You can make eth_getLogs requests with up to a 2K range", Meaning.LOG_CAP),
    (-32614, "eth_getLogs is limited to a 10,000 range", Meaning.LOG_CAP),
    (-32701, "exceed maximum block range: 50000", Meaning.LOG_CAP),
    (35, "ranges over 10000 blocks are not supported on freetier", Meaning.LOG_CAP),
    (-32000, "header not found", Meaning.NOT_YET),
    (-32000, "transaction indexing is in progress", Meaning.NOT_YET),
    (-32000, "pending block is not available", Meaning.NO_PENDING),
    (-32600, "batch too large", Meaning.NO_BATCH),
    (-32000, "missing trie node 0c77 (path ) state 0x0c77 is not available", Meaning.PRUNED),
    (4444, "pruned history unavailable", Meaning.PRUNED),
    (-32000, "nonce too low", None),
    (-32000, "insufficient funds for gas * price + value", None),
    (3, "execution reverted: rate limit", None),
    (-32000, "execution reverted: too many requests", None),
]


@pytest.mark.parametrize(("code", "said", "meaning"), SAID)
def test_a_known_provider_s_answer_is_understood(code: int, said: str, meaning: Meaning | None) -> None:
    assert meaning_of(code, said) is meaning


@pytest.mark.parametrize("entry", ANSWERS, ids=lambda entry: f"{entry.source} {entry.code} {entry.phrase}")
def test_no_entry_of_the_table_hides_behind_another_meaning(entry: KnownAnswer) -> None:
    assert meaning_of(entry.code or 0, f"x {entry.phrase} y") is entry.meaning
    assert entry.phrase == entry.phrase.lower()
    assert entry.phrase or entry.code is not None


# Not now --------------------------------------------------------------------------------------------------------------

PASSING: dict[str, Any] = {
    "rate limit -32005": error(-32005, "project ID request rate exceeded"),
    "rate limit -32007": error(-32007, "50/second request limit reached"),
    "rate limit in words": error(-32000, "Too many requests, please slow down"),
    "header not found": error(-32000, "header not found"),
    "indexing": error(-32000, "transaction indexing is in progress"),
    "429": 429,
    "503": 503,
    "429 with Retry-After": (429, {"Retry-After": "1"}),
    "429 with a date": (429, {"Retry-After": formatdate(time.time() - 5, usegmt=True)}),
}


@pytest.mark.parametrize("spoilt", PASSING.values(), ids=PASSING.keys())
def test_what_passes_is_asked_again(node: DevChain, spoilt: Any) -> None:
    with before(node, times(2, spoilt)) as proxy:
        assert latest_block(connect(proxy.url)) >= 32
        assert proxy.asked["eth_blockNumber"] == 3


def test_retry_after_is_waited_for_and_not_longer(node: DevChain) -> None:
    with before(node, times(1, (429, {"Retry-After": "1"}))) as proxy:
        began = time.monotonic()
        latest_block(connect(proxy.url))
        assert 1 <= time.monotonic() - began < 3
    with before(node, times(9, (429, {"Retry-After": "3600"}))) as proxy:
        began = time.monotonic()
        with pytest.raises(NodeBusy, match=rf"the node {proxy.url} answered with HTTP status 429: it limits how often"):
            latest_block(connect(proxy.url))
        assert time.monotonic() - began < 2
        assert proxy.asked["eth_blockNumber"] == 1


def limited(rate: float, spoilt: Any) -> Spoil:
    """At most so many requests a second."""
    took: list[float] = []

    def spoil(proxy: Proxy, request: Request) -> Any:
        now = time.monotonic()
        took[:] = [at for at in took if at > now - 1]
        if len(took) >= rate:
            return spoilt
        took.append(now)
        return None

    return spoil


@pytest.mark.parametrize("spoilt", [429, (429, {"Retry-After": "1"}), error(-32005, "request rate exceeded")])
def test_five_requests_a_second_are_enough(node: DevChain, spoilt: Any) -> None:
    with before(node, limited(5, spoilt)) as proxy:
        w3 = connect(proxy.url)
        assert [latest_block(w3) >= 32 for _ in range(12)] == [True] * 12


def test_a_limit_that_stays_ends_with_the_budget_and_its_reason_is_told(
    node: DevChain, caplog: pytest.LogCaptureFixture
) -> None:
    with before(node, times(10**6, error(-32007, "50/second request limit reached"))) as proxy:
        began = time.monotonic()
        with pytest.raises(NodeBusy, match=r"it limits how often it is asked .50/second request limit reached"):
            latest_block(connect(proxy.url, budget=2.5))
        assert 1 < time.monotonic() - began < 3.5
        (told,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert told.startswith(f"node {proxy.url}: it limits how often it is asked (50/second request limit reached); ")


def test_a_limit_inside_a_batch_is_asked_again_alone(node: DevChain) -> None:
    with before(node, lambda p, r: error(429, "capacity") if p.asked[r["method"]] in (2, 4) else None) as proxy:
        headers = fetch_headers(connect(proxy.url), range(1, 7))
        assert [header.number for header in headers] == [1, 2, 3, 4, 5, 6]
        assert (proxy.asked["batch"], proxy.asked["eth_getBlockByNumber"]) == (1, 8)


def test_a_limited_node_does_not_give_up_a_signed_transaction(node: DevChain) -> None:
    spoil = times(10**6, error(-32005, "request rate exceeded"), "eth_sendRawTransaction")
    with before(node, spoil) as proxy:
        journal = Journal(None)
        w3 = connect(proxy.url, budget=0.3)
        sender = Transactor(w3, node.signers[1], journal, chain_id=CHAIN_ID, sending=Sending(poll=0.02))
        call = Call(to=Address(b"\x31" * 20), data=b"", key="once")
        intent = sender.submit(call)
        assert intent.state is IntentState.SIGNED
        proxy.spoil = lambda *_: None
        assert sender.wait(call, "mined").tx_hash == intent.attempts[0].tx_hash


# What nodes lack ------------------------------------------------------------------------------------------------------

LACKS_PENDING: dict[str, Any] = {
    "geth's error": error(-32000, "pending block is not available"),
    "invalid params": error(-32602, "invalid argument 0: tag pending is unknown"),
}


@pytest.mark.parametrize("spoilt", [*LACKS_PENDING.values(), {"result": None}], ids=[*LACKS_PENDING, "null"])
def test_without_a_pending_block_the_latest_is_read(node: DevChain, spoilt: Any) -> None:
    def spoil(proxy: Proxy, request: Request) -> Any:
        if "pending" not in request["params"]:
            return None
        return spoilt if "error" in spoilt or request["method"] == "eth_getBlockByNumber" else None

    with before(node, spoil) as proxy:
        w3 = connect(proxy.url)
        assert chain_time(w3) == node.w3.eth.get_block("latest")["timestamp"]
        before_it = proxy.asked["eth_getBlockByNumber"]
        chain_time(w3)
        assert proxy.asked["eth_getBlockByNumber"] == before_it + 1, "it is tried once"
        sender = Transactor(w3, node.signers[2], Journal(None), chain_id=CHAIN_ID, sending=Sending(poll=0.02))
        for number in range(2):
            assert sender.send(Call(to=Address(b"\x31" * 20), data=b"", key=f"{number}"), "mined").gas_used == 21_000


@pytest.mark.parametrize(
    "batches", [400, 405, {"code": -32600, "message": "batch too large"}, {"code": -32601, "message": "no"}]
)
def test_without_batches_requests_go_one_by_one(node: DevChain, batches: object) -> None:
    with before(node, lambda *_: None, batches=batches) as proxy:
        w3 = connect(proxy.url)
        for _ in range(2):
            assert [header.number for header in fetch_headers(w3, range(1, 4))] == [1, 2, 3]
        assert (proxy.asked["batch"], proxy.asked["eth_getBlockByNumber"]) == (1, 6)
        source = LogSource(w3, [Address(b"\x31" * 20)])
        assert source.read(range(1, 9), None).last.number == 8


def log_of(number: int, index: int) -> dict[str, Any]:
    return {
        "address": "0x" + "31" * 20, "topics": ["0x" + "07" * 32], "data": "0x", "blockNumber": hex(number),
        "transactionHash": "0x" + "08" * 32, "transactionIndex": "0x0", "blockHash": "0x" + "09" * 32,
        "logIndex": hex(index), "removed": False,
    }  # fmt: skip


def width_of(request: Request) -> int:
    return int(request["params"][0]["toBlock"], 16) - int(request["params"][0]["fromBlock"], 16) + 1


@pytest.mark.parametrize("cap", [error(-32005, "query returned more than 10000 results"), None], ids=["told", "silent"])
def test_more_logs_than_the_node_serves_are_read_in_parts(node: DevChain, cap: dict[str, Any] | None) -> None:
    widths: list[int] = []

    def spoil(proxy: Proxy, request: Request) -> Any:
        if request["method"] != "eth_getLogs":
            return None
        first, width = int(request["params"][0]["fromBlock"], 16), width_of(request)
        widths.append(width)
        if width > 2:
            return cap or {"result": [log_of(first, index) for index in range(1000)]}
        return {"result": [log_of(first, 0)]}

    with before(node, spoil) as proxy:
        w3 = connect(proxy.url)
        span = LogSpan(blocks=16)
        list(read_events(w3, Address(b"\x31" * 20), from_block=1, to_block=16, span=span))
        assert widths[:4] == [16, 8, 4, 2]
        assert sum(width for width in widths if width <= 2) == 16
        with pytest.raises(NodeRefused, match="eth_getLogs: "):
            LogSource(w3, [Address(b"\x31" * 20)]).read(range(1, 9), None)


def test_a_rate_limit_does_not_narrow_the_range_of_logs(node: DevChain) -> None:
    with before(node, times(2, error(-32005, "request rate exceeded"), "eth_getLogs")) as proxy:
        span = LogSpan(blocks=16)
        list(read_events(connect(proxy.url), Address(b"\x31" * 20), from_block=1, to_block=16, span=span))
        assert (proxy.asked["eth_getLogs"], span.refused) == (3, None)


def test_pruned_state_and_receipts_are_called_so(node: DevChain) -> None:
    gone = error(-32000, "missing trie node 0c77 (path ) state 0x0c77 is not available")
    with (
        before(node, times(9, gone, "eth_getBalance")) as proxy,
        pytest.raises(NodeRefused, match="it no longer keeps data that old: an archive node does"),
        asking("eth_getBalance"),
    ):
        connect(proxy.url).eth.get_balance("0x" + "31" * 20, 1)  # type: ignore[arg-type]
    (header,) = fetch_headers(node.w3, [3])
    with (
        before(node, times(9, {"result": None}, "eth_getBlockReceipts")) as proxy,
        pytest.raises(NodeUnavailable, match="no receipts of block 3; it may have pruned them: name a node that keeps"),
    ):
        fetch_receipts(connect(proxy.url), header)


# Gas of a block -------------------------------------------------------------------------------------------------------


def test_a_gas_limit_is_lowered_to_what_a_block_takes_where_the_estimate_fits(node: DevChain) -> None:
    def block_of(gas: int) -> Spoil:
        def spoil(proxy: Proxy, request: Request) -> Any:
            if request["method"] != "eth_getBlockByNumber":
                return None
            return {"result": {**proxy.pass_on(request)["result"], "gasLimit": hex(gas)}}

        return spoil

    with before(node, block_of(11_500_000)) as proxy:
        w3 = connect(proxy.url)
        assert block_gas(w3) == 11_500_000
        assert gas_limit(w3, 9_400_000) == 11_500_000
        assert gas_limit(w3, 8_000_000) == 10_000_000
        assert gas_limit(w3, 100_000) == 125_000
        with pytest.raises(TransactionFailed, match="at most 11500000 gas, which a block takes, got one of 11600000"):
            gas_limit(w3, 11_600_000)
    with before(node, block_of(60_000_000)) as proxy:
        assert gas_limit(connect(proxy.url), 16_000_000) == TRANSACTION_GAS


def test_the_contracts_are_deployed_where_a_block_takes_11_5_million_gas(find_tool: Callable[[str], Path]) -> None:
    with anvil_chain(find_tool("anvil"), "--gas-limit", "11500000") as small:
        sender = Transactor(small.w3, small.signers[0], Journal(None), chain_id=CHAIN_ID)
        assert any(deploy(small.w3, sender, chain_id=CHAIN_ID).address)


# `cairn doctor --rpc` -------------------------------------------------------------------------------------------------


def lacking(proxy: Proxy, request: Request) -> Any:
    """What a small provider's free plan lacks."""
    method = request["method"]
    if method == "eth_getLogs" and width_of(request) > 10:
        return error(-32614, "eth_getLogs is limited to a 10 range")
    if method == "eth_getBalance":
        return error(-32000, "missing trie node 0c77")
    if "pending" in request["params"]:
        return error(-32000, "pending block is not available")
    return error(-32601, "the method eth_getProof does not exist") if method == "eth_getProof" else None


def test_doctor_says_what_a_node_lacks(node: DevChain, cairn: Any) -> None:
    with before(node, lambda *_: None) as proxy:
        good = json.loads(cairn("doctor", "--rpc", proxy.url, "--json").stdout)
        assert {finding["name"]: finding["good"] for finding in good["findings"]} == dict.fromkeys(
            ["chain", "finality", "pending block", "batches", "logs", "receipts", "state proofs", "old state",
             "old receipts", "block gas", "rate"], True)  # fmt: skip
    with before(node, lacking, batches={"code": -32600, "message": "batch too large"}) as proxy:
        result = cairn("doctor", "--rpc", proxy.url)
        assert result.exit_code == 0
        said = {line[9:].split("  ")[0]: line for line in result.stdout.splitlines()}
        for name, part in {
            "pending block": "missing  pending block  the latest is read instead",
            "batches": "requests go one by one, which is slower (it takes no batch of",
            "logs": "ok       logs           1 blocks in one request; more is refused",
            "state proofs": "bundles need another node (eth_getProof: the node refused: the method",
            "old state": "an archive node has them (eth_getBalance: the node refused: missing trie node",
        }.items():
            assert part in said[name]
    with before(node, limited(5, 429)) as proxy:
        slow = {f["name"]: f for f in json.loads(cairn("doctor", "--rpc", proxy.url, "--json").stdout)["findings"]}
        assert slow["rate"]["good"] is None
        assert "of them were repeated: HTTP status 429" in slow["rate"]["said"]
    nobody = cairn("doctor", "--rpc", f"http://127.0.0.1:{free_port()}")
    assert (nobody.exit_code, "cannot be reached" in nobody.stderr) == (5, True)


# One place ------------------------------------------------------------------------------------------------------------


def test_every_request_to_a_node_goes_through_asking() -> None:
    """So that no error of web3 or requests reaches a user: `w3.eth.…` stands in `with asking(…)`."""
    found = []
    for file in sorted((ROOT / "registry").rglob("*.py")):
        tree = ast.parse(file.read_text())
        told = {
            inner
            for outer in ast.walk(tree)
            if isinstance(outer, ast.With) and any("asking(" in ast.unparse(item) for item in outer.items)
            for inner in ast.walk(outer)
        }
        named = {
            inner
            for outer in ast.walk(tree)
            if isinstance(outer, ast.AnnAssign | ast.FunctionDef) and getattr(outer, "name", "").startswith("_blocks")
            for inner in ast.walk(outer)
        }
        found += [
            f"{file.relative_to(ROOT)}:{each.lineno}"
            for each in ast.walk(tree)
            if isinstance(each, ast.Attribute) and ast.unparse(each.value).endswith("w3.eth")
            if each not in told and each not in named and "registry/dev" not in str(file)
        ]
    assert found == []


def test_an_unreachable_node_is_named_by_its_url() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(NodeUnavailable, match=rf"eth_blockNumber: the node {url} cannot be reached"):
        latest_block(connect(url + "/v2/secret"))
