"""Nodes that give few logs at a time, or have pruned the old ones: steps with a deadline need none of before."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from web3 import Web3
from web3.middleware import Web3Middleware

from registry.chain.client import Client
from registry.chain.contract_events import RoundOpened
from registry.chain.contract_structs import Target
from registry.chain.court import Court
from registry.disputes.demands import demands_of
from registry.roles import aggregator, auditor
from registry.roles.attested import kept_attested
from registry.types import Tree

pytestmark = pytest.mark.slow

Refuses = Callable[[int, int], bool]


def behind(house: Any, name: str, refuses: Refuses) -> tuple[Client, list[tuple[int, int]]]:
    """An account as after a restart, on a node that refuses the logs of some ranges; and all ranges it is asked."""
    asked: list[tuple[int, int]] = []

    class Node(Web3Middleware):
        def wrap_make_request(self, make_request: Any) -> Any:
            def made(method: Any, params: Any) -> Any:
                if method == "eth_getLogs":
                    first, last = (int(str(params[0][at]), 16) for at in ("fromBlock", "toBlock"))
                    asked.append((first, last))
                    if refuses(first, last):
                        return {"jsonrpc": "2.0", "id": 1, "error": {"code": 4444, "message": "not to be had"}}
                return make_request(method, params)

            return made

    w3 = Web3(house.chain.w3.provider)
    w3.middleware_onion.inject(Node, layer=0)
    return Client(w3, house.address, signer=house.clients[name].transactor._signer), asked


def demand(house: Any, index: int) -> None:
    court, target = Court(house.stranger), Target(house.model_id, 1, house.outcome().result)
    court.demand_chunks(target, Tree.AGGREGATE, [index], deposit=court.deposit_now(target))


def still_open(house: Any) -> int:
    return len(demands_of(Court(house.owner), house.owner.dispute(house.model_id, 1)).open)


def opened_in(house: Any) -> int:
    return int(next(house.owner.events(RoundOpened, subject=house.model_id)).at.block_number)


def test_demands_are_answered_after_a_restart_on_a_node_that_has_no_logs_from_before_the_attestation(
    published: Any,
) -> None:
    house, folder = published, published.folder / "first"
    assert "attested" in aggregator.advance(house.first, house.store, folder, house.model_id)
    since = house.first.latest_block()
    demand(house, 0)
    client, _ = behind(house, "first", lambda first, _: first < since)
    steps = aggregator.tasks(client, house.store, folder, house.model_id)
    assert next(task for task in steps if task.name == "answering").step() == "round 1: showed a leaf"
    assert still_open(house) == 0


@pytest.mark.parametrize("damage", [b"", b"[]", b"[1, 2, 3, 4]", b"\xff"])
def test_what_was_kept_and_is_damaged_is_read_from_the_chain(published: Any, damage: bytes) -> None:
    house, folder = published, published.folder / "first"
    assert "attested" in aggregator.advance(house.first, house.store, folder, house.model_id)
    (kept,) = (folder / "attested").iterdir()
    kept.write_bytes(damage)
    demand(house, 0)
    client, _ = behind(house, "first", lambda *_: False)
    assert aggregator.advance(client, house.store, folder, house.model_id) == "round 1: showed a leaf"


def test_what_was_kept_of_something_else_is_read_from_the_chain(published: Any) -> None:
    house, folder = published, published.folder / "first"
    assert "attested" in aggregator.advance(house.first, house.store, folder, house.model_id)
    (kept,) = (folder / "attested").iterdir()
    fields = json.loads(kept.read_text())
    kept.write_text(json.dumps([[*fields[0][:-1], "0x" + "01" * 32], *fields[1:]]))  # another running hash
    dispute = house.owner.dispute(house.model_id, 1)
    assert kept_attested(folder, house.model_id, 1, dispute) is None
    kept.write_text(json.dumps(fields))
    found = kept_attested(folder, house.model_id, 1, dispute)
    assert found is not None
    assert (found.record, found.result) == (house.record(), house.outcome().result)


def test_a_round_is_attested_and_audited_on_a_node_that_has_pruned_what_was_before_it(published: Any) -> None:
    house = published
    opened = opened_in(house)
    client, _ = behind(house, "first", lambda first, _: first < opened)
    assert "attested" in aggregator.advance(client, house.store, house.folder / "first", house.model_id)
    watching, _ = behind(house, "stranger", lambda first, _: first < opened)
    said = auditor.advance(watching, house.store, house.folder / "auditor", house.model_id)
    assert said.endswith("recomputed to the bit")


def test_an_answer_takes_few_requests_however_old_the_contract_is(published: Any) -> None:
    house, folder, cap = published, published.folder / "first", 10
    memory = aggregator.AggregatorMemory()
    client, asked = behind(house, "first", lambda first, last: last - first >= cap)
    assert "attested" in aggregator.advance(client, house.store, folder, house.model_id, memory=memory)
    for index, blocks in enumerate((0, 300)):
        house.chain.w3.provider.ethereum_tester.mine_blocks(blocks)
        demand(house, index)
        aggregator.advance(client, house.store, folder, house.model_id, memory=memory)
        assert still_open(house) == 0
    aggregator.advance(client, house.store, folder, house.model_id, memory=memory)  # each block is read in two steps
    asked.clear()
    demand(house, 2)
    assert aggregator.advance(client, house.store, folder, house.model_id, memory=memory) == "round 1: showed a leaf"
    assert len(asked) <= 2, "who attested, and what was demanded, since the last answer"
