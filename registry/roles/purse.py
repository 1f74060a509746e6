"""The money that an auditor may spend: counted in a file before it is sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from pathlib import Path

from registry.chain.client import Client
from registry.chain.sending import Call, SentReceipt, Until
from registry.durable import write_whole
from registry.errors import ContractError, InputError, NotEnoughMoney

__all__ = ["LimitReached", "Purse", "spent_of"]


class LimitReached(InputError):
    """A transaction would cost more than may still be spent."""


class Purse:
    """What an auditor may still spend, kept in a file: what is about to be sent is written down before it is sent.

    May be used from several threads, of one process.
    """

    def __init__(self, client: Client, path: Path, limit: int) -> None:
        """Open a purse.

        Args:
            client: Who sends.
            path: The file; made at the first payment.
            limit: Wei that may be spent in all, deposits that are out included.
        """
        self._client, self._path, self._limit = client, path, limit
        self._lock = threading.Lock()

    @property
    def spent(self) -> int:
        """Wei spent so far, and not come back."""
        return spent_of(self._path)

    def send(self, call: Call, until: Until = "mined", *, spare_gas: int = 0) -> SentReceipt:
        """Send a call if its price is within the limit.

        Args:
            call: What to send.
            until: How long to wait.
            spare_gas: What must be within the limit beside it, because it is to follow.

        Raises:
            LimitReached: It is not.
        """
        _, price = self._reserve(call, spare_gas)
        try:
            receipt = self._client.send(call, until)
        except NotEnoughMoney:
            self.give_back(price)  # nothing was sent
            raise
        self.give_back(price - receipt.gas_used * receipt.gas_price - call.value)
        return receipt

    def send_all(self, calls: Iterable[Call], *, together: int, spare_gas: int = 0) -> None:
        """Send calls that need not wait for one another, in this order, and wait until all of them stand in blocks.

        Args:
            calls: What to send. Each is taken when it is its turn, so its value may follow the fees.
            together: Gas. Once so much is on its way what follows waits until it is mined.
            spare_gas: As `send` has it, beside each.

        Raises:
            LimitReached, NotEnoughMoney: So far and no further; what came before is mined.
            ContractError: The contract refuses one, which keeps no other back; the first such error.
        """
        gas, refused = 0, list[ContractError]()
        waiting: list[tuple[Call, int]] = []
        try:
            for call in calls:
                try:
                    gas += self._submit(call, spare_gas, waiting)
                except ContractError as error:
                    refused.append(error)
                if gas >= together:
                    self._settle(waiting, refused)
                    gas = 0
        finally:
            self._settle(waiting, refused)
        if refused:
            raise refused[0]

    def _submit(self, call: Call, spare_gas: int, waiting: list[tuple[Call, int]]) -> int:
        """Get a call on its way; return the gas that it may take."""
        gas, price = self._reserve(call, spare_gas)
        try:
            self._client.submit(call)
        except (NotEnoughMoney, ContractError):
            self.give_back(price)  # nothing was sent
            raise
        waiting.append((call, price))
        return gas

    def _settle(self, waiting: list[tuple[Call, int]], refused: list[ContractError]) -> None:
        """Wait for what is on its way, and count what it has cost."""
        while waiting:
            call, price = waiting.pop(0)
            try:
                receipt = self._client.wait(call, "mined")
            except ContractError as error:
                self.give_back(call.value)  # a call that is reverted takes gas alone
                refused.append(error)
                continue
            self.give_back(price - receipt.gas_used * receipt.gas_price - call.value)

    def _reserve(self, call: Call, spare_gas: int) -> tuple[int, int]:
        """Count what a call may cost before it is sent; return its gas and that price."""
        quote = self._client.quote(call)
        price, spare = quote.max_cost + call.value, spare_gas * quote.fees.max_fee
        with self._lock:
            before = self.spent
            if before + price + spare > self._limit:
                raise LimitReached(
                    f"expected to spend at most {self._limit} wei, got {before} spent and {price} to pay"
                    + (f", {spare} to keep for a conviction" if spare else "")
                    + ": nothing is sent"
                )
            self._write(before + price)
        return quote.gas, price

    def give_back(self, amount: int) -> None:
        """Count what came back, or was not spent after all: deposits that were not earned, rewards."""
        with self._lock:
            self._write(self.spent - amount)

    def _write(self, spent: int) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self._path, json.dumps({"spent": spent}).encode())


def spent_of(path: Path) -> int:
    """Return what a purse's file says was spent, wei; 0 if there is none.

    Raises:
        InputError: It says something else.
    """
    try:
        return int(json.loads(path.read_text())["spent"])
    except FileNotFoundError:
        return 0
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: expected what was spent so far, got something else") from error
