"""`cairn localnet` on real anvil and Kubo, and a round on it by commands in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from registry.rounds.versions import save_arrays

pytestmark = [pytest.mark.node, pytest.mark.slow, pytest.mark.real_time]
ROOT = Path(__file__).resolve().parents[2]
QUIET = ("CAIRN_", "ETH_", "IPFS_")
TASK = """
import torch
from torch import nn
from registry.content.manifest import DataSetManifest
from trainer.participant import Task

def task():
    def epoch(model, number):
        with torch.no_grad():
            for value in model.parameters():
                value += 0.25
        return {"loss": 0.5}
    return Task(nn.Linear(2, 1), epoch, 10, DataSetManifest("ward 7", "", "", "", 10, None))

def not_a_task():
    return 7
"""


@dataclass(frozen=True)
class Shell:
    """A folder to run commands in, each in a process of its own."""

    folder: Path

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(QUIET)}
        environ = {**kept, "PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": str(self.folder / "config")}
        return subprocess.Popen(
            [sys.executable, "-m", "trainer.cli", *arguments],
            cwd=self.folder,
            env=environ,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command to its end."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=180)
        return process.returncode, out, err

    def done(self, *arguments: str) -> Any:
        """Run a command with --json, which must succeed."""
        code, out, err = self.run(*arguments, "--json")
        assert code == 0, f"{arguments}: {out}{err}"
        return json.loads(out)


@pytest.fixture(scope="module")
def shell(find_tool: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell beside a running local network of two Kubo nodes."""
    find_tool("anvil")
    find_tool("ipfs")
    here = Shell(tmp_path_factory.mktemp("project"))
    try:
        with FileLock(tmp_path_factory.getbasetemp().parent / "localnet.lock", timeout=600):  # who is first has a port
            here.done("localnet", "up", "--nodes", "2")
        yield here
    finally:
        here.run("localnet", "down")


def test_up_is_idempotent_and_its_settings_are_picked_up_beside_it(shell: Shell) -> None:
    first = shell.done("localnet", "status")
    again = shell.done("localnet", "up")
    assert again == first
    assert (again["running"], len(again["kubo"])) == (True, 2)
    pace = (again["block_time"], again["speed"])
    _, _, told = shell.run("localnet", "up", "--speed", "5", "--block-time", "1")
    assert pace == (1, 1) and "--speed 5 ignored: the chain runs with 1" in told and "--block-time" not in told
    report = shell.done("doctor")
    assert report["healthy"]
    named = {entry["setting"]: entry for entry in report["settings"]}
    assert named["rpc_url"]["from"].endswith(".localnet/cairn.toml")
    assert shell.done("localnet", "env")["CAIRN_CONTRACT"] == again["contract"]


def test_a_round_by_separate_processes_on_anvil_and_two_kubo_nodes(shell: Shell) -> None:
    model = _prepare(shell)
    second = shell.done("localnet", "status")["kubo"][1]["api"]
    shell.done("round", "open", model)
    task = ("--task", "hospital.py:task")
    names = ("participant-1", "participant-2")
    loops = [shell.start("participant", "run", model, *task, "--account", name, "--poll", "0.5") for name in names]
    loops += [
        shell.start("aggregator", "run", model, "--account", "aggregator-1", "--poll", "0.5"),
        shell.start("aggregator", "run", model, "--account", "aggregator-2", "--store", f"kubo:{second}"),
    ]
    try:
        _wait(shell, model, lambda state: state["phase"] == "challenge")
        shell.done("localnet", "warp", "960")
        finished = _wait(shell, model, lambda state: state["finalized"])
    finally:
        for loop in loops:
            loop.send_signal(signal.SIGTERM)
        ended = [loop.communicate(timeout=60) for loop in loops]
    assert [loop.returncode for loop in loops] == [0, 0, 0, 0], ended
    assert (finished["votes"], finished["contributions"], finished["total_weight"]) == (2, 2, 20)
    for store in ((), ("--store", f"kubo:{second}"), ("--store", "cache+" + f"gateway:{_gateway(shell)}")):
        assert shell.done("verify", model, *store)["passed"]
    lineage = shell.done("provenance", "show", model)["lineage"]
    assert [entry["round"] for entry in lineage] == [1, None]


def test_what_was_killed_comes_up_again_with_the_same_chain(shell: Shell) -> None:
    model = _register(shell)
    time.sleep(8)  # anvil writes its state every five seconds
    shell.done("localnet", "warp", "5000")
    before = shell.done("localnet", "status")
    time.sleep(8)
    for pid in (before["anvil"], before["kubo"][0]["pid"]):
        os.kill(pid, signal.SIGKILL)
    code, out, _ = shell.run("localnet", "status", "--json")
    assert (code, json.loads(out)["running"]) == (5, False)
    code, _, err = shell.run("model", "list")
    assert (code, "cannot be reached" in err) == (5, True)
    after = shell.done("localnet", "up")
    assert (after["running"], after["contract"], after["rpc_url"]) == (True, before["contract"], before["rpc_url"])
    assert model in [entry["model"] for entry in shell.done("model", "list")]
    warped = shell.done("localnet", "warp", "1")["time"]
    assert warped > time.time() + 4000, "the clock ran backwards"


def test_down_stops_all_and_up_finds_what_was_there(shell: Shell) -> None:
    model = _register(shell)
    assert set(shell.done("localnet", "down")["stopped"]) == {"anvil", "kubo-1", "kubo-2"}
    assert shell.done("localnet", "down")["stopped"] == []
    shell.done("localnet", "up")
    assert shell.done("verify", model)["passed"]


def test_without_a_network_status_says_how_to_get_one(tmp_path: Path) -> None:
    code, _, err = Shell(tmp_path).run("localnet", "status")
    assert (code, "cairn localnet up" in err) == (2, True)


def _register(shell: Shell) -> str:
    """A model of its own."""
    values = np.random.default_rng().random((1, 2), dtype=np.float32)
    save_arrays(shell.folder / "genesis.safetensors", {"weight": values, "bias": np.zeros(1, dtype=np.float32)})
    (shell.folder / "hospital.py").write_text(TASK)
    model: str = shell.done("model", "register", "genesis.safetensors")["model"]
    return model


def _prepare(shell: Shell) -> str:
    """A model of its own, with members and a plan."""
    model = _register(shell)
    shell.done("member", "grant", model, "participant-1", "participant-2", "-r", "participant")
    shell.done("member", "grant", model, "aggregator-1", "aggregator-2", "-r", "aggregator")
    (shell.folder / "plan.toml").unlink(missing_ok=True)
    shell.done("plan", "new", "--quorum", "2", "--grid", "20", "--challenge-duration", "16m", "-o", "plan.toml")
    shell.done("plan", "set", model, "plan.toml")
    return model


def _wait(shell: Shell, model: str, reached: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + 150
    while not reached(state := shell.done("round", "show", model)):
        assert time.monotonic() < deadline, json.dumps(state)
        time.sleep(0.5)
    return state


def _gateway(shell: Shell) -> str:
    gateway: str = shell.done("localnet", "status")["kubo"][0]["gateway"]
    return gateway
