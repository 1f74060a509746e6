"""Streaming validation and hashing of safetensors files: form, values and all hashes in one pass.

Bytes pass through in pieces of any size; only the header and one chunk are held in memory. `Gate.watch` yields a
canonical file with finite floats and booleans of 0 or 1. A bad header raises FormError before the consumer sees any
of it, a bad value at the latest before `Gate.finish` returns.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from registry.content.file_kinds import SNIFFED_BYTES
from registry.content.merkle import VALUES, Rows, TensorRootHasher
from registry.content.tensors import CUT_SHORT, DTYPES, FLOATS, TensorHeader, header_length, parse_header
from registry.content.unixfs import blob_of
from registry.errors import FormError
from registry.types import ZERO32, Blob, Cid, Root

__all__ = ["Description", "Gate", "ValueChecker", "describe"]

Piece = bytes | bytearray | memoryview

_TILE = 1 << 18  # bytes compared at a time: they stay in the L2 cache for the second comparison
# IEEE 754 bits: a value is Inf or NaN iff its bits are >= those of +Inf as signed, or of -Inf as unsigned integer.
_INFINITY: dict[str, tuple[str, str, int, int]] = {
    "F64": ("<i8", "<u8", 0x7FF0 << 48, 0xFFF0 << 48),
    "F32": ("<i4", "<u4", 0x7F80 << 16, 0xFF80 << 16),
    "BF16": ("<i2", "<u2", 0x7F80, 0xFF80),
    "F16": ("<i2", "<u2", 0x7C00, 0xFC00),
}


# Values -----------------------------------------------------------------------------------------------------------


class ValueChecker:
    """Checks a file's data in pieces: floats must be finite, booleans 0 or 1."""

    def __init__(self, header: TensorHeader) -> None:
        self._header = header
        self._runs = _runs(header)  # (dtype, end): adjacent tensors of one dtype are checked together
        self._run = 0
        self._at = 0
        self._partial = bytearray()  # a value cut by the end of a piece

    def update(self, piece: Piece) -> None:
        """Check the next bytes of data.

        Raises:
            FormError: A float is not finite, a boolean is not 0 or 1, or there are more bytes than the header says.
        """
        data = memoryview(piece).cast("B")
        if self._at + len(self._partial) + len(data) > self._header.data_bytes:
            raise FormError(f"safetensors: expected {self._header.data_bytes} bytes of data, got more")
        while data:
            dtype, end = self._runs[self._run]
            if self._partial:
                missing = DTYPES[dtype] - len(self._partial)
                self._partial += data[:missing]
                data = data[missing:]
                if len(self._partial) == DTYPES[dtype]:
                    self._check(dtype, memoryview(bytes(self._partial)))
                    self._partial.clear()
            else:
                room = min(len(data), end - self._at)
                count = room // DTYPES[dtype] * DTYPES[dtype]
                self._check(dtype, data[:count])
                self._partial += data[count:room]
                data = data[room:]
            if self._at == end:
                self._run += 1

    def finish(self) -> None:
        """Signal the end of the data.

        Raises:
            FormError: There are fewer bytes than the header says.
        """
        found = self._at + len(self._partial)
        if found != self._header.data_bytes:
            raise FormError(f"safetensors: expected {self._header.data_bytes} bytes of data, got {found}: {CUT_SHORT}")

    def _check(self, dtype: str, data: memoryview) -> None:
        for start in range(0, len(data), _TILE):
            tile = data[start : start + _TILE]
            if dtype in FLOATS:
                signed, unsigned, above, below = _INFINITY[dtype]
                if np.frombuffer(tile, signed).max() >= above or np.frombuffer(tile, unsigned).max() >= below:
                    bits = np.frombuffer(tile, unsigned)
                    self._refuse(self._at + start, dtype, bits, (bits & above) == above, "finite values")
            elif dtype == "BOOL" and np.frombuffer(tile, np.uint8).max() > 1:
                values = np.frombuffer(tile, np.uint8)
                self._refuse(self._at + start, dtype, values, values > 1, "booleans of 0 or 1")
        self._at += len(data)

    def _refuse(self, at: int, dtype: str, bits: np.ndarray, wrong: np.ndarray, expected: str) -> None:
        index = int(wrong.argmax())
        byte = at + index * DTYPES[dtype]
        specs = self._header.specs
        spec = specs[bisect_right([spec.end for spec in specs], byte)]
        value = (byte - spec.begin) // DTYPES[dtype]
        width = DTYPES[dtype] * 2
        raise FormError(
            f"tensor {spec.name!r}: expected {expected}, got bits 0x{int(bits[index]):0{width}x} at {value}"
        )


def _runs(header: TensorHeader) -> list[tuple[str, int]]:
    runs: list[tuple[str, int]] = []
    for spec in header.specs:
        if spec.begin == spec.end:
            continue
        if runs and runs[-1][0] == spec.dtype:
            runs.pop()
        runs.append((spec.dtype, spec.end))
    return runs


# Whole file -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Description:
    """Hashes and header of a canonical safetensors file.

    Attributes:
        cid: CID under the blob profile; None if not requested.
        size: File length, bytes.
        sha256: Plain sha2-256 of the file; None if not requested.
        tensor_root: Merkle root of the F32 values, or of packed rows, zero if there are none; None if not requested.
        rest_root: sha2-256 of everything else, header included; None if the tensor root was not requested.
        values: Number of values in all tensors.
        header: The parsed header.
    """

    cid: Cid | None
    size: int
    sha256: bytes | None
    tensor_root: Root | None
    rest_root: Root | None
    values: int
    header: TensorHeader

    @property
    def blob(self) -> Blob:
        """CID and size; the CID must have been requested."""
        assert self.cid is not None
        return Blob(self.cid, self.size)


class _Roots:
    """Routes data to the tensor root or the rest root. F32 tensors are contiguous: tensors are ordered by dtype."""

    def __init__(self, header: TensorHeader, prefix: bytes, rows: Rows) -> None:
        self._begin, self._end = header.range_of("F32" if rows == VALUES else "U8")
        self._at = 0
        self._tensor = TensorRootHasher(rows=rows)
        self._rest = hashlib.sha256(prefix)

    def update(self, data: memoryview) -> None:
        before = min(max(self._begin - self._at, 0), len(data))
        inside = min(max(self._end - self._at, 0), len(data))
        self._rest.update(data[:before])
        self._tensor.update(data[before:inside])
        self._rest.update(data[inside:])
        self._at += len(data)

    def digests(self) -> tuple[Root, Root]:
        tensor = self._tensor.digest() if self._end > self._begin else Root(ZERO32)
        return tensor, Root(self._rest.digest())


class Gate:
    """Validates and hashes a safetensors file that passes through in pieces.

    Attributes:
        header: The parsed header, once enough bytes have passed.
    """

    def __init__(self, *, sha256: bool = True, tensor_root: bool = True, rows: Rows = VALUES) -> None:
        self.header: TensorHeader | None = None
        self._prefix = bytearray()
        self._plain = hashlib.sha256() if sha256 else None
        self._want_root, self._rows = tensor_root, rows
        self._roots: _Roots | None = None
        self._checker: ValueChecker | None = None
        self._size = 0

    def watch(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """Yield pieces once checked; those of the header are held back until it is complete.

        Raises:
            FormError: As `update` and, at the end of pieces, `finish`.
        """
        held: list[Piece] = []
        for piece in pieces:
            self.update(piece)
            if self.header is None:
                held.append(bytes(piece))
                continue
            yield from held
            held.clear()
            yield piece
        self._complete()

    def update(self, piece: Piece) -> None:
        """Check and hash the next bytes of the file.

        Raises:
            FormError: The header is not canonical, a value is not allowed, or there is trailing data.
        """
        data = memoryview(piece).cast("B")
        self._size += len(data)
        if self._plain is not None:
            self._plain.update(data)
        if self._checker is None:
            data = self._read_header(data)
        if self._checker is not None and data:
            self._checker.update(data)
            if self._roots is not None:
                self._roots.update(data)

    def finish(self, cid: Cid | None = None) -> Description:
        """Return the description, with a CID that the caller computed.

        Raises:
            FormError: The file ended early.
        """
        header = self._complete()
        tensor_root, rest_root = (None, None) if self._roots is None else self._roots.digests()
        values = sum((spec.end - spec.begin) // DTYPES[spec.dtype] for spec in header.specs)
        sha256 = self._plain.digest() if self._plain else None
        return Description(cid, self._size, sha256, tensor_root, rest_root, values, header)

    def _read_header(self, data: memoryview) -> memoryview:
        """Consume the missing part of the header from data; return the rest."""
        if len(self._prefix) < 8:
            missing = 8 - len(self._prefix)
            self._prefix += data[:missing]
            data = data[missing:]
            if len(self._prefix) < 8:
                return data
        start = header_length(bytes(self._prefix[:8]) + bytes(data[:SNIFFED_BYTES]))
        missing = start - len(self._prefix)
        self._prefix += data[:missing]
        if len(data) >= missing:
            self.header = parse_header(bytes(self._prefix))
            self._checker = ValueChecker(self.header)
            if self._want_root:
                self._roots = _Roots(self.header, bytes(self._prefix), self._rows)
        return data[missing:]

    def _complete(self) -> TensorHeader:
        if self.header is None or self._checker is None:
            header_length(bytes(self._prefix))  # names what else it may be
            raise FormError(f"safetensors: expected a whole header, got the end after {self._size} bytes: {CUT_SHORT}")
        self._checker.finish()
        return self.header


def describe(
    pieces: Iterable[Piece],
    *,
    cid: bool = True,
    sha256: bool = True,
    tensor_root: bool = True,
    workers: int = 0,
    rows: Rows = VALUES,
) -> Description:
    """Validate a safetensors file and compute the requested hashes in one pass.

    Args:
        pieces: The file's bytes, cut anywhere. With workers, a piece must not change after it is yielded.
        cid: Whether to compute the CID.
        sha256: Whether to compute the plain sha2-256.
        tensor_root: Whether to compute the tensor root.
        workers: Extra threads that hash for the CID.
        rows: What a leaf of the tensor root holds: F32 values, or the bytes of a packed update's row.

    Raises:
        FormError: It is not a canonical file.
    """
    gate = Gate(sha256=sha256, tensor_root=tensor_root, rows=rows)
    if cid:
        return gate.finish(blob_of(gate.watch(pieces), workers=workers).cid)
    for _ in gate.watch(pieces):
        pass
    return gate.finish()
