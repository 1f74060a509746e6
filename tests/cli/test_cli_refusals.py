"""Refusals of commands on a real contract, with their messages and exit codes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from registry.rounds.versions import load_version_manifest, read_header, save_arrays
from registry.store.blobs import open_blob
from registry.store.local import LocalStore
from registry.types import Blob


def test_who_may_not_is_told_so(shared_world: Any) -> None:
    model = shared_world.model
    for command, error in (
        (("round", "open", model, "--account", "f"), "MissingRole"),
        (("member", "grant", model, "f", "-r", "participant", "--account", "f"), "NotOwner"),
        (("plan", "set", model, "plan.toml", "--account", "b"), "NotOwner"),
        (("model", "suspend", model, "--account", "b"), "NotOwner"),
        (("model", "accept", model, "--account", "b"), "NotPendingOwner"),
        (("model", "resume", model, "--account", "a"), "NotSuspended"),
    ):
        result = shared_world.run(*command, "--json")
        assert result.exit_code == 5, command
        assert json.loads(result.stderr)["error"] == error


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("model", "show", "zz"), 2, "no model begins with 'zz'"),
        (("model", "show", "0x" + "ab" * 32), 2, "no model"),
        (("verify", "{model}@ffffffff"), 2, "no version begins with"),
        (("verify", "{model}@round-9"), 2, "no version of round-9"),
        (("round", "show", "{model}"), 2, "no rounds yet"),
        (("plan", "show", "{model}", "3"), 5, "UnknownPlan"),
        (("member", "grant", "{model}", "nobody", "-r", "participant", "--account", "a"), 2, "expected an address"),
        (("member", "grant", "{model}", "b", "-r", "boss", "--account", "a"), 2, "expected participant, aggregator"),
        (("model", "transfer", "{model}", "--account", "a"), 2, "expected an account, or --withdraw"),
        (("round", "open", "{model}"), 6, "no account to sign with"),
        (("round", "open", "{model}", "--account", "zz"), 6, "no keystore 'zz'"),
        (("round", "open", "{model}", "--account", "a", "--password-file", "gone"), 6, "readable file"),
        (("round", "open", "{model}", "--account", "a", "--from", "0x" + "11" * 20), 6, "expected the keystore of"),
        (("participant", "submit", "{model}", "--account", "b"), 2, "either --task or --update"),
        (("participant", "submit", "{model}", "--update", "x", "--account", "b"), 2, "--weight"),
        (("participant", "run", "{model}", "--account", "b"), 2, "--task"),
        (("model", "register", "plan.toml", "--account", "a"), 3, "safetensors"),
        (("model", "register", "gone", "--account", "a"), 2, "gone"),
    ],
)
def test_bad_input_is_told_what_was_expected(
    shared_world: Any, arguments: tuple[str, ...], code: int, said: str
) -> None:
    result = shared_world.run(*(text.replace("{model}", shared_world.model) for text in arguments))
    assert (result.exit_code, said in result.stderr) == (code, True), result.output


@pytest.mark.parametrize(
    ("delta", "weight", "code"),
    [
        ({"weight": [[0.5, 0.5]], "bias": [2.0**-21]}, "7", 3),
        ({"weight": [[0.5, -0.0]], "bias": [0.0]}, "7", 3),
        ({"weight": [[0.5, float("nan")]], "bias": [0.0]}, "7", 3),
        ({"weight": [[0.5, 0.5]], "other": [0.0]}, "7", 3),
        ({"weight": [[0.5], [0.5]], "bias": [0.0]}, "7", 3),
        ({"weight": [[0.5, 0.5]], "bias": [0.0]}, "0", 3),
        ({"weight": [[0.5, 0.5]], "bias": [0.0]}, "1048577", 5),
    ],
    ids=["off grid", "minus zero", "nan", "other name", "other shape", "weight 0", "over the cap"],
)
def test_a_bad_update_is_not_committed(open_world: Any, delta: dict[str, Any], weight: str, code: int) -> None:
    arrays = {name: np.array(values, dtype=np.float32) for name, values in delta.items()}
    save_arrays(open_world.folder / "delta.safetensors", arrays)
    update = ("--update", "delta.safetensors", "--weight", weight, "--steps", 3)
    result = open_world.run("participant", "submit", open_world.model, *update, "--account", "b")
    assert result.exit_code == code, result.stderr
    assert open_world.done("round", "show", open_world.model)["commitments"] == []


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("hospital.py", "expected module:function"),
        ("gone.py:task", "no file"),
        ("nowhere.module:task", "no module"),
        ("hospital.py:gone", "no function 'gone'"),
        ("hospital.py:not_a_task", "expected hospital.py:not_a_task to return a trainer.participant.Task, got int"),
    ],
)
def test_a_task_that_is_none_is_told_so(open_world: Any, task: str, said: str) -> None:
    result = open_world.run("participant", "submit", open_world.model, "--task", task, "--account", "b")
    assert (result.exit_code, said in result.stderr) == (2, True), result.output


def test_a_task_that_fails_is_its_own_mistake_and_says_where(open_world: Any) -> None:
    (open_world.folder / "broken.py").write_text("def task():\n    return {}['ward 7']\n")
    (open_world.folder / "unread.py").write_text("def task():\n    pass\n1 / 0\n")
    for task, said in (
        (
            "hospital.py:dear",
            "task: hospital.py:dear raised RuntimeError at hospital.py:24: time was spent on training",
        ),
        ("broken.py:task", "task: broken.py:task raised KeyError at broken.py:2: 'ward 7'"),
        ("unread.py:task", "task: unread.py raised ZeroDivisionError at unread.py:3: division by zero"),
        ("hospital.py:stumbles", "task: train_epoch raised RuntimeError at hospital.py:20: out of memory"),
    ):
        own = ("--account", "b", "--folder", "fails")
        result = open_world.run("participant", "submit", open_world.model, "--task", task, *own)
        assert (result.exit_code, said in result.stderr) == (2, True), result.output


def test_what_the_contract_will_refuse_is_refused_before_training(open_world: Any) -> None:
    task = ("--task", "hospital.py:dear")
    result = open_world.run("participant", "submit", open_world.model, *task, "--account", "f", "--json")
    assert json.loads(result.stderr)["error"] == "MissingRole"


def test_an_account_without_money_is_told_what_it_needs(shared_world: Any) -> None:
    shared_world.done("key", "new", "poor", "--password-file", "poor.pw")
    result = shared_world.run(
        "model", "register", "genesis.safetensors", "--account", "poor", "--password-file", "poor.pw"
    )
    assert result.exit_code == 5
    assert "holds 0 ether and needs" in result.stderr


def test_a_model_is_registered_from_a_file_or_a_module(world: Any) -> None:
    (world.folder / "net.py").write_text(
        "import torch\ndef net():\n    return torch.nn.Linear(2, 1)\ndef no():\n    return 7\n"
    )
    made = world.done("model", "register", "--module", "net.py:net", "--account", "f")
    assert world.done("model", "show", made["model"])["head"] == made["version"]
    for arguments, said in (
        ((), "expected a PATH, --module or both"),
        (("--module", "net.py:no"), "expected net.py:no to return a torch.nn.Module, got int"),
        (("--module", "net.py:absent"), "module: net.py has no function 'absent'"),
    ):
        result = world.run("model", "register", *arguments, "--account", "f")
        assert result.exit_code == 2
        assert said in result.stderr.replace("\n", " ")


def test_a_plan_in_a_file_is_printed_by_the_command_that_the_error_names(world: Any) -> None:
    world.done("plan", "new", "-o", "p.toml")
    refused = world.run("plan", "show", "p.toml")
    assert (refused.exit_code, "got the file p.toml: cairn plan new --from p.toml" in refused.stderr) == (2, True)
    assert world.done("plan", "new", "--from", "p.toml")["plan"]["quorum"] == 1


def test_versions_of_several_widths_are_matched_and_named_in_a_new_lineage(world: Any) -> None:
    rng = np.random.default_rng(1)
    models = []
    for name, width in (("narrow", 3), ("wide", 5)):
        shapes = {"a.weight": (width, 2), "a.bias": (width,), "b.weight": (1, width), "b.bias": (1,)}
        arrays = {tensor: rng.random(shape, dtype=np.float32) for tensor, shape in shapes.items()}
        save_arrays(world.folder / f"{name}.safetensors", arrays)
        models.append(world.done("model", "register", f"{name}.safetensors", "--account", "f"))
    ids = [one["model"] for one in models]
    layers = ("--layer", "a", "--layer", "b")
    made = world.done("model", "match", *ids, *layers, "--weight", 1, "--weight", 2)
    assert (made["widths"], made["versions"]) == ([5, 1], [one["version"] for one in models])
    again = world.done("model", "match", *ids, *layers, "--weight", 1, "--weight", 2, "-o", "again.safetensors")
    assert again["sha256"] == made["sha256"]
    named = ("--statement", made["statement"], "--account", "f")
    lineage = world.done("model", "register", made["file"], *named)
    told = world.done("provenance", "show", lineage["model"])["lineage"][0]["manifest"]["statement"]["sources"]
    assert [one["data_set"] for one in told] == [one["version"] for one in models]
    assert [one["name"].split(", ", 1)[1] for one in told] == [f"weight {n}, matched by layers a, b" for n in (1, 2)]
    recalled = world.done("provenance", "descendants", "--data-set", models[0]["version"])
    assert recalled["stated_by"] == [lineage["version"]]
    for arguments, said in (
        ((*ids, *layers, "--weight", 1), "--weight: expected one for each of 2 versions, got 1"),
        ((ids[0], *layers), "expected 2 or more networks"),
        ((*ids, "--layer", "a", "--layer", "c"), "network 1: expected the tensors ['a.bias'"),
        ((*ids, world.model, *layers), "network 3: expected the tensors"),
    ):
        result = world.run("model", "match", *arguments, "-o", "none.safetensors")
        assert (result.exit_code, said in result.stderr.replace("\n", " ")) == (2, True), result.stderr
    assert not (world.folder / "none.safetensors").exists()


def test_a_model_stands_on_frozen_weights_and_leaves_unshared_tensors_out(world: Any) -> None:
    (world.folder / "two.py").write_text(
        "import torch\ndef net():\n    return torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))\n"
    )
    (world.folder / "base.bin").write_bytes(b"frozen weights")
    base = ("--base", "base.bin", "--base-licence", "MIT", "--base-origin", "https://example.org")
    of_module = ("--module", "two.py:net", "--without", "0.*")
    made = world.done("model", "register", *of_module, *base, "--account", "f")
    store = LocalStore(world.folder / "home" / "store")
    genesis = load_version_manifest(store, bytes.fromhex(made["version"][2:]))
    assert genesis.base is not None
    assert (genesis.base.size, genesis.base.licence, genesis.base.origin) == (14, "MIT", "https://example.org")
    assert b"".join(open_blob(store, Blob(genesis.base.cid, 14))) == b"frozen weights"
    assert [spec.name for spec in read_header(store, genesis.weights.blob).specs] == ["1.bias", "1.weight"]
    world.done("plan", "new", *of_module, "-o", "two.toml")
    fetched = world.folder / "head.safetensors"
    world.done("model", "pull", made["model"], "-o", fetched)
    child = world.done("model", "publish", made["model"], fetched, "--title", "again", "--account", "f")
    assert load_version_manifest(store, bytes.fromhex(child["version"][2:])).base == genesis.base
    for arguments, said in (
        (("genesis.safetensors", "--without", "0.*"), "expected --module with --without"),
        (("genesis.safetensors", "--base", "gone"), "gone"),
        (("genesis.safetensors", "--base-licence", "MIT"), "expected --base with --base-licence or --base-origin"),
        (("--module", "two.py:net", "--without", "2.*"), "expected '2.*' to match a tensor of the module"),
    ):
        result = world.run("model", "register", *arguments, "--account", "f")
        assert result.exit_code == 2
        assert said in result.stderr.replace("\n", " ")
    result = world.run("plan", "new", "--without", "0.*", "-o", "no.toml")
    assert result.exit_code == 2 and "expected --module with --without, got none" in result.stderr
