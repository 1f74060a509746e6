"""Base class of the contracts' custom errors as exceptions: immutable fields and their messages."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

from registry.errors import ContractError

__all__ = ["CustomError", "show"]

LABELS = {"round_id": "round", "model_id": "model", "given": "got", "actual": "got"}
"""Names of fields in messages, where they differ."""


class CustomError(ContractError):
    """Base of the classes in `contract_errors`. Fields are immutable; other attributes are those of any exception."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in self.__dict__ and name in {field.name for field in dataclasses.fields(self)}:  # type: ignore[arg-type]
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        super().__setattr__(name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, field.name) for field in dataclasses.fields(self))  # type: ignore[arg-type]

    def __str__(self) -> str:
        fields = [(field.name, getattr(self, field.name)) for field in dataclasses.fields(self)]  # type: ignore[arg-type]
        # "expected X, got Y", in whichever order the contract names them.
        fields.sort(key=lambda item: item[0] in {"given", "actual"})
        said = ", ".join(f"{LABELS.get(name, name.replace('_', ' '))} {show(value)}" for name, value in fields)
        return f"{type(self).__name__}: {said}" if said else type(self).__name__


def show(value: object) -> str:
    """Return a value as messages show it: ids shortened, addresses whole, phases and roles by name."""
    if isinstance(value, bytes):
        return "0x" + (value.hex() if len(value) <= 20 else value.hex()[:8] + "…")
    if isinstance(value, enum.Enum):
        return value.name or str(value.value)
    return str(value)
