"""CID and varint codecs, for the one kind of CID that Cairn uses.

A CID is CIDv1 with sha2-256 and one of three codecs (raw, dag-pb, dag-cbor): 36 bytes, ``01 55|70|71 12 20`` and the
digest. Its text is the multibase letter ``b`` and lower-case base32 without padding. Everything else that the
multiformats specifications allow (CIDv0, identity, other hashes, codecs and bases) is rejected with an error that
names what was got. Text and bytes are canonical: decoding accepts only what encoding writes.
"""

from __future__ import annotations

import base64
import binascii

from registry.errors import FormError
from registry.types import Cid, Codec, encode_base32

__all__ = [
    "CID_BYTES",
    "decode_cid",
    "decode_varint",
    "encode_varint",
    "parse_cid",
]

CID_BYTES = 36
"""Length of a CID in bytes."""

_CODECS = {0x50: "protobuf", 0x51: "cbor", 0x72: "libp2p-key", 0x78: "git-raw", 0x85: "dag-jose", 0x0129: "dag-json"}
_HASHES = {
    0x00: "identity",
    0x11: "sha1",
    0x13: "sha2-512",
    0x14: "sha3-512",
    0x16: "sha3-256",
    0x1B: "keccak-256",
    0x1E: "blake3",
    0xD5: "md5",
    0xB220: "blake2b-256",
}
_BASES = {
    "B": "base32 in upper case",
    "Q": "base58btc of a CIDv0",
    "c": "base32 with padding",
    "f": "base16",
    "F": "base16 in upper case",
    "h": "z-base-32",
    "k": "base36",
    "K": "base36 in upper case",
    "m": "base64",
    "M": "base64 with padding",
    "u": "base64url",
    "U": "base64url with padding",
    "v": "base32hex",
    "z": "base58btc",
}


def encode_varint(value: int) -> bytes:
    """Return value, 0 <= value < 2^63, as an unsigned LEB128 varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode_varint(data: bytes | memoryview, start: int = 0) -> tuple[int, int]:
    """Return the varint at start and the position after it.

    Raises:
        FormError: It is truncated, longer than nine bytes (multiformats unsigned-varint), or not in shortest form.
    """
    value = 0
    for count, byte in enumerate(data[start : start + 9]):
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            if byte == 0 and count:
                raise FormError("varint: expected the shortest form, got a leading zero group")
            return value, start + count + 1
    if len(data) - start >= 9:
        raise FormError("varint: expected at most 9 bytes, got more")
    raise FormError(f"varint: expected more bytes, got the end after {len(data) - start}")


def decode_cid(data: bytes) -> Cid:
    """Decode a CID from bytes.

    Raises:
        FormError: They are not the 36 bytes of a CIDv1, raw, dag-pb or dag-cbor, sha2-256.
    """
    data = bytes(data)
    if data[:2] == b"\x12\x20":
        raise FormError("CID: expected version 1, got a CIDv0 (a bare sha2-256 multihash)")
    version, at = decode_varint(data)
    if version != 1:
        raise FormError(f"CID: expected version 1, got {version}")
    codec, at = decode_varint(data, at)
    if codec not in (Codec.RAW, Codec.DAG_PB, Codec.DAG_CBOR):
        raise FormError(f"CID: expected codec raw, dag-pb or dag-cbor, got {_named(codec, _CODECS)}")
    hash_code, at = decode_varint(data, at)
    if hash_code != 0x12:
        raise FormError(f"CID: expected hash sha2-256, got {_named(hash_code, _HASHES)}")
    length, at = decode_varint(data, at)
    if length != 32 or len(data) - at != 32:
        raise FormError(f"CID: expected a digest of 32 bytes, got one declared as {length} with {len(data) - at}")
    return Cid(Codec(codec), data[at:])


def parse_cid(text: str) -> Cid:
    """Decode a CID from text.

    Raises:
        FormError: It is not lower-case base32 of a CID that decode_cid accepts.
    """
    if len(text) == 46 and text.startswith("Qm"):
        raise FormError(f"CID {text}: expected a CIDv1 in base32 (b…), got a CIDv0")
    if not text.startswith("b"):
        base = _BASES.get(text[:1], "no known base") if text else "nothing"
        raise FormError(f"CID {text[:80]!r}: expected base32 in lower case (b…), got {base}")
    body = text[1:]
    if len(body) > 200 or body != body.lower() or not body.isascii():
        raise FormError(f"CID {text[:80]!r}: expected base32 in lower case (b…), got other letters")
    try:
        data = base64.b32decode(body.upper() + "=" * (-len(body) % 8))
    except binascii.Error as error:
        raise FormError(f"CID {text!r}: expected base32 in lower case (b…), got {error}") from error
    cid = decode_cid(data)
    if encode_base32(data) != text:
        raise FormError(f"CID {text}: expected its canonical text {cid}")
    return cid


def _named(code: int, names: dict[int, str]) -> str:
    return f"{names[code]} (0x{code:x})" if code in names else f"0x{code:x}"
