"""FedAvg, client side: local epochs (ClientUpdate) of one participant on its own data.

McMahan, Moore, Ramage, Hampson, Agüera y Arcas: Communication-Efficient Learning of Deep Networks from Decentralized
Data (AISTATS 2017), algorithm 1. Symbols: E local epochs, n_k examples of participant k (its weight), w_t the parent
version, w_k the participant's weights after E epochs; the delta is w_k - w_t.

Server side: `registry.rounds.aggregation.combine` computes the weighted mean of the deltas by the rule `MEAN` of
`registry.rules.table`, and `registry.rounds.server_steps.next_version` applies the server step, which is the program
`registry.rules.server_programs.fedavg`. With rate 1 they give the paper's w_(t+1) = sum n_k / n * w_k.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from registry.rules.algorithms import require_parameters
from trainer.local_training import LocalResult, LocalRound, TrainEpoch, train_locally

__all__ = ["NAME", "client_update"]

NAME = "fedavg"


def client_update(
    module: nn.Module,
    train_epoch: TrainEpoch,
    parameters: Mapping[str, bool | int | float | str],
    round: LocalRound,
) -> LocalResult:
    """Train module in place for the plan's number of local epochs.

    Args:
        module: Holds the parent version; holds w_k afterwards.
        train_epoch: One local epoch.
        parameters: `epochs`, a whole number of at least 1 (default 1).
        round: The round.

    Raises:
        InputError: The plan has other parameters or values.
    """
    given = require_parameters(NAME, parameters)
    return LocalResult(train_locally(module, train_epoch, epochs=given["epochs"]))
