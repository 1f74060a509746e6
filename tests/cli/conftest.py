"""The command line in this process: no settings but those a test gives, and the chain of an embedded EVM."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from registry.chain.local import Embedded, embedded
from trainer.cli.root import app
from trainer.cli.settings import SETTINGS

Cairn = Callable[..., Result]
PASSWORD = "only for tests"


@pytest.fixture
def cairn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cairn:
    """Run `cairn` with these arguments, in a folder of its own."""
    for setting in SETTINGS:
        monkeypatch.delenv(setting.env, raising=False)
    for name in ("CAIRN_CONFIG", "CAIRN_LOCALNET", "CAIRN_DEBUG", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CAIRN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()

    def run(*arguments: object, **options: Any) -> Result:
        return runner.invoke(app, [str(argument) for argument in arguments], **options)

    return run


@pytest.fixture
def done(cairn: Cairn) -> Callable[..., Any]:
    """Run `cairn … --json`, which must succeed, and return what it printed."""

    def run(*arguments: object) -> Any:
        result = cairn(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return run


@pytest.fixture
def chain(cairn: Cairn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Embedded:
    """An embedded chain behind every RPC URL, and keystores a, b, c … of its accounts in the keys folder."""
    from eth_account import Account

    started = embedded(8)
    keys = tmp_path / "keys"
    keys.mkdir()
    for number, name in enumerate("abcdefgh", 1):
        keystore = Account.encrypt(number.to_bytes(32, "big"), PASSWORD, kdf="scrypt", iterations=1 << 10)
        (keys / name).write_text(json.dumps(keystore))
    (tmp_path / "password").write_text(PASSWORD + "\n")
    monkeypatch.setattr("registry.chain.node.connect", lambda url, timeout=10.0: started.w3)
    monkeypatch.setenv("CAIRN_KEYS", str(keys))
    monkeypatch.setenv("ETH_PASSWORD", str(tmp_path / "password"))
    return started
