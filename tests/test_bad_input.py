"""The table of bad input in `bad_input.toml` is accurate: every named test and exit code exists."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import registry.errors

ROOT = Path(__file__).resolve().parents[1]
TABLE: list[dict[str, Any]] = tomllib.loads((ROOT / "tests" / "bad_input.toml").read_text())["input"]


@pytest.fixture(scope="module")
def collected() -> set[str]:
    """Ids of every test of the files that the table names, with and without their parameters."""
    files = sorted({test.partition("::")[0] for line in TABLE for test in line["tests"]})
    options = ("-o", "addopts=", "--import-mode=importlib", "--collect-only", "-q", "-p", "no:cacheprovider")
    command = [sys.executable, "-m", "pytest", *options, *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    ids = {line for line in done.stdout.splitlines() if "::" in line}
    return ids | {line.partition("[")[0] for line in ids}


@pytest.mark.parametrize("line", TABLE, ids=lambda line: line["what"])
def test_a_line_of_bad_input_has_the_tests_it_names(line: dict[str, Any], collected: set[str]) -> None:
    assert line["tests"]
    assert [test for test in line["tests"] if test not in collected] == []


def test_every_exit_code_of_the_table_is_one_of_the_errors() -> None:
    errors = (getattr(registry.errors, name) for name in registry.errors.__all__)
    documented = {error.exit_code for error in errors} | {130}
    assert {line["exit_code"] for line in TABLE if "exit_code" in line} <= documented


def test_no_line_stands_twice() -> None:
    said = [line["what"] for line in TABLE]
    assert len(set(said)) == len(said) >= 50
