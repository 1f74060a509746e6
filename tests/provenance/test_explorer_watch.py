"""The explorer's watch on an index: every commit and every replacement of a file is seen by the next request."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from registry.errors import IndexUnusable
from registry.explorer.watch import Watch
from registry.index.block_times import BlockTimes, times_path
from registry.index.database import Index, remove_index
from registry.index.entries import Block, Following
from registry.types import Address

FOLLOWING = Following(1, b"\x01" * 32, (Address(b"\x02" * 20),), 1)


def blocks(index: Index, *numbers: int) -> None:
    index.db.execute("BEGIN")
    rows = [(number, number.to_bytes(32, "big"), 0) for number in numbers]
    index.db.executemany("INSERT INTO blocks VALUES (?, ?, ?)", rows)
    index.db.execute("COMMIT")


def numbered(number: int) -> Block:
    return Block(number, number.to_bytes(32, "big"))


def test_each_commit_is_seen(tmp_path: Path) -> None:
    path, watch = tmp_path / "index.sqlite", Watch()
    with pytest.raises(IndexUnusable, match="found none"):
        watch.state(path)
    with Index(path, FOLLOWING) as index:
        assert watch.state(path).head is None
        for number in range(1, 40):
            blocks(index, number)
            assert watch.state(path).head == numbered(number)
        index.db.execute("UPDATE following SET final = 7, checked = 9")
        seen = watch.state(path)
        assert (seen.final, seen.checked, seen.time) == (numbered(7), 9, None)
        BlockTimes(times_path(path)).close()
        with sqlite3.connect(times_path(path)) as db:
            db.execute("INSERT INTO times VALUES (?, 1700000000)", (numbered(39).hash,))
        db.close()
        assert watch.state(path).time == 1_700_000_000
    watch.close()


def test_nothing_is_read_while_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from registry.explorer import watch as module

    path, watch = tmp_path / "index.sqlite", Watch()
    with Index(path, FOLLOWING) as index:
        blocks(index, 1)
        first = watch.state(path), watch.state(path)  # the first made the file of times
        monkeypatch.setattr(module, "_read", lambda _: pytest.fail("read again"))
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(watch.state, [path] * 64)) == {*first}
    watch.close()


@pytest.mark.parametrize("asked", [True, False], ids=["asked meanwhile", "not asked"])
def test_an_index_that_is_made_anew_is_seen(asked: bool, tmp_path: Path) -> None:
    path, watch = tmp_path / "index.sqlite", Watch()
    for first in (5, 3):
        with Index(path, FOLLOWING) as index:
            for number in range(first, first + 4):
                blocks(index, number)
                assert watch.state(path).head == numbered(number)
        remove_index(path)
        if asked:
            with pytest.raises(IndexUnusable, match="found none"):
                watch.state(path)
    watch.close()
