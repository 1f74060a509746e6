"""A malicious owner: versions that contradict their manifest or the chain."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from registry.content.manifest import (
    BaseFile,
    DeltaFile,
    RoundOrigin,
    VersionFile,
    VersionManifest,
    digest_of,
    manifest_cid,
)
from registry.content.merkle import tensor_root
from registry.errors import FormError, VerificationFailed
from registry.rounds.versions import add_version, read_arrays, read_header, save_arrays
from registry.store.blobs import add_blob
from registry.store.manifests import put_manifest
from registry.types import Blob, Cid, Codec, Root

if TYPE_CHECKING:
    from conftest import Federation


def version_of(house: Federation, folder: Path, seed: int = 3) -> VersionManifest:
    """A sound version on the genesis."""
    draw = np.random.default_rng(seed)
    arrays = {"w": draw.normal(size=(40, 7)).astype(np.float32), "b": np.zeros(3, np.float32)}
    save_arrays(folder / "version.safetensors", arrays)
    return add_version(house.store, folder / "version.safetensors", parent=house.genesis)


def publish(house: Federation, manifest: VersionManifest, root: bytes | None = None) -> Any:
    """Anchor a version as its owner and return what verifying it finds."""
    put_manifest(house.store, manifest)
    tensor = Root(manifest.tensor_root if root is None else root)
    house.owner.publish_version(house.model_id, house.genesis, digest_of(manifest), tensor, Root(manifest.rest_root))
    return house.verify()[-1]


def test_a_sound_version_of_the_owner_verifies(federation: Federation, tmp_path: Path) -> None:
    assert publish(federation, version_of(federation, tmp_path)).passed


def test_a_version_whose_manifest_disagrees_with_the_anchored_root_fails_verification(
    federation: Federation, failed: Any, tmp_path: Path
) -> None:
    found = publish(federation, version_of(federation, tmp_path), root=b"\x01" * 32)
    assert "version: tensor in its manifest" in failed(found.checks)


def test_a_version_whose_file_has_another_root_fails_verification(
    federation: Federation, failed: Any, tmp_path: Path
) -> None:
    found = publish(federation, replace(version_of(federation, tmp_path), tensor_root=b"\x02" * 32))
    assert "version: the manifest has tensor root" in failed(found.checks)


def test_a_version_whose_file_has_another_sha256_fails_verification(
    federation: Federation, failed: Any, tmp_path: Path
) -> None:
    sound = version_of(federation, tmp_path)
    found = publish(federation, replace(sound, weights=replace(sound.weights, sha256=b"\x03" * 32)))
    assert "version: the manifest has sha256" in failed(found.checks)


def test_a_version_whose_file_has_another_rest_fails_verification(
    federation: Federation, failed: Any, tmp_path: Path
) -> None:
    found = publish(federation, replace(version_of(federation, tmp_path), rest_root=b"\x02" * 32))
    assert "version: the manifest has rest root" in failed(found.checks)


LEFT_ALONE: dict[str, tuple[dict[str, Any], tuple[str, ...], str]] = {
    "in silence": ({"h": np.ones(2, np.float16)}, (), "declared frozen, and no others, got 'h'"),
    "that is trained": ({}, ("w",), "declared frozen, and no others, got 'w'"),
    "that is not there": ({"h": np.ones(2, np.float16)}, ("h", "i"), "declared frozen, and no others, got 'i'"),
}


@pytest.mark.parametrize(("more", "frozen", "said"), LEFT_ALONE.values(), ids=LEFT_ALONE)
def test_what_rounds_leave_alone_is_declared(
    federation: Federation, failed: Any, tmp_path: Path, more: dict[str, Any], frozen: tuple[str, ...], said: str
) -> None:
    file, declared = tmp_path / "version.safetensors", tuple(more)
    save_arrays(file, {"w": np.ones((4, 4), np.float32)} | more)
    with pytest.raises(FormError, match=said):
        add_version(federation.store, file, parent=federation.genesis, frozen=frozen)
    sound = add_version(federation.store, file, parent=federation.genesis, frozen=declared)
    assert said in failed(publish(federation, replace(sound, frozen=frozen)).checks)


def test_a_version_in_which_nothing_is_trained_is_refused(
    federation: Federation, facts_of: Any, tmp_path: Path
) -> None:
    file = tmp_path / "version.safetensors"
    save_arrays(file, {"h": np.ones(2, np.float16)})
    said = "expected one or more F32 values, which rounds train, got none"
    with pytest.raises(FormError, match=said):
        add_version(federation.store, file, parent=federation.genesis, frozen=("h",))
    data, facts = file.read_bytes(), facts_of(file.read_bytes())
    found = replace(raw(federation, data, facts.tensor_root), frozen=("h",), rest_root=facts.rest_root)
    with pytest.raises(FormError, match=said):
        read_arrays(federation.store, found)


@pytest.mark.parametrize("change", [-1, 1, 1 << 35])
def test_a_version_whose_file_has_another_size_fails_verification(
    federation: Federation, failed: Any, tmp_path: Path, change: int
) -> None:
    sound = version_of(federation, tmp_path)
    weights = replace(sound.weights, size=sound.weights.size + change)
    assert "expected" in failed(publish(federation, replace(sound, weights=weights)).checks)


def test_a_version_whose_manifest_names_another_parent_fails_verification(
    federation: Federation, failed: Any, tmp_path: Path
) -> None:
    found = publish(federation, replace(version_of(federation, tmp_path), parent=manifest_cid(b"\x04" * 32)))
    assert "version: parent" in failed(found.checks)


def test_a_version_whose_manifest_names_no_parent_fails_verification(
    federation: Federation, failed: Any, tmp_path: Path
) -> None:
    found = publish(federation, replace(version_of(federation, tmp_path), parent=None))
    assert "version: parent" in failed(found.checks)


def test_a_published_version_that_claims_a_round_fails_verification(
    federation: Federation, failed: Any, tmp_path: Path
) -> None:
    """An owner passes off weights of its own as what a round of others made."""
    sound = version_of(federation, tmp_path)
    origin = RoundOrigin(
        chain_id=federation.owner.chain_id,
        contract=federation.address,
        model=federation.model_id,
        number=1,
        plan=manifest_cid(federation.plan.digest),
        aggregate=DeltaFile(sound.weights.cid, sound.weights.size, sound.tensor_root),
        report=manifest_cid(b"\x05" * 32),
    )
    assert "claims a round" in failed(publish(federation, replace(sound, round=origin)).checks)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_version_with_a_value_that_is_not_finite_fails_verification(
    federation: Federation, failed: Any, facts_of: Any, bad: float, tmp_path: Path
) -> None:
    path = tmp_path / "v.safetensors"
    save_arrays(path, {"w": np.ones((4, 4), np.float32)})
    data = path.read_bytes()
    start = facts_of(data).header.header_bytes
    data = data[:start] + np.float32(bad).tobytes() + data[start + 4 :]
    assert "expected finite values" in failed(
        publish(federation, raw(federation, data, tensor_root(data[start:]))).checks
    )


@pytest.mark.parametrize(
    "prefix",
    [(1 << 63).to_bytes(8, "little"), (100 << 20).to_bytes(8, "little"), bytes(8), b"\x80\x04cos\nsy", b""],
    ids=["header of 2^63", "100 MB header", "no header", "pickle", "nothing"],
)
def test_a_version_that_is_no_canonical_file_fails_verification(
    federation: Federation, failed: Any, prefix: bytes
) -> None:
    data = prefix + bytes(2000) if prefix else b""
    said = failed(publish(federation, raw(federation, data, b"\x06" * 32)).checks)
    assert "FormError: " in said
    assert "safetensors" in said


def raw(house: Federation, data: bytes, root: bytes) -> VersionManifest:
    """A version whose file is these bytes, whatever they are."""
    blob = add_blob(house.store, [data])
    weights = VersionFile(blob.cid, blob.size, hashlib.sha256(data).digest())
    parent = manifest_cid(house.genesis)
    return VersionManifest(parent, weights, root, b"\x06" * 32, None, None, (), {}, None, None)


def test_a_parent_with_an_endless_header_is_refused_without_reading_it(federation: Federation) -> None:
    """Participants read the parent's header before they train: an owner must not be able to fill their memory."""
    data = (1 << 62).to_bytes(8, "little") + bytes(9 << 20)
    blob = add_blob(federation.store, [data])
    leaves = 0
    original = federation.store._get

    def counting(cid: Any) -> bytes:
        nonlocal leaves
        leaves += 1
        return original(cid)

    federation.store._get = counting  # type: ignore[method-assign]
    with pytest.raises(FormError, match="expected a header of at most"):
        read_header(federation.store, Blob(blob.cid, blob.size))
    assert leaves <= 8  # the root, the first leaf, and what is fetched ahead of it


def test_nobody_trains_on_a_parent_whose_file_is_not_what_its_manifest_says(
    federation: Federation, tmp_path: Path
) -> None:
    sound, other = version_of(federation, tmp_path), version_of(federation, tmp_path, seed=4)
    false = replace(sound, weights=replace(other.weights, sha256=sound.weights.sha256))
    with pytest.raises(VerificationFailed, match="version: the manifest has sha256"):
        read_arrays(federation.store, false)


def test_nobody_trains_on_a_parent_that_was_anchored_with_other_roots(federation: Federation, tmp_path: Path) -> None:
    publish(federation, version_of(federation, tmp_path), root=b"\x01" * 32)
    federation.owner.open_round(federation.model_id)
    with pytest.raises(VerificationFailed, match=r"anchored with roots of hash 0x.*, its manifest has others"):
        federation.round()


def test_nobody_honest_builds_a_round_on_a_false_parent(federation: Federation, tmp_path: Path) -> None:
    sound, other = version_of(federation, tmp_path), version_of(federation, tmp_path, seed=4)
    publish(federation, replace(sound, weights=other.weights))
    federation.owner.open_round(federation.model_id)
    federation.contribute("ann", federation.update("ann"))
    federation.sleep_to("publish_deadline")
    with pytest.raises(VerificationFailed, match="version: the manifest has"):
        federation.outcome()


@pytest.mark.parametrize("files", [True, False])
@pytest.mark.parametrize(
    "changed",
    [
        {"base": BaseFile(Cid(Codec.RAW, b"\x01" * 32), 10, b"\x01" * 32, "MIT", "elsewhere")},
        {"frozen": ("w",)},
        {"aliases": {"other": "w"}},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_round_s_version_on_another_base_fails_verification(
    published: Federation, failed: Any, changed: dict[str, Any], files: bool
) -> None:
    honest = published.outcome()
    version = replace(honest.version, **changed)
    put_manifest(published.store, version)
    published.force(replace(honest.result, version_digest=digest_of(version)))
    said = "recomputed version_digest" if files else f"version: {next(iter(changed))} of its parent"
    assert said in failed(published.verify(files=files)[-1].checks)
