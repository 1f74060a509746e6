"""`cairn simulate`: run rounds with many participants in one process."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.command import command, single
from registry.cli.output import short
from registry.cli.session import Session

if TYPE_CHECKING:
    from registry.content.manifest import PlanManifest
    from trainer.deltas import GridUse
    from trainer.participant import Task

app = single()


@command(
    app,
    "simulate",
    example="cairn simulate --participants 10 --rounds 3\ncairn simulate --task hospital.py:task --plan plan.toml",
)
def simulate(
    session: Session,
    participants: Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="How many.")] = 4,
    aggregators: Annotated[int, typer.Option(min=1, max=100, metavar="N", help="How many.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, metavar="N", help="How many.")] = 2,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            metavar="PLACE:FUNCTION",
            help="Function called once per participant; default a small built-in task.",
        ),
    ] = None,
    plan: Annotated[
        Path | None, typer.Option("--plan", metavar="TOML", help="Plan file; default the default plan.")
    ] = None,
    keep: Annotated[Path | None, typer.Option("--keep", metavar="DIR", help="Keep store and files here.")] = None,
) -> None:
    """Run rounds with many participants on an in-process chain, whose clock is moved instead of waited for."""
    from trainer.cli.tasks import load_task, need_torch

    need_torch("simulating")
    tasks = [load_task(task) if task is not None else _line(index, participants) for index in range(participants)]
    manifest = _plan(plan, aggregators)
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        _run(session, tasks, manifest, aggregators, rounds, keep)
        return
    with tempfile.TemporaryDirectory(prefix="cairn-simulate-") as folder:
        _run(session, tasks, manifest, aggregators, rounds, Path(folder))


def _run(session: Session, tasks: list[Task], plan: PlanManifest, aggregators: int, rounds: int, folder: Path) -> None:
    from registry.store.local import LocalStore
    from trainer.simulation import simulate_round, start

    began = time.monotonic()
    store = LocalStore(folder / "store")
    named = {f"participant-{index}": task for index, task in enumerate(tasks, 1)}
    with session.out.waiting("starting the chain"):
        started = start(tasks[0].module, named, plan, store, folder, aggregators=aggregators)
    worst: dict[str, GridUse] = {}
    simulation = replace(started, on_grid=lambda uses: _note_worst(worst, uses))
    entries = []
    for _ in range(rounds):
        at = time.monotonic()
        worst.clear()
        with session.out.waiting("running a round"):
            number = simulate_round(simulation)
        head = simulation.owner.model(simulation.model_id).head
        seconds = round(time.monotonic() - at, 2)
        lost = [worst[name] for name in sorted(worst)]
        entries.append({"round": number, "version": head, "seconds": seconds, "lossy": lost})
        session.out.line(f"round {number}: version {short(head)} after {seconds} s")
        for use in lost:
            session.out.warn(f"round {number}: {use}")
    took = round(time.monotonic() - began, 1)
    facts = {"model": simulation.model_id, "participants": len(tasks), "rounds": entries, "seconds": took}
    session.out.result(facts, lambda: session.out.line(f"{len(tasks)} participants, {rounds} rounds, {took} s."))


def _note_worst(worst: dict[str, GridUse], uses: Sequence[GridUse]) -> None:
    """Keep, of every participant's tensors that the grid loses much of, the one of each name that lost most."""
    from trainer.deltas import lossy

    for use in filter(lossy, uses):
        kept = worst.get(use.name)
        if kept is None or use.saturated + use.vanished > kept.saturated + kept.vanished:
            worst[use.name] = use


def _plan(file: Path | None, aggregators: int) -> PlanManifest:
    from registry.cli.plan_files import manifest_of, read_plan

    if file is not None:
        return read_plan(file)
    return manifest_of({"grid_bits": 22, "quorum": aggregators, "min_contributions": 1})


def _line(index: int, count: int) -> Task:
    """Return a small linear-regression task; each participant sees its own part of the line."""
    import torch
    from torch import nn

    from registry.content.manifest import DataSetManifest
    from trainer.participant import Task
    from trainer.updates import this_package

    generator = torch.Generator().manual_seed(index)
    inputs = torch.rand(64, 4, generator=generator) + index / count  # (64, 4)
    targets = inputs @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]]) + 0.1  # (64, 1)
    torch.manual_seed(0)
    module = nn.Linear(4, 1)

    def train_epoch(model: nn.Module, epoch: int) -> dict[str, float]:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        loss = torch.zeros(())
        for _ in range(10):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(inputs), targets)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return {"loss": loss.item()}

    data = DataSetManifest(
        name=f"line {index}", description="points near a line", licence="", source="", records=64, sha256=None
    )
    return Task(module=module, train_epoch=train_epoch, examples=64, data_set=data, code=this_package())
