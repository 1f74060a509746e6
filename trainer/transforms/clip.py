"""Clipping: scale an update down to a given L2 norm over all its parameters.

Bounds one participant's influence, as in Geyer, Klein, Nabi (2017) and McMahan et al. (ICLR 2018), section 2.
It has no inverse step.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from registry.errors import InputError

__all__ = ["NAME", "outgoing"]

NAME = "clip"
Delta = dict[str, torch.Tensor]


def outgoing(delta: Delta, parameters: Mapping[str, bool | int | float | str]) -> Delta:
    """Return delta scaled by min(1, norm / its L2 norm).

    Args:
        delta: float64 tensors by name, without buffers.
        parameters: `norm`, above 0.

    Raises:
        InputError: The plan's parameters are not exactly one positive norm.
    """
    norm = parameters.get("norm")
    if not isinstance(norm, (int, float)) or not norm > 0 or set(parameters) != {"norm"}:
        raise InputError(f"clip: expected parameter norm > 0 and no other, got {dict(parameters)}")
    length = torch.stack([value.double().pow(2).sum() for value in delta.values()]).sum().sqrt().item()
    if length <= norm:
        return delta
    return {name: value * (norm / length) for name, value in delta.items()}
