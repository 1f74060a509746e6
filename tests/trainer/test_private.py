"""Shared, private and frozen tensors: versions have only the shared, private ones persist, frozen ones never change."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from registry.chain.contract_hashes import round_id_of
from registry.errors import InputError
from registry.rounds.onchain import read_round
from registry.rounds.versions import load_version_manifest, read_header, sha256_of
from registry.store.local import LocalStore
from registry.verification.verify import verify_version
from trainer import participant
from trainer.modules import matching, module_state, propose_plan
from trainer.participant import prepare_update
from trainer.simulation import Simulation, simulate_round, start
from trainer.updates import place_of

Make = Callable[..., Any]
PRIVATE = ("head.*",)


class Personal(nn.Module):
    """A shared body and a private head, in the half type that numpy lacks, with a counter."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(2, 2, bias=False)
        self.head = nn.Linear(2, 1, bias=False).bfloat16()
        self.head.register_buffer("seen", torch.tensor(0))


def personal() -> Personal:
    torch.manual_seed(5)
    return Personal()


def change(module: nn.Module) -> Mapping[str, float]:
    assert isinstance(module, Personal)
    with torch.no_grad():
        module.body.weight.add_(0.5)
        module.head.weight.add_(1.0)
        module.head.seen.add_(1)  # type: ignore[operator, union-attr]
    return {}


def simulation(tmp_path: Path, make_task: Make, **changed: Any) -> Simulation:
    torch.manual_seed(5)
    tasks = {name: replace(make_task(personal(), change, name=name), private=PRIVATE) for name in ("ann", "bob")}
    plan = propose_plan(personal(), quorum=1, min_contributions=1, grid_bits=20, without=PRIVATE)
    return start(
        personal(), tasks, plan, LocalStore(tmp_path / "store"), tmp_path, aggregators=1, without=PRIVATE, **changed
    )


def again(sim: Simulation, name: str, module: nn.Module, **changed: Any) -> None:
    """The participant comes back in a new process: a fresh module."""
    client, task = sim.participants[name]
    sim.participants[name] = (client, replace(task, module=module, **changed))  # type: ignore[index]


def test_versions_hold_what_is_shared_and_private_tensors_come_back(tmp_path: Path, make_task: Make) -> None:
    sim = simulation(tmp_path, make_task)
    simulate_round(sim)
    fresh = personal()
    begun = fresh.head.weight.detach().clone()
    again(sim, "ann", fresh)
    simulate_round(sim)
    assert fresh.head.seen == 2  # type: ignore[comparison-overlap]
    assert torch.equal(fresh.head.weight, begun + 1 + 1)
    head = load_version_manifest(sim.store, sim.owner.model(sim.model_id).head)
    assert [spec.name for spec in read_header(sim.store, head.weights.blob).specs] == ["body.weight"]
    found = list(verify_version(sim.owner, sim.store, sim.model_id, sim.owner.model(sim.model_id).head, tmp_path / "v"))
    assert len(found) == 3 and all(one.passed for one in found)
    private = (tmp_path / "ann" / f"round-{round_id_of(sim.model_id, 2).hex()}" / "private.safetensors").read_bytes()
    assert private[-4:] not in b"".join(p.read_bytes() for p in (tmp_path / "store").rglob("*") if p.is_file())


def test_lost_private_tensors_are_said_and_begun_anew_only_when_told(tmp_path: Path, make_task: Make) -> None:
    sim = simulation(tmp_path, make_task)
    simulate_round(sim)
    place_of(tmp_path / "ann", round_id_of(sim.model_id, 1)).joinpath("private.safetensors").unlink()
    fresh = personal()
    again(sim, "ann", fresh)
    with pytest.raises(InputError, match=r"the private tensors of round 1 are lost: expected .*private.safetensors"):
        simulate_round(sim)
    again(sim, "ann", fresh, reset_private=True)
    client, task = sim.participants["ann"]
    prepare_update(sim.store, tmp_path / "ann", read_round(client, sim.model_id, 2), task, client.account)
    assert fresh.head.seen == 1  # type: ignore[comparison-overlap]


def test_private_tensors_of_an_old_backup_are_not_taken_for_the_last(tmp_path: Path, make_task: Make) -> None:
    sim = simulation(tmp_path, make_task)
    for _ in range(2):
        simulate_round(sim)
    shutil.rmtree(place_of(tmp_path / "ann", round_id_of(sim.model_id, 2)))
    fresh = personal()
    again(sim, "ann", fresh)
    sim.owner.open_round(sim.model_id, number=3)

    def train() -> None:
        client, task = sim.participants["ann"]
        participant.advance(client, sim.store, tmp_path / "ann", sim.model_id, task)

    with pytest.raises(InputError, match="the private tensors of round 2 are lost or elsewhere"):
        train()
    again(sim, "ann", fresh, reset_private=True)
    train()
    assert fresh.head.seen == 1, "begun anew"  # type: ignore[comparison-overlap]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-1], "are damaged"),
        (lambda data: b"", "are damaged"),
        (lambda data: data.replace(b"head.seen", b"head.soon"), "private head.seen: expected .* got None"),
        (lambda data: data.replace(b'"I16"', b'"F16"'), "private head.weight: expected"),
    ],
)
def test_damaged_private_tensors_are_refused(
    tmp_path: Path, make_task: Make, damage: Callable[[bytes], bytes], message: str
) -> None:
    sim = simulation(tmp_path, make_task)
    simulate_round(sim)
    file = place_of(tmp_path / "ann", round_id_of(sim.model_id, 1)) / "private.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    again(sim, "ann", personal())
    with pytest.raises(InputError, match=message):
        simulate_round(sim)


def test_a_participant_stopped_before_sealing_trains_from_the_last_round_s_private_tensors(
    tmp_path: Path, make_task: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim = simulation(tmp_path, make_task)
    simulate_round(sim)
    again(sim, "ann", personal())
    with monkeypatch.context() as patch:
        patch.setattr("trainer.participant.finalize_update", lambda *args, **kwargs: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            simulate_round(sim)
    fresh = personal()
    again(sim, "ann", fresh)
    client, task = sim.participants["ann"]
    prepare_update(sim.store, tmp_path / "ann", read_round(client, sim.model_id, 2), task, client.account)
    assert fresh.head.seen == 2  # type: ignore[comparison-overlap]


def test_a_version_that_holds_private_tensors_is_refused(hand_made: Make, make_task: Make) -> None:
    with pytest.raises(InputError, match=r"expected the version to hold only what is shared, but it holds .*0.weight"):
        hand_made(nn.Sequential(personal().body)).prepare(
            replace(make_task(nn.Sequential(personal().body), lambda m: {}), private=("0.*",))
        )


def test_a_version_that_lacks_shared_tensors_is_refused(hand_made: Make, make_task: Make) -> None:
    two = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    with pytest.raises(InputError, match=r"the version lacks 1\.bias, 1\.weight, which.*private=\('1\.\*',\)"):
        hand_made(nn.Sequential(nn.Linear(1, 1))).prepare(make_task(two, lambda m: {}))


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ((), []),
        (("head.*",), ["head.weight", "head.seen"]),
        (("*", "!body.*"), ["head.weight", "head.seen"]),
        (("*", "!head.*", "head.seen"), ["body.weight", "head.seen"]),
    ],
)
def test_the_last_pattern_that_matches_decides(patterns: tuple[str, ...], names: list[str]) -> None:
    assert matching(personal(), patterns) == names


@pytest.mark.parametrize("pattern", ["haed.*", "!haed.*", "HEAD.*", ""])
def test_a_pattern_that_matches_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(InputError, match="to match a tensor of the module"):
        matching(personal(), (pattern,))


def test_a_tied_tensor_is_shared_under_all_its_names_or_none() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    module[1].weight = module[0].weight
    for without in (("0.*",), ("1.*",)):
        with pytest.raises(InputError, match=r"weight: tied to .*, so expected both to be shared or neither"):
            module_state(module, without)
    assert module_state(module, ("*.weight",))[1] == {}


# Frozen ---------------------------------------------------------------------------------------------------------------


def two_layers() -> nn.Module:
    torch.manual_seed(6)
    return nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))


def by_optimizer(module: nn.Module) -> Mapping[str, float]:
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, weight_decay=0.1)
    module(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    return {}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    file = tmp_path / "base.bin"
    torch.save(two_layers()[0].state_dict(), file)  # type: ignore[index]
    return file


def test_frozen_tensors_are_neither_trained_nor_published(hand_made: Make, make_task: Make, base: Path) -> None:
    round = hand_made(two_layers(), without=("0.*",), base=base)
    module = two_layers()
    before = module[0].weight.detach().clone()  # type: ignore[index]
    made = round.prepare(replace(make_task(module, by_optimizer), frozen=("0.*",), base=base))
    assert torch.equal(module[0].weight, before) and module[0].weight.requires_grad  # type: ignore[index]
    assert [spec.name for spec in read_header(round.store, round.genesis.weights.blob).specs] == ["1.bias", "1.weight"]
    assert b"0.weight" not in made.file.read_bytes()
    assert round.genesis.base is not None and round.genesis.base.sha256 == sha256_of(base)


def test_training_that_changes_frozen_tensors_is_refused(hand_made: Make, make_task: Make, base: Path) -> None:
    def by_hand(module: nn.Module) -> Mapping[str, float]:
        with torch.no_grad():
            module[0].weight.add_(1e-7)  # type: ignore[index]
        return {}

    round = hand_made(two_layers(), without=("0.*",), base=base)
    with pytest.raises(InputError, match="frozen: expected unchanged tensors"):
        round.prepare(replace(make_task(two_layers(), by_hand), frozen=("0.*",), base=base))


def test_a_participant_on_another_base_is_refused(hand_made: Make, make_task: Make, base: Path) -> None:
    round = hand_made(two_layers(), without=("0.*",), base=base)
    task = replace(make_task(two_layers(), by_optimizer), frozen=("0.*",))
    with pytest.raises(InputError, match=r"expected the base that 0.weight comes from, got none"):
        round.prepare(task)
    with pytest.raises(InputError, match="but there is no file"):
        round.prepare(replace(task, base=base.with_name("missing")))
    other = base.with_name("other")
    other.write_bytes(base.read_bytes() + b"0")
    with pytest.raises(
        InputError, match=r"the file of sha256 [0-9a-f]{64} that the version stands on, from a test, got"
    ):
        round.prepare(replace(task, base=other))


def test_a_base_goes_with_a_version_that_names_it(hand_made: Make, make_task: Make, base: Path) -> None:
    with pytest.raises(InputError, match=r"expected a version that stands on .*, got one without a base"):
        hand_made(two_layers()).prepare(replace(make_task(two_layers(), by_optimizer), base=base))
    with pytest.raises(InputError, match="that the version stands on, from a test, got none"):
        hand_made(two_layers(), base=base).prepare(make_task(two_layers(), by_optimizer))


def test_a_tensor_is_not_both_private_and_frozen(hand_made: Make, make_task: Make, base: Path) -> None:
    task = replace(make_task(two_layers(), by_optimizer), frozen=("0.*",), private=("*.bias",), base=base)
    with pytest.raises(InputError, match=r"0.bias: expected to be private or frozen, not both"):
        hand_made(two_layers(), without=("0.*",), base=base).prepare(task)
