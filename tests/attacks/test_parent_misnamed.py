"""Rounds whose parent has right roots, anchored with a manifest that names another file, or that nobody else has.

Nothing on chain convicts who attested it. An auditor that was there builds on the version that it recomputed; one that
was not believes no file without the anchored root.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hearing import convicted, every_value, show, without

from registry.content.manifest import VersionFile, VersionManifest, blocks_of, digest_of
from registry.dev.forgeries import falsified, nudged
from registry.disputes.openings import chunks_of_blob, chunks_of_file
from registry.roles import auditor
from registry.roles.aggregator import judge_all
from registry.rounds.loaded_round import LoadedRound
from registry.rounds.reports import load_report
from registry.rounds.results import Outcome, compute_outcome, publish_outcome
from registry.rounds.versions import save_arrays
from registry.rules.grid import to_grid
from registry.store.blobs import add_blob
from registry.store.local import LocalStore
from registry.store.manifests import get_manifest, put_manifest
from registry.store.memory import MemoryStore
from registry.types import Fault

pytestmark = pytest.mark.slow

STEP = 2.0**-22
LAYOUTS = {
    "another layout": {"w": np.zeros((41, 7), np.float32), "b": np.zeros(3, np.float32)},
    "as many values in another order": {"b": np.zeros((40, 7), np.float32), "w": np.zeros(3, np.float32)},
    "other types": {"w": np.zeros((40, 7), np.float16), "b": np.zeros(3, np.float32)},
}


class Misnamed:
    """Round 1 made a right version, and its manifest names other bytes; the true file is mallory's alone."""

    def __init__(self, house: Any, other: bytes) -> None:
        self.house, self.made, self.form = house, house.outcome(), house.round().form
        blob = add_blob(house.store, [other])
        named = VersionFile(blob.cid, blob.size, hashlib.sha256(other).digest())
        self.version: VersionManifest = replace(self.made.version, weights=named)
        put_manifest(house.store, self.version)
        self.result = replace(self.made.result, version_digest=digest_of(self.version))
        house.attest("mallory", self.result)

    def go_on(self) -> Outcome:
        """Finalize round 1; return the outcome of a second one with two updates, as who has the true file makes it."""
        house = self.house
        house.sleep_to("challenge_deadline")
        house.stranger.finalize_round(house.model_id, 1, self.result)
        house.owner.open_round(house.model_id)
        for seed, name in enumerate(("ann", "bob")):
            count = (self.form.size - len(self.form.header)) // 4
            values, _ = to_grid(np.random.default_rng(5 + seed).normal(size=count) / 8, 22)
            update = house.sealed(name, self.form.header + values.tobytes(), at=2)
            house.commit(name, update, at=2)
            house.publish(update)
        house.sleep_to("publish_deadline", 2)
        self.round = LoadedRound(house.record(2), house.round(1).plan, self.made.version, self.form)
        (folder := house.folder / "liar").mkdir()
        outcome = compute_outcome(house.store, self.round, judge_all(house.store, self.round), folder)
        publish_outcome(house.store, outcome)
        house.forget("mallory")
        return outcome

    def without_body(self) -> MemoryStore:
        """What is published, but for the version's manifest, of which the head alone is."""
        public = without(self.house)
        for cid, _ in blocks_of(self.version):
            if cid.digest != digest_of(self.version):
                del public._blocks[cid.digest]
        return public


def other_value(house: Any) -> bytes:
    data = bytearray(house.outcome().version_file.read_bytes())
    data[-5:-1] = b"\0\0\x80\x3f"
    return bytes(data)


def other_file(house: Any, kind: str, folder: Path) -> bytes:
    if kind not in LAYOUTS:
        return other_value(house)
    save_arrays(folder / "other.safetensors", LAYOUTS[kind])
    return (folder / "other.safetensors").read_bytes()


@pytest.mark.parametrize("lie", ["aggregate", "version"])
@pytest.mark.parametrize("file", ["another value", "a withheld body", *LAYOUTS])
def test_an_auditor_that_was_there_builds_on_what_it_recomputed(
    published: Any, tmp_path: Path, file: str, lie: str
) -> None:
    house = published
    misnamed = Misnamed(house, other_file(house, file, tmp_path))
    public = misnamed.without_body() if file == "a withheld body" else house.store
    said = auditor.advance(house.stranger, public, house.folder / "auditor", house.model_id)
    assert "readers refuse it" in said
    outcome = misnamed.go_on()
    house.attest("mallory", falsified(house.store, outcome, **{lie: nudged(3, STEP)}), number=2)
    public = misnamed.without_body() if file == "a withheld body" else house.store
    assert convicted(house, public, number=2) is Fault[lie.upper()]


@pytest.mark.parametrize(
    ("file", "lie", "fault"),
    [
        ("another value", "version", Fault.UNANSWERED),
        ("another layout", "aggregate", Fault.AGGREGATE),
        ("other types", "aggregate", Fault.AGGREGATE),
    ],
)
def test_an_auditor_that_was_not_there_audits_without_the_file(
    published: Any, tmp_path: Path, file: str, lie: str, fault: Fault
) -> None:
    misnamed = Misnamed(published, other_file(published, file, tmp_path))
    outcome = misnamed.go_on()
    published.attest("mallory", falsified(published.store, outcome, **{lie: nudged(3, STEP)}), number=2)
    assert convicted(published, number=2) is fault


@pytest.mark.parametrize("other", [other_value, lambda house: b"\xff" * house.outcome().version.weights.size])
def test_a_sample_believes_no_parent_without_the_anchored_root(published: Any, other: Callable[[Any], bytes]) -> None:
    """Aggregate and version are hidden and shown leaf by leaf, the parent's true leaves too."""
    house = published
    misnamed = Misnamed(house, other(house))
    outcome = misnamed.go_on()
    lie = falsified(house.store, outcome, version=every_value(nudged, 283))
    house.attest("mallory", lie, number=2)
    aggregate = load_report(house.store, lie.report_digest, 2).manifest.aggregate.blob
    version = get_manifest(house.store, lie.version_digest, VersionManifest).weights.blob
    trees = [chunks_of_blob(house.store, blob) for blob in (aggregate, version)]
    trees.append(chunks_of_file(misnamed.made.version_file))
    openings = {chunks.root: chunks.opening for chunks in trees}
    store = without(house, aggregate, version)
    assert convicted(house, store, lambda: show(house, openings, number=2), number=2) is Fault.VERSION


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_kept_version_ends_no_audit(large: Any, damage: str) -> None:
    house, memory, place = large, auditor.AuditorMemory(), large.folder / "auditor"
    result = house.outcome().result
    house.attest("first", result)
    auditor.advance(house.stranger, house.store, place, house.model_id, memory=memory)
    (versions,) = place.glob("versions-*")
    path = LocalStore(versions).path_of(house.outcome().version.weights.cid.digest)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        path.unlink()
    for number, name in ((2, "first"), (3, "mallory")):
        house.sleep_to("challenge_deadline", number - 1)
        house.stranger.finalize_round(house.model_id, number - 1, result)
        house.owner.open_round(house.model_id)
        house.contribute_to(number, "ann")
        result = house.outcome(number=number).result
        if name == "mallory":
            result = falsified(house.store, house.outcome(number=number), aggregate=nudged(3, STEP))
        house.attest(name, result, number=number)
        if name == "first":
            said = auditor.advance(house.stranger, house.store, place, house.model_id, memory=memory)
            assert said.endswith("recomputed to the bit")
            assert memory.unkept == []
    assert convicted(house, memory=memory, number=3) is Fault.AGGREGATE
