"""Transactions of a block, verified against its transactions root: recipient and calldata.

A receipt proves what was logged, not what was called. If a contract accepts a call only with the right argument, such
as the running hash that a result was computed from, then the calldata of a successful call proves that argument. Types
and fields: EIP-2718, 2930, 1559, 4844, 7702.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from registry.errors import FormError, NodeUnavailable, VerificationFailed
from registry.ethereum import rlp
from registry.ethereum.headers import Header
from registry.ethereum.json_values import bytes_in, list_in, number_in, record_in
from registry.ethereum.node import asking
from registry.ethereum.patricia import indexed_root
from registry.types import Address

if TYPE_CHECKING:
    from web3 import Web3

__all__ = ["Called", "decode_called", "fetch_transactions"]

_FEES = {
    0: ("gasPrice",),
    1: ("gasPrice",),
    2: ("maxPriorityFeePerGas", "maxFeePerGas"),
    3: ("maxPriorityFeePerGas", "maxFeePerGas"),
    4: ("maxPriorityFeePerGas", "maxFeePerGas"),
}
"""Fee fields by transaction type."""


@dataclass(frozen=True, slots=True)
class Called:
    """Recipient and calldata of a transaction; `to` is empty for a contract creation."""

    to: Address
    data: bytes


def decode_called(raw: bytes) -> Called:
    """Decode recipient and calldata from a transaction's bytes in the transactions trie.

    Raises:
        FormError: They are not a transaction of a known type.
    """
    kind = raw[0] if raw[:1] and raw[0] < 0xC0 else 0
    if kind not in _FEES or (kind == 0 and raw[:1] == b"\0"):
        raise FormError(f"transaction: expected type 1 to {max(_FEES)} or a list, got 0x{raw[:1].hex()}")
    items = rlp.decode(raw[1:] if kind else raw)
    at = (1 if kind else 0) + 2 + len(_FEES[kind])
    if not isinstance(items, tuple) or len(items) < at + 3:
        raise FormError("transaction: expected a list with a receiver and data, got something else")
    to, data = items[at], items[at + 2]
    if not isinstance(to, bytes) or len(to) not in (0, 20) or not isinstance(data, bytes):
        raise FormError("transaction: expected a receiver of 20 bytes, or none, and data, got something else")
    return Called(Address(to), data)


def fetch_transactions(w3: Web3, header: Header) -> tuple[bytes, ...]:
    """Fetch all transactions of a block, as encoded in the trie, and verify them against its transactions root.

    Raises:
        VerificationFailed: They are not the block's transactions.
        NodeUnavailable: The node does not serve them, or one has an unknown type.
    """
    eth: Any = w3.eth
    with asking("eth_getBlockByHash"):
        block = eth.get_block(f"0x{header.hash.hex()}", True)
    found = list_in(block["transactions"], "transactions")
    encoded = tuple(_encode(_named(record_in(each, "a transaction"))) for each in found)
    root = indexed_root(encoded)
    if root != header.transactions_root:
        raise VerificationFailed(
            f"block {header.number}: expected transactions of root {header.transactions_root.hex()}, "
            f"got {len(encoded)} of root {root.hex()}"
        )
    return encoded


def _encode(tx: Mapping[str, Any]) -> bytes:
    """Encode a transaction from a node's JSON as in the trie."""
    kind = _number(tx, "type", 8) if tx.get("type") is not None else 0
    if kind not in _FEES:
        raise NodeUnavailable(f"expected a transaction of type 0 to {max(_FEES)} from the node, got {kind}")
    to = b"" if not tx.get("to") else bytes_in(tx, "to", 20)
    fees = tuple(_int(tx, name) for name in _FEES[kind])
    call = (_int(tx, "nonce"), *fees, _int(tx, "gas"), to, _int(tx, "value"), bytes_in(tx, _data_name(tx)))
    signature = (_int(tx, "r"), _int(tx, "s"))
    if kind == 0:
        return rlp.encode((*call, _int(tx, "v"), *signature))
    body: list[rlp.Item] = [_int(tx, "chainId"), *call, _access_list(tx)]
    if kind == 3:
        hashes = list_in(tx.get("blobVersionedHashes"), "blobVersionedHashes")
        body += [_int(tx, "maxFeePerBlobGas"), tuple(bytes_in({"hash": each}, "hash", 32) for each in hashes)]
    if kind == 4:
        body.append(tuple(_authorization(each) for each in list_in(tx.get("authorizationList"), "authorizations")))
    parity = _int(tx, "yParity" if tx.get("yParity") is not None else "v")
    return bytes((kind,)) + rlp.encode((*body, parity, *signature))


def _named(tx: Mapping[str, Any]) -> dict[str, Any]:
    """Normalise field names to those of JSON-RPC: eth-tester uses snake case for some."""
    return {re.sub("_(.)", lambda found: found[1].upper(), name): value for name, value in tx.items()}


def _access_list(tx: Mapping[str, Any]) -> rlp.Item:
    found = []
    for each in list_in(tx.get("accessList"), "accessList"):
        entry = _named(record_in(each, "an access"))
        keys = tuple(
            key.to_bytes(32, "big") if isinstance(key, int) else bytes_in({"key": key}, "key", 32)
            for key in list_in(entry.get("storageKeys"), "storageKeys")
        )
        found.append((bytes_in(entry, "address", 20), keys))
    return tuple(found)


def _authorization(answer: object) -> rlp.Item:
    entry = record_in(answer, "an authorization")
    names = ("nonce", "yParity", "r", "s")
    return (_int(entry, "chainId"), bytes_in(entry, "address", 20), *(_int(entry, name) for name in names))


def _data_name(tx: Mapping[str, Any]) -> str:
    return "input" if tx.get("input") is not None else "data"


def _int(record: Mapping[str, Any], name: str) -> bytes:
    return rlp.int_to(_number(record, name, 256))


def _number(record: Mapping[str, Any], name: str, bits: int) -> int:
    """A number in a node's encoding: for signatures it may also be bytes."""
    value = record.get(name)
    return number_in({name: int.from_bytes(value, "big") if isinstance(value, bytes) else value}, name, bits)
