"""Rounds whose parent is withheld: an auditor that was there kept it, and one that was not demands it."""

from __future__ import annotations

import errno
import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hearing import convicted, show, without

from registry.chain.contract_hashes import roots_hash
from registry.content.manifest import Reason, VersionFile, VersionManifest, digest_of
from registry.content.merkle import state_rows
from registry.content.tensors import parse_header
from registry.dev.forgeries import Edit, falsified, nudged
from registry.disputes.openings import chunks_of_blob
from registry.errors import StoreUnavailable
from registry.roles import auditor
from registry.roles.aggregator import judge_all
from registry.roles.kept_versions import keep_version, kept_version, restore_version
from registry.rounds.loaded_round import load_by_updates
from registry.rounds.reports import load_report
from registry.rounds.results import compute_outcome, publish_outcome
from registry.rules.grid import to_grid
from registry.store.blobs import add_blob
from registry.store.local import LocalStore
from registry.store.manifests import get_manifest, put_manifest
from registry.store.memory import MemoryStore
from registry.types import Cid, Fault

pytestmark = pytest.mark.slow

STEP = 2.0**-22


def other_values(data: bytes) -> bytes:
    """Every F32 value of a version, one more."""
    header = parse_header(data, len(data))
    begin, end = (header.header_bytes + place for place in header.range_of("F32"))
    return data[:begin] + (np.frombuffer(data[begin:end], "<f4") + np.float32(1)).tobytes() + data[end:]


def nudged_state(data: bytes) -> bytes:
    """Every number of a state, three more."""
    begin = parse_header(data, len(data)).header_bytes
    return data[:begin] + (np.frombuffer(data[begin:], "<i8") + 3).tobytes()


def test_a_version_that_was_recomputed_is_kept_for_the_next_round(published: Any) -> None:
    """Nobody but the auditor has the parent's manifest or file, and it has been restarted."""
    house = published
    result, place = house.outcome().result, house.folder / "auditor"
    house.attest("first", result)
    assert auditor.advance(house.stranger, house.store, place, house.model_id).endswith("recomputed to the bit")
    house.sleep_to("challenge_deadline")
    house.stranger.finalize_round(house.model_id, 1, result)
    house.owner.open_round(house.model_id)
    house.contribute_to(2, "ann")
    house.attest("mallory", falsified(house.store, house.outcome(number=2), aggregate=nudged(3, STEP)), number=2)
    round = house.round(2)
    public = without(house, round.parent.weights.blob)
    del public._blocks[round.record.parent]
    assert convicted(house, public, number=2) is Fault.AGGREGATE


@pytest.mark.parametrize("hindrance", ["the kept file is damaged", "the own store takes no block", "the disk is full"])
def test_a_parent_that_cannot_be_restored_is_read_where_it_is_public(published: Any, hindrance: str) -> None:
    """What an auditor keeps of its own is a help, and no condition of an audit."""
    house = published
    result, place = house.outcome().result, house.folder / "auditor"
    house.attest("first", result)
    auditor.advance(house.stranger, house.store, place, house.model_id)
    house.sleep_to("challenge_deadline")
    house.stranger.finalize_round(house.model_id, 1, result)
    house.owner.open_round(house.model_id)
    house.contribute_to(2, "ann")
    house.attest("mallory", falsified(house.store, house.outcome(number=2), aggregate=nudged(3, STEP)), number=2)

    class Fetching(MemoryStore):
        """Holds nothing of its own at first, and reads everything that is public."""

        def _get(self, cid: Cid) -> bytes:
            return self._blocks[cid.digest] if cid.digest in self._blocks else house.store.get(cid)

        def _put(self, cid: Cid, data: bytes) -> None:
            if hindrance == "the own store takes no block":
                raise StoreUnavailable("a gateway is read-only")
            if hindrance == "the disk is full":
                raise OSError(errno.ENOSPC, "No space left on device")
            super()._put(cid, data)

    (versions,) = place.glob("versions-*")
    if hindrance == "the kept file is damaged":
        path = LocalStore(versions).path_of(house.round(2).parent.weights.cid.digest)
        path.write_bytes(path.read_bytes()[:-1])
    assert convicted(house, Fetching(), number=2) is Fault.AGGREGATE


def test_a_version_that_could_not_be_kept_is_kept_by_a_later_step(
    published: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, memory, place = published, auditor.AuditorMemory(), published.folder / "auditor"
    house.attest("first", house.outcome().result)
    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "_put_many", lambda *_: (_ for _ in ()).throw(StoreUnavailable("disk full")))
        told = auditor.advance(house.stranger, house.store, place, house.model_id, memory=memory)
    assert "is not kept yet" in told or "recomputed to the bit" in told
    assert not [*place.glob("versions-*/pins/*")]
    auditor.advance(house.stranger, house.store, place, house.model_id, memory=memory)
    assert len([*place.glob("versions-*/pins/*")]) == 3, "file, manifest and head"
    assert memory.unkept == []


@pytest.mark.parametrize("file", ["garbage", "one other value"])
def test_a_parent_whose_manifest_names_another_file_is_as_one_withheld(published: Any, file: str) -> None:
    """Its roots are right, so nothing convicts the round that made it."""
    house = published
    made, form = house.outcome(), house.round().form
    data = bytearray(made.version_file.read_bytes())
    data[-5:-1] = b"\0\0\x80\x3f"
    other = bytes(data) if file == "one other value" else b"\xff" * len(data)
    blob = add_blob(house.store, [other])
    version = replace(made.version, weights=VersionFile(blob.cid, blob.size, hashlib.sha256(other).digest()))
    put_manifest(house.store, version)
    result = replace(made.result, version_digest=digest_of(version))
    house.attest("mallory", result)
    house.sleep_to("challenge_deadline")
    house.stranger.finalize_round(house.model_id, 1, result)
    house.owner.open_round(house.model_id)
    values, _ = to_grid(np.random.default_rng(5).normal(size=(form.size - len(form.header)) // 4) / 8, 22)
    update = house.sealed("ann", form.header + values.tobytes(), at=2)
    house.commit("ann", update, at=2)
    house.publish(update)
    house.sleep_to("publish_deadline", 2)
    round = replace(load_by_updates(house.store, house.record(2)), parent=made.version)  # the liar has the true file
    (folder := house.folder / "liar").mkdir()
    outcome = compute_outcome(house.store, round, judge_all(house.store, round), folder)
    publish_outcome(house.store, outcome)
    house.forget("mallory")
    house.attest("mallory", falsified(house.store, outcome, aggregate=nudged(3, STEP)), number=2)
    assert convicted(house, house.store, number=2) is Fault.AGGREGATE


@pytest.mark.parametrize(
    ("edits", "fault"),
    [
        ({"aggregate": nudged(3, STEP)}, Fault.AGGREGATE),
        ({"version": other_values}, Fault.VERSION),
        ({"state": nudged_state}, Fault.STATE),
    ],
    ids=["aggregate", "version", "state"],
)
def test_a_parent_that_nobody_holds_in_public_is_demanded(stateful: Any, edits: dict[str, Edit], fault: Fault) -> None:
    """Files of the parent and its state are withheld, and each leaf is shown that is demanded."""
    house, parent = stateful, stateful.round(2).parent
    assert parent.state is not None
    result = falsified(house.store, house.outcome(number=2), **edits)
    made = get_manifest(house.store, result.version_digest, VersionManifest)
    report = load_report(house.store, result.report_digest, 3)
    assert made.state is not None
    rows = state_rows(len(house.round(2).form.rules.program.states))
    trees = [chunks_of_blob(house.store, blob) for blob in (parent.weights.blob, made.weights.blob)]
    trees += [chunks_of_blob(house.store, version.state.blob, rows) for version in (parent, made)]
    trees.append(chunks_of_blob(house.store, report.manifest.aggregate.blob))
    openings = {chunks.root: chunks.opening for chunks in trees}
    house.attest("mallory", result, number=2)
    store = without(house, parent.weights.blob, parent.state.blob)
    assert convicted(house, store, lambda: show(house, openings, number=2), number=2) is fault


def test_a_parent_that_is_not_shown_either_voids_the_result(published: Any) -> None:
    """A false value of the version; without its parent nothing can be compared with it."""
    house = published
    parent = house.round().parent.weights.blob
    house.attest("mallory", falsified(house.store, house.outcome(), version=nudged(3)))
    assert convicted(house, without(house, parent)) is Fault.UNANSWERED


def test_the_versions_of_two_rounds_are_kept_and_no_more(stateful: Any) -> None:
    """The parent, and what may be the parent of the next round; each with its state."""
    house, folder = stateful, stateful.folder / "versions"
    made = house.outcome(number=2)
    keep_version(folder, made, house.record(2).parent_roots)
    kept, empty = LocalStore(folder), LocalStore(house.folder / "empty")
    found = kept_version(folder, roots_hash(made.result.roots))
    assert found == made.version
    restore_version(folder, empty, found)
    assert made.version.state is not None
    for blob in (made.version.weights.blob, made.version.state.blob):
        assert empty.has(blob.cid)
    assert len(list(kept.pins())) == 4, "file, state, manifest and head"
    first, *others = house.verdicts(number=2)
    other = house.outcome((first, *(replace(verdict, reason=Reason.UNAVAILABLE) for verdict in others)), number=2)
    keep_version(folder, other, house.record(2).parent_roots)
    assert not kept.has(made.version.weights.cid)
    keep_version(folder, house.outcome(number=2), roots_hash(other.result.roots))
    assert kept.has(other.version.weights.cid), "the parent of the round stays"
