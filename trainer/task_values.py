"""What a task's author gives, as plain Python: whole numbers, metrics and patterns; numpy and torch scalars count."""

from __future__ import annotations

import operator
import sys
from collections.abc import Mapping
from typing import Any

from registry.errors import InputError

__all__ = ["measures", "metrics_of", "patterns_of", "whole"]


def whole(name: str, value: Any) -> int:
    """Return a whole number as an int, such as a numpy one.

    Raises:
        InputError: It is none.
    """
    try:
        return operator.index(value)
    except TypeError:
        raise InputError(f"{name}: expected a whole number, got {value!r}") from None


def patterns_of(name: str, value: Any) -> tuple[str, ...]:
    """Return patterns as a tuple.

    Raises:
        InputError: It is a single text, of which each letter would be a pattern, or no sequence of texts.
    """
    if isinstance(value, str) or not all(isinstance(each, str) for each in value or ()):
        raise InputError(f"{name}: expected a tuple of patterns such as ('head.*',), got {value!r}")
    return tuple(value or ())


def metrics_of(returned: Any) -> dict[str, float]:
    """Return what a train_epoch returned as finite floats by name.

    Raises:
        InputError: It is no mapping, or a value is no finite number.
    """
    metrics: dict[str, float] = {}
    for name, value in _named("task: train_epoch", returned, "{'loss': 0.5}, or {}").items():
        if not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
            raise InputError(f"metrics: expected finite numbers, got {name} {value!r}")
        metrics[name] = float(value) + 0.0  # -0.0 becomes +0.0
    return metrics


def measures(returned: Any) -> dict[str, Any]:
    """Return what an evaluate returned, for `evaluation_of`, with scalars as Python's.

    Raises:
        InputError: It is no mapping by text.
    """
    return _named("task: evaluate", returned, "{'examples': 40, 'correct': 31, 'loss': 12.5}")


def _named(what: str, returned: Any, example: str) -> dict[str, Any]:
    if not isinstance(returned, Mapping):
        raise InputError(f"{what} returned {str(returned)[:40]!r}, expected numbers by name, such as {example}")
    for name in returned:
        if not isinstance(name, str):
            raise InputError(f"{what}: expected texts as names, got {name!r}")
    return {name: _scalar(value) for name, value in returned.items()}


def _scalar(value: Any) -> Any:
    """Return a numpy or torch scalar as Python's int, float or bool; anything else as it is."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value
