"""Ditto: beside the shared update a participant trains a whole model of its own, held near the parent version.

Li, Hu, Beirami, Smith: Ditto: Fair and Robust Federated Learning Through Personalization (ICML 2021), algorithm 1.
Symbols: w_t the parent version, v_k the participant's own model, which minimizes F_k(v) + lambda / 2 * |v - w_t|^2.

The paper leaves the shared model to any algorithm and lambda to each participant, so Ditto is no algorithm of a plan:
it wraps a task. v_k are private tensors in the task's module, so it is kept, restored and missed as they are
(`trainer.private`), and no version, update or metric has anything of it. It is trained first in each round, in a copy
of the module, where no algorithm of the plan counts, limits or corrects its steps.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from registry.errors import InputError
from trainer.local_training import train_locally
from trainer.modules import matching, module_state
from trainer.participant import Task
from trainer.steps import adjusting_gradients
from trainer.task_values import whole

__all__ = ["ditto", "own_model"]

_NAME = "ditto"
_ROUNDS, _VALUES = "ditto/rounds", "ditto/v/"
"""Buffers of the task's module: how many rounds have trained v_k, and its values. No forward pass reads them."""


def ditto(task: Task, *, ditto_lambda: float = 0.1, epochs: int = 1) -> Task:
    """Return the task that also trains and keeps a model of the participant's own.

    v_k is F_k's minimum near w_t in all tensors but frozen ones; it begins as the parent of the participant's first
    round. Private tensors of the task get a copy in v_k without the term. `own_model` returns it.

    Args:
        task: A task, which trains by torch optimizers. Its module gets buffers whose names begin with `ditto/`; its
            training function is also called with a copy of the module.
        ditto_lambda: lambda, 0 or more; 0 is a model that never sees the others again.
        epochs: Local epochs of v_k a round.

    Raises:
        InputError: A number lies outside its range, or the module has such buffers already.
    """
    epochs = whole("ditto: epochs", epochs)
    if type(ditto_lambda) not in (int, float) or not 0 <= ditto_lambda < math.inf or epochs < 1:
        raise InputError(
            f"ditto: expected ditto_lambda of 0 or more and 1 epoch or more, got {ditto_lambda!r}, {epochs}"
        )
    if hasattr(task.module, _ROUNDS):
        raise InputError("ditto: expected a module of this task's own, got one that has an own model already")
    tensors, _ = module_state(task.module, task.frozen)
    frozen, private = (set(matching(task.module, patterns)) for patterns in (task.frozen, task.private))
    trained = {name for name, p in task.module.named_parameters() if p.requires_grad}
    task.module.register_buffer(_ROUNDS, torch.tensor(0))
    for name, value in tensors.items():
        task.module.register_buffer(_kept(name), value.detach().clone())

    def train_epoch(module: nn.Module, epoch: int) -> Mapping[str, float]:
        if epoch == 0:  # the module still holds w_t
            own = _copy(module, frozen)
            origins: dict[int, nn.Parameter] = {}
            for (name, v), (_, w) in zip(own.named_parameters(), module.named_parameters(), strict=True):
                if name not in frozen:
                    v.requires_grad_(name in trained)
                    origins |= {} if name in private else {id(v): w}

            def pull(v: nn.Parameter, gradient: torch.Tensor, group: dict[str, Any]) -> None:
                gradient.add_(v - origins[id(v)], alpha=ditto_lambda)

            with adjusting_gradients(_NAME, origins, pull):
                train_locally(own, task.train_epoch, epochs=epochs, hooked=_NAME)
            _keep(own, module)
        return task.train_epoch(module, epoch)

    shared = (*task.frozen, f"!{_NAME}/*") if task.frozen else ()
    return replace(task, train_epoch=train_epoch, private=(*task.private, f"{_NAME}/*"), frozen=shared)


def own_model(task: Task) -> nn.Module:
    """Return a participant's own model, v_k, as a module like the one that `ditto` was given, in evaluation mode.

    Before the first round it is the task's module. `trainer.load_personal` restores it from the participant's folder
    into the task's module. Frozen tensors are the task's.

    Args:
        task: What `ditto` returned.

    Raises:
        InputError: It is another task.
    """
    if not hasattr(task.module, _ROUNDS):
        raise InputError("ditto: expected a task that trainer.ditto.ditto made, got another")
    return _copy(task.module, set(matching(task.module, task.frozen))).eval()


def _kept(name: str) -> str:
    """Return the name of the buffer that keeps a tensor of v_k: no points in it, and none of a submodule."""
    return _VALUES + name.replace(".", "/")


def _copy(module: nn.Module, frozen: Collection[str]) -> nn.Module:
    """Return a copy of a task's module that shares its frozen tensors, with the values of v_k once there are any."""
    tensors = module.state_dict(keep_vars=True)
    kept = [name for name in tensors if name == _ROUNDS or name.startswith(_VALUES)]
    own = copy.deepcopy(module, {id(tensors[name]): tensors[name] for name in (*frozen, *kept)})
    for name in kept:
        delattr(own, name)
    if module.get_buffer(_ROUNDS) > 0:
        with torch.no_grad():
            for value, place in _pairs(own, module):
                value.copy_(place)
    return own


def _keep(own: nn.Module, module: nn.Module) -> None:
    """Copy v_k to where the module keeps it."""
    with torch.no_grad():
        for value, place in _pairs(own, module):
            place.copy_(value)
        module.get_buffer(_ROUNDS).add_(1)


def _pairs(own: nn.Module, module: nn.Module) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield each tensor of v_k with the one that keeps it."""
    for name, value in module_state(own)[0].items():
        if hasattr(module, _kept(name)):
            yield value, module.get_buffer(_kept(name))
