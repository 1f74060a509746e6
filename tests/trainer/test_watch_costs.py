"""Cost of auditing a round: its gas is the measured one, its demands are those that an auditor makes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from registry.chain.contract_structs import Counted, Opening
from registry.content.merkle import leaf_hash, merkle_tree, prove
from registry.dev.chains import example_plan
from registry.disputes import inspection
from registry.disputes.openings import differing_leaf
from registry.disputes.streaming import GAS_OF_CONVICTION, GAS_OF_STEP
from registry.roles import auditor, watch_costs
from registry.roles.watch_costs import GAS, price_of, walk_steps

MEASURED = json.loads((Path(__file__).resolve().parents[2] / "contracts" / "gas.json").read_text())
GWEI = 10**9
PLAN = replace(example_plan(), quorum=2, bond_gwei=GWEI, answer_duration=60, late_duration=30, challenge_duration=3600)


@pytest.mark.parametrize("name", GAS)
def test_gas_is_what_was_measured_rounded_up(name: str) -> None:
    assert MEASURED[name] <= GAS[name] <= MEASURED[name] * 1.05


def test_the_first_demand_of_a_window_is_the_dearest_of_its_kind() -> None:
    for kind in ("demand chunk", "demand chunk of a state"):
        dearest = GAS[f"{kind}, first in its window, 10^8 values"]
        assert all(gas <= dearest for name, gas in MEASURED.items() if name.startswith(f"{kind},"))


def test_no_measured_conviction_takes_more_than_the_dearest() -> None:
    of_100 = {name: gas for name, gas in MEASURED.items() if name.startswith("convict ") and "100" in name}
    assert len(of_100) >= 5
    assert all(gas <= 100 * GAS_OF_STEP + GAS_OF_CONVICTION for gas in of_100.values())
    assert all(
        gas <= GAS_OF_CONVICTION for name, gas in MEASURED.items() if name.startswith(("convict v", "convict s"))
    )


def test_it_counts_samples_and_lists_as_an_auditor_demands_them() -> None:
    assert (watch_costs.SAMPLES, watch_costs.TOGETHER) == (inspection._SAMPLES, auditor._TOGETHER)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 9, 33])
def test_no_walk_takes_more_steps_and_one_takes_as_many(count: int) -> None:
    """Every place of the wrong leaf, walked as the auditor does, with real trees."""
    leaves = [number.to_bytes(32, "big") for number in range(count)]
    own = merkle_tree(leaf_hash(leaf) for leaf in leaves)
    taken = []
    for wrong in range(count):
        theirs = [*leaves[:wrong], b"wrong", *leaves[wrong + 1 :]]
        tree = merkle_tree(leaf_hash(leaf) for leaf in theirs)
        shown: dict[int, Opening] = {}
        while (index := differing_leaf(own, shown)) not in shown:
            shown[index] = Opening(Counted(count, tree.root), theirs[index], prove(tree, index))
        assert index == wrong
        taken.append(len(shown))
    assert max(taken) <= walk_steps(count)
    if count & (count - 1) == 0:
        assert max(taken) == walk_steps(count)


def test_a_small_round_by_hand() -> None:
    """Two participants, 1000 values in four leaves, a bond of one ether."""
    costs = watch_costs.watch_costs(PLAN, 2, 1000, 0)
    assert {line.what: (line.times, line.gas, line.deposits) for line in costs.lines} == {
        "heads of version and report": (2, 340_000, 2),
        "hidden list of contributions": (2, 290_000, 2),
        "samples of hidden contributions": (10, 2 * (170_000 + 166_000 + 166_000 + 2 * 60_000), 10),
        "samples of a hidden result": (8, 2 * (173_000 + 3 * 60_000), 8),
        "walk down a tree of 4 leaves": (3, 519_000, 3),
        "seals": (6, 306_000, 0),
        "dearest conviction": (1, 690_000, 0),
        "expel all attesters": (1, 190_000, 0),
        "reveal claim": (1, 57_000, 0),
        "collect reward": (1, 43_000, 0),
        "withdraw deposits and reward": (2, 62_000, 0),
    }
    assert (costs.walk_steps, costs.turns, costs.blocks, costs.out, costs.window) == (3, 7, 7 * 2 + 2, 90, 3600)
    assert (costs.time, costs.fits, costs.reward) == (7 * 90 + 60 + 16 * 12, True, 5 * 10**17)
    price = price_of(costs.lines, PLAN, 10 * GWEI, GWEI)
    gas = sum(line.gas for line in costs.lines)
    assert (price.gas, price.deposit) == (gas * 11 * GWEI, 150_000 * 10 * GWEI * 5 // 4)
    assert price.deposits == 25 * price.deposit
    assert price.headroom == 862_500 * 21 * GWEI - 690_000 * 11 * GWEI
    assert price.limit == price.gas + price.deposits + price.headroom
    assert sum(price.lines) == price.gas + price.deposits


def test_without_a_bond_nothing_is_sealed_and_nothing_earned() -> None:
    costs = watch_costs.watch_costs(replace(PLAN, bond_gwei=0, late_duration=0), 2, 1000, 0)
    assert costs.reward == 0
    assert {"seals", "reveal claim", "collect reward"}.isdisjoint(line.what for line in costs.lines)
    assert next(line.gas for line in costs.lines if line.what == "expel all attesters") == 2 * GAS["expel one"]


def test_a_state_is_walked_where_its_tree_is_deeper_and_the_parent_s_is_demanded() -> None:
    costs = watch_costs.watch_costs(PLAN, 2, 1000, 2)
    walk = next(line for line in costs.lines if line.what.startswith("walk"))
    assert (walk.what, walk.times) == ("walk down a tree of 16 leaves", 5)
    assert walk.gas == 5 * GAS["demand chunk of a state, first in its window, 10^8 values"]
    assert any(line.what == "parent's state" for line in costs.lines)


@pytest.mark.parametrize(
    ("price_gwei", "base_fee", "expected"),
    [
        (0, 0, 0),
        (0, GWEI, 187_500 * GWEI),
        (7, GWEI, 187_500 * GWEI),
        (10**6, GWEI, 1_250_000 * GWEI),
        (0, 1000 * GWEI, 10**17),
        (60_000_000, GWEI, 75_000_000 * GWEI),
    ],
)
def test_a_deposit_is_a_quarter_more_than_the_least_and_never_more_than_is_taken(
    price_gwei: int, base_fee: int, expected: int
) -> None:
    plan = replace(PLAN, demand_price_gwei=price_gwei)
    costs = watch_costs.watch_costs(plan, 2, 1000, 0)
    assert price_of(costs.lines, plan, base_fee, GWEI).deposit == expected


def test_a_window_too_short_for_all_that_may_have_to_be_demanded_is_said() -> None:
    tight = replace(PLAN, answer_duration=1000, late_duration=0, challenge_duration=32_000)
    assert watch_costs.watch_costs(tight, 2, 1 << 30, 0).fits
    assert not watch_costs.watch_costs(tight, 2, 1 << 40, 0).fits


def test_demands_that_fill_blocks_take_the_time_of_those() -> None:
    """Of each contribution a head, a leaf and four more: some 700 000 gas."""
    few, many = (watch_costs.watch_costs(PLAN, count, 10**6, 0) for count in (2, 1000))
    assert few.turns == many.turns
    gas = sum(line.gas for line in many.lines if line.deposits or line.what == "seals")
    assert many.blocks == 2 * many.turns + gas // 15_000_000 + 1 + 1000 // 50
    assert many.time - few.time == 12 * (many.blocks - few.blocks)
    assert many.blocks - few.blocks > 40
