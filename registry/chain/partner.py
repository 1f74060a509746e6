"""Base client of Cairn's partner contracts: views, events and journaled calls."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, TypeVar

from registry.chain.abi_values import plain
from registry.chain.client import Client
from registry.chain.contract_hashes import result_hash
from registry.chain.contract_structs import Target
from registry.chain.contracts import encode_call
from registry.chain.event_logs import read_events
from registry.chain.sending import Call, SentReceipt, Until
from registry.chain.views import Block, read_view
from registry.ethereum.positions import Event

__all__ = ["Partner"]


P = TypeVar("P", bound="Partner")


class Partner:
    """Client of a partner contract; writes if the Cairn client has a signer."""

    contract: ClassVar[str]

    def __init__(self, client: Client, *, send: Callable[[Call, Until], SentReceipt] | None = None) -> None:
        """Look up the partner contract.

        Args:
            client: Client of the Cairn.
            send: Function that sends calls; by default the client's.
        """
        self.client = client
        self._sender = send or client.send
        self.address = client.partners()[self.contract]

    def beside(self, kind: type[P]) -> P:
        """Return the client of another partner, which sends as this one does."""
        return kind(self.client, send=self._sender)

    def events(
        self,
        *kinds: type[Event],
        subject: bytes | None = None,
        from_block: int | None = None,
        to_block: int | None = None,
    ) -> Iterator[Event]:
        """Yield the contract's events in chain order; arguments as for `Views.events`."""
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
        """Return a call of a function, with its content as idempotency key while it is pending.

        The key of a call on a result includes its tally, since a void result may be attested, and demanded, anew.
        """
        data = encode_call(self.contract, name, [plain(argument) for argument in arguments])
        content = data + b"".join(self._tally(one) for one in arguments[:1] if isinstance(one, Target))
        key = f"{name}:{hashlib.sha256(content).hexdigest()[:32]}@{self.address.hex()}"
        return Call(to=self.address, data=data, key=key, once=False, value=value)

    def _tally(self, target: Target) -> bytes:
        return self.client.tally(target.model_id, target.number, result_hash(target.result))

    def _view(self, name: str, *arguments: Any, block: Block = "latest") -> tuple[Any, ...]:
        return read_view(self.client.w3, self.contract, self.address, name, *arguments, block=block)

    def _send(self, until: Until, name: str, *arguments: Any, value: int = 0) -> SentReceipt:
        return self._sender(self.call(name, *arguments, value=value), until)
