"""Federated evaluation: integer sums of what most participants measured, in whatever order they come."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch

from registry.content.manifest import Evaluation, SummedEvaluation
from registry.errors import FormError, InputError
from registry.rounds.evaluations import classes_of, confusion_counts, evaluation_of, summed
from registry.rounds.scores import figures, score_of
from registry.types import Address

CAP = 10_000

ONE = Evaluation(10, {"correct": 7}, {"loss": 5 << 20})
TWO = Evaluation(30, {"correct": 12}, {"loss": 9 << 20})
OTHER = Evaluation(1000, {"correct": 1000}, {})


def test_the_sum_is_of_those_who_measured_what_most_did_in_any_order() -> None:
    expected = SummedEvaluation(2, 40, {"correct": 19}, {"loss": 14 << 20})
    assert all(summed(order, CAP) == expected for order in permutations([ONE, None, OTHER, TWO]))


def test_of_two_kinds_that_as_many_measured_the_first_by_name_counts() -> None:
    assert summed([ONE, OTHER], CAP) == summed([OTHER, ONE], CAP) == SummedEvaluation(1, 1000, {"correct": 1000}, {})


def test_a_wider_evaluation_is_not_cut_to_the_others_names() -> None:
    wider = Evaluation(50, {"correct": 1, "seen": 2}, {"loss": 0})
    assert summed([ONE, TWO, wider], CAP) == summed([ONE, TWO], CAP)


def test_where_nobody_measured_there_is_no_sum() -> None:
    assert summed([], CAP) is None
    assert summed([None, None], CAP) is None


def test_sums_saturate_at_64_bits() -> None:
    most = [Evaluation(1, {}, {"high": 2**53, "low": -(2**53)})] * 1025
    made = summed(most, CAP)
    assert made is not None and made.sums == {"high": 2**63 - 1, "low": -(2**63)}


def test_what_a_task_measures_is_rounded_half_to_even_to_the_format() -> None:
    found = evaluation_of({"examples": 4, "correct": 3, "loss": 1.5, "tiny": 2.0**-21, "odd": 3 * 2.0**-21})
    assert found == Evaluation(4, {"correct": 3}, {"loss": 3 << 19, "tiny": 0, "odd": 2})
    assert (figures(found)["correct"], figures(found)["loss"]) == (0.75, 0.375)


@pytest.mark.parametrize(
    ("measured", "message"),
    [
        ({}, "expected the number of examples"),
        ({"examples": 0}, "expected the number of examples"),
        ({"examples": 4.0}, "expected the number of examples"),
        ({"examples": True}, "expected the number of examples"),
        ({"examples": 1, "loss": float("nan")}, "expected loss to be an int or a finite float"),
        ({"examples": 1, "loss": float("-inf")}, "expected loss to be an int or a finite float"),
        ({"examples": 1, "correct": True}, "expected correct to be an int or a finite float"),
        ({"examples": 1, "correct": "1"}, "expected correct to be an int or a finite float"),
    ],
)
def test_what_is_no_evaluation_is_refused(measured: dict[str, int | float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluation_of(measured)


def test_too_many_names_are_refused() -> None:
    with pytest.raises(FormError, match="at most 1024 names"):
        evaluation_of({"examples": 1} | {f"m{i}": 1 for i in range(1025)})


# Totals are capped ----------------------------------------------------------------------------------------------------


def test_an_evaluation_counts_for_at_most_the_cap_in_proportion_and_rounded_down() -> None:
    big = Evaluation(1000, {"correct": 999}, {"loss": -(3 << 20)})
    small = Evaluation(10, {"correct": 7}, {"loss": 1})
    assert summed([big, small], 30) == SummedEvaluation(2, 40, {"correct": 29 + 7}, {"loss": -94372 + 1})
    assert summed([big, small], 1000) == SummedEvaluation(2, 1010, {"correct": 1006}, {"loss": 1 - (3 << 20)})


def test_more_hits_than_examples_are_left_out() -> None:
    assert summed([Evaluation(10, {"correct": 11}, {})], CAP) is None
    assert summed([Evaluation(10, {"correct": 10}, {}), Evaluation(1, {"correct": 2**34}, {})], CAP) == (
        SummedEvaluation(1, 10, {"correct": 10}, {})
    )


# Confusion counts -----------------------------------------------------------------------------------------------------

LABELS = ("a", "b", "c")
TRUE = np.array([0] * 40 + [1] * 30 + [2] * 12)
PREDICTED = np.array([0] * 36 + [1] * 4 + [1] * 18 + [0] * 12 + [2] * 12)


def test_confusion_counts_are_one_against_the_rest_with_small_cells_at_five() -> None:
    found = confusion_counts(TRUE, PREDICTED, LABELS)
    assert found == {
        "examples": 36 + 5 + 18 + 12 + 12,
        **{"tp:a": 36, "fp:a": 12, "fn:a": 5},
        **{"tp:b": 18, "fp:b": 5, "fn:b": 12},
        **{"tp:c": 12, "fp:c": 0, "fn:c": 0},
    }
    assert confusion_counts(torch.from_numpy(TRUE), list(PREDICTED), LABELS) == found


@pytest.mark.parametrize("cases", range(1, 13))
def test_a_cell_under_ten_is_never_given_nor_told_by_the_total(cases: int) -> None:
    found = confusion_counts([0] * cases, [0] * cases, LABELS)
    assert found["tp:a"] == found["examples"] == (5 if cases < 10 else cases)
    mixed = confusion_counts([0] * 50 + [1] * cases, [0] * 50 + [1] * cases, LABELS)
    assert mixed["examples"] - mixed["tp:a"] == (5 if cases < 10 else cases)


@pytest.mark.parametrize(
    ("true", "predicted", "labels"),
    [
        ([], [], LABELS),
        ([0], [0, 1], LABELS),
        ([[0]], [[0]], LABELS),
        ([0.0], [0], LABELS),
        ([True], [True], LABELS),
        ([3], [0], LABELS),
        ([0], [-1], LABELS),
        ([0], [0], ("a", "a")),
        ([0], [0], ()),
        (["a"], ["a"], LABELS),
    ],
)
def test_what_cannot_be_counted_is_refused(true: Any, predicted: Any, labels: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="confusion counts: expected"):
        confusion_counts(true, predicted, labels)


HONEST = evaluation_of(confusion_counts(TRUE, PREDICTED, LABELS))


@pytest.mark.parametrize(
    "changed",
    [
        {"tp:a": 37},
        {"tp:a": 37, "fn:a": 4},
        {"fp:c": 2**34},
        {"fp:c": 50},
        {"tp:c": 3, "fn:c": 5},
    ],
    ids=["more than the examples", "a small cell", "a huge claim", "too many claims", "another total"],
)
def test_confusion_counts_that_contradict_each_other_are_not_summed(changed: dict[str, int]) -> None:
    lying = replace(HONEST, counts={**HONEST.counts, **changed})
    assert summed([lying], CAP) is None
    total = summed([lying, HONEST], CAP)
    assert total is not None and (total.updates, dict(total.counts)) == (1, dict(HONEST.counts))


def test_random_confusion_counts_are_consistent_and_their_interval_holds_the_truth() -> None:
    draw = np.random.default_rng(5)
    for _ in range(40):
        count = int(draw.integers(1, 60))
        true = [draw.integers(0, 4, count) for _ in range(3)]
        guessed = [np.where(draw.random(count) < 0.6, each, draw.integers(0, 4, count)) for each in true]
        given = [evaluation_of(confusion_counts(t, g, "abcd")) for t, g in zip(true, guessed, strict=True)]
        score = score_of(3, summed(given, CAP), [(address(i), each) for i, each in enumerate(given)], CAP)
        assert score is not None and score.least is not None and score.most is not None
        assert score.participants == 3
        exact = macro_f1(np.concatenate(true), np.concatenate(guessed))
        assert score.least <= exact <= score.most
        assert score.least <= score.value <= score.most


def address(place: int) -> Address:
    return Address(bytes([place]) * 20)


def macro_f1(true: Any, guessed: Any) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(true, guessed, labels=np.unique(true), average="macro", zero_division=0))


# Scores ---------------------------------------------------------------------------------------------------------------


def test_a_score_has_spread_and_the_worst_participant() -> None:
    given = [Evaluation(10, {"correct": 9}, {}), Evaluation(30, {"correct": 15}, {}), OTHER, Evaluation(5, {}, {})]
    shown = [(address(i), each) for i, each in enumerate(given)]
    score = score_of(4, summed(given[:3], 20), shown[:2] + shown[3:], 20)
    assert score is not None
    assert (score.round, score.metric, score.participants, score.examples) == (4, "accuracy", 3, 50)
    assert score.value == (9 + 10 + 20) / 50
    assert (score.worst, score.worst_participant, score.best) == (0.5, address(1), 0.9)
    assert score.spread == pytest.approx(0.2)
    assert score.least is score.most is None


def test_without_counts_of_hits_there_is_no_score() -> None:
    assert score_of(1, None, [], CAP) is None
    assert score_of(1, summed([Evaluation(5, {"tokens": 9}, {"loss": 1})], CAP), [], CAP) is None


def test_an_interval_needs_every_manifest_and_capping_keeps_it() -> None:
    twice = [(address(1), HONEST), (address(2), HONEST)]
    total = summed([HONEST, HONEST], CAP)
    partly = score_of(1, total, twice[:1], CAP)
    assert partly is not None and partly.least is None and partly.spread == 0
    whole, capped = (score_of(1, summed([HONEST, HONEST], cap), twice, cap) for cap in (CAP, 60))
    assert whole is not None and capped is not None
    assert capped.examples == 120
    assert capped.least == pytest.approx(whole.least)
    assert capped.most == pytest.approx(whole.most)


def test_the_names_of_one_class_alone_are_ordinary_counts() -> None:
    assert classes_of({"tp:a": 1, "fn:a": 1}) == ()
    assert figures(Evaluation(2, {"tp:a": 1}, {})) == {"tp:a": 0.5}
