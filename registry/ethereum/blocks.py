"""Light client: fetches and verifies headers, receipts, logs and storage proofs from an untrusted node.

Every answer is verified against a hash. The root of trust is one block hash from the caller: a checkpoint, or a second
node's block. It has no default. Headers are fetched backwards from that block, each verified by its child's parent
hash; receipts are fetched only for blocks whose bloom may contain a relevant log.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from registry.errors import InputError, NodeUnavailable, VerificationFailed
from registry.ethereum.headers import Header, read_header, require_linked
from registry.ethereum.keys import to_checksum
from registry.ethereum.logs import PlacedLog, may_log, require_logs
from registry.ethereum.node import NodeRefused, asking
from registry.ethereum.proofs import AccountState, StateProof, read_state_proof, verify_state
from registry.ethereum.receipts import Receipt, read_receipts, verify_receipts
from registry.types import Address

if TYPE_CHECKING:
    from web3 import Web3

__all__ = [
    "WINDOW",
    "Checkpoint",
    "LogsVerified",
    "fetch_headers",
    "fetch_receipts",
    "fetch_state",
    "linked_headers",
    "require_ancestor",
    "require_block",
    "verify_logs",
]

WINDOW = 100
"""Headers per batch request; nodes cap the number."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A trusted block, or one proved by a trusted block."""

    number: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class LogsVerified:
    """Result of a verification of logs.

    Attributes:
        before: Parent of the range's first block. An earlier verified range is on the same chain iff it ended in it.
        headers: Number of headers verified, from the trusted block down to the first of the range.
        opened: Number of blocks whose receipts were fetched and verified; blooms excluded the rest.
        logs: Number of logs of the contracts in the range.
    """

    before: Checkpoint
    headers: int
    opened: int
    logs: int


def verify_logs(
    w3: Web3,
    logs: Sequence[PlacedLog],
    addresses: Collection[Address],
    *,
    from_block: int,
    to_block: int,
    trusted: Checkpoint,
) -> LogsVerified:
    """Verify that logs are exactly those of these contracts in a range of blocks: none missing, invented or edited.

    Args:
        w3: Untrusted node to fetch proofs from: the one that served the logs, or another.
        logs: Logs from `eth_getLogs` for the range and the contracts, in any order.
        addresses: The contracts.
        from_block: First block, from 1 on.
        to_block: Last block, inclusive.
        trusted: A trusted block, to_block or a later one.

    Raises:
        VerificationFailed: The logs or their proofs do not match the trusted hash.
        NodeUnavailable: The node did not serve the proofs.
    """
    if not 1 <= from_block <= to_block <= trusted.number:
        raise InputError(f"expected blocks 1 to {trusted.number}, the trusted one, got {from_block} to {to_block}")
    by_block: dict[int, list[PlacedLog]] = {}
    for log in logs:
        by_block.setdefault(log.at.block_number, []).append(log)
    if stray := sorted(number for number in by_block if not from_block <= number <= to_block):
        raise VerificationFailed(f"expected logs of blocks {from_block} to {to_block}, got one of block {stray[0]}")
    opened, before = 0, trusted
    for header in linked_headers(w3, trusted, down_to=from_block):
        before = Checkpoint(header.number - 1, header.parent_hash)
        if header.number > to_block:
            continue
        receipts: tuple[Receipt, ...] = ()
        if may_log(header, addresses):
            receipts = fetch_receipts(w3, header)
            opened += 1
        require_logs(header, receipts, by_block.get(header.number, ()), addresses)
    return LogsVerified(before=before, headers=trusted.number - before.number, opened=opened, logs=len(logs))


def linked_headers(w3: Web3, trusted: Checkpoint, *, down_to: int) -> Iterator[Header]:
    """Yield headers from a trusted block down to a number, each verified by its child's parent hash.

    Raises:
        VerificationFailed: A header does not hash to its child's parent hash.
        NodeUnavailable: The node does not serve a header.
    """
    top, expected = trusted.number, trusted.hash
    while top >= down_to:
        bottom = max(down_to, top - WINDOW + 1)
        headers = fetch_headers(w3, range(bottom, top + 1))
        require_linked(headers, expected)
        yield from reversed(headers)
        top, expected = bottom - 1, headers[0].parent_hash


def require_ancestor(w3: Web3, trusted: Checkpoint, expected: Checkpoint) -> None:
    """Verify that the expected block is the trusted block or one of its ancestors.

    Raises:
        VerificationFailed: The trusted block has another ancestor of that number.
        NodeUnavailable: The node does not serve the headers between them.
    """
    for header in linked_headers(w3, trusted, down_to=expected.number):
        found = header.hash
    if found != expected.hash:
        raise VerificationFailed(
            f"block {expected.number}: expected {expected.hash.hex()} under block {trusted.number}, got {found.hex()}"
        )


def require_block(second: Web3, expected: Checkpoint) -> None:
    """Check that a second node has a block, and so all its ancestors, which the hash commits to.

    The comparison uses the expected hash itself and does not query the first node again.

    Raises:
        VerificationFailed: The second node has another block of that number.
        NodeUnavailable: The second node does not serve the block.
    """
    (found,) = fetch_headers(second, [expected.number])
    if found.hash != expected.hash:
        raise VerificationFailed(
            f"block {expected.number}: expected {expected.hash.hex()} from both nodes, got {found.hash.hex()} from the "
            "second"
        )


def fetch_headers(w3: Web3, numbers: Sequence[int]) -> list[Header]:
    """Fetch headers by number and check that each hashes to its claimed hash, which remains untrusted.

    Raises:
        VerificationFailed: A header does not hash to its claimed hash.
        NodeUnavailable: The node does not serve a header.
    """
    with asking("eth_getBlockByNumber"):
        blocks = _blocks(w3, numbers)
    headers = [read_header(block) for block in blocks]
    if [header.number for header in headers] != list(numbers):
        raise NodeUnavailable("eth_getBlockByNumber: expected the blocks that were asked for, got others")
    return headers


def fetch_receipts(w3: Web3, header: Header) -> tuple[Receipt, ...]:
    """Fetch all receipts of a block and verify them; one by one if the node lacks `eth_getBlockReceipts`.

    Raises:
        VerificationFailed: They are not the block's receipts.
        NodeUnavailable: The node does not serve them.
    """
    from web3.exceptions import BlockNotFound

    eth: Any = w3.eth
    block = f"0x{header.hash.hex()}"
    try:
        with asking("eth_getBlockReceipts"):
            try:
                answer = eth.get_block_receipts(block)
            except BlockNotFound:
                answer = None
    except NodeRefused:
        with asking("eth_getTransactionReceipt"):
            answer = [eth.get_transaction_receipt(tx) for tx in eth.get_block(block)["transactions"]]
    if answer is None:
        raise NodeUnavailable(
            f"eth_getBlockReceipts: the node has no receipts of block {header.number}; it may have pruned them: name a "
            "node that keeps them, such as an archive node"
        )
    receipts = read_receipts(answer)
    verify_receipts(header, receipts)
    return receipts


def fetch_state(
    w3: Web3, header: Header, address: Address, slots: Sequence[int] = ()
) -> tuple[StateProof, AccountState]:
    """Fetch an account and storage words after a block, with a storage proof verified against its state root.

    Raises:
        VerificationFailed: The proof does not match the header.
        NodeUnavailable: The node serves no proofs, or one of something else.
    """
    words = [slot.to_bytes(32, "big") for slot in slots]
    with asking("eth_getProof"):
        eth: Any = w3.eth  # send slots as 32-byte words: some nodes reject shorter ones
        answer = eth.get_proof(to_checksum(address), [f"0x{word.hex()}" for word in words], header.number)
    proof = read_state_proof(answer, address, words)
    return proof, verify_state(header.state_root, proof)


def _blocks(w3: Web3, numbers: Sequence[int]) -> list[Any]:
    """Fetch blocks without transactions: in one batch, or one by one if the provider has no batches."""
    provider: Any = w3.provider
    if hasattr(provider, "make_batch_request"):
        answers = provider.make_batch_request([("eth_getBlockByNumber", [hex(number), False]) for number in numbers])
        if isinstance(answers, list):
            for answer in answers:
                if "error" in answer:
                    raise NodeRefused(f"eth_getBlockByNumber: the node refused: {answer['error']!r:.300}")
            return [answer["result"] for answer in answers]
    return [w3.eth.get_block(number) for number in numbers]
