"""The contract redoes selections, draws and inner products in integers as the rules compute them here."""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from eth_abi.abi import encode
from web3.exceptions import ContractLogicError

from registry.rounds.draws import draw_seed
from registry.rules.draw import shuffled
from registry.rules.encoding import RuleSet, Shape, encode_rules
from registry.rules.gram import MOST_CONTRIBUTIONS, inner_products, square
from registry.rules.program import Program
from registry.rules.shapes import Select, SelectColumns
from registry.rules.table import BULYAN, COMBINE_RULES, GEOMETRIC_MEDIAN, UNIFORM, CombineRule, Combining
from registry.types import GRID_LIMIT, Root

pytestmark = pytest.mark.slow

CASES = 4_000 if os.environ.get("CAIRN_SOAK") else 150
GAS = 12_000_000
SELECTING = [rule for rule in COMBINE_RULES if isinstance(rule.shape, Select | SelectColumns)]
VECTORS = Path(__file__).parents[1] / "golden" / "rules" / "selections.json"
FEDAVG = Program((), 0, (), (), 0, ())


@pytest.fixture(scope="module")
def selections(mock: Any) -> Any:
    return mock("SelectionsMock").functions


def encoded(combining: Combining) -> bytes:
    shape = Shape.SELECT_COLUMNS if combining.rule is BULYAN else Shape.SELECT
    fields = (combining.rule.number, shape, 1, True, 20, 40, bytes(32), Root(bytes(32)))
    return encode_rules(RuleSet(*fields, combining.encoded, FEDAVG))


def drawn_rule(rng: random.Random, rule: CombineRule, count: int) -> Combining:
    """Settings that decide something of so many updates, or nothing, or that are at their ends."""
    given = {p.name: rng.choice((p.low, p.example, rng.randint(p.low, min(p.high, count)))) for p in rule.parameters}
    if "steps" in given:
        given["steps"] = rng.randint(1, 5)
    if given.get("mixed") and given.get("bucket", 0) > 1:
        given[rng.choice(("mixed", "bucket"))] = 0
    return Combining(rule, UNIFORM, given)


def drawn_updates(rng: random.Random, count: int) -> np.ndarray[Any, Any]:
    """Updates of three coordinates, often equal, often at the ends of the grid."""
    reach = rng.choice((0, 1, 3, 1000, GRID_LIMIT))
    updates = [[rng.randint(-reach, reach) for _ in range(3)] for _ in range(count)]
    for k in range(count):
        if rng.random() < 0.3:
            updates[k] = updates[rng.randrange(count)]
    return np.array(updates, dtype=np.int32)


def words(matrix: Sequence[Sequence[int]]) -> bytes:
    return b"".join(value.to_bytes(32, "big", signed=True) for row in matrix for value in row)


def expected(combining: Combining, triangle: Sequence[int], count: int, order: Sequence[int]) -> tuple[list[int], int]:
    shape = combining.rule.shape
    assert isinstance(shape, Select | SelectColumns)
    chosen = shape.factors(triangle, [1] * count, combining.parameters, order, uniform=True)
    return list(chosen.factors), chosen.divisor


def vectors() -> str:
    """Cases of every rule for the contract's own tests, ABI-encoded, as JSON."""
    rng, cases = random.Random(11), []
    for rule in SELECTING:
        for number in range(12):
            count = (1, 2, 3, 4, 5, 7)[number % 6] if rule is not BULYAN or number % 2 else 7
            combining, round_id, running = drawn_rule(rng, rule, count), rng.randbytes(32), rng.randbytes(32)
            triangle = inner_products(drawn_updates(rng, count))
            order = shuffled(draw_seed(round_id, running), count)
            given = encoded(combining), round_id, running, words(square(triangle, count)), count
            cases.append((*given, *expected(combining, triangle, count, order)))
    kind = "(bytes,bytes32,bytes32,bytes,uint256,uint256[],uint256)[]"
    refused = [
        (encoded(Combining(GEOMETRIC_MEDIAN, UNIFORM, {"steps": 1, "mixed": 0, "bucket": bucket})), words(matrix))
        for bucket, matrix in (
            (0, [[1 << 200] * 2] * 2),
            (0, [[-1, 0], [0, 1]]),
            (0, [[0, 1 << 100], [1 << 100, 0]]),  # farther apart than any two points
            (2, [[1 << 199] * 2] * 2),  # the means' products would be wider
        )
    ]
    told = {"cases": encode([kind], [cases]), "refused": encode(["(bytes,bytes)[]"], [refused])}
    return json.dumps({name: f"0x{data.hex()}" for name, data in told.items()}) + "\n"


def test_the_vectors_of_the_contract_s_own_tests_are_these() -> None:
    assert VECTORS.read_text() == vectors(), f"write them again: python {Path(__file__).name} > {VECTORS.name}"


@pytest.mark.parametrize("rule", SELECTING, ids=lambda rule: rule.name)
def test_the_contract_selects_as_the_rule_does(selections: Any, rule: CombineRule) -> None:
    rng = random.Random(rule.number)
    for case in range(CASES // len(SELECTING)):
        count = rng.choice((1, 2, 3, 4, 5, 7, 8, 12))
        if rule is BULYAN and case % 2:
            count = 11
        combining, round_id, running = drawn_rule(rng, rule, count), rng.randbytes(32), rng.randbytes(32)
        scale = rng.choice((0, 0, 40))
        triangle = [value << 2 * scale for value in inner_products(drawn_updates(rng, count))]
        order = shuffled(draw_seed(round_id, running), count)
        given = encoded(combining), round_id, running, words(square(triangle, count)), count
        *chosen, _ = selections.choose(*given).call({"gas": 25_000_000})
        assert tuple(chosen) == expected(combining, triangle, count, order), (combining.parameters, count)


@pytest.mark.parametrize("rule", SELECTING, ids=lambda rule: rule.name)
def test_a_selection_among_as_many_as_are_redone_fits_into_a_transaction(selections: Any, rule: CombineRule) -> None:
    count, rng = MOST_CONTRIBUTIONS, random.Random(5)
    triangle = inner_products(np.array([[rng.randint(-999, 999) for _ in range(40)] for _ in range(count)], np.int32))
    settings = [
        {"byzantine": 7, "selected": 0, "steps": 64 if rule is GEOMETRIC_MEDIAN else 4, "bound": 9} | mixing
        for mixing in ({"mixed": 0, "bucket": 0}, {"mixed": 10, "bucket": 0}, {"mixed": 0, "bucket": 2})
    ]
    for given in settings[: 1 if rule is BULYAN else 3]:
        if given["mixed"] or given["bucket"]:
            given["steps"] = 16
        combining = Combining(rule, UNIFORM, {p.name: given[p.name] for p in rule.parameters})
        call = encoded(combining), bytes(32), bytes(32), words(square(triangle, count)), count
        *chosen, gas = selections.choose(*call).call({"gas": 29_000_000})
        order = shuffled(draw_seed(bytes(32), bytes(32)), count)
        assert tuple(chosen) == expected(combining, triangle, count, order)
        assert gas < GAS - 3_000_000, (rule.name, given)  # the rest is calldata, list and openings


def test_numbers_that_might_overflow_are_refused(selections: Any) -> None:
    rules = encoded(Combining(GEOMETRIC_MEDIAN, UNIFORM, {"steps": 1, "mixed": 0, "bucket": 0}))
    for matrix in ([[1 << 200]], [[-(1 << 200) - 1]], [[-1]], [[1, 1 << 255 - 1], [1 << 255 - 1, 1]]):
        with pytest.raises(ContractLogicError):
            selections.choose(rules, bytes(32), bytes(32), words(matrix), len(matrix)).call()
    most = [[(1 << 200) - 1] * 2] * 2
    assert selections.choose(rules, bytes(32), bytes(32), words(most), 2).call()[0] == [1 << 16] * 2


def test_inner_products_of_values_are_those_of_their_integers(selections: Any) -> None:
    rng = np.random.default_rng(3)
    for bits in (0, 3, 20, 24, 126):
        q = rng.integers(-GRID_LIMIT, GRID_LIMIT + 1, size=(2, 300))
        q[:, :4] = [[0, GRID_LIMIT, -GRID_LIMIT, 1], [5, GRID_LIMIT, GRID_LIMIT, -1]]
        left, right = ((row * 2.0**-bits).astype("<f4").tobytes() for row in q)
        dot = sum(a * b for a, b in zip(*q.tolist(), strict=True))
        assert selections.dot(left, right, bits).call() == [True, dot]


@pytest.mark.parametrize("bits", [0, 1, 24, 126])
def test_values_that_no_update_may_hold_are_found(selections: Any, bits: int) -> None:
    one = np.array([2.0**-bits], "<f4").tobytes()
    bad = [np.array([value], "<f4").tobytes() for value in (-0.0, np.inf, -np.inf, np.nan, 2.0 ** (25 - bits))]
    bad += [np.array([1], "<u4").tobytes(), np.array([0.75 * 2.0**-bits], "<f4").tobytes()]
    assert selections.dot(one, one, bits).call()[0]
    for value in bad:
        assert not selections.dot(one + value, one + one, bits).call()[0]
        assert not selections.dot(value + one, one + one, bits).call()[0]
        assert not selections.dot(one, value, bits).call()[0]


if __name__ == "__main__":
    sys.stdout.write(vectors())
