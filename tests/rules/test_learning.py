"""Integer server programs learn as float64's: handwritten digits, ten participants with few classes each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from registry.rules.interpreter import initial_states, replay
from registry.rules.program import RoundScalars
from registry.rules.server_programs import compile_rule
from registry.rules.step import server_step, step_exponent

GRID_BITS = 20
ROUNDS = 20
HIDDEN = 32
RULES = {
    "fedavg": {"rate": 1.0},
    "fedavgm": {"rate": 0.5, "momentum": 0.7},
    "fedadam": {"rate": 0.03, "beta1": 0.9, "beta2": 0.99, "tau": 1e-3},
    "fedyogi": {"rate": 0.03, "beta1": 0.9, "beta2": 0.99, "tau": 1e-3},
    "nesterov": {"rate": 0.5, "momentum": 0.7},
    "fedadagrad": {"rate": 0.1, "beta1": 0.0, "tau": 1e-3},
}
F64 = np.ndarray


@dataclass(frozen=True)
class Data:
    """Digits of participants and for testing: pixels of 0..1, labels."""

    parts: list[tuple[F64, F64]]
    x: F64
    y: F64


@cache
def digits() -> Data:
    datasets = pytest.importorskip("sklearn.datasets")
    found = datasets.load_digits()
    rng = np.random.default_rng(0)
    order = rng.permutation(len(found.target))
    x, y = found.data[order] / 16.0, found.target[order]
    test, train = slice(0, 500), np.arange(500, len(y))
    owners = np.empty(len(train), dtype=int)
    for label in range(10):  # Dirichlet(0.1) over participants, class by class
        of = np.flatnonzero(y[train] == label)
        shares = np.cumsum(rng.dirichlet(np.full(10, 0.1)))
        owners[of] = np.searchsorted(shares, (np.arange(len(of)) + 0.5) / len(of))
    parts = [(x[train[owners == k]], y[train[owners == k]]) for k in range(10)]
    return Data([part for part in parts if len(part[1])], x[test], y[test])


SHAPES = [(64, HIDDEN), (HIDDEN,), (HIDDEN, 10), (10,)]
SIZES = [int(np.prod(shape)) for shape in SHAPES]


def unpacked(w: F64) -> list[F64]:
    return [part.reshape(shape) for part, shape in zip(np.split(w, np.cumsum(SIZES)[:-1]), SHAPES, strict=True)]


def gradient(w: F64, x: F64, y: F64) -> F64:
    """Of the mean cross-entropy of one hidden ReLU layer."""
    w1, b1, w2, b2 = unpacked(w)
    h = np.maximum(x @ w1 + b1, 0)
    z = h @ w2 + b2
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[np.arange(len(y)), y] -= 1
    p /= len(y)
    back = (p @ w2.T) * (h > 0)
    return np.concatenate([g.reshape(-1) for g in (x.T @ back, back.sum(0), h.T @ p, p.sum(0))])


def mean_of_updates(w: F64, t: int) -> F64:
    """One local epoch each; the weighted mean in grid integers, as float64."""
    rng = np.random.default_rng(t)
    total = np.zeros(len(w))
    data = digits()
    for x, y in data.parts:
        local = w.copy()
        order = rng.permutation(len(y))
        for i in range(0, len(y), 16):
            batch = order[i : i + 16]
            local -= 0.1 * gradient(local, x[batch], y[batch])
        total += len(y) * np.clip(np.rint((local - w) * 2.0**GRID_BITS), -(2**24), 2**24)
    return np.rint(total / sum(len(y) for _, y in data.parts))


def accuracy(w: F64) -> float:
    w1, b1, w2, b2 = unpacked(w)
    data = digits()
    z = np.maximum(data.x @ w1 + b1, 0) @ w2 + b2
    return float((z.argmax(1) == data.y).mean())


def start() -> np.ndarray:
    rng = np.random.default_rng(7)
    w1, b1, w2, b2 = (
        rng.normal(0, 1 / np.sqrt(shape[0]), shape) if len(shape) == 2 else np.zeros(shape) for shape in SHAPES
    )
    return np.concatenate([part.reshape(-1) for part in (w1, b1, w2, b2)]).astype(np.float32)


def by_integers(name: str) -> list[float]:
    program = compile_rule(name, RULES[name], GRID_BITS)
    k = step_exponent(0, GRID_BITS, program.fraction_bits)
    w = start()
    states = initial_states(program, len(w))
    scores = []
    for t in range(1, ROUNDS + 1):
        q = mean_of_updates(w.astype(np.float64), t).astype(np.int64)
        d, states = replay(program, q, states, RoundScalars(t, len(digits().parts), 1297, 0))
        w = server_step(w, d, k)
        scores.append(accuracy(w.astype(np.float64)))
    return scores


def by_floats(name: str) -> list[float]:
    """The papers' formulas in float64, with float64 moments."""
    p = RULES[name]
    w = start()
    m, v = np.zeros(len(w)), np.full(len(w), p.get("tau", 0.0) ** 2)
    scores = []
    for t in range(1, ROUNDS + 1):
        delta = mean_of_updates(w.astype(np.float64), t) * 2.0**-GRID_BITS
        if name == "fedavg":
            step = delta
        elif name in ("fedavgm", "nesterov"):
            m = p["momentum"] * m + delta
            step = p["rate"] * (m if name == "fedavgm" else p["momentum"] * m + delta)
        else:
            m = p["beta1"] * m + (1 - p["beta1"]) * delta
            if name == "fedadagrad":
                v = v + delta**2
            else:
                change = delta**2 - v if name == "fedadam" else delta**2 * np.sign(delta**2 - v)
                v = v + (1 - p["beta2"]) * change
            step = p["rate"] * m / (np.sqrt(v) + p["tau"])
        w = (w.astype(np.float64) + step).astype(np.float32)
        scores.append(accuracy(w.astype(np.float64)))
    return scores


@pytest.mark.parametrize("name", RULES)
def test_integers_learn_as_float64_does(name: str) -> None:
    ours, theirs = by_integers(name), by_floats(name)
    apart = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
    print(
        f"\n{name}: accuracy after 5, 10, 20 rounds {ours[4]:.3f} {ours[9]:.3f} {ours[19]:.3f}, "
        f"in float64 {theirs[4]:.3f} {theirs[9]:.3f} {theirs[19]:.3f}; at most {apart:.3f} apart in any round"
    )
    assert ours[-1] > 0.6  # it learns at all: chance is 0.1
    assert abs(ours[-1] - theirs[-1]) <= 0.01
    assert apart <= 0.03
