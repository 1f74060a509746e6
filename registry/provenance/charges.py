"""Charges: what is wrong with an attested result, with the evidence that the contract convicts by.

Functions of the round, the stored bytes and the leaves that were shown on chain. Each makes the evidence of one kind of
fault from the blob or list in which it was found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from registry.chain.challenge_records import NOWHERE, Counted, Listed, Membership, Opening, Step
from registry.chain.records import Result
from registry.content.manifest import PlanManifest, VersionManifest
from registry.content.merkle import CHUNK_VALUES
from registry.errors import ContentError, FormError
from registry.provenance.admission import UpdateForm, Verdict
from registry.provenance.openings import Chunks, Listing, chunks_of_blob, chunks_of_file
from registry.provenance.reports import Report
from registry.provenance.rounds import RoundRecord
from registry.rules.grid import grid_integers
from registry.store.base import ContentStore
from registry.types import Address, Blob, Digest, Fault, Part, Root, Tree

__all__ = [
    "Case",
    "Charge",
    "Inspection",
    "Wanted",
    "aggregate_charge",
    "attested_chunks",
    "contribution_chunks",
    "list_charge",
    "listed",
    "off_grid",
    "uncommitted_charge",
    "version_charge",
]

_NOTHING = Opening(Counted(0, bytes(32)), b"", ())


@dataclass(frozen=True, slots=True)
class Charge:
    """A fault and what proves it.

    Attributes:
        fault: Which.
        index: Of the claim: the chunk, or 0.
        evidence: Arguments of the contract's function for that fault, after the target and whatever is streamed.
        steps: Contributions to be added up first, for AGGREGATE and TOTAL.
        commitments: To be replayed first, for UNCOMMITTED.
    """

    fault: Fault
    index: int = 0
    evidence: tuple[object, ...] = ()
    steps: tuple[Step, ...] = ()
    commitments: tuple[Listed, ...] = ()

    @property
    def part(self) -> Part:
        """What of the result the claim is about."""
        return Part.VALUES if self.fault in (Fault.CHUNK, Fault.AGGREGATE, Fault.VERSION) else Part.WHOLE


@dataclass(frozen=True, slots=True)
class Wanted:
    """A leaf to be demanded: of a blob's tensor root, or, where `tree` is None, of the contributions root."""

    root: Root
    tree: Tree | None
    index: int
    membership: Membership = NOWHERE


@dataclass(frozen=True, slots=True)
class Inspection:
    """What came of looking at a result: a charge, or leaves to demand, or neither.

    Attributes:
        said: In words.
        sound: It was recomputed and is what was committed.
    """

    said: str
    charge: Charge | None = None
    wanted: tuple[Wanted, ...] = ()
    sound: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """A result and everything that it is held against.

    Attributes:
        report: What its attesters say they admitted; None if that is not to be had.
        shown: Leaves that were shown on chain, by counted root and index.
        folder: Where files are recomputed.
    """

    store: ContentStore
    record: RoundRecord
    plan: PlanManifest
    parent: VersionManifest
    form: UpdateForm
    result: Result
    report: Report | None
    shown: Mapping[tuple[Root, int], Opening]
    folder: Path

    @property
    def values(self) -> int:
        """F32 values of every update of the round."""
        return (self.form.size - len(self.form.header)) // 4

    def shown_of(self, root: Root) -> dict[int, Opening]:
        """Return what was shown of one root, by index."""
        return {index: opening for (of, index), opening in self.shown.items() if of == root}


def list_charge(case: Case, listing: Listing) -> Charge | None:
    """Return what is wrong with a list of contributions, if anything is."""
    entries = listing.contributions
    if len(entries) != case.result.contributions:
        return Charge(Fault.COUNT, evidence=(listing.counted,))
    for index in range(len(entries) - 1):
        if entries[index].participant >= entries[index + 1].participant:
            return Charge(Fault.ORDER, evidence=(listing.membership(index), listing.membership(index + 1)))
    committed = {listed(commitment) for commitment in case.record.commitments}
    for index, entry in enumerate(entries):
        if entry not in committed:
            return uncommitted_charge(case, index, listing.opening(index))
    if sum(entry.weight for entry in entries) != case.result.total_weight:
        return Charge(Fault.TOTAL, steps=tuple(Step(entry, _NOTHING) for entry in entries))
    return None


def uncommitted_charge(case: Case, index: int, opening: Opening) -> Charge:
    """Charge a leaf of the contributions root that is none of the commitments."""
    replayed = tuple(listed(commitment) for commitment in case.record.commitments)
    return Charge(Fault.UNCOMMITTED, evidence=(index, opening), commitments=replayed)


def aggregate_charge(
    case: Case, listing: Listing, verdicts: Sequence[Verdict], index: int, own: bytes, theirs: Opening
) -> Charge:
    """Charge a chunk of the aggregate that is not the recomputed one.

    Args:
        case: The result.
        listing: Its contributions.
        verdicts: Theirs, all admitted.
        index: Of the chunk.
        own: As recomputed.
        theirs: As attested.
    """
    position = 0 if len(theirs.leaf) != len(own) else off_grid(theirs.leaf, case.form.grid_bits)
    if position is not None:
        evidence = (Tree.AGGREGATE, index * CHUNK_VALUES + position, theirs, NOWHERE)
        return Charge(Fault.CHUNK, index, evidence)
    coordinate = index * CHUNK_VALUES + _first_difference(own, theirs.leaf)
    chunks = contribution_chunks(case, listing, verdicts)
    steps = tuple(Step(entry, c.opening(index)) for entry, c in zip(listing.contributions, chunks, strict=True))
    return Charge(Fault.AGGREGATE, index, (coordinate, theirs), steps)


def contribution_chunks(case: Case, listing: Listing, verdicts: Sequence[Verdict]) -> list[Chunks]:
    """Return the chunks of every contribution, in the list's order; all have been admitted."""
    blobs = {v.commitment.participant: v.manifest.delta.blob for v in verdicts if v.manifest is not None}
    return [chunks_of_blob(case.store, blobs[entry.participant]) for entry in listing.contributions]


def version_charge(case: Case, index: int, own: bytes, theirs: Opening, aggregate: Path) -> Charge:
    """Charge a chunk of the version that is not the recomputed one; the aggregate is the attested one."""
    if len(theirs.leaf) != len(own):
        return Charge(Fault.CHUNK, index, (Tree.VERSION, index * CHUNK_VALUES, theirs, NOWHERE))
    coordinate = index * CHUNK_VALUES + _first_difference(own, theirs.leaf)
    parent = chunks_of_blob(case.store, case.parent.weights.blob).opening(index)
    return Charge(Fault.VERSION, index, (coordinate, parent, chunks_of_file(aggregate).opening(index), theirs))


def attested_chunks(store: ContentStore, blob: Blob, root: Root) -> Chunks | None:
    """Return a blob's chunks if it is to be had and has that tensor root."""
    try:
        chunks = chunks_of_blob(store, blob)
    except (ContentError, FormError):
        return None
    return chunks if chunks.root == root else None


def listed(commitment: object) -> Listed:
    """Return a commitment, or an entry of a report, as the contributions root holds it."""
    participant, digest, root, weight = (
        getattr(commitment, name) for name in ("participant", "digest", "tensor_root", "weight")
    )
    return Listed(Address(participant), Digest(digest), Root(root), weight)


def off_grid(chunk: bytes, grid_bits: int) -> int | None:
    """Return the position of the first value that no update may hold."""
    values = np.frombuffer(chunk[: len(chunk) // 4 * 4], dtype="<f4")
    for position in range(len(values)):
        try:
            grid_integers(values[position : position + 1], grid_bits)
        except FormError:
            return position
    return None


def _first_difference(own: bytes, theirs: bytes) -> int:
    return int(np.argmax(np.frombuffer(own, dtype="<u4") != np.frombuffer(theirs, dtype="<u4")))
