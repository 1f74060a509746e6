"""Answering demands: whoever holds a demanded leaf shows it, and earns the deposit."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from registry.chain.court import Court
from registry.chain.court_errors import DemandIsClosed, TooLate
from registry.chain.local import chain_time
from registry.chain.sending import Call
from registry.provenance.answers import answer_to
from registry.provenance.demands import demands_of
from registry.provenance.openings import Chunks
from registry.provenance.rounds import attested_results, read_round
from registry.store.base import ContentStore
from registry.types import ModelId, Root

if TYPE_CHECKING:
    from registry.chain.client import Client

__all__ = ["answer_demands"]

OUTRUN = (DemandIsClosed, TooLate)
"""Somebody else showed it meanwhile, or it is too late: no reason not to show the others."""


def answer_demands(
    client: Client, store: ContentStore, model_id: ModelId, number: int, known: dict[Root, Chunks] | None = None
) -> str:
    """Show every leaf that is demanded of the result in its window and is held here; return what was done.

    All answers are on their way before the first is waited for: demands may come many at once, and each has one answer
    time.

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
    now = chain_time(client.w3)
    due = [(leaf, end) for leaf, end in demands_of(court, dispute).deadlines.items() if end > now]
    if not due:
        return ""
    record = read_round(client, model_id, number)
    result = next((e.result for e in attested_results(client, record) if e.result_hash == dispute.result_hash), None)
    if result is None:
        return ""
    under_way: list[Call] = []
    for leaf, _ in sorted(due, key=lambda item: item[1]):
        if court.demand(leaf, block="pending").closed:
            continue
        opening = answer_to(store, record, result, leaf, known)
        if opening is not None:
            call = court.call("showLeaf", leaf, opening)
            with suppress(*OUTRUN):
                client.submit(call)
                under_way.append(call)
    shown = 0
    for call in under_way:
        with suppress(*OUTRUN):
            client.wait(call, "mined")
            shown += 1
    return f"round {number}: showed {'a leaf' if shown == 1 else f'{shown} leaves'}" if shown else ""
