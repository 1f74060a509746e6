"""What a reader of anchors asks of a chain: of a contract through a node, or of proofs in a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from registry.chain.records import Plan, Round, Version
from registry.chain.views import Block
from registry.ethereum.positions import Event
from registry.types import Address, Digest, ModelId

__all__ = ["ChainView"]


class ChainView(Protocol):
    """The part of `Views` from which a lineage is read and verified; see there."""

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
