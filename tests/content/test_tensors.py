from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.content.tensors import (
    DTYPES,
    MAX_HEADER_BYTES,
    MAX_NAME_BYTES,
    MAX_RANK,
    MAX_TENSORS,
    PT_METADATA,
    encode_header,
    header_length,
    layout,
    parse_header,
    update_header,
    update_layout,
    write_tensors,
)
from registry.errors import FormError, InputError

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "content" / "tensors.json").read_text())
TORCH = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "I16": "int16",
    "U16": "uint16",
    "F16": "float16",
    "BF16": "bfloat16",
    "I32": "int32",
    "U32": "uint32",
    "F32": "float32",
    "F64": "float64",
    "I64": "int64",
    "U64": "uint64",
}
NUMPY = {dtype: np.dtype(name) for dtype, name in TORCH.items() if dtype != "BF16"}

names = st.text(
    st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from('"\\/ .é한\U0001f9ca'), min_size=1, max_size=30
).filter(lambda name: name != "__metadata__")
shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)
tensors = st.dictionaries(names, st.tuples(st.sampled_from(list(DTYPES)), shapes), min_size=1, max_size=12)


def values_of(entries: Mapping[str, tuple[str, tuple[int, ...]]]) -> int:
    return sum(math.prod(shape) for _, shape in entries.values())


def file_of(header: Any, data: bytes = b"", *, pad: bytes | None = None) -> bytes:
    """A file with any header: an object to put into compact JSON, or text."""
    text = header if isinstance(header, str) else json.dumps(header, ensure_ascii=False, separators=(",", ":"))
    body = text.encode()
    body += b" " * (-len(body) % 8) if pad is None else pad
    return len(body).to_bytes(8, "little") + body + data


def one(begin: int = 0, end: int = 8, *, dtype: Any = "F32", shape: Any = (2,)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def refused(file: bytes, match: str) -> None:
    with pytest.raises(FormError, match=match):
        parse_header(file, len(file))


# Against the reference writer --------------------------------------------------------------------------------------


@settings(max_examples=200)
@given(tensors.filter(lambda entries: all(dtype in NUMPY for dtype, _ in entries.values())), st.booleans())
def test_bytes_equal_those_of_the_reference_writer(entries: dict[str, tuple[str, tuple[int, ...]]], pt: bool) -> None:
    reference = pytest.importorskip("safetensors.numpy")
    if not values_of(entries):
        entries["one"] = ("F32", ())
    metadata = PT_METADATA if pt else None
    arrays = {name: np.ones(shape, NUMPY[dtype]) for name, (dtype, shape) in entries.items()}
    ours = b"".join(write_tensors({name: (*entries[name], arrays[name]) for name in entries}, metadata))
    assert ours == reference.save(arrays, metadata)


def test_every_dtype_stands_where_the_reference_writer_puts_it() -> None:
    torch = pytest.importorskip("torch")
    reference = pytest.importorskip("safetensors.torch")
    entries = {f"{prefix}.{dtype}": (dtype, (3,)) for prefix in ("b", "a") for dtype in sorted(DTYPES)}
    made = {name: torch.zeros(3).to(getattr(torch, TORCH[dtype])) for name, (dtype, _) in entries.items()}
    buffers = {name: (dtype, shape, bytes(3 * DTYPES[dtype])) for name, (dtype, shape) in entries.items()}
    assert b"".join(write_tensors(buffers)) == reference.save(made)
    assert {spec.dtype for spec in layout(entries).specs} == set(TORCH)


@settings(max_examples=50)
@given(tensors)
def test_the_reference_reader_reads_what_we_write(entries: dict[str, tuple[str, tuple[int, ...]]]) -> None:
    reference = pytest.importorskip("safetensors")
    entries["one"] = ("F32", ())
    made = {name: (dtype, shape, bytes(math.prod(shape) * DTYPES[dtype])) for name, (dtype, shape) in entries.items()}
    found = dict(reference.deserialize(b"".join(write_tensors(made))))
    assert {name: (item["dtype"], tuple(item["shape"])) for name, item in found.items()} == entries


@pytest.mark.parametrize("vector", GOLDEN, ids=lambda vector: vector["name"])
def test_golden_header(vector: dict[str, Any]) -> None:
    entries = {item["name"]: (item["dtype"], item["shape"]) for item in vector["tensors"]}
    header = layout(entries, vector["metadata"])
    encoded = encode_header(header.specs, header.metadata)
    assert encoded.hex() == vector["header"]
    assert parse_header(encoded, vector["file_bytes"]) == header


# Round trips -------------------------------------------------------------------------------------------------------


@given(tensors, st.booleans())
def test_header_round_trip(entries: dict[str, tuple[str, tuple[int, ...]]], pt: bool) -> None:
    entries["one"] = ("F32", ())
    header = layout(entries, PT_METADATA if pt else None)
    encoded = encode_header(header.specs, header.metadata)
    assert parse_header(encoded + b"data", header.file_bytes) == header
    assert len(encoded) == header.header_bytes == header_length(encoded)
    assert header.header_bytes % 8 == 0
    assert header.data_bytes == header.specs[-1].end
    assert {spec.name: (spec.dtype, spec.shape) for spec in header.specs} == entries
    assert header.by_name()["one"].shape == ()
    begin, end = header.range_of("F32")
    assert end - begin == sum(spec.end - spec.begin for spec in header.specs if spec.dtype == "F32")
    assert not any(spec.begin < end and begin < spec.end for spec in header.specs if spec.dtype != "F32")


@settings(max_examples=300)
@given(tensors, st.integers(8, 2000), st.binary(min_size=1, max_size=6))
def test_changed_header_is_refused_or_canonical(
    entries: dict[str, tuple[str, tuple[int, ...]]], at: int, change: bytes
) -> None:
    entries["one"] = ("F32", ())
    encoded = encode_header(layout(entries).specs)
    at = min(at, len(encoded) - 1)
    changed = (encoded[:at] + change + encoded[at + len(change) :])[: len(encoded)]
    try:
        header = parse_header(changed)
    except FormError:
        return
    assert encode_header(header.specs, header.metadata) == changed


@given(st.text(max_size=300))
def test_any_text_as_header_is_refused_or_canonical(text: str) -> None:
    try:
        file = file_of("{" + text)
    except UnicodeEncodeError:
        return
    with pytest.raises(FormError):
        parse_header(file)


# Hostile files -----------------------------------------------------------------------------------------------------


def test_plain_file_passes() -> None:
    file = file_of({"a": one()}, bytes(8))
    header = parse_header(file, len(file))
    assert (header.specs[0].name, header.data_bytes, header.metadata) == ("a", 8, None)


def test_leading_blank_is_refused() -> None:
    refused(file_of(" " + json.dumps({"a": one()}, separators=(",", ":")), bytes(8)), "begins with '{'")


def test_duplicate_keys_are_refused() -> None:
    entry = json.dumps(one(), separators=(",", ":"))
    refused(file_of(f'{{"a":{entry},"a":{entry}}}', bytes(8)), "'a' twice")
    refused(file_of('{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}', bytes(8)), "'dtype' twice")
    refused(file_of('{"__metadata__":{"format":"pt","format":"pt"},"a":' + entry + "}", bytes(8)), "'format' twice")
    escaped = f'{{"a":{entry},"\\u0061":{entry}}}'
    refused(file_of(escaped, bytes(8)), "'a' twice")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "2.0", "2e0", "-0", "-2", "9" * 5000, "9" * 20])
def test_nan_and_other_numbers_than_counts_are_refused_in_the_header(number: str) -> None:
    refused(file_of(f'{{"a":{{"dtype":"F32","shape":[{number}],"data_offsets":[0,8]}}}}', bytes(8)), "expected")
    refused(file_of(f'{{"a":{{"dtype":"F32","shape":[2],"data_offsets":[{number},8]}}}}', bytes(8)), "expected")


@pytest.mark.parametrize(
    ("offsets", "size"),
    [
        (((0, 8), (4, 12)), 12),  # overlapping
        (((0, 8), (0, 8)), 8),  # on top of each other
        (((0, 8), (12, 20)), 20),  # a gap
        (((8, 16), (16, 24)), 24),  # a gap in front
        (((8, 16), (0, 8)), 16),  # the other way round
        (((0, 8), (8, 12)), 12),  # too short
        (((0, 8), (16, 8)), 16),  # backwards
        (((0, 4), (4, 12)), 12),
    ],
)
def test_overlapping_or_gapped_offsets_are_refused(offsets: tuple[tuple[int, int], ...], size: int) -> None:
    entries = {name: one(*pair) for name, pair in zip("ab", offsets, strict=True)}
    refused(file_of(entries, bytes(size)), "expected (its data|8 bytes)")


@pytest.mark.parametrize(
    "shape",
    [(1 << 40,), (1 << 40, 0), (0, 1 << 40), (1 << 20, 1 << 20), (1 << 20, 0, 1 << 20), (1 << 62, 4), (1 << 32,) * 3],
)
def test_shape_of_2_to_the_40_is_refused(shape: tuple[int, ...]) -> None:
    refused(file_of({"a": one(), "b": one(8, 8, shape=shape)}, bytes(8)), "at most 1099511627775 values")


def test_100_000_names_are_refused() -> None:
    header = {str(index): one(0, 0, shape=(0,)) for index in range(100_000)}
    refused(file_of(header), "expected a header of at most")
    few = {"a": one()} | {str(index): one(0, 0, shape=(0,)) for index in range(MAX_TENSORS)}
    refused(file_of(few, bytes(8)), f"at most {MAX_TENSORS} tensors, got {MAX_TENSORS + 1}")


def test_100_mb_header_is_refused_from_its_first_8_bytes() -> None:
    with pytest.raises(FormError, match="got 100000000"):
        header_length((100_000_000).to_bytes(8, "little"), 1 << 40)
    refused(b"\xff" * 8 + b"{}", "got 18446744073709551615")


@pytest.mark.parametrize("extra", [1, 8, 4096])
def test_trailing_bytes_are_refused(extra: int) -> None:
    refused(file_of({"a": one()}, bytes(8 + extra)), "bytes of file, got")


@pytest.mark.parametrize("length", [0, 1, 7, 8, 20, 63])
def test_truncated_file_is_refused(length: int) -> None:
    file = file_of({"a": one()}, bytes(8))
    refused(file[:length], "expected")
    with pytest.raises(FormError):
        parse_header(file[:length])


def test_file_shorter_than_its_header_says_is_refused() -> None:
    refused(file_of({"a": one()}, bytes(7)), "bytes of file, got")


@pytest.mark.parametrize(
    "text",
    [
        '{"a": {"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
        '{"a":{"shape":[2],"dtype":"F32","data_offsets":[0,8]}}',
        '{"\\u0061":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
        '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}\n',
        '{"a":{"dtype":"F32","shape":[02],"data_offsets":[0,8]}}',
        '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}{}',
        '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},}',
    ],
)
def test_header_in_another_form_is_refused(text: str) -> None:
    refused(file_of(text, bytes(8)), "expected")


def test_padding_by_anything_but_the_fewest_blanks_is_refused() -> None:
    plain = file_of({"a": one()})
    body = plain[8:].rstrip(b" ").decode()
    refused(file_of(body, bytes(8), pad=b""), "multiple of 8")
    refused(file_of(body, bytes(8), pad=b" " * (-len(body) % 8 + 8)), "canonical")
    refused(file_of(body, bytes(8), pad=b"\x00" * (-len(body) % 8)), "JSON")
    refused(file_of(body, bytes(8), pad=b"\n" * (-len(body) % 8)), "canonical")


def test_tensors_in_another_order_are_refused() -> None:
    refused(file_of({"b": one(), "a": one(8, 16)}, bytes(16)), "order")
    refused(file_of({"a": one(8, 16), "b": one(0, 8)}, bytes(16)), "order")
    small_first = {"a": one(0, 4, dtype="F16"), "b": one(4, 12)}
    refused(file_of(small_first, bytes(12)), "order")
    listed = {"b": one(8, 16), "a": one(0, 8)}
    refused(file_of(listed, bytes(16)), "canonical")


@pytest.mark.parametrize(
    "metadata", [{}, {"format": "np"}, {"format": "pt", "a": "b"}, {"format": 1}, "pt", ["pt"], 7, True]
)
def test_other_metadata_than_format_pt_is_refused(metadata: Any) -> None:
    refused(file_of({"__metadata__": metadata, "a": one()}, bytes(8)), "metadata")


def test_null_metadata_is_refused() -> None:
    refused(file_of({"__metadata__": None, "a": one()}, bytes(8)), "canonical")


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "F4", "C64", "f32", "F32 ", "", "float32", 7, None])
def test_other_dtypes_are_refused_by_name(dtype: Any) -> None:
    refused(file_of({"a": one(dtype=dtype)}, bytes(8)), f"got .*{dtype}")


@pytest.mark.parametrize(
    "name",
    ["", "a\nb", "a\x00", "\x7f", "a\x85", "x" * (MAX_NAME_BYTES + 1), "é" * (MAX_NAME_BYTES // 2 + 1), "__metadata__"],
)
def test_empty_long_and_control_names_are_refused(name: str) -> None:
    if name != "__metadata__":
        refused(file_of({name: one()}, bytes(8)), "expected a name")
    with pytest.raises(FormError, match="expected a name"):
        layout({name: ("F32", (2,))})


def test_lone_surrogate_and_bad_utf8_are_refused() -> None:
    entry = json.dumps(one(), separators=(",", ":"))
    refused(file_of(f'{{"\\ud800":{entry}}}', bytes(8)), "lone surrogate")
    refused(file_of(f'{{"ax":{entry}}}', bytes(8)).replace(b'"ax"', b'"\xff\xfe"'), "UTF-8")


@pytest.mark.parametrize(
    "entry",
    [
        [],
        {},
        "F32",
        {"dtype": "F32", "shape": [2]},
        one() | {"extra": 1},
        one(shape=2),
        one(shape=["2"]),
        one(shape=[True, 2]),
        one(shape=[None]),
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 8, 8]},
        {"dtype": "F32", "shape": [2], "data_offsets": {"0": 8}},
    ],
)
def test_malformed_entry_is_refused(entry: Any) -> None:
    refused(file_of({"a": entry}, bytes(8)), "expected dtype|expected a dtype")


def test_too_many_dimensions_are_refused() -> None:
    layout({"a": ("F32", (1,) * MAX_RANK)})
    refused(file_of({"a": one(0, 4, shape=[1] * (MAX_RANK + 1))}, bytes(4)), "dimensions")


@pytest.mark.parametrize("limit", [1000, 100_000])  # web3's dependencies raise it for the whole process
@pytest.mark.parametrize("opening", ["[", '{"a":', "[ "])
def test_header_nested_very_deep_is_refused(limit: int, opening: str) -> None:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(limit)
    try:
        refused(file_of('{"a":' + opening * 300_000), "nested deeper")
    finally:
        sys.setrecursionlimit(before)


def test_file_without_a_value_is_refused() -> None:
    refused(file_of({}), "one or more values")
    refused(file_of({"a": one(0, 0, shape=(0,))}), "one or more values")
    refused(file_of({"__metadata__": {"format": "pt"}}), "one or more values")


def test_10_000_tensors_of_a_large_model_fit() -> None:
    entries = {
        f"model.layers.{index // 9}.block_sparse_moe.experts.{index}.weight": ("F32", (1, 1)) for index in range(10_000)
    }
    header = layout(entries)
    assert header.header_bytes < MAX_HEADER_BYTES // 2
    assert parse_header(encode_header(header.specs)) == header


# Writing -----------------------------------------------------------------------------------------------------------


def test_buffer_of_another_length_or_byte_order_is_an_input_error() -> None:
    with pytest.raises(InputError, match="expected 8 bytes, got 4"):
        write_tensors({"a": ("F32", (2,), b"abcd")})
    with pytest.raises(InputError, match="little-endian"):
        write_tensors({"a": ("F32", (2,), np.zeros(2, ">f4"))})
    with pytest.raises(InputError, match="C-contiguous"):
        write_tensors({"a": ("F32", (2, 2), np.zeros((2, 2), "<f4").T[:, ::-1])})


def test_0d_and_empty_tensors_are_written() -> None:
    file = b"".join(write_tensors({"s": ("F32", (), np.float32(1.5)), "e": ("F32", (0, 3), np.zeros((0, 3), "<f4"))}))
    header = parse_header(file, len(file))
    assert [(spec.name, spec.shape, spec.begin, spec.end) for spec in header.specs] == [
        ("e", (0, 3), 0, 0),
        ("s", (), 0, 4),
    ]
    assert file[-4:] == np.float32(1.5).tobytes()


# Updates -----------------------------------------------------------------------------------------------------------

PARENT = layout(
    {
        "w": ("F32", (2, 3)),
        "half": ("F16", (4,)),
        "brain": ("BF16", (5,)),
        "running_var": ("F64", (2,)),
        "steps": ("I64", ()),
        "mask": ("BOOL", (2,)),
        "empty": ("F32", (0,)),
    },
    PT_METADATA,
)


def test_update_holds_every_f32_tensor_without_metadata() -> None:
    header = update_layout(PARENT)
    assert [(spec.name, spec.dtype, spec.shape) for spec in header.specs] == [
        ("empty", "F32", (0,)),
        ("w", "F32", (2, 3)),
    ]
    assert header.metadata is None
    assert header.range_of("F32") == (0, header.data_bytes)
    encoded = update_header(PARENT)
    assert parse_header(encoded, len(encoded) + 4 * 6) == header


@pytest.mark.parametrize("names", [("empty", "steps"), ("half", "steps")])
def test_a_parent_without_f32_values_has_no_update(names: tuple[str, ...]) -> None:
    held = {spec.name: (spec.dtype, spec.shape) for spec in PARENT.specs if spec.name in names}
    with pytest.raises(InputError, match="update: expected one or more F32 values in the parent, got none"):
        update_header(layout(held))
