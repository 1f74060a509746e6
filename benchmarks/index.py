"""Benchmark of the index: reading events compared with web3.py, and indexing a million commitments.

Run as `python -m benchmarks.index`; needs anvil, 0.6 GB of disk. Both read events from one anvil in turn: 5 000 grants
and 5 000 commitments, from the request to decoded values. A generator makes the million as a node's response bytes;
making them is not counted, parsing them is. Memory is also measured when full answers follow a long run of empty ones,
which widened the block ranges: over HTTP, where a long answer is cut off.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from eth_abi.abi import encode
from web3 import Web3
from web3.providers import JSONBaseProvider

from benchmarks.measure import at_most, in_turn, peak_memory, repeats, scale, versus, workspace, write_results
from registry.chain import calls
from registry.chain.abi_values import plain
from registry.chain.client import Client
from registry.chain.contract_events import ModelRegistered, PlanSet, RolesChanged, RoundOpened, UpdateCommitted
from registry.chain.contract_hashes import round_id_of, running_hash_begin
from registry.chain.contract_structs import Grant
from registry.chain.contracts import artifact
from registry.chain.deploy import deploy
from registry.chain.event_logs import kinds_by_topic, topic_of
from registry.chain.journal import Journal
from registry.chain.transactions import Transactor
from registry.dev.chains import EXAMPLE_RULES, anvil_chain, example_plan, find_program
from registry.ethereum.networks import Finality, FinalityRule
from registry.ethereum.node import connect
from registry.ethereum.positions import Event
from registry.index.database import Index
from registry.index.decoding import decode_range
from registry.index.entries import Following
from registry.index.log_source import LogSource
from registry.index.sync import Follower
from registry.types import Address, Digest, ModelId, Role, Root

PROJECT = Path(__file__).parent.parent
EVENTS = 10_000
COMMITMENTS = 1_000_000
BURST = 100_000
QUIET = 200_000  # blocks
A_BLOCK = 100
A_ROUND = 1_000
RATE = 20_000.0  # commitments a second
MEMORY_LIMIT = 128.0  # MB
INSTANT = Finality(FinalityRule.INSTANT)


# A chain with commitments ------------------------------------------------------------------------------------------


@contextmanager
def committed(count: int) -> Iterator[tuple[Web3, Address, int]]:
    """Start anvil with this many committed participants; yield the node, the contract and the first block."""
    with anvil_chain(find_program("anvil", [PROJECT / "node_modules" / ".bin"]), "--gas-limit", "1000000000") as chain:
        w3, signer, chain_id = chain.w3, chain.signers[0], chain.w3.eth.chain_id
        made = deploy(w3, Transactor(w3, signer, Journal(None), chain_id=chain_id), chain_id=chain_id)
        owner = Client(w3, made.address, signer=signer, journal=Journal(None))
        genesis = Digest(b"\x01" * 32)
        owner.register_model(genesis, Root(b"\x02" * 32), Root(b"\x02" * 32))
        model = owner.model_id(owner.account, genesis)
        people = [Address(hashlib.sha256(b"%d" % i).digest()[:20]) for i in range(count)]
        for at in range(0, count, 500):
            owner.grant_roles_batch(model, [Grant(one, Role.PARTICIPANT) for one in people[at : at + 500]])
        owner.set_plan(model, example_plan(commit_duration=86_400), EXAMPLE_RULES)
        owner.open_round(model)
        _commit(w3, made.address, model, people)
        yield w3, made.address, made.block


def _commit(w3: Web3, contract: Address, model: ModelId, people: Sequence[Address]) -> None:
    batch: Any = w3.provider.make_batch_request  # type: ignore[attr-defined]
    w3.manager.request_blocking("anvil_autoImpersonateAccount", [True])  # type: ignore[arg-type]
    w3.manager.request_blocking("evm_setAutomine", [False])  # type: ignore[arg-type]
    for at in range(0, len(people), A_BLOCK):
        some = people[at : at + A_BLOCK]
        requests: list[tuple[str, list[Any]]] = []
        for person in some:
            digest, root = (hashlib.sha256(tag + person).digest() for tag in (b"digest", b"root"))
            call = calls.commit_update(contract, model, 1, Digest(digest), Root(root), 7, 3, participant=person)
            sent = {"from": "0x" + person.hex(), "to": "0x" + contract.hex(), "data": "0x" + call.data.hex()}
            requests.append(("eth_sendTransaction", [{**sent, "gas": hex(200_000)}]))
        # Batches in sequence: anvil runs the requests of one batch concurrently.
        funded = batch([("anvil_setBalance", ["0x" + person.hex(), hex(10**18)]) for person in some])
        answers = funded + batch(requests) + batch([("evm_mine", [])])
        errors = [answer["error"] for answer in answers if "error" in answer]
        if errors:
            raise SystemExit(f"expected the node to take every commitment, got {errors!r:.300}")


def read_by_web3(w3: Web3, contract: Address, first: int, people: int) -> None:
    """Read grants and commitments with web3.py."""
    cairn = w3.eth.contract(address=w3.to_checksum_address(contract), abi=list(artifact("Cairn").abi))
    for kind in (cairn.events.RolesChanged, cairn.events.UpdateCommitted):
        _require(people, len(kind().get_logs(from_block=first, to_block=w3.eth.block_number)))


def read_by_layout(w3: Web3, contract: Address, first: int, people: int) -> None:
    """Read every event, including those, with the index's decoder."""
    source = LogSource(w3, [contract])
    blocks = range(first, source.latest().number + 1)
    events = decode_range(source.read(blocks, None).logs, {contract}, blocks)
    for kind in (RolesChanged, UpdateCommitted):
        _require(people, sum(isinstance(event, kind) for event in events))


def index_from_node(w3: Web3, contract: Address, first: int, folder: Path) -> None:
    """Index the whole chain into a new file."""
    sync_new(w3, Following(w3.eth.chain_id, bytes(w3.eth.get_block(0)["hash"]), (contract,), first), folder)


def _require(expected: int, got: int) -> None:
    if expected != got:
        raise SystemExit(f"expected {expected} events, got {got}")


# A million generated events -----------------------------------------------------------------------------------------


class Generated(JSONBaseProvider):
    """A fake node with one model and rounds of commitments, which generates the bytes of each answer.

    Block 1 registers the model and sets its plan; then, after blocks without logs, for every round one block that opens
    it, and blocks of commitments.
    """

    contract = Address(b"\x44" * 20)
    model = ModelId(b"\x11" * 32)

    def __init__(self, commitments: int, quiet: int = 0) -> None:
        super().__init__()
        self.blocks_a_round = 1 + A_ROUND // A_BLOCK
        self.begin = 2 + quiet
        self.last = 1 + quiet + commitments // A_ROUND * self.blocks_a_round
        self.making = 0.0  # seconds spent generating answers

    def make_request(self, method: Any, params: Any) -> Any:
        return self.make_batch_request([(method, params)])[0]

    def make_batch_request(self, batch_requests: Any) -> Any:
        begin = time.perf_counter()
        answers = [
            {"jsonrpc": "2.0", "id": i, "result": self._result(method, params)}
            for i, (method, params) in enumerate(batch_requests)
        ]
        answered = json.dumps(answers).encode()
        self.making += time.perf_counter() - begin
        return self.decode_rpc_response(answered)

    def _result(self, method: str, params: Any) -> Any:
        if method == "eth_blockNumber":
            return hex(self.last)
        if method == "eth_chainId":
            return "0x1"
        if method == "eth_getBlockByNumber":
            number = self.last if params[0] == "latest" else int(params[0], 16)
            return {"number": hex(number), "hash": _hex(self.hash_of(number))}
        first, last = int(params[0]["fromBlock"], 16), int(params[0]["toBlock"], 16)
        return [log for number in range(first, last + 1) for log in self._logs(number)]

    def pieces(self, request: dict[str, Any]) -> Iterator[bytes]:
        """Yield an answer log by log, so that only its reader buffers it."""
        yield b'{"jsonrpc": "2.0", "id": %d, "result": ' % request["id"]
        if request["method"] == "eth_getLogs":
            wanted = request["params"][0]
            between = b"["
            for number in range(int(wanted["fromBlock"], 16), int(wanted["toBlock"], 16) + 1):
                for log in self._logs(number):
                    yield between + json.dumps(log).encode()
                    between = b","
            yield b"]" if between == b"," else b"[]"
        else:
            yield json.dumps(self._result(request["method"], request["params"])).encode()
        yield b"}"

    @staticmethod
    def hash_of(number: int) -> bytes:
        return hashlib.sha256(b"block %d" % number).digest()

    def _logs(self, block: int) -> Iterator[dict[str, Any]]:
        if block < self.begin:
            if block == 1:
                root = b"\x33" * 32
                yield self._log(block, 0, *_logged(ModelRegistered, self.model, b"\x22" * 20, root, root, root))
                yield self._log(block, 1, *_logged(PlanSet, self.model, 0, plain(example_plan()), EXAMPLE_RULES))
            return
        number, part = divmod(block - self.begin, self.blocks_a_round)
        number += 1
        round_id = round_id_of(self.model, number)
        if part == 0:
            begun = running_hash_begin(round_id, Digest(b"\x33" * 32), example_plan())
            told = (b"\x33" * 32, 0, block + 30, block + 60, block + 90, begun)
            yield self._log(block, 0, *_logged(RoundOpened, self.model, number, round_id, *told))
            return
        for index in range(A_BLOCK):
            who = hashlib.sha256(b"participant %d" % ((part - 1) * A_BLOCK + index)).digest()[:20]
            name = b"%d %d %d" % (number, part, index)
            data = (
                hashlib.sha256(b"digest" + name).digest()
                + hashlib.sha256(b"root" + name).digest()
                + _word(index + 1)
                + _word(3)
            )
            yield self._log(block, index, (topic_of(UpdateCommitted), round_id, _word(who)), data)

    def _log(self, block: int, index: int, topics: Sequence[bytes], data: bytes) -> dict[str, Any]:
        return {
            "address": _hex(self.contract),
            "topics": [_hex(topic) for topic in topics],
            "data": _hex(data),
            "blockHash": _hex(self.hash_of(block)),
            "blockNumber": hex(block),
            "blockTimestamp": hex(1_700_000_000 + 12 * block),
            "transactionHash": _hex(hashlib.sha256(b"transaction %d %d" % (block, index)).digest()),
            "transactionIndex": hex(index),
            "logIndex": hex(index),
            "removed": False,
        }


def _logged(event: type[Event], *values: Any) -> tuple[list[bytes], bytes]:
    """Return topics and data of an event."""
    _, inputs = kinds_by_topic()[topic_of(event)]
    given = list(zip(inputs, values, strict=True))
    topics = [encode([kind], [value]) for (_, kind, is_topic), value in given if is_topic]
    rest = [(kind, value) for (_, kind, is_topic), value in given if not is_topic]
    return [topic_of(event), *topics], encode([kind for kind, _ in rest], [value for _, value in rest])


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


def _word(value: int | bytes) -> bytes:
    return value.to_bytes(32, "big") if isinstance(value, int) else value.rjust(32, b"\0")


def sync_new(w3: Web3, following: Following, folder: Path) -> None:
    """Index a chain into a new file, then delete the file."""
    path = folder / "index.sqlite"
    with Index(path, following) as index:
        Follower(index, w3, INSTANT).sync()
    for made in folder.glob("index.sqlite*"):
        made.unlink()


def index_generated(folder: Path, commitments: int) -> float:
    """Index generated commitments; return the seconds without those spent generating them."""
    provider = Generated(commitments)
    following = Following(1, provider.hash_of(0), (provider.contract,), 1)
    begin = time.perf_counter()
    sync_new(Web3(provider), following, folder)
    return time.perf_counter() - begin - provider.making


def index_served(folder: Path, commitments: int, quiet: int) -> None:
    """Index generated commitments that follow empty blocks, over HTTP."""
    provider = Generated(commitments, quiet)

    class Handler(BaseHTTPRequestHandler):
        wbufsize = 1 << 16

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests = asked if isinstance(asked, list) else [asked]
            self.send_response(200)
            self.end_headers()
            for at, request in enumerate(requests):
                self.wfile.write(b"," if at else b"[" if requests is asked else b"")
                self.wfile.writelines(provider.pieces(request))
            self.wfile.write(b"]" if requests is asked else b"")

        def log_message(self, *_: object) -> None:
            pass

    class Server(HTTPServer):
        def handle_error(self, *_: object) -> None:
            """Ignore a response that the client cut off."""

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    sync_new(connect(url, timeout=60), Following(1, provider.hash_of(0), (provider.contract,), 1), folder)
    server.shutdown()
    server.server_close()


def imports() -> None:
    """Import the modules that indexing needs, and index a little."""
    with workspace("index-imports") as folder:
        index_generated(folder, A_ROUND)
        index_served(folder, A_ROUND, A_ROUND)


def main() -> None:
    people, commitments = max(A_BLOCK, round(EVENTS * scale()) // 2), max(A_ROUND, round(COMMITMENTS * scale()))
    with workspace("index") as folder:
        with committed(people) as (w3, contract, first):
            seconds = in_turn(
                {
                    "layout": partial(read_by_layout, w3, contract, first, people),
                    "web3.py": partial(read_by_web3, w3, contract, first, people),
                    "index": partial(index_from_node, w3, contract, first, folder),
                }
            )
        amount: Callable[..., Any] = partial(versus, amount=2 * people, unit="events/s", target=10.0)
        figures = [
            amount("10 000 events read", seconds["layout"], "web3.py get_logs", seconds["web3.py"]),
            amount("10 000 events indexed", seconds["index"], "web3.py get_logs", seconds["web3.py"]),
        ]
        million = in_turn({"commitments": partial(index_generated, folder, commitments)}, turns=min(3, repeats()))
        per = [COMMITMENTS / commitments * s for s in million["commitments"]]
        figures.append(at_most("1 000 000 commitments indexed", sorted(per)[len(per) // 2], "s", COMMITMENTS / RATE))
        memory = peak_memory(imports, partial(index_generated, folder, commitments))
        figures.append(at_most("memory, 1 000 000 commitments", memory, "MB", MEMORY_LIMIT))
        memory = peak_memory(imports, partial(index_served, folder, max(A_ROUND, round(BURST * scale())), QUIET))
        figures.append(at_most("memory, 100 000 commitments after quiet blocks", memory, "MB", MEMORY_LIMIT))
        write_results("index", figures)


if __name__ == "__main__":
    main()
