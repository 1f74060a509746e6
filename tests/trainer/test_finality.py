"""Finality: nobody trains on, publishes for or attests a block that a reorg may still remove."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from registry.chain.client import Client
from registry.chain.transactions import Sending
from registry.errors import TransactionFailed
from registry.ethereum.networks import Finality, FinalityRule
from registry.roles import aggregator
from registry.types import Phase
from trainer import participant
from trainer.simulation import Simulation

SLOW = Finality(FinalityRule.CONFIRMATIONS, 2)


def cautious(client: Client) -> Client:
    """The same account, which takes a block for final when two stand on it, and soon gives up waiting."""
    return Client(
        client.w3,
        client.address,
        signer=client.transactor._signer,
        journal=client.transactor.journal,
        finality=SLOW,
        sending=Sending(timeout=0.05, poll=0.01),
    )


def mine(sim: Simulation, blocks: int) -> None:
    sim.w3.manager.request_blocking("evm_mine", [blocks])  # type: ignore[arg-type]


def test_each_step_waits_for_the_block_before_it_to_be_final(lines: Callable[..., Simulation]) -> None:
    sim = lines(participants=1, aggregators=1, min_contributions=1)
    (client, task), server = sim.participants["a"], cautious(sim.aggregators[0])
    trained: list[int] = []
    counted = replace(task, train_epoch=lambda module, epoch: trained.append(epoch) or task.train_epoch(module, epoch))

    def take_part() -> str:
        return participant.advance(cautious(client), sim.store, sim.folder / "a", sim.model_id, counted)

    def serve() -> str:
        return aggregator.advance(server, sim.store, sim.folder / "server", sim.model_id)

    def let_it_be_final(act: Callable[[], str]) -> None:
        with pytest.raises(TransactionFailed, match="expected it final"):
            act()
        mine(sim, 2)

    sim.owner.open_round(sim.model_id, number=1)
    assert take_part() == ""
    assert trained == []  # the round, and with it its parent, may still go away
    mine(sim, 2)
    let_it_be_final(take_part)
    assert trained == [0]
    assert take_part() == ""

    assert serve() == "round 1: commits ended early"
    assert sim.owner.phase(sim.model_id, 1) == Phase.PUBLISH
    assert take_part() == ""  # published now, it could be copied, were commits to open again
    assert serve() == ""
    mine(sim, 2)
    assert take_part() == "round 1: published"
    assert serve() == "round 1: attested 1 contributions"
    assert sim.owner.phase(sim.model_id, 1) == Phase.CHALLENGE
    assert trained == [0]
