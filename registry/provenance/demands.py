"""What has been demanded of a result in its window, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from registry.chain.court import Court
from registry.chain.court_events import DemandClosed, LeafDemanded, LeafShown
from registry.chain.court_records import Demanded
from registry.chain.node import asking, quantity
from registry.chain.records import Dispute

__all__ = ["Demands", "demands_of"]


@dataclass(frozen=True, slots=True)
class Demands:
    """Demands of one tally.

    Attributes:
        deadlines: Of every leaf that was demanded, Unix seconds.
        late_deadlines: Until when it may still be shown late, likewise.
        open: Those neither shown nor given up.
        shown: The answers.
    """

    deadlines: dict[Demanded, int]
    late_deadlines: dict[Demanded, int]
    open: tuple[Demanded, ...]
    shown: tuple[LeafShown, ...]


def demands_of(court: Court, dispute: Dispute) -> Demands:
    """Read the demands of the result in its window, as of the latest block."""
    with asking("eth_blockNumber"):
        latest = quantity(court.client.w3.eth.block_number, "blockNumber")
    deadlines: dict[Demanded, int] = {}
    late: dict[Demanded, int] = {}
    shown: list[LeafShown] = []
    over: set[Demanded] = set()
    kinds = (LeafDemanded, LeafShown, DemandClosed)
    for event in court.events(*kinds, subject=dispute.round_id, to_block=latest):
        if isinstance(event, LeafDemanded) and event.tally == dispute.tally:
            deadlines[_of(event)], late[_of(event)] = event.deadline, event.late_deadline
        elif isinstance(event, LeafShown | DemandClosed) and event.tally == dispute.tally:
            over.add(_of(event))
            if isinstance(event, LeafShown):
                shown.append(event)
    return Demands(deadlines, late, tuple(leaf for leaf in deadlines if leaf not in over), tuple(shown))


def _of(event: LeafDemanded | LeafShown | DemandClosed) -> Demanded:
    """The leaf, by its rows too: blobs of other rows may have one root, if their makers choose so."""
    return Demanded(event.round_id, event.tally, event.root, event.entry_bytes, event.entries, event.index)
