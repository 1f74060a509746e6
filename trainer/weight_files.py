"""Read tensors from files as people have them: safetensors in any form, PyTorch state dicts, ONNX, GGUF, shards.

Nothing here runs code from a file: PyTorch files are read with `weights_only=True` alone.
"""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from registry.content.file_kinds import GGUF, ONNX, PICKLE, TORCH_FILE, kind_of
from registry.content.tensors import CUT_SHORT
from registry.errors import FormError, InputError
from trainer.found_weights import Change, WeightFiles, require_library
from trainer.gguf_weights import read_gguf
from trainer.onnx_weights import read_onnx
from trainer.plain_tensors import memory_of
from trainer.weight_paths import files_of, head_of

__all__ = ["read_weight_files"]

_NESTED = ("state_dict", "model_state_dict", "model", "module", "net", "weights")
"""Under which key checkpoints hold the module's state dict."""


def read_weight_files(paths: Sequence[Path]) -> WeightFiles:
    """Read files of weights: safetensors, PyTorch state dicts, ONNX models, GGUF files, shards, or a folder of these.

    Raises:
        FormError: A file is of another kind, damaged or cut short; the message names it.
        InputError: The library that reads a file is not installed, a file is not there, a shard is missing, a name is
            in two files, or a value is no dense tensor.
    """
    files = files_of(paths)
    tensors: dict[str, torch.Tensor] = {}
    aliases: dict[str, str] = {}
    changes: list[Change] = []
    origin: dict[str, Path] = {}
    for file in files:
        found = _read(file)
        twice = next((name for name in found.tensors if name in origin), None)
        if twice is not None:
            raise InputError(f"{file}: {twice!r} is in {origin[twice]} too: expected each tensor in one file")
        origin |= dict.fromkeys(found.tensors, file)
        tensors |= found.tensors
        aliases |= found.aliases
        changes += found.changes
    label = str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
    if not tensors:
        raise InputError(f"{label}: expected tensors, got none")
    return WeightFiles(label, tensors, aliases, tuple(changes))


# What is in them ----------------------------------------------------------------------------------------------------


def _read(file: Path) -> WeightFiles:
    kind = kind_of(head_of(file))
    if kind in (PICKLE, TORCH_FILE):
        return _read_torch(file)
    if kind is GGUF:
        return read_gguf(file)
    if kind is ONNX and int.from_bytes(head_of(file)[:8], "little") > file.stat().st_size:
        return read_onnx(file)
    if kind is not None and int.from_bytes(head_of(file)[:8], "little") > file.stat().st_size:
        raise FormError(f"{file}: expected a safetensors file, got {kind}")
    return _read_safetensors(file)


def _read_safetensors(file: Path) -> WeightFiles:
    require_library(file, "safetensors", "train")
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(file), framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - it is no mapping
            metadata = opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        cut = f": {CUT_SHORT}" if _is_cut_short(file) else ""
        raise FormError(f"{file}: expected safetensors, got {error}{cut}") from error
    aliases = {alias: name for alias, name in metadata.items() if name in tensors and alias not in tensors}
    dropped = tuple(key for key in metadata if key not in aliases and (key, metadata[key]) != ("format", "pt"))
    changes = (Change("dropped metadata", dropped, False),) if dropped else ()
    return WeightFiles(str(file), tensors, aliases, changes)


def _is_cut_short(file: Path) -> bool:
    """Return whether a safetensors file ends before its header or its last tensor does."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if size < 8 + length:
            return True
        try:
            entries = json.loads(opened.read(length))
            ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
            return size < 8 + length + max(ends, default=0)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            return False


def _read_torch(file: Path) -> WeightFiles:
    try:
        with file.open("rb") as opened:  # by its path, torch would judge it by its suffix
            loaded = torch.load(opened, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        what = re.search(r"(?:GLOBAL|global:?|class) ([\w.]+)", str(error))
        raise FormError(
            f"{file}: expected tensors only, got {what[1] if what else 'objects'} pickled with them, which could run "
            "code: save the state dict alone, torch.save(module.state_dict(), FILE)"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        text = str(error).partition("\n")[0] or type(error).__name__
        cut = f": {CUT_SHORT}" if isinstance(error, EOFError) or "central directory" in text else ""
        raise FormError(f"{file}: expected a PyTorch state dict: {text}{cut}") from error
    found, dropped = _state_dict(file, loaded)
    tensors: dict[str, torch.Tensor] = {}
    aliases: dict[str, str] = {}
    seen: dict[object, str] = {}
    for name, value in found.items():
        if not isinstance(value, torch.Tensor):
            dropped.append(name)
            continue
        if value.layout != torch.strided or value.is_quantized:
            raise InputError(f"{file}: {name}: expected a dense tensor, got {value.layout}, {value.dtype}")
        place = memory_of(value)
        if value.numel() and place in seen:
            aliases[name] = seen[place]
            continue
        seen[place] = name
        tensors[name] = value.detach()
    changes = (Change("dropped, no tensors", tuple(dropped), False),) if dropped else ()
    return WeightFiles(str(file), tensors, aliases, changes)


def _state_dict(file: Path, loaded: Any) -> tuple[Mapping[str, Any], list[str]]:
    """Return a checkpoint's state dict, and the names of what else it holds."""
    if isinstance(loaded, Mapping):
        if any(isinstance(value, torch.Tensor) for value in loaded.values()):
            _require_names(file, loaded)
            return loaded, []
        for key in _NESTED:
            inner = loaded.get(key)
            if isinstance(inner, Mapping) and any(isinstance(value, torch.Tensor) for value in inner.values()):
                _require_names(file, inner)
                return inner, [str(other) for other in loaded if other != key]
    shown = f"the keys {[str(key) for key in loaded][:5]}" if isinstance(loaded, Mapping) else type(loaded).__name__
    raise InputError(f"{file}: expected a state dict of tensors by name, got {shown}")


def _require_names(file: Path, tensors: Mapping[Any, Any]) -> None:
    wrong = [name for name in tensors if not isinstance(name, str)]
    if wrong:
        raise InputError(f"{file}: expected tensors by name, got keys such as {wrong[0]!r:.40}")
