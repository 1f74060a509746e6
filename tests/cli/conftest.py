"""The command line in this process: no settings but those a test gives, and the chain of an embedded EVM."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from registry.cli.settings import SETTINGS
from registry.dev.chains import DevChain, anvil_chain
from registry.dev.embedded import Embedded, embedded
from registry.rounds.versions import save_arrays
from trainer.cli.root import app

Cairn = Callable[..., Result]
PASSWORD = "only for tests"
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

def stumbles():
    def epoch(model, number):
        raise RuntimeError("out of memory")
    return Task(nn.Linear(2, 1), epoch, 10, DataSetManifest("ward 7", "", "", "", 10, None))

def dear():
    raise RuntimeError("time was spent on training")
"""


def make_cairn(folder: Path, patch: pytest.MonkeyPatch) -> Cairn:
    """Return what runs `cairn` with these arguments in folder, knowing no settings but what it finds there."""
    for setting in SETTINGS:
        patch.delenv(setting.env, raising=False)
    for name in ("CAIRN_CONFIG", "CAIRN_LOCALNET", "CAIRN_DEBUG", "FORCE_COLOR"):
        patch.delenv(name, raising=False)
    patch.setenv("CAIRN_HOME", str(folder / "home"))
    patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    patch.setenv("COLUMNS", "120")
    patch.chdir(folder)
    runner = CliRunner()

    def run(*arguments: object, **options: Any) -> Result:
        return runner.invoke(app, [str(argument) for argument in arguments], **options)

    return run


def make_done(cairn: Cairn) -> Callable[..., Any]:
    """Return what runs `cairn … --json`, which must succeed, and returns what it printed."""

    def run(*arguments: object) -> Any:
        result = cairn(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return run


def make_keys(folder: Path, patch: pytest.MonkeyPatch) -> list[str]:
    """Put keystores a, b, c … into folder/keys, and return their addresses."""
    from eth_account import Account

    keys = folder / "keys"
    keys.mkdir()
    for number, name in enumerate("abcdefgh", 1):
        keystore = Account.encrypt(number.to_bytes(32, "big"), PASSWORD, kdf="scrypt", iterations=1 << 10)
        (keys / name).write_text(json.dumps(keystore))
    (folder / "password").write_text(PASSWORD + "\n")
    set_keys(folder, patch)
    return [Account.from_key(number.to_bytes(32, "big")).address for number in range(1, 9)]


def set_keys(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Have commands find the keystores of folder/keys."""
    patch.setenv("CAIRN_KEYS", str(folder / "keys"))
    patch.setenv("ETH_PASSWORD", str(folder / "password"))


def make_chain(folder: Path, patch: pytest.MonkeyPatch) -> Embedded:
    """Put an embedded chain behind every RPC URL, whose accounts the keystores are of."""
    started = embedded(8)
    make_keys(folder, patch)
    answer_with(started, patch)
    return started


def answer_with(chain: Embedded | DevChain, patch: pytest.MonkeyPatch) -> None:
    """Have a chain answer behind every RPC URL."""
    patch.setattr("registry.ethereum.node.connect", lambda url, timeout=10.0: chain.w3)


@dataclass(frozen=True)
class World:
    """A registered model: a owns it, b and c participate, d and e aggregate, f is nobody."""

    run: Cairn
    done: Callable[..., Any]
    chain: Embedded | DevChain
    model: str
    folder: Path


def make_world(
    folder: Path,
    patch: pytest.MonkeyPatch,
    make: Callable[[Path, pytest.MonkeyPatch], Embedded | DevChain] = make_chain,
) -> World:
    """Deploy, register, grant and set a plan, by commands, on the chain that `make` puts there."""
    run = make_cairn(folder, patch)
    done = make_done(run)
    chain = make(folder, patch)
    rng = np.random.default_rng(3)
    weights = {"weight": rng.random((1, 2), dtype=np.float32), "bias": np.zeros(1, dtype=np.float32)}
    save_arrays(folder / "genesis.safetensors", weights)
    (folder / "hospital.py").write_text(TASK)
    done("contracts", "deploy", "--account", "a")
    statement = ("--title", "Two to one", "--source", "x=CC0-1.0")
    model = done("model", "register", "genesis.safetensors", *statement, "--account", "a")["model"]
    done("member", "grant", model, "b", "c", "--role", "participant", "--account", "a")
    done("member", "grant", model, "d", "e", "-r", "aggregator", "--account", "a")
    done("plan", "new", "--quorum", 2, "--grid", 20, "-o", "plan.toml")
    done("plan", "set", model, "plan.toml", "--account", "a")
    return World(run, done, chain, model, folder)


def enter_world(world: World, patch: pytest.MonkeyPatch) -> None:
    """Have commands run in a world that was made before."""
    make_cairn(world.folder, patch)
    set_keys(world.folder, patch)
    answer_with(world.chain, patch)


@pytest.fixture
def cairn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cairn:
    """Runs `cairn` in a folder of its own."""
    return make_cairn(tmp_path, monkeypatch)


@pytest.fixture
def done(cairn: Cairn) -> Callable[..., Any]:
    """Runs `cairn … --json`, which must succeed."""
    return make_done(cairn)


@pytest.fixture
def chain(cairn: Cairn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Embedded:
    """An embedded chain behind every RPC URL."""
    return make_chain(tmp_path, monkeypatch)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A registered model without rounds."""
    return make_world(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def shared_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A registered model without rounds, for commands that change nothing."""
    with pytest.MonkeyPatch.context() as patch:
        yield make_world(tmp_path_factory.mktemp("world"), patch)


@pytest.fixture(scope="module")
def open_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A registered model with an open round, for updates that are refused."""
    with pytest.MonkeyPatch.context() as patch:
        world = make_world(tmp_path_factory.mktemp("open"), patch)
        world.done("round", "open", world.model, "--account", "a")
        yield world


@pytest.fixture(scope="module")
def far_world(
    request: pytest.FixtureRequest, find_tool: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """A world on an anvil with the chain id that the parameter says, final where that network's policy says so."""

    def put(folder: Path, patch: pytest.MonkeyPatch) -> DevChain:
        for address in make_keys(folder, patch):
            running.w3.provider.make_request("anvil_setBalance", [address, hex(10**24)])  # type: ignore[arg-type]
        patch.setenv("ETH_RPC_URL", str(running.url))
        patch.setenv("CAIRN_FINALITY", "instant")  # until the world stands
        return running

    options = ("--chain-id", str(request.param), "--block-time", "1", "--mixed-mining")
    with anvil_chain(find_tool("anvil"), *options) as running, pytest.MonkeyPatch.context() as patch:
        made = make_world(tmp_path_factory.mktemp("far"), patch, put)
        patch.delenv("CAIRN_FINALITY")
        yield made
