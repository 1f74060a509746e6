"""Judging a round's updates: a slow download does not delay the others."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from registry.content.manifest import Reason, UpdateManifest
from registry.roles import aggregator
from registry.rounds.loaded_round import load_round
from registry.rounds.onchain import read_round
from registry.store.manifests import get_manifest
from registry.store.memory import MemoryStore
from registry.types import Cid, Phase
from trainer.simulation import Simulation, pass_time, step


class Slow(MemoryStore):
    """What another store holds, one block of it only after some seconds."""

    def __init__(self, behind: MemoryStore, cid: Cid, seconds: float) -> None:
        super().__init__()
        self._blocks, self._cid, self._seconds = behind._blocks, cid, seconds
        self.asked: list[Cid] = []

    def _get(self, cid: Cid) -> bytes:
        self.asked.append(cid)
        if cid == self._cid:
            time.sleep(self._seconds)
        return super()._get(cid)


def test_slow_update_leaves_the_others_their_time(
    lines: Callable[..., Simulation], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    sim = lines(store=store)
    sim.owner.open_round(sim.model_id, number=1)
    while sim.owner.phase(sim.model_id, 1) != Phase.PUBLISH:
        if not step(sim):
            pass_time(sim, 1)
    step(sim)
    record = read_round(sim.owner, sim.model_id, 1)
    round = load_round(store, record)
    first, *others = (get_manifest(store, c.digest, UpdateManifest).delta.cid for c in record.commitments)
    slow = Slow(store, first, seconds=1.0)

    verdicts = aggregator.judge_all(slow, round, known := {}, patience=0.5)
    assert [verdict.reason for verdict in verdicts] == [Reason.UNAVAILABLE, Reason.ADMITTED, Reason.ADMITTED]
    assert "does not come fast enough" in verdicts[0].detail
    assert set(others) < set(slow.asked)

    large = replace(round, form=replace(round.form, size=20 << 20))  # more than can come in its share of so little
    seen: list[bool] = []
    monkeypatch.setattr(aggregator, "judge", lambda *arguments: seen.append(arguments[-1]()) or verdicts[0])
    aggregator.judge_all(slow, large, patience=0.0)
    assert seen == [False] * 3
    aggregator.judge_all(slow, replace(round, form=replace(round.form, size=0)), patience=-1.0)
    assert seen[3:] == [True] * 3
    monkeypatch.undo()

    slow.asked.clear()
    assert all(verdict.admitted for verdict in aggregator.judge_all(slow, round, known, patience=60))
    assert not set(others) & set(slow.asked)


def test_patience_is_what_is_left_of_publish_then_a_quarter_of_what_is_left(lines: Callable[..., Simulation]) -> None:
    sim = lines()
    sim.owner.open_round(sim.model_id, number=1)
    state = sim.owner.round(sim.model_id, 1)
    assert aggregator._patience(state, Phase.PUBLISH, state.publish_deadline - 40) == 40
    assert aggregator._patience(state, Phase.AGGREGATE, state.aggregate_deadline - 40) == 10
    assert aggregator._patience(state, Phase.AGGREGATE, state.aggregate_deadline + 1) == 0
    assert aggregator._patience(state, Phase.PUBLISH, state.publish_deadline - 10**6) == 300
