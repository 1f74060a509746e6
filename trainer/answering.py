"""Answering demands: whoever holds a demanded leaf shows it, and earns the deposit."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from registry.chain.court import Court
from registry.chain.court_errors import DemandIsClosed, TooLate
from registry.chain.court_events import LeafShown
from registry.chain.court_records import Shown
from registry.chain.local import chain_time
from registry.chain.sending import Call
from registry.provenance.answers import answer_to
from registry.provenance.demands import demands_of
from registry.provenance.openings import Chunks
from registry.provenance.rounds import attested_results, attesters_of, read_round
from registry.store.base import ContentStore
from registry.types import ModelId, Root

if TYPE_CHECKING:
    from registry.chain.client import Client

__all__ = ["answer_demands"]

OUTRUN = (DemandIsClosed, TooLate)
"""Somebody else showed it meanwhile, or it is too late: no reason not to show the others."""
TOGETHER = 32
"""Leaves shown by one transaction: each takes up to 2.5 KiB of the 128 that nodes pass on."""


def answer_demands(
    client: Client, store: ContentStore, model_id: ModelId, number: int, known: dict[Root, Chunks] | None = None
) -> str:
    """Show every leaf that is demanded of the result in its window and is held here; return what was done.

    All answers are on their way before the first is waited for: demands may come many at once, and each has one answer
    time. What is past it is shown late, as long as the plan gives: that burns of the attesters' bonds, but a leaf that
    nobody shows takes them whole.

    Args:
        client: The chain, with the signer of whoever answers.
        store: Where blobs are looked for.
        model_id: The model.
        number: Its current round.
        known: The same dictionary at each call, so that no blob is hashed for each of its leaves.
    """
    known = {} if known is None else known
    dispute = client.dispute(model_id, number)
    court = Court(client)
    demands, now = demands_of(court, dispute), chain_time(client.w3)
    due = [leaf for leaf, end in demands.late_deadlines.items() if end > now and leaf in demands.open]
    if not due:
        return ""
    record = read_round(client, model_id, number)
    result = next((e.result for e in attested_results(client, record) if e.result_hash == dispute.result_hash), None)
    if result is None:
        return ""
    in_time: list[Shown] = []
    late: list[Shown] = []
    for leaf in sorted(due, key=lambda leaf: (demands.late_deadlines[leaf], leaf.root)):
        if court.demand(leaf, block="pending").closed:
            continue
        opening = answer_to(store, record, result, leaf, known)
        if opening is not None:
            (late if demands.deadlines[leaf] <= now else in_time).append(Shown(leaf, opening))
    answers = [_answer(court, in_time[first : first + TOGETHER]) for first in range(0, len(in_time), TOGETHER)]
    if late:
        attesters = attesters_of(client, model_id, number, dispute.tally)
        answers += [court.call("showLate", model_id, number, one.demanded, one.opening, attesters) for one in late]
    shown = _carried_out(client, answers)
    return f"round {number}: showed {'a leaf' if shown == 1 else f'{shown} leaves'}" if shown else ""


def _answer(court: Court, leaves: Sequence[Shown]) -> Call:
    """Alone, so that one that somebody else has shown is not sent; else all, of which such ones are skipped."""
    if len(leaves) == 1:
        return court.call("showLeaf", leaves[0].demanded, leaves[0].opening)
    return court.call("showLeaves", leaves)


def _carried_out(client: Client, answers: Sequence[Call]) -> int:
    """Get all on their way, then wait; return how many leaves they showed."""
    under_way: list[Call] = []
    for call in answers:
        with suppress(*OUTRUN):
            client.submit(call)
            under_way.append(call)
    shown = 0
    for call in under_way:
        with suppress(*OUTRUN):
            shown += sum(isinstance(event, LeafShown) for event in client.wait(call, "mined").events)
    return shown
