"""Run a simulated federation: rounds on a chain of its own, with some participants attacking; scores by round.

Everything is real but time and distance: each update is trained, put on the grid, hashed, committed on chain by its
participant's signature, published and combined by aggregators that verify it, as `cairn` does over a network. So the
versions are, to the bit, those of a federation of processes with the same tasks and plan.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import math
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from registry.chain.contract_structs import SignedUpdate
from registry.content.manifest import DataSetManifest, PlanManifest
from registry.content.merkle import tensor_root
from registry.content.tensors import TensorHeader
from registry.dev.chains import anvil_chain
from registry.dev.embedded import Embedded, embedded
from registry.errors import CairnError, InputError
from registry.ethereum.keys import LocalSigner
from registry.rounds.admission import UpdateForm, update_form
from registry.rounds.onchain import RoundRecord, read_round
from registry.rounds.plans import load_plan
from registry.rounds.versions import load_parent, load_version_manifest, read_header
from registry.rules.algorithms import CLIENT_ALGORITHMS, require_parameters
from registry.store.local import LocalStore
from registry.store.retention import collect
from registry.types import Address
from trainer.deltas import write_update
from trainer.experiments.asynchrony import Asynchrony, Sender, buffered_versions
from trainer.experiments.attacks import Attack, Poisoning, Seen, UpdateAttack
from trainer.experiments.on_ray import ray_on_this_machine
from trainer.experiments.own_models import (
    Judge,
    Judged,
    OwnModels,
    judge_of,
    mixes_of,
    own_models_of_round,
    own_task,
)
from trainer.experiments.participation import PartialParticipation, Present
from trainer.experiments.partitions import I64, Parts, partition
from trainer.experiments.problems import Batch, Problem
from trainer.local_training import TrainEpoch, train_locally
from trainer.modules import load_version
from trainer.participant import Task, prepare_update
from trainer.simulation import Simulation, aggregate_round, pass_time, start
from trainer.steps import EnoughSteps
from trainer.updates import PreparedUpdate, commitment_fields, finalize_update, mark_sent, place_of, publish_update

__all__ = ["Diverged", "RoundScores", "Run", "Scenario", "local_epochs", "parts_of", "run"]

_BATCH = 50
"""Commitments in one transaction."""
_DIVERGED = 70
"""Exit status of a process in which a participant's training diverged."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One federation to simulate, but for its seed.

    Attributes:
        label: What distinguishes it from the experiment's others, one text for each varied table; may be empty.
        tuned: What distinguishes it from those among which tuning chooses, likewise.
        participants: How many, attackers included.
        rounds: How many.
        aggregators: How many.
        problem: `name` or `function`, and parameters.
        partition: `name` and parameters.
        plan: The plan of the rounds.
        attack: What the last `attackers` participants do; None for nothing.
        attackers: How many attack.
        first_attack: The first round with an attack, from 1.
        participation: Who takes part in a round.
        asynchrony: Buffered versions off chain, of as many updates as the rounds would have; None for rounds.
        own: The participants' own models, which are scored too; None for the version alone.
        given: All of it as it was written, for `key`.
    """

    label: tuple[str, ...]
    tuned: tuple[str, ...]
    participants: int
    rounds: int
    aggregators: int
    problem: Mapping[str, Any]
    partition: Mapping[str, Any]
    plan: PlanManifest
    attack: Attack | None
    attackers: int
    first_attack: int
    participation: PartialParticipation
    asynchrony: Asynchrony | None
    own: OwnModels | None
    given: Mapping[str, Any]

    @property
    def honest(self) -> int:
        """How many do not attack."""
        return self.participants - self.attackers

    def key(self, seed: int) -> str:
        """Return what identifies a run of it: SHA-256 of its settings and seed, hexadecimal."""
        return hashlib.sha256(json.dumps([self.given, seed], sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class RoundScores:
    """A round of a run.

    Attributes:
        number: From 1.
        tensor_root: Counted Merkle root of the version's values, hexadecimal; empty where everybody trains alone.
        scores: On the validation cases.
        saturated: Number of values that the grid clipped, of all updates.
        updates: How many there were.
        update_bytes: Bytes of all updates, on the wire and on disk; of buffered ones, of their values.
        seconds: Wall time.
        hours: Simulated time when a version of buffered updates is final; None for a round.
    """

    number: int
    tensor_root: str
    scores: Mapping[str, float]
    saturated: int
    updates: int
    update_bytes: int
    seconds: float
    hours: float | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """A scenario with a seed, run.

    Attributes:
        label: The scenario's.
        tuned: The scenario's.
        seed: The seed.
        sizes: Each participant's number of cases.
        rounds: In order.
        test: Scores of the last version on the test cases, which nothing else uses.
        seconds: Wall time.
        own: Accuracy on the test cases by each honest participant's own model; empty if not asked.
        diverged: Round in which a participant's training diverged, which ends a run without scores; None if none did.
    """

    label: tuple[str, ...]
    tuned: tuple[str, ...]
    seed: int
    sizes: tuple[int, ...]
    rounds: tuple[RoundScores, ...]
    test: Mapping[str, float]
    seconds: float
    own: tuple[float, ...] = ()
    diverged: int | None = None


class Diverged(CairnError):
    """A participant's training came to weights or metrics that are no finite numbers."""


def parts_of(problem: Problem, scenario: Scenario, seed: int) -> Parts:
    """Return each participant's cases.

    Raises:
        InputError: The partition's settings are invalid.
    """
    parameters = {key: value for key, value in scenario.partition.items() if key != "name"}
    name = str(scenario.partition.get("name"))
    return partition(problem.labels, scenario.participants, seed, name, parameters, features=problem.features)


def run(
    scenario: Scenario,
    problem: Problem,
    seed: int,
    folder: Path,
    *,
    workers: int = 1,
    ray: bool = False,
    anvil: Path | None = None,
    say: Callable[[RoundScores], None] = lambda _: None,
) -> Run:
    """Run a scenario with a seed.

    Args:
        scenario: The scenario.
        problem: What it learns.
        seed: Of the partition, the order of cases, and whatever attackers draw.
        folder: For the content store and everybody's files.
        workers: Processes that train side by side; their number changes no result.
        ray: Let Ray run these processes.
        anvil: The program that runs the chain, faster than the in-process chain, which is used without it.
        say: Called with each round.

    Raises:
        InputError: A setting does not fit the problem.
        CairnError: A round ended without a result.
    """
    torch.set_num_threads(1)  # single-threaded results are the same on every machine with the same build of torch
    began = time.monotonic()
    parts = parts_of(problem, scenario, seed)
    target = scenario.attack.poisoning.target if scenario.attack and scenario.attack.poisoning else None
    module, rounds = problem.module(), []
    judge = common = _judge(problem, module, target)
    if scenario.asynchrony is not None:
        versions = _buffered(scenario, scenario.asynchrony, problem, parts, seed, module, common)
    elif scenario.own is not None and scenario.own.name == "alone":
        versions = _alone(scenario, problem, parts, seed)
    else:
        ahead = _on_ray(workers, problem) if ray else _side_by_side(workers)
        versions = _on_chain(scenario, problem, parts, seed, folder, module, common, ahead, anvil)
    diverged = None
    try:
        for one, newest in versions:
            rounds.append(one)
            say(one)
            judge = newest
        test = judge("test")
    except Diverged:
        test, diverged = Judged({}), len(rounds) + 1
    sizes, seconds = tuple(map(len, parts)), round(time.monotonic() - began, 1)
    return Run(scenario.label, scenario.tuned, seed, sizes, tuple(rounds), test.scores, seconds, test.own, diverged)


def _judge(problem: Problem, module: nn.Module, target: int | None) -> Judge:
    """Return the judge of the version whose values the module has."""
    return lambda split: Judged(problem.evaluate(module, split, target))


Versions = Iterator[tuple[RoundScores, Judge]]
"""A run's rounds, and who judges the models of each as long as they are the newest."""


def _on_chain(
    scenario: Scenario,
    problem: Problem,
    parts: Parts,
    seed: int,
    folder: Path,
    module: nn.Module,
    common: Judge,
    training: AbstractContextManager[Ahead],
    anvil: Path | None,
) -> Versions:
    """Run the rounds; yield each, when the module has its version's values."""
    now, own = _Now(), scenario.own
    without = own.tensors if own else ()
    tasks = _tasks(problem, parts, scenario, seed, now)
    store = LocalStore(folder / "store")
    plan = replace(scenario.plan, weight_cap=max(scenario.plan.weight_cap, *map(len, parts)))
    with contextlib.ExitStack() as held:
        chain = held.enter_context(_chain(anvil, 1 + len(tasks) + scenario.aggregators))
        ahead = held.enter_context(training)
        servers = scenario.aggregators
        sim = start(problem.module(), tasks, plan, store, folder, aggregators=servers, chain=chain, without=without)
        signers = {signer.address: signer for signer in sim.signers}
        honest, bad = tuple(tasks)[: scenario.honest], tuple(tasks)[scenario.honest :]
        last: dict[str, PreparedUpdate] = {}
        held.enter_context(_quick_collecting())
        for number in range(1, scenario.rounds + 1):
            at = time.monotonic()
            attack = scenario.attack if number >= scenario.first_attack else None
            now.number = number
            now.present = _present(scenario, seed, number)
            prepared = _round(_Federation(sim, signers, bad, attack, seed), now, ahead)
            version = load_version_manifest(store, sim.owner.model(sim.model_id).head)
            load_version(module, store, version, without=without)
            judge = common
            if own is not None:
                models = partial(own_models_of_round, own, sim, version, module, honest, {*last, *prepared})
                judge = judge_of(problem, mixes_of(problem, parts[: len(honest)]), models, None if without else common)
            scores = judge("validation").scores
            saturated = sum(one.manifest.saturated for one in prepared.values())
            sent = sum(one.manifest.delta.size for one in prepared.values())
            seconds = round(time.monotonic() - at, 2)
            root = version.tensor_root.hex()
            yield RoundScores(number, root, scores, saturated, len(prepared), sent, seconds), judge
            gc.collect()  # what libraries keep of failed checks holds this round's tensors, by frames in cycles
            _forget(store, [last[name] for name in prepared if name in last])
            last |= prepared  # what error feedback left out of a participant's last update goes into its next


@contextlib.contextmanager
def _quick_collecting() -> Iterator[None]:
    """Keep what there is by now out of garbage collections."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()  # else libraries find at exit that their objects were never freed


def _buffered(
    scenario: Scenario,
    settings: Asynchrony,
    problem: Problem,
    parts: Parts,
    seed: int,
    module: nn.Module,
    common: Judge,
) -> Versions:
    """Make versions of buffered updates; yield each, when the module has its values."""
    attack = scenario.attack
    if attack is not None and attack.sees_others:
        raise InputError(f"asynchrony: expected an attack that sees no others' updates, got {attack.name}")
    senders = []
    for place, rows in enumerate(parts):
        bad = attack if place >= scenario.honest else None
        train = _training(problem, rows, (seed, place), _Now(), bad.poisoning if bad else None, 0)
        senders.append(Sender(train, bad.update if bad else None, bad is not None))
    versions = scenario.rounds * len(parts) // (settings.buffer or len(parts))
    at = time.monotonic()
    made = buffered_versions(module, senders, settings, scenario.plan.grid_bits, versions, seed)
    for number, version in enumerate(made, 1):
        root = tensor_root(version.values.tobytes()).hex()
        scores = common("validation").scores
        sent = 4 * len(version.values) * len(version.senders)
        seconds, at = round(time.monotonic() - at, 2), time.monotonic()
        hours = version.minutes / 60
        yield RoundScores(number, root, scores, version.saturated, len(version.senders), sent, seconds, hours), common


def _alone(scenario: Scenario, problem: Problem, parts: Parts, seed: int) -> Versions:
    """Let everybody train without the others, as many epochs as in rounds; yield each round."""
    now = _Now()
    tasks = list(_tasks(problem, parts, scenario, seed, now).values())[: scenario.honest]
    judge = judge_of(problem, mixes_of(problem, parts[: len(tasks)]), lambda: (task.module for task in tasks))
    for number in range(1, scenario.rounds + 1):
        at, now.number = time.monotonic(), number
        for task in tasks:
            train_locally(task.module, task.train_epoch, epochs=local_epochs(scenario.plan))
        scores = judge("validation").scores
        yield RoundScores(number, "", scores, 0, 0, 0, round(time.monotonic() - at, 2)), judge


@contextlib.contextmanager
def _chain(anvil: Path | None, accounts: int) -> Iterator[Embedded]:
    """Run a chain with an account for everybody."""
    if anvil is None:
        yield embedded(accounts, time=int(time.time()))
        return
    with anvil_chain(anvil, "--accounts", str(accounts), accounts=accounts) as running:
        yield Embedded(running.w3, running.signers)


# Participants --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Now:
    """The round that is being run, which all tasks look at: an order of cases depends on nothing else but the seed.

    Attributes:
        number: From 1.
        present: Who takes part in it.
    """

    number: int = 0
    present: Present = field(default_factory=dict)


def _present(scenario: Scenario, seed: int, number: int) -> Present:
    """Return who takes part in a round."""
    known = CLIENT_ALGORITHMS[str(scenario.plan.algorithm.name)]
    epochs = local_epochs(scenario.plan)
    return scenario.participation.present(scenario.participants, epochs, known.partial, seed, number)


def local_epochs(plan: PlanManifest) -> int:
    """Return the local epochs of a round; 1 for an algorithm that has none."""
    return int(require_parameters(str(plan.algorithm.name), plan.algorithm.parameters).get("epochs") or 1)


def _tasks(problem: Problem, parts: Parts, scenario: Scenario, seed: int, now: _Now) -> dict[str, Task]:
    """Return each participant's task by name, attackers last.

    All share a module, since each overwrites its values, unless they keep something of their own in it.
    """
    module, tasks = problem.module(), {}
    for place, rows in enumerate(parts):
        attacked = scenario.first_attack if place >= scenario.honest else None
        poisoning = scenario.attack.poisoning if scenario.attack is not None else None
        train = _training(problem, rows, (seed, place), now, poisoning if attacked else None, attacked or 1)
        task = Task(
            module=problem.module() if scenario.own is not None and scenario.own.apart else module,
            train_epoch=_in_time(train, place, now),
            examples=len(rows),
            data_set=DataSetManifest(
                name=f"part {place + 1} of {len(parts)}",
                description="a part of a simulated federation's cases",
                licence="",
                source="",
                records=len(rows),
                sha256=None,
            ),
            code=problem.code,
        )
        tasks[f"participant-{place + 1}"] = own_task(scenario.own, task)
    return tasks


def _in_time(train: TrainEpoch, place: int, now: _Now) -> TrainEpoch:
    """Return a training of one epoch that ends the participant's work when it is out of time."""

    def train_epoch(module: nn.Module, epoch: int) -> Mapping[str, float]:
        most = now.present.get(place)
        if most is not None and epoch >= most:
            raise EnoughSteps
        return train(module, epoch)

    return train_epoch


def _training(
    problem: Problem, own: I64, seeds: Sequence[int], now: _Now, poisoning: Poisoning | None, first: int
) -> TrainEpoch:
    """Return a participant's training of one epoch, on poisoned cases from a first round on if there is a poisoning."""
    rows, labels = torch.from_numpy(own), torch.from_numpy(problem.labels[own])
    quiet = torch.zeros(len(own), dtype=torch.bool)

    def train_epoch(module: nn.Module, epoch: int) -> Mapping[str, float]:
        drawn = np.random.SeedSequence([*seeds, now.number, epoch])
        batch = Batch(rows, labels, quiet, int(drawn.generate_state(1)[0]))
        if poisoning is not None and now.number >= first:
            batch = _poisoned(batch, poisoning, problem.classes, np.random.default_rng(drawn))
        told = problem.train(module, batch)
        numbers = [*told.values(), *(float(weight.detach().sum()) for weight in module.parameters())]
        if not all(map(math.isfinite, numbers)):
            raise Diverged(f"round {now.number}: expected finite numbers after training, got NaN or infinity")
        return told

    return train_epoch


def _poisoned(batch: Batch, poisoning: Poisoning, classes: int, rng: np.random.Generator) -> Batch:
    """Return the batch with the labels and triggers of a poisoning."""
    labels = classes - 1 - batch.labels if poisoning.flipped else batch.labels
    if poisoning.target is None:
        return replace(batch, labels=labels)
    triggered = torch.from_numpy(rng.random(len(labels)) < poisoning.share)
    return replace(batch, labels=torch.where(triggered, poisoning.target, labels), triggered=triggered)


# A round -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Federation:
    """Who takes part in a round.

    Attributes:
        sim: The federation.
        signers: Everybody's keys, by address.
        bad: The attackers' names.
        attack: What they do in this round; None for nothing.
        seed: Of what they draw.
    """

    sim: Simulation
    signers: Mapping[Address, LocalSigner]
    bad: Sequence[str]
    attack: Attack | None
    seed: int


def _round(who: _Federation, now: _Now, ahead: Ahead) -> dict[str, PreparedUpdate]:
    """Run a round; return the updates of those who take part, as committed."""
    sim, number = who.sim, now.number
    sim.owner.open_round(sim.model_id, number=number)
    record = read_round(sim.owner, sim.model_id, number)
    everybody = list(sim.participants)
    names = [everybody[place] for place in now.present]
    ahead(sim, record, names)
    prepared = {name: _prepared(sim, record, name) for name in names}
    if who.attack is not None and who.attack.update is not None:
        prepared |= _attacked(who, record, prepared, who.attack.update)
    _commit(who, record, prepared)
    pass_time(sim, number)
    for name, update in prepared.items():
        publish_update(sim.store_of(name), update)
    aggregate_round(sim, number)
    return prepared


def _prepared(sim: Simulation, record: RoundRecord, name: str) -> PreparedUpdate:
    client, task = sim.participants[name]
    return prepare_update(sim.store_of(name), sim.folder / name, record, task, client.account)


Ahead = Callable[[Simulation, RoundRecord, Sequence[str]], None]
"""Prepares a round's updates of the named, which it leaves in the participants' folders."""


@contextlib.contextmanager
def _on_ray(workers: int, problem: Problem) -> Iterator[Ahead]:
    """Let Ray's processes prepare the updates."""
    with ray_on_this_machine(workers) as ray:
        ray.by_value(problem.train)

        def prepare(sim: Simulation, record: RoundRecord, names: Sequence[str]) -> None:
            people = [(name, *sim.participants[name]) for name in names]
            ray.prepare(
                [(sim.store_of(name), sim.folder / name, record, task, client.account) for name, client, task in people]
            )

        yield prepare


@contextlib.contextmanager
def _side_by_side(workers: int) -> Iterator[Ahead]:
    """Let several forked processes prepare the updates; one does nothing ahead."""
    alone = workers == 1
    yield (lambda *_: None) if alone else (lambda sim, record, names: _fork(sim, record, names, workers))


def _fork(sim: Simulation, record: RoundRecord, names: Sequence[str], workers: int) -> None:
    """Let forked processes prepare the updates.

    Raises:
        Diverged: A participant's training diverged.
        CairnError: One of them failed.
    """

    def prepare(some: Sequence[str]) -> None:
        try:
            for name in some:
                _prepared(sim, record, name)
        except Diverged:
            os._exit(_DIVERGED)

    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=prepare, args=(names[k::workers],), daemon=True) for k in range(workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if _DIVERGED in (process.exitcode for process in processes):
        raise Diverged(f"round {record.number}: a participant's training diverged")
    if failed := [process.exitcode for process in processes if process.exitcode]:
        raise CairnError(f"a process that trains participants ended with status {failed[0]}; its error is above")


def _commit(who: _Federation, record: RoundRecord, prepared: Mapping[str, PreparedUpdate]) -> None:
    """Commit everybody's update by their signatures, many in a transaction."""
    sim = who.sim
    deadline = sim.owner.round(sim.model_id, record.number).commit_deadline
    signed = []
    for name, update in prepared.items():
        client, task = sim.participants[name]
        mark_sent(update)
        model, number, digest, root, weight, steps = commitment_fields(update.manifest)
        bare = SignedUpdate(client.account, digest, root, weight, steps, deadline, task.hook_data)
        signed.append(client.sign_commitment(who.signers[client.account], model, number, bare))
    for first in range(0, len(signed), _BATCH):
        sim.owner.commit_updates_for(sim.model_id, record.number, signed[first : first + _BATCH])


def _attacked(
    who: _Federation, record: RoundRecord, prepared: Mapping[str, PreparedUpdate], update: UpdateAttack
) -> dict[str, PreparedUpdate]:
    """Return the attackers' updates, made of their own honest ones and, if the attack sees them, everybody's.

    An attack that sees others' makes none where nobody honest takes part.
    """
    assert who.attack is not None
    plan = load_plan(who.sim.store, record.plan)
    parent = load_parent(who.sim.store, record)
    form = update_form(read_header(who.sim.store, parent.weights.blob), plan)
    bad = [name for name in who.bad if name in prepared]
    seen = [name for name in prepared if name not in who.bad] if who.attack.sees_others else []
    if who.attack.sees_others and not seen:
        return {}
    honest = [_values(prepared[name].file, form, plan) for name in seen]
    stacked = torch.stack(honest) if honest else torch.empty(0)
    made = {}
    for place, name in enumerate(bad):
        drawn = np.random.SeedSequence([who.seed, place, record.number]).generate_state(1)[0]
        own = _values(prepared[name].file, form, plan)
        sent = update(Seen(own, stacked, len(bad), torch.Generator().manual_seed(int(drawn))))
        made[name] = _rewritten(who.sim, record, name, prepared[name], sent, form.dense, plan)
    return made


def _values(file: Path, form: UpdateForm, plan: PlanManifest) -> torch.Tensor:
    """Return an update's values in units of the weights, float64 (n,)."""
    data = form.integers(file.read_bytes()[len(form.header) :]).astype(np.float64)
    for spec in form.dense.specs:
        data[spec.begin // 4 : spec.end // 4] *= 2.0 ** (plan.scales.get(spec.name, 0) - plan.grid_bits)
    return torch.from_numpy(data)


def _rewritten(
    sim: Simulation,
    record: RoundRecord,
    name: str,
    honest: PreparedUpdate,
    values: torch.Tensor,
    header: TensorHeader,
    plan: PlanManifest,
) -> PreparedUpdate:
    """Make values, (n,), the participant's update in place of its honest one."""
    client, task = sim.participants[name]
    place = place_of(sim.folder / name, record.round_id)
    delta = {spec.name: values[spec.begin // 4 : spec.end // 4].reshape(spec.shape) for spec in header.specs}
    uses = write_update(place / "update.safetensors", delta, header, plan)
    return finalize_update(
        place,
        record,
        client.account,
        weight=honest.manifest.weight,
        steps=honest.manifest.steps,
        data_set=task.data_set,
        saturated=sum(use.saturated for use in uses),
        metrics=honest.manifest.metrics,
        code=task.code,
    )


def _forget(store: LocalStore, updates: Sequence[PreparedUpdate]) -> None:
    """Remove finalized rounds' updates from the participants' folders and from the store, which would hold them all."""
    for update in updates:
        shutil.rmtree(update.file.parent)
        store.unpin(update.manifest.delta.cid)
    collect(store, grace=0)
