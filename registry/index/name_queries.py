"""Queries by name: what in the index has an id, digest or address that begins with some digits."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from registry.types import ModelId

__all__ = ["NamedFact", "named_facts"]


@dataclass(frozen=True, slots=True)
class NamedFact:
    """Something that the index knows by name.

    Attributes:
        kind: model, version, update, round, plan, report, account or block.
        name: Its whole name.
        model: The model that it is of; None for a model, an account or a block.
        number: Of a round the number, also of an update's and a report's; of a plan the index; of a block the number.
    """

    kind: str
    name: bytes
    model: ModelId | None
    number: int | None


_NAMES = (
    ("model", "models", "models.model", "NULL, NULL"),
    ("version", "versions", "versions.digest", "versions.model, NULL"),
    ("update", "commitments JOIN rounds USING (round)", "commitments.digest", "rounds.model, rounds.number"),
    ("round", "rounds", "rounds.round", "rounds.model, rounds.number"),
    ("plan", "plans", "plans.digest", "plans.model, plans.plan_index"),
    ("account", "commitments", "commitments.participant", "NULL, NULL"),
    ("account", "members", "members.account", "NULL, NULL"),
    ("account", "owners", "owners.owner", "NULL, NULL"),
    ("block", "blocks", "blocks.hash", "NULL, blocks.number"),
    ("report", "results JOIN rounds USING (round)", "results.report_digest", "rounds.model, rounds.number"),
)
"""Kind, tables, column that holds the name, and what else names it."""


def named_facts(db: sqlite3.Connection, digits: str, *, most: int) -> Iterator[NamedFact]:
    """Yield what has a name that begins with hex digits.

    Args:
        db: The index.
        digits: At most 64, in lower case.
        most: How many of a kind and table.
    """
    low = bytes.fromhex(digits + "0" * (len(digits) % 2))
    high = bytes.fromhex(digits + "f" * (len(digits) % 2)) + b"\xff" * (33 - (len(digits) + 1) // 2)
    for kind, tables, column, named in _NAMES:
        query = f"SELECT DISTINCT {column}, {named} FROM {tables} WHERE {column} >= ? AND {column} <= ? LIMIT ?"
        for row in db.execute(query, (low, high, most)):
            yield NamedFact(kind, *row)
