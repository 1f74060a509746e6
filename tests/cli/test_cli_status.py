"""`status` and `--metrics` of roles that run, ran, or never ran."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from registry.cli.run_loops import alone, read_status, run_tasks
from registry.cli.session import Session
from registry.dev.chains import free_port
from registry.errors import InputError, NodeUnavailable
from registry.roles.loop import LoopTask


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

    tasks = (LoopTask("looking 3fa9", look), LoopTask("failing", fail))
    status = tmp_path / "status.json"
    run_tasks(Session({}), tasks, poll=0.2, who="auditor", status=status, metrics=f"127.0.0.1:{port}")
    assert 'cairn_task_steps_total{model="3fa9",task="looking"} 2.0' in served[0]
    assert 'cairn_task_failing{model="",task="failing"} 1.0' in served[0]
    since = served[0].partition('cairn_task_failing_since_seconds{model="",task="failing"} ')[2].split()[0]
    assert 0 <= time.time() - float(since) < 60
    found = read_status(status)
    assert found is not None
    assert not found["running"], "it was stopped"
    assert found["tasks"]["looking 3fa9"].did == "looked"
    assert found["tasks"]["failing"].error == "InputError: a file is broken"
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10)


CAUGHT = """
import os, signal, threading
from registry.cli.run_loops import _stopping
from registry.cli.session import Session

stop = threading.Event()
with _stopping(Session({}), stop):
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
    told = "\nFinishing this step; press Ctrl-C again to abort it.\nStopped.\n"
    assert (ran.stdout, ran.stderr) == (said, told)


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


def looked_at(folder: Path, **said: object) -> Path:
    """Leave in a folder of a role what one that ran from it until now leaves there."""
    task = {
        "steps": 7, "stepped": time.time(), "did": "", "did_at": 0, "failing": time.time() - 90, "failures": 2,
        "error": "NodeUnavailable: away",
    }  # fmt: skip
    status = {"who": "auditor", "pid": 1, "updated": time.time(), "stopped": False, "tasks": {"looking": task}}
    folder.mkdir(parents=True)
    (folder / "status.json").write_text(json.dumps(status | said))
    return folder / "status.json"


def test_a_role_whose_process_died_or_says_nothing_is_not_running(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for number, (said, running) in enumerate(
        (({}, True), ({"pid": gone.pid}, False), ({"updated": time.time() - 61}, False), ({"stopped": True}, False))
    ):
        found = read_status(looked_at(tmp_path / str(number), **said))
        assert (found is not None and found["running"]) == running, said


def test_no_two_processes_run_from_one_folder(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from registry.cli.run_loops import alone\nwith alone(Path(sys.argv[1])):"
    )
    with alone(tmp_path / "role.lock"):
        second = [sys.executable, "-c", f"{program} print('in')", str(tmp_path / "role.lock")]
        ran = subprocess.run(second, capture_output=True, text=True)
    assert "another process runs from this folder: stop it, or give --folder" in ran.stderr
    assert ran.stdout == ""
    assert subprocess.run(second, capture_output=True, text=True).stdout == "in\n", "it has ended"


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
    looked_at(home / "auditors" / "reader")
    told = world.run("auditor", "status", world.model)
    assert told.exit_code == 0
    assert re.search(r"auditor: running, last seen \d s ago", told.stdout), told.stdout
    assert re.search(r"failing for 9\d s: NodeUnavailable: away", told.stdout), told.stdout
    assert "spent so far: 0 ether" in told.stdout
    named = world.done("auditor", "status", world.model, "--account", "d")
    assert named["loop"]["who"] == "auditor", "what only looked, where the account named by habit never audited"


def test_status_says_how_the_tasks_do_where_the_chain_says_nothing(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise NodeUnavailable("the node is away")

    looked_at(next(world.folder.rglob("deployments")).parent / "auditors" / "reader")
    monkeypatch.setattr("registry.cli.session.Session._client", away)
    told = world.run("auditor", "status", world.model)
    assert (told.exit_code, "the node is away" in told.stderr) == (5, True)
    assert re.search(r"failing for 9\d s: NodeUnavailable: away", told.stdout), told.stdout
    never = world.run("aggregator", "status", world.model, "--account", "d", "--json")
    assert (never.exit_code, json.loads(never.stdout)) == (5, {"loop": None})
