"""Block headers: parser for JSON and RLP, block hash, and verification of header chains.

A block hash is keccak256 of the RLP of the header's fields in protocol order (yellow paper 4.4; EIP-1559, 4895, 4844,
4788, 7685 each appended fields). So one trusted block hash proves every earlier header, from any source, and with each
header the roots of state, transactions and receipts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from registry.errors import FormError, NodeUnavailable, VerificationFailed
from registry.ethereum import rlp
from registry.ethereum.hashing import keccak
from registry.ethereum.json_values import bytes_in, number_in, record_in

__all__ = ["BLOOM_BYTES", "Header", "decode_header", "header_of", "read_header", "require_linked"]

BLOOM_BYTES = 256


@dataclass(frozen=True, slots=True)
class Header:
    """A block's header. Forks appended the fields from `base_fee` on, each only together with all before it.

    Attributes:
        hash: The block hash, computed from all the others.
    """

    parent_hash: bytes
    ommers_hash: bytes
    miner: bytes
    state_root: bytes
    transactions_root: bytes
    receipts_root: bytes
    logs_bloom: bytes
    difficulty: int
    number: int
    gas_limit: int
    gas_used: int
    timestamp: int
    extra_data: bytes
    mix_hash: bytes
    nonce: bytes
    base_fee: int | None = None
    withdrawals_root: bytes | None = None
    blob_gas_used: int | None = None
    excess_blob_gas: int | None = None
    parent_beacon_root: bytes | None = None
    requests_hash: bytes | None = None
    hash: bytes = field(init=False)

    def __post_init__(self) -> None:
        missing = [name for name in _NAMES if getattr(self, name) is None]
        if missing != list(_NAMES[len(_NAMES) - len(missing) :]):
            raise FormError(f"header: expected no field after the missing {missing[0]}, got some")
        object.__setattr__(self, "hash", keccak(self.encode()))

    def encode(self) -> bytes:
        """Return the RLP whose keccak256 is the block hash."""
        values = [getattr(self, name) for name in _NAMES]
        return rlp.encode(
            tuple(rlp.int_to(value) if isinstance(value, int) else value for value in values if value is not None)
        )


_NAMES = tuple(each.name for each in dataclasses.fields(Header) if each.init)
_REQUIRED = _NAMES.index("base_fee")
_JSON = {
    "parent_hash": "parentHash",
    "ommers_hash": "sha3Uncles",
    "state_root": "stateRoot",
    "transactions_root": "transactionsRoot",
    "receipts_root": "receiptsRoot",
    "logs_bloom": "logsBloom",
    "gas_limit": "gasLimit",
    "gas_used": "gasUsed",
    "extra_data": "extraData",
    "mix_hash": "mixHash",
    "base_fee": "baseFeePerGas",
    "withdrawals_root": "withdrawalsRoot",
    "blob_gas_used": "blobGasUsed",
    "excess_blob_gas": "excessBlobGas",
    "parent_beacon_root": "parentBeaconBlockRoot",
    "requests_hash": "requestsHash",
}
"""JSON names of fields that differ from ours."""
_BITS = {"difficulty": 256, "base_fee": 256} | dict.fromkeys(
    ("number", "gas_limit", "gas_used", "timestamp", "blob_gas_used", "excess_blob_gas"), 64
)
"""Integer fields. All others are bytes, of length 32 unless listed below."""
_LENGTHS: Mapping[str, int | None] = {"miner": 20, "logs_bloom": BLOOM_BYTES, "nonce": 8, "extra_data": None}


def decode_header(raw: bytes) -> Header:
    """Decode a header from RLP.

    Raises:
        FormError: The bytes are not a header, not canonical, or have fields of an unknown fork.
    """
    return header_of(rlp.decode(raw))


def header_of(items: rlp.Item) -> Header:
    """Return the header for decoded RLP; raises as `decode_header`."""
    if not isinstance(items, tuple) or not _REQUIRED <= len(items) <= len(_NAMES):
        got = len(items) if isinstance(items, tuple) else "a byte string"
        raise FormError(f"header: expected a list of {_REQUIRED} to {len(_NAMES)} fields, got {got}")
    values: dict[str, Any] = {}
    for name, item in zip(_NAMES, items, strict=False):
        if name in _BITS:
            values[name] = rlp.int_from(item, f"header: {name}", _BITS[name])
            continue
        length = _LENGTHS.get(name, 32)
        if not isinstance(item, bytes) or (length is not None and len(item) != length):
            got = len(item) if isinstance(item, bytes) else "a list"
            raise FormError(f"header: {name}: expected {length or 'any number of'} bytes, got {got}")
        values[name] = item
    return Header(**values)


def read_header(answer: object) -> Header:
    """Return the header in a node's answer to `eth_getBlockByNumber` or `eth_getBlockByHash`.

    Raises:
        NodeUnavailable: The answer is not a block.
        VerificationFailed: It does not hash to its claimed hash: it was edited, or the chain does not use Ethereum's
            header format.
    """
    block = record_in(answer, "a block")
    values: dict[str, Any] = {}
    for index, name in enumerate(_NAMES):
        key = _JSON.get(name, name)
        if index >= _REQUIRED and block.get(key) is None:
            continue
        if name in _BITS:
            values[name] = number_in(block, key, _BITS[name])
        elif name == "logs_bloom":  # eth-tester omits leading zeros; the block hash decides
            values[name] = bytes_in({key: bytes_in(block, key).rjust(BLOOM_BYTES, b"\0")}, key, BLOOM_BYTES)
        else:
            values[name] = bytes_in(block, key, _LENGTHS.get(name, 32))
    try:
        header = Header(**values)
    except FormError as error:
        raise NodeUnavailable(f"expected a block from the node: {error}") from error
    claimed = bytes_in(block, "hash", 32)
    if header.hash != claimed:
        raise VerificationFailed(
            f"block {header.number}: expected a header that hashes to {claimed.hex()}, got {header.hash.hex()}"
        )
    return header


def require_linked(headers: Sequence[Header], trusted: bytes) -> None:
    """Verify a chain of consecutive headers: the last has the trusted hash, each other its child's parent hash.

    Raises:
        VerificationFailed: A hash does not match, or numbers are not consecutive.
    """
    expected = trusted
    for header in reversed(headers):
        if header.hash != expected:
            raise VerificationFailed(f"block {header.number}: expected hash {expected.hex()}, got {header.hash.hex()}")
        expected = header.parent_hash
    for parent, child in pairwise(headers):
        if child.number != parent.number + 1:
            raise VerificationFailed(f"expected block {parent.number + 1} after its parent, got {child.number}")
