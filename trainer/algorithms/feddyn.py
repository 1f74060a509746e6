"""FedDyn, client side: local epochs with a regularizer that aligns local optima with the global one.

Acar, Zhao, Matas, Mattina, Whatmough, Saligrama: Federated Learning Based on Dynamic Regularization (ICLR 2021),
algorithm 1. Participant k minimizes L_k(w) - <g_k, w> + alpha / 2 * |w - w_t|^2, where g_k is the gradient of L_k at
its last local optimum; afterwards g_k becomes g_k - alpha * (w_k - w_t). In units of the update G_k = -g_k / alpha, so
G_k is the sum of the participant's updates in finalized rounds (`registry.rounds.drift`), and alpha * (G_k + w - w_t)
is added to each gradient. The server's part is `registry.rules.server_programs.feddyn`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from registry.rules.algorithms import require_parameters
from trainer.local_training import LocalResult, LocalRound, TrainEpoch, train_locally
from trainer.steps import adjusting_gradients

__all__ = ["NAME", "client_update"]

NAME = "feddyn"


def client_update(
    module: nn.Module,
    train_epoch: TrainEpoch,
    parameters: Mapping[str, bool | int | float | str],
    round: LocalRound,
) -> LocalResult:
    """Train module in place for the plan's number of local epochs, with the dynamic regularizer.

    Args:
        module: Holds the parent version; holds w_k afterwards.
        train_epoch: One local epoch, with torch optimizers.
        parameters: `alpha`, a number above 0 (default 0.01); `epochs`, a whole number of at least 1 (default 1).
        round: The round, with G_k of the shared parameters; private ones are not regularized.

    Raises:
        InputError: The plan has other parameters or values, a gradient is sparse, or no torch optimizer stepped.
    """
    given = require_parameters(NAME, parameters)
    alpha = float(given["alpha"] or 0)
    origins = {  # alpha * (w - origin) is the gradient of the regularizer
        id(p): p.detach() - round.own[name].to(p) if name in round.own else p.detach().clone()
        for name, p in module.named_parameters()
        if name not in round.private
    }

    def regularize(parameter: nn.Parameter, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        gradient.add_(parameter - origins[id(parameter)], alpha=alpha)

    with adjusting_gradients(NAME, origins, regularize):
        return LocalResult(train_locally(module, train_epoch, epochs=given["epochs"], hooked=NAME))
