"""Identify a file: find the versions whose manifests name it."""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from registry.errors import InputError
from registry.index import queries
from registry.index.entries import VersionEntry
from registry.lineage.catalogue import Catalogue
from registry.store.blobs import blob_of_file
from registry.types import Cid

__all__ = ["FileName", "Identified", "identify", "name_of_file"]


@dataclass(frozen=True, slots=True)
class FileName:
    """A file's content addresses; None for one that is unknown."""

    cid: Cid | None
    sha256: bytes | None

    def __str__(self) -> str:
        return str(self.cid) if self.cid else f"sha256:{(self.sha256 or b'').hex()}"


@dataclass(frozen=True, slots=True)
class Identified:
    """The versions that a file is.

    Attributes:
        versions: Matching versions; those made by a round first, then in chain order.
        unread: How many versions have an unavailable manifest: the file may be one of those.
    """

    name: FileName
    versions: tuple[VersionEntry, ...]
    unread: int


def name_of_file(path: Path) -> FileName:
    """Return a file's content addresses; the file is streamed.

    Raises:
        InputError: The file cannot be read.
    """
    cid = blob_of_file(path).cid
    try:
        with path.open("rb") as file:
            return FileName(cid, hashlib.file_digest(file, "sha256").digest())
    except OSError as error:
        raise InputError(f"{path}: expected a file to read, got {error.strerror or error}") from error


def identify(db: sqlite3.Connection, catalogue: Catalogue, name: FileName, *, unread: int | None = None) -> Identified:
    """Find the versions that a file is.

    Reads the manifests of all versions that were not read before, unless told how many of these are `unread`. A
    manifest matches only if every known address agrees: one that names the sha256 of this file and the CID of another
    matches neither.
    """
    if unread is None:
        unread = len(catalogue.learn_versions(queries.version_digests(db)))
    named = catalogue.versions_of_file(name.cid, sha256=name.sha256)
    entries = (entry for digest in named for entry in queries.versions_of_digest(db, digest))
    return Identified(name, tuple(sorted(entries, key=lambda entry: (entry.round_id is None, entry.at))), unread)
