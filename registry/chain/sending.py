"""What goes into sending and comes out of it: calls, quotes, receipts, and simulation, which sends nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from registry.chain.reverts import decode_error
from registry.errors import TransactionFailed
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
"""How long to wait: for a block, or for a block that stays."""


@dataclass(frozen=True, slots=True)
class Call:
    """An effect wanted on the chain.

    Attributes:
        to: The contract; None creates one.
        data: Call data, or creation code.
        key: What it is for, the same after a crash: the journal never sends two transactions for one live key.
        once: Whether an earlier, finished transaction under this key answers for it too. True for what can happen
            only once anyway; False for what an account may rightly repeat.
        value: Wei sent along.
    """

    to: Address | None
    data: bytes
    key: str
    once: bool = True
    value: int = 0


@dataclass(frozen=True, slots=True)
class SentReceipt:
    """A transaction that was carried out. `gas_price` is wei per gas, as paid."""

    key: str
    tx_hash: bytes
    block_number: int
    block_hash: bytes
    gas_used: int
    gas_price: int
    contract: Address | None
    events: tuple[Event, ...]

    def event(self, kind: type[E]) -> E:
        """Return the one event of a kind that the transaction emitted.

        Raises:
            TransactionFailed: It emitted none, or several.
        """
        found = [event for event in self.events if isinstance(event, kind)]
        if len(found) != 1:
            raise TransactionFailed(f"{self.key}: expected one {kind.__name__} event, got {len(found)}")
        return found[0]


@dataclass(frozen=True, slots=True)
class Quote:
    """What a transaction would cost, found without sending it. Fees are wei per gas."""

    gas: int
    gas_limit: int
    fees: Fees
    balance: int

    @property
    def cost(self) -> int:
        """Wei that it would cost in the next block."""
        return self.gas * min(self.fees.max_fee, (self.fees.base_fee or 0) + self.fees.priority_fee)

    @property
    def max_cost(self) -> int:
        """Wei that the account must hold."""
        return self.gas_limit * self.fees.max_fee


@dataclass(frozen=True, slots=True)
class Sending:
    """How transactions are sent and followed.

    Attributes:
        poll: Seconds between two looks at the chain; None for the network's own.
        timeout: Seconds after which waiting gives up; the transaction does not.
        resend_after: Seconds after which one that is not mined is replaced by a higher bid.
        patience: Seconds without an answer from the node that are borne while waiting.
        max_fee_cap: Never bid more than this, wei per gas.
        sleep: How waiting is done.
        clock: What time it is, in Unix seconds.
    """

    poll: float | None = None
    timeout: float = 3600.0
    resend_after: float = 60.0
    patience: float = 30.0
    max_fee_cap: int | None = None
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.time


def simulate(w3: Web3, call: Call, sender: Address) -> int:
    """Run a call at the pending block and return the gas it takes.

    Raises:
        ContractError: The contract refuses it; the subclass says why.
        NodeUnavailable: The node does not answer.
    """
    request: dict[str, Any] = {"from": to_checksum(sender), "data": "0x" + call.data.hex(), "value": call.value}
    if call.to is not None:
        request["to"] = to_checksum(call.to)
    try:
        with asking("eth_estimateGas"):
            gas: Any = w3.eth.estimate_gas(request, "pending")  # type: ignore[arg-type]
        return quantity(gas, "gas")
    except NodeRefused as refused:
        # Some nodes give no revert data with an estimate; a call has them on all.
        try:
            with asking("eth_call"):
                w3.eth.call(request, "pending", ccip_read_enabled=False)  # type: ignore[arg-type]
        except NodeRefused as reverted:
            if reverted.data is not None:
                raise decode_error(reverted.data) from refused
        raise
