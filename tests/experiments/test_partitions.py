"""Partitions: nobody's case twice, the skew that was asked for, the same draw again; clear errors."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from registry.errors import InputError
from trainer.experiments.partitions import PARTITIONERS, Parts, partition

LABELS = np.random.default_rng(1).integers(10, size=5000)
FEATURES = np.random.default_rng(2).random(5000)
OWNERS = np.arange(5000) // 600.0 % 8
PARAMETERS: dict[str, dict[str, object]] = {
    "dirichlet": {"alpha": 0.3},
    "pathological": {"num_classes_per_partition": 3},
    "size": {"partition_sizes": [100, 200, 300, 400, 500, 600, 700, 800]},
    "continuous": {"strictness": 0.5},
}


def divided(name: str, participants: int = 8, seed: int = 0, **parameters: object) -> Parts:
    features = OWNERS if name == "natural_id" else FEATURES
    return partition(LABELS, participants, seed, name, parameters or PARAMETERS.get(name, {}), features=features)


def shares(parts: Parts) -> np.ndarray:
    counts = np.stack([np.bincount(LABELS[own], minlength=10) for own in parts])
    return counts / counts.sum(1, keepdims=True)


@pytest.mark.parametrize("name", PARTITIONERS)
def test_no_case_is_twice_and_all_are_somebody_s(name: str) -> None:
    together = np.concatenate(divided(name))
    assert len(np.unique(together)) == len(together)
    if name not in ("size", "pathological"):
        assert len(together) == len(LABELS)


@pytest.mark.parametrize("name", [name for name in PARTITIONERS if name != "natural_id"])
def test_a_seed_gives_the_same_parts_and_another_seed_others(name: str) -> None:
    first, again, other = divided(name), divided(name), divided(name, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_iid_parts_are_equal_in_size_and_alike_in_classes() -> None:
    parts = divided("iid")
    assert {len(own) for own in parts} == {625}
    assert np.abs(shares(parts) - 0.1).max() < 0.06


def test_a_smaller_alpha_gives_a_stronger_skew() -> None:
    weak, strong = (shares(divided("dirichlet", alpha=alpha)).max(1).mean() for alpha in (100.0, 0.1))
    assert weak < 0.16 < 0.4 < strong


def test_dirichlet_keeps_a_least_size_and_can_balance_sizes() -> None:
    least = min(map(len, divided("dirichlet", alpha=0.3, min_partition_size=150)))
    assert least >= 150
    plain, balanced = (
        max(map(len, divided("dirichlet", alpha=0.1, self_balancing=balancing))) for balancing in (False, True)
    )
    assert balanced < plain


@pytest.mark.parametrize("mode", ["random", "first-deterministic", "deterministic"])
def test_pathological_parts_have_so_many_classes(mode: str) -> None:
    parts = divided("pathological", participants=10, num_classes_per_partition=2, class_assignment_mode=mode)
    held = [set(LABELS[own].tolist()) for own in parts]
    assert all(len(classes) == 2 for classes in held)
    for place, classes in enumerate(held):
        assert mode == "random" or place in classes
        assert mode != "deterministic" or classes == {place, (place + 1) % 10}


def test_shards_have_few_classes_each() -> None:
    parts = divided("shard", num_shards_per_partition=2)
    assert max(len(set(LABELS[own].tolist())) for own in parts) <= 4
    assert max(map(len, parts)) - min(map(len, parts)) <= 2


def test_sizes_grow_as_named() -> None:
    for name, growth in (("linear", lambda k: k), ("square", lambda k: k**2), ("exponential", np.exp)):
        wanted = np.array([growth(k) for k in range(1, 6)], dtype=float)
        found = np.array([len(own) for own in divided(name, participants=5)])
        assert np.abs(found - wanted / wanted.sum() * 5000).max() <= 1
    assert [len(own) for own in divided("size")] == PARAMETERS["size"]["partition_sizes"]


def test_a_strict_continuous_partition_is_sorted_by_the_feature_and_a_loose_one_is_not() -> None:
    strict = divided("continuous", strictness=1.0)
    assert all(FEATURES[a].max() <= FEATURES[b].min() for a, b in pairwise(strict))
    means = [FEATURES[own].mean() for own in divided("continuous", strictness=0.0)]
    assert max(means) - min(means) < 0.1


def test_natural_parts_are_those_of_their_owners() -> None:
    parts = divided("natural_id")
    assert [set(OWNERS[own].tolist()) for own in parts] == [{float(k)} for k in range(8)]
    with pytest.raises(InputError, match="natural_id: expected 8 participants, got 9"):
        divided("natural_id", participants=9)


@pytest.mark.parametrize(
    ("name", "parameters", "said"),
    [
        ("dirichlet", {}, r"dirichlet: expected parameters alpha, .* \(at least alpha\), got none"),
        ("dirichlet", {"alpha": 0.0}, "alpha: expected more than 0, got 0.0"),
        ("dirichlet", {"alpha": "low"}, "expected numbers, got"),
        (
            "dirichlet",
            {"alpha": 0.01, "min_partition_size": 600},
            "no draw of 10 gave each of 8 participants 600 cases",
        ),
        ("iid", {"alpha": 1.0}, "iid: expected parameters none, got alpha"),
        ("pathological", {"num_classes_per_partition": 11}, "expected 1..10, got 11"),
        ("pathological", {"num_classes_per_partition": 1, "class_assignment_mode": "x"}, "expected one of random"),
        ("pathological", {"num_classes_per_partition": 0}, "expected 1..10, got 0"),
        ("shard", {"num_shards_per_partition": 0}, "expected 1 or more, got 0"),
        ("size", {"partition_sizes": [1, 2]}, "expected 8 numbers of 1 or more"),
        ("continuous", {"strictness": 2.0}, "strictness: expected 0..1, got 2.0"),
        ("zipf", {}, "partition: expected one of iid, dirichlet"),
    ],
)
def test_what_cannot_be_divided_so_is_refused(name: str, parameters: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        partition(LABELS, 8, 0, name, parameters, features=FEATURES)


def test_a_participant_without_cases_and_a_missing_feature_are_refused() -> None:
    with pytest.raises(InputError, match=r"participant \d of 9 has none"):
        partition(LABELS[:5], 9, 0, "iid", {})
    with pytest.raises(InputError, match="expected a problem whose cases have a feature"):
        partition(LABELS, 8, 0, "continuous", {"strictness": 1.0})
    with pytest.raises(InputError, match="natural_id: expected a problem whose cases have a feature"):
        partition(LABELS, 8, 0, "natural_id", {})
