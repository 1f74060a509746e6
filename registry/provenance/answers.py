"""What a demand is answered with: the leaf, out of what is stored."""

from __future__ import annotations

from collections.abc import Iterator

from registry.chain.challenge_records import NOTHING, Opening
from registry.chain.court_records import Demanded
from registry.chain.records import Result
from registry.content.manifest import Reason, UpdateManifest, VersionManifest, manifest_cid
from registry.content.merkle import Rows
from registry.errors import ContentError
from registry.provenance.charges import attested_chunks, reported
from registry.provenance.openings import Chunks, listing_of
from registry.provenance.reports import found_report
from registry.provenance.rounds import RoundRecord
from registry.store.base import ContentStore
from registry.store.manifests import found_manifest
from registry.types import Blob, Root

__all__ = ["answer_to"]

_KEPT = 2
"""Blobs whose leaf hashes are kept, some 70 bytes for each KiB."""


def answer_to(
    store: ContentStore,
    record: RoundRecord,
    result: Result,
    demanded: Demanded,
    known: dict[Root, Chunks] | None = None,
) -> Opening | None:
    """Return what shows a demanded leaf, or that there is none; None if it is not to be had.

    Args:
        store: Holds, or finds, the blobs of the round.
        record: The round.
        result: Whose leaf is demanded.
        demanded: The leaf.
        known: Blobs that leaves were shown of lately; changed.
    """
    known = {} if known is None else known
    if demanded.head:
        try:
            return Opening(NOTHING.counted, store.get(manifest_cid(demanded.root)), ())
        except ContentError:
            return None
    if demanded.contributions:
        report = found_report(store, result.report_digest, len(record.commitments))
        if report is None:
            return None
        listing = listing_of(reported(entry) for entry in report.entries if entry.reason == Reason.ADMITTED)
        return listing.opening(demanded.index) if listing.root == demanded.root else None
    if demanded.root not in known:
        rows = Rows(demanded.entry_bytes, demanded.entries)
        blobs = _blobs(store, record, result, demanded)
        chunks = next(filter(None, (attested_chunks(store, blob, demanded.root, rows) for blob in blobs)), None)
        if chunks is None:
            return None
        while len(known) >= _KEPT:
            del known[next(iter(known))]
        known[demanded.root] = chunks
    return known[demanded.root].opening(demanded.index)


def _blobs(store: ContentStore, record: RoundRecord, result: Result, demanded: Demanded) -> Iterator[Blob]:
    """Blobs whose manifests say that they have the demanded root; of updates those that the report admits alone, since
    anybody can commit another's root under a digest of something else.
    """
    report = found_report(store, result.report_digest, len(record.commitments))
    if report is not None and demanded.root == result.aggregate_root:
        yield report.manifest.aggregate.blob
    for digest in (result.version_digest, record.parent):
        version = found_manifest(store, digest, VersionManifest)
        if version is not None and demanded.root == version.tensor_root:
            yield version.weights.blob
        if version is not None and version.state is not None and demanded.root == version.state.root:
            yield version.state.blob
    for entry in report.entries if report is not None else ():
        if entry.reason == Reason.ADMITTED and entry.tensor_root == demanded.root:
            update = found_manifest(store, entry.digest, UpdateManifest)
            if update is not None:
                yield update.delta.blob
