"""Propose a plan's scales from a task: from the weights, and from how far one local epoch moves each tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from registry.content.manifest import Procedure
from registry.rules.algorithms import require_parameters
from trainer.modules import propose_grid, propose_plan
from trainer.participant import Task, local_changes

__all__ = ["probe_grid"]

_HEADROOM = 3
"""Bits by which an update may exceed the probe's: other data, other rounds, another seed."""


def probe_grid(
    task: Task, grid_bits: int = 24, *, algorithm: Procedure | None = None, fixed: Sequence[str] = ()
) -> tuple[int, dict[str, int]]:
    """Train one local epoch, and propose for each tensor the finest scale with room for eight times its changes.

    A tensor that the epoch does not change has the scale that its weights propose. The module is left as it was.

    Args:
        task: The training task; its module has the values from which rounds begin.
        grid_bits: s, as of `propose_grid`.
        algorithm: The plan's; FedAvg by default. Its changes are taken to grow with the number of its epochs.
        fixed: Names of the module's tensors that no round changes; they get no scale.

    Returns:
        grid_bits, and the scales e by tensor, where one is not 0.

    Raises:
        InputError: A value is not finite in float32, or training fails.
    """
    chosen = algorithm or Procedure("fedavg", {"epochs": 1})
    given = require_parameters(chosen.name, chosen.parameters)
    epochs = int(given.get("epochs") or 1)
    once = Procedure(chosen.name, {**chosen.parameters, "epochs": 1}) if epochs > 1 else chosen
    without = (*task.unshared, *fixed)
    plan = propose_plan(task.module, quorum=1, min_contributions=1, grid_bits=grid_bits, without=without)
    changes = local_changes(task, replace(plan, algorithm=once), fixed)
    _, scales = propose_grid(task.module, grid_bits, without=without)
    for name, change in changes.items():
        largest = float(change.abs().max()) if change.numel() else 0.0
        if largest > 0:
            scales[name] = int(np.frexp(largest * epochs)[1]) + _HEADROOM + grid_bits - 24
    return grid_bits, {name: scale for name, scale in scales.items() if scale}
