"""FedRep: local epochs of the private head with the body fixed, then of the shared body with the head fixed.

Collins, Hassani, Mokhtari, Shakkottai: Exploiting Shared Representations for Personalized Federated Learning (ICML
2021), algorithm 1. Symbols: phi the representation, shared, here the body; h_k the participant's head, private. h_k
takes tau epochs (`head_epochs`) on the parent's phi, then phi takes `epochs`; the update is the change of phi. The head
comes back in the next round as any private tensor does (`trainer.private`). The paper trains heads for ten epochs.

Only parameters are held: buffers that follow the data, such as the means of BatchNorm, follow it in both phases.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from registry.errors import InputError
from registry.rules.algorithms import require_parameters
from trainer.local_training import LocalResult, LocalRound, TrainEpoch, holding, train_locally

__all__ = ["NAME", "client_update"]

NAME = "fedrep"


def client_update(
    module: nn.Module,
    train_epoch: TrainEpoch,
    parameters: Mapping[str, bool | int | float | str],
    round: LocalRound,
) -> LocalResult:
    """Train module's private parameters in place, then its shared ones.

    Args:
        module: Holds the parent version and the participant's head; holds phi_k and h_k afterwards.
        train_epoch: One local epoch, with torch optimizers. The body's epochs have the numbers after the head's.
        parameters: `head_epochs`, a whole number of at least 1 (default 10); `epochs` of the body, likewise (1).
        round: The round, with the names of the private tensors.

    Raises:
        InputError: The plan has other parameters or values, no parameter or every one is private, training changed what
            was held, or no torch optimizer stepped.
    """
    given = require_parameters(NAME, parameters)
    names = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    head = names & set(round.private)
    if not head or head == names:
        raise InputError(
            f"{NAME}: expected a task with a private head and a shared body, such as private=('head.*',), got "
            f"{len(head)} private parameters of {len(names)}"
        )
    begun = int(given["head_epochs"] or 1)

    def train_body(trained: nn.Module, epoch: int) -> Mapping[str, float]:
        return train_epoch(trained, begun + epoch)

    with holding(module, names - head, f"{NAME}: the body"):
        train_locally(module, train_epoch, epochs=begun, hooked=NAME)
    with holding(module, head, f"{NAME}: the head"):
        return LocalResult(train_locally(module, train_body, epochs=given["epochs"], hooked=NAME))
