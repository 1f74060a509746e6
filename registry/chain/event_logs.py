"""Decode logs into the contracts' events, and read them from a node."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
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

__all__ = ["decode_log", "decode_logs", "kinds_by_topic", "read_events", "topic_of"]


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


def read_events(
    w3: Web3,
    address: Address,
    *,
    from_block: int,
    to_block: int,
    kinds: Sequence[type[Event]] = (),
    subject: bytes | None = None,
    span: int = 50_000,
) -> Iterator[Event]:
    """Yield the contract's events of a range of blocks, in order.

    Nodes cap how much one `eth_getLogs` may span or return, each in its own words, so a refused range is halved and
    an accepted one followed by a wider one.

    Args:
        w3: The node.
        address: The contract.
        from_block: First block.
        to_block: Last block, inclusive. Pass a final one to be sure that what is read stays.
        kinds: Only these events; empty for all.
        subject: Only those whose first indexed field (model id or round id) is this.
        span: Blocks to ask for at first.

    Raises:
        NodeUnavailable: The node does not answer, or refuses a single block.
    """
    topics: list[Any] = [["0x" + topic_of(kind).hex() for kind in kinds] or None]
    if subject is not None:
        topics.append("0x" + subject.hex())
    start = from_block
    while start <= to_block:
        end = min(start + span - 1, to_block)
        try:
            logs = _get_logs(w3, address, start, end, topics)
        except NodeRefused:
            if start == end:
                raise
            span = max(1, (end - start + 1) // 2)
            continue
        yield from sorted(decode_logs(logs, address), key=lambda event: event.at)
        start = end + 1
        span *= 2


def _get_logs(w3: Web3, address: Address, start: int, end: int, topics: list[Any]) -> list[Mapping[str, Any]]:
    with asking("eth_getLogs"):
        logs: list[Any] = w3.eth.get_logs(
            {
                "address": w3.to_checksum_address(address),
                "fromBlock": start,
                "toBlock": end,
                "topics": topics,
            }
        )
    return [log for log in logs if not log.get("removed", False)]


def _position(log: Mapping[str, Any]) -> Position:
    return Position(
        block_number=quantity(log["blockNumber"], "blockNumber"),
        log_index=quantity(log["logIndex"], "logIndex"),
        block_hash=bytes(log["blockHash"]),
        tx_hash=bytes(log["transactionHash"]),
    )
