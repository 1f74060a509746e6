"""Exact Gram matrices of integer updates, and what follows from them: distances, mixing.

With |q| <= 2^24, q = 2^12 h + l, |h| <= 2^12 and 0 <= l < 2^12. Products of limbs are at most 2^24 in magnitude, so
float64 sums of fewer than 2^29 of them are exact in any order: BLAS gives the same bits everywhere. Sums over more
values are Python's integers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from registry.rules.grid import I32

__all__ = ["Matrix", "inner_products", "mixed", "nearest", "square", "squared_distances"]

_LIMB = 12
_STRIP = 1 << 13
"""Values multiplied at a time: of a hundred updates their limbs are 13 MB."""

Matrix = Sequence[Sequence[int]]


def inner_products(tile: I32) -> list[int]:
    """Return the inner products of all pairs of rows, the upper triangle row by row: K (K + 1) / 2 integers.

    Args:
        tile: (K, n), n < 2^29, at most 2^24 in magnitude.
    """
    count, length = tile.shape
    sums = np.zeros((2 * count, 2 * count), dtype=np.float64)
    limbs = np.empty((2 * count, min(length, _STRIP)), dtype=np.float64)
    for start in range(0, length, _STRIP):
        strip = tile[:, start : start + _STRIP]
        part = limbs[:, : strip.shape[1]]
        np.right_shift(strip, _LIMB, out=part[:count], casting="unsafe")
        np.bitwise_and(strip, (1 << _LIMB) - 1, out=part[count:], casting="unsafe")
        sums += part @ part.T
    whole = sums.astype(np.int64)
    high, cross, low = whole[:count, :count], whole[:count, count:], whole[count:, count:]
    rows, columns = np.triu_indices(count)
    middle = (cross + cross.T)[rows, columns].tolist()
    return [
        (first << 2 * _LIMB) + (second << _LIMB) + third
        for first, second, third in zip(high[rows, columns].tolist(), middle, low[rows, columns].tolist(), strict=True)
    ]


def square(triangle: Sequence[int], count: int) -> list[list[int]]:
    """Return the symmetric matrix, (K, K), of an upper triangle."""
    matrix = [[0] * count for _ in range(count)]
    given = iter(triangle)
    for i in range(count):
        for j in range(i, count):
            matrix[i][j] = matrix[j][i] = next(given)
    return matrix


def squared_distances(gram: Matrix) -> list[list[int]]:
    """Return the squared Euclidean distances between all pairs, (K, K)."""
    norms = [gram[i][i] for i in range(len(gram))]
    return [[norms[i] + norms[j] - 2 * gram[i][j] for j in range(len(gram))] for i in range(len(gram))]


def nearest(distances: Sequence[int], count: int) -> list[int]:
    """Return the places of the smallest distances: count of them, or more where the last are equal."""
    farthest = sorted(distances)[count - 1]
    return [k for k, distance in enumerate(distances) if distance <= farthest]


def mixed(gram: Matrix, members: Sequence[Sequence[int]]) -> tuple[list[list[int]], int]:
    """Return the Gram matrix of means of updates, times a common unit squared, and that unit.

    Args:
        gram: Of the updates, (K, K).
        members: For each mean, the places of the updates in it.
    """
    unit = np.lcm.reduce([len(places) for places in members]).item()
    shares = [unit // len(places) for places in members]
    sums = [[sum(row[j] for j in places) for places in members] for row in gram]  # (K, means)
    made = [
        [shares[a] * shares[b] * sum(sums[i][b] for i in places) for b in range(len(members))]
        for a, places in enumerate(members)
    ]
    return made, unit
