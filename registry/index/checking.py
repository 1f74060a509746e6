"""Verifies each range of logs from a node against block headers before it is indexed.

For every range: headers are fetched and verified by parent hash, down to the last indexed block; for every block whose
bloom allows a relevant log, the receipts hash to the header's receipts root; and the logs are exactly those of the
receipts. So the index holds a complete, unedited chain of blocks that ends in the last block's hash. Whether that hash
is canonical is decided by

    a checkpoint     up to its number: headers are verified backwards from it, and the node is not trusted at all
    a second node    which must have the same last block: both would have to tell the same lie
    the node         otherwise, and beyond a checkpoint: to hide, invent or edit a log it must forge the header of that
                     block and of every later one, which cannot be detected here

Consensus itself is not verified: a header alone does not show that it is canonical.
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
"""Interval, in blocks, at which hashes are cached on the way down from a checkpoint."""


class RangeCheck:
    """Verifier of consecutive ranges, for `Follower`."""

    def __init__(
        self,
        w3: Web3,
        contracts: Collection[Address],
        *,
        checkpoint: Checkpoint | None = None,
        second: Web3 | None = None,
    ) -> None:
        """Set the root of trust.

        Args:
            w3: Node that serves the logs and their proofs.
            contracts: Contracts whose logs are indexed.
            checkpoint: A trusted block, obtained out of band.
            second: An independently operated node.
        """
        self._w3 = w3
        self._contracts = frozenset(contracts)
        self._checkpoint = checkpoint
        self._second = second
        self._proven: dict[int, bytes] = {} if checkpoint is None else {checkpoint.number: checkpoint.hash}
        self._joined = False

    def __call__(self, blocks: range, found: Range, below: Block | None) -> None:
        """Verify the logs of a range.

        Args:
            blocks: The range.
            found: The logs and the last block, from the node.
            below: Parent block of the range; None if unknown.

        Raises:
            VerificationFailed: A log is missing, invented or edited, or a block is not the expected one.
            NodeUnavailable: A node does not serve the proofs.
        """
        logs = [read_placed_log(log) for log in found.logs]
        end = Checkpoint(*found.last)
        known = self._checkpoint
        if known is not None and known.number < blocks.start:
            self._join(known, end if below is None else Checkpoint(*below))
        if known is not None and blocks.start <= known.number < end.number:  # beyond it the node is trusted
            self._check(range(known.number + 1, blocks.stop), logs, end, Block(known.number, known.hash))
            logs = [log for log in logs if log.at.block_number <= known.number]
            blocks, end = range(blocks.start, known.number + 1), known
        elif known is not None and end.number <= known.number:
            self._require_proven(blocks, end)
        self._check(blocks, logs, end, below)

    def _check(self, blocks: range, logs: list[PlacedLog], end: Checkpoint, below: Block | None) -> None:
        """Verify the logs of these blocks, given the hash of the last block."""
        first = max(1, blocks.start)  # the first block of a chain holds no logs
        if end.number < first:
            return
        if self._second is not None:
            require_block(self._second, end)
        mine = [log for log in logs if log.at.block_number in blocks]
        seen = verify_logs(self._w3, mine, self._contracts, from_block=first, to_block=end.number, trusted=end)
        if below is not None and seen.before != Checkpoint(*below):
            raise VerificationFailed(
                f"block {first}: expected parent 0x{below.hash.hex()}, got 0x{seen.before.hash.hex()}"
            )

    def _require_proven(self, blocks: range, end: Checkpoint) -> None:
        """Verify the last block of a range below the checkpoint; the headers in between are fetched only once."""
        lowest = min(self._proven)
        if lowest > blocks.start:
            for header in linked_headers(self._w3, Checkpoint(lowest, self._proven[lowest]), down_to=blocks.start):
                if header.number % _APART == 0 or header.number == blocks.start:
                    self._proven[header.number] = header.hash
        above = min(number for number in self._proven if number >= end.number)
        require_ancestor(self._w3, Checkpoint(above, self._proven[above]), end)

    def _join(self, known: Checkpoint, block: Checkpoint) -> None:
        """Verify once that a block descends from an earlier checkpoint."""
        if not self._joined:
            require_ancestor(self._w3, block, known)
            self._joined = True
