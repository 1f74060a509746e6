"""The table of rules: every combine rule and update form that this release knows, as an entry.

The entry is guard, dispatch and documentation at once. `rules_of` turns a plan's numbers into entries or refuses it,
and whatever computes takes the entry, never a number: a rule that is accepted is a rule whose function runs. `cairn
rules`, `docs/rules.md`, the help of `cairn plan new` and the checks of a plan are made from the same entries.

A new combine rule is one more entry in COMBINE_RULES, of one of the three shapes of `shapes`. Server rules have no
numbers: a plan carries their program, see `server_programs`.

This module loads no numpy until something is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from registry.errors import FormError, UnknownRule
from registry.rules.shapes import HALF, Columns, Fold, Parameters, Shape

if TYPE_CHECKING:
    from registry.rules.grid import F32

__all__ = [
    "COMBINE_RULES",
    "DENSE",
    "EXAMPLES",
    "MEAN",
    "MEDIAN",
    "TRIMMED_MEAN",
    "UNIFORM",
    "UNIFORM_MEAN",
    "UPDATE_FORMS",
    "CombineRule",
    "Combining",
    "Decode",
    "Entry",
    "IntegerParameter",
    "Ruled",
    "Rules",
    "UpdateFormEntry",
    "called",
    "find",
    "form_of",
    "lookup",
    "rules_of",
]

EXAMPLES = "examples"
"""A plan's `weights`: a contribution counts by its committed weight."""
UNIFORM = "uniform"
"""A plan's `weights`: every contribution counts once."""


# Entries -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IntegerParameter:
    """An integer that a plan sets for a rule.

    Attributes:
        name: As the plan has it.
        low: The least it may be.
        high: The most.
        example: One that makes sense.
        says: What it is, with its unit.
    """

    name: str
    low: int
    high: int
    example: int
    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is known of every rule.

    Attributes:
        number: In plans, and on chain where the chain holds it.
        name: What people call it; unique among its kind.
        says: One line.
        parameters: What a plan must set for it, all of them.
        convicted_by: Functions of the contract that convict a result by it; none where readers replay it.
        paper: Citation.
    """

    number: int
    name: str
    says: str
    parameters: tuple[IntegerParameter, ...] = ()
    convicted_by: tuple[str, ...] = ()
    paper: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CombineRule(Entry):
    """What makes an aggregate of the contributions.

    Attributes:
        shape: Which, with its function.
        weights: What a plan's `weights` may be; the first where it says nothing.
    """

    shape: Shape
    weights: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateFormEntry(Entry):
    """How an update's file holds integers.

    Attributes:
        integers: Called with float32 values, grid bits, and `first`, `out` and `check` by name; returns the integers
            that they stand for, as float32, having checked that they are canonical unless told not to.
    """

    integers: Decode


class Decode(Protocol):
    """An update form's function: see `registry.rules.grid.grid_integers`."""

    def __call__(
        self, values: F32, grid_bits: int, *, first: int = 0, out: F32 | None = None, check: bool = True
    ) -> F32: ...


# The table -----------------------------------------------------------------------------------------------------------


def _dense(values: F32, grid_bits: int, *, first: int = 0, out: F32 | None = None, check: bool = True) -> F32:
    import numpy as np

    from registry.rules.grid import grid_integers

    if not check:
        return np.multiply(values, np.float32(2.0**grid_bits), out=out)
    return grid_integers(values, grid_bits, first=first, out=out)


_FEDAVG_PAPER = (
    "McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data, AISTATS 2017"
)
_ROBUST_PAPER = "Yin et al., Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates, ICML 2018"

_BY_SHAPE = ("convictAggregate", "convictChunk", "convictSize")
"""What convicts by every fold and by columns."""
MEAN = CombineRule(
    number=1,
    name="mean",
    says="weighted mean",
    shape=Fold(),
    weights=(EXAMPLES,),
    convicted_by=_BY_SHAPE,
    paper=_FEDAVG_PAPER,
)
UNIFORM_MEAN = CombineRule(
    number=4,
    name="uniform_mean",
    says="unweighted mean",
    shape=Fold(),
    weights=(UNIFORM,),
    convicted_by=_BY_SHAPE,
    paper=_FEDAVG_PAPER,
)
MEDIAN = CombineRule(
    number=2,
    name="median",
    says="coordinate-wise median",
    shape=Columns(share=lambda parameters: HALF),
    weights=(UNIFORM,),
    convicted_by=_BY_SHAPE,
    paper=_ROBUST_PAPER,
)
TRIMMED_MEAN = CombineRule(
    number=3,
    name="trimmed_mean",
    says="coordinate-wise trimmed mean",
    shape=Columns(share=lambda parameters: parameters["trimmed"]),
    weights=(UNIFORM,),
    convicted_by=_BY_SHAPE,
    parameters=(
        IntegerParameter(
            "trimmed", 0, HALF - 1, HALF // 2, "the share left out at each end, in 65536ths, rounded down"
        ),
    ),
    paper=_ROBUST_PAPER,
)
COMBINE_RULES: tuple[CombineRule, ...] = (MEAN, MEDIAN, TRIMMED_MEAN, UNIFORM_MEAN)
"""The contract convicts by shape: a fold that is not the sum of factor times value over the sum of the factors, columns
that are not the mean of the middle values."""

DENSE = UpdateFormEntry(
    number=1,
    name="dense",
    says="every value as float32 on the grid",
    integers=_dense,
    convicted_by=("convictChunk", "convictSize"),
    paper="registry/rules/grid.py",
)
UPDATE_FORMS: tuple[UpdateFormEntry, ...] = (DENSE,)


# From a plan to its entries ------------------------------------------------------------------------------------------

E = TypeVar("E", bound=Entry)


class Ruled(Protocol):
    """A plan, as far as rules go: `registry.content.manifest.PlanManifest` is one."""

    @property
    def combine_rule(self) -> int: ...
    @property
    def combine_parameters(self) -> Parameters: ...
    @property
    def weights(self) -> str: ...
    @property
    def update_form(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Combining:
    """A combine rule as a plan sets it.

    Attributes:
        rule: The entry.
        weights: Whether contributions count by examples or once each.
        parameters: The rule's.

    Raises:
        FormError: Weights or parameters are not such as the rule takes.
    """

    rule: CombineRule
    weights: str
    parameters: Parameters = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.weights not in self.rule.weights:
            others = " or ".join(called(other) for other in COMBINE_RULES if self.weights in other.weights)
            raise FormError(
                f"weights: expected {' or '.join(self.rule.weights)} with combine rule {called(self.rule)}, "
                f"got {self.weights!r}" + (f", which go with {others}" if others else "")
            )
        _check_parameters(f"combine rule {called(self.rule)}", self.rule.parameters, self.parameters)

    @property
    def encoded(self) -> tuple[int, ...]:
        """The parameters as rule bytes have them: of columns, the share of values left out at each end."""
        if isinstance(self.rule.shape, Columns):
            return (self.rule.shape.share(self.parameters),)
        return tuple(self.parameters[parameter.name] for parameter in self.rule.parameters)

    def counted(self, weights: Sequence[int]) -> list[int]:
        """Return what each contribution counts, given its committed weight."""
        return [1] * len(weights) if self.weights == UNIFORM else list(weights)


@dataclass(frozen=True, slots=True)
class Rules:
    """The entries that a plan's numbers stand for: what computes a round."""

    combine: Combining
    form: UpdateFormEntry

    @property
    def aggregate_convicted(self) -> bool:
        """Whether the contract convicts a false aggregate."""
        return bool(self.combine.rule.convicted_by and self.form.convicted_by)


def rules_of(plan: Ruled) -> Rules:
    """Return the entries for a plan's numbers.

    Raises:
        UnknownRule: One of them is not in the table: it is of a later release.
        FormError: A rule does not get the parameters or weights that it takes.
    """
    combine = lookup(COMBINE_RULES, plan.combine_rule, "combine rule")
    form = form_of(plan)
    combining = Combining(combine, plan.weights, plan.combine_parameters)
    return Rules(combining, form)


def form_of(plan: Ruled) -> UpdateFormEntry:
    """Return the entry for a plan's update form, whatever its other rules are.

    Raises:
        UnknownRule: It is not in the table.
    """
    return lookup(UPDATE_FORMS, plan.update_form, "update form")


def find(table: Sequence[E], wanted: int | str) -> E | None:
    """Return the entry of COMBINE_RULES or UPDATE_FORMS with a number or name, if there is one.

    A number may be text, as people give it.
    """
    names = ((one, (one.number, str(one.number), one.name)) for one in table)
    return next((one for one, known in names if type(wanted) in (int, str) and wanted in known), None)


def lookup(table: Sequence[E], wanted: int | str, kind: str) -> E:
    """Return the same, where there must be one.

    Args:
        table: One of the two.
        wanted: The number or name.
        kind: What they are, for the message.

    Raises:
        UnknownRule: There is none.
    """
    found = find(table, wanted)
    if found is None:
        raise UnknownRule(f"plan: expected {kind} {', '.join(map(called, table))}, got {wanted!r}")
    return found


def called(one: Entry) -> str:
    """Return an entry's number and name, as messages have them."""
    return f"{one.number} ({one.name})"


def _check_parameters(where: str, wanted: Sequence[IntegerParameter], given: Parameters) -> None:
    names = sorted(parameter.name for parameter in wanted)
    if sorted(given) != names:
        raise FormError(f"{where}: expected parameters {names}, got {sorted(given)}")
    for parameter in wanted:
        value = given[parameter.name]
        if type(value) is not int or not parameter.low <= value <= parameter.high:
            raise FormError(
                f"{where}: {parameter.name}: expected {parameter.low}..{parameter.high}, got {value!r}: "
                f"it is {parameter.says}"
            )
