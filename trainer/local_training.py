"""Local training: what an algorithm gets of a round and returns, and the loop over epochs that algorithms share."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from registry.errors import InputError
from trainer.modules import module_digest
from trainer.steps import EnoughSteps, counting_steps

__all__ = ["ClientUpdate", "LocalResult", "LocalRound", "TrainEpoch", "fewest", "holding", "train_locally"]

TrainEpoch = Callable[[nn.Module, int], Mapping[str, float]]
"""Trains the module in place for one local epoch; takes the epoch's number, returns metrics."""


@dataclass(frozen=True, slots=True)
class LocalRound:
    """What an algorithm may need to know of a round.

    Attributes:
        number: The round's number in its model, from 1.
        private: Names of tensors that no version contains; they are trained, without correction.
        most_steps: The most steps that this participant can take; None for the plan's.
        own: The participant's drift variable by the module's names, float64, in units of the update; empty for zero.
        shared: The server's, likewise.
    """

    number: int = 1
    private: Collection[str] = ()
    most_steps: int | None = None
    own: Mapping[str, torch.Tensor] = field(default_factory=dict)
    shared: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LocalResult:
    """What an algorithm returns beside the trained module.

    Attributes:
        metrics: Of the last whole epoch.
        steps: The number of steps to declare; None for the number counted.
        normalized: Whether the update is the change divided by the steps.
    """

    metrics: Mapping[str, float]
    steps: int | None = None
    normalized: bool = False


ClientUpdate = Callable[[nn.Module, TrainEpoch, Mapping[str, bool | int | float | str], LocalRound], LocalResult]
"""Trains a module that holds the parent version, by a plan's parameters, so that it holds w_k afterwards."""


def fewest(*limits: float | None) -> int | None:
    """Return the least of these limits; None if none is set."""
    return min((int(limit) for limit in limits if limit is not None), default=None)


def train_locally(
    module: nn.Module,
    train_epoch: TrainEpoch,
    *,
    epochs: float | None,
    steps: int | None = None,
    hooked: str | None = None,
) -> Mapping[str, float]:
    """Train a module in place; return the metrics of the last whole epoch.

    Args:
        module: Holds the parent version.
        train_epoch: One local epoch.
        epochs: Number of epochs; None for as many as the steps need.
        steps: The most steps, of the most active optimizer of each epoch; the epoch in which the next one begins ends
            there. None for any number.
        hooked: Name of an algorithm that hooks into optimizers; None if it does not.

    Raises:
        InputError: No torch optimizer stepped in an epoch, though the algorithm or the limit of steps needs one.
    """
    needed = hooked or (None if steps is None else "a limit of steps")
    metrics: Mapping[str, float] = {}
    done = 0
    for epoch in itertools.count() if epochs is None else range(int(epochs)):
        module.train()
        with counting_steps(module, most=None if steps is None else steps - done) as taken:
            try:
                metrics = train_epoch(module, epoch)
            except EnoughSteps:
                break
        if needed and not taken:
            raise InputError(f"{needed}: expected training by an optimizer of torch, but none stepped on this module")
        done += max(taken.values(), default=0)
        if steps is not None and done >= steps:
            break
    return metrics


@contextmanager
def holding(module: nn.Module, names: Collection[str], what: str) -> Iterator[None]:
    """Disable gradients of tensors within the context, and verify that none of them changed.

    Args:
        module: The module in training.
        names: Names of its tensors.
        what: What holds them, for the error.

    Raises:
        InputError: One of them changed.
    """
    before = module_digest(module, names)
    held = [p for name, p in module.named_parameters(remove_duplicate=False) if name in names and p.requires_grad]
    for parameter in held:
        parameter.requires_grad_(False)
        parameter.grad = None  # a gradient of earlier steps would move it, by an optimizer that lives on
    try:
        yield
    finally:
        for parameter in held:
            parameter.requires_grad_(True)
    if module_digest(module, names) != before:
        raise InputError(f"{what}: expected unchanged tensors, got some that training changed")
