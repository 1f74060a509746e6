"""The server step is the rational sum rounded once, saturated, and never -0.0."""

from __future__ import annotations

import random
from fractions import Fraction

import numpy as np
import pytest

from registry.errors import InputError
from registry.rules.step import buffer_step, server_step, step_exponent
from registry.types import GRID_LIMIT

LARGEST = float(np.finfo(np.float32).max)
COUNT = 4000


def rounded(x: Fraction) -> np.float32:
    """x to the nearest float32, ties to even, from integers alone; the largest beyond it."""
    magnitude, exponent = abs(x), -149
    while magnitude / Fraction(2) ** exponent >= 1 << 24:
        exponent += 1
    units = round(magnitude / Fraction(2) ** exponent)  # half to even
    value = min(Fraction(LARGEST), units * Fraction(2) ** exponent)
    return np.float32(float(-value if x < 0 else value))


def exact(w: np.float32, d: int, k: int) -> np.float32:
    return rounded(Fraction(float(w)) + d * Fraction(2) ** k)


def some(rng: random.Random, k: int) -> tuple[np.float32, int]:
    """A weight and a d: anywhere, or where the sum is near a tie, a power of two, zero or the largest."""
    d = rng.choice(
        (rng.randint(-GRID_LIMIT, GRID_LIMIT), rng.choice((-1, 1)) << rng.randint(0, 24), rng.randint(-3, 3))
    )
    kind = rng.randrange(4)
    if kind == 0:
        bits = rng.getrandbits(32)
    else:
        beside = np.float32(float(min(LARGEST, abs(d) * 2.0**k * 2.0 ** rng.choice((-25, -24, -1, 0, 1, 23, 24, 25)))))
        bits = max(0, int(beside.view(np.uint32)) + rng.randint(-2, 2)) | rng.choice((0, 1 << 31))
    if bits & 0x7F800000 == 0x7F800000:
        bits &= ~0x00800000
    return np.uint32(bits).view(np.float32), d


@pytest.mark.parametrize("k", [-149, -148, -127, -100, -44, -23, 0, 60, 102, 103])
def test_the_step_is_the_exact_sum_rounded_once(k: int) -> None:
    rng = random.Random(k)
    pairs = [some(rng, k) for _ in range(COUNT)]
    w = np.array([w for w, _ in pairs])
    d = np.array([d for _, d in pairs])
    expected = np.array([exact(w, d, k) for w, d in pairs])
    assert np.array_equal(server_step(w, d, k).view(np.uint32), expected.view(np.uint32))
    plain = buffer_step(w, d, k, non_negative=True)
    assert np.array_equal(plain.view(np.uint32), np.maximum(expected, np.float32(0.0)).view(np.uint32))
    assert np.array_equal(buffer_step(w, d, k).view(np.uint32), expected.view(np.uint32))


def test_what_saturates_keeps_its_sign() -> None:
    w = np.array([LARGEST, -LARGEST, LARGEST, LARGEST], dtype=np.float32)
    d = np.array([1 << 24, -(1 << 24), 1, -1])
    below = float(np.nextafter(np.float32(LARGEST), np.float32(0)))
    assert server_step(w, d, 103).tolist() == [LARGEST, -LARGEST, LARGEST, below]


def test_zero_is_positive() -> None:
    w = np.array([-0.0, 0.0, 1.0, -1.0], dtype=np.float32)
    d = np.array([0, 0, -(1 << 20), 1 << 20])
    for step in (server_step(w, d, -20), buffer_step(w, d, -20), buffer_step(w, d, -20, non_negative=True)):
        assert step.view(np.uint32).tolist() == [0, 0, 0, 0]
    assert buffer_step(np.array([0.5], dtype=np.float32), np.array([-1]), 0, non_negative=True).tolist() == [0.0]


def test_exponents_outside_their_range_are_refused() -> None:
    assert step_exponent(-126 + 23, 46, 0) == -149
    assert step_exponent(103, 0, 0) == 103
    for scale, grid_bits, fraction_bits in ((-126, 20, 4), (104, 0, 0), (0, 126, 24)):
        with pytest.raises(InputError, match=r"fraction bits .*: expected -149\.\.103, got"):
            step_exponent(scale, grid_bits, fraction_bits)
    for k in (-150, 104):
        with pytest.raises(InputError, match=rf"exponent: expected -149\.\.103, got {k}"):
            server_step(np.zeros(1, dtype=np.float32), np.zeros(1, dtype=np.int64), k)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_weights_that_are_not_finite_are_refused(value: float) -> None:
    w = np.array([0.0, value], dtype=np.float32)
    with pytest.raises(InputError, match="weight 1: expected a finite number, got"):
        server_step(w, np.zeros(2, dtype=np.int64), 0)


@pytest.mark.parametrize("value", [(1 << 24) + 1, -(1 << 24) - 1])
def test_steps_beyond_the_grid_are_refused(value: int) -> None:
    with pytest.raises(InputError, match=r"d: expected at most 2\^24 in magnitude, got"):
        server_step(np.zeros(2, dtype=np.float32), np.array([0, value]), 0)


def test_other_types_and_shapes_are_refused() -> None:
    w, d = np.zeros(3, dtype=np.float32), np.zeros(3, dtype=np.int64)
    for left, right in ((w.astype(np.float64), d), (w, d.astype(np.int32)), (w, d[:2])):
        with pytest.raises(InputError, match="expected float32 and int64 of one shape"):
            server_step(left, right, 0)


def test_no_values_give_none() -> None:
    assert server_step(np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.int64), 0).shape == (0,)
