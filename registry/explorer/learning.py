"""Read manifests into the catalogue ahead of the pages that search it: by file, by data set, by parent."""

from __future__ import annotations

import contextlib

from registry.explorer.reading import Shelf
from registry.index import queries
from registry.index.database import read_index
from registry.lineage.catalogue import Catalogue
from registry.store.base import reported_unavailable
from registry.store.limited import LimitedStore
from registry.types import Cid, Digest

__all__ = ["Learned"]

_PATIENCE = 2.0
"""Seconds that one call may spend on reading."""


class Learned:
    """Which manifests of an index's updates and versions were not available so far; of one thread."""

    def __init__(self) -> None:
        self._read_to = -1
        self._updates: tuple[Digest, ...] = ()
        self._versions: tuple[Digest, ...] = ()
        self._missed: dict[Cid, int] = {}

    def learn(self, shelf: Shelf) -> int:
        """Read the manifests of newer blocks, and those that were not available before, for a while.

        Returns:
            The number of those that are still unavailable.

        Raises:
            IndexUnusable: Index or catalogue cannot be read.
        """
        store = LimitedStore(shelf.store, _PATIENCE, missed=self._missed)
        with (
            read_index(shelf.index) as db,
            contextlib.closing(Catalogue(shelf.catalogue, store)) as catalogue,
            reported_unavailable(),
        ):
            updates = queries.committed_digests(db, above=self._read_to)
            versions = queries.version_digests(db, above=self._read_to)
            self._versions = catalogue.learn_versions((*self._versions, *versions))
            self._updates = catalogue.learn_updates((*self._updates, *updates))
            final = queries.final_block(db)
            self._read_to = -1 if final is None else final.number
        return len(self._updates) + len(self._versions)
