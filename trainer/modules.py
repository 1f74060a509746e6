"""Convert between PyTorch modules and versions: load, publish, and propose plans.

A version has float32 master values of every floating tensor of the module, under the module's own names, and all other
tensors unchanged. Tied tensors are stored once, under their first name in the module's state dict.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Container, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from registry.content.manifest import BaseFile, PlanManifest, Procedure, Statement, VersionManifest, digest_of
from registry.content.tensors import TensorHeader, layout
from registry.errors import InputError
from registry.rounds.plans import fitted, server_rule
from registry.rounds.versions import NUMPY_NAMES, add_version, read_arrays, save_arrays
from registry.rules.table import DENSE, EXAMPLES, MEAN
from registry.store.base import ContentStore
from registry.types import Digest, ModelId, Root
from trainer.plain_tensors import check_finite, check_plain, check_separate, memory_of
from trainer.tensor_names import listed, patterns_for, require_same, stored_names

if TYPE_CHECKING:
    from registry.chain.client import Client

__all__ = [
    "floating",
    "load_arrays",
    "load_version",
    "matching",
    "module_arrays",
    "module_digest",
    "module_header",
    "module_state",
    "propose_buffers",
    "propose_grid",
    "propose_plan",
    "publish_module",
    "register_module",
]

Array = npt.NDArray[np.generic]

_FLOAT16_OVERFLOW = 65520.0
"""The smallest magnitude that float16 rounds to infinity."""


def module_state(module: nn.Module, without: Sequence[str] = ()) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return the module's tensors, deduplicated, with the aliases of tied ones.

    Args:
        module: Any module.
        without: Glob patterns for the names of tensors that are not shared: they are left out.

    Returns:
        Tensors by name, in the module's order, sharing its memory; and alias -> name.

    Raises:
        InputError: A tensor is lazy, complex, quantized, sparse or otherwise not plain numbers, or overlaps another; a
            pattern matches no name, or only some names of a tied tensor.
    """
    left_out = set(matching(module, without))
    tensors: dict[str, torch.Tensor] = {}
    aliases: dict[str, str] = {}
    seen: dict[object, str] = {}
    hidden: dict[object, str] = {}
    unshared: dict[str, torch.Tensor] = {}
    for name, value in module.state_dict(keep_vars=True).items():
        if name in left_out and not isinstance(value, torch.Tensor):
            continue
        check_plain(name, value)
        place = memory_of(value)
        other = (seen if name in left_out else hidden).get(place) if value.numel() else None
        if other is not None:
            raise InputError(f"{name}: tied to {other}, so expected both to be shared or neither")
        if name in left_out:
            if place not in hidden:
                hidden[place], unshared[name] = name, value.detach()
            continue
        if value.numel() and place in seen:
            aliases[name] = seen[place]
            continue
        seen[place] = name
        tensors[name] = value.detach()
    check_separate({**tensors, **unshared})
    return tensors, aliases


def matching(module: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Return the names of the module's tensors that patterns select, in the module's order.

    Args:
        module: Any module.
        patterns: Names or glob patterns; one that begins with ! deselects what those before it selected.

    Raises:
        InputError: A pattern matches no name: misspelt, it would share private tensors.
    """
    names = dict.fromkeys(module.state_dict(keep_vars=True))
    chosen: set[str] = set()
    for pattern in patterns:
        bare = pattern.removeprefix("!")
        found = [bare] if bare in names else [name for name in names if fnmatchcase(name, bare)]
        if not found:
            raise InputError(f"expected {pattern!r} to match a tensor of the module, such as {list(names)[:3]}")
        chosen = chosen.difference(found) if pattern.startswith("!") else chosen.union(found)
    return [name for name in names if name in chosen]


def module_digest(module: nn.Module, names: Container[str] | None = None) -> bytes:
    """Return a sha2-256 over the module's tensors, or those of the given names, to detect any changed bit."""
    hasher = hashlib.sha256()
    for name, value in module_state(module)[0].items():
        if names is None or name in names:
            hasher.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
            hasher.update(value.to("cpu").contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return hasher.digest()


def floating(tensors: Mapping[str, torch.Tensor]) -> Iterator[str]:
    """Yield the names of floating tensors."""
    return (name for name, value in tensors.items() if value.dtype.is_floating_point)


def module_arrays(
    module: nn.Module, without: Sequence[str] = (), fixed: Sequence[str] = ()
) -> tuple[dict[str, Array], dict[str, str]]:
    """Return the arrays of a version made of the module, by name (floating ones as float32), and its aliases.

    Args:
        module: Any module.
        without: Patterns for the names of tensors that are not shared.
        fixed: Patterns for the names of shared tensors that no round changes: they become float16.

    Raises:
        InputError: A value is not finite in float32, float16 does not hold a fixed one exactly, or a tensor is not
            plain numbers.
    """
    tensors, aliases = module_state(module, without)
    kept = matching(module, fixed)
    if unshared := [name for name in kept if name not in tensors]:
        raise InputError(f"{unshared[0]}: expected to be shared and stored under this name, as fixed tensors are")
    arrays: dict[str, Array] = {}
    for name, value in tensors.items():
        check_finite(name, value)
        plain = value.to("cpu", torch.float32 if value.dtype.is_floating_point else value.dtype)
        arrays[name] = plain.contiguous().numpy().copy()
    for name in kept:
        half = arrays[name].astype(np.float16)
        if not np.array_equal(half.astype(np.float32), arrays[name]):
            raise InputError(
                f"{name}: fixed, so expected values that float16 holds exactly, got others: round them, or draw them "
                "by trainer.adapters.set_public_lora_a"
            )
        arrays[name] = half
    return arrays, aliases


def module_header(module: nn.Module, without: Sequence[str] = ()) -> TensorHeader:
    """Return the header of a version made of the module."""
    arrays, _ = module_arrays(module, without)
    return layout({name: (NUMPY_NAMES[array.dtype], array.shape) for name, array in arrays.items()})


def load_arrays(
    module: nn.Module,
    arrays: Mapping[str, Array],
    aliases: Mapping[str, str] | None = None,
    *,
    without: Sequence[str] = (),
) -> dict[str, str]:
    """Copy a version's arrays into the module, converting to its dtypes; unshared tensors stay unchanged.

    Names may differ by what `torch.compile`, `DataParallel` and PEFT put into them.

    Returns:
        The name under which the version stores each of the module's tensors.

    Raises:
        InputError: Names or shapes differ, or a value overflows the module's dtype; nothing is copied.
    """
    tensors, tied = module_state(module, without)
    stored = stored_names(tensors, tied, arrays, aliases or {})
    missing = sorted(set(tensors) - set(stored))
    unknown = sorted(set(arrays) - set(stored.values()))
    unshared = sorted(set(matching(module, without)) & set(unknown))
    if unshared:
        raise InputError(
            f"expected the version to hold only what is shared, but it holds {listed(unshared)}, private or frozen "
            f"here: register the model `--without {patterns_for(unshared)[0]!r}`, or share it in the Task"
        )
    require_same(missing, unknown)
    for name, value in tensors.items():
        array = arrays[stored[name]]
        if tuple(value.shape) != array.shape:
            other = "" if stored[name] == name else f", named {stored[name]}"
            raise InputError(
                f"{name}: expected shape {tuple(value.shape)}, as the module has, got {array.shape} in the "
                f"version{other}: make the module with the version's sizes, or publish one with the module's"
            )
        if value.dtype == torch.float16 and np.abs(array).max(initial=0) >= _FLOAT16_OVERFLOW:
            raise InputError(f"{name}: expected values that float16 holds, got one beyond: load it into float32")
    with torch.no_grad():
        for name, value in tensors.items():
            value.copy_(torch.from_numpy(np.array(arrays[stored[name]])))
    return stored


def load_version(
    module: nn.Module, store: ContentStore, version: VersionManifest, *, without: Sequence[str] = ()
) -> dict[str, str]:
    """Load a version from the content store into the module, hashing every block.

    Returns:
        The name under which the version stores each of the module's tensors.

    Raises:
        FormError: The file is not canonical, or does not match the manifest.
        InputError: The module's tensors differ.
    """
    return load_arrays(module, read_arrays(store, version), version.aliases, without=without)


def publish_module(
    store: ContentStore,
    module: nn.Module,
    file: Path,
    *,
    parent: Digest | None = None,
    statement: Statement | None = None,
    without: Sequence[str] = (),
    fixed: Sequence[str] = (),
    base: BaseFile | None = None,
) -> VersionManifest:
    """Publish the module's current values as an owner's version, such as a genesis.

    Args:
        store: The store to publish to.
        module: The module whose values become the version's.
        file: Path of the version's file, written and kept.
        parent: The version it descends from.
        statement: The owner's statement about it.
        without: Patterns for the names of tensors that are not shared: private to participants, or of the base.
        fixed: Patterns for the names of shared tensors that no round changes, such as lora_A under FFA-LoRA.
        base: Frozen base weights.
    """
    arrays, aliases = module_arrays(module, without, fixed)
    save_arrays(file, arrays)
    frozen = matching(module, fixed)
    return add_version(store, file, parent=parent, aliases=aliases, frozen=frozen, base=base, statement=statement)


def register_module(
    client: Client,
    store: ContentStore,
    module: nn.Module,
    file: Path,
    *,
    statement: Statement | None = None,
    without: Sequence[str] = (),
    fixed: Sequence[str] = (),
    base: BaseFile | None = None,
) -> ModelId:
    """Publish the module as the genesis of a new model and register the model; the sender becomes its owner.

    Args: as of `publish_module`, and the client that sends.
    """
    genesis = publish_module(store, module, file, statement=statement, without=without, fixed=fixed, base=base)
    digest = digest_of(genesis)
    client.register_model(digest, Root(genesis.tensor_root), Root(genesis.rest_root))
    return client.model_id(client.account, digest)


def propose_grid(
    module: nn.Module,
    grid_bits: int = 24,
    *,
    largest_change: float = 1.0,
    largest_buffer_change: float = 4096.0,
    without: Sequence[str] = (),
) -> tuple[int, dict[str, int]]:
    """Propose a grid and per-tensor scales that no plausible delta overflows.

    A parameter is expected to change by at most its own largest magnitude, or by largest_change if that is more. A
    buffer, such as a running variance, takes on the scale of the data: before training its magnitude tells nothing and
    it is expected to change by largest_buffer_change, later by 16 times its own magnitude (that of the deviation for a
    running mean), so that the grid is fine enough for small variances.

    Returns:
        grid_bits, and the scales e of tensors that need one: their deltas are divided by 2^e.

    Raises:
        InputError: A value is not finite in float32.
    """
    scales: dict[str, int] = {}
    parameters = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    tensors, _ = module_state(module, without)
    for name, value in tensors.items():
        if not value.dtype.is_floating_point or not value.numel():
            continue
        check_finite(name, value)
        reach = max(float(value.abs().max()), largest_change)
        if name not in parameters:
            reach = max(reach, _buffer_reach(name, tensors) or largest_buffer_change)
        exponent = math.ceil(math.log2(reach))
        if exponent > 24 - grid_bits:
            scales[name] = exponent - (24 - grid_bits)
    return grid_bits, scales


def _buffer_reach(name: str, tensors: Mapping[str, torch.Tensor]) -> float | None:
    """Return by how much a buffer is expected to change at most; None if it was not trained: all zeros, or all ones."""
    value = tensors[name]
    own = float(value.abs().max())
    variance = tensors.get(f"{name.removesuffix('running_mean')}running_var") if name.endswith("running_mean") else None
    if bool((value == 0).all()) or bool((value == 1).all()):
        return None
    return 16 * max(own, 0.0 if variance is None else float(variance.abs().max()) ** 0.5)


def propose_buffers(module: nn.Module, without: Sequence[str] = ()) -> dict[str, int]:
    """Propose which tensors are running statistics: floating buffers of the module; variances cannot be negative."""
    parameters = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    tensors, _ = module_state(module, without)
    buffers = [name for name in floating(tensors) if name not in parameters]
    return {name: 2 if name.rpartition(".")[2] == "running_var" else 1 for name in buffers}


def propose_plan(
    module: nn.Module,
    *,
    quorum: int,
    min_contributions: int,
    weight_cap: int = 1 << 20,
    grid_bits: int = 24,
    without: Sequence[str] = (),
) -> PlanManifest:
    """Propose a plan for FedAvg rounds on a model whose genesis is the module.

    Tensors beyond the grid's range get scales, running statistics are buffers, and phases last an hour each. Change
    other fields with `dataclasses.replace`.

    Args:
        module: The module whose tensors determine the scales.
        quorum: Number of aggregators that must attest the same result.
        min_contributions: Minimum number of contributions; a round with fewer lapses.
        weight_cap: Maximum weight of one participant.
        grid_bits: s; fewer bits give a coarser grid of larger range: 2^(24 - s).
        without: Patterns for the names of tensors that are not shared.
    """
    grid_bits, scales = propose_grid(module, grid_bits, without=without)
    plan = PlanManifest(
        algorithm=Procedure("fedavg", {"epochs": 1}),
        combine_rule=MEAN.number,
        combine_parameters={},
        weights=EXAMPLES,
        server=server_rule("fedavg", {"rate": 1.0}, grid_bits),
        update_form=DENSE.number,
        form_parameters={},
        grid_bits=grid_bits,
        saturate=False,
        scales=scales,
        buffers=propose_buffers(module, without),
        values=1,
        header=bytes(32),
        segments=bytes(32),
        transforms=(),
        quorum=quorum,
        weight_cap=weight_cap,
        min_contributions=min_contributions,
        commit_duration=3600,
        publish_duration=3600,
        aggregate_duration=3600,
        challenge_duration=3600,
        answer_duration=60,
        bond_gwei=0,
        hooks=(),
    )
    return fitted(plan, module_header(module, without))
