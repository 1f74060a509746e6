"""Verification of a node's logs against the verified receipts of a block.

A header proves a log's address, topics, data, transaction index and index in the block, see
`registry.ethereum.receipts.verify_receipts`. It does not prove the transaction hash, which is under another root. That
hash is only checked for consistency: equal for logs of one transaction, distinct for different ones. To prove it, fetch
the transaction and verify it against the transactions root.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from registry.errors import VerificationFailed
from registry.ethereum.headers import Header
from registry.ethereum.json_values import bytes_in, number_in, record_in
from registry.ethereum.positions import Position
from registry.ethereum.receipts import Log, Receipt, bloom_may_hold, read_log
from registry.types import Address

__all__ = ["PlacedLog", "may_log", "read_placed_log", "require_logs"]


@dataclass(frozen=True, slots=True)
class PlacedLog:
    """A log with its claimed position.

    Attributes:
        at: Block, index in the block, transaction hash.
        tx_index: Its transaction's index in the block.
        log: Address, topics and data.
    """

    at: Position
    tx_index: int
    log: Log


def read_placed_log(answer: object) -> PlacedLog:
    """Return a log in a node's answer to `eth_getLogs`.

    Raises:
        NodeUnavailable: It is not a log, or not of a mined block.
    """
    record = record_in(answer, "a log")
    return PlacedLog(
        at=Position(
            block_number=number_in(record, "blockNumber"),
            log_index=number_in(record, "logIndex"),
            block_hash=bytes_in(record, "blockHash", 32),
            tx_hash=bytes_in(record, "transactionHash", 32),
        ),
        tx_index=number_in(record, "transactionIndex"),
        log=read_log(record),
    )


def may_log(header: Header, addresses: Collection[Address]) -> bool:
    """Return whether a block's bloom allows logs of one of these contracts.

    The bloom has no false negatives. It is part of the header, so the block hash commits to it, and consensus rules,
    for which the trusted hash stands, reject blocks whose bloom does not match their logs.
    """
    return any(bloom_may_hold(header.logs_bloom, address) for address in addresses)


def require_logs(
    header: Header, receipts: Sequence[Receipt], read: Sequence[PlacedLog], addresses: Collection[Address]
) -> None:
    """Check that the logs read for a block are exactly those of these contracts in its receipts.

    Args:
        header: The block's header, verified.
        receipts: Its receipts, verified; empty if `may_log` is false.
        read: Logs from a node for this block.
        addresses: The contracts whose logs were requested, for all events.

    Raises:
        VerificationFailed: A log is missing, invented or edited; the message says which and how.
    """
    block = f"block {header.number}"
    expected = {index: (tx_index, log) for index, tx_index, log in _logs(receipts) if log.address in addresses}
    found: dict[int, PlacedLog] = {}
    for given in read:
        if given.at.block_number != header.number or given.at.block_hash != header.hash:
            raise VerificationFailed(
                f"{block}: log {given.at.log_index}: expected block hash {header.hash.hex()}, "
                f"got {given.at.block_hash.hex()} (number {given.at.block_number})"
            )
        if given.at.log_index not in expected:
            raise VerificationFailed(f"{block}: log {given.at.log_index} was invented: the receipts have none there")
        if given.at.log_index in found:
            raise VerificationFailed(f"{block}: log {given.at.log_index}: expected it once, got it twice")
        found[given.at.log_index] = given
    for index, (tx_index, log) in expected.items():
        if index not in found:
            raise VerificationFailed(f"{block}: log {index} of 0x{log.address.hex()} is missing")
        _require_equal(f"{block}: log {index}", found[index], tx_index, log)
    _require_hashes(block, found.values())


def _logs(receipts: Sequence[Receipt]) -> Iterator[tuple[int, int, Log]]:
    """Yield (index in the block, transaction index, log) for every log of a block."""
    index = 0
    for tx_index, receipt in enumerate(receipts):
        for log in receipt.logs:
            yield index, tx_index, log
            index += 1


def _require_equal(where: str, given: PlacedLog, tx_index: int, log: Log) -> None:
    if given.tx_index != tx_index:
        raise VerificationFailed(f"{where}: expected transaction index {tx_index}, got {given.tx_index}")
    if given.log.address != log.address:
        raise VerificationFailed(f"{where}: expected address {log.address.hex()}, got {given.log.address.hex()}")
    for place, (expected, got) in enumerate(zip_longest(log.topics, given.log.topics, fillvalue=b"")):
        if expected != got:
            raise VerificationFailed(f"{where}: topic {place}: expected {expected.hex()}, got {got.hex()}")
    if given.log.data != log.data:
        raise VerificationFailed(f"{where}: expected data {log.data.hex():.200}, got {given.log.data.hex():.200}")


def _require_hashes(block: str, logs: Collection[PlacedLog]) -> None:
    pairs = {(given.tx_index, given.at.tx_hash) for given in logs}
    if len({index for index, _ in pairs}) != len(pairs) or len({tx_hash for _, tx_hash in pairs}) != len(pairs):
        raise VerificationFailed(f"{block}: expected one hash for each transaction, got another number of them")
