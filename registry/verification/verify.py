"""Third-party verification of a version's lineage: recompute every round and compare it with the chain.

Read-only: needs a chain and a content store, no account and no torch. Every check has a name.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from registry.chain.contract_events import UpdateCommitted
from registry.chain.contract_hashes import result_hash, roots_hash
from registry.chain.contract_structs import Result, Roots
from registry.chain.views import Views
from registry.content.manifest import (
    Evaluation,
    Reason,
    ReportEntry,
    ReportManifest,
    VersionManifest,
)
from registry.content.merkle import Contribution, contributions_root
from registry.errors import BlockMismatch, BlockNotFound, InputError, VerificationFailed
from registry.ethereum.positions import Event
from registry.lineage.graph import VersionNode, lineage
from registry.rounds.admission import Verdict, judge, judge_declared, judge_manifest, update_form
from registry.rounds.aggregation import Progress
from registry.rounds.eligibility import require_commitments, require_in_time, require_quorum
from registry.rounds.evaluations import summed
from registry.rounds.loaded_round import LoadedRound
from registry.rounds.onchain import RoundRecord, chosen_result, read_round
from registry.rounds.plans import load_plan, plan_rules
from registry.rounds.reports import Report, load_report
from registry.rounds.results import Outcome, compute_declared, compute_outcome
from registry.rounds.versions import load_parent, load_version_manifest, read_header, read_version, roots_of
from registry.rules.algorithms import asks_of
from registry.rules.encoding import RuleSet, divides, largest_factor
from registry.store.base import ContentStore, reported_unavailable
from registry.store.blobs import open_blob
from registry.types import MAX_TOTAL_WEIGHT, Address, ModelId, Root
from registry.verification.cache import VerificationCache, subject_of
from registry.verification.checks import Begun, Check, Finding, Verification, until_failure
from registry.verification.checks import require_same as _same
from registry.verification.completeness import Receipted
from registry.verification.model_events import ModelEvents

if TYPE_CHECKING:
    from registry.chain.anchors import ChainView

__all__ = [
    "Check",
    "Finding",
    "Verification",
    "standing",
    "until_failure",
    "verify_published",
    "verify_records",
    "verify_round",
    "verify_version",
]


def verify_version(
    client: ChainView,
    store: ContentStore,
    model_id: ModelId,
    digest: bytes,
    folder: Path,
    *,
    files: bool = True,
    deep: bool = False,
    verified: VerificationCache | None = None,
    again: bool = False,
    progress: Callable[[VersionNode, int], None] | None = None,
) -> Iterator[Verification]:
    """Verify a version and all its ancestors in the model, genesis first.

    Args:
        client: The chain.
        store: The store of every block that the lineage names.
        model_id: The model.
        digest: The version.
        folder: Scratch space for a recomputed aggregate; each round overwrites the last.
        files: Recompute rounds from their files; else check manifests only, and report arithmetic as asserted.
        deep: Check events against receipts and headers too, and read the aggregates' blocks; needs a node.
        verified: The verification cache, read and written; None for none.
        again: Ignore cached verifications.
        progress: Called with each version and 0 before its verification, then with the bytes of updates combined.
    """
    folder.mkdir(parents=True, exist_ok=True)
    block = client.final_block()
    steps = lineage(client, model_id, digest, block=block)
    anchors = [tuple(until_failure(_anchor(client, step, block))) for step in steps]
    model = ModelEvents(client, model_id, block) if isinstance(client, Views) else None
    if deep and model is None:
        raise InputError("expected a node to verify against receipts, got a bundle, which carries its own headers")
    receipted = Receipted(model.client) if deep and model else None
    context = _Context(client, store, folder if files else None, model, receipted)
    for step, anchor in zip(steps, anchors, strict=True):
        combined = partial(progress, step) if progress else None
        if combined:
            combined(0)
        if anchor[-1].finding is not Finding.PASSED:
            yield Verification(step, anchor)
            continue
        subjects = _subjects(client, model, step, deep) if verified is not None and model else []
        held = verified.find(subjects[-1]) if verified is not None and subjects and not again else None
        if held is not None:
            yield Verification(
                step, anchor + tuple(Check(name, Finding(found), said) for name, found, said in held), True
            )
            continue
        rest = _round_checks(context, step, combined) if step.round else _published_checks(context, step)
        found = Verification(step, anchor + tuple(until_failure(rest, after=anchor[-1].name)))
        if verified is not None and found.passed and files:
            for subject in subjects:
                verified.keep(subject, [(c.name, c.finding.value, c.evidence) for c in found.checks[1:]])
        yield found


def _subjects(client: ChainView, model: ModelEvents, step: VersionNode, deep: bool) -> list[str]:
    """Return the cache keys of a verification: its own, and the deep one's if it is deep."""
    facts: list[object] = list(model.looked_at(step))
    if step.round:
        state = client.round(step.model_id, step.round, block=model.block)
        facts += [state.running_hash, state.result_hash]
    kinds = [facts, [*facts, ["deep", *model.of(step)]]] if deep else [facts]
    return [subject_of(client.chain_id, client.address, step, kind) for kind in kinds]


def verify_round(
    client: ChainView,
    store: ContentStore,
    record: RoundRecord,
    result: Result,
    folder: Path,
    *,
    deep: bool = False,
    progress: Progress | None = None,
) -> Iterator[Check | Begun]:
    """Recompute a round and compare it with a result, check by check.

    Raises:
        VerificationFailed, InputError: What is attested is not what was committed.
        BlockNotFound, StoreUnavailable, UnknownRule: The round cannot be checked here. `until_failure` converts all of
            these errors into checks.
    """
    yield Begun("report manifest")
    report = _report_of(store, record, result)
    yield Begun("plan")
    plan = load_plan(store, record.plan)
    plan_rules(plan)
    yield Check("plan", Finding.PASSED, f"manifest 0x{record.plan.digest.hex()[:12]} says what the chain holds")
    yield Begun("parent")
    parent = load_parent(store, record)
    round = LoadedRound(record, plan, parent, update_form(read_header(store, parent.weights.blob), plan))
    yield Begun("completeness")
    verdicts, made = _revalidate_and_aggregate(store, round, report, folder, progress)
    found: list[Finding] = []
    for check in _judged(report, verdicts):
        yield check
        if isinstance(check, Begun):
            continue
        found.append(check.finding)
        if check.finding is Finding.UNCHECKED:
            yield Begun("combination")
            raise BlockNotFound(f"{check.name} cannot be combined: {check.evidence}")
    yield Begun("completeness")
    stated = _as_reported(report, verdicts)
    yield _complete(record, report, stated, found)
    yield Begun("combination")
    if isinstance(made, BlockMismatch):
        raise made
    outcome = made or compute_outcome(store, round, stated, folder, keep_version=False, progress=progress)
    yield from _compared(outcome, result)
    yield from _stored(store, outcome, deep)


def _stored(store: ContentStore, outcome: Outcome, deep: bool) -> Iterator[Check | Begun]:
    """Read in full the files that a version names; their hashes must be the recomputed ones."""
    yield Begun("version file")
    version = load_version_manifest(store, outcome.result.version_digest)
    weights = version.weights
    for _ in open_blob(store, weights.blob):
        pass
    yield Check("version file", Finding.PASSED, f"{weights.size} bytes, sha256 {weights.sha256.hex()}")
    if (state := version.state) is not None:
        yield Begun("state file")
        for _ in open_blob(store, state.blob):
            pass
        yield Check("state file", Finding.PASSED, f"{state.size} bytes, server step {state.step}")
    if deep:
        yield Begun("aggregate file")
        blob = outcome.report.aggregate.blob
        for _ in open_blob(store, blob):
            pass
        yield Check("aggregate file", Finding.PASSED, f"{blob.size} bytes, every block of {blob.cid}")


def _complete(record: RoundRecord, report: Report, verdicts: Sequence[Verdict], found: Sequence[Finding]) -> Check:
    """Check that every commitment is a contribution or refused, and count refusals that nobody can check."""
    committed = [(c.participant, c.digest) for c in record.commitments]
    told = [(entry.participant, entry.digest) for entry in report.entries]
    _same("report: entries", told, committed)
    admitted = sum(1 for verdict in verdicts if verdict.admitted)
    _same("report: contributions", report.manifest.contributions, admitted)
    asserted, refused = found.count(Finding.ASSERTED), len(verdicts) - admitted
    evidence = f"{len(committed)} commitments: {admitted} contributions, {refused} refused, {asserted} as asserted"
    return Check("completeness", Finding.ASSERTED if asserted else Finding.PASSED, evidence)


def verify_records(store: ContentStore, record: RoundRecord, result: Result) -> Iterator[Check | Begun]:
    """Check a result against manifests alone, without the files that they name.

    Raises:
        VerificationFailed, InputError: What is attested is not what was committed.
        BlockNotFound, StoreUnavailable: A manifest is unavailable. `until_failure` converts all of these errors into
            checks.
    """
    yield Begun("report manifest")
    report = _report_of(store, record, result)
    yield Begun("plan")
    plan = load_plan(store, record.plan)
    rules, asks = plan_rules(plan), asks_of(plan.algorithm)
    yield Check("plan", Finding.PASSED, f"manifest 0x{record.plan.digest.hex()[:12]} says what the chain holds")
    yield Begun("updates")
    pairs = list(zip(report.entries, record.commitments, strict=True))
    _same("report: commitments", [_committed(e) for e, _ in pairs], [_committed(c) for _, c in pairs])
    admitted = [commitment for entry, commitment in pairs if entry.reason == Reason.ADMITTED]
    measured: list[Evaluation | None] = []
    for commitment in admitted:
        reason, detail, manifest = judge_manifest(store, record, report.manifest.aggregate.size, asks, commitment)
        if manifest is not None:
            measured.append(manifest.evaluation)
        if reason != Reason.ADMITTED:
            raise VerificationFailed(f"update of 0x{commitment.participant.hex()[:8]}: {reason.name.lower()} {detail}")
    _same("report: evaluation", report.manifest.evaluation, summed(measured, plan.weight_cap))
    refused = len(pairs) - len(admitted)
    yield Check(
        "updates", Finding.PASSED, f"the manifests of {len(admitted)} are of this round and say what was committed"
    )
    if refused:
        yield Check("refusals", Finding.ASSERTED, f"{refused} by the attesters; not checked without files")
    yield Begun("contributions")
    yield _check_contributions(rules, result, report)
    yield Begun("version")
    _check_version(store, record, result, report)
    yield Check("version", Finding.PASSED, "its manifest says what was attested of the version and its aggregate")
    yield Check(
        "arithmetic", Finding.ASSERTED, f"not recomputed without files: attested by a quorum of {record.plan.quorum}"
    )


def _check_contributions(rules: RuleSet, result: Result, report: Report) -> Check:
    """Check the list of contributions and its sums."""
    admitted = sorted((e for e in report.entries if e.reason == Reason.ADMITTED), key=lambda e: e.participant)
    leaves = [
        Contribution(Address(e.participant), e.digest, Root(e.tensor_root), e.weight, e.steps, e.factor)
        for e in admitted
    ]
    _same("contributions root", contributions_root(leaves), result.contributions_root)
    weight, steps = sum(e.weight for e in admitted), sum(e.steps for e in admitted)
    sums = (result.contributions, result.total_weight, result.total_steps)
    _same("contributions, total weight and total steps", (len(admitted), weight, steps), sums)
    factors = [entry.factor for entry in admitted]
    most = [largest_factor(rules, entry.weight) for entry in admitted]
    if rules.shape.selects:  # factors follow from the files alone
        most = [min(pair) for pair in zip(factors, most, strict=True)]
    _same("factors", factors, most)
    if not divides(rules, factors, result.divisor):
        raise VerificationFailed(f"divisor: expected one of factors of sum {sum(factors)}, got {result.divisor}")
    told = report.manifest
    _same("report: contributions root", told.contributions_root, result.contributions_root)
    _same("report: divisor", told.divisor, result.divisor)
    said = f"{len(admitted)} of total weight {weight} in {steps} steps give the root that was attested"
    return Check("contributions", Finding.PASSED, said)


def _check_version(store: ContentStore, record: RoundRecord, result: Result, report: Report) -> None:
    version = load_version_manifest(store, result.version_digest)
    _same_roots(version, result.roots)
    _same("version: parent", version.parent and version.parent.digest, record.parent)
    origin = version.round
    if origin is None:
        raise VerificationFailed("version: made by a round, but its manifest claims none")
    claimed = (origin.chain_id, origin.contract, origin.model, origin.number, origin.plan.digest, origin.report.digest)
    said = (record.chain_id, record.contract, record.model_id, record.number, record.plan.digest, result.report_digest)
    _same("version: round", claimed, said)
    _same("version: aggregate", origin.aggregate, report.manifest.aggregate)
    _same("aggregate: tensor root", origin.aggregate.tensor_root, result.aggregate_root)
    parent = load_parent(store, record)
    for name in ("base", "frozen", "aliases"):
        _same(f"version: {name} of its parent", getattr(version, name), getattr(parent, name))


def _committed(entry: ReportEntry | UpdateCommitted) -> tuple[object, ...]:
    return entry.participant, entry.digest, entry.tensor_root, entry.weight, entry.steps


def standing(reasons: Sequence[int], verdicts: Sequence[Verdict]) -> tuple[Finding, ...]:
    """Return the finding on each reason of a report, given the verdicts recomputed here.

    That an update was unavailable in time is the attesters' word: an update that turns up later convicts nobody, nor
    does an admitted one that is unavailable by now. The total weight is summed over what the report admits, so a
    refusal for exceeding it is checked even without the bytes.
    """
    stands, total = [], 0
    for reason, verdict in zip(reasons, verdicts, strict=True):
        weight = verdict.commitment.weight
        stands.append(_stands(reason, verdict.reason, total + weight > MAX_TOTAL_WEIGHT))
        total += weight if reason == Reason.ADMITTED else 0
    return tuple(stands)


def _stands(said: int, found: Reason, over: bool) -> Finding:
    if said == Reason.UNAVAILABLE:
        return Finding.ASSERTED
    if said == Reason.TOTAL_WEIGHT and not over:
        return Finding.FAILED
    if found == Reason.UNAVAILABLE:
        return Finding.UNCHECKED if said == Reason.ADMITTED else Finding.ASSERTED
    if found in (Reason.ADMITTED, Reason.TOTAL_WEIGHT):
        found = Reason.TOTAL_WEIGHT if over else Reason.ADMITTED
    return Finding.PASSED if said == found else Finding.FAILED


@dataclass(frozen=True, slots=True)
class _Context:
    """Dependencies of a verification: `folder` is None to check manifests only; `model` and `receipted` need a node."""

    client: ChainView
    store: ContentStore
    folder: Path | None
    model: ModelEvents | None
    receipted: Receipted | None

    def receipts(self, events: Sequence[Event], step: VersionNode) -> Iterator[Check | Begun]:
        """Check events against receipts if the verification is deep."""
        if self.receipted is not None and self.model is not None:
            yield Begun("receipts")
            own = self.model.of_round(step.round) if step.round else ()
            blocks = self.receipted.require(events, {*self.model.events, *own})
            yield Check("receipts", Finding.PASSED, f"{len(events)} events, in the receipts of {blocks} blocks")


def _round_checks(context: _Context, step: VersionNode, progress: Progress | None) -> Iterator[Check | Begun]:
    client = context.client
    yield Begun("commitments")
    record = read_round(client, step.model_id, step.round)
    yield Check(
        "commitments",
        Finding.PASSED,
        f"{len(record.commitments)} give the running hash 0x{record.running_hash.hex()[:12]}",
    )
    yield Begun("quorum")
    result = chosen_result(client, record)
    if result is None:
        raise VerificationFailed(f"round {step.round}: no attestation gives the result hash that the chain holds")
    _same("result: version", result.version_digest, step.digest)
    _same("round: parent", record.parent, step.parent)
    if context.model is None:  # a bundle: the contract's word, as proved
        yield Check(
            "quorum", Finding.PASSED, f"a quorum of {record.plan.quorum} for 0x{result_hash(result).hex()[:12]}"
        )
    else:
        yield from _eligible(context, context.model, step, record, result)
    if context.folder is None:
        yield from verify_records(context.store, record, result)
    else:
        deep = context.receipted is not None
        yield from verify_round(client, context.store, record, result, context.folder, deep=deep, progress=progress)


def _eligible(
    context: _Context, model: ModelEvents, step: VersionNode, record: RoundRecord, result: Result
) -> Iterator[Check | Begun]:
    """Check the roles and the timing of commitments and attestations."""
    around = model.around(record)
    attesters = require_quorum(record, around, result_hash(result))
    who = ", ".join(f"0x{attester.hex()[:8]}" for attester in attesters)
    yield Check("quorum", Finding.PASSED, f"{who} attested 0x{result_hash(result).hex()[:12]}, aggregators then")
    yield Begun("eligibility")
    require_commitments(record, around)
    require_in_time(around, result_hash(result))
    told = f"{len(record.commitments)} by participants, in this round, before {around.opened.commit_deadline}"
    yield Check("eligibility", Finding.PASSED, f"{told}, within the weight cap; attested in time")
    yield from context.receipts([*model.of(step), *around.events], step)


def _same_roots(version: VersionManifest, anchored: Roots) -> None:
    for field in fields(Roots):
        found, expected = getattr(roots_of(version), field.name), getattr(anchored, field.name)
        _same(f"version: {field.name.replace('_', ' ')} in its manifest", found, expected)


def _published_checks(context: _Context, step: VersionNode) -> Iterator[Check | Begun]:
    store = context.store
    if context.model is not None:
        yield from context.receipts(context.model.of(step), step)
    if context.folder is None:
        yield from verify_published(store, step)
        return
    manifest = yield from _published_manifest(store, step)
    for _ in read_version(store, manifest):
        pass
    yield Check(
        "version file", Finding.PASSED, f"{manifest.weights.size} bytes, sha256 {manifest.weights.sha256.hex()}"
    )


def verify_published(store: ContentStore, step: VersionNode) -> Iterator[Check | Begun]:
    """Check the manifest of a version that no round made, without its file. Raises as `verify_records`."""
    yield from _published_manifest(store, step)
    yield Check("version file", Finding.ASSERTED, "not read: only its manifest was checked")


def _published_manifest(store: ContentStore, step: VersionNode) -> Generator[Check | Begun, None, VersionManifest]:
    yield Begun("manifest")
    manifest = load_version_manifest(store, step.digest)
    if manifest.round is not None:
        raise VerificationFailed("version: published by its owner, but its manifest claims a round")
    _same_roots(manifest, step.roots)
    if any(step.parent):
        _same("version: parent", manifest.parent and manifest.parent.digest, step.parent)
    yield Check("manifest", Finding.PASSED, "agrees with the chain; published by the owner, not the result of a round")
    yield Begun("version file")
    return manifest


def _anchor(client: ChainView, step: VersionNode, block: int) -> Iterator[Check | Begun]:
    """Compare the node's events of a version with the contract's state in the same block."""
    yield Begun("anchor")
    held = client.version(step.model_id, step.digest, block=block)
    _same("version: known to the contract", held.known, True)
    _same("version: published outside a round", held.outside_round, step.round == 0)
    _same("version: parent in the contract", step.parent, held.parent)
    _same("version: roots in the contract", roots_hash(step.roots), held.roots)
    _same("version: deprecated", step.deprecated, held.deprecated)
    yield Check("anchor", Finding.PASSED, f"the contract holds 0x{step.digest.hex()[:12]} since block {step.block}")


def _report_of(store: ContentStore, record: RoundRecord, result: Result) -> Report:
    report = load_report(store, result.report_digest, len(record.commitments))
    _same("report: round", _round_of(report.manifest), _round_of(record))
    return report


def _revalidate_and_aggregate(
    store: ContentStore, round: LoadedRound, report: Report, folder: Path, progress: Progress | None
) -> tuple[list[Verdict], Outcome | BlockMismatch | None]:
    """Validate every commitment again; admitted updates while they are aggregated, which reads each byte once.

    If aggregation fails, each is validated separately. A damaged block is reported at once, since a store that
    quarantines the block reports it missing the next time.
    """
    commitments = round.record.commitments
    _same("report: commitments", [e.digest for e in report.entries], [c.digest for c in commitments])
    verdicts = []
    for entry, commitment in zip(report.entries, commitments, strict=True):
        judged = judge_declared if entry.reason == Reason.ADMITTED else judge
        with reported_unavailable(entry.reason == Reason.UNAVAILABLE):
            verdicts.append(judged(store, round.record, round.form, commitment))
    damage = None
    if not {Finding.UNCHECKED, Finding.FAILED} & set(_findings(report, verdicts)):
        as_reported = _as_reported(report, verdicts)
        made = compute_declared(store, round, as_reported, folder, keep_version=False, progress=progress)
        if isinstance(made, Outcome):
            return verdicts, made
        damage = made if isinstance(made, BlockMismatch) else None
    verdicts = [judge(store, round.record, round.form, commitment) for commitment in commitments]
    if damage is not None:
        verdicts = [
            replace(v, damaged=True, detail=str(damage)) if v.reason == Reason.UNAVAILABLE else v for v in verdicts
        ]
    return verdicts, damage


def _findings(report: Report, verdicts: Sequence[Verdict]) -> tuple[Finding, ...]:
    return standing([entry.reason for entry in report.entries], verdicts)


def _as_reported(report: Report, verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Return the verdicts with the report's reasons, which were found to stand."""
    return [replace(v, reason=Reason(entry.reason)) for entry, v in zip(report.entries, verdicts, strict=True)]


def _judged(report: Report, verdicts: Sequence[Verdict]) -> Iterator[Check | Begun]:
    """Compare the report's reason for every commitment with the recomputed verdict."""
    for entry, verdict, finding in zip(report.entries, verdicts, _findings(report, verdicts), strict=True):
        name = f"update of 0x{entry.participant.hex()[:8]}"
        said = Reason(entry.reason).name.lower()
        yield Begun(name)
        if finding is Finding.UNCHECKED and verdict.damaged:
            raise BlockMismatch(f"{name}: {verdict.detail}")
        if finding is Finding.FAILED:
            raise VerificationFailed(
                f"{name}: the report says {said}, found {verdict.reason.name.lower()} {verdict.detail}"
            )
        evidence = {
            Finding.PASSED: f"{said}, weight {entry.weight}, {entry.steps} steps",
            Finding.ASSERTED: f"{said}: asserted by the attesters",
            Finding.UNCHECKED: f"{said} by the attesters, unavailable here: {verdict.detail}",
        }[finding]
        yield Check(name, finding, evidence)


def _compared(outcome: Outcome, result: Result) -> Iterator[Check | Begun]:
    for name, field in (
        ("contributions", "contributions_root"),
        ("aggregate", "aggregate_root"),
        ("server step", "roots"),
        ("report", "report_digest"),
        ("version", "version_digest"),
    ):
        yield Begun(name)
        found, anchored = getattr(outcome.result, field), getattr(result, field)
        _same(f"recomputed {field}", found, anchored)
        shown = roots_hash(found) if isinstance(found, Roots) else found
        yield Check(name, Finding.PASSED, f"recomputed to 0x{shown.hex()[:12]}, as anchored")
    yield Begun("result")
    _same("recomputed result", outcome.result, result)


def _round_of(record: ReportManifest | RoundRecord) -> Sequence[object]:
    if isinstance(record, ReportManifest):
        parent, plan, model = record.parent.digest, record.plan.digest, record.model
    else:
        parent, plan, model = record.parent, record.plan.digest, record.model_id
    return record.chain_id, record.contract, model, record.number, parent, plan, record.running_hash
