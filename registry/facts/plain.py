"""The JSON encoding of facts."""

from __future__ import annotations

import dataclasses
import enum
import json
import re
import unicodedata
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from registry.types import Cid

__all__ = ["encoded", "plain", "printable"]

_PLAIN = re.compile(r"[ -~]*")


def encoded(value: object, *, indent: int | None = None) -> str:
    """Return JSON types as text; characters that no reader shows, or that move others, stand as \\u escapes."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return "".join(c if c == "\n" or _is_shown(c) else _escaped(c) for c in text)


def printable(text: str) -> str:
    """Return a text with its control and format characters escaped: it may be a stranger's, and steer a terminal."""
    if _PLAIN.fullmatch(text):
        return text
    return "".join(c if _is_shown(c) else c.encode("unicode_escape").decode() for c in text)


def plain(value: object) -> Any:
    """Convert a value to JSON types.

    Bytes become 0x hex, CIDs and paths text, flags lists of names, other enumerations their names in lower case,
    dataclasses objects with their fields in order.
    """
    if isinstance(value, Cid | PurePath):
        return str(value)
    if isinstance(value, bytes | bytearray):
        return "0x" + value.hex()
    if isinstance(value, enum.Flag):
        return [(member.name or str(member.value)).lower() for member in value]
    if isinstance(value, enum.Enum):
        return value.name.lower()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return value


def _is_shown(c: str) -> bool:
    return c.isprintable() or unicodedata.category(c) == "Zs"  # spaces of other scripts


def _escaped(c: str) -> str:
    return f"\\u{ord(c):04x}" if ord(c) < 0x10000 else json.dumps(c)[1:-1]
