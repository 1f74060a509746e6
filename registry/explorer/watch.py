"""An index's state, read anew only when its files have changed: every request asks for it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path

from registry.index import queries
from registry.index.block_times import BlockTimes, times_path
from registry.index.database import read_index
from registry.index.entries import Block

__all__ = ["IndexState", "Watch"]


@dataclass(frozen=True, slots=True)
class IndexState:
    """What of an index every page shows.

    Attributes:
        head: The last block; None for an empty index.
        time: Its time, Unix seconds; None if it is not known yet.
        final: The last final block; None while none is.
        checked: The block up to which the index was verified against block headers; None if it was not.
    """

    head: Block | None
    time: int | None
    final: Block | None
    checked: int | None


class Watch:
    """Watches the files of one index; shared by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: tuple[sqlite3.Connection, ...] = ()
        self._which: list[tuple[int, int]] = []
        self._seen: object = None
        self._state: IndexState | None = None

    def state(self, index: Path) -> IndexState:
        """Return the state.

        Raises:
            IndexUnusable: There is no index yet, or it is of another release.
        """
        with self._lock:
            seen = self._versions(index)
            if seen is None or seen != self._seen or self._state is None:
                self._state, self._seen = _read(index), seen  # what is committed meanwhile changes the versions again
            return self._state

    def close(self) -> None:
        """Close the files."""
        with self._lock:
            self._forget()

    def _versions(self, index: Path) -> object:
        """Return what changes with every commit to the files and with their replacement; None if one is missing."""
        files = index, times_path(index)
        try:
            which = [(found.st_dev, found.st_ino) for found in map(os.stat, files)]
            if not self._open or which != self._which:
                self._forget()
                self._open = tuple(_opened(file) for file in files)
                self._which = which
            return which, [db.execute("PRAGMA data_version").fetchone() for db in self._open]
        except (OSError, sqlite3.Error):  # reading says what is wrong with them
            self._forget()
            return None

    def _forget(self) -> None:
        for db in self._open:
            db.close()
        self._open, self._which, self._seen = (), [], None


def _opened(file: Path) -> sqlite3.Connection:
    uri = f"{file.absolute().as_uri()}?mode=ro"
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)


def _read(index: Path) -> IndexState:
    with read_index(index) as db, contextlib.closing(BlockTimes(times_path(index))) as times:
        head = queries.head_block(db)
        known = None if head is None else times.time_of(head)
        return IndexState(head, known, queries.final_block(db), queries.checked_block(db))
