"""Proofs fetched from real nodes: each kind serves verifiable blocks, receipts and state, or refuses."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from registry.dev.chains import DevChain
from registry.dev.embedded import embedded
from registry.errors import InputError, NodeUnavailable, VerificationFailed
from registry.ethereum import blocks
from registry.ethereum.blocks import (
    Checkpoint,
    LogsVerified,
    fetch_headers,
    fetch_receipts,
    fetch_state,
    linked_headers,
    require_block,
    verify_logs,
)
from registry.ethereum.hashing import keccak
from registry.ethereum.headers import read_header
from registry.ethereum.keys import address_of
from registry.ethereum.logs import PlacedLog, read_placed_log
from registry.ethereum.node import NodeRefused
from registry.ethereum.patricia import EMPTY_ROOT
from registry.ethereum.proofs import prove_receipt, verify_receipt
from registry.types import Address

EMITTER = bytes.fromhex(
    "60418060095f395ff3"  # returns the rest:
    "3615603d57"  # no call data: revert
    "365f5f37"  # call data to memory
    "365fa0"  # log0 of them; then log1 to log4, their first words as topics
    "5f51365fa16020515f51365fa26040516020515f51365fa36060516040516020515f51365fa4"
    "5f515f55602051600155"  # the first two words to slots 0 and 1
    "005b5f5ffd"
)
"""A contract that writes five logs, and two words of its storage, from what it is called with."""
GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden" / "chain" / "geth_block.json").read_text())


class Busy(NamedTuple):
    """A chain on which two emitters were called, by several transactions of one block among others."""

    w3: Any
    ours: Address
    crowded: int


def transaction(w3: Any, kind: int, to: Address | None, data: bytes, nonce: int) -> dict[str, Any]:
    target = {} if to is None else {"to": w3.to_checksum_address(to)}
    fees = {"maxFeePerGas": 10**11, "maxPriorityFeePerGas": 10**9} if kind == 2 else {"gasPrice": 10**11}
    extra = {"type": 1, "accessList": []} if kind == 1 else {}
    base = {"chainId": w3.eth.chain_id, "nonce": nonce, "gas": 500_000, "value": 0, "data": data}
    return {**base, **target, **fees, **extra}


def send(chain: DevChain, who: int, kind: int, to: Address | None, data: bytes) -> Any:
    signer, w3 = chain.signers[who], chain.w3
    nonce = w3.eth.get_transaction_count(w3.to_checksum_address(signer.address), "pending")
    return w3.eth.send_raw_transaction(signer.sign_transaction(transaction(w3, kind, to, data, nonce)))


def words(seed: int, size: int) -> bytes:
    return b"".join(keccak(bytes([seed, word])) for word in range(4)) + bytes(size)


def call_together(chain: DevChain, ours: Address, others: Address) -> int:
    """Call the emitters with every type of transaction; return the number of the block, which holds them all."""
    w3: Any = chain.w3
    tester = getattr(w3.provider, "ethereum_tester", None)
    oldest = 0 if tester is None else 1  # eth-tester's chain id is too large for its own legacy transactions
    calls = [
        (0, oldest, ours, words(1, 0)),
        (1, 1, ours, words(2, 9)),
        (2, 2, others, words(3, 1)),
        (3, 2, ours, words(4, 70)),
        (4, oldest, ours, b""),  # reverts
    ]
    for _ in range(20):
        if tester is not None:
            tester.disable_auto_mine_transactions()
        elif chain.movable:
            w3.provider.make_request("evm_setAutomine", [False])
        sent = [send(chain, *call) for call in calls]
        if tester is not None:
            tester.enable_auto_mine_transactions()
        elif chain.movable:
            w3.provider.make_request("evm_mine", [])
            w3.provider.make_request("evm_setAutomine", [True])
        numbers = {w3.eth.wait_for_transaction_receipt(tx)["blockNumber"] for tx in sent}
        if len(numbers) == 1:
            return int(numbers.pop())
    raise AssertionError("no block took all transactions in")


def made_busy(chain: DevChain) -> Busy:
    w3 = chain.w3
    deployed = [w3.eth.wait_for_transaction_receipt(send(chain, 0, 2, None, EMITTER)) for _ in range(2)]
    ours, others = (address_of(str(receipt["contractAddress"])) for receipt in deployed)
    w3.eth.wait_for_transaction_receipt(send(chain, 1, 2, ours, words(9, 3)))
    w3.eth.wait_for_transaction_receipt(send(chain, 1, 2, others, words(8, 3)))
    return Busy(w3, ours, call_together(chain, ours, others))


def logs_of(w3: Any, address: Address, first: int, last: int) -> list[PlacedLog]:
    wanted = {"address": w3.to_checksum_address(address), "fromBlock": first, "toBlock": last}
    return [read_placed_log(log) for log in w3.eth.get_logs(wanted)]


def trusted_head(w3: Any) -> Checkpoint:
    block = w3.eth.get_block("latest")
    return Checkpoint(block["number"], bytes(block["hash"]))


@pytest.fixture(scope="module")
def busy(any_chain: DevChain) -> Busy:
    """Each kind of node in turn."""
    return made_busy(any_chain)


@pytest.fixture(scope="module")
def here() -> Busy:
    """The same in process."""
    chain = embedded(6)
    return made_busy(DevChain("embedded", chain.w3, chain.signers, movable=True))


# Every kind of node --------------------------------------------------------------------------------------------------


@pytest.mark.node
@pytest.mark.slow
def test_the_logs_that_a_node_gives_are_proved_by_its_blocks(busy: Busy) -> None:
    head = trusted_head(busy.w3)
    logs = logs_of(busy.w3, busy.ours, 1, head.number)
    assert len(logs) == 20
    found = verify_logs(busy.w3, logs, [busy.ours], from_block=1, to_block=head.number, trusted=head)
    assert found == LogsVerified(
        before=Checkpoint(0, bytes(busy.w3.eth.get_block(0)["hash"])), headers=head.number, opened=2, logs=20
    )
    for missing in (0, 7, 19):
        with pytest.raises(VerificationFailed, match="is missing"):
            verify_logs(
                busy.w3,
                logs[:missing] + logs[missing + 1 :],
                [busy.ours],
                from_block=1,
                to_block=head.number,
                trusted=head,
            )


@pytest.mark.node
@pytest.mark.slow
def test_receipts_of_several_types_in_one_block_are_proved(busy: Busy) -> None:
    (header,) = fetch_headers(busy.w3, [busy.crowded])
    receipts = fetch_receipts(busy.w3, header)
    assert {receipt.kind for receipt in receipts} - {0} == {1, 2}
    assert {receipt.succeeded for receipt in receipts} == {True, False}
    for index, receipt in enumerate(receipts):
        assert verify_receipt(header.receipts_root, index, prove_receipt(receipts, index)) == receipt


@pytest.mark.node
@pytest.mark.slow
def test_state_is_proved_where_the_node_serves_proofs(busy: Busy, any_chain: DevChain) -> None:
    (header,) = fetch_headers(busy.w3, [busy.w3.eth.block_number])
    if any_chain.name == "embedded":
        with pytest.raises(NodeUnavailable, match="eth_getProof"):
            fetch_state(busy.w3, header, busy.ours, [0])
        return
    proof, state = fetch_state(busy.w3, header, busy.ours, [0, 1, 2, 2**256 - 1])
    assert state.account is not None
    assert state.account.code_hash == keccak(EMITTER[9:])
    last = {words(seed, 0)[:64] for seed in (1, 2, 4)}  # which call came last is the node's choice
    assert state.words[0].to_bytes(32, "big") + state.words[1].to_bytes(32, "big") in last
    assert state.words[2:] == (0, 0)
    assert len(proof.slots) == 4
    _, nobody = fetch_state(busy.w3, header, Address(b"\x99" * 20), [0])
    assert (nobody.account, nobody.words) == (None, (0,))
    _, sender = fetch_state(busy.w3, header, any_chain.signers[1].address, [5])
    assert sender.account is not None
    assert (sender.account.storage_root, sender.words) == (EMPTY_ROOT, (0,))
    with pytest.raises(VerificationFailed):
        fetch_state(busy.w3, replace(header, number=1), busy.ours, [0])


# In process ----------------------------------------------------------------------------------------------------------


def test_a_range_hangs_on_the_trusted_block_and_ends_in_the_one_before(here: Busy) -> None:
    head = trusted_head(here.w3)
    middle = here.crowded - 1
    upper = verify_logs(
        here.w3,
        logs_of(here.w3, here.ours, middle + 1, head.number),
        [here.ours],
        from_block=middle + 1,
        to_block=head.number,
        trusted=head,
    )
    assert upper.before == Checkpoint(middle, bytes(here.w3.eth.get_block(middle)["hash"]))
    lower = verify_logs(
        here.w3,
        logs_of(here.w3, here.ours, 2, middle),
        [here.ours],
        from_block=2,
        to_block=middle,
        trusted=upper.before,
    )
    assert (lower.before.number, lower.headers, lower.logs + upper.logs) == (1, middle - 1, 20)
    inner = verify_logs(
        here.w3, logs_of(here.w3, here.ours, 2, middle), [here.ours], from_block=2, to_block=middle, trusted=head
    )
    assert (inner.before, inner.opened, inner.headers) == (lower.before, lower.opened, head.number - 1)


@pytest.mark.parametrize("window", [1, 2, 3, 1000])
def test_windows_of_headers_are_linked_to_one_another(here: Busy, window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "WINDOW", window)
    head = trusted_head(here.w3)
    headers = list(linked_headers(here.w3, head, down_to=0))
    assert [header.number for header in headers] == list(range(head.number, -1, -1))
    assert headers[0].hash == head.hash


def test_another_trusted_hash_is_refused(here: Busy) -> None:
    wrong = Checkpoint(trusted_head(here.w3).number, bytes(32))
    with pytest.raises(VerificationFailed, match=r"expected hash 0{64}, got"):
        list(linked_headers(here.w3, wrong, down_to=1))


def test_a_trusted_block_that_the_node_has_not_is_no_answer(here: Busy) -> None:
    with pytest.raises(NodeUnavailable):
        list(linked_headers(here.w3, Checkpoint(10_000, bytes(32)), down_to=9_999))


@pytest.mark.parametrize(("first", "last"), [(0, 1), (3, 2), (1, 10_000)])
def test_a_range_that_the_trusted_block_does_not_cover_is_refused(here: Busy, first: int, last: int) -> None:
    with pytest.raises(InputError, match=f"got {first} to {last}"):
        verify_logs(here.w3, [], [here.ours], from_block=first, to_block=last, trusted=trusted_head(here.w3))


def test_logs_from_outside_of_the_range_are_refused(here: Busy) -> None:
    head = trusted_head(here.w3)
    logs = logs_of(here.w3, here.ours, 1, head.number)
    with pytest.raises(VerificationFailed, match=f"expected logs of blocks 1 to {here.crowded - 1}, got one of block"):
        verify_logs(here.w3, logs, [here.ours], from_block=1, to_block=here.crowded - 1, trusted=head)


def test_two_nodes_with_other_blocks_are_told_apart(here: Busy) -> None:
    other = embedded(6, time=1_600_000_000).w3
    require_block(here.w3, trusted_head(here.w3))
    with pytest.raises(VerificationFailed, match=r"block 0: expected .* from both nodes"):
        require_block(other, Checkpoint(0, bytes(here.w3.eth.get_block(0)["hash"])))
    with pytest.raises(NodeUnavailable):
        require_block(other, Checkpoint(5, bytes(here.w3.eth.get_block(5)["hash"])))


# Batches -------------------------------------------------------------------------------------------------------------

Blocks = list[dict[str, Any]]
NUMBERS = [int(block["number"], 16) for block in GOLDEN["blocks"]]


def node_with(answer: Callable[[Blocks], Any]) -> Any:
    """A node that has geth's golden blocks, and answers a batch in its own way."""

    def batch(requests: Sequence[tuple[str, Any]]) -> Any:
        assert [(method, int(number, 16), whole) for method, (number, whole) in requests] == [
            ("eth_getBlockByNumber", number, False) for number in NUMBERS
        ]
        return answer([{"id": at, "result": block} for at, block in enumerate(GOLDEN["blocks"])])

    single = dict(zip(NUMBERS, GOLDEN["blocks"], strict=True))
    return SimpleNamespace(
        provider=SimpleNamespace(make_batch_request=batch), eth=SimpleNamespace(get_block=single.__getitem__)
    )


def test_headers_come_in_one_request() -> None:
    assert fetch_headers(node_with(lambda answers: answers), NUMBERS) == [read_header(b) for b in GOLDEN["blocks"]]


def test_a_node_that_takes_no_batches_is_asked_one_by_one() -> None:
    refusing = node_with(lambda answers: {"error": {"code": -32600, "message": "no batches here"}})
    assert [header.number for header in fetch_headers(refusing, NUMBERS)] == NUMBERS


BROKEN: dict[str, Callable[[Blocks], Any]] = {
    "one missing": lambda answers: answers[:-1],
    "none": lambda answers: [],
    "one too many": lambda answers: [*answers, answers[0]],
    "in another order": lambda answers: answers[::-1],
    "one twice": lambda answers: [answers[0], answers[0], answers[2]],
    "one without result": lambda answers: [*answers[:2], {"id": 2}],
    "one null": lambda answers: [*answers[:2], {"id": 2, "result": None}],
    "one a word": lambda answers: [*answers[:2], {"id": 2, "result": "block"}],
    "one no object": lambda answers: [*answers[:2], 7],
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_batch_is_no_answer(answer: Callable[[Blocks], Any]) -> None:
    with pytest.raises(NodeUnavailable):
        fetch_headers(node_with(answer), NUMBERS)


def test_an_error_within_a_batch_is_the_node_s_refusal() -> None:
    limited = node_with(lambda answers: [*answers[:2], {"id": 2, "error": {"code": -32005, "message": "slow down"}}])
    with pytest.raises(NodeRefused, match="slow down"):
        fetch_headers(limited, NUMBERS)
