"""The graph that chain and manifests draw: versions, the rounds that made them, who contributed and who was refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from registry.chain.events import (
    ModelRegistered,
    RoundFinalized,
    UpdateCommitted,
    VersionDeprecated,
    VersionPublished,
)
from registry.chain.records import Roots, round_id_of
from registry.content.manifest import (
    Reason,
    ReportManifest,
    RoundOrigin,
    UpdateManifest,
    VersionManifest,
)
from registry.errors import ContentError, FormError, InputError, VerificationFailed
from registry.rounds.reports import Report, load_report
from registry.store.base import ContentStore
from registry.store.manifests import found_manifest
from registry.types import Address, Digest, ModelId, Root

if TYPE_CHECKING:
    from registry.chain.anchors import ChainView

__all__ = ["CommitmentNode", "Provenance", "VersionNode", "lineage", "provenance_of", "versions_of"]


@dataclass(frozen=True, slots=True)
class VersionNode:
    """A version as the chain has it.

    Attributes:
        parent: Zero for a genesis.
        round: Number of the round that made it; 0 if its owner published it.
        block: Where it was anchored.
        deprecated: Its owner says that it is not to be used.
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
        """Of its F32 values."""
        return self.roots.tensor


@dataclass(frozen=True, slots=True)
class CommitmentNode:
    """A commitment of a round and what became of it; `update` is None where its manifest is not to be had."""

    participant: Address
    digest: Digest
    weight: int
    share: float
    reason: Reason
    update: UpdateManifest | None


@dataclass(frozen=True, slots=True)
class Provenance:
    """A version with what its manifests say; None for manifests that are not to be had."""

    step: VersionNode
    manifest: VersionManifest | None
    report: ReportManifest | None
    commitments: tuple[CommitmentNode, ...]


def versions_of(client: ChainView, model_id: ModelId, *, block: int | None = None) -> dict[Digest, VersionNode]:
    """Return every version of a model in the order in which they were anchored.

    Args:
        client: The chain.
        model_id: The model.
        block: As of this one; by default the last final one.

    Raises:
        InputError: There is no such model.
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
    """Return a version and its ancestors in the model, genesis first, as of a block (the last final one).

    Raises:
        InputError: The model has no such version.
        VerificationFailed: The node's events run in a circle.
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


def provenance_of(client: ChainView, store: ContentStore, model_id: ModelId, digest: bytes) -> Iterator[Provenance]:
    """Yield what is known of a version and each of its ancestors, newest first."""
    for step in reversed(lineage(client, model_id, digest)):
        manifest = found_manifest(store, step.digest, VersionManifest)
        report = None
        if manifest is not None and manifest.round is not None and _is_round(client, step, manifest.round):
            report = _report(client, store, step, manifest.round.report.digest)
        yield Provenance(step, manifest, report.manifest if report else None, tuple(_commitments(store, report)))


def _is_round(client: ChainView, step: VersionNode, origin: RoundOrigin) -> bool:
    """Say whether a manifest claims the round that made the version on chain: an owner may publish any claim."""
    claimed = (origin.chain_id, origin.contract, origin.model, origin.number)
    return bool(step.round) and claimed == (client.chain_id, client.address, step.model_id, step.round)


def _report(client: ChainView, store: ContentStore, step: VersionNode, digest: bytes) -> Report | None:
    committed = client.events(UpdateCommitted, subject=round_id_of(step.model_id, step.round))
    try:
        return load_report(store, digest, sum(1 for _ in committed))
    except (ContentError, FormError):
        return None


def _commitments(store: ContentStore, report: Report | None) -> Iterator[CommitmentNode]:
    for entry in report.entries if report else ():
        admitted = entry.reason == Reason.ADMITTED
        share = entry.weight / report.manifest.total_weight if admitted and report else 0.0
        update = found_manifest(store, entry.digest, UpdateManifest)
        yield CommitmentNode(
            Address(entry.participant), entry.digest, entry.weight, share, Reason(entry.reason), update
        )
