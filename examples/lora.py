"""Federated LoRA with PEFT and the Hugging Face Trainer: versions have the adapter, the base model stays frozen.

Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang, Chen: LoRA: Low-Rank Adaptation of Large Language Models (ICLR 2022). The
language model here is tiny and random; replace it by a pretrained one. Requires `pip install -e '.[llm]'`.

    (cd examples && python -c 'import lora; lora.make_base()' && mv base.safetensors ..)
    cairn model register --module examples/lora.py:module --without '*' --without '!*lora_*' \
        --base base.safetensors --base-licence Apache-2.0 --base-origin 'examples/lora.py'
    cairn participant run MODEL --task examples/lora.py:task
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_model, save_model
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from registry.content.manifest import DataSetManifest
from trainer.huggingface import trainer_task
from trainer.participant import Task
from trainer.updates import this_package

BASE = Path("base.safetensors")
FROZEN = ("*", "!*lora_*")
_TOKENS, _LENGTH = 32, 8


def language_model() -> nn.Module:
    """Return the language model, randomly initialized."""
    config = GPT2Config(
        vocab_size=_TOKENS, n_positions=_LENGTH, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
    )
    return GPT2LMHeadModel(config)


def make_base(file: Path = BASE) -> None:
    """Write the frozen base weights; the owner does so once."""
    torch.manual_seed(0)
    save_model(language_model(), str(file))


def module(base: Path = BASE) -> nn.Module:
    """Return the language model with the base's weights and a new adapter."""
    model = language_model()
    load_model(model, str(base))
    torch.manual_seed(1)
    adapter = LoraConfig(r=2, lora_alpha=4, target_modules=["c_attn"], task_type="CAUSAL_LM", fan_in_fan_out=True)
    return get_peft_model(model, adapter)  # type: ignore[arg-type]


def task(base: Path = BASE, *, step: int = 1, scratch: Path = Path("trainer-out")) -> Task:
    """Return a participant's task: counting sequences with the participant's own step."""
    rows = [(torch.arange(_LENGTH) * step + start) % _TOKENS for start in range(24)]
    data = [{"input_ids": row, "labels": row} for row in rows]

    def evaluate(model: nn.Module) -> Mapping[str, int | float]:
        tokens = torch.stack(rows)
        logits = model(input_ids=tokens).logits[:, :-1]  # [rows, length - 1, tokens]
        wanted = tokens[:, 1:]
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="sum")
        return {"examples": wanted.numel(), "correct": int((logits.argmax(-1) == wanted).sum()), "loss": loss.item()}

    about = DataSetManifest(f"counting by {step}", "", "CC0-1.0", "", len(rows), None)
    arguments = {"output_dir": str(scratch), "per_device_train_batch_size": 8, "learning_rate": 0.01}
    code = this_package()  # of your own: Code("REPOSITORY", "COMMIT")
    return trainer_task(module(base), None, data, about, base=base, arguments=arguments, evaluate=evaluate, code=code)
