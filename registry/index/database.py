"""SQLite file of the index: one writer, any number of readers, atomic transactions, migrations.

After a crash at any point, the file holds the chain's facts up to some block. Readers see a snapshot. SQLite runs in
WAL mode with `synchronous=NORMAL`, since transactions lost in a power failure can be fetched again. The lock is
flock(2), which the kernel releases when the process dies.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from registry.errors import ChainError, IndexInUse, IndexUnusable
from registry.index import queries
from registry.index.entries import Block, Following
from registry.types import Address

__all__ = ["Index", "MIGRATIONS", "index_path", "migrate", "read_index", "remove_index"]

MIGRATIONS = ("schema.sql", "labels.sql", "scores.sql", "commitments_by_round.sql")
"""Migration scripts, in order; `PRAGMA user_version` counts those applied. A released script never changes."""
_CACHE_KIB = 48 << 10
_LOG_PAGES = 8192
"""WAL pages of 4 KiB before a checkpoint: pages that several ranges change are written back once."""
_DIGITS = 16


def index_path(folder: Path, *, chain_id: int, genesis: bytes, contract: Address) -> Path:
    """Return the path of a contract's index in a folder of indexes.

    The name includes the genesis hash, because development chains restart under the same chain id.
    """
    return folder / f"{chain_id}-{genesis.hex()[:_DIGITS]}" / f"0x{contract.hex()}.sqlite"


@contextlib.contextmanager
def read_index(path: Path) -> Iterator[sqlite3.Connection]:
    """Open an index read-only; all queries in the context see one snapshot.

    Raises:
        IndexUnusable: The file does not exist, or is of another release.
    """
    if not path.is_file():
        raise IndexUnusable(f"expected an index at {path}, found none: `cairn index sync` makes it")
    with _reporting(path):
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=30)
        with contextlib.closing(db):
            db.execute("BEGIN")
            version = _version(db)
            if version != len(MIGRATIONS):
                raise IndexUnusable(
                    f"{path}: expected an index of version {len(MIGRATIONS)}, got {version}: `cairn index sync` brings "
                    "an older one up to date, a newer one needs a newer release"
                )
            yield db


def remove_index(path: Path) -> None:
    """Delete an index file, if it exists.

    Raises:
        IndexUnusable: Another process writes to it.
    """
    with _locked(path):
        for name in (f"{path.name}-wal", f"{path.name}-shm", path.name):
            path.with_name(name).unlink(missing_ok=True)


class Index:
    """An index open for writing, locked against other writers until closed."""

    def __init__(self, path: Path, following: Following) -> None:
        """Open an index, or create it.

        Args:
            path: The file.
            following: Chain and contracts to follow.

        Raises:
            IndexUnusable: Another process writes to it, it follows another chain or other contracts, was written by a
                newer release, or is not an index.
        """
        self.path = path
        self.following = following
        with contextlib.ExitStack() as undo:
            undo.enter_context(_locked(path))
            with _reporting(path):
                self.db = undo.enter_context(
                    contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=30))
                )
                self.db.execute("PRAGMA journal_mode=WAL")
                self.db.execute("PRAGMA synchronous=NORMAL")
                self.db.execute("PRAGMA foreign_keys=ON")
                self.db.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
                self.db.execute(f"PRAGMA wal_autocheckpoint={_LOG_PAGES}")
                migrate(self.db, [(files("registry.index") / name).read_text() for name in MIGRATIONS])
                self._begin(following)
                self._tables = queries.tables(self.db)
            self._open = undo.pop_all()

    def close(self) -> None:
        """Close the file and release the lock."""
        self._open.close()

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def head(self) -> Block | None:
        """Last indexed block."""
        return queries.head_block(self.db)

    @property
    def final(self) -> Block | None:
        """Last indexed block that was final when it was read."""
        return queries.final_block(self.db)

    @property
    def checked(self) -> int | None:
        """Number of the block up to which everything was verified when it was read."""
        return queries.checked_block(self.db)

    def append(
        self,
        blocks: Sequence[tuple[int, bytes, int]],
        rows: Mapping[str, list[tuple[Any, ...]]],
        *,
        final: bool,
        checked: bool = False,
    ) -> None:
        """Append the next blocks with their rows, in one transaction.

        Args:
            blocks: (number, hash, logs) of blocks with logs, and of the last block.
            rows: Rows by table.
            final: Whether the blocks are final.
            checked: Whether they and all blocks before them were verified.

        Raises:
            ChainError: The rows contradict each other or the index.
        """
        with self._transaction():
            self.db.executemany("INSERT INTO blocks (number, hash, logs) VALUES (?, ?, ?)", blocks)
            try:
                for table, statement in self._inserts(rows):
                    self.db.executemany(statement, rows[table])
            except (sqlite3.IntegrityError, OverflowError):
                self._explain(blocks, rows)
            if final:
                self.db.execute("UPDATE following SET final = ?", (blocks[-1][0],))
            if checked:
                self.db.execute("UPDATE following SET checked = ?", (blocks[-1][0],))
            self._prune()

    def finalize(self, block: Block) -> None:
        """Mark an indexed block and all before it as final."""
        with self._transaction():
            self.db.execute("INSERT INTO blocks (number, hash, logs) VALUES (?, ?, 0) ON CONFLICT DO NOTHING", block)
            self.db.execute("UPDATE following SET final = ?", (block.number,))
            self._prune()

    def undo(self, *, above: int | None) -> None:
        """Delete all blocks above a number (None: all blocks), final or not, with their rows."""
        with self._transaction():
            self.db.execute("DELETE FROM blocks WHERE number > ?", (-1 if above is None else above,))
            head = None if self.head is None else self.head.number
            self.db.execute("UPDATE following SET final = min(final, ?1), checked = min(checked, ?1)", (head,))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """Run changes in one atomic transaction."""
        with _reporting(self.path):
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.db.execute("COMMIT")
            except BaseException:
                self.db.execute("ROLLBACK")
                raise

    def _begin(self, following: Following) -> None:
        known = queries.following(self.db)
        if known is None:
            with self._transaction():
                self.db.execute(
                    "INSERT INTO following (id, chain_id, genesis, first_block) VALUES (1, ?, ?, ?)",
                    (following.chain_id, following.genesis, following.first_block),
                )
                self.db.executemany("INSERT INTO contracts (address) VALUES (?)", ((a,) for a in following.contracts))
        elif replace(following, first_block=known.first_block) != known or known.first_block > following.first_block:
            raise IndexUnusable(f"{self.path}: expected an index of {following}, got one of {known}")
        else:
            self.following = known  # an index that begins earlier has the same facts

    def _inserts(self, rows: Mapping[str, list[tuple[Any, ...]]]) -> Iterable[tuple[str, str]]:
        """Yield insert statements in creation order of the tables, so that referenced tables come first."""
        for table in self._tables:
            if rows.get(table):
                yield table, f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[table][0]))})"

    def _explain(self, blocks: Sequence[tuple[int, bytes, int]], rows: Mapping[str, list[tuple[Any, ...]]]) -> None:
        """Find the conflicting row by inserting the rows one by one."""
        self.db.execute("ROLLBACK")
        self.db.execute("BEGIN IMMEDIATE")
        self.db.executemany("INSERT INTO blocks (number, hash, logs) VALUES (?, ?, ?)", blocks)
        for table, statement in self._inserts(rows):
            for row in rows[table]:
                try:
                    self.db.execute(statement, row)
                except (sqlite3.IntegrityError, OverflowError) as error:
                    raise ChainError(
                        f"block {row[0]}, log {row[1]}: expected logs that fit the index, got a contradiction in "
                        f"{table}: {error}"
                    ) from error

    def _prune(self) -> None:
        """Delete blocks without logs, except the last final one and the last one."""
        marks = [block.number for block in (self.final, self.head) if block is not None]
        self.db.execute("DELETE FROM blocks WHERE logs = 0 AND number NOT IN (?, ?)", (marks[0], marks[-1]))


def migrate(db: sqlite3.Connection, scripts: Sequence[str]) -> None:
    """Apply missing migrations in order, each in one transaction.

    Raises:
        IndexUnusable: The file was written by a newer release.
    """
    had = _version(db)
    if had > len(scripts):
        raise IndexUnusable(
            f"expected an index of version {len(scripts)} or older, got {had}: a newer release wrote it; use that one, "
            "or `cairn index rebuild`"
        )
    for number, script in enumerate(scripts[had:], had + 1):
        db.executescript(f"BEGIN IMMEDIATE;\n{script}\n;PRAGMA user_version = {number};\nCOMMIT;")


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the writer's lock on a file. The kernel releases it when the process ends, even by a crash."""
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{path}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise IndexInUse(f"{path}: another process is writing to this index; only one may") from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _reporting(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:  # SQLite's messages quote a damaged schema
        raise IndexUnusable(f"{path}: cannot be used as an index: {error}") from error
