"""Hooks on the steps of torch optimizers on a module: count and limit them, change gradients, require plain SGD."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from registry.errors import InputError

__all__ = ["Adjust", "EnoughSteps", "adjusting_gradients", "counting_steps", "held", "plain_sgd"]


class EnoughSteps(BaseException):
    """Ends a training function whose next step would be one too many; no error, so that none swallows it."""


def held(optimizer: Optimizer, own: Container[int]) -> list[nn.Parameter]:
    """Return the optimizer's parameters among those with these ids."""
    return [p for group in optimizer.param_groups for p in group["params"] if id(p) in own]


@contextmanager
def counting_steps(module: nn.Module, *, most: int | None = None) -> Iterator[dict[Optimizer, int]]:
    """Count the steps of every optimizer that holds a parameter of module, within the context.

    Optimizers of other modules, such as another participant's in another thread, are not counted, nor is training
    without a torch optimizer.

    Args:
        module: The module in training.
        most: The most steps of an optimizer; None for any number.

    Raises:
        EnoughSteps: Raised in the training function, where an optimizer begins one more step.
    """
    own = {id(parameter) for parameter in module.parameters()}
    steps: dict[Optimizer, int] = {}

    def stepping(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if most is not None and steps.get(optimizer, 0) >= most:
            raise EnoughSteps

    def stepped(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if held(optimizer, own):
            steps[optimizer] = steps.get(optimizer, 0) + 1

    handles = (register_optimizer_step_pre_hook(stepping), register_optimizer_step_post_hook(stepped))
    try:
        yield steps
    finally:
        for handle in handles:
            handle.remove()


Adjust = Callable[[nn.Parameter, torch.Tensor, dict[str, Any]], None]
"""Changes the gradient of a parameter in place; takes the parameter, its gradient and its group in the optimizer."""


@contextmanager
def adjusting_gradients(what: str, own: Container[int], adjust: Adjust) -> Iterator[None]:
    """Change gradients before each step of an optimizer that holds parameters with these ids, within the context.

    Args:
        what: The algorithm's name, for errors.
        own: Ids of parameters; all others are left alone.
        adjust: Called, without gradients, for each parameter with a gradient; of an optimizer that evaluates a closure
            several times a step, after each evaluation.

    Raises:
        InputError: Raised in the training function where a gradient is sparse.
    """

    def change(optimizer: Optimizer) -> None:
        with torch.no_grad():
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if id(parameter) not in own or parameter.grad is None:
                        continue
                    if parameter.grad.is_sparse:
                        raise InputError(f"{what}: expected dense gradients, got a sparse one")
                    adjust(parameter, parameter.grad, group)

    def before(optimizer: Optimizer, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if closure is None or not held(optimizer, own):
            change(optimizer)
            return None
        return (args[0], _then(closure, lambda: change(optimizer))), {k: v for k, v in kwargs.items() if k != "closure"}

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


@contextmanager
def plain_sgd(what: str, module: nn.Module, lr: float) -> Iterator[None]:
    """Let only SGD without momentum train the module, at this rate, within the context; then rates are as before.

    Raises:
        InputError: Raised in the training function where another optimizer steps on the module.
    """
    own = {id(parameter) for parameter in module.parameters()}
    before: dict[int, tuple[dict[str, Any], Any]] = {}

    def stepping(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if not held(optimizer, own):
            return
        for group in optimizer.param_groups:
            if not isinstance(optimizer, torch.optim.SGD) or group["momentum"] or group["maximize"]:
                raise InputError(
                    f"{what}: expected training by torch.optim.SGD without momentum, as its paper defines it, got "
                    f"{type(optimizer).__name__}{' with momentum' if group.get('momentum') else ''}"
                )
            before.setdefault(id(group), (group, group["lr"]))
            group["lr"] = lr

    handle = register_optimizer_step_pre_hook(stepping)
    try:
        yield
    finally:
        handle.remove()
        for group, rate in before.values():
            group["lr"] = rate
