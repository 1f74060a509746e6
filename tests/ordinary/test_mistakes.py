"""Mistakes that are the user's: the error says what is needed to go on."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from registry.chain.contract_errors import BondTooSmall
from registry.cli.explained import explained
from registry.cli.session import Session
from registry.dev.embedded import warp
from registry.ethereum.keys import to_checksum
from registry.types import Address, ModelId


def test_what_comes_in_another_phase_is_told_the_round_its_deadline_and_the_time(open_world: Any) -> None:
    warp(open_world.chain.w3, seconds=3601)
    result = open_world.run("round", "end-commits", open_world.model, "--account", "a")
    assert result.exit_code == 5
    when = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
    said = rf"WrongPhase: round 0x\w+…, expected COMMIT, got PUBLISH: round 1 of model {open_world.model[:10]} is in "
    assert re.search(rf"{said}PUBLISH until {when}; the chain has {when}\n", result.stderr), result.stderr


def test_a_bond_that_is_too_small_is_told_what_is_there_and_the_command_that_adds_the_rest(open_world: Any) -> None:
    account = Address(b"\x01" * 20)
    error = BondTooSmall(ModelId(b"\x02" * 32), account, 3 * 10**17, 10**18 + 1)
    said = (
        f"BondTooSmall: {to_checksum(account)} has a bond of 0.3 ether in model 0x0202020202, expected "
        "1.000000000000000001: 0.700000000000000001 ether missing: `cairn bond deposit 0x0202020202 "
        "0.700000000000000001 --account d` adds it"
    )
    assert explained(Session({"account": "d"}), error) == said


def test_a_release_of_more_than_the_bond_is_told_what_there_is(open_world: Any) -> None:
    result = open_world.run("bond", "release", open_world.model, "0.5", "--account", "d")
    account = r"0x[0-9a-fA-F]{40}"
    assert result.exit_code == 2
    said = rf"expected at most the 0 ether that {account} has as a bond in model {open_world.model[:12]}, got 0\.5\n"
    assert re.search(said, result.stderr), result.stderr


def test_a_bond_that_a_round_locks_is_told_until_when(world: Any) -> None:
    world.done("plan", "new", "--quorum", 1, "--grid", 20, "--bond", 10**8, "-o", "bonded.toml")
    world.done("plan", "set", world.model, "bonded.toml", "--account", "a")
    world.done("bond", "deposit", world.model, "0.04", "--account", "d")
    play(world)
    missing = world.run("aggregator", "once", world.model, "--account", "d")
    assert missing.exit_code == 5
    assert "has a bond of 0.04 ether in model" in missing.stderr and "0.06 ether missing" in missing.stderr
    command = re.search(r"`cairn (bond deposit .* --account d)` adds it", missing.stderr)
    assert command, missing.stderr
    world.done(*command[1].split())
    world.done("aggregator", "once", world.model, "--account", "d")
    result = world.run("bond", "release", world.model, "0.1", "--account", "d")
    assert result.exit_code == 5
    assert re.search(r"BondIsLocked: .*: round 1 can be challenged until \d{4}-\d\d-\d\d ", result.stderr), (
        result.stderr
    )


def play(world: Any) -> None:
    """A round in which both participants committed and published."""
    world.done("round", "open", world.model, "--account", "a")
    for name in "bc":
        world.done("participant", "submit", world.model, "--task", "hospital.py:task", "--account", name)
    world.done("round", "end-commits", world.model, "--account", "a")
    for name in "bc":
        world.done("participant", "publish", world.model, "--account", name)


def test_a_role_that_is_missing_is_told_the_command_that_grants_it(world: Any) -> None:
    world.done("round", "open", world.model, "--account", "a")
    result = world.run("participant", "submit", world.model, "--task", "hospital.py:dear", "--account", "f")
    assert result.exit_code == 5, result.stderr
    command = re.search(r"`cairn (member grant 0x\w{10} 0x\w{40} --role participant)`", result.stderr)
    assert command, result.stderr
    world.done(*command[1].split(), "--account", "a")


def test_nothing_to_withdraw_is_told_where_credit_comes_from(open_world: Any) -> None:
    result = open_world.run("bond", "withdraw", "--account", "d")
    assert result.exit_code == 5
    assert "`cairn bond release MODEL ETHER` credits what no round locks" in result.stderr


def test_missing_funds_are_told_in_full_and_to_which_account(open_world: Any) -> None:
    open_world.done("key", "new", "broke", "--password-file", "broke.pw")
    own = ("--account", "broke", "--password-file", "broke.pw")
    result = open_world.run("model", "register", "genesis.safetensors", *own)
    assert result.exit_code == 5
    said = r"0x\w{40} holds 0 ether and needs (up to|more than) [\d.]+.*: [\d.]+ missing, send it to that account\n"
    assert re.search(said, result.stderr), result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["model", "show"], "Missing argument 'MODEL'."),
        (["model", "sow"], "No such command 'sow'."),
        (["round", "show", "0x12", "--bogus"], "No such option: --bogus"),
        (["round", "show", "0x12", "first"], "Invalid value for 'ROUND': "),
    ],
)
def test_wrong_arguments_are_told_in_one_line_in_json_where_that_is_asked_for(
    cairn: Any, arguments: list[str], said: str
) -> None:
    result = cairn(*arguments, "--json")
    assert result.exit_code == 2
    told = json.loads(result.stderr)
    assert told["error"] == "UsageError"
    assert told["message"].startswith(said)
    assert result.stdout == ""
    plain = cairn(*arguments)
    assert (plain.exit_code, plain.stdout, plain.stderr.count("\n")) == (2, "", 1)
    assert plain.stderr.startswith(f"error: {said}") and "--help` says how it is used" in plain.stderr
