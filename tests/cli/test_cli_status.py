"""What `status` and `--metrics` say of roles that run, ran, or never did."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from registry.chain.testing import free_port
from registry.errors import InputError
from trainer.cli.looping import read_status, run_tasks
from trainer.cli.session import Session
from trainer.loop import Task


def test_metrics_and_status_tell_of_each_task_until_a_signal_ends_them(tmp_path: Path) -> None:
    port, served, asked = free_port(), [""], [0]

    def look() -> str:
        asked[0] += 1
        if asked[0] == 3:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
                served[0] = reply.read().decode()
            os.kill(os.getpid(), signal.SIGTERM)
        return "looked" if asked[0] == 1 else ""

    def fail() -> str:
        raise InputError("a file is broken")

    tasks = (Task("looking", look), Task("failing", fail))
    status = tmp_path / "status.json"
    run_tasks(Session({}), tasks, poll=0.2, who="auditor", status=status, metrics=f"127.0.0.1:{port}")
    assert 'cairn_task_steps_total{task="looking"} 2.0' in served[0]
    assert 'cairn_task_failing{task="failing"} 1.0' in served[0]
    found = read_status(status)
    assert found is not None
    assert not found["running"], "it was stopped"
    assert found["tasks"]["looking"].did == "looked"
    assert found["tasks"]["failing"].error == "InputError: a file is broken"
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10)


CAUGHT = """
import os, signal, threading
from trainer.cli.looping import _stopping

stop = threading.Event()
with _stopping(stop):
    with stop._cond:
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            os.kill(os.getpid(), signal.SIGINT) if AGAIN else None
        except KeyboardInterrupt:
            print("interrupted")
    print("stopped" if stop.wait(20) else "goes on")
"""


@pytest.mark.parametrize(("again", "said"), [(False, "stopped\n"), (True, "interrupted\nstopped\n")])
def test_signals_that_come_while_a_loop_looks_whether_to_stop_do_stop_it(again: bool, said: str) -> None:
    """Whoever handles them in the thread that holds the event's lock waits for itself."""
    program = CAUGHT.replace("AGAIN", str(again))
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (ran.stdout, ran.stderr) == (said, "")


@pytest.mark.parametrize("where", ["9464", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:70000", "nowhere.invalid:9464"])
def test_metrics_are_served_at_an_address_or_refused(where: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--metrics: expected"):
        run_tasks(Session({}), (), poll=0.1, who="auditor", status=tmp_path / "status.json", metrics=where)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"who": "x", "pid": 1, "updated": "never", "tasks": {}}', "\x00"])
def test_what_is_no_status_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    path.write_text(text)
    with pytest.raises(InputError, match="expected the status of a running role"):
        read_status(path)


def test_status_says_what_the_chain_and_the_loop_say(world: Any) -> None:
    world.done("bond", "deposit", world.model, "0.5", "--account", "d")
    never = world.done("aggregator", "status", world.model, "--account", "d")
    assert (never["roles"], never["bond_ether"], never["demands"]) == ("AGGREGATOR", "0.5", [])
    assert (never["round"], never["loop"]) == (0, None)
    world.done("round", "open", world.model, "--account", "a")
    found = world.done("aggregator", "status", world.model, "--account", "d")
    assert (found["round"], found["phase"]) == (1, "commit")
    assert found["seconds_left"] > 0
    home = next(world.folder.rglob("deployments")).parent
    folder = home / "auditors" / "reader"
    folder.mkdir(parents=True)
    task = {
        "steps": 7, "stepped": time.time(), "did": "", "did_at": 0, "failing": time.time() - 90, "failures": 2,
        "error": "NodeUnavailable: away",
    }  # fmt: skip
    said = {"who": "auditor", "pid": 1, "updated": time.time(), "stopped": False, "tasks": {"looking": task}}
    (folder / "status.json").write_text(json.dumps(said))
    told = world.run("auditor", "status", world.model)
    assert told.exit_code == 0
    assert "auditor: running, last seen 0 s ago" in told.stdout
    assert "failing for 90 s: NodeUnavailable: away" in told.stdout
    assert "spent so far: 0 ether" in told.stdout
