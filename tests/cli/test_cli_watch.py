"""`cairn auditor plan`: the upper bound on the cost of auditing a round."""

from __future__ import annotations

from typing import Any

import pytest

from registry.chain.client import Client
from registry.chain.deployments import load_deployment
from registry.cli.run_loops import alone
from registry.ethereum.fees import suggest_fees
from registry.roles.watch_costs import price_of, watch_costs
from registry.types import ModelId


def test_it_says_what_the_standing_plan_of_the_model_comes_to(shared_world: Any) -> None:
    said = shared_world.done("auditor", "plan", shared_world.model, "--base-fee", "5,0.05", "--base-fee", 30)
    assert (said["plan"], said["participants"], said["values"]) == (0, 2, 3)
    history = shared_world.done("plan", "history", shared_world.model)[0]
    assert said["time"]["window_seconds"] == history["challenge_duration"] == 3600
    assert said["time"]["deposit_out_seconds"] == history["answer_duration"] == 112
    assert (said["time"]["walk_steps"], said["time"]["fits"], said["reward_wei"]) == (1, True, 0)
    fees = suggest_fees(shared_world.chain.w3)
    assert [price["base_fee_wei"] for price in said["prices"]] == [fees.base_fee, 5 * 10**9, 5 * 10**7, 30 * 10**9]
    for price in said["prices"]:
        assert sum(price["lines_wei"]) == price["gas_wei"] + price["deposits_wei"]
        assert price["limit_wei"] == price["gas_wei"] + price["deposits_wei"] + price["headroom_wei"]
        assert 0 <= float(price["limit_ether"]) * 10**18 - price["limit_wei"] < 2 * 10**14


def test_it_is_the_arithmetic_of_the_chain_s_plan(world: Any) -> None:
    adam = ("--server", "fedadam", "--server-parameter", "rate=0.01", "--server-parameter", "beta1=0.9")
    adam += ("--server-parameter", "beta2=0.99", "--server-parameter", "tau=0.001")
    world.done("plan", "new", "--bond", 10**9, "--term", "demand_price_gwei=1000000", *adam, "-o", "bonded.toml")
    world.done("plan", "set", world.model, "bonded.toml", "--account", "a")
    said = world.done("auditor", "plan", world.model, "--base-fee", 20)
    known = load_deployment(world.folder / "home" / "deployments", world.chain.w3.eth.chain_id)
    assert known is not None
    plan = Client(world.chain.w3, known.address).plan(ModelId(bytes.fromhex(world.model[2:])), 1)
    costs = watch_costs(plan, 2, 3, 2)
    assert said["lines"] == [{name: getattr(line, name) for name in line.__dataclass_fields__} for line in costs.lines]
    price = price_of(costs.lines, plan, 20 * 10**9, said["prices"][1]["priority_fee_wei"])
    assert (said["prices"][1]["limit_wei"], said["prices"][1]["deposit_wei"]) == (price.limit, price.deposit)
    assert said["reward_wei"] == 5 * 10**17


def test_people_read_a_table_with_the_limit_at_its_foot(shared_world: Any) -> None:
    result = shared_world.run("auditor", "plan", shared_world.model, "--base-fee", 20)
    assert result.exit_code == 0, result.output
    head, foot = (
        next(line for line in result.stdout.splitlines() if line.startswith(s)) for s in ("at most", "--limit")
    )
    assert head.split()[-4:] == ["20", "gwei", "gas", "from"]
    said = shared_world.done("auditor", "plan", shared_world.model, "--base-fee", 20)
    assert foot.split()[-2:] == [price["limit_ether"] for price in said["prices"]]
    assert "reward    none: the plan asks for no bond" in result.stdout
    assert "of a window of 1h: fits" in result.stdout


def test_no_account_and_no_keystore_is_needed(shared_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAIRN_KEYS")
    monkeypatch.delenv("ETH_PASSWORD")
    assert shared_world.run("auditor", "plan", shared_world.model).exit_code == 0


@pytest.mark.parametrize("text", ["", "x", "5,", "-1", "nan", "inf", "1e9", "0.0000000001", "٣", "5;6"])
def test_a_base_fee_that_is_none_is_refused(shared_world: Any, text: str) -> None:
    result = shared_world.run("auditor", "plan", shared_world.model, f"--base-fee={text}")
    assert (result.exit_code, "--base-fee: expected gwei such as 5" in result.stderr) == (2, True)


def test_a_model_without_a_plan_and_a_store_without_it_say_so(world: Any) -> None:
    result = world.run("auditor", "plan", world.model, "--store", str(world.folder / "empty"))
    assert (result.exit_code, "Traceback" in result.output) == (4, False)
    bare = world.done("model", "register", "genesis.safetensors", "--title", "bare", "--account", "a")["model"]
    result = world.run("auditor", "plan", bare)
    assert (result.exit_code, "this model has no plan yet: cairn plan set MODEL FILE" in result.stderr) == (2, True)


def test_a_limit_below_what_a_round_may_take_is_told(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.cli.run_loops.run_tasks", lambda *_, **__: None)
    least = world.done("auditor", "plan", world.model)["prices"][0]["limit_ether"]
    enough = world.run("auditor", "run", world.model, "--limit", least, "--account", "f")
    assert (enough.exit_code, enough.stderr) == (0, "")
    low = world.run("auditor", "run", world.model, "--limit", "0.0001", "--account", "f")
    assert low.exit_code == 0
    assert f"warning: --limit 0.0001 is below the {least} ether that a round of model {world.model[2:12]}" in low.stderr


def test_no_two_auditors_spend_for_one_model_from_one_account(world: Any) -> None:
    """Whatever folders they are given; another account may, and another model."""
    account = world.chain.signers[5].address.hex()
    lock = next(world.folder.rglob("deployments")).parent / "auditors" / account / f"{world.model[2:]}.lock"
    once = ("auditor", "once", world.model, "--limit", "1", "--folder", "elsewhere", "--account")
    with alone(lock):
        second = world.run(*once, "f")
        assert second.exit_code == 2
        assert f"another process audits model {world.model[2:12]} from this account" in second.stderr
        assert world.run(*once, "e").exit_code == 0
    assert world.run(*once, "f").exit_code == 0


def test_nothing_is_done_once_from_a_folder_that_an_auditor_runs_from(world: Any) -> None:
    with alone(world.folder / "elsewhere" / "status.lock"):
        second = world.run("auditor", "once", world.model, "--folder", "elsewhere", "--account", "f")
    assert second.exit_code == 2
    assert "another process runs from this folder" in second.stderr
