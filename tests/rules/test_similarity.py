"""Cosines and clusters from exact inner products, and what clusters are for: participants whose labels disagree."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from registry.rules import gram
from registry.rules.similarity import clusters, cosine

GRID_BITS = 20


def gram_of(rows: list[list[int]]) -> list[list[int]]:
    return [[sum(a * b for a, b in zip(one, other, strict=True)) for other in rows] for one in rows]


def test_cosines_are_those_of_vectors_of_any_size() -> None:
    for big in (1, 1 << 24, 1 << 600):
        found = gram_of([[3 * big, 4 * big], [-4 * big, 3 * big], [-3 * big, -4 * big], [big, big], [0, 0]])
        assert [cosine(found, 0, k) for k in range(5)] == [1.0, 0.0, -1.0, pytest.approx(7 / math.sqrt(50)), None]


def test_clusters_are_joined_by_chains_of_pairs_and_the_threshold_counts_exactly() -> None:
    rows = [[1, 0], [1, 1], [0, 1], [-1, 0], [0, 0]]
    found = gram_of(rows)
    half = Fraction(1, 2)
    assert clusters(found, Fraction(7, 10)) == [0, 0, 0, 1, None]  # a cosine of root 1/2 joins the ends by the middle
    assert clusters(found, Fraction(708, 1000)) == [0, 1, 2, 3, None]
    assert clusters(found, Fraction(0)) == [0, 0, 0, 0, None]  # a right angle joins
    assert clusters(found, Fraction(1, 10**9)) == [0, 0, 0, 1, None]
    assert clusters(gram_of([[1, 0], [-1, 0]]), Fraction(-1)) == [0, 0]
    assert clusters(gram_of([[1, 0], [-1, 0]]), Fraction(-999, 1000)) == [0, 1]
    assert clusters(gram_of([[2, 0], [1, 0]]), Fraction(1)) == [0, 0]
    assert clusters(gram_of([[0, 2], [3, 1]]), -half) == [0, 0]
    assert clusters([], half) == []


def updates() -> np.ndarray:
    """Round 1 of softmax regression on handwritten digits: eight participants, half of them with permuted labels."""
    datasets = pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits()
    rng = np.random.default_rng(0)
    order = rng.permutation(len(digits.target))
    permuted = (np.arange(10) + 3) % 10
    rows = []
    for k, mine in enumerate(np.array_split(order, 8)):
        x, y = digits.data[mine] / 16.0, digits.target[mine]
        y = y if k % 2 == 0 else permuted[y]
        w = np.zeros((64, 10))
        for batch in np.array_split(rng.permutation(len(y)), len(y) // 16):  # one local epoch
            z = x[batch] @ w
            p = np.exp(z - z.max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
            p[np.arange(len(batch)), y[batch]] -= 1
            w -= 0.5 * x[batch].T @ p / len(batch)
        rows.append(np.rint(w.reshape(-1) * 2.0**GRID_BITS))
    return np.array(rows).astype(np.int32)


def test_participants_whose_labels_disagree_are_told_apart_in_the_first_round() -> None:
    found = gram.square(gram.inner_products(updates()), 8)
    values = np.array([[cosine(found, i, j) for j in range(8)] for i in range(8)])
    same = np.equal.outer(np.arange(8) % 2, np.arange(8) % 2)
    within, across = values[same].min(), values[~same].max()
    print(f"\ncosines of participants who agree {within:.2f} or more, of those who do not {across:.2f} or less")
    assert clusters(found, Fraction(0)) == [0, 1] * 4
    assert across < -0.05 < 0.5 < within  # far from the threshold on both sides
