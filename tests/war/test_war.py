"""Simulated wars: whatever the adversary combines, nobody honest loses, nothing false is final, and it does not gain.

`CAIRN_WAR_GAMES` is how many games, `CAIRN_WAR_SEED` the first one's seed: other ones each day.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import game
import pytest

GAMES = int(os.environ.get("CAIRN_WAR_GAMES") or (2000 if os.environ.get("CAIRN_SOAK") else 8))
FIRST = int(os.environ.get("CAIRN_WAR_SEED") or time.time() // 86400 * 10_000)
PARTS = 4
"""So many processes may share them."""
BELOW, ABOVE = 0.4, 0.5
"""Shares of the blocks' gas that a flood of demands takes: above the 36 % of `docs/assumptions.md`, which is of answers
sent alone, and below and above the 44 % of three at a time, as many as fit into an eighth of these blocks."""
SHARES = [(BELOW, False), (ABOVE, True)]
FLOODS = SHARES if os.environ.get("CAIRN_SOAK") else [SHARES[int(time.time() // 86400) % 2]]
"""One a day."""
LONG = 45
"""Blocks of a flood: three times what an answer may take, in time and late."""

pytestmark = [pytest.mark.slow, pytest.mark.node]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, find_tool: Callable[[str], Path]) -> Iterator[Any]:
    find_tool("anvil")
    with game.stage(tmp_path_factory.mktemp("war")) as made:
        yield made


@pytest.mark.parametrize(
    "part", [pytest.param(part, marks=pytest.mark.xdist_group(f"war {part}")) for part in range(PARTS)]
)
def test_nobody_honest_loses_whatever_the_adversary_combines(place: Any, part: int) -> None:
    for number in range(part, GAMES, PARTS):
        outcome = game.Game(place, FIRST + number).play()
        print(outcome)
        assert not outcome.losses, outcome


@pytest.mark.xdist_group("war replayed")
def test_a_seed_replays_a_game_to_the_bit(place: Any) -> None:
    moves = ("version", "reorg", "restart")
    first, again, other = (game.Game(place, seed, moves=moves).play().trace for seed in (0, 0, 3))
    assert first == again
    assert first != other


@pytest.mark.xdist_group("war flooded")
@pytest.mark.parametrize(("share", "lost"), FLOODS)
def test_a_flood_takes_a_bond_above_the_bound_and_none_below(place: Any, share: float, lost: bool) -> None:
    """Else the adversary were a toy: what it cannot do below, it can do above."""
    outcome = game.Game(place, 1, share=share, moves=("none", "flood"), flooded=LONG).play()
    assert any("lost" in loss for loss in outcome.losses) == lost, outcome
