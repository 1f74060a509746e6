"""Times of indexed blocks in a SQLite file beside the index, so that its readers need no node.

Each time is kept under its block's hash, so a reorg makes none of them wrong. Deleting the file loses nothing.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from registry.errors import IndexUnusable
from registry.index import queries
from registry.index.entries import Block
from registry.index.log_source import LogSource

__all__ = ["BlockTimes", "times_path"]

_VERSION = 1
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS times (hash BLOB PRIMARY KEY, time INTEGER NOT NULL) STRICT, WITHOUT ROWID;
PRAGMA user_version = {_VERSION};
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
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._reporting():
            self._db = sqlite3.connect(path, isolation_level=None, timeout=30)
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version == 0:
                self._db.executescript(f"BEGIN;{_SCHEMA}COMMIT;")
            elif version != _VERSION:
                raise IndexUnusable(f"{path}: expected block times of version {_VERSION}, got {version}: remove it")

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

    @contextlib.contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise IndexUnusable(f"{self._path}: cannot be used for block times: {error}; remove it") from error
