"""Garbage collection, disk usage and integrity check of a local store."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from registry.errors import BlockNotFound, CairnError, StoreUnavailable
from registry.store.ahead import ordered
from registry.store.links import reachable
from registry.store.local import LocalStore
from registry.types import MAX_BLOCK_BYTES, Cid

__all__ = ["GRACE", "StoreHealth", "Usage", "check", "collect", "usage"]

GRACE = 3600.0
"""Grace period, seconds, in which an unpinned block is not collected, so that its writer can pin it."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Blocks and their bytes in a local store.

    Attributes:
        pinned_blocks: Blocks reachable from pins.
        pinned_bytes: Their bytes.
        loose_blocks: Unpinned blocks older than the grace period, which may be collected.
        loose_bytes: Their bytes.
        young_blocks: Unpinned blocks within the grace period.
        young_bytes: Their bytes.
    """

    pinned_blocks: int = 0
    pinned_bytes: int = 0
    loose_blocks: int = 0
    loose_bytes: int = 0
    young_blocks: int = 0
    young_bytes: int = 0


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """Result of an integrity check.

    Attributes:
        blocks: Blocks read and hashed.
        bytes: Their bytes.
        damaged: Names of corrupt blocks, which were moved to quarantine.
        missing: Pinned roots with an incomplete DAG, each with the reason.
        strangers: Files in the block folders whose names are not block names; they were left there.
        leftovers: Temporary files of crashed writers; they were removed, unless a writer was active.
    """

    blocks: int
    bytes: int
    damaged: tuple[str, ...]
    missing: tuple[tuple[Cid, str], ...]
    strangers: tuple[Path, ...]
    leftovers: int

    @property
    def sound(self) -> bool:
        """Whether every block is intact and every pinned DAG complete."""
        return not (self.damaged or self.missing)


def usage(store: LocalStore, *, grace: float = GRACE) -> Usage:
    """Return what a garbage collection would keep and delete.

    Raises:
        ContentError: A pinned DAG is incomplete.
    """
    return _sort(store, grace, delete=False)


def collect(store: LocalStore, *, grace: float = GRACE) -> Usage:
    """Collect garbage: delete unpinned blocks and temporary files of crashed writers.

    Nothing is deleted while a block is being written, or if a pinned DAG is incomplete: blocks below a missing block
    cannot be told from garbage.

    Args:
        store: The store.
        grace: Grace period, seconds, since a block was last put.

    Returns:
        The usage before collection; its loose blocks are deleted.

    Raises:
        StoreUnavailable: Writers did not release the lock in time.
        ContentError: A pinned DAG is incomplete, so nothing was deleted.
    """
    with store.locked(exclusive=True):
        found = _sort(store, grace, delete=True)
        _clear(store)
    return found


def check(store: LocalStore) -> StoreHealth:
    """Hash every block, traverse every pin and quarantine corrupt blocks. Writers may run concurrently."""
    blocks = total = 0
    damaged: list[str] = []
    strangers: list[Path] = []
    for path, size, sound in ordered(_judge, _files(store), workers=2, ahead=6):
        if sound is None:
            strangers.append(path)
            continue
        blocks, total = blocks + 1, total + size
        if not sound:
            store.set_aside(path)
            damaged.append(path.name)
    missing: list[tuple[Cid, str]] = []
    for root, recursive in store.pins():
        try:
            for cid in reachable(store.get, root) if recursive else (root,):
                if not store.has(cid):
                    raise BlockNotFound(f"{cid}: not in {store.root}")
        except CairnError as error:
            missing.append((root, str(error)))
    return StoreHealth(blocks, total, tuple(damaged), tuple(missing), tuple(strangers), _leftovers(store))


def _sort(store: LocalStore, grace: float, *, delete: bool) -> Usage:
    kept: set[bytes] = set()
    for root, recursive in store.pins():
        kept.update(cid.digest for cid in (reachable(store.get, root) if recursive else (root,)))
    counts = {"pinned": [0, 0], "loose": [0, 0], "young": [0, 0]}
    now = time.time()
    for path in _files(store):
        if not _is_block(path):
            continue
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue  # another process collected it
        kind = "pinned" if bytes.fromhex(path.name) in kept else "young" if now - stat.st_mtime < grace else "loose"
        counts[kind][0] += 1
        counts[kind][1] += stat.st_size
        if delete and kind == "loose":
            _remove(path)
    return Usage(*counts["pinned"], *counts["loose"], *counts["young"])


def _files(store: LocalStore) -> Iterator[Path]:
    """Yield the files in the block folders, folder by folder."""
    blocks = store.root / "blocks"
    for folder in sorted(blocks.iterdir()) if blocks.is_dir() else ():
        if folder.is_dir():
            yield from (Path(entry) for entry in os.scandir(folder))
        else:
            yield folder


def _is_block(path: Path) -> bool:
    name = path.name
    return len(name) == 64 and path.parent.name == name[:2] and not set(name) - set("0123456789abcdef")


def _judge(path: Path) -> tuple[Path, int, bool | None]:
    """Return a file's size and whether it hashes to its name; None if its name is not a block name."""
    if not _is_block(path):
        return path, 0, None
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BLOCK_BYTES + 1)
    except FileNotFoundError:
        return path, 0, True  # collected since the folder was listed
    except OSError:
        return path, 0, False  # unreadable: disk error
    return path, len(data), len(data) <= MAX_BLOCK_BYTES and hashlib.sha256(data).hexdigest() == path.name


def _leftovers(store: LocalStore) -> int:
    """Remove temporary files of crashed writers if no writer is active; return their number."""
    if not (store.root / "tmp").is_dir():
        return 0
    try:
        with LocalStore(store.root, lock_timeout=0).locked(exclusive=True):
            return _clear(store)
    except StoreUnavailable:
        return 0


def _clear(store: LocalStore) -> int:
    partial = store.root / "tmp"
    found = list(partial.iterdir()) if partial.is_dir() else []
    for path in found:
        _remove(path)
    return len(found)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreUnavailable(f"{path}: cannot be deleted: {error.strerror}") from error
