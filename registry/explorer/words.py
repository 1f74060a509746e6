"""How pages show values: ids in short and in full, times, durations, numbers."""

from __future__ import annotations

import enum
import time
from collections.abc import Mapping

from registry.facts.plain import plain
from registry.types import Cid

__all__ = ["FILTERS", "instant", "full", "number", "said", "short", "span", "utc"]

_DIGITS = 10
_UNITS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))
_LATEST = 253_402_300_799
"""The last second of the year 9999."""


def full(value: bytes | Cid) -> str:
    """Return an id in full, as paths have it."""
    return str(value) if isinstance(value, Cid) else f"0x{value.hex()}"


def short(value: bytes | Cid) -> str:
    """Return an id's first digits."""
    text = full(value)
    return f"{text[:18]}…" if isinstance(value, Cid) else f"{text[: 2 + _DIGITS]}…"


def utc(seconds: int) -> str:
    """Return a time, Unix seconds, in UTC; a dash for 0, which is not known, and for a time that is none."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds)) if 0 < seconds <= _LATEST else "–"


def instant(seconds: int) -> str:
    """Return a time as an attribute has it; empty for one that `utc` shows as a dash."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)) if 0 < seconds <= _LATEST else ""


def span(seconds: int) -> str:
    """Return a duration by its two largest units."""
    parts, rest = [], max(0, seconds)
    for unit, size in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def number(value: float) -> str:
    """Return a number: whole ones in groups of three digits, between narrow blanks; others to six digits."""
    return f"{value:,}".replace(",", "\u202f") if isinstance(value, int) else f"{value:.6g}"


def said(value: object) -> str:
    """Return a value of any kind on one line, as its JSON has it."""
    if isinstance(value, enum.Enum) and not isinstance(value, enum.Flag):
        return value.name.lower().replace("_", " ")
    if isinstance(value, enum.Flag | Mapping | bytes | tuple | Cid):
        value = plain(value)
    if isinstance(value, list):
        return ", ".join(map(said, value)) or "–"
    if isinstance(value, dict):
        return ", ".join(f"{name} {said(item)}" for name, item in value.items()) or "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number(value)
    return "–" if value in (None, "") else str(value)


FILTERS = {"full": full, "short": short, "utc": utc, "instant": instant, "span": span, "number": number, "said": said}
"""By name, for templates."""
