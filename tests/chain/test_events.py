"""Logs are decoded to events in chain order, whatever a node's limits."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

import pytest

from registry.chain.client import Client
from registry.chain.contract_events import (
    CHALLENGE_EVENTS,
    EVENTS,
    ModelRegistered,
    PlanSet,
    RolesChanged,
    UpdateCommitted,
)
from registry.chain.contracts import DEPLOYED
from registry.chain.contracts import events as event_abis
from registry.chain.event_logs import LogSpan, decode_log, decode_logs, read_events, read_events_back, topic_of
from registry.dev.chains import EXAMPLE_RULES, example_plan
from registry.errors import ChainError
from registry.ethereum.node import NodeRefused
from registry.ethereum.positions import Event, Position
from registry.types import Address, Digest, Role, Root

CAIRN = Address(b"\x44" * 20)


def parts_of(kind: str) -> list[str]:
    """The types in a tuple's, which may be tuples themselves."""
    parts, depth = [""], 0
    for letter in kind[1:-1]:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def raw_log(name: str, block: int = 1, index: int = 0, **changed: Any) -> dict[str, Any]:
    """A log of that event as a node gives it, every field filled."""
    from eth_abi.abi import encode

    abi = next(e for contract in DEPLOYED for e in event_abis(contract) if e.name == name)

    def value(kind: str) -> Any:
        if kind.startswith("("):
            return tuple(map(value, parts_of(kind)))
        if kind.endswith("[]"):
            return [value(kind[:-2])]
        filled = {
            "bytes32": b"\x0a" * 32,
            "bytes4": b"\x0d" * 4,
            "address": b"\x0b" * 20,
            "bytes": b"\x0c" * 9,
            "bool": True,
        }
        return filled.get(kind, 2)

    topics = [abi.topic, *(encode([kind], [value(kind)]) for _, kind, indexed in abi.inputs if indexed)]
    plain = [kind for _, kind, indexed in abi.inputs if not indexed]
    return {
        "address": "0x" + CAIRN.hex(),
        "topics": topics,
        "data": encode(plain, [value(kind) for kind in plain]),
        "blockNumber": block,
        "logIndex": index,
        "blockHash": bytes([block]) * 32,
        "transactionHash": bytes([index + 1]) * 32,
        "removed": False,
        **changed,
    }


class FakeEth:
    """A node that has these logs, and limits."""

    def __init__(self, logs: list[dict[str, Any]], *, widest: int = 10**9, most: int = 10**9) -> None:
        self.logs, self.widest, self.most = logs, widest, most
        self.asked: list[tuple[int, int]] = []

    def get_logs(self, wanted: Mapping[str, Any]) -> list[dict[str, Any]]:
        start, end = wanted["fromBlock"], wanted["toBlock"]
        self.asked.append((start, end))
        found = [log for log in self.logs if start <= log["blockNumber"] <= end]
        if end - start + 1 > self.widest or len(found) > self.most:
            raise NodeRefused("range too wide", code=-32005)
        return found


class FakeWeb3:
    def __init__(self, eth: FakeEth) -> None:
        self.eth = eth

    @staticmethod
    def to_checksum_address(address: bytes) -> str:
        return "0x" + address.hex()


@pytest.mark.parametrize("kind", EVENTS + CHALLENGE_EVENTS, ids=lambda kind: kind.__name__)
def test_every_event_is_decoded_from_its_log(kind: type[Event]) -> None:
    event = decode_log(raw_log(kind.__name__, block=9, index=4))
    assert type(event) is kind
    assert event.at == Position(block_number=9, log_index=4, block_hash=b"\x09" * 32, tx_hash=b"\x05" * 32)
    for name in kind.__slots__:
        assert getattr(event, name) is not None
    with pytest.raises(AttributeError):
        event.at = event.at  # type: ignore[misc]


@pytest.mark.parametrize(("widest", "most"), [(10**9, 10**9), (1, 10**9), (7, 10**9), (10**9, 1), (13, 3)])
def test_events_are_read_whole_and_in_order_whatever_a_node_allows(widest: int, most: int) -> None:
    logs = [raw_log("RoundsSuspended", block=b, index=0) for b in (3, 5, 8, 8 + 13, 40, 41, 99)]
    eth = FakeEth(list(reversed(logs)), widest=widest, most=most)
    found = list(read_events(FakeWeb3(eth), CAIRN, from_block=3, to_block=100, span=LogSpan(64)))  # type: ignore[arg-type]
    assert [event.at.block_number for event in found] == [3, 5, 8, 21, 40, 41, 99]
    accepted = [(start, end) for start, end in eth.asked if end - start + 1 <= widest]
    assert accepted[0][0] == 3
    assert accepted[-1][1] == 100


def test_what_a_node_has_refused_is_not_asked_each_time_and_tried_again_now_and_then() -> None:
    eth, span = FakeEth([], widest=10), LogSpan()
    w3: Any = FakeWeb3(eth)
    list(read_events(w3, CAIRN, from_block=0, to_block=299, span=span))
    eth.asked.clear()
    list(read_events(w3, CAIRN, from_block=300, to_block=599, span=span))
    assert len(eth.asked) <= 300 / 5 + 1, "half of what it takes at least"
    assert sum(end - start >= 10 for start, end in eth.asked) <= 1
    eth.widest = 10**9
    list(read_events(w3, CAIRN, from_block=0, to_block=2000, span=span))
    eth.asked.clear()
    list(read_events(w3, CAIRN, from_block=0, to_block=2000, span=span))
    assert len(eth.asked) < 20


def test_events_are_read_back_no_further_than_they_are_taken_whatever_a_node_has_pruned() -> None:
    class Pruned(FakeEth):
        def get_logs(self, wanted: Mapping[str, Any]) -> list[dict[str, Any]]:
            if wanted["fromBlock"] < 40:
                raise NodeRefused("pruned", code=4444)
            return super().get_logs(wanted)

    logs, span = [raw_log("RoundsSuspended", block=b, index=0) for b in (3, 5, 8, 40, 41, 99)], LogSpan()
    for eth, count in ((Pruned(logs), 3), (FakeEth(logs, widest=7), 6)):
        w3: Any = FakeWeb3(eth)
        found = islice(read_events_back(w3, CAIRN, from_block=0, to_block=100, span=span), count)
        assert [event.at.block_number for event in found] == [99, 41, 40, 8, 5, 3][:count]
    assert span == LogSpan(), "what is pruned says nothing of how much is given at once"


def test_a_node_that_refuses_a_single_block_is_reported() -> None:
    with pytest.raises(NodeRefused):
        list(read_events(FakeWeb3(FakeEth([], widest=0)), CAIRN, from_block=0, to_block=9))  # type: ignore[arg-type]


def test_an_empty_range_asks_nothing() -> None:
    eth = FakeEth([])
    assert list(read_events(FakeWeb3(eth), CAIRN, from_block=5, to_block=4)) == []  # type: ignore[arg-type]
    assert eth.asked == []


def test_logs_of_other_contracts_other_events_and_removed_blocks_are_left_out() -> None:
    ours = raw_log("RoundsSuspended")
    logs = [
        raw_log("RoundsSuspended", address="0x" + "99" * 20),
        {**ours, "topics": [b"\xee" * 32]},
        {**ours, "topics": []},
        ours,
    ]
    assert len(decode_logs(logs, CAIRN)) == 1
    eth = FakeEth([ours, raw_log("RoundsResumed", removed=True)])
    assert len(list(read_events(FakeWeb3(eth), CAIRN, from_block=0, to_block=9))) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "broken",
    [
        {"data": b"\x01"},
        {"topics": [topic_of(UpdateCommitted)]},
        {"topics": [topic_of(UpdateCommitted), b"\x01" * 32, b"\xff" * 32]},
    ],
)
def test_a_log_of_ours_that_does_not_decode_is_an_error(broken: dict[str, Any]) -> None:
    with pytest.raises(ChainError, match="does not decode"):
        decode_log({**raw_log("UpdateCommitted"), **broken})


def test_the_client_filters_by_kind_and_subject(clients: tuple[Client, ...]) -> None:
    owner = clients[0]
    models = []
    for number in (1, 2):
        genesis = Digest(bytes([number]) * 32)
        owner.register_model(genesis, Root(b"\x09" * 32), Root(b"\x09" * 32))
        models.append(owner.model_id(owner.account, genesis))
        owner.grant_roles(models[-1], clients[1].account, Role.PARTICIPANT)
    plan = example_plan(weight_cap=17, hooks=(Address(b"\x07" * 20), Address(b"\x06" * 20)))
    owner.set_plan(models[1], plan, EXAMPLE_RULES)
    assert [type(e) for e in owner.events(subject=models[0])] == [ModelRegistered, RolesChanged]
    assert len(list(owner.events(RolesChanged))) == 2
    assert [type(e) for e in owner.events(RolesChanged, PlanSet, subject=models[1])] == [RolesChanged, PlanSet]
    (planned,) = owner.events(PlanSet)
    assert isinstance(planned, PlanSet)
    assert planned.plan == plan
    (granted,) = owner.events(RolesChanged, subject=models[0])
    assert isinstance(granted, RolesChanged)
    assert (granted.account, granted.roles) == (clients[1].account, Role.PARTICIPANT)
    assert isinstance(granted.roles, Role)
