"""Proofs that a block hash is enough for: a receipt, an account, words of its storage.

A header's hash proves its receipts root and state root (`registry.ethereum.headers`); a trie proof goes on from there.
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
    """What the state has for an address."""

    nonce: int
    balance: int
    storage_root: bytes
    code_hash: bytes


@dataclass(frozen=True, slots=True)
class SlotProof:
    """The trie nodes that prove one word of an account's storage.

    Attributes:
        slot: Which word, 32 bytes.
        nodes: Root first; none where the account has no storage at all.
    """

    slot: bytes
    nodes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class StateProof:
    """What `eth_getProof` gives, without the values it claims: only what the nodes prove counts.

    Attributes:
        address: The account.
        nodes: Its path in the state trie, root first.
        slots: Words of its storage.
    """

    address: Address
    nodes: tuple[bytes, ...]
    slots: tuple[SlotProof, ...]


@dataclass(frozen=True, slots=True)
class AccountState:
    """What a state proof proves.

    Attributes:
        account: The account; None if the state has none at the address.
        words: The words at the proof's slots, as numbers, in its order; 0 where nothing stands.
    """

    account: Account | None
    words: tuple[int, ...]


def prove_receipt(receipts: Sequence[Receipt], index: int) -> tuple[bytes, ...]:
    """Return the trie nodes, root first, that prove one of all receipts of a block.

    Raises:
        InputError: There is no such receipt.
    """
    if not 0 <= index < len(receipts):
        raise InputError(f"receipt proof: expected an index below {len(receipts)}, got {index}")
    return prove({index_key(at): receipt.encode() for at, receipt in enumerate(receipts)}, index_key(index))


def verify_receipt(receipts_root: bytes, index: int, nodes: Sequence[bytes]) -> Receipt:
    """Return the receipt that nodes prove to be the one at an index of its block.

    This proves the receipt, so its logs and each one's position in it, and the transaction's index. It proves neither
    the transaction's hash (that is under the transactions root) nor a log's index in the block, which depends on the
    receipts before it.

    Raises:
        VerificationFailed: The nodes do not prove a receipt there.
    """
    if index < 0:
        raise VerificationFailed(f"receipt proof: expected an index from 0 on, got {index}")
    value = verify_proof(receipts_root, index_key(index), nodes)
    if value is None:
        raise VerificationFailed(f"receipt proof: expected receipt {index}, got a proof that the block has none there")
    with _proving("receipt proof"):
        return decode_receipt(value)


def read_state_proof(answer: object, address: Address, slots: Sequence[bytes]) -> StateProof:
    """Return the proof in a node's answer to `eth_getProof`.

    Args:
        answer: The answer.
        address: The account that was asked for.
        slots: The words of its storage that were asked for, each named by 32 bytes.

    Raises:
        NodeUnavailable: The answer is none, or of something else than was asked for.
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
    """Return what a state proof proves, existence or absence, of the state with this root.

    Raises:
        VerificationFailed: It proves nothing of this state.
    """
    account = _account(verify_proof(state_root, keccak(proof.address), proof.nodes))
    root = _storage_root(account)
    words = (_word(verify_proof(root, keccak(each.slot), each.nodes)) for each in proof.slots)
    return AccountState(account, tuple(words))


def verify_shared_state(
    state_root: bytes, address: Address, slots: Sequence[bytes], account_nodes: TrieNodes, storage_nodes: TrieNodes
) -> AccountState:
    """Return what nodes that several paths share prove of the state with this root, as `verify_state` does.

    Raises:
        VerificationFailed: They prove nothing of this state, or there are more of them than that takes.
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
    """A word that a storage trie has; 0 where it has none. anvil keeps words that are zero, which says the same."""
    if raw is None:
        return 0
    with _proving("storage"):
        return rlp.int_from(rlp.decode(raw), "word")


@contextlib.contextmanager
def _proving(what: str) -> Iterator[None]:
    """Bytes that a root stands for and that are not what must stand there prove nothing."""
    try:
        yield
    except FormError as error:
        raise VerificationFailed(f"{what}: {error}") from error


def _slot(record: Mapping[str, Any]) -> bytes:
    """A node writes a slot as it was asked for: as a number, or as 32 bytes."""
    key = record.get("key")
    number = int.from_bytes(key, "big") if isinstance(key, bytes) else key
    return number_in({"key": number}, "key", 256).to_bytes(32, "big")


def _nodes(record: Mapping[str, Any], name: str) -> tuple[bytes, ...]:
    nodes = tuple(bytes_in({name: node}, name) for node in list_in(record.get(name), name))
    return () if nodes == (b"\x80",) else nodes  # how some nodes write an empty trie; others give no nodes
