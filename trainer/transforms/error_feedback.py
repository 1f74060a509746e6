"""Error feedback: keeps what packing left out of an update for the participant's next one.

Seide et al., 1-Bit Stochastic Gradient Descent and its Application to Data-Parallel Distributed Training of Speech
DNNs, INTERSPEECH 2014; Karimireddy et al., Error Feedback Fixes SignSGD and other Gradient Compression Schemes, ICML
2019. With e the residual, q the update and C the packing: C(q + e) is sent, and e becomes q + e - C(q + e):
`trainer.deltas.write_update` computes both.

The residual is in grid integers. It stays with the participant: a round's folder has in `residual.safetensors` what is
left after the round's update. The next round takes what the last published update left. It begins at zero under another
grid, other scales or another layout of tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from registry.chain.contract_hashes import round_id_of
from registry.content.manifest import PlanManifest
from registry.content.tensors import write_tensors
from registry.durable import write_whole
from registry.errors import FormError, InputError
from registry.rounds.onchain import RoundRecord
from registry.rounds.versions import arrays_in
from registry.rules.grid import I32
from registry.rules.table import packing_of
from registry.types import Address
from trainer.updates import earlier_rounds, is_published, place_of

__all__ = ["NAME", "load_residual", "outgoing", "require_packed", "save_residual"]

NAME = "error_feedback"
_FILE = "residual.safetensors"
Delta = dict[str, torch.Tensor]


def outgoing(delta: Delta, parameters: Mapping[str, bool | int | float | str]) -> Delta:
    """Return delta as it is: the residual is added when the update is packed, after all transforms.

    Raises:
        InputError: The plan has parameters for it.
    """
    if parameters:
        raise InputError(f"{NAME}: expected no parameters, got {dict(parameters)}")
    return delta


def require_packed(plan: PlanManifest) -> None:
    """Check that a plan with error feedback packs its updates.

    Raises:
        InputError: It does not: nothing is left out.
    """
    if _feeds_back(plan) and packing_of(plan) is None:
        raise InputError(f"plan: expected a packed update form, such as int8, with {NAME}, got dense")


def load_residual(folder: Path, record: RoundRecord, participant: Address, plan: PlanManifest) -> I32 | None:
    """Return what packing left out so far, (n,), int32; None under a plan without error feedback.

    Args:
        folder: The participant's folder.
        record: The round that begins.
        participant: The participant's address.
        plan: The round's plan, fitted to its parent.
    """
    if not _feeds_back(plan):
        return None
    nothing = np.zeros(plan.values, dtype=np.int32)
    for number in earlier_rounds(folder, record, participant):
        place = place_of(folder, round_id_of(record.model_id, number))
        if not is_published(place):
            continue
        try:
            held = arrays_in((place / _FILE).read_bytes())
        except (FormError, OSError):
            return nothing  # that round kept none, or it is damaged: feedback begins anew
        residual, units = held.get("residual"), held.get("units")
        if residual is None or units is None or units.tobytes() != _units(plan) or residual.shape != nothing.shape:
            return nothing
        return residual.astype(np.int32)
    return nothing


def save_residual(place: Path, residual: I32 | None, plan: PlanManifest) -> None:
    """Write what packing left out to a round's folder, atomically; nothing under a plan without error feedback."""
    if residual is None:
        return
    units = np.frombuffer(_units(plan), dtype=np.uint8)
    tensors = {"residual": ("I32", residual.shape, residual), "units": ("U8", units.shape, units)}
    write_whole(place / _FILE, b"".join(write_tensors(tensors)))


def _units(plan: PlanManifest) -> bytes:
    """What the units and places of a residual follow from."""
    return bytes((plan.grid_bits,)) + plan.segments


def _feeds_back(plan: PlanManifest) -> bool:
    return any(step.name == NAME for step in plan.transforms)
