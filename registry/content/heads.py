"""Heads: fixed-size summaries of update, version and report manifests, anchored on chain by sha2-256.

A contract cannot parse a manifest, whose size and layout vary; a head has every field at a fixed offset. It repeats
the fields of its manifest that the contract needs, and links to the manifest. A head is a DAG-CBOR block, so a
recursive pin of the head also pins its manifest:

    82                       a list of two
    58 or 59, length, bytes  the fields, integers big-endian; those of a result in 32-byte words, as in the contract
    d8 2a 58 25 00, CID      the link to the manifest

A head must equal the one computed from its manifest; otherwise the manifest is rejected (`FormError`).
"""

from __future__ import annotations

import contextlib
import struct
from dataclasses import dataclass

from registry.errors import FormError
from registry.types import Cid, Codec

__all__ = [
    "Head",
    "REPORT_HEAD",
    "SELECTION_HEAD",
    "UPDATE_HEAD",
    "VERSION_HEAD",
    "body_of",
    "gram_words",
    "head_bytes",
    "head_size",
    "read_head",
    "with_gram_words",
]


@dataclass(frozen=True, slots=True)
class Head:
    """A kind of head.

    Attributes:
        number: Kind byte that the fields begin with.
        layout: Format string of the other fields, for `struct`.
    """

    number: int
    layout: str


_ROUND = "Q20s32sQ32s32s"  # chain, contract, model, number, parent, plan
UPDATE_HEAD = Head(1, f"{_ROUND}20s32sII")
"""Round, then participant, tensor root, weight, steps."""
VERSION_HEAD = Head(2, f"{_ROUND}32s32s32s32s24xQ32s")
"""Round, then the five root fields and the aggregate root. All zero but the parent if no round made the version."""
REPORT_HEAD = Head(3, f"{_ROUND}32s32s32s28xI28xI24xQ28xI")
"""Round, then running hash, aggregate root, contributions root and number, total weight and steps, divisor."""
SELECTION_HEAD = Head(3, f"{REPORT_HEAD.layout}32s24xQ")
"""Of a report with inner products: as REPORT_HEAD, then their root and the index of the segment that gives the unit."""

_GRAM_BYTES = 64
_LINK = bytes.fromhex("d82a582500") + bytes(Cid(Codec.DAG_CBOR, bytes(32)))[:4]


def head_bytes(kind: Head, fields: tuple[int | bytes, ...], body: bytes) -> bytes:
    """Return an encoded head.

    Args:
        kind: Kind of head.
        fields: Field values in layout order.
        body: sha2-256 of the manifest's bytes.
    """
    return _begin(kind) + struct.pack(f">B{kind.layout}", kind.number, *fields) + _LINK + body


def head_size(kind: Head) -> int:
    """Return the encoded length of heads of a kind, bytes."""
    return len(_begin(kind)) + struct.calcsize(f">B{kind.layout}") + len(_LINK) + 32


def gram_words(head: bytes) -> bytes:
    """Return what the head of a report says of inner products: a root, and an index as 32 bytes; empty if nothing."""
    end = len(head) - len(_LINK) - 32
    return head[end - _GRAM_BYTES : end] if len(head) == head_size(SELECTION_HEAD) else b""


def with_gram_words(head: bytes, words: bytes) -> bytes:
    """Return a SELECTION_HEAD, without the manifest's digest at its end, with other words about inner products."""
    end = len(head) - len(_LINK)
    return head[: end - _GRAM_BYTES] + words + head[end:]


def body_of(kind: Head, head: bytes) -> Cid:
    """Return a head's link to its manifest.

    Raises:
        FormError: The bytes are not a head of that kind.
    """
    if len(head) != head_size(kind):
        raise FormError(f"head: expected {head_size(kind)} bytes, got {len(head)}")
    begin = _begin(kind)
    if head[: len(begin) + 1] != begin + bytes((kind.number,)) or head[-32 - len(_LINK) : -32] != _LINK:
        raise FormError("head: expected a list of fields and a link, got something else")
    return Cid(Codec.DAG_CBOR, head[-32:])


def read_head(data: bytes) -> Cid | None:
    """Return the manifest link of a head of any kind; None if data is not a head."""
    for kind in (UPDATE_HEAD, VERSION_HEAD, REPORT_HEAD, SELECTION_HEAD):
        with contextlib.suppress(FormError):
            return body_of(kind, data)
    return None


def _begin(kind: Head) -> bytes:
    length = struct.calcsize(f">B{kind.layout}")
    return b"\x82" + (b"\x58" + bytes((length,)) if length < 256 else b"\x59" + length.to_bytes(2, "big"))
