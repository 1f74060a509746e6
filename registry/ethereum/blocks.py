"""Fetching what proves logs and state, from a node that is not believed.

Every answer is checked against a hash, and everything hangs on one block hash that the caller trusts: a checkpoint, or
what a second node says. There is no default for it. Headers are fetched from that block back, each bound to its child
by its hash; receipts only of blocks whose bloom allows a log of ours.
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
"""Headers in one request; nodes cap how many."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A block that is trusted, or proved by one that is."""

    number: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class LogsVerified:
    """What was proved of a range's logs.

    Attributes:
        before: The block before the range. What ended in it was verified on this same chain if it ended in this hash.
        headers: Headers that were linked, from the trusted block down to the range's first.
        opened: Blocks of the range whose receipts were fetched and checked; blooms excluded the rest.
        logs: Logs of the contracts in the range.
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
    """Check that logs are those of these contracts in a range of blocks: none missing, invented or edited.

    Args:
        w3: A node to fetch proof from: the one that gave the logs, or another; neither is believed.
        logs: What `eth_getLogs` gave for the range and the contracts, in any order.
        addresses: The contracts.
        from_block: First block, from 1 on.
        to_block: Last block, inclusive.
        trusted: A block that is trusted, to_block or a later one.

    Raises:
        VerificationFailed: The logs, or what the node gave to prove them, do not agree with the trusted hash.
        NodeUnavailable: The node did not give what is needed.
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
    """Yield headers from a trusted block down to a number, each proved by the one before.

    Raises:
        VerificationFailed: One does not hash to what its child names as its parent.
        NodeUnavailable: The node does not give it.
    """
    top, expected = trusted.number, trusted.hash
    while top >= down_to:
        bottom = max(down_to, top - WINDOW + 1)
        headers = fetch_headers(w3, range(bottom, top + 1))
        require_linked(headers, expected)
        yield from reversed(headers)
        top, expected = bottom - 1, headers[0].parent_hash


def require_ancestor(w3: Web3, trusted: Checkpoint, expected: Checkpoint) -> None:
    """Check that a trusted block stands on another, or is it.

    Raises:
        VerificationFailed: It stands on another one of that number.
        NodeUnavailable: The node does not give the headers between them.
    """
    for header in linked_headers(w3, trusted, down_to=expected.number):
        found = header.hash
    if found != expected.hash:
        raise VerificationFailed(
            f"block {expected.number}: expected {expected.hash.hex()} under block {trusted.number}, got {found.hex()}"
        )


def require_block(second: Web3, expected: Checkpoint) -> None:
    """Check that a second node has a block, and so all before it: two blocks of one hash have the same ancestors.

    Compared is the hash that counts, not what the first node says when it is asked once more.

    Raises:
        VerificationFailed: It has another one there.
        NodeUnavailable: It does not give one.
    """
    (found,) = fetch_headers(second, [expected.number])
    if found.hash != expected.hash:
        raise VerificationFailed(
            f"block {expected.number}: expected {expected.hash.hex()} from both nodes, got {found.hash.hex()} from the "
            "second"
        )


def fetch_headers(w3: Web3, numbers: Sequence[int]) -> list[Header]:
    """Fetch headers by number. Each hashes to the hash it claims; whether that is to be trusted is another question.

    Raises:
        VerificationFailed: One does not.
        NodeUnavailable: The node does not give one.
    """
    with asking("eth_getBlockByNumber"):
        blocks = _blocks(w3, numbers)
    headers = [read_header(block) for block in blocks]
    if [header.number for header in headers] != list(numbers):
        raise NodeUnavailable("eth_getBlockByNumber: expected the blocks that were asked for, got others")
    return headers


def fetch_receipts(w3: Web3, header: Header) -> tuple[Receipt, ...]:
    """Fetch all receipts of a block, one by one where the node does not give them at once, and check them.

    Raises:
        VerificationFailed: They are not the block's receipts.
        NodeUnavailable: The node does not give them.
    """
    eth: Any = w3.eth
    block = f"0x{header.hash.hex()}"
    try:
        with asking("eth_getBlockReceipts"):
            answer = eth.get_block_receipts(block)
    except NodeRefused:
        with asking("eth_getTransactionReceipt"):
            answer = [eth.get_transaction_receipt(tx) for tx in eth.get_block(block)["transactions"]]
    receipts = read_receipts(answer)
    verify_receipts(header, receipts)
    return receipts


def fetch_state(
    w3: Web3, header: Header, address: Address, slots: Sequence[int] = ()
) -> tuple[StateProof, AccountState]:
    """Fetch an account and words of its storage after a block, with their proof, checked against its header.

    Raises:
        VerificationFailed: The proof does not agree with the header.
        NodeUnavailable: The node serves no proofs, or not of what was asked for.
    """
    words = [slot.to_bytes(32, "big") for slot in slots]
    with asking("eth_getProof"):
        eth: Any = w3.eth  # slots go as whole words: some nodes take no shorter ones
        answer = eth.get_proof(to_checksum(address), [f"0x{word.hex()}" for word in words], header.number)
    proof = read_state_proof(answer, address, words)
    return proof, verify_state(header.state_root, proof)


def _blocks(w3: Web3, numbers: Sequence[int]) -> list[Any]:
    """Blocks without their transactions: in one request, or one by one where the way to the node has no such."""
    provider: Any = w3.provider
    if hasattr(provider, "make_batch_request"):
        answers = provider.make_batch_request([("eth_getBlockByNumber", [hex(number), False]) for number in numbers])
        if isinstance(answers, list):
            for answer in answers:
                if "error" in answer:
                    raise NodeRefused(f"eth_getBlockByNumber: the node refused: {answer['error']!r:.300}")
            return [answer["result"] for answer in answers]
    return [w3.eth.get_block(number) for number in numbers]
