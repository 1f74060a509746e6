"""Typed extraction of values from a node's answers, in JSON-RPC's or web3's formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from registry.errors import NodeUnavailable

__all__ = ["bytes_in", "list_in", "number_in", "record_in"]


def record_in(value: object, name: str) -> Mapping[str, Any]:
    """Return value as an object.

    Raises:
        NodeUnavailable: It is not an object.
    """
    if not isinstance(value, Mapping):
        raise _no_answer(name, "an object", value)
    return value


def list_in(value: object, name: str) -> Sequence[Any]:
    """Return value as a list.

    Raises:
        NodeUnavailable: It is not a list.
    """
    if not isinstance(value, (list, tuple)):
        raise _no_answer(name, "a list", value)
    return value


def bytes_in(record: Mapping[str, Any], name: str, length: int | None = None) -> bytes:
    """Return a bytes field, given as bytes or as 0x-prefixed hex.

    Raises:
        NodeUnavailable: The field is missing, malformed, or not of the given length.
    """
    value = record.get(name)
    found = _unhex(value) if isinstance(value, str) else value
    if not isinstance(found, bytes) or (length is not None and len(found) != length):
        raise _no_answer(name, "bytes" if length is None else f"{length} bytes", value)
    return bytes(found)  # HexBytes compares and prints differently


def number_in(record: Mapping[str, Any], name: str, bits: int = 64) -> int:
    """Return an integer field, given as int or as 0x-prefixed hex.

    Raises:
        NodeUnavailable: The field is missing, malformed, or out of range.
    """
    value = record.get(name)
    found: object = value
    if isinstance(value, str):
        digits = _unhex("0x" + value[2:].rjust(64, "0")) if value.startswith("0x") and len(value) > 2 else None
        found = None if digits is None else int.from_bytes(digits, "big")
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < 1 << bits:
        raise _no_answer(name, f"a number of up to {bits} bits", value)
    return found


def _unhex(text: str) -> bytes | None:
    """Decode 0x-prefixed hex of even length; None if text is anything else."""
    try:
        found = bytes.fromhex(text[2:])
    except ValueError:
        return None
    return found if text.startswith("0x") and len(text) == 2 + 2 * len(found) else None  # fromhex skips blanks


def _no_answer(name: str, expected: str, value: object) -> NodeUnavailable:
    return NodeUnavailable(f"expected {expected} for {name} from the node, got {value!r:.80}")
