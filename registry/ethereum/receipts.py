"""Transaction receipts, logs and blooms: JSON and RLP parsers, and verification by receipts root.

A receipt is the RLP of (status, cumulative gas, bloom, logs), prefixed with its type (EIP-2718) unless it is a legacy
one; the trie of receipts by index has the header's receipts root. The bloom follows from the logs, so it is not a field
here. Roll-ups have their own types: Arbitrum's have the same fields, a deposit on the OP stack has two more since its
fork Canyon (`EncodeIndex` in `core/types/receipt.go` of their forks of geth). Receipts from before the fork Byzantium,
with a state root instead of a status, are not supported: the contracts cannot run there.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from registry.errors import FormError, NodeUnavailable, VerificationFailed
from registry.ethereum import rlp
from registry.ethereum.hashing import keccak
from registry.ethereum.headers import BLOOM_BYTES, Header
from registry.ethereum.json_values import bytes_in, list_in, number_in, record_in
from registry.ethereum.patricia import indexed_root
from registry.types import Address

__all__ = [
    "DEPOSIT",
    "MAX_TOPICS",
    "RECEIPT_TYPES",
    "Log",
    "Receipt",
    "bloom_may_hold",
    "bloom_of",
    "decode_receipt",
    "read_log",
    "read_receipts",
    "verify_receipts",
]

DEPOSIT = 0x7E
"""OP stack deposit: a transaction that originates on L1."""
RECEIPT_TYPES = frozenset({0, 1, 2, 3, 4, 0x64, 0x65, 0x66, 0x68, 0x69, 0x6A, DEPOSIT})
"""Legacy, EIP-2930, 1559, 4844, 7702; Arbitrum's deposit, unsigned, contract, retry, retryable and internal; the OP
stack's deposit."""
_KNOWN = f"a type among {', '.join(f'0x{kind:02x}' for kind in sorted(RECEIPT_TYPES))}"
MAX_TOPICS = 4


@dataclass(frozen=True, slots=True)
class Log:
    """A log entry.

    Attributes:
        address: Emitting contract, 20 bytes.
        topics: Up to four, 32 bytes each.
        data: ABI-encoded fields that are not indexed.
    """

    address: Address
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """A transaction receipt.

    Attributes:
        kind: The transaction's type, one of RECEIPT_TYPES.
        succeeded: Whether the transaction did not revert.
        cumulative_gas: Gas used in the block up to and including it.
        logs: Its logs, in order.
        deposit: Nonce and receipt version of a DEPOSIT; empty for other types, and for deposits before Canyon.
    """

    kind: int
    succeeded: bool
    cumulative_gas: int
    logs: tuple[Log, ...]
    deposit: tuple[int, ...] = ()

    def encode(self) -> bytes:
        """Return the encoding in the receipts trie."""
        body = rlp.encode(
            (
                b"\x01" if self.succeeded else b"",
                rlp.int_to(self.cumulative_gas),
                bloom_of(self.logs),
                tuple((log.address, log.topics, log.data) for log in self.logs),
                *map(rlp.int_to, self.deposit),
            )
        )
        return bytes((self.kind,)) + body if self.kind else body


def bloom_of(logs: Iterable[Log]) -> bytes:
    """Return the 2048-bit bloom of addresses and topics (yellow paper 4.3.1): three bits for each."""
    bits = 0
    for value in {value for log in logs for value in (log.address, *log.topics)}:
        bits |= _bloom_bits(value)
    return bits.to_bytes(BLOOM_BYTES, "big")


def bloom_may_hold(bloom: bytes, value: bytes) -> bool:
    """Return whether a bloom has the bits of an address or topic; if not, no log has it."""
    bits = _bloom_bits(value)
    return int.from_bytes(bloom, "big") & bits == bits


def decode_receipt(raw: bytes) -> Receipt:
    """Decode a receipt from its bytes in a receipts trie.

    Raises:
        FormError: They are not a receipt, not canonical, of an unknown type, or the bloom does not match the logs.
    """
    kind = raw[0] if raw[:1] and raw[0] < 0xC0 else 0
    if kind not in RECEIPT_TYPES or (kind == 0 and raw[:1] == b"\0"):
        raise FormError(f"receipt: expected {_KNOWN} or a list, got 0x{raw[0]:02x}")
    items = rlp.decode(raw[1:] if kind else raw)
    if not isinstance(items, tuple) or not (len(items) == 4 or (len(items) == 6 and kind == DEPOSIT)):
        raise FormError("receipt: expected status, cumulative gas, bloom and logs, got something else")
    status, gas, bloom, logs, *deposit = items
    if not isinstance(logs, tuple):
        raise FormError("receipt: expected a list of logs, got a byte string")
    if status not in (b"", b"\x01"):
        raise FormError(f"receipt: expected status 0 or 1, got {status!r:.80}")
    receipt = Receipt(
        kind=kind,
        succeeded=status == b"\x01",
        cumulative_gas=rlp.int_from(gas, "receipt: cumulative gas", 64),
        logs=tuple(map(_log, logs)),
        deposit=tuple(rlp.int_from(item, "receipt: deposit's nonce and version", 64) for item in deposit),
    )
    if bloom != bloom_of(receipt.logs):
        raise FormError("receipt: expected the bloom of its logs, got another")
    return receipt


def read_receipts(answer: object) -> tuple[Receipt, ...]:
    """Parse a node's answer to `eth_getBlockReceipts`: all receipts of a block, in order.

    Raises:
        NodeUnavailable: The answer is malformed, out of order, or has a receipt of an unknown type.
    """
    found = []
    for position, each in enumerate(list_in(answer, "receipts")):
        receipt = record_in(each, "a receipt")
        if number_in(receipt, "transactionIndex") != position:
            raise NodeUnavailable(f"expected receipt {position} from the node, got {receipt['transactionIndex']!r:.80}")
        kind = number_in(receipt, "type") if receipt.get("type") is not None else 0
        if kind not in RECEIPT_TYPES:
            raise NodeUnavailable(
                f"receipt {position}: expected {_KNOWN}, got 0x{kind:02x}: how it is encoded is not known here, so "
                "its block cannot be checked"
            )
        versioned = kind == DEPOSIT and receipt.get("depositReceiptVersion") is not None
        extra = ("depositNonce", "depositReceiptVersion") if versioned else ()
        found.append(
            Receipt(
                kind=kind,
                succeeded=number_in(receipt, "status", 1) == 1,
                cumulative_gas=number_in(receipt, "cumulativeGasUsed"),
                logs=tuple(read_log(log) for log in list_in(receipt.get("logs"), "logs")),
                deposit=tuple(number_in(receipt, name) for name in extra),
            )
        )
    return tuple(found)


def read_log(answer: object) -> Log:
    """Parse a log in a node's answer, without its position.

    Raises:
        NodeUnavailable: It is not a log.
    """
    record = record_in(answer, "a log")
    topics = list_in(record.get("topics"), "topics")
    if len(topics) > MAX_TOPICS:
        raise NodeUnavailable(f"expected at most {MAX_TOPICS} topics from the node, got {len(topics)}")
    return Log(
        address=Address(bytes_in(record, "address", 20)),
        topics=tuple(bytes_in({"topic": topic}, "topic", 32) for topic in topics),
        data=bytes_in(record, "data"),
    )


def verify_receipts(header: Header, receipts: Sequence[Receipt]) -> None:
    """Verify that these are exactly the receipts of the header's block, in order.

    The receipts root proves, for every transaction of the block in order: its type, its success, the gas used up to it,
    and its logs with address, topics and data; so also each log's index in the block, the number of logs before it. It
    does not prove a transaction's hash, sender or input: those are under the transactions root.

    Raises:
        VerificationFailed: A receipt is missing, invented, edited or out of order.
    """
    root = indexed_root([receipt.encode() for receipt in receipts])
    if root != header.receipts_root:
        raise VerificationFailed(
            f"block {header.number}: expected receipts of root {header.receipts_root.hex()}, "
            f"got {len(receipts)} of root {root.hex()}"
        )
    if bloom_of(log for receipt in receipts for log in receipt.logs) != header.logs_bloom:
        raise VerificationFailed(f"block {header.number}: expected the bloom of its logs in the header, got another")


def _log(item: rlp.Item) -> Log:
    if not isinstance(item, tuple) or len(item) != 3:
        raise FormError("receipt: expected a log of address, topics and data, got something else")
    address, topics, data = item
    if not isinstance(address, bytes) or len(address) != 20 or not isinstance(data, bytes):
        raise FormError("receipt: expected a log's address of 20 bytes and data, got something else")
    if not isinstance(topics, tuple) or len(topics) > MAX_TOPICS:
        raise FormError(f"receipt: expected up to {MAX_TOPICS} topics in a log, got something else")
    found = tuple(topic for topic in topics if isinstance(topic, bytes) and len(topic) == 32)
    if len(found) != len(topics):
        raise FormError("receipt: expected topics of 32 bytes, got something else")
    return Log(address=Address(address), topics=found, data=data)


@functools.lru_cache(maxsize=1 << 14)
def _bloom_bits(value: bytes) -> int:
    """Return the bloom bits of a value; cached because every block is tested for the same few contracts and events."""
    digest = keccak(value)
    return sum({1 << (int.from_bytes(digest[at : at + 2], "big") & 0x7FF) for at in (0, 2, 4)})
