"""Robust rules that weigh whole updates by their inner products: Multi-Krum, geometric median, clipped norms, Bulyan.

All are functions of the exact Gram matrix to integer factors and a divisor. Ties do not depend on the order of updates:
equal scores are chosen together. Before a rule, updates may be mixed or put into buckets: it then weighs means.

    mixing      each update becomes the mean of its nearest (Allouah et al., Fixing by Mixing: A Recipe for Optimal
                Byzantine ML under Heterogeneity, AISTATS 2023)
    bucketing   updates are split at random into buckets, each of which becomes one mean (Karimireddy, He, Jaggi,
                Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing, ICLR 2022). Of the means at most as
                many are bad as of the updates, whatever the draw: it only decides how even the good ones are.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from math import isqrt
from typing import TYPE_CHECKING

from registry.errors import InputError
from registry.rules.draw import buckets
from registry.rules.shapes import Factors, Parameters, Select
from registry.types import MAX_SHARE as UNIT

if TYPE_CHECKING:
    from registry.rules.gram import Matrix
    from registry.rules.grid import I32

__all__ = ["clipped_norms", "geometric_median", "multi_krum", "repeated_krum", "selecting"]

Weigh = Callable[["Matrix", Parameters, int], list[int]]
"""Returns factors of updates, 0..2^16 and not all zero, from their Gram matrix; its unit is 1 / unit^2 grid steps."""


def selecting(weigh: Weigh, *, whole: bool = False) -> Select:
    """Return a shape that weighs updates by their Gram matrix, mixed or in buckets where the parameters say so.

    Args:
        weigh: The rule.
        whole: Divide by the number of updates times 2^16, as if each had counted in full, not by the sum of factors.
    """

    def choose(
        statistics: Sequence[int], weights: Sequence[int], parameters: Parameters, drawn: Sequence[int]
    ) -> Factors:
        from registry.rules import gram

        products, count = gram.square(statistics, len(weights)), len(weights)
        dropped = min(parameters.get("mixed", 0), (count - 1) // 2)
        size = parameters.get("bucket", 0)
        if size > 1:
            if len(drawn) != count:
                raise InputError(f"buckets: expected a draw, an order of {count} updates, got one of {len(drawn)}")
            members = buckets(drawn, size)
            shares = len(members) * len(members[-1])
        elif dropped:
            distances = gram.squared_distances(products)
            members = [gram.nearest(row, count - dropped) for row in distances]
            shares = 1
        else:
            factors = weigh(products, parameters, 1)
            return Factors(tuple(factors), count * UNIT if whole else sum(factors))
        of_means, unit = gram.mixed(products, members)
        return _of_updates(weigh(of_means, parameters, unit), members, count, shares if whole else 0)

    return Select(_inner_products, choose, of_products=True)


def _inner_products(tile: I32, parameters: Parameters) -> list[int]:
    from registry.rules.gram import inner_products

    return inner_products(tile)


def _of_updates(factors: Sequence[int], members: Sequence[Sequence[int]], count: int, whole: int) -> Factors:
    """Return the factors of updates from those of their means: a mean of m updates gives each of them an m-th.

    The largest factor is 2^16; or, where means count as if in full, the divisor is `whole` times 2^16. Others are
    rounded down.
    """
    given = [0] * count
    for factor, places in zip(factors, members, strict=True):
        for k in places:
            given[k] += (factor * UNIT) // len(places)
    if whole:
        return Factors(tuple(value * whole // (len(members) * UNIT) for value in given), whole * UNIT)
    shrunk = tuple(value * UNIT // max(given) for value in given)
    return Factors(shrunk, sum(shrunk))


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


def repeated_krum(products: Matrix, parameters: Parameters, unit: int) -> list[int]:
    """Choose n - 2f updates as Bulyan does: the one that Krum chooses, then of those left, and so on.

    Of m updates left each is scored by the distances to its m - f - 2 nearest others, at least one. Where only one
    counts, two that are nearest to each other have equal scores: of those the one is chosen whose distances to all
    others, in ascending order, come first. Where these are equal too, all are chosen together, so there may be more
    than n - 2f in the end.
    """
    from registry.rules.gram import squared_distances

    byzantine, distances = parameters["byzantine"], squared_distances(products)
    left, chosen = list(range(len(products))), set[int]()
    others = [sorted(row[:k] + row[k + 1 :]) for k, row in enumerate(distances)]
    near = max(1, len(left) - byzantine - 2)
    scores = [sum(row[:near]) for row in others]
    while len(chosen) < max(1, len(products) - 2 * byzantine):
        best = min(scores[k] for k in left)
        now = [k for k in left if scores[k] == best]
        first = min(others[k] for k in now)
        now = [k for k in now if others[k] == first]
        chosen.update(now)
        left = [k for k in left if k not in chosen]
        for gone in now:  # each score loses the distance to it, or its farthest
            for k in left:
                row, distance = others[k], distances[k][gone]
                scores[k] -= min(distance, row[near - 1])
                del row[bisect_left(row, distance)]
                if near == 1:
                    scores[k] = row[0] if row else 0
            near = max(1, near - 1)
    return [int(k in chosen) for k in range(len(products))]
