"""Benchmark of a LoRA round on a language model of a billion parameters: time, and peak memory of a process.

Run as `python -m benchmarks.billion`; 3 GB of disk and 6 GB of memory. The base is a random Llama of 1.14 billion
bfloat16 values in shards, as `save_pretrained` writes them: no package carries such weights. A fresh process loads it,
trains one step, and takes the update through a round on an in-process chain with its aggregator. The base is a folder:
only the list of its files' digests goes to the store, and the version holds the adapter.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.measure import Figure, at_most, scale, workspace, write_results

GIB = 1 << 30
MEMORY_LIMIT = 8 * GIB
TOKENS = 16
LORA: Mapping[str, Any] = {"task_type": "CAUSAL_LM", "r": 8, "target_modules": ["q_proj", "v_proj"]}


def write_base(folder: str, layers: int) -> None:
    """Write a random base."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=32_000, hidden_size=2048, intermediate_size=8192, num_hidden_layers=layers, num_attention_heads=16,
        num_key_value_heads=8, max_position_embeddings=2048, dtype="bfloat16",
    )  # fmt: skip
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    LlamaForCausalLM(config).save_pretrained(folder, max_shard_size="500MB")


def take_part(base: str, folder: str) -> dict[str, float]:
    """Run one round; return seconds by step, bytes of the update, values of the base, and the process's peak memory."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from registry.content.manifest import DataSetManifest
    from registry.rounds.versions import add_base
    from registry.store.local import LocalStore
    from trainer.huggingface import trainer_task
    from trainer.modules import propose_plan
    from trainer.simulation import simulate_round, start

    begin = time.perf_counter()
    here = Path(folder)
    torch.manual_seed(1)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16), LoraConfig(**LORA))
    loaded = time.perf_counter()
    row = torch.arange(TOKENS) * 7
    about = DataSetManifest("one row", "", "CC0-1.0", "", 1, None)
    arguments = {"max_steps": 1, "learning_rate": 1e-3, "output_dir": str(here / "out")}
    rows = [{"input_ids": row, "labels": row}]
    task = trainer_task(model, None, rows, about, base=Path(base), arguments=arguments)
    store = LocalStore(here / "store")
    linked = add_base(store, Path(base), licence="CC0-1.0", origin="random")
    plan = propose_plan(model, quorum=1, min_contributions=1, grid_bits=22, without=task.frozen)
    sim = start(model, {"one": task}, plan, store, here, aggregators=1, without=task.frozen, base=linked)
    started = time.perf_counter()
    simulate_round(sim)
    return {
        "load the base": loaded - begin,
        "name it, register the model, set the plan": started - loaded,
        "the round": time.perf_counter() - started,
        "bytes": max(file.stat().st_size for file in here.glob("one/round-*/update.safetensors")),
        "values": sum(value.numel() for name, value in model.named_parameters() if "lora_" not in name),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def alone(function: Any, *arguments: object) -> Any:
    """Run a function in a fresh process, so that its memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def main() -> None:
    with workspace("billion") as folder:
        base = folder / "base"
        alone(write_base, str(base), max(1, round(16 * scale())))
        found = alone(take_part, str(base), str(folder))
    size = f"LoRA on {found['values'] / 1e9:.2f} billion values"
    figures = [Figure(f"{size}: {name}", found[name], "s") for name in list(found)[:3]]
    figures.append(Figure(f"{size}: an update", found["bytes"] / 1e6, "MB"))
    both = f"memory, {size}, a participant and its aggregator"
    figures.append(at_most(both, found["memory"] / 1e6, "MB", MEMORY_LIMIT / 1e6))
    write_results("billion", figures)


if __name__ == "__main__":
    main()
