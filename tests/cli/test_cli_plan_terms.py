"""Defaults of omitted plan terms, chosen for model and chain, and warnings about unwise terms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from registry.cli.plan_defaults import Surroundings, choose_terms
from registry.cli.plan_warnings import DATA_PRICE_GWEI, TYPICAL_PURSE, data_warnings, terms_warnings, walk_warnings
from registry.dev.chains import example_plan
from registry.errors import InputError
from registry.ethereum.fees import Fees
from registry.ethereum.networks import network_of

SEPOLIA, NOWHERE = 11155111, 987654321
HOUR = 3600
sepolia = pytest.mark.parametrize("far_world", [SEPOLIA], indirect=True)
FAR = Surroundings("sepolia", local=False, lag=1152, aggregators=2)
LOCAL = Surroundings("anvil", local=True, lag=0, aggregators=2)
SAFE = replace(example_plan(), quorum=2, bond_gwei=10**9, answer_duration=1800, challenge_duration=16 * HOUR)
CHEAP = Fees(max_fee=3 * 10**9, priority_fee=10**9, base_fee=10**9)


@pytest.mark.node
@sepolia
def test_what_a_plan_leaves_out_is_chosen_for_model_and_chain(far_world: Any) -> None:
    made = far_world.done("plan", "new", "--model", far_world.model)
    plan = made["plan"]
    assert (plan["quorum"], plan["challenge_duration"], plan["answer_duration"]) == (2, 16 * HOUR, 1800)
    assert [choice["term"] for choice in made["chosen"]] == ["quorum", "challenge_duration"]
    said = far_world.run("plan", "new", "--model", far_world.model)
    assert "quorum = 2: 2 members aggregate, and one alone should not decide what a result is" in said.stderr
    assert (
        "challenge_duration = 16h: a reorg may undo an answer until it is final, up to 19m12s on sepolia, "
        "so each has 30m; a window holds 32 answers\n" in said.stderr
    )


@pytest.mark.node
@sepolia
def test_a_plan_for_no_model_leaves_the_choice_to_plan_set(far_world: Any) -> None:
    made = far_world.done("plan", "new", "--bond", 10**9, "-o", "open.toml")
    assert made["left_open"] == ["quorum", "challenge_duration", "answer_duration"]
    assert "\n# quorum = 1  # cairn plan set chooses, unless set here" in (far_world.folder / "open.toml").read_text()
    answer = far_world.done("plan", "set", far_world.model, "open.toml", "--account", "a")
    assert ([choice["value"] for choice in answer["chosen"]], answer["warnings"]) == ([2, 16 * HOUR], [])
    plan = far_world.done("plan", "history", far_world.model)[-1]
    assert (plan["quorum"], plan["challenge_duration"], plan["answer_duration"]) == (2, 16 * HOUR, 1800)


@pytest.mark.node
@sepolia
def test_what_a_plan_says_is_kept_and_warned_of_where_it_is_set_and_where_a_round_opens(far_world: Any) -> None:
    terms = ("--quorum", 1, "--challenge-duration", "1h", "--term", "demand_price_gwei=60000000")
    far_world.done("plan", "new", *terms, "-o", "poor.toml")
    answer = far_world.done("plan", "set", far_world.model, "poor.toml", "--account", "a")
    codes = ["answer_below_finality", "no_bond", "quorum_of_one", "walk_above_purse"]
    assert ([warning["code"] for warning in answer["warnings"]], answer["chosen"]) == (codes, [])
    plan = far_world.done("plan", "history", far_world.model)[-1]
    assert (plan["quorum"], plan["challenge_duration"], plan["answer_duration"]) == (1, HOUR, 112)
    opened = far_world.done("round", "open", far_world.model, "--account", "a")
    assert [warning["code"] for warning in opened["warnings"]] == codes
    far_world.done("round", "cancel", far_world.model, "--account", "a")
    said = far_world.run("round", "open", far_world.model, "--account", "a").stderr
    assert (
        "warning: answer_duration: expected more than 19m12s, in which an answer becomes final: one that "
        "a reorg undoes has to be given again in time, got 1m52s; "
        "set it longer, and challenge_duration to at least 32 times that\n" in said
    )
    assert "warning: bond_gwei: expected a bond on sepolia, got 0: a lie costs its attesters nothing" in said
    assert "warning: quorum: expected at least 2, got 1: one aggregator decides alone; set quorum = 2\n" in said
    assert " of it deposits: expected at most 0.5 ether, an auditor's usual purse; lower demand_price_gwei" in said
    far_world.done("round", "cancel", far_world.model, "--account", "a")


@pytest.mark.node
@pytest.mark.parametrize("far_world", [NOWHERE], indirect=True)
def test_on_an_unknown_chain_the_node_tells_how_late_it_is_final(far_world: Any) -> None:
    rpc: Any = far_world.chain.w3.provider
    rpc.make_request("evm_setIntervalMining", [0])
    rpc.make_request("anvil_mine", ["0x5", "0x258"])  # five blocks, ten minutes apart
    made = far_world.done("plan", "new", "--model", far_world.model)
    assert (made["plan"]["challenge_duration"], made["plan"]["answer_duration"]) == (16 * HOUR, 1800)
    assert "until it is final, up to 20m on chain 987654321, " in made["chosen"][1]["why"]
    rpc.make_request("evm_setIntervalMining", [1])


def test_a_set_plan_that_selects_among_packed_updates_is_warned_of(world: Any) -> None:
    given = ("byzantine=0", "selected=2", "mixed=0", "bucket=0")
    flags = [flag for one in given for flag in ("--combine-parameter", one)]
    rules = ("--combine", "multi_krum", *flags, "--form", "int8", "--min-contributions", 3)
    world.done("plan", "new", "--model", world.model, *rules, "-o", "packed.toml")
    answer = world.done("plan", "set", world.model, "packed.toml", "--account", "a")
    assert "selection_replayed" in [warning["code"] for warning in answer["warnings"]]
    world.done("plan", "set", world.model, "plan.toml", "--account", "a")


def test_on_a_local_chain_the_usual_terms_stay(world: Any) -> None:
    made = world.done("plan", "new", "--model", world.model, "-o", "local.toml")
    assert (made["plan"]["quorum"], made["plan"]["challenge_duration"], made["chosen"]) == (1, HOUR, [])
    assert "\nquorum = 1  #" in (world.folder / "local.toml").read_text()
    answer = world.done("plan", "set", world.model, "local.toml", "--account", "a")
    assert [warning["code"] for warning in answer["warnings"]] == ["quorum_of_one"]
    assert world.done("plan", "set", world.model, "plan.toml", "--account", "a")["warnings"] == []


@pytest.mark.parametrize(
    ("given", "around", "expected"),
    [
        ({}, LOCAL, {}),
        ({}, FAR, {"quorum": 2, "challenge_duration": 16 * HOUR}),
        ({}, replace(FAR, aggregators=1, lag=0), {}),
        ({"quorum": 1}, FAR, {"challenge_duration": 16 * HOUR}),
        ({"quorum": 1, "challenge_duration": "1h"}, FAR, {}),
        ({"quorum": 1, "challenge_duration": "1h", "answer_duration": "90s"}, FAR, {}),
        ({"quorum": 1, "answer_duration": "90s"}, FAR, {}),
        ({"quorum": 1, "answer_duration": "5m"}, FAR, {"challenge_duration": 3 * HOUR}),
        ({"quorum": 1, "answer_duration": "5m", "late_duration": "1h"}, FAR, {"challenge_duration": 35 * HOUR}),
        ({"quorum": 1, "late_duration": 60}, FAR, {"challenge_duration": 16 * HOUR}),
        ({"quorum": 1, "late_duration": "10m"}, FAR, {"challenge_duration": 21 * HOUR}),
        ({"quorum": 1}, replace(FAR, lag=10**7), {"challenge_duration": 90 * 24 * HOUR}),
    ],
)
def test_only_what_nothing_is_said_of_is_chosen(
    given: dict[str, Any], around: Surroundings, expected: dict[str, int]
) -> None:
    assert {choice.term: choice.value for choice in choose_terms(given, around)} == expected


def test_a_duration_that_is_none_is_refused_before_terms_are_chosen() -> None:
    with pytest.raises(InputError, match="answer_duration: expected a duration"):
        choose_terms({"answer_duration": "soon"}, FAR)


@pytest.mark.parametrize(
    ("change", "network", "lag", "aggregators", "expected"),
    [
        ({}, "sepolia", 1152, 2, []),
        ({}, "", 0, 0, []),
        ({"answer_duration": 1152}, "sepolia", 1152, 0, ["answer_below_finality"]),
        ({"answer_duration": 1153}, "sepolia", 1152, 0, []),
        ({"bond_gwei": 0}, "sepolia", 0, 0, ["no_bond"]),
        ({"bond_gwei": 0}, "", 0, 0, []),
        ({"quorum": 1}, "sepolia", 0, 1, ["quorum_of_one"]),
        ({"quorum": 1}, "", 0, 1, []),
        ({"quorum": 1}, "", 0, 2, ["quorum_of_one"]),
        ({"quorum": 3}, "", 0, 2, ["quorum_above_aggregators"]),
        ({"quorum": 3}, "sepolia", 0, 3, []),
        ({"quorum": 3}, "", 0, 0, []),  # the roles may be granted later
    ],
)
def test_terms_are_warned_of(
    change: dict[str, int], network: str, lag: int, aggregators: int, expected: list[str]
) -> None:
    warned = terms_warnings(replace(SAFE, **change), network, lag, aggregators)  # type: ignore[arg-type]
    assert [warning.code for warning in warned] == expected


@pytest.mark.parametrize(
    ("chain_id", "price", "warned"),
    [
        (10, 0, True),
        (8453, DATA_PRICE_GWEI - 1, True),
        (42161, DATA_PRICE_GWEI, False),
        (1, 0, False),
        (31337, 0, False),
    ],
)
def test_deposits_that_leave_data_unpaid_are_warned_of(chain_id: int, price: int, warned: bool) -> None:
    found = data_warnings(replace(SAFE, demand_price_gwei=price), network_of(chain_id))
    assert [warning.code for warning in found] == ["data_fee_unpaid"] * warned


@pytest.mark.parametrize(
    ("change", "fees", "expected"),
    [
        ({}, CHEAP, []),
        ({"bond_gwei": 0}, CHEAP, []),
        ({"bond_gwei": 2 * 10**7}, CHEAP, ["walk_above_reward"]),
        ({"demand_price_gwei": 2 * 10**7}, CHEAP, ["walk_above_purse", "walk_above_reward"]),
        ({"bond_gwei": 0, "demand_price_gwei": 2 * 10**7}, CHEAP, ["walk_above_purse"]),
        ({}, Fees(10**11, 0, 10**11), ["walk_above_purse", "walk_above_reward"]),
        ({}, Fees(10**11, 10**11, None), ["walk_above_purse", "walk_above_reward"]),
    ],
)
def test_a_walk_that_costs_more_than_it_may_is_warned_of(
    change: dict[str, int], fees: Fees, expected: list[str]
) -> None:
    warned = walk_warnings(replace(SAFE, **change), 2, fees)  # type: ignore[arg-type]
    assert [warning.code for warning in warned] == expected
    assert TYPICAL_PURSE == 5 * 10**17
    for warning in warned:
        assert "32 demands and the dearest conviction take " in warning.text
