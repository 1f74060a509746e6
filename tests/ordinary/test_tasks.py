"""Mistakes in a task are the task's: said in one line with the user's file and line, exit code 2, never as a bug."""

from __future__ import annotations

import json
from typing import Any

import pytest

TASKS = """
import numpy as np, torch
from torch import nn
from registry.content.manifest import DataSetManifest
from trainer.participant import Task

DATA = DataSetManifest("ward 7", "", "", "", 10, None)

def made(returned=None, do=None, **fields):
    def train_epoch(model, number):
        if do is not None:
            do(model)
        return returned
    return Task(**{"module": nn.Linear(2, 1), "train_epoch": train_epoch, "examples": 10, "data_set": DATA} | fields)

def divides(): return made(do=lambda model: 1 / 0)
def forgets(): return made()
def says(): return made("loss 0.5")
def lists(): return made([0.5])
def quotes(): return made({"loss": "0.5"})
def lists_losses(): return made({"loss": [0.5, 0.25]})
def holds_none(): return made({"loss": None})
def numbers(): return made({3: 0.5})
def diverges(): return made({"loss": float("inf")})
def whole_arrays(): return made({"loss": np.zeros(1)})
def half(): return made({}, examples=10.5)
def text(): return made({}, examples="10")
def none(): return made({}, examples=None)
def one_pattern(): return made({}, private="head.*")
def no_data(): return made({}, data_set=None)
def no_module(): return made({}, module="net")
def no_function(): return made({}, train_epoch=3)
def unwritten(): return made({}, data_set=DataSetManifest("ward 7", None, "", "", 10, None))
def missing():
    open("patients.csv")
def missing_later(): return made({}, do=lambda model: torch.load("patients.pt"))
def batch_of_one(): return made({}, do=lambda model: nn.BatchNorm1d(3)(torch.zeros(1, 3)))
def leaves(): raise SystemExit("no data here")
def other_arguments(): return made({}, train_epoch=lambda: {})
def removes(): return made({}, do=lambda model: setattr(model, "weight", None))
def resizes(): return made({}, do=lambda model: setattr(model, "bias", nn.Parameter(torch.zeros(2))))
def evaluates_nothing(): return made({}, evaluate=lambda model: None)

def numpy_s():
    metrics = {"loss": np.float32(0.5), "right": np.int64(3), "rate": torch.tensor(-0.0), "last": True}
    measured = {"examples": np.int64(10), "right": np.int32(7), "loss": np.float32(2.5), "margin": torch.tensor(1.5)}
    data = DataSetManifest("ward 7", "", "", "", np.int64(10), None)
    return made(metrics, examples=np.int64(10), steps_per_epoch=np.int32(3), data_set=data,
                evaluate=lambda model: measured)

def late():
    told = open("epochs.txt", "w")
    def train_epoch(model, number):
        told.write(f"{number} "); told.flush()
    return made(train_epoch=train_epoch)
"""
RETURNED = "expected numbers by name, such as {'loss': 0.5}, or {}"
SAID = {
    "divides": "task: train_epoch raised ZeroDivisionError at tasks.py:16: division by zero",
    "forgets": f"task: train_epoch returned 'None', {RETURNED}",
    "says": f"task: train_epoch returned 'loss 0.5', {RETURNED}",
    "lists": f"task: train_epoch returned '[0.5]', {RETURNED}",
    "quotes": "metrics: expected finite numbers, got loss '0.5'",
    "lists_losses": "metrics: expected finite numbers, got loss [0.5, 0.25]",
    "holds_none": "metrics: expected finite numbers, got loss None",
    "numbers": "task: train_epoch: expected texts as names, got 3",
    "diverges": "metrics: expected finite numbers, got loss inf",
    "whole_arrays": "metrics: expected finite numbers, got loss array([0.])",
    "half": "examples: expected a whole number, got 10.5",
    "text": "examples: expected a whole number, got '10'",
    "none": "examples: expected a whole number, got None",
    "one_pattern": "private: expected a tuple of patterns such as ('head.*',), got 'head.*'",
    "no_data": "data_set: expected DataSetManifest, got NoneType",
    "no_module": "module: expected Module, got str",
    "no_function": "train_epoch, evaluate: expected functions, got something else",
    "missing": "task: tasks.py:missing raised FileNotFoundError at tasks.py:35: [Errno 2] No such file or directory: "
    "'patients.csv'",
    "missing_later": "task: train_epoch raised FileNotFoundError at tasks.py:36: ",
    "batch_of_one": "task: train_epoch raised ValueError at tasks.py:37: Expected more than 1 value per channel when "
    "training, got input size torch.Size([1, 3]); a batch of one: drop_last=True in the DataLoader",
    "leaves": "task: tasks.py:leaves raised SystemExit at tasks.py:38: no data here",
    "other_arguments": "task: train_epoch raised TypeError: other_arguments.<locals>.<lambda>() takes 0 positional",
    "removes": "task: train_epoch changed weight: expected shape (1, 2), got none",
    "resizes": "task: train_epoch changed bias: expected shape (1,), got (2,)",
    "evaluates_nothing": "task: evaluate returned 'None', expected numbers by name, such as {'examples': 40, ",
}


def submit(world: Any, task: str, *more: str) -> Any:
    (world.folder / "tasks.py").write_text(TASKS)
    own = ("--account", "b", "--folder", f"of-{task}", *more)
    return world.run("participant", "submit", world.model, "--task", f"tasks.py:{task}", *own)


@pytest.mark.parametrize("task", SAID)
def test_an_error_in_a_task_is_the_task_s(task: str, open_world: Any) -> None:
    result = submit(open_world, task)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.output
    assert result.stderr.startswith(f"error: {SAID[task]}"), result.stderr
    assert "bug" not in result.stderr


def test_a_data_set_that_no_manifest_holds_is_refused_before_training(open_world: Any) -> None:
    result = submit(open_world, "unwritten")
    assert (result.exit_code, result.stderr) == (3, "error: description: expected str, got NoneType\n")


def test_metrics_that_are_none_are_said_after_the_first_epoch_of_many(world: Any) -> None:
    world.done("plan", "new", "--quorum", 2, "--grid", 20, "--epochs", 5, "-o", "long.toml")
    world.done("plan", "set", world.model, "long.toml", "--account", "a")
    world.done("round", "open", world.model, "--account", "a")
    assert submit(world, "late").exit_code == 2
    assert (world.folder / "epochs.txt").read_text() == "0 "


def test_numbers_of_numpy_and_torch_are_numbers(world: Any) -> None:
    world.done("round", "open", world.model, "--account", "a")
    result = submit(world, "numpy_s", "--json")
    assert result.exit_code == 0, result.output
    update = json.loads(result.stdout)
    assert update["metrics"] == {"loss": 0.5, "right": 3.0, "rate": 0.0, "last": 1.0}
    assert (update["weight"], update["steps"]) == (10, 3)
    assert world.done("round", "show", world.model)["commitments"][0]["weight"] == 10


def test_debug_is_in_help_and_shows_the_task_s_traceback(open_world: Any) -> None:
    assert "--debug" in open_world.run("participant", "submit", "--help").stdout
    result = submit(open_world, "divides", "--debug")
    assert result.exit_code == 2
    assert "ZeroDivisionError: division by zero" in result.stderr and "tasks.py" in result.stderr
