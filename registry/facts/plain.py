"""The JSON encoding of facts."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from registry.types import Cid

__all__ = ["plain"]


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
