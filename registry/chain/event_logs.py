"""Read and decode the contracts' event logs, one query at a time; the index has a decoder of its own."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from registry.chain.abi_values import parse
from registry.chain.contract_events import CHALLENGE_EVENTS, COURT_EVENTS, EVENTS, LABEL_EVENTS, SCORE_EVENTS
from registry.chain.contracts import events
from registry.errors import ChainError
from registry.ethereum.node import NodeRefused, asking, quantity
from registry.ethereum.node_answers import SILENT_LOG_CAPS
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
"""Accepted ranges before a wider range that the node has refused is retried."""


@functools.cache
def kinds_by_topic() -> Mapping[bytes, tuple[type[Event], tuple[tuple[str, str, bool], ...]]]:
    """Return every event by its first topic, with (name, type, indexed) of each field."""
    kinds: Mapping[str, Sequence[type[Event]]] = {
        "Cairn": EVENTS,
        "Challenges": CHALLENGE_EVENTS,
        "Court": COURT_EVENTS,
        "Labels": LABEL_EVENTS,
        "Scores": SCORE_EVENTS,
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
    """Return the event of a raw log, as from `eth_getLogs`; None if it is not one of ours.

    Raises:
        ChainError: The topic is one of ours, but the rest does not decode.
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
        raise ChainError(f"the node returned a {cls.__name__} log that does not decode: {error}") from error
    values = [next(indexed) if is_topic else next(rest) for _, _, is_topic in inputs]
    return parse(cls, values, at=_position(log))


def decode_logs(logs: Sequence[Mapping[str, Any]], address: Address) -> tuple[Event, ...]:
    """Return the events among raw logs of one contract, in order; other logs are skipped."""
    try:
        ours = [decode_log(log) for log in logs if bytes.fromhex(str(log["address"])[2:]) == address]
    except (LookupError, TypeError, ValueError) as error:
        raise ChainError(f"the node returned a malformed log: {type(error).__name__} {error}") from error
    return tuple(event for event in ours if event is not None)


@dataclass(slots=True)
class LogSpan:
    """Adaptive block range of `eth_getLogs`, learnt from the ranges that a node refuses and accepts.

    Attributes:
        blocks: The current range, in blocks.
        refused: The last refused range, in blocks; None for none.
        taken: How often the current range was accepted since.
    """

    blocks: int = 50_000
    refused: int | None = None
    taken: int = 0

    def refuse(self, width: int) -> None:
        """Record that a range of `width` blocks was refused; halve the range."""
        self.blocks, self.refused, self.taken = max(1, width // 2), width, 0

    def take(self, width: int) -> None:
        """Record an accepted range; double it. A refused one is retried at times: the cap may be on the logs found."""
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

    Nodes cap the range or the size of `eth_getLogs`, each with its own error message. So a refused range is halved, and
    an accepted one doubled unless the wider range was refused.

    Args:
        w3: The node.
        address: The contract.
        from_block: First block.
        to_block: Last block, inclusive. Up to a final block no event can be lost by a reorg.
        kinds: Only these events; empty for all.
        subject: Only those whose first indexed field (model id or round id) is this.
        span: The range learnt for this node, the same object at each call; updated.

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
    """Yield the contract's events of a range of blocks, newest first, reading only as far back as the caller iterates.

    Arguments and errors as for `read_events`. The span is not updated: a node that has pruned the start of a range
    refuses it, however narrow it is.
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
    """Query the logs of a range; None if the node refuses it, so that the caller retries with a narrower one."""
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
    if len(logs) in SILENT_LOG_CAPS and start < end:
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
