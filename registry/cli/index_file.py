"""Locate and sync the index of the configured contract."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from registry.cli.session import Session

if TYPE_CHECKING:
    from registry.cli.finding import Found
    from registry.index.checking import RangeCheck
    from registry.index.database import Index
    from registry.index.entries import Following
    from registry.index.sync import Synced
    from registry.lineage.ancestry import Ancestry
    from registry.lineage.catalogue import Catalogue
    from registry.lineage.dates_and_metrics import DatesAndMetrics
    from registry.lineage.provenance import VersionProvenance

__all__ = ["open_catalogue", "open_index", "path_of", "read_lineage", "read_synced", "sync_index"]


@contextmanager
def read_synced(session: Session) -> Iterator[sqlite3.Connection]:
    """Sync the index, creating it if absent, and open it to read; do not sync if another process does."""
    from registry.errors import IndexInUse
    from registry.index import queries
    from registry.index.database import read_index
    from registry.index.for_now import following_of

    try:
        with open_index(session) as index:
            sync_index(session, index)
    except IndexInUse:
        session.out.note("Another process syncs the index: results are as of its last block.")
    with read_index(path_of(session, following_of(session.reader))) as db:
        checked, head = queries.checked_block(db), queries.head_block(db)
        if checked is not None and head is not None and checked < head.number:
            session.out.note(
                f"The index was checked up to block {checked}; blocks up to {head.number} are the node's word: "
                "`cairn index sync --verify` checks them."
            )
        yield db


@contextmanager
def open_catalogue(session: Session) -> Iterator[Catalogue]:
    """Open the catalogue of manifests in Cairn's home folder."""
    from registry.lineage.catalogue import Catalogue

    catalogue = Catalogue(session.home / "catalogue.sqlite", session.store)
    try:
        yield catalogue
    finally:
        catalogue.close()


def path_of(session: Session, following: Following) -> Path:
    """Return the path of the index file."""

    from registry.index.database import index_path

    chain_id, genesis, (contract, *_) = following.chain_id, following.genesis, following.contracts
    return index_path(session.home / "index", chain_id=chain_id, genesis=genesis, contract=contract)


def open_index(session: Session) -> Index:
    """Open the index for writing; create it if absent."""
    from registry.index.database import Index
    from registry.index.for_now import following_of

    following = following_of(session.reader)
    return Index(path_of(session, following), following)


def sync_index(session: Session, index: Index, check: RangeCheck | None = None) -> Synced:
    """Sync the index with the chain, with a progress bar."""
    from registry.index.sync import Follower

    missing = session.reader.latest_block() - (
        index.following.first_block - 1 if index.head is None else index.head.number
    )
    with session.out.progress("indexing", max(0, missing), unit="blocks") as advance:
        follower = Follower(
            index,
            session.w3,
            session.reader.finality,
            check=check,
            advanced=lambda blocks, logs: advance(len(blocks)),
        )
        return follower.sync()


def read_lineage(session: Session, found: Found) -> tuple[Ancestry, list[VersionProvenance], DatesAndMetrics]:
    """Sync the index and read a version's lineage: the graph, the story of each ancestor, and dates and metrics."""
    from registry.facts.version_facts import ancestor_stories, lineage_entries
    from registry.lineage.ancestry import read_ancestry
    from registry.lineage.dates_and_metrics import dates_and_metrics

    with read_synced(session) as db, open_catalogue(session) as catalogue, session.out.waiting("reading"):
        ancestry = read_ancestry(db, catalogue)
        stories = ancestor_stories(db, session.store, ancestry, found.model, found.version)
        shown = lineage_entries(ancestry, stories, found.version)
        return ancestry, stories, dates_and_metrics(session.w3, db, session.store, shown, stories)
