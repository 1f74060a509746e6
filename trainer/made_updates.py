"""Make an update of weights before and after training that was done elsewhere, without a task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from registry.content.manifest import PlanManifest
from registry.content.tensors import TensorHeader, layout
from registry.errors import InputError
from registry.rounds.plans import fitted
from trainer.deltas import GridUse, transformed, write_update
from trainer.modules import floating
from trainer.plain_tensors import check_finite, check_plain
from trainer.tensor_names import listed, require_once, stored_names
from trainer.weight_files import read_weight_files

__all__ = ["make_update"]


def make_update(before: Path, after: Path, plan: PlanManifest, out: Path) -> tuple[TensorHeader, tuple[GridUse, ...]]:
    """Write the change from one state to another as an update on a plan's grid, after the plan's transforms.

    Args:
        before: The round's parent, as `cairn model pull` writes it: its names are the update's.
        after: The state after training, in any float dtype; its names may differ as `trainer.tensor_names` says.
        plan: The plan.
        out: The update's file.

    Returns:
        The header of the version's tensors, and what the grid made of each.

    Raises:
        FormError: A file is of another kind.
        InputError: Names or shapes differ, the plan is for other versions, or a value is not finite or beyond the grid.
    """
    (old, aliases), (new, tied) = _state(before), _state(after)
    wanted = set(floating(old))
    stored = stored_names(new, tied, old, aliases)
    require_once(stored)
    found = {target: name for name, target in stored.items()}
    lacking, unknown = sorted(wanted - set(found)), sorted(set(floating(new)) - set(stored))
    if lacking or unknown:
        said = [f"lacks {listed(lacking)}"] if lacking else []
        said += [f"holds {listed(unknown)} besides: leave out what only this site has"] if unknown else []
        raise InputError(f"{after}: expected the floating tensors of {before} and no others, but it {', '.join(said)}")
    header = layout({name: ("F32", tuple(old[name].shape)) for name in wanted})
    strange = sorted({*plan.scales, *plan.buffers} - wanted)
    if strange:
        raise InputError(f"plan: expected scales and buffers of tensors of {before}, got {strange[0]!r}")
    if any(plan.header) and fitted(plan, header) != plan:  # the segments: packed rows have no names
        raise InputError(f"{before}: the plan is for versions of other names or shapes: expected the round's parent")
    delta = _delta(old, {target: new[name] for target, name in found.items()}, wanted, after)
    return header, write_update(out, transformed(delta, plan), header, plan)


def _state(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    found = read_weight_files([path])
    for name, value in found.tensors.items():
        check_plain(name, value)
    return found.tensors, found.aliases


def _delta(
    old: Mapping[str, torch.Tensor], new: Mapping[str, torch.Tensor], names: set[str], after: Path
) -> dict[str, torch.Tensor]:
    delta: dict[str, torch.Tensor] = {}
    for name in sorted(names):
        if new[name].shape != old[name].shape:
            raise InputError(f"{after}: {name}: expected shape {tuple(old[name].shape)}, got {tuple(new[name].shape)}")
        check_finite(name, new[name])
        delta[name] = new[name].to(torch.float64) - old[name].to(torch.float64)
    return delta
