"""What a transaction pays for gas: a bid from the node's own figures, and the next bid when one does not do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from registry.ethereum.node import NodeRefused, asking, quantity

if TYPE_CHECKING:
    from web3 import Web3

__all__ = ["Fees", "block_gas", "outbid", "suggest_fees", "worth_outbidding"]

DEFAULT_PRIORITY = 10**9
"""1 gwei, where a node has no opinion."""
_HIGHEST_PRIORITY = 30 * 10**9
"""Of a first bid while the base fee is not higher, wei per gas: what the dearest networks ask for at least. The node's
figure is what was paid lately, so whoever fills blocks at a high price would else set what everybody pays."""
_MOST = 8
"""No bid is raised beyond so many times the priority fee of a first one, urgent or not."""


@dataclass(frozen=True, slots=True)
class Fees:
    """A bid, in wei per gas.

    Attributes:
        max_fee: The most that is paid in all (EIP-1559), or the gas price of a chain without a base fee.
        priority_fee: What of it goes to whoever makes the block.
        base_fee: Of the last block; None on a chain without one, where transactions are legacy ones.
    """

    max_fee: int
    priority_fee: int
    base_fee: int | None


def suggest_fees(w3: Web3) -> Fees:
    """Return a bid that stays valid while the base fee doubles (six full blocks in a row)."""
    with asking("eth_getBlockByNumber"):
        block: Any = w3.eth.get_block("latest")
    base = block.get("baseFeePerGas")
    if base is None:
        with asking("eth_gasPrice"):
            price: Any = w3.eth.gas_price
        price = quantity(price, "gasPrice")
        return Fees(max_fee=price, priority_fee=price, base_fee=None)
    base = quantity(base, "baseFeePerGas")
    priority: Any
    try:
        with asking("eth_maxPriorityFeePerGas"):
            priority = w3.eth.max_priority_fee
    except NodeRefused:
        priority = DEFAULT_PRIORITY
    priority = quantity(priority, "maxPriorityFeePerGas")
    priority = min(priority, max(base, _HIGHEST_PRIORITY))
    return Fees(max_fee=2 * base + priority, priority_fee=priority, base_fee=base)


def block_gas(w3: Web3) -> int:
    """Return how much gas the last block could take."""
    with asking("eth_getBlockByNumber"):
        block: Any = w3.eth.get_block("latest")
    return quantity(block["gasLimit"], "gasLimit")


def outbid(max_fee: int, priority_fee: int, wanted: Fees, *, urgent: bool = False) -> Fees:
    """Return a bid that nodes accept in place of an earlier one: an eighth more in both parts (a tenth is asked).

    Args:
        max_fee: Of the earlier bid.
        priority_fee: Likewise.
        wanted: What a first bid would be now.
        urgent: Whether to double the priority fee, as long as it is not eight times what is wanted: who wants to keep
            a transaction out of blocks has to pay as much for all that goes in before it.
    """
    priority = max(wanted.priority_fee, priority_fee + -(-priority_fee // 8), 1)
    if urgent:
        priority = max(priority, min(2 * priority_fee, _MOST * wanted.priority_fee))
    return Fees(
        max_fee=max(wanted.max_fee - wanted.priority_fee + priority, max_fee + -(-max_fee // 8)),
        priority_fee=priority,
        base_fee=wanted.base_fee,
    )


def worth_outbidding(max_fee: int, priority_fee: int, wanted: Fees) -> bool:
    """Whether a higher bid can help: not where this one would be mined before any usual one, yet is not."""
    return priority_fee < _MOST * wanted.priority_fee or max_fee < wanted.max_fee
