"""Matched averaging: permutations undone, narrower networks, exact means, and networks that do not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise, permutations
from typing import Any

import numpy as np
import pytest

from registry.errors import InputError
from registry.rules.grid import F32, to_grid
from registry.rules.matching import GRID_BITS, match

LAYERS = ("hidden", "more", "out")


def network(seed: int, *widths: int, layers: Sequence[str] = LAYERS) -> dict[str, F32]:
    """Return a network of random grid values; widths are inputs, hidden units, outputs."""
    rng = np.random.default_rng(seed)
    made = {}
    for layer, (before, after) in zip(layers, pairwise(widths), strict=False):
        made[f"{layer}.weight"] = to_grid(rng.normal(size=(after, before)), GRID_BITS)[0]
        made[f"{layer}.bias"] = to_grid(rng.normal(size=after), GRID_BITS)[0]
    return made


def shuffled(model: Mapping[str, F32], seed: int, layers: Sequence[str] = LAYERS) -> dict[str, F32]:
    """Return the same function with the hidden units in another order."""
    rng, made = np.random.default_rng(seed), {name: array.copy() for name, array in model.items()}
    for layer, after in pairwise(layers):
        order = rng.permutation(len(made[f"{layer}.bias"]))
        made[f"{layer}.weight"], made[f"{layer}.bias"] = made[f"{layer}.weight"][order], made[f"{layer}.bias"][order]
        made[f"{after}.weight"] = made[f"{after}.weight"][:, order]
    return made


def test_networks_that_differ_in_the_order_of_units_alone_give_that_network() -> None:
    model = network(1, 5, 16, 9, 3)
    found = match([model, shuffled(model, 2), shuffled(model, 3)], LAYERS, [1, 5, 2])
    assert all(np.array_equal(found.arrays[name], model[name]) for name in model)
    assert found.places[0] == (tuple(range(16)), tuple(range(9)))
    assert sorted(found.places[1][0]) == list(range(16)) and found.places[1][0] != tuple(range(16))


def test_a_narrower_network_joins_the_units_that_it_resembles() -> None:
    wide = network(1, 4, 6, 2, layers=("a", "b"))
    kept = [4, 1, 3]
    narrow = {
        "a.weight": wide["a.weight"][kept],
        "a.bias": wide["a.bias"][kept],
        "b.weight": wide["b.weight"][:, kept],
        "b.bias": wide["b.bias"],
    }
    found = match([narrow, wide], ("a", "b"), [1, 1])
    assert found.places == (((4, 1, 3),), ((0, 1, 2, 3, 4, 5),))
    assert np.array_equal(found.arrays["a.weight"], wide["a.weight"])
    halved = [0, 2, 5]  # units of the wide network alone count for half: the mean of the two functions
    expected = wide["b.weight"].copy()
    expected[:, halved] = [[on_grid(Fraction(float(v)) / 2) for v in row] for row in wide["b.weight"][:, halved]]
    assert np.array_equal(found.arrays["b.weight"], expected)


def on_grid(value: Fraction) -> float:
    return float(Fraction(round(value * 2**GRID_BITS), 2**GRID_BITS))


def test_means_are_exact_and_the_matching_repeats() -> None:
    models = [network(seed, 3, 4, 2, layers=("a", "b")) for seed in range(3)]
    weights = [3, 1, 7]
    found = match(models, ("a", "b"), weights)
    again = match(models, ("a", "b"), weights)
    assert again.places == found.places
    assert all(np.array_equal(found.arrays[name], array) for name, array in again.arrays.items())
    for unit in range(4):
        given = [
            (weight, model["a.weight"][own.index(unit)])
            for model, (own,), weight in zip(models, found.places, weights, strict=True)
        ]
        for column in range(3):
            mean = sum(weight * Fraction(float(row[column])) for weight, row in given) / sum(weights)
            assert float(found.arrays["a.weight"][unit, column]) == on_grid(mean)


def test_the_assignment_is_the_best_of_all() -> None:
    one, other = (network(seed, 2, 4, 2, layers=("a", "b")) for seed in (5, 6))
    (_, (own,)) = match([one, other], ("a", "b"), [1, 1]).places

    def units(model: Mapping[str, F32]) -> Any:
        values = np.hstack([model["a.weight"], model["a.bias"][:, None], model["b.weight"].T])
        return np.rint(values.astype(np.float64) * 2**GRID_BITS).astype(object)

    def distance(order: Sequence[int]) -> int:
        return int(((units(other) - units(one)[list(order)]) ** 2).sum())

    assert distance(own) == min(map(distance, permutations(range(4))))


@pytest.mark.parametrize(
    ("changed", "weights", "said"),
    [
        ({"a.bias": None}, [1, 1], r"network 2: expected the tensors \['a.bias'"),
        ({"a.bias": np.zeros(3, np.float32)}, [1, 1], r"network 2: a: expected a weight \(outputs, 3\)"),
        ({"a.weight": np.zeros((4, 3))}, [1, 1], "network 2: a.weight: expected float32, got float64"),
        ({"a.weight": np.full((4, 3), 99, np.float32)}, [1, 1], "network 2: a.weight: value 0: expected at most"),
        ({"a.weight": np.full((4, 3), np.nan, np.float32)}, [1, 1], "a.weight: value 0: expected a finite number"),
        ({"a.weight": np.zeros((4, 2), np.float32)}, [1, 1], r"same number of inputs in all networks, got \[3, 2\]"),
        ({}, [1, 0], r"weight: expected a whole number of 1..268435456, got 0"),
        ({}, [1], "2 networks, 1 weights"),
    ],
)
def test_networks_that_do_not_fit_are_refused(changed: dict[str, Any], weights: list[int], said: str) -> None:
    one, other = (network(seed, 3, 4, 2, layers=("a", "b")) for seed in (5, 6))
    given = {name: array for name, array in {**other, **changed}.items() if array is not None}
    with pytest.raises(InputError, match=said):
        match([one, given], ("a", "b"), weights)
