"""Convert between `eth_abi` tuples and the frozen dataclasses that mirror the ABI."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Sequence
from typing import Any, TypeVar

from registry.types import Address

__all__ = ["parse", "plain", "unparse"]

T = TypeVar("T")


def parse(cls: type[T], values: Sequence[Any], **extra: Any) -> T:
    """Build a record from decoded ABI values, in field order.

    Args:
        cls: A dataclass of this package.
        values: What eth_abi decoded; nested tuples become nested records.
        **extra: Fields that do not come from the ABI.
    """
    named = {
        name: _coerce(hint, value)
        for (name, hint), value in zip(_fields(typing.cast(Any, cls), frozenset(extra)), values, strict=True)
    }
    return cls(**named, **extra)


def unparse(record: Any) -> tuple[Any, ...]:
    """Return a record as the tuple that eth_abi encodes, nested records likewise."""
    return tuple(plain(getattr(record, field.name)) for field in dataclasses.fields(record))


def plain(value: Any) -> Any:
    """Return a value as eth_abi encodes it: records as tuples, in nested lists too."""
    if dataclasses.is_dataclass(value):
        return unparse(value)
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


@functools.cache
def _fields(cls: type[Any], skip: frozenset[str]) -> tuple[tuple[str, Any], ...]:
    hints = typing.get_type_hints(cls)
    return tuple((field.name, hints[field.name]) for field in dataclasses.fields(cls) if field.name not in skip)


def _coerce(hint: Any, value: Any) -> Any:
    if hint is Address:
        return bytes.fromhex(value.removeprefix("0x")) if isinstance(value, str) else bytes(value)
    if dataclasses.is_dataclass(hint):
        return parse(typing.cast(type[Any], hint), value)
    if isinstance(hint, type) and issubclass(hint, int) and hint is not bool:
        return hint(value)
    if typing.get_origin(hint) is tuple:
        return tuple(_coerce(typing.get_args(hint)[0], item) for item in value)
    return bytes(value) if isinstance(value, (bytes, bytearray)) else value
