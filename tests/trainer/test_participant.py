"""A participant's updates: deltas from the loaded module, on the plan's grid, under the parent's names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from registry.content.gate import describe
from registry.content.manifest import (
    Code,
    DataSetManifest,
    Evaluation,
    Procedure,
    ServerRule,
    UpdateManifest,
    decode,
    digest_of,
)
from registry.content.tensors import parse_header
from registry.errors import FormError, InputError, VerificationFailed
from registry.rounds.admission import judge_blob, update_form
from registry.rounds.data_sets import open_data_set
from registry.rounds.plans import add_plan, fitted, server_rule
from registry.rounds.versions import read_arrays, read_header
from registry.rules.grid import to_grid
from registry.store.memory import MemoryStore
from registry.types import Root
from trainer.modules import module_header, propose_plan
from trainer.participant import Task
from trainer.updates import PreparedUpdate, publish_update

Make = Callable[..., Any]
FEDAVG = server_rule("fedavg", {"rate": 1.0}, 24)


def tensors_of(prepared: PreparedUpdate) -> dict[str, np.ndarray]:
    data = prepared.file.read_bytes()
    header = parse_header(data, len(data))
    body = data[header.header_bytes :]
    return {s.name: np.frombuffer(body[s.begin : s.end], dtype="<f4").reshape(s.shape) for s in header.specs}


def add(amounts: Mapping[str, float]) -> Callable[[nn.Module], Mapping[str, float]]:
    """Training that adds to parameters."""

    def change(module: nn.Module) -> Mapping[str, float]:
        with torch.no_grad():
            for name, amount in amounts.items():
                module.get_parameter(name).add_(amount)
        return {"loss": 0.5}

    return change


def fixed(value: float, *, dtype: torch.dtype = torch.float32) -> nn.Linear:
    module = nn.Linear(3, 2, dtype=dtype)
    with torch.no_grad():
        module.weight.fill_(value)
        module.bias.fill_(0.0)
    return module


def test_delta_is_what_training_changed_on_the_grid(hand_made: Make, make_task: Make) -> None:
    round = hand_made(fixed(0.5))
    prepared = round.prepare(make_task(fixed(9.0), add({"weight": 0.25, "bias": -(2.0**-20)}), examples=7))
    assert np.array_equal(tensors_of(prepared)["weight"], np.full((2, 3), 0.25, dtype=np.float32))
    assert np.array_equal(tensors_of(prepared)["bias"], np.full(2, -(2.0**-20), dtype=np.float32))
    assert prepared.manifest.weight == 7
    assert prepared.manifest.metrics == {"loss": 0.5}
    assert prepared.manifest.saturated == 0


def test_update_passes_every_judgement_that_aggregators_make(hand_made: Make, make_task: Make) -> None:
    round = hand_made(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)))

    def train(module: nn.Module) -> Mapping[str, float]:
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        module(torch.randn(6, 4, generator=torch.Generator().manual_seed(1))).pow(2).mean().backward()
        optimizer.step()
        return {}

    prepared = round.prepare(make_task(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), train))
    form = update_form(read_header(round.store, round.genesis.weights.blob), round.plan)
    assert judge_blob([prepared.file.read_bytes()], form, prepared.manifest.delta.tensor_root)[0] == 0
    values = tensors_of(prepared)
    assert values.keys() == {"0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"}
    assert np.any(values["1.running_mean"]) and np.any(values["1.running_var"])
    facts = describe([prepared.file.read_bytes()])
    assert (facts.cid, facts.tensor_root) == (prepared.manifest.delta.cid, prepared.manifest.delta.tensor_root)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_delta_is_measured_against_what_the_module_held(
    dtype: torch.dtype, hand_made: Make, make_task: Make
) -> None:
    # 1/3 is no half-precision number: a delta against the master would carry that rounding too.
    round = hand_made(fixed(1 / 3))
    held = torch.tensor(1 / 3).to(dtype)
    prepared = round.prepare(make_task(fixed(0.0, dtype=dtype), add({"weight": 0.25})))
    expected = (held + torch.tensor(0.25, dtype=dtype)).double() - held.double()
    assert np.array_equal(tensors_of(prepared)["weight"], np.full((2, 3), expected.item(), dtype=np.float32))
    assert not tensors_of(prepared)["bias"].any()


def test_untrained_half_precision_module_changes_nothing(hand_made: Make, make_task: Make) -> None:
    prepared = hand_made(fixed(1 / 3)).prepare(make_task(fixed(0.0, dtype=torch.bfloat16), lambda module: {}))
    assert not tensors_of(prepared)["weight"].any()


def test_tied_tensors_stand_in_the_update_once(hand_made: Make, make_task: Make) -> None:
    def tied() -> nn.Module:
        torch.manual_seed(0)
        module = nn.ModuleDict({"a": nn.Linear(3, 3, bias=False), "b": nn.Linear(3, 3, bias=False)})
        module["b"].weight = module["a"].weight
        return module

    prepared = hand_made(tied()).prepare(make_task(tied(), add({"a.weight": 0.125})))
    assert tensors_of(prepared).keys() == {"a.weight"}
    assert np.allclose(tensors_of(prepared)["a.weight"], 0.125, atol=2**-23)


def test_scaled_tensors_are_divided_by_their_power_of_two(hand_made: Make, make_task: Make) -> None:
    module = fixed(0.5)
    plan = replace(propose_plan(module, quorum=1, min_contributions=1, grid_bits=20), scales={"weight": 10})
    plan = fitted(plan, module_header(module))
    prepared = hand_made(module, plan).prepare(make_task(fixed(0.0), add({"weight": 3000.0, "bias": 0.25})))
    assert np.allclose(tensors_of(prepared)["weight"] * 2**10, 3000.0)
    assert np.array_equal(tensors_of(prepared)["bias"], np.full(2, 0.25, dtype=np.float32))


def test_value_over_the_grid_names_tensor_value_and_the_setting_that_would_fit(
    hand_made: Make, make_task: Make
) -> None:
    round = hand_made(fixed(0.5))
    said = r"weight: value 0: expected at most 2\^0 in magnitude, got 3; use grid_bits 22, or a scale of 2 for this"
    with pytest.raises(InputError, match=said):
        round.prepare(make_task(fixed(0.0), add({"weight": 3.0})))


def test_saturating_plan_clips_and_its_update_says_how_often(hand_made: Make, make_task: Make) -> None:
    module = fixed(0.5)
    plan = replace(propose_plan(module, quorum=1, min_contributions=1), saturate=True)
    prepared = hand_made(module, plan).prepare(make_task(fixed(0.0), add({"weight": 3.0, "bias": -0.5})))
    assert prepared.manifest.saturated == 6
    assert np.array_equal(tensors_of(prepared)["weight"], np.ones((2, 3), dtype=np.float32))


def test_clip_bounds_the_norm_over_all_tensors_before_the_grid(hand_made: Make, make_task: Make) -> None:
    module = fixed(0.0)
    plan = replace(propose_plan(module, quorum=1, min_contributions=1), transforms=(Procedure("clip", {"norm": 0.5}),))
    long = hand_made(module, plan).prepare(make_task(fixed(0.0), add({"weight": 3.0, "bias": 4.0})), "long")
    values = tensors_of(long)
    norm = np.sqrt(sum(float((array.astype(np.float64) ** 2).sum()) for array in values.values()))
    assert abs(norm - 0.5) < 1e-6
    assert np.allclose(values["weight"] / 3.0, values["bias"][0] / 4.0)
    short = hand_made(module, plan).prepare(make_task(fixed(0.0), add({"weight": 0.125})), "short")
    assert np.array_equal(tensors_of(short)["weight"], np.full((2, 3), 0.125, dtype=np.float32))


@pytest.mark.parametrize("parameters", [{}, {"norm": 0.0}, {"norm": -1.0}, {"norm": "1"}, {"norm": 1.0, "p": 1}])
def test_clip_without_one_positive_norm_is_refused(
    parameters: Mapping[str, Any], hand_made: Make, make_task: Make
) -> None:
    module = fixed(0.0)
    plan = replace(propose_plan(module, quorum=1, min_contributions=1), transforms=(Procedure("clip", parameters),))
    with pytest.raises(InputError, match="clip: expected parameter norm > 0"):
        hand_made(module, plan).prepare(make_task(fixed(0.0), add({"weight": 1.0})))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"algorithm": Procedure("sgd", {})}, r"expected an algorithm of fedavg, fedsgd, .*, got 'sgd'"),
        ({"algorithm": Procedure("fedavg", {"epochs": 0})}, "fedavg: expected parameters epochs 1 to"),
        ({"algorithm": Procedure("fedavg", {"epochs": True})}, "fedavg: expected parameters epochs 1 to"),
        ({"algorithm": Procedure("fedavg", {"mu": 0.1})}, "fedavg: expected parameters epochs 1 to"),
        ({"transforms": (Procedure("mask", {}),)}, r"expected transforms of \['clip', 'error_feedback'\], got 'mask'"),
        ({"combine_rule": 9}, r"expected combine rule 1 \(mean\), .* got 9"),
        ({"server": ServerRule("sgd", {}, FEDAVG.program)}, r"server rule: expected one of fedavg, .*, got 'sgd'"),
        ({"server": replace(FEDAVG, parameters={"rate": 0.5})}, "expected the program that fedavg compiles to"),
        ({"algorithm": Procedure("feddyn", {})}, "feddyn: expected the server rule feddyn, its other half, got fedavg"),
        ({"weight_cap": 9}, "examples: expected 1..9, the plan's weight cap, got 10"),
        ({"scales": {"nobody": 2}}, "nobody"),
        ({"values": 7}, "plan: expected values 8 as the parent has, got 7"),
    ],
)
def test_plan_that_cannot_be_followed_is_refused_before_training(
    changed: Mapping[str, Any], said: str, hand_made: Make, make_task: Make
) -> None:
    module = fixed(0.5)
    plan = replace(propose_plan(module, quorum=1, min_contributions=1), **changed)

    def never(module: nn.Module) -> Mapping[str, float]:
        raise AssertionError("trained")

    with pytest.raises(InputError, match=said):
        hand_made(module, plan).prepare(make_task(fixed(0.0), never))


def test_epochs_of_the_plan_are_trained_one_after_the_other_in_training_mode(hand_made: Make) -> None:
    module = fixed(0.5)
    plan = replace(propose_plan(module, quorum=1, min_contributions=1), algorithm=Procedure("fedavg", {"epochs": 3}))
    seen: list[tuple[int, bool]] = []

    def train(trained: nn.Module, epoch: int) -> Mapping[str, float]:
        seen.append((epoch, trained.training))
        trained.eval()
        return {"loss": float(epoch)}

    round = hand_made(module, plan)
    prepared = round.prepare(Task(fixed(0.0), train, 10, DataSetManifest("data", "", "", "", 10, None)))
    assert seen == [(0, True), (1, True), (2, True)]
    assert prepared.manifest.metrics == {"loss": 2.0}


def stepping(*optimizers: str) -> Callable[[nn.Module, int], Mapping[str, float]]:
    """Training that takes five steps by each of these optimizers, and three by one of another module."""

    def train(module: nn.Module, epoch: int) -> Mapping[str, float]:
        other = nn.Linear(1, 1)
        own = {
            "all": torch.optim.SGD(module.parameters(), lr=0.0),
            "bias": torch.optim.SGD([module.get_parameter("bias")], lr=0.0),
        }
        for _ in range(5):
            for name in optimizers:
                own[name].step()
        for _ in range(3):
            torch.optim.SGD(other.parameters(), lr=0.0).step()
        return {"loss": 0.0}

    return train


@pytest.mark.parametrize(
    ("train", "declared", "steps"),
    [
        (stepping("all"), None, 10),  # two epochs
        (stepping("all", "bias"), None, 10),  # side by side
        (stepping(), None, 20),  # none that moves the module: a step an example
        (stepping("all"), 7, 14),
    ],
    ids=["counted", "side-by-side", "bounded", "declared"],
)
def test_steps_are_counted_or_declared(hand_made: Make, train: Any, declared: int | None, steps: int) -> None:
    module = fixed(0.5)
    plan = replace(propose_plan(module, quorum=1, min_contributions=1), algorithm=Procedure("fedavg", {"epochs": 2}))
    data = DataSetManifest("data", "", "", "", 10, None)
    prepared = hand_made(module, plan).prepare(Task(fixed(0.0), train, 10, data, steps_per_epoch=declared))
    assert prepared.manifest.steps == steps


def test_no_steps_an_epoch_are_refused_before_training(hand_made: Make, make_task: Make) -> None:
    task = replace(make_task(fixed(0.0), add({})), steps_per_epoch=0)
    with pytest.raises(InputError, match="steps_per_epoch: expected 1 or more, got 0"):
        hand_made(fixed(0.5)).prepare(task)


def test_no_examples_are_refused(hand_made: Make, make_task: Make) -> None:
    with pytest.raises(InputError, match="examples: expected 1"):
        hand_made(fixed(0.5)).prepare(make_task(fixed(0.0), add({}), examples=0))


def test_training_that_diverges_is_refused_by_tensor_or_metric(hand_made: Make, make_task: Make) -> None:
    round = hand_made(fixed(0.5))
    with pytest.raises(InputError, match="weight: value 0: expected a finite number, got nan"):
        round.prepare(make_task(fixed(0.0), add({"weight": float("nan")})))
    with pytest.raises(InputError, match="metrics: expected finite numbers, got loss nan"):
        round.prepare(make_task(fixed(0.0), lambda module: {"loss": float("nan")}))


def test_module_of_another_shape_is_refused(hand_made: Make, make_task: Make) -> None:
    with pytest.raises(InputError, match=r"weight: expected shape \(2, 4\), as the module has, got \(2, 3\) in"):
        hand_made(fixed(0.5)).prepare(make_task(nn.Linear(4, 2), add({})))


def test_prepared_update_is_not_trained_again(hand_made: Make, make_task: Make) -> None:
    round = hand_made(fixed(0.5))
    first = round.prepare(make_task(fixed(0.0), add({"weight": 0.25})))
    again = round.prepare(make_task(fixed(0.0), add({"weight": 0.75})))
    assert again == first
    assert again.file.read_bytes() == first.file.read_bytes()


def test_update_for_another_parent_or_plan_is_trained_anew(hand_made: Make, make_task: Make) -> None:
    """As when a local chain was set up anew and gives a round the id of one of its past life."""
    round = hand_made(fixed(0.5))
    first = round.prepare(make_task(fixed(0.0), add({"weight": 0.25})))
    other, _ = add_plan(round.store, replace(round.plan, quorum=round.plan.quorum + 1))
    anew = replace(round, record=replace(round.record, plan=other))
    again = anew.prepare(make_task(fixed(0.0), add({"weight": 0.75})))
    assert again.manifest.plan.digest == other.digest != first.manifest.plan.digest
    assert tensors_of(again)["weight"][0, 0] == 0.75


def test_update_half_written_when_the_machine_stopped_is_written_anew(hand_made: Make, make_task: Make) -> None:
    round = hand_made(fixed(0.5))
    first = round.prepare(make_task(fixed(0.0), add({"weight": 0.25})))
    for name in ("update.cbor", "dataset.opening"):
        (first.file.parent / name).unlink()
    (first.file.parent / "update.partial").write_bytes(b"half")
    first.file.write_bytes(first.file.read_bytes()[:30])
    again = round.prepare(make_task(fixed(0.0), add({"weight": 0.25})))
    assert again == first
    assert len(again.file.read_bytes()) == again.manifest.delta.size


def test_publishing_twice_changes_nothing(hand_made: Make, make_task: Make) -> None:
    prepared = hand_made(fixed(0.5)).prepare(make_task(fixed(0.0), add({"weight": 0.25})))
    store = MemoryStore()
    publish_update(store, prepared)
    pins = set(store.pins())
    publish_update(store, prepared)
    assert set(store.pins()) == pins
    assert len(pins) == 3, "file, manifest and head"


def test_file_changed_since_it_was_committed_is_not_published(hand_made: Make, make_task: Make) -> None:
    prepared = hand_made(fixed(0.5)).prepare(make_task(fixed(0.0), add({"weight": 0.25})))
    data = bytearray(prepared.file.read_bytes())
    data[-1] ^= 1
    prepared.file.write_bytes(data)
    store = MemoryStore()
    with pytest.raises(VerificationFailed, match=r"update\.safetensors: expected"):
        publish_update(store, prepared)
    assert not list(store.pins())


def test_manifest_is_bound_to_its_round_and_names_the_code(hand_made: Make, make_task: Make, tmp_path: Path) -> None:
    round = hand_made(fixed(0.5))
    prepared = round.prepare(make_task(fixed(0.0), add({"weight": 0.25})))
    manifest = decode((prepared.file.parent / "update.cbor").read_bytes(), UpdateManifest)
    assert manifest == prepared.manifest
    assert (manifest.model, manifest.number, manifest.chain_id) == (round.record.model_id, 1, 31337)
    assert manifest.parent.digest == digest_of(round.genesis)
    assert manifest.code == Code("not stated", "not stated")
    assert Root(manifest.delta.tensor_root) == describe([prepared.file.read_bytes()]).tensor_root


def test_grid_and_mean_of_one_participant_move_the_version_by_its_delta(hand_made: Make, make_task: Make) -> None:
    round = hand_made(fixed(0.5))
    prepared = round.prepare(make_task(fixed(0.0), add({"weight": 1 / 3})))
    parent = read_arrays(round.store, round.genesis)["weight"]
    trained = (parent + np.float32(1 / 3)).astype(np.float64)
    expected, _ = to_grid(trained - parent, round.plan.grid_bits)
    assert np.array_equal(tensors_of(prepared)["weight"], expected)


def test_the_parent_is_evaluated_before_training_and_the_manifest_says_so(hand_made: Make, make_task: Make) -> None:
    module = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        module.weight.fill_(0.25)
    seen: list[object] = []

    def evaluate(parent: nn.Module) -> dict[str, int | float]:
        seen.append((parent.training, torch.is_grad_enabled()))
        return {"examples": 8, "correct": 5, "weight": parent.weight.item()}  # type: ignore[union-attr, operator]

    def change(trained: nn.Module) -> dict[str, float]:
        seen.append("trained")
        with torch.no_grad():
            trained.weight.add_(0.5)  # type: ignore[operator, union-attr]
        return {}

    made = hand_made(module).prepare(replace(make_task(module, change), evaluate=evaluate))
    assert made.manifest.evaluation == Evaluation(8, {"correct": 5}, {"weight": 1 << 18})
    assert seen == [(False, False), "trained"]


def test_an_evaluation_that_changes_the_module_is_refused(hand_made: Make, make_task: Make) -> None:
    module = nn.Linear(2, 1)

    def evaluate(parent: nn.Module) -> dict[str, int | float]:
        parent.bias.add_(1.0)  # type: ignore[operator, union-attr]
        return {"examples": 1}

    with pytest.raises(InputError, match="expected an unchanged module"):
        hand_made(module).prepare(replace(make_task(module, lambda m: {}), evaluate=evaluate))


def test_the_data_set_is_named_by_a_salted_digest_that_is_the_same_every_time(hand_made: Make, make_task: Make) -> None:
    round, task = hand_made(fixed(0.5)), make_task(fixed(0.0), add({"weight": 0.25}))
    first, other = round.prepare(task, "one"), round.prepare(task, "other")
    (first.file.parent / "update.cbor").unlink()
    assert round.prepare(task, "one").manifest == first.manifest
    named = {digest_of(task.data_set), first.manifest.data_set, other.manifest.data_set}
    assert len(named) == 3
    digest, told = open_data_set((first.file.parent / "dataset.opening").read_bytes())
    assert (digest, told) == (first.manifest.data_set, task.data_set)
    assert (first.file.parents[1] / "salt").stat().st_mode & 0o077 == 0


def test_a_damaged_salt_is_said(hand_made: Make, make_task: Make) -> None:
    round, task = hand_made(fixed(0.5)), make_task(fixed(0.0), add({"weight": 0.25}))
    (round.folder / "participant").mkdir()
    (round.folder / "participant" / "salt").write_bytes(b"short")
    with pytest.raises(FormError, match="salt: expected 32 bytes, got 5"):
        round.prepare(task)


@pytest.mark.parametrize(
    ("procedure", "most", "steps"),
    [
        (Procedure("fedprox", {"mu": 0.1, "epochs": 3}), None, 15),
        (Procedure("fedprox", {"mu": 0.1, "epochs": 3}), 7, 7),
        (Procedure("fedprox", {"mu": 0.1, "epochs": 3, "steps": 6}), None, 6),
        (Procedure("fedprox", {"mu": 0.1, "epochs": 3, "steps": 6}), 2, 2),
        (Procedure("fedprox", {"mu": 0.1, "epochs": 3, "steps": 6}), 99, 6),
        (Procedure("fedprox", {"mu": 0.1, "epochs": 1, "steps": 99}), 99, 5),
        (Procedure("fedsgd", {"lr": 0.1}), None, 1),
        (Procedure("fedsgd", {"lr": 0.1, "steps": 8}), None, 8),
    ],
)
def test_an_update_declares_the_steps_that_were_taken(
    hand_made: Make, procedure: Procedure, most: int | None, steps: int
) -> None:
    taken = 0

    def train(module: nn.Module, epoch: int) -> Mapping[str, float]:
        nonlocal taken
        optimizer = torch.optim.SGD(module.parameters(), lr=0.0)
        for _ in range(5):
            optimizer.zero_grad()
            sum(p.sum() for p in module.parameters()).backward()  # type: ignore[union-attr]
            optimizer.step()
            taken += 1
        return {}

    plan = replace(propose_plan(fixed(0.5), quorum=1, min_contributions=1), algorithm=procedure)
    task = Task(fixed(0.0), train, 10, DataSetManifest("data", "", "", "", 10, None), most_steps=most)
    assert hand_made(fixed(0.5), plan).prepare(task).manifest.steps == steps
    assert taken == (5 if procedure.parameters == {"lr": 0.1} else steps)


def test_partial_work_is_refused_where_the_algorithm_has_none(hand_made: Make, make_task: Make) -> None:
    task = replace(make_task(fixed(0.0), add({})), most_steps=3)
    with pytest.raises(InputError, match=r"most_steps: expected an algorithm with partial work \(fedprox, fednova\)"):
        hand_made(fixed(0.5)).prepare(task)
    with pytest.raises(InputError, match="most_steps: expected 1 or more, got 0"):
        hand_made(fixed(0.5)).prepare(replace(task, most_steps=0))
    with pytest.raises(InputError, match=r"most_steps: expected a whole number, got 1\.5"):
        replace(task, most_steps=1.5)  # type: ignore[arg-type]


def test_fednova_s_update_is_the_mean_change_of_a_step(hand_made: Make) -> None:
    module = fixed(0.5)
    plan = propose_plan(module, quorum=1, min_contributions=1, grid_bits=20)
    server = server_rule("fednova", {}, 20)
    plan = replace(plan, algorithm=Procedure("fednova", {"epochs": 2}), server=server)

    def train(trained: nn.Module, epoch: int) -> Mapping[str, float]:
        with torch.no_grad():
            trained.get_parameter("weight").add_(1.5)
        return {}

    task = Task(fixed(0.0), train, 10, DataSetManifest("data", "", "", "", 10, None), steps_per_epoch=3)
    prepared = hand_made(module, plan).prepare(task)
    assert prepared.manifest.steps == 6
    assert np.array_equal(tensors_of(prepared)["weight"], np.full((2, 3), 0.5, dtype=np.float32))
