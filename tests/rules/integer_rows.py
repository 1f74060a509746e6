"""Packed rows in Python's integers, as their page defines them: what the engine and the contract are held against."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction

__all__ = ["integers_of", "row_of"]


def row_of(values: Sequence[int], bits: int, kept: int) -> bytes:
    """The row of 256 grid integers, as its page defines it."""
    most = (1 << bits - 1) - 1
    places = range(256)
    if kept:
        places = sorted(sorted(range(256), key=lambda i: (-abs(values[i]), i))[:kept])
    e = next(e for e in range(32) if all(abs(round(Fraction(values[i], 2**e))) <= most for i in range(256)))
    mantissas = {i: round(Fraction(values[i], 2**e)) for i in places}
    if kept:
        held = [(i, m) for i, m in mantissas.items() if m]
        held += [(0, 0)] * (kept - len(held))
        width = "b" if bits == 8 else "h"
        return struct.pack(f"<B{kept}B{kept}{width}", e, *(i for i, _ in held), *(m for _, m in held))
    if bits == 4:
        return bytes([e, *(mantissas[i] % 16 + 16 * (mantissas[i + 1] % 16) for i in range(0, 256, 2))])
    return struct.pack(f"<B256{'b' if bits == 8 else 'h'}", e, *mantissas.values())


def integers_of(row: bytes, bits: int, kept: int) -> list[int]:
    """The 256 grid integers of a row."""
    found, held = [0] * 256, kept or 256
    for i in range(held):
        if bits == 4:
            m = (row[1 + i // 2] >> 4 * (i % 2)) % 16
        else:
            m = int.from_bytes(row[1 + kept + i * bits // 8 :][: bits // 8], "little")
        m -= (m >> bits - 1) << bits
        if m:
            found[row[1 + i] if kept else i] = m << row[0]
    return found
