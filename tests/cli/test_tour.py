"""The README's tour, run as it stands there: each command succeeds and prints the lines shown under it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]
VARYING = (
    (re.compile(r"\b(?:0x)?(?=[0-9a-fA-F]*[0-9])[0-9a-fA-F]{8,}\b"), "HASH"),
    (re.compile(r"\bblock [0-9]+"), "BLOCK"),
)
"""What differs from run to run: keys are made anew, and so are addresses, digests and hashes."""
PRINTED = {"MODEL": r"model +(0x[0-9a-f]{8})", "TRUST": r"--trust (0x[0-9a-f]{64})"}
"""Where the value of a variable that a reader sets was printed."""


def steps(readme: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each command of the tour with the lines of output that the README shows under it."""
    tour = readme.partition("## A five-minute tour\n")[2].partition("\n## ")[0]
    for block in re.findall(r"```console\n(.*?)```", tour, re.DOTALL):
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *shown = step.splitlines()
            yield command, shown


def like(line: str) -> str:
    """Return a line with what varies replaced and blanks counted once."""
    for pattern, name in VARYING:
        line = pattern.sub(name, line)
    return " ".join(line.split())


class Reader:
    """Types the tour's commands, sets its variables, and compares what is printed."""

    def __init__(self, cairn: Callable[..., Any], lock: Path) -> None:
        self.cairn, self.lock, self.said, self.ran = cairn, lock, "", 0
        self.variables: dict[str, str] = {}

    def take(self, command: str, shown: list[str]) -> None:
        """Take one step of the tour."""
        if name := re.match(r"([A-Z]+)=", command):
            found = re.findall(PRINTED[name[1]], self.said)
            assert found, f"nothing printed what {command} sets"
            self.variables[f"${name[1]}"] = found[-1]
        if not command.startswith("cairn "):
            return
        words = [self.variables.get(word, word) for word in shlex.split(command, comments=True)]
        with FileLock(self.lock, timeout=600) if "up" in words else nullcontext():  # who is first has a port
            result = self.cairn(*words[1:])
        assert result.exit_code == 0, f"{command}: {result.output}"
        self.said, self.ran = self.said + result.output, self.ran + 1
        printed = iter([like(line) for line in result.output.splitlines()])
        missing = [line for line in shown if like(line) not in printed]  # in order: what was passed is gone
        assert missing == [], f"{command} prints {result.output}"


@pytest.mark.node
@pytest.mark.slow
@pytest.mark.real_time
def test_the_readme_s_tour_runs_and_prints_what_it_shows(
    cairn: Callable[..., Any],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    find_tool: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find_tool("anvil")
    monkeypatch.setenv("COLUMNS", "250")
    readme = (ROOT / "README.md").read_text()
    (tmp_path / "hospital.py").write_text(re.findall(r"```python\n(.*?)```", readme, re.DOTALL)[0])
    reader = Reader(cairn, tmp_path_factory.getbasetemp().parent / "localnet.lock")
    try:
        for command, shown in steps(readme):
            reader.take(command, shown)
    finally:
        cairn("localnet", "down")
    assert reader.ran >= 20
    assert (tmp_path / "lineage.svg").exists()
