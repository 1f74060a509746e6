"""Logs of a real block checked against its receipts: every proven field is compared, and none may be missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from registry.errors import NodeUnavailable, VerificationFailed
from registry.ethereum.headers import read_header
from registry.ethereum.logs import PlacedLog, may_log, read_placed_log, require_logs
from registry.ethereum.receipts import read_receipts
from registry.types import Address

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden" / "chain" / "geth_block.json").read_text())
BEFORE, HEADER, AFTER = (read_header(block) for block in GOLDEN["blocks"])
RECEIPTS = read_receipts(GOLDEN["receipts"])
ALL = [read_placed_log(log) for log in GOLDEN["logs"]]
EMITTER, OTHER = (Address(bytes.fromhex(GOLDEN[name][2:])) for name in ("emitter", "other"))
OURS = [log for log in ALL if log.log.address == EMITTER]
Logs = list[PlacedLog]


def test_the_logs_that_geth_gives_are_those_of_the_receipts() -> None:
    require_logs(HEADER, RECEIPTS, ALL, [EMITTER, OTHER, *{log.log.address for log in ALL}])
    require_logs(HEADER, RECEIPTS, OURS[::-1], [EMITTER])
    require_logs(HEADER, RECEIPTS, [log for log in ALL if log.log.address == OTHER], [OTHER])
    require_logs(HEADER, RECEIPTS, [], [Address(bytes(20))])
    assert len(OURS) == 20
    assert len(ALL) == 25


def at(place: int, change: Callable[[PlacedLog], PlacedLog]) -> Logs:
    return [*OURS[:place], change(OURS[place]), *OURS[place + 1 :]]


def bit(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def placed(place: int, **changed: Any) -> Logs:
    return at(place, lambda log: replace(log, at=replace(log.at, **changed)))


def logged(place: int, **changed: Any) -> Logs:
    return at(place, lambda log: replace(log, log=replace(log.log, **changed)))


LIES: dict[str, tuple[Logs, str]] = {
    "the first missing": (OURS[1:], r"log 0 of 0x[0-9a-f]{40} is missing"),
    "the last missing": (OURS[:-1], "is missing"),
    "all missing": ([], "is missing"),
    "invented at the end": ([*OURS, replace(OURS[-1], at=replace(OURS[-1].at, log_index=25))], "log 25 was invented"),
    "invented in a gap": (
        [*OURS, next(log for log in ALL if log.log.address == OTHER)],
        "was invented: the receipts have none there",
    ),
    "doubled": ([*OURS, OURS[3]], "expected it once, got it twice"),
    "another index": (placed(3, log_index=10_000), "log 10000 was invented"),
    "two indices exchanged": (
        [*OURS[2:], *(replace(a, at=replace(a.at, log_index=b.at.log_index)) for a, b in (OURS[:2], OURS[1::-1]))],
        "topic 0: expected",
    ),
    "another block hash": (placed(0, block_hash=bytes(32)), "expected block hash"),
    "another block number": (placed(0, block_number=1), r"expected block hash .*\(number 1\)"),
    "another transaction index": (at(0, lambda log: replace(log, tx_index=5)), "expected transaction index 0, got 5"),
    "another contract": (logged(0, address=OTHER), "expected address"),
    "edited data": (logged(7, data=bit(OURS[7].log.data)), "expected data"),
    "data added": (logged(7, data=OURS[7].log.data + b"\0"), "expected data"),
    "data cut": (logged(7, data=OURS[7].log.data[:-1]), "expected data"),
    "a topic edited": (logged(4, topics=(*OURS[4].log.topics[:3], bit(OURS[4].log.topics[3]))), "topic 3: expected"),
    "a topic added": (logged(0, topics=(bytes(32),)), "topic 0: expected"),
    "a topic left out": (logged(4, topics=OURS[4].log.topics[:3]), "topic 3: expected"),
    "a transaction of two hashes": (placed(0, tx_hash=bytes(32)), "one hash for each transaction"),
    "two transactions of one hash": (
        [replace(log, at=replace(log.at, tx_hash=bytes(32))) for log in OURS],
        "one hash for each transaction",
    ),
}


@pytest.mark.parametrize(("logs", "said"), LIES.values(), ids=LIES.keys())
def test_logs_that_are_not_the_receipts_are_refused(logs: Logs, said: str) -> None:
    with pytest.raises(VerificationFailed, match=rf"block {HEADER.number}: .*{said}"):
        require_logs(HEADER, RECEIPTS, logs, [EMITTER])


def test_a_log_where_the_bloom_excludes_the_contract_is_invented() -> None:
    moved = [replace(OURS[0], at=replace(OURS[0].at, block_number=AFTER.number, block_hash=AFTER.hash))]
    assert not may_log(AFTER, [EMITTER])
    with pytest.raises(VerificationFailed, match="log 0 was invented"):
        require_logs(AFTER, (), moved, [EMITTER])


def test_a_bloom_tells_which_contracts_may_have_logged() -> None:
    assert may_log(HEADER, [EMITTER])
    assert may_log(HEADER, [Address(bytes(20)), OTHER])
    assert not may_log(HEADER, [Address(bytes(20))])
    assert not may_log(HEADER, [])
    assert not may_log(BEFORE, [EMITTER, OTHER])


@pytest.mark.parametrize(
    "name", ["blockNumber", "logIndex", "blockHash", "transactionHash", "transactionIndex", "address", "topics", "data"]
)
@pytest.mark.parametrize("value", [None, "0x", "zz", {}, -1, True])
def test_json_that_is_no_log_is_no_answer(name: str, value: object) -> None:
    if (name, value) == ("data", "0x"):
        assert read_placed_log({**GOLDEN["logs"][0], name: value}).log.data == b""
        return
    with pytest.raises(NodeUnavailable):
        read_placed_log({**GOLDEN["logs"][0], name: value})
