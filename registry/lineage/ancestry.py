"""The ancestry graph of all versions of all models.

A version is identified by its manifest's digest, whatever its model: a version in two models joins their lineages. A
genesis may name a parent in another model, in its manifest only: the chain does not record it. Owners may publish any
digest under any parent, so the graph may have several paths and cycles: walks visit each version once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from registry.index import queries
from registry.index.entries import VersionEntry
from registry.lineage.catalogue import Catalogue
from registry.types import Digest

__all__ = ["Ancestry", "read_ancestry"]


@dataclass(frozen=True, slots=True)
class Ancestry:
    """The ancestry graph.

    Attributes:
        places: Entries of each version, one per model, in chain order.
        parents: Parents of each version, across models.
        children: Children of each version, across models.
        unread: Geneses whose manifests are unavailable: a parent in another model would be missing from the graph.
    """

    places: Mapping[Digest, tuple[VersionEntry, ...]]
    parents: Mapping[Digest, tuple[Digest, ...]]
    children: Mapping[Digest, tuple[Digest, ...]]
    unread: tuple[Digest, ...]

    def ancestors(self, digest: Digest) -> tuple[Digest, ...]:
        """Return a version and its ancestors in topological order, parents first."""
        return _walk(self.parents, (digest,))

    def descendants(self, digests: Iterable[Digest]) -> tuple[Digest, ...]:
        """Return versions and their descendants in topological order, parents first."""
        return _walk(self.children, digests)[::-1]

    def is_ancestor(self, elder: Digest, digest: Digest) -> bool:
        """Return whether `digest` is `elder` or descends from it."""
        return elder in self.ancestors(digest)


def read_ancestry(db: sqlite3.Connection, catalogue: Catalogue) -> Ancestry:
    """Return the graph of all indexed versions."""
    places: dict[Digest, tuple[VersionEntry, ...]] = {}
    for entry in queries.every_version(db):
        places[entry.digest] = (*places.get(entry.digest, ()), entry)
    geneses = {digest for digest, held in places.items() if any(not any(entry.parent) for entry in held)}
    unread = catalogue.learn_versions(sorted(geneses))
    parents: dict[Digest, tuple[Digest, ...]] = {}
    for digest, held in places.items():
        said = [entry.parent for entry in held if any(entry.parent)]
        elsewhere = catalogue.parent_of(digest) if digest in geneses else None
        parents[digest] = tuple(dict.fromkeys([*said, *([elsewhere] if elsewhere is not None else [])]))
    children: dict[Digest, list[Digest]] = {}
    for digest, named in parents.items():
        for parent in named:
            children.setdefault(parent, []).append(digest)
    return Ancestry(places, parents, {digest: tuple(named) for digest, named in children.items()}, unread)


def _walk(edges: Mapping[Digest, tuple[Digest, ...]], starts: Iterable[Digest]) -> tuple[Digest, ...]:
    """Return everything reachable in depth-first postorder; a cycle is cut where the walk closes it."""
    done: dict[Digest, None] = {}
    entered: set[Digest] = set()
    stack = [(digest, False) for digest in reversed(tuple(starts))]
    while stack:
        digest, left = stack.pop()
        if left:
            done[digest] = None
        elif digest not in entered:
            entered.add(digest)
            stack.append((digest, True))
            stack += [(following, False) for following in reversed(edges.get(digest, ()))]
    return tuple(done)
