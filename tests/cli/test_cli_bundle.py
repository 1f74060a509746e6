"""Bundles and inclusion proofs by command: made from a chain and a folder store, verified with the network off."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_cli_questions import finish_round

ROOT = Path(__file__).resolve().parents[2]


def play_round(world: Any) -> None:
    """One round of b and c, finalized."""
    model, done = world.model, world.done
    done("round", "open", model, "--account", "a")
    for name in "bc":
        done("participant", "submit", model, "--task", "hospital.py:task", "--account", name)
    finish_round(world)


@pytest.fixture(scope="module")
def played(shared_world: Any) -> Any:
    """A model with a finalized round."""
    play_round(shared_world)
    return shared_world


def refused(world: Any, code: int, said: str, *arguments: object) -> None:
    result = world.run(*arguments)
    assert result.exit_code == code, result.output
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def offline(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `cairn` where there is no network, not even this machine's own, and no torch."""
    script = "import sys; sys.modules['torch'] = None; from trainer.cli import main; sys.exit(main())"
    command = ["unshare", "-rn", sys.executable, "-c", script, *arguments]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(folder), "CAIRN_HOME": str(folder)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def no_network() -> None:
    """Skip where the system gives nobody a network of their own."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rn", "true"], check=False).returncode:
        pytest.skip("unshare -rn is not allowed here")


@pytest.mark.slow
@pytest.mark.usefixtures("no_network")
def test_bundles_verify_where_there_is_no_network(played: Any) -> None:
    for name, options in (("slim", ()), ("whole", ("--with-blobs",))):
        made = played.done("bundle", "create", played.model, "-o", f"{name}.car", *options)
        assert made["size"] == (played.folder / f"{name}.car").stat().st_size
        trust = [flag for point in made["trust"] for flag in ("--trust", point["hash"])]
        ran = offline("bundle", "verify", f"{name}.car", *trust, "--json", folder=played.folder)
        assert ran.returncode == 0, ran.stderr
        told = json.loads(ran.stdout)
        assert (told["passed"], told["recomputed"], told["version"]) == (True, name == "whole", made["version"])
        assert {event["proved_by"]["hash"] for event in told["events"]} <= {p["hash"] for p in made["trust"]}
        shown = played.run("bundle", "verify", f"{name}.car", *trust)
        assert (shown.exit_code, "UpdateCommitted" in shown.stdout) == (0, True)
        (point,) = made["trust"]
        assert f"are proved {made['events']} by trusted block {point['block']} {point['hash']}." in shown.stdout
        quiet = played.run("bundle", "verify", f"{name}.car", *trust, "-q", "--contract", told["contract"])
        assert len(quiet.stdout.splitlines()) < len(shown.stdout.splitlines())


@pytest.mark.slow
def test_a_bundle_that_is_not_proved_or_not_one_says_so_in_a_line(played: Any) -> None:
    made = played.done("bundle", "create", played.model, "-o", "one.car", "--max-gap", 1)
    trust = [point["hash"] for point in made["trust"]]
    assert len(trust) > 1
    refused(played, 2, "expected a block hash of 64 hex digits", "bundle", "verify", "one.car", "--trust", "latest")
    refused(
        played, 7, "none: this bundle is anchored in block", "bundle", "verify", "one.car", "--trust", "0x" + "00" * 32
    )
    refused(played, 4, "not verified: ", "bundle", "verify", "one.car", "-q", "--trust", trust[0])
    refused(played, 3, "CAR: expected", "bundle", "verify", "hospital.py", "--trust", trust[0])
    refused(played, 2, "expected a file, got standard input", "bundle", "verify", "-", "--trust", trust[0])
    refused(played, 2, "found nothing there", "bundle", "verify", "nothing.car", "--trust", trust[0])
    other = ("--trust", trust[-1], "--contract", "0x" + "44" * 20)
    refused(played, 7, f"expected contract 0x{'44' * 20}, got", "bundle", "verify", "one.car", "-q", *other)
    assert played.run("bundle", "verify", "one.car").exit_code == 2  # there is no default for whom to trust
    data = bytearray((played.folder / "one.car").read_bytes())
    data[len(data) // 2] ^= 1
    (played.folder / "changed.car").write_bytes(data)
    refused(played, 3, "expected sha2-256", "bundle", "verify", "changed.car", "--trust", trust[0])


@pytest.mark.slow
def test_a_bundle_that_cannot_be_made_leaves_no_file(played: Any) -> None:
    refused(played, 2, "version", "bundle", "create", f"{played.model}@round-9", "-o", "none.car")
    empty = played.folder / "empty"
    refused(played, 4, "", "bundle", "create", played.model, "-o", "none.car", "--store", empty)
    assert not list(played.folder.glob("*none.car*"))


@pytest.mark.slow
@pytest.mark.usefixtures("no_network")
def test_inclusion_proofs_of_one_who_is_in_and_one_who_is_not(played: Any) -> None:
    for name, inside in (("b", True), ("f", False)):
        made = played.done("inclusion", "create", played.model, name, "-o", f"{name}.inclusion")
        assert made["included"] is inside
        told = played.done("inclusion", "verify", f"{name}.inclusion", "--rpc")
        assert (told["passed"], told["included"], told["version"]) == (True, inside, made["version"])
        flags = ("--trust", made["trust"]["hash"])
        ran = offline("inclusion", "verify", f"{name}.inclusion", *flags, "--json", folder=played.folder)
        assert ran.returncode == 0, ran.stderr
        assert [check["finding"] for check in json.loads(ran.stdout)["checks"]] == ["passed", "passed"]
        refused(played, 4, "if that is trusted", "inclusion", "verify", f"{name}.inclusion", "--json")
        refused(
            played,
            7,
            "expected trusted hash",
            "inclusion",
            "verify",
            f"{name}.inclusion",
            "--trust",
            "11" * 32,
            "--json",
        )


@pytest.mark.slow
def test_what_is_no_inclusion_proof_is_refused(played: Any) -> None:
    refused(played, 3, "manifest: ", "inclusion", "verify", "hospital.py", "--trust", "11" * 32)
    (played.folder / "large").write_bytes(bytes(2 << 20))
    refused(played, 3, "expected an inclusion proof of at most", "inclusion", "verify", "large", "--trust", "11" * 32)
    refused(played, 2, "found nothing there", "inclusion", "verify", "nothing", "--trust", "11" * 32)
    refused(played, 2, "", "inclusion", "create", f"{played.model}@genesis", "b", "-o", "none.inclusion")
    assert not (played.folder / "none.inclusion").exists()
