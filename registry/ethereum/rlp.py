"""Recursive Length Prefix (RLP) codec, canonical only (Ethereum yellow paper, appendix B).

The package `rlp` recurses once per nesting level, so a few kilobytes of `0xc1` raise RecursionError; it copies every
item once per level above it; and its parser changes if another package is installed. No Ethereum structure read here
nests deeper than `MAX_DEPTH`. Tests compare the two.
"""

from __future__ import annotations

from typing import TypeAlias

from registry.errors import FormError

__all__ = ["MAX_DEPTH", "Item", "decode", "encode", "int_from", "int_to"]

Item: TypeAlias = "bytes | tuple[Item, ...]"
"""A byte string, or a list of items."""

MAX_DEPTH = 4
"""Deepest nesting of lists: receipt, logs, log, topics; or a trie node with embedded extension, branch and leaf."""
_SHORT = 56
"""Least length with a separate length field."""


def encode(item: Item) -> bytes:
    """Encode a byte string or nested tuples of byte strings."""
    if isinstance(item, bytes):
        if len(item) == 1 and item[0] < 0x80:
            return item
        return _prefix(0x80, len(item)) + item
    body = b"".join(map(encode, item))
    return _prefix(0xC0, len(body)) + body


def decode(data: bytes) -> Item:
    """Decode RLP.

    Raises:
        FormError: It is not canonical, or lists nest deeper than MAX_DEPTH.
    """
    item, end = _decode(data, 0, len(data), MAX_DEPTH)
    if end != len(data):
        raise FormError(f"RLP: expected {end} bytes, got {len(data)}")
    return item


def int_to(value: int) -> bytes:
    """Return an integer's RLP byte string: big-endian, no leading zeros, empty for zero."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def int_from(item: Item, name: str, bits: int = 256) -> int:
    """Return a decoded item as an integer.

    Raises:
        FormError: It is a list, has a leading zero byte, or is 2^bits or more.
    """
    if not isinstance(item, bytes) or item[:1] == b"\0" or len(item) > bits // 8:
        got = f"0x{item.hex():.40}" if isinstance(item, bytes) else "a list"
        raise FormError(f"{name}: expected a number of up to {bits} bits without leading zeros, got {got}")
    return int.from_bytes(item, "big")


def _prefix(kind: int, length: int) -> bytes:
    if length < _SHORT:
        return bytes((kind + length,))
    digits = int_to(length)
    return bytes((kind + _SHORT - 1 + len(digits),)) + digits


def _decode(data: bytes, start: int, end: int, depth: int) -> tuple[Item, int]:
    """Decode the item at start, which must end by end; return it and its end offset."""
    first = data[start : min(start + 1, end)]
    if not first:
        raise FormError(f"RLP: expected an item at byte {start}, got the end")
    if first[0] < 0x80:
        return first, start + 1
    is_list = first[0] >= 0xC0
    length = first[0] - (0xC0 if is_list else 0x80)
    body = start + 1
    if length >= _SHORT:
        digits = data[body : min(body + length - _SHORT + 1, end)]
        body += length - _SHORT + 1
        length = int.from_bytes(digits, "big")
        if digits[:1] == b"\0" or length < _SHORT:
            raise FormError(f"RLP: expected the shortest form of a length at byte {start}, got a longer one")
    stop = body + length
    if stop > end:
        raise FormError(f"RLP: expected {stop - end} more bytes for the item at byte {start}, got the end")
    if not is_list:
        if length == 1 and data[body] < 0x80:
            raise FormError(f"RLP: expected byte {start} to stand for itself, got it with a length")
        return data[body:stop], stop
    if depth == 0:
        raise FormError(f"RLP: expected at most {MAX_DEPTH} nested lists, got more at byte {start}")
    items = []
    while body < stop:
        item, body = _decode(data, body, stop, depth - 1)
        items.append(item)
    return tuple(items), stop
