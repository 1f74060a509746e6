"""Rounds whose commits end once enough have committed: when, by whom, and what becomes of those who come later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from registry.chain.contract_errors import TooEarlyToEnd, TooFewCommitments, WrongParticipantCount, WrongPhase
from registry.dev.embedded import warp
from registry.lineage.provenance import read_lineage
from registry.roles import aggregator
from registry.rounds.onchain import who_ends_commits
from registry.types import Phase
from trainer import participant
from trainer.simulation import Simulation, pass_time, step

Start = Callable[..., Simulation]
LEAST = 600


@pytest.fixture
def opened(lines: Start) -> Simulation:
    """A round of three participants, two of whom are enough after ten minutes."""
    sim = lines(enough_commitments=2, least_commit_duration=LEAST, min_contributions=2)
    sim.owner.open_round(sim.model_id, number=1)
    return sim


def take_part(sim: Simulation, name: str) -> str:
    client, task = sim.participants[name]
    return participant.advance(client, sim.store_of(name), sim.folder / name, sim.model_id, task)


def serve(sim: Simulation) -> str:
    return aggregator.advance(sim.aggregators[0], sim.store, sim.folder / "server", sim.model_id)


def after(sim: Simulation, seconds: int) -> None:
    opened_at = sim.owner.round(sim.model_id, 1).commit_deadline - sim.owner.plan(sim.model_id, 0).commit_duration
    warp(sim.w3, to=opened_at + seconds)


def test_enough_commitments_end_their_phase_after_the_least_time_and_not_before(opened: Simulation) -> None:
    take_part(opened, "a")
    after(opened, LEAST)
    assert serve(opened) == ""
    with pytest.raises(TooFewCommitments):
        opened.owner.end_commits(opened.model_id, 1, [])
    take_part(opened, "b")
    assert who_ends_commits(opened.owner, opened.model_id, 1) == []
    assert serve(opened) == "round 1: commits ended early"
    assert opened.owner.phase(opened.model_id, 1) == Phase.PUBLISH


def test_no_number_ends_them_before_the_least_time(opened: Simulation) -> None:
    for name in ("a", "b"):
        take_part(opened, name)
    assert who_ends_commits(opened.owner, opened.model_id, 1) is None
    assert serve(opened) == ""
    with pytest.raises(TooEarlyToEnd):
        opened.owner.end_commits(opened.model_id, 1, [])
    take_part(opened, "c")
    assert serve(opened) == "round 1: commits ended early"  # everybody has committed


def test_who_comes_later_loses_nothing_but_the_round(opened: Simulation) -> None:
    """The others' result needs every one of theirs; the latecomer takes part in the next round."""
    for name in ("a", "b"):
        take_part(opened, name)
    after(opened, LEAST)
    serve(opened)
    with pytest.raises(WrongPhase):
        opened.participants["c"][0].commit_update(opened.model_id, 1, b"\x01" * 32, b"\x02" * 32, 1, 1)
    assert take_part(opened, "c") == ""
    early = replace(opened, participants={name: opened.participants[name] for name in ("a", "b")})
    while not opened.owner.round(opened.model_id, 1).finalized:
        if not step(early):
            pass_time(opened, 1)
    lineage = read_lineage(opened.owner, opened.store, opened.model_id, opened.owner.model(opened.model_id).head)
    assert lineage[0].round is not None
    assert len(lineage[0].round.commitments) == 2
    opened.owner.open_round(opened.model_id, number=2)
    assert "committed" in take_part(opened, "c")


def test_without_such_a_plan_only_all_participants_end_them(lines: Start) -> None:
    sim = lines()
    sim.owner.open_round(sim.model_id, number=1)
    for name in ("a", "b"):
        take_part(sim, name)
    after(sim, LEAST)
    assert who_ends_commits(sim.owner, sim.model_id, 1) is None
    with pytest.raises(WrongParticipantCount):
        sim.owner.end_commits(sim.model_id, 1, [])
