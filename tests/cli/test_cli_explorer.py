"""`cairn explorer`: it serves a snapshot and the chain until it is stopped, and refuses what it cannot serve."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from registry.cli.commands.explorer import offered


@pytest.fixture(scope="module")
def snapshot(shared_world: Any) -> Path:
    """A snapshot of a model without rounds."""
    saved = shared_world.done("explorer", "--save", "snapshot")
    assert saved == {"snapshot": "snapshot"}
    return Path(shared_world.folder) / "snapshot"


def test_a_snapshot_is_served_without_a_chain_until_it_is_stopped(
    snapshot: Path, shared_world: Any, tmp_path: Path
) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("CAIRN", "ETH", "IPFS"))}
    environment |= {"HOME": str(tmp_path), "CAIRN_HOME": str(tmp_path / "home")}
    script = "import sys, trainer.cli; sys.exit(trainer.cli.main())"
    command = [sys.executable, "-c", script, "explorer", str(snapshot), "--listen", "127.0.0.1:0", "--json"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            told = json.loads("".join(running.stdout.readline() for _ in range(3)))
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(f"{told['url']}models.json", timeout=30) as answer:
                (model,) = json.load(answer)["models"]
        finally:
            running.send_signal(signal.SIGINT)
        assert running.wait(30) == 0
    assert (model["model"]["model_id"], model["title"]) == (shared_world.model, "Two to one")


def test_saving_twice_brings_a_snapshot_up_to_date(snapshot: Path, shared_world: Any) -> None:
    assert shared_world.done("explorer", "--save", str(snapshot)) == {"snapshot": str(snapshot)}
    assert {path.name for path in snapshot.iterdir()} >= {"index.sqlite", "index.times.sqlite", "store"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere",), "nowhere: expected a snapshot"),
        (("nowhere", "--save", "there"), "expected a SNAPSHOT to show or --save to write one, got both"),
        (("snapshot", "--listen", "8420"), "--listen: expected HOST:PORT such as 127.0.0.1:8420, got '8420'"),
        (("snapshot", "--listen", "127.0.0.1:70000"), "--listen: expected HOST:PORT"),
        (("snapshot", "--listen", "192.0.2.1:8420"), "192.0.2.1:8420: expected an address to listen at"),
        (("snapshot", "--verify"), "--verify: expected a chain and a store to verify against, got a snapshot"),
        (("snapshot", "--cors", "example.org"), "--cors: expected an origin such as https://example.org"),
        (("snapshot", "--cors", "https://a\r\nX: y"), "--cors: expected an origin"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_what_cannot_be_served_is_refused_with_exit_code_2(
    snapshot: Path, shared_world: Any, arguments: tuple[str, ...], said: str
) -> None:
    refused = shared_world.run("explorer", *arguments, "--json")
    assert refused.exit_code == 2, refused.output
    assert said in json.loads(refused.stderr)["message"]


@pytest.mark.parametrize(
    ("address", "verify", "found"),
    [
        ("127.0.0.1", None, True),
        ("::1", None, True),
        ("0.0.0.0", None, False),
        ("192.0.2.1", None, False),
        ("192.0.2.1", True, True),
        ("127.0.0.1", False, False),
    ],
)
def test_others_start_verifications_only_if_told_so(address: str, verify: bool | None, found: bool) -> None:
    assert offered(address, verify) is found


def test_without_its_packages_the_extra_is_named(
    snapshot: Path, shared_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.cli.commands.explorer.find_spec", lambda name: None)
    refused = shared_world.run("explorer", "snapshot")
    assert refused.exit_code == 2
    assert "jinja2, starlette, uvicorn: pip install 'cairn-registry[explorer]'" in refused.stderr
