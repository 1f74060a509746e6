"""Weight update of every server rule: next float32 weight from a float32 weight and an integer step d.

w' = f32(f64(w) + f64(d) * 2^k) with k = e - s - f: e the scale exponent of the weight's segment, s the grid bits, f the
program's fraction bits. For |d| <= 2^24 and -149 <= k <= 103, d * 2^k is exactly a finite float32. So the sum is one of
two float32 values, and rounding it to float64 first changes nothing (Figueroa, When is double rounding innocuous?,
SIGNUM Newsletter 30(3), 1995). Beyond the largest float32 the result is the largest float32, of the same sign.
"""

from __future__ import annotations

import numpy as np

from registry.errors import InputError
from registry.rules.grid import F32
from registry.rules.interpreter import I64
from registry.types import GRID_LIMIT

__all__ = ["EXPONENTS", "buffer_step", "server_step", "step_exponent"]

EXPONENTS = (-149, 103)
"""Smallest and largest k: 2^-149 is the smallest float32, and 2^24 * 2^103 is below the largest."""
_LARGEST = float(np.finfo(np.float32).max)


def step_exponent(scale: int, grid_bits: int, fraction_bits: int) -> int:
    """Return the exponent k of a step.

    Raises:
        InputError: k is outside -149..103.
    """
    k = scale - grid_bits - fraction_bits
    if not EXPONENTS[0] <= k <= EXPONENTS[1]:
        raise InputError(
            f"scale {scale} - grid bits {grid_bits} - fraction bits {fraction_bits}: "
            f"expected {EXPONENTS[0]}..{EXPONENTS[1]}, got {k}"
        )
    return k


def server_step(weights: F32, d: I64, exponent: int) -> F32:
    """Return f32(f64(weights) + f64(d) * 2^exponent), saturating; no result is -0.0.

    Args:
        weights: (n,), float32, finite.
        d: (n,), int64, at most 2^24 in magnitude.
        exponent: k, -149..103.

    Raises:
        InputError: An argument violates these conditions.
    """
    if not EXPONENTS[0] <= exponent <= EXPONENTS[1]:
        raise InputError(f"exponent: expected {EXPONENTS[0]}..{EXPONENTS[1]}, got {exponent}")
    if weights.shape != d.shape or weights.dtype != np.float32 or d.dtype != np.int64:
        raise InputError(
            f"expected float32 and int64 of one shape, got {weights.dtype} {weights.shape}, {d.dtype} {d.shape}"
        )
    if not np.isfinite(weights).all():
        at = int(np.flatnonzero(~np.isfinite(weights))[0])
        raise InputError(f"weight {at}: expected a finite number, got {weights.reshape(-1)[at]}")
    if int(d.max(initial=0)) > GRID_LIMIT or int(d.min(initial=0)) < -GRID_LIMIT:
        raise InputError(f"d: expected at most 2^24 in magnitude, got {int(d.min())}..{int(d.max())}")
    step = d * 2.0**exponent  # float64; +0.0 for d = 0, and -0.0 + 0.0 is +0.0
    step += weights
    np.clip(step, -_LARGEST, _LARGEST, out=step)
    return step.astype(np.float32)


def buffer_step(weights: F32, q: I64, exponent: int, *, non_negative: bool = False) -> F32:
    """Return the next values of a buffer, to which no server program applies: `server_step` with d = q.

    Args:
        weights: (n,), float32, finite.
        q: (n,), int64, grid integers of the aggregate.
        exponent: k for f = 0.
        non_negative: Clamp at +0.0, as for a running variance.
    """
    result = server_step(weights, q, exponent)
    return np.maximum(result, np.float32(0.0)) if non_negative else result
