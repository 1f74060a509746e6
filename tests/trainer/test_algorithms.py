"""Client algorithms with their server rules, on skewed convex tasks: where they lead, and at how many steps.

Four participants have quadratic losses with different curvatures and optima, so that FedAvg of many local steps ends
away from the optimum of the sum. Rounds are the real client functions, grid, server programs and drift, without a
chain; all gradients are exact, so every figure is the same in each run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from registry.errors import InputError
from registry.rounds.drift import DRIFTING, moved_drift
from registry.rules.algorithms import CLIENT_ALGORITHMS
from registry.rules.interpreter import initial_states, replay
from registry.rules.program import RoundScalars
from registry.rules.server_programs import MOMENT, compile_rule
from registry.rules.step import server_step, step_exponent
from trainer.algorithms import ALGORITHMS
from trainer.local_training import LocalRound, train_locally

S = 22
COUNT, SIZE = 4, 8
LR = 0.8


class Weights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(SIZE))


@dataclass(frozen=True)
class Skewed:
    """Participant k minimizes sum a_k (w - m_k)^2 / 2; `steps` and `batches` are of its training function."""

    a: np.ndarray
    m: np.ndarray
    steps: Sequence[int] = field(default=(10,) * COUNT)
    lr: float = LR

    @property
    def optimum(self) -> np.ndarray:
        return (self.a * self.m).sum(0) / self.a.sum(0)

    def train(self, k: int) -> Callable[[nn.Module, int], Mapping[str, float]]:
        a, m = (torch.tensor(x[k], dtype=torch.float32) for x in (self.a, self.m))

        def epoch(module: nn.Module, number: int) -> Mapping[str, float]:
            optimizer = torch.optim.SGD(module.parameters(), lr=self.lr)
            for _ in range(self.steps[k]):
                optimizer.zero_grad()
                loss = (a * (module.w - m) ** 2).sum() / 2  # type: ignore[operator]
                loss.backward()
                optimizer.step()
            return {"loss": float(loss.detach())}

        return epoch


def skewed(**changed: Any) -> Skewed:
    rng = np.random.default_rng(5)
    return Skewed(np.exp(rng.uniform(np.log(0.1), 0.0, (COUNT, SIZE))), rng.normal(0, 0.3, (COUNT, SIZE)), **changed)


def federate(
    task: Skewed,
    rounds: int,
    algorithm: str,
    parameters: Mapping[str, Any],
    *,
    server: Mapping[str, float] | None = None,
    sampled: int = COUNT,
    most: Sequence[int | None] = (None,) * COUNT,
    dropped: Sequence[int] = (),
) -> np.ndarray:
    """The weights after so many rounds of equal weights; the server rule is FedAvg, or the algorithm's other half."""
    halves = algorithm if server is not None else "fedavg"
    program = compile_rule(halves, {"rate": 1.0} if server is None else server, S)
    states, w = initial_states(program, SIZE), np.zeros(SIZE, dtype=np.float32)
    own = np.zeros((COUNT, SIZE), dtype=np.int64)
    rng = np.random.default_rng(1)
    for t in range(1, rounds + 1):
        chosen = [int(k) for k in rng.choice(COUNT, sampled, replace=False) if k not in dropped]
        shared = states[:, 0].copy() if algorithm in DRIFTING else np.zeros(SIZE, dtype=np.int64)
        updates, total = [], 0
        for k in chosen:
            q, steps = local_update(task, k, w, algorithm, parameters, own[k], shared, t, most[k])
            updates.append(q)
            total += steps
        for k, q in zip(chosen, updates, strict=True):
            if algorithm in DRIFTING:
                own[k] = moved_drift(algorithm, own[k], shared, q)
        mean = np.rint(np.mean(updates, axis=0)).astype(np.int64)
        d, states = replay(program, mean, states, RoundScalars(t, len(chosen), len(chosen), total))
        w = server_step(w, d, step_exponent(0, S, program.fraction_bits))
    return w.astype(np.float64)


def local_update(
    task: Skewed,
    k: int,
    w: np.ndarray,
    algorithm: str,
    parameters: Mapping[str, Any],
    own: np.ndarray,
    shared: np.ndarray,
    number: int,
    most: int | None,
) -> tuple[np.ndarray, int]:
    """A participant's update in grid steps, and the steps that it declares."""
    module, counted = Weights(), 0
    with torch.no_grad():
        module.w.copy_(torch.from_numpy(w))
    train = task.train(k)

    def counting(trained: nn.Module, epoch: int) -> Mapping[str, float]:
        nonlocal counted
        counted += task.steps[k]
        return train(trained, epoch)

    drift = [{"w": torch.from_numpy(x * 2.0**-S / MOMENT)} for x in (own, shared)]
    round = LocalRound(number, most_steps=most, own=drift[0], shared=drift[1])
    made = ALGORITHMS[algorithm](module, counting, parameters, round)
    limits = [x for x in (parameters.get("steps"), most, counted) if x is not None]
    steps = made.steps or min(limits)
    change = module.w.detach().numpy().astype(np.float64) - w
    return np.rint(change / (steps if made.normalized else 1) * 2.0**S).astype(np.int64), steps


def off(task: Skewed, w: np.ndarray) -> float:
    """Distance from the optimum of the sum, in units of the distance at the start."""
    return float(np.linalg.norm(w - task.optimum) / np.linalg.norm(task.optimum))


def test_fedavg_of_many_local_steps_ends_beside_the_optimum() -> None:
    task = skewed()
    away = off(task, federate(task, 20, "fedavg", {}))
    print(f"\nFedAvg, 20 rounds of 10 steps: {away:.4f} of the way is left")
    assert 0.1 < away < 1


def test_scaffold_reaches_the_optimum_that_fedavg_misses_at_the_same_steps() -> None:
    task = skewed()
    plain = off(task, federate(task, 20, "fedavg", {}))
    found = off(
        task, federate(task, 20, "scaffold", {"lr": LR, "steps": 10}, server={"rate": 1.0, "participants": 4.0})
    )
    print(f"\nSCAFFOLD {found:.5f}, FedAvg {plain:.5f} of the way left after 20 rounds of 10 steps")
    assert found < plain / 50


def test_scaffold_does_so_with_two_of_four_a_round_too() -> None:
    task = skewed()
    plain = off(task, federate(task, 40, "fedavg", {}, sampled=2))
    server = {"rate": 1.0, "participants": 4.0}
    found = off(task, federate(task, 40, "scaffold", {"lr": LR, "steps": 10}, server=server, sampled=2))
    print(f"\nSCAFFOLD {found:.5f}, FedAvg {plain:.5f} of the way left, two of four participants in each of 40 rounds")
    assert found < plain / 20


def test_feddyn_reaches_the_optimum_that_fedavg_misses_at_the_same_steps() -> None:
    task = skewed()
    plain = off(task, federate(task, 20, "fedavg", {}))
    found = off(task, federate(task, 20, "feddyn", {"alpha": 0.3}, server={"participants": 4.0}))
    print(f"\nFedDyn {found:.5f}, FedAvg {plain:.5f} of the way left after 20 rounds of 10 steps")
    assert found < plain / 50


def test_fednova_reaches_the_optimum_of_all_though_some_take_many_steps() -> None:
    """A small rate, so that what is left is the weight of many steps and not drift: the paper's inconsistency."""
    task = skewed(steps=(1, 2, 6, 15), lr=0.1)
    plain = off(task, federate(task, 60, "fedavg", {}))
    found = off(task, federate(task, 60, "fednova", {}, server={}))
    print(f"\nFedNova {found:.5f}, FedAvg {plain:.5f} of the way left, 1 to 15 steps a participant, 60 rounds")
    assert found < plain / 3


def test_fedprox_with_partial_work_beats_fedavg_that_drops_the_stragglers() -> None:
    """Half of the participants have time for 2 of 10 steps, and are those with the larger curvatures."""
    task = skewed()
    stragglers = [int(k) for k in np.argsort(task.a.sum(1))[2:]]
    most = [2 if k in stragglers else None for k in range(COUNT)]
    dropped = off(task, federate(task, 20, "fedavg", {}, dropped=stragglers))
    partial = off(task, federate(task, 20, "fedprox", {"mu": 0.0}, most=most))
    proximal = off(task, federate(task, 20, "fedprox", {"mu": 1.0}, most=most))
    print(
        f"\nleft of the way: {dropped:.4f} dropping them, {partial:.4f} with partial work, {proximal:.4f} with mu = 1"
    )
    assert proximal < partial < dropped
    assert proximal < dropped / 2


def test_fedsgd_is_gradient_descent_on_all_data_and_so_reaches_the_optimum() -> None:
    task = skewed()
    found = federate(task, 5, "fedsgd", {"lr": LR})
    w = np.zeros(SIZE)
    for _ in range(5):
        w -= LR * (task.a * (w - task.m)).mean(0)
    assert np.abs(found - w).max() < 5 * 2.0**-S
    plain = off(task, federate(task, 10, "fedavg", {}))
    same_steps = off(task, federate(task, 100, "fedsgd", {"lr": LR}))
    print(f"\nFedSGD {same_steps:.5f}, FedAvg {plain:.5f} of the way left after 100 steps a participant")
    assert same_steps < plain / 50


def test_fedsgd_s_rate_falls_by_round_as_the_plan_says() -> None:
    task = skewed()
    found = federate(task, 4, "fedsgd", {"lr": LR, "decay": 0.5})
    w = np.zeros(SIZE)
    for t in range(4):
        w -= LR * 0.5**t * (task.a * (w - task.m)).mean(0)
    assert np.abs(found - w).max() < 5 * 2.0**-S


def test_the_table_and_the_code_have_the_same_algorithms() -> None:
    assert CLIENT_ALGORITHMS.keys() == ALGORITHMS.keys()


# One participant ------------------------------------------------------------------------------------------------------


def batches(make: Callable[[Any], torch.optim.Optimizer], count: int = 5, size: int = 6) -> Any:
    """Training on batches of a linear regression; the batches' mean gradient is that of all data."""
    generator = torch.Generator().manual_seed(9)
    x, y = torch.randn(count, size, 4, generator=generator), torch.randn(count, size, 1, generator=generator)

    def epoch(module: nn.Module, number: int) -> Mapping[str, float]:
        optimizer = make(module.parameters())
        for inputs, targets in zip(x, y, strict=True):
            optimizer.zero_grad()
            (module(inputs) - targets).pow(2).mean().backward()
            optimizer.step()
        return {"epoch": float(number)}

    epoch.data = (x.reshape(-1, 4), y.reshape(-1, 1))  # type: ignore[attr-defined]
    return epoch


def linear() -> nn.Linear:
    torch.manual_seed(2)
    return nn.Linear(4, 1)


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.05)


def test_fedsgd_steps_once_along_the_gradient_of_all_batches_with_weight_decay() -> None:
    train = batches(lambda p: torch.optim.SGD(p, lr=123.0, weight_decay=0.1))
    module, whole = linear(), linear()
    made = ALGORITHMS["fedsgd"](module, train, {"lr": 0.2, "decay": 0.5}, LocalRound(3))
    optimizer = torch.optim.SGD(whole.parameters(), lr=0.05, weight_decay=0.1)
    inputs, targets = train.data
    (whole(inputs) - targets).pow(2).mean().backward()
    optimizer.step()
    assert made.steps == 1
    for found, expected in zip(module.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(found, expected)


def test_fedsgd_of_given_steps_takes_as_many_at_the_plan_s_rate() -> None:
    module, plain = linear(), linear()
    ALGORITHMS["fedsgd"](module, batches(lambda p: torch.optim.SGD(p, lr=9.0)), {"lr": 0.05, "steps": 7}, LocalRound())
    train_locally(plain, batches(sgd), epochs=None, steps=7)
    for found, expected in zip(module.parameters(), plain.parameters(), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("algorithm", ["scaffold", "fedsgd"])
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: torch.optim.Adam(p), "expected training by torch.optim.SGD without momentum, .*, got Adam"),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), ".* got SGD with momentum"),
    ],
)
def test_an_optimizer_that_the_paper_does_not_have_is_refused(algorithm: str, make: Any, said: str) -> None:
    with pytest.raises(InputError, match=f"{algorithm}: {said}"):
        ALGORITHMS[algorithm](linear(), batches(make), {"lr": 0.1, "steps": 5}, LocalRound())


@pytest.mark.parametrize(
    ("algorithm", "parameters"),
    [
        ("scaffold", {"lr": 0.1, "steps": 5}),
        ("fedsgd", {"lr": 0.1}),
        ("fedsgd", {"lr": 0.1, "steps": 5}),
        ("feddyn", {}),
        ("fedprox", {"mu": 0.1}),
        ("fednova", {"steps": 3}),
    ],
)
def test_training_without_an_optimizer_of_torch_is_refused(algorithm: str, parameters: Mapping[str, Any]) -> None:
    def by_hand(module: nn.Module, epoch: int) -> Mapping[str, float]:
        return {}

    with pytest.raises(InputError, match="expected training by an optimizer of torch, but none stepped on this module"):
        ALGORITHMS[algorithm](linear(), by_hand, parameters, LocalRound())


def test_the_plan_s_rate_is_the_optimizer_s_only_while_it_trains() -> None:
    module = linear()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.7)
    ALGORITHMS["scaffold"](module, batches(lambda p: optimizer), {"lr": 0.05, "steps": 3}, LocalRound())
    assert optimizer.param_groups[0]["lr"] == 0.7


def test_a_correction_of_zero_changes_nothing_and_private_tensors_are_never_corrected() -> None:
    plain, free, own = linear(), linear(), linear()
    train_locally(plain, batches(sgd), epochs=1)
    zero = {"weight": torch.zeros(1, 4, dtype=torch.float64)}
    ALGORITHMS["scaffold"](free, batches(sgd), {"lr": 0.05, "steps": 5}, LocalRound(own=zero, shared=zero))
    one = {"weight": torch.ones(1, 4, dtype=torch.float64)}
    ALGORITHMS["scaffold"](own, batches(sgd), {"lr": 0.05, "steps": 5}, LocalRound(own=one, shared=zero))
    assert torch.equal(free.weight, plain.weight) and torch.equal(free.bias, plain.bias)
    assert not torch.equal(own.weight, plain.weight)


def test_partial_work_ends_an_epoch_and_keeps_the_metrics_of_the_last_whole_one() -> None:
    module, plain = linear(), linear()
    made = ALGORITHMS["fedprox"](module, batches(sgd), {"mu": 0.0, "epochs": 3}, LocalRound(most_steps=7))
    train_locally(plain, batches(sgd), epochs=1)
    assert made.metrics == {"epoch": 0.0}
    once = linear()
    ALGORITHMS["fedprox"](once, batches(sgd), {"mu": 0.0, "epochs": 3, "steps": 5}, LocalRound(most_steps=9))
    assert torch.equal(once.weight, plain.weight)
    assert not torch.equal(module.weight, plain.weight)
