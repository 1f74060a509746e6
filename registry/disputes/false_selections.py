"""Audit a selection: the inner products that the report anchors, and the factors that follow from them.

A report anchors the tree of inner products, and no blob holds its leaves. An auditor has its own tree from the updates.
If the roots differ, it demands leaves down to the first that differs: the sums before are then equal, so one row of two
updates shows the fault. If the roots are equal, the last leaves show that other factors follow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from registry.chain.contract_structs import Opening, PlacedSegment, Product, Selection, UpdateRow
from registry.chain.sentinels import NOTHING
from registry.content.heads import gram_words
from registry.content.merkle import CHUNK_VALUES, leaf_hash, merkle_tree, peaks_before, prove
from registry.disputes.attested_heads import anchored_head, wrong_report_head
from registry.disputes.charges import Case, Inspection, Wanted, placed_segment
from registry.disputes.openings import Chunks, Listing, differing_leaf, shown_path
from registry.disputes.selection_faults import WrongGramSize, WrongProduct, WrongSelection
from registry.rounds.gram_tree import NO_SEGMENT, GramTree, gram_rows
from registry.rules.gram import ROW_VALUES, WORD_BYTES
from registry.types import Address, Root

__all__ = ["SelectedFactors", "false_selection"]

_CHUNKS = ROW_VALUES // CHUNK_VALUES
_LEVEL = _CHUNKS.bit_length() - 1


@dataclass(frozen=True, slots=True)
class SelectedFactors:
    """A selection as recomputed.

    Attributes:
        factors: By participant.
        divisor: Of their sum.
        gram: The tree of inner products; None if the report anchors none.
    """

    factors: Mapping[Address, int]
    divisor: int
    gram: GramTree | None


def false_selection(
    case: Case, listing: Listing, chosen: SelectedFactors, updates: Callable[[], Sequence[Chunks]]
) -> Inspection | None:
    """Compare the anchored inner products, the factors and the divisor with the recomputed ones; None if they agree.

    Args:
        case: The result.
        listing: Its contributions, ascending.
        chosen: What follows from them.
        updates: Returns their values, in order.
    """
    gram = chosen.gram
    if gram is None or case.ahead:
        return None
    found = wrong_report_head(case)
    if found is not None:
        return found
    head = anchored_head(case, case.result.report_digest)
    assert head is not None  # else it is demanded
    own = _chunks(gram)
    root = Root(gram_words(head)[:32])
    if root != gram.root:
        return _false_product(case, listing, head, root, own, updates)
    told = {entry.participant: entry.factor for entry in listing.contributions}
    if (told, case.result.divisor) == (chosen.factors, chosen.divisor):
        return None
    last = own.tree.leaves - gram.updates
    products = b"".join(own.read(index) for index in range(last, own.tree.leaves))
    shown = Selection(listing.contributions, products, peaks_before(own.tree, last))
    return Inspection("contributions: not the factors that the rule gives", WrongSelection(head, shown))


def _chunks(gram: GramTree) -> Chunks:
    rows = gram_rows(gram.updates)

    def read(index: int) -> bytes:
        with gram.file.open("rb") as file:
            file.seek(index * rows.size)
            return file.read(rows.size)

    count = gram.file.stat().st_size // rows.entry_bytes
    return Chunks(count, merkle_tree(leaf_hash(read(index)) for index in range(rows.leaves(count))), read)


def _false_product(
    case: Case, listing: Listing, head: bytes, root: Root, own: Chunks, updates: Callable[[], Sequence[Chunks]]
) -> Inspection:
    """Charge the first leaf of inner products that differs, or demand the next leaf of the bisection."""
    rows = gram_rows(len(listing.contributions))
    shown = case.shown_of(root, rows)
    counted = next((opening.counted for opening in shown.values()), None)
    if counted is not None and counted.count != own.values:
        return Inspection("inner products: size", WrongGramSize(head, counted))
    if case.round.form.packing is not None:
        return Inspection("inner products: not those of the packed updates, which no contract multiplies")
    index = differing_leaf(own.tree, shown, first=True)
    if index not in shown:
        wanted = Wanted(root, None, index, rows=rows, gram=head, own=own)
        return Inspection(f"inner products: leaf {index} demanded", wanted=(wanted,))
    row, left = divmod(index, len(listing.contributions))
    mine, theirs = own.read(index), shown[index].leaf
    right = next(at for at in range(rows.entries) if _word(mine, at) != _word(theirs, at))
    before = NOTHING
    if row:
        place = index - rows.entries
        path = shown_path(own.tree, place, index, shown[index])
        before = Opening(shown[index].counted, own.read(place), path)
    values = updates()
    product = Product(
        row,
        _row(listing, values[left], left, row),
        _row(listing, values[right], right, row),
        before,
        shown[index],
        *_units(case, head, row),
    )
    return Inspection(f"inner products: of contributions {left} and {right} in row {row}", WrongProduct(head, product))


def _word(leaf: bytes, place: int) -> bytes:
    return leaf[WORD_BYTES * place : WORD_BYTES * (place + 1)]


def _row(listing: Listing, update: Chunks, place: int, row: int) -> UpdateRow:
    chunks = range(row * _CHUNKS, min((row + 1) * _CHUNKS, update.tree.leaves))
    values = b"".join(update.read(index) for index in chunks)
    return UpdateRow(listing.membership(place), update.counted, values, prove(update.tree, row, level=_LEVEL))


def _units(case: Case, head: bytes, row: int) -> tuple[PlacedSegment, tuple[PlacedSegment, ...]]:
    """Open the segment that gives the unit, and those of a row's coordinates."""
    segments = case.round.form.segments
    named = int.from_bytes(gram_words(head)[32:], "big")
    first, end = row * ROW_VALUES, min((row + 1) * ROW_VALUES, case.values)
    places = (i for i, s in enumerate(segments) if s.first < end and s.first + s.length > first)
    finest = placed_segment(segments, 0 if named == NO_SEGMENT else named)
    return finest, tuple(placed_segment(segments, place) for place in places)
