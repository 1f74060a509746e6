"""Turn files as people have them into a version's tensors: float32 master values, canonical names, tied tensors once.

With a module the result is exactly what the module loads. Whatever is changed is said, in `Imported.changes`.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from registry.errors import InputError
from registry.rounds.versions import NUMPY_NAMES
from trainer.found_weights import Change, WeightFiles
from trainer.modules import module_state
from trainer.tensor_names import without_wrappers
from trainer.weight_files import read_weight_files

__all__ = ["Imported", "import_weights"]

Array = npt.NDArray[np.generic]

_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}


@dataclass(frozen=True, slots=True)
class Imported:
    """A version's tensors, made of files.

    Attributes:
        label: What errors call the files.
        arrays: The tensors by name; floating ones are float32, finite, except those kept as they are.
        aliases: Other names of tied tensors, mapped to the name in `arrays`.
        changes: What differs from the files.
    """

    label: str
    arrays: dict[str, Array]
    aliases: dict[str, str]
    changes: tuple[Change, ...]


def import_weights(paths: Sequence[Path], module: nn.Module | None = None, *, without: Sequence[str] = ()) -> Imported:
    """Read files and convert their tensors to a version's.

    Args:
        paths: Files or folders, as `read_weight_files` takes them.
        module: The module that will load the version: names are mapped to its names, its tied tensors are stored
            once, and tensors that it lacks are dropped.
        without: Patterns for the names of the module's tensors that are not shared.

    Raises:
        FormError: A file is of another kind, damaged or cut short.
        InputError: A shard is missing, a tensor cannot be represented, the module's tensors are not all there or have
            other shapes, or there is nothing to train.
    """
    found = read_weight_files(paths)
    changes = list(found.changes)
    if module is None:
        tensors, aliases = _without_wrappers(found, changes)
    else:
        tensors, aliases = _fitted(found, module, without, changes)
    if aliases:
        changes.append(Change("stored once, being tied", tuple(f"{a} = {b}" for a, b in aliases.items()), False))
    arrays = _as_arrays(found.label, tensors, changes)
    if not any(array.dtype == np.float32 and array.size for array in arrays.values()):
        name, array = next(iter(arrays.items()))
        raise InputError(
            f"{found.label}: expected floating tensors, which rounds train, got none: {name!r} is {array.dtype}. "
            "Quantized weights cannot be trained: import those that they were made of"
        )
    return Imported(found.label, arrays, aliases, tuple(changes))


# Names --------------------------------------------------------------------------------------------------------------


def _without_wrappers(found: WeightFiles, changes: list[Change]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Remove what `torch.compile` puts into names, and what `DataParallel` puts before all of them."""
    names = [*found.tensors, *found.aliases]
    parallel = all(name.startswith("module.") for name in names)
    renamed = {name: name.removeprefix("module." if parallel else "").replace("_orig_mod.", "") for name in names}
    if len(set(renamed.values())) != len(renamed):
        return found.tensors, found.aliases
    wrapped = tuple(name for name, new in renamed.items() if new != name)
    if wrapped:
        changes.append(Change("removed the prefixes of wrappers", wrapped, False))
    tensors = {renamed[name]: value for name, value in found.tensors.items()}
    return tensors, {renamed[alias]: renamed[name] for alias, name in found.aliases.items()}


def _targets(names: Collection[str], wanted: Collection[str]) -> dict[str, str]:
    """Map names of files to a module's: equal ones, those equal without wrappers, and those behind one prefix."""
    found = {name: name for name in names if name in wanted}
    by_bare: dict[str, list[str]] = {}
    for name in wanted:
        by_bare.setdefault(without_wrappers(name), []).append(name)
    for name in names:
        alike = by_bare.get(without_wrappers(name), [])
        if name not in found and len(alike) == 1 and alike[0] not in found:
            found[name] = alike[0]
    taken = set(found.values())
    left, open_ = [name for name in names if name not in found], {name for name in wanted if name not in taken}
    votes = Counter(p for name in left for p in _prefixes(name) if name.removeprefix(p) in open_)
    adding = Counter(p for name in open_ for p in _prefixes(name) if name.removeprefix(p) in set(left))
    for counter, rename in ((votes, str.removeprefix), (adding, lambda name, prefix: prefix + name)):
        prefix, count = counter.most_common(1)[0] if counter else ("", 0)
        if count * 2 > len(open_):  # the prefix of a whole model, not a coincidence
            found |= {name: new for name in left if (new := rename(name, prefix)) in open_}
            break
    return found


def _prefixes(name: str) -> Iterable[str]:
    parts = name.split(".")
    return (".".join(parts[:count]) + "." for count in (1, 2) if len(parts) > count)


# The module's tensors -----------------------------------------------------------------------------------------------


def _fitted(
    found: WeightFiles, module: nn.Module, without: Sequence[str], changes: list[Change]
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return the module's tensors with the files' values, and the module's ties.

    Raises:
        InputError: A tensor of the module is in no file, or has another shape; or tied ones have different values.
    """
    tensors, ties = module_state(module, without)
    named = {**found.tensors, **{alias: found.tensors[name] for alias, name in found.aliases.items()}}
    targets = _targets(list(named), [*tensors, *ties])
    renamed = tuple(name for name, target in targets.items() if name != target)
    if renamed:
        changes.append(Change("renamed to the module's names", renamed, False))
    given: dict[str, torch.Tensor] = {}
    origin: dict[str, str] = {}
    for name, target in targets.items():
        stored = ties.get(target, target)
        if stored in given and not torch.equal(given[stored], named[name]):
            raise InputError(
                f"{found.label}: the module ties {target!r} to {stored!r}, but {name!r} and {origin[stored]!r} differ"
            )
        given.setdefault(stored, named[name])
        origin.setdefault(stored, name)
    dropped = tuple(name for name in found.tensors if name not in targets)
    if dropped:
        changes.append(Change("dropped, since the module has no such tensor", dropped, True))
    _take_constants(found.label, tensors, given, dropped, changes)
    for name, value in tensors.items():
        if value.shape != given[name].shape:
            raise InputError(
                f"{found.label}: {name}: expected shape {tuple(value.shape)}, as the module has, "
                f"got {tuple(given[name].shape)}"
            )
    return {name: given[name] for name in tensors}, ties


def _take_constants(
    label: str,
    tensors: Mapping[str, torch.Tensor],
    given: dict[str, torch.Tensor],
    unused: Sequence[str],
    changes: list[Change],
) -> None:
    """Take integer tensors that no file holds, such as position ids, from the module."""
    missing = [name for name in tensors if name not in given]
    trained = [name for name in missing if tensors[name].dtype.is_floating_point]
    if trained:
        near = difflib.get_close_matches(trained[0], unused, 1)
        hint = f"; the nearest unused name is {near[0]!r}" if near else ""
        more = f" and {len(trained) - 1} more" if len(trained) > 1 else ""
        raise InputError(f"{label}: expected the module's tensor {trained[0]!r}{more}, got no such tensor{hint}")
    given |= {name: tensors[name] for name in missing}
    if missing:
        changes.append(Change("taken from the module, since no file has it", tuple(missing), True))


# Values -------------------------------------------------------------------------------------------------------------


def _as_arrays(label: str, tensors: Mapping[str, torch.Tensor], changes: list[Change]) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    converted: dict[str, list[str]] = {}
    for name, value in tensors.items():
        plain = value.to("cpu", torch.float32) if value.dtype.is_floating_point else value.to("cpu")
        if value.is_complex() or (not value.dtype.is_floating_point and value.dtype.itemsize > 8):
            raise InputError(f"{label}: {name}: expected real numbers, got {value.dtype}: keep it as two real tensors")
        if value.dtype.is_floating_point:
            _require_finite(label, name, value, plain)
            if value.dtype is not torch.float32:
                dtype = _DTYPES.get(value.dtype, str(value.dtype).removeprefix("torch."))
                converted.setdefault(dtype, []).append(name)
        arrays[name] = plain.contiguous().numpy()
        if arrays[name].dtype not in NUMPY_NAMES:
            raise InputError(f"{label}: {name}: expected numbers that safetensors store, got {value.dtype}")
    changes += [Change(f"converted from {dtype} to F32", tuple(names), True) for dtype, names in converted.items()]
    return arrays


def _require_finite(label: str, name: str, value: torch.Tensor, plain: torch.Tensor) -> None:
    wrong = ~torch.isfinite(plain)
    if not wrong.any():
        return
    first = float(value.to(torch.float64)[wrong].reshape(-1)[0])
    if first in (float("inf"), float("-inf")):
        remedy = "a mask is no weight: register its buffer with persistent=False"
    else:
        remedy = "the training diverged: take an earlier checkpoint" if first != first else "it overflows float32"
    raise InputError(f"{label}: {name}: expected finite float32 values, got {first} in {int(wrong.sum())}: {remedy}")
