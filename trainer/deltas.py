"""From weights before and after training to an update's file: transforms, then the plan's grid, tensor by tensor."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from registry.content.manifest import PlanManifest
from registry.content.tensors import TensorHeader, encode_header
from registry.errors import InputError
from registry.rules.grid import F32, to_grid
from trainer.transforms import TRANSFORMS

__all__ = ["GridUse", "lossy", "transformed", "write_update"]


@dataclass(frozen=True, slots=True)
class GridUse:
    """What the grid makes of a tensor's changes.

    Attributes:
        name: The tensor's name in the version.
        changed: Number of values that training changed.
        vanished: Number of these that are too small for the grid: they become zero.
        saturated: Number of these that are too large for it: they are clipped.
        scale: The tensor's scale exponent in the plan.
        fitting: The scale under which its largest change just fits: the finest grid for it.
    """

    name: str
    changed: int
    vanished: int
    saturated: int
    scale: int
    fitting: int

    def __str__(self) -> str:
        parts = [
            f"{count} of {self.changed} changed values {what}"
            for count, what in ((self.vanished, "vanish, smaller than the grid"), (self.saturated, "saturate it"))
            if count
        ]
        return f"{self.name}: {', '.join(parts)}: its scale in the plan is {self.scale}, {self.fitting} would fit"


def lossy(use: GridUse) -> bool:
    """Return whether the grid loses much of a tensor: half of its changes or more vanish, or any saturates."""
    return use.saturated > 0 or 0 < use.changed <= 2 * use.vanished


def transformed(delta: Mapping[str, torch.Tensor], plan: PlanManifest) -> dict[str, torch.Tensor]:
    """Apply the plan's transforms to the parameters' deltas; buffers pass as they are.

    Running statistics have the scale of the data: within an L2 norm they would leave nothing of it to the parameters.

    Args:
        delta: float64 tensors by the version's names.
        plan: The plan.

    Raises:
        InputError: A transform has invalid parameters.
    """
    parameters = {name: value for name, value in delta.items() if name not in plan.buffers}
    for step in plan.transforms:
        if parameters:
            parameters = TRANSFORMS[step.name].outgoing(parameters, step.parameters)
    return {name: parameters.get(name, value) for name, value in delta.items()}


def write_update(
    path: Path, delta: Mapping[str, torch.Tensor], header: TensorHeader, plan: PlanManifest
) -> tuple[GridUse, ...]:
    """Write deltas as an update's file, on the plan's grid; return what the grid made of each tensor.

    Args:
        path: The file; written and synced to disk.
        delta: float64 tensors by the version's names, at least those of the header.
        header: The header of the round's updates.
        plan: The plan.

    Raises:
        InputError: A value is not finite, or lies beyond the grid and the plan does not saturate; names the tensor.
    """
    uses: list[GridUse] = []
    with path.open("wb") as out:
        out.write(encode_header(header.specs))
        for values, use in _on_grid(delta, header, plan):
            out.write(values.tobytes())
            uses.append(use)
        out.flush()
        os.fsync(out.fileno())
    return tuple(uses)


def _on_grid(
    delta: Mapping[str, torch.Tensor], header: TensorHeader, plan: PlanManifest
) -> Iterator[tuple[F32, GridUse]]:
    for spec in header.specs:
        scale, array = plan.scales.get(spec.name, 0), delta[spec.name].numpy()
        try:
            values, clipped = to_grid(array, plan.grid_bits, scale=scale, saturate=plan.saturate)
        except InputError as error:
            raise InputError(f"{spec.name}: {error}") from None
        vanished = int(np.count_nonzero((values == 0) & (array != 0)))
        needed = int(np.frexp(np.abs(array).max(initial=0.0))[1]) + plan.grid_bits - 24
        yield values, GridUse(spec.name, int(np.count_nonzero(array)), vanished, clipped, scale, needed)
