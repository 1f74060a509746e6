"""Receipts of every type make the header's receipts root, and raw receipt bytes are read back strictly."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import rlp as reference
from eth.rlp.logs import Log as TheirLog
from eth.rlp.receipts import Receipt as Theirs
from eth_bloom import BloomFilter
from hypothesis import given
from hypothesis import strategies as st
from trie import HexaryTrie

from registry.errors import FormError, NodeUnavailable, VerificationFailed
from registry.ethereum import rlp
from registry.ethereum.headers import Header, read_header
from registry.ethereum.receipts import (
    DEPOSIT,
    RECEIPT_TYPES,
    Log,
    Receipt,
    bloom_may_hold,
    bloom_of,
    decode_receipt,
    read_log,
    read_receipts,
    verify_receipts,
)
from registry.types import Address

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden" / "chain" / "geth_block.json").read_text())
JSON: list[dict[str, Any]] = GOLDEN["receipts"]
HEADER = read_header(GOLDEN["blocks"][1])
RECEIPTS = read_receipts(JSON)
WITH_LOGS = RECEIPTS[0]

logs = st.builds(
    Log,
    st.binary(min_size=20, max_size=20).map(Address),
    st.lists(st.binary(min_size=32, max_size=32), max_size=4).map(tuple),
    st.binary(max_size=200),
)
receipts = st.builds(
    Receipt,
    st.sampled_from(sorted(RECEIPT_TYPES)),
    st.booleans(),
    st.integers(0, 2**64 - 1),
    st.lists(logs, max_size=4).map(tuple),
)


def test_the_golden_block_has_every_type_and_a_failure() -> None:
    assert {receipt.kind for receipt in RECEIPTS} == {0, 1, 2, 3, 4}
    assert {receipt.succeeded for receipt in RECEIPTS} == {True, False}
    assert {len(log.topics) for receipt in RECEIPTS for log in receipt.logs} == {0, 1, 2, 3, 4}


def test_the_receipts_of_a_real_block_make_its_root_and_bloom() -> None:
    verify_receipts(HEADER, RECEIPTS)


def test_a_block_without_transactions_has_no_receipts() -> None:
    verify_receipts(read_header(GOLDEN["blocks"][2]), ())
    with pytest.raises(VerificationFailed, match="got 1 of root"):
        verify_receipts(read_header(GOLDEN["blocks"][2]), RECEIPTS[:1])


@pytest.mark.parametrize("at", range(len(JSON)))
@pytest.mark.parametrize("what", ["missing", "doubled", "swapped", "status", "gas", "type", "logs"])
def test_a_block_with_other_receipts_is_refused(at: int, what: str) -> None:
    one, following = RECEIPTS[at], RECEIPTS[(at + 1) % len(RECEIPTS)]
    changed = {
        "missing": RECEIPTS[:at] + RECEIPTS[at + 1 :],
        "doubled": (*RECEIPTS, one),
        "swapped": tuple(following if r is one else one if r is following else r for r in RECEIPTS),
        "status": (*RECEIPTS[:at], replace(one, succeeded=not one.succeeded), *RECEIPTS[at + 1 :]),
        "gas": (*RECEIPTS[:at], replace(one, cumulative_gas=one.cumulative_gas ^ 1), *RECEIPTS[at + 1 :]),
        "type": (*RECEIPTS[:at], replace(one, kind=(one.kind + 1) % 5), *RECEIPTS[at + 1 :]),
        "logs": (*RECEIPTS[:at], replace(one, logs=(*one.logs, WITH_LOGS.logs[0])), *RECEIPTS[at + 1 :]),
    }[what]
    with pytest.raises(VerificationFailed, match=r"block \d+: expected receipts of root [0-9a-f]{64}, got \d of root"):
        verify_receipts(HEADER, changed)


def test_a_header_whose_bloom_is_not_its_logs_is_refused() -> None:
    forged: Header = replace(HEADER, logs_bloom=bytes(256))
    with pytest.raises(VerificationFailed, match="expected the bloom of its logs in the header"):
        verify_receipts(forged, RECEIPTS)


@given(receipts)
def test_a_receipt_encodes_as_py_evm_s_and_is_read_back(receipt: Receipt) -> None:
    theirs = reference.encode(
        Theirs(
            state_root=b"\x01" if receipt.succeeded else b"",
            gas_used=receipt.cumulative_gas,
            logs=[
                TheirLog(log.address, [int.from_bytes(t, "big") for t in log.topics], log.data) for log in receipt.logs
            ],
            bloom=int.from_bytes(bloom_of(receipt.logs), "big"),
        )
    )
    assert receipt.encode() == (bytes([receipt.kind]) if receipt.kind else b"") + theirs
    assert decode_receipt(receipt.encode()) == receipt


@given(st.lists(logs, max_size=6), st.binary(min_size=20, max_size=20))
def test_the_bloom_is_the_reference_package_s(some: list[Log], stranger: bytes) -> None:
    theirs = BloomFilter.from_iterable(value for log in some for value in (log.address, *log.topics))
    bloom = bloom_of(some)
    assert bloom == int(theirs).to_bytes(256, "big")
    assert all(bloom_may_hold(bloom, value) for log in some for value in (log.address, *log.topics))
    assert bloom_may_hold(bloom, stranger) == (stranger in theirs)


def parts(receipt: Receipt) -> list[Any]:
    items = rlp.decode(receipt.encode()[1 if receipt.kind else 0 :])
    assert isinstance(items, tuple)
    return list(items)


def test_raw_receipts_of_unknown_types_are_refused() -> None:
    body = Receipt(0, True, 21000, ()).encode()
    for kind in sorted({*range(0xC0)} - RECEIPT_TYPES | {0}):
        with pytest.raises(FormError, match="expected a type among 0x00, 0x01"):
            decode_receipt(bytes([kind]) + body)


LOG = (bytes(20), (), b"")
BAD: dict[str, tuple[int, rlp.Item]] = {
    "status 2": (0, b"\x02"),
    "status 0 as a byte": (0, b"\x00"),
    "a status that is a list": (0, ()),
    "a state root for a status": (0, b"\x11" * 32),
    "gas with a leading zero": (1, b"\x00\x01"),
    "gas that is a list": (1, ()),
    "gas of 65 bits": (1, b"\x01" + bytes(8)),
    "another bloom": (2, b"\x01" + bytes(255)),
    "a short bloom": (2, bytes(255)),
    "a bloom that is a list": (2, ()),
    "logs that are bytes": (3, b"\x01"),
    "a log that is bytes": (3, (b"\x01",)),
    "a log of two": (3, (LOG[:2],)),
    "a log of four": (3, ((*LOG, b""),)),
    "a short address": (3, ((bytes(19), (), b""),)),
    "an address that is a list": (3, (((), (), b""),)),
    "topics that are bytes": (3, ((bytes(20), b"", b""),)),
    "a topic of 31 bytes": (3, ((bytes(20), (bytes(31),), b""),)),
    "a topic that is a list": (3, ((bytes(20), ((),), b""),)),
    "five topics": (3, ((bytes(20), (bytes(32),) * 5, b""),)),
    "data that are a list": (3, ((bytes(20), (), ()),)),
}


@pytest.mark.parametrize(("place", "item"), BAD.values(), ids=BAD.keys())
def test_raw_receipts_of_the_wrong_form_are_refused(place: int, item: rlp.Item) -> None:
    changed = parts(Receipt(2, True, 21000, ()))
    changed[place] = item
    with pytest.raises(FormError, match=": expected "):
        decode_receipt(b"\x02" + rlp.encode(tuple(changed)))


@pytest.mark.parametrize("count", [0, 3, 5])
def test_raw_receipts_with_other_fields_are_refused(count: int) -> None:
    with pytest.raises(FormError, match="expected status, cumulative gas, bloom and logs"):
        decode_receipt(rlp.encode(tuple([*parts(RECEIPTS[0]), b""][:count])))


@pytest.mark.parametrize("raw", [b"", b"\x02", b"\x02\x80", b"\xc0\x00", WITH_LOGS.encode()[:-1], b"\xc1" * 500])
def test_raw_bytes_that_are_no_receipt_are_refused(raw: bytes) -> None:
    with pytest.raises(FormError):
        decode_receipt(raw)


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in JSON[0].items() if key != name}


@pytest.mark.parametrize(
    "broken",
    [
        None,
        "0x",
        [],
        without("status"),
        without("cumulativeGasUsed"),
        without("logs"),
        without("transactionIndex"),
        {**JSON[0], "status": "0x2"},
        {**JSON[0], "type": "0x5"},
        {**JSON[0], "type": "0x67"},
        {**JSON[0], "type": "0x7e", "depositReceiptVersion": "0x1"},
        {**JSON[0], "type": "0x7e", "depositReceiptVersion": "0x1", "depositNonce": "0x1" + "0" * 16},
        {**JSON[0], "type": True},
        {**JSON[0], "logs": {}},
        {**JSON[0], "logs": [None]},
        {**JSON[0], "transactionIndex": "0x1"},
        {**JSON[0], "cumulativeGasUsed": "-0x1"},
        {**JSON[0], "cumulativeGasUsed": "0x1" + "0" * 16},
    ],
)
def test_json_that_is_no_receipt_is_no_answer(broken: object) -> None:
    with pytest.raises(NodeUnavailable):
        read_receipts([broken])


def test_a_type_that_is_not_known_is_named_and_what_it_means() -> None:
    with pytest.raises(NodeUnavailable, match=r"receipt 0: expected a type among .*, got 0x7d: .* cannot be checked"):
        read_receipts([{**JSON[0], "type": "0x7d"}])


def test_a_receipt_without_a_type_is_of_the_first() -> None:
    assert read_receipts([without("type")])[0].kind == 0


@pytest.mark.parametrize(
    "broken",
    [
        {"address": "0x11"},
        {"address": None},
        {"topics": None},
        {"topics": "0x"},
        {"topics": ["0x11"]},
        {"topics": [None]},
        {"topics": ["0x" + "11" * 32] * 5},
        {"data": None},
        {"data": "0x1"},
        {"data": "11"},
        {"data": "0x11 11"},
    ],
)
def test_json_that_is_no_log_is_no_answer(broken: dict[str, Any]) -> None:
    with pytest.raises(NodeUnavailable):
        read_log({**GOLDEN["logs"][0], **broken})


# Roll-ups -------------------------------------------------------------------------------------------------------------


def header_over(values: list[bytes], bloom: bytes) -> Header:
    """A header over receipts that the reference packages put into a trie."""
    trie = HexaryTrie({})
    for position, value in enumerate(values):
        trie[reference.encode(position)] = value
    return replace(HEADER, receipts_root=bytes(trie.root_hash), logs_bloom=bloom)


def on(kind: str, position: int, **fields: str) -> dict[str, Any]:
    """A receipt of that type as a roll-up's node gives it, with the logs of a real one."""
    return {**JSON[0], "type": kind, "transactionIndex": hex(position), **fields}


def raw(kind: str, *more: int) -> bytes:
    """What its geth puts into the trie: the type, and the fields as a list."""
    first = reference.decode(WITH_LOGS.encode()[1 if WITH_LOGS.kind else 0 :])
    return bytes.fromhex(kind[2:]) + bytes(reference.encode([*first, *more]))


NONCE, VERSION = {"depositNonce": "0x1c2f8d"}, {"depositReceiptVersion": "0x1"}
ROLL_UPS: dict[str, list[tuple[dict[str, Any], bytes]]] = {
    "an OP stack before Regolith": [(on("0x7e", 0), raw("0x7e")), (on("0x2", 1), raw("0x02"))],
    "an OP stack before Canyon": [(on("0x7e", 0, **NONCE), raw("0x7e")), (on("0x2", 1), raw("0x02"))],
    "an OP stack": [
        (on("0x7e", 0, **NONCE, **VERSION), raw("0x7e", 0x1C2F8D, 1)),
        (on("0x7e", 1, depositNonce="0x0", **VERSION), raw("0x7e", 0, 1)),
        (on("0x2", 2), raw("0x02")),
    ],
    "Arbitrum": [(on(kind, at), raw(kind)) for at, kind in enumerate(("0x6a", "0x64", "0x65", "0x66", "0x68", "0x69"))],
}


@pytest.mark.parametrize("block", ROLL_UPS.values(), ids=ROLL_UPS.keys())
def test_the_receipts_of_a_roll_up_s_block_make_its_root(block: list[tuple[dict[str, Any], bytes]]) -> None:
    header = header_over([value for _, value in block], bloom_of(WITH_LOGS.logs))
    found = read_receipts([answer for answer, _ in block])
    verify_receipts(header, found)
    for receipt, (_, value) in zip(found, block, strict=True):
        assert receipt.encode() == value
        assert decode_receipt(value) == receipt
        changed = replace(receipt, deposit=tuple(field + 1 for field in receipt.deposit) or (1, 1))
        with pytest.raises(VerificationFailed, match="expected receipts of root"):
            verify_receipts(header, [changed if each is receipt else each for each in found])


def test_only_a_deposit_has_a_nonce_and_a_version() -> None:
    fields = reference.decode(raw("0x02")[1:])
    assert decode_receipt(b"\x7e" + reference.encode([*fields, 5, 1])).deposit == (5, 1)
    for kind, more in ((2, [5, 1]), (0x64, [5, 1]), (DEPOSIT, [5]), (DEPOSIT, [5, 1, 1])):
        with pytest.raises(FormError, match="expected status, cumulative gas, bloom and logs"):
            decode_receipt(bytes([kind]) + reference.encode([*fields, *more]))
    with pytest.raises(FormError, match="deposit's nonce and version"):
        decode_receipt(b"\x7e" + reference.encode([*fields, b"\0\5", 1]))
