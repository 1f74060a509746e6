"""Adapters of PEFT: which tensors are shared, what their settings are, and lora_A from a public seed for FFA-LoRA.

Hu et al.: LoRA: Low-Rank Adaptation of Large Language Models (ICLR 2022): a layer is W + (alpha / r) B A. The mean of
participants' A and B is not the mean of their products. FFA-LoRA (Sun, Li, Li, Ding: Improving LoRA in
Privacy-preserving Federated Learning, ICLR 2024) trains B alone: the mean of B gives exactly the mean of the products.

A version of FFA-LoRA holds A as float16, which no round changes and no update carries, and B as float32.
"""

from __future__ import annotations

import hashlib
import math
from enum import Enum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from registry.errors import InputError
from trainer.common_terms import canonical_json
from trainer.tensor_names import without_wrappers

if TYPE_CHECKING:
    from peft import PeftModel

__all__ = ["LORA_A", "adapter_settings", "frozen_besides_adapter", "set_public_lora_a"]

LORA_A = "*.lora_A.*"
"""Pattern of the tensors that FFA-LoRA fixes: `fixed=(LORA_A,)` where a model is registered."""
_TRAINED = ("*.lora_*", "*.modules_to_save.default.*")
_OF_A_SITE = ("base_model_name_or_path", "revision", "inference_mode", "peft_version", "auto_mapping")
"""Settings that say where an adapter was made, not what it computes."""


def frozen_besides_adapter(model: nn.Module) -> tuple[str, ...]:
    """Return the patterns of `Task.frozen`: all tensors but those that PEFT trains.

    Raises:
        InputError: No parameter is trained.
    """
    trained = [name for name, value in model.named_parameters() if value.requires_grad]
    if not trained:
        raise InputError("expected a model of which PEFT trains something, such as get_peft_model returns, got none")
    patterns = [each for each in _TRAINED if any(fnmatchcase(name, each) for name in trained)]
    others = [name for name in trained if not any(fnmatchcase(name, each) for each in patterns)]
    return ("*", *(f"!{each}" for each in (*patterns, *others)))


def adapter_settings(model: PeftModel) -> str:
    """Return the settings of a model's adapter for a plan: canonical JSON of what differs from PEFT's defaults.

    Raises:
        InputError: The model has no adapter `default`.
    """
    config = getattr(model, "peft_config", {}).get("default")
    if config is None:
        raise InputError("expected a model with an adapter named default, as get_peft_model returns it, got none")
    usual = type(config)().to_dict()
    kept = {key: value for key, value in config.to_dict().items() if key not in _OF_A_SITE and value != usual.get(key)}
    return canonical_json(_plain({**kept, "peft_type": config.peft_type}))


def _plain(value: Any) -> Any:
    """Return a setting with sets as sorted lists, and enumerations as their values."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(_plain(each) for each in value)
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def set_public_lora_a(model: nn.Module, seed: int) -> None:
    """Fill each lora_A [r, in] of an adapter from a public seed: on every machine the same bits, chosen by nobody.

    Values are odd multiples of 2^-(10 + k) within 2^-k, uniform, k = round(log2(in) / 2): PEFT's own bound, to a power
    of two. float16 holds them exactly. Their bits are SHAKE-256 of `cairn/lora-a/1`, the seed and the tensor's name.

    Args:
        model: A model with LoRA layers, changed in place.
        seed: 0..2^64 - 1.

    Raises:
        InputError: The model has no lora_A, or the seed is out of range.
    """
    if not 0 <= seed < 1 << 64:
        raise InputError(f"seed: expected 0..2^64 - 1, got {seed}")
    found = {name: value for name, value in model.named_parameters() if fnmatchcase(name, LORA_A)}
    if not found:
        raise InputError("expected a model with LoRA layers, as get_peft_model returns it, got one without lora_A")
    for name, value in found.items():
        told = b"cairn/lora-a/1" + seed.to_bytes(8, "big") + without_wrappers(name).encode()
        bits = np.frombuffer(hashlib.shake_256(told).digest(2 * value.numel()), dtype="<u2")
        odd = 2 * (bits & 1023).astype(np.float64) - 1023
        drawn = np.ldexp(odd, -10 - round(math.log2(value.shape[1]) / 2)).astype(np.float32)
        with torch.no_grad():
            value.copy_(torch.from_numpy(drawn.reshape(value.shape)))
