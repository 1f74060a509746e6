"""A participant's drift variable from round to round: SCAFFOLD's c_k, FedDyn's g_k, kept beside each update.

A round's folder has in `drift.safetensors` what the drift becomes if a finalized round lists the update, written
atomically before the update is sealed. The next round asks the lineage of its parent which update was listed last, and
takes what is kept beside that one; without it, it recomputes the drift from the public updates. So a crash, or a round
that lapses, moves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from registry.chain.contract_hashes import round_id_of
from registry.content.manifest import PlanManifest, VersionManifest, digest_of
from registry.content.tensors import TensorHeader, write_tensors
from registry.durable import write_whole
from registry.errors import FormError
from registry.rounds.admission import UpdateForm
from registry.rounds.drift import DRIFTING, moved_drift, own_drift, shared_drift
from registry.rounds.onchain import RoundRecord
from registry.rounds.versions import arrays_in
from registry.rules.interpreter import I64
from registry.rules.server_programs import MOMENT
from registry.store.base import ContentStore
from registry.types import Address, Digest
from trainer.updates import place_of, prepared_update

__all__ = ["Drift", "drift_tensors", "load_drift", "save_drift"]

_FILE = "drift.safetensors"


@dataclass(frozen=True, slots=True)
class Drift:
    """Drift at the beginning of a round, in 1/256 grid steps.

    Attributes:
        own: The participant's, (n,), int64.
        shared: The server's, (n,), int64.
    """

    own: I64
    shared: I64


def load_drift(
    store: ContentStore,
    folder: Path,
    record: RoundRecord,
    plan: PlanManifest,
    parent: VersionManifest,
    form: UpdateForm,
    participant: Address,
) -> Drift | None:
    """Return the drift of a participant and of the server; None under an algorithm without.

    Raises:
        InputError: The parent's state was made under other parameters of the algorithm.
        ContentError: What the participant's folder lacks is unavailable in the store too.
    """
    if plan.algorithm.name not in DRIFTING:
        return None

    def kept(number: int, digest: Digest) -> I64 | None:
        place = place_of(folder, round_id_of(record.model_id, number))
        try:
            update = prepared_update(place)
            if update is None or digest_of(update.manifest) != digest:
                return None
            drift = arrays_in((place / _FILE).read_bytes())["drift"]
        except (FormError, OSError, KeyError):
            return None  # recomputed
        return drift.astype(np.int64) if drift.shape == (form.rules.values,) and drift.dtype == np.int64 else None

    own = own_drift(store, plan, parent, form, participant, kept)
    return Drift(own, shared_drift(store, parent, form))


def save_drift(place: Path, drift: Drift | None, plan: PlanManifest, form: UpdateForm) -> None:
    """Write what the drift becomes if the update in a round's folder is listed; nothing without drift."""
    if drift is None:
        return
    data = (place / "update.safetensors").read_bytes()[len(form.header) :]
    q = form.integers(data).astype(np.int64)
    moved = moved_drift(plan.algorithm.name, drift.own, drift.shared, q)
    write_whole(place / _FILE, b"".join(write_tensors({"drift": ("I64", moved.shape, moved)})))


def drift_tensors(
    drift: Drift | None, plan: PlanManifest, form: UpdateForm, stored: Mapping[str, str]
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return own and shared drift as float64 tensors in units of the update, by the module's names.

    Args:
        drift: In grid units; None for none.
        plan: The plan, which has the tensors' scales.
        form: The round's form.
        stored: The version's name of each of the module's tensors.
    """
    if drift is None:
        return {}, {}
    own, shared = (_tensors(values, form.dense, plan) for values in (drift.own, drift.shared))
    names = {name: there for name, there in stored.items() if there in own}
    return {name: own[there] for name, there in names.items()}, {name: shared[there] for name, there in names.items()}


def _tensors(values: I64, header: TensorHeader, plan: PlanManifest) -> dict[str, torch.Tensor]:
    """Split coordinates into tensors, by the version's names."""
    found, first = {}, 0
    for spec in header.specs:
        last = first + int(np.prod(spec.shape, dtype=np.int64))
        unit = 2.0 ** (plan.scales.get(spec.name, 0) - plan.grid_bits) / MOMENT
        found[spec.name] = torch.from_numpy(values[first:last].reshape(spec.shape) * unit)
        first = last
    return found
