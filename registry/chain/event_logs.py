"""Decode logs into the contracts' events, and read them from a node."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from registry.chain.abi_values import parse
from registry.chain.contract_events import CHALLENGE_EVENTS, COURT_EVENTS, EVENTS
from registry.chain.contracts import events
from registry.errors import ChainError
from registry.ethereum.node import NodeRefused, asking, quantity
from registry.ethereum.positions import Event, Position
from registry.types import Address

if TYPE_CHECKING:
    from web3 import Web3

__all__ = [
    "LogSpan",
    "decode_log",
    "decode_logs",
    "kinds_by_topic",
    "read_events",
    "read_events_back",
    "topic_of",
]

_TRIED_AGAIN = 64
"""Ranges that a node takes before a wider one, which it has refused, is tried again."""


@functools.cache
def kinds_by_topic() -> Mapping[bytes, tuple[type[Event], tuple[tuple[str, str, bool], ...]]]:
    """Return every event by its first topic, with (name, type, indexed) of each field."""
    kinds: Mapping[str, Sequence[type[Event]]] = {
        "Cairn": EVENTS,
        "Challenges": CHALLENGE_EVENTS,
        "Court": COURT_EVENTS,
    }
    return {
        event.topic: (kind, event.inputs)
        for contract, classes in kinds.items()
        for event in events(contract)
        for kind in classes
        if kind.__name__ == event.name
    }


def topic_of(kind: type[Event]) -> bytes:
    """Return the first topic of an event: keccak256 of its signature."""
    return next(topic for topic, (cls, _) in kinds_by_topic().items() if cls is kind)


def decode_log(log: Mapping[str, Any]) -> Event | None:
    """Return the event a raw log (as `eth_getLogs` gives it) stands for; None if it is none of ours.

    Raises:
        ChainError: The topic is one of ours and the rest does not decode.
    """
    from eth_abi.abi import decode
    from eth_abi.exceptions import DecodingError

    topics = [bytes(topic) for topic in log["topics"]]
    known = kinds_by_topic().get(topics[0]) if topics else None
    if known is None:
        return None
    cls, inputs = known
    try:
        indexed = iter(
            [
                decode([kind], topic)[0]
                for (_, kind, is_topic), topic in zip([i for i in inputs if i[2]], topics[1:], strict=True)
            ]
        )
        rest = iter(decode([kind for _, kind, is_topic in inputs if not is_topic], bytes(log["data"])))
    except (DecodingError, ValueError, OverflowError) as error:  # a length over 2^63 overflows in eth_abi
        raise ChainError(f"the node gave a {cls.__name__} log that does not decode: {error}") from error
    values = [next(indexed) if is_topic else next(rest) for _, _, is_topic in inputs]
    return parse(cls, values, at=_position(log))


def decode_logs(logs: Sequence[Mapping[str, Any]], address: Address) -> tuple[Event, ...]:
    """Return the events among raw logs of one contract, in order; others are left out."""
    try:
        ours = [decode_log(log) for log in logs if bytes.fromhex(str(log["address"])[2:]) == address]
    except (LookupError, TypeError, ValueError) as error:
        raise ChainError(f"the node gave a log that is none: {type(error).__name__} {error}") from error
    return tuple(event for event in ours if event is not None)


@dataclass(slots=True)
class LogSpan:
    """How many blocks a node is asked for the logs of at once. It is learnt from what the node refuses and takes.

    Attributes:
        blocks: So many.
        refused: The least width that it refused lately; None for none.
        taken: How often it has taken the full width since.
    """

    blocks: int = 50_000
    refused: int | None = None
    taken: int = 0

    def refuse(self, width: int) -> None:
        """Note that a range of so many blocks was refused."""
        self.blocks, self.refused, self.taken = max(1, width // 2), width, 0

    def take(self, width: int) -> None:
        """Note that it was taken. One that was refused is tried again now and then: caps may be on what is found."""
        if width < self.blocks:
            return
        self.taken += 1
        if self.taken % _TRIED_AGAIN == 0:
            self.refused = None
        if self.refused is None or 2 * width < self.refused:
            self.blocks = 2 * width


def read_events(
    w3: Web3,
    address: Address,
    *,
    from_block: int,
    to_block: int,
    kinds: Sequence[type[Event]] = (),
    subject: bytes | None = None,
    span: LogSpan | None = None,
) -> Iterator[Event]:
    """Yield the contract's events of a range of blocks, in order.

    Nodes cap how much one `eth_getLogs` may span or return, each in its own words, so a refused range is halved and
    an accepted one followed by a wider one, if such a one was not refused.

    Args:
        w3: The node.
        address: The contract.
        from_block: First block.
        to_block: Last block, inclusive. Pass a final one to be sure that what is read stays.
        kinds: Only these events; empty for all.
        subject: Only those whose first indexed field (model id or round id) is this.
        span: What is known of this node's cap, the same object at each call; added to.

    Raises:
        NodeUnavailable: The node does not answer, or refuses a single block.
    """
    span, topics, start = span or LogSpan(), _topics(kinds, subject), from_block
    while start <= to_block:
        end = min(start + span.blocks - 1, to_block)
        logs = _get_logs(w3, address, start, end, topics, span)
        if logs is not None:
            yield from sorted(decode_logs(logs, address), key=lambda event: event.at)
            start = end + 1


def read_events_back(
    w3: Web3,
    address: Address,
    *,
    from_block: int,
    to_block: int,
    kinds: Sequence[type[Event]] = (),
    subject: bytes | None = None,
    span: LogSpan | None = None,
) -> Iterator[Event]:
    """Yield the contract's events of a range of blocks, the newest first; nothing older than the last taken is read.

    Arguments and errors as `read_events` has them. The span is not added to: a node that has pruned the beginning of a
    range refuses it, however narrow it is.
    """
    span, topics, end = LogSpan((span or LogSpan()).blocks), _topics(kinds, subject), to_block
    while end >= from_block:
        start = max(end - span.blocks + 1, from_block)
        logs = _get_logs(w3, address, start, end, topics, span)
        if logs is not None:
            yield from sorted(decode_logs(logs, address), key=lambda event: event.at, reverse=True)
            end = start - 1


def _topics(kinds: Sequence[type[Event]], subject: bytes | None) -> list[Any]:
    topics: list[Any] = [["0x" + topic_of(kind).hex() for kind in kinds] or None]
    return topics if subject is None else [*topics, "0x" + subject.hex()]


def _get_logs(
    w3: Web3, address: Address, start: int, end: int, topics: list[Any], span: LogSpan
) -> list[Mapping[str, Any]] | None:
    """Ask for the logs of a range; None where the node refuses it, and then a narrower one is to be asked for."""
    wanted: Any = {
        "address": w3.to_checksum_address(address),
        "fromBlock": start,
        "toBlock": end,
        "topics": topics,
    }
    try:
        with asking("eth_getLogs"):
            logs: list[Any] = w3.eth.get_logs(wanted)
    except NodeRefused:
        if start == end:
            raise
        span.refuse(end - start + 1)
        return None
    span.take(end - start + 1)
    return [log for log in logs if not log.get("removed", False)]


def _position(log: Mapping[str, Any]) -> Position:
    return Position(
        block_number=quantity(log["blockNumber"], "blockNumber"),
        log_index=quantity(log["logIndex"], "logIndex"),
        block_hash=bytes(log["blockHash"]),
        tx_hash=bytes(log["transactionHash"]),
    )
