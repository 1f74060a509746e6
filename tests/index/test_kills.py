"""Crash recovery of the index: killed at any instruction and restarted, it equals an undisturbed one.

The killed processes are forks of this one, so each has the whole chain in it. SIGKILL comes out of SQLite's own steps,
in the middle of a transaction as well as between two.
"""

from __future__ import annotations

import os
import random
import signal
from typing import TYPE_CHECKING, Any

import pytest

from registry.ethereum.networks import parse_finality
from registry.ethereum.node import NodeRefused
from registry.index import queries
from registry.index.sync import Follower

if TYPE_CHECKING:
    from conftest import Indexing

KILLS = 200 if os.environ.get("CAIRN_SOAK") else 20
A_RANGE = 3
"""Blocks a request: many transactions to be killed in."""


def narrow(method: str, params: Any, result: Any) -> Any:
    """A node that allows few blocks a request."""
    if method == "eth_getLogs" and int(params[0]["toBlock"], 16) - int(params[0]["fromBlock"], 16) >= A_RANGE:
        raise NodeRefused("range too wide")
    return result


def forked(indexing: Indexing, steps: int | None, *, finality: str) -> int:
    """Sync in another process that is killed after so many of SQLite's steps; returns how it ended."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with indexing.open() as index:
                if steps is not None:
                    left = iter(range(steps))
                    index.db.set_progress_handler(lambda: next(left, None) is None and _die(), 1)
                Follower(index, indexing.node(narrow), parse_finality(finality)).sync()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1]


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def count_steps(indexing: Indexing, *, finality: str) -> int:
    """How many of SQLite's steps an undisturbed sync takes."""
    taken = [0]

    def step() -> None:
        taken[0] += 1

    with indexing.open("counted") as index:
        index.db.set_progress_handler(step, 1)
        Follower(index, indexing.node(narrow), parse_finality(finality)).sync()
        index.db.set_progress_handler(None, 1)
    return taken[0]


@pytest.mark.slow
@pytest.mark.parametrize("finality", ["instant", "7"])
def test_killed_again_and_again_the_index_ends_as_an_undisturbed_one(
    indexing: Indexing, play_on: Any, finality: str
) -> None:
    play_on(indexing, 1)
    steps, rng = count_steps(indexing, finality=finality), random.Random(KILLS)
    kills, heads = 0, []
    for number in range(KILLS // 2):
        for made in indexing.folder.glob("index.sqlite*"):
            if number % 4 == 0:
                made.unlink()
        kills += forked(indexing, rng.randrange(steps), finality=finality) == signal.SIGKILL
        with indexing.open() as index:
            assert index.db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert index.db.execute("PRAGMA foreign_key_check").fetchall() == []
            heads.append(None if index.head is None else index.head.number)
        if number % 4 == 3:
            assert forked(indexing, None, finality=finality) == 0
            assert indexing.dump() == indexing.fresh(finality)
    assert kills > KILLS // 10
    assert len(set(heads)) > 2


@pytest.mark.slow
def test_killed_while_blocks_are_undone_the_index_ends_as_an_undisturbed_one(indexing: Indexing, play_on: Any) -> None:
    tester = indexing.chain.w3.provider.ethereum_tester
    fork = tester.take_snapshot()
    play_on(indexing, 1)
    rng, kills = random.Random(1), 0
    for seed in range(2, 2 + KILLS // 4):
        indexing.sync(finality="1000")
        with indexing.open() as index:
            before = index.head
        tester.revert_to_snapshot(fork)
        again = indexing.forget()
        play_on(again, seed)
        kills += forked(again, rng.randrange(400), finality="1000") == signal.SIGKILL
        assert forked(again, None, finality="1000") == 0
        assert again.dump() == again.fresh("1000")
        with again.open() as index:
            assert index.head != before
            assert [m.genesis[0] for m in queries.models(index.db)] == [seed]
    assert kills > 0
