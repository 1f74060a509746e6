"""Each participant's own model in an experiment, scored on held-out cases that occur as often as among its own.

A participant does not ask how a model does on everybody's cases, but on cases like its own. Its score is the accuracy
that the model has on held-out cases when classes are as frequent as in its training data: the mean of the accuracies by
class, weighed by these frequencies. So all held-out cases count for everybody, and nobody's are few.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from registry.content.manifest import VersionManifest
from registry.errors import InputError
from trainer.ditto import ditto, own_model
from trainer.experiments.partitions import Parts
from trainer.experiments.problems import Problem, Split
from trainer.local_training import train_locally
from trainer.modules import load_version
from trainer.participant import Task
from trainer.private import load_personal
from trainer.simulation import Simulation

__all__ = ["Judge", "Judged", "OwnModels", "judge_of", "mixes_of", "own_models_of", "own_models_of_round", "own_task"]

Mixes = Sequence[NDArray[np.float64]]

_KINDS: Mapping[str, tuple[str, ...]] = {
    "global": (),
    "alone": (),
    "fine_tuned": ("epochs",),
    "private": ("tensors",),
    "ditto": ("ditto_lambda", "epochs"),
}
"""Names in settings, with their parameters."""


@dataclass(frozen=True, slots=True)
class OwnModels:
    """Which model is a participant's own.

    Attributes:
        name: `global`, the version; `alone`, what it trains without the others; `fine_tuned`, the version after local
            epochs; `private`, the version with private tensors of its own; `ditto`, see `trainer.ditto`.
        epochs: Local epochs of `fine_tuned`, and of `ditto` a round.
        tensors: Patterns for the names of private tensors.
        ditto_lambda: lambda of `ditto`.
    """

    name: str
    epochs: int = 1
    tensors: tuple[str, ...] = ()
    ditto_lambda: float = 0.1

    @property
    def apart(self) -> bool:
        """Whether each participant needs a module of its own."""
        return self.name in ("alone", "private", "ditto")


def own_models_of(given: Mapping[str, Any]) -> OwnModels | None:
    """Return what a table of settings says; None if it is empty.

    Raises:
        InputError: The name or a parameter is unknown or invalid.
    """
    if not given:
        return None
    name, parameters = str(given.get("name")), {key: value for key, value in given.items() if key != "name"}
    if name not in _KINDS:
        raise InputError(f"personal: expected name as one of {', '.join(_KINDS)}, got {name!r}")
    if unknown := sorted(set(parameters) - set(_KINDS[name])):
        raise InputError(f"personal: {name}: expected {', '.join(_KINDS[name]) or 'no parameters'}, got {unknown[0]}")
    epochs, tensors = parameters.get("epochs", 1), parameters.get("tensors", [])
    if type(epochs) is not int or epochs < 1:
        raise InputError(f"personal: epochs: expected a whole number of 1 or more, got {epochs!r}")
    texts = isinstance(tensors, list) and all(isinstance(one, str) for one in tensors)
    if not texts or (name == "private") != bool(tensors):
        raise InputError(f"personal: tensors: expected a list of patterns, such as ['head.*'], got {tensors!r}")
    strength = parameters.get("ditto_lambda", 0.1)
    if type(strength) not in (int, float) or not 0 <= strength < float("inf"):
        raise InputError(f"personal: ditto_lambda: expected a number of 0 or more, got {strength!r}")
    return OwnModels(name, epochs, tuple(tensors), float(strength))


def own_task(own: OwnModels | None, task: Task) -> Task:
    """Return a participant's task, with what it keeps of its own."""
    if own is None or own.name not in ("private", "ditto"):
        return task
    if own.name == "private":
        return replace(task, private=own.tensors)
    return ditto(task, ditto_lambda=own.ditto_lambda, epochs=own.epochs)


def own_models_of_round(
    own: OwnModels,
    sim: Simulation,
    version: VersionManifest,
    module: nn.Module,
    names: Sequence[str],
    trained: Container[str],
) -> Iterator[nn.Module]:
    """Yield the own models of participants after a round, in order; each is good until the next.

    Args:
        own: Which models.
        sim: The federation.
        version: The round's.
        module: Holds the version's values.
        names: The participants.
        trained: Those that took part in any round.
    """
    for name in names:
        _, task = sim.participants[name]
        if own.name == "fine_tuned":
            yield _fine_tuned(module, task, own.epochs)
        elif not own.apart:
            yield module
        else:
            if name in trained:
                load_personal(task, sim.store, version, sim.folder / name, sim.model_id)
            else:
                load_version(task.module, sim.store, version, without=task.unshared)
            yield own_model(task) if own.name == "ditto" else task.module


def _fine_tuned(module: nn.Module, task: Task, epochs: int) -> nn.Module:
    """Return a copy of a module after local epochs of a task."""
    made = copy.deepcopy(module)
    train_locally(made, task.train_epoch, epochs=epochs)
    return made


# Scores --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Judged:
    """What a version is worth on a split.

    Attributes:
        scores: By name, the main one first.
        own: Each honest participant's accuracy by its own model, on cases as frequent as its own; empty if not asked.
    """

    scores: Mapping[str, float]
    own: tuple[float, ...] = ()


Judge = Callable[[Split], Judged]
"""Judges the models as they are now."""


def mixes_of(problem: Problem, parts: Parts) -> Mixes:
    """Return the frequencies of the classes among each participant's cases, float64 (classes,)."""
    return [np.bincount(problem.labels[rows], minlength=problem.classes) / len(rows) for rows in parts]


def judge_of(
    problem: Problem, mixes: Mixes, models: Callable[[], Iterable[nn.Module]], common: Judge | None = None
) -> Judge:
    """Return the judge of participants' own models.

    Args:
        problem: Has the held-out cases.
        mixes: The participants' frequencies of classes.
        models: Returns their models, in the same order.
        common: Judges the version, whose scores come after; None if there is none that stands for itself.

    Raises:
        InputError: The problem tells no answers, or has no held-out case of any class of a participant's.
    """
    if problem.answers is None:
        raise InputError("personal: expected a problem with answers, from which accuracies by class follow, got none")

    def judge(split: Split) -> Judged:
        accuracies, last, by_class = [], None, np.zeros(0)
        for module, mix in zip(models(), mixes, strict=True):
            if module is not last:
                by_class, last = _accuracy_by_class(problem, module, split), module
            accuracies.append(_weighed(by_class, mix))
        scores = {"own_accuracy": float(np.mean(accuracies)), "worst_own_accuracy": min(accuracies)}
        return Judged(scores | dict(common(split).scores if common else {}), tuple(accuracies))

    return judge


def _accuracy_by_class(problem: Problem, module: nn.Module, split: Split) -> NDArray[np.float64]:
    """Return the module's accuracy on the cases of each class, float64 (classes,); NaN where there is none."""
    assert problem.answers is not None
    module.eval()
    with torch.no_grad():
        labels, answers = problem.answers(module, split)
    held, right = (
        np.bincount(some.numpy(), minlength=problem.classes)[: problem.classes].astype(np.float64)
        for some in (labels, labels[labels == answers])
    )
    held[held == 0] = np.nan
    return right / held


def _weighed(by_class: NDArray[np.float64], mix: NDArray[np.float64]) -> float:
    """Return the mean accuracy of classes as frequent as in a mix, of those that are held out at all."""
    known = ~np.isnan(by_class)
    if not mix[known].sum() > 0:
        raise InputError(
            "personal: expected held-out cases of some class of each participant, got a participant of none"
        )
    return float((by_class[known] * mix[known]).sum() / mix[known].sum())
