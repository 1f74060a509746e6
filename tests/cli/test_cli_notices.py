"""`cairn watch`: commands and webhooks on a real chain, restarts, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from registry.cli.run_loops import alone
from tests.index.test_notices import SECRET_LINE, hook

HOSTILE = "$(touch pwned); `touch pwned` && touch pwned\n'\"\u202e\x1b[31m <script>"


def publish(world: Any) -> str:
    """Let the owner publish the genesis' weights again as a version of its own; return its digest."""
    made = world.done("model", "publish", world.model, "genesis.safetensors", "--account", "a")
    return str(made["version"])


def test_a_command_and_a_webhook_hear_of_each_notice_once_over_restarts(world: Any) -> None:
    place = world.folder / "home" / "watches" / world.model[2:18]
    (world.folder / "secret").write_text(SECRET_LINE)
    receiver = f'{sys.executable} -c \'import sys; open("took", "a").write(sys.stdin.read())\''
    with hook(500) as server:
        url = f"http://127.0.0.1:{server.server_port}/hook"
        watch = ("watch", world.model[:10], "--exec", receiver, "--webhook", url, "--webhook-secret-file", "secret")
        refused = world.run(*watch, "--from-start", "--once", "--json")
        assert (refused.exit_code, json.loads(refused.stderr)["error"]) == (9, "NotDelivered")
        first = world.done(*watch, "--once")["did"]
        assert [said.partition(" of block")[0] for said in first] == ["delivered version"]
        assert world.done(*watch, "--once")["did"] == []
        version = publish(world)
        assert len(world.done(*watch, "--once")["did"]) == 2
        sent = [json.loads(body) for _, _, body in server.got]
    took = [json.loads(line) for line in (world.folder / "took").read_text().splitlines()]
    assert [notice["kind"] for notice in took] == ["version", "version"]
    assert took[1]["facts"]["version"] == version
    assert sent == [took[0], *took], "the first was not taken at first"
    assert {path.name for path in place.iterdir()} >= {"exec.json", "webhook.json"}


def test_what_strangers_write_reaches_no_command(world: Any) -> None:
    version = publish(world)
    world.done("model", "alias", world.model, "touch-pwned", version, "--account", "a")
    world.done("model", "note", f"{world.model}@{version}", HOSTILE.replace("\n", " "), "--account", "a")
    show = f'{sys.executable} -c \'import json, os, sys; open("took", "a").write(json.dumps(dict(os.environ)))\''
    world.done("watch", world.model, "--exec", show, "--from-start", "--once")
    shell = "sh -c 'echo $CAIRN_EVENT_KIND $CAIRN_EVENT_ID >> heard'"
    world.done("watch", world.model, "--exec", shell, "--from-start", "--once", "--folder", "other")
    assert "pwned" not in (world.folder / "took").read_text()
    assert [line.split()[0] for line in (world.folder / "heard").read_text().splitlines()] == ["version"] * 2
    assert list(world.folder.rglob("pwned*")) == []


def test_a_watch_retries_until_it_is_stopped_and_shows_its_health(world: Any) -> None:
    (world.folder / "secret").write_text(SECRET_LINE)
    with hook(500, 302) as server:

        def end() -> None:
            deadline = time.monotonic() + 60
            while len(server.got) < 3 and time.monotonic() < deadline:
                time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=end, daemon=True).start()
        told = ("--webhook", f"http://127.0.0.1:{server.server_port}", "--webhook-secret-file", "secret")
        watching = world.run("watch", world.model, *told, "--from-start", "--poll", "0.1")
        ids = [headers["webhook-id"] for _, headers, _ in server.got]
    assert watching.exit_code == 0, watching.output
    assert (len(ids), len(set(ids))) == (3, 1)
    assert f": {ids[0]}" in watching.stdout
    status = json.loads((world.folder / "home" / "watches" / world.model[2:18] / "status.json").read_text())
    tasks, named = status["tasks"], world.model[2:12]
    assert set(tasks) == {f"index {named}", f"webhook {named}"}
    assert (tasks[f"webhook {named}"]["failures"], status["stopped"]) == (2, True)
    assert "expected a status of 2xx, got 302" in tasks[f"webhook {named}"]["error"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "expected --exec CMD or --webhook URL, got neither"),
        (("--webhook", "https://example.org"), "expected --webhook and --webhook-secret-file together, got one"),
        (("--exec", "true", "--webhook-secret-file", "s"), "expected --webhook and --webhook-secret-file together"),
        (("--exec", "true '"), "--exec: expected a command"),
        (("--exec", "no-such-program"), "--exec: expected a program on the PATH"),
        (("--webhook", "ftp://x", "--webhook-secret-file", "plan.toml"), "--webhook: expected an URL such as"),
        (("--webhook", "https://example.org", "--webhook-secret-file", "none"), "none: No such file"),
        (("--webhook", "https://example.org", "--webhook-secret-file", "."), ".: Is a directory"),
        (
            ("--webhook", "https://example.org", "--webhook-secret-file", "plan.toml"),
            "expected 1 to 4 lines, each whsec_",
        ),
        (("--exec", "true", "--kind", "versions"), "--kind: expected one of version, deprecation, conviction, score"),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, tuple) else "",
)
def test_what_cannot_be_watched_so_is_refused_and_nothing_is_written(
    shared_world: Any, options: tuple[str, ...], said: str
) -> None:
    refused = shared_world.run("watch", shared_world.model, *options, "--once", "--json")
    assert refused.exit_code == 2, refused.output
    assert said in json.loads(refused.stderr)["message"]
    assert not Path(shared_world.folder, "home", "watches").exists()


def test_a_second_watch_of_a_model_needs_a_folder_of_its_own(shared_world: Any, tmp_path: Path) -> None:
    with alone(tmp_path / "watch.lock"):
        refused = shared_world.run("watch", shared_world.model, "--exec", "true", "--once", "--folder", str(tmp_path))
    assert (refused.exit_code, "another process runs from this folder" in refused.stderr) == (2, True)
