"""Shapes of combine rules: how a coordinate of the aggregate comes of that coordinate of the contributions.

    fold      sum of factor_k * q_k over a divisor: the mean
    columns   all K values of the coordinate in ascending order, the mean of those in the middle: median, trimmed mean
    select    exact statistics of whole contributions first, which give the factors and the divisor of a fold

Every quotient is rounded half to even. The aggregate lies on the grid in every shape: with |q_k| <= 2^24 =: L,

    fold      factors are integers >= 0 whose sum is at most the divisor D, so |sum f_k q_k| <= L sum f_k <= L D. D is
              at most 2^28, so lemmas 2 and 3 of `grid` hold with D for W.
    columns   an order statistic is one of the q_k. The sum of m of them is at most m L in magnitude, m <= K <= 2^28,
              which is a fold with factors 1 and divisor m.
    select    is a fold once factors and divisor are there; both are checked, whatever the rule is.

|S / D| <= L, and rounding to integers is monotone and fixes L and -L, so it stays there. Order plays no part: a sum of
integers and a multiset's order statistics have none.

This module loads no numpy, so that help can show the table of rules; `combine` and `columns` compute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from registry.errors import InputError
from registry.types import MAX_TOTAL_WEIGHT

if TYPE_CHECKING:
    from registry.rules.grid import I32

__all__ = ["Columns", "Factors", "Fold", "HALF", "Parameters", "Select", "Shape", "left_out"]

HALF = 1 << 15
"""In 65536ths: the largest share that columns leave out at each end."""

Parameters = Mapping[str, int]
"""A rule's parameters by name, as a plan sets them."""


@dataclass(frozen=True, slots=True)
class Factors:
    """What a fold multiplies by and divides by.

    Attributes:
        factors: One for each contribution, 0 or more.
        divisor: At least 1 and at least their sum; at most 2^28.
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
    """The sum of weight times value over the sum of weights. Reads every update once and keeps no row."""

    NAME: ClassVar[str] = "fold"
    NEEDS: ClassVar[str] = "every update once"

    def factors(self, weights: Sequence[int]) -> Factors:
        """Return the weights and their sum.

        Raises:
            InputError: They are not whole numbers, or sum to 0 or more than 2^28.
        """
        return Factors(tuple(weights), sum(weights))


@dataclass(frozen=True, slots=True)
class Columns:
    """The mean of the middle order statistics of a coordinate. Weights play no part: each contribution has one value.

    Attributes:
        share: Returns the share of values left out at each end, in 65536ths, 0..2^15; called with the parameters. Rule
            bytes have it, and nothing else of the parameters.
    """

    NAME: ClassVar[str] = "columns"
    NEEDS: ClassVar[str] = "every update once, all of a coordinate's values together: up to 1 MiB of scratch disk for \
each contribution and process"

    share: Callable[[Parameters], int]


def left_out(share: int, count: int) -> int:
    """Return how many of count values are left out at each end for a share in 65536ths: less than half of them.

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
    """Statistics of whole contributions give each a factor of at most its weight, and the round a divisor; then a fold.

    Attributes:
        measure: Returns the statistics of a tile: called with int32 integers (K, n) and the parameters. Statistics of
            disjoint tiles add up, entry by entry, to those of their union, in Python integers; so tiling plays no part.
        choose: Returns factors and divisor; called with the statistics of all coordinates, the weights and the
            parameters.
    """

    NAME: ClassVar[str] = "select"
    NEEDS: ClassVar[str] = "every update twice, and the scratch disk of columns"

    measure: Callable[[I32, Parameters], Sequence[int]]
    choose: Callable[[Sequence[int], Sequence[int], Parameters], Factors]

    def factors(self, statistics: Sequence[int], weights: Sequence[int], parameters: Parameters) -> Factors:
        """Return what the rule chooses.

        Raises:
            InputError: A factor is above its weight, or there is not one for each.
        """
        chosen = self.choose(statistics, weights, parameters)
        if len(chosen.factors) != len(weights):
            raise InputError(f"factors: expected {len(weights)}, got {len(chosen.factors)}")
        for factor, weight in zip(chosen.factors, weights, strict=True):
            if factor > weight:
                raise InputError(f"factors: expected at most the weight {weight}, got {factor}")
        return chosen


Shape = Fold | Columns | Select
