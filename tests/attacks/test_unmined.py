"""Transactions that wait in the mempool and are never mined: they put off what honest programs do, and prevent nothing.

Whoever sends one can replace it by an empty transaction just before each block, for the price of that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hearing import convicted
from web3 import Web3
from web3.middleware import Web3Middleware

from registry.chain import calls
from registry.chain.challenges import Challenges
from registry.chain.client import Client
from registry.chain.contract_errors import AlreadyFinalized
from registry.chain.contract_structs import Shown, Target
from registry.chain.court import Court
from registry.chain.journal import Journal
from registry.chain.sending import Call, Sending
from registry.dev.embedded import sleep_until
from registry.disputes.charges import basis_of
from registry.disputes.demands import Demands, demands_of
from registry.disputes.openings import chunks_of_file
from registry.ethereum.keys import to_checksum
from registry.roles import aggregator, auditor
from registry.roles.claims import Claim, sealing
from registry.roles.purse import Purse
from registry.types import Fault, Part, Phase, Tree

pytestmark = pytest.mark.slow

ETHER = 10**18


@dataclass
class Pool:
    """A node whose pending block has a transaction of mallory's that no block ever has; and the clock of its users."""

    house: Any
    call: Call | None = None
    clock_set: float = 0.0

    def client(self, name: str) -> Client:
        """An account that asks this node."""
        pool, tester = self, self.house.chain.w3.provider.ethereum_tester

        class Pending(Web3Middleware):
            def wrap_make_request(self, make_request: Any) -> Any:
                def made(method: Any, params: Any) -> Any:
                    simulated = method in ("eth_call", "eth_estimateGas", "eth_getBlockTransactionCountByNumber")
                    if pool.call is None or not simulated or params[-1] != "pending":
                        return make_request(method, params)
                    if method == "eth_getBlockTransactionCountByNumber":
                        return {"jsonrpc": "2.0", "id": 1, "result": hex(1)}
                    before = tester.take_snapshot()
                    make_request("eth_sendRawTransaction", [pool.signed()])
                    try:
                        return make_request(method, params)
                    finally:
                        tester.revert_to_snapshot(before)

                return made

        w3 = Web3(self.house.chain.w3.provider)
        w3.middleware_onion.inject(Pending, layer=0)
        signer = self.house.clients[name].transactor._signer
        sending = Sending(timeout=5, poll=0.01, clock=lambda: time.time() + self.clock_set)
        return Client(w3, self.house.address, signer=signer, journal=Journal(None), sending=sending)

    def signed(self) -> str:
        mallory, w3 = self.house.mallory, self.house.chain.w3
        assert self.call is not None
        fields = {"chainId": mallory.chain_id, "nonce": w3.eth.get_transaction_count(to_checksum(mallory.account))}
        fields |= {"value": self.call.value, "data": self.call.data, "gas": 3_000_000}
        fields |= {"to": to_checksum(self.call.to), "type": 2, "maxFeePerGas": 10**11, "maxPriorityFeePerGas": 10**9}
        return "0x" + bytes(mallory.transactor._signer.sign_transaction(fields)).hex()


class Attested:
    """`first` and `second` have attested the true result; the stranger demands leaves of its aggregate."""

    def __init__(self, house: Any) -> None:
        self.house, self.pool = house, Pool(house)
        for name in ("first", "second"):
            aggregator.advance(house.clients[name], house.store, house.folder / name, house.model_id)
        assert house.owner.phase(house.model_id, 1) == Phase.CHALLENGE
        self.target = Target(house.model_id, 1, house.outcome().result)
        self.court = Court(house.stranger)
        self.turns = sorted(("first", "second"), key=lambda name: house.clients[name].account)
        """Of the leaf with index 0."""
        self.memory = aggregator.AggregatorMemory()

    def demand(self, leaves: int) -> None:
        deposit = self.court.deposit_now(self.target)
        self.court.demand_chunks(self.target, Tree.AGGREGATE, list(range(leaves)), deposit=deposit)

    @property
    def demands(self) -> Demands:
        return demands_of(self.court, self.house.owner.dispute(self.house.model_id, 1))

    def answer(self, function: str) -> None:
        """Put mallory's answer to all that is demanded into the pool."""
        chunks = chunks_of_file(self.house.folder / "outcome" / "aggregate.safetensors")
        shown = [Shown(leaf, chunks.opening(leaf.index)) for leaf in self.demands.open]
        attesters = [self.house.clients[name].account for name in self.turns]
        named = self.house.model_id, 1
        arguments: dict[str, tuple[Any, ...]] = {
            "showLeaf": (shown[0].demanded, shown[0].opening),
            "showLeaves": (shown,),
            "showLate": (*named, shown[0].demanded, shown[0].opening, attesters),
        }
        self.pool.call = Court(self.house.mallory).call(function, *arguments[function])

    def advance(self, client: Client, name: str) -> str:
        house = self.house
        return aggregator.advance(client, house.store, house.folder / name, house.model_id, memory=self.memory)


@pytest.fixture
def attested(federation: Any, new_plan: Callable[..., Any]) -> Attested:
    house = federation
    for name in ("first", "second"):
        Court(house.clients[name]).deposit_bond(house.model_id, ETHER)
    new_plan(house, quorum=2, bond_gwei=10**9, answer_duration=120, late_duration=240, challenge_duration=32 * 360)
    house.owner.open_round(house.model_id)
    for seed, name in enumerate(("ann", "bob", "cyn")):
        house.contribute(name, house.update(name, seed=seed))
    house.sleep_to("publish_deadline")
    return Attested(house)


# Answers --------------------------------------------------------------------------------------------------------------


def test_an_unmined_answer_silences_nobody_whose_turn_is_first(attested: Attested) -> None:
    first = attested.turns[0]
    client = attested.pool.client(first)
    attested.demand(1)
    attested.answer("showLeaf")
    assert attested.court.demand(attested.demands.open[0]).closed is False
    assert Court(client).demand(attested.demands.open[0], block="pending").closed
    assert attested.advance(client, first) == "round 1: showed a leaf"
    assert attested.demands.open == ()


@pytest.mark.parametrize("function", ["showLeaf", "showLate"])
def test_an_unmined_answer_postpones_a_later_turn_up_to_half_of_the_time(attested: Attested, function: str) -> None:
    later, w3 = attested.turns[1], attested.house.chain.w3
    client = attested.pool.client(later)
    attested.demand(1)
    (leaf,) = attested.demands.open
    deadline, late = attested.demands.deadlines[leaf], attested.demands.late_deadlines[leaf]
    begin, end = (deadline - 120, deadline) if function == "showLeaf" else (deadline, late)
    attested.answer(function)
    sleep_until(w3, begin + (end - begin) * 3 // 8)
    assert attested.advance(client, later) == "", "its turn has come, but somebody else seems to be answering"
    sleep_until(w3, begin + (end - begin) // 2)
    assert attested.advance(client, later) == "round 1: showed a leaf"
    assert attested.demands.open == ()


def test_an_unmined_answer_leaves_no_other_without_gas(attested: Attested) -> None:
    """Leaves that are shown already cost less: at the pending block nodes estimate too little."""
    first = attested.turns[0]
    client = attested.pool.client(first)
    attested.demand(6)
    attested.answer("showLeaves")
    sleep_until(attested.house.chain.w3, max(attested.demands.deadlines.values()) - 60)  # all turns have come
    assert attested.advance(client, first) == "round 1: showed 6 leaves"
    assert attested.demands.open == ()


def test_an_auditor_is_put_off_by_an_unmined_answer_for_half_of_the_late_period(attested: Attested) -> None:
    house, client = attested.house, attested.pool.client("stranger")
    attested.demand(1)
    (leaf,) = attested.demands.open
    deadline, late = attested.demands.deadlines[leaf], attested.demands.late_deadlines[leaf]
    purse, memory = Purse(client, house.folder / "purse.json", ETHER), auditor.AuditorMemory()

    def advance() -> str:
        folder = house.folder / "auditor"
        return auditor.advance(client, house.store, folder, house.model_id, purse=purse, memory=memory)

    assert "recomputed" in advance()
    attested.answer("showLate")
    sleep_until(house.chain.w3, deadline + (late - deadline) * 3 // 8)
    assert advance() == ""
    sleep_until(house.chain.w3, deadline + (late - deadline) // 2)
    assert "late, for the result is right" in advance()


# Convictions ----------------------------------------------------------------------------------------------------------


def test_an_unmined_conviction_keeps_no_auditor_from_convicting(published: Any) -> None:
    house = published
    result = house.outcome().result
    result = replace(result, roots=replace(result.roots, step=1))
    house.attest("mallory", result)
    pool, round = Pool(house), house.round()
    house.clients["stranger"] = pool.client("stranger")
    target = Target(house.model_id, 1, result)
    pool.call = Challenges(house.mallory).call("convictRoots", target, basis_of(round.form.rules, round.parent))
    assert house.stranger.phase(house.model_id, 1, block="pending") == Phase.AGGREGATE
    assert convicted(house) == Fault.ROOTS


def test_an_unmined_closing_keeps_no_auditor_from_closing(published: Any) -> None:
    house = published
    result = house.outcome().result
    house.attest("mallory", result)
    court, target = Court(house.stranger), Target(house.model_id, 1, result)
    court.demand_chunks(target, Tree.AGGREGATE, [0], deposit=court.deposit_now(target))
    demands = demands_of(court, house.owner.dispute(house.model_id, 1))
    (leaf,) = demands.open
    sleep_until(house.chain.w3, demands.late_deadlines[leaf])
    pool = Pool(house, Court(house.mallory).call("closeDemand", house.model_id, 1, leaf))
    client = pool.client("stranger")
    purse = Purse(client, house.folder / "purse.json", ETHER)
    said = auditor.advance(client, house.store, house.folder / "auditor", house.model_id, purse=purse)
    assert said.endswith("was not shown: the result is void")


def test_an_unmined_copy_of_a_seal_keeps_nobody_from_sealing(published: Any) -> None:
    house, pool = published, Pool(published)
    court = Court(pool.client("stranger"))
    claim = Claim(house.record().round_id, b"\x01" * 32, Part.WHOLE, 0)
    (pool.call,) = sealing(court, house.folder, [claim])
    assert sealing(court, house.folder, [claim]) == [pool.call]


# Rounds ---------------------------------------------------------------------------------------------------------------


def test_an_unmined_opening_does_not_count_as_a_round(federation: Any) -> None:
    """Else the opening of round 1 would be remembered as that of round 2, which would then never be opened."""
    house = federation
    pool = Pool(house, calls.open_round(house.address, house.model_id, 1))
    client = pool.client("owner")
    key = calls.open_round(house.address, house.model_id, 1).key
    client.transactor._tried[key] = 0.0  # long ago
    client.open_round(house.model_id)
    assert [intent.key for intent in client.transactor.journal.all()] == [key]


def test_an_unmined_finalization_postpones_that_of_others_for_a_minute(published: Any) -> None:
    """Anyone may send it, so that all aggregators would; one that is never mined holds no round up."""
    house, pool = published, Pool(published)
    result = house.outcome().result
    house.attest("first", result)
    house.sleep_to("challenge_deadline")
    pool.call = calls.finalize_round(house.address, house.model_id, 1, result)
    client = pool.client("second")
    for waited in (0.0, 59.0):
        pool.clock_set = waited
        with pytest.raises(AlreadyFinalized):
            aggregator.advance(client, house.store, house.folder / "second", house.model_id)
    pool.clock_set = 61.0
    said = aggregator.advance(client, house.store, house.folder / "second", house.model_id)
    assert said == "round 1: finalized"
