"""Read the tensors of GGUF files, quantized ones as the float32 values that they stand for, through the `gguf` library.

The library's own reader believes every length in a file, and so runs for hours on a short hostile one. The header is
therefore read here, each length held against the bytes that are left. Kinds, their sizes and dequantization are the
library's.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from registry.content.tensors import CUT_SHORT
from registry.errors import FormError, InputError
from trainer.found_weights import Change, WeightFiles, require_library

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType

__all__ = ["read_gguf"]

_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a metadata value by its type's number."""
_UINT32, _STRING, _ARRAY = 4, 8, 9
_MAX_NAME = 1 << 16  # the format's limit for a key; it allows a tensor's name 64 bytes, which programs exceed
_MAX_ENTRIES = 1 << 17
"""Tensors, and keys of metadata. The largest models have some thousand."""
_MAX_STRINGS = 1 << 22
"""Strings in the metadata. The largest vocabularies and their merges have under a million."""
_MAX_DIMENSIONS = 8  # the format's limit is 4
_PLAIN = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "I8": "<i1", "I16": "<i2", "I32": "<i4", "I64": "<i8"}


@dataclass(frozen=True, slots=True)
class _Entry:
    """A tensor as the header declares it: its shape outermost dimension first, its data's offset in the data."""

    name: str
    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    offset: int


def read_gguf(file: Path) -> WeightFiles:
    """Read a GGUF file's tensors under their names, shapes as torch writes them.

    Raises:
        InputError: `gguf` is not installed, or it cannot dequantize a tensor's kind.
        FormError: The file is damaged, cut short, big-endian or of another version.
    """
    require_library(file, "gguf", "formats")
    data = np.memmap(file, np.uint8, "r")
    header = _Header(file, data)
    keys, entries, begin = header.read()
    tensors: dict[str, torch.Tensor] = {}
    quantized: dict[str, list[str]] = {}
    total = 0
    for entry in entries:
        if entry.name in tensors:
            raise FormError(f"{file}: expected tensors of different names, got {entry.name!r} twice")
        piece = _data_of(file, data, begin, entry)
        total += piece.size
        if total > data.size:
            raise FormError(f"{file}: {entry.name}: expected tensors that share no data, got more than the file has")
        if entry.kind.name in _PLAIN:
            tensors[entry.name] = torch.from_numpy(piece.view(_PLAIN[entry.kind.name]).reshape(entry.shape).copy())
        elif entry.kind.name == "BF16":
            tensors[entry.name] = torch.from_numpy(piece.view("<i2").reshape(entry.shape).copy()).view(torch.bfloat16)
        else:
            tensors[entry.name] = torch.from_numpy(_dequantized(file, piece, entry))
            quantized.setdefault(entry.kind.name, []).append(entry.name)
    changes = [Change(f"dequantized from {kind} to F32", tuple(names), True) for kind, names in quantized.items()]
    if keys:
        changes.append(Change("dropped metadata", tuple(keys), False))
    return WeightFiles(str(file), tensors, {}, tuple(changes))


def _data_of(file: Path, data: np.ndarray[Any, Any], begin: int, entry: _Entry) -> np.ndarray[Any, Any]:
    """Return a tensor's bytes, shape (n,), uint8."""
    from gguf import GGML_QUANT_SIZES

    values, width = GGML_QUANT_SIZES[entry.kind]
    row = entry.shape[-1] if entry.shape else 1
    if row % values:
        raise FormError(f"{file}: {entry.name}: expected rows of whole {entry.kind.name} blocks, {values} values each, "
                        f"got rows of {row}")  # fmt: skip
    size = math.prod(entry.shape) // values * width
    start = begin + entry.offset
    if start + size > data.size:
        raise FormError(
            f"{file}: {entry.name}: expected {size} bytes at {start}, got a file of {data.size}: {CUT_SHORT}"
        )
    return data[start : start + size]


def _dequantized(file: Path, piece: np.ndarray[Any, Any], entry: _Entry) -> np.ndarray[Any, Any]:
    from gguf import GGML_QUANT_SIZES, dequantize

    values, width = GGML_QUANT_SIZES[entry.kind]
    rows = np.array(piece).reshape(-1, entry.shape[-1] // values * width)
    try:
        with np.errstate(all="ignore"):  # what is not finite is refused by name later
            return np.ascontiguousarray(dequantize(rows, entry.kind).reshape(entry.shape), np.float32)
    except NotImplementedError as error:
        raise InputError(
            f"{file}: {entry.name}: expected a kind that gguf dequantizes, got {entry.kind.name}: import the weights "
            "that the file was made of"
        ) from error


class _Header:
    """A cursor over a header. Every read ends in the file or raises FormError."""

    def __init__(self, file: Path, data: np.ndarray[Any, Any]) -> None:
        self.file, self.data, self.at = file, data, 4  # behind the magic number
        self.alignment = 32
        self.strings = 0

    def read(self) -> tuple[list[str], list[_Entry], int]:
        """Return the metadata's keys, the tensors, and where their data begins."""
        version = self._number("I")
        if version not in (2, 3):
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
            raise FormError(
                f"{self.file}: expected a little-endian GGUF file of version 2 or 3, got "
                + (f"a big-endian one of version {swapped}" if swapped in (2, 3) else f"version {version}")
            )
        count, keys = self._count(8 + 4 + 4 + 8), self._count(8 + 4 + 1)  # tensors first, though they come last
        if max(count, keys) > _MAX_ENTRIES:
            raise FormError(f"{self.file}: expected at most {_MAX_ENTRIES} tensors and keys, got {count} and {keys}")
        names = [self._metadata() for _ in range(keys)]
        entries = [self._entry() for _ in range(count)]
        return names, entries, self.at + -self.at % self.alignment

    def _step(self, size: int) -> int:
        """Step over bytes, and return where they begin."""
        if size > self.data.size - self.at:
            raise FormError(
                f"{self.file}: expected a GGUF header of {size} more bytes at {self.at}, got a file of "
                f"{self.data.size}: {CUT_SHORT}"
            )
        self.at += size
        return self.at - size

    def _take(self, size: int) -> bytes:
        begin = self._step(size)
        return self.data[begin : self.at].tobytes()

    def _number(self, form: str) -> int:
        number: int = struct.unpack("<" + form, self._take(struct.calcsize("<" + form)))[0]
        return number

    def _count(self, least: int) -> int:
        """Read how many things follow, of at least so many bytes each."""
        count = self._number("Q")
        if count > (self.data.size - self.at) // least:
            raise FormError(f"{self.file}: expected what fits {self.data.size} bytes, got a GGUF header of {count} "
                            f"entries: {CUT_SHORT}")  # fmt: skip
        return count

    def _name(self) -> str:
        size = self._number("Q")
        if size > _MAX_NAME:
            raise FormError(f"{self.file}: expected a name of at most {_MAX_NAME} bytes, got {size} at {self.at - 8}")
        try:
            return self._take(size).decode()
        except UnicodeDecodeError as error:
            raise FormError(f"{self.file}: expected a name in UTF-8 at {self.at - size}: {error.reason}") from error

    def _metadata(self) -> str:
        name, kind = self._name(), self._number("I")
        if name == "general.alignment" and kind == _UINT32:
            self.alignment = self._number("I")
            if not 0 < self.alignment <= _MAX_NAME or self.alignment & (self.alignment - 1):
                raise FormError(f"{self.file}: {name}: expected a small power of two, got {self.alignment}")
        elif kind == _ARRAY:
            self._skip_array(name)
        else:
            self._skip(name, kind, 1)
        return name

    def _skip_array(self, name: str) -> None:
        kind = self._number("I")
        self._skip(name, kind, self._count(8 if kind == _STRING else _SCALARS.get(kind, 1)))

    def _skip(self, name: str, kind: int, count: int) -> None:
        """Step over values. Numbers are one step; strings are walked, and arrays of arrays nobody writes."""
        self.strings += count if kind == _STRING else 0
        if kind == _STRING and self.strings <= _MAX_STRINGS:
            for _ in range(count):
                self._step(self._number("Q"))
        elif kind in _SCALARS:
            self._step(count * _SCALARS[kind])
        else:
            raise FormError(f"{self.file}: {name}: expected metadata of known types, got {count} of type {kind}")

    def _entry(self) -> _Entry:
        from gguf import GGMLQuantizationType

        name, dimensions = self._name(), self._number("I")
        if dimensions > _MAX_DIMENSIONS:
            raise FormError(f"{self.file}: {name}: expected at most {_MAX_DIMENSIONS} dimensions, got {dimensions}")
        shape = tuple(self._number("Q") for _ in range(dimensions))[::-1]  # stored innermost first
        if 0 in shape:
            raise FormError(f"{self.file}: {name}: expected a tensor with values, got shape {shape}")
        number, offset = self._number("I"), self._number("Q")
        try:
            return _Entry(name, shape, GGMLQuantizationType(number), offset)
        except ValueError as error:
            raise FormError(f"{self.file}: {name}: expected a known kind of tensor, got number {number}") from error
