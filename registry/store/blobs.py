"""Blobs in a content store: files in as blocks, out as verified bytes, never whole in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from registry.content import unixfs
from registry.errors import InputError
from registry.store.base import ContentStore
from registry.types import Blob, Cid

__all__ = ["add_blob", "file_pieces", "leaf_cids", "open_blob", "walk_blob"]

Piece = bytes | bytearray | memoryview


def add_blob(store: ContentStore, pieces: Iterable[Piece]) -> Blob:
    """Build the blob that pieces make up and keep its blocks.

    Args:
        store: Where to.
        pieces: The file's bytes, cut anywhere.

    Returns:
        Its CID and size. It is not pinned.

    Raises:
        ContentError: A block could not be kept.
    """
    size = 0
    root: Cid | None = None

    def blocks() -> Iterator[tuple[Cid, bytes]]:
        nonlocal root, size
        for root, data in unixfs.build(pieces, workers=1):
            if root.codec is root.codec.RAW:
                size += len(data)
            yield root, data

    store.put_many(blocks())
    assert root is not None  # the empty file has a block too
    return Blob(root, size)


def open_blob(store: ContentStore, blob: Blob) -> Iterator[bytes]:
    """Yield the blob's bytes in order, each block hashed by the store; a few are under way at once.

    Raises:
        FormError: The blocks are not the file of blob.size bytes that the blob profile builds.
        ContentError: A block is missing, changed or too large, or the store cannot be reached.
    """
    return unixfs.read(blob, _fetch(store))


def walk_blob(store: ContentStore, blob: Blob) -> Iterator[tuple[Cid, bytes]]:
    """Yield the blob's blocks, each node before what it links to: what a CAR of it holds. Raises as `open_blob`."""
    return unixfs.walk(blob, _fetch(store))


def leaf_cids(store: ContentStore, blob: Blob) -> list[Cid]:
    """Return the CIDs of the blob's leaves in order, fetching only the nodes above them. Raises as `open_blob`."""
    return unixfs.leaf_cids(blob, _fetch(store))


def file_pieces(path: Path) -> Iterator[bytes]:
    """Yield a file's bytes in pieces of a leaf's size, which are hashed and kept without being copied again.

    Raises:
        InputError: It cannot be opened or read.
    """
    try:
        with path.open("rb", buffering=0) as file:
            while piece := file.read(unixfs.CHUNK_SIZE):
                yield piece
    except OSError as error:
        raise InputError(f"{path}: expected a file to read, got {error.strerror or error}") from error


def _fetch(store: ContentStore) -> unixfs.Fetch:
    def fetch(cids: Sequence[Cid], limit: int, parent: Cid | None) -> Iterable[bytes]:
        if len(cids) == 1:
            return (store.get(cids[0], limit=limit),)
        return store.get_many(cids, limit=limit, parent=parent)

    return fetch
