"""Answering demands: whoever holds a demanded leaf shows it, and earns the deposit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.chain.challenges import Challenges
from registry.chain.local import chain_time
from registry.provenance.answers import answer_to
from registry.provenance.demands import demands_of
from registry.provenance.rounds import attested_results, read_round
from registry.store.base import ContentStore
from registry.types import ModelId

if TYPE_CHECKING:
    from registry.chain.client import Client

__all__ = ["answer_demands"]


def answer_demands(client: Client, store: ContentStore, model_id: ModelId, number: int) -> str:
    """Show every leaf that is demanded of the result in its window and is held here; return what was done."""
    dispute = client.dispute(model_id, number)
    challenges = Challenges(client)
    now = chain_time(client.w3)
    due = [(leaf, end) for leaf, end in demands_of(challenges, dispute).deadlines.items() if end > now]
    if not due:
        return ""
    record = read_round(client, model_id, number)
    result = next((e.result for e in attested_results(client, record) if e.result_hash == dispute.result_hash), None)
    if result is None:
        return ""
    shown = 0
    for leaf, _ in sorted(due, key=lambda item: item[1]):
        if challenges.demand(leaf, block="pending").closed:
            continue
        opening = answer_to(store, record, result, leaf)
        if opening is not None:
            challenges.show_leaf(leaf, opening)
            shown += 1
    return f"round {number}: showed {'a leaf' if shown == 1 else f'{shown} leaves'}" if shown else ""
