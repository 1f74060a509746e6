"""Inverse index of manifests: from a file to its versions, from a data set to its updates and versions.

A separate SQLite file, filled lazily from the content store; deleting it loses nothing. A manifest is named by the hash
of its bytes, so its entry holds on every chain and never expires. An unavailable manifest is fetched again on the next
query.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

from registry.content.manifest import UpdateManifest, VersionManifest
from registry.index.side_files import open_side_file, reported_unusable
from registry.store.base import ContentStore
from registry.store.manifests import found_manifest
from registry.types import Cid, Digest

__all__ = ["Catalogue"]

_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS versions
    (digest BLOB PRIMARY KEY, parent BLOB, sha256 BLOB NOT NULL, cid BLOB NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS versions_by_cid ON versions (cid);
CREATE TABLE IF NOT EXISTS data_sets
    (digest BLOB NOT NULL, data_set BLOB NOT NULL, PRIMARY KEY (digest, data_set)) STRICT;
CREATE INDEX IF NOT EXISTS data_sets_by_data_set ON data_sets (data_set);
CREATE TABLE IF NOT EXISTS updates (digest BLOB PRIMARY KEY) STRICT;
"""


class Catalogue:
    """The manifests read so far, with the store to read more from."""

    def __init__(self, path: Path | None, store: ContentStore) -> None:
        """Open a catalogue; create it if it does not exist.

        Args:
            path: The SQLite file; None for one in memory.
            store: The store to fetch manifests from.

        Raises:
            IndexUnusable: The file is not a catalogue, or of another release.
        """
        self._store = store
        self._path = path
        with self._reporting():
            self._db = open_side_file(path, _SCHEMA, _VERSION, "a catalogue")

    def learn_versions(self, digests: Iterable[Digest]) -> tuple[Digest, ...]:
        """Read the manifests of versions that were not read before; return the digests of unavailable ones."""
        missing = []
        for digest in self._unknown("versions", digests):
            manifest = found_manifest(self._store, digest, VersionManifest)
            if manifest is None:
                missing.append(digest)
                continue
            said = manifest.statement.sources if manifest.statement else ()
            parent = None if manifest.parent is None else manifest.parent.digest
            row = (digest, parent, manifest.weights.sha256, bytes(manifest.weights.cid))
            self._add(digest, [_digest_of(s.data_set) for s in said if s.data_set is not None])
            with self._reporting():
                self._db.execute("INSERT OR IGNORE INTO versions VALUES (?, ?, ?, ?)", row)
        return tuple(missing)

    def learn_updates(self, digests: Iterable[Digest]) -> tuple[Digest, ...]:
        """Read the manifests of updates that were not read before; return the digests of unavailable ones."""
        missing = []
        for digest in self._unknown("updates", digests):
            manifest = found_manifest(self._store, digest, UpdateManifest)
            if manifest is None:
                missing.append(digest)
                continue
            self._add(digest, [_digest_of(manifest.data_set)])
            with self._reporting():
                self._db.execute("INSERT OR IGNORE INTO updates VALUES (?)", (digest,))
        return tuple(missing)

    def parent_of(self, digest: Digest) -> Digest | None:
        """Return the parent that a version's manifest names; None if it names none or was not read."""
        with self._reporting():
            row = self._db.execute("SELECT parent FROM versions WHERE digest = ?", (digest,)).fetchone()
        return None if row is None or row[0] is None else Digest(row[0])

    def children_of(self, digest: Digest) -> tuple[Digest, ...]:
        """Return the versions read so far whose manifest names this one as its parent."""
        with self._reporting():
            found = self._db.execute(
                "SELECT digest FROM versions WHERE parent = ? ORDER BY digest", (digest,)
            ).fetchall()
        return tuple(Digest(child) for (child,) in found)

    def versions_of_file(self, cid: Cid | None, *, sha256: bytes | None = None) -> tuple[Digest, ...]:
        """Return the versions whose manifest names a file: by CID, by sha256, or by both if both are given."""
        query = (
            "SELECT digest FROM versions WHERE coalesce(?1, ?2) IS NOT NULL "
            "AND (?1 IS NULL OR cid = ?1) AND (?2 IS NULL OR sha256 = ?2) ORDER BY digest"
        )
        with self._reporting():
            found = self._db.execute(query, (None if cid is None else bytes(cid), sha256)).fetchall()
        return tuple(Digest(digest) for (digest,) in found)

    def naming(self, data_set: bytes) -> frozenset[Digest]:
        """Return the updates and versions whose manifest names a data set."""
        with self._reporting():
            found = self._db.execute("SELECT digest FROM data_sets WHERE data_set = ?", (data_set,)).fetchall()
        return frozenset(Digest(digest) for (digest,) in found)

    def data_sets(self) -> frozenset[bytes]:
        """Return the digests of all data sets that manifests read so far name."""
        with self._reporting():
            return frozenset(digest for (digest,) in self._db.execute("SELECT DISTINCT data_set FROM data_sets"))

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _unknown(self, table: str, digests: Iterable[Digest]) -> list[Digest]:
        query = f"SELECT 1 FROM {table} WHERE digest = ?"
        with self._reporting():
            return [d for d in dict.fromkeys(digests) if self._db.execute(query, (d,)).fetchone() is None]

    def _add(self, digest: Digest, data_sets: list[bytes]) -> None:
        with self._reporting():
            rows = [(digest, data_set) for data_set in data_sets]
            self._db.executemany("INSERT OR IGNORE INTO data_sets VALUES (?, ?)", rows)

    def _reporting(self) -> AbstractContextManager[None]:
        return reported_unusable(self._path, "as a catalogue")


def _digest_of(name: Cid | bytes) -> bytes:
    return name.digest if isinstance(name, Cid) else name
