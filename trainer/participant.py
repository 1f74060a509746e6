"""A participant: load the parent, train, round to the grid, commit, and publish once commits have closed.

Every step leaves its outcome on disk before the next begins, so a participant that is stopped anywhere goes on where
it was: an update that was computed is never computed again, and one that was committed never committed again.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from registry.chain.records import round_id_of
from registry.content.manifest import Code, DataSetManifest, Evaluation, PlanManifest, VersionManifest, digest_of
from registry.content.tensors import parse_header
from registry.errors import InputError
from registry.rounds.admission import UpdateForm, update_form
from registry.rounds.evaluations import evaluation_of
from registry.rounds.onchain import RoundRecord, commits_closed, final_phase, read_round
from registry.rounds.plans import load_plan, plan_rules
from registry.rounds.versions import load_parent, read_header, require_base
from registry.rules.grid import to_grid
from registry.store.base import ContentStore
from registry.types import MAX_STEPS, Address, ModelId, Phase
from trainer.algorithms import ALGORITHMS
from trainer.algorithms.fedavg import TrainEpoch
from trainer.brought import brought
from trainer.modules import floating, load_version, matching, module_digest, module_state
from trainer.private import load_private, save_private
from trainer.steps import counting_steps
from trainer.transforms import TRANSFORMS
from trainer.updates import (
    Prepared,
    commit_update,
    is_published,
    place_of,
    prepared_update,
    publish_update,
    seal_update,
)

if TYPE_CHECKING:
    from registry.chain.client import Client

__all__ = ["Evaluate", "Task", "advance", "prepare_update"]


Evaluate = Callable[[nn.Module], Mapping[str, int | float]]
"""Returns `examples` and, by name, counts (int) and sums over the examples (float): see `evaluation_of`."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a participant brings: ordinary PyTorch, and what it says of its data and code.

    Attributes:
        module: Of the model's shape; its values are overwritten.
        train_epoch: One pass over the local data; trains the module in place and returns metrics.
        examples: How many examples that is: the update's weight.
        data_set: Stays here; only its salted digest is published.
        code: What trained it; None for this package at its version.
        hook_data: What each of the plan's hooks asks for, in their order, such as a proof.
        steps_per_epoch: Training steps of one pass. None counts them while it trains: how often an optimizer of torch
            moved the module, the one that did most where several step side by side. Where none did, it is one step an
            example, and no pass takes more. At most 2^20 are declared, however many they were.
        evaluate: Measures the module on the local data. It is asked once a round, of the parent, before training, and
            what it says is published in the update's manifest and added up in the round's report.
        private: Patterns, see `trainer.modules.matching`, for the names of tensors that stay here. They are trained,
            kept with the round and come back in the next; before the first they are as the module has them. All that is
            neither private nor frozen is shared: the version must hold exactly that.
        frozen: Patterns for the names of tensors that the version's base stands for: neither trained nor published.
        base: The file that the frozen ones were loaded from, as its digest in the version shows.
        private_anew: Where the private tensors of the last round are lost, begin with the module's own.
    """

    module: nn.Module
    train_epoch: TrainEpoch
    examples: int
    data_set: DataSetManifest
    code: Code | None = None
    hook_data: tuple[bytes, ...] = ()
    steps_per_epoch: int | None = None
    evaluate: Evaluate | None = None
    private: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    base: Path | None = None
    private_anew: bool = False

    @property
    def unshared(self) -> tuple[str, ...]:
        """The names of the tensors that versions do not hold."""
        private, frozen = (matching(self.module, patterns) for patterns in (self.private, self.frozen))
        if both := sorted(set(private) & set(frozen)):
            raise InputError(f"{both[0]}: expected to be private or frozen, not both")
        if frozen and self.base is None:
            raise InputError(f"frozen: expected the base that {frozen[0]} comes from, got none")
        return (*private, *frozen)


def prepare_update(
    store: ContentStore, folder: Path, record: RoundRecord, task: Task, participant: Address
) -> Prepared:
    """Train and write the round's update, or return the one that an earlier call wrote.

    Args:
        store: Holds the plan and the parent.
        folder: Of this participant; a folder for the round is made in it.
        record: The round.
        task: What to train.
        participant: Whose update it is.

    Raises:
        InputError: The module does not fit the parent, the task does not fit the plan, the plan names what this
            release does not have, or a value runs over the grid.
    """
    place = place_of(folder, record.round_id)
    held = prepared_update(place)
    rests_on = (record.parent, record.plan.digest)
    if held is not None and (held.manifest.parent.digest, held.manifest.plan.digest) == rests_on:
        return held  # else it is of a chain that was set up anew
    place.mkdir(parents=True, exist_ok=True)
    plan, parent = load_plan(store, record.plan), load_parent(store, record)
    _require_feasible(plan, task)
    form = update_form(read_header(store, parent.weights.blob), plan)
    require_base(parent, task.base)
    load_version(task.module, store, parent, without=task.unshared)
    load_private(folder, record, participant, task.module, task.private, anew=task.private_anew)
    evaluation = _evaluate(task)
    with _frozen(task):
        delta, metrics, steps = _train(parent, plan, task)
    saturated = 0
    with (place / "update.safetensors").open("wb") as out:
        out.write(form.header)
        for values, clipped in _on_grid(delta, form, plan):
            out.write(values.tobytes())
            saturated += clipped
        out.flush()
        os.fsync(out.fileno())
    save_private(place, task.module, task.private)
    return seal_update(
        place,
        record,
        participant,
        weight=task.examples,
        steps=steps,
        data_set=task.data_set,
        saturated=saturated,
        metrics=_finite(metrics),
        evaluation=evaluation,
        code=task.code,
    )


def advance(client: Client, store: ContentStore, folder: Path, model_id: ModelId, task: Task) -> str:
    """Do what the model's current round wants of this participant next, if anything; return what was done.

    Safe to call at any time and any number of times: a loop around it is a participant.
    """
    number = client.model(model_id).rounds
    phase = client.phase(model_id, number) if number else Phase.NONE
    if phase == Phase.COMMIT and final_phase(client, model_id, number) == Phase.COMMIT:
        if client.member(model_id, client.account).last_round == number:
            return ""
        record = read_round(client, model_id, number)
        made = prepare_update(store, folder, record, task, client.account)
        commit_update(client, record, made, hook_data=task.hook_data)
        return f"round {number}: committed"
    if phase not in (Phase.PUBLISH, Phase.AGGREGATE):
        return ""
    place = place_of(folder, round_id_of(model_id, number))
    prepared = None if is_published(place) else prepared_update(place)
    if prepared is None or not commits_closed(client, model_id, number):
        return ""
    if not any(c.digest == digest_of(prepared.manifest) for c in read_round(client, model_id, number).commitments):
        return ""  # prepared, but too late to be committed: it stays here
    publish_update(store, prepared)
    return f"round {number}: published"


def _require_feasible(plan: PlanManifest, task: Task) -> None:
    """Say what would be refused later, before time is spent on training."""
    plan_rules(plan)
    if plan.algorithm.name not in ALGORITHMS:
        raise InputError(f"plan: expected an algorithm of {sorted(ALGORITHMS)}, got {plan.algorithm.name!r}")
    for step in plan.transforms:
        if step.name not in TRANSFORMS:
            raise InputError(f"plan: expected transforms of {sorted(TRANSFORMS)}, got {step.name!r}")
    if not 1 <= task.examples <= plan.weight_cap:
        raise InputError(f"examples: expected 1..{plan.weight_cap}, the plan's weight cap, got {task.examples}")
    if task.steps_per_epoch is not None and task.steps_per_epoch < 1:
        raise InputError(f"steps_per_epoch: expected 1 or more, got {task.steps_per_epoch}")
    _ = task.unshared


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics as manifests hold them."""
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise InputError(f"metrics: expected finite numbers, got {name} {value}")
    return {name: float(value) for name, value in metrics.items()}


def _evaluate(task: Task) -> Evaluation | None:
    """Measure the module as it is, in evaluation mode and without gradients.

    Raises:
        InputError: The measuring changed the module, or gave what is no evaluation.
    """
    if task.evaluate is None:
        return None
    before = module_digest(task.module)
    task.module.eval()
    with torch.no_grad(), brought("the task's evaluate"):
        measured = task.evaluate(task.module)
    if module_digest(task.module) != before:
        raise InputError("evaluate: expected the module to be left as it is, but it was changed")
    return evaluation_of(measured)


@contextmanager
def _frozen(task: Task) -> Iterator[None]:
    """Compute no gradients of frozen tensors until the context is left, and see to it that none changed.

    Raises:
        InputError: One did.
    """
    names = set(matching(task.module, task.frozen))
    before = module_digest(task.module, names)
    held = [p for name, p in task.module.named_parameters(remove_duplicate=False) if name in names and p.requires_grad]
    for parameter in held:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in held:
            parameter.requires_grad_(True)
    if module_digest(task.module, names) != before:
        raise InputError("frozen: expected these tensors to be left as they are, but training changed them")


def _train(
    parent: VersionManifest, plan: PlanManifest, task: Task
) -> tuple[dict[str, torch.Tensor], Mapping[str, float], int]:
    """Return the deltas of the module's floating tensors, as float64 under the version's names, metrics, and steps."""
    tensors, _ = module_state(task.module, task.unshared)
    stored = {name: parent.aliases.get(name, name) for name in floating(tensors)}
    before = {name: tensors[name].cpu().to(torch.float64, copy=True) for name in stored}
    steps = 0

    def train_epoch(module: nn.Module, epoch: int) -> Mapping[str, float]:
        nonlocal steps
        with counting_steps(module) as counted, brought("the task's train_epoch"):
            told = task.train_epoch(module, epoch)
        steps += task.steps_per_epoch or max(counted.values(), default=task.examples)
        return told

    private = matching(task.module, task.private)
    metrics = ALGORITHMS[plan.algorithm.name](task.module, train_epoch, plan.algorithm.parameters, private=private)
    after, _ = module_state(task.module, task.unshared)
    delta = {stored[name]: after[name].cpu().to(torch.float64) - old for name, old in before.items()}
    for step in plan.transforms:
        delta = TRANSFORMS[step.name].outgoing(delta, step.parameters)
    return delta, metrics, min(steps, MAX_STEPS)


def _on_grid(
    delta: Mapping[str, torch.Tensor], form: UpdateForm, plan: PlanManifest
) -> Iterator[tuple[npt.NDArray[np.float32], int]]:
    """Yield each tensor's grid values in file order, and how many were clipped."""
    for spec in parse_header(form.header, form.size).specs:
        try:
            yield to_grid(
                delta[spec.name].numpy(),
                plan.grid_bits,
                scale=plan.scales.get(spec.name, 0),
                saturate=plan.saturate,
            )
        except InputError as error:
            raise InputError(f"{spec.name}: {error}") from None
