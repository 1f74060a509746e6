"""Server steps: from a version and an aggregate to the next version.

Reddi et al., Adaptive Federated Optimization (ICLR 2021), algorithm 1 with SGD as the server optimizer; with rate
eta = 1 it is FedAvg (McMahan et al., AISTATS 2017).

Each operation is a numpy float64 operation of its own, followed by one rounding to float32. Nothing here may be fused,
and no `pow` or `exp` may be used: their last bit differs between libraries.
"""

from __future__ import annotations

import numpy as np

from registry.errors import InputError
from registry.rules.grid import F32

__all__ = ["fedavg_step"]


def fedavg_step(weights: F32, aggregate: F32, *, rate: float = 1.0, scale: int = 0) -> F32:
    """Return f32(f64(weights) + rate * (f64(aggregate) * 2^scale)), element by element.

    Args:
        weights: The parent version's values.
        aggregate: The aggregate's values, of the same shape.
        rate: eta.
        scale: e; the deltas of this tensor were divided by 2^e.

    Raises:
        InputError: A result is not finite in float32.
    """
    step = aggregate.astype(np.float64)
    if scale:
        step *= 2.0**scale
    if rate != 1.0:
        step *= rate
    step += weights
    with np.errstate(over="ignore"):
        result = step.astype(np.float32)
    if not np.isfinite(result).all():
        at = int(np.flatnonzero(~np.isfinite(result))[0])
        raise InputError(f"value {at}: the server step leaves float32 ({step.reshape(-1)[at]:g})")
    return result
