"""Raw logs decode to the same events as with eth_abi; any other bytes give one error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.chain.contract_events import (
    CHALLENGE_EVENTS,
    COURT_EVENTS,
    EVENTS,
    LABEL_EVENTS,
    SCORE_EVENTS,
    CommitmentSkipped,
    LeafShown,
    UpdateCommitted,
)
from registry.chain.contracts import DEPLOYED
from registry.chain.contracts import events as event_abis
from registry.chain.event_logs import decode_log, topic_of
from registry.errors import ChainError
from registry.index.decoding import decode_range, decode_raw
from registry.types import Address

CAIRN = Address(b"\x44" * 20)
BLOCKS = range(0, 1000)
Log = dict[str, Any]


ENUMS = {"standing": 2, "fault": 12}
"""The largest value of each field that is an enum."""


def values_of(kind: str) -> st.SearchStrategy[Any]:
    from eth_abi.grammar import parse

    if kind.startswith("("):
        return st.tuples(*(values_of(part.to_type_str()) for part in parse(kind).components))
    if kind == "address":
        return st.binary(min_size=20, max_size=20)
    if kind == "bytes32":
        return st.binary(min_size=32, max_size=32)
    if kind == "bool":
        return st.booleans()
    if kind == "string":
        return st.text(max_size=40)
    if kind == "bytes":
        return st.binary(max_size=100)
    if kind == "bytes4":
        return st.binary(min_size=4, max_size=4)
    if kind.endswith("[]"):
        return st.lists(values_of(kind[:-2]), max_size=3).map(tuple)
    return st.integers(0, (1 << int(kind.removeprefix("uint"))) - 1)


@st.composite
def logs_of(draw: st.DrawFn, name: str) -> Log:
    """A log of an event as eth_abi encodes it and a node writes it."""
    from eth_abi.abi import encode

    abi = next(e for contract in DEPLOYED for e in event_abis(contract) if e.name == name)
    drawn = [
        (kind, indexed, draw(st.integers(0, ENUMS[field]) if field in ENUMS else values_of(kind)))
        for field, kind, indexed in abi.inputs
    ]
    topics = [abi.topic, *(encode([kind], [value]) for kind, indexed, value in drawn if indexed)]
    plain = [(kind, value) for kind, indexed, value in drawn if not indexed]
    data = encode([kind for kind, _ in plain], [value for _, value in plain])
    return {
        "address": "0x" + CAIRN.hex(),
        "topics": ["0x" + topic.hex() for topic in topics],
        "data": "0x" + data.hex(),
        "blockNumber": hex(draw(st.integers(0, 999))),
        "logIndex": hex(draw(st.integers(0, 1 << 20))),
        "blockHash": "0x" + draw(st.binary(min_size=32, max_size=32)).hex(),
        "transactionHash": "0x" + draw(st.binary(min_size=32, max_size=32)).hex(),
        "removed": False,
    }


def as_web3_has_it(log: Mapping[str, Any]) -> Log:
    return {
        "address": log["address"],
        "topics": [bytes.fromhex(topic[2:]) for topic in log["topics"]],
        "data": bytes.fromhex(log["data"][2:]),
        "blockNumber": int(log["blockNumber"], 16),
        "logIndex": int(log["logIndex"], 16),
        "blockHash": bytes.fromhex(log["blockHash"][2:]),
        "transactionHash": bytes.fromhex(log["transactionHash"][2:]),
    }


@pytest.mark.parametrize(
    "kind", [*EVENTS, *CHALLENGE_EVENTS, *COURT_EVENTS, *LABEL_EVENTS, *SCORE_EVENTS], ids=lambda kind: kind.__name__
)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_every_event_is_what_eth_abi_makes_of_its_log(kind: Any, data: st.DataObject) -> None:
    log = data.draw(logs_of(kind.__name__))
    event = decode_raw(log, {CAIRN})
    assert type(event) is kind
    assert event == decode_log(as_web3_has_it(log))


def test_every_event_of_the_abi_is_decoded() -> None:
    kinds = (*EVENTS, *CHALLENGE_EVENTS, *COURT_EVENTS, *LABEL_EVENTS, *SCORE_EVENTS)
    assert {abi.name for contract in DEPLOYED for abi in event_abis(contract)} == {kind.__name__ for kind in kinds}


def commitment(block: int = 7, index: int = 0, **changed: Any) -> Log:
    log = {
        "address": "0x" + CAIRN.hex(),
        "topics": ["0x" + topic_of(UpdateCommitted).hex(), "0x" + "0a" * 32, "0x" + "00" * 12 + "0b" * 20],
        "data": "0x" + "0c" * 32 + "0d" * 32 + "00" * 31 + "07" + "00" * 31 + "03",
        "blockNumber": hex(block),
        "logIndex": hex(index),
        "blockHash": "0x" + f"{block:064x}",
        "transactionHash": "0x" + "0e" * 32,
        "removed": False,
    }
    return {**log, **changed}


def without(name: str) -> Log:
    return {key: value for key, value in commitment().items() if key != name}


TOPICS, DATA = commitment()["topics"], commitment()["data"]
HOSTILE: dict[str, Any] = {
    **{f"no {name}": without(name) for name in commitment() if name != "removed"},
    **{f"{name} none": commitment(**{name: None}) for name in commitment()},
    **{f"{name} a number": commitment(**{name: 7}) for name in commitment()},
    **{f"{name} a list": commitment(**{name: [[]]}) for name in commitment()},
    **{f"{name} an object": commitment(**{name: {}}) for name in commitment()},
    **{f"{name} empty": commitment(**{name: ""}) for name in commitment()},
    "not an object": "log",
    "nothing": None,
    "a list": [],
    "another contract": commitment(address="0x" + "45" * 20),
    "a short address": commitment(address="0x" + "44" * 19),
    "a long address": commitment(address="0x" + "44" * 21),
    "an unknown topic": commitment(topics=["0x" + "ee" * 32]),
    "an anonymous log": commitment(topics=[]),
    "a topic missing": commitment(topics=TOPICS[:2]),
    "a topic too many": commitment(topics=[*TOPICS, TOPICS[1]]),
    "a topic too many that reads as data": commitment(
        topics=[*TOPICS, TOPICS[1]], data="0x" + "0c" * 32 + f"{7:064x}{3:064x}{0:064x}"
    ),
    "a short topic": commitment(topics=[TOPICS[0], TOPICS[1][:-2], TOPICS[2]]),
    "a topic with a blank": commitment(topics=[TOPICS[0], TOPICS[1][:-2] + "  ", TOPICS[2]]),
    "a topic with blanks beside its digits": commitment(topics=[TOPICS[0], TOPICS[1] + "  ", TOPICS[2]]),
    "a topic without 0x": commitment(topics=[TOPICS[0], "00" + TOPICS[1][2:], TOPICS[2]]),
    "an address topic with high bytes": commitment(topics=[*TOPICS[:2], "0x01" + TOPICS[2][4:]]),
    "no data": commitment(data="0x"),
    "data cut short": commitment(data=DATA[:-2]),
    "half a byte missing": commitment(data=DATA[:-1]),
    "a word of data missing": commitment(data=DATA[:-64]),
    "a word of data too many": commitment(data=DATA + "00" * 32),
    "data of other digits": commitment(data="0x" + "zz" * 128),
    "a weight of 33 bits": commitment(data=DATA[:-128] + f"{1 << 32:064x}" + DATA[-64:]),
    "a weight of 256 bits": commitment(data=DATA[:-128] + "ff" * 32 + DATA[-64:]),
    "steps of 33 bits": commitment(data=DATA[:-64] + f"{1 << 32:064x}"),
    "a reason of five bytes": commitment(
        topics=["0x" + topic_of(CommitmentSkipped).hex(), *TOPICS[1:]], data="0x" + "0f" * 5 + "00" * 27
    ),
    "a negative block": commitment(blockNumber="-0x7"),
    "a block of 60 bits": commitment(blockNumber=hex(1 << 60)),
    "a block of 256 bits": commitment(blockNumber="0x" + "ff" * 32),
    "a block with an underscore": commitment(blockNumber="0x1_0"),
    "a block with a blank": commitment(blockNumber="0x7 "),
    "a block in decimal": commitment(blockNumber="7"),
    "a block with leading zeros": commitment(blockNumber="0x07"),
    "no digits of a block": commitment(blockNumber="0x"),
    "a pending block": commitment(blockNumber=None, blockHash=None, logIndex=None),
    "a negative log index": commitment(logIndex="-0x1"),
    "a huge log index": commitment(logIndex=hex(1 << 64)),
    "a short block hash": commitment(blockHash="0x" + "07" * 31),
    "a short transaction hash": commitment(transactionHash="0x"),
    "removed": commitment(removed=True),
    "removed by a word": commitment(removed="false"),
}


@pytest.mark.parametrize("log", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_log_is_one_error(log: Any) -> None:
    with pytest.raises(ChainError, match="the node gave a log that does not decode") as refusal:
        decode_range([commitment(index=1), log], {CAIRN}, BLOCKS)
    assert len(str(refusal.value)) < 400


WORD = {"offset": 6, "length": 8}
"""Words of a shown leaf's data: root, rows, index, count, inner root, offsets of leaf and proof, the leaf's length."""


@pytest.mark.parametrize("value", [1, 2**31, 2**63, 2**64, 2**256 - 1])
@pytest.mark.parametrize("word", WORD.values(), ids=WORD)
def test_a_hostile_log_of_no_fixed_length_is_one_error(word: int, value: int) -> None:
    from eth_abi.abi import encode

    types = ["bytes32", "uint16", "uint16", "uint64", "(uint64,bytes32)", "bytes", "bytes32[]"]
    data = bytearray(encode(types, [b"\x01" * 32, 4, 256, 7, (9, b"\x02" * 32), b"\x03" * 40, [b"\x04" * 32]]))
    topics = ["0x" + topic_of(LeafShown).hex(), "0x" + "0a" * 32, "0x" + "0b" * 32, "0x" + "00" * 12 + "0c" * 20]
    shown = commitment(topics=topics, data="0x" + data.hex())
    event = decode_raw(shown, {CAIRN})
    assert isinstance(event, LeafShown)
    assert (event.leaf, event.proof) == (b"\x03" * 40, (b"\x04" * 32,))
    data[32 * word : 32 * word + 32] = value.to_bytes(32, "big")
    with pytest.raises(ChainError, match="log that does not decode"):
        decode_raw({**shown, "data": "0x" + data.hex()}, {CAIRN})


def test_the_log_that_hostile_ones_are_made_of_decodes() -> None:
    event = decode_raw(commitment(), {CAIRN})
    assert isinstance(event, UpdateCommitted)
    assert (event.at.block_number, event.participant, event.weight, event.steps) == (7, b"\x0b" * 20, 7, 3)
    assert decode_raw(without("removed"), {CAIRN}) == event
    assert decode_raw(commitment(address="0x" + CAIRN.hex().upper()), {CAIRN}) == event


def places(logs: list[Log]) -> list[tuple[int, int]]:
    return [(e.at.block_number, e.at.log_index) for e in decode_range(logs, {CAIRN}, BLOCKS)]


def test_logs_are_put_into_the_order_of_the_chain() -> None:
    logs = [commitment(9, 3), commitment(8, 0), commitment(9, 1), commitment(8, 12)]
    assert places(logs) == [(8, 0), (8, 12), (9, 1), (9, 3)]


@pytest.mark.parametrize(
    ("logs", "said"),
    [
        ([commitment(1000)], "expected a log of blocks 0 to 999"),
        ([commitment(7, 1), commitment(7, 1)], "expected one log there, got two"),
        ([commitment(7, 1), commitment(8, 1), commitment(7, 1, data=DATA[:-1] + "8")], "expected one log there"),
        ([commitment(7, 1), commitment(7, 2, blockHash="0x" + "ff" * 32)], "expected logs of one block of that number"),
    ],
)
def test_logs_that_contradict_one_another_or_the_request_are_refused(logs: list[Log], said: str) -> None:
    with pytest.raises(ChainError, match=said):
        decode_range(logs, {CAIRN}, BLOCKS)


def test_logs_of_several_contracts_are_read_together() -> None:
    other = Address(b"\x45" * 20)
    logs = [commitment(), commitment(index=1, address="0x" + other.hex())]
    assert len(decode_range(logs, {CAIRN, other}, BLOCKS)) == 2


@pytest.mark.parametrize("name", ["topics", "data", "address", "blockHash", "transactionHash"])
@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=80))
def test_no_text_crashes_the_decoder(name: str, text: str) -> None:
    with pytest.raises(ChainError, match="does not decode"):
        decode_raw(commitment(**{name: [text] if name == "topics" else text}), {CAIRN})
