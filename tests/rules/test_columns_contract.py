"""The contract tells by counting what integers give: the mean of the values nearest to the median."""

from __future__ import annotations

import os
import random
import statistics
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from web3.exceptions import ContractLogicError

from registry.disputes.streaming import nearest_ends
from registry.rules.columns import nearest_sums
from registry.types import GRID_LIMIT

pytestmark = pytest.mark.slow

CASES = 20_000 if os.environ.get("CAIRN_SOAK") else 300
BATCH = 50


@pytest.fixture(scope="module")
def columns(mock: Any) -> Any:
    return mock("ColumnsMock").functions


def nearest(values: Sequence[int], omitted: int) -> int:
    """By distances, once with lower and once with higher values first; rounded half to even."""
    kept, centre = max(1, len(values) - omitted), Fraction(statistics.median(map(Fraction, values)))
    low = sorted(values, key=lambda q: (abs(q - centre), q))[:kept]
    high = sorted(values, key=lambda q: (abs(q - centre), -q))[:kept]
    return round(Fraction(sum(low) + sum(high), 2 * kept))


def drawn(rng: random.Random) -> tuple[list[int], int]:
    """Values of a coordinate, often equal or at the ends of the grid, and how many of them are left out."""
    reach = rng.choice((1, 4, 50, GRID_LIMIT))
    values = [rng.randint(-reach, reach) for _ in range(rng.choice((1, 2, 3, 5, 8, 13, 40)))]
    return values, rng.choice((0, 1, 2, 4, len(values), rng.randrange(len(values))))


def ends_of(values: Sequence[int], omitted: int) -> list[int]:
    middle, window = nearest_ends(values, omitted)
    return [middle.least, middle.greatest, window.least]


def test_values_nearest_to_the_median_give_in_the_contract_what_they_give_in_integers_and_numpy(columns: Any) -> None:
    rng = random.Random(21)
    cases = [drawn(rng) for _ in range(CASES)]
    for first in range(0, CASES, BATCH):
        batch = cases[first : first + BATCH]
        given = [(values, ends_of(values, omitted), max(1, len(values) - omitted)) for values, omitted in batch]
        expected = [nearest(values, omitted) for values, omitted in batch]
        assert columns.meansOfNearest(given).call({"gas": 25_000_000}) == expected
        for (values, omitted), mean in zip(batch, expected, strict=True):
            tile, sums = np.array(values, dtype=np.int32)[:, None], np.empty(1)
            kept = max(1, len(values) - omitted)
            nearest_sums(tile, len(values) - kept, sums)
            assert np.rint(sums[0] / (2 * kept)) == mean, (values, omitted)


def test_the_contract_takes_no_other_ends_than_these(columns: Any) -> None:
    rng = random.Random(22)
    for _ in range(CASES // 3):
        values, omitted = drawn(rng)
        ends, kept = ends_of(values, omitted), max(1, len(values) - omitted)
        for at in rng.sample(range(3), rng.choice((1, 1, 2, 3))):
            ends[at] += rng.choice((-2, -1, 1, 2))
        with pytest.raises(ContractLogicError):
            columns.meansOfNearest([(values, ends, kept)]).call()
