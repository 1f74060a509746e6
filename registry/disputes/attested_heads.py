"""Check the heads of updates, version and report against what the chain says of them."""

from __future__ import annotations

from registry.chain.contract_structs import Listed, Membership, Result
from registry.chain.demand_terms import MAX_HEAD
from registry.chain.sentinels import NOWHERE
from registry.content.heads import REPORT_HEAD, UPDATE_HEAD, VERSION_HEAD, head_bytes
from registry.content.manifest import manifest_cid
from registry.content.merkle import Rows
from registry.disputes.charges import Case, Inspection, Wanted
from registry.disputes.faults import WrongHead
from registry.errors import ContentError
from registry.rounds.onchain import RoundRecord
from registry.types import HeadKind, Root

__all__ = ["result_head", "update_head", "wrong_head", "wrong_result_heads"]

_NO_ROWS = Rows(0, 0)
"""Stands for the rows of a demanded head, which is no leaf of a counted root."""


def update_head(record: RoundRecord, entry: Listed) -> bytes:
    """Return the expected head of a contribution's update, without the manifest digest at its end."""
    return head_bytes(
        UPDATE_HEAD, (*_round(record), entry.participant, entry.tensor_root, entry.weight, entry.steps), b""
    )


def result_head(record: RoundRecord, result: Result, kind: HeadKind) -> bytes:
    """Return the expected head of a result's version or report, without the manifest digest at its end."""
    if kind is HeadKind.VERSION:
        roots = result.roots
        made = (roots.tensor, roots.rest, roots.state, roots.state_layout, roots.step, result.aggregate_root)
        return head_bytes(VERSION_HEAD, (*_round(record), *made), b"")
    sums = (result.contributions, result.total_weight, result.total_steps, result.divisor)
    lists = (record.running_hash, result.aggregate_root, result.contributions_root)
    return head_bytes(REPORT_HEAD, (*_round(record), *lists, *sums), b"")


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
    shown = case.shown.get((Root(digest), _NO_ROWS, 0))
    data = shown.leaf if shown is not None else _stored(case, digest)
    if data is None or len(data) > MAX_HEAD:  # the chain accepts no head this long, so it cannot be shown
        wanted = Wanted(Root(digest), None, 0, membership, _NO_ROWS, kind)
        return Inspection(f"{name}: head demanded", wanted=(wanted,))
    if len(data) == len(expected) + 32 and data[: len(expected)] == expected:
        return None
    return Inspection(f"{name}: head differs from what the chain says", WrongHead(kind, membership, data))


def wrong_result_heads(case: Case) -> Inspection | None:
    """Compare the heads of version and report with the result that names them."""
    for kind, digest in (
        (HeadKind.VERSION, case.result.version_digest),
        (HeadKind.REPORT, case.result.report_digest),
    ):
        found = wrong_head(case, kind, digest, result_head(case.round.record, case.result, kind))
        if found is not None:
            return found
    return None


def _stored(case: Case, digest: bytes) -> bytes | None:
    try:
        return case.store.get(manifest_cid(digest))
    except ContentError:
        return None
