"""Packed rows: updates as small integers with a power-of-two scale a row, all of them (int8, int4) or the largest.

A row stands for 256 consecutive coordinates, the values of one Merkle leaf of a version. It is an exponent byte e and
signed mantissas m of b bits, and its grid integers are m * 2^e:

    kept = 0    e, 256 mantissas: b of 8 or 16 little-endian, of 4 two in a byte, the first in its low half
    kept = k    e, k positions of a byte, k mantissas of 8 or 16 bits: all other integers of the row are zero

Every row has the same length, so row i of an update always holds coordinates 256 i to 256 i + 255, and one leaf opens
them. One sequence of integers has one row: -2^(b-1) is no mantissa; e is the smallest under which all mantissas fit;
no integer exceeds 2^24; positions ascend, their mantissas are not zero, unused ones are position 0 and mantissa 0 at
the end; coordinates past the end of the version are zero.

Quantization as in Alistarh et al., QSGD, NIPS 2017, with deterministic rounding; sparsification as in Stich et al.,
Sparsified SGD with Memory, NeurIPS 2018.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from registry.errors import FormError
from registry.rules.grid import F32
from registry.types import GRID_LIMIT

__all__ = ["MOST_KEPT", "ROW_VALUES", "U8", "Packing", "packing_named"]

U8 = npt.NDArray[np.uint8]
_I32 = npt.NDArray[np.int32]
_Mask = npt.NDArray[np.bool_]

ROW_VALUES = 256
"""Coordinates of a row, as of a leaf of a tensor root."""
MOST_KEPT = 128
"""Most values that a row keeps: more take as much room as whole rows."""
_GRID_BITS = GRID_LIMIT.bit_length() - 1
_NAME = re.compile(r"(?:top-([1-9]\d{0,2})(?:-int(8|16))?|int(4|8|16))", re.ASCII)


@dataclass(frozen=True, slots=True)
class Packing:
    """A layout of rows.

    Attributes:
        bits: b, bits of a mantissa: 4, 8 or 16; 8 or 16 with kept.
        kept: Values that a row keeps; 0 keeps all 256.

    Raises:
        FormError: There is no such layout.
    """

    bits: int
    kept: int

    def __post_init__(self) -> None:
        widths = (8, 16) if self.kept else (4, 8, 16)
        if self.bits not in widths or not 0 <= self.kept <= MOST_KEPT:
            raise FormError(
                f"packed rows: expected bits 4, 8 or 16 and kept 0, or bits 8 or 16 and kept 1..{MOST_KEPT}, got bits "
                f"{self.bits} and kept {self.kept}"
            )

    @property
    def name(self) -> str:
        """Name in plans: `int8`, `int4`, `int16`, `top-8`, `top-8-int8`."""
        if not self.kept:
            return f"int{self.bits}"
        return f"top-{self.kept}" + (f"-int{self.bits}" if self.bits != 16 else "")

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return 1 + self.kept + (self.kept or ROW_VALUES) * self.bits // 8

    def rows(self, values: int) -> int:
        """Return how many rows hold so many coordinates."""
        return -(-values // ROW_VALUES)

    def pack(self, integers: npt.NDArray[np.floating] | npt.NDArray[np.integer]) -> U8:
        """Pack grid integers, rounding half to even: the scale of a row is the smallest under which its largest fits.

        Args:
            integers: (n,), at most 2^24 in magnitude.

        Returns:
            (rows, row_bytes), uint8. Of equally large integers a row keeps the first.
        """
        rows = np.zeros((self.rows(len(integers)), ROW_VALUES), dtype=np.float64)
        rows.reshape(-1)[: len(integers)] = integers
        exponents = self._exponents(np.abs(rows).max(axis=1, initial=0.0))
        mantissas = np.rint(np.ldexp(rows, -exponents[:, None])).astype("<i2")
        packed = np.empty((len(rows), self.row_bytes), dtype=np.uint8)
        packed[:, 0] = exponents
        if self.kept:
            # The largest integers, not mantissas: these may be equal where those are not.
            largest = np.argsort(-np.abs(rows), axis=1, kind="stable")[:, : self.kept]
            positions, mantissas = _in_order(largest, np.take_along_axis(mantissas, largest, axis=1))
            packed[:, 1 : 1 + self.kept] = positions
        packed[:, 1 + self.kept :] = self._bytes(mantissas)
        return packed

    def unpack(self, rows: U8, *, first: int, values: int, check: bool = True) -> F32:
        """Return the grid integers of rows, (256 rows,), float32; those past the end of the version are zero.

        Args:
            rows: (rows, row_bytes), uint8.
            first: Index of the first of them.
            values: Coordinates of the version.
            check: Check that they are canonical.

        Raises:
            FormError: A row is not canonical; names it.
        """
        mantissas, positions = self._split(rows)
        if check and len(rows):
            self._require_canonical(rows[:, 0], mantissas, positions, first, values)
        scales = np.ldexp(np.float32(1), rows[:, 0].astype(np.int32))[:, None]
        if positions is None:
            return (mantissas * scales).astype(np.float32, copy=False).reshape(-1)
        integers = np.zeros(len(rows) * ROW_VALUES, dtype=np.float32)
        used = mantissas != 0
        at = (np.arange(len(rows))[:, None] * ROW_VALUES + positions)[used]
        integers[at] = (mantissas * scales)[used]
        return integers

    def _exponents(self, largest: npt.NDArray[np.float64]) -> _I32:
        """The smallest exponents under which the largest of each row rounds to a mantissa."""
        exponents: _I32 = np.maximum(np.frexp(largest)[1] - (self.bits - 1), 0).astype(np.int32)
        exponents += np.rint(np.ldexp(largest, -exponents)) >= 1 << self.bits - 1
        return exponents

    def _bytes(self, mantissas: npt.NDArray[np.int16]) -> U8:
        if self.bits == 4:
            halves: U8 = mantissas.astype(np.uint8) & np.uint8(15)
            return halves[:, ::2] | halves[:, 1::2] << np.uint8(4)
        return np.ascontiguousarray(mantissas.astype(f"<i{self.bits // 8}")).view(np.uint8)

    def _split(self, rows: U8) -> tuple[npt.NDArray[np.signedinteger], U8 | None]:
        """Mantissas, (rows, 256 or kept), and positions."""
        body = np.ascontiguousarray(rows[:, 1 + self.kept :])
        positions = rows[:, 1 : 1 + self.kept] if self.kept else None
        if self.bits != 4:
            return body.view(f"<i{self.bits // 8}"), positions
        halves = np.empty((len(rows), ROW_VALUES), dtype=np.uint8)
        halves[:, ::2], halves[:, 1::2] = body & 15, body >> 4
        return (halves ^ 8).view(np.int8) - np.int8(8), positions

    def _require_canonical(
        self, exponents: U8, mantissas: npt.NDArray[np.signedinteger], positions: U8 | None, first: int, values: int
    ) -> None:
        """Check each rule on all rows at once; the first wrong row is named by the first rule that it breaks."""
        most = (1 << self.bits - 1) - 1
        least = mantissas.min(axis=1).astype(np.int32)
        largest = np.maximum(mantissas.max(axis=1), -least)
        highest = _GRID_BITS + 2 - self.bits
        scaled = largest.astype(np.int64) << np.minimum(exponents, highest)
        faults = {
            f"mantissas of at most {most} in magnitude": least < -most,
            f"an exponent of 0..{highest}": exponents > highest,
            "integers of at most 2^24 in magnitude": scaled > GRID_LIMIT,
            "the smallest exponent that its mantissas allow": (exponents > 0) & (2 * largest <= most),
        }
        if positions is not None:
            faults |= _position_faults(mantissas != 0, positions)
        bad = np.logical_or.reduce(list(faults.values()))
        past = self._past_end(mantissas, positions, first, values)
        if not bad.any() and not past:
            return
        row = int(np.argmax(bad)) if bad.any() else len(bad) - 1
        what = next((what for what, mask in faults.items() if mask[row]), f"zeros past coordinate {values - 1}")
        raise FormError(f"row {first + row}: expected {what}, got {self._shown(exponents, mantissas, positions, row)}")

    def _past_end(
        self, mantissas: npt.NDArray[np.signedinteger], positions: U8 | None, first: int, values: int
    ) -> bool:
        """Whether the last row has something past the end of the version."""
        left = values - ROW_VALUES * (first + len(mantissas) - 1)
        if left >= ROW_VALUES:
            return False
        if positions is None:
            return bool(mantissas[-1, max(left, 0) :].any())
        return bool((positions[-1] >= max(left, 0))[mantissas[-1] != 0].any())

    @staticmethod
    def _shown(exponents: U8, mantissas: npt.NDArray[np.signedinteger], positions: U8 | None, row: int) -> str:
        numbers = mantissas[row].tolist()
        told = f"exponent {exponents[row]}, mantissas {min(numbers)} to {max(numbers)}"
        return told if positions is None else f"{told}, positions {positions[row].tolist()[:12]}"


def packing_named(name: str) -> Packing | None:
    """Return the layout of a name such as `int8` or `top-8-int8`; None if it is none.

    Raises:
        FormError: It has the form of one, but keeps too many values.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    kept, sparse, whole = found.groups()
    return Packing(int(whole or sparse or 16), int(kept or 0))


def _in_order(
    positions: npt.NDArray[np.intp], mantissas: npt.NDArray[np.int16]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int16]]:
    """Put the values of each row into ascending order of position, zeros to the end and at position 0."""
    order = np.argsort(np.where(mantissas != 0, positions, ROW_VALUES), axis=1, kind="stable")
    mantissas = np.take_along_axis(mantissas, order, axis=1)
    return np.where(mantissas != 0, np.take_along_axis(positions, order, axis=1), 0), mantissas


def _position_faults(used: _Mask, positions: U8) -> dict[str, _Mask]:
    after = used[:, 1:]
    return {
        "mantissas that are not zero before its padding": (after & ~used[:, :-1]).any(axis=1),
        "positions in ascending order, each once": (after & (positions[:, 1:] <= positions[:, :-1])).any(axis=1),
        "padding of zeros": ((positions != 0) & ~used).any(axis=1),
    }
