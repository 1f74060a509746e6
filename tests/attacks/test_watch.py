"""Resilience of the honest programs: delays, malicious stores, lack of funds, reorgs."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hearing import convicted, every_value, lie, show, update_of, without

from registry.chain.client import Client
from registry.chain.contract_errors import AlreadyDemanded
from registry.chain.contract_events import LeafShown, ResultConvicted
from registry.chain.contract_hashes import result_hash
from registry.chain.contract_structs import Counted, Grant, Target
from registry.chain.court import Court
from registry.chain.journal import Journal
from registry.chain.sending import Call, Sending
from registry.content.manifest import VersionManifest
from registry.content.merkle import counted_root
from registry.dev.embedded import sleep_until
from registry.dev.forgeries import nudged
from registry.disputes.demands import demands_of
from registry.disputes.openings import chunks_of_blob, chunks_of_file
from registry.disputes.streaming import conviction_gas
from registry.errors import NodeUnavailable
from registry.ethereum.fees import suggest_fees
from registry.ethereum.networks import Finality, FinalityRule
from registry.ethereum.node import chain_time
from registry.roles import aggregator, auditor
from registry.roles.loop import TaskHealth, supervise
from registry.roles.purse import Purse
from registry.rounds.loaded_round import load_round
from registry.rounds.reports import load_report
from registry.rounds.server_steps import next_version
from registry.rules.encoding import RoundScalars
from registry.store.base import ContentStore
from registry.store.layered import LayeredStore
from registry.store.limited import LimitedStore
from registry.store.manifests import get_manifest
from registry.store.memory import MemoryStore
from registry.types import Cid, Digest, Fault, Phase, Role, Root, Tree

pytestmark = pytest.mark.slow

ETHER = 10**18
STEP = 2.0**-22
AHEAD = 4
"""Blocks that a store has under way at once."""


def slow(house: Any, name: str, blocks: int = 64) -> Client:
    """The same account, for whom a block is final when so many stand on it, and who waits for none of them."""
    client: Client = house.clients[name]
    return Client(
        client.w3,
        client.address,
        signer=client.transactor._signer,
        journal=Journal(None),
        finality=Finality(FinalityRule.CONFIRMATIONS, blocks),
        sending=Sending(timeout=2, poll=0.01),
    )


def take_part(house: Any) -> None:
    """Open round 1 under the plan that stands; Ann, Bob and Cyn commit and publish."""
    house.owner.open_round(house.model_id)
    for seed, name in enumerate(("ann", "bob", "cyn")):
        house.contribute(name, house.update(name, seed=seed))
    house.sleep_to("publish_deadline")


def open_demands(house: Any) -> int:
    dispute = house.owner.dispute(house.model_id, 1)
    return len(demands_of(Court(house.owner), dispute).open)


def demand(house: Any, tree: Tree, indices: list[int]) -> Target:
    """A stranger demands leaves of the result in its window."""
    court, target = Court(house.stranger), Target(house.model_id, 1, house.outcome().result)
    court.demand_chunks(target, tree, indices, deposit=court.deposit_now(target))
    return target


def role_kept(house: Any, name: str = "first") -> bool:
    return bool(house.owner.member(house.model_id, house.clients[name].account).roles & Role.AGGREGATOR)


# A step that waits keeps no other from happening in time --------------------------------------------------------------


def test_a_demand_is_answered_before_the_attestation_is_final(published: Any) -> None:
    house = published
    house.chain.w3.provider.ethereum_tester.mine_blocks(80)
    client, memory = slow(house, "first"), aggregator.AggregatorMemory()

    def advance() -> str:
        return aggregator.advance(client, house.store, house.folder / "first", house.model_id, memory=memory)

    assert advance() == "round 1: attested 3 contributions"
    demand(house, Tree.AGGREGATE, [0])
    assert advance() == "round 1: showed a leaf"
    assert open_demands(house) == 0
    attested = next(i for i in client.transactor.journal.all() if i.key.startswith("attest"))
    assert attested.state.live, "and it is not final yet"


class Stalled(MemoryStore):
    """A store that does not return while it is held up; a download that takes its time."""

    def __init__(self, blocks: dict[Cid, bytes]) -> None:
        super().__init__()
        self._blocks.update(blocks)
        self.go_on = threading.Event()
        self.asked = threading.Event()
        self.slow: set[Cid] = set()

    def _get(self, cid: Cid) -> bytes:
        if cid in self.slow:
            self.asked.set()
            assert self.go_on.wait(60)
        return super()._get(cid)


def test_demands_are_answered_while_an_update_is_waited_for(opened: Any) -> None:
    """Attesting looks for what is not there, for as long as the store lets it, after the quorum has its result."""
    house = opened
    house.contribute("ann", house.update("ann"))
    late = house.update("bob", seed=1)
    house.commit("bob", late)
    house.sleep_to("publish_deadline")
    house.attest("first", house.outcome().result)
    memory = aggregator.AggregatorMemory()
    store = Stalled(house.store._blocks)
    client, stop = house.clients["first"], threading.Event()
    steps = aggregator.tasks(client, store, house.folder / "first", house.model_id, memory=memory)
    late_cid = late.manifest.delta.cid
    # As it is when the quorum is reached in the middle of this step.
    waiting = replace(next(task for task in steps if task.name == "attesting"), step=lambda: str(store.get(late_cid)))
    house.publish(late, store)
    store.slow.add(late_cid)
    demand(house, Tree.AGGREGATE, [0])
    said: list[str] = []
    tasks = [waiting if task.name == "attesting" else task for task in steps]
    running = threading.Thread(target=supervise, args=(tasks, stop), kwargs={"poll": 0.01, "done": said.append})
    running.start()
    try:
        assert store.asked.wait(30)
        end = time.monotonic() + 60
        while open_demands(house) and time.monotonic() < end:
            time.sleep(0.05)
        assert open_demands(house) == 0
        assert not store.go_on.is_set()
    finally:
        stop.set()
        store.go_on.set()
        running.join(60)


def test_reports_that_nobody_has_keep_nobody_from_attesting(
    federation: Any, new_plan: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results of more contributions are read first; a store may look half a minute for each block of their reports."""
    house, limits = federation, list[float]()
    new_plan(house, quorum=2)
    take_part(house)
    result = replace(house.outcome().result, report_digest=Digest(b"\x09" * 32))
    house.attest("mallory", replace(result, version_digest=Digest(b"\x08" * 32)))

    class Told(LimitedStore):
        def __init__(self, store: ContentStore, seconds: float) -> None:
            limits.append(seconds)
            super().__init__(store, seconds)

    monkeypatch.setattr("registry.roles.aggregator.LimitedStore", Told)
    left = house.owner.round(house.model_id, 1).aggregate_deadline - chain_time(house.chain.w3)
    assert aggregator.advance(house.first, house.store, house.folder / "first", house.model_id)
    assert any(house.owner.attestation(house.model_id, 1, house.first.account))
    assert limits[1:] == [pytest.approx(min(left / 4, 300) / 4, abs=1)]  # after that of the updates


def test_attesters_take_turns(federation: Any, new_plan: Callable[..., Any]) -> None:
    house = federation
    new_plan(house, quorum=2)
    take_part(house)
    result = house.outcome().result
    for name in ("first", "second"):
        house.attest(name, result)
    demand(house, Tree.AGGREGATE, [0])
    attesters = sorted(house.clients[name].account for name in ("first", "second"))
    by_turn = sorted(("first", "second"), key=lambda name: attesters.index(house.clients[name].account))

    def advance(name: str) -> str:
        client = house.clients[name]
        return aggregator.advance(client, house.store, house.folder / name, house.model_id)

    assert advance(by_turn[1]) == "", "leaf 0 is the other's to show first"
    demands = demands_of(Court(house.owner), house.owner.dispute(house.model_id, 1))
    half = max(demands.deadlines.values()) - house.plan.answer_duration * 3 // 4
    sleep_until(house.chain.w3, half)
    assert advance(by_turn[1]) == "round 1: showed a leaf", "who does not take the turn loses it"


def test_another_account_answers_for_an_aggregator(published: Any) -> None:
    house, other = published, published.clients["second"]
    house.attest("first", house.outcome().result)
    demand(house, Tree.AGGREGATE, [0])
    steps = aggregator.tasks(
        house.clients["first"], house.store, house.folder / "first", house.model_id, answerer=other
    )
    nonce = house.chain.w3.eth.get_transaction_count(house.chain.w3.to_checksum_address(house.first.account))
    assert next(task for task in steps if task.name == "answering").step() == "round 1: showed a leaf"
    assert Court(other).credit(other.account) > 0
    after = house.chain.w3.eth.get_transaction_count(house.chain.w3.to_checksum_address(house.first.account))
    assert after == nonce, "nothing of its own held it up"
    assert role_kept(house)


# What can be checked without the rest is checked ----------------------------------------------------------------------


@pytest.mark.parametrize("published_aggregate", [True, False])
@pytest.mark.parametrize("answers", [True, False])
def test_a_false_version_is_convicted_though_a_contribution_is_hidden(
    wide: Any, published_aggregate: bool, answers: bool
) -> None:
    """Parent and aggregate give the version, whoever contributed."""
    house, ann = wide, update_of(wide, "ann")
    result = lie(house, house.store, version=every_value(nudged, 3503))
    made = get_manifest(house.store, result.version_digest, VersionManifest)
    aggregate = load_report(house.store, result.report_digest, 3).manifest.aggregate.blob
    store = without(house, ann, *([] if published_aggregate else [aggregate, made.weights.blob]))
    house.attest("mallory", result)
    openings = {}
    for blob in (ann, aggregate, made.weights.blob):
        chunks = chunks_of_blob(house.store, blob)
        openings[chunks.root] = chunks.opening
    fault = convicted(house, store, lambda: show(house, openings if answers else {}))
    assert fault is (Fault.VERSION if answers or published_aggregate else Fault.UNANSWERED)


def test_a_false_aggregate_is_convicted_at_a_sample_though_a_contribution_is_hidden(wide: Any) -> None:
    house, ann, edit = wide, update_of(wide, "ann"), every_value(lambda at: nudged(at, STEP), 3503)
    round, path = house.round(), house.folder / "false.safetensors"
    house.outcome()
    path.write_bytes(edit((house.folder / "outcome" / "aggregate.safetensors").read_bytes()))
    scalars = RoundScalars(1, 3, 303, 12)
    made = b"".join(next_version(house.store, round.parent, round.form, path, scalars, None))
    house.attest("mallory", lie(house, house.store, aggregate=edit, version=lambda _: made))  # and true to each other
    chunks = chunks_of_blob(house.store, ann)
    fault = convicted(house, without(house, ann), lambda: show(house, {chunks.root: chunks.opening}))
    assert fault is Fault.AGGREGATE


def test_a_true_result_of_which_a_contribution_is_hidden_stands_as_long_as_it_is_shown(wide: Any) -> None:
    house, ann = wide, update_of(wide, "ann")
    house.attest("mallory", house.outcome().result)
    chunks = chunks_of_blob(house.store, ann)
    fault = convicted(house, without(house, ann), lambda: show(house, {chunks.root: chunks.opening}))
    assert fault is Fault.NONE
    assert house.owner.phase(house.model_id, 1) == Phase.CHALLENGE


# Nothing ends more than the step that met it --------------------------------------------------------------------------


def test_a_list_of_two_hundred_million_is_charged_by_its_count(wide: Any) -> None:
    """No leaf of it is demanded one by one."""
    house = wide
    counted = Counted(1 << 28, b"\x05" * 32)
    root = counted_root(counted.count, counted.inner)
    honest = house.outcome().result
    house.attest("mallory", replace(honest, contributions_root=root, report_digest=Digest(b"\x09" * 32)))
    asked: list[int] = []
    # It cannot show leaf 0 of a tree that nobody has, so it is void for want of it; nothing else is demanded.
    assert convicted(house, answer=lambda: asked.append(_demanded(house))) is Fault.UNANSWERED
    assert max(asked) == 1


def _demanded(house: Any) -> int:
    dispute = house.mallory.dispute(house.model_id, 1)
    return len(demands_of(Court(house.mallory), dispute).deadlines) if any(dispute.tally) else 0


@pytest.mark.parametrize("error", [ValueError("a bug"), MemoryError(), RecursionError(), KeyError("header")])
def test_no_error_ends_a_task_or_holds_up_another(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    stop, calls, said = threading.Event(), [0], []
    from registry.roles.loop import LoopTask

    def fails() -> str:
        calls[0] += 1
        if calls[0] == 4:
            stop.set()
        if calls[0] < 3:
            raise error
        return "mended"

    health = {"bad": TaskHealth(), "good": TaskHealth()}
    good = LoopTask("good", lambda: said.append(1) or "")  # type: ignore[func-returns-value]
    supervise([LoopTask("bad", fails), good], stop, poll=0.01, done=lambda _: None, health=health)
    assert calls[0] >= 4
    assert len(said) > 1
    assert health["bad"].failures == 2
    assert type(error).__name__ in health["bad"].error
    assert not health["bad"].failing, "it goes on"
    told = [record for record in caplog.records if "retrying in" in record.getMessage()]
    assert len(told) == 1, "told once"


def test_one_model_that_cannot_be_looked_at_keeps_no_other_from_being_watched(wide: Any) -> None:
    """`cairn auditor run EVIL HONEST`: nothing of the first can be read, and the second is attested falsely."""
    house = wide
    house.attest("mallory", lie(house, house.store, aggregate=nudged(5, STEP)))
    client = house.stranger
    evil = house.owner.model_id(house.owner.account, Digest(b"\x01" * 32))
    house.owner.register_model(Digest(b"\x01" * 32), Root(b"\x02" * 32), Root(b"\x03" * 32))
    house.owner.grant_roles_batch(evil, [Grant(house.mallory.account, Role.PARTICIPANT | Role.AGGREGATOR)])
    plan = replace(house.plan, commit_duration=600)  # over before the honest model's window is
    house.owner.set_plan(evil, plan, house.rules)
    house.owner.open_round(evil)
    house.mallory.commit_update(evil, 1, Digest(b"\x04" * 32), Root(b"\x05" * 32), 1, 1)
    sleep_until(house.chain.w3, house.owner.round(evil, 1).publish_deadline)
    record_hash = house.owner.round(evil, 1).running_hash
    house.mallory.attest_result(evil, 1, replace(house.outcome().result, contributions=1), record_hash)
    assert house.owner.phase(evil, 1) == Phase.CHALLENGE
    purse = Purse(client, house.folder / "purse.json", 10 * ETHER)
    tasks = auditor.tasks(client, house.store, house.folder / "auditor", [evil, house.model_id], purse=purse)
    stop, said = threading.Event(), []
    health = {task.name: TaskHealth() for task in tasks}

    def done(text: str) -> None:
        said.append(text)
        if "convicted" in text:
            stop.set()

    timer = threading.Timer(120, stop.set)
    timer.start()
    supervise(tasks, stop, poll=0.05, done=done, health=health)
    timer.cancel()
    assert any("convicted: aggregate" in text for text in said), said
    assert any(health[name].failures for name in health if evil.hex()[:10] in name)


# Money ----------------------------------------------------------------------------------------------------------------


def left_with(house: Any, name: str, wei: int) -> None:
    """Take all but so much from an account."""
    client = house.clients[name]
    w3 = house.chain.w3
    price = w3.eth.get_block("latest")["baseFeePerGas"] * 2
    spare = client.balance(client.account) - wei - 21000 * price
    signed = client.transactor._signer._account.sign_transaction(
        {
            "to": house.owner.w3.to_checksum_address(b"\x77" * 20),
            "value": spare,
            "gas": 21000,
            "gasPrice": price,
            "nonce": w3.eth.get_transaction_count(w3.to_checksum_address(client.account)),
            "chainId": w3.eth.chain_id,
        }
    )
    w3.eth.send_raw_transaction(signed.raw_transaction)


@pytest.mark.parametrize("answers", [2, 9])
def test_what_answers_earn_pays_for_the_others(federation: Any, new_plan: Callable[..., Any], answers: int) -> None:
    """Sixty demands against a balance for a few of them, where a demand pays for its answer."""
    house = federation
    new_plan(house, demand_price_gwei=250_000)
    take_part(house)
    memory = aggregator.AggregatorMemory()

    def advance() -> str:
        client = house.clients["first"]
        return aggregator.advance(client, house.store, house.folder / "first", house.model_id, memory=memory)

    assert advance() == "round 1: attested 3 contributions"
    fee = house.chain.w3.eth.get_block("latest")["baseFeePerGas"] * 2 + 10**9
    left_with(house, "first", answers * 160_000 * fee)
    target = demand(house, Tree.AGGREGATE, list(range(60)))
    court = Court(house.stranger)
    earned = court.deposit_now(target) * 60
    for _ in range(40):
        advance()
        if not open_demands(house):
            break
    assert open_demands(house) == 0
    advance()
    client = house.first
    assert client.balance(client.account) + court.credit(client.account) > earned // 2, "and it is not poorer for it"


def overtaken(house: Any, monkeypatch: pytest.MonkeyPatch, name: str, by: str) -> None:
    """Have one account send the first of another's transactions before it, as whoever orders a block can."""
    provider, left = house.chain.w3.provider, [True]
    real, first = provider.make_request, house.clients[by]

    def make_request(method: str, params: Any) -> Any:
        if method == "eth_sendRawTransaction" and left:
            left.clear()
            (intent,) = house.clients[name].transactor.journal.live()
            first.send(Call(to=intent.recipient, data=intent.data, key="first", value=intent.value))
        return real(method, params)

    monkeypatch.setattr(provider, "make_request", make_request)
    monkeypatch.setattr(provider, "_request_func_cache", (None, None))


def test_a_result_that_is_attested_anew_is_demanded_anew(wide: Any) -> None:
    """Though the same demand of it, as it was attested first, is mined and not final."""
    house = wide
    house.chain.w3.provider.ethereum_tester.mine_blocks(91)
    court, target = Court(house.watching(90)), Target(house.model_id, 1, house.outcome().result)
    for attester in ("mallory", "second"):
        house.attest(attester, target.result)
        court.demand_chunks(target, Tree.AGGREGATE, [0], deposit=court.deposit_now(target), until="mined")
        demands = demands_of(court, house.owner.dispute(house.model_id, 1))
        (leaf,) = demands.open
        sleep_until(house.chain.w3, demands.late_deadlines[leaf])
        court.close_demand(house.model_id, 1, leaf, until="mined")
    assert house.owner.phase(house.model_id, 1) == Phase.AGGREGATE


def test_a_demand_that_was_overtaken_costs_its_gas(wide: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    house, client = wide, wide.stranger
    result = house.outcome().result
    house.attest("mallory", result)
    purse = Purse(client, house.folder / "purse.json", 10 * ETHER)
    court, target = Court(client, send=purse.send), Target(house.model_id, 1, result)
    before = client.balance(client.account)
    overtaken(house, monkeypatch, "stranger", by="mallory")
    with pytest.raises(AlreadyDemanded):
        court.demand_chunks(target, Tree.AGGREGATE, [1], deposit=court.deposit_now(target) * 5 // 4, until="mined")
    assert purse.spent == before - client.balance(client.account) > 0


def test_a_demand_whose_receipt_a_node_refuses_is_booked_once(wide: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    house = wide
    client = Client(
        house.chain.w3,
        house.address,
        signer=house.stranger.transactor._signer,
        journal=Journal(None),
        sending=Sending(poll=0.0, patience=0.0),
    )
    result = house.outcome().result
    house.attest("mallory", result)
    purse = Purse(client, house.folder / "purse.json", 10 * ETHER)
    court, target = Court(client, send=purse.send), Target(house.model_id, 1, result)
    deposit, provider = court.deposit_now(target) * 5 // 4, house.chain.w3.provider
    before, real = client.balance(client.account), provider.make_request

    def make_request(method: str, params: Any) -> Any:
        if method == "eth_getTransactionReceipt":
            return {"jsonrpc": "2.0", "id": 1, "error": {"code": -32005, "message": "limit exceeded"}}
        return real(method, params)

    booked = set()
    with monkeypatch.context() as patched:
        patched.setattr(provider, "make_request", make_request)
        patched.setattr(provider, "_request_func_cache", (None, None))
        for _ in range(3):
            with pytest.raises(NodeUnavailable):
                court.demand_chunks(target, Tree.AGGREGATE, [1], deposit=deposit, until="mined")
            booked.add(purse.spent)
    assert len(booked) == 1
    assert booked.pop() > before - client.balance(client.account)
    court.demand_chunks(target, Tree.AGGREGATE, [1], deposit=deposit, until="mined")
    assert purse.spent == before - client.balance(client.account) > deposit


def test_a_demand_that_waits_with_too_small_a_deposit_is_made_anew(wide: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The base fee has risen since it was signed: bid for again it is reverted."""
    house, client = wide, wide.stranger
    result = house.outcome().result
    house.attest("mallory", result)
    court, target, sent = Court(client, send=lambda call, _: sent.append(call)), Target(house.model_id, 1, result), []
    deposit = court.deposit_now(target)
    court.demand_chunks(target, Tree.AGGREGATE, [1, 2], deposit=deposit)
    client.submit(sent[0])
    for rise in (1, 2):
        monkeypatch.setattr(court, "deposit_now", lambda _, rise=rise: rise * deposit)
        court.demand_chunks(target, Tree.AGGREGATE, [1, 2], deposit=rise * deposit)
    first, same, anew = sent
    assert same == first
    assert (anew.data, anew.value) == (first.data, 2 * first.value)
    assert anew.key != first.key


def least_bid(house: Any) -> int:
    """The lowest bid that is made, wei per gas."""
    fees = suggest_fees(house.chain.w3)
    assert fees.base_fee is not None
    return fees.base_fee * 9 // 8 + fees.priority_fee


def test_answers_that_cost_too_much_together_for_a_node_are_given_apart(
    wide: Any, fee_cap: Callable[[Any, int], list[int]]
) -> None:
    """geth refuses what may cost more than one ether: many answers at a high base fee."""
    house, memory = wide, aggregator.AggregatorMemory()
    client = house.clients["first"]

    def advance() -> str:
        return aggregator.advance(client, house.store, house.folder / "first", house.model_id, memory=memory)

    assert advance() == "round 1: attested 3 contributions"
    demand(house, Tree.AGGREGATE, [0, 1, 2, 3])
    refused = fee_cap(house.chain.w3, 150_000 * least_bid(house))
    advance()
    assert (bool(refused), open_demands(house)) == (True, 0)


def test_demands_that_cost_too_much_together_for_a_node_are_made_apart(
    wide: Any, fee_cap: Callable[[Any, int], list[int]]
) -> None:
    house, ann = wide, update_of(wide, "ann")
    house.attest("mallory", house.outcome().result)
    refused = fee_cap(house.chain.w3, 280_000 * least_bid(house))
    client, memory = house.stranger, auditor.AuditorMemory()
    purse = Purse(client, house.folder / "purse.json", 10 * ETHER)
    (house.folder / "a").mkdir()
    (house.folder / "a" / "salt").write_bytes(b"\x07" * 32)  # of several samples, whatever is drawn otherwise
    for _ in range(4):
        auditor.advance(client, without(house, ann), house.folder / "a", house.model_id, purse=purse, memory=memory)
        chunks = chunks_of_blob(house.store, ann)
        show(house, {chunks.root: chunks.opening})
    assert refused
    assert _demanded(house) > 2


def test_demands_leave_what_a_conviction_costs(wide: Any) -> None:
    """A purse that demands would empty is kept for what they may show."""
    house = wide
    edit = nudged(1100, STEP)
    result = lie(house, MemoryStore(), aggregate=edit)
    house.attest("mallory", result)
    client, memory = house.stranger, auditor.AuditorMemory()
    fees = client.quote(Court(client).call("sealClaim", b"\x01" * 32)).fees
    court = Court(client)
    most = conviction_gas(3) * fees.max_fee + court.deposit_now(Target(house.model_id, 1, result)) * 5 // 4
    purse = Purse(client, house.folder / "purse.json", most)
    said = ""
    for _ in range(10):
        said += auditor.advance(client, house.store, house.folder / "a", house.model_id, purse=purse, memory=memory)
    assert "reserved for a conviction" in said
    assert purse.spent < most - conviction_gas(3) * fees.max_fee


# Time -----------------------------------------------------------------------------------------------------------------


class Dripping(MemoryStore):
    """Each block that is asked for takes its time, by a clock that only it moves."""

    def __init__(self, blocks: dict[Cid, bytes], each: float, here: set[Cid]) -> None:
        super().__init__()
        self._blocks.update(blocks)
        self.now, self._each, self._here = 0.0, each, here

    def _has(self, cid: Cid) -> bool:
        return cid in self._here

    def _get(self, cid: Cid) -> bytes:
        if cid not in self._here:
            self.now += self._each
            self._here.add(cid)
        return super()._get(cid)


def test_a_store_that_drips_takes_a_look_s_share_and_the_lie_is_convicted(
    wide: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block every 25 s; looking at all of them would take longer than the window."""
    house = wide
    edit = nudged(5, STEP)
    result = lie(house, house.store, aggregate=edit)
    house.attest("mallory", result)
    store = Dripping(house.store._blocks, 60.0, set())
    load_round(store, house.record())  # plan and parent were there before
    end = house.owner.round(house.model_id, 1).challenge_deadline
    window = end - chain_time(house.chain.w3)
    client, memory = house.stranger, auditor.AuditorMemory()
    purse = Purse(client, house.folder / "purse.json", 10 * ETHER)
    steps = auditor.tasks(
        client,
        store,
        house.folder / "auditor",
        [house.model_id],
        purse=purse,
        memories=[memory],
        clock=lambda: store.now,
    )
    path = house.folder / "false.safetensors"
    path.write_bytes(edit((house.folder / "outcome" / "aggregate.safetensors").read_bytes()))
    looks, parts = [], list[float]()
    shown = [
        chunks_of_file(path),
        *(chunks_of_blob(house.store, update_of(house, who)) for who in ("ann", "bob", "cyn")),
    ]
    openings = {chunks.root: chunks.opening for chunks in shown}

    class Told(LimitedStore):
        def __init__(self, store: ContentStore, seconds: float, *rest: Any) -> None:
            left = house.owner.round(house.model_id, 1).challenge_deadline - chain_time(house.chain.w3)
            parts.append(seconds / min(left, house.plan.challenge_duration))
            super().__init__(store, seconds, *rest)

    monkeypatch.setattr("registry.roles.auditor.LimitedStore", Told)
    for _ in range(30):
        before = store.now
        said = [task.step() for task in steps]
        looks += [store.now - before] if store.now > before else []
        show(house, openings)
        if client.phase(house.model_id, 1) != Phase.CHALLENGE:
            break
        demands = demands_of(Court(client), client.dispute(house.model_id, 1))
        if not any(said) and demands.open:
            sleep_until(house.chain.w3, max(demands.late_deadlines[leaf] for leaf in demands.open))
    latest = house.chain.w3.eth.block_number
    found = list(Court(client).events(ResultConvicted, subject=house.record().round_id, to_block=latest))
    assert len(found) == 1
    assert store.now > window / 4, "all at once would have taken longer than that"
    assert looks[0] <= window / 4 + (AHEAD + 1) * 60.0, "a look ends with the blocks that it waits for"
    assert parts[:2] == pytest.approx([1 / 4, 1 / 16])


class Counting(MemoryStore):
    """Counts what is asked for, and does something once in the middle of a look."""

    def __init__(self, blocks: dict[Cid, bytes]) -> None:
        super().__init__()
        self._blocks.update(blocks)
        self.asked = 0

    def _get(self, cid: Cid) -> bytes:
        self.asked += 1
        return super()._get(cid)


def test_no_step_down_a_hidden_tree_reads_what_others_publish(wide: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look may take its whole share, and whoever demands and shows other leaves gets none of them."""
    house, client = wide, wide.stranger
    result = lie(house, house.store, version=nudged(3500))
    blob = get_manifest(house.store, result.version_digest, VersionManifest).weights.blob
    chunks, store, looks = chunks_of_blob(house.store, blob), Counting(without(house, blob)._blocks), []

    class Told(LimitedStore):
        def __init__(self, store: ContentStore, seconds: float, *rest: Any) -> None:
            looks.append(seconds)
            super().__init__(store, seconds, *rest)

    monkeypatch.setattr("registry.roles.auditor.LimitedStore", Told)
    house.attest("mallory", result)
    monkeypatch.setattr("registry.roles.auditor._LOOKS_AGAIN", 1 << 30)  # as if each answer took its whole time
    mallory, target, read = Court(house.mallory), Target(house.model_id, 1, result), [0]

    def answer() -> None:
        read.append(store.asked)
        if house.owner.phase(house.model_id, 1) == Phase.CHALLENGE:
            junk = 1 << 40 | len(read)
            mallory.demand_chunks(target, Tree.AGGREGATE, [junk], deposit=mallory.deposit_now(target))
            aggregate = chunks_of_file(house.folder / "outcome" / "aggregate.safetensors")
            show(house, {chunks.root: chunks.opening, aggregate.root: aggregate.opening})

    assert convicted(house, store, answer) is Fault.VERSION
    shown = list(Court(client).events(LeafShown, subject=house.record().round_id))
    assert sum(event.root == chunks.root for event in shown) == 4  # type: ignore[attr-defined]
    assert len(looks) == 2, "one before the walk and one at its end"
    steps = [after - before for before, after in itertools.pairwise(read)]
    assert [bool(count) for count in steps] == [True, False, False, False, True]


# Reorganisations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["answer", "attestation"])
def test_what_a_reorganisation_takes_out_is_sent_again(wide: Any, what: str) -> None:
    house = wide
    tester = house.chain.w3.provider.ethereum_tester
    tester.mine_blocks(70)
    client, memory = slow(house, "first"), aggregator.AggregatorMemory()

    def advance() -> str:
        return aggregator.advance(client, house.store, house.folder / "first", house.model_id, memory=memory)

    before = tester.take_snapshot()
    assert advance() == "round 1: attested 3 contributions"
    if what == "answer":
        demand(house, Tree.AGGREGATE, [1])
        before = tester.take_snapshot()
        assert advance() == "round 1: showed a leaf"
    tester.revert_to_snapshot(before)
    tester.mine_blocks(1)
    if what == "answer":
        assert open_demands(house) == 1
    else:
        assert house.owner.phase(house.model_id, 1) == Phase.AGGREGATE
    advance()
    if what == "answer":
        assert open_demands(house) == 0
    else:
        assert house.owner.phase(house.model_id, 1) == Phase.CHALLENGE


def test_a_conviction_that_a_reorganisation_takes_out_is_brought_again(wide: Any) -> None:
    house = wide
    house.attest("mallory", lie(house, house.store, aggregate=nudged(5, STEP)))
    tester = house.chain.w3.provider.ethereum_tester
    tester.mine_blocks(70)
    client, memory = slow(house, "stranger"), auditor.AuditorMemory()
    purse = Purse(client, house.folder / "purse.json", 10 * ETHER)

    def advance() -> str:
        return auditor.advance(
            client, house.store, house.folder / "auditor", house.model_id, purse=purse, memory=memory
        )

    before = tester.take_snapshot()
    assert "convicted: aggregate" in advance()
    assert house.owner.phase(house.model_id, 1) != Phase.CHALLENGE
    tester.revert_to_snapshot(before)
    tester.mine_blocks(1)
    assert house.owner.phase(house.model_id, 1) == Phase.CHALLENGE
    for _ in range(4):
        advance()
    assert house.owner.phase(house.model_id, 1) != Phase.CHALLENGE


# Aggregators that saw different blobs ---------------------------------------------------------------------------------

SPLITS = list(itertools.product(["first", "second", "both"], repeat=3))


@pytest.mark.parametrize("split", SPLITS, ids=lambda split: "-".join(split))
def test_aggregators_converge_however_blobs_are_split_between_them(
    federation: Any, new_plan: Callable[..., Any], split: tuple[str, ...]
) -> None:
    """Each participant serves one of them, or both; they pass on what they admit."""
    house = federation
    new_plan(house, quorum=2)
    house.owner.open_round(house.model_id)
    seen = {name: MemoryStore() for name in ("first", "second")}
    for store in seen.values():
        store._blocks.update(house.store._blocks)
    for seed, (name, who) in enumerate(zip(("ann", "bob", "cyn"), split, strict=True)):
        update = house.update(name, seed=seed)
        house.commit(name, update)
        for aggregator_name, store in seen.items():
            if who in (aggregator_name, "both"):
                house.publish(update, store)
    house.sleep_to("publish_deadline")
    own = {name: MemoryStore() for name in seen}  # what each serves to the other
    other = {"first": "second", "second": "first"}
    stores = {name: LayeredStore(own[name], [seen[name], own[other[name]]]) for name in seen}
    memories = {name: aggregator.AggregatorMemory() for name in seen}
    for _ in range(4):
        for name in seen:
            aggregator.advance(
                house.clients[name], stores[name], house.folder / name, house.model_id, memory=memories[name]
            )
    assert house.owner.phase(house.model_id, 1) == Phase.CHALLENGE, "a quorum stands by one result"
    dispute = house.owner.dispute(house.model_id, 1)
    assert house.owner.votes(house.model_id, 1, dispute.tally).contributions == 3, "with everything in it"


def test_aggregators_rank_results_as_the_contract_does(wide: Any) -> None:
    """A result that was void for want of an answer counts under another tally, by which the contract ranks it."""
    house = wide
    result = house.outcome().result
    house.attest("mallory", result)
    client = house.owner
    assert aggregator._rank(client, house.record(), result) == (-3, result_hash(result))
    court = Court(house.stranger)
    target = Target(house.model_id, 1, result)
    court.demand_chunks(target, Tree.AGGREGATE, [0], deposit=court.deposit_now(target))
    demands = demands_of(court, client.dispute(house.model_id, 1))
    sleep_until(house.chain.w3, max(demands.late_deadlines.values()))
    court.close_demand(house.model_id, 1, demands.open[0])
    rank = aggregator._rank(client, house.record(), result)
    assert rank == (-3, client.tally(house.model_id, 1, result_hash(result)))
    assert rank[1] != result_hash(result)
