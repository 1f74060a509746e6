"""Wars of processes: what the simulated ones claim, of the programs as they are run, on real servers and their clocks.

`CAIRN_WAR_PROCESSES` is how many games, `CAIRN_WAR_SEED` the first one's seed: other ones each day.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

GAMES = int(os.environ.get("CAIRN_WAR_PROCESSES") or (50 if os.environ.get("CAIRN_SOAK") else 1))
FIRST = int(os.environ.get("CAIRN_WAR_SEED") or time.time() // 86400 * 10_000)

pytestmark = [pytest.mark.slow, pytest.mark.node, pytest.mark.xdist_group("war of processes")]


@pytest.fixture(scope="module")
def processes(find_tool: Callable[[str], Path]) -> Any:
    """The game, if what it runs on is there."""
    find_tool("anvil")
    find_tool("ipfs")
    spec = importlib.util.spec_from_file_location("war_processes", Path(__file__).with_name("processes.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("number", range(GAMES))
def test_programs_as_they_are_run_lose_nothing_and_what_is_false_is_not_final(
    processes: Any, tmp_path: Path, number: int
) -> None:
    outcome = processes.Battle(tmp_path / "war", FIRST + number).play()
    assert not outcome.losses, "\n".join([str(outcome.losses), *outcome.told])
