"""Checks that a node's events are complete: exactly those in the receipts under their blocks' headers.

That the block is on the canonical chain remains trusted; `cairn index rebuild --verify` links headers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from registry.errors import VerificationFailed
from registry.ethereum.blocks import Checkpoint, verify_logs
from registry.ethereum.logs import read_placed_log
from registry.ethereum.node import asking
from registry.ethereum.positions import Event
from registry.index.decoding import decode_raw
from registry.index.log_source import LogSource

if TYPE_CHECKING:
    from registry.chain.views import Views

__all__ = ["Receipted"]


class Receipted:
    """Checks events against receipts and headers, each block once."""

    def __init__(self, client: Views) -> None:
        self._client = client
        self._source = LogSource(client.w3, (client.address,))
        self._proved: dict[int, frozenset[Event]] = {}

    def require(self, events: Iterable[Event], known: Collection[Event]) -> int:
        """Require each event to be in its block; return the number of blocks.

        Args:
            events: The events to check.
            known: All events that the node gave of the model and of the events' round: any other in these blocks was
                hidden.

        Raises:
            VerificationFailed: An event is not in its block, one was hidden, or logs and receipts of a block differ.
            NodeUnavailable: The node does not serve the receipts or headers.
        """
        blocks = set()
        subjects = {_subject(event) for event in known}
        for event in events:
            number = event.at.block_number
            blocks.add(number)
            if number not in self._proved:
                self._proved[number] = self._prove(number, event.at.block_hash)
            if event not in self._proved[number]:
                raise VerificationFailed(
                    f"block {number}, log {event.at.log_index}: expected {type(event).__name__} as the node gave it, "
                    "got another log from the receipts, or none"
                )
        for number in sorted(blocks):
            hidden = [e for e in self._proved[number] if _subject(e) in subjects and e not in known]
            if hidden:
                raise VerificationFailed(
                    f"block {number}, log {hidden[0].at.log_index}: expected {type(hidden[0]).__name__} as in the "
                    "receipts, which the node left out"
                )
        return len(blocks)

    def _prove(self, number: int, block_hash: bytes) -> frozenset[Event]:
        """Return the contract's events of a block, decoded from its receipts."""
        contracts = (self._client.address,)
        with asking("eth_getLogs"):
            found = self._source.read(range(number, number + 1), None)
        verify_logs(
            self._client.w3,
            [read_placed_log(log) for log in found.logs],
            contracts,
            from_block=number,
            to_block=number,
            trusted=Checkpoint(number, block_hash),
        )
        return frozenset(decode_raw(log, contracts) for log in found.logs)


def _subject(event: Event) -> object:
    """Return the id that indexes an event's log: its model's, or its round's if it names no model."""
    return getattr(event, "model_id", None) or getattr(event, "round_id", None)
