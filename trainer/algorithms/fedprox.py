"""FedProx: FedAvg with a proximal term that keeps local weights near the parent version, and with partial work.

Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith: Federated Optimization in Heterogeneous Networks (MLSys 2020), algorithm 2.
Participant k minimizes F_k(w) + mu / 2 * |w - w_t|^2, so mu * (w - w_t) is added to each gradient. A hook before each
step of a torch optimizer adds it, so that any training function works unchanged. A participant that is short of time
takes fewer steps (`Task.most_steps`, the paper's gamma-inexact solution): its update counts like any other and declares
the steps that it took. With mu = 0 that is FedAvg with partial work, Flower's default.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from registry.rules.algorithms import require_parameters
from trainer.local_training import LocalResult, LocalRound, TrainEpoch, fewest, train_locally
from trainer.steps import adjusting_gradients

__all__ = ["NAME", "client_update", "proximal"]

NAME = "fedprox"


def client_update(
    module: nn.Module,
    train_epoch: TrainEpoch,
    parameters: Mapping[str, bool | int | float | str],
    round: LocalRound,
) -> LocalResult:
    """Train module in place for the plan's number of local epochs, with a proximal term to its initial values.

    Args:
        module: Holds the parent version; holds w_k afterwards.
        train_epoch: One local epoch, with torch optimizers.
        parameters: `mu`, a number of at least 0; `epochs`, a whole number of at least 1 (default 1); `steps`, the most
            steps of all epochs, optional.
        round: The round: private tensors get no proximal term, and `most_steps` is partial work.

    Raises:
        InputError: The plan has other parameters or values, a gradient is sparse, or no torch optimizer stepped.
    """
    given = require_parameters(NAME, parameters)
    most = fewest(given["steps"], round.most_steps)
    with proximal(module, float(given["mu"] or 0), round.private):
        return LocalResult(train_locally(module, train_epoch, epochs=given["epochs"], steps=most, hooked=NAME))


@contextmanager
def proximal(module: nn.Module, mu: float, private: Collection[str] = ()) -> Iterator[None]:
    """Add mu * (w - w_t) to the gradients of module's parameters w before each step, within the context.

    w_t are the parameters on entry. Optimizers of other modules are unaffected.

    Args:
        module: The module in training.
        mu: At least 0.
        private: Names of parameters without a proximal term.
    """
    begun = {id(p): p.detach().clone() for name, p in module.named_parameters() if name not in private}

    def pull(parameter: nn.Parameter, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        gradient.add_(parameter - begun[id(parameter)], alpha=mu)

    with adjusting_gradients(NAME, begun, pull):
        yield
