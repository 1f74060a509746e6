"""Every command has help, and showing it imports next to nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import registry.errors
from registry.cli.root import EXIT_CODES
from registry.errors import CairnError
from trainer.cli.reference import TASKS, commands, reference
from trainer.cli.root import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
ALL = [(path, command) for name in COMMANDS for path, command in commands(name)]
HEAVY = {
    "torch",
    "numpy",
    "web3",
    "eth_abi",
    "eth_account",
    "dag_cbor",
    "multiformats",
    "httpx",
    "requests",
    "matplotlib",
    "ipfshttpclient",
    "solcx",
}


def test_help_lists_every_command_and_exit_code(cairn: Any) -> None:
    shown = cairn("--help").stdout
    assert all(f" {name} " in shown for name in COMMANDS)
    assert all(text in shown for text in EXIT_CODES.values())


def test_exit_codes_in_help_are_those_of_the_errors() -> None:
    classes = [getattr(registry.errors, name) for name in registry.errors.__all__]
    codes = {cls.exit_code for cls in classes if issubclass(cls, CairnError)}
    assert codes | {0, 130} == set(EXIT_CODES)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_what_the_table_says(name: str, cairn: Any) -> None:
    assert cairn(name, "--help").exit_code == 0


@pytest.mark.parametrize(("path", "command"), ALL, ids=[path for path, _ in ALL])
def test_help_shows_an_example_that_calls_the_command(path: str, command: Any, cairn: Any) -> None:
    result = cairn(*path.split()[1:], "--help")
    assert result.exit_code == 0
    assert path in result.stdout.partition("Example")[2]


@pytest.mark.parametrize(("path", "command"), ALL, ids=[path for path, _ in ALL])
def test_every_command_takes_json(path: str, command: Any) -> None:
    assert any("--json" in parameter.opts for parameter in command.params)


@pytest.mark.parametrize(("path", "command"), ALL, ids=[path for path, _ in ALL])
def test_no_command_takes_a_secret_as_an_argument(path: str, command: Any) -> None:
    names = {option for parameter in command.params for option in parameter.opts}
    assert not names & {"--private-key", "--key", "--password", "--mnemonic"}


def test_the_reference_page_is_in_step() -> None:
    assert (ROOT / "docs" / "cli.md").read_text() == reference(), "python -m trainer.cli.reference > docs/cli.md"


def test_every_command_stands_in_one_row_of_the_index() -> None:
    listed = sorted(f"cairn {command}" for _, row in TASKS for command in row)
    assert listed == sorted(path for path, _ in ALL)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['cairn', '--help']\n"
        "from trainer.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "sys.stderr.write(' '.join(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stderr
    roots = {name.partition(".")[0] for name in loaded.split()}
    assert not roots & HEAVY
    assert not [name for name in loaded.split() if name.startswith("trainer.cli.commands.")]


@pytest.mark.parametrize("name", COMMANDS)
def test_loading_a_command_imports_nothing_heavy(name: str) -> None:
    module = COMMANDS[name].module
    code = f"import sys, importlib; importlib.import_module({module!r}); print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert not {name.partition(".")[0] for name in loaded.split()} & HEAVY


def test_a_mistyped_command_is_guessed(cairn: Any) -> None:
    result = cairn("modle")
    assert result.exit_code == 2
    assert "model" in result.stderr


def test_completion_offers_commands_of_a_group() -> None:
    environment = {"_CAIRN_COMPLETE": "complete_bash", "COMP_WORDS": "cairn model re", "COMP_CWORD": "2"}
    code = "import sys; sys.argv = ['cairn']; from trainer.cli.root import app; app(prog_name='cairn')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env={"PATH": "/usr/bin"} | environment
    )
    assert done.stdout.split() == ["register", "resume"], done.stderr


def test_everything_but_training_imports_without_torch() -> None:
    names = [entry.module for entry in COMMANDS.values()]
    names += [
        "registry.roles.aggregator",
        "registry.roles.auditor",
        "registry.roles.loop",
        "registry.dev.localnet",
        "registry.verification.verify",
    ]
    code = f"import sys, importlib; sys.modules['torch'] = None\nfor name in {names!r}: importlib.import_module(name)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
