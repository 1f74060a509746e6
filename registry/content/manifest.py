"""Manifests: the DAG-CBOR blocks that name everything else.

Each kind is a frozen dataclass whose field types are its schema. Reading is decode, build, encode again, compare: what
is accepted is exactly what `encode` writes. `docs/format.md` lists every field and what a valid manifest may not hold.
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
from registry.content.heads import REPORT_HEAD, UPDATE_HEAD, VERSION_HEAD, Head, head_bytes
from registry.errors import FormError
from registry.types import (
    GRID_LIMIT,
    MAX_FILE_BYTES,
    MAX_GRID_BITS,
    MAX_MANIFEST_BYTES,
    MAX_STEPS,
    MAX_TOTAL_WEIGHT,
    Blob,
    Cid,
    Codec,
    Digest,
    NamedBlock,
)

__all__ = [
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
"""Commitments on a page of a report."""
MAX_HOOKS = 4
"""Contracts that a plan has asked at each commit."""
SUM_BITS = 20
"""Fraction bits of an evaluation's sums: they are integers times 2^-20."""

# Field types: the schema's vocabulary ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Exact:
    length: int


@dataclass(frozen=True, slots=True)
class _Range:
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class _Linked:
    codecs: tuple[Codec, ...]


_MOST_SCALE = 277  # beyond that no step of any grid is a float32
_MAX_TEXT = 64 << 10
_MAX_ITEMS = 100_000
_MAX_MEASURES = 32
_MAX_NAME = 64
_MAX_FILES = 8

DELTA = "delta"
"""Name of the file of an update whose values are combined."""
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
    """Why a commitment is, or is not, in the aggregate. Where several hold the lowest above 0 counts.

    All but UNAVAILABLE can be checked by anyone from bytes and chain; UNAVAILABLE is an assertion.
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


# Parts ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VersionFile:
    """A version's safetensors file; sha256 is what `sha256sum` prints."""

    cid: BlobLink
    size: FileSize
    sha256: Bytes32

    @property
    def blob(self) -> Blob:
        return Blob(self.cid, self.size)


@dataclass(frozen=True, slots=True)
class DeltaFile:
    """An update's or aggregate's file and the Merkle root of its values."""

    cid: BlobLink
    size: FileSize
    tensor_root: Bytes32

    @property
    def blob(self) -> Blob:
        return Blob(self.cid, self.size)


@dataclass(frozen=True, slots=True)
class StateFile:
    """What the server keeps beside a version: a safetensors file of one int64 tensor `state` [coordinates, states].

    Attributes:
        root: Counted Merkle root of its values.
        layout: What it is laid out by: grid, segments, bounds and initial values.
        step: Server steps that it has seen.
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
    """Frozen weights that a version stands on and no round republishes, such as those of a language model."""

    cid: BlobLink
    size: FileSize
    sha256: Bytes32
    licence: str
    origin: str


@dataclass(frozen=True, slots=True)
class RoundOrigin:
    """Where a round's version comes from; nothing in it that two honest aggregators could write differently."""

    chain_id: Uint64
    contract: Bytes20
    model: Bytes32
    number: Uint64
    plan: ManifestLink
    aggregate: DeltaFile
    report: ManifestLink


@dataclass(frozen=True, slots=True)
class Source:
    """Data a version was trained on, as its owner states it; a link where the data set's manifest is public."""

    name: str
    licence: str
    data_set: ManifestLink | Bytes32 | None


@dataclass(frozen=True, slots=True)
class Statement:
    """What only an owner can say of a version."""

    title: str
    task: str
    licence: str
    intended_use: str
    base_model: str
    sources: tuple[Source, ...]
    metrics: Mapping[str, Metric]


@dataclass(frozen=True, slots=True)
class Code:
    """What computed an update: a package and its version, or a repository and its commit."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a participant measured of the parent on its own data, before training; integers, so that sums are exact.

    Attributes:
        examples: How many were looked at.
        counts: By name, such as how many of them were classified correctly.
        sums: By name, such as the loss added up over them, in units of 2^-20.
    """

    examples: Annotated[int, _Range(1, 2**34)]
    counts: Mapping[str, Count]
    sums: Mapping[str, FixedSum]

    def __post_init__(self) -> None:
        _check_measures(self.counts, self.sums)


@dataclass(frozen=True, slots=True)
class SummedEvaluation:
    """The sum of a round's evaluations that measured the same.

    Attributes:
        updates: How many evaluations were added up.
        examples: Theirs together.
        counts: Theirs together, by name.
        sums: Theirs together, by name, in units of 2^-20; saturated to 64 bits.
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
    """An algorithm or transform by name, with its parameters."""

    name: str
    parameters: Mapping[str, Parameter]


@dataclass(frozen=True, slots=True)
class ServerRule:
    """How a version is made of the aggregate.

    Attributes:
        name: Of a rule that ships; None for a program of one's own.
        parameters: Of that rule.
        program: The encoded server program: what name and parameters compile to, where there is a name.
    """

    name: str | None
    parameters: Mapping[str, float]
    program: bytes

    def __post_init__(self) -> None:
        if self.name is None and self.parameters:
            raise FormError("server rule: parameters belong to a name; a program has its own inside")


@dataclass(frozen=True, slots=True)
class ReportEntry:
    """One commitment: the update as a link if admitted, as bare digest bytes if refused, so that pinning ends.

    Attributes:
        factor: What the update counts in the sum: its weight, or 1 where each counts once; 0 if refused.
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
            raise FormError(f"reason {self.reason}: admitted updates are links, refused ones digest bytes")
        most = self.weight if self.reason == Reason.ADMITTED else 0
        if self.factor > most:
            raise FormError(f"factor: expected at most {most} for reason {self.reason}, got {self.factor}")

    @property
    def digest(self) -> Digest:
        return Digest(self.update.digest if isinstance(self.update, Cid) else self.update)


# Kinds ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VersionManifest:
    """One set of weights.

    Attributes:
        parent: The version it descends from; for a genesis None or another model's version.
        weights: The file.
        tensor_root: Of the file's F32 values.
        rest_root: sha2-256 of everything else in the file.
        state: What the server keeps; None for the initial state.
        base: Frozen weights that it stands on.
        frozen: Names of floating tensors that are not F32: they stay as they are. Ascending.
        aliases: Names of tied tensors to the name they are stored under.
        round: Set if a round made it.
        statement: Set if its owner published it and has something to say.
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
            raise FormError("a round's version has a parent and no statement")
        if self.round is None and self.state is not None:
            raise FormError("state: a version that no round made has the initial one")
        if list(self.frozen) != sorted(set(self.frozen)):
            raise FormError("frozen: expected names in ascending order without repeats")


def _term(says: str, usual: object) -> dict[str, object]:
    """A term of a plan, which the contract's `Plan` has too.

    Args:
        says: What it is.
        usual: What it is where whoever writes a plan says nothing; None where the others decide.
    """
    return {"says": says, "usual": usual}


@dataclass(frozen=True, slots=True)
class PlanManifest:
    """The rules of a model's rounds; what the chain also holds must agree with it.

    Attributes:
        algorithm: What participants run.
        combine_rule: Number of an entry of `registry.rules.table`, as is update_form. The table says which exist and
            what they take; a manifest may name rules of a later release.
        combine_parameters: The combine rule's, by name.
        weights: What a contribution counts: "examples", its committed weight, or "uniform", 1.
        server: What makes a version of the aggregate.
        grid_bits: s; update values are integers times 2^-s.
        saturate: Clip values beyond the grid instead of refusing them.
        scales: Power of two by tensor: its delta is divided by 2^e before rounding and multiplied in the server step.
        buffers: Tensors that are running statistics: 1 for any, 2 for what cannot be negative. The aggregate is their
            step.
        values: F32 values of the parents of its rounds.
        header: sha2-256 of the header that updates have.
        segments: Counted Merkle root of the segments that scales and buffers make of such a parent.
        transforms: Applied to an update on its way out, in order.
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
    quorum: Uint16 = field(metadata=_term("equal attestations that make a result", 1))
    weight_cap: Weight = field(metadata=_term("the most one participant may weigh", 1 << 20))
    min_contributions: Uint32 = field(metadata=_term("fewer than these and the round lapses", 2))
    commit_duration: Uint32 = field(metadata=_term("durations are at least 30s, at most 90d: 90s, 10m, 2h, 3d", "1h"))
    publish_duration: Uint32 = field(metadata=_term("in which what was committed is published", "1h"))
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
    hooks: tuple[Bytes20, ...] = field(
        default=(), metadata=_term("contracts asked at each commitment, in this order; at most 4", ())
    )

    def __post_init__(self) -> None:
        if self.quorum == 0 or self.min_contributions == 0:
            raise FormError("quorum and min_contributions start at 1")
        if len(self.hooks) > MAX_HOOKS or not all(map(any, self.hooks)):
            raise FormError(f"hooks: expected at most {MAX_HOOKS} contracts, none of them zero, got {len(self.hooks)}")


@dataclass(frozen=True, slots=True)
class UpdateManifest:
    """What a participant commits to; bound to one chain, contract, model, round and participant.

    Attributes:
        files: By name: those that the plan's update form has, `delta` always among them.
        steps: Training steps it was made in, usually the optimizer's.
        saturated: How many values were clipped to the grid.
        evaluation: Of the parent, on the participant's data; None where it did not measure.
        data_set: Manifest of the data trained on: a link if public, digest bytes if private.
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
        """The file whose values are combined, and whose root was committed."""
        return self.files[DELTA]


@dataclass(frozen=True, slots=True)
class ReportPage:
    """Some of a report's entries, in commit order."""

    KIND: ClassVar[str] = "cairn/report-page/1"

    entries: tuple[ReportEntry, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.entries) <= MAX_PAGE_ENTRIES:
            raise FormError(f"entries: expected 1..{MAX_PAGE_ENTRIES}, got {len(self.entries)}")


@dataclass(frozen=True, slots=True)
class ReportManifest:
    """What was admitted to a round's aggregate, what was refused and why; every page is full but the last.

    Attributes:
        divisor: What the sum of factor times update was divided by: the sum of the factors.
        evaluation: The sum of the admitted updates' evaluations, as `registry.rounds.evaluations` adds them up;
            None where none has one.
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


@dataclass(frozen=True, slots=True)
class DataSetManifest:
    """What an update was trained on, as its holder states it.

    Attributes:
        sha256: Of the data in a form its holder can show again, or None.
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
    """A dataclass whose field types are a schema: a manifest here or in `registry.content.proof_manifests`."""

    KIND: ClassVar[str]


M = TypeVar("M", bound=Schema)
_KINDS: dict[str, type[Manifest]] = {kind.KIND: kind for kind in get_args(Manifest)}


# Reading and writing -------------------------------------------------------------------------------------------------


def encode(manifest: Schema) -> bytes:
    """Return the manifest's canonical DAG-CBOR.

    Raises:
        FormError: A field is not what its schema says, or the whole is larger than MAX_MANIFEST_BYTES.
    """
    import dag_cbor

    body = _pack(manifest, type(manifest), "")
    data: bytes = dag_cbor.encode({"kind": manifest.KIND, **body})
    if len(data) > MAX_MANIFEST_BYTES:
        raise FormError(f"manifest: expected at most {MAX_MANIFEST_BYTES} bytes, got {len(data)}")
    return data


def decode(data: bytes, kind: type[M]) -> M:
    """Return the manifest of the given kind that data is the canonical form of.

    Raises:
        FormError: It is too big or too deep, not DAG-CBOR, of another kind, has missing or unknown fields or values
            outside the schema, or is not what `encode` writes.
    """
    body = _body(data)
    if body["kind"] != kind.KIND:
        raise FormError(f"manifest: expected kind {kind.KIND!r}, got {body['kind'][:80]!r}")
    return _built(body, kind, data)


def decode_any(data: bytes) -> Manifest:
    """Like `decode`, for a manifest of any kind that a lineage holds."""
    body = _body(data)
    kind = _KINDS.get(body["kind"])
    if kind is None:
        raise FormError(f"manifest: expected a kind of {', '.join(sorted(_KINDS))}, got {body['kind'][:80]!r}")
    return _built(body, kind, data)


def _body(data: bytes) -> dict[str, Any]:
    """The map that data is, with a text field `kind`."""
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
    """Return a manifest's name on chain: the sha2-256 of its head where its kind has one, else of its own bytes."""
    return Digest(blocks_of(manifest)[-1].cid.digest)


def blocks_of(manifest: Schema) -> tuple[NamedBlock, ...]:
    """Return a manifest's block, and after it, where its kind has a head, that one's, which is named on chain."""
    data = encode(manifest)
    body = hashlib.sha256(data).digest()
    own = NamedBlock(manifest_cid(body), data)
    head = head_of(manifest, body)
    return (own,) if head is None else (own, NamedBlock(manifest_cid(hashlib.sha256(head).digest()), head))


def head_of(manifest: Schema, body: bytes) -> bytes | None:
    """Return the head of a manifest whose bytes hash to body; None for a kind without heads."""
    if isinstance(manifest, UpdateManifest):
        own = (manifest.participant, manifest.delta.tensor_root, manifest.weight, manifest.steps)
        return head_bytes(UPDATE_HEAD, (*_round_fields(manifest, manifest.parent), *own), body)
    if isinstance(manifest, ReportManifest):
        r = manifest
        roots = (r.running_hash, r.aggregate.tensor_root, r.contributions_root)
        sums = (r.contributions, r.total_weight, r.total_steps, r.divisor)
        return head_bytes(REPORT_HEAD, (*_round_fields(r, r.parent), *roots, *sums), body)
    if isinstance(manifest, VersionManifest):
        return head_bytes(VERSION_HEAD, _version_fields(manifest), body)
    return None


def plan_terms() -> Mapping[str, Mapping[str, Any]]:
    """Return the terms of a plan by name, in the contract's order: what each `says`, and its `usual` value."""
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


HEADS: dict[type[Schema], Head] = {
    UpdateManifest: UPDATE_HEAD,
    VersionManifest: VERSION_HEAD,
    ReportManifest: REPORT_HEAD,
}
"""Kinds that have heads."""


def manifest_cid(digest: bytes) -> Cid:
    """Return the CID of what a digest names: a head, or a manifest whose kind has none."""
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
    """Refuse CBOR that is nested deeper than any manifest, without recursion: the decoder's own depth is the stack's.

    Whatever else is wrong with data is left to the decoder.
    """
    waiting: list[int] = []  # items still to come, a level each
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
    """Return value as DAG-CBOR data, having checked it against its type."""
    base, bounds = _split(hint)
    if base is Cid:
        from multiformats import CID

        _check_link(value, bounds, where)
        return CID.decode(bytes(value))
    if isinstance(base, type) and is_dataclass(base):
        if type(value) is not base:
            raise FormError(f"{where}: expected {base.__name__}, got {type(value).__name__}")
        return {n: _pack(getattr(value, n), h, _at(where, n)) for n, h in _schema(type(value)).items()}
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
    """Return DAG-CBOR data as a value of the hinted type, checked before any record is built of it."""
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
    if value.keys() != schema.keys():
        missing, unknown = sorted(schema.keys() - value.keys()), sorted(value.keys() - schema.keys())
        raise FormError(f"{where or kind.__name__}: missing fields {missing}, unknown fields {unknown}")
    return kind(**{name: _unpack(value[name], hint, _at(where, name)) for name, hint in schema.items()})


def _choose(value: Any, union: Any, where: str) -> Any:
    """Return the member of a union that a value, packed or not, belongs to."""
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
    raise FormError(f"{where}: a {type(value).__name__} is not allowed here")


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
        raise FormError(f"{where}: text is not valid Unicode") from None
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
        return base, bounds
    return hint, None


def _at(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


assert GRID_LIMIT == 2**24, "format 1 fixes the grid's range"
