"""Whether what a node gave for a range of blocks is what the chain holds, before it is indexed.

Of every range: its headers are fetched, and each hashes to what its child names as its parent, the first to the block
that the index stands on; of every block whose bloom allows a log of ours the receipts hash to the header's receipts
root; and the logs are exactly those of the receipts. So what is indexed is a chain of blocks, whole and unedited, that
ends in the last block's hash. What is left is whether that block is the chain's. It is taken

    from a checkpoint     up to its number: headers are linked down from it, and the node's word counts for nothing
    from a second node    which must have the same last block: both would have to lie alike
    from the node         otherwise, and beyond a checkpoint: one that hides, invents or edits a log must make up the
                          header of that block and every one after it, which nothing here tells from the chain

A header says nothing of its own right to be there: that is consensus, which is not checked here.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from registry.errors import VerificationFailed
from registry.ethereum.blocks import Checkpoint, linked_headers, require_ancestor, require_block, verify_logs
from registry.ethereum.logs import PlacedLog, read_placed_log
from registry.index.entries import Block
from registry.index.log_source import Range
from registry.types import Address

if TYPE_CHECKING:
    from web3 import Web3

__all__ = ["RangeCheck"]

_APART = 100
"""Blocks between those whose hashes are kept on the way down from a checkpoint."""


class RangeCheck:
    """Checks range after range, for `Follower`."""

    def __init__(
        self,
        w3: Web3,
        contracts: Collection[Address],
        *,
        checkpoint: Checkpoint | None = None,
        second: Web3 | None = None,
    ) -> None:
        """Decide what to go by.

        Args:
            w3: The node that gives the logs, and what proves them.
            contracts: Whose logs they are.
            checkpoint: A block that is known from elsewhere.
            second: A node of somebody else's.
        """
        self._w3 = w3
        self._contracts = frozenset(contracts)
        self._checkpoint = checkpoint
        self._second = second
        self._proven: dict[int, bytes] = {} if checkpoint is None else {checkpoint.number: checkpoint.hash}
        self._joined = False

    def __call__(self, blocks: range, found: Range, below: Block | None) -> None:
        """Check what the node gave for a range.

        Args:
            blocks: The range.
            found: The logs, and the last block.
            below: The block that the range stands on; None where nothing is known of it.

        Raises:
            VerificationFailed: A log is missing, invented or edited, or a block is not the one that it must be.
            NodeUnavailable: A node does not give what it takes.
        """
        logs = [read_placed_log(log) for log in found.logs]
        end = Checkpoint(*found.last)
        known = self._checkpoint
        if known is not None and known.number < blocks.start:
            self._join(known, end if below is None else Checkpoint(*below))
        if known is not None and blocks.start <= known.number < end.number:  # the rest beyond it is the node's word
            self._check(range(known.number + 1, blocks.stop), logs, end, Block(known.number, known.hash))
            logs = [log for log in logs if log.at.block_number <= known.number]
            blocks, end = range(blocks.start, known.number + 1), known
        elif known is not None and end.number <= known.number:
            self._require_proven(blocks, end)
        self._check(blocks, logs, end, below)

    def _check(self, blocks: range, logs: list[PlacedLog], end: Checkpoint, below: Block | None) -> None:
        """Check what stands in these blocks, given the hash of the last one."""
        first = max(1, blocks.start)  # the first block of a chain holds no logs
        if end.number < first:
            return
        if self._second is not None:
            require_block(self._second, end)
        mine = [log for log in logs if log.at.block_number in blocks]
        seen = verify_logs(self._w3, mine, self._contracts, from_block=first, to_block=end.number, trusted=end)
        if below is not None and seen.before != Checkpoint(*below):
            raise VerificationFailed(
                f"block {first}: expected it to stand on 0x{below.hash.hex()}, got 0x{seen.before.hash.hex()}"
            )

    def _require_proven(self, blocks: range, end: Checkpoint) -> None:
        """Check the last block of a range below the checkpoint: headers are linked down from there, once."""
        lowest = min(self._proven)
        if lowest > blocks.start:
            for header in linked_headers(self._w3, Checkpoint(lowest, self._proven[lowest]), down_to=blocks.start):
                if header.number % _APART == 0 or header.number == blocks.start:
                    self._proven[header.number] = header.hash
        above = min(number for number in self._proven if number >= end.number)
        require_ancestor(self._w3, Checkpoint(above, self._proven[above]), end)

    def _join(self, known: Checkpoint, block: Checkpoint) -> None:
        """Check once that what is read goes back to a checkpoint that lies before it."""
        if not self._joined:
            require_ancestor(self._w3, block, known)
            self._joined = True
