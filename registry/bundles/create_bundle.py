"""Create a bundle: fetch a lineage's events, proofs and content from a node and a store, and verify each piece."""

from __future__ import annotations

import contextlib
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.bundles.chain_proofs import block_proofs, state_proofs
from registry.bundles.header_links import fetch_runs, header_blocks, runs_of
from registry.chain.contract_events import (
    CommitsEnded,
    ModelRegistered,
    PlanSet,
    QuorumReached,
    ResultAttested,
    ResultVoided,
    RoundFinalized,
    RoundOpened,
    UpdateCommitted,
    VersionDeprecated,
    VersionPublished,
    WindowExtended,
)
from registry.chain.contract_hashes import round_id_of
from registry.chain.contract_structs import Result
from registry.chain.deploy import code_at
from registry.chain.storage import round_slots, version_slots
from registry.content.heads import UPDATE_HEAD, body_of
from registry.content.manifest import Reason, Schema, UpdateManifest, blocks_of, digest_of, encode, manifest_cid
from registry.content.proof_manifests import MAX_BUNDLE_PAGE, BundleManifest, BundlePage, StateProofManifest
from registry.errors import ContentError, FormError, VerificationFailed
from registry.ethereum.blocks import Checkpoint, fetch_headers
from registry.ethereum.headers import Header
from registry.ethereum.node import NodeRefused
from registry.ethereum.positions import Event
from registry.lineage.graph import VersionNode, lineage
from registry.rounds.onchain import chosen_result, read_round
from registry.rounds.reports import load_report
from registry.rounds.versions import load_version_manifest
from registry.store.base import ContentStore, reported_unavailable
from registry.store.blobs import walk_blob
from registry.store.car_store import walk_links
from registry.store.manifests import get_manifest
from registry.store.memory import MemoryStore
from registry.types import Blob, Cid, Codec, Digest, ModelId

if TYPE_CHECKING:
    from registry.chain.anchors import ChainView
    from registry.chain.client import Client

__all__ = ["MAX_GAP", "Bundle", "Content", "gather_bundle", "lineage_content", "lineage_events", "lineage_slots"]

MAX_GAP = 10_000
"""Largest gap between needed blocks that headers bridge: about 6 MB of them."""
_OF_MODEL = (ModelRegistered, VersionPublished, VersionDeprecated, PlanSet, RoundOpened, RoundFinalized)
_OF_ROUND = (UpdateCommitted, CommitsEnded, ResultAttested, QuorumReached, WindowExtended, ResultVoided)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle ready to be written.

    Attributes:
        root: CID of its root.
        blocks: Blocks of its CAR, in order; iterating reads the store.
        anchors: The blocks whose hashes, all trusted, prove everything.
        events: Number of events.
        state: Whether the contract's state is proved.
    """

    root: Cid
    blocks: Iterator[tuple[Cid, bytes]]
    anchors: tuple[Checkpoint, ...]
    events: int
    state: bool


@dataclass(frozen=True, slots=True)
class Content:
    """The manifests and files that a lineage names, deduplicated, in order of first mention."""

    manifests: dict[Digest, None]
    blobs: dict[Cid, None]

    def take(self, manifest: Schema) -> None:
        """Add a manifest, and its head if it has one."""
        self.manifests.update((Digest(cid.digest), None) for cid, _ in blocks_of(manifest))


def lineage_events(chain: ChainView, steps: Sequence[VersionNode], block: int | None = None) -> list[Event]:
    """Return the events that a lineage depends on, in order: of its versions, its rounds and their plans."""
    digests, numbers = {step.digest for step in steps}, {step.round for step in steps if step.round}
    found: list[Event] = list(chain.events(*_OF_MODEL, subject=steps[0].model_id, to_block=block))
    plans = {event.plan_index for event in found if isinstance(event, RoundOpened) and event.number in numbers}

    def counts(event: Event) -> bool:
        match event:
            case RoundOpened() | RoundFinalized():
                return event.number in numbers
            case VersionPublished() | VersionDeprecated():
                return event.digest in digests
            case PlanSet():
                return event.plan_index in plans
        return True

    found = [event for event in found if counts(event)]
    for number in sorted(numbers):
        found += chain.events(*_OF_ROUND, subject=round_id_of(steps[0].model_id, number), to_block=block)
    return sorted(found, key=lambda event: event.at)


def lineage_slots(steps: Iterable[VersionNode]) -> list[int]:
    """Return the storage slots of the contract that a lineage depends on."""
    found: set[int] = set()
    for step in steps:
        found.update(version_slots(step.model_id, step.digest))
        if step.round:
            found.update(round_slots(round_id_of(step.model_id, step.round)))
    return sorted(found)


def gather_bundle(
    client: Client,
    store: ContentStore,
    model_id: ModelId,
    digest: bytes,
    *,
    with_blobs: bool = False,
    max_gap: int = MAX_GAP,
) -> Bundle:
    """Fetch and verify everything that proves a version's lineage, as of the last final block.

    Args:
        client: The chain.
        store: The store of the lineage's manifests and files.
        model_id: The model.
        digest: The version.
        with_blobs: Include the files, so that the rounds can be recomputed.
        max_gap: See `MAX_GAP`.

    Raises:
        InputError: The version does not exist.
        VerificationFailed: The node's answers do not match its own blocks.
        BlockNotFound: A required manifest or file is unavailable.
    """
    block = client.final_block()
    steps = lineage(client, model_id, digest, block=block)
    scratch = MemoryStore()
    anchor = fetch_headers(client.w3, [block])[0]
    state, code = _state_of(client, anchor, lineage_slots(steps))
    events = lineage_events(client, steps, block)
    needed = sorted({event.at.block_number for event in events} | ({block} if state else set()))
    if block - needed[-1] <= max_gap:
        needed = sorted({*needed, block})
    headers = _headers_of(client, needed, max_gap, scratch)
    content = lineage_content(client, store, steps)
    manifest = BundleManifest(
        chain_id=client.chain_id,
        contract=client.address,
        model=model_id,
        version=digest,
        headers=headers.links,
        blocks=tuple(_kept(scratch, proof) for proof in _block_proofs(client, headers.needed, events, calls=not state)),
        state=tuple(_kept(scratch, proof) for proof in state),
        code=_raw(scratch, code) if state else None,
        manifests=_pages(scratch, [Cid(Codec.RAW, each) for each in content.manifests]),
        blobs=_pages(scratch, list(content.blobs)) if with_blobs else None,
    )
    root = _kept(scratch, manifest)

    def get(cid: Cid) -> bytes:
        return scratch.get(cid) if scratch.has(cid) else store.get(cid)

    return Bundle(root, walk_links(get, root), headers.ends, len(events), bool(state))


@dataclass(frozen=True, slots=True)
class _Headers:
    """Linked headers: those needed, by number; the last of each run; and the stored lists of all."""

    needed: dict[int, Header]
    ends: tuple[Checkpoint, ...]
    links: tuple[Cid, ...]


def _headers_of(client: Client, needed: Sequence[int], max_gap: int, scratch: MemoryStore) -> _Headers:
    runs = runs_of(needed, max_gap)
    kept, last = set(needed), {run.stop - 1 for run in runs}
    found: dict[int, Header] = {}
    ends = []

    def passing() -> Iterator[Header]:
        for header in fetch_runs(client.w3, runs):
            if header.number in kept:
                found[header.number] = header
            if header.number in last:
                ends.append(Checkpoint(header.number, header.hash))
            yield header

    links = tuple(_raw(scratch, data) for data in header_blocks(passing()))
    return _Headers(found, tuple(ends), links)


def _state_of(client: Client, header: Header, slots: Sequence[int]) -> tuple[list[StateProofManifest], bytes]:
    """Return state proofs after a block and the contract's code; nothing if the node serves no proofs."""
    try:
        found = list(state_proofs(client.w3, header, client.address, slots))
    except NodeRefused:
        return [], b""
    return found, code_at(client.w3, client.address)


def _block_proofs(
    client: Client, headers: Mapping[int, Header], events: Sequence[Event], *, calls: bool
) -> Iterator[Schema]:
    """Yield proofs of every event and, without state proofs, of the calls that stand in for them."""
    logs, called = defaultdict(list), defaultdict(list)
    for event in events:
        number, expected = event.at.block_number, headers[event.at.block_number].hash
        if event.at.block_hash != expected:
            raise VerificationFailed(f"block {number}: expected 0x{expected.hex()}, got an event of another block")
        logs[number].append(event.at.log_index)
        if calls and isinstance(event, (ResultAttested, RoundFinalized)):
            called[number].append(event.at.log_index)
    for number in sorted(logs):
        yield from block_proofs(client.w3, headers[number], logs[number], called[number])


def lineage_content(client: ChainView, store: ContentStore, steps: Sequence[VersionNode]) -> Content:
    """Return the content that a lineage names: all but refused updates that are unavailable.

    Raises:
        VerificationFailed, FormError: Content contradicts the chain.
        ContentError: Required content is unavailable.
    """
    found = Content({}, {})
    for step in steps:
        version = load_version_manifest(store, step.digest)
        found.take(version)
        found.blobs[version.weights.cid] = None
        if version.state is not None:
            found.blobs[version.state.cid] = None
        if not step.round:
            continue
        record = read_round(client, step.model_id, step.round)
        result = chosen_result(client, record)
        if result is None:
            raise VerificationFailed(f"round {step.round}: no attestation gives the result hash that the chain holds")
        store.get(manifest_cid(record.plan.digest))
        found.manifests[record.plan.digest] = None
        _add_report(found, store, result, len(record.commitments))
    return found


def _add_report(found: Content, store: ContentStore, result: Result, commitments: int) -> None:
    report = load_report(store, result.report_digest, commitments)
    found.take(report.manifest)
    found.manifests.update(dict.fromkeys(Digest(page.digest) for page in report.manifest.pages))
    found.blobs[report.manifest.aggregate.cid] = None
    for entry in report.entries:
        with reported_unavailable(entry.reason == Reason.UNAVAILABLE):
            blob = _update_of(found, store, entry.digest, needed=entry.reason == Reason.ADMITTED)
        if blob is None or blob.size != report.manifest.aggregate.size:
            continue
        if entry.reason == Reason.ADMITTED or _whole(store, blob):
            found.blobs[blob.cid] = None


def _update_of(found: Content, store: ContentStore, digest: Digest, *, needed: bool) -> Blob | None:
    """Add an update's manifest; return its file."""
    try:
        manifest = get_manifest(store, digest, UpdateManifest)
    except (ContentError, FormError) as error:
        if needed:
            raise
        if isinstance(error, FormError):  # refused as malformed: its bytes are the evidence
            found.manifests.update(dict.fromkeys(_malformed(store, digest)))
        return None
    found.take(manifest)
    return manifest.delta.blob


def _malformed(store: ContentStore, digest: Digest) -> Iterator[Digest]:
    """Yield the blocks that show an update to be malformed: its head, or both."""
    with contextlib.suppress(FormError):
        yield Digest(body_of(UPDATE_HEAD, store.get(manifest_cid(digest))).digest)
    yield digest


def _whole(store: ContentStore, blob: Blob) -> bool:
    """Return whether a refused update's file is available as evidence of the refusal."""
    try:
        for _ in walk_blob(store, blob):
            pass
    except (ContentError, FormError):
        return False
    return True


def _pages(scratch: MemoryStore, links: Sequence[Cid]) -> tuple[Cid, ...]:
    starts = range(0, len(links), MAX_BUNDLE_PAGE)
    return tuple(_kept(scratch, BundlePage(tuple(links[at : at + MAX_BUNDLE_PAGE]))) for at in starts)


def _kept(scratch: MemoryStore, manifest: Schema) -> Cid:
    cid = manifest_cid(digest_of(manifest))
    scratch.put(cid, encode(manifest))
    return cid


def _raw(scratch: MemoryStore, data: bytes) -> Cid:
    cid = Cid(Codec.RAW, hashlib.sha256(data).digest())
    scratch.put(cid, data)
    return cid
