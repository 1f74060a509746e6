"""Models, tasks and rounds for the tests of the trainer; rounds that need no chain are made by hand."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from registry.chain.contract_hashes import roots_hash, round_id_of, running_hash_begin
from registry.content.manifest import DataSetManifest, PlanManifest, VersionManifest, digest_of
from registry.rounds.onchain import RoundRecord
from registry.rounds.plans import add_plan
from registry.rounds.versions import add_base, roots_of
from registry.store.base import ContentStore
from registry.store.memory import MemoryStore
from registry.types import Address, ModelId
from trainer.modules import propose_plan, publish_module
from trainer.participant import Task, prepare_update
from trainer.simulation import Simulation, start
from trainer.updates import PreparedUpdate

EXAMPLES = Path(__file__).parents[2] / "examples"
PARTICIPANT = Address(b"\x0a" * 20)


def example_module(name: str) -> Any:
    """The script of an example, examples/NAME/NAME.py, as a module."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / name / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """One thread's results are the same in every run."""
    torch.set_num_threads(1)


def task_of(
    module: nn.Module, change: Callable[[nn.Module], Mapping[str, float]], *, examples: int = 10, name: str = "data"
) -> Task:
    """A task whose training is `change`."""
    return Task(module, lambda trained, epoch: change(trained), examples, DataSetManifest(name, "", "", "", 10, None))


@dataclass(frozen=True, slots=True)
class HandMade:
    """A round that no chain knows: its genesis and plan are in a store."""

    store: MemoryStore
    folder: Path
    genesis: VersionManifest
    plan: PlanManifest
    record: RoundRecord

    def prepare(self, task: Task, folder: str = "participant") -> PreparedUpdate:
        """The update that a task gives in this round."""
        return prepare_update(self.store, self.folder / folder, self.record, task, PARTICIPANT)


@pytest.fixture
def hand_made(tmp_path: Path) -> Callable[..., HandMade]:
    """Makes rounds of a module under a plan, by default the proposed one."""

    def make(
        module: nn.Module,
        plan: PlanManifest | None = None,
        without: Sequence[str] = (),
        base: Path | None = None,
        fixed: Sequence[str] = (),
    ) -> HandMade:
        store = MemoryStore()
        stands_on = None if base is None else add_base(store, base, licence="MIT", origin="a test")
        file = tmp_path / "genesis.safetensors"
        genesis = publish_module(store, module, file, without=without, fixed=fixed, base=stands_on)
        rules = plan or propose_plan(module, quorum=1, min_contributions=1, without=without)
        anchored, _ = add_plan(store, rules)
        model = ModelId(b"\x0b" * 32)
        round_id = round_id_of(model, 1)
        record = RoundRecord(
            chain_id=31337,
            contract=Address(b"\x0c" * 20),
            model_id=model,
            number=1,
            round_id=round_id,
            opened_in=bytes(32),
            parent=digest_of(genesis),
            parent_roots=roots_hash(roots_of(genesis)),
            plan=anchored,
            commitments=(),
            running_hash=running_hash_begin(round_id, digest_of(genesis), anchored),
        )
        return HandMade(store, tmp_path, genesis, rules, record)

    return make


@pytest.fixture
def make_task() -> Callable[..., Task]:
    """Makes tasks; see `task_of`."""
    return task_of


def line(seed: int, *, examples: int = 40) -> Task:
    """A task that fits a line by plain gradient descent: the same parent gives the same update, to the bit."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(examples, 4, generator=generator)
    targets = inputs.sum(1, keepdim=True) + seed

    def train(module: nn.Module, epoch: int) -> Mapping[str, float]:
        for _ in range(3):
            module.zero_grad()
            loss = (module(inputs) - targets).pow(2).mean()
            loss.backward()
            with torch.no_grad():
                for value in module.parameters():  # by hand: importing torch.optim takes longer than a round
                    value.sub_(value.grad, alpha=0.05)
        return {"loss": loss.item()}

    return Task(nn.Linear(4, 1), train, examples, DataSetManifest(f"line {seed}", "", "", "", examples, None))


def start_lines(
    folder: Path,
    within: Path | None = None,
    *,
    participants: int = 3,
    aggregators: int = 2,
    store: ContentStore | None = None,
    **plan: Any,
) -> Simulation:
    """Everybody on a chain in this process, a model registered, its plan set; names are a, b, c and so on."""
    torch.manual_seed(0)
    module = nn.Linear(4, 1)
    folder, store = within or folder, store or MemoryStore()
    tasks = {chr(ord("a") + i): line(i, examples=40 + i) for i in range(participants)}
    proposed = propose_plan(module, quorum=aggregators, min_contributions=2, grid_bits=20)
    return start(
        module, tasks, replace(proposed, **plan), store or MemoryStore(), within or folder, aggregators=aggregators
    )


@pytest.fixture
def lines(tmp_path: Path) -> Callable[..., Simulation]:
    """Starts simulations; see `start_lines`."""
    return partial(start_lines, tmp_path)
