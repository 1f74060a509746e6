"""Sending transactions exactly once: fee bumps, nonces, reorgs, lack of funds, concurrent processes."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from registry.chain import calls
from registry.chain.client import Client
from registry.chain.contract_errors import AlreadyCommitted, RunningHashMismatch
from registry.chain.contract_events import ModelRegistered, RoundOpened
from registry.chain.contract_structs import SignedUpdate
from registry.chain.court import Court
from registry.chain.deploy import deploy
from registry.chain.journal import IntentState, Journal, JournalConflict
from registry.chain.transactions import Sending, Transactor
from registry.dev.chains import EXAMPLE_RULES, DevChain, anvil_chain, example_plan, example_result
from registry.dev.embedded import Embedded
from registry.errors import NodeUnavailable, SignerError, TransactionFailed
from registry.ethereum.fees import Fees, outbid, suggest_fees
from registry.ethereum.keys import LocalSigner, UnlockedSigner
from registry.ethereum.networks import Finality, FinalityRule
from registry.types import Address, Digest, Role, Root

GENESIS, ROOT = Digest(b"\x11" * 32), Root(b"\x12" * 32)
PROJECT = Path(__file__).resolve().parents[2]


def cairn(chain: DevChain | Embedded) -> Address:
    chain_id = chain.w3.eth.chain_id
    maker = Transactor(chain.w3, chain.signers[-1], Journal(None), chain_id=chain_id)
    return deploy(chain.w3, maker, chain_id=chain_id).address


def rpc(chain: DevChain, method: str, *params: object) -> Any:
    return chain.w3.manager.request_blocking(method, list(params))  # type: ignore[arg-type]


def on(chain: DevChain, account: int = 0, **options: Any) -> Client:
    journal = options.pop("journal", None) or Journal(None)
    return Client(chain.w3, cairn(chain), signer=chain.signers[account], journal=journal, **options)


def mining_at(chain: DevChain, *, look: int) -> Callable[[float], None]:
    """Instead of sleeping between two looks at the chain: nothing, but for a block at one of them."""
    looks = count()

    def pause(_: float) -> None:
        if next(looks) == look:
            rpc(chain, "anvil_mine", 1)

    return pause


# ------------------------------------------------------------------------------------------------------------- fees


@pytest.mark.parametrize(
    ("old", "wanted", "urgent", "bid"),
    [
        ((800, 80), Fees(100, 10, 50), False, (900, 90)),
        ((800, 80), Fees(5000, 81, 50), False, (5009, 90)),
        ((1, 0), Fees(0, 0, 0), False, (2, 1)),
        ((7, 7), Fees(1, 1, 1), False, (8, 8)),
        ((110, 10), Fees(110, 10, 50), True, (124, 20)),
        ((110, 10), Fees(1010, 10, 500), True, (1020, 20)),
        ((1000, 79), Fees(110, 10, 50), True, (1125, 89)),  # eight times what is wanted is no more than an eighth
        ((1000, 60), Fees(110, 10, 50), True, (1125, 80)),
        ((40, 40), Fees(40, 40, None), True, (80, 80)),
        ((0, 0), Fees(0, 0, 0), True, (1, 1)),
    ],
)
def test_a_higher_bid_is_at_least_a_tenth_higher_in_both_parts(
    old: tuple[int, int], wanted: Fees, urgent: bool, bid: tuple[int, int]
) -> None:
    higher = outbid(*old, wanted, urgent=urgent)
    assert (higher.max_fee, higher.priority_fee) == bid
    assert higher.max_fee * 10 >= old[0] * 11
    assert higher.priority_fee * 10 >= old[1] * 11


@pytest.mark.node
def test_who_pays_a_high_price_does_not_set_that_of_others(anvil: DevChain) -> None:
    payer, other, *_ = anvil.w3.eth.accounts
    for base, bid in ((1, 30), (50, 50)):
        rpc(anvil, "anvil_setNextBlockBaseFeePerGas", hex(base * 10**9))
        fees = {"maxPriorityFeePerGas": 500 * 10**9, "maxFeePerGas": 600 * 10**9}
        anvil.w3.eth.wait_for_transaction_receipt(anvil.w3.eth.send_transaction({"from": payer, "to": other, **fees}))
        assert anvil.w3.eth.max_priority_fee > 100 * 10**9
        assert suggest_fees(anvil.w3).priority_fee == bid * 10**9


@pytest.mark.node
def test_what_has_waited_longer_than_is_left_bids_much_more(anvil: DevChain) -> None:
    now = [1000.0]
    client = on(anvil, sending=Sending(clock=lambda: now[0]))
    client.register_model(GENESIS, ROOT, ROOT)
    model = client.model_id(client.account, GENESIS)
    rpc(anvil, "evm_setAutomine", False)
    client.submit(calls.grant_roles(client.address, model, client.account, Role.AGGREGATOR))

    def bids(passed: float, left: float | None) -> list[int]:
        now[0] += passed
        (intent,) = client.transactor.keep(left=left)
        return [attempt.priority_fee for attempt in intent.attempts]

    first, *others = bids(0, 100)
    assert not others
    assert len(bids(19, 80)) == 1  # less than a quarter of what is left
    assert bids(2, 78)[1:] == [first + -(-first // 8)]
    assert bids(50, 28)[2:] == [2 * bids(0, 28)[1]]
    assert bids(1, None) == bids(0, None)  # not at the usual pace, of a minute


@pytest.mark.node
def test_bids_are_raised_eightfold_at_most(anvil: DevChain) -> None:
    """Whoever stuffs blocks at a high price makes nobody bid whatever it has."""
    client = on(anvil, sending=Sending(resend_after=0.0))
    rpc(anvil, "evm_setAutomine", False)
    client.submit(calls.register_model(client.address, GENESIS, ROOT, ROOT))
    for _ in range(60):
        (intent,) = client.transactor.keep()
    first, *_, last = (attempt.priority_fee for attempt in intent.attempts)
    assert 8 * first <= last < 9 * first


@pytest.mark.node
def test_no_higher_bid_is_made_than_it_is_worth(anvil: DevChain) -> None:
    now = [1000.0]
    client = on(anvil, sending=Sending(clock=lambda: now[0]))
    rpc(anvil, "evm_setAutomine", False)
    client.submit(calls.register_model(client.address, GENESIS, ROOT, ROOT))
    (intent,) = client.transactor.journal.live()
    first = intent.attempts[0].max_fee
    for most, made in ((0, 1), (first, 1), (2 * first, 2), (9 * first, 3)):
        now[0] += 100
        (intent,) = client.transactor.keep(left=1, most=most)
        assert len(intent.attempts) == made


@pytest.mark.node
def test_what_a_first_bid_costs_by_now_is_paid_whatever_it_is_worth(anvil: DevChain) -> None:
    """Else a base fee that rises over the bid keeps a transaction out for ever."""
    now = [1000.0]
    client = on(anvil, sending=Sending(clock=lambda: now[0]))
    rpc(anvil, "evm_setAutomine", False)
    client.submit(calls.register_model(client.address, GENESIS, ROOT, ROOT))
    base = anvil.w3.eth.get_block("latest")["baseFeePerGas"]
    rpc(anvil, "anvil_setNextBlockBaseFeePerGas", hex(10 * base))
    rpc(anvil, "anvil_mine", 1)
    for left in (None, 1):  # at the usual pace, and in a hurry
        now[0] += 100
        client.transactor.keep(left=left, most=0)
    (intent,) = client.transactor.journal.live()
    assert intent.attempts[-1].max_fee > 10 * base
    assert intent.attempts[-1].max_fee <= 2 * 10 * base * 9 // 8 + 10**10
    rpc(anvil, "anvil_mine", 1)
    assert client.transactor.journal.live() == [] or client.model(client.model_id(client.account, GENESIS)).owner


@pytest.mark.node
def test_one_that_is_not_mined_in_time_is_replaced_under_the_same_nonce(
    anvil: DevChain, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "registry.chain.transactions")
    client = on(anvil, sending=Sending(resend_after=0.0, sleep=mining_at(anvil, look=2), poll=0.0))
    rpc(anvil, "evm_setAutomine", False)
    receipt = client.register_model(GENESIS, ROOT, ROOT)
    (intent,) = client.transactor.journal.all()
    assert len(intent.attempts) >= 3
    assert {attempt.nonce for attempt in intent.attempts} == {intent.nonce}
    assert receipt.tx_hash == intent.attempts[-1].tx_hash
    assert client.model(client.model_id(client.account, GENESIS)).owner == client.account
    bids = [f"{attempt.max_fee / 10**9:.6g}" for attempt in intent.attempts]
    said = [record.getMessage().partition(": fee bump ")[2] for record in caplog.records]
    bumps = [f"from {old} to {new} gwei per gas" for old, new in itertools.pairwise(bids)]
    assert [text for text in said if text] == bumps
    assert [float(bid) for bid in bids] == sorted({float(bid) for bid in bids})  # every bid is higher


@pytest.mark.node
def test_one_is_replaced_when_the_base_fee_rises_over_its_bid(anvil: DevChain) -> None:
    def pause(_: float) -> None:
        rpc(anvil, "anvil_mine", 1)

    client = on(anvil, sending=Sending(resend_after=10**6, sleep=pause, poll=0.0))
    rpc(anvil, "evm_setAutomine", False)
    call = calls.register_model(client.address, GENESIS, ROOT, ROOT)
    first = client.submit(call).attempts[0]
    rpc(anvil, "anvil_setNextBlockBaseFeePerGas", hex(first.max_fee * 3))
    rpc(anvil, "anvil_mine", 1)
    client.wait(call)
    (intent,) = client.transactor.journal.all()
    assert intent.attempts[-1].max_fee > first.max_fee * 2
    assert anvil.w3.eth.get_transaction_count(anvil.w3.to_checksum_address(client.account)) == 1


@pytest.mark.node
def test_no_bid_is_over_the_cap(anvil: DevChain) -> None:
    rpc(anvil, "anvil_setNextBlockBaseFeePerGas", hex(10**11))
    rpc(anvil, "anvil_mine", 1)
    client = on(anvil, sending=Sending(max_fee_cap=10**9))
    with pytest.raises(TransactionFailed, match="over the cap of 1"):
        client.register_model(GENESIS, ROOT, ROOT)
    assert client.transactor.journal.all() == ()


@pytest.mark.node
def test_no_later_bid_is_over_the_cap_either(anvil: DevChain) -> None:
    cairn(anvil)
    cap = suggest_fees(anvil.w3).max_fee  # the first bid; any higher one is over it
    client = on(anvil, sending=Sending(resend_after=0.0, sleep=mining_at(anvil, look=3), poll=0.0, max_fee_cap=cap))
    rpc(anvil, "evm_setAutomine", False)
    client.register_model(GENESIS, ROOT, ROOT)
    (intent,) = client.transactor.journal.all()
    assert [attempt.max_fee for attempt in intent.attempts] == [cap]


def test_a_quote_sends_nothing_and_says_gas_and_cost(clients: tuple[Client, ...]) -> None:
    client = clients[0]
    quote = client.quote(calls.register_model(client.address, GENESIS, ROOT, ROOT))
    assert 100_000 < quote.gas < 200_000
    assert 0 < quote.cost <= quote.max_cost < quote.balance
    assert client.transactor.journal.all() == ()
    receipt = client.register_model(GENESIS, ROOT, ROOT)
    assert receipt.gas_used <= quote.gas_limit


# ------------------------------------------------------------------------------------------------------------ money


@pytest.mark.parametrize("where", ["embedded", "anvil"])
def test_not_enough_money_names_balance_and_need(
    where: str, clients: tuple[Client, ...], request: pytest.FixtureRequest
) -> None:
    poor = LocalSigner(b"\x77" * 32)
    if where == "embedded":
        w3, address = clients[0].w3, clients[0].address
    else:
        chain = request.getfixturevalue("anvil")
        w3, address = chain.w3, cairn(chain)
    client = Client(w3, address, signer=poor, journal=Journal(None))
    with pytest.raises(TransactionFailed, match=r"holds 0 ether and needs (up to|more than) [\d.e-]+"):
        client.register_model(GENESIS, ROOT, ROOT)
    assert client.transactor.journal.all() == ()


@pytest.mark.node
def test_money_promised_to_transactions_on_their_way_is_not_spent_again(anvil: DevChain) -> None:
    client = on(anvil)
    call = calls.register_model(client.address, GENESIS, ROOT, ROOT)
    need = client.quote(call).max_cost
    rpc(anvil, "anvil_setBalance", anvil.w3.to_checksum_address(client.account), hex(need * 3 // 2))
    rpc(anvil, "evm_setAutomine", False)
    client.submit(call)
    with pytest.raises(TransactionFailed, match="beside"):
        client.submit(calls.register_model(client.address, Digest(b"\x13" * 32), ROOT, ROOT))


# ----------------------------------------------------------------------------------------------------------- nonces


@pytest.mark.node
def test_many_are_in_flight_at_once_and_mined_in_one_block(anvil: DevChain) -> None:
    client = on(anvil)
    rpc(anvil, "evm_setAutomine", False)
    wanted = [calls.register_model(client.address, Digest(bytes([n]) * 32), ROOT, ROOT) for n in range(1, 21)]
    intents = [client.submit(call) for call in wanted]
    assert [intent.nonce for intent in intents] == list(range(20))
    rpc(anvil, "anvil_mine", 1)
    assert len({client.wait(call).block_number for call in wanted}) == 1


@pytest.mark.node
@pytest.mark.parametrize("quick", [True, False])
def test_a_pass_over_many_in_flight_asks_a_node_once_for_what_they_share(
    anvil: DevChain, monkeypatch: pytest.MonkeyPatch, quick: bool
) -> None:
    """Else those who wait at a slow node for many answers to be mined bump none of them in time. In a pass that takes
    several blocks it asks again: what was asked first would be too low a bid by then.
    """
    clock = itertools.count(int(time.time()), 0 if quick else 3)
    client = on(anvil, sending=Sending(clock=lambda: float(next(clock))))
    provider, asked = anvil.w3.provider, list[str]()
    rpc(anvil, "evm_setAutomine", False)
    for n in range(1, 21):
        client.submit(calls.register_model(client.address, Digest(bytes([n]) * 32), ROOT, ROOT))
    real = provider.make_request

    def counting(method: Any, params: Any) -> Any:
        asked.append(method)
        return real(method, params)

    monkeypatch.setattr(provider, "make_request", counting)
    monkeypatch.setattr(provider, "_request_func_cache", (None, None))  # web3.py's, of the function before
    assert len(client.transactor.keep()) == 20
    if quick:
        assert 0 < len(asked) < 10, asked
    else:
        assert asked.count("eth_blockNumber") >= 20


@pytest.mark.node
def test_a_gap_that_a_lost_transaction_left_is_closed_by_sending_its_bytes_again(anvil: DevChain) -> None:
    client = on(anvil)
    rpc(anvil, "evm_setAutomine", False)
    first, second = (calls.register_model(client.address, Digest(bytes([n]) * 32), ROOT, ROOT) for n in (1, 2))
    lost = client.submit(first)
    client.submit(second)
    rpc(anvil, "anvil_dropTransaction", "0x" + lost.attempts[0].tx_hash.hex())
    rpc(anvil, "anvil_mine", 1)
    assert anvil.w3.eth.get_transaction_count(anvil.w3.to_checksum_address(client.account)) == 0
    client.transactor.reconcile()
    rpc(anvil, "anvil_mine", 1)
    assert client.wait(first).tx_hash == lost.attempts[0].tx_hash
    client.wait(second)


@pytest.mark.node
def test_a_nonce_that_is_on_its_way_is_not_given_again_though_the_node_forgot_it(anvil: DevChain) -> None:
    client = on(anvil)
    rpc(anvil, "evm_setAutomine", False)
    first, second = (calls.register_model(client.address, Digest(bytes([n]) * 32), ROOT, ROOT) for n in (1, 2))
    lost = client.submit(first)
    rpc(anvil, "anvil_dropTransaction", "0x" + lost.attempts[0].tx_hash.hex())
    assert (lost.nonce, client.submit(second).nonce) == (0, 1)


@pytest.mark.node
def test_transactions_that_another_tool_sends_from_the_account_are_stepped_over(anvil: DevChain) -> None:
    client = on(anvil)
    rpc(anvil, "evm_setAutomine", False)
    account = anvil.w3.to_checksum_address(client.account)
    anvil.w3.eth.send_transaction({"from": account, "to": account, "value": 1})  # type: ignore[typeddict-item]
    intent = client.submit(calls.register_model(client.address, GENESIS, ROOT, ROOT))
    assert intent.nonce == 1


def test_a_key_on_its_way_is_not_given_another_content(clients: tuple[Client, ...]) -> None:
    client = clients[0]
    journal = client.transactor.journal
    client.register_model(GENESIS, ROOT, ROOT)
    model = client.model_id(client.account, GENESIS)
    client.send(calls.set_plan(client.address, model, example_plan(), EXAMPLE_RULES, key="plan"))
    client.send(calls.set_plan(client.address, model, example_plan(), EXAMPLE_RULES, key="plan"))
    assert client.model(model).plans == 1
    # Without a key of one's own, a plan may be set again.
    client.set_plan(model, example_plan(), EXAMPLE_RULES)
    client.set_plan(model, example_plan(), EXAMPLE_RULES)
    assert client.model(model).plans == 3
    planned = journal.plan("k", client.address, b"one")
    assert journal.plan("k", client.address, b"two").number == planned.number
    client.transactor._sign(journal.get(planned.number), 99, 21000, Fees(10, 1, 1))
    with pytest.raises(JournalConflict):
        journal.plan("k", client.address, b"three")


# ----------------------------------------------------------------------------------------------------------- reorgs


@pytest.mark.node
def test_one_that_a_reorg_throws_out_is_sent_again_and_final_once(anvil: DevChain) -> None:
    waiting = Sending(sleep=lambda _: rpc(anvil, "anvil_mine", 1), poll=0.0, timeout=30)
    client = on(anvil, finality=Finality(FinalityRule.CONFIRMATIONS, 3), sending=waiting)
    call = calls.register_model(client.address, GENESIS, ROOT, ROOT)
    before = client.send(call, until="mined")
    rpc(anvil, "anvil_reorg", 1, [])
    assert client.model(client.model_id(client.account, GENESIS)).owner == bytes(20)
    after = client.wait(call)
    assert after.tx_hash == before.tx_hash
    assert after.block_hash != before.block_hash
    assert client.model(client.model_id(client.account, GENESIS)).owner == client.account


@pytest.mark.node
def test_what_is_credited_before_a_withdrawal_is_final_is_withdrawn_too(anvil: DevChain) -> None:
    client = on(anvil, finality=Finality(FinalityRule.CONFIRMATIONS, 100))
    court, model = Court(client), client.model_id(client.account, GENESIS)
    court.deposit_bond(model, 3, until="mined")
    paid = []
    for amount in (1, 2):
        court.release_bond(model, amount, until="mined")
        assert court.credit(client.account) == amount
        again = court.withdrawal()
        paid.append(court.withdraw(until="mined").tx_hash)
        assert client.transactor.send(again, until="mined").tx_hash == paid[-1], "the same call is the same transaction"
        assert court.credit(client.account) == 0
    assert len(set(paid)) == 2
    assert client.w3.eth.get_balance(client.w3.to_checksum_address(court.address)) == 0


@pytest.mark.node
def test_a_reorg_between_commitment_and_attestation_convicts_nobody(anvil: DevChain) -> None:
    address = cairn(anvil)
    owner, first, second, aggregator = (
        Client(anvil.w3, address, signer=anvil.signers[i], journal=Journal(None)) for i in range(4)
    )
    model = owner.model_id(owner.account, GENESIS)
    owner.register_model(GENESIS, ROOT, ROOT)
    owner.set_plan(model, example_plan(quorum=2), EXAMPLE_RULES)
    for client, role in ((first, Role.PARTICIPANT), (second, Role.PARTICIPANT), (aggregator, Role.AGGREGATOR)):
        owner.grant_roles(model, client.account, role)
    owner.open_round(model).event(RoundOpened)
    first.commit_update(model, 1, Digest(b"\x21" * 32), Root(b"\x22" * 32), 10, 3)
    second.commit_update(model, 1, Digest(b"\x23" * 32), Root(b"\x24" * 32), 20, 3)
    seen = owner.round(model, 1).running_hash
    rpc(anvil, "anvil_reorg", 1, [])  # the second commitment is gone
    rpc(anvil, "evm_increaseTime", 60)
    rpc(anvil, "evm_mine")
    assert owner.round(model, 1).running_hash != seen
    with pytest.raises(RunningHashMismatch) as caught:
        aggregator.attest_result(model, 1, example_result(), seen)
    assert caught.value.given == seen


# ---------------------------------------------------------------------------------------------------------- waiting


@pytest.mark.node
def test_waiting_gives_up_in_time_and_the_transaction_does_not(anvil: DevChain) -> None:
    client = on(anvil, sending=Sending(timeout=0.3, poll=0.02))
    rpc(anvil, "evm_setAutomine", False)
    began = time.monotonic()
    with pytest.raises(TransactionFailed, match="got no further than SENT"):
        client.register_model(GENESIS, ROOT, ROOT)
    assert time.monotonic() - began < 5
    rpc(anvil, "anvil_mine", 1)
    client.register_model(GENESIS, ROOT, ROOT).event(ModelRegistered)
    assert len(client.transactor.journal.all()) == 1


@pytest.mark.node
def test_one_that_is_mined_too_late_raises_the_contracts_reason(anvil: DevChain) -> None:
    owner = on(anvil)
    model = owner.model_id(owner.account, GENESIS)
    owner.register_model(GENESIS, ROOT, ROOT)
    owner.set_plan(model, example_plan(), EXAMPLE_RULES)
    owner.grant_roles(model, owner.account, Role.PARTICIPANT)
    owner.open_round(model)
    rpc(anvil, "evm_setAutomine", False)
    twin = Client(anvil.w3, owner.address, signer=anvil.signers[0], journal=Journal(None))
    fields = (model, 1, Digest(b"\x21" * 32), Root(b"\x22" * 32), 7, 3)
    call = calls.commit_update(owner.address, *fields, participant=owner.account)
    owner.submit(call)
    # The same commitment from another journal, which a pending block does not show to every node.
    raw = owner.transactor.journal.live()[0].attempts[0]
    assert raw.nonce == 5 - 1
    rpc(anvil, "anvil_mine", 1)
    with pytest.raises(AlreadyCommitted):
        twin.commit_update(*fields)
    owner.wait(call)


# ---------------------------------------------------------------------------------------------------------- signers


@pytest.mark.node
def test_an_account_that_the_node_has_unlocked_signs_and_commits(anvil: DevChain) -> None:
    signer = UnlockedSigner(anvil.w3, anvil.signers[0].address)
    client = Client(anvil.w3, cairn(anvil), signer=signer, journal=Journal(None))
    client.register_model(GENESIS, ROOT, ROOT)
    model = client.model_id(client.account, GENESIS)
    said = SignedUpdate(client.account, Digest(b"\1" * 32), Root(b"\2" * 32), 5, 3, 2**64 - 1, (b"hook",))
    assert client.sign_commitment(signer, model, 1, said) == client.sign_commitment(anvil.signers[0], model, 1, said)


class Forger:
    """A signer that signs something else."""

    def __init__(self, honest: LocalSigner, **changed: object) -> None:
        self.honest, self.changed = honest, changed

    @property
    def address(self) -> Address:
        return self.honest.address

    def sign_transaction(self, transaction: Any) -> bytes:
        return self.honest.sign_transaction({**transaction, **self.changed})

    def sign_typed_data(self, data: Any) -> bytes:
        return self.honest.sign_typed_data(data)


@pytest.mark.parametrize(
    "changed",
    [
        {"to": "0x" + "99" * 20},
        {"value": 10**18},
        {"nonce": 7},
        {"data": b"\x00"},
        {"chainId": 1},
        {"gas": 10**7},
        {"maxFeePerGas": 10**12},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_what_a_signer_returns_is_what_it_was_asked_for_or_nothing_is_sent(
    clients: tuple[Client, ...], chain: Embedded, changed: dict[str, object]
) -> None:
    signer, sending = Forger(chain.signers[2], **changed), Sending(timeout=2)
    client = Client(chain.w3, clients[0].address, signer=signer, journal=Journal(None), sending=sending)
    with pytest.raises(SignerError, match=next(iter(changed))):
        client.register_model(GENESIS, ROOT, ROOT)
    assert chain.w3.eth.get_transaction_count(chain.w3.to_checksum_address(client.account)) == 0


def test_the_signature_of_another_account_is_refused(clients: tuple[Client, ...], chain: Embedded) -> None:
    class Impostor(Forger):
        @property
        def address(self) -> Address:
            return chain.signers[3].address

    signer = Impostor(chain.signers[2])
    sending = Sending(timeout=2)
    client = Client(chain.w3, clients[0].address, signer=signer, journal=Journal(None), sending=sending)
    with pytest.raises(SignerError, match="expected a signature of"):
        client.register_model(GENESIS, ROOT, ROOT)


# -------------------------------------------------------------------------------------------------------- processes

CHILD = """
import sys
from pathlib import Path
from registry.chain.client import Client
from registry.ethereum.node import connect
from registry.dev.chains import development_signers
from registry.types import Digest, Root

url, address, folder, first = sys.argv[1], bytes.fromhex(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
client = Client(connect(url), address, signer=development_signers(1)[0], journal=folder)
client.register_model(Digest(b"\\xff" * 32), Root(b"\\x12" * 32), Root(b"\\x12" * 32))
for number in range(first, first + 8):
    client.register_model(Digest(bytes([number]) * 32), Root(b"\\x12" * 32), Root(b"\\x12" * 32))
"""


@pytest.mark.node
@pytest.mark.slow
def test_two_processes_with_one_account_do_not_collide(find_tool: Callable[[str], Path], tmp_path: Path) -> None:
    with anvil_chain(find_tool("anvil")) as chain:
        address = cairn(chain)
        command = [sys.executable, "-c", CHILD, str(chain.url), address.hex(), str(tmp_path)]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
        running = [subprocess.Popen([*command, first], env=environment) for first in ("1", "101")]
        assert [process.wait(120) for process in running] == [0, 0]
        account = chain.w3.to_checksum_address(chain.signers[0].address)
        assert chain.w3.eth.get_transaction_count(account) == 17  # the one that both wanted was sent once
        client = Client(chain.w3, address)
        for number in [*range(1, 9), *range(101, 109), 255]:
            model = client.model_id(chain.signers[0].address, Digest(bytes([number]) * 32))
            assert client.model(model).owner == chain.signers[0].address
    (file,) = tmp_path.glob("*/*.sqlite")
    assert {intent.state for intent in Journal(file).all()} == {IntentState.FINAL}
    assert file.stat().st_mode & 0o077 == 0


def test_whoever_waits_for_the_account_too_long_is_told(tmp_path: Path) -> None:
    one, other = Journal(tmp_path / "j.sqlite"), Journal(tmp_path / "j.sqlite")
    with one.lock(), pytest.raises(NodeUnavailable, match="another process"), other.lock(timeout=0.1):
        pass
    with other.lock(timeout=0.1):
        pass
