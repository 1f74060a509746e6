"""Receipt, account and storage proofs, verified against the roots of a block header.

A block hash proves the header's receipts root and state root (`registry.ethereum.headers`); trie proofs prove their
content.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from registry.errors import FormError, InputError, NodeUnavailable, VerificationFailed
from registry.ethereum import rlp
from registry.ethereum.hashing import keccak
from registry.ethereum.json_values import bytes_in, list_in, number_in, record_in
from registry.ethereum.patricia import EMPTY_ROOT, TrieNodes, index_key, prove, verify_proof
from registry.ethereum.receipts import Receipt, decode_receipt
from registry.types import Address

__all__ = [
    "Account",
    "SlotProof",
    "AccountState",
    "StateProof",
    "prove_receipt",
    "read_state_proof",
    "verify_receipt",
    "verify_shared_state",
    "verify_state",
]


@dataclass(frozen=True, slots=True)
class Account:
    """Account of the state trie."""

    nonce: int
    balance: int
    storage_root: bytes
    code_hash: bytes


@dataclass(frozen=True, slots=True)
class SlotProof:
    """Proof of one storage word of an account.

    Attributes:
        slot: Its slot, 32 bytes.
        nodes: Trie nodes, root first; empty if the account has no storage.
    """

    slot: bytes
    nodes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class StateProof:
    """Proof from `eth_getProof`, without the claimed values: only the values that the nodes prove count.

    Attributes:
        address: The account.
        nodes: Its path in the state trie, root first.
        slots: Proofs of storage words.
    """

    address: Address
    nodes: tuple[bytes, ...]
    slots: tuple[SlotProof, ...]


@dataclass(frozen=True, slots=True)
class AccountState:
    """Verified content of a state proof.

    Attributes:
        account: The account; None if it does not exist.
        words: Storage words at the proof's slots, in the same order; 0 for an empty slot.
    """

    account: Account | None
    words: tuple[int, ...]


def prove_receipt(receipts: Sequence[Receipt], index: int) -> tuple[bytes, ...]:
    """Return the inclusion proof, root first, of one receipt among all receipts of a block.

    Raises:
        InputError: There is no such receipt.
    """
    if not 0 <= index < len(receipts):
        raise InputError(f"receipt proof: expected an index below {len(receipts)}, got {index}")
    return prove({index_key(at): receipt.encode() for at, receipt in enumerate(receipts)}, index_key(index))


def verify_receipt(receipts_root: bytes, index: int, nodes: Sequence[bytes]) -> Receipt:
    """Verify an inclusion proof and return the receipt at an index of a block.

    The proof covers the receipt, its logs with their positions in it, and the transaction's index. It covers neither
    the transaction's hash (under the transactions root) nor a log's index in the block, which depends on the receipts
    before it.

    Raises:
        VerificationFailed: The nodes do not prove a receipt at that index.
    """
    if index < 0:
        raise VerificationFailed(f"receipt proof: expected an index from 0 on, got {index}")
    value = verify_proof(receipts_root, index_key(index), nodes)
    if value is None:
        raise VerificationFailed(f"receipt proof: expected receipt {index}, got a proof that the block has none there")
    with _proving("receipt proof"):
        return decode_receipt(value)


def read_state_proof(answer: object, address: Address, slots: Sequence[bytes]) -> StateProof:
    """Parse a node's answer to `eth_getProof`.

    Args:
        answer: The answer.
        address: The requested account.
        slots: The requested storage slots, 32 bytes each.

    Raises:
        NodeUnavailable: The answer is malformed, or for another account or other slots.
    """
    record = record_in(answer, "a state proof")
    words = [record_in(word, "a storage proof") for word in list_in(record.get("storageProof"), "storageProof")]
    if bytes_in(record, "address", 20) != address or [_slot(word) for word in words] != list(slots):
        raise NodeUnavailable("expected a proof of what was asked for from the node, got one of something else")
    return StateProof(
        address=address,
        nodes=_nodes(record, "accountProof"),
        slots=tuple(SlotProof(slot, _nodes(word, "proof")) for slot, word in zip(slots, words, strict=True)),
    )


def verify_state(state_root: bytes, proof: StateProof) -> AccountState:
    """Verify a state proof, of existence or absence, against a state root.

    Raises:
        VerificationFailed: The proof is not valid for this root.
    """
    account = _account(verify_proof(state_root, keccak(proof.address), proof.nodes))
    root = _storage_root(account)
    words = (_word(verify_proof(root, keccak(each.slot), each.nodes)) for each in proof.slots)
    return AccountState(account, tuple(words))


def verify_shared_state(
    state_root: bytes, address: Address, slots: Sequence[bytes], account_nodes: TrieNodes, storage_nodes: TrieNodes
) -> AccountState:
    """Verify a multiproof, whose nodes are shared by several paths, against a state root, as `verify_state`.

    Raises:
        VerificationFailed: The proof is not valid for this root, or has surplus nodes.
    """
    account = _account(account_nodes.value(state_root, keccak(address)))
    root = _storage_root(account)
    words = tuple(_word(storage_nodes.value(root, keccak(slot))) for slot in slots)
    account_nodes.require_all_used()
    storage_nodes.require_all_used()
    return AccountState(account, words)


def _storage_root(account: Account | None) -> bytes:
    return EMPTY_ROOT if account is None else account.storage_root


def _account(raw: bytes | None) -> Account | None:
    if raw is None:
        return None
    with _proving("account"):
        items = rlp.decode(raw)
        if not isinstance(items, tuple) or len(items) != 4:
            raise FormError("expected nonce, balance, storage root and code hash, got something else")
        nonce, balance, storage_root, code_hash = items
        if not (isinstance(storage_root, bytes) and isinstance(code_hash, bytes)) or (
            len(storage_root) != 32 or len(code_hash) != 32
        ):
            raise FormError("expected a storage root and code hash of 32 bytes, got something else")
        return Account(rlp.int_from(nonce, "nonce", 64), rlp.int_from(balance, "balance"), storage_root, code_hash)


def _word(raw: bytes | None) -> int:
    """Decode a word of the storage trie; 0 if absent. anvil stores zero words explicitly, which is equivalent."""
    if raw is None:
        return 0
    with _proving("storage"):
        return rlp.int_from(rlp.decode(raw), "word")


@contextlib.contextmanager
def _proving(what: str) -> Iterator[None]:
    """Translate FormError on proved bytes to VerificationFailed: malformed content proves nothing."""
    try:
        yield
    except FormError as error:
        raise VerificationFailed(f"{what}: {error}") from error


def _slot(record: Mapping[str, Any]) -> bytes:
    """Parse a slot, which a node writes as a number or as 32 bytes, as it was requested."""
    key = record.get("key")
    number = int.from_bytes(key, "big") if isinstance(key, bytes) else key
    return number_in({"key": number}, "key", 256).to_bytes(32, "big")


def _nodes(record: Mapping[str, Any], name: str) -> tuple[bytes, ...]:
    nodes = tuple(bytes_in({name: node}, name) for node in list_in(record.get(name), name))
    return () if nodes == (b"\x80",) else nodes  # some nodes write an empty trie so; others send no nodes
