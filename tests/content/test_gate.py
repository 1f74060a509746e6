from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.content.gate import Gate, ValueChecker, describe
from registry.content.merkle import tensor_root
from registry.content.tensors import DTYPES, FLOATS, layout, parse_header, write_tensors
from registry.content.unixfs import blob_of
from registry.errors import FormError
from registry.types import ZERO32

INFINITY = {"F64": 0x7FF0 << 48, "F32": 0x7F80 << 16, "BF16": 0x7F80, "F16": 0x7C00}


def cut(data: bytes, seed: int) -> Iterator[bytes]:
    draw = random.Random(seed)
    at = 0
    while at < len(data):
        step = draw.choice((0, 1, 3, 5, 64, 1000, 100_000))
        yield data[at : at + step]
        at += step


def mixed(seed: int = 0) -> bytes:
    """A canonical file with a tensor or two of every dtype, random finite values, odd lengths."""
    draw = np.random.default_rng(seed)
    tensors = {}
    for dtype, width in DTYPES.items():
        for number, count in enumerate((0, 1, 1003)):
            raw = draw.integers(0, 256, count * width, dtype=np.uint8)
            if dtype in FLOATS:
                raw[width - 1 :: width] &= 0xBF  # clears an exponent bit: finite
            if dtype == "BOOL":
                raw &= 1
            tensors[f"{dtype}.{number}"] = (dtype, (count,), raw)
    return b"".join(write_tensors(tensors))


F32 = b"".join(
    write_tensors({"w": ("F32", (300, 7), np.arange(2100, dtype="<f4")), "b": ("F32", (), np.float32(-0.0))})
)


# Description -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_one_pass_gives_what_separate_passes_give(seed: int, workers: int) -> None:
    for file in (F32, mixed()):
        found = describe(cut(file, seed), workers=workers)
        header = parse_header(file, len(file))
        assert found.blob == blob_of([file])
        assert found.size == len(file)
        assert found.sha256 == hashlib.sha256(file).digest()
        assert found.header == header
        begin, end = (header.header_bytes + at for at in header.range_of("F32"))
        assert found.tensor_root == tensor_root(file[begin:end])
        assert found.rest_root == hashlib.sha256(file[:begin] + file[end:]).digest()
    assert describe([F32]).values == 2101


def test_the_example_of_the_format_page_is_what_the_code_writes() -> None:
    page = (Path(__file__).parents[2] / "docs" / "format.md").read_text()
    example = page.split("its CID, sha2-256, tensor root and rest root:\n\n```\n")[1].split("```")[0]
    *data, cid, digest, root, rest = example.split()
    file = b"".join(write_tensors({"w": ("F32", (2,), np.array([1, -2], "<f4"))}))
    found = describe([file])
    assert "".join(data) == file.hex()
    assert found.sha256 is not None
    assert found.tensor_root is not None
    assert found.rest_root is not None
    assert (cid, digest, root) == (str(found.cid), found.sha256.hex(), found.tensor_root.hex())
    assert rest == found.rest_root.hex()


def test_values_stand_between_wider_and_narrower_ones() -> None:
    header = parse_header(mixed())
    begin, end = header.range_of("F32")
    assert 0 < begin < end < header.data_bytes
    assert end - begin == 4 * (1 + 1003)
    inside = [spec.dtype for spec in header.specs if begin <= spec.begin and spec.end <= end and spec.begin < spec.end]
    assert inside == ["F32", "F32"]


def test_a_file_without_f32_values_has_no_tensor_root() -> None:
    file = b"".join(write_tensors({"n": ("I64", (3,), np.arange(3)), "w": ("F32", (0,), np.zeros(0, "<f4"))}))
    found = describe([file])
    assert (found.tensor_root, found.rest_root) == (ZERO32, hashlib.sha256(file).digest())


@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype != "F32"])
def test_one_changed_byte_changes_one_root(dtype: str) -> None:
    file = bytearray(mixed())
    header = parse_header(bytes(file))
    before = describe([bytes(file)])
    other, value = header.by_name()[f"{dtype}.2"], header.by_name()["F32.2"]
    file[header.header_bytes + other.begin] ^= 1
    spoilt = describe([bytes(file)])
    assert (spoilt.tensor_root == before.tensor_root, spoilt.rest_root == before.rest_root) == (True, False)
    file[header.header_bytes + value.begin] ^= 1
    assert describe([bytes(file)]).tensor_root != before.tensor_root
    assert describe([bytes(file)]).rest_root == spoilt.rest_root


def test_only_what_is_asked_for_is_computed() -> None:
    found = describe([F32], cid=False, sha256=False, tensor_root=False)
    assert (found.cid, found.sha256, found.tensor_root, found.size) == (None, None, None, len(F32))
    with pytest.raises(AssertionError):
        _ = found.blob


@pytest.mark.parametrize("file", [F32, mixed()], ids=["f32", "mixed"])
def test_truncated_file_is_refused_at_every_length(file: bytes) -> None:
    for length in [*range(0, 200), *range(200, len(file), 997), len(file) - 1]:
        with pytest.raises(FormError):
            describe([file[:length]], sha256=False)


@pytest.mark.parametrize("extra", [b"\x00", bytes(4096)])
def test_trailing_bytes_are_refused_in_a_stream(extra: bytes) -> None:
    for pieces in ([F32 + extra], [F32, extra]):
        with pytest.raises(FormError, match="got more"):
            describe(pieces)


def test_stream_that_never_ends_is_refused_after_its_last_byte() -> None:
    def pieces() -> Iterator[bytes]:
        yield F32
        while True:
            yield b"more"

    with pytest.raises(FormError, match="got more"):
        describe(pieces())


def test_hostile_header_is_refused_before_anything_passes() -> None:
    taken: list[object] = []
    hostile = F32[:8] + b" " + F32[9:]
    watched = Gate().watch(hostile[at : at + 5] for at in range(0, len(hostile), 5))
    with pytest.raises(FormError, match="begins with"):
        taken.extend(watched)
    assert taken == []


@pytest.mark.parametrize("seed", range(3))
def test_what_passes_the_gate_is_what_came(seed: int) -> None:
    gate = Gate()
    assert b"".join(gate.watch(cut(F32, seed))) == F32
    assert gate.finish().tensor_root == describe([F32]).tensor_root


def test_reused_buffer_passes_without_workers(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(mixed())
    buffer = bytearray(700)

    def pieces() -> Iterator[memoryview]:
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                yield memoryview(buffer)[:count]

    assert describe(pieces()) == describe([mixed()])


# Values ------------------------------------------------------------------------------------------------------------


def feed(checker: ValueChecker, pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        checker.update(piece)


def bits(dtype: str, value: int) -> bytes:
    return value.to_bytes(DTYPES[dtype], "little")


@pytest.mark.parametrize("dtype", sorted(FLOATS))
@pytest.mark.parametrize("sign", [0, 1])
def test_nan_and_infinity_are_refused_and_the_largest_finite_value_passes(dtype: str, sign: int) -> None:
    top = sign << (8 * DTYPES[dtype] - 1)
    header = layout({"a": (dtype, (70_000,)), "b": (dtype, (3,))})
    data = bytearray(header.data_bytes)
    at = 66_000 * DTYPES[dtype]
    for wrong in (INFINITY[dtype], INFINITY[dtype] + 1, (1 << (8 * DTYPES[dtype] - 1)) - 1):
        data[at : at + DTYPES[dtype]] = bits(dtype, top | wrong)
        for seed in range(2):
            checker = ValueChecker(header)
            with pytest.raises(FormError, match=r"tensor 'a': expected finite values, got bits 0x[0-9a-f]+ at 66000"):
                feed(checker, cut(bytes(data), seed))
    data[at : at + DTYPES[dtype]] = bits(dtype, top | (INFINITY[dtype] - 1))
    checker = ValueChecker(header)
    feed(checker, cut(bytes(data), 1))
    checker.finish()


@settings(max_examples=60)
@given(st.sampled_from(sorted(FLOATS)), st.integers(0, 2**64 - 1), st.integers(0, 20))
def test_a_float_passes_just_when_ieee_754_calls_it_finite(dtype: str, value: int, at: int) -> None:
    value %= 1 << (8 * DTYPES[dtype])
    raw = bits(dtype, value)
    wide = bytes(2) + raw if dtype == "BF16" else raw  # a bfloat16 is the upper half of a float32
    kind = {"BF16": "<f4"}.get(dtype, f"<f{DTYPES[dtype]}")
    finite = bool(np.isfinite(np.frombuffer(wide, kind)[0]))
    header = layout({"a": (dtype, (21,))})
    data = bytearray(header.data_bytes)
    data[at * DTYPES[dtype] : (at + 1) * DTYPES[dtype]] = raw
    checker = ValueChecker(header)
    if finite:
        checker.update(data)
        checker.finish()
    else:
        with pytest.raises(FormError, match=f"at {at}$"):
            checker.update(data)


@pytest.mark.parametrize("value", [2, 3, 128, 255])
def test_boolean_other_than_0_or_1_is_refused(value: int) -> None:
    header = layout({"e": ("BOOL", (0,)), "m": ("BOOL", (5,)), "n": ("BOOL", (4,)), "w": ("F32", (1,))})
    checker = ValueChecker(header)
    with pytest.raises(FormError, match=f"tensor 'n': expected booleans of 0 or 1, got bits 0x{value:02x} at 3"):
        checker.update(bytes(4) + bytes([0, 1, 1, 0, 1]) + bytes([1, 0, 1, value]))


def test_integers_of_any_bits_pass() -> None:
    header = layout({dtype: (dtype, (9,)) for dtype in ("U64", "I64", "U32", "I32", "U16", "I16", "I8", "U8")})
    checker = ValueChecker(header)
    checker.update(b"\xff" * header.data_bytes)
    checker.finish()


def test_a_bad_value_that_straddles_two_pieces_is_found() -> None:
    header = layout({"a": ("F64", (2,)), "b": ("F32", (2,))})
    data = bytes(16) + np.array([0, np.nan], "<f4").tobytes()
    for step in range(1, 24):
        checker = ValueChecker(header)
        with pytest.raises(FormError, match=r"tensor 'b'.* at 1$"):
            feed(checker, (data[at : at + step] for at in range(0, 24, step)))


def test_missing_data_is_refused_at_the_end() -> None:
    checker = ValueChecker(layout({"a": ("F32", (3,))}))
    checker.update(bytes(11))
    with pytest.raises(FormError, match="expected 12 bytes of data, got 11"):
        checker.finish()
