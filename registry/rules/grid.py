"""The grid: fixed-point quantization of updates, and why integer aggregation is bit-exact.

Why a round is bit-exactly reproducible. Let g = 2^-s be the grid step, and let update k hold q_k,i * g with integers
|q_k,i| <= 2^24 and integer weights n_k >= 1, W = sum n_k <= 2^28.

Lemma 1 (values). q * g is exact in float32: |q| <= 2^24 fits its 24-bit significand, and for s <= 126 the smallest
non-zero magnitude, 2^-126, is normal.

Lemma 2 (sums). S_i = sum_k n_k q_k,i is exact in float64 in any order and any grouping. Every partial sum is an
integer of magnitude at most W * 2^24 <= 2^52 < 2^53, so each product and each addition is exact, fused or not: nothing
is ever rounded.

Lemma 3 (mean). a_i = rint(S_i / W) in float64 is the rational S_i / W rounded to the nearest integer, ties to even.
|S_i / W| <= 2^24. If S_i / W is not a tie k + 1/2, it differs from every tie by at least 1 / (2W) >= 2^-29, because
2 S_i - (2k + 1) W is a non-zero integer. Ties up to 2^24 are float64 values, and division is correctly rounded with
an error of at most half a unit in the last place of a value below 2^24: 2^-30 < 2^-29. So the quotient stays on its
side of every tie, and rint does the rest. An exact tie is a float64 value, and division returns it.

So the aggregate is a function of integers alone: summation order, thread count, vector width and machine do not change
a bit.
"""

from __future__ import annotations

from types import EllipsisType

import numpy as np
import numpy.typing as npt

from registry.errors import FormError, InputError
from registry.kernels import kernels
from registry.types import GRID_LIMIT, MAX_GRID_BITS

__all__ = [
    "F32",
    "F64",
    "I32",
    "add_integers",
    "check_arithmetic",
    "fitting",
    "from_grid",
    "grid_integers",
    "to_grid",
    "write_integers",
]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]


_PIECE = 1 << 16
"""Values that NumPy scales and checks at a time, so that they stay in the L2 cache."""
_NEGATIVE_ZERO = -(2**31)
"""Bit pattern of -0.0, as an int32."""


def check_arithmetic() -> None:
    """Check that this process computes with subnormals, which the definitions here rely on.

    Raises:
        InputError: Subnormals are flushed to zero: some libraries enable that for the whole process.
    """
    # Compare bits: under flush-to-zero a comparison of values flushes both sides.
    one32, one64 = np.array([1], dtype=np.uint32), np.array([1], dtype=np.uint64)
    twice32, twice64 = one32.view(np.float32) * np.float32(2), one64.view(np.float64) * 2.0
    if twice32.view(np.uint32)[0] != 2 or twice64.view(np.uint64)[0] != 2:
        raise InputError("expected IEEE 754 subnormals, got them flushed to zero: unset flush-to-zero in this process")


def to_grid(
    delta: npt.NDArray[np.floating], grid_bits: int, *, scale: int = 0, saturate: bool = False
) -> tuple[F32, int]:
    """Quantize a delta to the grid, rounding half to even.

    Args:
        delta: Floating-point array of any shape.
        grid_bits: s, 0..126; the step is 2^-s.
        scale: e; the delta is divided by 2^e before rounding.
        saturate: Clip values beyond the grid instead of raising an error.

    Returns:
        The values q * 2^-s as float32 in delta's shape, without -0.0, and the number of clipped values.

    Raises:
        InputError: A value is not finite, or lies beyond the grid and saturate is off.
    """
    _check_bits(grid_bits)
    check_arithmetic()
    integers = np.array(delta, dtype=np.float64)
    integers *= 2.0 ** (grid_bits - scale)  # in place: of 0-d arrays an operator makes scalars
    if not np.isfinite(integers).all():
        at = int(np.flatnonzero(~np.isfinite(integers))[0])
        raise InputError(f"value {at}: expected a finite number, got {np.asarray(delta).reshape(-1)[at]}")
    np.rint(integers, out=integers)
    beyond = int(np.count_nonzero(np.abs(integers) > GRID_LIMIT))
    if beyond and not saturate:
        at = int(np.argmax(np.abs(integers)))
        worst = float(np.abs(np.asarray(delta, dtype=np.float64)).reshape(-1)[at])
        raise InputError(
            f"value {at}: expected at most 2^{24 - grid_bits + scale} in magnitude, got {worst:g}; "
            f"{fitting(worst, grid_bits, scale)} or let the plan saturate"
        )
    np.clip(integers, -GRID_LIMIT, GRID_LIMIT, out=integers)
    integers += 0.0  # -0.0 + 0.0 is +0.0
    integers *= 2.0**-grid_bits
    return integers.astype(np.float32), beyond


def fitting(magnitude: float, grid_bits: int, scale: int) -> str:
    """Return a hint, for error messages, on settings under which a value of this magnitude fits the grid."""
    needed = int(np.frexp(magnitude)[1])  # magnitude < 2^needed
    bits = 24 - needed + scale
    if bits >= 0:
        return f"use grid_bits {min(bits, MAX_GRID_BITS)}, or a scale of {needed + grid_bits - 24} for this tensor,"
    return f"use a scale of {needed + grid_bits - 24} for this tensor"


def grid_integers(values: F32, grid_bits: int, *, first: int = 0, check: bool = True) -> F32:
    """Check that values q * 2^-s are canonical and return q, as float32 in their shape.

    Scaling by a power of two is exact, so a value is on the grid iff `rint` does not change q. NaN compares unequal,
    infinities are beyond the grid, and the bits of -0.0 are the smallest int32.

    Args:
        values: float32, any shape.
        grid_bits: s, 0..126.
        first: Position of values[0], for error messages.
        check: Check that the values are canonical; else the caller knows that they are.

    Raises:
        FormError: A value is not finite, is -0.0, or is not on the grid.
    """
    integers = np.empty(values.shape, dtype=np.float32)
    write_integers(values, grid_bits, integers, first=first, check=check)
    return integers


def write_integers(values: F32, grid_bits: int, out: F32 | I32, *, first: int = 0, check: bool = True) -> None:
    """Check that values q * 2^-s are canonical, see `grid_integers`, and write q to out.

    Args:
        values: float32, any shape.
        grid_bits: s, 0..126.
        out: In the shape of values, float32 or int32; its content after an error is undefined.
        first: Position of values[0], for error messages.
        check: Check that the values are canonical; else the caller knows that they are.

    Raises:
        FormError: A value is not finite, is -0.0, or is not on the grid.
    """
    _check_bits(grid_bits)
    factor = np.float32(2.0**grid_bits)
    if not check and out.dtype == np.float32:
        np.multiply(values, factor, out=out)
        return
    compiled = kernels(values.nbytes)
    if compiled is not None and values.flags.c_contiguous and out.flags.c_contiguous:
        flat, limit = values.reshape(-1), np.float32(GRID_LIMIT)
        canonical = compiled.scale(flat, flat.view(np.int32), factor, limit, out.reshape(-1))
    else:
        canonical = True
        for piece in _pieces(values):
            canonical &= _scaled(values[piece], factor, out[piece])
    if check and not canonical:
        raise FormError(_complaint(values.reshape(-1), grid_bits, first))


def add_integers(values: F32, grid_bits: int, weight: int, sums: F64, *, first: int = 0, check: bool = True) -> None:
    """Check that values q * 2^-s are canonical, see `grid_integers`, and add weight * q to sums, exactly (lemma 2).

    Args:
        values: float32, any shape.
        grid_bits: s, 0..126.
        weight: An integer >= 0; over all that is added to sums at most 2^28.
        sums: In the shape of values, float64; its content after an error is undefined.
        first: Position of values[0], for error messages.
        check: Check that the values are canonical; else the caller knows that they are.

    Raises:
        FormError: A value is not finite, is -0.0, or is not on the grid.
    """
    _check_bits(grid_bits)
    factor = np.float32(2.0**grid_bits)
    compiled = kernels(values.nbytes)
    if compiled is not None and values.flags.c_contiguous and sums.flags.c_contiguous:
        flat, limit = values.reshape(-1), np.float32(GRID_LIMIT)
        canonical = compiled.add(flat, flat.view(np.int32), factor, limit, float(weight), sums.reshape(-1))
    else:
        canonical = True
        for piece in _pieces(values):
            integers = np.empty(values[piece].shape, dtype=np.float32)
            canonical &= _scaled(values[piece], factor, integers)
            sums[piece] += np.multiply(integers, float(weight), dtype=np.float64)
    if check and not canonical:
        raise FormError(_complaint(values.reshape(-1), grid_bits, first))


def _pieces(values: F32) -> list[slice] | list[EllipsisType]:
    return [slice(at, at + _PIECE) for at in range(0, len(values), _PIECE)] if values.ndim == 1 else [...]


def _scaled(values: F32, factor: np.float32, out: F32 | I32) -> bool:
    """Write values times 2^s to out; return whether all are canonical: the reference of the compiled kernel."""
    with np.errstate(invalid="ignore", over="ignore"):
        integers = np.multiply(values, factor, out=out if out.dtype == np.float32 else None)
        if integers is not out:
            out[...] = integers
        return (
            bool((np.rint(integers) == integers).all())
            and float(integers.max(initial=0)) <= GRID_LIMIT
            and float(integers.min(initial=0)) >= -GRID_LIMIT
            and int(values.view(np.int32).min(initial=0)) != _NEGATIVE_ZERO
        )


def _complaint(values: F32, grid_bits: int, first: int) -> str:
    with np.errstate(invalid="ignore"):  # a signalling NaN
        exact = values.astype(np.float64) * 2.0**grid_bits
    faults = {
        "a finite number": ~np.isfinite(exact),
        "+0.0 for zero": (exact == 0) & np.signbit(values),
        f"a multiple of 2^-{grid_bits}": np.rint(exact) != exact,
        f"at most 2^{24 - grid_bits} in magnitude": np.abs(exact) > GRID_LIMIT,
    }
    at, what = min((int(np.argmax(mask)), what) for what, mask in faults.items() if mask.any())
    return f"value {first + at}: expected {what}, got {values[at]!s}"


def from_grid(integers: F64, grid_bits: int) -> F32:
    """Return float32 values q * 2^-s for integers q, float64, at most 2^24 in magnitude, in their shape."""
    return (integers * 2.0**-grid_bits).astype(np.float32)


def _check_bits(grid_bits: int) -> None:
    if not 0 <= grid_bits <= MAX_GRID_BITS:
        raise InputError(f"grid_bits: expected 0..{MAX_GRID_BITS}, got {grid_bits}")
