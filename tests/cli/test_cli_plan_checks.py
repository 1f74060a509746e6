"""Checks before a plan is set or a round opens: a conviction's cost is shown, an unfit plan refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from registry.chain.client import Client
from registry.chain.journal import Journal
from registry.content.manifest import digest_of
from registry.disputes.streaming import conviction_gas
from registry.ethereum.keys import address_of
from registry.rounds.versions import add_version, save_arrays
from registry.store.local import LocalStore
from registry.types import ModelId, Root


def publish(world: Any, arrays: dict[str, Any]) -> None:
    """Make other tensors the model's head, as `cairn model publish` refuses to."""
    contract = address_of(world.done("contracts", "show")["contract"])
    client = Client(world.chain.w3, contract, signer=world.chain.signers[0], journal=Journal(None))
    save_arrays(world.folder / "other.safetensors", arrays)
    model = ModelId(bytes.fromhex(world.model.removeprefix("0x")))
    head = client.model(model).head
    version = add_version(LocalStore(world.folder / "home" / "store"), world.folder / "other.safetensors", parent=head)
    client.publish_version(model, head, digest_of(version), Root(version.tensor_root), Root(version.rest_root))


def test_what_convicting_costs_is_in_json_and_no_matter_where_the_bond_pays_it(world: Any) -> None:
    world.done("plan", "new", "--bond", 10**9, "-o", "bonded.toml")
    said = world.done("plan", "set", world.model, "bonded.toml", "--account", "a")["conviction"]
    assert (said["participants"], said["half_bond_ether"], said["paid"]) == (2, "0.5", True)
    assert said["gas"] == conviction_gas(2)
    opened = world.run("round", "open", world.model, "--account", "a")
    assert opened.exit_code == 0, opened.output
    assert "gas" not in opened.stderr  # it pays, so nobody needs to think of it


def test_a_bond_that_pays_no_conviction_is_warned_of(world: Any) -> None:
    world.done("plan", "new", "--bond", 1, "-o", "poor.toml")
    set_ = world.run("plan", "set", world.model, "poor.toml", "--account", "a")
    assert set_.exit_code == 0, set_.output
    assert "warning: proving on chain that a result is wrong takes up to" in set_.stderr
    assert "the reward is half a bond, " in set_.stderr
    assert "the challenger loses money by it" in set_.stderr


def test_without_a_bond_nothing_is_said_of_gas(world: Any) -> None:
    opened = world.run("round", "open", world.model, "--account", "a")
    assert (opened.exit_code, opened.stderr) == (0, ""), opened.output


def test_a_round_on_a_head_that_the_plan_does_not_fit_is_refused(world: Any) -> None:
    publish(world, {"weight": np.zeros((3, 3), np.float32)})
    refused = world.run("round", "open", world.model, "--account", "a")
    assert refused.exit_code != 0
    assert "plan: expected values 9 as the parent has, got 3" in refused.stderr
    world.done("plan", "new", "-o", "fitting.toml")
    world.done("plan", "set", world.model, "fitting.toml", "--account", "a")
    assert world.done("round", "open", world.model, "--account", "a")["round"] == 1


@pytest.mark.parametrize("kept", [True, False])
def test_a_store_that_has_not_the_plan_lets_a_round_open_with_a_warning(world: Any, kept: bool) -> None:
    arguments = () if kept else ("--store", str(world.folder / "empty"))
    opened = world.run("round", "open", world.model, "--account", "a", *arguments)
    assert opened.exit_code == 0, opened.output
    assert ("the plan was not checked against the head" in opened.stderr) is not kept
