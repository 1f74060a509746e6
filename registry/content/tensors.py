"""Canonical safetensors: writer, header layout and strict header parser.

    uint64 little-endian length of the header ‖ header ‖ data

The header is compact JSON padded with spaces to a multiple of 8: ``__metadata__`` first if present, then the tensors by
dtype in the order of `DTYPES`, within a dtype by UTF-8 name; their data follows in the same order without gaps. The
safetensors reference writer produces the same bytes, so given names, dtypes, shapes and values have exactly one file.
Every reader of tensors parses headers here: the parser re-encodes the header and compares the bytes, so an accepted
header has one meaning. The reference reader, which is not used, accepts leading blanks, duplicate keys, gapped shapes
and 100 000 names. `registry.content.gate` checks the values.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from registry.content.file_kinds import SNIFFED_BYTES, kind_of
from registry.errors import FormError, InputError

__all__ = [
    "CUT_SHORT",
    "DTYPES",
    "FLOATS",
    "MAX_HEADER_BYTES",
    "MAX_NAME_BYTES",
    "MAX_RANK",
    "MAX_TENSORS",
    "MAX_VALUES",
    "PT_METADATA",
    "TensorHeader",
    "TensorSpec",
    "encode_header",
    "header_length",
    "layout",
    "packed_layout",
    "packed_row_bytes",
    "parse_header",
    "update_header",
    "update_layout",
    "write_tensors",
]

DTYPES = {
    "U64": 8,
    "I64": 8,
    "F64": 8,
    "F32": 4,
    "U32": 4,
    "I32": 4,
    "BF16": 2,
    "F16": 2,
    "U16": 2,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}
"""Bytes per value of each supported dtype, in storage order."""
FLOATS = frozenset(("F64", "F32", "BF16", "F16"))
"""Floating-point dtypes; only F32 tensors take part in rounds."""
MAX_HEADER_BYTES = 4 << 20
"""Largest header without its length prefix; 10 000 tensors with names of 60 characters take 1.4 MB."""
MAX_TENSORS = 1 << 15
MAX_NAME_BYTES = 512
MAX_RANK = 32
MAX_VALUES = (1 << 40) - 1
"""Most values of a tensor, 4 TiB of F32; also the limit for the product of an empty tensor's other dimensions."""
PT_METADATA = {"format": "pt"}
"""The only metadata a version may have."""

CUT_SHORT = "it was cut short, as by a download that broke off: fetch it again"
"""What to say of a file that has fewer bytes than its header says."""

_RANKS = {dtype: rank for rank, dtype in enumerate(DTYPES)}
_METADATA = "__metadata__"
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor in a file.

    Attributes:
        name: Its name.
        dtype: One of DTYPES.
        shape: Its dimensions; () for a scalar.
        begin: Offset of its first byte in the data.
        end: Offset one past its last byte.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class TensorHeader:
    """Parsed header of a canonical file.

    Attributes:
        specs: The tensors in file order.
        metadata: None or exactly {"format": "pt"}.
        header_bytes: Offset of the data: 8 plus the header's length.
        data_bytes: Length of the data, bytes.
    """

    specs: tuple[TensorSpec, ...]
    metadata: Mapping[str, str] | None
    header_bytes: int
    data_bytes: int

    @property
    def file_bytes(self) -> int:
        """Length of the whole file."""
        return self.header_bytes + self.data_bytes

    def range_of(self, dtype: str) -> tuple[int, int]:
        """Return the range [begin, end) of a dtype's values in the data, bytes; empty if there are none.

        The values are contiguous, since tensors are ordered by dtype.
        """
        found = [spec for spec in self.specs if spec.dtype == dtype]
        return (found[0].begin, found[-1].end) if found else (0, 0)

    def by_name(self) -> dict[str, TensorSpec]:
        """Return the tensors by name, in file order."""
        return {spec.name: spec for spec in self.specs}


# Writing ----------------------------------------------------------------------------------------------------------


def layout(tensors: Mapping[str, tuple[str, Sequence[int]]], metadata: Mapping[str, str] | None = None) -> TensorHeader:
    """Lay out tensors, given as name -> (dtype, shape), in canonical order.

    Raises:
        FormError: A name, dtype, shape, the number of tensors or the metadata is not allowed.
    """
    if len(tensors) > MAX_TENSORS:
        raise FormError(f"safetensors: expected at most {MAX_TENSORS} tensors, got {len(tensors)}")
    specs: list[TensorSpec] = []
    at = 0
    for name in sorted(tensors, key=lambda name: (_RANKS.get(tensors[name][0], -1), _name_bytes(name))):
        dtype, shape = tensors[name][0], tuple(tensors[name][1])
        end = at + _size(name, dtype, shape)
        specs.append(TensorSpec(name, dtype, shape, at, end))
        at = end
    if at == 0:
        raise FormError(f"safetensors: expected one or more values, got {len(specs)} tensors without any")
    return TensorHeader(tuple(specs), metadata, len(encode_header(specs, metadata)), at)


def encode_header(specs: Iterable[TensorSpec], metadata: Mapping[str, str] | None = None) -> bytes:
    """Return the file's bytes up to its data, for specs in the given order at the given offsets.

    Raises:
        FormError: The header would exceed MAX_HEADER_BYTES, or the metadata is not allowed.
    """
    if metadata is not None and dict(metadata) != PT_METADATA:
        raise FormError(f"safetensors: expected no metadata or {PT_METADATA}, got {str(metadata)[:200]}")
    fields: dict[str, Any] = {} if metadata is None else {_METADATA: dict(metadata)}
    for spec in specs:
        fields[spec.name] = {"dtype": spec.dtype, "shape": spec.shape, "data_offsets": (spec.begin, spec.end)}
    body = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
    body += b" " * (-len(body) % 8)
    if len(body) > MAX_HEADER_BYTES:
        raise FormError(f"safetensors: expected a header of at most {MAX_HEADER_BYTES} bytes, got {len(body)}")
    return len(body).to_bytes(8, "little") + body


def write_tensors(
    tensors: Mapping[str, tuple[str, Sequence[int], Any]], metadata: Mapping[str, str] | None = None
) -> Iterator[bytes | memoryview]:
    """Yield the canonical file in pieces: the header, then each tensor's buffer, not copied.

    Args:
        tensors: name -> (dtype, shape, C-contiguous little-endian buffer). Values are not checked here.
        metadata: None or {"format": "pt"}.

    Raises:
        FormError: As `layout`.
        InputError: A buffer's length does not match its dtype and shape, or it is big-endian.
    """
    header = layout({name: (dtype, shape) for name, (dtype, shape, _) in tensors.items()}, metadata)
    buffers: list[memoryview] = []
    for spec in header.specs:
        view = memoryview(tensors[spec.name][2])
        if view.nbytes != spec.end - spec.begin:
            raise InputError(f"tensor {spec.name!r}: expected {spec.end - spec.begin} bytes, got {view.nbytes}")
        if view.format.startswith(">") or not view.c_contiguous:
            raise InputError(f"tensor {spec.name!r}: expected a C-contiguous little-endian buffer, got another")
        if view.nbytes:  # an empty buffer cannot be cast
            buffers.append(view.cast("B"))
    return iter((encode_header(header.specs, metadata), *buffers))


def update_layout(parent: TensorHeader) -> TensorHeader:
    """Lay out an update of a parent version: the parent's F32 tensors, no metadata.

    Raises:
        InputError: The parent has no F32 values.
    """
    begin, end = parent.range_of("F32")
    if begin == end:
        raise InputError("update: expected one or more F32 values in the parent, got none")
    return layout({spec.name: ("F32", spec.shape) for spec in parent.specs if spec.dtype == "F32"})


def packed_layout(rows: int, row_bytes: int) -> TensorHeader:
    """Lay out an update of packed rows: one tensor of bytes."""
    return layout({"packed": ("U8", (rows, row_bytes))})


def packed_row_bytes(header: TensorHeader) -> int | None:
    """Return the bytes of a row of an update of packed rows; None if a header is not that of one."""
    spec = header.specs[0]
    if len(header.specs) != 1 or (spec.name, spec.dtype, len(spec.shape)) != ("packed", "U8", 2):
        return None
    return spec.shape[1]


def update_header(parent: TensorHeader) -> bytes:
    """Return the header bytes, up to the data, that every update of a parent must have."""
    return encode_header(update_layout(parent).specs)


# Reading ----------------------------------------------------------------------------------------------------------


def header_length(prefix: bytes, file_size: int | None = None) -> int:
    """Return the offset of the data, from the first 8 bytes of a file or more.

    Raises:
        FormError: prefix is shorter than 8 bytes, or the header's length exceeds MAX_HEADER_BYTES, is not a multiple of
            8, or does not fit in a file of file_size bytes. If more of another kind of file is given, it is named.
    """
    length = int.from_bytes(prefix[:8], "little")
    if len(prefix) < 8 or length > MAX_HEADER_BYTES or length % 8 or length == 0:
        kind = kind_of(prefix[:SNIFFED_BYTES])
        if kind is not None:
            raise FormError(f"expected a safetensors file, got {kind}")
    if len(prefix) < 8:
        raise FormError(f"safetensors: expected 8 bytes of header length, got {len(prefix)}: {CUT_SHORT}")
    if length > MAX_HEADER_BYTES:
        raise FormError(f"safetensors: expected a header of at most {MAX_HEADER_BYTES} bytes, got {length}")
    if length % 8 or length == 0:
        raise FormError(f"safetensors: expected a header padded to a multiple of 8 bytes, got {length}")
    if file_size is not None and 8 + length > file_size:
        raise FormError(f"safetensors: expected a header within {file_size} bytes, got one of {length}: {CUT_SHORT}")
    return 8 + length


def parse_header(prefix: bytes, file_size: int | None = None) -> TensorHeader:
    """Parse the header of a canonical file.

    Args:
        prefix: The file's bytes, at least up to its data.
        file_size: Length of the whole file, bytes, if known.

    Raises:
        FormError: The header is not canonical byte for byte, exceeds a limit, or does not match file_size.
    """
    start = header_length(prefix, file_size)
    if len(prefix) < start:
        raise FormError(f"safetensors: expected {start} bytes up to the data, got {len(prefix)}")
    fields = _decode(prefix[8:start])
    metadata = fields.pop(_METADATA, None)
    if metadata is not None and metadata != PT_METADATA:
        raise FormError(f"safetensors: expected no __metadata__ or {PT_METADATA}, got {str(metadata)[:200]}")
    header = layout({name: _tensor(name, field) for name, field in fields.items()}, metadata)
    _compare_offsets(header, fields)
    canonical = encode_header(header.specs, metadata)
    if canonical != prefix[:start]:
        at = next((i for i, (a, b) in enumerate(zip(canonical, prefix, strict=False)) if a != b), len(canonical))
        raise FormError(
            f"safetensors: expected the canonical header, {bytes(canonical[at : at + 24])!r} at byte {at}, "
            f"got {bytes(prefix[at : min(at + 24, start)])!r}"
        )
    if file_size is not None and file_size != header.file_bytes:
        why = f": {CUT_SHORT}" if file_size < header.file_bytes else ""
        raise FormError(f"safetensors: expected {header.file_bytes} bytes of file, got {file_size}{why}")
    return header


def _decode(body: bytes) -> dict[str, Any]:
    if body[:1] != b"{":
        raise FormError(f"safetensors: expected a header that begins with '{{', got {body[:1]!r}")
    _check_depth(body)
    try:
        fields: dict[str, Any] = json.loads(body.decode(), object_pairs_hook=_unique)  # a dict: it begins with {
    except UnicodeDecodeError as error:
        raise FormError(f"safetensors: expected a header in UTF-8, got {error}") from error
    except ValueError as error:
        raise FormError(f"safetensors: expected a header in JSON, got {error}") from error
    return fields


def _check_depth(body: bytes) -> None:
    """Reject JSON nested deeper than a header, before parsing: the parser recurses in C, so if a library has raised the
    recursion limit, deep nesting crashes the process.
    """
    depth = 0
    for token in _BRACKETS.finditer(body):
        if token[0][0] != 0x22:  # a string
            depth += 1 if token[0] in b"[{" else -1
            if depth > 3:
                raise FormError("safetensors: expected a header of three levels, got one nested deeper")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        seen: set[str] = set()
        twice = ""
        for twice, _ in pairs:
            if twice in seen:
                break
            seen.add(twice)
        raise FormError(f"safetensors: expected each key once, got {twice[:40]!r} twice")
    return fields


def _tensor(name: str, field: Any) -> tuple[str, Sequence[int]]:
    if not isinstance(field, dict) or field.keys() != {"dtype", "shape", "data_offsets"}:
        raise FormError(f"tensor {name!r}: expected dtype, shape and data_offsets, got {str(field)[:200]}")
    shape, offsets = field["shape"], field["data_offsets"]
    if not isinstance(field["dtype"], str) or not _integers(shape) or not _integers(offsets) or len(offsets) != 2:
        raise FormError(f"tensor {name!r}: expected a dtype, dimensions and two offsets, got {str(field)[:200]}")
    return field["dtype"], shape


def _integers(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int for item in value)


def _compare_offsets(header: TensorHeader, fields: Mapping[str, Any]) -> None:
    for spec in header.specs:
        begin, end = fields[spec.name]["data_offsets"]
        if end - begin != spec.end - spec.begin:
            raise FormError(
                f"tensor {spec.name!r}: expected {spec.end - spec.begin} bytes for {spec.dtype} {list(spec.shape)}, "
                f"got offsets {begin} to {end}"
            )
        if begin != spec.begin:
            raise FormError(
                f"tensor {spec.name!r}: expected its data at {spec.begin}, with no gap, no overlap and in the order of "
                f"dtype and name, got {begin}"
            )


# Allowed values ---------------------------------------------------------------------------------------------------


def _name_bytes(name: str) -> bytes:
    try:
        encoded = name.encode()
    except UnicodeEncodeError as error:
        raise FormError(f"tensor {name!r}: expected a name in Unicode, got a lone surrogate") from error
    if not 0 < len(encoded) <= MAX_NAME_BYTES:
        raise FormError(f"tensor {name[:40]!r}: expected a name of 1 to {MAX_NAME_BYTES} bytes, got {len(encoded)}")
    if name == _METADATA or any(unicodedata.category(letter) == "Cc" for letter in name):
        raise FormError(f"tensor {name!r}: expected a name without control characters, other than {_METADATA}")
    return encoded


def _size(name: str, dtype: str, shape: tuple[int, ...]) -> int:
    if dtype not in DTYPES:
        raise FormError(f"tensor {name!r}: expected a dtype of {', '.join(DTYPES)}, got {dtype[:40]!r}")
    if len(shape) > MAX_RANK or any(dimension < 0 for dimension in shape):
        raise FormError(
            f"tensor {name!r}: expected at most {MAX_RANK} dimensions, none negative, got {str(shape)[:200]}"
        )
    values, nonzero = 1, 1
    for dimension in shape:
        values *= dimension
        nonzero *= dimension or 1
        if nonzero > MAX_VALUES:
            raise FormError(f"tensor {name!r}: expected at most {MAX_VALUES} values, got shape {shape}")
    return values * DTYPES[dtype]
