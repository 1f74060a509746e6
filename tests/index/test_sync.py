"""Sync with nodes that limit, fail, lie or lag: the index is correct or reports an error."""

from __future__ import annotations

import json
import os
import random
import threading
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from web3 import Web3
from web3.providers import JSONBaseProvider

from registry.errors import ChainError, IndexUnusable, NodeUnavailable, VerificationFailed, WrongChain
from registry.ethereum.networks import parse_finality
from registry.ethereum.node import NodeRefused, connect
from registry.index import queries
from registry.index.database import Index
from registry.index.entries import Block
from registry.index.log_source import LogSource, Range
from registry.index.sync import Follower
from registry.types import Role

if TYPE_CHECKING:
    from conftest import Indexing

Log = dict[str, Any]
INSTANT = parse_finality("instant")


class Wrapped(JSONBaseProvider):
    """A node between: what it does with a batch or a request is a test's to say."""

    def __init__(self, inner: Any, respond: Callable[[Any, list[Any]], Any]) -> None:
        super().__init__()
        self.inner, self.respond = inner, respond

    def make_request(self, method: Any, params: Any) -> Any:
        answered = self.respond(self.inner, [(method, params)])
        return answered[0] if isinstance(answered, list) else answered

    def make_batch_request(self, batch_requests: Any) -> Any:
        return self.respond(self.inner, batch_requests)


def between(indexing: Indexing, respond: Callable[[Any, list[Any]], Any]) -> Web3:
    return Web3(Wrapped(indexing.node().provider, respond))


def refusing(why: Callable[[Any], bool]) -> Callable[[str, Any, Any], Any]:
    """An edit that refuses some requests for logs."""

    def edit(method: str, params: Any, result: Any) -> Any:
        if method == "eth_getLogs" and why((params[0], result)):
            raise NodeRefused("range too wide", code=-32005)
        return result

    return edit


def span(wanted: Any) -> int:
    return int(wanted["toBlock"], 16) - int(wanted["fromBlock"], 16) + 1


# What a node allows ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("widest", [1, 2, 7, 50])
def test_a_node_that_allows_few_blocks_a_request_gives_the_same_index(
    played: Indexing, raw_logs: Any, widest: int
) -> None:
    w3 = played.node(refusing(lambda asked: span(asked[0]) > widest))
    assert played.sync(w3=w3).logs == len(raw_logs(played))
    assert played.dump() == played.fresh()


def test_a_node_that_allows_few_logs_a_request_gives_the_same_index(played: Indexing) -> None:
    played.sync(w3=played.node(refusing(lambda asked: len(asked[1]) > 2)))
    assert played.dump() == played.fresh()


def test_a_node_that_refuses_a_single_block_is_reported_and_what_was_read_is_kept(played: Indexing) -> None:
    last = played.chain.w3.eth.block_number
    w3 = played.node(refusing(lambda asked: int(asked[0]["toBlock"], 16) == last))
    with pytest.raises(NodeRefused, match="range too wide"):
        played.sync(w3=w3)
    with played.open() as index:
        assert index.head is not None
        assert index.head.number == last - 1
    played.sync()
    assert played.dump() == played.fresh()


def test_a_slow_node_is_asked_for_less(played: Indexing) -> None:
    def edit(method: str, params: Any, result: Any) -> Any:
        if method == "eth_getLogs" and span(params[0]) > 3:
            raise TimeoutError
        return result

    played.sync(w3=played.node(edit))
    assert played.dump() == played.fresh()


def test_a_node_that_never_answers_about_logs_is_unavailable_after_a_few_requests(played: Indexing) -> None:
    def edit(method: str, params: Any, result: Any) -> Any:
        if method == "eth_getLogs":
            raise TimeoutError
        return result

    w3 = played.node(edit)
    with pytest.raises(NodeUnavailable, match="did not answer in time"):
        played.sync(w3=w3)
    assert sum(method == "eth_getLogs" for method, _ in w3.provider.asked) <= 5  # type: ignore[attr-defined]


def test_a_long_answer_about_several_blocks_is_cut_off_and_less_is_asked_for(
    played: Indexing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over HTTP, where an answer is cut off before it is in memory. What one block holds is read, however long."""
    spans: list[int] = []
    respond = played.node().provider.make_batch_request  # type: ignore[attr-defined]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            batch = asked if isinstance(asked, list) else [asked]
            spans.extend(span(each["params"][0]) for each in batch if each["method"] == "eth_getLogs")
            answers = respond([(each["method"], each["params"]) for each in batch])
            answers = [{**answer, "id": each["id"]} for each, answer in zip(batch, answers, strict=True)]
            body = json.dumps(answers if isinstance(asked, list) else answers[0]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    w3 = connect(f"http://127.0.0.1:{server.server_address[1]}")
    try:
        played.sync("whole", w3=w3)
        assert max(spans) > 20
        monkeypatch.setattr("registry.index.log_source.MOST_BYTES", 1)
        spans.clear()
        played.sync(w3=w3)
    finally:
        server.shutdown()
        server.server_close()
    assert spans.count(1) == played.chain.w3.eth.block_number - played.first_block + 1
    assert played.dump() == played.dump("whole") == played.fresh()


def test_a_node_that_takes_no_batches_gives_the_same_index(played: Indexing) -> None:
    def respond(inner: Any, requests: list[Any]) -> Any:
        if len(requests) > 1:
            return {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no batches"}}
        return inner.make_batch_request(requests)

    played.sync(w3=between(played, respond))
    assert played.dump() == played.fresh()


def test_what_belongs_together_is_asked_in_one_batch(played: Indexing) -> None:
    batches: list[list[str]] = []

    def respond(inner: Any, requests: list[Any]) -> Any:
        batches.append([method for method, _ in requests])
        return inner.make_batch_request(requests)

    played.sync(w3=between(played, respond))
    block = "eth_getBlockByNumber"
    assert [block, "eth_getLogs", block] in batches
    assert [batch for batch in batches if batch == ["eth_getLogs"]] == []


def shuffled_ids(answers: list[Any]) -> Any:
    return [{**answer, "id": 7 * answer["id"]} for answer in answers]


BROKEN_BATCHES: dict[str, Callable[[list[Any]], Any]] = {
    "half of it": lambda answers: answers[: len(answers) // 2 + 1][:-1],
    "one answer too many": lambda answers: [*answers, {**answers[0], "id": len(answers)}],
    "other ids": shuffled_ids,
    "one id twice": lambda answers: [{**answer, "id": 0} for answer in answers],
    "no ids": lambda answers: [{k: v for k, v in answer.items() if k != "id"} for answer in answers],
    "no results": lambda answers: [{"jsonrpc": "2.0", "id": answer["id"]} for answer in answers],
    "words": lambda answers: ["answer" for _ in answers],
    "swapped": lambda answers: [{**answer, "id": i} for i, answer in enumerate(reversed(answers[:2]))] + answers[2:],
    "a word": lambda answers: "answer",
    "nothing": lambda answers: None,
}


@pytest.mark.parametrize("broken", BROKEN_BATCHES.values(), ids=BROKEN_BATCHES.keys())
def test_a_broken_batch_is_the_node_s_error(played: Indexing, broken: Callable[[list[Any]], Any]) -> None:
    def respond(inner: Any, requests: list[Any]) -> Any:
        answers = inner.make_batch_request(requests)
        return broken(answers) if any(method == "eth_getLogs" for method, _ in requests) else answers

    with pytest.raises(NodeUnavailable):
        played.sync(w3=between(played, respond))
    with played.open() as index:
        assert index.head is None


# What a node says -----------------------------------------------------------------------------------------------------


def edit_logs(change: Callable[[list[Log]], Any]) -> Callable[[str, Any, Any], Any]:
    return lambda method, params, result: change(result) if method == "eth_getLogs" and result else result


LIES: dict[str, Callable[[list[Log]], Any]] = {
    "no list": lambda logs: {"logs": logs},
    "a log of another contract": lambda logs: [*logs[:-1], {**logs[-1], "address": "0x" + "45" * 20}],
    "an event of another release": lambda logs: [*logs[:-1], {**logs[-1], "topics": ["0x" + "ee" * 32]}],
    "a log cut short": lambda logs: [*logs[:-1], {**logs[-1], "data": logs[-1]["data"][:-2]}],
    "a log without its block": lambda logs: [*logs[:-1], {k: v for k, v in logs[-1].items() if k != "blockNumber"}],
    "a log with a negative block": lambda logs: [*logs[:-1], {**logs[-1], "blockNumber": "-0x1"}],
    "a log of a block that was not asked for": lambda logs: [*logs[:-1], {**logs[-1], "blockNumber": "0xfffff"}],
    "a log that was removed": lambda logs: [*logs[:-1], {**logs[-1], "removed": True}],
    "a log twice": lambda logs: [*logs, logs[-1]],
    "a log twice at two places": lambda logs: [*logs, {**logs[-1], "logIndex": "0xff"}],
    "logs of two blocks of one number": lambda logs: [
        *logs, {**logs[0], "logIndex": "0xff", "blockHash": "0x" + "77" * 32},
    ],
    "no first log": lambda logs: logs[1:],
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_hostile_logs_are_one_error_and_nothing_of_their_range_is_written(
    played: Indexing, play_on: Any, lie: Callable[[list[Log]], Any]
) -> None:
    played.sync()
    before = played.dump()
    play_on(played, 2)
    with pytest.raises(ChainError) as refusal:
        played.sync(w3=played.node(edit_logs(lie)))
    assert "\n" not in str(refusal.value)
    assert played.dump() == before
    played.sync()
    assert played.dump() == played.fresh()


def test_mutated_answers_are_refused_or_taken_whole(played: Indexing, raw_logs: Any) -> None:
    """Bytes of a real answer changed at random. Without a check a node is believed; it is never half believed."""
    text, rng = json.dumps(raw_logs(played)), random.Random(4)
    played.sync("honest")
    with played.open("honest") as index:
        honest = queries.count_facts(index.db)
    refused = taken = 0
    for number in range(3_000 if os.environ.get("CAIRN_SOAK") else 150):
        changed = list(text)
        for _ in range(rng.randint(1, 3)):
            changed[rng.randrange(len(changed))] = rng.choice('0123456789abcdefx"[]{},: -')
        try:
            answer = json.loads("".join(changed))
        except ValueError:
            continue
        w3 = played.node(edit_logs(lambda _, said=answer: said))
        with played.open(f"mutated-{number}") as index:
            try:
                Follower(index, w3, INSTANT).sync()
            except ChainError:
                refused += 1
                assert sum(queries.count_facts(index.db).values()) == 0
                continue
            taken += 1
            assert queries.count_facts(index.db) == honest
    assert refused > 20
    assert taken > 5


def test_a_node_on_another_chain_is_refused(played: Indexing) -> None:
    def edit(method: str, params: Any, result: Any) -> Any:
        return (
            {**result, "hash": "0x" + "99" * 32} if method == "eth_getBlockByNumber" and params[0] == "0x0" else result
        )

    with pytest.raises(WrongChain, match=r"expected block 0 to be 0x.* got 0x9999"):
        played.sync(w3=played.node(edit))


def test_a_node_that_is_behind_what_was_final_is_unavailable_and_nothing_is_undone(played: Indexing) -> None:
    played.sync()
    before = played.dump()
    head = played.chain.w3.eth.block_number

    def edit(method: str, params: Any, result: Any) -> Any:
        if method != "eth_getBlockByNumber":
            return hex(head - 5) if method == "eth_blockNumber" else result
        if params[0] == "latest":
            return in_block(played, head - 5)
        return None if int(params[0], 16) > head - 5 else result

    with pytest.raises(NodeUnavailable, match=f"block {head}, which was final, got none from .* {head - 5}"):
        played.sync(w3=played.node(edit))
    assert played.dump() == before


def test_a_server_that_lags_behind_the_one_that_answered_before_breaks_no_finality(played: Indexing) -> None:
    """Several servers stand behind one name: one says which block is the latest, another does not have it yet."""
    played.sync()
    before, top = played.dump(), hex(played.chain.w3.eth.block_number)

    def edit(method: str, params: Any, result: Any) -> Any:
        return None if method == "eth_getBlockByNumber" and params[0] == top else result

    with pytest.raises(NodeUnavailable, match="which was final, got none"):
        played.sync(w3=played.node(edit))
    assert played.dump() == before
    assert played.sync().logs == 0


def in_block(indexing: Indexing, number: int) -> Any:
    return indexing.node().provider.make_request("eth_getBlockByNumber", [hex(number), False])["result"]


BLOCKS = {
    "no block": {},
    "no hash": {"number": "0x5"},
    "a short hash": {"number": "0x5", "hash": "0x12"},
    "a word": "x",
}


@pytest.mark.parametrize("answer", BLOCKS.values(), ids=BLOCKS.keys())
def test_what_is_no_block_is_the_node_s_error(played: Indexing, answer: Any) -> None:
    def edit(method: str, params: Any, result: Any) -> Any:
        return answer if params and params[0] == "latest" else result

    with pytest.raises(NodeUnavailable, match="expected a block from the node"):
        played.sync(w3=played.node(edit))


def test_a_block_of_another_number_is_the_node_s_error(played: Indexing) -> None:
    source = LogSource(played.node(lambda method, params, result: in_block(played, 3)), [])
    with pytest.raises(NodeUnavailable, match="expected block 4 from the node, got block 3"):
        source.blocks([4])


def test_a_chain_that_changes_while_it_is_read_is_read_again(played: Indexing) -> None:
    answered = {"logs": 0}

    def edit(method: str, params: Any, result: Any) -> Any:
        answered["logs"] += method == "eth_getLogs"
        if method == "eth_getBlockByNumber" and answered["logs"] == 1 and params[0] not in ("latest", "0x0"):
            answered["logs"] += 1
            return {**result, "hash": "0x" + "99" * 32}
        return result

    played.sync(w3=played.node(edit))
    assert answered["logs"] > 2
    assert played.dump() == played.fresh()


def moved_once(indexing: Indexing, wanted: Callable[[list[Any]], bool]) -> tuple[Web3, list[list[Any]]]:
    """A node on which the last block asked for in such a batch is another one, once; and those batches."""
    seen: list[list[Any]] = []

    def respond(inner: Any, requests: list[Any]) -> Any:
        answers = inner.make_batch_request(requests)
        if wanted(requests):
            seen.append(requests)
            if len(seen) == 1:
                answers[-1]["result"]["hash"] = "0x" + "99" * 32
        return answers

    return between(indexing, respond), seen


def test_logs_that_do_not_stand_on_what_was_read_are_read_again(indexing: Indexing, play_on: Any) -> None:
    indexing.sync()
    play_on(indexing)
    w3, seen = moved_once(indexing, lambda requests: len(requests) == 4)
    indexing.sync(w3=w3)
    assert len(seen) == 2
    assert indexing.dump() == indexing.fresh()


def test_a_block_is_not_called_final_while_the_chain_changes_above_it(played: Indexing) -> None:
    w3, seen = moved_once(played, lambda requests: [m for m, _ in requests] == 2 * ["eth_getBlockByNumber"])
    played.sync(finality="2")
    played.chain.w3.provider.ethereum_tester.mine_blocks(1)
    played.sync(finality="1000")
    played.sync(finality="1", w3=w3)
    assert len(seen) == 2
    assert played.dump() == played.fresh("1")


def test_a_chain_that_never_stands_still_is_the_node_s_error(played: Indexing) -> None:
    rng = random.Random(1)

    def edit(method: str, params: Any, result: Any) -> Any:
        return (
            {**result, "hash": "0x" + rng.randbytes(32).hex()}
            if params and params[0] not in ("0x0",) and isinstance(result, dict)
            else result
        )

    with pytest.raises(NodeUnavailable, match="the node's chain changed 8 times while it was read"):
        played.sync(w3=played.node(edit))


# How an index goes on -------------------------------------------------------------------------------------------------


def test_an_index_that_follows_block_by_block_is_a_fresh_one(indexing: Indexing) -> None:
    owner = indexing.clients[0]
    genesis = b"\x01" * 32
    model = owner.model_id(owner.account, genesis)  # type: ignore[arg-type]
    owner.register_model(genesis, b"\x02" * 32, b"\x02" * 32)  # type: ignore[arg-type]
    for number, client in enumerate(indexing.clients):
        owner.grant_roles(model, client.account, Role.READER)
        indexing.sync(finality="3")
        if number % 2:
            indexing.chain.w3.provider.ethereum_tester.mine_blocks(2)
            indexing.sync(finality="3")
    assert indexing.dump() == indexing.fresh("3")


@pytest.mark.parametrize("finality", ["instant", "2", "1000"])
def test_a_second_sync_changes_nothing(played: Indexing, finality: str) -> None:
    first = played.sync(finality=finality)
    before = played.dump()
    assert played.sync(finality=finality) == replace(first, logs=0)
    assert played.dump() == before


def test_what_a_check_refuses_is_not_written(played: Indexing) -> None:
    asked: list[tuple[range, int]] = []

    def check(blocks: range, found: Range, below: Block | None) -> None:
        asked.append((blocks, len(found.logs)))
        if found.logs:
            raise VerificationFailed("not what the receipts hold")

    with pytest.raises(VerificationFailed, match="not what the receipts hold"):
        played.sync(check=check)
    with played.open() as index:
        assert sum(queries.count_facts(index.db).values()) == 0


def test_a_check_is_told_every_block_once_and_every_log(played: Indexing, raw_logs: Any) -> None:
    told: list[range] = []
    logs: list[Any] = []
    w3 = played.node(refusing(lambda asked: span(asked[0]) > 4))

    def check(blocks: range, found: Range, below: Block | None) -> None:
        assert (below is None) == (not told)
        assert below is None or below.number == blocks.start - 1 == told[-1].stop - 1
        assert found.last.number == blocks.stop - 1
        told.append(blocks)
        logs.extend(found.logs)

    played.sync(w3=w3, check=check)
    assert [n for blocks in told for n in blocks] == list(range(played.first_block, w3.eth.block_number + 1))
    assert logs == raw_logs(played)


def test_a_chain_without_the_contract_s_events_leaves_an_empty_index(indexing: Indexing) -> None:
    done = indexing.sync()
    assert (done.logs, done.head) == (0, indexing.chain.w3.eth.block_number)
    with indexing.open() as index:
        assert sum(queries.count_facts(index.db).values()) == 0


def test_a_chain_that_does_not_reach_the_first_block_is_not_read(indexing: Indexing) -> None:
    later = replace(indexing.following, first_block=1000)
    with Index(indexing.folder / "later.sqlite", later) as index:
        done = Follower(index, indexing.chain.w3, INSTANT).sync()
        assert (done.head, done.final, done.logs) == (None, None, 0)


def test_several_contracts_are_followed_as_one(
    indexing: Indexing, deployed_on: Callable[[Any], Indexing], play_on: Any
) -> None:
    second = deployed_on(indexing.chain)
    models = [play_on(one, seed) for seed, one in enumerate((indexing, second), 1)]
    contracts = (*indexing.following.contracts, *second.following.contracts)
    with Index(indexing.folder / "both.sqlite", replace(indexing.following, contracts=contracts)) as index:
        Follower(index, indexing.node(refusing(lambda asked: span(asked[0]) > 9)), INSTANT).sync()
        assert [entry.model_id for entry in queries.models(index.db)] == models
        both = queries.count_facts(index.db)
    indexing.sync()
    with indexing.open() as index:
        assert both == {table: 2 * count for table, count in queries.count_facts(index.db).items()}


def test_an_index_of_another_contract_is_refused(played: Indexing) -> None:
    played.sync()
    other = replace(played.following, contracts=(played.clients[0].account,))
    with pytest.raises(IndexUnusable, match="expected an index of"):
        Index(played.folder / "index.sqlite", other)
