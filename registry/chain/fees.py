"""What a transaction pays for gas: a bid from the node's own figures, and the next bid when one does not do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from registry.chain.node import NodeRefused, asking, quantity

if TYPE_CHECKING:
    from web3 import Web3

__all__ = ["Fees", "outbid", "suggest_fees"]

DEFAULT_PRIORITY = 10**9
"""1 gwei, where a node has no opinion."""


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
    return Fees(max_fee=2 * base + priority, priority_fee=priority, base_fee=base)


def outbid(max_fee: int, priority_fee: int, wanted: Fees) -> Fees:
    """Return a bid that nodes accept in place of an earlier one: an eighth more in both parts (a tenth is asked)."""
    return Fees(
        max_fee=max(wanted.max_fee, max_fee + -(-max_fee // 8)),
        priority_fee=max(wanted.priority_fee, priority_fee + -(-priority_fee // 8), 1),
        base_fee=wanted.base_fee,
    )
