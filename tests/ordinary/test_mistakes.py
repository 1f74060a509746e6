"""Mistakes that are the user's: the error says what is needed to go on."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from registry.chain.contract_errors import BondTooSmall
from registry.cli.explained import explained
from registry.dev.embedded import warp
from registry.types import Address, ModelId


def test_what_comes_in_another_phase_is_told_the_round_its_deadline_and_the_time(open_world: Any) -> None:
    warp(open_world.chain.w3, seconds=3601)
    result = open_world.run("round", "end-commits", open_world.model, "--account", "a")
    assert result.exit_code == 5
    when = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
    said = rf"WrongPhase: round 0x\w+…, expected COMMIT, got PUBLISH: round 1 of model {open_world.model[:10]} is in "
    assert re.search(rf"{said}PUBLISH until {when}; the chain has {when}\n", result.stderr), result.stderr


def test_a_bond_that_is_too_small_is_told_the_command_that_adds_to_it() -> None:
    error = BondTooSmall(ModelId(b"\x02" * 32), Address(b"\x01" * 20), 3, 10)
    assert explained(None, error) == f"{error}: `cairn bond deposit MODEL ETHER` adds to it"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["model", "show"], "Missing argument 'MODEL'."),
        (["model", "sow"], "No such command 'sow'."),
        (["round", "show", "0x12", "--bogus"], "No such option: --bogus"),
        (["round", "show", "0x12", "first"], "Invalid value for 'ROUND': "),
    ],
)
def test_wrong_arguments_are_told_in_json_where_json_is_asked_for(cairn: Any, arguments: list[str], said: str) -> None:
    result = cairn(*arguments, "--json")
    assert result.exit_code == 2
    told = json.loads(result.stderr)
    assert told["error"] == "UsageError"
    assert told["message"].startswith(said)
    assert result.stdout == ""
    assert "Usage: " in cairn(*arguments).stderr
