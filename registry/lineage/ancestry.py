"""Which version descends from which, in all models at once.

A version is its manifest's digest, whatever model it stands in: one that is in two models joins their lineages. A
genesis may name a parent in another model; its manifest says so, the chain does not. Owners may publish any digest
under any parent, so the graph need not be a tree, nor without circles: walks visit a version once.
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
    """The graph.

    Attributes:
        places: Where each version stands: an entry a model, in the order of the chain.
        parents: Of each version, in whatever models.
        children: Of each version.
        unread: Geneses whose manifests are not to be had: what they descend from elsewhere is not known here.
    """

    places: Mapping[Digest, tuple[VersionEntry, ...]]
    parents: Mapping[Digest, tuple[Digest, ...]]
    children: Mapping[Digest, tuple[Digest, ...]]
    unread: tuple[Digest, ...]

    def ancestors(self, digest: Digest) -> tuple[Digest, ...]:
        """Return a version and all it descends from: each after its parents, the version itself last."""
        return _walk(self.parents, (digest,))

    def descendants(self, digests: Iterable[Digest]) -> tuple[Digest, ...]:
        """Return versions and all that descend from them: each before what descends from it."""
        return _walk(self.children, digests)[::-1]

    def is_ancestor(self, elder: Digest, digest: Digest) -> bool:
        """Say whether a version descends from another, or is it."""
        return elder in self.ancestors(digest)


def read_ancestry(db: sqlite3.Connection, catalogue: Catalogue) -> Ancestry:
    """Return the graph of all versions that the index knows."""
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
    """Everything that is reached, each after what it reaches, circles aside."""
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
