"""A model with two finalized rounds on an embedded chain, made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from registry.content.manifest import DataSetManifest, PlanManifest, Procedure
from registry.dev.chains import DevChain
from registry.dev.embedded import Embedded
from registry.rounds.plans import server_rule
from registry.store.memory import MemoryStore
from trainer.participant import Task
from trainer.simulation import Simulation, simulate_round, start

if TYPE_CHECKING:
    from explorer_world import World

PLAN = PlanManifest(
    algorithm=Procedure("fedavg", {"epochs": 1}),
    combine_rule=1,
    combine_parameters={},
    weights="examples",
    server=server_rule("fedavg", {"rate": 1.0}, 22),
    update_form=1,
    form_parameters={},
    grid_bits=22,
    saturate=False,
    scales={},
    buffers={},
    values=1,
    header=bytes(32),
    segments=bytes(32),
    transforms=(),
    quorum=2,
    weight_cap=10_000,
    min_contributions=1,
    commit_duration=600,
    publish_duration=600,
    aggregate_duration=600,
    challenge_duration=1200,
    answer_duration=30,
    bond_gwei=0,
    hooks=(),
)


@pytest.fixture(scope="session")
def example() -> PlanManifest:
    """A plan of one round of everybody's, fitted to no parent."""
    return PLAN


@pytest.fixture(scope="session")
def world(example: PlanManifest, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The explorer's world, which its tests leave as it is."""
    from explorer_world import make_world

    return make_world(example, tmp_path_factory.mktemp("explorer"))


def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(4, 1)


def task(seed: int) -> Task:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(50, 4, generator=generator)
    targets = inputs.sum(1, keepdim=True)

    def train_epoch(model: nn.Module, epoch: int) -> dict[str, float]:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(5):
            optimizer.zero_grad()
            loss = ((model(inputs) - targets) ** 2).mean()
            loss.backward()
            optimizer.step()
        return {"loss": loss.item()}

    return Task(module(), train_epoch, 50 + seed, DataSetManifest(f"set {seed}", "", "", "", 50, None))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    """Two participants, two aggregators, two rounds."""
    tasks = {f"participant {i}": task(i) for i in range(2)}
    simulation = start(module(), tasks, PLAN, MemoryStore(), tmp_path_factory.mktemp("simulation"))
    for _ in range(2):
        simulate_round(simulation)
    return simulation


@pytest.fixture(scope="session")
def simulated() -> Callable[[DevChain, Path], Simulation]:
    """Makes the same simulation on another chain with a movable clock."""

    def make(chain: DevChain, folder: Path) -> Simulation:
        tasks = {f"participant {i}": task(i) for i in range(2)}
        simulation = start(module(), tasks, PLAN, MemoryStore(), folder, chain=Embedded(chain.w3, chain.signers))
        for _ in range(2):
            simulate_round(simulation)
        return simulation

    return make
