"""Demands of the result in its challenge window: which are open, which were answered, and by when."""

from __future__ import annotations

from dataclasses import dataclass, field

from registry.chain.contract_events import DemandClosed, LeafDemanded, LeafShown
from registry.chain.contract_structs import Demanded, Dispute
from registry.chain.court import Court
from registry.ethereum.node import asking, quantity

__all__ = ["Demands", "SeenDemands", "demands_of", "leaf_of"]

Told = LeafDemanded | LeafShown | DemandClosed


@dataclass(slots=True)
class SeenDemands:
    """Cache of a round's demand events in final blocks, so that each call reads newer blocks alone.

    Attributes:
        round_id: The round; the cache is cleared for another.
        block: The last block that the cache covers.
        events: Of the round, in log order.
    """

    round_id: bytes = b""
    block: int = -1
    events: list[Told] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Demands:
    """Demands of one tally.

    Attributes:
        deadlines: End of the answer time of every demanded leaf, Unix seconds.
        late_deadlines: Until when each may still be shown late, Unix seconds.
        deposits: What showing each earns, wei.
        open: Demands neither answered nor closed.
        shown: The answers.
    """

    deadlines: dict[Demanded, int]
    late_deadlines: dict[Demanded, int]
    deposits: dict[Demanded, int]
    open: tuple[Demanded, ...]
    shown: tuple[LeafShown, ...]


def demands_of(court: Court, dispute: Dispute, seen: SeenDemands | None = None, *, since: int | None = None) -> Demands:
    """Read the demands of the result in its window, as of the latest block.

    Args:
        court: The contract.
        dispute: The result.
        seen: Cache, one per thread; updated.
        since: A block before which the result has no demand; by default that of the contract's deployment.
    """
    with asking("eth_blockNumber"):
        latest = quantity(court.client.w3.eth.block_number, "blockNumber")
    deadlines: dict[Demanded, int] = {}
    late: dict[Demanded, int] = {}
    deposits: dict[Demanded, int] = {}
    shown: list[LeafShown] = []
    over: set[Demanded] = set()
    for event in _events(court, dispute, latest, seen or SeenDemands(), since):
        if isinstance(event, LeafDemanded) and event.tally == dispute.tally:
            leaf = leaf_of(event)
            deadlines[leaf], late[leaf], deposits[leaf] = event.deadline, event.late_deadline, event.deposit
        elif isinstance(event, LeafShown | DemandClosed) and event.tally == dispute.tally:
            over.add(leaf_of(event))
            if isinstance(event, LeafShown):
                shown.append(event)
    return Demands(deadlines, late, deposits, tuple(leaf for leaf in deadlines if leaf not in over), tuple(shown))


def _events(court: Court, dispute: Dispute, latest: int, seen: SeenDemands, since: int | None) -> list[Told]:
    if seen.round_id != dispute.round_id:
        seen.round_id, seen.block, seen.events = dispute.round_id, -1, []
    final = min(court.client.final_block(), latest)  # read before the events, so never newer than they are
    first = max(seen.block + 1, court.client.deployed_at if since is None else since)
    kinds = (LeafDemanded, LeafShown, DemandClosed)
    found = [
        event
        for event in court.events(*kinds, subject=dispute.round_id, from_block=first, to_block=latest)
        if isinstance(event, Told)
    ]
    known = [*seen.events, *found]
    seen.events += [event for event in found if event.at.block_number <= final]
    seen.block = max(seen.block, final)
    return known


def leaf_of(event: LeafDemanded | LeafShown | DemandClosed) -> Demanded:
    """Return the leaf of an event, named with its rows: an adversary can give blobs of different rows the same root."""
    return Demanded(event.round_id, event.tally, event.root, event.entry_bytes, event.entries, event.index)
