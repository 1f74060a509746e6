"""FedAvg, client side: local epochs (ClientUpdate) of one participant on its own data.

McMahan, Moore, Ramage, Hampson, Agüera y Arcas: Communication-Efficient Learning of Deep Networks from Decentralized
Data (AISTATS 2017), algorithm 1. Symbols: E local epochs, n_k examples of participant k (its weight), w_t the parent
version, w_k the participant's weights after E epochs; the delta is w_k - w_t.

Server side: `registry.rounds.aggregation.combine` computes the weighted mean of the deltas by the rule `MEAN` of
`registry.rules.table`, and `registry.rounds.server_steps.next_version` applies the server step, which is the program
`registry.rules.server_programs.fedavg`. With rate 1 they give the paper's w_(t+1) = sum n_k / n * w_k.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from torch import nn

from registry.errors import InputError

__all__ = ["NAME", "TrainEpoch", "client_update"]

NAME = "fedavg"

TrainEpoch = Callable[[nn.Module, int], Mapping[str, float]]
"""Trains the module in place for one local epoch; takes the epoch's number, returns metrics."""


def client_update(
    module: nn.Module,
    train_epoch: TrainEpoch,
    parameters: Mapping[str, bool | int | float | str],
    *,
    private: Collection[str] = (),
) -> Mapping[str, float]:
    """ClientUpdate: train module in place for the plan's number of local epochs.

    Args:
        module: Holds the parent version; holds w_k afterwards.
        train_epoch: One local epoch.
        parameters: `epochs`, a whole number of at least 1 (default 1).
        private: Names of tensors that no version contains; trained like the others.

    Returns:
        The last epoch's metrics.

    Raises:
        InputError: The plan has unknown parameters, or an invalid number of epochs.
    """
    epochs = parameters.get("epochs", 1)
    if type(epochs) is not int or epochs < 1 or set(parameters) - {"epochs"}:
        raise InputError(f"fedavg: expected parameter epochs >= 1 and no other, got {dict(parameters)}")
    metrics: Mapping[str, float] = {}
    for epoch in range(epochs):
        module.train()
        metrics = train_epoch(module, epoch)
    return metrics
