"""SCAFFOLD, client side: steps corrected by control variates, so that participants do not drift apart.

Karimireddy, Kale, Mohri, Reddi, Stich, Suresh: SCAFFOLD: Stochastic Controlled Averaging for Federated Learning (ICML
2020), algorithm 1, option II. Symbols: K local steps of rate lr, x the parent version, y_k the participant's weights, c
the server's control variate, c_k the participant's. Each gradient becomes g - c_k + c, and afterwards c_k becomes c_k -
c + (x - y_k) / (K lr).

Everything is kept in units of the update: C = -K lr c is the server program's state
(`registry.rules.server_programs.scaffold`), and C_k = -K lr c_k follows from public updates alone, C_k <- C_k - C +
update (`registry.rounds.drift`). So there is no second upload, anyone can recompute c_k, and it moves only when a
finalized round lists the update. K and lr are the plan's, the same for everybody.
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

NAME = "scaffold"


def client_update(
    module: nn.Module,
    train_epoch: TrainEpoch,
    parameters: Mapping[str, bool | int | float | str],
    round: LocalRound,
) -> LocalResult:
    """Train module in place for exactly the plan's number of steps, each gradient corrected by c - c_k.

    Args:
        module: Holds the parent version; holds y_k afterwards.
        train_epoch: One local epoch by torch.optim.SGD without momentum; repeated until the steps are taken. The plan's
            rate takes the place of the optimizer's.
        parameters: `lr`, a number above 0; `steps`, a whole number of at least 1.
        round: The round, with C_k and C of the shared parameters.

    Raises:
        InputError: The plan has other parameters or values, a gradient is sparse, another optimizer stepped, or none.
    """
    given = require_parameters(NAME, parameters)
    lr, steps = float(given["lr"] or 0), int(given["steps"] or 0)
    corrections = {
        id(p): ((round.own[name] - round.shared[name]) / (steps * lr)).to(p)
        for name, p in module.named_parameters()
        if name in round.own
    }

    def correct(parameter: nn.Parameter, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        gradient.add_(corrections[id(parameter)])

    with plain_sgd(NAME, module, lr), adjusting_gradients(NAME, corrections, correct):
        return LocalResult(train_locally(module, train_epoch, epochs=None, steps=steps, hooked=NAME))
