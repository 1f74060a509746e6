"""What the clients of Cairn's partners share: views, events, and calls that are journaled under what they say."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from registry.chain.client import Client
from registry.chain.contracts import encode_call
from registry.chain.events import Event, read_events
from registry.chain.records import plain
from registry.chain.sending import Call, SentReceipt, Until
from registry.chain.views import Block, read_view

__all__ = ["Partner"]


class Partner:
    """A contract that belongs to a Cairn, to read and, with the client's signer, to write."""

    contract: ClassVar[str]

    def __init__(self, client: Client, *, send: Callable[[Call, Until], SentReceipt] | None = None) -> None:
        """Find the contract.

        Args:
            client: A Cairn's.
            send: What sends for it; by default the client.
        """
        self.client = client
        self._sender = send or client.send
        self.address = client.partners()[self.contract]

    def events(
        self,
        *kinds: type[Event],
        subject: bytes | None = None,
        from_block: int | None = None,
        to_block: int | None = None,
    ) -> Iterator[Event]:
        """Yield the contract's events in order; arguments as `Views.events` has them."""
        client = self.client
        return read_events(
            client.w3,
            self.address,
            from_block=client.deployed_at if from_block is None else from_block,
            to_block=client.final_block() if to_block is None else to_block,
            kinds=kinds,
            subject=subject,
            span=client.span,
        )

    def call(self, name: str, *arguments: Any, value: int = 0) -> Call:
        """Return a call of a function, journaled under what it says: it counts once while it is on its way."""
        data = encode_call(self.contract, name, [plain(argument) for argument in arguments])
        key = f"{name}:{hashlib.sha256(data).hexdigest()[:32]}@{self.address.hex()}"
        return Call(to=self.address, data=data, key=key, once=False, value=value)

    def _view(self, name: str, *arguments: Any, block: Block = "latest") -> tuple[Any, ...]:
        return read_view(self.client.w3, self.contract, self.address, name, *arguments, block=block)

    def _send(self, until: Until, name: str, *arguments: Any, value: int = 0) -> SentReceipt:
        return self._sender(self.call(name, *arguments, value=value), until)
