"""SQLite files beside the index, of facts that hold on every chain: deleting one loses nothing but time."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from registry.errors import IndexUnusable

__all__ = ["open_side_file", "reported_unusable"]


def open_side_file(path: Path | None, schema: str, version: int, what: str) -> sqlite3.Connection:
    """Open a file; create it if it does not exist, also while others do.

    Args:
        path: The file; None for one in memory.
        schema: SQL that creates its tables where there are none, without `PRAGMA user_version`.
        version: Its `user_version`, above 0.
        what: What it holds, for errors.

    Raises:
        IndexUnusable: The file is something else, or of another release.
        sqlite3.Error: SQLite cannot use it.
    """
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=30)
    (found,) = db.execute("PRAGMA user_version").fetchone()
    if found == 0:
        db.executescript(f"BEGIN IMMEDIATE;{schema}PRAGMA user_version = {version};COMMIT;")
    elif found != version:
        raise IndexUnusable(f"{path}: expected {what} of version {version}, got {found}: remove it")
    return db


@contextlib.contextmanager
def reported_unusable(path: Path | None, use: str) -> Iterator[None]:
    """Raise SQLite's errors within the context as `IndexUnusable`, of a file that cannot be used so."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:  # SQLite's messages quote a damaged schema
        raise IndexUnusable(f"{path}: cannot be used {use}: {error}; remove it") from error
