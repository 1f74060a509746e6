"""Heads: what is anchored of an update, a version and a report is the sha2-256 of a head of fixed size.

A contract cannot read a manifest, whose size and layout vary, but it can read a head: every field stands at its place.
The head says what the chain has to know of its manifest, and links to it. It is itself a DAG-CBOR block, so whoever
pins a head recursively pins its manifest too:

    82                       a list of two
    58 or 59, length, bytes  the fields, integers big-endian; those of a result in 32 bytes, as the contract has them
    d8 2a 58 25 00, CID      the link to the manifest

A head and its manifest must say the same; a manifest whose head says anything else is none (`FormError`).
"""

from __future__ import annotations

import contextlib
import struct
from dataclasses import dataclass

from registry.errors import FormError
from registry.types import Cid, Codec

__all__ = ["Head", "REPORT_HEAD", "UPDATE_HEAD", "VERSION_HEAD", "body_of", "head_bytes", "head_size", "read_head"]


@dataclass(frozen=True, slots=True)
class Head:
    """A kind of head.

    Attributes:
        number: What the fields begin with, one byte: which kind it is.
        layout: Of the other fields, as `struct` has it.
    """

    number: int
    layout: str


_ROUND = "Q20s32sQ32s32s"  # chain, contract, model, number, parent, plan
UPDATE_HEAD = Head(1, f"{_ROUND}20s32sII")
"""Of which round, and participant, tensor root, weight, steps."""
VERSION_HEAD = Head(2, f"{_ROUND}32s32s32s32s24xQ32s")
"""Of which round, and the five roots, aggregate root. Where no round made the version, zeros, but for the parent."""
REPORT_HEAD = Head(3, f"{_ROUND}32s32s32s28xI28xI24xQ28xI")
"""Of which round, and running hash, aggregate root, contributions root and number, total weight and steps, divisor."""

_LINK = bytes.fromhex("d82a582500") + bytes(Cid(Codec.DAG_CBOR, bytes(32)))[:4]


def head_bytes(kind: Head, fields: tuple[int | bytes, ...], body: bytes) -> bytes:
    """Return a head.

    Args:
        kind: Which.
        fields: In the order of its layout.
        body: sha2-256 of the manifest's bytes.
    """
    return _begin(kind) + struct.pack(f">B{kind.layout}", kind.number, *fields) + _LINK + body


def head_size(kind: Head) -> int:
    """Return the length of every head of a kind."""
    return len(_begin(kind)) + struct.calcsize(f">B{kind.layout}") + len(_LINK) + 32


def body_of(kind: Head, head: bytes) -> Cid:
    """Return the link to the manifest that a head is of.

    Raises:
        FormError: It is no head of that kind.
    """
    if len(head) != head_size(kind):
        raise FormError(f"head: expected {head_size(kind)} bytes, got {len(head)}")
    begin = _begin(kind)
    if head[: len(begin) + 1] != begin + bytes((kind.number,)) or head[-32 - len(_LINK) : -32] != _LINK:
        raise FormError("head: expected a list of fields and a link, got something else")
    return Cid(Codec.DAG_CBOR, head[-32:])


def read_head(data: bytes) -> Cid | None:
    """Return the link to the manifest that a head of any kind is of; None for anything else."""
    for kind in (UPDATE_HEAD, VERSION_HEAD, REPORT_HEAD):
        with contextlib.suppress(FormError):
            return body_of(kind, data)
    return None


def _begin(kind: Head) -> bytes:
    length = struct.calcsize(f">B{kind.layout}")
    return b"\x82" + (b"\x58" + bytes((length,)) if length < 256 else b"\x59" + length.to_bytes(2, "big"))
