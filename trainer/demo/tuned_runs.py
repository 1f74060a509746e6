"""Methods compared: each at the best of its rates by validation scores, then tested by several seeds."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from trainer.demo.kept_figures import kept_figures

__all__ = ["Trial", "spread", "tuned_runs"]

Figures = dict[str, Any]
Do = Callable[["Trial", Path], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of a method at a rate by a seed. Only one that `tests` may look at test data."""

    method: str
    rate: float
    seed: int
    tests: bool

    @property
    def name(self) -> str:
        return f"{'test' if self.tests else 'search'} {self.method.replace(',', '')} {self.rate:g} {self.seed}"


def tuned_runs(
    out: Path,
    rates: Mapping[str, Sequence[float]],
    seeds: Sequence[int],
    do: Do,
    score: Callable[[Figures], float],
    *,
    workers: int = 1,
) -> dict[str, list[Figures]]:
    """Search each method's rate by the first seed, then test it at the best one by all seeds.

    Runs whose file is in the folder are not done again.

    Args:
        out: Folder of the runs' files.
        rates: Rates to try by method; a single one is taken without a search.
        seeds: Seeds of the tests.
        do: Does a trial; takes a temporary folder too, and returns its figures. Pickled if there are several workers.
        score: Validation score of a trial's figures, higher is better; NaN counts as the worst.
        workers: Trials at a time, each in a process of its own if more than one.

    Returns:
        Figures of the tests by method, a seed each, with the fields of the trial.
    """

    def valued(found: Figures) -> float:
        value = score(found)
        return -math.inf if math.isnan(value) else value

    searches = [
        Trial(method, rate, seeds[0], False) for method, tried in rates.items() if len(tried) > 1 for rate in tried
    ]
    best: dict[str, tuple[float, float]] = {}
    for trial, found in zip(searches, _all_of(out, searches, do, workers), strict=True):
        if trial.method not in best or valued(found) > best[trial.method][0]:
            best[trial.method] = (valued(found), trial.rate)
    chosen = {method: best[method][1] if method in best else tried[0] for method, tried in rates.items()}
    tests = [Trial(method, rate, seed, True) for method, rate in chosen.items() for seed in seeds]
    told: dict[str, list[Figures]] = {method: [] for method in rates}
    for trial, found in zip(tests, _all_of(out, tests, do, workers), strict=True):
        told[trial.method].append(found)
    return told


def _all_of(out: Path, trials: Sequence[Trial], do: Do, workers: int) -> Iterable[Figures]:
    one = partial(_figures, out=out, do=do)
    if workers == 1:
        return list(map(one, trials))
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(one, trials))


def _figures(trial: Trial, out: Path, do: Do) -> Figures:
    return kept_figures(out, trial.name, lambda folder: {**asdict(trial), **do(trial, folder)})


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return mean, least and most of values."""
    return {"mean": sum(values) / len(values), "least": min(values), "most": max(values)}
