"""Grid, mean and server step against integers and fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import FormError, InputError
from registry.rules.combine import check_weights, rounded_mean, weighted_mean
from registry.rules.grid import check_arithmetic, grid_integers, to_grid
from registry.types import GRID_LIMIT, MAX_GRID_BITS, MAX_TOTAL_WEIGHT


def nearest_even(value: Fraction) -> int:
    """Round a rational to the nearest integer, ties to even, in integers alone."""
    floor, twice = value.numerator // value.denominator, 2 * (value % 1)
    return floor + (1 if twice > 1 or (twice == 1 and floor % 2) else 0)


def reference_mean(columns: list[list[int]], weights: list[int]) -> list[int]:
    total = sum(weights)
    return [nearest_even(Fraction(sum(n * q for n, q in zip(weights, c, strict=True)), total)) for c in columns]


def on_grid(integers: list[int], bits: int) -> np.ndarray:
    return (np.array(integers, dtype=np.float64) * 2.0**-bits).astype(np.float32)


QS = st.integers(-GRID_LIMIT, GRID_LIMIT)


@settings(max_examples=200)
@given(st.data())
def test_weighted_mean_equals_integers(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 6))
    weights = data.draw(st.lists(st.integers(1, MAX_TOTAL_WEIGHT // count), min_size=count, max_size=count))
    columns = data.draw(st.lists(st.lists(QS, min_size=count, max_size=count), min_size=1, max_size=8))
    bits = data.draw(st.integers(0, 126))
    updates = [on_grid([c[k] for c in columns], bits) for k in range(count)]
    mean = weighted_mean(updates, weights, bits)
    expected = on_grid(reference_mean(columns, weights), bits)
    assert mean.tobytes() == expected.tobytes()
    order = data.draw(st.permutations(range(count)))
    assert weighted_mean([updates[k] for k in order], [weights[k] for k in order], bits).tobytes() == mean.tobytes()


@settings(max_examples=300)
@given(st.integers(1, MAX_TOTAL_WEIGHT), st.integers(0, GRID_LIMIT - 1), st.integers(-3, 3), st.booleans())
def test_division_never_lands_on_a_false_tie(total: int, floor: int, off: int, negative: bool) -> None:
    numerator = ((2 * floor + 1) * total) // 2 + off
    numerator = min(max(numerator, 0), total * GRID_LIMIT) * (-1 if negative else 1)
    made = rounded_mean(np.array([float(numerator)]), total, 0)
    assert int(made[0]) == nearest_even(Fraction(numerator, total))
    assert not (made[0] == 0 and np.signbit(made[0]))


@given(st.lists(QS, min_size=1, max_size=50), st.integers(0, 126))
def test_canonical_values_come_back_as_their_integers(integers: list[int], bits: int) -> None:
    assert grid_integers(on_grid(integers, bits), bits).tolist() == integers


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "a finite number"),
        (np.inf, "a finite number"),
        (-np.inf, "a finite number"),
        (-0.0, r"\+0.0 for zero"),
        (2.0**-25, "a multiple of 2"),
        (1.0 + 2.0**-23, "at most 2\\^0"),
        (-2.0, "at most 2\\^0"),
        (2.0**120, "at most 2\\^0"),
        (-(2.0**7), "at most 2\\^0"),
        (1e-45, "a multiple of 2"),
    ],
)
def test_value_that_is_not_canonical_is_refused(value: float, message: str) -> None:
    values = np.zeros(9, dtype=np.float32)
    values[4] = value
    with pytest.raises(FormError, match=f"value 4: expected {message}"):
        grid_integers(values, 24)


@given(st.floats(-1, 1, width=32), st.integers(0, 24))
def test_rounding_to_the_grid_is_half_to_even(delta: float, bits: int) -> None:
    values, clipped = to_grid(np.array([delta], dtype=np.float32), bits)
    assert clipped == 0
    assert Fraction(float(values[0])) * 2**bits == nearest_even(Fraction(delta) * 2**bits)
    grid_integers(values, bits)


def test_value_beyond_the_grid_names_the_setting_that_fits() -> None:
    with pytest.raises(InputError, match=r"value 1: expected at most 2\^0 .* got 3; use grid_bits 22, or a scale of 2"):
        to_grid(np.array([0.5, -3.0]), 24)
    assert to_grid(np.array([0.5, -3.0]), 22)[0].tolist() == [0.5, -3.0]
    assert to_grid(np.array([0.5, -3.0]), 24, scale=2)[0].tolist() == [0.125, -0.75]
    values, clipped = to_grid(np.array([0.5, -3.0]), 24, saturate=True)
    assert (values.tolist(), clipped) == ([0.5, -1.0], 1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_delta_that_is_not_finite_is_refused_even_if_the_plan_saturates(value: float) -> None:
    with pytest.raises(InputError, match="value 0: expected a finite number"):
        to_grid(np.array([value]), 24, saturate=True)


@pytest.mark.parametrize("weights", [[], [0], [-1], [True], [1.0], [MAX_TOTAL_WEIGHT, 1]])
def test_weights_that_break_the_lemma_are_refused(weights: list[int]) -> None:
    with pytest.raises(InputError):
        check_weights(weights)
    assert check_weights([MAX_TOTAL_WEIGHT]) == MAX_TOTAL_WEIGHT


def test_this_process_computes_with_subnormals() -> None:
    check_arithmetic()


@pytest.mark.parametrize("grid_bits", [-1, MAX_GRID_BITS + 1])
def test_grid_bits_outside_their_range_are_refused(grid_bits: int) -> None:
    with pytest.raises(InputError, match=r"grid_bits: expected 0\.\.126"):
        to_grid(np.zeros(3), grid_bits)
    with pytest.raises(InputError, match=r"grid_bits: expected 0\.\.126"):
        grid_integers(np.zeros(3, np.float32), grid_bits)


def test_mean_that_rounds_to_zero_is_positive_zero() -> None:
    values = [to_grid(np.array([-1.0, 1.0, 0.0]) * 2.0**-20, 20)[0], np.zeros(3, np.float32)]
    mean = weighted_mean(values, [1, 3], 20)
    assert mean.view(np.uint32).tolist() == [0, 0, 0]
    grid_integers(mean, 20)
