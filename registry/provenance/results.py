"""From verdicts to a result: aggregate, next version, report and what goes on chain.

All of it is a pure function of the round, the verdicts and the stored bytes; it names nobody who computed it, so two
honest parties who admitted the same updates hold the same digests.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from registry.chain.records import Result
from registry.content.gate import Description, describe
from registry.content.manifest import (
    DeltaFile,
    Manifest,
    PlanManifest,
    Reason,
    ReportEntry,
    ReportManifest,
    ReportPage,
    RoundOrigin,
    VersionFile,
    VersionManifest,
    digest_of,
    encode,
    manifest_cid,
)
from registry.content.merkle import Contribution, contributions_root
from registry.content.tensors import parse_header
from registry.errors import CairnError, FormError, VerificationFailed
from registry.provenance.admission import UpdateForm, Verdict
from registry.provenance.combination import Checks, Combined, Progress, combine, leaves_of_blob
from registry.provenance.reports import pages_of
from registry.provenance.rounds import RoundRecord
from registry.provenance.versions import read_header, read_version
from registry.provenance.writing import describe_while_making, written
from registry.rules.table import rules_of
from registry.store.base import ContentStore
from registry.store.blobs import add_blob, file_pieces
from registry.types import Root

__all__ = ["Outcome", "compute_declared", "compute_outcome", "next_version", "publish_outcome"]

_PIECE = 1 << 20
_LARGE = 64 << 20
"""Bytes of updates from which on it takes longer to combine them than to start processes that share the work."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A result with everything it names.

    Attributes:
        result: What is attested.
        report: Its manifest.
        pages: Of the report.
        version: Its manifest.
        aggregate_file: The aggregate, a safetensors file.
        version_file: The next version, a safetensors file where it was to be kept.
    """

    result: Result
    report: ReportManifest
    pages: tuple[ReportPage, ...]
    version: VersionManifest
    aggregate_file: Path
    version_file: Path


def compute_outcome(
    store: ContentStore,
    record: RoundRecord,
    plan: PlanManifest,
    parent: VersionManifest,
    form: UpdateForm,
    verdicts: Sequence[Verdict],
    folder: Path,
    *,
    judged: bool = True,
    keep_version: bool = True,
    processes: int = 1,
    progress: Progress | None = None,
) -> Outcome:
    """Combine what was admitted and take the server step.

    Args:
        store: Holds the parent and every admitted update.
        record: The round.
        plan: Its plan.
        parent: Its parent version.
        form: Of its updates.
        verdicts: One a commitment, in commit order.
        folder: The two files are written here.
        judged: The files of what was admitted have been; else their form, values and roots are checked as they are
            combined, which reads them once instead of twice.
        keep_version: Write the version's file, not only hash it.
        processes: See `combine`; with more than one the version is hashed beside the step that makes it.
        progress: See `combine`.

    Raises:
        InputError: Nothing was admitted.
        FormError, VerificationFailed: One of the files that were not judged is not to be admitted.
        UnknownRule: The plan has rules this release does not know.
    """
    rules = rules_of(plan)
    admitted = [v for v in verdicts if v.admitted]
    aggregate_file, version_file = folder / "aggregate.safetensors", folder / "model.safetensors"
    combined = combine(
        [leaves_of_blob(store, v.manifest.delta.blob) for v in admitted if v.manifest],
        [v.commitment.weight for v in admitted],
        form.header,
        form.size,
        grid_bits=plan.grid_bits,
        combining=rules.combine,
        encoding=form.encoding,
        out=aggregate_file,
        check=Checks(cids=False, roots=not judged),  # the store hashes every block again
        processes=processes,
        progress=progress,
    )
    for verdict, update in zip(admitted, combined.updates, strict=True):
        if not judged and update.tensor_root != verdict.commitment.tensor_root:
            raise VerificationFailed(f"update of 0x{verdict.commitment.participant.hex()[:8]}: its root is another")
    made = next_version(store, parent, plan, form, aggregate_file)
    if keep_version:
        made = written(version_file, made)
    described = describe_while_making(made) if processes > 1 else describe(made)
    return _assemble(record, parent, verdicts, combined, described, aggregate_file, version_file)


def compute_declared(
    store: ContentStore,
    record: RoundRecord,
    plan: PlanManifest,
    parent: VersionManifest,
    form: UpdateForm,
    verdicts: Sequence[Verdict],
    folder: Path,
    *,
    keep_version: bool = True,
    progress: Progress | None = None,
) -> Outcome | CairnError:
    """Compute the outcome of what was judged by its manifests alone, each file being checked while it is combined.

    So every byte is read once, by as many processes as there are cores if that is worth their start. Where it comes to
    nothing, returns why: judging each by itself then says whose fault it is.
    """
    large = form.size * sum(verdict.admitted for verdict in verdicts) > _LARGE
    processes = len(os.sched_getaffinity(0)) if large else 1
    try:
        return compute_outcome(
            store, record, plan, parent, form, verdicts, folder,
            judged=False, keep_version=keep_version, processes=processes, progress=progress,
        )  # fmt: skip
    except CairnError as error:
        return error


def next_version(
    store: ContentStore, parent: VersionManifest, plan: PlanManifest, form: UpdateForm, aggregate: Path
) -> Iterator[bytes]:
    """Yield the next version's file: the parent's, with the server step taken on every shared tensor.

    Raises:
        VerificationFailed: The parent's file is not what its manifest, and so the chain, says. An owner can anchor such
            a version; whoever attests what is built on it could not show its leaves.
        UnknownRule: The plan has rules this release does not know.
    """
    step = rules_of(plan).server.step
    header = read_header(store, parent.weights.blob)
    shared = {t.name for t in parse_header(form.header, form.size).specs}
    source = _Reader(read_version(store, parent))
    yield source.read(header.header_bytes)
    with aggregate.open("rb") as deltas:
        deltas.seek(len(form.header))
        for tensor in header.specs:  # the aggregate holds the shared ones in the same order
            left = tensor.end - tensor.begin
            scale = plan.scales.get(tensor.name, 0)
            while left:
                piece = source.read(min(_PIECE, left))
                left -= len(piece)
                if tensor.name in shared:
                    delta = np.frombuffer(deltas.read(len(piece)), dtype="<f4")
                    weights = np.frombuffer(piece, dtype="<f4")
                    piece = step(weights, delta, rate=plan.server_rate, scale=scale).tobytes()
                yield piece
    source.finish()


def _assemble(
    record: RoundRecord,
    parent: VersionManifest,
    verdicts: Sequence[Verdict],
    combined: Combined,
    facts: Description,
    aggregate_file: Path,
    version_file: Path,
) -> Outcome:
    aggregate = DeltaFile(combined.cid, combined.size, combined.tensor_root)
    admitted = sorted((v.commitment for v in verdicts if v.admitted), key=lambda c: c.participant)
    root = contributions_root([Contribution(c.participant, c.digest, c.tensor_root, c.weight) for c in admitted])
    pages = pages_of([_entry(v) for v in verdicts])
    report = ReportManifest(
        chain_id=record.chain_id,
        contract=record.contract,
        model=record.model_id,
        number=record.number,
        parent=manifest_cid(record.parent),
        plan=manifest_cid(record.plan.digest),
        running_hash=record.running_hash,
        pages=tuple(manifest_cid(digest_of(page)) for page in pages),
        aggregate=aggregate,
        contributions_root=root,
        contributions=len(admitted),
        total_weight=combined.total_weight,
    )
    assert facts.cid is not None and facts.sha256 is not None and facts.tensor_root is not None
    version = VersionManifest(
        parent=manifest_cid(record.parent),
        weights=VersionFile(facts.cid, facts.size, facts.sha256),
        tensor_root=facts.tensor_root,
        aliases=parent.aliases,
        round=RoundOrigin(
            chain_id=record.chain_id,
            contract=record.contract,
            model=record.model_id,
            number=record.number,
            plan=manifest_cid(record.plan.digest),
            aggregate=aggregate,
            report=manifest_cid(digest_of(report)),
        ),
        statement=None,
    )
    result = Result(
        version_digest=digest_of(version),
        version_root=Root(version.tensor_root),
        report_digest=digest_of(report),
        aggregate_root=combined.tensor_root,
        contributions_root=root,
        contributions=len(admitted),
        total_weight=combined.total_weight,
    )
    return Outcome(result, report, pages, version, aggregate_file, version_file)


def _entry(verdict: Verdict) -> ReportEntry:
    entry = verdict.commitment
    return ReportEntry(
        participant=entry.participant,
        update=manifest_cid(entry.digest) if verdict.reason == Reason.ADMITTED else entry.digest,
        tensor_root=entry.tensor_root,
        weight=entry.weight,
        reason=int(verdict.reason),
    )


def publish_outcome(store: ContentStore, outcome: Outcome) -> None:
    """Put the aggregate, the version and the report into a store and pin them; doing it twice changes nothing.

    Raises:
        FormError: A file changed since the outcome was computed.
    """
    files = (
        (outcome.aggregate_file, outcome.report.aggregate.blob),
        (outcome.version_file, outcome.version.weights.blob),
    )
    for path, blob in files:
        if add_blob(store, file_pieces(path)) != blob:
            raise FormError(f"{path}: changed since it was computed")
        store.pin(blob.cid)
    manifests: tuple[Manifest, ...] = (*outcome.pages, outcome.report, outcome.version)
    for manifest in manifests:
        data = encode(manifest)
        cid = manifest_cid(hashlib.sha256(data).digest())
        store.put(cid, data)
        store.pin(cid, recursive=False)


class _Reader:
    """Exact reads from a stream of pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def read(self, count: int) -> bytes:
        parts = []
        while count:
            if not self._rest:
                piece = next(self._pieces, None)
                if piece is None:
                    raise FormError("a blob ended before its tensors did")
                self._rest = memoryview(piece)
            part, self._rest = self._rest[:count], self._rest[count:]
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def finish(self) -> None:
        """Read to the end, where a stream that checks itself says how that ended."""
        for _ in self._pieces:
            raise FormError("a blob goes on after its tensors")
