"""The README's tour, run as it stands there: each command succeeds and prints the lines shown under it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

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


@pytest.mark.node
@pytest.mark.slow
def test_the_readme_s_tour_runs_and_prints_what_it_shows(
    cairn: Callable[..., Any], tmp_path: Path, find_tool: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    find_tool("anvil")
    monkeypatch.setenv("COLUMNS", "250")
    readme = (ROOT / "README.md").read_text()
    (tmp_path / "hospital.py").write_text(re.findall(r"```python\n(.*?)```", readme, re.DOTALL)[0])
    said, variables, ran = "", dict[str, str](), 0
    try:
        for command, shown in steps(readme):
            if name := re.match(r"([A-Z]+)=", command):
                found = re.findall(PRINTED[name[1]], said)
                assert found, f"nothing printed what {command} sets"
                variables[f"${name[1]}"] = found[-1]
            if not command.startswith("cairn "):
                continue
            words = [variables.get(word, word) for word in shlex.split(command, comments=True)]
            result = cairn(*words[1:])
            said, ran = said + result.output, ran + 1
            assert result.exit_code == 0, f"{command}: {result.output}"
            printed = iter([like(line) for line in result.output.splitlines()])
            missing = [line for line in shown if like(line) not in printed]
            assert missing == [], f"{command} prints {result.output}"
    finally:
        cairn("localnet", "down")
    assert ran >= 20
    assert (tmp_path / "lineage.svg").exists()
