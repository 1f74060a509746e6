"""Charges: fraud proofs built from a round, stored bytes and the leaves shown on chain.

Each function builds the evidence of one kind of fault from the blob or list in which the fault was found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from registry.chain.contract_events import UpdateCommitted
from registry.chain.contract_hashes import CONTRIBUTION_BYTES, commitment_of, running_hash_begin
from registry.chain.contract_structs import (
    Basis,
    Before,
    Commitment,
    Counted,
    Listed,
    Membership,
    Opening,
    PlacedSegment,
    Result,
    Step,
)
from registry.chain.sentinels import NOTHING, NOWHERE
from registry.content.manifest import ReportEntry, VersionManifest
from registry.content.merkle import CHUNK_VALUES, VALUES, Rows, leaf_hash, merkle_root, merkle_tree, prove, state_rows
from registry.content.segments import Segment, segment_at, segment_leaf
from registry.disputes.faults import (
    DigestTwice,
    FraudProof,
    Uncommitted,
    WrongAggregate,
    WrongChunk,
    WrongCount,
    WrongFactor,
    WrongOrder,
    WrongState,
    WrongTotal,
    WrongVersion,
)
from registry.disputes.openings import Chunks, Listing, chunks_of_blob
from registry.errors import ContentError, FormError
from registry.rounds.admission import UpdateForm, Verdict
from registry.rounds.loaded_round import LoadedRound
from registry.rounds.reports import Report
from registry.rounds.results import Outcome
from registry.rounds.server_steps import continues
from registry.rounds.versions import roots_of
from registry.rules.encoding import RuleSet, divides, encode_rules, factor_of, largest_factor
from registry.store.base import ContentStore
from registry.types import Address, Blob, HeadKind, Root, Tree

__all__ = [
    "CONTRIBUTIONS",
    "Case",
    "Inspection",
    "Wanted",
    "aggregate_charge",
    "attested_chunks",
    "basis_of",
    "contribution_chunks",
    "list_charge",
    "listed",
    "reported",
    "off_grid",
    "off_grid_in",
    "placed_segment",
    "state_charge",
    "uncommitted_charge",
    "version_charge",
    "wanted_contribution",
]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A leaf to demand: of a blob or, where `tree` is None, of the contributions root; or a head.

    Attributes:
        root: The root; the digest of a head.
        rows: What a leaf of the root holds.
        head: The kind of head, if a head is demanded.
        gram: The report's head, if inner products are demanded.
        own: The recomputed blob, if the leaf is a step of a bisection. Once the leaf is shown, the next step follows
            from the leaf and this blob alone.
    """

    root: Root
    tree: Tree | None
    index: int
    membership: Membership = NOWHERE
    rows: Rows = VALUES
    head: HeadKind | None = None
    gram: bytes = b""
    own: Chunks | None = field(default=None, compare=False, repr=False)


CONTRIBUTIONS = Rows(CONTRIBUTION_BYTES, 1)
"""The rows of a contributions root: a leaf holds one contribution."""


def wanted_contribution(root: Root, index: int) -> Wanted:
    """Return a leaf of a contributions root, to be demanded."""
    return Wanted(root, None, index, rows=CONTRIBUTIONS)


@dataclass(frozen=True, slots=True)
class Inspection:
    """The outcome of auditing a result: a charge, or leaves to demand, or neither.

    Attributes:
        said: The outcome in words.
        charge: The fraud proof.
        wanted: The leaves to demand.
        sound: Whether the result was recomputed and is right.
        outcome: The recomputed result with its files, if it has the attested one's roots.
    """

    said: str
    charge: FraudProof | None = None
    wanted: tuple[Wanted, ...] = ()
    sound: bool = False
    outcome: Outcome | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Case:
    """A result under audit, with everything that it is compared with.

    Attributes:
        report: What its attesters say they admitted; None if unavailable.
        shown: Leaves that were shown on chain, by counted root, rows and index.
        folder: For the recomputed files.
        samples: Chunks that are audited where a contribution is not available as a whole.
        ahead: Whether nothing that the attesters publish is read; then there is no report either.
    """

    store: ContentStore
    round: LoadedRound
    result: Result
    report: Report | None
    shown: Mapping[tuple[Root, Rows, int], Opening]
    folder: Path
    samples: tuple[int, ...]
    ahead: bool = False

    @property
    def values(self) -> int:
        """F32 values of every update of the round."""
        return self.round.form.rules.values

    @property
    def states(self) -> Rows:
        """The rows of a state."""
        return state_rows(len(self.round.form.rules.program.states))

    def shown_of(self, root: Root, rows: Rows = VALUES) -> dict[int, Opening]:
        """Return the leaves shown of one root, by index."""
        return {index: opening for (*of, index), opening in self.shown.items() if of == [root, rows]}


def list_charge(case: Case, listing: Listing) -> FraudProof | None:
    """Return the charge against a list of contributions; None if the list is right."""
    entries = listing.contributions
    if len(entries) != case.result.contributions:
        return WrongCount(listing.counted)
    for index in range(len(entries) - 1):
        if entries[index].participant >= entries[index + 1].participant:
            return WrongOrder(listing.membership(index), listing.membership(index + 1))
    twice = _twice(entries)
    if twice is not None:
        return DigestTwice(listing.membership(twice[0]), listing.membership(twice[1]))
    committed = set(_committed(case))
    for index, entry in enumerate(entries):
        if commitment_of(entry) not in committed:
            return uncommitted_charge(case, index, listing.opening(index))
        if not _fits(case, entry):
            return WrongFactor(index, listing.opening(index))
    if not _adds_up(case, entries):
        return WrongTotal(tuple(Step(entry, NOTHING) for entry in entries))
    return None


def _twice(entries: Sequence[Listed]) -> tuple[int, int] | None:
    """Return the places of two contributions that share a digest."""
    places: dict[bytes, int] = {}
    for index, entry in enumerate(entries):
        if places.setdefault(entry.digest, index) != index:
            return places[entry.digest], index
    return None


def _fits(case: Case, entry: Listed) -> bool:
    """Whether the factor is the one that the rules give a contribution; under selecting rules, one that they allow."""
    rules = case.round.form.rules
    most = largest_factor(rules, entry.weight)
    return entry.factor <= most if rules.shape.selects else entry.factor == most


def _adds_up(case: Case, entries: Sequence[Listed]) -> bool:
    result = case.result
    sums = sum(entry.weight for entry in entries), sum(entry.steps for entry in entries)
    divided = divides(case.round.form.rules, [entry.factor for entry in entries], result.divisor)
    return sums == (result.total_weight, result.total_steps) and divided


def _committed(case: Case) -> tuple[Commitment, ...]:
    return tuple(
        commitment_of(listed(commitment, case.round.form.rules)) for commitment in case.round.record.commitments
    )


def uncommitted_charge(case: Case, index: int, opening: Opening) -> Uncommitted:
    """Charge a leaf of the contributions root that matches no commitment."""
    record = case.round.record
    beginning = running_hash_begin(record.round_id, record.parent, record.plan)
    return Uncommitted(index, opening, beginning, _committed(case))


def aggregate_charge(
    case: Case, listing: Listing, openings: Callable[[], Iterable[Opening]], index: int, own: bytes, theirs: Opening
) -> WrongChunk | WrongAggregate:
    """Charge a chunk of the aggregate that differs from the recomputed one.

    Args:
        case: The result.
        listing: Its contributions.
        openings: Returns this chunk of every contribution, in order.
        index: Index of the chunk.
        own: The recomputed chunk.
        theirs: The attested chunk.
    """
    position = 0 if len(theirs.leaf) != len(own) else off_grid(theirs.leaf, case.round.form.aggregate)
    if position is not None:
        return WrongChunk(Tree.AGGREGATE, index * CHUNK_VALUES + position, theirs)
    coordinate = index * CHUNK_VALUES + _first_difference(own, theirs.leaf)
    steps = tuple(Step(entry, opening) for entry, opening in zip(listing.contributions, openings(), strict=True))
    return WrongAggregate(coordinate, theirs, steps)


def contribution_chunks(case: Case, listing: Listing, verdicts: Sequence[Verdict]) -> list[Chunks]:
    """Return the chunks of every contribution, in the list's order. All must be admitted."""
    blobs = {v.commitment.participant: v.manifest.delta.blob for v in verdicts if v.manifest is not None}
    rows = case.round.form.rows
    return [chunks_of_blob(case.store, blobs[entry.participant], rows) for entry in listing.contributions]


def version_charge(
    case: Case, index: int, own: bytes, theirs: Opening, aggregate: Callable[[int], Opening]
) -> WrongChunk | WrongVersion:
    """Charge a chunk of the version that differs from the recomputed one; `aggregate` opens the attested aggregate."""
    if len(theirs.leaf) != len(own):
        return WrongChunk(Tree.VERSION, index * CHUNK_VALUES, theirs)
    coordinate = index * CHUNK_VALUES + _first_difference(own, theirs.leaf)
    return WrongVersion(_before(case, coordinate, aggregate), theirs)


def state_charge(
    case: Case, index: int, own: bytes, theirs: Opening, aggregate: Callable[[int], Opening]
) -> WrongState:
    """Charge a chunk of the state that differs from the recomputed one; `aggregate` opens the attested aggregate."""
    states = len(case.round.form.rules.program.states)
    coordinate = index * case.states.entries // states + _first_difference(own, theirs.leaf) // 2 // states
    return WrongState(_before(case, coordinate, aggregate), theirs)


def _before(case: Case, coordinate: int, aggregate: Callable[[int], Opening]) -> Before:
    """Open the inputs of the server step at a coordinate: segment, parent, aggregate, state before."""
    index, segments, rules = coordinate // CHUNK_VALUES, case.round.form.segments, case.round.form.rules
    placed = placed_segment(segments, segment_at(segments, coordinate))
    state = NOTHING
    if rules.program.states and case.round.parent.state is not None and continues(case.round.parent, rules):
        kept, leaf = case.round.parent.state, coordinate * len(rules.program.states) // case.states.entries
        state = _opening_of_parent(case, kept.blob, Root(kept.root), case.states, leaf)
    root = Root(case.round.parent.tensor_root)
    parent = _opening_of_parent(case, case.round.parent.weights.blob, root, VALUES, index)
    return Before(coordinate, placed, parent, aggregate(index), state)


def placed_segment(segments: Sequence[Segment], place: int) -> PlacedSegment:
    """Open a segment at its place in the segments root."""
    segment, hashes = segments[place], [leaf_hash(segment_leaf(s)) for s in segments]
    return PlacedSegment(
        Counted(len(segments), merkle_root(hashes)),
        place,
        segment.first,
        segment.length,
        segment.exponent,
        segment.kind,
        prove(merkle_tree(hashes), place),
    )


def _opening_of_parent(case: Case, blob: Blob, root: Root, rows: Rows, index: int) -> Opening:
    shown = case.shown_of(root, rows)
    return shown[index] if index in shown else chunks_of_blob(case.store, blob, rows).opening(index)


def basis_of(rules: RuleSet, parent: VersionManifest) -> Basis:
    """Return the basis of a round's challenges: rule bytes and the parent's roots."""
    return Basis(encode_rules(rules), roots_of(parent))


def attested_chunks(
    store: ContentStore, blob: Blob, root: Root, rows: Rows = VALUES, *, size: int | None = None
) -> Chunks | None:
    """Return a blob's chunks; None if it is unavailable or its root is not the attested one.

    Args:
        store: Where to fetch the blob.
        blob: The blob.
        root: As attested.
        rows: What its leaves hold.
        size: Bytes of the honest blob. A blob more than twice as long is not read, since a liar's manifest may name
            one of any length: a demanded leaf shows the wrong size as well.
    """
    if size is not None and blob.size > 2 * size:
        return None
    try:
        chunks = chunks_of_blob(store, blob, rows)
    except (ContentError, FormError):
        return None
    return chunks if chunks.root == root else None


def listed(commitment: UpdateCommitted, rules: RuleSet) -> Listed:
    """Return a commitment as a leaf of the contributions root, under rules that select nothing."""
    named = Address(commitment.participant), commitment.digest, Root(commitment.tensor_root)
    return Listed(*named, commitment.weight, commitment.steps, factor_of(rules, commitment.weight))


def reported(entry: ReportEntry) -> Listed:
    """Return an entry of a report as a leaf of the contributions root."""
    named = Address(entry.participant), entry.digest, Root(entry.tensor_root)
    return Listed(*named, entry.weight, entry.steps, entry.factor)


def off_grid(leaves: bytes, form: UpdateForm, first: int = 0) -> int | None:
    """Return the position of the first value off the grid, or where the first row begins that is not canonical.

    Args:
        leaves: Leaves of an update or aggregate; what is left of a value or row at the end is passed over.
        form: Its form.
        first: Coordinate of the first value.

    Returns:
        The position after `first`; None if there is none.
    """
    unit, span = form.unit, form.span

    def fits(begin: int, end: int) -> bool:
        try:
            form.integers(leaves[begin * unit : end * unit], first + begin * span)
        except FormError:
            return False
        return True

    low, high = 0, len(leaves) // unit
    if fits(low, high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(low, middle) else (low, middle)
    return low * span


def off_grid_in(path: Path, form: UpdateForm) -> int | None:
    """Return the first coordinate of the file of an update, laid out as `form`, that is as `off_grid` says; or None."""
    first, most = 0, (1 << 20) // form.unit * form.unit
    with path.open("rb") as file:
        file.seek(len(form.header))
        while piece := file.read(most):
            position = off_grid(piece, form, first)
            if position is not None:
                return first + position
            first += len(piece) // form.unit * form.span
    return None


def _first_difference(own: bytes, theirs: bytes) -> int:
    return int(np.argmax(np.frombuffer(own, dtype="<u4") != np.frombuffer(theirs, dtype="<u4")))
