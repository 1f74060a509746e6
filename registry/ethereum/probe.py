"""Try a node: what it serves, what it lacks, and what that means for Cairn. Sends only reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from registry.errors import CairnError, NodeUnavailable, VerificationFailed
from registry.ethereum.blocks import WINDOW, fetch_headers, fetch_receipts, fetch_state
from registry.ethereum.fees import block_gas
from registry.ethereum.keys import address_of
from registry.ethereum.networks import final_block, finality_of, network_of
from registry.ethereum.node import NodeRefused, Patience, asking, latest_block, quantity

if TYPE_CHECKING:
    from web3 import Web3

__all__ = ["Probed", "probe"]

DEPLOYMENT_GAS = 5_000_000
"""Gas of the largest of the transactions that deploy the contracts, rounded up."""
_RANGES = (50_000, 10_000, 2_000, 500, 50, 1)
_OLD = 50_000
"""Blocks back that an auditor or a bundle of an older round may have to look."""
_RUSH = 20
"""Requests sent one after the other without a pause."""
_NOBODY = "0x000000000000000000000000000000000000dEaD"


@dataclass(frozen=True, slots=True)
class Probed:
    """What one request showed.

    Attributes:
        name: What was tried.
        good: Whether the node serves it; None if it lacks what only some commands need.
        said: What it served, or what its lack means.
    """

    name: str
    good: bool | None
    said: str


def probe(w3: Web3) -> Iterator[Probed]:
    """Try a node; yield what each part showed. A part that fails ends none of the others.

    Raises:
        NodeUnavailable: The node does not say its chain or its latest block.
    """
    with asking("eth_chainId"):
        chain_id = quantity(w3.eth.chain_id, "chainId")
    head = latest_block(w3)
    yield Probed("chain", True, f"{chain_id} ({network_of(chain_id).name}) at block {head}")
    parts: tuple[tuple[str, str, Callable[[Web3, int, int], Probed]], ...] = (
        ("finality", "no block is known to be final: name a number of confirmations by --finality", _finality),
        ("pending block", "the latest is read instead; phases change here a block later", _pending),
        ("batches", "requests go one by one, which is slower", _batches),
        ("logs", "no events can be read from it", _logs),
        ("receipts", "`verify --deep`, `index sync --verify` and bundles need another node", _receipts),
        ("state proofs", "bundles need another node", _proofs),
        (
            "old state",
            "old rounds' roles are not found; an archive node has them",
            _old_state,
        ),
        ("old receipts", "bundles of old rounds need another node", _old_receipts),
        ("block gas", "contracts cannot be deployed", _gas),
        ("rate", "commands wait", _rate),
    )
    for name, lack, look in parts:
        needed = name in ("finality", "logs", "block gas")
        try:
            yield look(w3, chain_id, head)
        except (CairnError, LookupError) as error:
            yield Probed(name, False if needed else None, f"{lack} ({error!s:.160})")


def _finality(w3: Web3, chain_id: int, head: int) -> Probed:
    policy = finality_of(w3, chain_id)
    final = final_block(w3, policy)
    return Probed("finality", True, f"{policy}: block {final}, {head - final} behind the latest")


def _pending(w3: Web3, chain_id: int, head: int) -> Probed:
    with asking("eth_getBlockByNumber"):
        w3.eth.get_block("pending")
    patience: Patience | None = getattr(w3.provider, "patience", None)
    if patience is not None and patience.no_pending:
        raise NodeUnavailable("it serves no pending block")
    return Probed("pending block", True, "served")


def _batches(w3: Web3, chain_id: int, head: int) -> Probed:
    numbers = range(max(head - WINDOW + 1, 0), head + 1)
    fetch_headers(w3, numbers)
    patience: Patience | None = getattr(w3.provider, "patience", None)
    if patience is not None and patience.no_batch:
        raise NodeUnavailable(f"it takes no batch of {len(numbers)} requests")
    return Probed("batches", True, f"{len(numbers)} requests in one")


def _logs(w3: Web3, chain_id: int, head: int) -> Probed:
    refused: NodeUnavailable | None = None
    for width in _RANGES:
        wanted: Any = {"address": _NOBODY, "fromBlock": max(head - width + 1, 0), "toBlock": head}
        try:
            with asking("eth_getLogs"):
                w3.eth.get_logs(wanted)
        except NodeRefused as error:
            refused = error
            continue
        cap = "" if refused is None else f"; more is refused, and read in parts ({refused!s:.120})"
        return Probed("logs", True, f"{min(width, head + 1)} blocks in one request{cap}")
    raise refused or NodeUnavailable("no range was tried")


def _receipts(w3: Web3, chain_id: int, head: int) -> Probed:
    (header,) = fetch_headers(w3, [head])
    return Probed("receipts", True, f"{len(fetch_receipts(w3, header))} of block {head}, as its header says")


def _proofs(w3: Web3, chain_id: int, head: int) -> Probed:
    (header,) = fetch_headers(w3, [head])
    fetch_state(w3, header, address_of(_NOBODY), [0])
    return Probed("state proofs", True, f"of block {head}, as its header says")


def _old_state(w3: Web3, chain_id: int, head: int) -> Probed:
    old = max(head - _OLD, 0)
    with asking("eth_getBalance"):
        w3.eth.get_balance(_NOBODY, old)  # type: ignore[arg-type]
    return Probed("old state", True, f"of block {old}")


def _old_receipts(w3: Web3, chain_id: int, head: int) -> Probed:
    (header,) = fetch_headers(w3, [max(head - _OLD, 0)])
    try:
        fetch_receipts(w3, header)
    except VerificationFailed as error:
        raise NodeUnavailable(f"it has not kept them all: {error}") from error
    return Probed("old receipts", True, f"of block {header.number}")


def _gas(w3: Web3, chain_id: int, head: int) -> Probed:
    most = block_gas(w3)
    if most < DEPLOYMENT_GAS:
        raise NodeUnavailable(f"a block takes {most} gas, the largest contract needs up to {DEPLOYMENT_GAS}")
    return Probed("block gas", True, f"{most:,} gas a block")


def _rate(w3: Web3, chain_id: int, head: int) -> Probed:
    patience: Patience | None = getattr(w3.provider, "patience", None)
    before, began = 0 if patience is None else sum(patience.waits.values()), time.monotonic()
    for _ in range(_RUSH):
        latest_block(w3)
    took = time.monotonic() - began
    waits = 0 if patience is None else sum(patience.waits.values()) - before
    if patience is not None and waits:
        why = patience.waits.most_common(1)[0][0]
        raise NodeUnavailable(f"{_RUSH} requests took {took:.1f} s, {waits} of them were repeated: {why}")
    return Probed("rate", True, f"{_RUSH} requests in {took:.1f} s, none refused")
