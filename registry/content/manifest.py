"""Manifests of versions, plans, updates, reports and data sets: DAG-CBOR encoder and strict decoder.

Each kind is a frozen dataclass whose field types are its schema. Decoding builds the dataclass, re-encodes it and
compares: it accepts exactly what `encode` writes. `docs/format.md` lists every field and what a valid manifest may not
hold.
"""

from __future__ import annotations

import hashlib
import math
import types
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import IntEnum
from functools import cache
from typing import Annotated, Any, ClassVar, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

from registry.content.cid import decode_cid
from registry.content.heads import REPORT_HEAD, SELECTION_HEAD, UPDATE_HEAD, VERSION_HEAD, Head, head_bytes
from registry.errors import FormError
from registry.types import (
    GRID_LIMIT,
    MAX_FILE_BYTES,
    MAX_GRID_BITS,
    MAX_MANIFEST_BYTES,
    MAX_SHARE,
    MAX_STEPS,
    MAX_TOTAL_WEIGHT,
    Blob,
    Cid,
    Codec,
    Digest,
    NamedBlock,
)

__all__ = [
    "NOT_STATED",
    "MAX_PAGE_ENTRIES",
    "SUM_BITS",
    "BaseFile",
    "BlobLink",
    "Bytes20",
    "Bytes32",
    "Code",
    "DELTA",
    "DataSetManifest",
    "DeltaFile",
    "Evaluation",
    "InnerProducts",
    "M",
    "Schema",
    "Manifest",
    "ManifestLink",
    "Metric",
    "PlanManifest",
    "Procedure",
    "RawLink",
    "Reason",
    "ReportEntry",
    "ReportManifest",
    "ReportPage",
    "RoundOrigin",
    "ServerRule",
    "Source",
    "StateFile",
    "Statement",
    "SummedEvaluation",
    "Uint32",
    "Uint64",
    "UpdateManifest",
    "VersionFile",
    "VersionManifest",
    "Steps",
    "Weight",
    "decode",
    "decode_any",
    "HEADS",
    "blocks_of",
    "digest_of",
    "encode",
    "head_of",
    "manifest_cid",
    "plan_terms",
]

MAX_PAGE_ENTRIES = 4096
"""Most commitments on a page of a report."""
MAX_HOOKS = 4
"""Most hook contracts of a plan, called at each commit."""
SUM_BITS = 20
"""Fraction bits of an evaluation's sums: fixed-point integers times 2^-20."""

# Field types: the schema's vocabulary ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Exact:
    length: int


@dataclass(frozen=True, slots=True)
class _Range:
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class _Omitted:
    """A field that is left out where it has its default: None, zero, or an empty map."""

    bounds: _Range | None = None


@dataclass(frozen=True, slots=True)
class _Linked:
    codecs: tuple[Codec, ...]


_MOST_SCALE = 277  # beyond it no step of any grid is a float32
_MAX_TEXT = 64 << 10
_MAX_ITEMS = 100_000
_MAX_MEASURES = 1024
_MAX_NAME = 64
_MAX_FILES = 8

DELTA = "delta"
"""Name of an update's file whose values are combined."""
_MAX_DEPTH = 16

Bytes32 = Annotated[bytes, _Exact(32)]
Bytes20 = Annotated[bytes, _Exact(20)]
ManifestLink = Annotated[Cid, _Linked((Codec.DAG_CBOR,))]
BlobLink = Annotated[Cid, _Linked((Codec.RAW, Codec.DAG_PB))]
RawLink = Annotated[Cid, _Linked((Codec.RAW,))]
FileSize = Annotated[int, _Range(0, MAX_FILE_BYTES)]
Uint64 = Annotated[int, _Range(0, 2**64 - 1)]
Uint32 = Annotated[int, _Range(0, 2**32 - 1)]
Uint16 = Annotated[int, _Range(0, 2**16 - 1)]
RuleNumber = Annotated[int, _Range(1, 2**16 - 1)]
Weight = Annotated[int, _Range(1, MAX_TOTAL_WEIGHT)]
Steps = Annotated[int, _Range(1, MAX_STEPS)]
Count = Annotated[int, _Range(0, 2**34)]  # so that 2^28 of them, a round's most contributions, fit 64 bits
FixedSum = Annotated[int, _Range(-(2**53), 2**53)]
Int64 = Annotated[int, _Range(-(2**63), 2**63 - 1)]
Metric = float
Parameter = Union[bool, int, float, str]  # noqa: UP007 (evaluated at run time)


class Reason(IntEnum):
    """Why a commitment is, or is not, in the aggregate. If several reasons apply, NOT_ASKED counts, else the lowest
    above 0.

    Anyone can check all but UNAVAILABLE from bytes and chain; UNAVAILABLE is an assertion.
    """

    ADMITTED = 0
    MANIFEST_FORM = 1
    WRONG_BINDING = 2
    WRONG_DECLARATION = 3
    BLOB_SIZE = 4
    BLOB_FORM = 5
    VALUE = 6
    WRONG_ROOT = 7
    TOTAL_WEIGHT = 8
    UNAVAILABLE = 9
    NOT_ASKED = 10


# Parts ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VersionFile:
    """A version's safetensors file; sha256 is the plain file hash, as `sha256sum` prints it."""

    cid: BlobLink
    size: FileSize
    sha256: Bytes32

    @property
    def blob(self) -> Blob:
        return Blob(self.cid, self.size)


@dataclass(frozen=True, slots=True)
class DeltaFile:
    """File of an update or aggregate, with the Merkle root of its values."""

    cid: BlobLink
    size: FileSize
    tensor_root: Bytes32

    @property
    def blob(self) -> Blob:
        return Blob(self.cid, self.size)


@dataclass(frozen=True, slots=True)
class StateFile:
    """Server optimizer state of a version: a safetensors file of one int64 tensor `state` [coordinates, states].

    Attributes:
        root: Counted Merkle root of its values.
        layout: keccak256 over grid, segments, bounds and initial values, see `registry.rules.encoding.state_layout`.
        step: Number of server steps taken.
    """

    cid: BlobLink
    size: FileSize
    root: Bytes32
    layout: Bytes32
    step: Annotated[int, _Range(1, 2**64 - 1)]

    @property
    def blob(self) -> Blob:
        return Blob(self.cid, self.size)


@dataclass(frozen=True, slots=True)
class BaseFile:
    """Frozen base weights that a version extends and no round republishes, such as those of a language model."""

    cid: BlobLink
    size: FileSize
    sha256: Bytes32
    licence: str
    origin: str


@dataclass(frozen=True, slots=True)
class RoundOrigin:
    """The round that made a version; no field on which two honest aggregators could differ."""

    chain_id: Uint64
    contract: Bytes20
    model: Bytes32
    number: Uint64
    plan: ManifestLink
    aggregate: DeltaFile
    report: ManifestLink


@dataclass(frozen=True, slots=True)
class Source:
    """Training data of a version, as stated by its owner; `data_set` is a link if the data set's manifest is public."""

    name: str
    licence: str
    data_set: ManifestLink | Bytes32 | None


@dataclass(frozen=True, slots=True)
class Statement:
    """Model card of a version, as stated by its owner."""

    title: str
    task: str
    licence: str
    intended_use: str
    base_model: str
    sources: tuple[Source, ...]
    metrics: Mapping[str, Metric]


NOT_STATED = "not stated"
"""The version of code that a participant does not state."""


@dataclass(frozen=True, slots=True)
class Code:
    """Code that computed an update: a package and its version, or a repository and its commit."""

    name: str
    version: str

    @property
    def stated(self) -> bool:
        """Whether its participant states it."""
        return self.version != NOT_STATED


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A participant's metrics of the parent on local data, before training; integers, so that sums are exact.

    Attributes:
        examples: Number of examples evaluated.
        counts: By name, such as the number of correctly classified examples.
        sums: By name, such as the loss summed over the examples, in units of 2^-20.
    """

    examples: Annotated[int, _Range(1, 2**34)]
    counts: Mapping[str, Count]
    sums: Mapping[str, FixedSum]

    def __post_init__(self) -> None:
        _check_measures(self.counts, self.sums)


@dataclass(frozen=True, slots=True)
class SummedEvaluation:
    """Sum of a round's evaluations that have the same metrics.

    Attributes:
        updates: Number of evaluations summed.
        examples: Total number of examples.
        counts: Total counts, by name.
        sums: Total sums, by name, in units of 2^-20; saturated to 64 bits.
    """

    updates: Annotated[int, _Range(1, 2**32 - 1)]
    examples: Uint64
    counts: Mapping[str, Uint64]
    sums: Mapping[str, Int64]

    def __post_init__(self) -> None:
        _check_measures(self.counts, self.sums)


def _check_measures(counts: Mapping[str, int], sums: Mapping[str, int]) -> None:
    names = [*counts, *sums]
    if len(names) > _MAX_MEASURES or len(set(names)) != len(names):
        raise FormError(f"evaluation: expected at most {_MAX_MEASURES} names, each once, got {len(names)}")
    if not all(1 <= len(name) <= _MAX_NAME for name in names):
        raise FormError(f"evaluation: expected names of 1..{_MAX_NAME} characters")


@dataclass(frozen=True, slots=True)
class Procedure:
    """A named algorithm or transform, with its parameters."""

    name: str
    parameters: Mapping[str, Parameter]


@dataclass(frozen=True, slots=True)
class ServerRule:
    """Server optimizer: how a version is computed from the aggregate.

    Attributes:
        name: A built-in rule; None for a custom program.
        parameters: Parameters of that rule.
        program: The encoded server program; with a name, exactly what name and parameters compile to.
    """

    name: str | None
    parameters: Mapping[str, float]
    program: bytes

    def __post_init__(self) -> None:
        if self.name is None and self.parameters:
            raise FormError("server rule: expected parameters only with a name: a custom program contains its own")


@dataclass(frozen=True, slots=True)
class ReportEntry:
    """One commitment: the update as a link if admitted, as plain digest bytes if rejected, so that pins stop there.

    Attributes:
        factor: Multiplier of the update in the sum: its weight, or 1 if each counts once; under a rule that selects at
            most its weight, or 2^16 if each counts once; 0 if rejected.
    """

    participant: Bytes20
    update: ManifestLink | Bytes32
    tensor_root: Bytes32
    weight: Weight
    steps: Steps
    reason: Annotated[int, _Range(0, max(Reason))]
    factor: Uint32

    def __post_init__(self) -> None:
        if (self.reason == Reason.ADMITTED) != isinstance(self.update, Cid):
            raise FormError(f"reason {self.reason}: expected a link if admitted, digest bytes if rejected")
        most = max(self.weight, MAX_SHARE) if self.reason == Reason.ADMITTED else 0
        if self.factor > most:
            raise FormError(f"factor: expected at most {most} for reason {self.reason}, got {self.factor}")

    @property
    def digest(self) -> Digest:
        return Digest(self.update.digest if isinstance(self.update, Cid) else self.update)


@dataclass(frozen=True, slots=True)
class InnerProducts:
    """Sums of the inner products of all pairs of admitted updates, row by row, see `registry.rounds.gram_tree`.

    Attributes:
        root: Counted root over all sums.
        finest: Index of the first segment of parameters with the least scale exponent, which gives the unit; 2^64 - 1
            where no segment is of parameters.
    """

    root: Bytes32
    finest: Uint64


# Kinds ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VersionManifest:
    """A version: one set of weights.

    Attributes:
        parent: The parent version; for a genesis None or another model's version.
        weights: The safetensors file.
        tensor_root: Merkle root of the file's F32 values.
        rest_root: sha2-256 of everything else in the file.
        state: Server optimizer state; None for the initial state.
        base: Frozen base weights.
        frozen: Names of floating-point tensors that are not F32, which rounds do not change. Ascending.
        aliases: Maps names of tied tensors to the name they are stored under.
        round: The round that made the version; None if its owner published it.
        statement: The owner's model card, only if the owner published the version.
    """

    KIND: ClassVar[str] = "cairn/version/1"

    parent: ManifestLink | None
    weights: VersionFile
    tensor_root: Bytes32
    rest_root: Bytes32
    state: StateFile | None
    base: BaseFile | None
    frozen: tuple[str, ...]
    aliases: Mapping[str, str]
    round: RoundOrigin | None
    statement: Statement | None

    def __post_init__(self) -> None:
        if self.round is not None and (self.statement is not None or self.parent is None):
            raise FormError("version: expected a parent and no statement in a version made by a round")
        if self.round is None and self.state is not None:
            raise FormError("state: expected none, the initial state, in a version that no round made")
        if list(self.frozen) != sorted(set(self.frozen)):
            raise FormError("frozen: expected names in ascending order without repeats")


def _term(says: str, usual: object) -> dict[str, object]:
    """Metadata of a plan's term, a field that the contract's `Plan` has too.

    Args:
        says: Help text.
        usual: Default value; None if it is derived from other terms.
    """
    return {"says": says, "usual": usual}


@dataclass(frozen=True, slots=True)
class PlanManifest:
    """The rules of a model's rounds; fields that are also on chain must equal those of the chain.

    Attributes:
        algorithm: Local training algorithm of participants.
        combine_rule: Number of an entry of `registry.rules.table`, as is update_form. The table has the known rules and
            their parameters; a manifest may name rules of a later release.
        combine_parameters: Parameters of the combine rule, by name.
        form_parameters: Parameters of the update form, by name.
        weights: Weight of a contribution: "examples", its committed weight, or "uniform", 1.
        server: Server optimizer, from aggregate to next version.
        grid_bits: s; update values are integers times 2^-s.
        saturate: Clip values beyond the grid instead of raising an error.
        scales: Exponent e by tensor: deltas are divided by 2^e before rounding, server steps multiplied by 2^e.
        buffers: Tensors of running statistics: 1 for any, 2 for non-negative ones. Their step is the aggregate.
        values: Number of F32 values of the rounds' parents.
        header: sha2-256 of the header of every update.
        segments: Counted Merkle root of the parent's segments, which follow from scales and buffers.
        transforms: Applied in order to an update before it is published.
    """

    KIND: ClassVar[str] = "cairn/plan/1"

    algorithm: Procedure
    combine_rule: RuleNumber
    combine_parameters: Mapping[str, int]
    weights: str
    server: ServerRule
    update_form: RuleNumber
    grid_bits: Annotated[int, _Range(0, MAX_GRID_BITS)]
    saturate: bool
    scales: Mapping[str, Annotated[int, _Range(-_MOST_SCALE, _MOST_SCALE)]]
    buffers: Mapping[str, Annotated[int, _Range(1, 2)]]
    values: Annotated[int, _Range(1, 2**40 - 1)]
    header: Bytes32
    segments: Bytes32
    transforms: tuple[Procedure, ...]
    quorum: Uint16 = field(metadata=_term("number of equal attestations that a result needs", 1))
    weight_cap: Weight = field(metadata=_term("largest weight of one contribution", 1 << 20))
    min_contributions: Uint32 = field(metadata=_term("with fewer contributions the round lapses", 2))
    commit_duration: Uint32 = field(metadata=_term("durations are at least 30s, at most 90d: 90s, 10m, 2h, 3d", "1h"))
    publish_duration: Uint32 = field(metadata=_term("in which committed updates are published", "1h"))
    aggregate_duration: Uint32 = field(metadata=_term("in which results are attested", "1h"))
    challenge_duration: Uint32 = field(metadata=_term("in which a result may be convicted; at least 16m", "1h"))
    answer_duration: Uint32 = field(
        metadata=_term("in which a demanded leaf is shown; at most 1/32 of the challenge's", None)
    )
    bond_gwei: Uint64 = field(metadata=_term("what an aggregator must have deposited to attest; 0 for nothing", 0))
    demand_price_gwei: Uint32 = field(
        default=0, metadata=_term("least deposit of a demanded leaf, which whoever shows it earns; at most 60000000", 0)
    )
    late_duration: Uint32 = field(
        default=0,
        metadata=_term(
            "after the answer time, to show leaves at the cost of bonds; with it at most 1/32 of the challenge's", 0
        ),
    )
    enough_commitments: Annotated[int, _Omitted(_Range(0, 2**32 - 1))] = field(
        default=0, metadata=_term("commitments with which anyone may end their phase early; 0 if only all may", 0)
    )
    least_commit_duration: Annotated[int, _Omitted(_Range(0, 2**32 - 1))] = field(
        default=0,
        metadata=_term("least time for commitments, however many there are; 0 without enough_commitments", 0),
    )
    hooks: tuple[Bytes20, ...] = field(
        default=(), metadata=_term("contracts asked at each commitment, in this order; at most 4", ())
    )
    form_parameters: Annotated[Mapping[str, int], _Omitted()] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.quorum == 0 or self.min_contributions == 0:
            raise FormError(
                f"plan: expected quorum and min_contributions of at least 1, got {self.quorum} and "
                f"{self.min_contributions}"
            )
        if len(self.hooks) > MAX_HOOKS or not all(map(any, self.hooks)):
            raise FormError(f"hooks: expected at most {MAX_HOOKS} contracts, none of them zero, got {len(self.hooks)}")


@dataclass(frozen=True, slots=True)
class UpdateManifest:
    """A participant's committed update, bound to one chain, contract, model, round and participant.

    Attributes:
        files: Files of the plan's update form, by name; `delta` is always one of them.
        steps: Local training steps, usually optimizer steps.
        saturated: Number of values clipped to the grid.
        evaluation: Local evaluation of the parent; None if there is none.
        data_set: Manifest of the training data: a link if public, digest bytes if private.
    """

    KIND: ClassVar[str] = "cairn/update/1"

    chain_id: Uint64
    contract: Bytes20
    model: Bytes32
    number: Uint64
    participant: Bytes20
    parent: ManifestLink
    plan: ManifestLink
    files: Mapping[str, DeltaFile]
    weight: Weight
    steps: Steps
    saturated: Uint64
    metrics: Mapping[str, Metric]
    evaluation: Evaluation | None
    data_set: ManifestLink | Bytes32
    code: Code

    def __post_init__(self) -> None:
        if DELTA not in self.files or len(self.files) > _MAX_FILES:
            raise FormError(f"files: expected {DELTA!r} and at most {_MAX_FILES} names, got {sorted(self.files)[:9]}")
        if not all(1 <= len(name) <= _MAX_NAME for name in self.files):
            raise FormError(f"files: expected names of 1..{_MAX_NAME} characters")

    @property
    def delta(self) -> DeltaFile:
        """The file whose values are combined and whose root was committed."""
        return self.files[DELTA]


@dataclass(frozen=True, slots=True)
class ReportPage:
    """A page of a report's entries, in commit order."""

    KIND: ClassVar[str] = "cairn/report-page/1"

    entries: tuple[ReportEntry, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.entries) <= MAX_PAGE_ENTRIES:
            raise FormError(f"entries: expected 1..{MAX_PAGE_ENTRIES}, got {len(self.entries)}")


@dataclass(frozen=True, slots=True)
class ReportManifest:
    """Which commitments of a round were admitted, which were rejected and why; every page but the last is full.

    Attributes:
        divisor: Divisor of the sum of factor times update: the sum of the factors, or more under a rule that selects.
        evaluation: Sum of the admitted updates' evaluations, see `registry.rounds.evaluations`; None if there are none.
        gram: Their inner products, under rules that select, of at most 32 updates; left out of other reports.
    """

    KIND: ClassVar[str] = "cairn/report/1"

    chain_id: Uint64
    contract: Bytes20
    model: Bytes32
    number: Uint64
    parent: ManifestLink
    plan: ManifestLink
    running_hash: Bytes32
    pages: tuple[ManifestLink, ...]
    aggregate: DeltaFile
    contributions_root: Bytes32
    contributions: Uint32
    total_weight: Weight
    total_steps: Uint64
    divisor: Weight
    evaluation: SummedEvaluation | None
    gram: Annotated[InnerProducts | None, _Omitted()] = None


@dataclass(frozen=True, slots=True)
class DataSetManifest:
    """Training data of an update, as stated by its holder.

    Attributes:
        sha256: Hash of the data in a form that its holder can reproduce, or None.
    """

    KIND: ClassVar[str] = "cairn/dataset/1"

    name: str
    description: str
    licence: str
    source: str
    records: Uint64
    sha256: Bytes32 | None


Manifest = VersionManifest | PlanManifest | UpdateManifest | ReportManifest | ReportPage | DataSetManifest


class Schema(Protocol):
    """A dataclass whose field types are a schema: manifests here and in `registry.content.proof_manifests`."""

    KIND: ClassVar[str]


M = TypeVar("M", bound=Schema)
_KINDS: dict[str, type[Manifest]] = {kind.KIND: kind for kind in get_args(Manifest)}


# Reading and writing -------------------------------------------------------------------------------------------------


def encode(manifest: Schema) -> bytes:
    """Return the manifest's canonical DAG-CBOR.

    Raises:
        FormError: A field violates its schema, or the encoding exceeds MAX_MANIFEST_BYTES.
    """
    import dag_cbor

    body = _pack(manifest, type(manifest), "")
    data: bytes = dag_cbor.encode({"kind": manifest.KIND, **body})
    if len(data) > MAX_MANIFEST_BYTES:
        raise FormError(f"manifest: expected at most {MAX_MANIFEST_BYTES} bytes, got {len(data)}")
    return data


def decode(data: bytes, kind: type[M]) -> M:
    """Decode a manifest of the given kind from its canonical DAG-CBOR.

    Raises:
        FormError: It is too large, nested too deeply, not DAG-CBOR or of another kind; it has missing or unknown fields
            or values outside the schema; or it is not canonical.
    """
    body = _body(data)
    if body["kind"] != kind.KIND:
        raise FormError(f"manifest: expected kind {kind.KIND!r}, got {body['kind'][:80]!r}")
    return _built(body, kind, data)


def decode_any(data: bytes) -> Manifest:
    """Decode a manifest of any kind that a lineage holds; raises as `decode`."""
    body = _body(data)
    kind = _KINDS.get(body["kind"])
    if kind is None:
        raise FormError(f"manifest: expected a kind of {', '.join(sorted(_KINDS))}, got {body['kind'][:80]!r}")
    return _built(body, kind, data)


def _body(data: bytes) -> dict[str, Any]:
    """Decode data as a map with a text field `kind`."""
    if len(data) > MAX_MANIFEST_BYTES:
        raise FormError(f"manifest: expected at most {MAX_MANIFEST_BYTES} bytes, got {len(data)}")
    body = _decode_cbor(data)
    if not isinstance(body, dict) or not isinstance(body.get("kind"), str):
        raise FormError("manifest: expected a map with a text field 'kind'")
    return body


def _built(body: dict[str, Any], kind: type[M], data: bytes) -> M:
    manifest: M = _unpack({k: v for k, v in body.items() if k != "kind"}, kind, "")
    if encode(manifest) != data:
        raise FormError(f"{kind.KIND}: not in canonical form")
    return manifest


def digest_of(manifest: Schema) -> Digest:
    """Return a manifest's on-chain digest: sha2-256 of its head if its kind has one, else of its own bytes."""
    return Digest(blocks_of(manifest)[-1].cid.digest)


def blocks_of(manifest: Schema) -> tuple[NamedBlock, ...]:
    """Return a manifest's block, followed by its head's block if its kind has heads; the last one is named on chain."""
    data = encode(manifest)
    body = hashlib.sha256(data).digest()
    own = NamedBlock(manifest_cid(body), data)
    head = head_of(manifest, body)
    return (own,) if head is None else (own, NamedBlock(manifest_cid(hashlib.sha256(head).digest()), head))


def head_of(manifest: Schema, body: bytes) -> bytes | None:
    """Return the head of a manifest whose bytes have sha2-256 body; None for a kind without heads."""
    if isinstance(manifest, UpdateManifest):
        own = (manifest.participant, manifest.delta.tensor_root, manifest.weight, manifest.steps)
        return head_bytes(UPDATE_HEAD, (*_round_fields(manifest, manifest.parent), *own), body)
    if isinstance(manifest, ReportManifest):
        r = manifest
        roots = (r.running_hash, r.aggregate.tensor_root, r.contributions_root)
        sums = (r.contributions, r.total_weight, r.total_steps, r.divisor)
        fields_ = (*_round_fields(r, r.parent), *roots, *sums)
        if r.gram is None:
            return head_bytes(REPORT_HEAD, fields_, body)
        return head_bytes(SELECTION_HEAD, (*fields_, r.gram.root, r.gram.finest), body)
    if isinstance(manifest, VersionManifest):
        return head_bytes(VERSION_HEAD, _version_fields(manifest), body)
    return None


def plan_terms() -> Mapping[str, Mapping[str, Any]]:
    """Return the terms of a plan by name, in the contract's order: help text `says` and default `usual` of each."""
    return {term.name: term.metadata for term in fields(PlanManifest) if term.metadata}


def _round_fields(of: UpdateManifest | ReportManifest | RoundOrigin, parent: Cid) -> tuple[int | bytes, ...]:
    return (of.chain_id, of.contract, of.model, of.number, parent.digest, of.plan.digest)


def _version_fields(version: VersionManifest) -> tuple[int | bytes, ...]:
    made, state = version.round, version.state
    if made is None or version.parent is None:
        parent = bytes(32) if version.parent is None else version.parent.digest
        where: tuple[int | bytes, ...] = (0, bytes(20), bytes(32), 0, parent, bytes(32))
    else:
        where = _round_fields(made, version.parent)
    aggregate = bytes(32) if made is None else made.aggregate.tensor_root
    kept = (bytes(32), bytes(32), 0) if state is None else (state.root, state.layout, state.step)
    return (*where, version.tensor_root, version.rest_root, *kept, aggregate)


HEADS: dict[type[Schema], tuple[Head, ...]] = {
    UpdateManifest: (UPDATE_HEAD,),
    VersionManifest: (VERSION_HEAD,),
    ReportManifest: (REPORT_HEAD, SELECTION_HEAD),
}
"""Kinds of manifest with heads, each with those that it may have."""


def manifest_cid(digest: bytes) -> Cid:
    """Return the CID for an on-chain digest: of a head, or of a manifest whose kind has no heads."""
    return Cid(Codec.DAG_CBOR, digest)


def _decode_cbor(data: bytes) -> Any:
    import dag_cbor
    from dag_cbor.decoding.err import CBORDecodingError

    _check_depth(data)
    try:
        return dag_cbor.decode(data)
    except (CBORDecodingError, ValueError, LookupError, OverflowError) as error:
        raise FormError(f"manifest: not strict DAG-CBOR ({str(error).partition(chr(10))[0]})") from None


def _check_depth(data: bytes) -> None:
    """Reject CBOR nested deeper than any manifest, without recursion: the decoder itself is limited only by the stack.

    All other errors in data are left to the decoder.
    """
    waiting: list[int] = []  # items still expected at each level
    at = 0
    while at < len(data):
        major, info = data[at] >> 5, data[at] & 31
        at += 1
        count = info
        if info >= 24:
            length = 1 << (info - 24) if info < 28 else 0
            count = int.from_bytes(data[at : at + length], "big")
            at += length
        if major in (2, 3):
            at += count
        children = {4: count, 5: 2 * count, 6: 1}.get(major, 0)
        if children:
            waiting.append(children)
            if len(waiting) > _MAX_DEPTH:
                raise FormError(f"manifest: nested too deeply, expected at most {_MAX_DEPTH} levels")
            continue
        while waiting:
            waiting[-1] -= 1
            if waiting[-1]:
                break
            waiting.pop()


@cache
def _schema(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind)}


def _pack(value: Any, hint: Any, where: str) -> Any:
    """Check value against its type and return it as DAG-CBOR data."""
    base, bounds = _split(hint)
    if base is Cid:
        from multiformats import CID

        _check_link(value, bounds, where)
        return CID.decode(bytes(value))
    if isinstance(base, type) and is_dataclass(base):
        if type(value) is not base:
            raise FormError(f"{where}: expected {base.__name__}, got {type(value).__name__}")
        given = {n: (getattr(value, n), h) for n, h in _schema(type(value)).items()}
        return {n: _pack(v, h, _at(where, n)) for n, (v, h) in given.items() if v or not _may_lack(h)}
    origin = get_origin(base)
    if origin in (Union, types.UnionType):
        return _pack(value, _choose(value, base, where), where)
    if origin is tuple:
        return [_pack(item, get_args(base)[0], f"{where}[{i}]") for i, item in enumerate(_sized(value, tuple, where))]
    if origin is Mapping:
        items = _sized(value, dict, where)
        return {_text(k, where): _pack(v, get_args(base)[1], _at(where, k)) for k, v in items.items()}
    return _scalar(value, base, bounds, where)


def _unpack(value: Any, hint: Any, where: str) -> Any:
    """Check DAG-CBOR data against the hinted type and return it as a value of that type."""
    base, bounds = _split(hint)
    if base is Cid:
        from multiformats import CID

        if not isinstance(value, CID):
            raise FormError(f"{where}: expected a link, got {type(value).__name__}")
        return decode_cid(bytes(value))
    if isinstance(base, type) and is_dataclass(base):
        return _unpack_fields(value, base, where)
    origin = get_origin(base)
    if origin in (Union, types.UnionType):
        return _unpack(value, _choose(value, base, where), where)
    if origin is tuple:
        return tuple(_unpack(v, get_args(base)[0], f"{where}[{i}]") for i, v in enumerate(_sized(value, list, where)))
    if origin is Mapping:
        return {k: _unpack(v, get_args(base)[1], _at(where, k)) for k, v in _sized(value, dict, where).items()}
    return _scalar(value, base, bounds, where)


def _unpack_fields(value: Any, kind: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise FormError(f"{where or 'manifest'}: expected a map, got {type(value).__name__}")
    schema = _schema(kind)
    missing = sorted(name for name in schema.keys() - value.keys() if not _may_lack(schema[name]))
    unknown = sorted(value.keys() - schema.keys())
    if missing or unknown:
        raise FormError(f"{where or kind.__name__}: missing fields {missing}, unknown fields {unknown}")
    return kind(
        **{name: _unpack(value[name], hint, _at(where, name)) for name, hint in schema.items() if name in value}
    )


def _choose(value: Any, union: Any, where: str) -> Any:
    """Return the union member that matches a value, packed or not."""
    from multiformats import CID

    for hint in get_args(union):
        base, _ = _split(hint)
        if base is type(None) and value is None:
            return hint
        if base is Cid and isinstance(value, (Cid, CID)):
            return hint
        if is_dataclass(base) and base is not Cid and (isinstance(value, dict) or type(value) is base):
            return hint
        if get_origin(base) is tuple and isinstance(value, (tuple, list)):
            return hint
        if type(value) is base:
            return hint
    raise FormError(f"{where}: expected one of the schema's types, got {type(value).__name__}")


def _scalar(value: Any, base: Any, bounds: Any, where: str) -> Any:
    if base is type(None) or type(value) is not base:
        if base is type(None) and value is None:
            return None
        raise FormError(f"{where}: expected {getattr(base, '__name__', base)}, got {type(value).__name__}")
    if isinstance(bounds, _Exact) and len(value) != bounds.length:
        raise FormError(f"{where}: expected {bounds.length} bytes, got {len(value)}")
    if isinstance(bounds, _Range) and not bounds.low <= value <= bounds.high:
        raise FormError(f"{where}: expected {bounds.low}..{bounds.high}, got {value}")
    if base is float and (not math.isfinite(value) or (value == 0 and math.copysign(1, value) < 0)):
        raise FormError(f"{where}: expected a finite number that is not -0.0, got {value}")
    if base is int and not -(2**63) <= value < 2**64:
        raise FormError(f"{where}: expected a 64-bit integer, got {value}")
    return _text(value, where) if base is str else value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise FormError(f"{where}: expected text of at most {_MAX_TEXT} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise FormError(f"{where}: expected text in Unicode, got a lone surrogate") from None
    return value


def _sized(value: Any, kind: type, where: str) -> Any:
    if not isinstance(value, kind) or len(value) > _MAX_ITEMS:  # type: ignore[arg-type]
        raise FormError(f"{where}: expected a {kind.__name__} of at most {_MAX_ITEMS} items")
    return value


def _check_link(value: Any, bounds: Any, where: str) -> None:
    if not isinstance(value, Cid):
        raise FormError(f"{where}: expected a link, got {type(value).__name__}")
    if isinstance(bounds, _Linked) and value.codec not in bounds.codecs:
        raise FormError(f"{where}: expected codec {'|'.join(c.name for c in bounds.codecs)}, got {value.codec.name}")


def _split(hint: Any) -> tuple[Any, Any]:
    if get_origin(hint) is Annotated:
        base, bounds = get_args(hint)[:2]
        return base, bounds.bounds if isinstance(bounds, _Omitted) else bounds
    return hint, None


def _may_lack(hint: Any) -> bool:
    return get_origin(hint) is Annotated and isinstance(get_args(hint)[1], _Omitted)


def _at(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


assert GRID_LIMIT == 2**24, "format 1 fixes the grid's range"
