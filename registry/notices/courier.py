"""Courier: delivers a model's notices to one receiver in chain order, at least once each.

    index ──▶ notices after the cursor ──▶ receiver took it? ── no ──▶ error; the next step tries it again
                                                  │ yes
                                                  ▼
                                          cursor, fsynced

A crash between delivery and cursor repeats that one notice, under the same id.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from registry.errors import FinalityBroken
from registry.index import queries
from registry.index.database import read_index
from registry.index.entries import Following
from registry.notices.cursor import Cursor, read_cursor, write_cursor
from registry.notices.notice import Notice, NoticeKind, notices
from registry.types import ModelId

__all__ = ["Courier"]

_LAST = (1 << 63) - 1


class Courier:
    """Delivers a model's notices to one receiver."""

    def __init__(
        self,
        index: Path,
        following: Following,
        model: ModelId,
        cursor: Path,
        deliver: Callable[[Notice], None],
        *,
        kinds: Collection[NoticeKind] = tuple(NoticeKind),
        provisional: bool = False,
        from_start: bool = False,
    ) -> None:
        """Bind a receiver to its cursor; without one it begins after the index's last final block.

        Args:
            index: The index, which something else keeps in step with the chain.
            following: What it follows.
            model: The model.
            cursor: The cursor's file; nobody else writes it.
            deliver: Hands a notice to the receiver; raises if the receiver did not take it.
            kinds: Which kinds.
            provisional: Deliver notices of blocks that are not final too, marked so. Each comes again once it is final;
                one that a reorg removes does not.
            from_start: Without a cursor, begin with the model's registration.

        Raises:
            InputError: The cursor's file is something else, or of another model.
            IndexUnusable: There is no such index.
        """
        self._index, self._following, self._model = index, following, model
        self._path, self._deliver = cursor, deliver
        self._kinds, self._provisional = kinds, provisional
        self._read: list[Notice] = []
        self._standing: frozenset[str] = frozenset()
        found = read_cursor(cursor, following, model)
        if found is None:
            with read_index(index) as db:
                final = queries.final_block(db)
            begins = -1 if from_start or final is None else final.number
            found = Cursor(begins, _LAST, None)
            write_cursor(cursor, following, model, found)
        self._cursor = found

    def step(self) -> str:
        """Deliver the next notice; return what was delivered, an empty string if there was nothing.

        Raises:
            CairnError: The receiver did not take it, or the index cannot be read.
            FinalityBroken: What was delivered is no longer on the chain.
        """
        notice = self._next()
        if notice is None:
            return ""
        self._deliver(notice)
        self._move(notice)
        return f"delivered {notice.kind.value} of block {notice.block}: {notice.id}"

    def _next(self) -> Notice | None:
        if self._read:
            return self._read[0]
        with read_index(self._index) as db:
            self._require_delivered(db)
            found = notices(db, self._following, self._model, self._cursor.place, self._kinds)
        self._read = [notice for notice in found if notice.final]
        if self._read or not self._provisional:
            return self._read[0] if self._read else None
        self._standing = frozenset(notice.id for notice in found)
        return next((notice for notice in found if notice.id not in self._cursor.provisional), None)

    def _move(self, notice: Notice) -> None:
        """Record that a notice was taken."""
        if notice.final:
            held = tuple(name for name in self._cursor.provisional if name != f"{notice.id}-provisional")
            moved = Cursor(notice.block, notice.log_index, notice.block_hash, held)
        else:
            held = tuple(name for name in self._cursor.provisional if name in self._standing)  # others were undone
            moved = replace(self._cursor, provisional=(*held, notice.id))
        write_cursor(self._path, self._following, self._model, moved)
        self._cursor, self._read = moved, self._read[1:]

    def _require_delivered(self, db: sqlite3.Connection) -> None:
        """Raise unless the last notice delivered is still on the chain, as far as the index has come."""
        cursor, final = self._cursor, queries.final_block(db)
        if cursor.block_hash is None or final is None or final.number < cursor.block:
            return
        held = queries.block_at(db, cursor.block)
        if held is None or held.hash != cursor.block_hash:
            raise FinalityBroken(
                f"block {cursor.block} was final as 0x{cursor.block_hash.hex()} when told of, got "
                f"{'none' if held is None else '0x' + held.hash.hex()} from the index: remove {self._path}"
            )
