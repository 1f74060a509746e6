"""Control variates and drift over real rounds: they follow from public updates and move with finalized rounds alone."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from registry.chain.contract_hashes import round_id_of
from registry.content.manifest import DataSetManifest, PlanManifest, Procedure, UpdateManifest, decode, encode
from registry.content.tensors import parse_header
from registry.errors import InputError
from registry.rounds.drift import own_drift, shared_drift
from registry.rounds.loaded_round import load_round
from registry.rounds.onchain import read_round
from registry.rounds.plans import publish_plan, server_rule
from registry.rounds.versions import arrays_in
from registry.rules.table import UNIFORM, UNIFORM_MEAN
from registry.store.memory import MemoryStore
from registry.verification.verify import verify_version
from trainer.modules import propose_plan
from trainer.participant import Task, prepare_update
from trainer.simulation import Simulation, pass_time, simulate_round, start, step
from trainer.updates import place_of

GRID_BITS = 20
DRIFT = "drift.safetensors"
ALGORITHMS = {
    "scaffold": Procedure("scaffold", {"lr": 0.05, "steps": 4}),
    "feddyn": Procedure("feddyn", {"alpha": 0.1, "epochs": 2}),
}


class Two(nn.Module):
    """A layer with a scale of its own, and a private head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(3, 2)
        self.head = nn.Linear(2, 1)


def module() -> Two:
    torch.manual_seed(4)
    return Two()


def task(seed: int) -> Task:
    generator = torch.Generator().manual_seed(seed)
    inputs, targets = torch.randn(20, 3, generator=generator), torch.randn(20, 1, generator=generator) + seed

    def train(trained: nn.Module, epoch: int) -> Mapping[str, float]:
        assert isinstance(trained, Two)
        optimizer = torch.optim.SGD(trained.parameters(), lr=0.05)
        for part in range(4):
            optimizer.zero_grad()
            rows = slice(5 * part, 5 * part + 5)
            (trained.head(trained.body(inputs[rows])) - targets[rows]).pow(2).mean().backward()
            optimizer.step()
        return {}

    data = DataSetManifest(f"data {seed}", "", "", "", 20, None)
    return Task(module(), train, 20, data, private=("head.*",))


def plan_of(name: str, participants: float = 3.0) -> PlanManifest:
    plan = propose_plan(module(), quorum=1, min_contributions=1, grid_bits=GRID_BITS, without=("head.*",))
    return replace(
        plan,
        algorithm=ALGORITHMS[name],
        server=server_rule(name, {"participants": participants}, GRID_BITS),
        combine_rule=UNIFORM_MEAN.number,
        weights=UNIFORM,
        scales={"body.weight": 2},
    )


def started(folder: Path, name: str) -> Simulation:
    tasks = {who: task(k) for k, who in enumerate(("ann", "bob", "cyn"))}
    without = ("head.*",)
    return start(module(), tasks, plan_of(name), MemoryStore(), folder, aggregators=1, without=without)


def opened(sim: Simulation) -> int:
    number = sim.owner.model(sim.model_id).rounds + 1
    sim.owner.open_round(sim.model_id, number=number)
    return number


def recomputed(sim: Simulation, who: str, number: int) -> np.ndarray:
    """What a stranger finds of a participant's drift at the beginning of a round."""
    loaded = load_round(sim.store, read_round(sim.owner, sim.model_id, number))
    return own_drift(sim.store, loaded.plan, loaded.parent, loaded.form, sim.participants[who][0].account)


def kept(sim: Simulation, who: str, number: int) -> np.ndarray:
    place = place_of(sim.folder / who, round_id_of(sim.model_id, number))
    return np.asarray(arrays_in((place / DRIFT).read_bytes())["drift"])


def update(sim: Simulation, who: str, number: int, folder: Path | None = None) -> bytes:
    """A participant's update of a round, as a process that has just started makes it."""
    client, given = sim.participants[who]
    fresh = replace(given, module=module(), reset_private=True)
    record = read_round(client, sim.model_id, number)
    return prepare_update(sim.store, folder or sim.folder / who, record, fresh, client.account).file.read_bytes()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_stranger_recomputes_from_public_updates_what_each_participant_keeps(tmp_path: Path, name: str) -> None:
    sim = started(tmp_path, name)
    for _ in range(3):
        simulate_round(sim)
    number = opened(sim)
    owns = {who: recomputed(sim, who, number) for who in sim.participants}
    for who, own in owns.items():
        assert own.any() and np.array_equal(own, kept(sim, who, 3))
    loaded = load_round(sim.store, read_round(sim.owner, sim.model_id, number))
    shared = shared_drift(sim.store, loaded.parent, loaded.form)
    # The server's is the mean of the participants', to half a grid step and half a unit of each round's rounding.
    assert np.abs(np.mean(list(owns.values()), axis=0) - shared).max() <= 3 * 129
    head = sim.owner.model(sim.model_id).head
    assert all(v.passed for v in verify_version(sim.owner, sim.store, sim.model_id, head, tmp_path / "stranger"))


def test_the_variates_are_the_paper_s_in_the_module_s_units(tmp_path: Path) -> None:
    """c_k = -C_k / (K lr), and option II: c_k becomes c_k - c + (x - y_k) / (K lr)."""
    sim = started(tmp_path, "scaffold")
    simulate_round(sim)
    simulate_round(sim)
    loaded = load_round(sim.store, read_round(sim.owner, sim.model_id, 2))
    header = parse_header(loaded.form.header, loaded.form.size)
    spec = next(s for s in header.specs if s.name == "body.weight")
    at = slice(spec.begin // 4, spec.end // 4)
    before, after = kept(sim, "ann", 1)[at], kept(sim, "ann", 2)[at]
    place = place_of(sim.folder / "ann", round_id_of(sim.model_id, 2))
    change = arrays_in((place / "update.safetensors").read_bytes())["body.weight"].reshape(-1).astype(np.float64) * 4
    unit, k_lr = 2.0 ** (2 - GRID_BITS) / 256, 4 * 0.05
    c = -shared_drift(sim.store, loaded.parent, loaded.form)[at] * unit / k_lr
    expected = -before * unit / k_lr - c - change / k_lr
    assert np.abs(-after * unit / k_lr - expected).max() < 1e-12


@pytest.mark.parametrize("name", ALGORITHMS)
def test_lost_drift_is_recomputed_and_the_update_is_the_same_to_the_bit(tmp_path: Path, name: str) -> None:
    sim = started(tmp_path, name)
    simulate_round(sim)
    simulate_round(sim)
    number = opened(sim)
    shutil.copytree(sim.folder / "ann", tmp_path / "copied")
    for file in (tmp_path / "copied").glob(f"round-*/{DRIFT}"):
        file.write_bytes(b"") if "0" in file.parent.name[-1:] else file.unlink()
    assert update(sim, "ann", number, tmp_path / "copied") == update(sim, "ann", number)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_round_that_lapses_moves_nothing_though_its_update_was_committed(tmp_path: Path, name: str) -> None:
    sim = started(tmp_path, name)
    simulate_round(sim)
    number = opened(sim)
    step(sim)  # everybody trains and commits
    assert len(read_round(sim.owner, sim.model_id, number).commitments) == 3
    sim.owner.cancel_round(sim.model_id, number)
    number = opened(sim)
    assert np.array_equal(recomputed(sim, "ann", number), kept(sim, "ann", 1))
    assert not np.array_equal(kept(sim, "ann", 2), kept(sim, "ann", 1))
    again = update(sim, "ann", number)
    shutil.rmtree(place_of(sim.folder / "ann", round_id_of(sim.model_id, 2)))
    assert update(sim, "ann", number, tmp_path / "ann") == again


def test_who_was_absent_keeps_its_variate_and_who_comes_later_begins_at_zero(tmp_path: Path) -> None:
    sim = started(tmp_path, "scaffold")
    two = replace(sim, participants={who: sim.participants[who] for who in ("ann", "bob")})
    one = replace(sim, participants={who: sim.participants[who] for who in ("bob",)})
    simulate_round(two)
    simulate_round(one)
    number = opened(sim)
    assert np.array_equal(recomputed(sim, "ann", number), kept(sim, "ann", 1))
    assert np.array_equal(recomputed(sim, "bob", number), kept(sim, "bob", 2))
    assert not recomputed(sim, "cyn", number).any()


def test_a_crash_before_the_update_is_sealed_moves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sim = started(tmp_path, "scaffold")
    simulate_round(sim)
    number = opened(sim)
    with monkeypatch.context() as patch:
        patch.setattr("trainer.participant.finalize_update", lambda *args, **kwargs: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            update(sim, "ann", number)
    assert kept(sim, "ann", number).any()  # written, and beside no update
    assert update(sim, "ann", number) == update(sim, "ann", number, shutil.copytree(sim.folder / "ann", tmp_path / "b"))
    assert np.array_equal(recomputed(sim, "ann", number), kept(sim, "ann", 1))


def test_other_parameters_in_the_middle_of_a_state_are_refused_and_another_grid_begins_anew(tmp_path: Path) -> None:
    sim = started(tmp_path, "scaffold")
    simulate_round(sim)
    slower = replace(plan_of("scaffold"), algorithm=Procedure("scaffold", {"lr": 0.01, "steps": 4}))
    publish_plan(sim.owner, sim.store, sim.model_id, slower)
    number = opened(sim)
    said = (
        r"scaffold: expected {'lr': 0.05, 'steps': 4}, as in round 1, whose state goes on, got {'lr': 0.01, .*grid_bits"
    )
    with pytest.raises(InputError, match=said):
        update(sim, "ann", number)
    sim.owner.cancel_round(sim.model_id, number)
    server = server_rule("scaffold", {"participants": 3.0}, GRID_BITS + 1)
    publish_plan(sim.owner, sim.store, sim.model_id, replace(slower, grid_bits=GRID_BITS + 1, server=server))
    number = opened(sim)
    assert not recomputed(sim, "ann", number).any()
    assert update(sim, "ann", number)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_gate_a_stop_rule_and_common_terms_change_in_the_middle_of_a_state(tmp_path: Path, name: str) -> None:
    """They say nothing of a state's units, and a gate that is shut is opened by a plan with another."""
    sim = started(tmp_path, name)
    simulate_round(sim)
    parameters = {**ALGORITHMS[name].parameters, "least_score": 0.2, "max_rounds": 9, "labels": "0" * 64}
    plan = replace(plan_of(name), algorithm=Procedure(name, parameters))
    publish_plan(sim.owner, sim.store, sim.model_id, plan)
    number = opened(sim)
    assert np.array_equal(recomputed(sim, "ann", number), kept(sim, "ann", 1))


def test_without_the_correction_the_update_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sim = started(tmp_path, "scaffold")
    simulate_round(sim)
    number = opened(sim)
    with monkeypatch.context() as patch:
        none: Any = ({}, {})
        patch.setattr("trainer.participant.drift_tensors", lambda *args: none)
        free = update(sim, "ann", number, shutil.copytree(sim.folder / "ann", tmp_path / "free"))
    assert update(sim, "ann", number) != free


def test_drift_kept_beside_another_update_is_not_taken(tmp_path: Path) -> None:
    """The folder has another update of round 1 than the one that round 1 lists, as after a restored backup."""
    sim = started(tmp_path, "scaffold")
    simulate_round(sim)
    number = opened(sim)
    folder = shutil.copytree(sim.folder / "ann", tmp_path / "restored")
    of_round = place_of(folder, round_id_of(sim.model_id, 1))
    shutil.copyfile(sim.folder / "bob" / of_round.name / DRIFT, of_round / DRIFT)
    sealed = decode((of_round / "update.cbor").read_bytes(), UpdateManifest)
    (of_round / "update.cbor").write_bytes(encode(replace(sealed, metrics={"another": 1.0})))
    assert update(sim, "ann", number, folder) == update(sim, "ann", number)


def test_a_refused_update_moves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sim = started(tmp_path, "scaffold")
    simulate_round(sim)
    with monkeypatch.context() as patch:
        patch.setattr("trainer.participant.publish_update", lambda store, prepared: None)
        hidden = replace(sim, participants={"ann": sim.participants["ann"]})
        opened(sim)
        for _ in range(3):
            step(hidden)
    finish(replace(sim, participants={who: sim.participants[who] for who in ("bob", "cyn")}))
    number = opened(sim)
    assert not np.array_equal(kept(sim, "ann", 2), kept(sim, "ann", 1))
    assert np.array_equal(recomputed(sim, "ann", number), kept(sim, "ann", 1))
    assert np.array_equal(recomputed(sim, "bob", number), kept(sim, "bob", 2))


def finish(sim: Simulation) -> None:
    """Run the current round to its result."""
    number = sim.owner.model(sim.model_id).rounds
    while not sim.owner.round(sim.model_id, number).finalized:
        if not step(sim):
            pass_time(sim, number)
