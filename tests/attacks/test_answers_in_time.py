"""What keeps answers from being in time: blocks that come late, slow nodes, full disks, and many demands at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from registry.chain.client import Client
from registry.chain.contract_structs import Dispute, Target
from registry.chain.court import Court
from registry.chain.journal import Intent, Journal
from registry.chain.sending import Sending
from registry.dev.embedded import sleep_until
from registry.disputes.demands import Demands, demands_of
from registry.disputes.tree_cache import keep_blob, place_of
from registry.errors import TransactionFailed
from registry.ethereum.fees import suggest_fees
from registry.ethereum.hashing import keccak
from registry.ethereum.networks import Finality, FinalityRule
from registry.ethereum.node import NodeRefused
from registry.roles import aggregator, auditor
from registry.roles.purse import Purse
from registry.roles.watch_costs import price_of, watch_costs
from registry.types import ModelId, Tree

pytestmark = pytest.mark.slow

BLOCKS = 64
"""For the aggregator a block is final when so many stand on it."""


class Node:
    """The node of a federation, which may keep transactions back, and takes its time over each request."""

    def __init__(self, house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.w3, self.sent, self.asked = house.chain.w3, list[str](), list[str]()
        self.holds_back = False
        self.before: Callable[[str], None] = lambda method: None
        self.refuses: Callable[[str], bool] = lambda method: False
        self._ask = self.w3.provider.make_request
        monkeypatch.setattr(self.w3.provider, "make_request", self.make_request)
        monkeypatch.setattr(self.w3.provider, "_request_func_cache", (None, None))

    def make_request(self, method: str, params: Any) -> Any:
        self.before(method)
        self.asked.append(method)
        if self.refuses(method):
            return {"jsonrpc": "2.0", "id": 1, "error": {"code": -32005, "message": "limit exceeded"}}
        if method == "eth_sendRawTransaction":
            self.sent.append(params[0])
            if self.holds_back:
                raw = bytes.fromhex(params[0].removeprefix("0x"))
                return {"jsonrpc": "2.0", "id": 1, "result": "0x" + keccak(raw).hex()}
        return self._ask(method, params)

    def mine(self, raw: str) -> None:
        """Have a transaction that was kept back mined."""
        self._ask("eth_sendRawTransaction", [raw])


class Answerer:
    """`first`, who has attested round 1, and the stranger, who demands leaves of the result."""

    def __init__(self, house: Any) -> None:
        self.house, self.court = house, Court(house.stranger)
        self.clock_set = 0.0
        self.sleep: Callable[[float], None] = time.sleep
        house.chain.w3.provider.ethereum_tester.mine_blocks(BLOCKS + 1)
        own = house.clients["first"]
        self.client = Client(
            own.w3,
            own.address,
            signer=own.transactor._signer,
            journal=Journal(None),
            finality=Finality(FinalityRule.CONFIRMATIONS, BLOCKS),
            sending=Sending(
                timeout=2,
                poll=0.01,
                clock=lambda: time.time() + self.clock_set,
                sleep=lambda seconds: self.sleep(seconds),
            ),
        )
        self.memory = aggregator.AggregatorMemory()
        assert self.advance() == "round 1: attested 3 contributions"

    def advance(self) -> str:
        house = self.house
        return aggregator.advance(self.client, house.store, house.folder / "first", house.model_id, memory=self.memory)

    def demand(self, leaves: int, first: int = 0) -> None:
        target = Target(self.house.model_id, 1, self.house.outcome().result)
        deposit = self.court.deposit_now(target)
        self.court.demand_chunks(target, Tree.AGGREGATE, list(range(first, first + leaves)), deposit=deposit)

    def demand_list(self) -> None:
        target = Target(self.house.model_id, 1, self.house.outcome().result)
        self.court.demand_contributions(target, [0, 1, 2], deposit=self.court.deposit_now(target))

    def damage_aggregate(self) -> None:
        place = place_of(self.house.folder / "first", self.house.model_id, 1)
        root = self.house.outcome().result.aggregate_root.hex()
        path = next(path for path in place.iterdir() if path.name.startswith(root))
        path.write_bytes(path.read_bytes()[:100])

    @property
    def dispute(self) -> Dispute:
        return self.house.owner.dispute(self.house.model_id, 1)  # type: ignore[no-any-return]

    @property
    def demands(self) -> Demands:
        return demands_of(self.court, self.dispute)


@pytest.fixture
def answerer(federation: Any, new_plan: Callable[..., Any]) -> Answerer:
    """With a bond, and a late period after an answer time of two minutes."""
    return answering(federation, new_plan, 120, 240)


def answering(house: Any, new_plan: Callable[..., Any], answer_duration: int, late_duration: int) -> Answerer:
    Court(house.first).deposit_bond(house.model_id, 10**18)
    durations = {"answer_duration": answer_duration, "late_duration": late_duration}
    new_plan(house, bond_gwei=10**9, challenge_duration=32 * sum(durations.values()), **durations)
    house.owner.open_round(house.model_id)
    for seed, name in enumerate(("ann", "bob", "cyn")):
        house.contribute(name, house.update(name, seed=seed))
    house.sleep_to("publish_deadline")
    return Answerer(house)


# A mined transaction need not have shown what it was to show ----------------------------------------------------------


@pytest.mark.parametrize("leaves", [1, 2])
def test_what_was_mined_after_the_answer_time_is_shown_late(
    answerer: Answerer, leaves: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction with one leaf reverts; one with many skips each leaf, and succeeds."""
    node = Node(answerer.house, monkeypatch)
    answerer.demand(leaves)
    node.holds_back = True
    assert answerer.advance() == ""
    node.holds_back = False
    sleep_until(node.w3, max(answerer.demands.deadlines.values()))
    node.mine(node.sent[-1])
    said = [answerer.advance() for _ in range(3)]
    assert f"round 1: showed {'a leaf' if leaves == 1 else '2 leaves'}" in said
    assert answerer.demands.open == ()


def test_what_a_reorganisation_puts_before_its_demand_is_shown_again(
    answerer: Answerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, tester = Node(answerer.house, monkeypatch), answerer.house.chain.w3.provider.ethereum_tester
    before = tester.take_snapshot()
    answerer.demand(2)
    demand = node.sent[-1]
    assert answerer.advance() == "round 1: showed 2 leaves"
    answer = node.sent[-1]
    tester.revert_to_snapshot(before)
    node.mine(answer)
    node.mine(demand)
    assert len(answerer.demands.open) == 2
    answerer.advance()
    answerer.advance()
    assert answerer.demands.open == ()


# A late period that is shorter than the pause before a retry ----------------------------------------------------------


@pytest.mark.parametrize(("left", "pause"), [(1600, 112), (40, 10), (-20, 10)])
def test_a_leaf_is_not_put_off_beyond_its_deadline(
    federation: Any, new_plan: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, left: int, pause: int
) -> None:
    """It is retried after a sixteenth of the answer time, or a quarter of what is left of it, or of the late period."""
    answerer = answering(federation, new_plan, 1800, 60)
    node = Node(answerer.house, monkeypatch)
    answerer.damage_aggregate()
    answerer.demand(1)
    (leaf,) = answerer.demands.open
    now = answerer.demands.deadlines[leaf] - left
    sleep_until(node.w3, now)

    def fails(*_: Any, **__: Any) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("registry.disputes.answers.keep_blob", fails)
    assert answerer.advance() == ""
    assert 0 <= answerer.memory.answering.not_before[leaf] - now - pause <= 2


# Many demands ---------------------------------------------------------------------------------------------------------


def test_the_first_of_many_answers_is_not_late_because_there_are_many(
    answerer: Answerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With forty leaves as with one, a fixed number of requests comes before the first answer and between two."""
    node, before = Node(answerer.house, monkeypatch), list[int]()
    for leaves, first in ((1, 0), (40, 1)):
        answerer.demand(leaves, first)
        node.asked.clear()
        assert answerer.advance().startswith("round 1: showed")
        before.append(node.asked.index("eth_sendRawTransaction"))
    at = [place for place, method in enumerate(node.asked) if method == "eth_sendRawTransaction"]
    assert len(at) == 2
    assert before[1] <= before[0] + 2
    assert at[1] - at[0] <= 20


def test_whose_turn_is_later_sends_nothing_that_is_in_the_pool(
    federation: Any, new_plan: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In full blocks the same answers twice would make both late; whose turn is first does not ask."""
    house = federation
    new_plan(house, quorum=2)
    house.owner.open_round(house.model_id)
    for seed, name in enumerate(("ann", "bob", "cyn")):
        house.contribute(name, house.update(name, seed=seed))
    house.sleep_to("publish_deadline")
    target = Target(house.model_id, 1, house.outcome().result)
    for name in ("first", "second"):
        house.attest(name, target.result)
    court, demand = Court(house.stranger), Court.demand
    court.demand_chunks(target, Tree.AGGREGATE, [0, 1], deposit=court.deposit_now(target))
    demands = demands_of(court, house.owner.dispute(house.model_id, 1))
    sleep_until(house.chain.w3, max(demands.deadlines.values()) - house.plan.answer_duration * 5 // 8)

    def pending(self: Court, leaf: Any, *, block: Any = "latest") -> Any:
        return replace(demand(self, leaf), closed=block == "pending")

    monkeypatch.setattr(Court, "demand", pending)
    assert aggregator.advance(house.first, house.store, house.folder / "first", house.model_id).endswith("a leaf")
    (left,) = demands_of(court, house.owner.dispute(house.model_id, 1)).open
    attesters = sorted(house.clients[name].account for name in ("first", "second"))
    assert attesters[left.index] != house.first.account


def test_answers_that_grow_late_while_others_are_sent_are_sent_as_late_ones(
    answerer: Answerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.roles.answering.TOGETHER", 1)
    node = Node(answerer.house, monkeypatch)
    answerer.demand(2)
    end = max(answerer.demands.deadlines.values())

    def pass_time(method: str) -> None:
        if node.sent:  # the first is mined
            node.before = lambda method: None
            sleep_until(node.w3, end)

    node.sent.clear()
    node.before = pass_time
    assert answerer.advance() == "round 1: showed 2 leaves"
    assert answerer.demands.open == ()
    assert answerer.court.open_demands(answerer.dispute.round_id, answerer.dispute.tally).late_burnt > 0


# One tree that cannot be made -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError(), KeyError("a bug")])
def test_a_tree_that_cannot_be_made_keeps_no_other_leaf_back(
    answerer: Answerer, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answerer.damage_aggregate()
    answerer.demand(2)
    answerer.demand_list()

    def fails(*_: Any, **__: Any) -> bool:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr("registry.disputes.answers.keep_blob", fails)
        assert answerer.advance() == "round 1: showed 3 leaves"
        assert answerer.advance() != "round 1: showed a leaf"
    assert len(answerer.demands.open) == 2
    assert caplog.text.count("cannot be shown") == 1, "and it is not tried at each look"
    sleep_until(answerer.client.w3, max(answerer.memory.answering.not_before.values()))
    assert answerer.advance() == "round 1: showed 2 leaves", "once there is room again"
    assert answerer.demands.open == ()


def test_leaves_at_hand_are_sent_before_a_tree_is_made(answerer: Answerer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though those whose tree must be made were demanded first."""
    node, sent = Node(answerer.house, monkeypatch), list[int]()
    answerer.damage_aggregate()
    answerer.demand(2)
    answerer.demand_list()

    def keep(*arguments: Any) -> bool:
        sent.append(len(node.sent))
        return keep_blob(*arguments)

    monkeypatch.setattr("registry.disputes.answers.keep_blob", keep)
    node.sent.clear()
    assert answerer.advance() == "round 1: showed 5 leaves"
    assert sent == [1], "once for both leaves, after the others"


# What cannot be sent now ----------------------------------------------------------------------------------------------


def test_fees_over_the_cap_end_no_step_and_are_said_once(answerer: Answerer, caplog: pytest.LogCaptureFixture) -> None:
    answerer.demand(3)
    transactor = answerer.client.transactor
    usual, transactor._sending = transactor._sending, replace(transactor._sending, max_fee_cap=1)
    assert [answerer.advance() for _ in range(3)] == [""] * 3
    assert caplog.text.count("over the cap") == 1
    transactor._sending = usual
    assert answerer.advance() == "round 1: showed 3 leaves"


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("leaves", [1, 3])
def test_answers_are_sent_though_a_node_estimates_no_gas(
    answerer: Answerer, leaves: int, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(answerer.house, monkeypatch)
    answerer.demand(leaves)
    if late:
        sleep_until(node.w3, max(answerer.demands.deadlines.values()))
    node.refuses = lambda method: method == "eth_estimateGas"
    assert answerer.advance() == f"round 1: showed {'a leaf' if leaves == 1 else f'{leaves} leaves'}"
    assert answerer.demands.open == ()


def test_an_answer_that_a_node_refuses_to_run_keeps_no_other_back(
    answerer: Answerer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("registry.roles.answering.TOGETHER", 1)
    node, refused = Node(answerer.house, monkeypatch), ["eth_estimateGas", "eth_call"] * 2
    answerer.demand(3)
    node.refuses = lambda method: bool(refused) and method == refused[0] and bool(refused.pop(0))
    assert answerer.advance() == "round 1: showed 2 leaves"
    assert refused == []
    assert caplog.text.count("not shown yet") == 1
    assert answerer.advance() == "round 1: showed a leaf"


def test_a_transaction_that_a_node_refuses_keeps_no_other_from_being_followed(
    answerer: Answerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, transactor = Node(answerer.house, monkeypatch), answerer.client.transactor
    node.holds_back, seen, advance = True, list[str](), transactor._advance
    for byte in (b"\x01", b"\x02"):
        answerer.client.submit(answerer.court.call("sealClaim", byte * 32))

    def refuses_the_first(intent: Intent, *more: Any) -> Intent:
        seen.append(intent.key)
        if len(seen) == 1:
            raise NodeRefused("eth_estimateGas: limit exceeded", said="limit exceeded")
        return advance(intent, *more)

    monkeypatch.setattr(transactor, "_advance", refuses_the_first)
    assert len(transactor.keep()) == len(set(seen)) >= 2


def test_answers_are_bid_for_though_no_bond_is_at_stake(
    federation: Any, new_plan: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The role is: without a bid above the first, whoever fills blocks at a higher price takes it."""
    house = federation
    new_plan(house, bond_gwei=0, answer_duration=120, challenge_duration=32 * 120)
    house.owner.open_round(house.model_id)
    for seed, name in enumerate(("ann", "bob", "cyn")):
        house.contribute(name, house.update(name, seed=seed))
    house.sleep_to("publish_deadline")
    answerer, node = Answerer(house), Node(house, monkeypatch)
    answerer.demand(1)
    node.holds_back, node.sent = True, []
    for waited in (0, 40, 80):
        answerer.clock_set = waited
        assert answerer.advance() == ""
    assert len(set(node.sent)) == 3


def test_late_answers_of_an_auditor_wait_for_no_block_and_are_bid_for(
    answerer: Answerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With blocks that come late, all are on their way at once, and each bids more as its time passes."""
    house, target = answerer.house, Target(answerer.house.model_id, 1, answerer.house.outcome().result)
    answerer.court.demand_chunks(target, Tree.AGGREGATE, [0, 1], deposit=10**16)
    sleep_until(house.chain.w3, max(answerer.demands.deadlines.values()))
    sending = replace(answerer.client.transactor._sending, timeout=0.1)
    signer = house.second.transactor._signer
    client = Client(house.chain.w3, house.address, signer=signer, journal=Journal(None), sending=sending)
    purse, before = Purse(client, house.folder / "purse.json", 10**18), client.balance(client.account)
    by_name = {
        task.name.partition(" ")[0]: task.step
        for task in auditor.tasks(client, house.store, house.folder / "auditor", [house.model_id], purse=purse)
    }
    assert by_name["looking"]().endswith("recomputed to the bit")
    node = Node(house, monkeypatch)
    node.holds_back = True
    assert by_name["showing"]() == "round 1: showed 2 leaves late, for the result is right"
    assert by_name["showing"]() == ""
    assert len(set(node.sent)) == 2
    answerer.clock_set = 70.0
    assert by_name["showing"]() == ""
    bids = list(dict.fromkeys(node.sent))
    assert len(bids) == 4
    for raw in bids[2:]:
        node.mine(raw)
    assert answerer.demands.open == ()
    assert by_name["showing"]() == ""
    by_name["transactions"]()
    node.holds_back = False
    purse.send(answerer.court.call("sealClaim", b"\x01" * 32))
    assert purse.spent == before - client.balance(client.account), "each is booked once, at what it cost"


# A clock that is set back ---------------------------------------------------------------------------------------------


def test_a_clock_that_is_set_back_keeps_no_answer_from_being_outbid(
    answerer: Answerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(answerer.house, monkeypatch)
    answerer.demand(1)
    node.holds_back, node.sent = True, []
    answerer.advance()
    answerer.clock_set = -3600.0
    for _ in range(2):
        answerer.client.transactor.keep(left=80, most=10**12)
    assert len(set(node.sent)) == 2, "by one bid, and that one is given its time"
    answerer.clock_set += 21
    answerer.client.transactor.keep(left=80, most=10**12)
    assert len(set(node.sent)) == 3


def test_a_clock_that_is_set_back_keeps_nobody_waiting(answerer: Answerer, monkeypatch: pytest.MonkeyPatch) -> None:
    node, slept = Node(answerer.house, monkeypatch), list[float]()
    call = answerer.court.call("sealClaim", b"\x01" * 32)
    node.holds_back = True
    answerer.client.submit(call)

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        answerer.clock_set = -3600.0
        assert len(slept) < 3

    answerer.sleep = sleep
    with pytest.raises(TransactionFailed, match="expected it mined within 2 s"):
        answerer.client.wait(call, "mined")


@pytest.mark.parametrize("models", [1, 2])
def test_late_answers_leave_what_audits_may_cost(answerer: Answerer, models: int) -> None:
    """Else demands of a right result, which its attesters do not answer, empty the purse before the next is false."""
    house, target = answerer.house, Target(answerer.house.model_id, 1, answerer.house.outcome().result)
    values, fees = house.round().form.rules.values, suggest_fees(house.chain.w3)
    costs = watch_costs(house.plan, 3, values, 0).lines
    need = models * price_of(costs, house.plan, fees.base_fee or 0, fees.priority_fee).limit
    answerer.court.demand_chunks(target, Tree.AGGREGATE, [0, 1], deposit=10**16)
    sleep_until(house.chain.w3, max(answerer.demands.deadlines.values()))
    client = house.second
    watched = [house.model_id, ModelId(b"\x07" * 32)][:models]

    def step(limit: int) -> str:
        purse = Purse(client, house.folder / "purse.json", limit)
        steps = auditor.tasks(client, house.store, house.folder / "auditor", watched, purse=purse, memories=memories)
        by_name = {task.name: task.step for task in steps}
        of_model = house.model_id.hex()[:10]
        return by_name[f"looking {of_model}"]() + by_name[f"showing {of_model}"]()

    memories = [auditor.AuditorMemory() for _ in watched]
    assert step(need * 9 // 10).count("late answers wait, for audits come first") == 1
    assert "showed 2 leaves late" in step(2 * need + 10**17)
