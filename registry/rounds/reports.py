"""Reports: paged list of a round's commitments with their admission reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from registry.content.manifest import (
    MAX_PAGE_ENTRIES,
    Reason,
    ReportEntry,
    ReportManifest,
    ReportPage,
    decode,
)
from registry.errors import ContentError, FormError
from registry.store.base import ContentStore
from registry.store.manifests import get_manifest

__all__ = ["Report", "found_report", "load_report", "pages_of"]


@dataclass(frozen=True, slots=True)
class Report:
    """A report's manifest with the entries of its pages, one per commitment, in commit order."""

    manifest: ReportManifest
    entries: tuple[ReportEntry, ...]


def found_report(store: ContentStore, digest: bytes, commitments: int) -> Report | None:
    """Return a report as `load_report`; None if it is unavailable or invalid."""
    try:
        return load_report(store, digest, commitments)
    except (ContentError, FormError):
        return None


def pages_of(entries: Sequence[ReportEntry]) -> tuple[ReportPage, ...]:
    """Split entries into pages, all full but the last."""
    starts = range(0, len(entries), MAX_PAGE_ENTRIES)
    return tuple(ReportPage(tuple(entries[at : at + MAX_PAGE_ENTRIES])) for at in starts)


def load_report(store: ContentStore, digest: bytes, commitments: int) -> Report:
    """Fetch a report with its pages.

    Args:
        store: Store that has the report or can fetch it.
        digest: The report's digest.
        commitments: The round's number of commitments; a report with another number is rejected before its pages are
            fetched.

    Raises:
        FormError: It is not a report on that many commitments, or its sums do not match its admitted entries.
    """
    manifest = get_manifest(store, digest, ReportManifest)
    expected = -(-commitments // MAX_PAGE_ENTRIES)
    if len(manifest.pages) != expected:
        raise FormError(f"report: expected {expected} pages for {commitments} commitments, got {len(manifest.pages)}")
    pages = [decode(store.get(page), ReportPage).entries for page in manifest.pages]
    entries = tuple(entry for page in pages for entry in page)
    if len(entries) != commitments or any(len(page) != MAX_PAGE_ENTRIES for page in pages[:-1]):
        raise FormError(f"report: expected {commitments} commitments on full pages, got {len(entries)}")
    admitted = [entry for entry in entries if entry.reason == Reason.ADMITTED]
    sums = len(admitted), sum(entry.weight for entry in admitted), sum(entry.steps for entry in admitted)
    if sums != (manifest.contributions, manifest.total_weight, manifest.total_steps):
        raise FormError("report: contributions, total_weight and total_steps must be those of the admitted commitments")
    if sum(entry.factor for entry in admitted) > manifest.divisor:
        raise FormError("report: the factors of what is admitted must not add up to more than the divisor")
    return Report(manifest, entries)
