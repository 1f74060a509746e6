"""`trainer.demo.tuned_runs`: rates are chosen by validation scores alone, and runs that are kept are not done again."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from trainer.demo.tuned_runs import Trial, spread, tuned_runs

ROOT = Path(__file__).parents[2]
SCORES = {0.1: 0.4, 0.2: math.nan, 0.3: 0.7, 0.4: 0.7}


def figures_of(trial: Trial, folder: Path) -> dict[str, Any]:
    assert folder.is_dir()
    return {"validation": SCORES[trial.rate], "test": 1 - trial.rate if trial.tests else None}


def valued(found: dict[str, Any]) -> float:
    return float(found["validation"])


@pytest.mark.parametrize("workers", [1, 2])
def test_each_method_is_tested_by_all_seeds_at_its_best_rate(
    tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT)  # where the processes find this file's functions
    rates = {"a": (0.1, 0.2, 0.3, 0.4), "b, slower": (0.2, 0.1), "c": (0.2,)}
    found = tuned_runs(tmp_path, rates, (5, 6), figures_of, valued, workers=workers)
    told = {method: [(one["rate"], one["seed"], one["tests"]) for one in runs] for method, runs in found.items()}
    assert told == {
        "a": [(0.3, 5, True), (0.3, 6, True)],  # the first of equals
        "b, slower": [(0.1, 5, True), (0.1, 6, True)],  # NaN is the worst
        "c": [(0.2, 5, True), (0.2, 6, True)],  # nothing to search
    }
    kept = {file.stem: json.loads(file.read_text()) for file in tmp_path.glob("*.json")}
    assert {name for name, one in kept.items() if one["test"] is None} == {
        *(f"search-a-{rate}-5" for rate in rates["a"]),
        "search-b-slower-0.2-5",
        "search-b-slower-0.1-5",
    }
    assert len(kept) == 12


def test_kept_runs_are_not_done_again(tmp_path: Path) -> None:
    done: list[str] = []

    def do(trial: Trial, folder: Path) -> dict[str, Any]:
        done.append(trial.name)
        return figures_of(trial, folder)

    first = tuned_runs(tmp_path, {"a": (0.1, 0.3)}, (0, 1), do, valued)
    assert done == ["search a 0.1 0", "search a 0.3 0", "test a 0.3 0", "test a 0.3 1"]
    (tmp_path / "test-a-0.3-1.json").unlink()
    assert tuned_runs(tmp_path, {"a": (0.1, 0.3)}, (0, 1), do, valued) == first
    assert done[4:] == ["test a 0.3 1"]


def test_spread() -> None:
    assert spread([0.5, 0.25, 0.75]) == {"mean": 0.5, "least": 0.25, "most": 0.75}
