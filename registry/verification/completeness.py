"""Whether events that a node gave stand in the receipts of their blocks, none left out, and these in the headers.

What is left to trust is that a block of that hash is on the chain: `cairn index rebuild --verify` links headers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from registry.chain.events import Event
from registry.errors import VerificationFailed
from registry.ethereum.blocks import Checkpoint, verify_logs
from registry.ethereum.logs import read_placed_log
from registry.ethereum.node import asking
from registry.index.decoding import decode_raw
from registry.index.log_source import LogSource

if TYPE_CHECKING:
    from registry.chain.views import Views

__all__ = ["Receipted"]


class Receipted:
    """Checks events against receipts and headers; each block once."""

    def __init__(self, client: Views) -> None:
        self._client = client
        self._source = LogSource(client.w3, (client.address,))
        self._proved: dict[int, frozenset[Event]] = {}

    def require(self, events: Iterable[Event], known: Collection[Event]) -> int:
        """Check that each event is in its block, and return in how many blocks they are.

        Args:
            events: What is checked.
            known: All that the node gave of the model and of the round that events are of: others of theirs in these
                blocks are what it hid.

        Raises:
            VerificationFailed: One is not, one was hidden, or the block's logs are not those of its receipts.
            NodeUnavailable: The node does not give what proves it.
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
        """The contract's events of a block, as its receipts have them."""
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
    """The id that an event's log is found by: its model's, or its round's where it names no model."""
    return getattr(event, "model_id", None) or getattr(event, "round_id", None)
