"""Computes a round's result from the verdicts: aggregate, next version, state and report.

The result is a pure function of the round, the verdicts and the stored bytes, and does not name its author. So honest
parties that admit the same updates obtain identical digests.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from registry.chain.contract_events import UpdateCommitted
from registry.chain.contract_structs import Result
from registry.content.gate import Description, describe
from registry.content.manifest import (
    DeltaFile,
    InnerProducts,
    Manifest,
    Reason,
    ReportEntry,
    ReportManifest,
    ReportPage,
    RoundOrigin,
    StateFile,
    SummedEvaluation,
    VersionFile,
    VersionManifest,
    digest_of,
    manifest_cid,
)
from registry.content.merkle import Contribution, LeafSink, contributions_root
from registry.errors import CairnError, FormError, VerificationFailed
from registry.rounds.admission import UpdateForm, Verdict
from registry.rounds.aggregation import (
    Checks,
    Combined,
    Progress,
    combine,
    gram_tree,
    in_form,
    leaves_of_blob,
    leaves_of_file,
)
from registry.rounds.draws import drawn_order
from registry.rounds.evaluations import summed
from registry.rounds.gram_tree import GramTree, finest_segment
from registry.rounds.leaf_aggregation import Leaves
from registry.rounds.loaded_round import LoadedRound
from registry.rounds.reports import pages_of
from registry.rounds.server_steps import describe_state, next_version, step_number
from registry.rounds.versions import roots_of
from registry.rounds.writing import describe_while_making, written
from registry.rules.encoding import RoundScalars, RuleSet
from registry.rules.table import rules_of
from registry.store.base import ContentStore
from registry.store.blobs import add_file
from registry.store.manifests import put_manifest
from registry.types import Address

__all__ = [
    "Outcome",
    "ascending",
    "compute_aggregate",
    "compute_declared",
    "compute_outcome",
    "measured_gram",
    "publish_outcome",
    "reported_with",
]

_LARGE = 64 << 20
"""Least total size of updates, bytes, for which parallel processes pay off."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A result with all files and manifests that it names.

    Attributes:
        result: The result to attest.
        report: Manifest of the report.
        pages: Pages of the report.
        version: Manifest of the next version.
        aggregate_file: The aggregate, a safetensors file.
        version_file: The next version, a safetensors file, if it was to be kept.
        state_file: The next state; None under rules without state.
        gram: The tree of inner products; None unless the report anchors one.
    """

    result: Result
    report: ReportManifest
    pages: tuple[ReportPage, ...]
    version: VersionManifest
    aggregate_file: Path
    version_file: Path
    state_file: Path | None
    gram: GramTree | None = None

    @property
    def factors(self) -> dict[Address, int]:
        """The factor of each admitted contribution, by participant."""
        entries = (entry for page in self.pages for entry in page.entries)
        return {Address(e.participant): e.factor for e in entries if e.reason == Reason.ADMITTED}


def compute_outcome(
    store: ContentStore,
    round: LoadedRound,
    verdicts: Sequence[Verdict],
    folder: Path,
    *,
    judged: bool = True,
    keep_version: bool = True,
    processes: int = 1,
    progress: Progress | None = None,
    relaid: Mapping[Address, Path] | None = None,
    sinks: Mapping[Address, LeafSink] | None = None,
) -> Outcome:
    """Aggregate the admitted updates by the plan's rule, apply the server optimizer, and build all manifests.

    Args:
        store: Holds the parent and every admitted update.
        round: The round.
        verdicts: One per commitment, in commit order.
        folder: Aggregate, next version and next state are written here.
        judged: Whether the admitted files are validated already; else they are validated while aggregating.
        keep_version: Write the next version's file; else only hash it.
        processes: See `combine`; with more than one, another process hashes the version while it is computed.
        progress: See `combine`.
        relaid: Files that stand in for published ones of another layout, by participant.
        sinks: Takers of leaf hashes of admitted updates, by participant; see `combine`.

    Raises:
        InputError: Nothing was admitted.
        FormError, VerificationFailed: A file that was not validated before is invalid.
    """
    form = round.form
    admitted = ascending(verdicts)
    aggregate_file, version_file = folder / "aggregate.safetensors", folder / "model.safetensors"
    state_file = folder / "state.safetensors" if form.rules.program.states else None
    combined = compute_aggregate(
        store, round, admitted, aggregate_file,
        judged=judged, processes=processes, progress=progress, relaid=relaid, sinks=sinks,
    )  # fmt: skip
    for verdict, update in zip(admitted, combined.updates, strict=True):
        if not judged and update.tensor_root != verdict.commitment.tensor_root:
            raise VerificationFailed(f"update of 0x{verdict.commitment.participant.hex()[:8]}: its root is another")
    scalars = _scalars(round.parent, form.rules, admitted)
    made = next_version(store, round.parent, form, aggregate_file, scalars, state_file)
    if keep_version:
        made = written(version_file, made)
    described = describe_while_making(made) if processes > 1 else describe(made)
    state = None if state_file is None else describe_state(state_file, form.rules, scalars.step)
    files = aggregate_file, version_file, state_file
    return _assemble(round, scalars, verdicts, combined, described, state, files)


def compute_aggregate(
    store: ContentStore,
    round: LoadedRound,
    admitted: Sequence[Verdict],
    out: Path,
    *,
    judged: bool = True,
    processes: int = 1,
    progress: Progress | None = None,
    relaid: Mapping[Address, Path] | None = None,
    sinks: Mapping[Address, LeafSink] | None = None,
) -> Combined:
    """Combine the admitted updates, without a server step; arguments as for `compute_outcome`.

    Args:
        admitted: As `ascending` gives them.
    """
    form = round.form
    return combine(
        [_leaves(store, v, form, relaid or {}) for v in admitted],
        [v.commitment.weight for v in admitted],
        form.aggregate.header,
        form.aggregate.size,
        grid_bits=form.grid_bits,
        combining=rules_of(round.plan).combine,
        out=out,
        check=Checks(cids=False, roots=not judged or bool(sinks)),  # the store verifies every block anyway
        processes=processes,
        progress=progress,
        sinks=[(sinks or {}).get(v.commitment.participant) for v in admitted],
        segments=form.segments,
        drawn=drawn_order(round.record, [v.commitment.participant for v in admitted]),
    )


def measured_gram(store: ContentStore, round: LoadedRound, admitted: Sequence[Verdict], folder: Path) -> GramTree:
    """Return the tree of the inner products of admitted updates, without combining them.

    Args:
        store: Holds every admitted update.
        round: The round.
        admitted: One or more, as `ascending` gives them.
        folder: For its file.

    Raises:
        FormError: An update has another header or size.
        InputError: There is not enough free disk for scratch files.
    """
    form = round.form
    return gram_tree(
        [_leaves(store, verdict, form, {}) for verdict in admitted],
        form.aggregate.header,
        form.aggregate.size,
        grid_bits=form.grid_bits,
        segments=form.segments,
        folder=folder,
    )


def ascending(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Return those admitted, by participant: so a result lists them, and so their inner products are ordered."""
    return sorted((v for v in verdicts if v.admitted), key=lambda v: v.commitment.participant)


def _leaves(store: ContentStore, verdict: Verdict, form: UpdateForm, relaid: Mapping[Address, Path]) -> Leaves:
    path = relaid.get(verdict.commitment.participant)
    assert verdict.manifest is not None
    blob = verdict.manifest.delta.blob
    return in_form(leaves_of_blob(store, blob) if path is None else leaves_of_file(path, form.size), form)


def _scalars(parent: VersionManifest, rules: RuleSet, admitted: Sequence[Verdict]) -> RoundScalars:
    weight = sum(verdict.commitment.weight for verdict in admitted)
    steps = sum(verdict.commitment.steps for verdict in admitted)
    return RoundScalars(step_number(parent, rules), len(admitted), weight, steps)


def compute_declared(
    store: ContentStore,
    round: LoadedRound,
    verdicts: Sequence[Verdict],
    folder: Path,
    *,
    keep_version: bool = True,
    progress: Progress | None = None,
) -> Outcome | CairnError:
    """Compute the outcome from verdicts on manifests alone, checking each file while it is combined.

    Every byte is thus read once, in parallel on all cores if that pays off. On failure, returns the reason; checking
    each update separately then finds the faulty one.
    """
    large = round.form.size * sum(verdict.admitted for verdict in verdicts) > _LARGE
    processes = len(os.sched_getaffinity(0)) if large else 1
    try:
        return compute_outcome(
            store, round, verdicts, folder,
            judged=False, keep_version=keep_version, processes=processes, progress=progress,
        )  # fmt: skip
    except CairnError as error:
        return error


def _assemble(
    round: LoadedRound,
    scalars: RoundScalars,
    verdicts: Sequence[Verdict],
    combined: Combined,
    facts: Description,
    state: StateFile | None,
    files: tuple[Path, Path, Path | None],
) -> Outcome:
    record, parent = round.record, round.parent
    admitted = [v.commitment for v in ascending(verdicts)]
    gram, segments = combined.gram, round.form.segments
    factors = {c.participant: factor for c, factor in zip(admitted, combined.factors.factors, strict=True)}
    sums: dict[str, Any] = {
        "contributions_root": contributions_root(_leaves_of(admitted, factors)),
        "contributions": scalars.contributions,
        "total_weight": scalars.total_weight,
        "total_steps": scalars.total_steps,
        "divisor": combined.factors.divisor,
    }
    made_in: dict[str, Any] = {
        "chain_id": record.chain_id,
        "contract": record.contract,
        "model": record.model_id,
        "number": record.number,
        "plan": manifest_cid(record.plan.digest),
        "aggregate": DeltaFile(combined.cid, combined.size, combined.tensor_root),
    }
    pages = pages_of([_entry(v, factors) for v in verdicts])
    report = ReportManifest(
        **made_in,
        **sums,
        parent=manifest_cid(record.parent),
        running_hash=record.running_hash,
        pages=tuple(manifest_cid(digest_of(page)) for page in pages),
        evaluation=_summed_evaluation(round, verdicts),
        gram=None if gram is None else InnerProducts(gram.root, finest_segment(segments)),
    )
    assert facts.cid and facts.sha256 and facts.tensor_root and facts.rest_root
    version = VersionManifest(
        parent=manifest_cid(record.parent),
        weights=VersionFile(facts.cid, facts.size, facts.sha256),
        tensor_root=facts.tensor_root,
        rest_root=facts.rest_root,
        state=state,
        base=parent.base,
        frozen=parent.frozen,
        aliases=parent.aliases,
        round=RoundOrigin(**made_in, report=manifest_cid(digest_of(report))),
        statement=None,
    )
    result = Result(
        version_digest=digest_of(version),
        roots=roots_of(version),
        report_digest=digest_of(report),
        aggregate_root=combined.tensor_root,
        **sums,
    )
    return Outcome(result, report, pages, version, *files, gram)


def _summed_evaluation(round: LoadedRound, verdicts: Sequence[Verdict]) -> SummedEvaluation | None:
    measured = (v.manifest.evaluation for v in verdicts if v.admitted and v.manifest)
    return summed(measured, round.plan.weight_cap)


def _leaves_of(admitted: Sequence[UpdateCommitted], factors: Mapping[Address, int]) -> list[Contribution]:
    return [
        Contribution(c.participant, c.digest, c.tensor_root, c.weight, c.steps, factors[c.participant])
        for c in admitted
    ]


def reported_with(outcome: Outcome, verdicts: Sequence[Verdict]) -> Outcome:
    """Return an outcome whose report has other entries for the rejected updates."""
    factors = {Address(entry.participant): entry.factor for page in outcome.pages for entry in page.entries}
    pages = pages_of([_entry(v, factors) for v in verdicts])
    report = replace(outcome.report, pages=tuple(manifest_cid(digest_of(page)) for page in pages))
    assert outcome.version.round is not None
    made_in = replace(outcome.version.round, report=manifest_cid(digest_of(report)))
    version = replace(outcome.version, round=made_in)
    result = replace(outcome.result, version_digest=digest_of(version), report_digest=digest_of(report))
    return replace(outcome, result=result, report=report, pages=pages, version=version)


def _entry(verdict: Verdict, factors: Mapping[Address, int]) -> ReportEntry:
    entry = verdict.commitment
    return ReportEntry(
        participant=entry.participant,
        update=manifest_cid(entry.digest) if verdict.reason == Reason.ADMITTED else entry.digest,
        tensor_root=entry.tensor_root,
        weight=entry.weight,
        steps=entry.steps,
        reason=int(verdict.reason),
        factor=factors[entry.participant] if verdict.admitted else 0,
    )


def publish_outcome(store: ContentStore, outcome: Outcome) -> None:
    """Store and pin aggregate, version, state and report. Idempotent.

    Raises:
        FormError: A file changed since the outcome was computed.
    """
    files = [
        (outcome.aggregate_file, outcome.report.aggregate.blob),
        (outcome.version_file, outcome.version.weights.blob),
    ]
    if outcome.state_file is not None and outcome.version.state is not None:
        files.append((outcome.state_file, outcome.version.state.blob))
    for path, blob in files:
        if not add_file(store, path, blob):
            raise FormError(f"{path}: changed since it was computed")
        store.pin(blob.cid)
    manifests: tuple[Manifest, ...] = (*outcome.pages, outcome.report, outcome.version)
    for manifest in manifests:
        put_manifest(store, manifest)
