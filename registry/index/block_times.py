"""Times of indexed blocks in a SQLite file beside the index, so that its readers need no node.

Each time is kept under its block's hash, so a reorg makes none of them wrong. Deleting the file loses nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

from registry.index import queries
from registry.index.entries import Block
from registry.index.log_source import LogSource
from registry.index.side_files import open_side_file, reported_unusable

__all__ = ["BlockTimes", "times_path"]

_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS times (hash BLOB PRIMARY KEY, time INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""


def times_path(index: Path) -> Path:
    """Return the path of the times of an index's blocks."""
    return index.with_suffix(".times.sqlite")


class BlockTimes:
    """Times by block, of one thread."""

    def __init__(self, path: Path) -> None:
        """Open the file; create it if it does not exist.

        Raises:
            IndexUnusable: The file is something else, or of another release.
        """
        self._path = path
        with self._reporting():
            self._db = open_side_file(path, _SCHEMA, _VERSION, "block times")

    def learn(self, source: LogSource, db: sqlite3.Connection, *, above: int = -1) -> None:
        """Fetch the times that are missing of an index's blocks with a number above this one.

        A block that the node has replaced is left out: the index will replace it too.

        Raises:
            NodeUnavailable: The node does not answer, or lacks a block.
        """
        head = queries.head_block(db)
        if head is None:
            return
        missing = [block for block in queries.blocks_between(db, above, head.number) if self.time_of(block) is None]
        wanted = {block.number: block.hash for block in missing}
        rows = [(block.hash, time) for block, time in source.timed_blocks(wanted) if wanted[block.number] == block.hash]
        with self._reporting():
            self._db.execute("BEGIN")
            self._db.executemany("INSERT OR IGNORE INTO times VALUES (?, ?)", rows)
            self._db.execute("COMMIT")

    def time_of(self, block: Block) -> int | None:
        """Return a block's time, Unix seconds; None if it is not known yet."""
        with self._reporting():
            row = self._db.execute("SELECT time FROM times WHERE hash = ?", (block.hash,)).fetchone()
        return None if row is None else row[0]

    def times_of(self, blocks: Iterable[Block]) -> dict[int, int]:
        """Return the times of blocks by number, Unix seconds; 0 for one that is not known yet."""
        return {block.number: self.time_of(block) or 0 for block in set(blocks)}

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _reporting(self) -> AbstractContextManager[None]:
        return reported_unusable(self._path, "for block times")
