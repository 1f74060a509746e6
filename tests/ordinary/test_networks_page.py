"""docs/networks.md says what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from registry.cli.plan_warnings import DATA_PRICE_GWEI
from registry.ethereum.networks import DEFAULT_CONFIRMATIONS, FinalityRule, network_of
from registry.ethereum.node import REPEATS, Patience, connect
from registry.store.layered import LayeredStore
from registry.store.uri import open_store

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "networks.md").read_text()
GAS = json.loads((ROOT / "contracts" / "gas.json").read_text())
DEPLOYED = [gas for name, gas in GAS.items() if name.startswith("deploy ") and name != "deploy AllowListHook"]


def row(first: str) -> list[str]:
    """The cells of the table row that begins so."""
    (line,) = (line for line in PAGE.splitlines() if line.startswith(f"| {first}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize(
    ("first", "ids", "rule", "minutes"),
    [
        ("1, ", (1, 11155111, 560048, 17000), FinalityRule.FINALIZED, 20),
        ("10, ", (10, 8453, 42161), FinalityRule.FINALIZED, 30),
        ("11155420, ", (11155420, 84532, 421614), FinalityRule.FINALIZED, 30),
        ("100, ", (100, 137), FinalityRule.FINALIZED, None),
        ("43114", (43114,), FinalityRule.INSTANT, None),
        ("31337, ", (31337, 1337), FinalityRule.INSTANT, None),
    ],
)
def test_the_networks_are_those_of_the_table(
    first: str, ids: tuple[int, ...], rule: FinalityRule, minutes: int | None
) -> None:
    said, names, _ = row(first)
    assert [int(each) for each in said.split(", ")] == list(ids)
    for chain_id in ids:
        network = network_of(chain_id)
        assert network.finality is not None
        assert network.finality.rule is rule
        assert network.data_fee == (first in ("10, ", "11155420, "))
        if minutes is not None:
            assert (minutes - 10) * 60 < network.lag <= minutes * 60
        if "their" not in names:
            assert network.name in names
    assert f"else {DEFAULT_CONFIRMATIONS} confirmations" in row("any other")[2]


def test_gas_figures_are_the_measured_ones() -> None:
    assert f"{sum(DEPLOYED) / 1e6:.1f} million, in {len(DEPLOYED)} transactions" in row("deploy")[1]
    assert f"at most {max(DEPLOYED) / 1e6:.1f} million" in row("deploy")[1]
    for first, names in {
        "register": ("register model", "set plan"),
        "open": ("open round, next",),
        "commit": ("commit, 1 earlier, 3 members",),
        "attest": ("attest, first", "attest, quorum"),
        "finalize": ("finalize round",),
    }.items():
        shown = [int(each.replace(" ", "")) for each in re.findall(r"\d+ 000", row(first)[1])]
        assert shown == [round(GAS[name], -3) for name in names]
    whole = GAS["open round, next"] + 10 * GAS["commit, 1 earlier, 3 members"] + GAS["end commits, 3 members"]
    whole += GAS["attest, first"] + GAS["attest, quorum"] + GAS["finalize round"]
    assert f"some {round(whole, -4) // 1000} 000 gas" in PAGE
    assert f"at least {DATA_PRICE_GWEI}" in PAGE


def test_the_budget_and_the_stores_are_as_said() -> None:
    patience = getattr(connect("http://127.0.0.1:1").provider, "patience", None)
    assert isinstance(patience, Patience)
    assert f"asks again for up to {patience.budget:.0f} s" in PAGE
    assert (REPEATS, "asks again three times" in PAGE) == (3, True)
    assert isinstance(open_store("store+gateway:https://gateway.example"), LayeredStore)
