"""Cosine similarity of updates and clusters of participants, from the exact Gram matrix.

Clustered federated learning (Sattler, Müller, Samek, Clustered Federated Learning: Model-Agnostic Distributed
Multi-Task Optimization under Privacy Constraints, 2020) splits participants in two so that the largest cosine across is
least, and splits again while that cosine is small enough. With a threshold this ends where single-linkage clustering
does: in the connected components of the pairs whose cosine is no less than the threshold.
"""

from __future__ import annotations

from fractions import Fraction
from math import isqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registry.rules.gram import Matrix

__all__ = ["clusters", "cosine"]

_SCALE = 1 << 64


def cosine(gram: Matrix, i: int, j: int) -> float | None:
    """Return the cosine of two updates, rounded once from 19 digits or more; None if one of them is zero."""
    norms = gram[i][i] * gram[j][j]
    return gram[i][j] * _SCALE / isqrt(norms * _SCALE * _SCALE) if norms else None


def clusters(gram: Matrix, threshold: Fraction) -> list[int | None]:
    """Return each update's cluster, numbered from 0 in the order of first members; None for updates of zeros.

    Args:
        gram: Of the updates, (K, K).
        threshold: Least cosine that joins two updates, -1..1; compared exactly.
    """
    found: list[int | None] = [None] * len(gram)
    number = 0
    for first in range(len(gram)):
        if found[first] is not None or not gram[first][first]:
            continue
        found[first], waiting = number, [first]
        while waiting:
            i = waiting.pop()
            joined = [j for j in range(len(gram)) if found[j] is None and _reaches(gram, i, j, threshold)]
            waiting += joined
            for j in joined:
                found[j] = number
        number += 1
    return found


def _reaches(gram: Matrix, i: int, j: int, threshold: Fraction) -> bool:
    """Whether G_ij >= t * root(G_ii G_jj), by the signs and squares of both sides."""
    norms = gram[i][i] * gram[j][j]
    if not norms:
        return False
    one, other = gram[i][j], threshold.numerator
    squares = one * one * threshold.denominator**2 - other * other * norms
    if one >= 0:
        return other < 0 or squares >= 0
    return other < 0 and squares <= 0
