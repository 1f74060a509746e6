"""Check the heads of updates, version and report against what the chain says of them."""

from __future__ import annotations

from registry.chain.contract_structs import Listed, Membership, Result
from registry.chain.demand_terms import MAX_HEAD
from registry.chain.sentinels import NOWHERE
from registry.content.heads import (
    REPORT_HEAD,
    SELECTION_HEAD,
    UPDATE_HEAD,
    VERSION_HEAD,
    gram_words,
    head_bytes,
    with_gram_words,
)
from registry.content.manifest import manifest_cid
from registry.content.merkle import Rows
from registry.content.segments import SegmentKind
from registry.disputes.charges import Case, Inspection, Wanted, placed_segment
from registry.disputes.faults import WrongHead
from registry.disputes.selection_faults import WrongFinest, WrongGramPart
from registry.errors import ContentError
from registry.rounds.gram_tree import NO_SEGMENT, finest_segment, has_gram
from registry.rounds.onchain import RoundRecord
from registry.types import HeadKind, Root

__all__ = [
    "anchored_head",
    "result_head",
    "update_head",
    "wrong_head",
    "wrong_report_head",
    "wrong_result_heads",
]

_NO_ROWS = Rows(0, 0)
"""Stands for the rows of a demanded head, which is no leaf of a counted root."""


def update_head(record: RoundRecord, entry: Listed) -> bytes:
    """Return the expected head of a contribution's update, without the manifest digest at its end."""
    return head_bytes(
        UPDATE_HEAD, (*_round(record), entry.participant, entry.tensor_root, entry.weight, entry.steps), b""
    )


def result_head(record: RoundRecord, result: Result, kind: HeadKind, gram: bytes = b"") -> bytes:
    """Return the expected head of a result's version or report, without the manifest digest at its end.

    Args:
        record: The round.
        result: The result.
        kind: Version or report.
        gram: What a report's head says of inner products, as `gram_words` gives it: `Selections` compares that.
    """
    if kind is HeadKind.VERSION:
        roots = result.roots
        made = (roots.tensor, roots.rest, roots.state, roots.state_layout, roots.step, result.aggregate_root)
        return head_bytes(VERSION_HEAD, (*_round(record), *made), b"")
    sums = (result.contributions, result.total_weight, result.total_steps, result.divisor)
    lists = (record.running_hash, result.aggregate_root, result.contributions_root)
    fields = (*_round(record), *lists, *sums)
    if not gram:
        return head_bytes(REPORT_HEAD, fields, b"")
    return with_gram_words(head_bytes(SELECTION_HEAD, (*fields, bytes(32), 0), b""), gram)


def _round(record: RoundRecord) -> tuple[int | bytes, ...]:
    return record.chain_id, record.contract, record.model_id, record.number, record.parent, record.plan.digest


def wrong_head(
    case: Case, kind: HeadKind, digest: bytes, expected: bytes, membership: Membership = NOWHERE
) -> Inspection | None:
    """Compare an anchored head with its expected bytes: a charge, a demand of the head, or None if they agree.

    Args:
        case: The result.
        kind: Kind of head.
        digest: As anchored.
        expected: All bytes but the manifest digest.
        membership: The contribution's, for the head of an update.
    """
    name = kind.name.lower()
    data = anchored_head(case, digest)
    if data is None:
        wanted = Wanted(Root(digest), None, 0, membership, _NO_ROWS, kind)
        return Inspection(f"{name}: head demanded", wanted=(wanted,))
    if len(data) == len(expected) + 32 and data[: len(expected)] == expected:
        return None
    return Inspection(f"{name}: head differs from what the chain says", WrongHead(kind, membership, data))


def wrong_result_heads(case: Case) -> Inspection | None:
    """Compare the heads of version and report with the result that names them."""
    expected = result_head(case.round.record, case.result, HeadKind.VERSION)
    return wrong_head(case, HeadKind.VERSION, case.result.version_digest, expected) or wrong_report_head(case)


def wrong_report_head(case: Case) -> Inspection | None:
    """Compare the report's head with the result, and with what the rules say of its inner products but their sums."""
    digest, rules = case.result.report_digest, case.round.form.rules
    words = gram_words(anchored_head(case, digest) or b"")
    found = wrong_head(
        case, HeadKind.REPORT, digest, result_head(case.round.record, case.result, HeadKind.REPORT, words)
    )
    if found is not None:
        return found
    head = anchored_head(case, digest)
    assert head is not None  # else it is demanded
    asked = has_gram(rules.shape.selects, case.result.contributions)
    if bool(words) != asked or words[:32] == bytes(32):
        return Inspection("report: inner products missing, or where there are none", WrongGramPart(head))
    return _wrong_unit(case, head, int.from_bytes(words[32:], "big")) if asked else None


def _wrong_unit(case: Case, head: bytes, named: int) -> Inspection | None:
    """Charge a report that names another segment than one of the finest parameters."""
    segments = case.round.form.segments
    own, place = finest_segment(segments), named if named < len(segments) else 0
    claimed = segments[place]
    if named == own:
        return None
    if place == named and claimed.kind is SegmentKind.PARAMETER and claimed.exponent == segments[own].exponent:
        return None
    finer = place if own == NO_SEGMENT else own
    charge = WrongFinest(head, placed_segment(segments, place), placed_segment(segments, finer))
    return Inspection("report: inner products in another unit", charge)


def anchored_head(case: Case, digest: bytes) -> bytes | None:
    """Return a head as shown on chain or stored; None if it is unavailable.

    The chain accepts no head over MAX_HEAD, so such a one cannot be shown.
    """
    shown = case.shown.get((Root(digest), _NO_ROWS, 0))
    data = shown.leaf if shown is not None else _stored(case, digest)
    return None if data is None or len(data) > MAX_HEAD else data


def _stored(case: Case, digest: bytes) -> bytes | None:
    try:
        return case.store.get(manifest_cid(digest))
    except ContentError:
        return None
