"""FedSGD: one step of gradient descent a round, at a rate that the plan sets by round.

McMahan, Moore, Ramage, Hampson, Agüera y Arcas: Communication-Efficient Learning of Deep Networks from Decentralized
Data (AISTATS 2017): FedAvg with E = 1 and B the whole local data. The weighted mean of such updates is a step of
gradient descent on everybody's data. The rate of round t is lr * decay^(t - 1), the paper's decay a round.

The training function may read its data in batches of one size: the gradients of an epoch's batches, all at the parent
version, are averaged to that of the whole data. With `steps` in the plan there are so many steps on batches instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from registry.rules.algorithms import require_parameters
from trainer.local_training import LocalResult, LocalRound, TrainEpoch, train_locally
from trainer.steps import adjusting_gradients, plain_sgd

__all__ = ["NAME", "client_update"]

NAME = "fedsgd"


def client_update(
    module: nn.Module,
    train_epoch: TrainEpoch,
    parameters: Mapping[str, bool | int | float | str],
    round: LocalRound,
) -> LocalResult:
    """Take one step on the whole local data, or the plan's number of steps on batches.

    Args:
        module: Holds the parent version; holds w_k afterwards.
        train_epoch: One local epoch by torch.optim.SGD without momentum, in batches of one size. The plan's rate takes
            the place of the optimizer's.
        parameters: `lr`, a number above 0; `decay`, above 0 and at most 1 (default 1); `steps`, a whole number of at
            least 1, optional.
        round: The round, whose number sets the rate.

    Raises:
        InputError: The plan has other parameters or values, a gradient is sparse, another optimizer stepped, or none.
    """
    given = require_parameters(NAME, parameters)
    rate = float(given["lr"] or 0) * float(given["decay"] or 0) ** (round.number - 1)
    if given["steps"] is None:
        return _whole_step(module, train_epoch, rate)
    with plain_sgd(NAME, module, rate):
        return LocalResult(train_locally(module, train_epoch, epochs=None, steps=int(given["steps"]), hooked=NAME))


def _whole_step(module: nn.Module, train_epoch: TrainEpoch, rate: float) -> LocalResult:
    """Average the gradients of an epoch at the module's present values, then take one step."""
    named = {id(p): p for p in module.parameters()}
    sums: dict[int, torch.Tensor] = {}
    counts: dict[int, int] = {}

    def gather(parameter: nn.Parameter, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        whole = gradient.add(parameter, alpha=group["weight_decay"])
        sums[id(parameter)] = sums[id(parameter)] + whole if id(parameter) in sums else whole
        counts[id(parameter)] = counts.get(id(parameter), 0) + 1

    with plain_sgd(NAME, module, 0.0), adjusting_gradients(NAME, named, gather):
        metrics = train_locally(module, train_epoch, epochs=1, hooked=NAME)
    with torch.no_grad():
        for place, total in sums.items():
            named[place].sub_(total, alpha=rate / counts[place])
    return LocalResult(metrics, steps=1)
