"""FedProx: FedAvg with a proximal term that keeps local weights near the parent version.

Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith: Federated Optimization in Heterogeneous Networks (MLSys 2020), algorithm 2.
Participant k minimizes F_k(w) + mu / 2 * |w - w_t|^2, so mu * (w - w_t) is added to each gradient. A hook before each
step of a torch optimizer adds it, so that any training function works unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

from registry.errors import InputError
from trainer.algorithms import fedavg
from trainer.steps import counting_steps, held

__all__ = ["NAME", "client_update", "proximal"]

NAME = "fedprox"


def client_update(
    module: nn.Module,
    train_epoch: fedavg.TrainEpoch,
    parameters: Mapping[str, bool | int | float | str],
    *,
    private: Collection[str] = (),
) -> Mapping[str, float]:
    """Train module in place for the plan's number of local epochs, with a proximal term to its initial values.

    Args:
        module: Holds the parent version; holds w_k afterwards.
        train_epoch: One local epoch, with torch optimizers.
        parameters: `mu`, a number above 0, and `epochs`, a whole number of at least 1 (default 1).
        private: Names of tensors that no version contains; they get no proximal term.

    Returns:
        The last epoch's metrics.

    Raises:
        InputError: The plan has other parameters or values, a gradient is sparse, or no torch optimizer stepped.
    """
    mu, epochs = parameters.get("mu"), parameters.get("epochs", 1)
    known = set(parameters) <= {"mu", "epochs"} and type(mu) in (int, float) and type(epochs) is int
    if not known or not isinstance(mu, int | float) or not 0 < mu < math.inf or int(epochs) < 1:
        raise InputError(f"fedprox: expected parameters mu > 0 and epochs >= 1 and no others, got {dict(parameters)}")
    with proximal(module, float(mu), private), counting_steps(module) as steps:
        metrics = fedavg.client_update(module, train_epoch, {"epochs": epochs})
    if not steps:
        raise InputError("fedprox: expected training by an optimizer of torch, but none stepped on this module")
    return metrics


@contextmanager
def proximal(module: nn.Module, mu: float, private: Collection[str] = ()) -> Iterator[None]:
    """Add mu * (w - w_t) to the gradients of module's parameters w before each step, within the context.

    w_t are the parameters on entry. Optimizers of other modules are unaffected.

    Args:
        module: The module in training.
        mu: Above 0.
        private: Names of parameters without a proximal term.
    """
    begun = {id(p): p.detach().clone() for name, p in module.named_parameters() if name not in private}

    def pull(optimizer: Optimizer) -> None:
        with torch.no_grad():
            for parameter in held(optimizer, begun):
                if parameter.grad is None:
                    continue
                if parameter.grad.is_sparse:
                    raise InputError("fedprox: expected dense gradients, got a sparse one")
                parameter.grad.add_(parameter - begun[id(parameter)], alpha=mu)

    def before(optimizer: Optimizer, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if closure is None or not held(optimizer, begun):
            pull(optimizer)
            return None
        # Such an optimizer evaluates a closure, and so gradients, several times per step.
        return (args[0], _then(closure, lambda: pull(optimizer))), {k: v for k, v in kwargs.items() if k != "closure"}

    handle = register_optimizer_step_pre_hook(before)
    try:
        yield
    finally:
        handle.remove()


def _then(closure: Callable[[], Any], then: Callable[[], None]) -> Callable[[], Any]:
    def both() -> Any:
        loss = closure()
        then()
        return loss

    return both
