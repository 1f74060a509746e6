"""Robust rules that weigh whole updates by their inner products: Multi-Krum, geometric median, clipped norms.

All are functions of the exact Gram matrix to integer factors and a divisor. Ties do not depend on the order of updates:
equal scores are chosen together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isqrt
from typing import TYPE_CHECKING

from registry.rules.shapes import Factors, Parameters, Select
from registry.types import MAX_SHARE as UNIT

if TYPE_CHECKING:
    from registry.rules.gram import Matrix
    from registry.rules.grid import I32

__all__ = ["clipped_norms", "geometric_median", "multi_krum", "selecting"]

Weigh = Callable[["Matrix", Parameters, int], list[int]]
"""Returns factors of updates, 0..2^16 and not all zero, from their Gram matrix; its unit is 1 / unit^2 grid steps."""


def selecting(weigh: Weigh, *, whole: bool = False) -> Select:
    """Return a shape that weighs updates by their Gram matrix, mixed first where the parameters say so.

    Args:
        weigh: The rule.
        whole: Divide by the number of updates times 2^16, as if each had counted in full, not by the sum of factors.
    """

    def choose(statistics: Sequence[int], weights: Sequence[int], parameters: Parameters) -> Factors:
        from registry.rules import gram

        products = gram.square(statistics, len(weights))
        dropped = min(parameters.get("mixed", 0), (len(weights) - 1) // 2)
        if not dropped:
            factors = weigh(products, parameters, 1)
            return Factors(tuple(factors), len(factors) * UNIT if whole else sum(factors))
        distances = gram.squared_distances(products)
        members = [gram.nearest(row, len(weights) - dropped) for row in distances]
        of_means, unit = gram.mixed(products, members)
        return _unmixed(weigh(of_means, parameters, unit), members, whole=whole)

    return Select(_inner_products, choose)


def _inner_products(tile: I32, parameters: Parameters) -> list[int]:
    from registry.rules.gram import inner_products

    return inner_products(tile)


def _unmixed(factors: Sequence[int], members: Sequence[Sequence[int]], *, whole: bool) -> Factors:
    """Return the factors of updates from those of their means: a mean of m updates gives each of them an m-th.

    The largest factor is 2^16, or 2^16 stands for all means in full; others are rounded down.
    """
    given = [0] * len(members)
    for factor, places in zip(factors, members, strict=True):
        for k in places:
            given[k] += (factor * UNIT) // len(places)
    full = len(members) * UNIT * UNIT if whole else max(given)
    shrunk = tuple(value * UNIT // full for value in given)
    return Factors(shrunk, UNIT if whole else sum(shrunk))


# The rules -----------------------------------------------------------------------------------------------------------


def multi_krum(products: Matrix, parameters: Parameters, unit: int) -> list[int]:
    """Choose the updates whose n - f - 2 nearest others are nearest: `selected` of them, or n - f if that is 0."""
    from registry.rules.gram import nearest, squared_distances

    count = len(products)
    byzantine = min(parameters["byzantine"], max(0, (count - 3) // 2))
    near = max(1, count - byzantine - 2)
    distances = squared_distances(products)
    scores = [sum(sorted(row[:k] + row[k + 1 :])[:near]) for k, row in enumerate(distances)]
    chosen = nearest(scores, min(parameters["selected"] or count, count - byzantine))
    return [1 if k in chosen else 0 for k in range(count)]


def geometric_median(products: Matrix, parameters: Parameters, unit: int) -> list[int]:
    """Take smoothed Weiszfeld steps from the mean: each weighs an update by the inverse of its distance.

    With factors a of sum A, A^2 |x_k - z|^2 = A^2 G_kk - 2 A sum_j a_j G_kj + sum_ij a_i a_j G_ij. Square roots are
    rounded down, and a distance under one counts as one.
    """
    factors = [1] * len(products)
    for _ in range(parameters["steps"]):
        total = sum(factors)
        toward = [sum(f * value for f, value in zip(factors, row, strict=True)) for row in products]
        centre = sum(f * value for f, value in zip(factors, toward, strict=True))
        far = [max(1, isqrt(total * (total * products[k][k] - 2 * toward[k]) + centre)) for k in range(len(products))]
        factors = [UNIT * min(far) // distance for distance in far]
    return factors


def clipped_norms(products: Matrix, parameters: Parameters, unit: int) -> list[int]:
    """Scale each update down to a norm of at most `bound` grid steps, or, if that is 0, of the (lower) median norm."""
    norms = [isqrt(products[k][k]) for k in range(len(products))]
    bound = parameters["bound"] * unit or sorted(norms)[(len(norms) - 1) // 2]
    return [UNIT if norm <= bound else UNIT * bound // norm for norm in norms]
