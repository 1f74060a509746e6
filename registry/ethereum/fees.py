"""Gas fees (EIP-1559): first bids from the node's fee estimates, and fee bumps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from registry.errors import TransactionFailed
from registry.ethereum.node import NodeRefused, asking, quantity

if TYPE_CHECKING:
    from web3 import Web3

__all__ = ["TRANSACTION_GAS", "Fees", "block_gas", "gas_limit", "outbid", "suggest_fees", "worth_outbidding"]

TRANSACTION_GAS = 1 << 24
"""Gas that one transaction may use at most (EIP-7825)."""
_ANY_BLOCK = 5_000_000
"""Gas limit that every network's block takes, so that its own is not asked for."""
DEFAULT_PRIORITY = 10**9
"""1 gwei, the default priority fee if the node suggests none."""
_HIGHEST_PRIORITY = 30 * 10**9
"""Cap on a first bid's priority fee while the base fee is not higher, wei per gas: the highest minimum of any network.
The node's suggestion follows recent blocks, so without a cap whoever fills blocks at high fees would set it."""
_MOST = 8
"""Cap on the priority fee of fee bumps, urgent or not, as a multiple of a first bid's."""


@dataclass(frozen=True, slots=True)
class Fees:
    """A fee bid, in wei per gas.

    Attributes:
        max_fee: maxFeePerGas (EIP-1559), or the gas price on a chain without a base fee.
        priority_fee: maxPriorityFeePerGas, the tip for the block producer.
        base_fee: Base fee of the last block; None on a chain without base fee, which takes legacy transactions.
    """

    max_fee: int
    priority_fee: int
    base_fee: int | None


def suggest_fees(w3: Web3) -> Fees:
    """Return a first bid, which remains valid until the base fee doubles (six consecutive full blocks)."""
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
    """Return the gas limit of the last block."""
    with asking("eth_getBlockByNumber"):
        block: Any = w3.eth.get_block("latest")
    return quantity(block["gasLimit"], "gasLimit")


def gas_limit(w3: Web3, gas: int) -> int:
    """Return the gas limit to ask for: a quarter above the estimate, but no more than fits into a block.

    Raises:
        TransactionFailed: The estimate alone exceeds what a block takes.
    """
    wanted = gas + gas // 4
    if wanted <= _ANY_BLOCK:
        return wanted
    most = min(block_gas(w3), TRANSACTION_GAS)
    if gas > most:
        raise TransactionFailed(f"expected a transaction of at most {most} gas, which a block takes, got one of {gas}")
    return min(wanted, most)


def outbid(max_fee: int, priority_fee: int, wanted: Fees, *, urgent: bool = False) -> Fees:
    """Return a fee bump that nodes accept as a replacement: both fees up by an eighth (nodes require a tenth).

    Args:
        max_fee: Of the earlier bid.
        priority_fee: Of the earlier bid.
        wanted: A first bid at current fees.
        urgent: Whether to double the priority fee, up to eight times the wanted one: a censor who keeps a transaction
            out of blocks must outbid it with every transaction that it includes instead.
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
    """Return whether a fee bump can help: not if the bid already exceeds usual bids and still is not mined."""
    return priority_fee < _MOST * wanted.priority_fee or max_fee < wanted.max_fee
