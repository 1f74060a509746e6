"""A participant's updates on disk: finalized with a manifest, committed, and published after commits close.

A round's folder has `update.safetensors`, `dataset.opening`, `update.origin` and, written last, `update.cbor`; then
`sent`, once a commitment of it may reach the chain, and `published`.
Independent of how the update was made: needs no torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING

from registry.content.gate import Description, describe
from registry.content.manifest import (
    DELTA,
    NOT_STATED,
    Code,
    DataSetManifest,
    DeltaFile,
    Evaluation,
    Reason,
    UpdateManifest,
    decode,
    digest_of,
    encode,
    manifest_cid,
)
from registry.content.merkle import VALUES, Rows
from registry.content.tensors import packed_row_bytes
from registry.durable import write_whole
from registry.errors import ContractError, FormError, InputError, VerificationFailed
from registry.rounds.admission import UpdateForm, judge_blob
from registry.rounds.client_sampling import require_asked
from registry.rounds.data_sets import SALT_BYTES, open_data_set, opening_of
from registry.rounds.loaded_round import load_round
from registry.rounds.onchain import RoundRecord
from registry.store.base import ContentStore
from registry.store.blobs import add_file, blob_of_file, file_header, file_pieces
from registry.store.manifests import put_manifest
from registry.types import Address, Digest, ModelId, Root, RoundId

if TYPE_CHECKING:
    from registry.chain.client import Client

__all__ = [
    "ELSEWHERE",
    "Origin",
    "PreparedUpdate",
    "adopt_update",
    "discard_update",
    "commit_update",
    "commitment_fields",
    "describe_update",
    "earlier_rounds",
    "held_update",
    "is_of",
    "is_published",
    "kept_update",
    "mark_sent",
    "moves_nothing",
    "origin_of",
    "place_of",
    "prepared_update",
    "publish_update",
    "finalize_update",
    "this_package",
]

_PARTS = (
    "update.cbor",
    "update.origin",
    "sent",
    "published",
    "private.safetensors",
    "drift.safetensors",
    "residual.safetensors",
    "update.safetensors",
)
"""What a round's folder may have of an update."""
ELSEWHERE = Code("made elsewhere", NOT_STATED)
"""The code of a ready-made update of which its participant says no more."""


def this_package() -> Code:
    """Return this package at its version, for tasks whose training code it contains."""
    return Code("cairn-registry", installed("cairn-registry"))


@dataclass(frozen=True, slots=True)
class PreparedUpdate:
    """A finalized update, ready to be committed and published."""

    manifest: UpdateManifest
    file: Path


@dataclass(frozen=True, slots=True)
class Origin:
    """What made an update, kept beside it: another task or file makes another update.

    Attributes:
        said: What the user named, such as `--task hospital.py:task`.
        digest: SHA-256 over what determines the update, in hexadecimal.
        private: Whether the round has a private part beside it.
    """

    said: str
    digest: str
    private: bool


def place_of(folder: Path, round_id: RoundId) -> Path:
    """Return a round's folder within a participant's folder."""
    return folder / f"round-{round_id.hex()}"


def prepared_update(round_dir: Path) -> PreparedUpdate | None:
    """Return the finalized update of a round's folder; None if there is none.

    Raises:
        FormError: Its manifest is damaged.
    """
    manifest = round_dir / "update.cbor"
    if not manifest.exists():
        return None
    return PreparedUpdate(decode(manifest.read_bytes(), UpdateManifest), round_dir / "update.safetensors")


def earlier_rounds(folder: Path, record: RoundRecord, participant: Address) -> list[int]:
    """Return the earlier rounds of this model that the participant has locally sealed updates of, the last first."""
    here = (record.chain_id, record.contract, record.model_id, participant)
    sealed = (decode(file.read_bytes(), UpdateManifest) for file in folder.glob("round-*/update.cbor"))
    earlier = {
        update.number
        for update in sealed
        if (update.chain_id, update.contract, update.model, update.participant) == here
        and update.number < record.number
    }
    return sorted(earlier, reverse=True)


def origin_of(round_dir: Path) -> Origin | None:
    """Return what made the update of a round's folder; None if nothing says so."""
    try:
        return Origin(**json.loads((round_dir / "update.origin").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def is_of(round_dir: Path, origin: Origin) -> bool:
    """Return whether the update of a round's folder has this origin, under whichever name."""
    known = origin_of(round_dir)
    return known is not None and known.digest == origin.digest


def _is_sent(round_dir: Path, record: RoundRecord, participant: Address) -> bool:
    """Return whether the update of a round's folder is committed, or a commitment of it may still reach the chain."""
    return (round_dir / "sent").exists() or any(c.participant == participant for c in record.commitments)


def mark_sent(prepared: PreparedUpdate) -> None:
    """Note that a commitment is about to be sent, or handed out signed: no other update replaces this one."""
    write_whole(prepared.file.parent / "sent", b"")


def held_update(round_dir: Path, record: RoundRecord, participant: Address, origin: Origin) -> PreparedUpdate | None:
    """Return the update in a round's folder if it has this origin, or if it is too late for another."""
    held = prepared_update(round_dir)
    if held is None:
        return None
    if (held.manifest.parent.digest, held.manifest.plan.digest) != (record.parent, record.plan.digest):
        return None  # it belongs to a chain that was since reset
    return held if is_of(round_dir, origin) or _is_sent(round_dir, record, participant) else None


def kept_update(round_dir: Path) -> str:
    """Say when and by what the update of a round's folder was made, and why no other replaces it."""
    origin = origin_of(round_dir)
    made = datetime.fromtimestamp((round_dir / "update.cbor").stat().st_mtime, UTC)
    by = f" by {origin.said}" if origin is not None and origin.said else ""
    return f"the update made at {made:%Y-%m-%d %H:%M:%S} UTC{by}, whose commitment was sent or signed"


def discard_update(round_dir: Path) -> None:
    """Make a round's folder, or remove the update in it that was never sent, its manifest first: half of it is none."""
    round_dir.mkdir(parents=True, exist_ok=True)
    for name in _PARTS:
        (round_dir / name).unlink(missing_ok=True)


def describe_update(file: Path) -> Description:
    """Validate and hash an update's file, whose root is that of its values or of its packed rows.

    Raises:
        FormError: It is not a canonical safetensors file.
    """
    row_bytes = packed_row_bytes(file_header(file)[0])
    rows = VALUES if row_bytes is None else Rows(1, row_bytes)
    return describe(file_pieces(file), sha256=False, workers=1, rows=rows)


def moves_nothing(prepared: PreparedUpdate) -> bool:
    """Return whether an update is all zeros."""
    with prepared.file.open("rb") as file:
        file.seek(8 + int.from_bytes(file.read(8), "little"))
        return not any(any(piece) for piece in iter(lambda: file.read(1 << 20), b""))


def is_published(round_dir: Path) -> bool:
    """Return whether the update of a round's folder was published."""
    return (round_dir / "published").exists()


def finalize_update(
    round_dir: Path,
    record: RoundRecord,
    participant: Address,
    *,
    weight: int,
    steps: int,
    data_set: DataSetManifest,
    saturated: int = 0,
    metrics: Mapping[str, float] | None = None,
    evaluation: Evaluation | None = None,
    code: Code | None = None,
    origin: Origin | None = None,
) -> PreparedUpdate:
    """Hash `update.safetensors` and write its manifest, which makes it the round's update.

    Args:
        round_dir: The round's folder.
        record: The round.
        participant: Whose update it is.
        weight: Its weight.
        steps: Training steps it was made in.
        data_set: What it was trained on; stays here, its salted digest is published.
        saturated: Number of values clipped to the grid.
        metrics: Finite numbers by name.
        evaluation: Evaluation of the parent, if any.
        code: The code that computed it; None if nobody states it.
        origin: What made it, for whoever makes another one for the round.

    Raises:
        FormError: The file is not a canonical safetensors file of F32 tensors or packed rows.
    """
    file = round_dir / "update.safetensors"
    facts = describe_update(file)
    if facts.cid is None or facts.tensor_root is None:
        raise FormError(f"{file}: expected F32 tensors or packed rows, got others")
    opening = opening_of(data_set, _salt(round_dir.parent))
    named, _ = open_data_set(opening)
    manifest = UpdateManifest(
        chain_id=record.chain_id,
        contract=record.contract,
        model=record.model_id,
        number=record.number,
        participant=participant,
        parent=manifest_cid(record.parent),
        plan=manifest_cid(record.plan.digest),
        files={DELTA: DeltaFile(facts.cid, facts.size, facts.tensor_root)},
        weight=weight,
        steps=steps,
        saturated=saturated,
        metrics=dict(metrics or {}),
        evaluation=evaluation,
        data_set=named,
        code=code or Code(NOT_STATED, NOT_STATED),
    )
    _begin(round_dir, opening, origin)
    write_whole(round_dir / "update.cbor", encode(manifest))
    return PreparedUpdate(manifest, file)


def _begin(round_dir: Path, opening: bytes, origin: Origin | None) -> None:
    """Write what stands beside an update, before the manifest that makes it one."""
    for name in ("published", "sent", "update.origin"):
        (round_dir / name).unlink(missing_ok=True)
    write_whole(round_dir / "dataset.opening", opening)
    if origin is not None:
        write_whole(round_dir / "update.origin", json.dumps(asdict(origin)).encode())


def adopt_update(
    store: ContentStore,
    round_dir: Path,
    record: RoundRecord,
    file: Path,
    participant: Address,
    *,
    weight: int,
    steps: int,
    data_set: DataSetManifest,
    metrics: Mapping[str, float] | None = None,
    code: Code = ELSEWHERE,
) -> PreparedUpdate:
    """Check a ready-made update file by the round's rules, and make it the round's update.

    Args:
        store: The store of the plan and the parent.
        round_dir: The round's folder.
        record: The round.
        file: Safetensors on the plan's grid.
        participant: Whose update it is.
        weight: Its weight.
        steps: Training steps it was made in.
        data_set: What it was trained on; only its digest is published.
        metrics: Finite numbers by name.
        code: The code that computed it.

    Raises:
        FormError: The file is not a valid update of this round.
        InputError: The folder has another update, whose commitment was sent or signed.
    """
    made = f"{file}: expected an update as `cairn update make` makes of two files of weights"
    try:
        facts = describe_update(file)
    except FormError as error:
        raise FormError(f"{made}: {error}") from error
    origin = _file_origin(file, (str(facts.cid), weight, steps, data_set, code, dict(metrics or {})))
    held = held_update(round_dir, record, participant, origin)
    if held is not None:
        if not is_of(round_dir, origin):
            raise InputError(f"{round_dir} holds another update for this round: {kept_update(round_dir)}")
        return held
    form = _form_for(store, record, participant, steps)
    if facts.size != form.size or facts.tensor_root is None:
        raise FormError(f"{made}: parent and plan ask for {form.size} bytes, got {facts.size}")
    reason, detail = judge_blob(file_pieces(file), form, facts.tensor_root)
    if reason != Reason.ADMITTED:
        raise FormError(f"{made}: {detail}")
    _take(file, round_dir)
    return finalize_update(
        round_dir,
        record,
        participant,
        weight=weight,
        steps=steps,
        data_set=data_set,
        metrics=metrics,
        code=code,
        origin=origin,
    )


def _form_for(store: ContentStore, record: RoundRecord, participant: Address, steps: int) -> UpdateForm:
    """Return the round's form; refuse a participant or steps that the plan's algorithm does not ask for."""
    form = load_round(store, record).form
    require_asked(record, form.asks.share, participant)
    least, most = form.asks.steps
    if not least <= steps <= most:
        raise InputError(f"steps: expected {least}..{most} by the plan's algorithm, got {steps}")
    return form


def _file_origin(file: Path, told: tuple[object, ...]) -> Origin:
    return Origin(f"--update {file}", hashlib.sha256(repr(told).encode()).hexdigest(), private=False)


def _take(file: Path, round_dir: Path) -> None:
    """Copy a file as the round's update, synced to disk."""
    discard_update(round_dir)
    with (round_dir / "update.safetensors").open("wb") as out:
        for piece in file_pieces(file):
            out.write(piece)
        out.flush()
        os.fsync(out.fileno())


def commitment_fields(manifest: UpdateManifest) -> tuple[ModelId, int, Digest, Root, int, int]:
    """Return the on-chain fields of a commitment: model, round, digest, tensor root, weight and steps."""
    root = Root(manifest.delta.tensor_root)
    return ModelId(manifest.model), manifest.number, digest_of(manifest), root, manifest.weight, manifest.steps


def commit_update(
    client: Client, record: RoundRecord, prepared: PreparedUpdate, *, hook_data: Sequence[bytes] = ()
) -> None:
    """Commit a prepared update on chain; idempotent.

    Raises:
        VerificationFailed: The participant has committed another update to this round.
        ContractError: The contract refuses it, such as too late or without the role.
    """
    manifest = prepared.manifest
    mine = [c for c in record.commitments if c.participant == manifest.participant]
    if not mine:
        mark_sent(prepared)
        try:
            client.commit_update(*commitment_fields(manifest), hook_data=hook_data)
        except ContractError:  # it will never be committed
            (prepared.file.parent / "sent").unlink(missing_ok=True)
            raise
    elif mine[0].digest != digest_of(manifest):
        raise VerificationFailed(
            f"round {record.number}: this account committed 0x{mine[0].digest.hex()}, "
            f"this folder holds 0x{digest_of(manifest).hex()}"
        )


def publish_update(store: ContentStore, prepared: PreparedUpdate) -> None:
    """Add a committed update to the content store and pin it; idempotent.

    Call it once the block that closed commits is final: earlier, another participant could copy the update.

    Raises:
        VerificationFailed: The file no longer matches the commitment.
    """
    blob = prepared.manifest.delta.blob
    if not add_file(store, prepared.file, blob):
        raise VerificationFailed(f"{prepared.file}: expected {blob.cid}, got {blob_of_file(prepared.file).cid}")
    store.pin(blob.cid)
    put_manifest(store, prepared.manifest)
    write_whole(prepared.file.parent / "published", b"")


def _salt(folder: Path) -> bytes:
    """Return the participant's salt, drawn once, so that a data set has the same digest in every round.

    Raises:
        FormError: The salt file is damaged.
    """
    file = folder / "salt"
    if not file.exists():
        write_whole(file, secrets.token_bytes(SALT_BYTES))
    salt = file.read_bytes()
    if len(salt) != SALT_BYTES:
        raise FormError(f"{file}: expected {SALT_BYTES} bytes, got {len(salt)}")
    return salt
