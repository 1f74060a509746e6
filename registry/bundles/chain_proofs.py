"""Serialized chain proofs: created from an untrusted node's answers, verified offline against block headers.

`*_proofs` fetch from a node and return verified proofs only. `read_*` decode a file's proofs and return what they prove
of the block with a given header; the caller decides whether to trust that block.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.content.proof_manifests import BlockProofManifest, StateProofManifest
from registry.errors import FormError, VerificationFailed
from registry.ethereum.block_transactions import Called, decode_called, fetch_transactions
from registry.ethereum.blocks import fetch_receipts, fetch_state
from registry.ethereum.headers import Header
from registry.ethereum.patricia import TrieNodes, index_key, prove
from registry.ethereum.proofs import AccountState, verify_shared_state
from registry.ethereum.receipts import Receipt, decode_receipt
from registry.types import Address

if TYPE_CHECKING:
    from web3 import Web3

__all__ = ["BlockFacts", "block_proofs", "read_block_proof", "read_state_proof", "state_proofs"]

_PART_BYTES = 1 << 19
"""Bytes of trie nodes in one manifest: half the limit, so that the last path added still fits."""
_PART_SLOTS = 64
"""Storage words per manifest and per request; nodes cap the number."""


@dataclass(frozen=True, slots=True)
class BlockFacts:
    """Proven receipts and calls of a block, by transaction index."""

    receipts: dict[int, Receipt]
    calls: dict[int, Called]


def block_proofs(
    w3: Web3, header: Header, logs: Iterable[int], called: Iterable[int] = ()
) -> Iterator[BlockProofManifest]:
    """Yield manifests that prove some of a block's logs and calls, leaving out a path too large for one manifest.

    Args:
        w3: The node.
        header: The block's header.
        logs: Indices of the logs in the block; each log's whole receipt is proved.
        called: Indices of the logs whose transaction is proved too.

    Raises:
        VerificationFailed: The node's answers do not match the header.
        NodeUnavailable: The node does not serve the block.
    """
    receipts = fetch_receipts(w3, header)
    holders = [index for index, receipt in enumerate(receipts) for _ in receipt.logs]
    if beyond := [index for index in (*logs, *called) if index >= len(holders)]:
        raise VerificationFailed(f"block {header.number}: expected {len(holders)} logs, got one at {beyond[0]}")
    trie = {index_key(at): receipt.encode() for at, receipt in enumerate(receipts)}
    for indices, nodes in _parts(trie, {holders[index] for index in logs}):
        yield BlockProofManifest(header.number, indices, nodes, (), ())
    if asked := {holders[index] for index in called}:
        trie = {index_key(at): raw for at, raw in enumerate(fetch_transactions(w3, header))}
        for indices, nodes in _parts(trie, asked):
            yield BlockProofManifest(header.number, (), (), indices, nodes)


def _parts(trie: dict[bytes, bytes], wanted: set[int]) -> Iterator[tuple[tuple[int, ...], tuple[bytes, ...]]]:
    """Yield indices with the trie nodes on their paths, in parts that each fit into a manifest."""
    indices: list[int] = []
    nodes: set[bytes] = set()
    for index in sorted(wanted):
        path = set(prove(trie, index_key(index)))
        if sum(map(len, path)) > _PART_BYTES:
            continue
        indices.append(index)
        nodes |= path
        if sum(map(len, nodes)) > _PART_BYTES - len(indices) * 8:
            yield tuple(indices), tuple(sorted(nodes))
            indices, nodes = [], set()
    if indices:
        yield tuple(indices), tuple(sorted(nodes))


def read_block_proof(header: Header, proof: BlockProofManifest) -> BlockFacts:
    """Return the receipts and calls that a manifest proves of the block with this header.

    Raises:
        VerificationFailed: A proof is invalid, of another block, or contains unused nodes.
    """
    _require_number(header, proof.number)
    receipts, calls = TrieNodes(proof.receipt_nodes), TrieNodes(proof.call_nodes)
    try:
        found = BlockFacts(
            {index: decode_receipt(_there(receipts, header.receipts_root, index)) for index in proof.receipts},
            {index: decode_called(_there(calls, header.transactions_root, index)) for index in proof.calls},
        )
    except FormError as error:
        raise VerificationFailed(f"block {header.number}: {error}") from error
    receipts.require_all_used()
    calls.require_all_used()
    return found


def _there(nodes: TrieNodes, root: bytes, index: int) -> bytes:
    value = nodes.value(root, index_key(index))
    if value is None:
        raise VerificationFailed(f"expected transaction {index}, got a proof that the block has none there")
    return value


def state_proofs(w3: Web3, header: Header, address: Address, slots: Sequence[int]) -> Iterator[StateProofManifest]:
    """Yield manifests that prove words of a contract's storage after a block.

    Raises:
        VerificationFailed: The node's proof does not match the header.
        NodeUnavailable: The node serves no proofs of that block.
    """
    ordered = sorted(set(slots))
    for at in range(0, len(ordered), _PART_SLOTS):
        some = ordered[at : at + _PART_SLOTS]
        proof, _ = fetch_state(w3, header, address, some)
        yield StateProofManifest(
            number=header.number,
            slots=tuple(slot.to_bytes(32, "big") for slot in some),
            account_nodes=tuple(sorted(set(proof.nodes))),
            storage_nodes=tuple(sorted({node for slot in proof.slots for node in slot.nodes})),
        )


def read_state_proof(header: Header, address: Address, proof: StateProofManifest) -> AccountState:
    """Return the account and storage words that a manifest proves of a contract after the block with this header.

    Raises:
        VerificationFailed: A proof is invalid, of another block or contract, or contains unused nodes.
    """
    _require_number(header, proof.number)
    account_nodes, storage_nodes = TrieNodes(proof.account_nodes), TrieNodes(proof.storage_nodes)
    return verify_shared_state(header.state_root, address, proof.slots, account_nodes, storage_nodes)


def _require_number(header: Header, number: int) -> None:
    if header.number != number:
        raise VerificationFailed(f"expected proof of block {header.number}, got one of block {number}")
