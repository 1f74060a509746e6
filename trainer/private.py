"""Private tensors: a participant's personal part of a model, stored locally by model and round, never published.

A round's folder has them in `private.safetensors`, written atomically before the update is sealed. The participant's
next round restores them: personalization layers as in FedPer (Arivazhagan, Aggarwal, Singh, Choudhary: Federated
Learning with Personalization Layers, 2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from registry.chain.contract_hashes import round_id_of
from registry.content.manifest import UpdateManifest, VersionManifest, decode
from registry.content.tensors import write_tensors
from registry.durable import write_whole
from registry.errors import FormError, InputError
from registry.rounds.onchain import RoundRecord
from registry.rounds.versions import NUMPY_NAMES, arrays_in
from registry.store.base import ContentStore
from registry.types import Address, ModelId
from trainer.modules import load_version, matching
from trainer.updates import earlier_rounds, origin_of, place_of

if TYPE_CHECKING:
    from trainer.participant import Task

__all__ = ["load_personal", "load_private", "save_private"]

_FILE = "private.safetensors"


def load_private(
    folder: Path,
    record: RoundRecord,
    participant: Address,
    module: nn.Module,
    patterns: Sequence[str],
    *,
    anew: bool,
    committed: int = 0,
) -> None:
    """Restore the private tensors of the participant's last round of this model that has any into the module.

    In the first round the module stays unchanged. Rounds whose update was made without private tensors, such as one of
    a ready file, are passed over.

    Args:
        folder: The participant's folder.
        record: The round that begins.
        participant: The participant's address.
        module: The module to restore into.
        patterns: Glob patterns for the names of private tensors.
        anew: Leave the module unchanged if the last round's tensors are missing.
        committed: The last round that the participant committed to, as the chain says; 0 for none.

    Raises:
        InputError: The tensors are missing or damaged, or their names, shapes or types differ from the module's; or
            the folder has nothing of the last round that the participant committed to, as an old backup has not.
    """
    if not patterns:
        return
    rounds = earlier_rounds(folder, record, participant)
    if 0 < committed < record.number and committed not in rounds:
        if anew:
            return
        raise InputError(
            f"the private tensors of round {committed} are lost or elsewhere: this account committed an update to "
            f"it, and {folder} has none: use the --folder that has it, restore it from a backup, or start from "
            "the module's own with reset_private=True in the task"
        )
    last = next((number for number in rounds if _is_private(folder, record, number)), None)
    if last is None:
        return
    file = place_of(folder, round_id_of(record.model_id, last)) / _FILE
    if not file.exists():
        if anew:
            return
        raise InputError(
            f"the private tensors of round {last} are lost: expected {file}; restore it from a backup, or "
            "start from the module's own with reset_private=True in the task"
        )
    _restore(file, last, module, patterns)


def load_personal(task: Task, store: ContentStore, version: VersionManifest, folder: Path, model_id: ModelId) -> int:
    """Load a version into a task's module together with this site's own private tensors, for use after training.

    Args:
        task: The site's task; its module gets the values. Frozen tensors stay as the module has them.
        store: The store that has the version.
        version: The version, of the same model.
        folder: The participant's folder.
        model_id: The model.

    Returns:
        Number of the site's last round of the model, whose private tensors were loaded.

    Raises:
        InputError: The module does not fit the version, or the site has no private tensors of this model.
    """
    files = (file for file in folder.glob("round-*/update.cbor") if file.with_name(_FILE).exists())
    sealed = [decode(file.read_bytes(), UpdateManifest) for file in files]
    number = max((update.number for update in sealed if update.model == model_id), default=0)
    file = place_of(folder, round_id_of(model_id, number)) / _FILE
    if not file.exists():
        raise InputError(f"{folder}: expected private tensors of model 0x{model_id.hex()[:10]}, found none")
    load_version(task.module, store, version, without=task.unshared)
    _restore(file, number, task.module, task.private)
    return number


def _restore(file: Path, number: int, module: nn.Module, patterns: Sequence[str]) -> None:
    """Copy a round's private tensors into the module."""
    try:
        held = arrays_in(file.read_bytes())
    except FormError as error:
        raise InputError(f"{file}: the private tensors of round {number} are damaged: {error}") from None
    own = _own(module, patterns)
    said, found = ({name: (a.dtype, a.shape) for name, a in arrays.items()} for arrays in (_arrays(own), held))
    if said != found:
        name = min(name for name in {*said, *found} if said.get(name) != found.get(name))
        raise InputError(f"{file}: private {name}: expected {said.get(name)}, as the module has, got {found.get(name)}")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(_tensor(held[name], value))


def save_private(place: Path, module: nn.Module, patterns: Sequence[str]) -> None:
    """Write the module's private tensors to a round's folder, atomically and bit for bit.

    Raises:
        InputError: A value is not finite; names the tensor.
    """
    if patterns:
        own = _own(module, patterns)
        for name, value in own.items():
            if value.dtype.is_floating_point and not torch.isfinite(value).all():
                raise InputError(f"private {name}: expected finite numbers after training, got NaN or infinity")
        arrays = _arrays(own).items()
        tensors = {name: (NUMPY_NAMES[array.dtype], array.shape, array) for name, array in arrays}
        write_whole(place / _FILE, b"".join(write_tensors(tensors)))


def _is_private(folder: Path, record: RoundRecord, number: int) -> bool:
    """Return whether a round's update was made with private tensors; so it counts if nothing says otherwise."""
    origin = origin_of(place_of(folder, round_id_of(record.model_id, number)))
    return origin is None or origin.private


def _own(module: nn.Module, patterns: Sequence[str]) -> dict[str, torch.Tensor]:
    tensors = module.state_dict(keep_vars=True)
    return {name: tensors[name].detach() for name in matching(module, patterns)}


def _arrays(tensors: dict[str, torch.Tensor]) -> dict[str, npt.NDArray[np.generic]]:
    """Return arrays of the same bits; bfloat16, which numpy lacks, as int16."""
    plain = {name: value.cpu().contiguous() for name, value in tensors.items()}
    return {
        name: (value.view(torch.int16) if value.dtype is torch.bfloat16 else value).numpy()
        for name, value in plain.items()
    }


def _tensor(array: npt.NDArray[np.generic], like: torch.Tensor) -> torch.Tensor:
    value = torch.from_numpy(np.array(array))
    return value.view(torch.bfloat16) if like.dtype is torch.bfloat16 else value
