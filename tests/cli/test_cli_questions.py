"""Provenance by command: identify a file, show a lineage, find descendants, compare versions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registry.dev.embedded import warp
from registry.rounds.versions import save_arrays


def play_round(world: Any) -> None:
    """One round, by ready-made updates."""
    model, done = world.model, world.done
    number = done("round", "open", model, "--account", "a")["round"]
    for name, value in (("b", 0.25), ("c", 0.5)):
        delta = {"weight": np.full((1, 2), value * number, dtype=np.float32), "bias": np.zeros(1, dtype=np.float32)}
        save_arrays(world.folder / f"{name}.safetensors", delta)
        done("participant", "submit", model, "--update", f"{name}.safetensors", "--weight", 10,
             "--steps", 3, "--data-set", name, "--account", name)  # fmt: skip
    finish_round(world)


def finish_round(world: Any) -> None:
    """From the updates of b and c, committed, to the new head."""
    model, done = world.model, world.done
    done("aggregator", "once", model, "--account", "d")
    for name in "bc":
        done("participant", "publish", model, "--account", name)
    for name in "de":
        done("aggregator", "once", model, "--account", name)
    warp(world.chain.w3, seconds=3601)
    done("round", "finalize", model, "--account", "f")


@pytest.fixture(scope="module")
def asked(shared_world: Any) -> Iterator[Any]:
    """A model with two rounds, and one whose genesis descends from its head."""
    play_round(shared_world)
    play_round(shared_world)
    shared_world.done("model", "pull", f"{shared_world.model}@head", "-o", "two.safetensors")
    return shared_world


def test_a_file_is_found_named_and_verified(asked: Any) -> None:
    verified = asked.done("verify", "two.safetensors")
    assert verified["passed"]
    assert [v["round"] for v in verified["versions"]] == [None, 1, 2]
    (place,) = verified["file"]["versions"]
    assert (place["model_id"], place["number"], place["digest"]) == (asked.model, 2, verified["version"])
    cid = verified["file"]["name"]["cid"]
    assert asked.done("verify", cid)["version"] == verified["version"]
    said = asked.run("verify", "two.safetensors").stdout
    assert f"two.safetensors is version {verified['version'][2:12]} of model {asked.model[2:12]}: round 2" in said


def test_what_was_verified_is_not_done_again_unless_asked(asked: Any) -> None:
    asked.done("verify", asked.model)
    assert [v["before"] for v in asked.done("verify", asked.model)["versions"]] == [True] * 3
    assert "verified before" in asked.run("verify", asked.model).stdout
    again = asked.done("verify", asked.model, "--again", "--deep")
    assert [v["before"] for v in again["versions"]] == [False] * 3
    names = {check["name"] for check in again["versions"][-1]["checks"]}
    assert {"eligibility", "completeness", "receipts", "aggregate file"} <= names
    assert [v["before"] for v in asked.done("verify", asked.model, "--deep")["versions"]] == [True] * 3


def test_a_file_that_is_nobody_s_is_exit_code_8(asked: Any) -> None:
    data = (asked.folder / "two.safetensors").read_bytes()
    (asked.folder / "other.safetensors").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    result = asked.run("verify", "other.safetensors")
    assert result.exit_code == 8
    assert "no version of any model is bafkrei" in result.stderr
    assert asked.run("verify", "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy").exit_code == 8


def test_a_lineage_is_shown_as_tree_as_json_and_drawn(asked: Any) -> None:
    shown = asked.done("provenance", "show", asked.model, "--svg", "lineage.svg")
    assert [entry["round"] for entry in shown["lineage"]] == [2, 1, None]
    newest = shown["lineage"][0]
    assert (newest["head"], newest["model"], newest["parents"]) == (True, asked.model, [shown["lineage"][1]["version"]])
    assert [(c["reason"], c["share"]) for c in newest["commitments"]] == [("admitted", 0.5)] * 2
    assert newest["plan_manifest"]["algorithm"]["name"] == "fedavg"
    assert len(newest["attesters"]) == 2
    assert (shown["descendants"], shown["unknown_parents"], shown["unread"]) == ([], [], 0)
    older = asked.done("provenance", "show", f"{asked.model}@genesis")
    assert [entry["round"] for entry in older["descendants"]] == [1, 2]
    drawn = (asked.folder / "lineage.svg").read_text()
    assert drawn.startswith("<svg")
    text = asked.run("provenance", "show", asked.model).stdout
    for said in (
        f"◆ model {asked.model[2:]}",
        "● round 2  version",
        "head",
        "2 admitted, 0 refused",
        "50.0 %",
        "genesis",
    ):
        assert said in text


def test_what_a_participant_did_and_where_it_went_is_shown(asked: Any) -> None:
    found = asked.done("provenance", "participant", asked.model, "b")
    assert [(use["commitment"]["number"], use["reason"]) for use in found["uses"]] == [(1, "admitted"), (2, "admitted")]
    assert [entry["round"] for entry in found["versions"]] == [1, 2]
    assert asked.done("provenance", "participant", asked.model, "f")["uses"] == []
    text = asked.run("provenance", "participant", asked.model, "b").stdout
    assert "50.0%" in text
    assert "No commitments." in asked.run("provenance", "participant", asked.model, "f").output


def test_what_descends_from_data_is_shown(asked: Any) -> None:
    first = asked.done("provenance", "show", f"{asked.model}@round-1")["lineage"][0]["commitments"][0]
    by_update = asked.done("provenance", "descendants", "--update", first["digest"])
    assert [use["commitment"]["number"] for use in by_update["uses"]] == [1]
    assert [entry["round"] for entry in by_update["versions"]] == [1, 2]
    named = first["update"]["data_set"]
    by_data = asked.done("provenance", "descendants", "--data-set", named)
    assert {use["commitment"]["participant"] for use in by_data["uses"]} == {first["participant"]}
    assert [use["commitment"]["number"] for use in by_data["uses"]] == [1, 2]
    assert asked.done("provenance", "descendants", "--data-set", "0x" + "07" * 32)["versions"] == []


def test_what_changed_between_versions_is_shown(asked: Any) -> None:
    changed = asked.done("provenance", "diff", f"{asked.model}@round-1", f"{asked.model}@round-2")
    tensors = {change["name"]: change for change in changed["tensors"]}
    assert (tensors["bias"]["what"], tensors["weight"]["what"], tensors["weight"]["values"]) == ("equal", "changed", 2)
    assert tensors["weight"]["norm"] == pytest.approx(0.75 * 2**0.5)
    assert [(c["rounds"], c["share"]) for c in changed["contributors"]] == [(1, 0.5)] * 2
    assert "weight" in asked.run("provenance", "diff", f"{asked.model}@round-1", asked.model).stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("descendants",), "expected one of --data-set and --update"),
        (("descendants", "--update", "07", "--data-set", "07"), "expected one of"),
        (("descendants", "--update", "f00d"), "no update begins with 'f00d': there are "),
        (("descendants", "--data-set", "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"), "expected the"),
        (("descendants", "--data-set", "bafy!"), "expected"),
        (("show", "{model}@round-9"), "no version of round-9"),
        (("diff", "{model}@round-9", "{model}"), "no version of round-9"),
    ],
)
def test_questions_about_what_is_none_are_bad_input(asked: Any, arguments: tuple[str, ...], said: str) -> None:
    result = asked.run("provenance", *(text.format(model=asked.model) for text in arguments))
    assert result.exit_code in (2, 3)
    assert said in result.stderr


def test_while_another_process_writes_the_index_questions_are_answered_from_it(asked: Any) -> None:
    from registry.index.database import Index, read_index
    from registry.index.queries import following

    asked.done("provenance", "show", asked.model)
    path: Path = next((asked.folder / "home" / "index").rglob("*.sqlite"))
    with read_index(path) as db:
        known = following(db)
    assert known is not None
    with Index(path, known):
        result = asked.run("provenance", "show", asked.model)
    assert result.exit_code == 0
    assert "Another process syncs the index" in result.stderr
