"""Reports in pages: of any length, and nothing but what the round has."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from registry.content.manifest import (
    MAX_PAGE_ENTRIES,
    DeltaFile,
    Manifest,
    Reason,
    ReportEntry,
    ReportManifest,
    ReportPage,
    digest_of,
    manifest_cid,
)
from registry.errors import BlockNotFound, FormError
from registry.rounds.reports import load_report, pages_of
from registry.store.manifests import put_manifest
from registry.store.memory import MemoryStore
from registry.types import Cid, Codec, Digest


def word(number: int) -> bytes:
    return hashlib.sha256(number.to_bytes(8, "big")).digest()


def entry(number: int) -> ReportEntry:
    admitted = number % 3 > 0
    update = manifest_cid(word(number)) if admitted else word(number)
    reason = Reason.ADMITTED if admitted else Reason.VALUE
    return ReportEntry(
        word(number)[:20], update, word(number + 1), 1 + number, 2 + number, int(reason), 1 + number if admitted else 0
    )


def keep(store: MemoryStore, manifest: Manifest) -> Digest:
    put_manifest(store, manifest)
    return digest_of(manifest)


def report_of(store: MemoryStore, *pages: ReportPage) -> ReportManifest:
    admitted = [e for page in pages for e in page.entries if e.reason == Reason.ADMITTED]
    weight = sum(e.weight for e in admitted)
    return ReportManifest(
        chain_id=1,
        contract=bytes(20),
        model=word(1),
        number=1,
        parent=manifest_cid(word(2)),
        plan=manifest_cid(word(3)),
        running_hash=word(4),
        pages=tuple(manifest_cid(keep(store, page)) for page in pages),
        aggregate=DeltaFile(Cid(Codec.RAW, word(5)), 100, word(6)),
        contributions_root=word(7),
        contributions=len(admitted),
        total_weight=weight,
        total_steps=sum(e.steps for e in admitted),
        divisor=weight,
        evaluation=None,
    )


@pytest.mark.parametrize(
    "count", [2, MAX_PAGE_ENTRIES, MAX_PAGE_ENTRIES + 1, pytest.param(10_000, marks=pytest.mark.slow)]
)
def test_report_on_any_number_of_commitments_comes_back(count: int) -> None:
    store, entries = MemoryStore(), tuple(map(entry, range(count)))
    pages = pages_of(entries)
    assert [len(page.entries) for page in pages[:-1]] == [MAX_PAGE_ENTRIES] * ((count - 1) // MAX_PAGE_ENTRIES)
    manifest = report_of(store, *pages)
    found = load_report(store, keep(store, manifest), count)
    assert (found.manifest, found.entries) == (manifest, entries)


@pytest.mark.parametrize("count", [1, 9, 11, MAX_PAGE_ENTRIES])
def test_report_on_another_number_of_commitments_is_refused(count: int) -> None:
    store = MemoryStore()
    digest = keep(store, report_of(store, ReportPage(tuple(map(entry, range(10))))))
    with pytest.raises(FormError, match=f"expected {count} commitments on full pages, got 10"):
        load_report(store, digest, count)


def test_report_with_more_pages_than_it_takes_is_refused_before_they_are_fetched() -> None:
    store = MemoryStore()
    one = report_of(store, ReportPage(tuple(map(entry, range(10)))))
    absent = manifest_cid(word(99))
    digest = keep(store, replace(one, pages=(absent,) * 1000))
    with pytest.raises(FormError, match="expected 1 pages for 10 commitments, got 1000"):
        load_report(store, digest, 10)
    with pytest.raises(BlockNotFound):
        load_report(store, keep(store, replace(one, pages=(absent,))), 10)


def test_report_whose_pages_are_cut_otherwise_is_refused() -> None:
    store, entries = MemoryStore(), tuple(map(entry, range(MAX_PAGE_ENTRIES + 2)))
    digest = keep(store, report_of(store, ReportPage(entries[:7]), ReportPage(entries[7:-1])))
    with pytest.raises(FormError, match="on full pages"):
        load_report(store, digest, MAX_PAGE_ENTRIES + 1)


@pytest.mark.parametrize("changed", [{"contributions": 5}, {"total_weight": 1}, {"total_steps": 1}])
def test_report_that_does_not_add_up_is_refused(changed: dict[str, int]) -> None:
    store = MemoryStore()
    manifest = report_of(store, ReportPage(tuple(map(entry, range(10)))))
    digest = keep(store, replace(manifest, **changed))  # type: ignore[arg-type]
    with pytest.raises(FormError, match="must be those of the admitted commitments"):
        load_report(store, digest, 10)


def test_factors_over_the_divisor_are_refused() -> None:
    store = MemoryStore()
    manifest = report_of(store, ReportPage(tuple(map(entry, range(10)))))
    load_report(store, keep(store, replace(manifest, divisor=manifest.divisor + 1)), 10)
    digest = keep(store, replace(manifest, divisor=manifest.divisor - 1))
    with pytest.raises(FormError, match="more than the divisor"):
        load_report(store, digest, 10)
