"""The graph of a model's versions, from the contract's events."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from registry.chain.contract_events import ModelRegistered, RoundFinalized, VersionDeprecated, VersionPublished
from registry.chain.contract_structs import Roots
from registry.errors import InputError, VerificationFailed
from registry.types import Digest, ModelId, Root

if TYPE_CHECKING:
    from registry.chain.anchors import ChainView

__all__ = ["VersionNode", "lineage", "versions_of"]


@dataclass(frozen=True, slots=True)
class VersionNode:
    """A version as anchored on chain.

    Attributes:
        parent: Digest of the parent; zero for a genesis.
        round: Number of the round that made it; 0 if its owner published it.
        block: Number of the block that anchored it.
        deprecated: Whether its owner has deprecated it.
    """

    model_id: ModelId
    digest: Digest
    parent: Digest
    roots: Roots
    round: int
    block: int
    deprecated: bool

    @property
    def tensor_root(self) -> Root:
        """The tensor root of its F32 values."""
        return self.roots.tensor


def versions_of(client: ChainView, model_id: ModelId, *, block: int | None = None) -> dict[Digest, VersionNode]:
    """Return every version of a model in the order of anchoring.

    Args:
        client: The chain.
        model_id: The model.
        block: State as of this block; the last final one by default.

    Raises:
        InputError: The model does not exist in that block.
    """
    steps: dict[Digest, VersionNode] = {}
    deprecated = set()
    kinds = (ModelRegistered, VersionPublished, VersionDeprecated, RoundFinalized)
    for event in client.events(*kinds, subject=model_id, to_block=block):
        number, parent = 0, Digest(bytes(32))
        match event:
            case ModelRegistered():
                digest, roots = event.genesis_digest, Roots(event.tensor_root, event.rest_root)
            case VersionPublished():
                digest, roots, parent = event.digest, Roots(event.tensor_root, event.rest_root), event.parent
            case RoundFinalized():
                digest, roots, parent, number = event.version_digest, event.roots, event.parent, event.number
            case VersionDeprecated():
                deprecated.add(event.digest)
                continue
            case _:
                continue
        steps[digest] = VersionNode(model_id, digest, parent, roots, number, event.at.block_number, False)
    if not steps:
        raise InputError(f"expected a model 0x{model_id.hex()} in a final block, found none")
    return {d: s if d not in deprecated else replace(s, deprecated=True) for d, s in steps.items()}


def lineage(client: ChainView, model_id: ModelId, digest: bytes, *, block: int | None = None) -> list[VersionNode]:
    """Return a version and its ancestors in the model, genesis first, as of a block (default: the last final one).

    Raises:
        InputError: The model has no such version.
        VerificationFailed: The node's events form a cycle.
    """
    steps = versions_of(client, model_id, block=block)
    found: list[VersionNode] = []
    at = Digest(digest)
    while True:
        if at not in steps:
            raise InputError(f"model 0x{model_id.hex()}: expected a version 0x{at.hex()}, found none")
        if len(found) == len(steps):
            raise VerificationFailed(f"model 0x{model_id.hex()}: the node's events make a version its own ancestor")
        found.append(steps[at])
        at = steps[at].parent
        if not any(at):
            return found[::-1]
