"""What a new user met in an hour with Cairn: waits, refusals, provenance, cards and messages, as they are shown."""

from __future__ import annotations

import logging
import math
import time
from typing import Any

import pytest

from registry.cli.session import Session
from registry.cli.turns import Turns
from registry.content.manifest import Code, UpdateManifest, decode
from registry.dev.embedded import warp
from registry.errors import BlockNotFound
from registry.ethereum.keys import to_checksum
from registry.roles.aggregator import AggregatorMemory, advance
from registry.store.limited import LimitedStore
from registry.types import Cid, ModelId, Role
from trainer.updates import this_package


def model_of(world: Any) -> ModelId:
    return ModelId(bytes.fromhex(world.model[2:]))


def committed(world: Any, *published: str, fewest: int = 1) -> None:
    """Open a round in which b and c commit, of whom only the named publish."""
    world.done("plan", "new", "--quorum", 2, "--min-contributions", fewest, "--grid", 20, "-o", "one.toml")
    world.done("plan", "set", world.model, "one.toml", "--account", "a")
    world.done("round", "open", world.model, "--account", "a")
    for name in "bc":
        world.done("participant", "submit", world.model, "--task", "hospital.py:task", "--account", name)
    close(world, *published)


def close(world: Any, *published: str) -> None:
    world.done("round", "end-commits", world.model, "--account", "a")
    for name in published:
        world.done("participant", "publish", world.model, "--account", name)


def finish(world: Any, *published: str) -> None:
    """Play a round from its commits to its end."""
    close(world, *published)
    warp(world.chain.w3, seconds=3601)
    for name in "de":
        world.done("aggregator", "once", world.model, "--account", name)
    warp(world.chain.w3, seconds=3601)
    world.done("round", "finalize", world.model, "--account", "f")


# Waits and refusals ----------------------------------------------------------------------------------------------


def test_an_update_that_nobody_publishes_is_awaited_aloud_once_and_then_refused(
    world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    committed(world, "b")
    aggregator, silent = Session({"account": "d"}), to_checksum(Session({"account": "c"}).account)
    memory = AggregatorMemory()

    def step() -> str:
        return advance(aggregator.client, aggregator.store, world.folder / "d", model_of(world), memory=memory)

    assert step() == step() == ""
    (said,) = (r.getMessage() for r in caplog.records if "waiting for" in r.getMessage())
    assert said.startswith(f"round 1: waiting for the update of {silent}, up to ")
    assert 3000 < int(said.split()[-2]) <= 3600, said
    warp(world.chain.w3, seconds=3601)
    assert step() == f"round 1: attested 1 contributions; 1 refused: {silent} unavailable"


def test_while_a_store_looks_for_an_update_it_is_said_whose(
    world: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Searching(LimitedStore):
        """A store that, like Kubo, takes its time to say that it has not found a block."""

        def get(self, cid: Cid) -> bytes:
            try:
                return super().get(cid)
            except BlockNotFound:
                time.sleep(0.3)
                assert any("waiting for the update of" in r.getMessage() for r in caplog.records)
                raise

    monkeypatch.setattr("registry.roles.aggregator._SILENT", 0.1)
    committed(world, "b")
    warp(world.chain.w3, seconds=3601)
    caplog.set_level(logging.WARNING)
    aggregator = Session({"account": "d"})
    store = Searching(aggregator.store, math.inf)
    assert "1 refused" in advance(aggregator.client, store, world.folder / "d", model_of(world))
    assert sum("waiting for the update of" in r.getMessage() for r in caplog.records) == 1


@pytest.mark.parametrize(("role", "account"), [(Role.PARTICIPANT, "c"), (Role.AGGREGATOR, "d")])
def test_a_round_that_lapsed_is_said_though_the_next_was_opened_before_anybody_looked(
    world: Any, role: Role, account: str
) -> None:
    session = Session({"account": account})
    turns = Turns(session.reader, [model_of(world)], role, session.account)

    def said() -> list[str]:
        return list(iter(turns.step, ""))

    committed(world)
    assert "commits closed with 2" in said()[0]
    warp(world.chain.w3, seconds=7201)
    world.done("round", "open", world.model, "--account", "a")
    lapsed, opened = said()
    assert lapsed == "round 1: lapsed: nobody attested a result of its 2 updates"
    assert opened.startswith("round 2: opened, commits until")
    assert said() == []


def test_a_round_with_too_few_updates_says_why_nothing_is_attested(
    world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    committed(world, "b", fewest=2)
    warp(world.chain.w3, seconds=3601)
    aggregator, silent = Session({"account": "d"}), to_checksum(Session({"account": "c"}).account)
    memory = AggregatorMemory()
    for _ in range(2):
        assert not advance(aggregator.client, aggregator.store, world.folder / "d", model_of(world), memory=memory)
    (said,) = (r.getMessage() for r in caplog.records if "nothing to attest" in r.getMessage())
    assert said == (
        f"round 1: nothing to attest: 1 of 2 updates admitted, the plan asks for 2; 1 refused: {silent} unavailable"
    )


# What provenance claims ------------------------------------------------------------------------------------------


def test_code_that_nobody_states_is_not_claimed_and_stated_code_is(world: Any) -> None:
    (world.folder / "theirs.py").write_text(
        (world.folder / "hospital.py").read_text()
        + "\nfrom dataclasses import replace\nfrom registry.content.manifest import Code\n"
        "def stating():\n    return replace(task(), code=Code('git@example.org:ward', '81c4'))\n"
    )
    world.done("round", "open", world.model, "--account", "a")
    submit = ("participant", "submit", world.model, "--task")
    world.done(*submit, "hospital.py:task", "--account", "b")
    result = world.run(*submit, "theirs.py:stating", "--code", "x@1", "--account", "c")
    assert (result.exit_code, "--code: expected none, since the task states" in result.stderr) == (2, True)
    world.done(*submit, "theirs.py:stating", "--account", "c")
    result = world.run(*submit, "hospital.py:task", "--code", "x@1", "--account", "b")
    assert (result.exit_code, "it does not state --code" in result.stderr) == (2, True), result.output
    finish(world, "b", "c")
    shown = world.done("provenance", "show", world.model)["lineage"][0]["commitments"]
    assert [one["code"] for one in shown] == [None, {"name": "git@example.org:ward", "version": "81c4"}]
    said = world.run("provenance", "show", world.model).stdout
    assert "code -\n" in said and "code git@example.org:ward 81c4\n" in said and "cairn-registry" not in said


def test_a_flag_states_the_code_of_a_task(world: Any) -> None:
    world.done("round", "open", world.model, "--account", "a")
    own = ("--task", "hospital.py:task", "--code", "ward@1.2", "--account", "b")
    world.done("participant", "submit", world.model, *own)
    (file,) = world.folder.glob("home/**/update.cbor")
    assert decode(file.read_bytes(), UpdateManifest).code == Code("ward", "1.2")


def test_this_package_s_own_tasks_state_its_code() -> None:
    from trainer.cli.commands.simulate import _line

    assert _line(0, 2).code == this_package()
