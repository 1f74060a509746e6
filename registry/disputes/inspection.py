"""Audit an attested result with the data available.

Aggregate and version are recomputed. Where they differ from the attested ones, the auditor locates one wrong chunk: in
the attesters' own blobs or, if those are unavailable, by bisection of their trees with demands. The outcome is a
charge, the next leaves to demand, or a result that is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from registry.chain.contract_events import LeafShown
from registry.chain.contract_hashes import COMMITMENT_BYTES, CONTRIBUTION_BYTES, contribution_leaf
from registry.chain.contract_structs import Listed, Membership, Opening, Result
from registry.content.manifest import Reason
from registry.content.merkle import CHUNK_VALUES, Rows, leaf_hash
from registry.disputes.attested_heads import update_head, wrong_head, wrong_result_heads
from registry.disputes.charges import (
    CONTRIBUTIONS,
    Case,
    Inspection,
    Wanted,
    aggregate_charge,
    attested_chunks,
    contribution_chunks,
    list_charge,
    listed,
    off_grid,
    off_grid_in,
    reported,
    state_charge,
    uncommitted_charge,
    version_charge,
    wanted_contribution,
)
from registry.disputes.false_selections import SelectedFactors, false_selection
from registry.disputes.faults import WrongChunk, WrongCount, WrongFactor, WrongRoots, WrongSize
from registry.disputes.narrowing import apart, published_aggregate, published_state, published_version
from registry.disputes.openings import Chunks, Listing, chunks_of_file, listing_of, relay_numbers
from registry.disputes.sampling import held_by_parts, sampled
from registry.errors import CairnError
from registry.rounds.admission import Verdict, judge, judge_declared
from registry.rounds.loaded_round import LoadedRound
from registry.rounds.onchain import RoundRecord
from registry.rounds.reports import found_report
from registry.rounds.results import (
    Outcome,
    ascending,
    compute_aggregate,
    compute_declared,
    compute_outcome,
    reported_with,
)
from registry.rounds.server_steps import continues, state_header, step_number
from registry.rules.encoding import largest_factor, state_layout
from registry.rules.table import called, rules_of
from registry.store.base import ContentStore
from registry.types import Address, HeadKind, Root, Tree

__all__ = ["Recomputed", "inspect"]

Recomputed = dict[tuple[RoundRecord, Root], tuple[Sequence[Verdict], Outcome]]
"""By round and contributions root: the verdicts and their outcome. Holds at most one, whose files are in the folder. A
root alone names no round: whoever commits an update again gets the same one, and the head of another round passes.
"""
_UNLISTED = "not in the result"

_SAMPLES = 4
"""Leaves to demand of a contribution that is not available as a whole."""


def inspect(
    store: ContentStore,
    round: LoadedRound,
    result: Result,
    shown: Sequence[LeafShown],
    folder: Path,
    recomputed: Recomputed | None = None,
    salt: bytes = b"",
    *,
    ahead: bool = False,
) -> Inspection:
    """Audit a result: compare it with the round's commitments.

    Args:
        store: Where to fetch updates and the attesters' blobs.
        round: The round.
        result: The attested result.
        shown: Answers to demands of this result.
        folder: For the recomputed files, overwritten.
        recomputed: Cache of the last recomputation, its files still in the folder: each leaf shown of a hidden blob
            leads to another audit.
        salt: Secret that samples the chunks where not all are available. Keep it the same for every audit of a result,
            else each one demands other chunks.
        ahead: Read nothing that the attesters publish. The outcome is final if it is sound or has a charge; else the
            result has to be audited in full.

    Raises:
        VerificationFailed: The parent is not what the chain says, so nothing can be compared with it.
        FormError: The round does not fit the plan's rules.
    """
    opened = {
        (event.root, Rows(event.entry_bytes, event.entries), event.index): Opening(
            event.counted, event.leaf, event.proof
        )
        for event in shown
    }
    folder.mkdir(parents=True, exist_ok=True)
    count = len(round.record.commitments)
    report = None if ahead else found_report(store, result.report_digest, count)  # read once: a store may be slow
    samples = _samples(round.form.rules.values, salt, result)
    case = Case(store, round, result, report, opened, folder, samples, ahead)
    found = _inspected(case, {} if recomputed is None else recomputed)
    if found.charge is not None or found.wanted or found.sound or ahead:
        return found
    return wrong_result_heads(case) or found


def _samples(values: int, salt: bytes, result: Result) -> tuple[int, ...]:
    """Draw chunks without replacement, by hashes that whoever does not know the salt cannot foresee."""
    leaves = -(-values // CHUNK_VALUES)
    draw, drawn = 0, set[int]()
    while len(drawn) < min(_SAMPLES, leaves):
        seed = leaf_hash(salt + result.contributions_root + draw.to_bytes(8, "big"))
        drawn.add(int.from_bytes(seed, "big") % leaves)
        draw += 1
    return tuple(sorted(drawn))


def _inspected(case: Case, recomputed: Recomputed) -> Inspection:
    """Audit the contributions, the roots and the blobs of a result, in this order."""
    listing = _listing(case)
    if isinstance(listing, Inspection):
        return listing
    charge = list_charge(case, listing)
    if charge is not None:
        return Inspection(f"contributions: {charge.fault.name.lower()}", charge)
    wrong = _wrong_roots(case)
    if wrong:
        return Inspection(f"version: {wrong}", WrongRoots())
    unfit = _unfit_state(case)
    if unfit is not None:
        return unfit
    made_of = case.round.record, case.result.contributions_root
    if made_of not in recomputed:
        recomputed.clear()
        made = _recompute(case, listing)
        if isinstance(made, Inspection):
            return made
        recomputed[made_of] = made
    return _compared(case, listing, *recomputed[made_of])


def _wrong_roots(case: Case) -> str:
    """Say which of the version's roots does not follow from rules and parent, without reading a file; '' if none."""
    made, rules = case.result.roots, case.round.form.rules
    stateful = bool(rules.program.states)
    if made.rest != case.round.parent.rest_root:
        return "rest root differs from its parent's"
    if made.state_layout != state_layout(rules) or any(made.state) != stateful:
        return "state layout differs from the rules'"
    if made.step != (step_number(case.round.parent, rules) if stateful else 0):
        return "wrong state step"
    return ""


def _unfit_state(case: Case) -> Inspection | None:
    """Charge a result built on a parent whose state has the wrong size: honest aggregators do not continue from one."""
    kept = case.round.parent.state
    expected = case.round.form.rules.values * len(case.round.form.rules.program.states)
    if kept is None or not continues(case.round.parent, case.round.form.rules):
        return None
    size = state_header(case.round.form.rules).file_bytes
    if kept.size == size:
        return None
    root = Root(kept.root)
    chunks = attested_chunks(case.store, kept.blob, root, case.states, size=size)
    shown = case.shown_of(root, case.states)
    counted = chunks.counted if chunks else next((opening.counted for opening in shown.values()), None)
    if counted is None:
        return Inspection("parent's state: demanded", wanted=(Wanted(root, Tree.PARENT_STATE, 0, rows=case.states),))
    if counted.count == expected:
        return None
    return Inspection("parent's state: wrong size", WrongSize(Tree.PARENT_STATE, counted))


def _listing(case: Case) -> Listing | Inspection:
    """Find the contributions under the result's root: as reported, as admitted here, or as shown leaf by leaf."""
    root = case.result.contributions_root
    for listing in _likely(case):
        if listing.root == root:
            return listing
    shown = case.shown_of(root, CONTRIBUTIONS)
    if not shown:
        # Last, since it reads what all participants publish, or wait for what they do not.
        admitted = _admitted_here(case)
        if admitted.root == root:
            return admitted
        return Inspection("contributions: demanded", wanted=(wanted_contribution(root, 0),))
    counted = next(iter(shown.values())).counted
    if counted.count != case.result.contributions:
        return Inspection("contributions: count", WrongCount(counted))
    committed = {contribution_leaf(entry)[:COMMITMENT_BYTES]: entry for entry in _all(case)}
    entries = {}
    for index, opening in sorted(shown.items()):
        if index >= counted.count:
            continue  # a demand past the end, answered by the count alone
        entry = committed.get(opening.leaf[:COMMITMENT_BYTES])
        if entry is None or len(opening.leaf) != CONTRIBUTION_BYTES:
            return Inspection("contributions: uncommitted", uncommitted_charge(case, index, opening))
        factor = int.from_bytes(opening.leaf[COMMITMENT_BYTES:], "big")
        if factor > largest_factor(case.round.form.rules, entry.weight):  # it may exceed what a list can hold
            return Inspection("contributions: factor", WrongFactor(index, opening))
        entries[index] = replace(entry, factor=factor)
    missing = [index for index in range(counted.count) if index not in shown]
    if missing:
        wanted = tuple(wanted_contribution(root, index) for index in missing)
        return Inspection("contributions: demanded", wanted=wanted)
    return Listing(tuple(entries[index] for index in range(counted.count)))


def _likely(case: Case) -> Iterator[Listing]:
    if case.report is not None:
        told = tuple(reported(entry) for entry in case.report.entries if entry.reason == Reason.ADMITTED)
        yield listing_of(told)
        yield Listing(told)
    yield listing_of(_all(case))


def _admitted_here(case: Case) -> Listing:
    verdicts = (judge(case.store, case.round.record, case.round.form, c) for c in case.round.record.commitments)
    return listing_of(listed(verdict.commitment, case.round.form.rules) for verdict in verdicts if verdict.admitted)


def _all(case: Case) -> list[Listed]:
    return [listed(commitment, case.round.form.rules) for commitment in case.round.record.commitments]


def _recompute(case: Case, listing: Listing) -> tuple[Sequence[Verdict], Outcome] | Inspection:
    """Recompute the outcome of the listed contributions; else return what is wrong with them, or what to demand."""
    verdicts = _verdicts(case, listing, judge_declared)
    if all(verdict.admitted or verdict.detail == _UNLISTED for verdict in verdicts):
        outcome = compute_declared(case.store, case.round, verdicts, case.folder)
        if isinstance(outcome, Outcome):
            return verdicts, outcome
    verdicts = _verdicts(case, listing, judge)
    wanted: list[Wanted] = []
    blobs = {v.commitment.participant: v.manifest.delta.blob for v in verdicts if v.admitted and v.manifest is not None}
    places = {entry.participant: index for index, entry in enumerate(listing.contributions)}
    refused: dict[Address, Verdict] = {}
    for verdict in verdicts:
        who, manifest = verdict.commitment.participant, verdict.manifest
        if who not in places or verdict.admitted:
            continue
        membership = listing.membership(places[who])
        try:
            found = _wrongly_admitted(case, verdict, membership)
        except CairnError:  # became unavailable meanwhile
            found = Inspection("", wanted=sampled(case, membership))
        if found.charge is not None:
            return found
        wanted += found.wanted
        if found.sound and manifest is not None:  # its numbers are public, if in a malformed file
            refused[who], blobs[who] = verdict, manifest.delta.blob
    if len(blobs) < len(places):
        return held_by_parts(case, listing, blobs, wanted)
    relaid = {who: _relaid(case, who) for who in refused}
    counted = [replace(v, reason=Reason.ADMITTED) if v.commitment.participant in refused else v for v in verdicts]
    try:
        return counted, compute_outcome(case.store, case.round, counted, case.folder, relaid=relaid)
    except CairnError:  # the parent is withheld or another, what was there is not, or there is no room
        return _without_parent(case, listing, counted, relaid) or held_by_parts(case, listing, blobs, wanted)


def _without_parent(
    case: Case, listing: Listing, verdicts: Sequence[Verdict], relaid: Mapping[Address, Path]
) -> Inspection | None:
    """Recompute the aggregate alone; return how the attested one differs, None if it does not or is incomputable."""
    path, admitted = case.folder / "aggregate.safetensors", ascending(verdicts)
    try:
        made = compute_aggregate(case.store, case.round, admitted, path, relaid=relaid)
    except CairnError:
        return None
    who = (Address(verdict.commitment.participant) for verdict in admitted)
    chosen = SelectedFactors(dict(zip(who, made.factors.factors, strict=True)), made.factors.divisor, made.gram)
    return _wrong_aggregate(case, listing, verdicts, chosen, chunks_of_file(path))


def _verdicts(case: Case, listing: Listing, judge_one: Callable[..., Verdict]) -> list[Verdict]:
    """Judge the listed commitments; the others have no part in the result."""
    listed_ = {entry.participant for entry in listing.contributions}
    return [
        judge_one(case.store, case.round.record, case.round.form, commitment)
        if commitment.participant in listed_
        else Verdict(commitment, Reason.UNAVAILABLE, _UNLISTED, None)
        for commitment in case.round.record.commitments
    ]


def _wrongly_admitted(case: Case, verdict: Verdict, membership: Membership) -> Inspection:
    """Audit a listed update that readers refuse: charge its size or a value off the grid; else demand samples of it.

    The update is sound if all its numbers are public and on the grid, so that only its file is malformed. Its numbers
    are then written to a well-formed file.
    """
    entry, manifest, form = membership.contribution, verdict.manifest, case.round.form
    head = wrong_head(case, HeadKind.UPDATE, entry.digest, update_head(case.round.record, entry), membership)
    if head is not None and head.charge is not None:
        return head
    unseen = () if head is None else head.wanted
    root = entry.tensor_root
    blob = None if manifest is None else manifest.delta.blob
    chunks = None if blob is None else attested_chunks(case.store, blob, root, form.rows, size=form.size)
    shown = case.shown_of(root, form.rows)
    if chunks is None and not shown:
        leaf = Wanted(root, Tree.CONTRIBUTION, 0, membership, form.rows)
        return Inspection("contribution: demanded", wanted=(*unseen, leaf))
    counted = chunks.counted if chunks else next(iter(shown.values())).counted
    if counted.count != form.entries:
        return Inspection("contribution: size", WrongSize(Tree.CONTRIBUTION, counted, membership))
    if chunks is not None and blob is not None:
        path = _relaid(case, entry.participant)
        relay_numbers(case.store, blob, form.header, path, form.rows)
        coordinate = off_grid_in(path, form)
        if coordinate is None:
            return Inspection("", wanted=unseen, sound=True)
        shown = {coordinate // CHUNK_VALUES: chunks.opening(coordinate // CHUNK_VALUES)}
    for index, opening in shown.items():
        position = off_grid(opening.leaf, form, index * CHUNK_VALUES)
        if position is not None:
            wrong = WrongChunk(Tree.CONTRIBUTION, index * CHUNK_VALUES + position, opening, membership)
            return Inspection(f"contribution: {verdict.detail}", wrong)
    return Inspection("", wanted=(*unseen, *sampled(case, membership)))


def _relaid(case: Case, who: Address) -> Path:
    """Return the path of the well-formed file with the numbers of an update that readers refuse."""
    return case.folder / f"relaid-{who.hex()}.safetensors"


def _wrong_aggregate(
    case: Case, listing: Listing, verdicts: Sequence[Verdict], chosen: SelectedFactors, own: Chunks
) -> Inspection | None:
    """Return how the attested factors or aggregate differ from the recomputed ones; None if they do not."""
    found = false_selection(case, listing, chosen, lambda: contribution_chunks(case, listing, verdicts))
    if found is not None:
        return found
    rules = rules_of(case.round.plan)

    def opened(index: int) -> Iterator[Opening]:
        return (chunks.opening(index) for chunks in contribution_chunks(case, listing, verdicts))

    how = f"combine rule {called(rules.combine.rule)} is replayed by readers, not by the chain"
    told = {entry.participant: entry.factor for entry in listing.contributions}
    if (told, case.result.divisor) != (chosen.factors, chosen.divisor):
        return Inspection(f"contributions: other factors than the {rules.combine.rule.description} gives; {how}")
    if own.root == case.result.aggregate_root:
        return None
    if not rules.aggregate_convicted:
        return Inspection(f"aggregate: not the {rules.combine.rule.description}; {how}")
    said = f"is not the {rules.combine.rule.description}"
    return apart(
        case, own, published_aggregate(case), case.result.aggregate_root, Tree.AGGREGATE, said,
        lambda index, mine, shown: aggregate_charge(case, listing, lambda: opened(index), index, mine, shown),
    )  # fmt: skip


def _compared(case: Case, listing: Listing, verdicts: Sequence[Verdict], outcome: Outcome) -> Inspection:
    own = chunks_of_file(outcome.aggregate_file)
    chosen = SelectedFactors(outcome.factors, outcome.result.divisor, outcome.gram)
    wrong = _wrong_aggregate(case, listing, verdicts, chosen, own)
    if wrong is not None:
        return wrong
    if outcome.result.roots.tensor != case.result.roots.tensor:
        return apart(
            case, chunks_of_file(outcome.version_file), published_version(case), case.result.roots.tensor,
            Tree.VERSION, "is not what the server step gives",
            lambda index, mine, shown: version_charge(case, index, mine, shown, own.opening),
        )  # fmt: skip
    if outcome.state_file is not None and outcome.result.roots.state != case.result.roots.state:
        return apart(
            case, chunks_of_file(outcome.state_file, case.states), published_state(case), case.result.roots.state,
            Tree.STATE, "is not what the server step gives",
            lambda index, mine, shown: state_charge(case, index, mine, shown, own.opening),
        )  # fmt: skip
    if outcome.result != case.result:
        outcome = reported_with(outcome, _all_judged(case, verdicts))
    for name in ("roots", "report_digest", "version_digest"):
        if getattr(outcome.result, name) != getattr(case.result, name):
            # With the same roots the next round may build on it, whatever file its manifest names.
            made = outcome if outcome.result.roots == case.result.roots else None
            said = f"{name} differs from the recomputed one: readers refuse it, the chain does not"
            return Inspection(said, outcome=made)
    refused = [v.commitment.participant for v in verdicts if v.admitted and v.detail]
    if refused:
        named = ", ".join(f"0x{who.hex()[:8]}" for who in refused)
        said = f"the numbers are right, but readers refuse the updates of {named}; the chain does not"
        return Inspection(said, outcome=outcome)
    return Inspection("recomputed to the bit", sound=True, outcome=outcome)


def _all_judged(case: Case, verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Judge the updates left out of the result too, since its report says why; skip those it says were unavailable."""
    said = () if case.report is None else case.report.entries
    missed = {entry.participant for entry in said if entry.reason == Reason.UNAVAILABLE}
    return [
        judge(case.store, case.round.record, case.round.form, verdict.commitment)
        if verdict.detail == _UNLISTED and verdict.commitment.participant not in missed
        else verdict
        for verdict in verdicts
    ]
