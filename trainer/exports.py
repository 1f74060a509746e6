"""Write a version in the form that other programs load: PyTorch, safetensors with every name, bfloat16, PEFT's folder.

The tensors are those of the verified file; tied ones stand under each of their names, so `load_state_dict` is strict.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch

from registry.content.manifest import VersionManifest
from registry.errors import InputError
from registry.rounds.versions import read_version
from registry.store.base import ContentStore
from trainer.common_terms import parsed_settings

__all__ = ["ADAPTER_FILES", "FORMS", "adapter_config", "export_version", "require_adapter"]

ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")
"""What `PeftModel.from_pretrained` loads from a folder."""

Tensors = Mapping[str, torch.Tensor]

_ADAPTER = re.compile(r"(?<![^.])(lora_\w+)\.default(?![^.])")
_SAVED = re.compile(r"\.modules_to_save\.default\.")
_PEFT_PREFIX = "base_model.model."


def export_version(
    store: ContentStore,
    version: VersionManifest,
    form: str,
    out: Path,
    *,
    progress: Callable[[int], None] = lambda done: None,
) -> None:
    """Write a version's tensors in one of FORMS. Holds them in memory.

    Args:
        store: The store of the version's file.
        version: The version.
        form: One of FORMS.
        out: Output file, written in place.
        progress: Called with the number of bytes read since its last call.

    Raises:
        FormError, VerificationFailed: As `read_version`.
        InputError: The form is unknown, or the version has no adapter for `peft`.
    """
    if form not in FORMS:
        raise InputError(f"expected one of {', '.join(FORMS)}, got {form!r}")
    from safetensors.torch import load

    data = bytearray()
    for piece in read_version(store, version):
        data += piece
        progress(len(piece))
    tensors = dict(load(bytes(data)))
    FORMS[form](tensors | {alias: tensors[name] for alias, name in version.aliases.items()}, out)


def _pytorch(tensors: Tensors, out: Path) -> None:
    """A state dict in which tied tensors share their storage."""
    torch.save(dict(tensors), out)


def _safetensors(tensors: Tensors, out: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: value.clone() for name, value in tensors.items()}, out, {"format": "pt"})


def _bf16(tensors: Tensors, out: Path) -> None:
    _safetensors(
        {name: value.bfloat16() if value.is_floating_point() else value for name, value in tensors.items()}, out
    )


def _peft(tensors: Tensors, out: Path) -> None:
    """The adapter under the names of PEFT's `adapter_model.safetensors`."""
    require_adapter(tensors)
    renamed: dict[str, torch.Tensor] = {}
    for name, value in tensors.items():
        bare = _SAVED.sub(".", _ADAPTER.sub(r"\1", name)).removeprefix(_PEFT_PREFIX)
        renamed[_PEFT_PREFIX + bare] = value.float() if value.is_floating_point() else value
    _safetensors(renamed, out)


def require_adapter(names: Iterable[str]) -> None:
    """Refuse a version that holds no LoRA adapter, by the names of its tensors.

    Raises:
        InputError: None of them is an adapter's.
    """
    held = list(names)
    if not any(".lora_" in name for name in held):
        raise InputError(f"peft: expected a version that holds a LoRA adapter, got tensors such as {held[0]!r}")


def adapter_config(settings: str) -> str:
    """Return PEFT's `adapter_config.json` from the adapter's settings in a plan, those of its base left open.

    Raises:
        InputError: They are no JSON object with a `peft_type`.
    """
    found = parsed_settings(settings)
    if not isinstance(found.get("peft_type"), str):
        raise InputError(f"adapter: expected settings with a peft_type in the plan, got {settings!r:.80}")
    open_ = {"base_model_name_or_path": None, "inference_mode": True, "revision": None}
    return json.dumps({**found, **open_}, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


FORMS: dict[str, Callable[[Tensors, Path], None]] = {
    "pytorch": _pytorch,
    "safetensors": _safetensors,
    "bf16": _bf16,
    "peft": _peft,
}
"""Forms by name, with what writes them."""
