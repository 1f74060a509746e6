"""Content store interface: content-addressed blocks by CID, verified on every read.

An implementation provides the underscored methods. Callers use the public ones, which cap sizes and re-hash every
block from any source; verification cannot be disabled.
"""

from __future__ import annotations

import contextlib
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Self

from registry.errors import BlockMismatch, BlockTooLarge
from registry.store.ahead import ordered
from registry.types import MAX_BLOCK_BYTES, Blob, Cid, NamedBlock

__all__ = ["BLOCK_TIMEOUT", "ContentStore", "block_patience", "reported_unavailable", "verified"]

BLOCK_TIMEOUT = 30.0
"""Seconds that a store may take per block, wall-clock time."""
_REPORTED_TIMEOUT = 2.0
"""The same for a block that a report says nobody served in time: it is looked for, but hardly waited for."""
_hurried = ContextVar("_hurried", default=False)


@contextlib.contextmanager
def reported_unavailable(said: bool = True) -> Iterator[None]:
    """Wait only a moment for each single block in this context, if its update is reported as unavailable.

    Whether such an update turns up later changes no verdict, so nobody should wait for it at each query.
    """
    before = _hurried.set(said)
    try:
        yield
    finally:
        _hurried.reset(before)


def block_patience(seconds: float) -> float:
    """Return how many of a store's seconds per block a single block may take in this context."""
    return min(seconds, _REPORTED_TIMEOUT) if _hurried.get() else seconds


class ContentStore(ABC):
    """Blocks by CID.

    `registry.store.blobs` builds files on blocks. A backend with cheaper bulk transfers overrides `_put_many` and
    `_get_many`. Stores are thread-safe.
    """

    # Public methods --------------------------------------------------------------------------------------------------

    def get(self, cid: Cid) -> bytes:
        """Return a block's bytes, verified.

        Raises:
            BlockNotFound: No peer has it, or none served it within BLOCK_TIMEOUT.
            BlockMismatch: The received bytes do not hash to the CID.
            BlockTooLarge: It has more than MAX_BLOCK_BYTES bytes.
            StoreUnavailable: The store cannot be reached.
        """
        return self._checked(cid, self._get(cid))

    def get_many(self, cids: Iterable[Cid], *, parent: Cid | None = None) -> Iterator[bytes]:
        """Yield blocks in the order of cids, each verified; a few are in flight at once.

        Args:
            cids: CIDs in the wanted order; duplicates are allowed.
            parent: A block whose links are exactly cids, in this order, all of them leaves: a backend may then fetch
                them in one request. Optional, only affects speed.

        Raises:
            ContentError: As `get`, at the first block that fails; earlier blocks have been yielded.
        """
        names = list(cids)
        if len(names) < 2:
            yield from (self.get(cid) for cid in names)
            return
        pairs = zip(names, self._get_many(names, parent), strict=True)
        yield from ordered(lambda pair: self._checked(*pair), pairs)

    def stream(self, root: Cid, cids: Sequence[Cid], begin: int, end: int) -> Iterator[bytes] | None:
        """Yield consecutive leaves of a file under the blob profile, each verified, over one connection.

        Args:
            root: The file, or a node of it.
            cids: All leaves below root.
            begin: First leaf.
            end: One past the last leaf.

        Returns:
            None if this store has no faster way than `get_many`.

        Raises:
            ContentError: As `get_many`.
        """
        return None

    def put(self, cid: Cid, data: bytes) -> None:
        """Store a block. Idempotent.

        Raises:
            BlockMismatch: data does not hash to cid.
            BlockTooLarge: data has more than MAX_BLOCK_BYTES bytes.
            StoreUnavailable: It could not be stored; no partial write remains.
        """
        self._put(cid, verified(cid, data))

    def put_many(self, blocks: Iterable[tuple[Cid, bytes]], *, root: Cid | None = None) -> None:
        """Store a stream of blocks, children before parents; root, if given, comes last.

        Each block is verified, except a `NamedBlock`, whose CID was computed from its bytes.
        After an error, blocks already stored remain; a retry is idempotent.

        Raises:
            ContentError: As `put`, and whatever blocks raises.
        """
        self._put_many(ordered(_proven, blocks), root)

    def import_file(self, path: Path, blob: Blob) -> bool:
        """Have the backend chunk, hash and store a file by itself, if it does so faster than it stores blocks.

        Args:
            path: The file.
            blob: What it was when it was hashed.

        Returns:
            Whether the blob is stored. If not, as in a store without such a way or where the file has changed, its
            blocks are yet to be put. The blob is not pinned.

        Raises:
            InputError: The file cannot be read.
            StoreUnavailable: It could not be stored.
        """
        return False

    def has(self, cid: Cid) -> bool:
        """Return whether the block is stored locally, without querying other peers.

        Raises:
            StoreUnavailable: The store cannot be reached.
        """
        return self._has(cid)

    @abstractmethod
    def pin(self, cid: Cid, *, recursive: bool = True) -> None:
        """Pin a block, with recursive the whole DAG below it; a direct pin never replaces a recursive one.

        Raises:
            BlockNotFound: A block of the DAG is missing.
            StoreUnavailable: The store cannot be reached, or cannot write.
        """

    @abstractmethod
    def unpin(self, cid: Cid) -> None:
        """Unpin a root, so that the next garbage collection may delete it. Idempotent."""

    @abstractmethod
    def pins(self) -> Iterator[tuple[Cid, bool]]:
        """Yield pinned roots, each with whether its pin is recursive."""

    def close(self) -> None:  # noqa: B027 (most stores hold nothing open)
        """Close connections. The store may be used again afterwards."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Methods of backends ---------------------------------------------------------------------------------------------

    @abstractmethod
    def _get(self, cid: Cid) -> bytes:
        """Return the backend's bytes for cid; where this saves reading, raise BlockTooLarge past MAX_BLOCK_BYTES."""

    @abstractmethod
    def _put(self, cid: Cid, data: bytes) -> None: ...

    @abstractmethod
    def _has(self, cid: Cid) -> bool: ...

    def _get_many(self, cids: list[Cid], parent: Cid | None) -> Iterator[bytes]:
        for cid in cids:
            yield self._get(cid)

    def _put_many(self, blocks: Iterator[tuple[Cid, bytes]], root: Cid | None) -> None:
        for cid, data in blocks:
            self._put(cid, data)

    def _damaged(self, cid: Cid) -> None:  # noqa: B027 (most backends cannot answer)
        """Hook called when the bytes from `_get` do not hash to cid, so that a backend can quarantine them."""

    def _checked(self, cid: Cid, data: bytes) -> bytes:
        try:
            return verified(cid, data)
        except BlockMismatch:
            self._damaged(cid)
            raise


def _proven(block: tuple[Cid, bytes]) -> tuple[Cid, bytes]:
    cid, data = block
    if not isinstance(block, NamedBlock):
        verified(cid, data)
    elif len(data) > MAX_BLOCK_BYTES:
        raise BlockTooLarge(f"{cid}: expected at most {MAX_BLOCK_BYTES} bytes, got {len(data)}")
    return cid, data


def verified(cid: Cid, data: bytes) -> bytes:
    """Return data after checking its size and that it hashes to cid.

    Raises:
        BlockTooLarge: It has more than MAX_BLOCK_BYTES bytes.
        BlockMismatch: It does not hash to cid.
    """
    if len(data) > MAX_BLOCK_BYTES:
        raise BlockTooLarge(f"{cid}: expected at most {MAX_BLOCK_BYTES} bytes, got {len(data)}")
    found = hashlib.sha256(data).digest()
    if found != cid.digest:
        raise BlockMismatch(f"{cid}: expected sha2-256 {cid.digest.hex()}, got {found.hex()}")
    return data
