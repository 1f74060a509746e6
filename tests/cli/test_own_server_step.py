"""The page about a server step of one's own: its example becomes a plan's program, and what it refuses is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registry.cli.plan_files import read_plan
from registry.content.manifest import PlanManifest
from registry.rules.interpreter import initial_states, replay
from registry.rules.program import Program, RoundScalars, analyse, decode

PAGE = Path(__file__).resolve().parents[2] / "docs" / "own-server-step.md"
LOOP = "functools.reduce(lambda x, _: x + q, range(65), q)"
REFUSED = {
    "`q * 0.9`": "q * 0.9",
    "`if q > 0`": "q if q > 0 else 0",
    "`max(q, 0)`": "max(q, 0)",
    "`q / 10`": "q / 10",
    "`q // 10`": "q // 10",
    "`math.sqrt(q)`": "math.sqrt(q)",
    "`int(q)`": "int(q)",
    "a loop that records 65 operations": LOOP,
    "`q * (1 << 40)`": "q * (1 << 40)",
    "`divide(q, states[0])`": "divide(q, states[0])",
    "`isqrt(q)`": "isqrt(q)",
}


def example() -> str:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return str(code)


def planned(done: Any, tmp_path: Path, code: str, name: str) -> tuple[PlanManifest, Program]:
    (tmp_path / "step.py").write_text(code)
    done("plan", "new", "--server", f"step.py:{name}", "-o", "plan.toml")
    plan = read_plan(tmp_path / "plan.toml")
    return plan, decode(plan.server.program)


def test_the_page_s_example_becomes_the_plan_s_program_and_does_what_it_says(done: Any, tmp_path: Path) -> None:
    assert len([line for line in example().splitlines() if line]) <= 10
    plan, program = planned(done, tmp_path, example(), "warmed")
    assert plan.server.name is None and plan.server.parameters == {}
    analyse(program)
    q, states, m = np.array([1 << 24, -12345, 7]), initial_states(program, 3), np.zeros(3)
    for t in range(1, 15):
        d, states = replay(program, q, states, RoundScalars(t, 3, 10, 0))
        m = 0.9 * m + q
        assert np.abs(d / 256 - np.clip(min(t, 10) / 10 * m, -(2**16), 2**16)).max() < 0.05


def test_a_function_without_states_needs_no_decorator(done: Any, tmp_path: Path) -> None:
    code = "from registry import divide\n\n\ndef half(q, states, scalars): return divide(q, 2), ()\n"
    _, program = planned(done, tmp_path, code, "half")
    d, _ = replay(program, np.array([5, 6, -7]), initial_states(program, 3), RoundScalars(1, 1, 1, 1))
    assert d.tolist() == [2, 3, -4]


def rows() -> list[tuple[str, str]]:
    """The table of what is refused: each code, and what is told."""
    table = PAGE.read_text().partition("## What is refused")[2]
    found = re.findall(r"^\| (.+?) \| (expected.+|a server.+|number.+) \|$", table, re.MULTILINE)
    codes = [(code.strip(), said) for cell, said in found for code in re.split(r", (?=`)", cell)]
    assert {code for code, _ in codes} == set(REFUSED)
    return codes


@pytest.mark.parametrize(("code", "said"), rows())
def test_what_the_page_says_is_refused_is_told_so_with_its_line(
    cairn: Any, tmp_path: Path, code: str, said: str
) -> None:
    (tmp_path / "step.py").write_text(
        "import functools, math\nfrom registry import StateBounds, divide, isqrt, server_program\n\n\n"
        "@server_program(states=(StateBounds(-5, 5, 0),))\n"
        "def mine(q, states, scalars):\n"
        f"    return {REFUSED[code]}, states\n"
    )
    result = cairn("plan", "new", "--server", "step.py:mine", "-o", "plan.toml")
    assert result.exit_code == 2 and not (tmp_path / "plan.toml").exists()
    for part in said.split("…"):
        assert part in result.stderr.replace("\n", " "), result.stderr
    assert re.search(r"server: step\.py:mine at step\.py:[57]: ", result.stderr), result.stderr


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def mine(q, states, scalars): return q ** 2, ()", "has + - * abs, >>, divide, isqrt, sign, minimum and"),
        ("def mine(q, states, scalars): return q % 3, ()", "and no others"),
        ("def mine(q, states, scalars): return q", "expected the step and the new states, as in `return d, (m,)`"),
        ("def mine(q, states, scalars): return q, (q,)", "expected 0 new states, got 1"),
        ("def mine(q): return q, ()", "server: step.py:mine raised TypeError"),
        ("def mine(q, states, scalars): return q + nothing, ()", "raised NameError at step.py:1: name 'nothing'"),
        ("def mine(q, states, scalars): return q * (1 << 40), ()", "server: step.py:mine: operation 0"),
        ("def mine(q, states, scalars): return __import__('numpy').sqrt(q), ()", "raised TypeError at step.py:1"),
        ("mine = 7", "server: step.py has no function 'mine'"),
        ("def other(): pass", "server: step.py has no function 'mine'"),
        ("import nothing_here", "server: step.py raised ModuleNotFoundError"),
        (None, "server: no file step.py"),
    ],
)  # fmt: skip
def test_other_functions_that_are_no_server_step_are_refused(
    cairn: Any, tmp_path: Path, code: str | None, said: str
) -> None:
    if code is not None:
        (tmp_path / "step.py").write_text(code + "\n")
    result = cairn("plan", "new", "--server", "step.py:mine", "-o", "plan.toml")
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr
    assert not (tmp_path / "plan.toml").exists()


def test_a_function_of_one_s_own_has_no_parameters(cairn: Any, tmp_path: Path) -> None:
    (tmp_path / "step.py").write_text(example())
    result = cairn("plan", "new", "--server", "step.py:warmed", "--server-parameter", "rate=1")
    assert (result.exit_code, "expected none with a function of one's own" in result.stderr) == (2, True), result.stderr
