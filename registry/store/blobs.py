"""Blobs in a content store: files in as blocks, out as verified bytes, never whole in memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from registry.content import unixfs
from registry.errors import FormError, InputError
from registry.store.base import ContentStore
from registry.types import Blob, Cid, Codec, NamedBlock

__all__ = ["add_blob", "blob_of_file", "file_pieces", "leaf_cids", "open_blob", "read_range", "walk_blob"]

Piece = bytes | bytearray | memoryview

_BUFFER = 1 << 18  # read and hashed while it is in the cache


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

    def blocks() -> Iterator[NamedBlock]:
        nonlocal root, size
        for block in unixfs.build(pieces, workers=1):
            root = block.cid
            if root.codec is Codec.RAW:
                size += len(block.data)
            yield block

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


def read_range(store: ContentStore, blob: Blob, begin: int, end: int) -> bytes:
    """Return bytes begin..end-1 of a blob, fetching only the leaves that hold them and the nodes above these.

    Raises:
        InputError: The blob ends before.
        FormError, ContentError: As `open_blob`.
    """
    if not 0 <= begin < end <= blob.size:
        raise InputError(f"{blob.cid}: expected a range of its {blob.size} bytes, got {begin} to {end}")
    first = begin // unixfs.CHUNK_SIZE
    found = b""
    for index in range(first, -(-end // unixfs.CHUNK_SIZE)):
        cid, size = unixfs.leaf_at(blob, index, _fetch(store))
        leaf = store.get(cid)
        if len(leaf) != size:
            raise FormError(f"{cid}: expected a leaf of {size} bytes, got {len(leaf)}")
        found += leaf
    return found[begin - first * unixfs.CHUNK_SIZE : end - first * unixfs.CHUNK_SIZE]


def blob_of_file(path: Path, *, threads: int = 2) -> Blob:
    """Return the CID and size of a file, read and hashed by several threads at once, each with a buffer of its own.

    Raises:
        InputError: It cannot be read, or became shorter meanwhile.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(f"{path}: expected a file to read, got {error.strerror or error}") from error
    try:
        size = os.fstat(descriptor).st_size
        count = max(1, -(-size // unixfs.CHUNK_SIZE))
        digests = [b""] * count

        def work(first: int) -> None:
            buffer = memoryview(bytearray(_BUFFER))
            for index in range(first, count, threads):
                digests[index] = _leaf_digest(descriptor, index, size, buffer)

        with ThreadPoolExecutor(threads, "cid") as pool:
            for _ in pool.map(work, range(threads)):
                pass
    except OSError as error:
        raise InputError(f"{path}: expected a file to read, got {error.strerror or error}") from error
    finally:
        os.close(descriptor)
    return Blob(unixfs.root_of_leaves(digests, size), size)


def _leaf_digest(descriptor: int, index: int, size: int, buffer: memoryview) -> bytes:
    state = hashlib.sha256()
    at = index * unixfs.CHUNK_SIZE
    end = min(size, at + unixfs.CHUNK_SIZE)
    while at < end:
        count = os.preadv(descriptor, [buffer[: end - at]], at)
        if count == 0:
            raise InputError(f"expected a file of {size} bytes, got one that ended at {at} while it was read")
        state.update(buffer[:count])
        at += count
    return state.digest()


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
    def fetch(cids: Sequence[Cid], parent: Cid | None) -> Iterable[bytes]:
        if len(cids) == 1:
            return (store.get(cids[0]),)
        return store.get_many(cids, parent=parent)

    return fetch
