"""`cairn contracts …`: deployment quotes, deployment, and verification of the source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry.dev.embedded import Embedded

SOLC = Path(__file__).resolve().parents[2] / "contracts" / "tools" / "solc.js"
PARTNERS = ("factory", "challenges", "court", "rules", "labels", "selections", "scores")


def test_a_dry_run_names_what_is_missing_and_sends_nothing(chain: Embedded, done: Callable[..., Any]) -> None:
    said = done("contracts", "deploy", "--account", "a", "--dry-run")
    names = "Factory, Cairn, Challenges, Court, Rules, Labels, Selections, Scores"
    assert said["would"] == f"deploy {names} by 8 transactions"
    assert 9_000_000 < said["gas"] < 22_000_000
    assert chain.w3.eth.block_number == 0
    done("contracts", "deploy", "--account", "a")
    again = done("contracts", "deploy", "--account", "a", "--dry-run")
    assert again["would"] == "send nothing: they are deployed already"


def test_show_names_the_partners(chain: Embedded, done: Callable[..., Any]) -> None:
    made = done("contracts", "deploy", "--account", "a")
    shown = done("contracts", "show")
    assert shown["contract"] == made["contract"]
    assert all(chain.w3.eth.get_code(shown[name]) for name in PARTNERS)
    assert len({shown[name] for name in (*PARTNERS, "contract")}) == 1 + len(PARTNERS)


@pytest.mark.slow
@pytest.mark.xdist_group("tests/chain/test_deploy.py")  # which compiles the same in the same process
def test_verify_finds_every_contract_equal(
    chain: Embedded, done: Callable[..., Any], find_tool: Callable[[str], Path]
) -> None:
    find_tool("node")
    done("contracts", "deploy", "--account", "a")
    shown = done("contracts", "show")
    found = done("contracts", "verify", "--solc", SOLC)
    assert found["equal"]
    assert found["contracts"] == {"Cairn": shown["contract"], **{name.title(): shown[name] for name in PARTNERS}}
