"""Results of experiments on disk, one JSON file a run: an interrupted experiment continues, a finished one is read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from registry.durable import write_whole
from registry.errors import FormError
from trainer.experiments.federation import RoundScores, Run, Scenario

__all__ = ["best_of", "facts_of", "grouped", "kept_run", "keep_run", "mean_of"]


def kept_run(folder: Path, scenario: Scenario, seed: int) -> Run | None:
    """Return the run of a scenario and seed that a folder keeps; None if there is none.

    Raises:
        FormError: Its file is damaged.
    """
    file = _file_of(folder, scenario, seed)
    if not file.exists():
        return None
    try:
        told = json.loads(file.read_text())["run"]
        rounds = tuple(RoundScores(**one) for one in told["rounds"])
        return Run(
            **{
                **told,
                "label": scenario.label,
                "tuned": scenario.tuned,
                "sizes": tuple(told["sizes"]),
                "rounds": rounds,
                "own": tuple(told["own"]),
            }
        )
    except (ValueError, KeyError, TypeError) as error:
        raise FormError(f"{file}: expected a run as this release writes it; remove the file to run it again") from error


def keep_run(folder: Path, scenario: Scenario, run: Run) -> None:
    """Write a run to a folder, beside its settings."""
    file = _file_of(folder, scenario, run.seed)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, (json.dumps({"settings": scenario.given, "run": asdict(run)}, indent=1) + "\n").encode())


def _file_of(folder: Path, scenario: Scenario, seed: int) -> Path:
    return folder / "runs" / f"{scenario.key(seed)[:16]}.json"


def grouped(runs: Sequence[Run]) -> dict[tuple[str, ...], list[Run]]:
    """Return the runs of each scenario, in order."""
    found: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        found.setdefault(run.label, []).append(run)
    return found


def best_of(runs: Sequence[Run]) -> int:
    """Return the place of the run whose last version has the best main score on the validation cases.

    Of equal scores the first; a score that is no number, and a run that diverged, is worse than any.
    """
    last = [math.nan if run.diverged else next(iter(run.rounds[-1].scores.values())) for run in runs]
    return max(range(len(last)), key=lambda place: -math.inf if math.isnan(last[place]) else last[place])


def mean_of(runs: Sequence[Run], metric: str) -> float:
    """Return the mean of a test score over runs; NaN if one diverged."""
    if any(run.diverged for run in runs):
        return math.nan
    return sum(run.test[metric] for run in runs) / len(runs)


def facts_of(runs: Sequence[Run]) -> list[Mapping[str, Any]]:
    """Return what is told of each scenario: label, each test score's mean, least and largest over the seeds, and the
    bytes of an update; without scores, by round, where the run of a seed diverged.
    """
    facts: list[Mapping[str, Any]] = []
    for label, some in grouped(runs).items():
        diverged = [run.diverged for run in some]
        scores = {
            metric: {
                "mean": mean_of(some, metric),
                "least": min(run.test[metric] for run in some),
                "largest": max(run.test[metric] for run in some),
            }
            for metric in (some[0].test if not any(diverged) else ())
        }
        sent = [one.update_bytes / one.updates for run in some for one in run.rounds if one.updates]
        facts.append(
            {
                "label": list(label),
                "tuned": list(some[0].tuned),
                "seeds": [run.seed for run in some],
                "test": scores,
                "diverged": diverged,
                "update_bytes": round(sum(sent) / len(sent)) if sent else 0,
            }
        )
    return facts
