"""Loops say every turn of a round that concerns them, once: opened, waiting, missed, lapsed, a role lost."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from registry.cli.session import Session
from registry.cli.turns import Turns
from registry.dev.embedded import warp
from registry.ethereum.keys import to_checksum
from registry.types import ModelId, Phase, Role

TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"


@pytest.fixture
def listen(world: Any) -> Callable[..., Callable[[], list[str]]]:
    """Make what returns the new lines of a role, with times as T; nothing is new a second time."""

    def of(role: Role, account: str | None = None, count: int = 1) -> Callable[[], list[str]]:
        session = Session({"account": account})
        model = ModelId(bytes.fromhex(world.model[2:]))
        turns = Turns(session.reader, [model] * count, role, session.account if account else None)

        def new() -> list[str]:
            found = []
            while (said := turns.step()) and len(found) < 10:
                found.append(re.sub(TIME, "T", said))
            assert turns.step() == ""
            return found

        return new

    return of


def commit(world: Any, *names: str) -> None:
    for name in names:
        world.done("participant", "submit", world.model, "--task", "hospital.py:task", "--account", name)


def test_every_role_is_told_every_turn_of_a_round_once(world: Any, listen: Any) -> None:
    b, c = listen(Role.PARTICIPANT, "b"), listen(Role.PARTICIPANT, "c")
    d, e, watching = listen(Role.AGGREGATOR, "d"), listen(Role.AGGREGATOR, "e"), listen(Role.AUDITOR)
    everybody = (b, c, d, e, watching)
    assert [hear() for hear in everybody] == [["waiting for round 1 to be opened"]] * 5
    world.done("round", "open", world.model, "--account", "a")
    assert [hear() for hear in everybody] == [["round 1: opened, commits until T"]] * 5
    commit(world, "b", "c")
    assert b() == c() == ["round 1: waiting for the other participants' commits"] and d() == watching() == []
    world.done("round", "end-commits", world.model, "--account", "a")
    closed = "round 1: commits closed with 2, updates are published until T"
    assert [hear() for hear in everybody] == [[closed]] * 5
    for name in "bc":
        world.done("participant", "publish", world.model, "--account", name)
    warp(world.chain.w3, seconds=3601)
    assert [hear() for hear in everybody] == [["round 1: waiting for 2 equal attestations until T"]] * 5
    for name in "de":
        world.done("aggregator", "once", world.model, "--account", name)
    challenged = "round 1: a result has its quorum and can be challenged until T"
    assert [hear() for hear in everybody] == [[challenged]] * 5
    warp(world.chain.w3, seconds=3601)
    assert [hear() for hear in everybody] == [["round 1: unchallenged, waiting to be finalized"]] * 5
    world.done("round", "finalize", world.model, "--account", "f")
    assert [hear() for hear in everybody] == [["round 1: finalized", "waiting for round 2 to be opened"]] * 5


def test_a_participant_and_an_aggregator_are_told_what_they_missed_and_why_a_round_lapsed(
    world: Any, listen: Any
) -> None:
    b, c, d = listen(Role.PARTICIPANT, "b"), listen(Role.PARTICIPANT, "c"), listen(Role.AGGREGATOR, "d")
    world.done("round", "open", world.model, "--account", "a")
    commit(world, "b")
    warp(world.chain.w3, seconds=3601)
    assert "round 1: missed: commits closed without an update of this account" in c()
    assert not any("missed" in line for line in [*b(), *d()])
    warp(world.chain.w3, seconds=7201)
    lapsed = ["round 1: lapsed: nobody attested a result of its 1 updates", "waiting for round 2 to be opened"]
    assert b() == c() == d() == lapsed
    world.done("round", "open", world.model, "--account", "a")
    warp(world.chain.w3, seconds=10801)
    assert d()[0] == "round 2: lapsed: nobody committed an update"
    world.done("round", "open", world.model, "--account", "a")
    world.done("round", "cancel", world.model, "--account", "a")
    assert d()[0] == "round 3: cancelled by the model's owner"


def test_an_aggregator_that_came_too_late_for_the_quorum_is_told(world: Any, listen: Any) -> None:
    world.done("plan", "new", "--quorum", 1, "--grid", 20, "--bond", 10**8, "-o", "one.toml")
    world.done("plan", "set", world.model, "one.toml", "--account", "a")
    world.done("bond", "deposit", world.model, "0.1", "--account", "d")
    d, e = listen(Role.AGGREGATOR, "d"), listen(Role.AGGREGATOR, "e")
    world.done("round", "open", world.model, "--account", "a")
    assert d() == ["round 1: opened, commits until T"]
    account = Session({"account": "e"}).account
    assert e()[1:] == [
        "round 1: attesting takes a bond of 0.1 ether, of which 0.1 are missing: "
        f"`cairn bond deposit {world.model[:12]} 0.1 --account {to_checksum(account)}`"
    ]
    commit(world, "b", "c")
    world.done("round", "end-commits", world.model, "--account", "a")
    for name in "bc":
        world.done("participant", "publish", world.model, "--account", name)
    world.done("aggregator", "once", world.model, "--account", "d")
    assert "round 1: missed: the quorum was reached without this account" in e()
    assert not any("missed" in line for line in d())


def test_without_the_role_it_is_said_at_once_with_the_command_that_grants_it(world: Any, listen: Any) -> None:
    f = listen(Role.PARTICIPANT, "f")
    without, waiting = f()
    command = re.fullmatch(r"without the role participant: waiting for .* grant it: `cairn (.*)`", without)
    assert command and waiting == "waiting for round 1 to be opened"
    world.done(*command[1].split(), "--account", "a")
    assert f() == ["has the role participant now"]
    world.done("member", "revoke", world.model, "f", "--role", "participant", "--account", "a")
    (lost,) = f()
    assert lost.startswith("lost the role participant: waiting for the model's owner to grant it: `cairn member grant")


def test_a_loop_without_its_role_waits_and_computes_nothing(world: Any) -> None:
    from registry.roles.aggregator import advance as aggregate
    from trainer.cli.tasks import load_task
    from trainer.participant import advance as participate

    model = ModelId(bytes.fromhex(world.model[2:]))
    nobody = Session({"account": "f", "password_file": str(world.folder / "password")})
    world.done("round", "open", world.model, "--account", "a")
    task = load_task("hospital.py:stumbles")  # which would fail if it trained
    assert participate(nobody.client, nobody.store, world.folder / "p", model, task) == ""
    commit(world, "b", "c")
    world.done("round", "end-commits", world.model, "--account", "a")
    for name in "bc":
        world.done("participant", "publish", world.model, "--account", name)
    assert aggregate(nobody.client, nobody.store, world.folder / "g", model) == ""
    assert not (world.folder / "g").exists()


def test_several_models_are_told_apart(world: Any, listen: Any) -> None:
    said = listen(Role.AUDITOR, count=2)()
    assert said == [f"model {world.model[2:12]}: waiting for round 1 to be opened"]


def test_a_voided_result_is_said_and_what_follows_it_again(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ModelId(bytes.fromhex(world.model[2:]))
    turns = Turns(Session({}).reader, [model], Role.AUDITOR)
    world.done("round", "open", world.model, "--account", "a")
    began = turns._look(model)
    deadlines = (0, began.time + 60, 0, began.time + 60)
    phases = (Phase.AGGREGATE, Phase.CHALLENGE, Phase.AGGREGATE, Phase.CHALLENGE)
    places = [
        replace(began, phase=phase, state=replace(began.state, challenge_deadline=deadline))
        for phase, deadline in zip(phases, deadlines, strict=True)
    ]
    said = []
    for place in places:
        monkeypatch.setattr(turns, "_look", lambda _, place=place: place)
        while line := turns.step():
            said.append(line.partition(" until ")[0])
    waiting = "round 1: waiting for 2 equal attestations"
    challenged = "round 1: a result has its quorum and can be challenged"
    assert said == [waiting, challenged, "round 1: the result was voided", waiting, challenged]
