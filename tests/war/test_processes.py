"""Wars of processes: what the simulated ones claim, of the programs as they are run, on real servers and their clocks.

`CAIRN_WAR_PROCESSES` is how many games, `CAIRN_WAR_SEED` the first one's seed: other ones each day.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import Battle

GAMES = int(os.environ.get("CAIRN_WAR_PROCESSES") or (50 if os.environ.get("CAIRN_SOAK") else 1))
FIRST = int(os.environ.get("CAIRN_WAR_SEED") or time.time() // 86400 * 10_000)

pytestmark = [pytest.mark.slow, pytest.mark.node, pytest.mark.real_time, pytest.mark.xdist_group("war of processes")]


@pytest.mark.parametrize("number", range(GAMES))
def test_programs_as_they_are_run_lose_nothing_and_what_is_false_is_not_final(
    find_tool: Callable[[str], Path], tmp_path: Path, number: int
) -> None:
    find_tool("anvil")
    find_tool("ipfs")
    outcome = Battle(tmp_path / "war", FIRST + number).play()
    assert not outcome.losses, "\n".join([str(outcome.losses), *outcome.told])
