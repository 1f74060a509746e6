"""Updates whose file differs from the committed one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from registry.content.manifest import DELTA, Reason
from registry.store.blobs import add_blob
from registry.store.manifests import put_manifest
from registry.store.memory import MemoryStore

if TYPE_CHECKING:
    from conftest import Federation, Update


def fate(house: Federation, update: Update, **said: object) -> tuple[Reason, str]:
    """Commit with what is said, publish, and return what becomes of it beside an honest update."""
    house.commit("mallory", update, **said)
    house.publish(update)
    house.contribute("ann", house.update("ann"))
    house.sleep_to("publish_deadline")
    verdicts = house.verdicts()
    assert verdicts[1].admitted
    return verdicts[0].reason, verdicts[0].detail


def test_a_manifest_that_names_another_blob_under_the_committed_root_is_refused(opened: Federation) -> None:
    shown, hidden = opened.update("mallory", seed=1), opened.update("mallory", seed=2)
    delta = replace(hidden.manifest.delta, tensor_root=shown.manifest.delta.tensor_root)
    reason, detail = fate(opened, replace(hidden, manifest=replace(hidden.manifest, files={DELTA: delta})))
    assert reason == Reason.WRONG_ROOT
    assert detail.startswith("tensor root: expected 0x")


def test_a_manifest_with_another_root_than_the_committed_one_is_refused(opened: Federation) -> None:
    update, other = opened.update("mallory", seed=1), opened.update("mallory", seed=2)
    reason, detail = fate(opened, update, tensor_root=other.manifest.delta.tensor_root)
    assert reason == Reason.WRONG_DECLARATION
    assert detail.startswith("tensor_root: expected 0x")


@pytest.mark.parametrize("weight", [1, 99, 101, 1 << 28])
def test_a_manifest_with_another_weight_than_the_committed_one_is_refused(opened: Federation, weight: int) -> None:
    reason, detail = fate(opened, opened.update("mallory", weight=100), weight=weight)
    assert reason == Reason.WRONG_DECLARATION
    assert detail == f"weight: expected {weight}, got 100"


@pytest.mark.parametrize("steps", [1, 3, 5, 1 << 20])
def test_a_manifest_with_other_steps_than_committed_is_refused(opened: Federation, steps: int) -> None:
    reason, detail = fate(opened, opened.update("mallory"), steps=steps)
    assert reason == Reason.WRONG_DECLARATION
    assert detail == f"steps: expected {steps}, got 4"


@pytest.mark.parametrize("change", [-4, 4, 1 << 35])
def test_a_declared_size_that_is_not_the_round_s_is_refused(opened: Federation, change: int) -> None:
    update = opened.update("mallory")
    delta = replace(update.manifest.delta, size=update.manifest.delta.size + change)
    reason, _ = fate(opened, replace(update, manifest=replace(update.manifest, files={DELTA: delta})))
    assert reason == Reason.BLOB_SIZE


@pytest.mark.parametrize("name", ["truncated", "extended"])
def test_a_blob_of_another_length_than_declared_is_refused(opened: Federation, name: str) -> None:
    update = opened.update("mallory")
    data = update.data[:-4] if name == "truncated" else update.data + bytes(4)
    blob = add_blob(MemoryStore(), [data])
    manifest = replace(update.manifest, files={DELTA: replace(update.manifest.delta, cid=blob.cid)})
    reason, detail = fate(opened, replace(update, manifest=manifest, data=data))
    assert reason == Reason.BLOB_FORM
    assert "expected" in detail


def test_a_manifest_replaced_after_the_commitment_is_not_found_under_its_digest(opened: Federation) -> None:
    update, better = opened.update("mallory", seed=1), opened.update("mallory", seed=2)
    opened.commit("mallory", update)
    opened.publish(better)
    opened.sleep_to("publish_deadline")
    assert opened.reasons() == {"mallory": Reason.UNAVAILABLE}


def test_a_committed_update_that_is_never_published_is_unavailable_and_the_round_goes_on(opened: Federation) -> None:
    opened.commit("mallory", opened.update("mallory"))
    opened.contribute("ann", opened.update("ann"))
    opened.sleep_to("publish_deadline")
    assert opened.reasons() == {"mallory": Reason.UNAVAILABLE, "ann": Reason.ADMITTED}
    opened.force(opened.outcome().result)
    assert all(v.passed for v in opened.verify())


def test_a_published_manifest_without_its_blob_is_unavailable(opened: Federation) -> None:
    update = opened.update("mallory")
    opened.commit("mallory", update)
    put_manifest(opened.store, update.manifest)
    opened.sleep_to("publish_deadline")
    assert opened.reasons() == {"mallory": Reason.UNAVAILABLE}


def test_a_digest_that_names_a_blob_instead_of_a_manifest_is_refused(opened: Federation) -> None:
    update = opened.update("mallory")
    opened.commit("mallory", update, digest=update.manifest.delta.cid.digest)
    opened.publish(update)
    opened.sleep_to("publish_deadline")
    assert opened.reasons() == {"mallory": Reason.MANIFEST_FORM}
