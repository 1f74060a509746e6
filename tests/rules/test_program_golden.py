"""The rules that ship have golden encodings, and golden results that Python's integers give without any program.

`python tests/rules/test_golden.py` writes the golden file anew; only a format that was never released may need that.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registry.rules import interpreter as module
from registry.rules.interpreter import initial_states, replay
from registry.rules.program import Program, RoundScalars, decode, encode
from registry.rules.server_programs import RULES, compile_rule, is_compiled

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "rules" / "programs.json"
ADAPTIVE = {"rate": 0.1, "beta1": 0.9, "beta2": 0.99, "tau": 1e-3}
CASES: dict[str, tuple[str, dict[str, float], int]] = {
    "fedavg": ("fedavg", {"rate": 1.0}, 20),
    "fedavg-third": ("fedavg", {"rate": 1 / 3}, 20),
    "fedavg-double": ("fedavg", {"rate": 2.0}, 0),
    "fedavgm": ("fedavgm", {"rate": 1.0, "momentum": 0.9}, 20),
    "fedavgm-slow": ("fedavgm", {"rate": 0.01, "momentum": 0.99}, 24),
    "fedadam": ("fedadam", ADAPTIVE, 20),
    "fedadam-fine": ("fedadam", ADAPTIVE | {"rate": 1e-4, "beta1": 0.0, "beta2": 0.999, "tau": 1e-6}, 24),
    "fedyogi": ("fedyogi", ADAPTIVE, 20),
    "fedyogi-fine": ("fedyogi", ADAPTIVE | {"rate": 0.01, "tau": 0.5}, 12),
    "nesterov": ("nesterov", {"rate": 0.7, "momentum": 0.9}, 20),
    "nesterov-slow": ("nesterov", {"rate": 0.003, "momentum": 0.99}, 24),
    "fedadagrad": ("fedadagrad", {"rate": 0.1, "beta1": 0.0, "tau": 1e-3}, 20),
    "fedadagrad-fine": ("fedadagrad", {"rate": 0.01, "beta1": 0.9, "tau": 1e-6}, 24),
    "scaffold": ("scaffold", {"rate": 1.0, "participants": 7.0}, 20),
    "scaffold-few": ("scaffold", {"rate": 0.3, "participants": 2.0}, 24),
    "fednova": ("fednova", {}, 20),
    "feddyn": ("feddyn", {"participants": 7.0}, 20),
    "feddyn-few": ("feddyn", {"participants": 2.0}, 24),
}
"""Name to rule, parameters and grid bits."""
COUNT = 2003
ROUNDS = 4
CONTRIBUTIONS, TOTAL_STEPS = 3, 17
"""Scalars of every round; 10 is the total weight."""


def aggregate(t: int) -> list[int]:
    """Grid integers of round t: all magnitudes, both ends, zeros."""
    q = [((i * 2654435761 * t) % (1 << 25) - (1 << 24)) >> (i % 25) for i in range(COUNT)]
    q[:4] = [1 << 24, -(1 << 24), 0, (-1) ** t << 24]
    return q


# The rules in Python's integers ---------------------------------------------------------------------------------------


def fraction_bits(largest: Fraction) -> int:
    return next(f for f in range(48, -1, -1) if f == 0 or largest * 2**f <= 2**24)


def significant(x: Fraction, bits: int = 17) -> Fraction:
    """x to so many significant bits, ties to even."""
    unit = Fraction(1)
    while x / unit >= 2**bits:
        unit *= 2
    while x / unit < 2 ** (bits - 1):
        unit /= 2
    return round(x / unit) * unit


class Expected:
    """One coordinate under one rule, by its paper's formula."""

    def __init__(self, rule: str, parameters: dict[str, float], grid_bits: int) -> None:
        self.rule = rule
        exact = {name: Fraction(value) for name, value in parameters.items()}
        self.rate = exact.get("rate", Fraction(1))
        self.state: tuple[int, ...] = ()
        self.share = min(Fraction(1), CONTRIBUTIONS / exact.get("participants", Fraction(CONTRIBUTIONS)))
        self.f = 0
        if rule in ("fedavg", "scaffold"):
            self.f = fraction_bits(self.rate * 2**24)
            self.state = () if rule == "fedavg" else (0,)
        elif rule in ("fedavgm", "nesterov"):
            self.beta = Fraction(round(exact["momentum"] * 2**14), 2**14)
            self.most = -(-(2**24) // (1 - self.beta))
            self.f = fraction_bits(self.rate * self.most)
            self.state = (0,)
        elif rule == "feddyn":
            self.state = (0,)
        elif rule != "fednova":
            self.beta = Fraction(round(exact["beta1"] * 2**14), 2**14)
            self.beta2 = Fraction(round(exact.get("beta2", Fraction(0)) * 2**14), 2**14)
            self.rate *= 2**grid_bits
            self.tau = exact["tau"] * 2**grid_bits
            self.f = fraction_bits(16 * self.rate)
            self.state = (0, round(self.tau**2))

    def step(self, q: int, state: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        rules = {
            "fedavg": self.by_rate,
            "scaffold": self.by_rate,
            "fedavgm": self.by_momentum,
            "nesterov": self.by_momentum,
            "fednova": self.by_steps,
            "feddyn": self.by_drift,
        }
        d, state = rules.get(self.rule, self.adaptive)(q, state)
        return max(-(2**24), min(2**24, d)), state

    def by_rate(self, q: int, state: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        state = tuple(c + round((256 * q - c) * self.share) for c in state)
        return round(q * significant(self.rate * 2**self.f)), state

    def by_momentum(self, q: int, state: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        m = round(self.beta * state[0]) + 256 * q
        along = m if self.rule == "fedavgm" else round(self.beta * m) + 256 * q
        d = round(along * significant(self.rate * 2**self.f / 256))
        return d, (max(-256 * self.most, min(256 * self.most, m)),)

    def by_steps(self, q: int, state: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        return round(Fraction(q * TOTAL_STEPS, CONTRIBUTIONS)), ()

    def by_drift(self, q: int, state: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        h = state[0] + round(256 * q * self.share)
        return q + round(Fraction(h, 256)), (max(-(2**33), min(2**33, h)),)

    def adaptive(self, q: int, state: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        m = round(self.beta * state[0] + (1 - self.beta) * 256 * q)
        v, most = state[1], 2**48 - 1
        if self.rule == "fedadam":
            v = round(self.beta2 * v + (1 - self.beta2) * q * q)
        elif self.rule == "fedadagrad":
            v, most = v + q * q, 3 * 2**48 - 1
        elif v > q * q:
            v -= round((1 - self.beta2) * q * q)
        elif v < q * q:
            v += round((1 - self.beta2) * q * q)
        d = round(Fraction(m * round(self.rate * 2**self.f / 4), isqrt(4096 * v) + round(64 * self.tau)))
        return d, (m, max(0, min(most, v)))


def expected_digest(name: str) -> str:
    rule = Expected(*CASES[name])
    states = [rule.state] * COUNT
    numbers: list[int] = []
    for t in range(1, ROUNDS + 1):
        made = [rule.step(q, state) for q, state in zip(aggregate(t), states, strict=True)]
        states = [state for _, state in made]
        numbers += [d for d, _ in made]
    return sha256([*numbers, *(x for state in states for x in state)])


def sha256(numbers: list[int]) -> str:
    return hashlib.sha256(b"".join(x.to_bytes(8, "little", signed=True) for x in numbers)).hexdigest()


def golden() -> dict[str, Any]:
    return json.loads(GOLDEN.read_text())


# The same of the programs ---------------------------------------------------------------------------------------------


def replayed(program: Program) -> list[int]:
    """Every round's d and the last states."""
    states = initial_states(program, COUNT)
    numbers: list[int] = []
    for t in range(1, ROUNDS + 1):
        d, states = replay(program, np.array(aggregate(t)), states, RoundScalars(t, CONTRIBUTIONS, 10, TOTAL_STEPS))
        numbers += d.tolist()
    return [*numbers, *states.reshape(-1).tolist()]


def all_digests() -> list[str]:
    return [sha256(replayed(decode(bytes.fromhex(case["encoding"])))) for case in golden().values()]


@pytest.mark.parametrize("name", CASES)
def test_a_rule_compiles_to_its_golden_encoding(name: str) -> None:
    program = compile_rule(*CASES[name])
    assert encode(program).hex() == golden()[name]["encoding"]
    assert decode(bytes.fromhex(golden()[name]["encoding"])) == program
    assert is_compiled(program, *CASES[name])


def test_every_rule_has_a_golden_case() -> None:
    assert {rule for rule, _, _ in CASES.values()} == RULES.keys()
    assert golden().keys() == CASES.keys()


@pytest.mark.parametrize("name", CASES)
def test_replay_gives_the_golden_results(name: str) -> None:
    assert sha256(replayed(compile_rule(*CASES[name]))) == golden()[name]["digest"]


@pytest.mark.parametrize("name", CASES)
def test_the_formulas_in_integers_give_the_golden_results(name: str) -> None:
    assert expected_digest(name) == golden()[name]["digest"]


@pytest.mark.parametrize("tile", [1, 7, 64, 2002, 1 << 20])
def test_any_tile_gives_the_golden_results(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TILE", tile)
    assert sha256(replayed(compile_rule(*CASES["fedyogi"]))) == golden()["fedyogi"]["digest"]


@pytest.mark.parametrize("name", sorted({rule for rule, _, _ in CASES.values()}))
def test_leaves_by_themselves_give_the_golden_results(name: str) -> None:
    """As a challenger replays: leaf by leaf, the last one short, each with its states alone."""
    program = compile_rule(*CASES[name])
    leaves = [slice(first, first + 256) for first in range(0, COUNT, 256)]
    states = [initial_states(program, len(range(COUNT)[leaf])) for leaf in leaves]
    numbers: list[int] = []
    for t in range(1, ROUNDS + 1):
        q, scalars = np.array(aggregate(t)), RoundScalars(t, CONTRIBUTIONS, 10, TOTAL_STEPS)
        for i, leaf in enumerate(leaves):
            d, states[i] = replay(program, q[leaf], states[i], scalars)
            numbers += d.tolist()
    assert sha256([*numbers, *(x for one in states for x in one.reshape(-1).tolist())]) == golden()[name]["digest"]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_order_and_number_of_threads_give_the_golden_results(threads: int) -> None:
    program = compile_rule(*CASES["fedadam"])
    order = np.random.default_rng(threads).permutation(COUNT)
    states, d = initial_states(program, COUNT), np.empty(COUNT, dtype=np.int64)
    numbers: list[int] = []
    for t in range(1, ROUNDS + 1):
        q, old = np.array(aggregate(t)), states.copy()

        def one(part: np.ndarray, q: np.ndarray = q, old: np.ndarray = old, t: int = t) -> None:
            d[part], states[part] = replay(program, q[part], old[part], RoundScalars(t, CONTRIBUTIONS, 10, TOTAL_STEPS))

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one, np.array_split(order, 3 * threads)))
        numbers += d.tolist()
    assert sha256([*numbers, *states.reshape(-1).tolist()]) == golden()["fedadam"]["digest"]


def dispatched() -> list[str]:
    """Sets of vector instructions that this machine has and numpy would use, from the most to the fewest left off."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    names = [name for name in __cpu_dispatch__ if __cpu_features__[name]]
    return [" ".join(names[i:]) for i in range(len(names))]


@pytest.mark.slow
@pytest.mark.parametrize("off", [*dispatched(), ""])
def test_any_vector_instructions_give_the_golden_results(off: str) -> None:
    code = f"import runpy; print(*runpy.run_path({str(Path(__file__))!r})['all_digests']())"
    environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": off, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [case["digest"] for case in golden().values()]


if __name__ == "__main__":
    made = {
        name: {"encoding": encode(compile_rule(*case)).hex(), "digest": expected_digest(name)}
        for name, case in CASES.items()
    }
    GOLDEN.parent.mkdir(parents=True, exist_ok=True)
    GOLDEN.write_text(json.dumps(made, indent=1) + "\n")
