"""Federated evaluation: integer sums of what most participants measured, in whatever order they come."""

from __future__ import annotations

from itertools import permutations

import pytest

from registry.content.manifest import Evaluation, SummedEvaluation
from registry.errors import FormError, InputError
from registry.rounds.evaluations import evaluation_of, ratios, summed

ONE = Evaluation(10, {"correct": 7}, {"loss": 5 << 20})
TWO = Evaluation(30, {"correct": 12}, {"loss": 9 << 20})
OTHER = Evaluation(1000, {"correct": 1000}, {})


def test_the_sum_is_of_those_who_measured_what_most_did_in_any_order() -> None:
    expected = SummedEvaluation(2, 40, {"correct": 19}, {"loss": 14 << 20})
    assert all(summed(order) == expected for order in permutations([ONE, None, OTHER, TWO]))


def test_of_two_kinds_that_as_many_measured_the_first_by_name_counts() -> None:
    assert summed([ONE, OTHER]) == summed([OTHER, ONE]) == SummedEvaluation(1, 1000, {"correct": 1000}, {})


def test_a_wider_evaluation_is_not_cut_to_the_others_names() -> None:
    wider = Evaluation(50, {"correct": 1, "seen": 2}, {"loss": 0})
    assert summed([ONE, TWO, wider]) == summed([ONE, TWO])


def test_where_nobody_measured_there_is_no_sum() -> None:
    assert summed([]) is None
    assert summed([None, None]) is None


def test_sums_saturate_at_64_bits() -> None:
    most = [Evaluation(1, {}, {"high": 2**53, "low": -(2**53)})] * 1025
    made = summed(most)
    assert made is not None and made.sums == {"high": 2**63 - 1, "low": -(2**63)}


def test_what_a_task_measures_is_rounded_half_to_even_to_the_format() -> None:
    found = evaluation_of({"examples": 4, "correct": 3, "loss": 1.5, "tiny": 2.0**-21, "odd": 3 * 2.0**-21})
    assert found == Evaluation(4, {"correct": 3}, {"loss": 3 << 19, "tiny": 0, "odd": 2})
    assert ratios(found)["correct"] == 0.75 and ratios(found)["loss"] == 0.375


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
    with pytest.raises(FormError, match="at most 32 names"):
        evaluation_of({"examples": 1} | {f"m{i}": 1 for i in range(33)})
