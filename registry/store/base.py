"""The content store port: bytes by CID, verified inside.

An implementation provides the underscored methods. Callers use the public ones, which cap sizes and re-hash every
block, whoever served it; nothing turns that off.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

from registry.errors import BlockMismatch, BlockTooLarge
from registry.store.ahead import ordered
from registry.types import MAX_BLOCK_BYTES, Cid, NamedBlock

__all__ = ["BLOCK_TIMEOUT", "ContentStore", "verified"]

BLOCK_TIMEOUT = 30.0
"""Seconds a store may take for one block, by the clock on the wall."""


class ContentStore(ABC):
    """Blocks by CID.

    Blobs and DAGs are built from blocks by `registry.store.blobs`; a backend that moves many blocks cheaper than one
    by one overrides `_put_many` and `_get_many`. Stores may be used from several threads.
    """

    # What callers use ------------------------------------------------------------------------------------------------

    def get(self, cid: Cid) -> bytes:
        """Return the block's bytes, hashed here.

        Raises:
            BlockNotFound: Nobody has it, or not within BLOCK_TIMEOUT.
            BlockMismatch: What came does not hash to the CID.
            BlockTooLarge: It has more than MAX_BLOCK_BYTES bytes.
            StoreUnavailable: The store cannot be reached.
        """
        return self._checked(cid, self._get(cid))

    def get_many(self, cids: Iterable[Cid], *, parent: Cid | None = None) -> Iterator[bytes]:
        """Yield the blocks in the order of cids, each hashed here; a few are under way at once.

        Args:
            cids: Names, in the order wanted; the same one may stand there often.
            parent: A block that links to exactly cids, in this order, which themselves link to nothing: a backend may
                then ask for the whole in one request. Leaving it out costs only speed.

        Raises:
            ContentError: As `get`, at the first block that fails; the blocks before it have been yielded.
        """
        names = list(cids)
        if len(names) < 2:
            yield from (self.get(cid) for cid in names)
            return
        pairs = zip(names, self._get_many(names, parent), strict=True)
        yield from ordered(lambda pair: self._checked(*pair), pairs)

    def put(self, cid: Cid, data: bytes) -> None:
        """Keep a block. Putting what is there changes nothing.

        Raises:
            BlockMismatch: data does not hash to cid.
            BlockTooLarge: data has more than MAX_BLOCK_BYTES bytes.
            StoreUnavailable: It could not be kept; nothing half written remains.
        """
        self._put(cid, verified(cid, data))

    def put_many(self, blocks: Iterable[tuple[Cid, bytes]], *, root: Cid | None = None) -> None:
        """Keep a stream of blocks, leaves before what links to them; root, where given, comes last.

        Each is hashed here, but for a `NamedBlock`, whose name comes from hashing it.

        Whole blocks that were kept before an error stay; they can be put again.

        Raises:
            ContentError: As `put`, and whatever blocks raises.
        """
        self._put_many(ordered(_proven, blocks), root)

    def has(self, cid: Cid) -> bool:
        """Say whether the block is here, without asking anybody else.

        Raises:
            StoreUnavailable: The store cannot be reached.
        """
        return self._has(cid)

    @abstractmethod
    def pin(self, cid: Cid, *, recursive: bool = True) -> None:
        """Keep a block, and with recursive all it links to, until unpinned; a recursive pin is never weakened.

        Raises:
            BlockNotFound: Something of it is missing.
            StoreUnavailable: The store cannot be reached, or cannot write.
        """

    @abstractmethod
    def unpin(self, cid: Cid) -> None:
        """Let a pinned root go at the next collection. Unpinning what is not pinned changes nothing."""

    @abstractmethod
    def pins(self) -> Iterator[tuple[Cid, bool]]:
        """Yield pinned roots and whether the pin is recursive."""

    def close(self) -> None:  # noqa: B027 (most stores hold nothing open)
        """Let go of connections. A store can be used again afterwards."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # What backends provide -------------------------------------------------------------------------------------------

    @abstractmethod
    def _get(self, cid: Cid) -> bytes:
        """Return what the backend has under cid; where it saves reading, stop at MAX_BLOCK_BYTES with BlockTooLarge."""

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
        """Told when what `_get` returned does not hash to cid, so that a backend can set it aside."""

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
    """Return data if it is no larger than a block may be and hashes to cid.

    Raises:
        BlockTooLarge: It has more than MAX_BLOCK_BYTES bytes.
        BlockMismatch: It hashes to something else.
    """
    if len(data) > MAX_BLOCK_BYTES:
        raise BlockTooLarge(f"{cid}: expected at most {MAX_BLOCK_BYTES} bytes, got {len(data)}")
    found = hashlib.sha256(data).digest()
    if found != cid.digest:
        raise BlockMismatch(f"{cid}: expected sha2-256 {cid.digest.hex()}, got {found.hex()}")
    return data
