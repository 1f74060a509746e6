"""Shared value types and limits: ids, digests, CIDs, and the contract's enumerations."""

from __future__ import annotations

import base64
import enum
from dataclasses import dataclass
from typing import NamedTuple, NewType

from registry.errors import InputError

__all__ = [
    "Address",
    "Blob",
    "Cid",
    "Codec",
    "Digest",
    "Fault",
    "HeadKind",
    "GRID_LIMIT",
    "MAX_BLOCK_BYTES",
    "MAX_FILE_BYTES",
    "MAX_GRID_BITS",
    "MAX_MANIFEST_BYTES",
    "MAX_STEPS",
    "MAX_SHARE",
    "MAX_TOTAL_WEIGHT",
    "ModelId",
    "NamedBlock",
    "Part",
    "Phase",
    "Role",
    "Root",
    "RoundId",
    "SegmentKind",
    "Standing",
    "Tree",
    "WALK_STEPS",
    "ZERO32",
    "bytes32",
    "encode_base32",
]

WALK_STEPS = 32
"""Least number of answer times in a challenge window."""
Digest = NewType("Digest", bytes)
"""sha2-256 of a manifest, 32 bytes."""
Root = NewType("Root", bytes)
"""A tensor root or contributions root, 32 bytes."""
ModelId = NewType("ModelId", bytes)
"""keccak256(chain id, contract, first owner, genesis digest), 32 bytes."""
RoundId = NewType("RoundId", bytes)
"""keccak256(model id, number), 32 bytes."""
Address = NewType("Address", bytes)
"""An account or contract, 20 bytes."""

ZERO32 = bytes(32)
MAX_MANIFEST_BYTES = 1 << 20
MAX_BLOCK_BYTES = 2 << 20
"""Largest block that a store accepts; Bitswap in Kubo has the same limit."""
MAX_FILE_BYTES = 64 << 30
"""Largest version, update or aggregate, bytes; a larger declared size is refused before any fetch."""
GRID_LIMIT = 1 << 24
"""Largest magnitude of a grid value: the integers that float32 holds exactly."""
MAX_SHARE = 1 << 16
"""Largest factor of a contribution where a rule selects and each counts once."""
MAX_TOTAL_WEIGHT = 1 << 28
"""Largest total weight for which float64 sums of grid values are exact."""
MAX_STEPS = 1 << 20
"""Most training steps that an update may declare."""
MAX_GRID_BITS = 126


class Codec(enum.IntEnum):
    """The three multicodecs of Cairn's CIDs."""

    RAW = 0x55
    DAG_PB = 0x70
    DAG_CBOR = 0x71


@dataclass(frozen=True, slots=True, order=True)
class Cid:
    """A CIDv1 with sha2-256, the only kind that Cairn reads or writes.

    Attributes:
        codec: Multicodec of the block.
        digest: sha2-256 of the block, 32 bytes.
    """

    codec: Codec
    digest: bytes

    def __post_init__(self) -> None:
        if len(self.digest) != 32:
            raise InputError(f"expected a sha2-256 digest of 32 bytes, got {len(self.digest)}")

    def __bytes__(self) -> bytes:
        return bytes((1, self.codec, 0x12, 0x20)) + self.digest

    def __str__(self) -> str:
        return encode_base32(bytes(self))


class NamedBlock(NamedTuple):
    """A block whose CID was computed locally from these bytes, so that a store may keep it without hashing it again.

    Never build one from a received CID and bytes. Blocks read from a store are always hashed.
    """

    cid: Cid
    data: bytes


@dataclass(frozen=True, slots=True)
class Blob:
    """A file in the content store: the CID of its UnixFS root, and its length.

    Attributes:
        cid: Root under the unixfs-v1-2025 profile.
        size: File length, bytes.
    """

    cid: Cid
    size: int


class Role(enum.IntFlag):
    """Role bits of a member; the contract's numbers."""

    PARTICIPANT = 1
    AGGREGATOR = 2
    AUDITOR = 4
    READER = 8
    VALIDATOR = 16


class Phase(enum.IntEnum):
    """Phase of a round; the contract's numbers."""

    NONE = 0
    COMMIT = 1
    PUBLISH = 2
    AGGREGATE = 3
    CHALLENGE = 4
    FINAL = 5
    CANCELLED = 6


class Standing(enum.IntEnum):
    """Status of a result after its quorum; the contract's numbers."""

    SOUND = 0
    UNANSWERED = 1
    """Void because a demanded leaf was not shown; it may be attested again."""
    CONVICTED = 2
    """Void by a fraud proof; it can never be attested again."""


class Fault(enum.IntEnum):
    """The fault that a fraud proof showed in a result; the contract's numbers."""

    NONE = 0
    COUNT = 1
    ORDER = 2
    UNCOMMITTED = 3
    TOTAL = 4
    FACTOR = 5
    ROOTS = 6
    SIZE = 7
    CHUNK = 8
    AGGREGATE = 9
    VERSION = 10
    STATE = 11
    TWICE = 12
    HEAD = 13
    UNANSWERED = 14
    GRAM = 15
    PRODUCT = 16
    SELECTION = 17


class Part(enum.IntEnum):
    """The part of a result that a claim is about; the contract's numbers."""

    WHOLE = 0
    VALUES = 1
    SERVICE = 2


class Tree(enum.IntEnum):
    """Merkle trees of a round over the same coordinates; the contract's numbers."""

    AGGREGATE = 0
    VERSION = 1
    PARENT = 2
    CONTRIBUTION = 3
    STATE = 4
    PARENT_STATE = 5


class HeadKind(enum.IntEnum):
    """Kind of manifest whose head a round anchors; the contract's numbers."""

    UPDATE = 0
    VERSION = 1
    REPORT = 2


class SegmentKind(enum.IntEnum):
    """How a round updates the coordinates of a segment; the contract's numbers."""

    PARAMETER = 0
    """The server program turns the aggregate into a step."""
    BUFFER = 1
    """Running statistics: the aggregate itself is the step; the server program and its state are not used."""
    NON_NEGATIVE = 2
    """A buffer clamped at zero, such as a running variance."""


def bytes32(value: bytes, name: str) -> bytes:
    """Return value after checking that it is 32 bytes long.

    Raises:
        InputError: It is not.
    """
    if not isinstance(value, bytes) or len(value) != 32:
        raise InputError(f"{name}: expected 32 bytes, got {value!r}")
    return value


def encode_base32(data: bytes) -> str:
    """Return data as multibase base32: lower case, no padding, after the letter b (RFC 4648 alphabet)."""
    return "b" + base64.b32encode(data).decode("ascii").rstrip("=").lower()
