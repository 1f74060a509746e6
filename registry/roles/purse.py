"""An auditor's spending limit: reservations in a file before each transaction, settled by receipts.

A *booking* reserves the highest price of one call, deposit included. It belongs to the journal's first intent with the
call's key after a given intent. So a crash between booking, planning and settling neither loses nor repeats it. Once
the intent is mined the booking takes the price of its receipt, less what the receipt says was withdrawn; once that is
final the price is added to the amount spent.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from registry.chain.client import Client
from registry.chain.contract_events import Withdrawn
from registry.chain.journal import Intent, IntentState
from registry.chain.sending import Call, SentReceipt, Until
from registry.durable import write_whole
from registry.errors import CairnError, ContractError, InputError, NodeUnavailable, TransactionRefused

__all__ = ["LimitReached", "Purse", "spent_of"]


class LimitReached(InputError):
    """A transaction would exceed the spending limit."""


@dataclass(frozen=True, slots=True)
class _Booking:
    """The reserved price of one call, wei.

    It belongs to the journal's first intent with `key` after intent `after`; `block` is that of the receipt read.
    """

    key: str
    after: int
    price: int
    block: str = ""


@dataclass(frozen=True, slots=True)
class _Account:
    """The contents of a purse's file."""

    settled: int
    bookings: tuple[_Booking, ...]

    @property
    def spent(self) -> int:
        return self.settled + sum(booking.price for booking in self.bookings)


class Purse:
    """A spending limit, kept in a file: each transaction is booked before it is sent.

    Thread-safe within one process.
    """

    def __init__(self, client: Client, path: Path, limit: int) -> None:
        """Open a purse.

        Args:
            client: The sender.
            path: The file; created by the first payment.
            limit: Most wei to spend in all, outstanding deposits included.
        """
        self._client, self._path, self._limit = client, path, limit
        self._lock = threading.Lock()
        self._sending: list[_Booking] = []
        """Bookings of threads that are still sending: their intents may not be planned yet."""

    @property
    def spent(self) -> int:
        """Wei spent so far and not returned, bookings included."""
        return spent_of(self._path)

    def send(self, call: Call, until: Until = "mined", *, spare_gas: int = 0, back: int = 0) -> SentReceipt:
        """Send a call if its price is within the limit. A pending call is not booked again.

        Args:
            call: What to send.
            until: How long to wait.
            spare_gas: Gas of later calls that must stay within the limit too.
            back: Wei that the call pays back: one that earns more than it costs is within any limit.

        Raises:
            LimitReached: The price exceeds the limit.
        """
        booking, _ = self._reserve(call, spare_gas, -back)
        # A pending call is not sent again: it would be a second one if the first is mined meanwhile.
        follow = self._client.wait if booking is None else self._client.send
        try:
            return follow(call, until)
        finally:
            self._settle(booking)

    def submit(self, call: Call, *, reserve: int = 0) -> None:
        """Send a call as `send`, but do not wait: the journal resends it, and a later booking settles its price.

        Args:
            call: What to send.
            reserve: Wei that must stay within the limit for what is more urgent.

        Raises:
            LimitReached: The price exceeds what the limit leaves.
        """
        booking, _ = self._reserve(call, 0, reserve)
        if booking is not None:
            try:
                self._client.submit(call)
            finally:
                self._settle(booking)

    def send_all(self, calls: Iterable[Call], *, together: int, spare_gas: int = 0) -> dict[str, CairnError]:
        """Send independent calls in this order, and wait until all are mined.

        Args:
            calls: What to send. Each is taken from the iterable only when sent, so its value may follow the fees.
            together: Gas. Once this much is pending, wait until it is mined.
            spare_gas: As for `send`, for each call.

        Returns:
            Errors of the calls that contract or node refused, by key; the others are sent all the same.

        Raises:
            LimitReached, NotEnoughMoney: At this call; the earlier ones are mined.
        """
        gas, refused = 0, dict[str, CairnError]()
        waiting: list[tuple[Call, _Booking | None]] = []
        try:
            for call in calls:
                try:
                    gas += self._submit(call, spare_gas, waiting)
                except (ContractError, TransactionRefused) as error:
                    refused[call.key] = error
                if gas >= together:
                    self._wait_for(waiting, refused)
                    gas = 0
        finally:
            self._wait_for(waiting, refused)
        return refused

    def _submit(self, call: Call, spare_gas: int, waiting: list[tuple[Call, _Booking | None]]) -> int:
        """Send a call unless it is pending; return its gas limit."""
        booking, gas = self._reserve(call, spare_gas)
        if booking is not None:
            try:
                self._client.submit(call)
            except BaseException:
                self._settle(booking)
                raise
        waiting.append((call, booking))
        return gas

    def _wait_for(self, waiting: list[tuple[Call, _Booking | None]], refused: dict[str, CairnError]) -> None:
        """Wait for pending calls, then settle their bookings together: settling looks at all that is booked."""
        if not waiting:
            return
        try:
            for call, _ in waiting:
                try:
                    self._client.wait(call, "mined")
                except (ContractError, TransactionRefused) as error:
                    refused[call.key] = error
        finally:
            self._settle(*(booking for _, booking in waiting))
            waiting.clear()

    def _on_its_way(self, call: Call) -> Intent | None:
        known = self._client.transactor.journal.on_its_way(call.key)
        if known is None or (known.recipient, known.data, known.value) != (call.to, call.data, call.value):
            return None
        return known

    def _reserve(self, call: Call, spare_gas: int, reserve: int = 0) -> tuple[_Booking | None, int]:
        """Book a call; return the booking, None if the call is pending, and the call's gas."""
        known = self._on_its_way(call)
        if known is None:
            return self._book(call, spare_gas, reserve)
        self._book_signed(known)
        return None, known.gas or 0

    def _book_signed(self, intent: Intent) -> None:
        """Book a pending intent unless it is booked."""
        with self._lock:
            account = _read(self._path)
            if all(self._number(booking) != intent.number for booking in account.bookings):
                made = self._priced(_Booking(intent.key, intent.number - 1, 0))
                self._write(replace(account, bookings=(*account.bookings, made)))

    def _number(self, booking: _Booking) -> int:
        """Return the number of a booking's intent; 0 while it has none."""
        intent = self._intent(booking)
        return 0 if intent is None else intent.number

    def _intent(self, booking: _Booking) -> Intent | None:
        return self._client.transactor.journal.first_after(booking.after, booking.key)

    def _book(self, call: Call, spare_gas: int, reserve: int) -> tuple[_Booking, int]:
        """Settle earlier bookings, then book the highest price of a call; return the booking and the call's gas."""
        quote = self._client.quote(call)
        spare = spare_gas * quote.fees.max_fee + reserve
        with self._lock:
            account = self._settled(_read(self._path))
            known = self._client.transactor.journal.latest(call.key)
            last = 0 if known is None else known.number - known.state.live
            made = _Booking(call.key, last, quote.max_cost + call.value)
            # An intent that a crash left planned is the one sent now, so its earlier booking is replaced.
            others = tuple(
                b for b in account.bookings if b.key != call.key or 0 < self._number(b) != self._number(made)
            )
            before = replace(account, bookings=others).spent
            if before + made.price + spare > self._limit:
                raise LimitReached(
                    f"expected to spend at most {self._limit} wei, got {before} spent and {made.price} to pay"
                    + (f", {spare} reserved for a conviction" if spare > 0 else "")
                    + ": nothing is sent"
                )
            self._write(_Account(account.settled, (*others, made)))
            self._sending.append(made)
        return made, quote.gas

    def _settle(self, *sent: _Booking | None) -> None:
        """Settle bookings after a thread has finished sending these; None stands for a call that was pending."""
        with self._lock:
            for booking in filter(None, sent):
                self._sending.remove(booking)
            before = _read(self._path)
            after = self._settled(before)
            if after != before:
                self._write(after)

    def _settled(self, account: _Account) -> _Account:
        """Return an account with its bookings settled by journal and receipts."""
        settled, left = account.settled, list[_Booking]()
        for place, booking in enumerate(account.bookings):
            try:
                now = self._priced(booking)
            except NodeUnavailable:  # unchanged until the node answers
                left += account.bookings[place:]
                break
            intent = self._intent(booking)
            over = intent is not None and not intent.state.live
            if intent is not None and over and (intent.block_hash is None or now.block):
                settled += now.price
            elif intent is not None or booking in self._sending:
                left.append(now)
        return _Account(settled, tuple(left))

    def _priced(self, booking: _Booking) -> _Booking:
        """Return a booking at its intent's price: as paid if mined, else the highest bid."""
        intent = self._intent(booking)
        if intent is None or intent.state is IntentState.PLANNED:
            return booking
        if intent.block_hash is None:
            if not intent.state.live:
                return replace(booking, price=0)  # abandoned, so never sent
            most = max((attempt.max_fee for attempt in intent.attempts), default=0)
            return replace(booking, price=max(booking.price, (intent.gas or 0) * most + intent.value), block="")
        if booking.block == intent.block_hash.hex():
            return booking
        paid = self._client.transactor.paid(intent)
        if paid is None:
            return booking
        cost, events = paid
        back = sum(e.amount for e in events if isinstance(e, Withdrawn) and e.to == self._client.account)
        return replace(booking, price=cost - back, block=intent.block_hash.hex())

    def _write(self, account: _Account) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        entries: dict[str, Any] = {"spent": account.settled}
        if account.bookings:
            entries["booked"] = [[b.key, b.after, b.price, b.block] for b in account.bookings]
        write_whole(self._path, json.dumps(entries).encode())


def spent_of(path: Path) -> int:
    """Return the wei spent by a purse's file, bookings included; 0 without a file.

    Raises:
        InputError: The file is malformed.
    """
    return _read(path).spent


def _read(path: Path) -> _Account:
    try:
        said = json.loads(path.read_text())
        bookings = (_Booking(str(k), int(after), int(price), str(block)) for k, after, price, block in _booked(said))
        return _Account(int(said["spent"]), tuple(bookings))
    except FileNotFoundError:
        return _Account(0, ())
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: expected what was spent so far, got something else") from error


def _booked(said: Any) -> list[Any]:
    """Return the bookings; none in a file of the first format."""
    return list(said.get("booked", [])) if isinstance(said, dict) else []
