"""FedProx: the proximal term equals the paper's, with any torch optimizer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from registry.content.manifest import Procedure
from registry.errors import InputError
from trainer.algorithms.fedprox import client_update
from trainer.local_training import LocalRound
from trainer.modules import propose_plan

Make = Callable[..., Any]
MakeOptimizer = Callable[[Any], torch.optim.Optimizer]

OPTIMIZERS: dict[str, MakeOptimizer] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.05),
    "lbfgs": lambda parameters: torch.optim.LBFGS(parameters, lr=0.5, max_iter=4),
}


def begun() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1))


def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    return torch.randn(30, 5, generator=generator), torch.randn(30, 1, generator=generator) + 2


def training(make: MakeOptimizer, term: Callable[[nn.Module], Any] = lambda module: 0.0) -> Any:
    """Five steps on all of the data, with a term added to the loss."""

    def train_epoch(module: nn.Module, epoch: int) -> Mapping[str, float]:
        optimizer, (inputs, targets) = make(module.parameters()), data()

        def closure() -> Any:
            optimizer.zero_grad()
            loss = (module(inputs) - targets).pow(2).mean() + term(module)
            loss.backward()
            return loss

        for _ in range(5):
            if isinstance(optimizer, torch.optim.LBFGS):
                optimizer.step(closure)
            else:
                closure()
                optimizer.step()
        return {"loss": 0.0}

    return train_epoch


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_is_training_with_the_proximal_term_in_the_loss(name: str) -> None:
    mu, module, explicit = 0.3, begun(), begun()
    origin = [p.detach().clone() for p in explicit.parameters()]

    def term(trained: nn.Module) -> Any:
        return mu / 2 * sum((p - o).pow(2).sum() for p, o in zip(trained.parameters(), origin, strict=True))

    client_update(module, training(OPTIMIZERS[name]), {"mu": mu, "epochs": 2}, LocalRound())
    for epoch in range(2):
        training(OPTIMIZERS[name], term)(explicit, epoch)
    for found, expected in zip(module.parameters(), explicit.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    free = begun()
    training(OPTIMIZERS[name])(free, 0)
    training(OPTIMIZERS[name])(free, 1)
    assert moved(module) < moved(free)


def moved(module: nn.Module) -> float:
    pairs = zip(module.parameters(), begun().parameters(), strict=True)
    return float(sum((p - o).detach().pow(2).sum() for p, o in pairs))


def test_a_closure_given_by_name_is_pulled_too() -> None:
    def by_name(module: nn.Module, epoch: int) -> Mapping[str, float]:
        optimizer, (inputs, targets) = torch.optim.SGD(module.parameters(), lr=0.05), data()

        def closure() -> Any:
            optimizer.zero_grad()
            loss = (module(inputs) - targets).pow(2).mean()
            loss.backward()
            return loss

        for _ in range(5):
            optimizer.step(closure=closure)
        return {}

    plain, named = begun(), begun()
    client_update(plain, training(lambda p: torch.optim.SGD(p, lr=0.05)), {"mu": 0.5}, LocalRound())
    client_update(named, by_name, {"mu": 0.5}, LocalRound())
    for found, expected in zip(named.parameters(), plain.parameters(), strict=True):
        assert torch.equal(found, expected)


def test_private_parameters_are_not_held_back() -> None:
    mu, private = 0.5, ("2.weight", "2.bias")
    module, explicit = begun(), begun()
    origin = {name: p.detach().clone() for name, p in explicit.named_parameters() if name not in private}

    def term(trained: nn.Module) -> Any:
        named = dict(trained.named_parameters())
        return mu / 2 * sum((named[name] - o).pow(2).sum() for name, o in origin.items())

    client_update(module, training(OPTIMIZERS["sgd"]), {"mu": mu}, LocalRound(private=private))
    training(OPTIMIZERS["sgd"], term)(explicit, 0)
    for found, expected in zip(module.parameters(), explicit.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_other_modules_are_left_alone_and_so_is_everything_afterwards() -> None:
    module, other, free = begun(), begun(), begun()
    train = training(OPTIMIZERS["sgd"])

    def both(trained: nn.Module, epoch: int) -> Mapping[str, float]:
        train(other, epoch)
        return dict(train(trained, epoch))

    client_update(module, both, {"mu": 1.0}, LocalRound())
    train(free, 0)
    later = begun()
    train(later, 0)
    for one, two, three in zip(other.parameters(), free.parameters(), later.parameters(), strict=True):
        assert torch.equal(one, two) and torch.equal(two, three)
    assert moved(module) < moved(free)


def test_an_optimizer_of_two_modules_pulls_the_trained_one_alone() -> None:
    other, plain = nn.Linear(5, 1), nn.Linear(5, 1)
    plain.load_state_dict(other.state_dict())

    def together(module: nn.Module, epoch: int) -> Mapping[str, float]:
        optimizer = torch.optim.SGD([*module.parameters(), *other.parameters()], lr=0.05)
        inputs, targets = data()
        for _ in range(3):
            optimizer.zero_grad()
            ((module(inputs) - targets).pow(2).mean() + (other(inputs) - targets).pow(2).mean()).backward()
            optimizer.step()
        return {}

    client_update(begun(), together, {"mu": 1.0}, LocalRound())
    optimizer, (inputs, targets) = torch.optim.SGD(plain.parameters(), lr=0.05), data()
    for _ in range(3):
        optimizer.zero_grad()
        (plain(inputs) - targets).pow(2).mean().backward()
        optimizer.step()
    for one, two in zip(other.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, two)


def test_training_without_an_optimizer_of_torch_is_refused() -> None:
    def by_hand(module: nn.Module, epoch: int) -> Mapping[str, float]:
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.1)
        return {}

    with pytest.raises(InputError, match="expected training by an optimizer of torch"):
        client_update(begun(), by_hand, {"mu": 1.0}, LocalRound())


def test_sparse_gradients_are_refused() -> None:
    module = nn.Embedding(5, 2, sparse=True)

    def train_epoch(trained: nn.Module, epoch: int) -> Mapping[str, float]:
        optimizer = torch.optim.SGD(trained.parameters(), lr=0.1)
        trained(torch.tensor([1, 2])).sum().backward()
        optimizer.step()
        return {}

    with pytest.raises(InputError, match="expected dense gradients"):
        client_update(module, train_epoch, {"mu": 1.0}, LocalRound())


@pytest.mark.parametrize(
    "parameters",
    [
        {}, {"mu": -1.0}, {"mu": float("inf")}, {"mu": float("nan")}, {"mu": "1"}, {"mu": True},
        {"mu": 1.0, "epochs": 0}, {"mu": 1.0, "epochs": 1.5}, {"mu": 1.0, "rate": 1.0},
    ],
)  # fmt: skip
def test_parameters_that_make_no_sense_are_refused_before_training(parameters: Mapping[str, Any]) -> None:
    def never(module: nn.Module, epoch: int) -> Mapping[str, float]:
        raise AssertionError("trained")

    with pytest.raises(InputError, match=r"fedprox: expected parameters mu 0 to .*, epochs 1 to"):
        client_update(begun(), never, parameters, LocalRound())


def test_a_plan_of_fedprox_is_followed(hand_made: Make) -> None:
    from registry.content.manifest import DataSetManifest
    from trainer.participant import Task

    module = begun()
    plans = {
        mu: replace(
            propose_plan(module, quorum=1, min_contributions=1, grid_bits=20),
            algorithm=Procedure("fedprox", {"mu": mu}),
        )
        for mu in (0.001, 3.0)
    }
    sizes = []
    for plan in plans.values():
        task = Task(copy.deepcopy(module), training(OPTIMIZERS["sgd"]), 30, DataSetManifest("d", "", "", "", 30, None))
        prepared = hand_made(module, plan).prepare(task, f"mu{len(sizes)}")
        assert prepared.manifest.steps == 5
        data_of = prepared.file.read_bytes()
        begin = 8 + int.from_bytes(data_of[:8], "little")
        sizes.append(float(np.abs(np.frombuffer(data_of[begin:], "<f4")).sum()))
    assert sizes[1] < sizes[0]
