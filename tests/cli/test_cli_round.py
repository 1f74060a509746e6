"""A model's life by commands alone, on an embedded chain and a folder store: deploy, register, grant, plan, rounds,
verify, provenance, pull."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from registry.content.manifest import UpdateManifest, decode
from registry.dev.embedded import warp
from registry.rounds.versions import save_arrays


def play_round(world: Any) -> None:
    """One round, from opening to finalizing."""
    model, done = world.model, world.done
    done("round", "open", model, "--account", "a")
    for name in "bc":
        done("participant", "submit", model, "--task", "hospital.py:task", "--account", name)
    done("aggregator", "once", model, "--account", "d")
    for name in "bc":
        assert done("participant", "publish", model, "--account", name)["published"]
    for name in "de":
        assert "attested 2 contributions" in done("aggregator", "once", model, "--account", name)["did"][-1]
    warp(world.chain.w3, seconds=3601)
    done("round", "finalize", model, "--account", "f")


@pytest.mark.slow
def test_two_rounds_by_commands_alone_verify_and_show_their_provenance(world: Any) -> None:
    model, done = world.model, world.done
    play_round(world)
    play_round(world)

    verified = done("verify", model[:10])
    assert verified["passed"]
    assert [entry["round"] for entry in verified["versions"]] == [None, 1, 2]
    lineage = done("provenance", "show", f"{model}@head")["lineage"]
    assert [entry["round"] for entry in lineage] == [2, 1, None]
    assert [c["reason"] for c in lineage[0]["commitments"]] == ["admitted", "admitted"]
    assert lineage[2]["manifest"]["statement"]["sources"][0]["name"] == "x"
    pulled = done("model", "pull", f"{model}@round-2", "-o", "two.safetensors")
    assert pulled["version"] == lineage[0]["version"]
    assert done("cid", "--tensors", "two.safetensors")[0]["sha256"] == pulled["sha256"]
    shown = done("model", "show", model)
    assert (shown["title"], shown["rounds"], shown["head"]) == ("Two to one", 2, lineage[0]["version"])
    rounds = done("round", "list", model)
    assert [(r["finalized"], r["contributions"], r["total_weight"]) for r in rounds] == [(True, 2, 20)] * 2
    audited = done("auditor", "audit", model, 1)
    assert (audited["passed"], audited["results"]) == (True, 1)
    assert done("model", "list")[0]["model"] == model
    for command in (("verify", model), ("provenance", "show", model), ("round", "show", model), ("model", "list"),
                    ("model", "show", model), ("round", "list", model), ("round", "watch", model)):  # fmt: skip
        result = world.run(*command)
        assert result.exit_code == 0, result.output
        assert result.stdout.strip()


@pytest.mark.slow
def test_a_changed_block_fails_verification_with_exit_code_7(world: Any) -> None:
    play_round(world)
    aggregate = world.done("provenance", "show", world.model)["lineage"][0]["report"]["aggregate"]["cid"]
    digest = world.done("store", "stat", aggregate)["sha256"]
    block = world.folder / "home" / "store" / "blocks" / digest[:2] / digest
    head = world.done("model", "show", world.model)["head"][2:]
    version = world.folder / "home" / "store" / "blocks" / head[:2] / head
    version.write_bytes(version.read_bytes()[:-1] + b"\x00")
    assert block.exists()
    result = world.run("verify", world.model)
    assert result.exit_code == 7
    assert "BlockMismatch" in result.stderr


def test_a_ready_made_update_is_committed(world: Any) -> None:
    world.done("round", "open", world.model, "--account", "a")
    delta = {"weight": np.full((1, 2), 0.5, dtype=np.float32), "bias": np.zeros(1, dtype=np.float32)}
    save_arrays(world.folder / "delta.safetensors", delta)
    made = world.done("participant", "submit", world.model, "--update", "delta.safetensors", "--weight", 7,
                      "--steps", 3, "--data-set", "ward 7", "--account", "b")  # fmt: skip
    committed = world.done("round", "show", world.model)["commitments"]
    assert [(c["digest"], c["weight"]) for c in committed] == [(made["update"], 7)]
    again = world.done("participant", "submit", world.model, "--update", "delta.safetensors", "--weight", 7,
                       "--steps", 3, "--data-set", "ward 7", "--account", "b")  # fmt: skip
    assert again["update"] == made["update"]
    assert len(world.done("round", "show", world.model)["commitments"]) == 1


def test_wrong_phase_and_second_commitments_are_told_so(world: Any) -> None:
    model = world.model
    result = world.run("participant", "submit", model, "--task", "hospital.py:task", "--account", "b")
    assert (result.exit_code, "no rounds yet" in result.stderr) == (2, True)
    world.done("round", "open", model, "--account", "a")
    result = world.run("round", "open", model, "--account", "a", "--json")
    assert json.loads(result.stderr)["error"] == "RoundNotEnded"
    result = world.run("round", "finalize", model, "--account", "a")
    assert (result.exit_code, "no result" in result.stderr) == (2, True)
    result = world.run("participant", "publish", model, "--account", "b", "--no-wait")
    assert (result.exit_code, "submit" in result.stderr) == (2, True)
    world.done("participant", "submit", model, "--task", "hospital.py:task", "--account", "b")
    result = world.run("participant", "publish", model, "--account", "b", "--no-wait")
    assert (result.exit_code, "could be copied" in result.stderr) == (2, True)
    result = world.run("participant", "submit", model, "--task", "hospital.py:task", "--account", "f", "--json")
    assert json.loads(result.stderr)["error"] == "MissingRole"


def test_a_data_set_is_opened_to_whom_the_participant_gives_it(world: Any) -> None:
    model, done = world.model, world.done
    done("round", "open", model, "--account", "a")
    for name in ("b", "c"):
        done("participant", "submit", model, "--task", "hospital.py:task", "--account", name)
        done("participant", "data-set", model, "--account", name, "-o", f"{name}.opening")
    told = [done("provenance", "data-set", f"{name}.opening") for name in ("b", "c")]
    assert [one["name"] for one in told] == ["ward 7", "ward 7"]
    assert told[0]["digest"] != told[1]["digest"]  # nobody sees that they trained on the same
    sealed = (world.folder / "home" / "participants").glob("*/round-*/update.cbor")
    named = {decode(file.read_bytes(), UpdateManifest).data_set for file in sealed}
    assert {"0x" + digest.hex() for digest in named} == {one["digest"] for one in told}
    (world.folder / "cut").write_bytes((world.folder / "b.opening").read_bytes()[:-1])
    (world.folder / "long").write_bytes(bytes(2 << 20))
    for file, code in (("cut", 3), ("long", 2), ("gone", 2)):
        assert world.run("provenance", "data-set", file).exit_code == code
    assert world.run("participant", "data-set", model, "--account", "a", "-o", "none").exit_code == 2


def test_a_described_data_set_stands_behind_the_digest_of_an_update(world: Any) -> None:
    model, done, folder = world.model, world.done, world.folder
    (folder / "ward.jsonl").write_text("".join(f'{{"x": {i}, "kind": "hunter{i % 2}"}}\n' for i in range(50)))
    said = ("--label", "kind", "--cleaning", "no twins", "--name", "ward 7", "--licence", "private")
    described = world.run("dataset", "describe", "ward.jsonl", *said, "-o", "ward.dataset").stdout
    assert "records: 10 to 99" in described and "hunter" not in described
    save_arrays(folder / "u.safetensors", {"weight": np.ones((1, 2), np.float32), "bias": np.zeros(1, np.float32)})
    done("round", "open", model, "--account", "a")
    submit = ("participant", "submit", model, "--update", "u.safetensors", "--weight", 50, "--steps", 2)
    assert world.run(*submit, "--data-set", "@gone", "--account", "b").exit_code == 2
    assert world.run(*submit, "--data-set", "@ward.jsonl", "--account", "b").exit_code == 3
    done(*submit, "--data-set", "@ward.dataset", "--account", "b")
    done("participant", "data-set", model, "--account", "b", "-o", "b.opening")
    told = done("provenance", "data-set", "b.opening")
    assert (told["name"], told["licence"], told["records"], told["sha256"]) == ("ward 7", "private", 10, None)
    assert [line for line in told["description"].splitlines() if line in described] == [
        "records: 10 to 99",
        "columns: 1 to 9",
        "missing: none",
        "incomplete: none",
        "duplicates: none",
        "unlabelled: none",
        "classes: 1 to 9",
        "largest class: 50 to 80 %",
        "smallest class: 50 to 80 %",
        "cleaning: no twins",
    ]
    assert world.run("dataset", "describe", "ward.parquet", "--json").exit_code == 2


def test_a_dry_run_sends_and_stores_nothing(world: Any) -> None:
    model, done = world.model, world.done
    before = world.chain.w3.eth.block_number
    pins = done("store", "pins")
    (world.folder / "password").write_text("another")  # nothing is unlocked for a dry run
    for command in (
        ("contracts", "deploy"),
        ("model", "register", "genesis.safetensors", "--title", "another"),
        ("model", "publish", model, "genesis.safetensors", "--title", "another"),
        ("model", "deprecate", f"{model}@genesis", "--reason", "no"),
        ("model", "transfer", model, "b"),
        ("model", "suspend", model),
        ("member", "revoke", model, "b", "-r", "participant"),
        ("plan", "set", model, "plan.toml"),
        ("round", "open", model),
    ):
        result = world.run(*command, "--account", "a", "--dry-run", "--json")
        if command[1] == "deprecate":  # the head wants a replacement: a dry run says what the real one would
            assert json.loads(result.stderr)["error"] == "UnsoundReplacement"
            continue
        assert result.exit_code == 0, result.output
        if command[1] == "deploy":  # it is there, as its record says
            assert json.loads(result.stdout)["would"] == "send nothing: they are deployed already"
            continue
        assert json.loads(result.stdout)["gas"] > 21_000
    assert world.chain.w3.eth.block_number == before
    assert done("store", "pins") == pins


def test_a_model_changes_hands_in_two_steps(world: Any) -> None:
    model, done = world.model, world.done
    done("model", "transfer", model, "f", "--account", "a")
    assert done("model", "show", model)["offered_to"] is not None
    done("model", "transfer", model, "--withdraw", "--account", "a")
    assert done("model", "show", model)["offered_to"] is None
    done("model", "transfer", model, "f", "--account", "a")
    done("model", "accept", model, "--account", "f")
    assert done("model", "list", "--owner", "f")[0]["model"] == model
    assert done("model", "list", "--owner", "a") == []


def test_a_deprecated_head_is_replaced_and_pulled_with_a_warning(world: Any) -> None:
    model, done = world.model, world.done
    weights = {"weight": np.ones((1, 2), dtype=np.float32), "bias": np.zeros(1, dtype=np.float32)}
    save_arrays(world.folder / "fixed.safetensors", weights)
    fixed = done("model", "publish", model, "fixed.safetensors", "--account", "a")["version"]
    done("model", "deprecate", f"{model}@{fixed[:10]}", "--reason", "no", "--replacement", "genesis", "--account", "a")
    assert done("model", "show", model)["head"] != fixed
    result = world.run("model", "pull", f"{model}@{fixed[:10]}", "-o", "old.safetensors")
    assert (result.exit_code, "deprecated" in result.stderr) == (0, True)


def test_a_cancelled_round_keeps_its_number(world: Any) -> None:
    model, done = world.model, world.done
    done("round", "open", model, "--account", "a")
    done("round", "cancel", model, "--account", "a")
    assert done("round", "open", model, "--account", "a")["round"] == 2
    assert [r["phase"] for r in done("round", "list", model)] == ["cancelled", "commit"]


def test_members_are_listed_by_role_and_go_when_revoked(world: Any) -> None:
    model, done = world.model, world.done
    members = {entry["keystore"]: entry for entry in done("member", "list", model)}
    assert {name: entry["roles"] for name, entry in members.items()} == {
        "b": ["participant"], "c": ["participant"], "d": ["aggregator"], "e": ["aggregator"]
    }  # fmt: skip
    done("member", "revoke", model, members["b"]["account"][:8], "-r", "participant", "--account", "a")
    assert "b" not in {entry["keystore"] for entry in done("member", "list", model)}
    assert "b" in {entry["keystore"] for entry in done("member", "list", model, "--all")}
