"""Built-in server rules, compiled to server programs: the optimizers FedAvg, FedAvgM, Nesterov, FedAdagrad, FedAdam and
FedYogi, and the server's part of SCAFFOLD, FedNova and FedDyn.

A plan that names a rule also holds the program that `compile_rule` returns for the name, its parameters and the grid
bits; readers check that the two agree. A plan can also carry one's own program, traced from a Python function by
`tracing.trace`, without a change to this code.

All apply the aggregated update to the version w. FedAvg is server SGD: w += server_lr * aggregated update. The server
learning rate is called `rate` in plans, and the aggregated update is `mean` below.

Units. Let g = 2^-s be the grid step. The rate and tau are in units of the update, as in the papers: tau is tau / g grid
steps, and an adaptive step of about the rate is rate / g grid steps. Under a segment's scale exponent e, updates are
divided by 2^e, so there the rate and tau of an adaptive rule are 2^e times as large; the other rules are linear and
unaffected. The first moment is in units of 1/256 grid step, the second in squared grid steps.

Names and defaults are the papers' and Flower's (`flwr.serverapp.strategy`), except that `rate` is Flower's
`server_learning_rate` and `eta`, and `beta1`, `beta2` are its `beta_1`, `beta_2`. Flower corrects FedAdam's bias and
starts v at 0; here, as in the paper, nothing is corrected and v starts at tau^2. A local rate (Flower's `eta_l`) is the
participants' matter.

Resolution. Decay rates are k / 2^14, rounded half to even; rates have 17 significant bits or more. d has as many
fraction bits as the largest step permits, so that small steps survive rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from registry.errors import InputError
from registry.rules.program import MAX_FRACTION_BITS, Program, StateBounds
from registry.rules.tracing import TracedScalars, Value, divide, isqrt, maximum, minimum, sign, trace
from registry.types import GRID_LIMIT, MAX_GRID_BITS

__all__ = [
    "CONVICTED_BY",
    "FloatParameter",
    "MOMENT",
    "RULES",
    "NamedServerRule",
    "compile_rule",
    "fedadagrad",
    "fedadam",
    "fedavg",
    "fedavgm",
    "feddyn",
    "fednova",
    "fedyogi",
    "is_compiled",
    "nesterov",
    "scaffold",
    "with_defaults",
]

ONE = 1 << 14
"""Decay rates are multiples of 1 / ONE."""
MOMENT = 256
"""First moments, and the drift of SCAFFOLD and FedDyn, are in units of 1 / MOMENT grid steps."""
ROOT = 64
"""Square roots of second moments, and tau, are in units of 1 / ROOT grid steps."""


def fedavg(grid_bits: int, rate: float) -> Program:
    """Server SGD: w += server_lr * aggregated update, that is w <- w + rate * mean.

    Rate 1: McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data, AISTATS 2017.
    Any rate: Reddi et al., Adaptive Federated Optimization, ICLR 2021, algorithm 1 with SGD as the server's optimizer.
    """
    f = _fraction_bits(Fraction(rate) * GRID_LIMIT)
    number, unit = _ratio(Fraction(rate) * 2**f)

    def step(q: Value, states: tuple[Value, ...], scalars: TracedScalars) -> tuple[Value, Sequence[Value]]:
        return divide(q * number, unit), ()

    return trace(step, fraction_bits=f)


def fedavgm(grid_bits: int, rate: float, momentum: float) -> Program:
    """Server SGD with momentum: m <- momentum * m + mean; w <- w + rate * m.

    Hsu et al., Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification, 2019
    (arXiv:1909.06335), FedAvgM without Nesterov's variant. The default momentum 0.9 is the paper's; Flower's, 0, is
    FedAvg.
    """
    return _momentum(rate, momentum, ahead=False)


def nesterov(grid_bits: int, rate: float, momentum: float) -> Program:
    """SGD with Nesterov momentum: m <- momentum * m + mean; w <- w + rate * (momentum * m + mean).

    The outer step of DiLoCo, with its rate 0.7 and momentum 0.9: Douillard et al., DiLoCo: Distributed
    Low-Communication Training of Language Models, 2023 (arXiv:2311.08105). The same as torch.optim.SGD(nesterov=True)
    with the gradient -mean.
    """
    return _momentum(rate, momentum, ahead=True)


def _momentum(rate: float, momentum: float, *, ahead: bool) -> Program:
    """Server SGD along m or, looking ahead, along momentum * m + mean."""
    beta = round(Fraction(momentum) * ONE)
    most = -(-GRID_LIMIT * ONE // (ONE - beta))  # grid steps: the sum of the geometric series, ahead or not
    f = _fraction_bits(Fraction(rate) * most)
    number, unit = _ratio(Fraction(rate) * 2**f / MOMENT)

    def step(q: Value, states: tuple[Value, ...], scalars: TracedScalars) -> tuple[Value, Sequence[Value]]:
        (m,) = states
        m = divide(beta * m, ONE) + q * MOMENT
        along = divide(beta * m, ONE) + q * MOMENT if ahead else m
        return divide(along * number, unit), (m,)

    return trace(step, states=(StateBounds(-most * MOMENT, most * MOMENT, 0),), fraction_bits=f)


def fedadagrad(grid_bits: int, rate: float, beta1: float, tau: float) -> Program:
    """m <- beta1 m + (1 - beta1) mean; v <- v + mean^2; w <- w + rate * m / (sqrt(v) + tau).

    Reddi et al., Adaptive Federated Optimization, ICLR 2021, algorithm 2, FedAdagrad: v_0 = tau^2. beta1 is 0 in the
    paper's experiments and in Flower, which has no such parameter. v saturates at 3 * 2^48 squared grid steps, where
    the updates of all rounds have a norm of 1.7 times the largest update: from there on the rate no longer falls.
    """
    return _adaptive(grid_bits, rate, beta1, tau, lambda v, square: v + square, 3 * GRID_LIMIT**2 - 1)


def fedadam(grid_bits: int, rate: float, beta1: float, beta2: float, tau: float) -> Program:
    """m <- beta1 m + (1 - beta1) mean; v <- beta2 v + (1 - beta2) mean^2; w <- w + rate * m / (sqrt(v) + tau).

    Reddi et al., Adaptive Federated Optimization, ICLR 2021, algorithm 2, FedAdam: no bias correction, v_0 = tau^2.
    """
    return _adaptive(grid_bits, rate, beta1, tau, _adam_moment(round(Fraction(beta2) * ONE)), GRID_LIMIT**2 - 1)


def fedyogi(grid_bits: int, rate: float, beta1: float, beta2: float, tau: float) -> Program:
    """As FedAdam, with v <- v - (1 - beta2) mean^2 sign(v - mean^2).

    Reddi et al., Adaptive Federated Optimization, ICLR 2021, algorithm 2, FedYogi: no bias correction, v_0 = tau^2.
    """
    return _adaptive(grid_bits, rate, beta1, tau, _yogi_moment(round(Fraction(beta2) * ONE)), GRID_LIMIT**2 - 1)


def scaffold(grid_bits: int, rate: float, participants: float) -> Program:
    """x <- x + rate * mean; c <- c + |S| / N * mean of the changes of c_k. Server side of SCAFFOLD, option II.

    Karimireddy et al., SCAFFOLD: Stochastic Controlled Averaging for Federated Learning, ICML 2020, algorithm 1. With K
    local steps of rate lr by everybody, c_k changes by -c - update_k / (K lr). So the state C = -K lr c, in units of
    the update, needs no second upload: C <- C + |S| / N * (mean - C). S are the round's contributions, each counting
    once; N is `participants`, and more contributions count as N.
    """
    total = _count("participants", participants)
    f = _fraction_bits(Fraction(rate) * GRID_LIMIT)
    number, unit = _ratio(Fraction(rate) * 2**f)

    def step(q: Value, states: tuple[Value, ...], scalars: TracedScalars) -> tuple[Value, Sequence[Value]]:
        (c,) = states
        c = c + divide((q * MOMENT - c) * minimum(scalars.contributions, total), total)
        return divide(q * number, unit), (c,)

    largest = MOMENT * GRID_LIMIT
    return trace(step, states=(StateBounds(-largest, largest, 0),), fraction_bits=f)


def fednova(grid_bits: int) -> Program:
    """w <- w + tau_eff * mean, where updates are divided by their steps and tau_eff is the mean number of steps.

    Wang et al., Tackling the Objective Inconsistency Problem in Heterogeneous Federated Optimization, NeurIPS 2020. The
    contract holds the sum of the committed steps, so tau_eff = total steps / contributions. That is the paper's
    sum of p_k tau_k if each contribution counts once; by examples it differs by one factor for all coordinates, which
    the paper leaves free: it changes how far a round goes, not where the rounds lead.
    """

    def step(q: Value, states: tuple[Value, ...], scalars: TracedScalars) -> tuple[Value, Sequence[Value]]:
        return divide(q * scalars.total_steps, scalars.contributions), ()

    return trace(step)


def feddyn(grid_bits: int, participants: float) -> Program:
    """h <- h - alpha |S| / N * mean; w <- w + mean - h / alpha. Server side of FedDyn.

    Acar et al., Federated Learning Based on Dynamic Regularization, ICLR 2021, algorithm 1. The state is H = -h /
    alpha, in units of the update, so alpha is the participants' parameter alone: H <- H + |S| / N * mean. S are the
    round's contributions, each counting once; N is `participants`, and more contributions count as N. H saturates at
    twice the largest update.
    """
    total = _count("participants", participants)

    def step(q: Value, states: tuple[Value, ...], scalars: TracedScalars) -> tuple[Value, Sequence[Value]]:
        (h,) = states
        h = h + divide(q * MOMENT * minimum(scalars.contributions, total), total)
        return q + divide(h, MOMENT), (h,)

    largest = 2 * MOMENT * GRID_LIMIT
    return trace(step, states=(StateBounds(-largest, largest, 0),))


def _adaptive(
    grid_bits: int, rate: float, beta1: float, tau: float, moment: Callable[[Value, Value], Value], most: int
) -> Program:
    """Algorithm 2 with a second moment of at most so much; d saturates at 16 times the rate or more, or at 2^24."""
    steps = _in_grid_steps("rate", rate, grid_bits, -28, 22)
    tau_steps = _in_grid_steps("tau", tau, grid_bits, 0, 23)
    beta = round(Fraction(beta1) * ONE)
    f = _fraction_bits(16 * steps)
    number = round(steps * 2**f * ROOT / MOMENT)

    def step(q: Value, states: tuple[Value, ...], scalars: TracedScalars) -> tuple[Value, Sequence[Value]]:
        m, v = states
        m = divide(beta * m + (ONE - beta) * MOMENT * q, ONE)
        v = moment(v, q * q)
        return divide(m * number, isqrt(v * ROOT**2) + round(tau_steps * ROOT)), (m, v)

    largest = MOMENT * GRID_LIMIT
    first = StateBounds(-largest, largest, 0)
    second = StateBounds(0, most, round(tau_steps**2))
    return trace(step, states=(first, second), fraction_bits=f)


def _adam_moment(beta: int) -> Callable[[Value, Value], Value]:
    return lambda v, square: divide(beta * v + (ONE - beta) * square, ONE)


def _yogi_moment(beta: int) -> Callable[[Value, Value], Value]:
    def moment(v: Value, square: Value) -> Value:
        # If v exceeds the square, the subtrahend is below v: the maximum only serves the interval analysis.
        return maximum(v - divide((ONE - beta) * square, ONE) * sign(v - square), 0)

    return moment


def _fraction_bits(largest: Fraction) -> int:
    """Return the most fraction bits f, 0..48, for which largest grid steps times 2^f are at most 2^24."""
    f = 0
    while f < MAX_FRACTION_BITS and largest * 2 ** (f + 1) <= GRID_LIMIT:
        f += 1
    return f


def _ratio(x: Fraction) -> tuple[int, int]:
    """Return numerator and power-of-two denominator that approximate x to 17 bits."""
    bits = 0
    while x * 2**bits < 1 << 16:
        bits += 1
    rounded = Fraction(round(x * 2**bits), 2**bits)
    return rounded.numerator, rounded.denominator


def _in_grid_steps(name: str, value: float, grid_bits: int, low: int, high: int) -> Fraction:
    steps = Fraction(value) * (1 << grid_bits)
    if not Fraction(2) ** low <= steps <= 2**high:
        raise InputError(
            f"{name}: expected 2^{low - grid_bits}..2^{high - grid_bits} with {grid_bits} grid bits, got {value!r}"
        )
    return steps


def _count(name: str, value: float) -> int:
    if value != int(value):
        raise InputError(f"{name}: expected a whole number, got {value!r}")
    return int(value)


@dataclass(frozen=True, slots=True)
class FloatParameter:
    """A parameter of a rule: a float in lowest..highest.

    Attributes:
        usual: Default, the paper's or Flower's; None if a plan must say it.
    """

    name: str
    lowest: float
    highest: float
    usual: float | None = None

    def __str__(self) -> str:
        return f"{self.lowest:g}..{self.highest:g}{'' if self.usual is None else f', default {self.usual:g}'}"


@dataclass(frozen=True, slots=True)
class NamedServerRule:
    """A built-in rule.

    Attributes:
        parameters: In the argument order of `build`, after the grid bits.
        build: Returns the program.
        description: One-line description.
        paper: Citation.
    """

    parameters: tuple[FloatParameter, ...]
    build: Callable[..., Program]
    description: str
    paper: str


_REDDI = "Reddi et al., Adaptive Federated Optimization, ICLR 2021"
_RATE = FloatParameter("rate", 2.0**-24, 2.0**8, 1.0)
_PARTICIPANTS = FloatParameter("participants", 1.0, 2.0**20 - 1)
_MOST_MOMENTUM = 1 - 2.0**-10


def _adaptive_parameters(rate: float, beta1: float, beta2: float | None = None) -> tuple[FloatParameter, ...]:
    """The parameters of algorithm 2 with these defaults; rate and tau have narrower bounds for given grid bits."""
    second = () if beta2 is None else (FloatParameter("beta2", 1 / ONE, 1 - 1 / ONE, beta2),)
    return (
        FloatParameter("rate", 2.0**-154, 2.0**22, rate),
        FloatParameter("beta1", 0.0, 1 - 1 / ONE, beta1),
        *second,
        FloatParameter("tau", 2.0**-126, 2.0**23, 1e-3),
    )


CONVICTED_BY = ("convictVersion", "convictState", "convictRoots")
"""Fraud proofs of a false server step, under any program."""
RULES = {
    "fedavg": NamedServerRule((_RATE,), fedavg, "server SGD: w += rate * aggregate", "McMahan et al., AISTATS 2017"),
    "fedavgm": NamedServerRule(
        (_RATE, FloatParameter("momentum", 0.0, _MOST_MOMENTUM, 0.9)),
        fedavgm,
        "server SGD with momentum on the aggregates",
        "Hsu et al., arXiv:1909.06335",
    ),
    "nesterov": NamedServerRule(
        (FloatParameter("rate", 2.0**-24, 2.0**8, 0.7), FloatParameter("momentum", 0.0, _MOST_MOMENTUM, 0.9)),
        nesterov,
        "server SGD with Nesterov momentum (DiLoCo)",
        "Douillard et al., DiLoCo, arXiv:2311.08105",
    ),
    "fedadagrad": NamedServerRule(_adaptive_parameters(0.1, 0.0), fedadagrad, "Adagrad on the aggregates", _REDDI),
    "fedadam": NamedServerRule(_adaptive_parameters(0.1, 0.9, 0.99), fedadam, "Adam on the aggregates", _REDDI),
    "fedyogi": NamedServerRule(_adaptive_parameters(0.01, 0.9, 0.99), fedyogi, "Yogi on the aggregates", _REDDI),
    "scaffold": NamedServerRule(
        (_RATE, _PARTICIPANTS),
        scaffold,
        "server SGD, and the mean control variate",
        "Karimireddy et al., SCAFFOLD, ICML 2020",
    ),
    "fednova": NamedServerRule(
        (), fednova, "the mean step times the mean number of steps", "Wang et al., NeurIPS 2020"
    ),
    "feddyn": NamedServerRule(
        (_PARTICIPANTS,),
        feddyn,
        "server SGD, corrected by the mean drift",
        "Acar et al., Dynamic Regularization, ICLR 2021",
    ),
}
"""The built-in rules, by name."""


def compile_rule(name: str, parameters: Mapping[str, object], grid_bits: int) -> Program:
    """Compile a built-in rule to its program.

    Args:
        name: A key of `RULES`.
        parameters: A float for each of the rule's parameters.
        grid_bits: s, 0..126.

    Raises:
        InputError: There is no such rule, or a parameter is missing, unknown, not a float or out of bounds.
    """
    if name not in RULES:
        raise InputError(
            f"server rule: expected one of {', '.join(RULES)}, got {name!r}; a rule of your own is FILE.py:FUNCTION"
        )
    if type(grid_bits) is not int or not 0 <= grid_bits <= MAX_GRID_BITS:
        raise InputError(f"grid_bits: expected 0..{MAX_GRID_BITS}, got {grid_bits!r}")
    rule = RULES[name]
    names = [parameter.name for parameter in rule.parameters]
    if set(parameters) != set(names):
        expected, got = (", ".join(given) or "none" for given in (names, parameters))
        raise InputError(f"parameters of {name}: expected {expected}, got {got}")
    values = []
    for parameter in rule.parameters:
        value = parameters[parameter.name]
        if type(value) is not float or not parameter.lowest <= value <= parameter.highest:
            raise InputError(
                f"{parameter.name}: expected a float of {parameter.lowest:g}..{parameter.highest:g}, got {value!r}"
            )
        values.append(value)
    return rule.build(grid_bits, *values)


def with_defaults(name: str, parameters: Mapping[str, float]) -> dict[str, float]:
    """Return a rule's parameters with defaults for those left out, in the rule's order; others stay as they are."""
    rule = RULES.get(name)
    usual = {} if rule is None else {p.name: p.usual for p in rule.parameters}
    filled = {key: parameters.get(key, default) for key, default in usual.items()}
    return {**{key: value for key, value in filled.items() if value is not None}, **parameters}


def is_compiled(program: Program, name: str, parameters: Mapping[str, object], grid_bits: int) -> bool:
    """Return whether a program is exactly what its plan's rule name and parameters compile to.

    Raises:
        InputError: They do not compile.
    """
    return program == compile_rule(name, parameters, grid_bits)
