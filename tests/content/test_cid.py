from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.content.cid import (
    decode_cid,
    decode_varint,
    encode_varint,
    parse_cid,
)
from registry.errors import FormError
from registry.types import Cid, Codec, encode_base32

DIGEST = hashlib.sha256(b"cairn").digest()
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "content" / "cids.json").read_text())

cids = st.builds(Cid, st.sampled_from(Codec), st.binary(min_size=32, max_size=32))


def text_of(data: bytes) -> str:
    return encode_base32(data)


@given(cids)
def test_cid_survives_text_and_bytes(cid: Cid) -> None:
    assert parse_cid(str(cid)) == cid
    assert decode_cid(bytes(cid)) == cid
    assert len(bytes(cid)) == 36


@pytest.mark.parametrize("vector", GOLDEN, ids=lambda vector: vector["codec"])
def test_cid_of_known_block_is_the_golden_one(vector: dict[str, str]) -> None:
    cid = Cid(Codec[vector["codec"]], hashlib.sha256(bytes.fromhex(vector["block"])).digest())
    assert str(cid) == vector["cid"]
    assert bytes(cid).hex() == vector["bytes"]


def test_cids_equal_those_of_multiformats() -> None:
    multiformats = pytest.importorskip("multiformats")
    for codec, name in ((Codec.RAW, "raw"), (Codec.DAG_PB, "dag-pb"), (Codec.DAG_CBOR, "dag-cbor")):
        other = multiformats.CID("base32", 1, name, ("sha2-256", DIGEST))
        assert str(Cid(codec, DIGEST)) == str(other)


@pytest.mark.parametrize(
    ("data", "came"),
    [
        (b"\x12\x20" + DIGEST, "CIDv0"),
        (b"\x00\x55\x12\x20" + DIGEST, "got 0"),
        (b"\x02\x55\x12\x20" + DIGEST, "got 2"),
        (b"\x01\x72\x12\x20" + DIGEST, "libp2p-key"),
        (b"\x01\xa9\x02\x12\x20" + DIGEST, "dag-json"),
        (b"\x01\x55\x00\x05cairn", "identity"),
        (b"\x01\x71\x13\x40" + DIGEST + DIGEST, "sha2-512"),
        (b"\x01\x71\x1b\x20" + DIGEST, "keccak-256"),
        (b"\x01\x71\x12\x1f" + DIGEST[:31], "31"),
        (b"\x01\x71\x12\x20" + DIGEST[:31], "31"),
        (b"\x01\x71\x12\x20" + DIGEST + b"\x00", "33"),
        (b"\x81\x00\x71\x12\x20" + DIGEST, "shortest"),
        (b"\x01\xd5\x00\x12\x20" + DIGEST, "shortest"),
        (b"\x01", "end"),
        (b"", "end"),
    ],
)
def test_cid_with_another_hash_codec_or_version_is_refused_by_name(data: bytes, came: str) -> None:
    with pytest.raises(FormError, match=came):
        decode_cid(data)
    if data:
        with pytest.raises(FormError):
            parse_cid(text_of(data))


def test_identity_cid_is_refused() -> None:
    with pytest.raises(FormError, match="identity"):
        parse_cid(text_of(b"\x01\x55\x00\x05cairn"))


@pytest.mark.parametrize(
    ("text", "came"),
    [
        ("QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG", "CIDv0"),
        ("zb2rhe5P4gXftAwvA4eXQ5HJwsER2owDyS9sKaQRRVQPn93bA", "base58btc"),
        (str(Cid(Codec.RAW, DIGEST)).upper(), "upper case"),
        ("f" + bytes(Cid(Codec.RAW, DIGEST)).hex(), "base16"),
        ("k51qzi5uqu5d", "base36"),
        ("", "nothing"),
        ("/ipfs/" + str(Cid(Codec.RAW, DIGEST)), "no known base"),
        (" " + str(Cid(Codec.RAW, DIGEST)), "no known base"),
        (str(Cid(Codec.RAW, DIGEST)) + "======", "Incorrect padding|padding|canonical|Non-base32"),
        (str(Cid(Codec.RAW, DIGEST)) + "\n", "."),
        ("b" + "A" * 58, "other letters"),
        ("b" + "1" * 56, "Non-base32"),
        ("b" + "a" * 5000, "other letters"),
        ("bé", "other letters"),
    ],
)
def test_cid_text_in_another_base_is_refused_by_name(text: str, came: str) -> None:
    with pytest.raises(FormError, match=came):
        parse_cid(text)


def test_cid_text_with_stray_bits_is_refused() -> None:
    text = str(Cid(Codec.RAW, bytes(32)))
    assert text.endswith("a")
    with pytest.raises(FormError, match="canonical"):
        parse_cid(text[:-1] + "b")  # the last letter carries two bits that no byte uses


@given(st.binary(max_size=40))
def test_any_bytes_are_a_cid_or_refused(data: bytes) -> None:
    try:
        cid = decode_cid(data)
    except FormError:
        return
    assert bytes(cid) == data


@given(st.text(max_size=70))
def test_any_text_is_a_cid_or_refused(text: str) -> None:
    try:
        cid = parse_cid(text)
    except FormError:
        return
    assert str(cid) == text


@given(st.integers(0, (1 << 63) - 1), st.binary(max_size=3))
def test_varint_round_trip(value: int, tail: bytes) -> None:
    encoded = encode_varint(value)
    assert decode_varint(encoded + tail) == (value, len(encoded))


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80\x00", b"\xff" * 9 + b"\x01", b"\xff" * 4])
def test_varint_cut_long_or_padded_is_refused(data: bytes) -> None:
    with pytest.raises(FormError, match="varint"):
        decode_varint(data)
