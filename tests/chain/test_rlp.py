"""RLP: the one canonical form, the same as the reference package's, and no crash whatever the bytes."""

from __future__ import annotations

from typing import Any

import pytest
import rlp as reference
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import FormError
from registry.ethereum.rlp import MAX_DEPTH, Item, decode, encode, int_from, int_to


def nested(depth: int) -> st.SearchStrategy[Any]:
    leaf = st.one_of(st.binary(max_size=3), st.binary(min_size=50, max_size=300))
    return st.one_of(leaf, st.lists(nested(depth - 1), max_size=5).map(tuple)) if depth else leaf


def listed(item: Any) -> Any:
    return item if isinstance(item, bytes) else [listed(inner) for inner in item]


@given(nested(MAX_DEPTH))
def test_encoding_is_the_reference_package_s_and_decodes_to_what_was_encoded(item: Item) -> None:
    assert encode(item) == reference.encode(item, infer_serializer=False)
    assert decode(encode(item)) == item


@given(st.one_of(st.binary(max_size=80), nested(3).map(encode)), st.data())
def test_what_decodes_encodes_to_the_same_bytes_and_the_reference_package_agrees(raw: bytes, data: Any) -> None:
    if raw and data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw = raw[:at] + bytes([data.draw(st.integers(0, 255))]) + raw[at + 1 :]
    try:
        item = decode(raw)
    except FormError as error:
        if "nested lists" not in str(error):
            with pytest.raises(reference.DecodingError):
                reference.decode(raw)
        return
    assert encode(item) == raw
    assert listed(reference.decode(raw)) == listed(item)


@pytest.mark.parametrize("length", [0, 1, 2, 55, 56, 57, 255, 256, 257, 65535, 65536])
def test_lengths_at_the_borders_of_their_forms(length: int) -> None:
    text, items = b"\x80" * length, (b"",) * length
    assert decode(encode(text)) == text
    assert decode(encode(items)) == items
    assert encode(text) == reference.encode(text)


BAD = {
    "nothing": "",
    "a byte with a length": "817f",
    "a byte with a long length": "b80100",
    "a short length in the long form": "b837" + "61" * 55,
    "a length with a zero before it": "b90038" + "61" * 56,
    "a list's length in the long form": "f837" + "61" * 55,
    "a list's length with a zero before it": "f90038" + "61" * 56,
    "too few bytes": "83 6161",
    "too few bytes in a list": "c3 6161",
    "a string that runs out of its list": "c4 c1 82 6161",
    "a length that runs out of its list": "c1 b8",
    "a length without its bytes": "b9 38",
    "a length of 2^64 - 1": "bf ffffffffffffffff",
    "a list of 2^64 - 1 bytes": "ff ffffffffffffffff",
    "bytes after the item": "80 80",
    "bytes after a list": "c0 00",
    "nested lists": "c5c4c3c2c1c0",
}


@pytest.mark.parametrize("raw", BAD.values(), ids=BAD.keys())
def test_what_is_not_canonical_is_refused(raw: str) -> None:
    with pytest.raises(FormError, match=r"RLP: expected .*, got "):
        decode(bytes.fromhex(raw))


def test_lists_nest_as_deep_as_said_and_no_deeper() -> None:
    assert decode(bytes.fromhex("c3c2c1c0")) == ((((),),),)
    with pytest.raises(FormError, match="at most 4 nested lists"):
        decode(bytes.fromhex("c4c3c2c1c0"))


def test_a_megabyte_of_nested_lists_is_refused_without_recursion() -> None:
    raw = b""
    for _ in range(2000):
        raw = encode((raw,)) if not raw else bytes([0xFA]) + len(raw).to_bytes(3, "big") + raw
    with pytest.raises(FormError):
        decode(raw)
    with pytest.raises(FormError):
        decode(b"\xc1" * 1_000_000)


@given(st.integers(0, 2**256 - 1))
def test_numbers_round_trip(value: int) -> None:
    assert int_from(int_to(value), "n") == value


@pytest.mark.parametrize("item", [b"\0", b"\0\1", b"\1" * 33, (), (b"\1",)])
def test_what_is_no_canonical_number_is_refused(item: Item) -> None:
    with pytest.raises(FormError, match="n: expected a number of up to 256 bits"):
        int_from(item, "n")


def test_a_number_out_of_range_is_refused() -> None:
    assert int_from(b"\xff" * 8, "n", 64) == 2**64 - 1
    with pytest.raises(FormError, match="64 bits"):
        int_from(b"\x01" + bytes(8), "n", 64)
