"""The participant role (FL client): load the parent, train, quantize to the grid, commit, publish after commits close.

Every step is idempotent: it writes its outcome to disk before the next begins. A restarted participant resumes where it
stopped, and computes and commits an update at most once.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from registry.chain.contract_hashes import round_id_of
from registry.content.manifest import Code, DataSetManifest, Evaluation, PlanManifest, digest_of, encode
from registry.durable import write_whole
from registry.errors import InputError
from registry.rounds.admission import update_form
from registry.rounds.client_sampling import is_asked, require_asked
from registry.rounds.evaluations import evaluation_of
from registry.rounds.onchain import RoundRecord, commits_closed, final_phase, read_round
from registry.rounds.plans import load_plan, plan_rules
from registry.rounds.versions import load_parent, read_header, require_base
from registry.rules.algorithms import CLIENT_ALGORITHMS, asks_of, require_fitting, require_parameters
from registry.store.base import ContentStore
from registry.types import MAX_STEPS, Address, ModelId, Phase, Role
from trainer.algorithms import ALGORITHMS
from trainer.callbacks import user_callback
from trainer.common_terms import checked_terms, require_terms_of
from trainer.deltas import GridUse, transformed, write_update
from trainer.kept_drift import drift_tensors, load_drift, save_drift
from trainer.local_training import LocalRound, TrainEpoch, holding
from trainer.modules import floating, load_version, matching, module_digest, module_state
from trainer.private import load_private, save_private
from trainer.steps import EnoughSteps, counting_steps
from trainer.task_values import measures, metrics_of, patterns_of, whole
from trainer.tensor_names import require_once
from trainer.transforms import TRANSFORMS
from trainer.transforms.error_feedback import load_residual, require_packed, save_residual
from trainer.updates import (
    Origin,
    PreparedUpdate,
    commit_update,
    discard_update,
    finalize_update,
    held_update,
    is_of,
    is_published,
    kept_update,
    place_of,
    prepared_update,
    publish_update,
)

if TYPE_CHECKING:
    from registry.chain.client import Client

__all__ = ["Elsewhere", "Evaluate", "OnGrid", "Task", "advance", "local_changes", "prepare_update"]


Evaluate = Callable[[nn.Module], Mapping[str, int | float]]
"""Returns `examples`, and counts (int) and sums over the examples (float) by name: see `evaluation_of`."""

OnGrid = Callable[[Sequence[GridUse]], None]
"""Is told what the grid made of each tensor of a fresh update."""


@dataclass(frozen=True, slots=True)
class Task:
    """A participant's training task: ordinary PyTorch, with a description of its data and code.

    Attributes:
        module: An nn.Module of the model's architecture; its values are overwritten.
        train_epoch: Trains the module in place for one epoch of the local data; returns metrics.
        examples: Number of local examples: the update's weight.
        data_set: Description of the data; stays local, only its salted digest is published.
        code: The training code, such as a repository and its commit; None publishes that it is not stated.
        hook_data: Data for each of the plan's hooks, in order, such as a proof.
        most_steps: The most training steps that this participant can take in a round: partial work, for algorithms that
            count it. None takes the plan's.
        steps_per_epoch: Training steps of one epoch. None counts the steps of torch optimizers on the module; of
            several optimizers the most active one counts. Without any, each example is one step, which is also the most
            per epoch. The declared number is capped at 2^20.
        evaluate: Evaluates the module on local held-out data. Called once per round, on the parent, before training;
            its outcome, such as `registry.confusion_counts`, is published in the update's manifest and summed in the
            round's report.
        private: Patterns, see `trainer.modules.matching`, for the names of tensors that stay local. They are trained,
            stored with the round and restored in the next; the first round starts from the module's values. All tensors
            that are neither private nor frozen are shared: the version must contain exactly those.
        frozen: Patterns for the names of the base's tensors: neither trained nor published.
        base: The file of the frozen tensors, or their folder as `save_pretrained` writes it; the version must name its
            digest.
        common: What participants must have in common, by names of `registry.rules.algorithms.COMMON`: what the plan
            names of it must be equal.
        reset_private: Start again from the module's private tensors if those of the last round are lost.
    """

    module: nn.Module
    train_epoch: TrainEpoch
    examples: int
    data_set: DataSetManifest
    code: Code | None = None
    hook_data: tuple[bytes, ...] = ()
    steps_per_epoch: int | None = None
    most_steps: int | None = None
    evaluate: Evaluate | None = None
    private: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    base: Path | None = None
    common: Mapping[str, str] = field(default_factory=dict)
    reset_private: bool = False

    def __post_init__(self) -> None:
        """Check what can be checked before training, and take numpy's numbers as Python's."""
        for name, kind in (("module", nn.Module), ("data_set", DataSetManifest), ("code", Code | None)):
            if not isinstance(given := getattr(self, name), kind):
                raise InputError(f"{name}: expected {getattr(kind, '__name__', kind)}, got {type(given).__name__}")
        if not callable(self.train_epoch) or not (self.evaluate is None or callable(self.evaluate)):
            raise InputError("train_epoch, evaluate: expected functions, got something else")
        plain: dict[str, object] = {"examples": whole("examples", self.examples)}
        for name in ("steps_per_epoch", "most_steps"):
            if (given := getattr(self, name)) is not None:
                plain[name] = whole(name, given)
        if self.base is not None:
            plain["base"] = Path(self.base)
        plain |= {name: patterns_of(name, getattr(self, name)) for name in ("private", "frozen")}
        plain["common"] = checked_terms(self.common)
        plain["data_set"] = replace(self.data_set, records=whole("data_set: records", self.data_set.records))
        for name, value in plain.items():
            object.__setattr__(self, name, value)
        encode(self.data_set)

    @property
    def unshared(self) -> tuple[str, ...]:
        """The names of the tensors that versions do not contain."""
        private, frozen = (matching(self.module, patterns) for patterns in (self.private, self.frozen))
        if both := sorted(set(private) & set(frozen)):
            raise InputError(f"{both[0]}: expected to be private or frozen, not both")
        if frozen and self.base is None:
            raise InputError(f"frozen: expected the base that {frozen[0]} comes from, got none")
        return (*private, *frozen)


def prepare_update(
    store: ContentStore,
    folder: Path,
    record: RoundRecord,
    task: Task,
    participant: Address,
    *,
    on_grid: OnGrid | None = None,
    said: str = "",
    committed: int = 0,
    scratch: Path | None = None,
    tell: Callable[[str], None] | None = None,
) -> PreparedUpdate:
    """Train and write the round's update, or return the one that an earlier call wrote (idempotent).

    An update that another task made is replaced, unless a commitment of it was sent or signed.

    Args:
        store: The store of the plan and the parent.
        folder: The participant's folder; the round gets a subfolder.
        record: The round.
        task: The training task.
        participant: The participant's address.
        on_grid: Called after training with what the grid made of each tensor.
        said: What the user named the task by, then lines of what else identifies it: another text is another task.
        committed: The last round that the participant committed to, as the chain says; 0 for none.
        scratch: Write a fresh update to this folder instead, for a dry run.
        tell: Called with a notice that the update of another task is used.

    Raises:
        InputError: The module does not fit the parent, the task does not fit the plan, this release lacks something
            that the plan names, or a value overflows the grid.
    """
    round_dir = place_of(folder, record.round_id)
    origin = _origin(task, said)
    held = held_update(round_dir, record, participant, origin)
    if held is not None:
        if tell is not None and not is_of(round_dir, origin):
            tell(f"using {kept_update(round_dir)}; --task ignored")
        return held
    place = place_of(scratch or folder, record.round_id)
    return _computed(
        store, folder, place, record, task, participant, on_grid=on_grid, committed=committed, origin=origin
    )


def _computed(
    store: ContentStore,
    folder: Path,
    place: Path,
    record: RoundRecord,
    task: Task,
    participant: Address,
    *,
    on_grid: OnGrid | None,
    committed: int,
    origin: Origin,
) -> PreparedUpdate:
    """Train, and write the round's update to a place; other arguments as of `prepare_update`."""
    plan, parent = load_plan(store, record.plan), load_parent(store, record)
    _require_feasible(plan, task)
    require_fitting(plan)
    require_asked(record, asks_of(plan.algorithm).share, participant)
    form = update_form(read_header(store, parent.weights.blob), plan)
    require_base(parent, task.base, store)
    stored = load_version(task.module, store, parent, without=task.unshared)
    require_once(stored)
    anew = task.reset_private
    load_private(folder, record, participant, task.module, task.private, anew=anew, committed=committed)
    drift = load_drift(store, folder, record, plan, parent, form, participant)
    own, shared = drift_tensors(drift, plan, form, stored)
    evaluation = _evaluate(task)
    fixed = {name for name, place in stored.items() if place in parent.frozen}
    with _frozen(task, fixed):
        delta, metrics, steps = _train(stored, plan, task, LocalRound(record.number, own=own, shared=shared))
    discard_update(place)
    residual = load_residual(folder, record, participant, plan)
    uses = write_update(place / "update.safetensors", delta, form.dense, plan, residual)
    save_residual(place, residual, plan)
    if on_grid is not None:
        on_grid(uses)
    save_private(place, task.module, task.private)
    save_drift(place, drift, plan, form)
    return finalize_update(
        place,
        record,
        participant,
        weight=task.examples,
        steps=steps,
        data_set=task.data_set,
        saturated=sum(use.saturated for use in uses),
        metrics=metrics,
        evaluation=evaluation,
        code=task.code,
        origin=origin,
    )


def _origin(task: Task, said: str) -> Origin:
    """Return what tells a task from another, without the values of its module, which training changes."""
    form = [(name, str(value.dtype), tuple(value.shape)) for name, value in task.module.state_dict().items()]
    told = (
        said,
        task.evaluate is not None,
        task.examples,
        task.steps_per_epoch,
        task.most_steps,
        task.code,
        task.data_set,
        task.private,
        task.frozen,
        *([sorted(task.common.items())] if task.common else []),
        form,
    )
    return Origin(said.partition("\n")[0], hashlib.sha256(repr(told).encode()).hexdigest(), bool(task.private))


def advance(
    client: Client,
    store: ContentStore,
    folder: Path,
    model_id: ModelId,
    task: Task,
    *,
    on_grid: OnGrid | None = None,
    said: str = "",
    say: Callable[[str], None] = lambda said: None,
    tell: Callable[[str], None] | None = None,
) -> str:
    """Take the participant's next step in the model's current round, if any; return what was done.

    Idempotent: a loop around it is a participant. Arguments as of `prepare_update`; `say` is called with a line when
    training begins and when it ended.
    """
    number = client.model(model_id).rounds
    phase = client.phase(model_id, number) if number else Phase.NONE
    if phase == Phase.COMMIT and final_phase(client, model_id, number) == Phase.COMMIT:
        member = client.member(model_id, client.account)
        if member.last_round == number or not member.roles & Role.PARTICIPANT:
            return ""
        record = read_round(client, model_id, number)
        if not is_asked(record, asks_of(load_plan(store, record.plan).algorithm).share, client.account):
            return _said_once(place_of(folder, record.round_id), f"round {number}: not asked to take part")
        anew = prepared_update(place_of(folder, record.round_id)) is None
        if anew:
            say(f"round {number}: training")
        made = prepare_update(
            store,
            folder,
            record,
            task,
            client.account,
            on_grid=on_grid,
            said=said,
            committed=member.last_round,
            tell=tell,
        )
        if anew:
            gc.collect()  # what libraries keep of failed checks holds the update's tensors, by frames in cycles
            say(f"round {number}: trained: {_trained(made)}")
        commit_update(client, record, made, hook_data=task.hook_data)
        return f"round {number}: committed"
    if phase not in (Phase.PUBLISH, Phase.AGGREGATE):
        return ""
    round_dir = place_of(folder, round_id_of(model_id, number))
    prepared = None if is_published(round_dir) else prepared_update(round_dir)
    if prepared is None or not commits_closed(client, model_id, number):
        return ""
    if not any(c.digest == digest_of(prepared.manifest) for c in read_round(client, model_id, number).commitments):
        return ""  # prepared too late to be committed: it stays local
    publish_update(store, prepared)
    return f"round {number}: published"


def _said_once(place: Path, text: str) -> str:
    """Return a text the first time for a round's folder, then nothing."""
    said = place / "not-asked"
    if said.exists():
        return ""
    place.mkdir(parents=True, exist_ok=True)
    write_whole(said, b"")
    return text


def _trained(made: PreparedUpdate) -> str:
    """Return an update's metrics, weight and steps as a line."""
    metrics = [f"{name} {value:.4g}" for name, value in made.manifest.metrics.items()]
    size = f"{made.manifest.delta.size} bytes"
    return ", ".join((*metrics, f"weight {made.manifest.weight}", f"{made.manifest.steps} steps", size))


class Elsewhere:
    """Tells once of each round to which the account committed an update that its folder does not have."""

    def __init__(self, client: Client, folder: Path, model_id: ModelId) -> None:
        self._client, self._folder, self._model_id, self._looked = client, folder, model_id, 0

    def new(self) -> str:
        """Say so of the current round, and what to do; empty if there is nothing new."""
        client, number = self._client, self._client.model(self._model_id).rounds
        if number == self._looked or client.member(self._model_id, client.account).last_round != number:
            return ""
        if client.phase(self._model_id, number) not in (Phase.COMMIT, Phase.PUBLISH, Phase.AGGREGATE):
            return ""
        mine = [c for c in read_round(client, self._model_id, number).commitments if c.participant == client.account]
        if not mine:
            return ""  # not final yet
        self._looked = number
        place = place_of(self._folder, round_id_of(self._model_id, number))
        held = prepared_update(place)
        if held is not None and digest_of(held.manifest) == mine[0].digest:
            return ""
        return (
            f"round {number}: this account committed 0x{mine[0].digest.hex()}, which is not in {place}: it can only be "
            "published with the --folder that has it; unpublished it counts for nothing in the round"
        )


def local_changes(task: Task, plan: PlanManifest, fixed: Collection[str] = ()) -> dict[str, torch.Tensor]:
    """Train a task from its module's present values, and put these back.

    Args:
        task: The training task.
        plan: Its algorithm trains, its transforms are applied.
        fixed: Names of its tensors that no round changes.

    Returns:
        The changes of the shared floating tensors by the module's names, float64.

    Raises:
        InputError: The task does not fit the plan, or its training fails.
    """
    _require_feasible(plan, task)
    before = {name: value.detach().clone() for name, value in task.module.state_dict().items()}
    tensors, _ = module_state(task.module, task.unshared)
    try:
        with _frozen(task, fixed):
            return _train({name: name for name in tensors}, plan, task, LocalRound())[0]
    finally:
        task.module.load_state_dict(before)


def _require_feasible(plan: PlanManifest, task: Task) -> None:
    """Refuse what later steps would refuse, before spending time on training."""
    plan_rules(plan)
    require_parameters(plan.algorithm.name, plan.algorithm.parameters)
    require_terms_of(plan, task.common)
    for name in ("steps_per_epoch", "most_steps"):
        if (given := getattr(task, name)) is not None and given < 1:
            raise InputError(f"{name}: expected 1 or more, got {given}")
    if task.most_steps is not None and not CLIENT_ALGORITHMS[plan.algorithm.name].partial:
        partial = ", ".join(name for name, known in CLIENT_ALGORITHMS.items() if known.partial)
        raise InputError(f"most_steps: expected an algorithm with partial work ({partial}), got {plan.algorithm.name}")
    require_packed(plan)
    for step in plan.transforms:
        if step.name not in TRANSFORMS:
            raise InputError(f"plan: expected transforms of {sorted(TRANSFORMS)}, got {step.name!r}")
    if not 1 <= task.examples <= plan.weight_cap:
        raise InputError(f"examples: expected 1..{plan.weight_cap}, the plan's weight cap, got {task.examples}")
    _ = task.unshared


def _evaluate(task: Task) -> Evaluation | None:
    """Evaluate the module in evaluation mode, without gradients.

    Raises:
        InputError: The callback changed the module, or returned no valid evaluation.
    """
    if task.evaluate is None:
        return None
    before = module_digest(task.module)
    task.module.eval()
    with torch.no_grad(), user_callback("task: evaluate"):
        measured = task.evaluate(task.module)
    if module_digest(task.module) != before:
        raise InputError("evaluate: expected an unchanged module, got a changed one")
    return evaluation_of(measures(measured))


def _frozen(task: Task, fixed: Collection[str] = ()) -> AbstractContextManager[None]:
    """Disable gradients of frozen tensors within the context, and verify that none changed.

    Args:
        task: The task.
        fixed: Names of its tensors that the version holds in another dtype than F32: no round changes them.

    Raises:
        InputError: A frozen tensor changed.
    """
    return holding(task.module, {*matching(task.module, task.frozen), *fixed}, "frozen")


def _train(
    stored: Mapping[str, str], plan: PlanManifest, task: Task, round: LocalRound
) -> tuple[dict[str, torch.Tensor], Mapping[str, float], int]:
    """Train; return the deltas of floating tensors (float64, by the version's names), metrics and steps."""
    tensors, _ = module_state(task.module, task.unshared)
    before = {name: tensors[name].cpu().to(torch.float64, copy=True) for name in floating(tensors)}
    steps = 0

    def train_epoch(module: nn.Module, epoch: int) -> Mapping[str, float]:
        nonlocal steps
        with counting_steps(module) as counted, user_callback("task: train_epoch"):
            try:
                epoch_metrics = metrics_of(task.train_epoch(module, epoch))
            except EnoughSteps:
                steps += max(counted.values(), default=0)
                raise
        steps += task.steps_per_epoch or max(counted.values(), default=task.examples)
        return epoch_metrics

    round = replace(round, private=matching(task.module, task.private), most_steps=task.most_steps)
    trained = ALGORITHMS[plan.algorithm.name](task.module, train_epoch, plan.algorithm.parameters, round)
    steps = max(min(trained.steps or steps, MAX_STEPS), 1)
    after, _ = module_state(task.module, task.unshared)
    for name, old in before.items():
        if name not in after or after[name].shape != old.shape:
            found = tuple(after[name].shape) if name in after else "none"
            raise InputError(f"task: train_epoch changed {name}: expected shape {tuple(old.shape)}, got {found}")
    divisor = steps if trained.normalized else 1
    delta = {stored[name]: (after[name].cpu().to(torch.float64) - old) / divisor for name, old in before.items()}
    return transformed(delta, plan), trained.metrics, steps
