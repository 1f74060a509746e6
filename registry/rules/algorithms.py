"""The table of client algorithms: parameters of a plan's `algorithm`, the rules that each needs, bounds of its steps.

`trainer/algorithms` trains by them. What participants compute is not recomputed by anybody; readers only need to know
how many steps an update may declare (`step_bounds`), and which drift variable follows from public updates
(`registry.rounds.drift`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from registry.errors import InputError
from registry.rules.table import UNIFORM
from registry.types import MAX_STEPS

__all__ = [
    "Asks",
    "CLIENT_ALGORITHMS",
    "COMMON",
    "ClientAlgorithm",
    "Goals",
    "NumberParameter",
    "SAMPLED",
    "asks_of",
    "goals_of",
    "is_common",
    "require_fitting",
    "require_parameters",
    "step_bounds",
    "with_usual",
]

Parameters = Mapping[str, bool | int | float | str]


@dataclass(frozen=True, slots=True)
class NumberParameter:
    """A parameter of a client algorithm.

    Attributes:
        name: Name in the plan.
        lowest: Least value; not allowed itself if `open`.
        highest: Greatest value.
        whole: Whether only whole numbers are allowed.
        usual: Value if the plan does not say it; None if it must, or if `optional`.
        optional: Whether it may be left out without a usual value.
        open: Whether `lowest` itself is excluded.
    """

    name: str
    lowest: float
    highest: float
    whole: bool = False
    usual: float | None = None
    optional: bool = False
    open: bool = False

    def __str__(self) -> str:
        highest = int(self.highest) if self.whole else f"{self.highest:g}"
        bounds = f"{'above ' if self.open else ''}{self.lowest:g} to {highest}"
        left_out = " (optional)" if self.optional else "" if self.usual is None else f" (default {self.usual:g})"
        return f"{bounds}{left_out}"

    def allows(self, value: object) -> bool:
        """Return whether a plan may give this value."""
        if type(value) not in ((int,) if self.whole else (int, float)):
            return False
        assert isinstance(value, int | float)
        return self.lowest <= value <= self.highest and not (self.open and value == self.lowest)


@dataclass(frozen=True, slots=True)
class ClientAlgorithm:
    """A client algorithm.

    Attributes:
        parameters: What a plan says of it.
        description: One-line description.
        paper: Citation.
        server: Server rule that is the other half of it; None if it works with any that is no half of another.
        uniform: Whether each contribution must count once.
        partial: Whether a participant may take fewer steps than the plan's.
        exact: Whether every update has exactly the plan's `steps`.
        fixed_steps: Number of steps of every update if the plan gives none; None if it may be any.
    """

    parameters: tuple[NumberParameter, ...]
    description: str
    paper: str
    server: str | None = None
    uniform: bool = False
    partial: bool = False
    exact: bool = False
    fixed_steps: int | None = None


class _Planned(Protocol):
    """A plan's manifest, as far as this table reads it."""

    @property
    def algorithm(self) -> _Named: ...

    @property
    def server(self) -> _Named: ...

    @property
    def weights(self) -> str: ...


class _Shown(Protocol):
    """A parameter of an algorithm or a server rule, as far as a line of them shows it."""

    @property
    def name(self) -> str: ...

    @property
    def usual(self) -> float | None: ...


class _Named(Protocol):
    """A procedure or server rule of a plan."""

    @property
    def name(self) -> str | None: ...

    @property
    def parameters(self) -> Parameters: ...


_EPOCHS = NumberParameter("epochs", 1, MAX_STEPS, whole=True, usual=1)
_MOST_STEPS = NumberParameter("steps", 1, MAX_STEPS, whole=True, optional=True)
_LR = NumberParameter("lr", 0, 1e6, open=True)
SAMPLED = NumberParameter("sampled", 0, 1, usual=1.0, open=True)
"""A parameter of every algorithm: the share of participants that are asked, see `registry.rounds.client_sampling`."""
COMMON = {
    "adapter": "the adapter's settings, JSON as in PEFT's `adapter_config.json`",
    "labels": "sha2-256 of the label map",
    "task": "sha2-256 of the task's settings",
    "tokenizer": "sha2-256 of the tokenizer",
}
"""Optional text parameters of every algorithm: what participants must have in common, which each compares with its own
before it trains (`trainer.common_terms`). Digests are 64 hexadecimal digits."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
GOALS = (
    NumberParameter("least_score", 0, 1, optional=True),
    NumberParameter("max_rounds", 1, 2**32 - 1, whole=True, optional=True),
    NumberParameter("patience", 1, 1000, whole=True, optional=True),
)
"""Parameters of every algorithm: gate and stop rule, see `registry.rounds.gates`."""
CLIENT_ALGORITHMS = {
    "fedavg": ClientAlgorithm(
        (_EPOCHS,),
        "local epochs",
        "McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data, AISTATS 2017",
    ),
    "fedsgd": ClientAlgorithm(
        (_LR, NumberParameter("decay", 0, 1, usual=1.0, open=True), _MOST_STEPS),
        "one step on the local data, at a rate by round",
        "McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data, AISTATS 2017",
        fixed_steps=1,
    ),
    "fedprox": ClientAlgorithm(
        (NumberParameter("mu", 0, 1e9), _EPOCHS, _MOST_STEPS),
        "local epochs with a proximal term; partial work",
        "Li et al., Federated Optimization in Heterogeneous Networks, MLSys 2020",
        partial=True,
    ),
    "scaffold": ClientAlgorithm(
        (_LR, NumberParameter("steps", 1, MAX_STEPS, whole=True)),
        "equal steps, corrected by control variates",
        "Karimireddy et al., SCAFFOLD: Stochastic Controlled Averaging for Federated Learning, ICML 2020",
        server="scaffold",
        uniform=True,
        exact=True,
    ),
    "fednova": ClientAlgorithm(
        (_EPOCHS, _MOST_STEPS),
        "the mean change of a local step; partial work",
        "Wang et al., Tackling the Objective Inconsistency Problem in Heterogeneous Federated Optimization, NeurIPS "
        "2020",
        server="fednova",
        partial=True,
    ),
    "feddyn": ClientAlgorithm(
        (NumberParameter("alpha", 0, 1e6, usual=0.01, open=True), _EPOCHS),
        "local epochs with a dynamic regularizer",
        "Acar et al., Federated Learning Based on Dynamic Regularization, ICLR 2021",
        server="feddyn",
        uniform=True,
    ),
    "fedrep": ClientAlgorithm(
        (NumberParameter("head_epochs", 1, MAX_STEPS, whole=True, usual=10), _EPOCHS),
        "epochs of the private head, then of the body",
        "Collins et al., Exploiting Shared Representations for Personalized Federated Learning, ICML 2021",
    ),
}
"""The client algorithms, by name."""
_HALVES = {known.server: name for name, known in CLIENT_ALGORITHMS.items() if known.server is not None}


def with_usual(parameters: Sequence[_Shown]) -> str:
    """Return parameters as a line of names, with the value of each that has a usual one."""
    return ", ".join(p.name if p.usual is None else f"{p.name}={p.usual:g}" for p in parameters)


def is_common(name: str, value: object) -> bool:
    """Return whether a plan may give this value to a parameter of `COMMON`."""
    return isinstance(value, str) and (name == "adapter" or _DIGEST.fullmatch(value) is not None)


def require_parameters(name: str, parameters: Parameters) -> dict[str, float | None]:
    """Return an algorithm's numbers, checked, with its usual values for those left out; None where it has none.

    Raises:
        InputError: There is no such algorithm, or a parameter is missing, unknown or out of bounds.
    """
    known = CLIENT_ALGORITHMS.get(name)
    if known is None:
        raise InputError(f"plan: expected an algorithm of {', '.join(CLIENT_ALGORITHMS)}, got {name!r}")
    found: dict[str, float | None] = {}
    allowed = (*known.parameters, SAMPLED, *GOALS)
    right = set(parameters) <= {p.name for p in allowed} | COMMON.keys()
    right &= all(is_common(each, parameters[each]) for each in COMMON if each in parameters)
    for p in allowed:
        value = parameters.get(p.name, p.usual)
        right &= p.allows(value) or (value is None and p.optional)
        found[p.name] = value if isinstance(value, int | float) else None
    if not right:
        expected = ", ".join(f"{p.name} {p}" for p in allowed)
        texts = ", ".join(COMMON)
        raise InputError(f"{name}: expected parameters {expected}, texts {texts} (optional); got {dict(parameters)}")
    return found


def require_fitting(plan: _Planned) -> None:
    """Check that a plan's algorithm has the parameters, server rule and weights that it is defined with.

    Raises:
        InputError: It has not; or the server rule is the other half of another algorithm.
    """
    name, server = str(plan.algorithm.name), plan.server.name
    require_parameters(name, plan.algorithm.parameters)
    known = CLIENT_ALGORITHMS[name]
    if known.server is not None and server != known.server:
        raise InputError(
            f"{name}: expected the server rule {known.server}, its other half, got {server or 'a program'}"
        )
    if known.server is None and server in _HALVES:
        raise InputError(f"server rule {server}: expected the algorithm {_HALVES[server]}, its other half, got {name}")
    if known.uniform and plan.weights != UNIFORM:
        raise InputError(
            f"{name}: expected weights {UNIFORM}, as its server rule counts each update once (combine rule "
            f"uniform_mean), got {plan.weights}"
        )


def step_bounds(algorithm: _Named) -> tuple[int, int]:
    """Return the least and greatest number of steps that an update may declare under a plan's algorithm.

    Of an unknown algorithm, or one with parameters that it does not have, any number is allowed.
    """
    try:
        steps = require_parameters(str(algorithm.name), algorithm.parameters).get("steps")
    except InputError:
        return 1, MAX_STEPS
    known = CLIENT_ALGORITHMS[str(algorithm.name)]
    most = known.fixed_steps if steps is None else int(steps)
    if most is None:
        return 1, MAX_STEPS
    return (most if known.exact or steps is None else 1), most


@dataclass(frozen=True, slots=True)
class Asks:
    """What a plan's algorithm asks of the commitments to a round.

    Attributes:
        steps: Least and greatest number of steps that an update may declare.
        share: Share of the participants that a round asks, exact.
    """

    steps: tuple[int, int]
    share: Fraction


def asks_of(algorithm: _Named) -> Asks:
    """Return what a plan's algorithm asks of commitments; nothing if it is unknown or its parameters are invalid."""
    try:
        share = require_parameters(str(algorithm.name), algorithm.parameters)[SAMPLED.name]
    except InputError:
        share = None
    return Asks(step_bounds(algorithm), Fraction(1 if share is None else share))


@dataclass(frozen=True, slots=True)
class Goals:
    """A plan's gate and stop rule; each None if the plan has none.

    Attributes:
        least_score: The least score, 0 to 1, of the result that the next round builds on.
        max_rounds: The most finalized rounds.
        patience: The most scored results in a row without a gain.
    """

    least_score: float | None = None
    max_rounds: int | None = None
    patience: int | None = None


def goals_of(algorithm: _Named) -> Goals:
    """Return the gate and stop rule of a plan's algorithm; none if it is unknown or its parameters are invalid."""
    try:
        found = require_parameters(str(algorithm.name), algorithm.parameters)
    except InputError:
        return Goals()
    most, patience = found["max_rounds"], found["patience"]
    return Goals(found["least_score"], None if most is None else int(most), None if patience is None else int(patience))
