"""One receipt, an account and words of storage, proved by a block hash alone: blocks and proofs of a real geth."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from registry.errors import InputError, NodeUnavailable, VerificationFailed
from registry.ethereum import rlp
from registry.ethereum.hashing import keccak
from registry.ethereum.headers import read_header
from registry.ethereum.patricia import EMPTY_ROOT, prove, trie_root
from registry.ethereum.proofs import (
    AccountState,
    SlotProof,
    StateProof,
    prove_receipt,
    read_state_proof,
    verify_receipt,
    verify_state,
)
from registry.ethereum.receipts import read_receipts
from registry.types import Address

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden" / "chain" / "geth_block.json").read_text())
HEADER = read_header(GOLDEN["blocks"][1])
RECEIPTS = read_receipts(GOLDEN["receipts"])
SLOTS = [bytes(31) + bytes([number]) for number in range(3)]


def read(name: str, **changed: Any) -> StateProof:
    """One of the golden proofs, read with the question that it answers."""
    answer = GOLDEN["proofs"][name]
    address = Address(bytes.fromhex(answer["address"][2:]))
    return read_state_proof({**answer, **changed}, address, SLOTS if name == "contract" else SLOTS[:1])


CONTRACT, ACCOUNT, NOBODY = read("contract"), read("account"), read("nobody")


# Receipts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", range(len(RECEIPTS)))
def test_each_receipt_of_a_block_is_proved(index: int) -> None:
    assert verify_receipt(HEADER.receipts_root, index, prove_receipt(RECEIPTS, index)) == RECEIPTS[index]


def test_a_proof_of_one_receipt_is_none_of_another() -> None:
    for index in range(len(RECEIPTS)):
        for other in (-1, *range(len(RECEIPTS) + 3), 127, 128, 2**64):
            if other != index:
                with pytest.raises(VerificationFailed):
                    verify_receipt(HEADER.receipts_root, other, prove_receipt(RECEIPTS, index))


def test_a_proof_under_another_block_s_root_is_refused() -> None:
    other = read_header(GOLDEN["blocks"][0])
    with pytest.raises(VerificationFailed, match="trie proof"):
        verify_receipt(other.receipts_root, 0, prove_receipt(RECEIPTS, 0))


@pytest.mark.parametrize("index", [-1, len(RECEIPTS), 10**6])
def test_there_is_no_proof_of_a_receipt_that_is_not_there(index: int) -> None:
    with pytest.raises(InputError, match="expected an index below 6"):
        prove_receipt(RECEIPTS, index)


def test_a_proof_of_absence_is_no_receipt() -> None:
    values = {rlp.encode(rlp.int_to(at)): receipt.encode() for at, receipt in enumerate(RECEIPTS)}
    nodes = prove(values, b"\x7f")
    with pytest.raises(VerificationFailed, match="a proof that the block has none there"):
        verify_receipt(HEADER.receipts_root, 0x7F, nodes)


@pytest.mark.parametrize("value", [b"\x05\xc0", b"\x80" * 40, RECEIPTS[0].encode() + b"\0"])
def test_what_a_root_stands_for_must_be_a_receipt(value: bytes) -> None:
    values = {b"\x80": value}
    with pytest.raises(VerificationFailed, match="receipt proof: "):
        verify_receipt(trie_root(values), 0, prove(values, b"\x80"))


# State ----------------------------------------------------------------------------------------------------------------


def test_an_account_and_its_storage_are_proved_as_geth_claims_them() -> None:
    claimed = GOLDEN["proofs"]["contract"]
    state = verify_state(HEADER.state_root, CONTRACT)
    assert state.account is not None
    assert state.account.nonce == int(claimed["nonce"], 16) == 1
    assert state.account.balance == int(claimed["balance"], 16)
    assert f"0x{state.account.storage_root.hex()}" == claimed["storageHash"]
    assert f"0x{state.account.code_hash.hex()}" == claimed["codeHash"]
    assert state.words == tuple(int(slot["value"], 16) for slot in claimed["storageProof"])
    assert state.words[0] and state.words[1] and state.words[2] == 0  # absence, proved


def test_an_account_without_storage_has_zeros() -> None:
    state = verify_state(HEADER.state_root, ACCOUNT)
    assert state.account is not None
    assert state.account.storage_root == EMPTY_ROOT
    assert (state.account.nonce, state.words) == (3, (0,))


def test_an_account_that_is_not_there_is_proved_absent() -> None:
    assert verify_state(HEADER.state_root, NOBODY) == AccountState(account=None, words=(0,))


def test_a_proof_does_not_hold_for_another_block_address_or_slot() -> None:
    with pytest.raises(VerificationFailed):
        verify_state(read_header(GOLDEN["blocks"][2]).state_root, replace(CONTRACT, nodes=CONTRACT.nodes[::-1]))
    with pytest.raises(VerificationFailed):
        verify_state(read_header(GOLDEN["blocks"][0]).state_root, CONTRACT)
    with pytest.raises(VerificationFailed):
        verify_state(HEADER.state_root, replace(CONTRACT, address=ACCOUNT.address))
    first, second, third = CONTRACT.slots
    for wrong in (
        replace(first, slot=second.slot),
        replace(first, nodes=third.nodes[:-1]),
        replace(first, nodes=()),
        replace(third, nodes=(*third.nodes, first.nodes[-1])),
    ):
        if wrong.nodes != second.nodes:
            with pytest.raises(VerificationFailed):
                verify_state(HEADER.state_root, replace(CONTRACT, slots=(wrong,)))


def test_nobody_has_no_storage_whatever_is_shown() -> None:
    with pytest.raises(VerificationFailed, match="no more nodes"):
        verify_state(HEADER.state_root, replace(NOBODY, slots=(CONTRACT.slots[0],)))


def test_an_absence_cannot_be_shown_of_an_account_that_is_there() -> None:
    with pytest.raises(VerificationFailed):
        verify_state(HEADER.state_root, replace(CONTRACT, nodes=NOBODY.nodes))
    with pytest.raises(VerificationFailed):
        verify_state(HEADER.state_root, replace(CONTRACT, nodes=CONTRACT.nodes[:-1]))
    with pytest.raises(VerificationFailed):
        verify_state(HEADER.state_root, replace(CONTRACT, nodes=()))


OWNER = Address(b"\x0a" * 20)
FORGED: dict[str, rlp.Item] = {
    "a byte string": b"x" * 40,
    "three fields": (b"\1", b"\1", EMPTY_ROOT),
    "five fields": (b"\1", b"\1", EMPTY_ROOT, EMPTY_ROOT, b""),
    "a nonce with a zero before it": (b"\0\1", b"\1", EMPTY_ROOT, EMPTY_ROOT),
    "a nonce of 65 bits": (b"\1" + bytes(8), b"\1", EMPTY_ROOT, EMPTY_ROOT),
    "a balance of 257 bits": (b"\1", b"\1" + bytes(32), EMPTY_ROOT, EMPTY_ROOT),
    "a balance that is a list": (b"\1", (), EMPTY_ROOT, EMPTY_ROOT),
    "a short storage root": (b"\1", b"\1", EMPTY_ROOT[1:], EMPTY_ROOT),
    "a code hash that is a list": (b"\1", b"\1", EMPTY_ROOT, ()),
}


@pytest.mark.parametrize("account", FORGED.values(), ids=FORGED.keys())
def test_what_a_state_root_stands_for_must_be_an_account(account: rlp.Item) -> None:
    values = {keccak(OWNER): rlp.encode(account)}
    proof = StateProof(OWNER, prove(values, keccak(OWNER)), ())
    with pytest.raises(VerificationFailed, match="account: "):
        verify_state(trie_root(values), proof)


@pytest.mark.parametrize("word", [b"\x00", b"\x82\x00\x01", b"\xc0", b"\xa1" + b"\1" * 33, b"\x01\x01", b"\xb8\1\1"])
def test_what_a_storage_root_stands_for_must_be_a_word(word: bytes) -> None:
    with pytest.raises(VerificationFailed, match="storage: "):
        word_under(word)


def test_a_zero_that_a_node_keeps_is_the_word_that_is_not_there() -> None:
    assert word_under(b"\x80").words == (0,)


def word_under(raw: bytes) -> AccountState:
    """What is proved of a contract whose storage has these bytes at slot 0."""
    slot = bytes(32)
    storage = {keccak(slot): raw}
    accounts = {keccak(OWNER): rlp.encode((b"\1", b"\1", trie_root(storage), EMPTY_ROOT))}
    proof = StateProof(OWNER, prove(accounts, keccak(OWNER)), (SlotProof(slot, prove(storage, keccak(slot))),))
    return verify_state(trie_root(accounts), proof)


def test_an_empty_trie_may_be_written_as_one_empty_node() -> None:
    answer = GOLDEN["proofs"]["account"]
    slots = [{**slot, "proof": ["0x80"]} for slot in answer["storageProof"]]
    assert read("account", storageProof=slots) == ACCOUNT


@pytest.mark.parametrize("key", ["0x0", "0x" + "00" * 32, b"\0", bytes(32), 0])
def test_a_slot_is_read_however_a_node_writes_it(key: object) -> None:
    answer = GOLDEN["proofs"]["account"]
    slots = [{**slot, "key": key} for slot in answer["storageProof"]]
    assert read("account", storageProof=slots) == ACCOUNT


@pytest.mark.parametrize(
    "broken",
    [
        {"address": None},
        {"address": "0x11"},
        {"accountProof": None},
        {"accountProof": "0x"},
        {"accountProof": [None]},
        {"accountProof": ["0x1"]},
        {"storageProof": None},
        {"storageProof": [None]},
        {"storageProof": [{"key": "0x0"}]},
        {"storageProof": [{"key": None, "proof": []}]},
        {"storageProof": [{"key": "x", "proof": []}]},
        {"storageProof": [{"key": b"\1" * 33, "proof": []}]},
        {"storageProof": [{"key": -1, "proof": []}]},
    ],
)
def test_json_that_is_no_proof_is_no_answer(broken: dict[str, Any]) -> None:
    with pytest.raises(NodeUnavailable):
        read("account", **broken)
    with pytest.raises(NodeUnavailable, match="an object for a state proof"):
        read_state_proof(None, ACCOUNT.address, ())


def test_a_proof_of_something_else_than_was_asked_for_is_no_answer() -> None:
    answer = GOLDEN["proofs"]["contract"]
    words = answer["storageProof"]
    for changed in (
        {"address": GOLDEN["proofs"]["account"]["address"]},
        {"storageProof": words[:2]},
        {"storageProof": [*words, words[0]]},
        {"storageProof": words[::-1]},
        {"storageProof": [*words[:2], {**words[2], "key": "0x3"}]},
    ):
        with pytest.raises(NodeUnavailable, match="expected a proof of what was asked for"):
            read("contract", **changed)
