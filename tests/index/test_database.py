"""The index file: a single writer, refusals, and atomic changes."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from registry.errors import ChainError, IndexUnusable
from registry.index import queries
from registry.index.database import MIGRATIONS, Index, index_path, migrate, read_index, remove_index
from registry.index.entries import Block, Following
from registry.types import Address

if TYPE_CHECKING:
    from conftest import Indexing

ROOT = Path(__file__).resolve().parents[2]
FOLLOWING = Following(1, b"\x01" * 32, (Address(b"\x02" * 20), Address(b"\x03" * 20)), 5)
HOLDER = """
import sys, time
from pathlib import Path
from registry.index.database import Index
from registry.index.entries import Following
with Index(Path(sys.argv[1]), Following(1, bytes([1]) * 32, (bytes([2]) * 20, bytes([3]) * 20), 5)):
    print("open", flush=True)
    time.sleep(60)
"""


def block(number: int, logs: int = 0) -> tuple[int, bytes, int]:
    return number, number.to_bytes(32, "big"), logs


def test_a_file_is_named_by_chain_genesis_and_contract(tmp_path: Path) -> None:
    path = index_path(tmp_path, chain_id=7, genesis=b"\xab" * 32, contract=Address(b"\xcd" * 20))
    assert path == tmp_path / "7-abababababababab" / ("0x" + "cd" * 20 + ".sqlite")


def test_what_is_followed_is_kept_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    Index(path, FOLLOWING).close()
    with Index(path, FOLLOWING) as index:
        assert queries.following(index.db) == FOLLOWING
    others = (
        replace(FOLLOWING, chain_id=2),
        replace(FOLLOWING, genesis=b"\x09" * 32),
        replace(FOLLOWING, contracts=FOLLOWING.contracts[:1]),
        replace(FOLLOWING, contracts=FOLLOWING.contracts[::-1]),
        replace(FOLLOWING, first_block=4),
    )
    for other in others:
        with pytest.raises(IndexUnusable, match=r"expected an index of 0x.* got one of 0x"):
            Index(path, other)
    with Index(path, replace(FOLLOWING, first_block=9)) as index:
        assert index.following == FOLLOWING


def test_a_second_writer_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    with Index(path, FOLLOWING):
        for attempt in (lambda: Index(path, FOLLOWING), lambda: remove_index(path)):
            with pytest.raises(IndexUnusable, match="another process is writing to this index; only one may"):
                attempt()
    Index(path, FOLLOWING).close()


def test_a_writer_in_another_process_excludes_this_one_until_it_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, path], stdout=subprocess.PIPE, env=environment)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(IndexUnusable, match="another process"):
            Index(path, FOLLOWING)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    Index(path, FOLLOWING).close()


def test_a_file_of_a_newer_release_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    Index(path, FOLLOWING).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    db.close()
    before = path.read_bytes()
    for attempt in (lambda: Index(path, FOLLOWING), lambda: read_index(path).__enter__()):
        with pytest.raises(IndexUnusable, match=rf"expected an index of version {len(MIGRATIONS)}.*newer release"):
            attempt()
    assert path.read_bytes() == before


def test_an_index_of_an_earlier_release_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    Index(path, FOLLOWING).close()
    with sqlite3.connect(path) as db:
        db.execute("DROP INDEX commitments_by_round")
        db.execute("PRAGMA user_version = 3")
    db.close()
    with pytest.raises(IndexUnusable, match="expected an index of version 4, got 3"), read_index(path):
        pass
    Index(path, FOLLOWING).close()
    with read_index(path) as db:
        for what in ("max(block)", "count(*)"):
            steps = db.execute(f"EXPLAIN QUERY PLAN SELECT {what} FROM commitments WHERE round = x'00'").fetchall()
            assert [step[3] for step in steps] == [
                "SEARCH commitments USING COVERING INDEX commitments_by_round (round=?)"
            ]


def test_scripts_run_in_order_each_once_and_whole_or_not_at_all() -> None:
    db = sqlite3.connect(":memory:", isolation_level=None)
    scripts = ["CREATE TABLE a (x); INSERT INTO a VALUES (1);", "ALTER TABLE a ADD COLUMN y; UPDATE a SET y = x + 1;"]
    migrate(db, scripts[:1])
    migrate(db, scripts)
    migrate(db, scripts)
    assert db.execute("SELECT x, y FROM a").fetchall() == [(1, 2)]
    with pytest.raises(sqlite3.Error):
        migrate(db, [*scripts, "INSERT INTO a VALUES (8, 9); INSERT INTO b VALUES (1);"])
    db.execute("ROLLBACK")
    assert db.execute("SELECT count(*) FROM a").fetchone() == (1,)
    assert db.execute("PRAGMA user_version").fetchone() == (2,)


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\x00" + bytes(4096), bytes(100)])
def test_a_file_that_is_no_index_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "index.sqlite"
    path.write_bytes(content)
    with pytest.raises(IndexUnusable, match=r"index\.sqlite"):
        Index(path, FOLLOWING)
    with pytest.raises(IndexUnusable), read_index(path):
        pass
    remove_index(path)
    assert not path.exists()
    Index(path, FOLLOWING).close()


def test_an_index_whose_schema_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript(f"CREATE TABLE abcd (x); PRAGMA user_version = {len(MIGRATIONS)};")
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE abcd", b"CREATE TABXE ab\xff\xfe"))
    with pytest.raises(IndexUnusable, match="cannot be used as an index"):
        Index(path, FOLLOWING)
    with pytest.raises(IndexUnusable, match="cannot be used as an index"), read_index(path) as db:
        queries.head_block(db)


def test_an_index_that_is_not_there_is_not_made_by_reading_it(tmp_path: Path) -> None:
    with (
        pytest.raises(IndexUnusable, match=r"expected an index at .*, found none"),
        read_index(tmp_path / "none.sqlite"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_reader_sees_the_file_as_it_was_when_it_began(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    with Index(path, FOLLOWING) as index:
        index.append([block(5)], {}, final=True)
        with read_index(path) as db:
            assert queries.head_block(db) == Block(*block(5)[:2])
            index.append([block(6)], {}, final=True)
            assert queries.head_block(db) == Block(*block(5)[:2])
        with read_index(path) as db:
            assert queries.head_block(db) == Block(*block(6)[:2])
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                db.execute("DELETE FROM blocks")


def test_blocks_without_logs_are_kept_only_as_marks(tmp_path: Path) -> None:
    def numbers(index: Index) -> list[int]:
        return [b.number for b in queries.blocks_between(index.db, -1, 1000)]

    with Index(tmp_path / "index.sqlite", FOLLOWING) as index:
        index.append([block(10)], {}, final=True)
        index.append([block(12, 1), block(20)], {}, final=True)
        assert numbers(index) == [12, 20]
        index.append([block(25, 1), block(30)], {}, final=False)
        assert numbers(index) == [12, 20, 25, 30]
        index.finalize(Block(*block(27)[:2]))
        assert numbers(index) == [12, 25, 27, 30]
        index.finalize(Block(*block(30)[:2]))
        assert numbers(index) == [12, 25, 30]
        index.undo(above=12)
        assert numbers(index) == [12]
        assert (index.head, index.final) == (Block(*block(12)[:2]), Block(*block(12)[:2]))
        index.undo(above=None)
        assert (numbers(index), index.final) == ([], None)


MODEL = (b"\x0a" * 32, b"\x0b" * 20, b"\x0c" * 32, b"\x0d" * 32, b"\x0e" * 32)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"models": [(5, 0, *MODEL), (5, 1, *MODEL)]}, "block 5, log 1: .* models: UNIQUE constraint failed"),
        ({"owners": [(5, 0, b"\x0f" * 32, b"\x0b" * 20)]}, "block 5, log 0: .* owners: FOREIGN KEY constraint failed"),
        ({"models": [(5, 0, *MODEL)], "offers": [(5, 0, MODEL[0], None, b"")]}, "block 5, log 0: .* offers: NOT NULL"),
        (
            {"models": [(5, 0, *MODEL)], "members": [(5, 3, MODEL[0], b"\x0b" * 20, 1 << 64)]},
            "block 5, log 3: .* members: Python int too large",
        ),
        ({"models": [(6, 0, *MODEL)]}, "block 6, log 0: .* models: FOREIGN KEY constraint failed"),
    ],
)
def test_rows_that_do_not_fit_are_named_and_nothing_is_written(tmp_path: Path, rows: dict, said: str) -> None:
    with Index(tmp_path / "index.sqlite", FOLLOWING) as index:
        index.append([block(4)], {}, final=True)
        before = list(queries.dump(index.db))
        with pytest.raises(ChainError, match=said):
            index.append([block(5, 1)], rows, final=True)
        assert list(queries.dump(index.db)) == before
        index.append([block(5)], {}, final=True)


def test_a_dump_names_every_table_and_holds_nothing_of_this_machine(played: Indexing) -> None:
    played.sync()
    lines = played.dump()
    assert [line.partition(" ")[0] for line in lines if not line.startswith(" ")][:3] == [
        "following",
        "contracts",
        "blocks",
    ]
    assert lines == played.fresh()
    assert str(played.folder) not in "\n".join(lines)
