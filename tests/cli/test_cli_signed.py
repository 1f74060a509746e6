"""Relayed commitments, signed by a participant and sent by another account; and hook data as a flag."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

GOOD: dict[str, Any] = {
    "chain_id": 1,
    "contract": "0x" + "01" * 20,
    "participant": "0x" + "02" * 20,
    "model": "0x" + "03" * 32,
    "number": 1,
    "digest": "0x" + "04" * 32,
    "tensor_root": "0x" + "05" * 32,
    "weight": 10,
    "steps": 5,
    "valid_until": 1,
    "hook_data": [],
    "signature": "0x" + "06" * 65,
}


def signed(world: Any, *options: object) -> Path:
    """Have b sign for the open round."""
    out = world.folder / "commitment.json"
    arguments = ("--task", "hospital.py:task", "--account", "b", "-o", out, *options)
    assert world.done("participant", "sign", world.model, *arguments)["signed"] == str(out)
    return out


def test_a_signed_commitment_is_sent_by_anyone_and_published_by_its_participant(world: Any) -> None:
    world.done("round", "open", world.model, "--account", "a")
    file = signed(world, "--hook-data", "0xabcd")
    assert json.loads(file.read_text())["hook_data"] == ["0xabcd"]
    before = world.done("round", "show", world.model)
    assert before["commitments"] == []
    sent = world.done("participant", "relay", file, "--account", "f")
    assert sent["committed"]
    (entry,) = world.done("round", "show", world.model)["commitments"]
    assert (entry["participant"], entry["digest"]) == (sent["participant"], sent["update"])
    again = world.run("participant", "relay", file, "--account", "e")
    assert again.exit_code == 5
    assert "AlreadyCommitted" in again.stderr
    world.done("participant", "submit", world.model, "--task", "hospital.py:task", "--account", "c")
    world.done("aggregator", "once", world.model, "--account", "d")
    assert world.done("participant", "publish", world.model, "--account", "b")["update"] == sent["update"]


def test_several_signed_commitments_are_sent_in_one_transaction(world: Any) -> None:
    world.done("round", "open", world.model, "--account", "a")
    files = []
    for name in "bc":
        out = world.folder / f"{name}.json"
        world.done("participant", "sign", world.model, "--task", "hospital.py:task", "--account", name, "-o", out)
        files.append(out)
    late = json.loads(files[1].read_text()) | {"valid_until": 1}
    (world.folder / "late.json").write_text(json.dumps(late))
    sent = world.done("participant", "relay", files[0], world.folder / "late.json", "--account", "f")
    (made,), (skipped,) = sent["committed"], sent["skipped"]
    assert skipped["reason"] == "SignatureExpired"
    assert skipped["participant"].lower() == late["participant"] != made["participant"].lower()
    (entry,) = world.done("round", "show", world.model)["commitments"]
    assert (entry["participant"], entry["digest"]) == (made["participant"], made["update"])
    again = world.done("participant", "relay", *files, "--account", "f")
    assert [each["reason"] for each in again["skipped"]] == ["AlreadyCommitted"]
    assert len(world.done("round", "show", world.model)["commitments"]) == 2


def test_commitments_to_other_rounds_are_not_sent_together(open_world: Any) -> None:
    world, file = open_world, signed(open_world)
    other = world.folder / "other.json"
    other.write_text(json.dumps(json.loads(file.read_text()) | {"number": 9}))
    result = world.run("participant", "relay", file, other, "--account", "f")
    assert result.exit_code == 2
    assert "expected a commitment to the same round" in result.stderr


def test_a_signature_counts_for_as_long_as_it_says(open_world: Any) -> None:
    world = open_world
    said = json.loads(signed(world, "--valid-for", "1h").read_text())["valid_until"]
    shown = world.done("round", "show", world.model)
    assert said == pytest.approx(shown["time"] + 3600, abs=60)
    default = json.loads(signed(world).read_text())["valid_until"]
    assert default == shown["deadlines"]["commit_deadline"] - 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hook_data", ["0xabce"]),
        ("weight", 11),
        ("steps", 11),
        ("valid_until", (1 << 64) - 1),
        ("digest", "0x" + "07" * 32),
        ("participant", "0x" + "08" * 20),
    ],
)
def test_a_signed_commitment_that_was_changed_is_refused(open_world: Any, field: str, value: object) -> None:
    world, file = open_world, signed(open_world, "--hook-data", "0xabcd")
    file.write_text(json.dumps(json.loads(file.read_text()) | {field: value}))
    result = world.run("participant", "relay", file, "--account", "f")
    assert result.exit_code == 5
    assert world.done("round", "show", world.model)["commitments"] == []


@pytest.mark.parametrize(("field", "value"), [("chain_id", 5), ("contract", "0x" + "01" * 20)])
def test_a_commitment_signed_for_elsewhere_is_told_apart(open_world: Any, field: str, value: object) -> None:
    world, file = open_world, signed(open_world)
    file.write_text(json.dumps(json.loads(file.read_text()) | {field: value}))
    result = world.run("participant", "relay", file, "--account", "f")
    assert result.exit_code == 5
    assert "signed for chain" in result.stderr


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[]",
        "[" * 100_000,
        json.dumps({**GOOD, "extra": 1}),
        json.dumps({name: value for name, value in GOOD.items() if name != "weight"}),
        json.dumps({**GOOD, "weight": 0}),
        json.dumps({**GOOD, "weight": (1 << 28) + 1}),
        json.dumps({**GOOD, "steps": 1 << 32}),
        json.dumps({**GOOD, "valid_until": 1 << 64}),
        json.dumps({**GOOD, "hook_data": "0x"}),
        json.dumps({**GOOD, "hook_data": [["0x"]]}),
        json.dumps({**GOOD, "number": True}),
        json.dumps({**GOOD, "digest": "0x" + "04" * 31}),
        json.dumps({**GOOD, "participant": "02" * 20}),
        json.dumps({**GOOD, "signature": "0xzz"}),
        json.dumps({**GOOD, "signature": None}),
        " " * ((1 << 20) + 1),
    ],
)
def test_what_is_no_signed_commitment_is_refused(shared_world: Any, text: str) -> None:
    world, file = shared_world, shared_world.folder / "bad.json"
    file.write_text(text)
    result = world.run("participant", "relay", file, "--account", "f")
    assert result.exit_code == 3, result.output
    assert "expected" in result.stderr
    assert "Traceback" not in result.stderr


def test_hook_data_that_is_no_hex_is_refused_before_training(open_world: Any) -> None:
    world = open_world
    (world.folder / "proof").write_text("0xnothex")
    for given, code in (("0xnothex", 2), (world.folder / "proof", 2), (world.folder / "absent", 2)):
        result = world.run(
            "participant", "submit", world.model, "--task", "hospital.py:dear", "--hook-data", given, "--account", "b"
        )
        assert result.exit_code == code
        assert "expected" in result.stderr
        assert "time was spent" not in result.stderr
