"""A snapshot: what the explorer needs of a chain and a store, in one folder, to show them where neither is at hand.

It holds the index of events, the times of its blocks, and the manifests that the events and one another name. It holds
no weights and no updates.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from registry.chain.client import Client
from registry.content.heads import read_head
from registry.content.manifest import (
    ReportManifest,
    UpdateManifest,
    VersionManifest,
    decode_any,
    manifest_cid,
)
from registry.errors import ContentError, FormError, InputError
from registry.explorer.learning import Learned
from registry.explorer.reading import Present, Shelf, Told
from registry.index import queries
from registry.index.block_times import BlockTimes, times_path
from registry.index.database import Index, read_index
from registry.index.for_now import following_of
from registry.index.log_source import LogSource
from registry.index.sync import Follower
from registry.store.base import ContentStore
from registry.store.local import LocalStore
from registry.types import Cid

__all__ = ["open_snapshot", "save_snapshot"]

_INDEX, _CATALOGUE, _STORE = "index.sqlite", "catalogue.sqlite", "store"


def save_snapshot(client: Client, store: ContentStore, folder: Path) -> None:
    """Bring a snapshot up to date, or make it.

    Args:
        client: The contract.
        store: Where manifests are read from; unavailable ones are left out.
        folder: The snapshot's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / _INDEX
    with Index(index, following_of(client)) as written:
        Follower(written, client.w3, client.finality).sync()
    kept = LocalStore(folder / _STORE)
    with read_index(index) as db, contextlib.closing(BlockTimes(times_path(index))) as times:
        times.learn(LogSource(client.w3, ()), db)
        waiting = [manifest_cid(digest) for digest in queries.named_manifests(db)]
        seen: set[Cid] = set()
        while waiting:
            cid = waiting.pop()
            if cid in seen:
                continue
            seen.add(cid)
            try:
                data = store.get(cid)
            except ContentError:
                continue  # the snapshot shows it as unavailable
            kept.put(cid, data)
            waiting += _linked(data)


def open_snapshot(folder: Path) -> Shelf:
    """Return what pages read from a snapshot.

    Raises:
        InputError: The folder holds none.
    """
    if not (folder / _INDEX).is_file():
        raise InputError(f"{folder}: expected a snapshot with {_INDEX} and {_STORE}, found no {_INDEX}")
    shelf = Shelf(folder / _INDEX, folder / _CATALOGUE, LocalStore(folder / _STORE), Present())
    shelf.present.tell(Told(unread=Learned().learn(shelf)))
    return shelf


def _linked(data: bytes) -> Iterator[Cid]:
    """Yield the manifests that a block leads to: a head's body, a report's pages, public data sets."""
    body = read_head(data)
    if body is not None:
        yield body
        return
    try:
        manifest = decode_any(data)
    except FormError:
        return
    match manifest:
        case ReportManifest():
            yield from manifest.pages
        case UpdateManifest() if isinstance(manifest.data_set, Cid):
            yield manifest.data_set
        case VersionManifest() if manifest.statement is not None:
            yield from (one.data_set for one in manifest.statement.sources if isinstance(one.data_set, Cid))
        case _:
            return
