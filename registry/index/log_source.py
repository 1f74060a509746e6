"""Log source: fetches blocks and the logs of a range from a node by raw JSON-RPC, and detects reorgs.

Requests bypass web3's middleware, which takes ten times as long as the decoding here. Related requests go in one batch,
so that a load balancer does not answer them from nodes on different chains; a node without batches gets them one by
one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from registry.errors import ChainError, NodeUnavailable
from registry.ethereum.node import MAX_RESPONSE_BYTES, NodeRefused, asking, bound_answers, result_of
from registry.ethereum.node_answers import SILENT_LOG_CAPS
from registry.index.decoding import RawLog
from registry.index.entries import Block
from registry.types import Address

if TYPE_CHECKING:
    from web3 import Web3

__all__ = ["MOST_BYTES", "ReorgDetected", "Range", "LogSource"]

Request = tuple[str, list[Any]]
MOST_BYTES = 10 << 20
"""Largest answer for several blocks, bytes: some 13 000 logs. A longer answer is cut off and a smaller range requested,
which bounds memory. A single block's logs are always read in full."""

_BATCH = 50
"""Requests in one batch: providers take that many."""


class ReorgDetected(ChainError):
    """The node's chain was reorganised during the read: retry."""


@dataclass(frozen=True, slots=True)
class Range:
    """The logs of a range of blocks, and its last block."""

    last: Block
    logs: Sequence[RawLog]


class LogSource:
    """A node, and the contracts whose logs are read."""

    def __init__(self, w3: Web3, contracts: Sequence[Address]) -> None:
        from web3.datastructures import NamedElementOnion
        from web3.providers import JSONBaseProvider

        self.w3 = w3
        self._addresses = ["0x" + contract.hex() for contract in contracts]
        self._batch = w3.provider.make_batch_request if isinstance(w3.provider, JSONBaseProvider) else None
        self._json = self._batch is not None
        self._one = w3.provider.request_func(w3, NamedElementOnion([]))

    def latest(self) -> Block:
        """Return the node's latest block.

        Raises:
            NodeUnavailable: It does not answer.
        """
        (block,) = self._ask([_block_request("latest")])
        return _block(block, None)

    def blocks(self, numbers: Sequence[int]) -> list[Block | None]:
        """Return blocks by number; None for blocks that the node does not have.

        Raises:
            NodeUnavailable: It does not answer.
        """
        answers = self._ask([_block_request(number) for number in numbers])
        return [None if block is None else _block(block, n) for n, block in zip(numbers, answers, strict=True)]

    def times(self, numbers: Iterable[int]) -> dict[int, int]:
        """Return the times of blocks by number, Unix seconds.

        Raises:
            NodeUnavailable: It does not answer, or lacks a block.
        """
        return {block.number: time for block, time in self.timed_blocks(numbers)}

    def timed_blocks(self, numbers: Iterable[int]) -> Iterator[tuple[Block, int]]:
        """Yield blocks by number with their times, Unix seconds, ascending.

        Raises:
            NodeUnavailable: It does not answer, or lacks a block.
        """
        wanted = sorted(set(numbers))
        for at in range(0, len(wanted), _BATCH):
            part = wanted[at : at + _BATCH]
            for number, block in zip(part, self._ask([_block_request(number) for number in part]), strict=True):
                try:
                    yield _block(block, number), int(block["timestamp"], 16)
                except (LookupError, TypeError, ValueError) as error:
                    raise NodeUnavailable(f"expected block {number} from the node, got {block!r:.80}") from error

    def read(self, blocks: range, after: Block | None) -> Range:
        """Return the contracts' logs of a range of blocks that descends from a known block.

        The last block is fetched before and after the logs: if unchanged, the logs are those of its chain.

        Args:
            blocks: The range.
            after: An earlier block; None for none.

        Raises:
            ReorgDetected: A reorg happened meanwhile, or the chain does not contain `after`.
            NodeUnavailable: The node does not answer, or rejects the range.
        """
        wanted = {
            "address": self._addresses,
            "fromBlock": hex(blocks.start),
            "toBlock": hex(blocks.stop - 1),
        }
        last = _block_request(blocks.stop - 1)
        requests: list[Request] = [last, ("eth_getLogs", [wanted]), last]
        if after is not None:
            requests.append(_block_request(after.number))
        with bound_answers(MOST_BYTES if len(blocks) > 1 else MAX_RESPONSE_BYTES):
            before, logs, again, *known = self._ask(requests)
        if before is None or again is None:
            raise ReorgDetected(f"the node no longer has block {blocks.stop - 1}")
        end = _block(before, blocks.stop - 1)
        if _block(again, blocks.stop - 1) != end:
            raise ReorgDetected(f"the node's block {blocks.stop - 1} changed while its logs were read")
        if after is not None and (known[0] is None or _block(known[0], after.number) != after):
            raise ReorgDetected(f"the node's block {after.number} is no longer the one that was read")
        if not isinstance(logs, list):
            raise NodeUnavailable(f"eth_getLogs: expected a list from the node, got {logs!r:.80}")
        if len(logs) in SILENT_LOG_CAPS and len(blocks) > 1:
            raise NodeRefused(f"eth_getLogs: got {len(logs)} logs, where some nodes cut their answer without saying so")
        return Range(end, logs)

    def _ask(self, requests: Sequence[Request]) -> list[Any]:
        """Return the results in request order."""
        methods = ", ".join(dict.fromkeys(method for method, _ in requests))
        if self._batch is not None and len(requests) > 1:
            with asking(methods):
                answers: Any = self._batch(list(requests))  # type: ignore[arg-type]
            if isinstance(answers, list):
                _require_ids(methods, answers, len(requests))
                return [result_of(method, answer) for (method, _), answer in zip(requests, answers, strict=True)]
            self._batch = None  # one error for the whole batch: the node has no batches
        return [self._ask_one(method, params) for method, params in requests]

    def _ask_one(self, method: str, params: list[Any]) -> Any:
        with asking(method):
            answer = self._one(method, params)
        result = result_of(method, answer)
        return result if self._json else _as_json(result)


def _require_ids(methods: str, answers: Sequence[Any], count: int) -> None:
    """Check the answers' ids: web3 numbers requests consecutively and sorts the answers."""
    ids: list[Any] = [answer.get("id") if isinstance(answer, dict) else None for answer in answers]
    if not all(isinstance(i, int) for i in ids) or [i - ids[0] for i in ids] != list(range(count)):
        raise NodeUnavailable(f"{methods}: expected {count} answers in a batch from the node, got ids {ids!r:.80}")


def _block_request(name: int | str) -> Request:
    return "eth_getBlockByNumber", [name if isinstance(name, str) else hex(name), False]


def _block(answer: Any, number: int | None) -> Block:
    """Parse number and hash of a block in JSON, which must be the requested one."""
    try:
        found = Block(int(answer["number"], 16), bytes.fromhex(answer["hash"][2:]))
    except (LookupError, TypeError, ValueError) as error:
        raise NodeUnavailable(f"expected a block from the node, got {answer!r:.80}") from error
    if len(found.hash) != 32 or (number is not None and found.number != number):
        wanted = "a block" if number is None else f"block {number}"
        raise NodeUnavailable(f"expected {wanted} from the node, got block {found.number} 0x{found.hash.hex()}")
    return found


def _as_json(value: Any) -> Any:
    """Convert the in-process chain's answers, in which numbers are not hex text, to a node's JSON."""
    if isinstance(value, int) and not isinstance(value, bool):
        return hex(value)
    if isinstance(value, dict):
        return {key: _as_json(item) for key, item in value.items()}
    return [_as_json(item) for item in value] if isinstance(value, list | tuple) else value
