"""A ready-made update file as a participant's update for a round."""

from __future__ import annotations

import os
import shutil
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING

from registry.errors import FormError, InputError

if TYPE_CHECKING:
    from registry.content.manifest import DataSetManifest, UpdateManifest
    from registry.provenance.rounds import RoundRecord
    from registry.store.base import ContentStore
    from registry.types import Address
    from trainer.participant import Prepared

__all__ = ["adopt_update"]


def adopt_update(
    store: ContentStore,
    place: Path,
    record: RoundRecord,
    file: Path,
    *,
    weight: int,
    data_set: DataSetManifest,
    participant: Address,
) -> Prepared:
    """Check an update file as the round will, and put it where a prepared update belongs.

    Args:
        store: Holds the plan and the parent.
        place: The round's folder of this participant; one that holds an update keeps it.
        record: The round.
        file: Safetensors on the plan's grid.
        weight: The update's weight.
        data_set: What it was trained on; stays here, its digest is published.
        participant: Whose update it is.

    Raises:
        FormError: The file is not what an update of this round is.
        InputError: The folder holds another update already.
    """
    from registry.content.manifest import Reason, encode
    from registry.provenance.admission import judge_blob, update_form
    from registry.provenance.plans import load_plan
    from registry.provenance.versions import load_version_manifest, read_header
    from registry.store.blobs import file_pieces
    from trainer.participant import Prepared

    plan, parent = load_plan(store, record.plan), load_version_manifest(store, record.parent)
    form = update_form(read_header(store, parent.weights.blob), plan)
    manifest = _manifest(record, file, weight=weight, data_set=data_set, participant=participant)
    if manifest.delta.size != form.size:
        raise FormError(
            f"{file}: expected {form.size} bytes, as the parent and the plan ask, got {manifest.delta.size}"
        )
    reason, detail = judge_blob(file_pieces(file), form, manifest.delta.tensor_root)
    if reason != Reason.ADMITTED:
        raise FormError(f"{file}: {detail}")
    held, sealed = place / "update.safetensors", place / "update.cbor"
    if sealed.exists() and sealed.read_bytes() != encode(manifest):
        raise InputError(f"{place} holds another update for this round")
    place.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, place / "update.partial")
    (place / "update.partial").replace(held)
    _write_whole(place / "dataset.cbor", encode(data_set))
    _write_whole(sealed, encode(manifest))
    return Prepared(manifest, held)


def _manifest(
    record: RoundRecord, file: Path, *, weight: int, data_set: DataSetManifest, participant: Address
) -> UpdateManifest:
    from registry.content.gate import describe
    from registry.content.manifest import Code, DeltaFile, UpdateManifest, digest_of, manifest_cid
    from registry.store.blobs import file_pieces

    facts = describe(file_pieces(file), sha256=False)
    if facts.cid is None or facts.tensor_root is None:
        raise FormError(f"{file}: has no tensor root")
    return UpdateManifest(
        chain_id=record.chain_id,
        contract=record.contract,
        model=record.model_id,
        number=record.number,
        participant=participant,
        parent=manifest_cid(record.parent),
        plan=manifest_cid(record.plan.digest),
        delta=DeltaFile(facts.cid, facts.size, facts.tensor_root),
        weight=weight,
        saturated=0,
        metrics={},
        data_set=digest_of(data_set),
        code=Code("cairn-registry", installed("cairn-registry")),
    )


def _write_whole(path: Path, data: bytes) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
