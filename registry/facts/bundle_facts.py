"""Bundles and inclusion proofs: what they hold, and the verdict on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from registry.bundles.create_bundle import Bundle
from registry.bundles.inclusion import is_inclusion, model_of
from registry.bundles.verify_bundle import BundleVerdict
from registry.content.proof_manifests import InclusionProofManifest
from registry.ethereum.blocks import Checkpoint
from registry.facts.verification_facts import VerificationFacts, verification_facts
from registry.types import Address, Cid, Digest, ModelId
from registry.verification.checks import Check

__all__ = [
    "BlockName",
    "BundleFacts",
    "BundleVerdictFacts",
    "BundledEvent",
    "InclusionFacts",
    "bundle_facts",
    "bundle_verdict_facts",
    "inclusion_facts",
]


@dataclass(frozen=True, slots=True)
class BlockName:
    """A block by number and hash."""

    block: int
    hash: bytes

    @classmethod
    def of(cls, point: Checkpoint) -> BlockName:
        """Return the name of a checkpoint."""
        return cls(point.number, point.hash)


@dataclass(frozen=True, slots=True)
class BundleFacts:
    """A written bundle.

    Attributes:
        root: CID of its root.
        size: Size of its CAR, bytes.
        events: Number of events.
        state: Whether the contract's state is proved.
        trust: The blocks whose hashes, all trusted, prove everything.
    """

    root: Cid
    size: int
    version: Digest
    events: int
    state: bool
    trust: tuple[BlockName, ...]


@dataclass(frozen=True, slots=True)
class BundledEvent:
    """An event that a bundle's lineage depends on.

    Attributes:
        event: Its name in the contract.
        block: Number of its block.
        hash: Hash of its block.
        proved_by: The trusted block that proves it; None if none does.
    """

    event: str
    block: int
    hash: bytes
    proved_by: BlockName | None


@dataclass(frozen=True, slots=True)
class BundleVerdictFacts:
    """The verdict on a bundle.

    Attributes:
        passed: Whether nothing failed and nothing is unchecked.
        recomputed: Whether the bundle has the files, so that rounds were recomputed.
        anchors: The blocks whose hashes, all trusted, prove everything.
        events: In chain order.
        checks: Of the bundle as a whole.
        versions: Genesis first.
    """

    model: ModelId
    version: Digest
    chain_id: int
    contract: Address
    passed: bool
    recomputed: bool
    anchors: tuple[BlockName, ...]
    events: tuple[BundledEvent, ...]
    checks: tuple[Check, ...]
    versions: tuple[VerificationFacts, ...]


@dataclass(frozen=True, slots=True)
class InclusionFacts:
    """The verdict on an inclusion proof.

    Attributes:
        included: Whether it shows inclusion, not exclusion.
        passed: Whether every check passed.
    """

    chain_id: int
    contract: Address
    model: ModelId
    participant: Address
    version: Digest
    included: bool
    passed: bool
    checks: tuple[Check, ...]


def bundle_facts(bundle: Bundle, version: Digest, size: int) -> BundleFacts:
    """Return the facts of a bundle of a version, written with this size in bytes."""
    trust = tuple(map(BlockName.of, bundle.anchors))
    return BundleFacts(bundle.root, size, version, bundle.events, bundle.state, trust)


def bundle_verdict_facts(verdict: BundleVerdict) -> BundleVerdictFacts:
    """Return the facts of a verdict."""
    manifest = verdict.manifest
    return BundleVerdictFacts(
        model=ModelId(manifest.model),
        version=Digest(manifest.version),
        chain_id=manifest.chain_id,
        contract=Address(manifest.contract),
        passed=verdict.passed,
        recomputed=manifest.blobs is not None,
        anchors=tuple(map(BlockName.of, verdict.anchors)),
        events=tuple(
            BundledEvent(
                event=type(entry.event).__name__,
                block=entry.event.at.block_number,
                hash=entry.event.at.block_hash,
                proved_by=None if entry.trusted is None else BlockName.of(entry.trusted),
            )
            for entry in verdict.events
        ),
        checks=verdict.checks,
        versions=tuple(map(verification_facts, verdict.versions)),
    )


def inclusion_facts(proof: InclusionProofManifest, checks: Sequence[Check]) -> InclusionFacts:
    """Return the facts of an inclusion proof and its checks."""
    return InclusionFacts(
        chain_id=proof.chain_id,
        contract=Address(proof.contract),
        model=model_of(proof),
        participant=Address(proof.participant),
        version=Digest(proof.result.version_digest),
        included=is_inclusion(proof),
        passed=all(check.finding == "passed" for check in checks),
        checks=tuple(checks),
    )
