"""Manifests of inclusion proofs and bundles: serialized chain proofs that verify offline.

`docs/format.md` specifies their fields and what a valid one may not contain. `registry.bundles` verifies the proofs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from registry.content.manifest import (
    BlobLink,
    Bytes20,
    Bytes32,
    ManifestLink,
    RawLink,
    Steps,
    Uint32,
    Uint64,
    Weight,
)
from registry.errors import FormError
from registry.types import Cid

__all__ = [
    "MAX_BUNDLE_PAGE",
    "BlockProofManifest",
    "BundleManifest",
    "BundlePage",
    "Place",
    "InclusionProofManifest",
    "ResultFields",
    "RootsFields",
    "StateProofManifest",
]

MAX_BUNDLE_PAGE = 4096
"""Most links on a page of a bundle."""


@dataclass(frozen=True, slots=True)
class BlockProofManifest:
    """Proofs of one block's transactions: receipts and calls by transaction index, with the nodes of both tries."""

    KIND: ClassVar[str] = "cairn/block-proof/1"

    number: Uint64
    receipts: tuple[Uint32, ...]
    receipt_nodes: tuple[bytes, ...]
    calls: tuple[Uint32, ...]
    call_nodes: tuple[bytes, ...]

    def __post_init__(self) -> None:
        _require_ascending("receipts", self.receipts)
        _require_ascending("receipt_nodes", self.receipt_nodes)
        _require_ascending("calls", self.calls)
        _require_ascending("call_nodes", self.call_nodes)


@dataclass(frozen=True, slots=True)
class StateProofManifest:
    """Proofs of a contract's state after one block: its account, and words of its storage by slot."""

    KIND: ClassVar[str] = "cairn/state-proof/1"

    number: Uint64
    slots: tuple[Bytes32, ...]
    account_nodes: tuple[bytes, ...]
    storage_nodes: tuple[bytes, ...]

    def __post_init__(self) -> None:
        _require_ascending("slots", self.slots)
        _require_ascending("account_nodes", self.account_nodes)
        _require_ascending("storage_nodes", self.storage_nodes)


@dataclass(frozen=True, slots=True)
class BundlePage:
    """One page of links to a bundle's manifests or blobs.

    Manifests are linked as raw blocks, so that a walk does not follow their links; digest and bytes are the same.
    """

    KIND: ClassVar[str] = "cairn/bundle-page/1"

    entries: tuple[BlobLink, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.entries) <= MAX_BUNDLE_PAGE:
            raise FormError(f"entries: expected 1..{MAX_BUNDLE_PAGE}, got {len(self.entries)}")
        _require_once("entries", self.entries)


@dataclass(frozen=True, slots=True)
class BundleManifest:
    """Root of a bundle: a version with the proof of its lineage. No list repeats a link.

    Attributes:
        version: The version's digest.
        headers: Raw blocks, each an RLP list of headers, in ascending order.
        blocks: Block proofs, in ascending order.
        state: State proofs, all of one block; empty if the node served none.
        code: The contract's code, if `state` proves its account; else None.
        manifests: Pages of all manifests of the lineage.
        blobs: Pages of the lineage's files; None for a bundle without files.
    """

    KIND: ClassVar[str] = "cairn/bundle/1"

    chain_id: Uint64
    contract: Bytes20
    model: Bytes32
    version: Bytes32
    headers: tuple[RawLink, ...]
    blocks: tuple[ManifestLink, ...]
    state: tuple[ManifestLink, ...]
    code: RawLink | None
    manifests: tuple[ManifestLink, ...]
    blobs: tuple[ManifestLink, ...] | None

    def __post_init__(self) -> None:
        for name in ("headers", "blocks", "state", "manifests", "blobs"):
            _require_once(name, getattr(self, name) or ())
        if bool(self.state) != (self.code is not None):
            raise FormError("code: expected the contract's code exactly if its state is proved")


@dataclass(frozen=True, slots=True)
class RootsFields:
    """A version's roots, as anchored on chain."""

    tensor: Bytes32
    rest: Bytes32
    state: Bytes32
    state_layout: Bytes32
    step: Uint64


@dataclass(frozen=True, slots=True)
class ResultFields:
    """An attested result, with the fields that the contract hashes."""

    version_digest: Bytes32
    roots: RootsFields
    report_digest: Bytes32
    aggregate_root: Bytes32
    contributions_root: Bytes32
    contributions: Uint32
    total_weight: Weight
    total_steps: Uint64
    divisor: Weight


@dataclass(frozen=True, slots=True)
class Place:
    """A contribution at its place in the contributions root, with its Merkle proof from the leaf's sibling up."""

    index: Uint64
    participant: Bytes20
    digest: Bytes32
    tensor_root: Bytes32
    weight: Weight
    steps: Steps
    factor: Uint32
    proof: tuple[Bytes32, ...]


@dataclass(frozen=True, slots=True)
class InclusionProofManifest:
    """Proof that a participant is in the version that a round made, or is not.

    Attributes:
        owner: Who registered the model. The model's id is the hash of chain, contract, owner and genesis.
        participant: Whose inclusion or exclusion is proved.
        result: The round's result.
        count: Leaves of the contributions root.
        inner: The RFC 9162 root over them.
        places: The participant's own place; for an exclusion its two neighbours', or the first or last place alone.
        header: RLP of the header that `state` or `block` is verified against; None without either.
        state: Proves by the contract's state that the round is finalized with this result.
        block: Proves it by the finalizing call and its receipt, where no node proves state.
    """

    KIND: ClassVar[str] = "cairn/inclusion-proof/1"

    chain_id: Uint64
    contract: Bytes20
    owner: Bytes20
    genesis: Bytes32
    number: Uint64
    participant: Bytes20
    result: ResultFields
    count: Uint64
    inner: Bytes32
    places: tuple[Place, ...]
    header: bytes | None
    state: StateProofManifest | None
    block: BlockProofManifest | None

    def __post_init__(self) -> None:
        if not 1 <= len(self.places) <= 2:
            raise FormError(f"places: expected 1 or 2, got {len(self.places)}")
        proofs = (self.state is not None) + (self.block is not None)
        if proofs != (self.header is not None):
            raise FormError(f"header: expected a header and one proof, or neither, got {proofs} proofs")


def _require_once(name: str, links: Sequence[Cid]) -> None:
    if len(set(links)) != len(links):
        raise FormError(f"{name}: expected distinct links, got a duplicate")


def _require_ascending(name: str, values: Sequence[int] | Sequence[bytes]) -> None:
    pairs: Iterable[tuple[Any, Any]] = pairwise(values)
    if any(before >= after for before, after in pairs):
        raise FormError(f"{name}: expected ascending order without repeats")
