"""`cairn simulate`: run rounds with many participants on one machine, or an experiment over settings and seeds."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from registry.cli.command import command, single
from registry.cli.output import short
from registry.cli.session import Session
from registry.errors import InputError

if TYPE_CHECKING:
    from registry.content.manifest import PlanManifest
    from trainer.cli.experiment_files import Experiment
    from trainer.deltas import GridUse
    from trainer.experiments.federation import Run, Scenario
    from trainer.experiments.partitions import I64, Parts
    from trainer.participant import Task

app = single()


@command(
    app,
    "simulate",
    example="cairn simulate --participants 10 --rounds 3\ncairn simulate --task hospital.py:task --plan plan.toml\n"
    "cairn simulate examples/attacks.toml --out attacks --workers 2",
)
def simulate(
    session: Session,
    experiment: Annotated[
        Path | None,
        typer.Argument(
            metavar="[EXPERIMENT.toml]",
            help="Partition, plan, attack, seeds, and what varies: docs/experiments.md.",
            show_default=False,
        ),
    ] = None,
    *,
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
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="An experiment's runs and plots; started again, it goes on here."),
    ] = None,
    workers: Annotated[
        int,
        typer.Option("--workers", min=1, max=256, metavar="N", help="Processes that train an experiment's updates."),
    ] = 1,
    ray: Annotated[bool, typer.Option("--ray", help="Let Ray run these processes; needs the extra ray.")] = False,
) -> None:
    """Run rounds with many participants on an in-process chain, whose clock is moved instead of waited for."""
    from trainer.cli.tasks import load_task, need_torch

    need_torch("simulating")
    if experiment is not None:
        if task is not None or plan is not None or keep is not None:
            raise InputError(
                "simulate: expected EXPERIMENT.toml alone: it has problem and plan, and its runs go to --out"
            )
        _run_experiment(session, experiment, out or Path(experiment.stem), workers, ray)
        return
    if out is not None or workers != 1 or ray:
        raise InputError("simulate: --out, --workers and --ray: expected EXPERIMENT.toml with them, got none")
    tasks = [load_task(task) if task is not None else _line(index, participants) for index in range(participants)]
    manifest = _plan(plan, aggregators)
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        _run(session, tasks, manifest, aggregators, rounds, keep)
        return
    with tempfile.TemporaryDirectory(prefix="cairn-simulate-") as folder:
        _run(session, tasks, manifest, aggregators, rounds, Path(folder))


def _run_experiment(session: Session, file: Path, out: Path, workers: int, ray: bool) -> None:
    """Run what an experiment's folder does not have yet; write plots and a summary."""
    from trainer.cli.experiment_files import read_experiment
    from trainer.experiments.kept_runs import facts_of
    from trainer.experiments.plots import plot_curves, plot_heat_map, plot_own_models, plot_partition

    experiment = read_experiment(file)
    labels, parts = _partitions(experiment, file)[0]
    out.mkdir(parents=True, exist_ok=True)
    plot_partition(labels, parts, out / "partition.png")
    runs = _runs(session, experiment, out, workers, ray)
    metric = next((name for run in runs for name in run.test), "")
    if metric:
        plot_curves(runs, metric, out / "curves.png")
    if metric and len(experiment.varied) in (2, 3):
        plot_heat_map(runs, metric, out / "heat-map.png")
    if any(run.own for run in runs):
        plot_own_models(runs, out / "own-models.png")
    facts = facts_of(runs)
    session.out.result(
        {"experiment": str(file), "out": str(out), "metric": metric, "settings": facts},
        lambda: _show(session, facts, metric, out),
    )


def _partitions(experiment: Experiment, file: Path) -> list[tuple[I64, Parts]]:
    """Return the labels and the first seed's parts of every problem and partition: all are drawn before hours go by.

    Raises:
        InputError: The settings of one are invalid.
    """
    from trainer.cli.experiment_files import problem_of
    from trainer.experiments.federation import parts_of

    scenarios = [one for choice in experiment.choices for one in (*choice.scenarios, *choice.rehearsals)]
    distinct = {repr((one.problem, one.partition, one.participants)): one for one in scenarios}
    try:
        problems = [(problem_of(one.problem), one) for one in distinct.values()]
        return [(problem.labels, parts_of(problem, one, experiment.seeds[0])) for problem, one in problems]
    except InputError as error:
        raise type(error)(f"{file}: {error}") from error


def _runs(session: Session, experiment: Experiment, out: Path, workers: int, ray: bool) -> list[Run]:
    """Return the runs of each scenario, tuned where there is a choice, with each seed."""
    from registry.cli.tools import tool_folders
    from registry.dev.anvil_node import find_anvil
    from trainer.cli.experiment_files import problem_of
    from trainer.experiments.federation import run
    from trainer.experiments.kept_runs import best_of, keep_run, kept_run

    anvil = find_anvil(*tool_folders())
    tuning = sum(one.scenarios[0].rounds * len(one.rehearsals) for one in experiment.choices if len(one.rehearsals) > 1)
    rounds = sum(one.scenarios[0].rounds for one in experiment.choices) * len(experiment.seeds)
    with session.out.progress("simulating", tuning + rounds, unit="rounds") as advance:

        def made(scenario: Scenario, seed: int) -> Run:
            found = kept_run(out, scenario, seed)
            if found is not None:
                advance(scenario.rounds)
                return found
            with tempfile.TemporaryDirectory(prefix="cairn-simulate-") as folder:
                found = run(
                    scenario,
                    problem_of(scenario.problem),
                    seed,
                    Path(folder),
                    workers=workers,
                    ray=ray,
                    anvil=anvil,
                    say=lambda _: advance(1),
                )
            keep_run(out, scenario, found)
            return found

        runs = []
        for choice in experiment.choices:
            best = 0
            if len(choice.rehearsals) > 1:
                best = best_of([made(one, experiment.seeds[0]) for one in choice.rehearsals])
            runs += [made(choice.scenarios[best], seed) for seed in experiment.seeds]
    return runs


def _show(session: Session, facts: Sequence[Mapping[str, Any]], metric: str, out: Path) -> None:
    """Print an experiment's test scores, a row a scenario; of own models the worst participant's beside the mean."""
    from trainer.experiments.plots import words_of

    worst = [name for name in ("worst_own_accuracy",) if any(name in one["test"] for one in facts)]
    scores = [(metric, "mean"), (metric, "least"), (metric, "largest"), *((name, "mean") for name in worst)]
    rows = [
        (
            ", ".join(one["label"]) or "as given",
            *(f"{one['test'][name][of]:.3f}" if one["test"] else "diverged" for name, of in scores),
            f"{one['update_bytes']:,}",
        )
        for one in facts
    ]
    named = f"test {words_of(metric)}".rstrip()
    columns = ("scenario", named, "least", "largest", *("worst participant" for _ in worst), "bytes an update")
    session.out.table(columns, rows, right=columns[1:])
    session.out.line(f"seeds: {len(facts[0]['seeds'])}; plots and runs in {out}")


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
