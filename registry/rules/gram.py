"""Exact Gram matrices of integer updates, and what follows from them: distances, mixing.

With |q| <= 2^24, q = 2^12 h + l, |h| <= 2^12 and 0 <= l < 2^12. Products of limbs are at most 2^24 in magnitude, so
float64 sums of fewer than 2^29 of them are exact in any order: BLAS gives the same bits everywhere. Sums over more
values are Python's integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import lcm

import numpy as np
from numpy.typing import NDArray

from registry.rules.grid import I32

__all__ = [
    "MOST_CONTRIBUTIONS",
    "ROW_VALUES",
    "SPREAD",
    "WORD_BYTES",
    "Matrix",
    "Words",
    "inner_products",
    "mixed",
    "nearest",
    "row_products",
    "square",
    "squared_distances",
    "summed_up",
    "upper_triangle",
    "word_bytes",
    "words_in",
]

_LIMB = 12
_STRIP = 1 << 13
"""Values multiplied at a time: of a hundred updates their limbs are 13 MB."""

MOST_CONTRIBUTIONS = 32
"""Most contributions whose inner products a report anchors, and whose selection the contract redoes."""
ROW_VALUES = 1 << 12
"""Coordinates that are multiplied between two anchored sums. Of so many, products add up to at most 2^60."""
WORD_BYTES = 32
"""Bytes of an anchored sum."""
SPREAD = 80
"""Most that scale exponents of parameters may differ by under rules that select: with 2^40 values sums stay within
2^(48 + 40 + 2 * 80), so within a word."""
_WORDS = 8
_WORD = 32

Matrix = Sequence[Sequence[int]]
Words = NDArray[np.int64]
"""Integers modulo 2^256 in their last axis: eight numbers of 32 bits each, or sums of such, the least first."""


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


def row_products(rows: I32, shift: int) -> Words:
    """Return the inner products of all pairs of updates, for each of several rows of coordinates, times 2^shift.

    Args:
        rows: (K, rows, n), n <= 4096, at most 2^24 in magnitude.
        shift: At least 0.

    Returns:
        (rows, K, K, 8).
    """
    count, number, length = rows.shape
    limbs = np.empty((number, 2 * count, length), dtype=np.float64)
    by_row = rows.transpose(1, 0, 2)
    np.right_shift(by_row, _LIMB, out=limbs[:, :count], casting="unsafe")
    np.bitwise_and(by_row, (1 << _LIMB) - 1, out=limbs[:, count:], casting="unsafe")
    whole = np.matmul(limbs, limbs.transpose(0, 2, 1)).astype(np.int64)
    high, cross, low = whole[:, :count, :count], whole[:, :count, count:], whole[:, count:, count:]
    return _shifted((high << 2 * _LIMB) + ((cross + cross.transpose(0, 2, 1)) << _LIMB) + low, shift)


def _shifted(numbers: NDArray[np.int64], shift: int) -> Words:
    """Return numbers times 2^shift as words."""
    words = np.zeros((*numbers.shape, _WORDS), dtype=np.int64)
    for place in range(_WORDS):
        down = _WORD * place - shift
        if down > -_WORD:
            moved = numbers >> min(down, 63) if down >= 0 else numbers << -down
            words[..., place] = moved & ((1 << _WORD) - 1)
    return words


def summed_up(before: Words, rows: Words) -> Words:
    """Return the running sums of rows of words, after those before, in eight numbers of 32 bits each.

    Args:
        before: (K, K, 8).
        rows: (rows, K, K, 8), at most 2^20 rows, below 2^40.
    """
    sums = np.cumsum(rows, axis=0)
    sums += before
    for place in range(_WORDS - 1):
        sums[..., place + 1] += sums[..., place] >> _WORD
    sums &= (1 << _WORD) - 1
    return sums


def word_bytes(words: Words) -> bytes:
    """Return words of eight numbers of 32 bits as two's complement, 32 bytes each, big-endian."""
    return words[..., ::-1].astype(">u4").tobytes()


def words_in(data: bytes, count: int) -> Words:
    """Return the rows of matrices of count updates that bytes hold, (rows, K, K, 8)."""
    numbers = np.frombuffer(data, dtype=">u4").reshape(-1, count, count, _WORDS)
    return numbers[..., ::-1].astype(np.int64)


def upper_triangle(matrix: Words) -> list[int]:
    """Return the integers of the upper triangle, row by row, of a matrix (K, K, 8) of eight numbers of 32 bits each."""
    data, count = word_bytes(matrix), len(matrix)
    places = ((i * count + j) * WORD_BYTES for i in range(count) for j in range(i, count))
    return [int.from_bytes(data[at : at + WORD_BYTES], "big", signed=True) for at in places]


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
    unit = lcm(*(len(places) for places in members))
    shares = [unit // len(places) for places in members]
    sums = [[sum(row[j] for j in places) for places in members] for row in gram]  # (K, means)
    made = [
        [shares[a] * shares[b] * sum(sums[i][b] for i in places) for b in range(len(members))]
        for a, places in enumerate(members)
    ]
    return made, unit
