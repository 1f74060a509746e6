"""Queries on the index, one function each; those about rounds are in `round_queries`.

All take a connection from `registry.index.database` and answer as of the last indexed block. Lists are in chain order.
Unknown subjects give None or an empty tuple.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from registry.chain.contract_structs import Plan, Roots
from registry.chain.labels import Label, LabelChange
from registry.index.entries import (
    Block,
    DeprecationEntry,
    Following,
    HeadEntry,
    LogPlace,
    MemberEntry,
    ModelEntry,
    OwnerEntry,
    PlanEntry,
    VersionEntry,
)
from registry.types import ZERO32, Address, Digest, ModelId, Role

__all__ = [
    "END",
    "FROM",
    "ORDER",
    "PLACE",
    "acts",
    "ancestors",
    "block_at",
    "blocks_between",
    "checked_block",
    "children",
    "committed_digests",
    "count_facts",
    "deprecations",
    "descendants",
    "dump",
    "every_version",
    "facts",
    "facts_of_block",
    "final_block",
    "following",
    "head_block",
    "heads",
    "is_named",
    "labels",
    "member_history",
    "members",
    "memberships",
    "model",
    "models",
    "models_after",
    "named_manifests",
    "newest_models",
    "owned_by",
    "owners",
    "place_of",
    "plans",
    "roots_of",
    "tables",
    "version_digests",
    "versions",
    "versions_before",
    "versions_of_digest",
]

_NOBODY, _NO_PARENT = Address(bytes(20)), Digest(ZERO32)
PLACE = "{0}.block, {0}.log_index, blocks.hash, {0}.block <= coalesce(following.final, -1)"
FROM = "FROM {0} JOIN blocks ON blocks.number = {0}.block, following"
ORDER = "ORDER BY {0}.block, {0}.log_index"


def facts(db: sqlite3.Connection, table: str, columns: str, where: str = "1", *values: object) -> Iterator[Any]:
    """Yield rows of a table: the place, then the columns."""
    listed = ", ".join(f"{table}.{column}" for column in columns.split())
    query = f"SELECT {PLACE}, {listed} {FROM} WHERE {where} {ORDER}".format(table)
    for row in db.execute(query, values):
        yield (place_of(row), *row[4:])


def place_of(row: Sequence[Any]) -> LogPlace:
    """Return the place from the leading columns of a row, as selected by `PLACE`."""
    block, log_index, block_hash, final = row[:4]
    return LogPlace(block, log_index, block_hash, bool(final))


# The index itself ---------------------------------------------------------------------------------------------------


def following(db: sqlite3.Connection) -> Following | None:
    """Return chain and contracts that the index follows; None for a new index."""
    row = db.execute("SELECT chain_id, genesis, first_block FROM following").fetchone()
    if row is None:
        return None
    contracts = tuple(Address(a) for (a,) in db.execute("SELECT address FROM contracts ORDER BY number"))
    return Following(row[0], row[1], contracts, row[2])


def head_block(db: sqlite3.Connection) -> Block | None:
    """Return the last indexed block."""
    row = db.execute("SELECT number, hash FROM blocks ORDER BY number DESC LIMIT 1").fetchone()
    return None if row is None else Block(*row)


def final_block(db: sqlite3.Connection) -> Block | None:
    """Return the last indexed block that was final when it was read."""
    row = db.execute("SELECT number, hash FROM blocks JOIN following ON number = final").fetchone()
    return None if row is None else Block(*row)


def checked_block(db: sqlite3.Connection) -> int | None:
    """Return the number of the block up to which everything was verified when it was read."""
    row = db.execute("SELECT checked FROM following").fetchone()
    return None if row is None else row[0]


def blocks_between(db: sqlite3.Connection, above: int, up_to: int) -> tuple[Block, ...]:
    """Return the stored blocks with above < number <= up_to, ascending."""
    query = "SELECT number, hash FROM blocks WHERE number > ? AND number <= ? ORDER BY number"
    return tuple(Block(*row) for row in db.execute(query, (above, up_to)))


def block_at(db: sqlite3.Connection, number: int) -> Block | None:
    """Return an indexed block; None if the index keeps none of this number, as of most that hold no facts."""
    row = db.execute("SELECT number, hash FROM blocks WHERE number = ?", (number,)).fetchone()
    return None if row is None else Block(*row)


def facts_of_block(db: sqlite3.Connection, number: int) -> tuple[tuple[int, str], ...]:
    """Return the facts that stand in a block: log index and table, in log order."""
    held = [table for table in tables(db) if table not in ("following", "contracts", "blocks")]
    query = " UNION ALL ".join(f"SELECT log_index, '{table}' FROM {table} WHERE block = ?1" for table in held)
    return tuple(db.execute(f"{query} ORDER BY 1, 2", (number,)))


def count_facts(db: sqlite3.Connection) -> dict[str, int]:
    """Return the number of rows of each table."""
    held = [table for table in tables(db) if table not in ("following", "contracts", "blocks")]
    return {table: int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]) for table in held}


def tables(db: sqlite3.Connection) -> tuple[str, ...]:
    """Return the names of all tables, in creation order."""
    return tuple(name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid"))


def dump(db: sqlite3.Connection) -> Iterator[str]:
    """Yield the index's content as text, one line per row: equal for equal chains, however they were read."""
    for table in tables(db):
        described = db.execute(f"PRAGMA table_info({table})")
        columns = [(name, key) for _, name, _, _, _, key in described if (table, name) != ("following", "checked")]
        listed = [name for name, _ in columns]
        yield " ".join((table, *listed))
        keys = ", ".join(name for name, key in sorted(columns, key=lambda column: column[1]) if key)
        for row in db.execute(f"SELECT {', '.join(listed)} FROM {table} ORDER BY {keys}"):
            yield " ".join(("", *(value.hex() if isinstance(value, bytes) else str(value) for value in row)))


# Models -------------------------------------------------------------------------------------------------------------

_LAST = "(SELECT {0} FROM {1} WHERE {1}.model = models.model ORDER BY block DESC, log_index DESC LIMIT 1)"
_COUNT = "(SELECT count(*) FROM {0} WHERE {0}.model = models.model)"
_CHANGES = ("owners", "offers", "suspensions", "members", "plans", "rounds", "heads")
_MODEL = f"""
SELECT {PLACE.format("models")}, models.model, {_LAST.format("owner", "owners")},
  (SELECT pending_owner FROM offers WHERE offers.model = models.model AND (block, log_index) >
    (SELECT block, log_index FROM owners WHERE owners.model = models.model ORDER BY block DESC, log_index DESC LIMIT 1)
    ORDER BY block DESC, log_index DESC LIMIT 1),
  genesis_digest, {_LAST.format("digest", "heads")},
  (SELECT count(*) FROM members AS m WHERE m.model = models.model AND m.roles & {int(Role.PARTICIPANT)} AND NOT EXISTS
    (SELECT 1 FROM members AS later WHERE later.model = m.model AND later.account = m.account
      AND (later.block, later.log_index) > (m.block, m.log_index))),
  {_COUNT.format("rounds")}, {_COUNT.format("plans")}, {_LAST.format("suspended", "suspensions")},
  max({", ".join(f"coalesce({_LAST.format('block', table)}, 0)" for table in _CHANGES)})
    <= coalesce(following.final, -1)
{FROM.format("models")} WHERE {{}} {ORDER.format("models")}
"""
END = ((1 << 63) - 1, 0)
"""A place, (block, log_index), after all others."""


def models(db: sqlite3.Connection) -> tuple[ModelEntry, ...]:
    """Return every model."""
    return tuple(_models(db, "1"))


def models_after(db: sqlite3.Connection, after: tuple[int, int] | None, most: int) -> tuple[ModelEntry, ...]:
    """Return so many models registered after a place, (block, log_index), or from the first."""
    where = "(models.block, models.log_index) > (?, ?)"
    return tuple(_models(db, where, *(after or (-1, -1)), most=most))


def newest_models(db: sqlite3.Connection, most: int) -> tuple[bytes, ...]:
    """Return the ids of so many models, the newest first."""
    rows = db.execute("SELECT model FROM models ORDER BY block DESC LIMIT ?", (most,))
    return tuple(bytes(found) for (found,) in rows)


def model(db: sqlite3.Connection, model_id: ModelId) -> ModelEntry | None:
    """Return a model."""
    return next(_models(db, "models.model = ?", model_id), None)


def _models(db: sqlite3.Connection, where: str, *values: object, most: int = -1) -> Iterator[ModelEntry]:
    for row in db.execute(f"{_MODEL.format(where)} LIMIT ?", (*values, most)):
        name, owner, pending, genesis, head, *counts, suspended, final = row[4:]
        shown = (*counts, bool(suspended), bool(final))
        yield ModelEntry(place_of(row), name, owner, pending or _NOBODY, genesis, head, *shown)


def owned_by(db: sqlite3.Connection, account: Address) -> tuple[ModelId, ...]:
    """Return the models that an account owns, in the order in which it came to own them."""
    rows = db.execute("SELECT DISTINCT model FROM owners WHERE owner = ? ORDER BY block, log_index", (account,))
    return tuple(ModelId(name) for (name,) in rows if owners(db, name)[-1].owner == account)


def owners(db: sqlite3.Connection, model_id: ModelId) -> tuple[OwnerEntry, ...]:
    """Return a model's owners, the registrant first."""
    return tuple(OwnerEntry(*row) for row in facts(db, "owners", "model owner", "model = ?", model_id))


def members(db: sqlite3.Connection, model_id: ModelId) -> tuple[MemberEntry, ...]:
    """Return the last role change of every account that has or had a role."""
    last = {entry.account: entry for entry in member_history(db, model_id)}
    return tuple(sorted(last.values(), key=lambda entry: entry.at))


def member_history(
    db: sqlite3.Connection, model_id: ModelId, account: Address | None = None
) -> tuple[MemberEntry, ...]:
    """Return every role change, of one account or all."""
    where = "model = ?1 AND (?2 IS NULL OR account = ?2)"
    rows = facts(db, "members", "model account roles", where, model_id, account)
    return tuple(MemberEntry(at, name, who, Role(roles)) for at, name, who, roles in rows)


def memberships(db: sqlite3.Connection, account: Address) -> tuple[MemberEntry, ...]:
    """Return the last role change of an account in each model where it has or had a role."""
    rows = facts(db, "members", "model account roles", "account = ?", account)
    last = {name: MemberEntry(at, name, who, Role(roles)) for at, name, who, roles in rows}
    return tuple(sorted(last.values(), key=lambda entry: entry.at))


_ACTORS = (
    ("attestations", "aggregator"),
    ("demands", "demander"),
    ("answers", "answerer"),
    ("advances", "challenger"),
    ("bonds", "aggregator"),
    ("score_commitments", "validator"),
)


def acts(db: sqlite3.Connection, account: Address) -> bool:
    """Return whether an account attested, demanded, answered, challenged, staked or scored, with a role or without."""
    query = " OR ".join(f"EXISTS (SELECT 1 FROM {table} WHERE {column} = ?1)" for table, column in _ACTORS)
    return bool(db.execute(f"SELECT {query}", (account,)).fetchone()[0])


def plans(db: sqlite3.Connection, model_id: ModelId) -> tuple[PlanEntry, ...]:
    """Return a model's plan history; the last entry is the current plan."""
    rows = facts(db, "plans", "model plan_index digest rules_hash terms", "model = ?", model_id)
    return tuple(PlanEntry(at, name, index, _plan(*plan)) for at, name, index, *plan in rows)


def _plan(digest: Digest, rules_hash: bytes, terms: str) -> Plan:
    kept = json.loads(terms)
    hooks = tuple(Address(bytes.fromhex(hook[2:])) for hook in kept.pop("hooks"))
    return Plan(digest, rules_hash, **kept, hooks=hooks)


# Versions -----------------------------------------------------------------------------------------------------------

_VERSION = f"""
SELECT {PLACE.format("versions")}, versions.model, versions.digest, versions.parent,
  versions.tensor_root, versions.rest_root, versions.state_root, versions.state_layout, versions.step,
  versions.round, rounds.number, deprecations.block IS NOT NULL,
  max(versions.block, coalesce(deprecations.block, 0)) <= coalesce(following.final, -1)
FROM versions JOIN blocks ON blocks.number = versions.block
  LEFT JOIN rounds ON rounds.round = versions.round
  LEFT JOIN deprecations ON deprecations.model = versions.model AND deprecations.digest = versions.digest, following
"""
_WALK = """
WITH RECURSIVE found (digest) AS (
  SELECT digest FROM versions WHERE model = ?1 AND digest = ?2
  UNION SELECT {next} FROM versions JOIN found ON {step} WHERE versions.model = ?1)
"""


def roots_of(columns: Sequence[Any]) -> Roots:
    """Return a version's roots from their five columns."""
    tensor, rest, state, layout, step = columns
    return Roots(tensor, rest, state, layout, int.from_bytes(step))


def _versions(
    db: sqlite3.Connection, where: str, *values: object, walk: str = "", order: str = ORDER.format("versions")
) -> tuple[VersionEntry, ...]:
    found = []
    for row in db.execute(f"{walk}{_VERSION} WHERE {where} {order}", values):
        name, digest, parent, *roots, made_by, number, deprecated, final = row[4:]
        shown = (roots_of(roots), made_by, number or 0, bool(deprecated), bool(final))
        found.append(VersionEntry(place_of(row), name, digest, parent or _NO_PARENT, *shown))
    return tuple(found)


def versions(db: sqlite3.Connection, model_id: ModelId) -> tuple[VersionEntry, ...]:
    """Return a model's versions, the genesis first."""
    return _versions(db, "versions.model = ?", model_id)


def versions_before(
    db: sqlite3.Connection, model_id: ModelId, before: tuple[int, int] | None, most: int
) -> tuple[VersionEntry, ...]:
    """Return so many of a model's versions anchored before a place, (block, log_index), or the last; newest first."""
    where = "versions.model = ? AND (versions.block, versions.log_index) < (?, ?)"
    order = "ORDER BY versions.block DESC, versions.log_index DESC LIMIT ?"
    return _versions(db, where, model_id, *(before or END), most, order=order)


def every_version(db: sqlite3.Connection) -> tuple[VersionEntry, ...]:
    """Return the versions of all models, in chain order."""
    return _versions(db, "1")


def versions_of_digest(db: sqlite3.Connection, digest: Digest) -> tuple[VersionEntry, ...]:
    """Return the versions with a digest, in all models."""
    return _versions(db, "versions.digest = ?", digest)


def children(db: sqlite3.Connection, model_id: ModelId, digest: Digest) -> tuple[VersionEntry, ...]:
    """Return the versions of a model that have a version as their parent."""
    return _versions(db, "versions.model = ? AND versions.parent = ?", model_id, digest)


def ancestors(db: sqlite3.Connection, model_id: ModelId, digest: Digest) -> tuple[VersionEntry, ...]:
    """Return a version and its ancestors in its model, the genesis first."""
    walk = _WALK.format(next="versions.parent", step="versions.digest = found.digest")
    return _versions(db, "versions.model = ?1 AND versions.digest IN found", model_id, digest, walk=walk)


def descendants(db: sqlite3.Connection, model_id: ModelId, digest: Digest) -> tuple[VersionEntry, ...]:
    """Return a version and its descendants in its model, itself first."""
    walk = _WALK.format(next="versions.digest", step="versions.parent = found.digest")
    return _versions(db, "versions.model = ?1 AND versions.digest IN found", model_id, digest, walk=walk)


def committed_digests(db: sqlite3.Connection, *, above: int = -1) -> tuple[Digest, ...]:
    """Return the digests of all updates committed in blocks above a number, in all models."""
    query = "SELECT DISTINCT digest FROM commitments WHERE block > ? ORDER BY digest"
    return tuple(Digest(digest) for (digest,) in db.execute(query, (above,)))


def version_digests(db: sqlite3.Connection, *, above: int = -1) -> tuple[Digest, ...]:
    """Return the digests of all versions anchored in blocks above a number, in all models."""
    query = "SELECT DISTINCT digest FROM versions WHERE block > ? ORDER BY digest"
    return tuple(Digest(digest) for (digest,) in db.execute(query, (above,)))


_MANIFESTS = (("versions", "digest"), ("commitments", "digest"), ("plans", "digest"), ("results", "report_digest"))


def is_named(db: sqlite3.Connection, digest: bytes) -> bool:
    """Return whether an event names a manifest: of a version, an update, a plan or a report."""
    query = " OR ".join(f"EXISTS (SELECT 1 FROM {table} WHERE {column} = ?1)" for table, column in _MANIFESTS)
    return bool(db.execute(f"SELECT {query}", (digest,)).fetchone()[0])


def named_manifests(db: sqlite3.Connection) -> tuple[Digest, ...]:
    """Return the digests of all manifests that events name, ascending."""
    query = " UNION ".join(f"SELECT {column} FROM {table}" for table, column in _MANIFESTS)
    return tuple(Digest(digest) for (digest,) in db.execute(f"{query} ORDER BY 1"))


def heads(db: sqlite3.Connection, model_id: ModelId) -> tuple[HeadEntry, ...]:
    """Return a model's history of heads; the last one is the current head."""
    return tuple(HeadEntry(*row) for row in facts(db, "heads", "model digest", "model = ?", model_id))


def deprecations(db: sqlite3.Connection, model_id: ModelId) -> tuple[DeprecationEntry, ...]:
    """Return a model's deprecations."""
    columns = "model digest reason_digest replacement"
    return tuple(DeprecationEntry(*row) for row in facts(db, "deprecations", columns, "model = ?", model_id))


def labels(db: sqlite3.Connection, model_id: ModelId) -> tuple[tuple[int, Label], ...]:
    """Return every change of the labels of a model's versions, with its block number."""
    rows = facts(db, "labels", "model digest owner change text", "model = ?", model_id)
    return tuple(
        (at.block, Label(name, digest, owner, LabelChange(change), text))
        for at, name, digest, owner, change, text in rows
    )
