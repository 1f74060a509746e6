"""Shells complete models, accounts and roles, from local files alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def indexed(played: Any) -> Any:
    played.done("index", "sync")
    return played


def complete(played: Any, *words: str, **environment: str) -> list[str]:
    """What bash is offered for the last word, by the command as it is installed; no node listens anywhere."""
    line = {
        "COMP_WORDS": " ".join(["cairn", *words]),
        "COMP_CWORD": str(len(words)),
        "_CAIRN_COMPLETE": "complete_bash",
    }
    variables = {**os.environ, "CAIRN_RPC_URL": "http://192.0.2.1:8545", **line, **environment}
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv = ['cairn']; from trainer.cli import main; main()"],
        cwd=played.folder, env=variables, capture_output=True, text=True, check=False, timeout=20,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    assert time.monotonic() - begin < 5  # of a start of Python; no wait for the node that never answers
    return done.stdout.split()


@pytest.mark.parametrize(
    "command", [("model", "show"), ("aggregator", "run"), ("auditor", "run"), ("plan", "new", "--model")]
)
@pytest.mark.parametrize("digits", [0, 3, 14])
def test_models_of_the_index_are_completed(indexed: Any, command: tuple[str, ...], digits: int) -> None:
    typed = indexed.model[:digits]
    assert complete(indexed, *command, typed) == [indexed.model[: max(12, digits)]]
    assert complete(indexed, *command, "0xffffffffff") == []


def test_a_model_of_a_version_is_completed(indexed: Any) -> None:
    assert complete(indexed, "model", "pull", indexed.model[:5]) == [indexed.model[:12]]


def test_accounts_are_completed_from_the_keystores(indexed: Any) -> None:
    assert complete(indexed, "round", "open", "0x12", "--account", "") == list("abcdefgh")
    assert complete(indexed, "member", "grant", "0x12", "b") == ["b"]


def test_roles_are_completed(indexed: Any) -> None:
    assert complete(indexed, "member", "grant", "0x12", "b", "--role", "a") == ["aggregator", "auditor"]


def test_without_an_index_or_with_a_damaged_one_nothing_is_offered_and_nothing_said(
    indexed: Any, tmp_path: Path
) -> None:
    assert complete(indexed, "model", "show", "", CAIRN_HOME=str(tmp_path)) == []
    place = tmp_path / "index" / "1-00"
    place.mkdir(parents=True)
    (place / "0x00.sqlite").write_bytes(b"no database" * 99)
    assert complete(indexed, "model", "show", "", CAIRN_HOME=str(tmp_path)) == []
    (tmp_path / "cairn.toml").write_text("not = [toml")
    assert complete(indexed, "model", "show", "", CAIRN_CONFIG=str(tmp_path / "cairn.toml")) == []
