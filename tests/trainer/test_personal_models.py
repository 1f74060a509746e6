"""Personal models: FedRep's head and body in turn, Ditto's model beside the shared one, and what never leaves."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from registry.chain.contract_hashes import round_id_of
from registry.cli.plan_files import manifest_of
from registry.content.manifest import DataSetManifest, Procedure
from registry.errors import InputError
from registry.rounds.onchain import read_round
from registry.rounds.plans import fitted
from registry.rounds.versions import load_version_manifest, read_header
from registry.store.local import LocalStore
from registry.verification.verify import verify_version
from trainer import load_personal
from trainer.algorithms.fedrep import client_update
from trainer.ditto import ditto, own_model
from trainer.local_training import LocalRound, TrainEpoch, train_locally
from trainer.modules import load_version, module_header, propose_plan
from trainer.participant import Task, local_changes, prepare_update
from trainer.simulation import Simulation, simulate_round, start
from trainer.updates import place_of

Make = Callable[..., Any]
MakeOptimizer = Callable[[Any], torch.optim.Optimizer]
HEAD = ("head.weight", "head.bias")


def parts() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(OrderedDict(body=nn.Linear(4, 3), head=nn.Linear(3, 1)))


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=0.01)


def training(seed: int = 0, make: MakeOptimizer = sgd, term: Callable[[nn.Module], Any] = lambda _: 0.0) -> TrainEpoch:
    """Three steps an epoch on data of a participant's own, with a term in the loss."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(12, 4, generator=generator)
    targets = inputs.sum(1, keepdim=True) + seed

    def train_epoch(module: nn.Module, epoch: int) -> Mapping[str, float]:
        optimizer = make([p for p in module.parameters() if p.requires_grad])
        for _ in range(3):
            optimizer.zero_grad()
            loss = (module(inputs) - targets).pow(2).mean() + term(module)
            loss.backward()
            optimizer.step()
        return {"epoch": float(epoch)}

    return train_epoch


def values(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


# FedRep ---------------------------------------------------------------------------------------------------------------


def test_fedrep_trains_the_head_on_the_parent_s_body_and_then_the_body_on_that_head() -> None:
    module, by_hand, seen = parts(), parts(), []

    def telling(trained: nn.Module, epoch: int) -> Mapping[str, float]:
        seen.append(epoch)
        return training()(trained, epoch)

    made = client_update(module, telling, {"head_epochs": 3, "epochs": 2}, LocalRound(private=HEAD))
    assert seen == [0, 1, 2, 3, 4] and made.metrics == {"epoch": 4.0}
    for phase, count in (("body", 3), ("head", 2)):
        by_hand.requires_grad_(True).get_submodule(phase).requires_grad_(False)
        for epoch in range(count):
            training()(by_hand, epoch)
    assert all(torch.equal(value, values(by_hand)[name]) for name, value in values(module).items())
    assert all(p.requires_grad for p in module.parameters())


def test_the_paper_s_ten_epochs_of_the_head_are_usual() -> None:
    seen: list[int] = []

    def telling(trained: nn.Module, epoch: int) -> Mapping[str, float]:
        seen.append(epoch)
        return training()(trained, epoch)

    client_update(parts(), telling, {}, LocalRound(private=HEAD))
    assert seen == list(range(11))


def test_an_optimizer_that_lives_on_moves_nothing_that_is_held() -> None:
    """Momentum and decay of earlier steps wait in it, and gradients that it sets to zero and not to None."""
    module = parts()
    optimizer, inputs = sgd(module.parameters()), torch.ones(4, 4)

    def train_epoch(trained: nn.Module, epoch: int) -> Mapping[str, float]:
        optimizer.zero_grad(set_to_none=False)
        trained(inputs).pow(2).mean().backward()
        optimizer.step()
        return {}

    train_epoch(module, 0)
    before = values(module)
    client_update(module, train_epoch, {"head_epochs": 2}, LocalRound(private=HEAD))
    assert all(not torch.equal(value, before[name]) for name, value in values(module).items())


@pytest.mark.parametrize("private", [(), ("body.weight", "body.bias", *HEAD)])
def test_fedrep_needs_a_head_and_a_body(private: tuple[str, ...]) -> None:
    said = f"expected a task with a private head and a shared body, .* got {len(private)} private parameters of 4"
    with pytest.raises(InputError, match=said):
        client_update(parts(), training(), {}, LocalRound(private=private))


@pytest.mark.parametrize(("part", "said"), [("body", "the body"), ("head", "the head")])
def test_training_that_moves_what_is_held_is_refused(part: str, said: str) -> None:
    def by_hand(module: nn.Module, epoch: int) -> Mapping[str, float]:
        training()(module, epoch)
        held = module.get_submodule(part).get_parameter("weight")
        if not held.requires_grad:
            with torch.no_grad():
                held.add_(1e-6)
        return {}

    with pytest.raises(InputError, match=f"fedrep: {said}: expected unchanged tensors"):
        client_update(parts(), by_hand, {"head_epochs": 1}, LocalRound(private=HEAD))


def test_a_round_of_fedrep_publishes_the_body_alone(tmp_path: Path, make_task: Make) -> None:
    private = ("head.*",)
    tasks = {
        name: replace(make_task(parts(), lambda _: {}, name=name), train_epoch=training(seed), private=private)
        for seed, name in enumerate(("ann", "bob"))
    }
    plan = propose_plan(parts(), quorum=1, min_contributions=2, grid_bits=22, without=private)
    plan = replace(plan, algorithm=Procedure("fedrep", {"head_epochs": 2}))
    sim = start(parts(), tasks, plan, LocalStore(tmp_path / "store"), tmp_path, aggregators=1, without=private)
    for _ in range(2):
        simulate_round(sim)
    head = load_version_manifest(sim.store, sim.owner.model(sim.model_id).head)
    assert {spec.name for spec in read_header(sim.store, head.weights.blob).specs} == {"body.bias", "body.weight"}
    one, two = (values(task.module) for task in tasks.values())
    assert not torch.equal(one["head.weight"], two["head.weight"])


# Ditto ----------------------------------------------------------------------------------------------------------------


def task_of(seed: int = 0, module: nn.Module | None = None, make: MakeOptimizer = sgd, **changed: Any) -> Task:
    about = DataSetManifest("data", "", "", "", 12, None)
    return Task(module or parts(), training(seed, make), 12, about, **changed)


@pytest.mark.parametrize("make", [sgd, lambda p: torch.optim.Adam(p, lr=0.05)], ids=["sgd", "adam"])
def test_the_own_model_is_trained_with_the_paper_s_term_toward_the_parent(make: MakeOptimizer) -> None:
    task = ditto(task_of(make=make), ditto_lambda=0.7, epochs=2)
    explicit, rounds = parts(), 3
    for _ in range(rounds):
        origin = {name: value for name, value in values(task.module).items() if not name.startswith("ditto/")}

        def term(module: nn.Module, origin: Mapping[str, torch.Tensor] = origin) -> Any:
            return 0.35 * sum((p - origin[name]).pow(2).sum() for name, p in module.named_parameters())

        for epoch in range(2):
            training(make=make, term=term)(explicit, epoch)
        train_locally(task.module, task.train_epoch, epochs=2)
    found = values(own_model(task))
    assert found.keys() == values(explicit).keys()
    for name, value in values(explicit).items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)
    assert not torch.equal(found["body.weight"], values(task.module)["body.weight"])


@pytest.mark.parametrize(
    "algorithm",
    [
        Procedure("fedavg", {"epochs": 2}),
        Procedure("fedprox", {"mu": 0.5, "steps": 4, "epochs": 2}),
        Procedure("scaffold", {"lr": 0.05, "steps": 5}),
        Procedure("fedsgd", {"lr": 0.05}),
    ],
    ids=lambda one: one.name,
)
def test_the_shared_update_is_that_of_the_task_without_it(algorithm: Procedure, hand_made: Make) -> None:
    """Whatever the plan's algorithm counts, limits and corrects: it does so to the shared model alone."""

    def plain(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=0.05)

    plan = replace(propose_plan(parts(), quorum=1, min_contributions=1, grid_bits=20), algorithm=algorithm)
    if algorithm.name == "scaffold":
        terms = {"grid_bits": 20, "combine_rule": "uniform_mean", "quorum": 1, "min_contributions": 1}
        server = {"name": "scaffold", "parameters": {"rate": 1.0, "participants": 2}}
        told = {"name": algorithm.name, "parameters": algorithm.parameters}
        plan = fitted(manifest_of({**terms, "algorithm": told, "server": server}), module_header(parts()))
    round = hand_made(parts(), plan)
    made = [
        round.prepare(task, folder)
        for folder, task in (("plain", task_of(make=plain)), ("own", ditto(task_of(make=plain), epochs=3)))
    ]
    assert made[0].file.read_bytes() == made[1].file.read_bytes()
    assert made[0].manifest.steps == made[1].manifest.steps
    assert made[0].manifest.metrics == made[1].manifest.metrics


def simulated(folder: Path) -> Simulation:
    tasks = {name: ditto(task_of(seed)) for seed, name in enumerate(("ann", "bob"))}
    plan = propose_plan(parts(), quorum=1, min_contributions=1, grid_bits=20)
    return start(parts(), tasks, plan, LocalStore(folder / "store"), folder, aggregators=1)


def again(sim: Simulation, name: str, seed: int, **changed: Any) -> Task:
    """The participant comes back in a new process: a fresh module."""
    client, _ = sim.participants[name]
    task = replace(ditto(task_of(seed)), **changed)
    sim.participants[name] = (client, task)  # type: ignore[index]
    return task


def prepare(sim: Simulation, name: str, number: int) -> Any:
    client, task = sim.participants[name]
    record = read_round(client, sim.model_id, number)
    return prepare_update(sim.store, sim.folder / name, record, task, client.account)


def test_an_own_model_comes_back_and_never_leaves_the_participant_s_folder(tmp_path: Path) -> None:
    sim = simulated(tmp_path)
    simulate_round(sim)
    first = values(own_model(sim.participants["ann"][1]))
    task = again(sim, "ann", 0)
    simulate_round(sim)
    assert task.module.get_buffer("ditto/rounds") == 2
    own = values(own_model(task))
    fresh = ditto(task_of(0))
    head = load_version_manifest(sim.store, sim.owner.model(sim.model_id).head)
    assert load_personal(fresh, sim.store, head, tmp_path / "ann", sim.model_id) == 2
    assert all(torch.equal(value, own[name]) for name, value in values(own_model(fresh)).items())

    published = b"".join(p.read_bytes() for p in (tmp_path / "store").rglob("*") if p.is_file())
    assert b"body.weight" in published and b"ditto" not in published and b"v/body" not in published
    folder = tmp_path / "ann" / f"round-{round_id_of(sim.model_id, 2).hex()}"
    kept = (folder / "private.safetensors").read_bytes()
    for name, value in (*first.items(), *own.items()):
        assert value.numpy().tobytes() not in published, name
    assert all(value.numpy().tobytes() in kept for value in own.values())
    found = list(verify_version(sim.owner, sim.store, sim.model_id, sim.owner.model(sim.model_id).head, tmp_path / "v"))
    assert len(found) == 3 and all(one.passed for one in found)


def test_a_lost_own_model_is_said_and_begun_anew_only_when_told(tmp_path: Path) -> None:
    sim = simulated(tmp_path)
    simulate_round(sim)
    place_of(tmp_path / "ann", round_id_of(sim.model_id, 1)).joinpath("private.safetensors").unlink()
    again(sim, "ann", 0)
    with pytest.raises(InputError, match=r"the private tensors of round 1 are lost: expected .*private.safetensors"):
        simulate_round(sim)
    task = again(sim, "ann", 0, reset_private=True)
    prepare(sim, "ann", 2)
    assert task.module.get_buffer("ditto/rounds") == 1
    anew = task_of(0)
    load_version(anew.module, sim.store, load_version_manifest(sim.store, sim.owner.model(sim.model_id).head))
    from_parent = ditto(anew)
    train_locally(from_parent.module, from_parent.train_epoch, epochs=1)
    assert all(
        torch.equal(value, values(own_model(task))[name]) for name, value in values(own_model(from_parent)).items()
    )


def test_a_participant_stopped_before_sealing_trains_from_the_last_round_s_own_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim = simulated(tmp_path)
    simulate_round(sim)
    again(sim, "ann", 0)
    with monkeypatch.context() as patch:
        patch.setattr("trainer.participant.finalize_update", lambda *args, **kwargs: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            simulate_round(sim)
    stopped = sim.participants["ann"][1]
    task = again(sim, "ann", 0)
    prepare(sim, "ann", 2)
    assert task.module.get_buffer("ditto/rounds") == 2
    assert all(torch.equal(value, values(own_model(task))[name]) for name, value in values(own_model(stopped)).items())


def test_frozen_tensors_are_in_no_own_model_s_file_and_stay_as_they_are(hand_made: Make, tmp_path: Path) -> None:
    base = tmp_path / "base.bin"
    torch.save(parts().get_submodule("body").state_dict(), base)
    round = hand_made(parts(), without=("body.*",), base=base)
    module = parts()
    task = ditto(task_of(module=module, frozen=("*", "!head.*"), base=base))
    round.prepare(task)
    (kept,) = tmp_path.glob("participant/*/private.safetensors")
    assert b"v/head/weight" in kept.read_bytes() and b"body" not in kept.read_bytes()
    own = own_model(task)
    assert own.get_parameter("body.weight").data_ptr() == module.get_parameter("body.weight").data_ptr()
    assert torch.equal(own.get_parameter("body.weight"), parts().get_parameter("body.weight"))
    assert all(p.requires_grad for p in module.parameters())


def test_an_own_model_beside_fedrep_is_trained_whole_and_has_a_head_of_its_own() -> None:
    task = ditto(task_of(private=("head.*",)), ditto_lambda=1e6, epochs=1)
    plan = propose_plan(parts(), quorum=1, min_contributions=1, without=("head.*",))
    plan = replace(plan, algorithm=Procedure("fedrep", {"head_epochs": 2}))
    assert set(local_changes(task, plan)) == {"body.weight", "body.bias"}
    free = ditto(task_of(private=("head.*",)), ditto_lambda=0.0)
    before = values(own_model(free))
    client_update(free.module, free.train_epoch, {"head_epochs": 1}, LocalRound(private=(*HEAD, "ditto/rounds")))
    after = values(own_model(free))
    assert all(not torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ditto_lambda": -0.1}, "expected ditto_lambda of 0 or more and 1 epoch or more, got -0.1, 1"),
        ({"ditto_lambda": float("inf")}, "ditto_lambda of 0 or more"),
        ({"ditto_lambda": float("nan")}, "ditto_lambda of 0 or more"),
        ({"ditto_lambda": "0.1"}, "ditto_lambda of 0 or more"),
        ({"epochs": 0}, "1 epoch or more, got 0.1, 0"),
        ({"epochs": 1.5}, "ditto: epochs: expected a whole number"),
    ],
)
def test_settings_of_ditto_that_cannot_be_are_refused(given: Mapping[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        ditto(task_of(), **given)


def test_a_module_serves_one_own_model_and_training_by_hand_none() -> None:
    task = ditto(task_of())
    with pytest.raises(InputError, match="got one that has an own model already"):
        ditto(task)
    with pytest.raises(InputError, match=r"expected a task that trainer\.ditto\.ditto made"):
        own_model(task_of())
    by_hand = ditto(replace(task_of(), train_epoch=lambda module, epoch: {}))
    with pytest.raises(InputError, match="ditto: expected training by an optimizer of torch"):
        train_locally(by_hand.module, by_hand.train_epoch, epochs=1)
