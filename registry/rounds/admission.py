"""Validation of client updates: header, layout, grid values, Merkle root; a reason code for each that is refused.

Checks are pure functions of records and bytes, in the order of the reason codes, plus functions that fetch their input.
Participants, aggregators and auditors run the same checks. `judge` reads an update's file for them. `judge_declared`
checks the manifest alone: header, values and root are then checked while aggregating, so that each file is read once
(`registry.rounds.results.compute_declared`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from registry.chain.contract_events import UpdateCommitted
from registry.content.manifest import DELTA, PlanManifest, Reason, UpdateManifest
from registry.content.merkle import VALUES, Rows, TensorRootHasher
from registry.content.segments import Segment, SegmentKind
from registry.content.tensors import TensorHeader, encode_header, packed_layout, update_layout
from registry.errors import BlockMismatch, BlockNotFound, BlockTooLarge, FormError, InputError, StoreUnavailable
from registry.rounds.client_sampling import is_asked
from registry.rounds.onchain import RoundRecord
from registry.rounds.plans import plan_rules, plan_segments
from registry.rules.algorithms import Asks, asks_of
from registry.rules.encoding import RuleSet
from registry.rules.gram import SPREAD
from registry.rules.grid import F32, check_arithmetic, grid_integers
from registry.rules.packed import ROW_VALUES, Packing
from registry.rules.table import packing_of
from registry.store.base import ContentStore
from registry.store.blobs import open_blob
from registry.store.manifests import get_manifest
from registry.types import MAX_TOTAL_WEIGHT, Cid, Codec

__all__ = [
    "UpdateForm",
    "Verdict",
    "judge",
    "judge_blob",
    "judge_declared",
    "judge_manifest",
    "judge_weights",
    "update_form",
    "update_rows",
]

_MISSING = (BlockNotFound, BlockMismatch, BlockTooLarge, StoreUnavailable)


@dataclass(frozen=True, slots=True)
class UpdateForm:
    """Form that every update of a round must have, computed from parent and plan, never from an update.

    Attributes:
        header: Header of its file.
        size: Length of its file, bytes.
        packing: Layout of its packed rows; None where it holds float32 values on the grid.
        dense: Header of a file with every value as float32, such as the aggregate's.
        rules: What the round computes.
        segments: Of the coordinates.
        asks: What the plan's algorithm asks of commitments.
    """

    header: bytes
    size: int
    packing: Packing | None
    dense: TensorHeader
    rules: RuleSet
    segments: tuple[Segment, ...]
    asks: Asks

    @property
    def grid_bits(self) -> int:
        """s: values are integers times 2^-s."""
        return self.rules.grid_bits

    @property
    def rows(self) -> Rows:
        """What a leaf of an update's root holds: 256 coordinates, as values or as the bytes of a row."""
        return update_rows(self.packing)

    @property
    def entries(self) -> int:
        """What an update's root counts: values, or bytes of rows."""
        values = self.rules.values
        return values if self.packing is None else self.packing.rows(values) * self.packing.row_bytes

    @property
    def unit(self) -> int:
        """Bytes of an update that can be decoded alone: a value, or a row."""
        return self.rows.entry_bytes if self.packing is None else self.rows.size

    @property
    def span(self) -> int:
        """Coordinates in a unit."""
        return 1 if self.packing is None else ROW_VALUES

    @property
    def aggregate(self) -> UpdateForm:
        """The form of the aggregate: as of an update with every value as float32."""
        header = encode_header(self.dense.specs)
        return replace(self, header=header, size=self.dense.file_bytes, packing=None)

    def integers(self, leaves: bytes | memoryview, first: int = 0, *, check: bool = True) -> F32:
        """Return the grid integers in leaves of an update, float32, one for each coordinate.

        Args:
            leaves: Whole values or rows.
            first: Coordinate of the first of them.
            check: Check that they are canonical.

        Raises:
            FormError: A value or row is not canonical.
        """
        if self.packing is None:
            return grid_integers(np.frombuffer(leaves, dtype="<f4"), self.grid_bits, first=first, check=check)
        rows = np.frombuffer(leaves, dtype=np.uint8).reshape(-1, self.packing.row_bytes)
        values = self.rules.values
        integers = self.packing.unpack(rows, first=first // ROW_VALUES, values=values, check=check)
        return integers[: values - first]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Verdict on a commitment's update.

    Attributes:
        reason: Reason code.
        detail: Human-readable reason.
        manifest: The update's manifest; None if it could not be read.
        damaged: Whether it is unavailable because the served bytes do not hash to their CID.
    """

    commitment: UpdateCommitted
    reason: Reason
    detail: str
    manifest: UpdateManifest | None
    damaged: bool = False

    @property
    def admitted(self) -> bool:
        return self.reason == Reason.ADMITTED


def update_form(parent: TensorHeader, plan: PlanManifest) -> UpdateForm:
    """Return the required form of a round's updates and aggregate.

    Raises:
        UnknownRule: The plan has rules of a later release.
        FormError: A rule does not allow the plan's parameters or weights.
        InputError: The plan does not fit the parent's tensors.
    """
    dense, packing = update_layout(parent), packing_of(plan)
    rules, segments = plan_rules(plan), plan_segments(plan, parent)
    _require_near_scales(rules, segments)
    file = dense if packing is None else packed_layout(packing.rows(rules.values), packing.row_bytes)
    asks = asks_of(plan.algorithm)
    return UpdateForm(encode_header(file.specs), file.file_bytes, packing, dense, rules, segments, asks)


def update_rows(packing: Packing | None) -> Rows:
    """Return what a leaf of an update's root holds: 256 coordinates, as float32 values or as the bytes of a row."""
    return VALUES if packing is None else Rows(1, packing.row_bytes)


def _require_near_scales(rules: RuleSet, segments: Sequence[Segment]) -> None:
    """Check that inner products of updates, in units of the finest scale, fit into the words that reports anchor."""
    exponents = [segment.exponent for segment in segments if segment.kind is SegmentKind.PARAMETER]
    if rules.shape.selects and exponents and max(exponents) - min(exponents) > SPREAD:
        raise InputError(
            f"plan: expected scales of parameters within 2^{SPREAD} of each other under a rule that selects, got "
            f"2^{min(exponents)} to 2^{max(exponents)}"
        )


def judge_manifest(
    store: ContentStore, record: RoundRecord, size: int, asks: Asks, commitment: UpdateCommitted
) -> tuple[Reason, str, UpdateManifest | None]:
    """Check that the round asked the participant, then fetch and check the manifest with the committed digest.

    Args:
        store: Where to fetch it.
        record: The round.
        size: Length of the files of the round's updates, bytes.
        asks: What the plan's algorithm asks of commitments.
        commitment: The commitment.

    Raises:
        ContentError: The manifest is unavailable.
    """
    if not is_asked(record, asks.share, commitment.participant):
        return Reason.NOT_ASKED, f"participant: expected one of those asked, a share of {float(asks.share):g}", None
    try:
        manifest = get_manifest(store, commitment.digest, UpdateManifest)
    except FormError as error:
        return Reason.MANIFEST_FORM, str(error), None
    if set(manifest.files) != {DELTA}:
        return Reason.MANIFEST_FORM, f"files: expected {DELTA!r} alone, got {sorted(manifest.files)[:9]}", manifest
    binding = {
        "chain_id": record.chain_id,
        "contract": record.contract,
        "model": record.model_id,
        "number": record.number,
        "participant": commitment.participant,
        "parent": Cid(Codec.DAG_CBOR, record.parent),
        "plan": Cid(Codec.DAG_CBOR, record.plan.digest),
    }
    for name, expected in binding.items():
        if getattr(manifest, name) != expected:
            return Reason.WRONG_BINDING, _differs(name, expected, getattr(manifest, name)), manifest
    for name in ("weight", "steps"):
        committed, declared = getattr(commitment, name), getattr(manifest, name)
        if declared != committed:
            return Reason.WRONG_DECLARATION, _differs(name, committed, declared), manifest
    if not asks.steps[0] <= manifest.steps <= asks.steps[1]:
        return Reason.WRONG_DECLARATION, _differs("steps", "..".join(map(str, asks.steps)), manifest.steps), manifest
    if manifest.delta.tensor_root != commitment.tensor_root:
        detail = _differs("tensor_root", commitment.tensor_root, manifest.delta.tensor_root)
        return Reason.WRONG_DECLARATION, detail, manifest
    if manifest.delta.size != size:
        return Reason.BLOB_SIZE, _differs("size", size, manifest.delta.size), manifest
    return Reason.ADMITTED, "", manifest


def judge_blob(pieces: Iterable[bytes | memoryview], form: UpdateForm, tensor_root: bytes) -> tuple[Reason, str]:
    """Check an update's file in one streaming pass: header, values and tensor root."""
    check_arithmetic()
    hasher, offset, rest, first = TensorRootHasher(rows=form.rows), 0, b"", 0
    value_fault = ""
    for piece in pieces:
        header = form.header[offset : offset + len(piece)]
        if piece[: len(header)] != header:
            return Reason.BLOB_FORM, "header: expected that of the parent under the plan, got another"
        offset += len(piece)
        body = memoryview(piece)[len(header) :]
        hasher.update(body)
        if value_fault:
            continue
        data = rest + bytes(body) if rest else body
        whole = len(data) - len(data) % form.unit
        rest = bytes(data[whole:])
        try:
            first += len(form.integers(data[:whole], first))
        except FormError as error:
            value_fault = str(error)
    if offset != form.size:
        return Reason.BLOB_FORM, _differs("size", form.size, offset)
    if value_fault:
        return Reason.VALUE, value_fault
    if hasher.digest() != tensor_root:
        return Reason.WRONG_ROOT, _differs("tensor root", tensor_root, hasher.digest())
    return Reason.ADMITTED, ""


def judge(
    store: ContentStore,
    record: RoundRecord,
    form: UpdateForm,
    commitment: UpdateCommitted,
    late: Callable[[], bool] = lambda: False,
) -> Verdict:
    """Fetch and check one commitment's update, except for the limit on the round's total weight.

    Args:
        store: Store that has the update or can fetch it.
        record: The round.
        form: Required form of its updates.
        commitment: One of its commitments.
        late: Called before each piece; once it returns true, the rest counts as unavailable.
    """
    verdict = judge_declared(store, record, form, commitment)
    manifest = verdict.manifest
    if not verdict.admitted or manifest is None:
        return verdict
    try:
        reason, detail = judge_blob(_in_time(open_blob(store, manifest.delta.blob), late), form, commitment.tensor_root)
    except _MISSING as error:
        return Verdict(commitment, Reason.UNAVAILABLE, str(error), manifest, isinstance(error, BlockMismatch))
    except FormError as error:
        return Verdict(commitment, Reason.BLOB_FORM, str(error), manifest)
    return Verdict(commitment, reason, detail, manifest)


def judge_declared(store: ContentStore, record: RoundRecord, form: UpdateForm, commitment: UpdateCommitted) -> Verdict:
    """Fetch and check only one commitment's manifest; admission is provisional until its file is checked too."""
    try:
        reason, detail, manifest = judge_manifest(store, record, form.size, form.asks, commitment)
    except _MISSING as error:
        return Verdict(commitment, Reason.UNAVAILABLE, str(error), None, isinstance(error, BlockMismatch))
    return Verdict(commitment, reason, detail, manifest)


def _in_time(pieces: Iterable[bytes], late: Callable[[], bool]) -> Iterator[bytes]:
    for piece in pieces:
        if late():
            raise BlockNotFound("it does not come fast enough")
        yield piece


def judge_weights(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    """Reject, in commit order, updates that would raise the total weight above 2^28."""
    total, judged = 0, []
    for verdict in verdicts:
        if verdict.admitted and total + verdict.commitment.weight > MAX_TOTAL_WEIGHT:
            detail = _differs("total weight", f"at most {MAX_TOTAL_WEIGHT}", total + verdict.commitment.weight)
            verdict = Verdict(verdict.commitment, Reason.TOTAL_WEIGHT, detail, verdict.manifest)
        total += verdict.commitment.weight if verdict.admitted else 0
        judged.append(verdict)
    return tuple(judged)


def _differs(name: str, expected: object, found: object) -> str:
    def shown(value: object) -> str:
        return "0x" + value.hex() if isinstance(value, bytes) else str(value)

    return f"{name}: expected {shown(expected)}, got {shown(found)}"
