"""The war notices what is undone: with any of the fixes of `undone.toml` taken out, one of a hundred games is lost.

One of them a day, all under `CAIRN_SOAK`. The game that is lost is then played on the source as it is, and is not lost.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run import copy_tree, environment

ROOT = Path(__file__).resolve().parents[2]
FIXES = tomllib.loads(Path(__file__).with_name("undone.toml").read_text())["fix"]
TODAY = FIXES if os.environ.get("CAIRN_SOAK") else [FIXES[int(time.time() // 86400) % len(FIXES)]]
GAMES = 100


def undo(fix: dict[str, Any], root: Path) -> None:
    """Take a fix out of a copy of the tree."""
    for edit in fix["edit"]:
        path = root / edit["file"]
        text = path.read_text()
        assert text.count(edit["old"]) == 1, f"{fix['name']}: expected its text once in {edit['file']}"
        path.write_text(text.replace(edit["old"], edit["new"]))


def play(fix: dict[str, Any], root: Path, first: int, games: int) -> list[Any]:
    """Play games in a tree until one is lost; return what came of each."""
    options = ["--first", str(first), "--seeds", str(games), "--moves", ",".join(fix["moves"]), "--until-lost"]
    if "memory" in fix:
        options += ["--memory", str(fix["memory"])]
    command = [sys.executable, str(root / "tests" / "war" / "game.py"), *options]
    played = subprocess.run(command, cwd=root, env=environment(root), capture_output=True, text=True, check=False)
    assert played.returncode in (0, 1), played.stderr[-2000:]
    return [json.loads(line) for line in played.stdout.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("fix", FIXES, ids=lambda fix: fix["name"])
def test_every_fix_is_where_it_is_taken_out(fix: dict[str, Any], tmp_path: Path) -> None:
    for edit in fix["edit"]:
        path = tmp_path / edit["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((ROOT / edit["file"]).read_bytes())
    undo(fix, tmp_path)


@pytest.mark.slow
@pytest.mark.node
@pytest.mark.parametrize(
    "fix",
    [pytest.param(fix, id=fix["name"], marks=pytest.mark.xdist_group(f"war without {fix['name']}")) for fix in TODAY],
)
def test_a_game_is_lost_without_it(fix: dict[str, Any], tmp_path: Path, find_tool: Callable[[str], Path]) -> None:
    find_tool("anvil")
    copy_tree(tmp_path)
    undo(fix, tmp_path)
    last = play(fix, tmp_path, fix.get("first", 0), GAMES)[-1]
    assert last["losses"], f"{GAMES} games without it"
    print(f"{fix['name']}: game {last['seed']} is lost: {', '.join(last['losses'])}")
    (again,) = play(fix, ROOT, last["seed"], 1)
    assert not again["losses"], again
