"""Demands of the result in its challenge window: which are open, which were answered, and by when."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from registry.chain.contract_events import DemandClosed, LeafDemanded, LeafShown
from registry.chain.contract_structs import Demanded, Dispute
from registry.chain.court import Court
from registry.ethereum.positions import Position

__all__ = ["Demands", "SeenDemands", "demands_of", "leaf_of"]

log = logging.getLogger(__name__)

Told = LeafDemanded | LeafShown | DemandClosed


@dataclass(slots=True)
class SeenDemands:
    """Cache of a round's demand events in final blocks, so that each call reads newer blocks alone.

    A node may return no logs of blocks that have some. So each block is read in two calls at least, and all are read
    again while the events differ from the contract's state.

    Attributes:
        round_id: The round; the cache is cleared for another.
        block: The last block that is not read again.
        final: The last block that was final at the last call.
        events: Of the round, by position.
    """

    round_id: bytes = b""
    block: int = -1
    final: int = -1
    events: dict[Position, Told] = field(default_factory=dict)


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

    def yields(self, leaf: Demanded, now: int, answer_duration: int) -> bool:
        """Whether an answer in the mempool, which may never be mined, postpones one's own.

        It does in the first half of the answer time, and of the late period.
        """
        end, late_end = self.deadlines[leaf], self.late_deadlines[leaf]
        return now < (end - answer_duration // 2 if now < end else (end + late_end) // 2)


def demands_of(court: Court, dispute: Dispute, seen: SeenDemands | None = None, *, since: int | None = None) -> Demands:
    """Read the demands of the result in its window, as of the latest block.

    Args:
        court: The contract.
        dispute: The result.
        seen: Cache, one per thread; updated.
        since: A block before which the result has no demand; by default that of the contract's deployment.
    """
    latest, seen = court.client.latest_block(), seen or SeenDemands()
    deadlines: dict[Demanded, int] = {}
    late: dict[Demanded, int] = {}
    deposits: dict[Demanded, int] = {}
    shown: list[LeafShown] = []
    over: set[Demanded] = set()
    for event in _events(court, dispute, latest, seen, since):
        if isinstance(event, LeafDemanded) and event.tally == dispute.tally:
            leaf = leaf_of(event)
            deadlines[leaf], late[leaf], deposits[leaf] = event.deadline, event.late_deadline, event.deposit
        elif isinstance(event, LeafShown | DemandClosed) and event.tally == dispute.tally:
            over.add(leaf_of(event))
            if isinstance(event, LeafShown):
                shown.append(event)
    still = tuple(leaf for leaf in deadlines if leaf not in over)
    held = court.open_demands(dispute.round_id, dispute.tally, block=latest)
    if (held.count, held.deposits) != (len(still), sum(deposits[leaf] for leaf in still)):
        log.info("expected %d open demands, the node's events give %d: reading all again", held.count, len(still))
        seen.block = seen.final = -1
    return Demands(deadlines, late, deposits, still, tuple(shown))


def _events(court: Court, dispute: Dispute, latest: int, seen: SeenDemands, since: int | None) -> list[Told]:
    if seen.round_id != dispute.round_id:
        seen.round_id, seen.block, seen.final, seen.events = dispute.round_id, -1, -1, {}
    final = min(court.client.final_block(), latest)  # read before the events, so never newer than they are
    first = max(seen.block + 1, court.client.deployed_at if since is None else since)
    kinds = (LeafDemanded, LeafShown, DemandClosed)
    known = dict(seen.events)
    for event in court.events(*kinds, subject=dispute.round_id, from_block=first, to_block=latest):
        if isinstance(event, Told):
            known[event.at] = event
    seen.events = {at: event for at, event in known.items() if at.block_number <= final}
    seen.block, seen.final = seen.final, max(seen.final, final)
    return [known[at] for at in sorted(known)]


def leaf_of(event: LeafDemanded | LeafShown | DemandClosed) -> Demanded:
    """Return the leaf of an event, named with its rows: an adversary can give blobs of different rows the same root."""
    return Demanded(event.round_id, event.tally, event.root, event.entry_bytes, event.entries, event.index)
