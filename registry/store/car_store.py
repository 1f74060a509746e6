"""A CAR file as a read-only content store, fully verified when opened.

Stricter than `registry.content.car`: the blocks are exactly those reachable from the root, each once, in depth-first
pre-order. So no block is missing or unreferenced, and each root has exactly one file, the one that `ipfs dag export`
writes. Blocks stay on disk; only their offsets are held in memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from registry.content.car import read_car
from registry.content.cid import CID_BYTES, encode_varint
from registry.errors import BlockMismatch, BlockNotFound, BlockTooLarge, FormError, StoreUnavailable
from registry.store.base import ContentStore, verified
from registry.store.blobs import file_pieces
from registry.store.links import links_of
from registry.types import Cid

__all__ = ["CarStore", "walk_links"]

_HEADER_BYTES = 59


class CarStore(ContentStore):
    """Read-only blocks of a CAR file.

    Args:
        path: The file.
        progress: Called with the number of bytes read so far while the file is opened.

    Raises:
        FormError: It is not a CAR, or a block does not hash to its CID, is missing, is malformed or out of order.
        InputError: It cannot be read.
    """

    def __init__(self, path: Path, *, progress: Callable[[int], None] = lambda done: None) -> None:
        self.path = path
        self._places: dict[bytes, tuple[int, int]] = {}
        self.root = self._index(progress)

    def pin(self, cid: Cid, *, recursive: bool = True) -> None:
        raise StoreUnavailable("a CAR file is only read: nothing is pinned in it")

    def unpin(self, cid: Cid) -> None:
        raise StoreUnavailable("a CAR file is only read: nothing is pinned in it")

    def pins(self) -> Iterator[tuple[Cid, bool]]:
        yield self.root, True

    def _get(self, cid: Cid) -> bytes:
        place = self._places.get(cid.digest)
        if place is None:
            raise BlockNotFound(f"{cid}: not in this CAR file")
        try:  # reopened for each block: stores are closed before a fork
            with self.path.open("rb", buffering=0) as file:
                return os.pread(file.fileno(), place[1], place[0])
        except OSError as error:
            raise StoreUnavailable(f"{self.path}: {error.strerror}") from error

    def _put(self, cid: Cid, data: bytes) -> None:
        raise StoreUnavailable("a CAR file is only read: nothing can be put into it")

    def _has(self, cid: Cid) -> bool:
        return cid.digest in self._places

    def _index(self, progress: Callable[[int], None]) -> Cid:
        """Hash every block and record its offset."""
        root, blocks = read_car(file_pieces(self.path))
        walk, at = _Walk(root), _HEADER_BYTES
        try:
            for cid, data in blocks:
                expected = walk.following()
                if expected != cid:
                    raise FormError(f"CAR: expected {_shown(expected)}, got {cid}")
                walk.visit(cid, verified(cid, data))
                at += len(encode_varint(CID_BYTES + len(data))) + CID_BYTES
                self._places[cid.digest] = (at, len(data))
                at += len(data)
                progress(len(data))
        except (BlockMismatch, BlockTooLarge) as error:
            raise FormError(f"CAR: {error}") from error
        if (missing := walk.following()) is not None:
            raise FormError(f"CAR: expected {_shown(missing)}, got the end")
        return root


def walk_links(get: Callable[[Cid], bytes], root: Cid) -> Iterator[tuple[Cid, bytes]]:
    """Yield root and every block below it, each once, in depth-first pre-order."""
    walk = _Walk(root)
    while (cid := walk.following()) is not None:
        data = get(cid)
        yield cid, data
        walk.visit(cid, data)


class _Walk:
    """Depth-first pre-order traversal of a DAG."""

    def __init__(self, root: Cid) -> None:
        self._visited: set[Cid] = set()
        self._waiting = [root]

    def following(self) -> Cid | None:
        """Return the next block to visit; None at the end."""
        while self._waiting and self._waiting[-1] in self._visited:
            self._waiting.pop()
        return self._waiting[-1] if self._waiting else None

    def visit(self, cid: Cid, data: bytes) -> None:
        self._visited.add(cid)
        self._waiting.extend(reversed(links_of(cid, data)))


def _shown(cid: Cid | None) -> str:
    return "the end" if cid is None else f"block {cid}"
