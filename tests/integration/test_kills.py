"""Crash recovery of all roles: processes killed at random and restarted reach the same state, each effect once."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry.dev.chains import anvil_chain
from registry.dev.kubo_node import KuboNode
from registry.verification.verify import verify_version

KILLS = int(os.environ.get("CAIRN_KILLS") or (200 if os.environ.get("CAIRN_SOAK") else 12))
"""In all; a tenth of them on Kubo."""
SEED = int(os.environ.get("CAIRN_KILLS_SEED", "0")) or time.time_ns() % 10**9
LONGEST_REST = 0.6
"""Seconds between two kills, at most: several in each round."""


def killed(network: Any, kills: int, seed: int) -> int:
    """Run rounds until so many processes were killed and the round they were killed in has ended; return how many."""
    draw = random.Random(seed)
    left, rounds = kills, 0
    due = time.monotonic() + 0.5

    def strike() -> None:
        nonlocal left, due
        if left and time.monotonic() >= due:
            name = draw.choice(network.settings.names)
            network.kill(name)
            network.start(name)
            left -= 1
            due = time.monotonic() + draw.uniform(0.0, LONGEST_REST)

    with network.forked():
        while left or not rounds:
            rounds += 1
            network.run(rounds, meanwhile=strike)
    return rounds


def undisturbed(network: Any, rounds: int) -> None:
    with network.forked():
        network.run(rounds)


@pytest.mark.slow
@pytest.mark.node
@pytest.mark.real_time
@pytest.mark.parametrize("kind", ["local", "kubo"])
def test_rounds_with_killed_processes_end_as_an_uninterrupted_run(
    kind: str,
    make_network: Callable[..., Any],
    find_tool: Callable[[str], Path],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    kills = KILLS if kind == "local" else max(2, KILLS // 10)
    print(f"{kills} kills with CAIRN_KILLS_SEED={SEED}")
    stores = [str(tmp_path / "store")]
    if kind == "kubo":
        pair: tuple[KuboNode, KuboNode] = request.getfixturevalue("kubo_pair")
        stores = [f"kubo:{node.api}" for node in pair]
    with anvil_chain(find_tool("anvil")) as chain:
        network = make_network(chain, tmp_path / "killed", stores=stores)
        rounds = killed(network, kills, SEED)
        heads, effects, journaled = network.finalized(), network.effects(), network.journaled()
        stranger = tmp_path / "stranger"
        stranger.mkdir()
        versions = list(verify_version(network.owner, network.store, network.model_id, heads[-1], stranger))
    assert len(versions) == rounds + 1
    assert all(version.passed for version in versions), versions
    assert set(effects.values()) == {1}
    assert set(journaled.values()) == {1}
    with anvil_chain(find_tool("anvil")) as chain:
        other = make_network(chain, tmp_path / "undisturbed", stores=[str(tmp_path / "other")])
        assert other.model_id == network.model_id
        undisturbed(other, rounds)
        assert heads == other.finalized()
        assert effects == other.effects()
