"""Calls, quotes, receipts and send settings, and simulation of a call by gas estimation."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from registry.chain.reverts import decode_error
from registry.errors import ContractError, NodeUnavailable, TransactionFailed
from registry.ethereum.fees import Fees
from registry.ethereum.keys import to_checksum
from registry.ethereum.node import NodeRefused, asking, quantity
from registry.ethereum.positions import Event
from registry.types import Address

if TYPE_CHECKING:
    from web3 import Web3

__all__ = ["Call", "Quote", "SentReceipt", "Sending", "Until", "simulate"]

E = TypeVar("E", bound=Event)

Until = Literal["mined", "final"]
"""Wait until the transaction is mined, or until its block is final."""


@dataclass(frozen=True, slots=True)
class Call:
    """An intended transaction.

    Attributes:
        to: The contract; None for a contract creation.
        data: Calldata, or creation code.
        key: Idempotency key, stable across crashes: the journal never sends two transactions for one live key.
        once: Whether a completed transaction with this key also counts. True for effects that are possible only once;
            False for calls that an account may repeat.
        value: Value, wei.
        gas: Gas to allow where the node runs the call but estimates nothing; None to wait for an estimate.
        shared: Whether another account's transaction has the same effect, so that one in the mempool postpones this.
    """

    to: Address | None
    data: bytes
    key: str
    once: bool = True
    value: int = 0
    gas: int | None = None
    shared: bool = False


@dataclass(frozen=True, slots=True)
class SentReceipt:
    """Receipt of a successful transaction. `gas_price` is the effective gas price, wei."""

    key: str
    tx_hash: bytes
    block_number: int
    block_hash: bytes
    gas_used: int
    gas_price: int
    contract: Address | None
    events: tuple[Event, ...]

    def event(self, kind: type[E]) -> E:
        """Return the only event of a kind that the transaction emitted.

        Raises:
            TransactionFailed: It emitted none, or several.
        """
        found = [event for event in self.events if isinstance(event, kind)]
        if len(found) != 1:
            raise TransactionFailed(f"{self.key}: expected one {kind.__name__} event, got {len(found)}")
        return found[0]


@dataclass(frozen=True, slots=True)
class Quote:
    """Cost estimate of a transaction. Fees are in wei per gas."""

    gas: int
    gas_limit: int
    fees: Fees
    balance: int

    @property
    def cost(self) -> int:
        """Expected cost in the next block, wei."""
        return self.gas * min(self.fees.max_fee, (self.fees.base_fee or 0) + self.fees.priority_fee)

    @property
    def max_cost(self) -> int:
        """Maximum cost, wei, which the account must hold."""
        return self.gas_limit * self.fees.max_fee


@dataclass(frozen=True, slots=True)
class Sending:
    """Settings for sending and following transactions.

    Attributes:
        poll: Polling interval, seconds; None for the network's default.
        timeout: Seconds after which waiting times out; the transaction remains pending.
        resend_after: Seconds after which an unmined transaction gets a fee bump.
        patience: Seconds without an answer from the node that are tolerated while waiting.
        max_fee_cap: Cap on the max fee, wei per gas.
        sleep: Sleep function.
        clock: Clock, Unix seconds.
    """

    poll: float | None = None
    timeout: float = 3600.0
    resend_after: float = 60.0
    patience: float = 30.0
    max_fee_cap: int | None = None
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.time


def simulate(w3: Web3, call: Call, sender: Address, *, yields: bool = False) -> int:
    """Simulate a call at the pending block, and at the latest where the two differ; return the higher gas estimate.

    A transaction in the mempool may never be mined, so it alone neither refuses a call nor lowers its gas. The pending
    block has the current time, and one's own pending transactions.

    Args:
        w3: The node.
        call: The call.
        sender: Its sender.
        yields: Whether a revert at the pending block alone counts.

    Raises:
        ContractError: The contract reverts at both blocks; the subclass is the custom error.
        NodeUnavailable: The node does not answer.
    """
    try:
        pending = _estimate(w3, call, sender, "pending")
    except (ContractError, NodeRefused) as refused:
        if yields:
            raise
        try:
            return _estimate(w3, call, sender, "latest")
        except (ContractError, NodeRefused):
            raise refused from None
    try:
        return max(pending, _estimate(w3, call, sender, "latest")) if _transactions_wait(w3) else pending
    except (ContractError, NodeRefused):
        return pending


def _transactions_wait(w3: Web3) -> bool:
    """Whether the pending block has transactions, or the node does not say."""
    try:
        with asking("eth_getBlockTransactionCountByNumber"):
            return w3.eth.get_block_transaction_count("pending") != 0
    except NodeUnavailable:
        return True


def _estimate(w3: Web3, call: Call, sender: Address, block: Literal["latest", "pending"]) -> int:
    request: dict[str, Any] = {"from": to_checksum(sender), "data": "0x" + call.data.hex(), "value": call.value}
    if call.to is not None:
        request["to"] = to_checksum(call.to)
    try:
        with asking("eth_estimateGas"):
            gas: Any = w3.eth.estimate_gas(request, block)  # type: ignore[arg-type]
        return quantity(gas, "gas")
    except NodeRefused as refused:
        # Some nodes return no revert data from eth_estimateGas; all do from eth_call.
        try:
            with asking("eth_call"):
                w3.eth.call(request, block, ccip_read_enabled=False)  # type: ignore[arg-type]
        except NodeRefused as reverted:
            if reverted.data is not None:
                raise decode_error(reverted.data) from refused
        else:
            if call.gas is not None:
                return call.gas
        raise
