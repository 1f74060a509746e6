"""Count training steps: the steps of torch optimizers on a module."""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

__all__ = ["counting_steps", "held"]


def held(optimizer: Optimizer, own: Container[int]) -> list[nn.Parameter]:
    """Return the optimizer's parameters among those with these ids."""
    return [p for group in optimizer.param_groups for p in group["params"] if id(p) in own]


@contextmanager
def counting_steps(module: nn.Module) -> Iterator[dict[Optimizer, int]]:
    """Count the steps of every optimizer that holds a parameter of module, within the context.

    Optimizers of other modules, such as another participant's in another thread, are not counted, nor is training
    without a torch optimizer.
    """
    own = {id(parameter) for parameter in module.parameters()}
    steps: dict[Optimizer, int] = {}

    def stepped(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if held(optimizer, own):
            steps[optimizer] = steps.get(optimizer, 0) + 1

    handle = register_optimizer_step_post_hook(stepped)
    try:
        yield steps
    finally:
        handle.remove()
