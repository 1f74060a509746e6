"""The demo's poisoner: one hospital sends the opposite of what it trained, under the mean and under a robust rule.

Both models go on from the federated one, with the same hospitals and cases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from torch import nn

from registry.content.manifest import PlanManifest
from registry.rounds.versions import load_version_manifest
from registry.rules.table import COMBINE_RULES, lookup
from trainer.demo.hospitals import HOSPITALS, Cases
from trainer.demo.model import ChapterModel, HeldOutScores, evaluate
from trainer.local_training import TrainEpoch
from trainer.modules import load_version
from trainer.simulation import Simulation, simulate_round, start

__all__ = ["BAD_ROUNDS", "RULES", "opposite", "poisoned"]

BAD_ROUNDS = 3
SCALE = 4
RULES: Mapping[str, tuple[str, Mapping[str, int]]] = {
    "mean": ("mean", {}),
    "geometric median": ("geometric_median", {"steps": 8, "mixed": 0, "bucket": 0}),
}
"""Combine rules by the plot's names, with parameters."""


def poisoned(
    console: Console, sim: Simulation, plan: PlanManifest, held_out: Cases, folder: Path
) -> dict[str, list[HeldOutScores]]:
    """Go on from the head with a hospital turned bad; return each version's scores by the rule's name.

    Args:
        console: Where to print.
        sim: The simulation after its rounds.
        plan: Its plan, of which the combine rule is replaced.
        held_out: The cases to score on.
        folder: Scratch space.
    """
    liar = list(HOSPITALS)[-1]
    console.print(f"\n[red]poisoned[/] the {liar} turns bad and sends -{SCALE} times its update; macro-F1 by round")
    tasks = {name: task for name, (_, task) in sim.participants.items()}
    tasks[liar] = replace(tasks[liar], train_epoch=opposite(tasks[liar].train_epoch, SCALE), evaluate=None)
    found = {}
    for name, (rule, parameters) in RULES.items():
        robust = name != "mean"
        changed = replace(
            plan,
            combine_rule=lookup(COMBINE_RULES, rule, "combine rule").number,
            combine_parameters=parameters,
            weights="uniform" if robust else "examples",
            saturate=True,
            min_contributions=len(tasks),
        )
        model = ChapterModel()
        load_version(model, sim.store, load_version_manifest(sim.store, sim.owner.model(sim.model_id).head))
        bad = start(model, tasks, changed, sim.store, folder / rule, aggregators=len(sim.aggregators))
        scores = []
        for _ in range(BAD_ROUNDS):
            simulate_round(bad)
            load_version(model, bad.store, load_version_manifest(bad.store, bad.owner.model(bad.model_id).head))
            scores.append(evaluate(model, held_out))
        found[name] = scores
        console.print(f"  {name:<18}" + " ".join(f"{one.macro_f1:>8.3f}" for one in scores))
    return found


def opposite(train_epoch: TrainEpoch, scale: float) -> TrainEpoch:
    """Return a training that goes `scale` times as far as train_epoch would, in the opposite direction."""

    def train(module: nn.Module, epoch: int) -> Mapping[str, float]:
        before = [one.detach().clone() for one in module.parameters()]
        metrics = train_epoch(module, epoch)
        with torch.no_grad():
            for value, old in zip(module.parameters(), before, strict=True):
                value.copy_(old - scale * (value - old))
        return metrics

    return train
