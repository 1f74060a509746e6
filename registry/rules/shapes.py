"""Shapes of combine rules: weighted mean (fold), coordinate-wise (columns), selection of updates such as Krum (select).

    fold             sum of factor_k * q_k over a divisor: weighted mean
    columns          coordinate-wise: mean of the middle order statistics of K values: median, trimmed mean
    select           exact statistics of whole contributions, which determine the factors and the divisor of a fold:
                     Multi-Krum, geometric median and clipped norms from the pairwise inner products
    select_columns   a selection, whose factors are 0 and 1; then, coordinate-wise, the mean of the selected values
                     nearest to their median: Bulyan

Every quotient is rounded half to even. The aggregate lies on the grid in every shape: with |q_k| <= 2^24 =: L,

    fold             factors are integers >= 0 whose sum is at most the divisor D, so |sum f_k q_k| <= L sum f_k <= L D.
                     D is at most 2^28, so lemmas 2 and 3 of `grid` hold with D for W.
    columns          an order statistic is one of the q_k. The sum of m of them is at most m L in magnitude,
                     m <= K <= 2^28, which is a fold with factors 1 and divisor m.
    select           is a fold once factors and divisor are known; both are checked for every rule.
    select_columns   twice the mean of m values is the sum of two sets of m of them, which is a fold with factors of at
                     most 2 and divisor 2 m, m <= 2^12.

|S / D| <= L, and rounding to integers is monotone and fixes L and -L, so the result stays within L. The result does not
depend on the order of contributions: neither sums of integers nor order statistics of a multiset do.

This module does not import numpy, so that command-line help can show the table of rules quickly; `combine` and
`columns` compute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from registry.errors import InputError
from registry.types import MAX_SHARE, MAX_TOTAL_WEIGHT

if TYPE_CHECKING:
    from registry.rules.grid import I32

__all__ = [
    "HALF",
    "MOST_UPDATES",
    "Columns",
    "Factors",
    "Fold",
    "Parameters",
    "Select",
    "SelectColumns",
    "Shape",
    "kept",
    "left_out",
]

MOST_UPDATES = 1 << 12
"""Most contributions of a rule that selects, where each counts once: their factors add up to 2^28 at most."""
HALF = 1 << 15
"""Largest share that columns trim at each end, in 65536ths."""

Parameters = Mapping[str, int]
"""A rule's parameters in a plan, by name."""


@dataclass(frozen=True, slots=True)
class Factors:
    """Multipliers and divisor of a fold.

    Attributes:
        factors: One integer >= 0 per contribution.
        divisor: At least 1 and at least the sum of factors; at most 2^28.
    """

    factors: tuple[int, ...]
    divisor: int

    def __post_init__(self) -> None:
        if any(type(factor) is not int or factor < 0 for factor in self.factors):
            raise InputError(f"factors: expected whole numbers of 0 or more, got {self.factors}")
        least = max(1, sum(self.factors))
        if type(self.divisor) is not int or not least <= self.divisor <= MAX_TOTAL_WEIGHT:
            raise InputError(f"divisor: expected {least}..2^28, got {self.divisor}")


@dataclass(frozen=True, slots=True)
class Fold:
    """Weighted mean. Reads every update once and keeps no row."""

    NAME: ClassVar[str] = "fold"
    NEEDS: ClassVar[str] = "every update once"

    def factors(self, weights: Sequence[int]) -> Factors:
        """Return the weights as factors and their sum as divisor.

        Raises:
            InputError: A weight is not an integer, or their sum is 0 or exceeds 2^28.
        """
        return Factors(tuple(weights), sum(weights))


@dataclass(frozen=True, slots=True)
class Columns:
    """Coordinate-wise rule: mean of the middle order statistics. Ignores weights: each contribution has one value.

    Attributes:
        share: Function of the parameters: the share of values trimmed at each end, in 65536ths, 0..2^15. Rule bytes
            encode this share and no other parameter.
    """

    NAME: ClassVar[str] = "columns"
    NEEDS: ClassVar[str] = "every update once, all of a coordinate's values together: up to 1 MiB of scratch disk for \
each contribution and process"

    share: Callable[[Parameters], int]


def left_out(share: int, count: int) -> int:
    """Return how many of count values a share in 65536ths trims at each end: less than half of them.

    Raises:
        InputError: The share is more than half, or there are no values.
    """
    if type(share) is not int or not 0 <= share <= HALF:
        raise InputError(f"share: expected 0..{HALF}, got {share!r}")
    if count < 1:
        raise InputError(f"columns: expected one value or more, got {count}")
    return min(count * share >> 16, (count - 1) // 2)


@dataclass(frozen=True, slots=True)
class Select:
    """A fold whose factors and divisor depend on statistics of all updates.

    A factor is at most the contribution's weight; where each contribution counts once, it is a share in 65536ths.

    For Multi-Krum, `measure` returns the inner products; `choose` scores the contributions by the distances that
    follow, and returns 1 as factor for the selected and 0 for the others. Buffers, such as running statistics, have no
    say in the statistics; they are combined by the same factors.

    Attributes:
        measure: Returns the statistics of a tile, called with int32 integers (K, n) and the parameters. Statistics are
            additive over disjoint tiles, entry by entry in Python integers, so tiling does not change them.
        choose: Returns factors and divisor, called with the statistics of all coordinates, the weights, the parameters
            and the draw: a random order of the updates, by their places, or none.
        degree: Of the statistics as polynomials of the values: those of a tensor of scale e count 2^(e * degree) times.
        of_products: Whether the statistics are the inner products of all pairs, the upper triangle row by row: reports
            anchor these under every rule that selects.
    """

    NAME: ClassVar[str] = "select"
    NEEDS: ClassVar[str] = "every update twice, and the scratch disk of columns"

    measure: Callable[[I32, Parameters], Sequence[int]]
    choose: Callable[[Sequence[int], Sequence[int], Parameters, Sequence[int]], Factors]
    degree: int = 2
    of_products: bool = False

    def factors(
        self,
        statistics: Sequence[int],
        weights: Sequence[int],
        parameters: Parameters,
        drawn: Sequence[int] = (),
        *,
        uniform: bool,
    ) -> Factors:
        """Return the rule's factors and divisor, checked.

        Raises:
            InputError: A factor exceeds its weight, or 2^16 where each counts once, or their number is wrong; or the
                rule needs a draw and has none.
        """
        chosen = self.choose(statistics, weights, parameters, drawn)
        if len(chosen.factors) != len(weights):
            raise InputError(f"factors: expected {len(weights)}, got {len(chosen.factors)}")
        for factor, weight in zip(chosen.factors, weights, strict=True):
            if factor > (MAX_SHARE if uniform else weight):
                raise InputError(
                    f"factors: expected at most {'2^16' if uniform else f'the weight {weight}'}, got {factor}"
                )
        return chosen


@dataclass(frozen=True, slots=True)
class SelectColumns:
    """Coordinate-wise rule over selected contributions: the mean of the values nearest to the median of the selected.

    Where values below and above the median are equally far, and not all of them are kept, the result is the mean of two
    results: with the lower ones first, and with the higher ones first. So neither order nor sign has a say.

    Attributes:
        select: The selection. Its factors are 1 for the selected and 0 for others, and add up to the divisor.
        left_out: Function of the parameters: how many of a coordinate's selected values are left out, 0..2^15, though
            one is always kept. Rule bytes encode this number and no other parameter.
    """

    NAME: ClassVar[str] = "select_columns"
    NEEDS: ClassVar[str] = "what select needs"

    select: Select
    left_out: Callable[[Parameters], int]

    def factors(
        self,
        statistics: Sequence[int],
        weights: Sequence[int],
        parameters: Parameters,
        drawn: Sequence[int] = (),
        *,
        uniform: bool,
    ) -> Factors:
        """Return the selection, as factors of 0 and 1 and their number, checked; as `Select.factors`.

        Raises:
            InputError: A factor exceeds 1, they do not add up to the divisor, or fewer are selected than `kept` says.
        """
        chosen = self.select.factors(statistics, weights, parameters, drawn, uniform=uniform)
        least = kept(self.left_out(parameters), len(weights))
        if any(factor > 1 for factor in chosen.factors) or not least <= sum(chosen.factors) == chosen.divisor:
            raise InputError(f"selected: expected {least} updates or more, each once, got {chosen}")
        return chosen


def kept(left_out: int, count: int) -> int:
    """Return how many of count values remain without those left out: at least one."""
    return max(1, count - left_out)


Shape = Fold | Columns | Select | SelectColumns
