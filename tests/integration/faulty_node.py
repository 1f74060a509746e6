"""A fault-injecting proxy in front of a real node: it spoils a share of the answers, as public nodes and proxies do.

Faults depend only on the seed and the order of requests, so a single-threaded run is reproducible.
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

Request = dict[str, Any]
Answer = dict[str, Any]

TAGS = ("latest", "pending", "safe", "finalized")
OTHER_CHAIN = "0x539"
LONGEST_LAG = 8
"""Blocks by which a node is behind, at most."""
WIDEST_RANGE = 4
"""Blocks that one `eth_getLogs` may span where a limit is drawn."""
HANGS = 2.0
"""Seconds without an answer, unless whoever asked has hung up."""

TRANSPORT = ("429", "500", "500 after", "time-out", "cut", "wrong id", "twice")
"""What can happen to any request. `500 after`, `time-out` and `cut` lose the answer to what the node did carry out."""
WEIGHTS = {"time-out": 0.1}
"""A time-out costs its time: one for ten of the others."""


class FaultyNode:
    """The proxy.

    Attributes:
        url: Where it listens.
        rate: Share of requests that something happens to.
        happened: What did, and how often; `fine` is the rest.
    """

    def __init__(self, upstream: str, seed: int, rate: float) -> None:
        self._upstream = urlsplit(upstream)
        self._draw = random.Random(seed)
        self._lock = threading.Lock()
        self._local = threading.local()
        self._before: Any = None
        self.rate = rate
        self.happened: Counter[str] = Counter()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator[FaultyNode]:
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def draw(self, request: Request) -> str:
        """What happens to a request."""
        with self._lock:
            kinds = [*TRANSPORT, *(kind for kind, fits in MEANING.items() if fits(request))]
            weights = [WEIGHTS.get(kind, 1.0) for kind in kinds]
            kind = self._draw.choices(kinds, weights)[0] if self._draw.random() < self.rate else "fine"
            self.happened[kind] += 1
            return kind

    def lag(self) -> int:
        with self._lock:
            return self._draw.randint(1, LONGEST_LAG)

    def ask(self, request: Request) -> Answer:
        """Have the real node carry out a request."""
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection(str(self._upstream.hostname), self._upstream.port, timeout=30)
            connection.connect()
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._local.connection = connection
        connection.request("POST", "/", json.dumps(request), {"Content-Type": "application/json"})
        answer: Answer = json.loads(connection.getresponse().read())
        return answer

    def result(self, method: str, *params: Any) -> Any:
        return self.ask({"jsonrpc": "2.0", "id": 0, "method": method, "params": list(params)}).get("result")

    def answer(self, request: Request, kind: str) -> Answer:
        """The body of an answer, true or not."""
        if kind == "wrong chain id":
            return _said(request, result=OTHER_CHAIN)
        if kind == "range limit":
            return _said(request, error={"code": -32005, "message": f"block range is limited to {WIDEST_RANGE}"})
        if kind == "empty":
            return _said(request, result=EMPTY.get(request["method"]))
        if kind == "stale":
            return self.stale(request)
        answer = self.ask(request)
        if kind == "twice":
            answer = self.ask(request)
        if kind == "wrong id":
            return _said(request, result=self._before) | {"id": request["id"] + 1}  # of the request before
        self._before = answer.get("result")
        return answer

    def stale(self, request: Request) -> Answer:
        """What a node says that is some blocks behind."""
        method, params = request["method"], list(request["params"])
        head = max(int(self.result("eth_blockNumber"), 16) - self.lag(), 0)
        if method == "eth_blockNumber":
            return _said(request, result=hex(head))
        if method in BLOCK_AT:
            place = BLOCK_AT[method]
            block = params[place]
            if block in TAGS:
                params[place] = hex(head)
            elif int(block, 16) > head:
                return _said(request, error={"code": -32000, "message": "header not found"})
        elif method == "eth_getLogs":
            window = dict(params[0])
            if int(window["fromBlock"], 16) > head:
                return _said(request, result=[])
            window["toBlock"] = hex(min(int(window["toBlock"], 16), head))
            params[0] = window
        answer = self.ask(request | {"params": params})
        found = answer.get("result")
        if method in BY_HASH and found is not None and int(found.get("blockNumber") or "0x0", 16) > head:
            return _said(request, result=None)
        return answer


BLOCK_AT = {
    "eth_call": 1,
    "eth_estimateGas": 1,
    "eth_getBalance": 1,
    "eth_getBlockByNumber": 0,
    "eth_getCode": 1,
    "eth_getTransactionCount": 1,
}
"""Which parameter names a block."""
BY_HASH = ("eth_getTransactionByHash", "eth_getTransactionReceipt")
EMPTY = {"eth_getLogs": [], "eth_call": "0x", "eth_getCode": "0x"}
"""The empty answer to a request; null to any other."""
MEANING: Mapping[str, Callable[[Request], bool]] = {
    "stale": lambda r: r["method"] in (*BLOCK_AT, *BY_HASH, "eth_blockNumber", "eth_getLogs"),
    "empty": lambda r: True,
    "wrong chain id": lambda r: r["method"] == "eth_chainId",
    "range limit": lambda r: r["method"] == "eth_getLogs" and _span(r["params"][0]) > WIDEST_RANGE,
}
"""Answers in good form that are not true, and the requests that each can be given to."""
KINDS = (*TRANSPORT, *MEANING)


def _span(window: Mapping[str, str]) -> int:
    return int(window["toBlock"], 16) - int(window["fromBlock"], 16) + 1


def _said(request: Request, **what: Any) -> Answer:
    return {"jsonrpc": "2.0", "id": request["id"], **what}


def _handler(node: FaultyNode) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one segment for an answer

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            kind = node.draw(request)
            if kind in ("500 after", "time-out"):
                node.ask(request)
            if kind == "time-out":
                self.close_connection = True
                self.connection.settimeout(HANGS)
                with suppress(OSError):
                    self.connection.recv(1)
                return
            if kind in ("429", "500", "500 after"):
                self.say(int(kind[:3]), b"not now")
                return
            body = json.dumps(node.answer(request, kind)).encode()
            self.say(200, body, cut=kind == "cut")

        def say(self, status: int, body: bytes, *, cut: bool = False) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if cut else body)
            self.close_connection = cut

        def log_message(self, *_: object) -> None:
            pass

    return Handler
