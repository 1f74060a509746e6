"""Chain follower: indexes new blocks, undoes reorgs, and halts if a finalized block disappears.

    sync    head ──▶ last common block? ── before a final block ──▶ FinalityBroken, nothing is written
                          │ undo blocks above it
                          ▼
            final blocks in wide ranges, then provisional ones up to the head:
            raw logs ──check──▶ events ──▶ rows ──▶ one transaction a range

After an interruption at any point, the index holds the chain up to the end of some range; the next sync resumes there.
The final content depends on the chain alone, not on how it was read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from registry.errors import FinalityBroken, NodeUnavailable, VerificationFailed, WrongChain
from registry.ethereum.blocks import Checkpoint, require_ancestor
from registry.ethereum.networks import Finality, final_block
from registry.ethereum.node import NodeRefused
from registry.index import queries
from registry.index.decoding import decode_range
from registry.index.entries import Block
from registry.index.handlers import HANDLERS
from registry.index.log_source import LogSource, Range, ReorgDetected

if TYPE_CHECKING:
    from web3 import Web3

    from registry.ethereum.positions import Event
    from registry.index.database import Index

__all__ = ["Check", "Follower", "Synced"]

Check = Callable[[range, Range, Block | None], None]
"""Check called before a range is written, with the range, the node's answer and the parent block (None for the first
range); raises if the answer does not match the chain."""

_FEWEST, _MOST = 1, 50_000
_AT_FIRST = 100
"""Blocks per range."""
_WANTED_LOGS = 8_000
"""Target number of logs per range: enough to amortise a transaction, few enough for memory."""
_ATTEMPTS = 8
"""Number of reorgs during a read after which the sync gives up."""


@dataclass(frozen=True, slots=True)
class Synced:
    """Summary of a sync.

    Attributes:
        head: Last indexed block; None if the chain has not reached the first block to read.
        final: Last indexed block that is final.
        logs: Number of logs added.
        undone: Number of blocks undone by reorgs.
    """

    head: int | None
    final: int | None
    logs: int
    undone: int


class Follower:
    """Keeps an index in step with a node."""

    def __init__(
        self,
        index: Index,
        w3: Web3,
        finality: Finality,
        *,
        check: Check | None = None,
        advanced: Callable[[range, int], None] | None = None,
    ) -> None:
        """Bind an index to a node.

        Args:
            index: The index, open for writing.
            w3: The node.
            finality: Finality policy.
            check: Verifies each range before it is written. Unverified blocks in the index are read again.
            advanced: Called with each written range and its number of logs.

        Raises:
            WrongChain: The node and the index are on different chains.
            NodeUnavailable: The node does not answer.
        """
        self._index = index
        self._source = LogSource(w3, index.following.contracts)
        self._contracts = frozenset(index.following.contracts)
        self._finality = finality
        self._check = check
        self._advanced = advanced
        self._span = _AT_FIRST
        (genesis,) = self._source.blocks([0])
        if genesis is None or genesis.hash != index.following.genesis:
            got = "none" if genesis is None else f"0x{genesis.hash.hex()}"
            raise WrongChain(f"expected block 0 to be 0x{index.following.genesis.hex()}, got {got} from the node")

    def sync(self) -> Synced:
        """Sync the index to the node's head.

        Raises:
            FinalityBroken: A finalized block is no longer on the node's chain; nothing is written.
            ChainError: The node's logs do not decode, were not requested, or contradict each other; earlier ranges are
                kept.
            VerificationFailed: The check rejected the node's answer; nothing of that range is written.
            NodeUnavailable: The node does not answer, is behind the index's final block, or keeps reorganising.
        """
        logs = undone = 0
        for _ in range(_ATTEMPTS):
            try:
                undone += self._undo()
                if self._check is not None and not self._is_checked():
                    self._index.undo(above=self._index.checked)  # read again, verified
                latest = self._source.latest()
                final = min(final_block(self._source.w3, self._finality), latest.number)
                logs += self._read_up_to(final, final=True)
                logs += self._read_up_to(latest.number, final=False)
                self._finalize(final)
                break
            except ReorgDetected as moved:
                reason = moved
        else:
            raise NodeUnavailable(f"the node's chain changed {_ATTEMPTS} times while it was read: {reason}")
        head, known_final = self._index.head, self._index.final
        return Synced(
            None if head is None else head.number, None if known_final is None else known_final.number, logs, undone
        )

    def repair(self) -> int | None:
        """Undo all blocks that are not on the node's chain, final or not.

        Returns:
            Number of the last block kept; None if no block is kept. Kept blocks that were final stay final.
        """
        head = self._index.head
        kept = self._last_common(queries.blocks_between(self._index.db, -1, -1 if head is None else head.number))
        self._index.undo(above=None if kept is None else kept.number)
        return None if kept is None else kept.number

    # ------------------------------------------------------------------------------------------------- undoing

    def _is_checked(self) -> bool:
        """Whether the whole index was verified when it was read."""
        head = self._index.head
        return head is None or head.number == self._index.checked

    def _undo(self) -> int:
        """Undo blocks that are no longer on the chain; return their number."""
        index = self._index
        head, final = index.head, index.final
        if head is None:
            return 0
        self._require_final(final)
        if self._source.blocks([head.number]) == [head]:
            return 0
        base = -1 if final is None else final.number
        kept = self._last_common(queries.blocks_between(index.db, base, head.number)) or final
        index.undo(above=None if kept is None else kept.number)
        return head.number - (index.following.first_block - 1 if kept is None else kept.number)

    def _require_final(self, final: Block | None) -> None:
        if final is None:
            return
        (found,) = self._source.blocks([final.number])
        if found == final:
            return
        if found is None:  # the node, or a server behind it, lags: only a different block proves another chain
            latest = self._source.latest().number
            known = queries.blocks_between(self._index.db, -1, min(latest, final.number))[-1:]
            (found,) = self._source.blocks([known[0].number]) if known else (None,)
            if found is None or found == known[0]:
                raise NodeUnavailable(
                    f"expected block {final.number}, which was final, got none from a node that is at block {latest}"
                )
            (final,) = known
        raise FinalityBroken(
            f"block {final.number} was final as 0x{final.hash.hex()}, got 0x{found.hash.hex()} from the node: nothing "
            "was written. Either it is on another chain, or finality was broken; `cairn index repair` believes the node"
        )

    def _last_common(self, known: Sequence[Block]) -> Block | None:
        """Return the last of these blocks on the node's chain, by bisection: a block implies all its ancestors."""
        low, high = 0, len(known)
        while low < high:
            middle = (low + high) // 2
            if self._source.blocks([known[middle].number]) == [known[middle]]:
                low = middle + 1
            else:
                high = middle
        return known[low - 1] if low else None

    # ------------------------------------------------------------------------------------------------- reading

    def _read_up_to(self, last: int, *, final: bool) -> int:
        """Index the blocks up to a number; return the number of logs added."""
        index, logs = self._index, 0
        while (start := self._next()) <= last:
            blocks = range(start, min(start + self._span, last + 1))
            try:
                found = self._source.read(blocks, index.head)
            except NodeUnavailable as error:
                self._narrow(blocks, error)
                continue
            if self._check is not None:
                with self._reorg_guard(found.last):
                    self._check(blocks, found, index.head)
            self._write(decode_range(found.logs, self._contracts, blocks), found.last, final=final)
            logs += len(found.logs)
            if self._advanced is not None:
                self._advanced(blocks, len(found.logs))
            self._widen(blocks, len(found.logs))
        return logs

    @contextmanager
    def _reorg_guard(self, block: Block) -> Iterator[None]:
        """Reorg guard: failed checks on top of a block raise ReorgDetected if the block was replaced meanwhile."""
        try:
            yield
        except VerificationFailed as failed:
            if self._source.blocks([block.number]) != [block]:
                raise ReorgDetected(f"the node's block {block.number} changed while it was checked") from failed
            raise

    def _next(self) -> int:
        head = self._index.head
        return self._index.following.first_block if head is None else head.number + 1

    def _narrow(self, blocks: range, error: NodeUnavailable) -> None:
        """Shrink the range: nodes limit the span or size of eth_getLogs, with various errors, or time out."""
        if len(blocks) == 1:
            raise error
        self._span = max(_FEWEST, len(blocks) // (2 if isinstance(error, NodeRefused) else 10))

    def _widen(self, blocks: range, logs: int) -> None:
        fitting = len(blocks) * _WANTED_LOGS // logs if logs else _MOST
        self._span = max(_FEWEST, min(2 * self._span, fitting, _MOST))

    def _write(self, events: Sequence[Event], last: Block, *, final: bool) -> None:
        rows: dict[str, list[tuple[Any, ...]]] = {}
        for event in events:
            for table, values in HANDLERS[type(event)](event):
                rows.setdefault(table, []).append(values)
        counts = Counter(event.at.block_number for event in events)
        hashes = {event.at.block_number: event.at.block_hash for event in events}
        if hashes.get(last.number, last.hash) != last.hash:
            raise ReorgDetected(f"the node's block {last.number} is not the one that its logs are of")
        hashes[last.number] = last.hash
        blocks = [(number, hashes[number], counts[number]) for number in sorted(hashes)]
        self._index.append(blocks, rows, final=final, checked=self._check is not None)

    def _finalize(self, number: int) -> None:
        """Advance the final block if the chain's finality has advanced."""
        head, known = self._index.head, self._index.final
        if head is None or number < self._index.following.first_block or (known is not None and number <= known.number):
            return
        (found, again) = self._source.blocks([number, head.number])
        held, *_ = queries.blocks_between(self._index.db, number - 1, head.number)
        if found is None or again != head or (held.number == number and held != found):
            raise ReorgDetected(f"the node's chain changed below block {head.number}")
        if self._check is not None:
            with self._reorg_guard(head):
                require_ancestor(self._source.w3, Checkpoint(*held), Checkpoint(*found))
        self._index.finalize(found)
