"""Interface to read on-chain anchors, implemented by a contract client and by offline proofs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from registry.chain.contract_structs import Plan, Round, Version
from registry.chain.views import Block
from registry.ethereum.positions import Event
from registry.types import Address, Digest, ModelId

__all__ = ["ChainView"]


class ChainView(Protocol):
    """The methods of `Views` that reading and verifying a lineage needs; see there."""

    @property
    def chain_id(self) -> int: ...

    @property
    def address(self) -> Address: ...

    def final_block(self) -> int: ...

    def latest_block(self) -> int: ...

    def round_began(self, model: ModelId, number: int) -> int: ...

    def events(
        self,
        *kinds: type[Event],
        subject: bytes | None = None,
        from_block: int | None = None,
        to_block: int | None = None,
    ) -> Iterator[Event]: ...

    def version(self, model: ModelId, digest: Digest, *, block: Block = "latest") -> Version: ...

    def plan(self, model: ModelId, index: int, *, block: Block = "latest") -> Plan: ...

    def round(self, model: ModelId, number: int, *, block: Block = "latest") -> Round: ...
