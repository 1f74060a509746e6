"""What a new user tries in the first hour: dry runs, another task, private tensors, late commands, files and flags."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registry.chain.contract_errors import BadTerm
from registry.chain.contract_hashes import round_id_of
from registry.cli.explained import explained
from registry.cli.session import Session
from registry.dev.embedded import warp
from registry.rounds.versions import save_arrays
from registry.types import ModelId
from trainer.participant import Elsewhere

TASKS = """
import torch
from torch import nn
from registry.content.manifest import DataSetManifest
from trainer.participant import Task

def made(examples, change, private=(), module=None, head=0.0, reset=False):
    def epoch(model, number):
        with torch.no_grad():
            for name, value in model.named_parameters():
                value += head if name.startswith("head") else change
        return {}
    module = module or nn.Linear(2, 1)
    data = DataSetManifest("ward", "", "", "", 10, None)
    return Task(module, epoch, examples, data, private=private, reset_private=reset)

class Personal(nn.Linear):
    def __init__(self):
        super().__init__(2, 1)
        self.head = nn.Linear(1, 1)

def personal(**changed):
    return made(10, 0.25, ("head.*",), Personal(), **{"head": 1.0, **changed})

def west():
    return made(90, 0.25)

def south():
    return made(150, 0.5)

def none():
    return made(0, 0.5)

def idle():
    return made(10, 0.0)

def fine():
    return made(10, 2.0 ** -23)

def own():
    return personal()

def diverged():
    return personal(head=float("nan"))

def anew():
    return personal(reset=True)
"""


@pytest.fixture
def opened(world: Any) -> Any:
    """A world with an open round, and tasks of several kinds."""
    (world.folder / "a.py").write_text(TASKS)
    world.done("round", "open", world.model, "--account", "a")
    return world


def submit(world: Any, task: str, *more: object, account: str = "b") -> Any:
    return world.run("participant", "submit", world.model, "--task", f"a.py:{task}", "--account", account, *more)


def kept_files(world: Any) -> list[Path]:
    return sorted(path for path in (world.folder / "home" / "participants").rglob("*") if path.is_file())


def place(folder: Path, world: Any, number: int) -> Path:
    return folder / f"round-{round_id_of(ModelId(bytes.fromhex(world.model[2:])), number).hex()}"


def next_round(world: Any) -> None:
    world.done("round", "cancel", world.model, "--account", "a")
    world.done("round", "open", world.model, "--account", "a")


# Updates that are kept -----------------------------------------------------------------------------------------------


def test_a_dry_run_leaves_nothing_that_a_later_submit_takes_up(opened: Any) -> None:
    result = submit(opened, "west", "--dry-run")
    assert result.exit_code == 0, result.output
    assert kept_files(opened) == []
    none = submit(opened, "none")
    assert none.exit_code == 2 and "examples: expected 1.." in none.stderr, none.output
    assert re.search(r"weight +150\n", submit(opened, "south").stdout)
    (seen,) = opened.done("round", "show", opened.model)["commitments"]
    assert seen["weight"] == 150


def test_a_dry_run_of_a_ready_update_leaves_nothing_either(opened: Any) -> None:
    zeros = {"weight": np.zeros((1, 2), np.float32), "bias": np.zeros(1, np.float32)}
    save_arrays(opened.folder / "delta.safetensors", zeros)
    ready = ("--update", "delta.safetensors", "--weight", "3", "--steps", "1", "--account", "b")
    result = opened.run("participant", "submit", opened.model, *ready, "--dry-run")
    assert result.exit_code == 0 and "delta.safetensors: all zeros: it changes nothing" in result.stderr, result.output
    assert kept_files(opened) == []


def test_an_update_that_another_task_made_is_computed_anew_before_it_is_sent(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("trainer.updates.commit_update", lambda *args, **kwargs: 1 / 0)
        assert submit(opened, "west").exit_code != 0
    kept = next(path for path in kept_files(opened) if path.name == "update.cbor").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("trainer.updates.commit_update", lambda *args, **kwargs: 1 / 0)
        assert submit(opened, "west").exit_code != 0
    again = next(path for path in kept_files(opened) if path.name == "update.cbor")
    assert again.read_bytes() == kept
    (opened.folder / "a.py").write_text(TASKS.replace("made(90, 0.25)", "made(90, 0.75)"))
    result = submit(opened, "west")
    assert result.exit_code == 0, result.output
    assert again.read_bytes() != kept and "using" not in result.stderr


def test_a_task_after_the_commitment_is_told_that_it_is_ignored(opened: Any) -> None:
    assert submit(opened, "west").exit_code == 0
    result = submit(opened, "south")
    assert result.exit_code == 0, result.output
    made = r"using the update made at 20[\d: -]+ UTC by --task a\.py:west, whose commitment was sent or signed; --task "
    assert re.search(made + "ignored", result.stderr), result.stderr
    assert re.search(r"weight +90\n", result.stdout)
    again = submit(opened, "west")
    assert again.exit_code == 0 and "ignored" not in again.stderr


def test_an_update_that_was_signed_is_not_replaced(opened: Any) -> None:
    sign = ("participant", "sign", opened.model, "--account", "b", "-o", "signed.json", "--task")
    opened.done(*sign, "a.py:west")
    assert "whose commitment was sent or signed; --task ignored" in submit(opened, "south").stderr


def test_a_ready_update_replaces_a_task_s_until_it_is_sent(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    some = {"weight": np.ones((1, 2), np.float32), "bias": np.zeros(1, np.float32)}
    save_arrays(opened.folder / "delta.safetensors", some)
    ready = ("participant", "submit", opened.model, "--update", "delta.safetensors", "--steps", "1", "--account", "b")
    with monkeypatch.context() as patch:
        patch.setattr("trainer.updates.commit_update", lambda *args, **kwargs: 1 / 0)
        assert submit(opened, "west").exit_code != 0
    assert opened.done(*ready, "--weight", "3")["weight"] == 3
    result = opened.run(*ready, "--weight", "4")
    assert result.exit_code == 2 and "holds another update for this round: the update made at" in result.stderr


@pytest.mark.parametrize(("task", "why"), [("idle", "training changed nothing"), ("fine", "no change survives the")])
def test_an_update_of_zeros_is_warned_of(opened: Any, task: str, why: str) -> None:
    for more in (("--dry-run",), ()):
        result = submit(opened, task, *more)
        assert result.exit_code == 0 and why in result.stderr and "the update is all zeros" in result.stderr


# Private tensors -----------------------------------------------------------------------------------------------------


def private_head(world: Any, number: int) -> bytes:
    (folder,) = (world.folder / "home" / "participants").iterdir()
    return (place(folder, world, number) / "private.safetensors").read_bytes()


def test_a_round_of_a_ready_update_does_not_lose_the_private_tensors(opened: Any) -> None:
    assert submit(opened, "own").exit_code == 0
    next_round(opened)
    some = {"weight": np.ones((1, 2), np.float32), "bias": np.zeros(1, np.float32)}
    save_arrays(opened.folder / "delta.safetensors", some)
    ready = ("--update", "delta.safetensors", "--weight", "3", "--steps", "1", "--account", "b")
    opened.done("participant", "submit", opened.model, *ready)
    next_round(opened)
    result = submit(opened, "own")
    assert result.exit_code == 0, result.output
    first, third = (np.frombuffer(private_head(opened, number)[-8:], np.float32) for number in (1, 3))
    assert np.allclose(third, first + 1)


def test_private_tensors_that_another_folder_has_are_asked_for(opened: Any) -> None:
    assert submit(opened, "own").exit_code == 0
    next_round(opened)
    result = submit(opened, "own", "--folder", "elsewhere")
    assert result.exit_code == 2
    said = (
        r"private tensors of round 1 are lost or elsewhere: this account committed an update to it, and elsewhere has"
    )
    assert re.search(said + r" none: use the --folder that has it, .* reset_private=True in the task", result.stderr)
    assert submit(opened, "anew", "--folder", "elsewhere").exit_code == 0


def test_private_tensors_that_diverged_are_refused(opened: Any) -> None:
    result = submit(opened, "diverged")
    assert result.exit_code == 2, result.output
    assert "private head.weight: expected finite numbers after training, got NaN or infinity" in result.stderr
    assert not [path for path in kept_files(opened) if path.name in ("private.safetensors", "update.cbor")]


# Late and elsewhere --------------------------------------------------------------------------------------------------


def closed(world: Any) -> None:
    for name in "bc":
        assert submit(world, "west", account=name).exit_code == 0
    world.done("round", "end-commits", world.model, "--account", "a")


def test_publishing_after_the_deadline_is_said_to_be_late_then_too_late(opened: Any) -> None:
    terms = ("--quorum", 2, "--grid", 20, "--min-contributions", 1)
    opened.done("plan", "new", *terms, "-o", "one.toml")
    opened.done("plan", "set", opened.model, "one.toml", "--account", "a")
    next_round(opened)
    closed(opened)
    warp(opened.chain.w3, seconds=3601)
    late = opened.run("participant", "publish", opened.model, "--account", "b")
    assert late.exit_code == 0 and "leave this one out of their results" in late.stderr, late.output
    for name in "de":
        opened.done("aggregator", "once", opened.model, "--account", name)
    result = opened.run("participant", "publish", opened.model, "--account", "c")
    assert result.exit_code == 2 and result.stdout == ""
    said = (
        r"too late: updates of round 2 were to be published until 20.* UTC, and the round has its result, which takes"
    )
    assert re.search(said, result.stderr), result.stderr


def test_publishing_in_a_round_that_lapsed_is_refused(opened: Any) -> None:
    closed(opened)
    warp(opened.chain.w3, seconds=3 * 3601)
    result = opened.run("participant", "publish", opened.model, "--account", "b")
    assert result.exit_code == 2
    assert "too late: round 1 ended without a result: submit an update to the next round" in result.stderr


def test_a_commitment_that_is_not_in_the_folder_is_told_once(opened: Any) -> None:
    assert submit(opened, "west").exit_code == 0
    (home,) = (opened.folder / "home" / "participants").iterdir()
    client = Session({"account": "b"}).client
    model = ModelId(bytes.fromhex(opened.model[2:]))
    assert Elsewhere(client, home, model).new() == ""
    other = Elsewhere(client, Path("other"), model)
    said = other.new()
    assert re.fullmatch(r"round 1: this account committed 0x\w{64}, which is not in other/round-\w+: it can .*", said)
    assert other.new() == ""


# Plans ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--challenge-duration", "10m"), "challenge_duration: expected at least 16m, 32 answers of 30s, got 10m"),
        (("--challenge-duration", "91d"), "challenge_duration: expected at most 90d, got 91d"),
        (("--commit-duration", "5s"), "commit_duration: expected at least 30s, got 5s"),
        (
            ("--challenge-duration", "1h", "--answer-duration", "2m"),
            "answer_duration: expected 30s to 1m52s, 1/32 of challenge_duration, got 2m: leave it out",
        ),
        (("--term", "late_duration=60s"), "late_duration: expected 0 without a bond (bond_gwei), got 1m"),
        (
            ("--bond", 9, "--term", "late_duration=60s", "--challenge-duration", "30m"),
            "challenge_duration: expected at least 48m, 32 answers of 30s and as many late periods of 1m, got 30m",
        ),
        (("--min-contributions", 0), "plan: expected quorum and min_contributions of at least 1, got 1 and 0"),
    ],
)
def test_plan_new_refuses_what_cannot_be_set(cairn: Any, tmp_path: Path, flags: tuple[str, ...], said: str) -> None:
    result = cairn("plan", "new", *flags, "-o", "plan.toml")
    assert (result.exit_code, said in result.stderr) == (2, True), result.output
    assert not (tmp_path / "plan.toml").exists()


def test_an_answer_time_that_follows_from_the_window_follows_it_in_a_changed_plan(done: Any) -> None:
    done("plan", "new", "--challenge-duration", "1h", "-o", "plan.toml")
    change = ("plan", "new", "--from", "plan.toml", "--challenge-duration")
    assert done(*change, "16m", "-o", "plan.toml")["plan"]["answer_duration"] == 30
    assert done(*change, "2h", "--answer-duration", "40s")["plan"]["answer_duration"] == 40
    assert done(*change, "2h", "--term", "answer_duration=41s", "-o", "own.toml")["plan"]["answer_duration"] == 41
    own = ("plan", "new", "--from", "own.toml", "--challenge-duration", "3h")
    assert done(*own)["plan"]["answer_duration"] == 41, "a time of one's own stays"


def test_a_plan_file_that_cannot_be_set_is_refused_alike(world: Any) -> None:
    for text, said in (
        ('quorum = "two"', "quorum"),
        ("quorums = 2", "unknown field 'quorums'"),
        ('challenge_duration = "10m"', "challenge_duration: expected at least 16m"),
    ):
        (world.folder / "wrong.toml").write_text(text)
        for command in (("plan", "new", "--from", "wrong.toml"), ("plan", "set", world.model, "wrong.toml")):
            result = world.run(*command)
            assert (result.exit_code, said in result.stderr) == (2, True), result.output


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            BadTerm("answerDuration", 18, 30, 18),
            "BadTerm: answer_duration: expected at least 30s, got 18s: challenge_duration is too short for it: set "
            "that to 32 times it, or more",
        ),
        (
            BadTerm("minContributions", 0, 1, 9),
            "BadTerm: min_contributions: expected at least 1, got 0: change it in the plan's file, or with `cairn plan "
            "new --from FILE --term min_contributions=…`",
        ),
    ],
)
def test_a_term_that_the_contract_refuses_is_named_as_in_the_plan(error: BadTerm, said: str) -> None:
    assert explained(Session({}), error) == said


def test_only_the_plan_that_it_starts_from_is_replaced(cairn: Any, tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text("quorum = 2\n")
    refused = cairn("plan", "new", "-o", "plan.toml")
    assert refused.exit_code == 2 and "or change it with --from plan.toml" in refused.stderr
    assert cairn("plan", "new", "--from", "plan.toml", "-o", "./plan.toml").exit_code == 0
    assert "quorum = 2 " in (tmp_path / "plan.toml").read_text()


# Files and folders ---------------------------------------------------------------------------------------------------


def test_a_password_file_that_is_missing_is_named_unless_it_may_be_the_password(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("round", "open", world.model, "--account", "a")
    flagged = world.run(*command, "--password-file", "pw2")
    assert flagged.exit_code == 6
    said = "(flag --password-file): expected a readable file that holds the keystore's password, found none at pw2"
    assert said in flagged.stderr
    monkeypatch.setenv("ETH_PASSWORD", "my secret")
    secret = world.run(*command)
    assert secret.exit_code == 6 and "ETH_PASSWORD must name" in secret.stderr and "my secret" not in secret.stderr


def test_a_local_network_is_found_from_folders_below(
    cairn: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".localnet").mkdir()
    facts = {"ports": {"rpc": 1, "kubo": []}, "contract": "0x" + "12" * 20, "block_time": 1, "speed": 20}
    (tmp_path / ".localnet" / "localnet.json").write_text(json.dumps(facts))
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    result = cairn("localnet", "warp", "9")
    assert (result.exit_code, f"the chain in {tmp_path}/.localnet is not running" in result.stderr) == (5, True)
    status = cairn("localnet", "status")
    assert "a block every 1 s, its clock at 20 times real time" in status.stdout, status.output
    told = json.loads(cairn("localnet", "status", "--json").stdout)
    assert (told["folder"], told["block_time"], told["speed"]) == (f"{tmp_path}/.localnet", 1, 20)
    assert f"Nothing was running in {tmp_path}/.localnet." in cairn("localnet", "down").stdout
    other = cairn("localnet", "status", "--folder", "other")
    assert other.exit_code == 2 and f"no local network in {tmp_path}/below/other" in other.stderr
