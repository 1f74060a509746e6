"""FedNova, client side: the update is the mean change of a local step, so that many steps weigh no more than few.

Wang, Liu, Liang, Joshi, Poor: Tackling the Objective Inconsistency Problem in Heterogeneous Federated Optimization
(NeurIPS 2020), for local SGD: a_k = (1, …, 1), so d_k = (w_k - w_t) / tau_k with tau_k the participant's steps. The
server program `registry.rules.server_programs.fednova` multiplies the mean of the d_k by the mean of the tau_k, which
are committed on chain. With momentum or Adam, dividing by the number of steps is only near the paper's normalization.

What tau_k the update declares is the participant's word, as its weight is. A plan's `steps` caps it: an update that
declares more is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from registry.rules.algorithms import require_parameters
from trainer.local_training import LocalResult, LocalRound, TrainEpoch, fewest, train_locally

__all__ = ["NAME", "client_update"]

NAME = "fednova"


def client_update(
    module: nn.Module,
    train_epoch: TrainEpoch,
    parameters: Mapping[str, bool | int | float | str],
    round: LocalRound,
) -> LocalResult:
    """Train module in place for the plan's number of local epochs; the update is to be divided by the steps taken.

    Args:
        module: Holds the parent version; holds w_k afterwards.
        train_epoch: One local epoch.
        parameters: `epochs`, a whole number of at least 1 (default 1); `steps`, the most steps of all epochs, optional.
        round: The round; `most_steps` is partial work.

    Raises:
        InputError: The plan has other parameters or values; or steps are limited, and no torch optimizer stepped.
    """
    given = require_parameters(NAME, parameters)
    most = fewest(given["steps"], round.most_steps)
    return LocalResult(train_locally(module, train_epoch, epochs=given["epochs"], steps=most), normalized=True)
