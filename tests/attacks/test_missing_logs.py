"""Nodes that return no logs of blocks that have some: what is missed once is found by the next look."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from registry.chain.client import Client
from registry.chain.contract_structs import Opening, Target
from registry.chain.court import Court
from registry.chain.journal import Journal
from registry.disputes.demands import SeenDemands, demands_of
from registry.disputes.openings import chunks_of_file
from registry.ethereum.networks import Finality, FinalityRule
from registry.roles import aggregator
from registry.roles.answering import Answering
from registry.types import Address, Phase, Tree

pytestmark = pytest.mark.slow


@dataclass
class Forgetful:
    """A node that returns no logs of a contract the next few times that it would return some."""

    house: Any
    lying_node: Any
    forgets: int = 0
    contract: Address | None = None

    def client(self, name: str, finality: Finality | None = None) -> Client:
        """An account that asks this node."""
        house = self.house
        signer = house.clients[name].transactor._signer
        w3 = self.lying_node(house, self._edited)
        return Client(w3, house.address, signer=signer, journal=Journal(None), finality=finality)

    def _edited(self, method: str, result: Any) -> Any:
        contract = self.contract or Court(self.house.stranger).address
        if method != "eth_getLogs" or not any(log["address"].lower()[2:] == contract.hex() for log in result):
            return result
        self.forgets -= 1
        return result if self.forgets < 0 else []


def demand(house: Any, index: int) -> None:
    court, target = Court(house.stranger), Target(house.model_id, 1, house.outcome().result)
    court.demand_chunks(target, Tree.AGGREGATE, [index], deposit=court.deposit_now(target))


def opening(house: Any, index: int) -> Opening:
    return chunks_of_file(house.folder / "outcome" / "aggregate.safetensors").opening(index)


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("forgets", [1, 2, 3])
def test_a_demand_that_a_node_forgets_is_answered(
    published: Any, lying_node: Callable[..., Any], restarted: bool, forgets: int
) -> None:
    """By an aggregator that sees it as soon as it is made, or after a restart, once it is final."""
    house, node, tester = published, Forgetful(published, lying_node), published.chain.w3.provider.ethereum_tester
    tester.mine_blocks(12)
    finality = Finality(FinalityRule.CONFIRMATIONS, 10) if restarted else Finality(FinalityRule.INSTANT)
    client, memory = node.client("first", finality), aggregator.AggregatorMemory()
    folder = house.folder / "first"
    assert "attested" in aggregator.advance(client, house.store, folder, house.model_id, memory=memory)
    demand(house, 0)
    node.forgets = forgets
    if restarted:
        tester.mine_blocks(12)
        memory = aggregator.AggregatorMemory()
    said = [aggregator.advance(client, house.store, folder, house.model_id, memory=memory) for _ in range(forgets + 1)]
    assert said == [""] * forgets + ["round 1: showed a leaf"]


def test_an_answer_that_a_node_forgets_with_its_demand_is_found(published: Any, lying_node: Callable[..., Any]) -> None:
    """Neither is open, so that no view tells: an auditor would demand the leaf again and again."""
    house, node, seen = published, Forgetful(published, lying_node, 1), SeenDemands()
    house.attest("first", house.outcome().result)
    dispute = house.owner.dispute(house.model_id, 1)
    demand(house, 0)
    (leaf,) = demands_of(Court(house.owner), dispute).open
    Court(house.first).show_leaf(leaf, opening(house, 0))
    court = Court(node.client("stranger"))
    assert demands_of(court, dispute, seen).shown == ()
    assert [event.index for event in demands_of(court, dispute, seen).shown] == [0]
    node.forgets = 9
    assert [event.index for event in demands_of(court, dispute, seen).shown] == [0], "and what was found stays"


def test_an_attester_whom_a_node_forgets_is_found(federation: Any, new_plan: Any, lying_node: Any) -> None:
    """Without all of them nobody may answer late; without itself an aggregator would answer what pays for itself."""
    house = federation
    new_plan(house, quorum=2)
    house.owner.open_round(house.model_id)
    for seed, name in enumerate(("ann", "bob", "cyn")):
        house.contribute(name, house.update(name, seed=seed))
    house.sleep_to("publish_deadline")
    for name in ("first", "second"):
        house.attest(name, house.outcome().result)
    assert house.owner.phase(house.model_id, 1) == Phase.CHALLENGE
    node, memory = Forgetful(house, lying_node, 1, house.address), Answering()
    client, tally, record = node.client("first"), house.owner.dispute(house.model_id, 1).tally, house.record()

    def found() -> list[Address]:
        return memory.attested(client, record, tally, None, 0, place=client.account)

    assert found() == [client.account]
    assert found() == sorted(house.clients[name].account for name in ("first", "second"))
    assert memory.heard[1] > 0
