"""Read a state dict from a file: safetensors in any order and with any metadata, or PyTorch's, by `weights_only`."""

from __future__ import annotations

import importlib.util
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch

from registry.errors import FormError, InputError
from trainer.plain_tensors import check_plain

__all__ = ["read_state"]


def read_state(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return a file's tensors by name, tied ones once, and the aliases of tied ones: alias -> name.

    Raises:
        FormError: It is no safetensors file, nor a PyTorch file that holds tensors alone.
        InputError: There is no file, or a value is no dense tensor of plain numbers.
    """
    if not path.is_file():
        raise InputError(f"{path}: expected a file of weights, found none")
    found = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    tensors: dict[str, torch.Tensor] = {}
    aliases: dict[str, str] = {}
    seen: dict[object, str] = {}
    for name, value in found.items():
        check_plain(name, value)
        place = (value.untyped_storage().data_ptr(), value.storage_offset(), value.shape, value.stride(), value.dtype)
        if value.numel() and place in seen:
            aliases[name] = seen[place]
            continue
        seen[place] = name
        tensors[name] = value.detach()
    return tensors, aliases


def _read_safetensors(path: Path) -> Mapping[str, torch.Tensor]:
    if importlib.util.find_spec("safetensors") is None:
        raise InputError(f"{path}: reading it needs safetensors, which is not installed: pip install safetensors")
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except SafetensorError as error:
        raise FormError(f"{path}: expected safetensors, got {error}") from error
    return tensors


def _read_torch(path: Path) -> Mapping[str, torch.Tensor]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        text = str(error).partition("\n")[0]
        raise FormError(f"{path}: expected a file of torch.save(module.state_dict(), …): {text}") from error
    if not isinstance(loaded, Mapping) or not all(isinstance(name, str) for name in loaded):
        raise InputError(f"{path}: expected a state dict, tensors by name, got {type(loaded).__name__}")
    return loaded
