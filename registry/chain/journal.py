"""Write-ahead journal of an account's transactions: a crash neither loses nor duplicates any.

    PLANNED ──sign──▶ SIGNED ──send──▶ SENT ──mine──▶ MINED ──finalize──▶ FINAL
       ▲  │              │               ▲  │            │ └──fail──▶ FAILED   (reverted on chain, and that is final)
       │  └─drop─▶ FAILED└──────lose─────┼──┘──reorg─────┘
       └─────────────────────────────────┘      (lose: another transaction used the nonce, and that is final)

    SIGNED ──refuse──▶ FAILED   (no node has taken any of its attempts: the nonce is given to another intent)

An *intent* is one intended call, identified by its idempotency key; an *attempt* is one signed transaction for it. All
attempts of an intent share one nonce, so at most one of them can be mined. An attempt's raw bytes are stored before
they are broadcast: after a crash the same bytes are rebroadcast. Replaced attempts are kept, since one of them may
still be mined.

One SQLite file per chain (by id and genesis block) and account, in WAL mode with synchronous=FULL: every step is one
transaction, durable when the call returns. `crash_point` is called before and after every step, for crash tests.
"""

from __future__ import annotations

import contextlib
import enum
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.errors import ChainError, NodeUnavailable
from registry.types import Address

__all__ = ["STEPS", "Attempt", "Intent", "Journal", "JournalConflict", "IntentState"]

STEPS = ("plan", "sign", "send", "mine", "finalize", "fail", "drop", "lose", "reorg", "replace", "refuse")
"""Steps of the diagram, and `replace`: signing another attempt for the same nonce."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS intents (
  id INTEGER PRIMARY KEY,
  key TEXT NOT NULL,
  state TEXT NOT NULL,
  recipient BLOB,
  data BLOB NOT NULL,
  value TEXT NOT NULL,
  nonce INTEGER,
  gas INTEGER,
  tx_hash BLOB,
  block_number INTEGER,
  block_hash BLOB,
  succeeded INTEGER,
  note TEXT NOT NULL DEFAULT '',
  made_at REAL NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS intents_by_key ON intents (key, id);
CREATE UNIQUE INDEX IF NOT EXISTS one_live_intent_a_key ON intents (key)
  WHERE state IN ('PLANNED', 'SIGNED', 'SENT', 'MINED');
CREATE TABLE IF NOT EXISTS attempts (
  tx_hash BLOB PRIMARY KEY,
  intent INTEGER NOT NULL REFERENCES intents (id),
  raw BLOB NOT NULL,
  nonce INTEGER NOT NULL,
  max_fee TEXT NOT NULL,
  priority_fee TEXT NOT NULL,
  signed_at REAL NOT NULL,
  sent INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS attempts_by_intent ON attempts (intent);
"""


class IntentState(enum.StrEnum):
    """State of an intent."""

    PLANNED = "PLANNED"
    SIGNED = "SIGNED"
    SENT = "SENT"
    MINED = "MINED"
    FINAL = "FINAL"
    FAILED = "FAILED"

    @property
    def live(self) -> bool:
        """Whether the state is not terminal."""
        return self not in (IntentState.FINAL, IntentState.FAILED)


class JournalConflict(ChainError):
    """The key already has a different call."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One signed transaction. Fees are wei per gas; `signed_at` is Unix time."""

    tx_hash: bytes
    raw: bytes
    nonce: int
    max_fee: int
    priority_fee: int
    signed_at: float
    sent: bool


@dataclass(frozen=True, slots=True)
class Intent:
    """One intended call.

    Attributes:
        number: Row id in the journal.
        key: Idempotency key; at most one live intent per key.
        state: State of the intent.
        recipient: Called contract; None for a contract creation.
        data: Calldata or creation code.
        value: Value, wei.
        nonce: None until signed.
        gas: Gas limit; None until signed.
        attempts: Attempts with the current nonce, oldest first; the last is the current one.
        tx_hash: Transaction hash of the mined attempt; None until mined, like the next three.
        block_number: Block in which it was mined.
        block_hash: Hash of that block.
        succeeded: False if it reverted.
        note: Reason of a failure.
    """

    number: int
    key: str
    state: IntentState
    recipient: Address | None
    data: bytes
    value: int
    nonce: int | None
    gas: int | None
    attempts: tuple[Attempt, ...]
    tx_hash: bytes | None
    block_number: int | None
    block_hash: bytes | None
    succeeded: bool | None
    note: str


class Journal:
    """The journal of one account on one chain. Several processes and threads may share a file."""

    def __init__(self, path: Path | None, *, crash_point: Callable[[str], None] | None = None) -> None:
        """Open or create a journal.

        Args:
            path: The file; None keeps it in memory, which is right only where the chain is in memory too.
            crash_point: Called with "before STEP" and "after STEP" around every write.

        Raises:
            ChainError: The file cannot be used.
        """
        from filelock import FileLock

        self._crash_point = crash_point or _go_on
        self._thread_lock = threading.RLock()
        self._file_lock: FileLock | None = None
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._file_lock = FileLock(f"{path}.lock")
            self._db = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=30, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(SCHEMA)
            if path is not None:
                os.chmod(path, 0o600)
        except (sqlite3.Error, OSError) as error:
            raise ChainError(f"the journal {path} cannot be used: {error}") from error

    @classmethod
    def of(
        cls,
        folder: Path,
        *,
        chain_id: int,
        genesis: bytes,
        account: Address,
        crash_point: Callable[[str], None] | None = None,
    ) -> Journal:
        """Open the journal of an account on a chain, in a folder of journals.

        The name includes the genesis hash, because development chains restart under the same chain id.
        """
        name = f"{chain_id}-{genesis.hex()[:16]}"
        return cls(folder / name / f"0x{account.hex()}.sqlite", crash_point=crash_point)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextlib.contextmanager
    def lock(self, timeout: float = 120.0) -> Iterator[None]:
        """Lock the account, so that no other process allocates its nonces.

        Raises:
            NodeUnavailable: Another process held the lock for timeout seconds.
        """
        from filelock import Timeout

        with self._thread_lock:
            if self._file_lock is None:
                yield
                return
            try:
                self._file_lock.acquire(timeout=timeout)
            except Timeout as error:
                raise NodeUnavailable(
                    f"another process has been sending from this account for {timeout:g} s"
                ) from error
            try:
                yield
            finally:
                self._file_lock.release()

    def latest(self, key: str) -> Intent | None:
        """Return the newest intent of a key."""
        return self._one("SELECT * FROM intents WHERE key = ? ORDER BY id DESC LIMIT 1", key)

    def first_after(self, number: int, key: str) -> Intent | None:
        """Return the oldest intent of a key that was planned after another intent; None if there is none."""
        return self._one("SELECT * FROM intents WHERE key = ? AND id > ? ORDER BY id LIMIT 1", key, number)

    def get(self, number: int) -> Intent:
        """Return an intent by its number."""
        found = self._one("SELECT * FROM intents WHERE id = ?", number)
        if found is None:
            raise ChainError(f"the journal has no entry {number}")
        return found

    def on_its_way(self, key: str) -> Intent | None:
        """Return a key's signed intent that is still live; None if there is none."""
        known = self.latest(key)
        return known if known is not None and known.state.live and known.state is not IntentState.PLANNED else None

    def live(self) -> tuple[Intent, ...]:
        """Return every live intent, by nonce, those without nonce last."""
        return self._all(
            "SELECT * FROM intents WHERE state IN ('PLANNED', 'SIGNED', 'SENT', 'MINED') ORDER BY nonce NULLS LAST, id"
        )

    def nonces(self) -> frozenset[int]:
        """Return the nonces of live intents."""
        query = "SELECT nonce FROM intents WHERE state IN ('SIGNED', 'SENT', 'MINED')"
        return frozenset(int(nonce) for (nonce,) in self._rows(query))

    def bids(self) -> tuple[tuple[int, int, int], ...]:
        """Return gas limit, highest fee (wei per gas) and value (wei) of each signed intent's newest attempt."""
        query = (
            "SELECT gas, (SELECT max_fee FROM attempts WHERE intent = intents.id AND attempts.nonce = intents.nonce "
            "ORDER BY rowid DESC LIMIT 1), value FROM intents WHERE state IN ('SIGNED', 'SENT')"
        )
        return tuple((int(gas), int(max_fee), int(value)) for gas, max_fee, value in self._rows(query))

    def unused_nonce(self) -> int:
        """Return the nonce after the last one used by a transaction in a final block."""
        ((last,),) = self._rows("SELECT max(nonce) FROM intents WHERE state IN ('FINAL', 'FAILED')")
        return 0 if last is None else int(last) + 1

    def all(self) -> tuple[Intent, ...]:
        """Return every intent ever planned, oldest first."""
        return self._all("SELECT * FROM intents ORDER BY id")

    def plan(self, key: str, recipient: Address | None, data: bytes, value: int = 0) -> Intent:
        """Record an intended call, or return the live intent of that key.

        Raises:
            JournalConflict: The live intent of that key has another call and is already signed.
        """
        with self._step("plan") as db:
            row = db.execute(
                "SELECT id, state, recipient, data, value FROM intents WHERE key = ? "
                "AND state IN ('PLANNED', 'SIGNED', 'SENT', 'MINED')",
                (key,),
            ).fetchone()
            if row is None:
                number = db.execute(
                    "INSERT INTO intents (key, state, recipient, data, value, made_at) "
                    "VALUES (?, 'PLANNED', ?, ?, ?, ?)",
                    (key, recipient, data, str(value), time.time()),
                ).lastrowid
            else:
                number, state, *effect = row
                if effect != [recipient, data, str(value)]:
                    if state != IntentState.PLANNED:
                        raise JournalConflict(f"{key}: a transaction with another content is {state} already")
                    # Nothing was signed for the old content, so it can never be mined.
                    db.execute(
                        "UPDATE intents SET recipient = ?, data = ?, value = ? WHERE id = ?",
                        (recipient, data, str(value), number),
                    )
        assert number is not None
        return self.get(int(number))

    def sign(self, number: int, attempt: Attempt, gas: int) -> Intent:
        """Store a signed attempt: the first for a nonce, or a replacement of earlier ones."""
        with self._step("sign" if self.get(number).state is IntentState.PLANNED else "replace") as db:
            db.execute(
                "INSERT INTO attempts (tx_hash, intent, raw, nonce, max_fee, priority_fee, signed_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    attempt.tx_hash,
                    number,
                    attempt.raw,
                    attempt.nonce,
                    str(attempt.max_fee),
                    str(attempt.priority_fee),
                    attempt.signed_at,
                ),
            )
            db.execute(
                "UPDATE intents SET state = 'SIGNED', nonce = ?, gas = ? WHERE id = ? AND state IN "
                "('PLANNED', 'SIGNED', 'SENT')",
                (attempt.nonce, gas, number),
            )
        return self.get(number)

    def send(self, number: int, tx_hash: bytes) -> Intent:
        """Record that a node has accepted an attempt."""
        with self._step("send") as db:
            db.execute("UPDATE attempts SET sent = 1 WHERE tx_hash = ?", (tx_hash,))
            db.execute("UPDATE intents SET state = 'SENT' WHERE id = ? AND state = 'SIGNED'", (number,))
        return self.get(number)

    def mine(self, number: int, tx_hash: bytes, *, block_number: int, block_hash: bytes, succeeded: bool) -> Intent:
        """Record that an attempt was mined."""
        with self._step("mine") as db:
            db.execute("UPDATE attempts SET sent = 1 WHERE tx_hash = ?", (tx_hash,))
            db.execute(
                "UPDATE intents SET state = 'MINED', tx_hash = ?, block_number = ?, block_hash = ?, succeeded = ? "
                "WHERE id = ? AND state IN ('SIGNED', 'SENT', 'MINED')",
                (tx_hash, block_number, block_hash, int(succeeded), number),
            )
        return self.get(number)

    def reorg(self, number: int) -> Intent:
        """Record that a reorg removed its block."""
        with self._step("reorg") as db:
            db.execute(
                "UPDATE intents SET state = 'SENT', tx_hash = NULL, block_number = NULL, block_hash = NULL, "
                "succeeded = NULL WHERE id = ? AND state = 'MINED'",
                (number,),
            )
        return self.get(number)

    def finalize(self, number: int) -> Intent:
        """Record that it succeeded in a final block."""
        with self._step("finalize") as db:
            db.execute("UPDATE intents SET state = 'FINAL' WHERE id = ? AND state = 'MINED'", (number,))
        return self.get(number)

    def fail(self, number: int, note: str) -> Intent:
        """Record that it reverted in a final block."""
        with self._step("fail") as db:
            db.execute("UPDATE intents SET state = 'FAILED', note = ? WHERE id = ? AND state = 'MINED'", (note, number))
        return self.get(number)

    def drop(self, number: int, note: str) -> Intent:
        """Drop an intent for which nothing was signed."""
        with self._step("drop") as db:
            db.execute(
                "UPDATE intents SET state = 'FAILED', note = ? WHERE id = ? AND state = 'PLANNED'", (note, number)
            )
        return self.get(number)

    def refuse(self, number: int, note: str) -> Intent:
        """Give up an intent of which no node has taken an attempt. Its nonce is free, and its bytes may come again."""
        with self._step("refuse") as db:
            given_up = db.execute(
                "UPDATE intents SET state = 'FAILED', nonce = NULL, gas = NULL, note = ? WHERE id = ? "
                "AND state = 'SIGNED' AND NOT EXISTS (SELECT 1 FROM attempts WHERE attempts.intent = intents.id "
                "AND attempts.nonce = intents.nonce AND sent = 1)",
                (note, number),
            )
            if given_up.rowcount:
                db.execute("DELETE FROM attempts WHERE intent = ? AND sent = 0", (number,))
        return self.get(number)

    def lose(self, number: int) -> Intent:
        """Record that another transaction finally used the nonce: no attempt can be mined any more."""
        with self._step("lose") as db:
            db.execute(
                "UPDATE intents SET state = 'PLANNED', nonce = NULL, gas = NULL, tx_hash = NULL, block_number = NULL, "
                "block_hash = NULL, succeeded = NULL WHERE id = ? AND state IN ('SIGNED', 'SENT', 'MINED')",
                (number,),
            )
        return self.get(number)

    @contextlib.contextmanager
    def _step(self, name: str) -> Iterator[sqlite3.Connection]:
        """Run one write, durable on return."""
        self._crash_point(f"before {name}")
        with self._thread_lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                except BaseException:
                    self._db.execute("ROLLBACK")
                    raise
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                raise ChainError(f"the journal cannot be written: {error}") from error
        self._crash_point(f"after {name}")

    def _one(self, query: str, *values: object) -> Intent | None:
        found = self._all(query, *values)
        return found[0] if found else None

    def _all(self, query: str, *values: object) -> tuple[Intent, ...]:
        with self._thread_lock:
            return tuple(self._intent(row) for row in self._rows(query, *values))

    def _rows(self, query: str, *values: object) -> list[Any]:
        with self._thread_lock:
            try:
                return self._db.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise ChainError(f"the journal cannot be read: {error}") from error

    def _intent(self, row: tuple[object, ...]) -> Intent:
        number, key, state, recipient, data, value, nonce, gas, tx_hash, block, block_hash, succeeded, note, _ = row
        attempts = self._rows(
            "SELECT tx_hash, raw, nonce, max_fee, priority_fee, signed_at, sent FROM attempts "
            "WHERE intent = ? AND nonce IS ? ORDER BY rowid",
            number,
            nonce,
        )
        return Intent(
            number=number,  # type: ignore[arg-type]
            key=key,  # type: ignore[arg-type]
            state=IntentState(str(state)),
            recipient=recipient,  # type: ignore[arg-type]
            data=data,  # type: ignore[arg-type]
            value=int(str(value)),
            nonce=nonce,  # type: ignore[arg-type]
            gas=gas,  # type: ignore[arg-type]
            attempts=tuple(Attempt(h, raw, n, int(m), int(p), at, bool(s)) for h, raw, n, m, p, at, s in attempts),
            tx_hash=tx_hash,  # type: ignore[arg-type]
            block_number=block,  # type: ignore[arg-type]
            block_hash=block_hash,  # type: ignore[arg-type]
            succeeded=None if succeeded is None else bool(succeeded),
            note=note,  # type: ignore[arg-type]
        )


def _go_on(point: str) -> None:
    """Crash point in production: does nothing."""
