"""The service files and the compose file of `examples/operations`: their commands and settings are real ones."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from registry.cli.root import load
from registry.cli.settings import SETTINGS
from trainer.cli.root import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "examples" / "operations"
UNITS = sorted((HERE / "systemd").glob("*.service"))
PARTS = {"indexer", "aggregator", "auditor", "watch", "explorer"}
OWN = {"CAIRN_MODEL", "CAIRN_LIMIT", "CAIRN_WEBHOOK"}
"""Variables that the files' own commands read."""


def check_command(words: list[str]) -> None:
    """Hold that `cairn` has this command with these options, and no more arguments than it takes."""
    command: Any = load(COMMANDS[words[0]])
    rest = words[1:]
    if hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    options = {name: each for each in command.params for name in each.opts if name.startswith("-")}
    places = 0
    while rest:
        word, *rest = rest
        if not word.startswith("-"):
            places += 1
            continue
        assert word in options, f"{words}: no option {word}"
        rest = rest if options[word].is_flag else rest[1:]
    arguments = [each for each in command.params if not any(name.startswith("-") for name in each.opts)]
    assert sum(each.required for each in arguments) <= places <= len(arguments), words


def settings_of(text: str) -> set[str]:
    return set(re.findall(r"^(?:Environment=)?([A-Z_]+)=", text, re.MULTILINE))


def test_each_long_running_part_has_a_service_and_a_container() -> None:
    yaml = pytest.importorskip("yaml")
    assert {unit.stem.removeprefix("cairn-") for unit in UNITS} == PARTS
    assert set(yaml.safe_load((HERE / "compose.yaml").read_text())["services"]) == PARTS


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_service_runs_a_command_that_exists_with_settings_that_exist(unit: Path) -> None:
    text = unit.read_text()
    (started,) = re.findall(r"^ExecStart=/opt/cairn/bin/cairn (.*)$", text, re.MULTILINE)
    check_command(shlex.split(started))
    known = {setting.env for setting in SETTINGS}
    given = settings_of((HERE / "cairn.env").read_text())
    assert given - known == OWN
    assert settings_of(text) <= known
    assert set(re.findall(r"\$\{(\w+)\}", started)) <= given


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_finds_no_fault_with_a_service(unit: Path, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/cairn/bin/cairn", sys.executable))
    command = [analyze, "verify", "--man=no", "--recursive-errors=no", str(tmp_path / unit.name)]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    (tmp_path / unit.name).write_text(unit.read_text())
    assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode != 0, "no such program"


def test_each_container_runs_a_command_that_exists_and_asks_for_its_health_where_it_is_served() -> None:
    yaml = pytest.importorskip("yaml")
    compose = yaml.safe_load((HERE / "compose.yaml").read_text())
    known = {setting.env for setting in SETTINGS}
    for service in compose["services"].values():
        check_command(service["command"])
        assert set(service.get("environment", {})) <= known
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
        served = service["command"][service["command"].index("--metrics") + 1]
        assert f"http://127.0.0.1:{served.rpartition(':')[2]}/health" in service["healthcheck"]["test"][-1]
        assert {volume.partition(":")[0] for volume in service["volumes"]} <= {*compose["volumes"], "./keys"}
        assert set(service.get("secrets", ())) <= set(compose["secrets"])
    docker = (HERE / "Dockerfile").read_text()
    copied = [word for line in re.findall(r"^COPY (.*) \S+$", docker, re.MULTILINE) for word in line.split()]
    assert copied and all((ROOT / name).exists() for name in copied)
    assert f"docker build -f {(HERE / 'Dockerfile').relative_to(ROOT)} " in docker


def test_an_option_that_does_not_exist_is_found() -> None:
    with pytest.raises(AssertionError, match="no option --metric"):
        check_command(["auditor", "run", "3fa9", "--metric", "127.0.0.1:1"])
    with pytest.raises(AssertionError):
        check_command(["auditor", "run"])
