"""What has been demanded of a result in its window, and what came of it."""

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
    """What final blocks say of a round's demands: each look reads what came after them alone, however many there are.

    Attributes:
        round_id: The round; of another one nothing is known.
        block: The last block that is in it.
        events: Of the round, in their order.
    """

    round_id: bytes = b""
    block: int = -1
    events: list[Told] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Demands:
    """Demands of one tally.

    Attributes:
        deadlines: Of every leaf that was demanded, Unix seconds.
        late_deadlines: Until when it may still be shown late, likewise.
        deposits: What showing each earns, wei.
        open: Those neither shown nor given up.
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
        seen: The same object at each call by one thread; added to.
        since: A block that no demand of the result stands before; by default the contract's own.
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
    final = min(court.client.final_block(), latest)  # before the events, so that it can only be older
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
    """Return the leaf of an event, by its rows too: blobs of other rows may have one root, if makers choose so."""
    return Demanded(event.round_id, event.tally, event.root, event.entry_bytes, event.entries, event.index)
