"""Blobs in a content store: streaming writer and verified streaming reader of files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from registry.content import unixfs
from registry.content.file_kinds import SNIFFED_BYTES
from registry.content.tensors import TensorHeader, header_length, parse_header
from registry.errors import FormError, InputError
from registry.store.base import ContentStore
from registry.types import Blob, Cid, Codec, NamedBlock

__all__ = [
    "add_blob",
    "add_file",
    "blamed_on",
    "blob_of_file",
    "file_header",
    "file_pieces",
    "leaf_cids",
    "open_blob",
    "read_range",
    "walk_blob",
]

Piece = bytes | bytearray | memoryview

_BUFFER = 1 << 18  # read and hashed while it is in the cache


def add_blob(store: ContentStore, pieces: Iterable[Piece]) -> Blob:
    """Chunk a file in pieces into a blob and store its blocks.

    Args:
        store: Destination.
        pieces: The file's bytes, cut anywhere.

    Returns:
        The blob's CID and size. It is not pinned.

    Raises:
        ContentError: A block could not be stored.
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


def add_file(store: ContentStore, path: Path, blob: Blob) -> bool:
    """Store a file that was hashed before, unpinned; return whether it still is that blob.

    Raises:
        InputError: It cannot be read.
        ContentError: It could not be stored.
    """
    return store.import_file(path, blob) or add_blob(store, file_pieces(path)) == blob


def open_blob(store: ContentStore, blob: Blob) -> Iterator[bytes]:
    """Yield the blob's bytes in order, each block verified by the store; a few are in flight at once.

    Raises:
        FormError: The DAG is not that of a file of blob.size bytes under the blob profile.
        ContentError: A block is missing, corrupt or too large, or the store cannot be reached.
    """
    return unixfs.read(blob, _fetch(store))


def walk_blob(store: ContentStore, blob: Blob) -> Iterator[tuple[Cid, bytes]]:
    """Yield the blob's blocks, parents before children, as a CAR holds them. Raises as `open_blob`."""
    return unixfs.walk(blob, _fetch(store))


def leaf_cids(store: ContentStore, blob: Blob) -> list[Cid]:
    """Return the CIDs of the blob's leaves in order, fetching only the nodes above them. Raises as `open_blob`."""
    return unixfs.leaf_cids(blob, _fetch(store))


def read_range(store: ContentStore, blob: Blob, begin: int, end: int) -> bytes:
    """Return bytes begin..end-1 of a blob, fetching only the leaves that hold them and the nodes above.

    Raises:
        InputError: The range exceeds the blob.
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
    """Return the CID and size of a file, read and hashed by several threads, each with its own buffer.

    Raises:
        InputError: It cannot be read, or was truncated while it was read.
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
    """Yield a file's bytes in pieces of leaf size, which are hashed and stored without another copy.

    Raises:
        InputError: It cannot be opened or read.
    """
    try:
        with path.open("rb", buffering=0) as file:
            while piece := file.read(unixfs.CHUNK_SIZE):
                yield piece
    except OSError as error:
        raise InputError(f"{path}: expected a file to read, got {error.strerror or error}") from error


def file_header(path: Path) -> tuple[TensorHeader, bytes]:
    """Return a safetensors file's header, parsed and as it is.

    Raises:
        FormError: It is another kind of file, or not canonical; the message names it.
        OSError: It cannot be read.
    """
    with blamed_on(path), path.open("rb") as file:
        prefix = file.read(SNIFFED_BYTES)
        size = path.stat().st_size
        start = header_length(prefix, size)
        prefix = (prefix + file.read(max(0, start - len(prefix))))[:start]
        return parse_header(prefix, size), prefix


@contextmanager
def blamed_on(path: Path) -> Iterator[None]:
    """Name a file in errors about its bytes, which readers of pieces cannot.

    Raises:
        FormError: As raised inside, with the path before it.
    """
    try:
        yield
    except FormError as error:
        raise FormError(f"{path}: {error}") from error


def _fetch(store: ContentStore) -> unixfs.Fetch:
    def fetch(cids: Sequence[Cid], parent: Cid | None) -> Iterable[bytes]:
        if len(cids) == 1:
            return (store.get(cids[0]),)
        return store.get_many(cids, parent=parent)

    return fetch
