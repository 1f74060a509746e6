"""Registry of combine rules (federated averaging, median, Krum, Bulyan, …) and update forms, by number.

An entry serves as guard, dispatch and documentation. `rules_of` resolves a plan's numbers to entries or raises. Code
that computes takes entries, never numbers: an accepted rule is one whose function runs. `cairn rules`, `docs/rules.md`,
the help of `cairn plan new` and the checks of a plan are generated from the same entries.

To add a combine rule, add an entry to COMBINE_RULES, of one of the shapes of `shapes`: `Fold` for a weighted mean,
`Columns` for coordinate-wise rules, `Select` for rules that score whole updates, such as Krum, Multi-Krum or a bound on
norms, `SelectColumns` for coordinate-wise rules over the updates that such a score selects, such as Bulyan. Server
rules have no numbers: a plan contains their program, see `server_programs`.

This module imports numpy only to compute.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from registry.errors import FormError, UnknownRule
from registry.rules.selection import clipped_norms, geometric_median, multi_krum, repeated_krum, selecting
from registry.rules.shapes import HALF, MOST_UPDATES, Columns, Fold, Parameters, SelectColumns, Shape

if TYPE_CHECKING:
    from registry.rules.packed import Packing

__all__ = [
    "BULYAN",
    "COMBINE_RULES",
    "DENSE",
    "EXAMPLES",
    "GEOMETRIC_MEDIAN",
    "MEAN",
    "MEDIAN",
    "MULTI_KRUM",
    "NORM_CLIP",
    "PACKED",
    "TRIMMED_MEAN",
    "UNIFORM",
    "UNIFORM_MEAN",
    "UPDATE_FORMS",
    "CombineRule",
    "Combining",
    "Entry",
    "IntegerParameter",
    "Ruled",
    "Rules",
    "UpdateFormEntry",
    "called",
    "find",
    "lookup",
    "packing_in",
    "packing_of",
    "rules_of",
    "with_usual_values",
]

EXAMPLES = "examples"
"""A plan's `weights`: a contribution is weighted by its committed weight."""
UNIFORM = "uniform"
"""A plan's `weights`: every contribution counts once."""


# Entries -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IntegerParameter:
    """An integer parameter of a rule, set by a plan.

    Attributes:
        name: Name in the plan.
        low: Smallest value.
        high: Largest value.
        example: A sensible value.
        description: Description, with the unit.
        usual: Value where a plan's author says none; None if one must. A manifest always has one.
    """

    name: str
    low: int
    high: int
    example: int
    description: str
    usual: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Fields common to all rules.

    Attributes:
        number: Number in plans and on chain.
        name: Common name; unique among its kind.
        description: One-line description.
        parameters: Parameters, all of which a plan must set.
        convicted_by: Fraud proofs: the contract's functions that convict a result which breaks the rule. Empty if no
            fraud proof covers it and only readers find out, by recomputing the round.
        paper: Citation.
    """

    number: int
    name: str
    description: str
    parameters: tuple[IntegerParameter, ...] = ()
    convicted_by: tuple[str, ...] = ()
    paper: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CombineRule(Entry):
    """An aggregation rule, from contributions to the aggregate.

    Attributes:
        shape: Its shape, with its functions.
        weights: Allowed values of a plan's `weights`; the first is the default.
        least: Returns a formula and its value: how many contributions the rule needs under its parameters.
    """

    shape: Shape
    weights: tuple[str, ...]
    least: Callable[[Parameters], tuple[str, int]] = lambda parameters: ("1", 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateFormEntry(Entry):
    """Encoding of integers in an update's file.

    Attributes:
        packing: Returns the layout of packed rows under its parameters; None where values are float32 on the grid.
    """

    packing: Callable[[Parameters], Packing | None] = lambda parameters: None


# The table -----------------------------------------------------------------------------------------------------------


def _packing(parameters: Parameters) -> Packing:
    from registry.rules.packed import Packing

    return Packing(parameters["bits"], parameters["kept"])


_FEDAVG_PAPER = (
    "McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data, AISTATS 2017"
)
_ROBUST_PAPER = "Yin et al., Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates, ICML 2018"

_BY_SHAPE = ("convictAggregate", "convictChunk", "convictSize")
"""Fraud proofs of a false aggregate: under rules that select, of a false sum by the factors that the result lists."""
_BY_SELECTION = (*_BY_SHAPE, "convictProduct", "convictSelection")
"""Those, and of false factors among at most 32 contributions. The contract redoes these rules by their numbers."""
MEAN = CombineRule(
    number=1,
    name="mean",
    description="weighted mean",
    shape=Fold(),
    weights=(EXAMPLES,),
    convicted_by=_BY_SHAPE,
    paper=_FEDAVG_PAPER,
)
UNIFORM_MEAN = CombineRule(
    number=4,
    name="uniform_mean",
    description="unweighted mean",
    shape=Fold(),
    weights=(UNIFORM,),
    convicted_by=_BY_SHAPE,
    paper=_FEDAVG_PAPER,
)
MEDIAN = CombineRule(
    number=2,
    name="median",
    description="coordinate-wise median",
    shape=Columns(share=lambda parameters: HALF),
    weights=(UNIFORM,),
    convicted_by=_BY_SHAPE,
    paper=_ROBUST_PAPER,
)


def _trimmed_least(given: Parameters) -> tuple[str, int]:
    """Return how many values have one to trim at each end."""
    return ("65536 / trimmed", -(-65536 // given["trimmed"])) if given["trimmed"] else ("1", 1)


TRIMMED_MEAN = CombineRule(
    number=3,
    name="trimmed_mean",
    description="coordinate-wise trimmed mean",
    shape=Columns(share=lambda parameters: parameters["trimmed"]),
    weights=(UNIFORM,),
    convicted_by=_BY_SHAPE,
    least=_trimmed_least,
    parameters=(
        IntegerParameter(
            "trimmed",
            0,
            HALF - 1,
            HALF // 2,
            "the share trimmed at each end, in 65536ths, rounded down; n >= 65536 / trimmed",
        ),
    ),
    paper=_ROBUST_PAPER,
)
_MIXED = IntegerParameter(
    "mixed",
    0,
    MOST_UPDATES,
    0,
    "f of nearest-neighbour mixing (Allouah et al. 2023): each update first becomes the mean of its n - f nearest; "
    "n >= 2f + 1",
    usual=0,
)
_BUCKET = IntegerParameter(
    "bucket",
    0,
    MOST_UPDATES,
    0,
    "s of bucketing (Karimireddy et al. 2022): s updates at a time, by a public draw, first become their mean; 0 and 1 "
    "are none; n >= 2s + 1",
    usual=0,
)
"""Readers redo the draw from the round's id and commitments, see `registry.rounds.draws`."""


def _weighing_least(given: Parameters) -> tuple[str, int]:
    """Return how many updates have a majority beside `mixed` others, and make three buckets."""
    needs = [("1", 1), ("2 * mixed + 1", 2 * given["mixed"] + 1)]
    if given["bucket"] > 1:
        needs.append(("2 * bucket + 1 (three buckets)", 2 * given["bucket"] + 1))
    return max(needs, key=lambda need: need[1])


def _krum_least(given: Parameters) -> tuple[str, int]:
    byzantine, bucket = given["byzantine"], max(1, given["bucket"])
    needs = [_weighing_least(given)]
    if byzantine and bucket == 1:
        needs.append(("2f + 3", 2 * byzantine + 3))
    elif byzantine:  # at most f buckets are bad
        needs.append(("s(2f + 2) + 1 (2f + 3 buckets)", bucket * (2 * byzantine + 2) + 1))
    if byzantine and given["selected"]:
        needs.append(("byzantine + selected means", bucket * (byzantine + given["selected"] - 1) + 1))
    return max(needs, key=lambda need: need[1])


MULTI_KRUM = CombineRule(
    number=5,
    name="multi_krum",
    description="mean of the updates nearest to most others",
    shape=selecting(multi_krum),
    weights=(UNIFORM,),
    parameters=(
        IntegerParameter("byzantine", 0, MOST_UPDATES, 1, "f, the Byzantine participants to survive: n >= 2f + 3"),
        IntegerParameter("selected", 0, MOST_UPDATES, 0, "how many updates to average: 1 is Krum, 0 takes n - f", 0),
        _MIXED,
        _BUCKET,
    ),
    least=_krum_least,
    convicted_by=_BY_SELECTION,
    paper="Blanchard et al., Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent, NIPS 2017",
)
GEOMETRIC_MEDIAN = CombineRule(
    number=6,
    name="geometric_median",
    description="geometric median (RFA)",
    shape=selecting(geometric_median),
    weights=(UNIFORM,),
    parameters=(IntegerParameter("steps", 1, 64, 4, "number of Weiszfeld steps from the mean", 4), _MIXED, _BUCKET),
    least=_weighing_least,
    convicted_by=_BY_SELECTION,
    paper="Pillutla et al., Robust Aggregation for Federated Learning, IEEE Trans. Signal Processing 2022",
)
NORM_CLIP = CombineRule(
    number=7,
    name="norm_clip",
    description="mean of updates with clipped norms",
    shape=selecting(clipped_norms, whole=True),
    weights=(UNIFORM,),
    parameters=(
        IntegerParameter(
            "bound", 0, 1 << 52, 0, "largest norm, in grid steps of the finest tensor; 0 takes the median norm", 0
        ),
        _MIXED,
        _BUCKET,
    ),
    least=_weighing_least,
    convicted_by=_BY_SELECTION,
    paper="Sun et al., Can You Really Backdoor Federated Learning?, 2019",
)
BULYAN = CombineRule(
    number=8,
    name="bulyan",
    description="mean around the median of selected updates",
    shape=SelectColumns(selecting(repeated_krum), left_out=lambda parameters: 2 * parameters["byzantine"]),
    weights=(UNIFORM,),
    parameters=(
        IntegerParameter("byzantine", 0, MOST_UPDATES, 1, "f, the Byzantine participants to survive: n >= 4f + 3"),
    ),
    least=lambda given: ("4f + 3", 4 * given["byzantine"] + 3) if given["byzantine"] else ("1", 1),
    convicted_by=_BY_SELECTION,
    paper="El Mhamdi et al., The Hidden Vulnerability of Distributed Learning in Byzantium, ICML 2018",
)
COMBINE_RULES: tuple[CombineRule, ...] = (
    MEAN,
    MEDIAN,
    TRIMMED_MEAN,
    UNIFORM_MEAN,
    MULTI_KRUM,
    GEOMETRIC_MEDIAN,
    NORM_CLIP,
    BULYAN,
)
"""The contract's fraud proofs depend on the shape alone: a fold that is not the sum of factor times value over the sum
of the factors, columns that are not the mean of the middle values or of those nearest to the median of the selected."""

DENSE = UpdateFormEntry(
    number=1,
    name="dense",
    description="every value as float32 on the grid",
    convicted_by=("convictChunk", "convictSize"),
    paper="registry/rules/grid.py",
)
PACKED = UpdateFormEntry(
    number=2,
    name="packed",
    description="rows of 256 small integers, all or the largest",
    packing=_packing,
    parameters=(
        IntegerParameter("bits", 4, 16, 8, "bits of an integer: 4, 8 or 16; 8 or 16 where only the largest are kept"),
        IntegerParameter("kept", 0, 128, 0, "how many of the 256 values of a row are kept; 0 keeps all"),
    ),
    convicted_by=("convictChunk", "convictSize"),
    paper="registry/rules/packed.py",
)
UPDATE_FORMS: tuple[UpdateFormEntry, ...] = (DENSE, PACKED)


# From a plan to its entries ------------------------------------------------------------------------------------------

E = TypeVar("E", bound=Entry)
_ORDERING = (Columns, SelectColumns)
"""Shapes that order the values of a coordinate."""


class Ruled(Protocol):
    """Rule fields of a plan, as in `registry.content.manifest.PlanManifest`."""

    @property
    def combine_rule(self) -> int: ...
    @property
    def combine_parameters(self) -> Parameters: ...
    @property
    def weights(self) -> str: ...
    @property
    def update_form(self) -> int: ...
    @property
    def form_parameters(self) -> Parameters: ...


@dataclass(frozen=True, slots=True)
class Combining:
    """A combine rule with a plan's settings.

    Attributes:
        rule: The entry.
        weights: Whether contributions count by examples or once each.
        parameters: Parameters of the rule.

    Raises:
        FormError: The rule does not allow these weights or parameters.
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
        where = f"combine rule {called(self.rule)}"
        _check_parameters(where, self.rule.parameters, self.parameters)
        mixed, bucket = (self.parameters.get(parameter.name, 0) for parameter in (_MIXED, _BUCKET))
        if mixed and bucket > 1:
            raise FormError(f"{where}: expected mixed or bucket to be 0, got mixed {mixed} and bucket {bucket}")

    @property
    def encoded(self) -> tuple[int, ...]:
        """Parameters as encoded in rule bytes: for columns, only the share or number of values left out."""
        shape = self.rule.shape
        if isinstance(shape, Columns):
            return (shape.share(self.parameters),)
        if isinstance(shape, SelectColumns):
            return (shape.left_out(self.parameters),)
        return tuple(self.parameters[parameter.name] for parameter in self.rule.parameters)

    @property
    def needs_draw(self) -> bool:
        """Whether the rule puts updates into buckets by a draw."""
        return self.parameters.get(_BUCKET.name, 0) > 1

    def counted(self, weights: Sequence[int]) -> list[int]:
        """Return each contribution's effective weight, given the committed weights."""
        return [1] * len(weights) if self.weights == UNIFORM else list(weights)


@dataclass(frozen=True, slots=True)
class Rules:
    """Resolved rules of a plan.

    Attributes:
        combine: The combine rule with the plan's settings.
        form: Entry of the update form.
        packing: Its layout of packed rows; None where values are float32 on the grid.

    Raises:
        FormError: The rule orders the values of a coordinate, and the form keeps only the largest.
    """

    combine: Combining
    form: UpdateFormEntry
    packing: Packing | None = None

    def __post_init__(self) -> None:
        if self.packing is not None and self.packing.kept and isinstance(self.combine.rule.shape, _ORDERING):
            others = ", ".join(called(one) for one in COMBINE_RULES if not isinstance(one.shape, _ORDERING))
            raise FormError(
                f"update form {self.packing.name}: expected a combine rule that does not order values ({others}), got "
                f"{called(self.combine.rule)}: most values of a coordinate would be zeros that nobody measured"
            )

    @property
    def encoded(self) -> tuple[int, ...]:
        """Parameters as encoded in rule bytes: of the combine rule, then of the update form."""
        own = () if self.packing is None else (self.packing.bits, self.packing.kept)
        return (*self.combine.encoded, *own)

    @property
    def aggregate_convicted(self) -> bool:
        """Whether the contract verifies fraud proofs of a false aggregate."""
        return bool(self.combine.rule.convicted_by and self.form.convicted_by)


def rules_of(plan: Ruled) -> Rules:
    """Resolve a plan's rule numbers to entries.

    Raises:
        UnknownRule: A number is not in the table: it is of a later release.
        FormError: A rule does not allow the plan's parameters or weights, or the update form.
    """
    combine = lookup(COMBINE_RULES, plan.combine_rule, "combine rule")
    form = lookup(UPDATE_FORMS, plan.update_form, "update form")
    combining = Combining(combine, plan.weights, plan.combine_parameters)
    return Rules(combining, form, packing_of(plan))


def packing_of(plan: Ruled) -> Packing | None:
    """Return the layout of packed rows of a plan's update form, regardless of its other rules; None without.

    Raises:
        UnknownRule: The form is not in the table.
        FormError: It has other parameters.
    """
    form = lookup(UPDATE_FORMS, plan.update_form, "update form")
    _check_parameters(f"update form {called(form)}", form.parameters, plan.form_parameters)
    return form.packing(plan.form_parameters)


def packing_in(update_form: int, parameters: Sequence[int]) -> Packing | None:
    """Return the layout of packed rows of an update form in rule bytes, whose last parameters are the form's.

    Raises:
        UnknownRule: The form is not in the table.
        FormError: It has other parameters.
    """
    form = lookup(UPDATE_FORMS, update_form, "update form")
    names = [parameter.name for parameter in form.parameters]
    given = dict(zip(names, parameters[len(parameters) - len(names) :], strict=False))
    _check_parameters(f"update form {called(form)}", form.parameters, given)
    return form.packing(given)


def find(table: Sequence[E], wanted: int | str) -> E | None:
    """Return the entry of COMBINE_RULES or UPDATE_FORMS with a number or name; None if there is none.

    A number may be given as text.
    """
    names = ((one, (one.number, str(one.number), one.name)) for one in table)
    return next((one for one, known in names if type(wanted) in (int, str) and wanted in known), None)


def lookup(table: Sequence[E], wanted: int | str, kind: str) -> E:
    """Return the entry with a number or name, as `find`.

    Args:
        table: COMBINE_RULES or UPDATE_FORMS.
        wanted: The number or name.
        kind: Kind of entry, for the message.

    Raises:
        UnknownRule: There is no such entry.
    """
    found = find(table, wanted)
    if found is None:
        raise UnknownRule(f"plan: expected {kind} {', '.join(map(called, table))}, got {wanted!r}")
    return found


def with_usual_values(one: Entry, given: Parameters) -> dict[str, int]:
    """Return parameters with the usual values of those that are left out."""
    return {p.name: p.usual for p in one.parameters if p.usual is not None} | dict(given)


def called(one: Entry) -> str:
    """Return an entry's number and name, for messages."""
    return f"{one.number} ({one.name})"


def _check_parameters(where: str, wanted: Sequence[IntegerParameter], given: Parameters) -> None:
    names = sorted(parameter.name for parameter in wanted)
    if sorted(given) != names:
        expected = ", ".join(f"{one.name} {one.low}..{one.high}" for one in wanted) or "none"
        raise FormError(f"{where}: expected parameters {expected}; got {', '.join(sorted(given)) or 'none'}")
    for parameter in wanted:
        value = given[parameter.name]
        if type(value) is not int or not parameter.low <= value <= parameter.high:
            raise FormError(
                f"{where}: {parameter.name}: expected {parameter.low}..{parameter.high}, got {value!r}: "
                f"it is {parameter.description}"
            )
