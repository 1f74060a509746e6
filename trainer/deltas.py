"""From weights before and after training to an update's file: transforms, then the plan's grid, tensor by tensor."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from registry.content.manifest import PlanManifest
from registry.content.tensors import TensorHeader, encode_header, packed_layout
from registry.errors import InputError
from registry.rules.grid import F32, F64, I32, grid_integers, to_grid
from registry.rules.packed import ROW_VALUES, U8, Packing
from registry.rules.table import packing_of
from registry.types import GRID_LIMIT
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
    path: Path,
    delta: Mapping[str, torch.Tensor],
    header: TensorHeader,
    plan: PlanManifest,
    residual: I32 | None = None,
) -> tuple[GridUse, ...]:
    """Write deltas as an update's file, on the plan's grid and in its form; return what the grid made of each tensor.

    Args:
        path: The file; written and synced to disk.
        delta: float64 tensors by the version's names, at least those of the header.
        header: The header of the version's F32 tensors, as the aggregate has it.
        plan: The plan.
        residual: (n,), int32, grid integers to add before packing: what packing left out of the last update. Becomes
            what it leaves out of this one.

    Raises:
        InputError: A value is not finite, or lies beyond the grid and the plan does not saturate; names the tensor.
    """
    packing, uses = packing_of(plan), list[GridUse]()
    count = header.data_bytes // 4
    file = header if packing is None else packed_layout(packing.rows(count), packing.row_bytes)

    def values() -> Iterator[F32]:
        for piece, use in _on_grid(delta, header, plan):
            uses.append(use)
            yield piece.reshape(-1)

    with path.open("wb") as out:
        out.write(encode_header(file.specs))
        for data in values() if packing is None else _packed(values(), packing, plan.grid_bits, count, residual):
            out.write(data.tobytes())
        out.flush()
        os.fsync(out.fileno())
    return tuple(uses)


def _packed(values: Iterator[F32], packing: Packing, grid_bits: int, count: int, residual: I32 | None) -> Iterator[U8]:
    """Yield the packed rows of values that come in pieces of any size."""
    first, rest = 0, np.empty(0, dtype=np.float64)
    for piece in values:
        integers = np.concatenate([rest, grid_integers(piece, grid_bits, check=False)])
        last = first + len(integers)
        whole = len(integers) if last == count else len(integers) // ROW_VALUES * ROW_VALUES
        rest = integers[whole:]
        if whole:
            yield _pack(integers[:whole], packing, first, count, residual)
        first += whole


def _pack(integers: F64, packing: Packing, first: int, count: int, residual: I32 | None) -> U8:
    """Pack whole rows, or the last ones; with a residual, add it before and leave there what is not packed."""
    if residual is None:
        return packing.pack(integers)
    here = residual[first : first + len(integers)]
    owed = integers + here
    rows = packing.pack(np.clip(owed, -GRID_LIMIT, GRID_LIMIT))
    sent = packing.unpack(rows, first=first // ROW_VALUES, values=count, check=False)
    here[:] = np.clip(owed - sent[: len(owed)], -GRID_LIMIT, GRID_LIMIT)
    return rows


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
