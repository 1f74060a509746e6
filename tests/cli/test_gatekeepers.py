"""The service and the CI step of `examples` pass a model's verified file, and nothing else, by a node over HTTP."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registry import Session, read_verified
from registry.errors import ContentError, InputError, VerificationFailed
from registry.rounds.versions import save_arrays
from tests.cli.conftest import make_world
from tests.index.conftest import Node

ROOT = Path(__file__).resolve().parents[2]
SERVE = ROOT / "examples" / "serve" / "serve.py"
ACTION = ROOT / "examples" / "ci" / "action.yml"


@contextmanager
def node_of(chain: Any) -> Iterator[str]:
    """Serve the chain in this process over HTTP; yield the URL."""
    node, one = Node(chain.w3), threading.Lock()

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            several = asked if isinstance(asked, list) else [asked]
            with one:
                answers = node.make_batch_request([(each["method"], each["params"]) for each in several])
            for each, answer in zip(several, answers, strict=True):
                answer["id"] = each["id"]
            body = json.dumps(answers if isinstance(asked, list) else answers[0]).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, dict[str, str]]]:
    """A world whose chain other processes reach, with their environment: a model, and another's with another file.

    The first model's genesis is `genesis.safetensors`; `old.safetensors` is a version of it that is deprecated.
    """
    with pytest.MonkeyPatch.context() as patch:
        world = make_world(tmp_path_factory.mktemp("served"), patch)
        for number, name in enumerate(("old", "foreign", "nobodys"), 1):
            weights = {"weight": np.full((1, 2), number, np.float32), "bias": np.zeros(1, np.float32)}
            save_arrays(world.folder / f"{name}.safetensors", weights)
        old = world.done("model", "publish", world.model, "old.safetensors", "--account", "a")["version"]
        world.done("model", "publish", world.model, "genesis.safetensors", "--account", "a")
        world.done("model", "deprecate", f"{world.model}@{old}", "--reason", "worse", "--account", "a")
        statement = ("--title", "Foreign", "--source", "x=CC0-1.0", "--account", "b")
        world.done("model", "register", "foreign.safetensors", *statement)
        contract = world.done("contracts", "show")["contract"]
        with node_of(world.chain) as url:
            environment = {k: v for k, v in os.environ.items() if not k.startswith(("CAIRN", "ETH", "IPFS"))}
            environment |= {"CAIRN_HOME": str(world.folder / "home"), "ETH_RPC_URL": url, "PYTHONPATH": str(ROOT)}
            environment |= {"CAIRN_CONTRACT": contract, "HOME": str(world.folder)}
            yield world, environment


def serve(served: Any, file: str, model: str = "") -> subprocess.Popen[str]:
    world, environment = served
    command = [sys.executable, str(SERVE), model or world.model, file, "--port", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=world.folder, env=environment, **pipes)  # type: ignore[call-overload,no-any-return]


def test_a_verified_file_is_served(served: Any) -> None:
    with serve(served, "genesis.safetensors") as running:
        try:
            line = running.stdout.readline()
            (url,) = re.findall(r"http://127.0.0.1:\d+/", line) or [running.stderr.read()]
            with urllib.request.urlopen(url, b"[[1.0, 0.0], [0.0, 1.0]]", timeout=30) as reply:
                answered = json.load(reply)
        finally:
            running.kill()
    weights = np.random.default_rng(3).random((1, 2), dtype=np.float32)
    assert np.array_equal(np.array(answered, np.float32), weights.T)


REFUSED = [
    ("old.safetensors", 7, "expected a final version in use"),
    ("foreign.safetensors", 8, "expected a version of model"),
    ("nobodys.safetensors", 8, "no version of any model is sha256:|no version of any model is bafkrei"),
]


@pytest.mark.parametrize(("file", "code", "said"), REFUSED[1:])
def test_the_service_refuses_to_start_on_any_other_file(served: Any, file: str, code: int, said: str) -> None:
    with serve(served, file) as running:
        out, error = running.communicate(timeout=120)
    assert (running.returncode, "serving" in out) == (code, False), error
    assert re.search(said, error)


def test_a_file_whose_lineage_does_not_verify_is_not_read(
    served: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, environment = served
    path, store = world.folder / "genesis.safetensors", tmp_path / "store"
    shutil.copytree(world.folder / "home" / "store", store)
    given = {"contract": environment["CAIRN_CONTRACT"], "store": str(store)}
    monkeypatch.setenv("CAIRN_HOME", str(tmp_path / "one"))
    assert read_verified(Session(given), world.model, path) == path.read_bytes()
    (block,) = (kept for kept in store.rglob("*") if kept.is_file() and kept.read_bytes() == path.read_bytes())
    block.chmod(0o600)
    block.write_bytes(path.read_bytes()[:-1] + b"!")
    monkeypatch.setenv("CAIRN_HOME", str(tmp_path / "other"))
    with pytest.raises((VerificationFailed, ContentError)):
        read_verified(Session(given), world.model, path)
    with pytest.raises(InputError, match="none: expected a file to read"):
        read_verified(Session(given), world.model, tmp_path / "none")


def test_the_service_is_short() -> None:
    assert len(SERVE.read_text().splitlines()) <= 60


def action(served: Any, **given: str) -> subprocess.CompletedProcess[str]:
    """Run the last step of the action as a runner does: inputs in its variables, the script under bash."""
    yaml = pytest.importorskip("yaml")
    world, environment = served
    described = yaml.safe_load(ACTION.read_text())
    inputs = {
        "model": world.model,
        "contract": environment["CAIRN_CONTRACT"],
        "rpc-url": environment["ETH_RPC_URL"],
        "chain-id": str(world.chain.w3.eth.chain_id),
        "store": str(world.folder / "home" / "store"),
        **given,
    }
    assert set(inputs) | {"package"} == set(described["inputs"])
    first, step = described["runs"]["steps"]
    own = {
        name: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda found: inputs[found[1]], value)
        for name, value in step["env"].items()
    }
    assert "${{" not in step["run"] + first["run"], "an input in a script is run as code"
    path = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    command = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"]]
    everything = {**environment, **own, "PATH": path}
    return subprocess.run(
        command, cwd=world.folder, env=everything, capture_output=True, text=True, timeout=120, check=False
    )


def install(folder: Path, package: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the action's first step where a folder holds it."""
    yaml = pytest.importorskip("yaml")
    step = yaml.safe_load(ACTION.read_text())["runs"]["steps"][0]
    own = {"PACKAGE": package, "GITHUB_ACTION_PATH": str(folder), "PIP_NO_DEPS": "1", **environment}
    own |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder)}
    command = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"]]
    return subprocess.run(command, env=own, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_the_action_installs_the_repository_that_it_is_in(tmp_path: Path) -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).is_file() and name.startswith(
            ("registry/", "trainer/", "docs/", "examples/", "pyproject", "README")
        ):
            (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / "source" / name)
    options = {"PIP_TARGET": str(tmp_path / "site"), "PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_INDEX": "1"}
    done = install(tmp_path / "source" / "examples" / "ci", "", **options)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "site").glob("cairn_registry-*.dist-info")) and (tmp_path / "site" / "registry").is_dir()


def test_the_action_says_what_it_lacks_where_it_was_copied_to(tmp_path: Path) -> None:
    done = install(tmp_path / ".github" / "actions", "")
    assert (done.returncode, done.stderr) == (
        2, "package: expected what pip is to install, since this action was copied out of its repository\n"
    )  # fmt: skip


def test_the_step_passes_on_an_anchored_file(served: Any) -> None:
    done = action(served, file="genesis.safetensors")
    assert (done.returncode, "Verified" in done.stdout) == (0, True), done.stderr


@pytest.mark.parametrize(("file", "code", "said"), REFUSED[:2])
def test_the_step_fails_on_any_other_file(served: Any, file: str, code: int, said: str) -> None:
    done = action(served, file=file)
    assert done.returncode == code, done.stderr
    assert re.search(said, done.stderr)


@pytest.mark.parametrize("file", ["$(touch pwned)", "x; touch pwned", "--help", "sha256:" + "00" * 32, "none", ""])
def test_the_step_takes_an_input_for_a_file_s_name_and_nothing_else(served: Any, file: str) -> None:
    world, _ = served
    done = action(served, file=file)
    assert done.returncode == 2
    assert not (world.folder / "pwned").exists()


def test_the_step_refuses_another_chain(served: Any) -> None:
    assert action(served, file="genesis.safetensors", **{"chain-id": "1"}).returncode == 5


def test_what_is_no_file_is_not_compared_with_a_model(shared_world: Any) -> None:
    for options in (("--model", shared_world.model), ("--strict",)):
        refused = shared_world.run("verify", shared_world.model, *options)
        assert (refused.exit_code, "expected a file, its CID or sha256 with --model" in refused.stderr) == (2, True)
