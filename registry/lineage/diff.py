"""Difference of two versions: how far each tensor moved, who contributed, under which plans, with which metrics.

Both files are streamed, each block hashed by the store, so memory does not grow with the model.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from registry.content.manifest import Reason
from registry.content.tensors import DTYPES, TensorHeader, TensorSpec
from registry.content.unixfs import CHUNK_SIZE as LEAF_BYTES
from registry.index.entries import VersionEntry
from registry.lineage.ancestry import Ancestry
from registry.lineage.provenance import VersionProvenance, provenance_of_version
from registry.rounds.aggregation import Leaves, leaves_of_blob
from registry.rounds.versions import NUMPY_TYPES, load_version_manifest, read_header
from registry.store.base import ContentStore
from registry.types import Address, Blob, Digest

__all__ = [
    "Contributor",
    "Lead",
    "PlanChange",
    "TensorChange",
    "compare_tensors",
    "contributors",
    "leads",
    "plan_changes",
]

Values = npt.NDArray[np.generic]
_VALUES = 1 << 17
"""Values compared at a time: 1 MiB of float64."""
_BF16 = np.dtype([("bits", "<u2")])


@dataclass(frozen=True, slots=True)
class TensorChange:
    """How a tensor differs. All numbers are None if only one version has it, or if its type or shape changed.

    Attributes:
        what: changed, equal, added, removed, or reshaped.
        norm: Euclidean norm of the difference, in float64.
        relative: `norm` divided by the norm of the first; None if that is zero.
        largest: Largest absolute difference of a value.
        values: How many values differ.
    """

    name: str
    what: str
    norm: float | None = None
    relative: float | None = None
    largest: float | None = None
    values: int | None = None


@dataclass(frozen=True, slots=True)
class Contributor:
    """An account's contribution to some rounds: their number, and the sum of its weight shares."""

    participant: Address
    rounds: int
    share: float


@dataclass(frozen=True, slots=True)
class PlanChange:
    """A round whose plan differs from the previous round's: each differing field with its old and new value."""

    version: Digest
    number: int
    plan_index: int
    fields: Mapping[str, tuple[object, object]]


@dataclass(frozen=True, slots=True)
class Lead:
    """The ancestors of one of two versions that the other does not have, parents first."""

    versions: tuple[VersionProvenance, ...]


def leads(
    db: sqlite3.Connection, store: ContentStore, ancestry: Ancestry, first: Digest, second: Digest
) -> tuple[Lead, Lead]:
    """Return what led to each of two versions since their last common ancestor.

    The first lead is empty if the second version descends from the first.
    """
    to_first, to_second = ancestry.ancestors(first), ancestry.ancestors(second)

    def told(digests: tuple[Digest, ...], common: set[Digest]) -> Lead:
        new = [ancestry.places[digest] for digest in digests if digest not in common and digest in ancestry.places]
        return Lead(tuple(provenance_of_version(db, store, _made(held)) for held in new))

    return told(to_first, set(to_second)), told(to_second, set(to_first))


def contributors(lead: Lead) -> tuple[Contributor, ...]:
    """Return the contributors to a lead's rounds, largest share first."""
    found: dict[Address, tuple[int, float]] = {}
    for version in lead.versions:
        for told in version.round.commitments if version.round else ():
            if told.reason is Reason.ADMITTED:
                rounds, share = found.get(told.entry.participant, (0, 0.0))
                found[told.entry.participant] = rounds + 1, share + told.share
    ranked = sorted(found.items(), key=lambda item: (-item[1][1], item[0]))
    return tuple(Contributor(who, rounds, share) for who, (rounds, share) in ranked)


def plan_changes(lead: Lead) -> tuple[PlanChange, ...]:
    """Return the rounds of a lead whose plan differs from that of the same model's previous round."""
    found = []
    for version in lead.versions:
        told = version.round
        if told is None or told.plan_before is None or told.plan_before.plan_index == told.plan.plan_index:
            continue
        old, new = told.plan_before.plan, told.plan.plan
        differing = [name for name in new.__dataclass_fields__ if getattr(old, name) != getattr(new, name)]
        fields = {name: (getattr(old, name), getattr(new, name)) for name in differing}
        found.append(PlanChange(version.entry.digest, told.entry.number, told.plan.plan_index, fields))
    return tuple(found)


def compare_tensors(store: ContentStore, first: Digest, second: Digest) -> Iterator[TensorChange]:
    """Yield each tensor's difference between two versions, in the second version's order, removed tensors last.

    Raises:
        ContentError: A block is missing or changed.
        FormError: A version's file is not canonical.
    """
    old, new = (load_version_manifest(store, digest).weights.blob for digest in (first, second))
    headers = read_header(store, old), read_header(store, new)
    files = _File(store, old, headers[0]), _File(store, new, headers[1])
    before, after = headers[0].by_name(), headers[1].by_name()
    for name, spec in after.items():
        if name not in before:
            yield TensorChange(name, "added")
        elif (before[name].dtype, before[name].shape) != (spec.dtype, spec.shape):
            yield TensorChange(name, "reshaped")
        else:
            yield _compared(name, files[0].values(before[name]), files[1].values(spec))
    yield from (TensorChange(name, "removed") for name in before if name not in after)


def _compared(name: str, first: Iterator[Values], second: Iterator[Values]) -> TensorChange:
    moved = size = largest = 0.0
    values = 0
    for a, b in zip(first, second, strict=True):
        before, after = _floats(a), _floats(b)
        difference = after - before
        moved += float(np.dot(difference, difference))
        size += float(np.dot(before, before))
        largest = max(largest, float(np.abs(difference).max(initial=0.0)))
        values += int(np.count_nonzero(a != b))
    relative = math.sqrt(moved) / math.sqrt(size) if size else None
    return TensorChange(name, "changed" if values else "equal", math.sqrt(moved), relative, largest, values)


def _made(held: tuple[VersionEntry, ...]) -> VersionEntry:
    """Return the entry of a version where a round made it, else its first entry."""
    return min(held, key=lambda entry: (entry.round_id is None, entry.at))


class _File:
    """Streams a stored version's values, tensor by tensor."""

    def __init__(self, store: ContentStore, blob: Blob, header: TensorHeader) -> None:
        self._leaves: Leaves = leaves_of_blob(store, blob)
        self._begin = header.header_bytes
        self._held = -1
        self._leaf = b""

    def values(self, spec: TensorSpec) -> Iterator[Values]:
        """Yield a tensor's values in chunks of _VALUES; BF16, which numpy lacks, as its bits."""
        dtype, step = NUMPY_TYPES.get(spec.dtype, _BF16), _VALUES * DTYPES[spec.dtype]
        for at in range(spec.begin, spec.end, step):
            yield np.frombuffer(self._read(at, min(at + step, spec.end)), dtype)

    def _read(self, begin: int, end: int) -> bytes:
        """Return a byte range of the data from its leaves; the last leaf is cached for the next range."""
        found, begin, end = bytearray(), begin + self._begin, end + self._begin
        for index in range(begin // LEAF_BYTES, -(-end // LEAF_BYTES)):
            if index != self._held:
                self._leaf = self._leaves(index)
                self._held = index
            at = index * LEAF_BYTES
            found += self._leaf[max(begin - at, 0) : end - at]
        return bytes(found)


def _floats(values: Values) -> npt.NDArray[np.float64]:
    if values.dtype == _BF16:  # the upper half of a float32
        values = np.frombuffer((np.frombuffer(values.tobytes(), "<u2").astype("<u4") << 16).tobytes(), "<f4")
    return values.astype(np.float64)
