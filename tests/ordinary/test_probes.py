"""`cairn plan new --probe TASK`: grid and scales per tensor from the weights and one local epoch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from trainer.deltas import GridUse, lossy
from trainer.modules import propose_plan
from trainer.probing import probe_grid
from trainer.simulation import simulate_round, start

SOURCE = """
import torch
from torch import nn
from registry.content.manifest import DataSetManifest
from trainer.participant import Task

def task():
    torch.manual_seed(3)
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    data = 100 * torch.randn(64, 4) + 50

    def epoch(model, number):
        slow = {"params": model[0].parameters(), "lr": 1e-7}
        steps = torch.optim.SGD([slow, {"params": model[2].parameters()}], 0.05)
        for batch in data.split(16):
            steps.zero_grad()
            (model(batch) - batch.mean(1, keepdim=True) / 100).square().mean().backward()
            steps.step()
        return {}

    return Task(module, epoch, 64, DataSetManifest("noise", "", "", "", 64, None))

def broken():
    def epoch(model, number):
        raise ZeroDivisionError
    return Task(nn.Linear(2, 1), epoch, 64, DataSetManifest("noise", "", "", "", 64, None))
"""


@pytest.fixture
def made(tmp_path: Path) -> Any:
    (tmp_path / "noise.py").write_text(SOURCE)
    space: dict[str, Any] = {}
    exec(compile(SOURCE, "noise.py", "exec"), space)
    return space["task"]


def test_a_probe_fits_every_tensor_s_scale_to_its_changes(done: Any, made: Any) -> None:
    probed = done("plan", "new", "--probe", "noise.py:task", "-o", "plan.toml")["plan"]
    scales = probed["scales"]
    assert scales["0.weight"] < -8, "a layer that hardly moves"
    assert scales["1.running_var"] > 8 > scales["2.weight"], "statistics of data with a deviation of 100"
    assert probed["buffers"] == {"1.running_mean": 1, "1.running_var": 2}
    longer = done("plan", "new", "--probe", "noise.py:task", "--epochs", 4)["plan"]["scales"]
    assert longer.keys() == scales.keys() and {longer[name] - scales[name] for name in scales} == {2}
    assert "1.weight" not in scales, "what training leaves alone has the scale of its weights, 0"


def test_a_probe_leaves_the_module_as_it_was(made: Any) -> None:
    task = made()
    before = {name: value.clone() for name, value in task.module.state_dict().items()}
    assert probe_grid(task)[1]
    assert all(torch.equal(before[name], value) for name, value in task.module.state_dict().items())


def test_under_a_probed_plan_a_round_loses_nothing_that_it_does_without(made: Any, tmp_path: Path) -> None:
    from registry.store.memory import MemoryStore

    def uses_of(scales: dict[str, int], folder: str) -> dict[str, GridUse]:
        uses: list[GridUse] = []
        task = made()
        plan = replace(propose_plan(task.module, quorum=1, min_contributions=1, grid_bits=18), scales=scales)
        plan = replace(plan, header=bytes(32), segments=bytes(32))
        plan = fitted(plan, module_header(task.module))
        started = start(task.module, {"ann": task}, plan, MemoryStore(), tmp_path / folder, aggregators=1)
        simulate_round(replace(started, on_grid=uses.extend))
        return {use.name: use for use in uses}

    from registry.rounds.plans import fitted
    from trainer.modules import module_header, propose_grid

    by_weights = uses_of(propose_grid(made().module, 18)[1], "weights")
    probed = uses_of(probe_grid(made(), 18)[1], "probed")
    assert lossy(by_weights["0.weight"])
    assert [use for use in probed.values() if lossy(use)] == []
    assert all(use.scale - use.fitting == 3 for use in probed.values() if use.changed)


def test_a_probe_from_the_head_of_a_model(world: Any) -> None:
    made = world.done("plan", "new", "--model", world.model, "--probe", "hospital.py:task", "-o", "probed.toml")["plan"]
    assert made["scales"] == {"bias": 2, "weight": 2}, "one epoch adds a quarter, 2^-2, of which eightfold is 2"
    assert world.done("plan", "set", world.model, "probed.toml", "--account", "a")


def test_a_probe_s_errors_are_the_task_s(cairn: Any, made: Any) -> None:
    failed = cairn("plan", "new", "--probe", "noise.py:broken")
    assert failed.exit_code == 2
    assert "task: train_epoch raised ZeroDivisionError at noise.py:" in failed.stderr
    both = cairn("plan", "new", "--probe", "noise.py:task", "--module", "noise.py:task")
    assert both.exit_code == 2 and "expected --probe without --module" in both.stderr
