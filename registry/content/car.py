"""CARv1 reader and writer: one root and its blocks, as `ipfs dag export` and `import` handle them.

    varint length ‖ DAG-CBOR {"roots": [root], "version": 1}     header: 59 bytes, constant except for the root
    varint length ‖ CID ‖ block                                  once per block

The reader enforces form and sizes but does not hash: each CID is a claim that the caller must verify.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from registry.content.cid import CID_BYTES, decode_cid, encode_varint
from registry.errors import BlockTooLarge, FormError
from registry.types import MAX_BLOCK_BYTES, Cid

__all__ = ["read_car", "write_car"]

Piece = bytes | bytearray | memoryview

_HEAD = b"\xa2\x65roots\x81\xd8\x2a\x58\x25\x00"  # {"roots": [42(0x00 ‖ CID)], …
_TAIL = b"\x67version\x01"  # … "version": 1}
_HEADER_BYTES = len(_HEAD) + CID_BYTES + len(_TAIL)


def write_car(root: Cid, blocks: Iterable[tuple[Cid, bytes]]) -> Iterator[bytes]:
    """Yield a CARv1 in pieces: the header, then per block its frame and its bytes, which are not copied."""
    yield encode_varint(_HEADER_BYTES) + _HEAD + bytes(root) + _TAIL
    for cid, data in blocks:
        yield encode_varint(CID_BYTES + len(data)) + bytes(cid)
        yield data


def read_car(
    pieces: Iterable[Piece], *, root: Cid | None = None, limit: int | None = None
) -> tuple[Cid, Iterator[tuple[Cid, bytes]]]:
    """Parse a CARv1 stream incrementally.

    Args:
        pieces: The stream's bytes, cut anywhere.
        root: The root that the header must name; None accepts any single root.
        limit: Maximum length of the whole stream, bytes; None for no limit.

    Returns:
        The root, and the blocks in stream order, not hashed. At most one block is held in memory.

    Raises:
        FormError: Immediately if the header is not that of a CARv1 with one root (or this root); while iterating if a
            length or CID is malformed or the stream is truncated.
        BlockTooLarge: While iterating, if a block has more than MAX_BLOCK_BYTES or the stream more than limit.
    """
    source = _PieceSource(pieces, limit)
    length = source.varint()
    if length == 10:
        raise FormError("CAR: expected version 1, got the pragma of version 2")
    if length is None or length != _HEADER_BYTES:
        raise FormError(f"CAR: expected a header of {_HEADER_BYTES} bytes with one root, got {length} bytes")
    header = source.take(length)
    found = header[len(_HEAD) : -len(_TAIL)]
    if header != _HEAD + found + _TAIL:
        raise FormError("CAR: expected the header {roots: [CID], version: 1} in canonical DAG-CBOR, got other bytes")
    named = decode_cid(found)
    if root is not None and named != root:
        raise FormError(f"CAR: expected root {root}, got {named}")
    return named, _blocks(source)


def _blocks(source: _PieceSource) -> Iterator[tuple[Cid, bytes]]:
    while (length := source.varint()) is not None:
        if length > CID_BYTES + MAX_BLOCK_BYTES:
            raise BlockTooLarge(f"CAR: expected a block of at most {MAX_BLOCK_BYTES} bytes, got {length - CID_BYTES}")
        cid = decode_cid(source.take(min(length, CID_BYTES)))
        yield cid, source.take(length - CID_BYTES)


class _PieceSource:
    """Buffered reader over pieces; copies each byte at most twice, however small the pieces."""

    def __init__(self, pieces: Iterable[Piece], limit: int | None) -> None:
        self._pieces = iter(pieces)
        self._rest = memoryview(b"")
        self._left = limit

    def take(self, count: int) -> bytes:
        """Return exactly count bytes."""
        if len(self._rest) >= count:
            taken, self._rest = bytes(self._rest[:count]), self._rest[count:]
            return taken
        out = bytearray()
        while len(out) < count:
            if not self._rest and not self._refill():
                raise FormError(f"CAR: expected {count} more bytes, got the end after {len(out)}")
            missing = count - len(out)
            out += self._rest[:missing]
            self._rest = self._rest[missing:]
        return bytes(out)

    def varint(self) -> int | None:
        """Return the next varint, below 2^28; None at the end of the stream."""
        value = 0
        for count in range(4):
            if not self._rest and not self._refill():
                if count:
                    raise FormError("CAR: expected the rest of a length, got the end")
                return None
            byte, self._rest = self._rest[0], self._rest[1:]
            value |= (byte & 0x7F) << (7 * count)
            if byte < 0x80:
                if byte == 0 and count:
                    raise FormError("CAR: expected a length in its shortest form, got a leading zero group")
                return value
        raise FormError("CAR: expected a length below 2^28, got a longer varint")

    def _refill(self) -> bool:
        for piece in self._pieces:
            self._rest = memoryview(piece).cast("B")
            if self._left is not None:
                self._left -= len(self._rest)
                if self._left < 0:
                    raise BlockTooLarge(f"CAR: expected no more bytes, got {-self._left} past the limit")
            if self._rest:
                return True
        return False
