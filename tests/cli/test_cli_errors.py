"""Errors are one line on stderr and an exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import registry.errors
from registry.errors import CairnError, ContractError

CLASSES = [getattr(registry.errors, name) for name in registry.errors.__all__]


@pytest.fixture
def failing(cairn: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make `cairn cid` fail with an error."""

    def run(error: BaseException, *arguments: str) -> Any:
        def fail(*_: object) -> None:
            raise error

        monkeypatch.setattr("registry.cli.commands.cids.size_of", fail)
        return cairn("cid", "file", *arguments)

    return run


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_is_one_line_and_its_own_exit_code(cls: type[CairnError], failing: Any) -> None:
    result = failing(cls("expected this,\n got that"))
    assert (result.exit_code, result.stdout) == (cls.exit_code, "")
    assert result.stderr == "error: expected this, got that\n"


def test_with_json_an_error_is_json(failing: Any) -> None:
    result = failing(ContractError("said no"), "--json")
    assert result.exit_code == 5
    assert json.loads(result.stderr) == {"error": "ContractError", "message": "said no"}


def test_what_nobody_expected_is_a_short_line(failing: Any) -> None:
    result = failing(RuntimeError("boom"))
    assert result.exit_code == 1
    assert result.stderr.startswith("error: unexpected RuntimeError: boom")
    assert "Traceback" not in result.stderr


def test_debug_shows_where(failing: Any) -> None:
    assert "Traceback" in failing(RuntimeError("boom"), "--debug").stderr


def test_ctrl_c_ends_with_130(failing: Any) -> None:
    result = failing(KeyboardInterrupt())
    assert (result.exit_code, result.stderr) == (130, "error: interrupted\n")


def test_a_file_that_is_not_there_is_the_callers_error(cairn: Any) -> None:
    result = cairn("cid", "gone")
    assert (result.exit_code, result.stderr) == (2, "error: gone: expected a file, found nothing there\n")


def test_a_folder_is_no_file(cairn: Any, tmp_path: Path) -> None:
    assert cairn("cid", tmp_path).exit_code == 2


@pytest.mark.parametrize(
    "command", [("model", "list"), ("contracts", "show"), ("verify", "ab"), ("member", "list", "a")]
)
def test_a_node_that_is_down_is_exit_code_5(cairn: Any, command: tuple[str, ...]) -> None:
    result = cairn(*command, "--rpc-url", "http://127.0.0.1:1", "--contract", "0x" + "11" * 20)
    assert result.exit_code == 5
    assert "cannot be reached" in result.stderr


def test_a_kubo_that_is_down_is_exit_code_4(cairn: Any) -> None:
    result = cairn("store", "pins", "--store", "kubo:http://127.0.0.1:1")
    assert result.exit_code == 4
    assert result.stderr.startswith("error: ")


def test_another_chain_is_refused(chain: Any, cairn: Any) -> None:
    result = cairn("model", "list", "--contract", "0x" + "11" * 20, "--chain-id", "1")
    assert result.exit_code == 5
    assert "expected chain 1, got chain" in result.stderr


def test_no_contract_at_the_address_is_refused(chain: Any, cairn: Any) -> None:
    result = cairn("model", "list", "--contract", "0x" + "11" * 20)
    assert result.exit_code == 5
    assert "got no contract there" in result.stderr


def test_no_contract_named_says_how_to_name_one(chain: Any, cairn: Any) -> None:
    result = cairn("model", "list")
    assert result.exit_code == 2
    assert "--contract" in result.stderr
    assert "cairn contracts deploy" in result.stderr


def test_a_mistyped_address_is_refused(chain: Any, cairn: Any) -> None:
    result = cairn("model", "list", "--contract", "0x1234")
    assert result.exit_code == 2
    assert "expected an address of 20 bytes" in result.stderr


def test_a_store_that_is_none_is_refused(cairn: Any) -> None:
    assert cairn("store", "pins", "--store", "ftp://somewhere").exit_code == 2


def test_training_without_torch_names_the_extra(chain: Any, cairn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for command in (("simulate",), ("participant", "submit", "ab", "--task", "m:f"), ("demo",)):
        result = cairn(*command)
        assert result.exit_code == 2
        assert "pip install -e '.[" in result.stderr
