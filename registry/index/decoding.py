"""Fast, strict decoder from raw `eth_getLogs` JSON to events.

Every field is a 32-byte word at a fixed offset. The decoder returns the same events as
`registry.chain.event_logs.decode_log`, several times faster, and rejects logs that were not requested: of another
contract, block or event, or removed by a reorg.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from registry.chain.event_logs import decode_log, kinds_by_topic
from registry.errors import ChainError
from registry.ethereum.positions import Event, Position
from registry.types import Address

__all__ = ["RawLog", "decode_raw", "decode_range"]

RawLog = Mapping[str, Any]
"""A log in JSON: quantities and bytes as hex text."""

Convert = Callable[[bytes], Any]
_QUANTITY = re.compile("0x(?:0|[1-9a-fA-F][0-9a-fA-F]{0,14})")
"""Less than 2^60, so that it fits an SQLite integer; JSON-RPC quantities have no leading zeros."""
_NO_ADDRESS = bytes(12)
"""Padding of an address to a word."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Layout of an event: number of topics, the first included, and the words of topics and data as one list.

    The words are None if the data has no fixed length.
    """

    kind: type[Event]
    topics: int
    words: int | None
    build: Callable[[Sequence[bytes]], list[Any]]


def decode_range(logs: Sequence[RawLog], contracts: Collection[Address], blocks: range) -> list[Event]:
    """Decode the raw logs of a range into events, in chain order.

    Args:
        logs: The node's answer for these contracts and blocks.
        contracts: Allowed emitters.
        blocks: Allowed block numbers.

    Raises:
        ChainError: A log does not decode, was not requested, or contradicts another one.
    """
    found = [decode_raw(log, contracts) for log in logs]
    places = [(event.at.block_number, event.at.log_index) for event in found]
    if any(here >= following for here, following in itertools.pairwise(places)):
        found.sort(key=lambda event: (event.at.block_number, event.at.log_index))
        places.sort()
    hashes: dict[int, bytes] = {}
    previous = None
    for event, place in zip(found, places, strict=True):
        at = event.at
        if at.block_number not in blocks:
            raise ChainError(
                f"{_where(event)}: expected a log of blocks {blocks.start} to {blocks.stop - 1} from the node"
            )
        if place == previous:
            raise ChainError(f"{_where(event)}: expected one log there, got two from the node")
        if hashes.setdefault(at.block_number, at.block_hash) != at.block_hash:
            raise ChainError(f"{_where(event)}: expected logs of one block of that number, got those of two")
        previous = place
    return found


def decode_raw(log: RawLog, contracts: Collection[Address]) -> Event:
    """Decode a raw log.

    Raises:
        ChainError: It does not decode, or is not an event of these contracts.
    """
    try:
        return _decode(log, contracts)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ChainError(f"the node gave a log that does not decode: {type(error).__name__} {error!s:.120}") from error


def _decode(log: RawLog, contracts: Collection[Address]) -> Event:
    if _repeated(log["address"], 20) not in contracts:
        raise ValueError(f"expected one of the contracts that are followed, got {log['address']}")
    if log.get("removed", False) is not False:
        raise ValueError(f"expected a log with removed false, got {log['removed']!r:.20}")
    topics = log["topics"]
    layout = _layouts().get(_repeated(topics[0], 32)) if topics else None
    if layout is None:
        raise ValueError(f"expected an event that this release knows, got topic {topics[0] if topics else None!r:.80}")
    if len(topics) != layout.topics:
        raise ValueError(f"{layout.kind.__name__}: expected {layout.topics} topics, got {len(topics)}")
    at = Position(
        _quantity(log["blockNumber"]), _quantity(log["logIndex"]), _repeated(log["blockHash"], 32),
        _bytes(log["transactionHash"], 32),
    )  # fmt: skip
    if layout.words is None:
        return _decode_slowly(log, at)
    data = _bytes(log["data"], 32 * layout.words)
    words = [_repeated(topics[1], 32)] if len(topics) > 1 else []
    words += [_bytes(topic, 32) for topic in topics[2:]]
    words += [data[at : at + 32] for at in range(0, len(data), 32)]
    return layout.kind(at, *layout.build(words))


def _decode_slowly(log: RawLog, at: Position) -> Event:
    """Decode an event without fixed layout by the generic ABI decoder; such events are rare."""
    event = decode_log(
        {
            "topics": [_bytes(topic, 32) for topic in log["topics"]],
            "data": _bytes(log["data"], (len(log["data"]) - 2) // 2),
            "blockNumber": at.block_number,
            "logIndex": at.log_index,
            "blockHash": at.block_hash,
            "transactionHash": at.tx_hash,
        }
    )
    assert event is not None  # its topic is known
    return event


def _bytes(text: str, length: int) -> bytes:
    value = bytes.fromhex(text[2:])
    if len(value) != length or len(text) != 2 + 2 * length or text[:2] != "0x":  # fromhex skips blanks
        raise ValueError(f"expected 0x and {length} bytes in hex, got {text!r:.80}")
    return value


_repeated = functools.lru_cache(256)(_bytes)
"""Cache size for values that consecutive logs repeat: contract, event, model or round, block."""


@functools.lru_cache(1024)
def _quantity(text: str) -> int:
    if not _QUANTITY.fullmatch(text):
        raise ValueError(f"expected a quantity of less than 60 bits in hex, got {text!r:.80}")
    return int(text, 16)


def _where(event: Event) -> str:
    return f"{type(event).__name__} in block {event.at.block_number}, log {event.at.log_index}"


# Layouts, from the ABI ----------------------------------------------------------------------------------------------


@functools.cache
def _layouts() -> Mapping[bytes, _Layout]:
    return {topic: _layout(kind, inputs) for topic, (kind, inputs) in kinds_by_topic().items()}


def _layout(kind: type[Event], inputs: Sequence[tuple[str, str, bool]]) -> _Layout:
    """Indexed fields are the topics after the first, the others the data; both are restored to the ABI's order."""
    hints = typing.get_type_hints(kind)
    indexed = sum(is_topic for _, _, is_topic in inputs)
    names = [field.name for field in dataclasses.fields(kind)][1:]
    if any(abi_type in ("bytes", "string") or "[]" in abi_type for _, abi_type, _ in inputs):
        return _Layout(kind, 1 + indexed, None, lambda words: [])
    topic_at, data_at = 0, indexed
    fields: list[tuple[int, int, Convert]] = []
    for name, (_, abi_type, is_topic) in zip(names, inputs, strict=True):
        size, convert = _converter(abi_type, hints[name])
        begin = topic_at if is_topic else data_at
        fields.append((begin, begin + size, convert))
        topic_at, data_at = (topic_at + 1, data_at) if is_topic else (topic_at, data_at + size)

    def build(words: Sequence[bytes]) -> list[Any]:
        return [
            convert(words[begin] if end - begin == 1 else b"".join(words[begin:end])) for begin, end, convert in fields
        ]

    return _Layout(kind, 1 + indexed, data_at - indexed, build)


def _converter(abi_type: str, hint: Any) -> tuple[int, Convert]:
    """Return the number of words of a static ABI type, and the conversion from words to the field's type."""
    if abi_type.startswith("("):
        from eth_abi.grammar import parse

        hints = typing.get_type_hints(hint)
        parts = [
            _converter(part.to_type_str(), hints[field.name])
            for part, field in zip(parse(abi_type).components, dataclasses.fields(hint), strict=True)
        ]
        ends = list(itertools.accumulate(32 * size for size, _ in parts))
        places = [(end - 32 * size, end, convert) for end, (size, convert) in zip(ends, parts, strict=True)]
        return ends[-1] // 32, lambda data: hint(*(convert(data[begin:end]) for begin, end, convert in places))
    if abi_type == "bytes32":
        return 1, bytes
    if abi_type == "bytes4":
        return 1, _selector
    if abi_type == "address":
        return 1, _address
    if abi_type == "bool":
        return 1, _flag
    if abi_type.startswith("uint"):
        return 1, _number(int(abi_type.removeprefix("uint")), hint)
    raise TypeError(f"no fixed layout for {abi_type}")


def _address(word: bytes) -> bytes:
    if word[:12] != _NO_ADDRESS:
        raise ValueError(f"expected an address of 20 bytes, got 0x{word.hex()}")
    return word[12:]


def _selector(word: bytes) -> bytes:
    if any(word[4:]):
        raise ValueError(f"expected 4 bytes, got 0x{word.hex()}")
    return word[:4]


def _flag(word: bytes) -> bool:
    value = int.from_bytes(word, "big")
    if value > 1:
        raise ValueError(f"expected a flag, 0 or 1, got 0x{word.hex()}")
    return bool(value)


def _number(bits: int, hint: Any) -> Convert:
    limit = 1 << bits

    def convert(word: bytes) -> int:
        value = int.from_bytes(word, "big")
        if value >= limit:
            raise ValueError(f"expected a number of {bits} bits, got 0x{word.hex()}")
        return value if hint is int else hint(value)

    return convert
