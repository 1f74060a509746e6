"""The page of a round: phase, commitments with their outcome, results and attestations, challenges and demands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from registry.chain.contract_hashes import round_id_of
from registry.chain.phases import phase_at
from registry.content.manifest import Reason, ReportManifest, UpdateManifest
from registry.errors import CairnError
from registry.explorer.reading import AsOf, NotThere, Reading, number_of
from registry.facts.plan_facts import PlanTerms, plan_terms_of
from registry.facts.round_facts import DEADLINES
from registry.facts.score_facts import ValidatorsFacts, validators_facts
from registry.index import queries, round_queries
from registry.index.entries import (
    AttestationEntry,
    ChallengeEntry,
    CommitmentEntry,
    ConvictionEntry,
    DemandEntry,
    ExpulsionEntry,
    ModelEntry,
    QuorumEntry,
    ResultEntry,
    RoundEntry,
    VoidEntry,
)
from registry.lineage.indexed_rounds import indexed_round
from registry.lineage.provenance import CommitmentProvenance, RoundProvenance, round_provenance
from registry.rounds.client_sampling import asked_among
from registry.rules.algorithms import asks_of
from registry.types import Address, Cid, Phase, Role

if TYPE_CHECKING:
    from registry.content.manifest import PlanManifest

__all__ = ["ListedCommitment", "RoundPage", "round_page"]

_PART = 100


@dataclass(frozen=True, slots=True)
class ListedCommitment:
    """A commitment with its outcome, as far as the standing result's report and the update's manifest are at hand.

    Attributes:
        reason: Why it was admitted or refused; None without a standing result or its report.
        share: Fraction of the total weight; 0 unless admitted.
        factor: What the combine rule multiplies it by; 0 unless admitted.
        published: Whether the update's manifest is in the store.
        saturated: Number of its values clipped to the grid; None unless published.
        metrics: The participant's own metrics by name; nobody checks them. Empty unless published.
        data_set: The digest by which it names its data set; None unless published.
        data_set_name: The data set's name, if its manifest is public and at hand.
    """

    commitment: CommitmentEntry
    reason: Reason | None
    share: float
    factor: int
    published: bool
    saturated: int | None
    metrics: Mapping[str, float]
    data_set: bytes | None
    data_set_name: str | None


@dataclass(frozen=True, slots=True)
class RoundPage:
    """A round.

    Attributes:
        phase: By the chain's time.
        deadline: End of the phase, Unix seconds; None in a phase without end.
        plan: Its plan's terms.
        asked: Who was asked, of those with the role when it was opened, ascending; None if everybody was, or if the
            plan's manifest is unavailable.
        commitments: A part of them, in commit order.
        next: The number of commitments up to the end of this part; None if it is the last.
        report: Of the standing result; None without one, or if it is unavailable.
        results: Attested results.
        attestations: The last one of each aggregator counts.
        quorums: Results that reached the quorum; those before the last void do not stand.
        challenges: Steps of challenges of several transactions.
        scoring: What validators say of the standing result; None if they say nothing.
    """

    as_of: AsOf
    model: ModelEntry
    round: RoundEntry
    phase: Phase
    deadline: int | None
    plan: PlanTerms
    asked: tuple[Address, ...] | None
    commitments: tuple[ListedCommitment, ...]
    next: str | None
    report: ReportManifest | None
    results: tuple[ResultEntry, ...]
    attestations: tuple[AttestationEntry, ...]
    quorums: tuple[QuorumEntry, ...]
    voids: tuple[VoidEntry, ...]
    convictions: tuple[ConvictionEntry, ...]
    expulsions: tuple[ExpulsionEntry, ...]
    challenges: tuple[ChallengeEntry, ...]
    demands: tuple[DemandEntry, ...]
    scoring: ValidatorsFacts | None


def round_page(reading: Reading, path: Mapping[str, str], query: Mapping[str, str]) -> RoundPage:
    """Return a round."""
    model = reading.model(path["model"])
    number = number_of(path["number"], "round number")
    name, db = round_id_of(model.model_id, number), reading.db
    entry = round_queries.round_of(db, name)
    if entry is None:
        raise NotThere(f"model {path['model']} has no round {number} up to block {reading.as_of.block}")
    begin = number_of(query["after"], "number of commitments") if "after" in query else 0
    told = round_provenance(db, reading.store, entry, shown=slice(begin, begin + _PART))
    phase = phase_at(entry, reading.as_of.time)
    return RoundPage(
        as_of=reading.as_of,
        model=model,
        round=entry,
        phase=phase,
        deadline=getattr(entry, DEADLINES[phase]) if phase in DEADLINES else None,
        plan=plan_terms_of(told.plan),
        asked=_asked(reading, entry, told.plan_manifest),
        commitments=tuple(map(_listed, told.commitments)),
        next=str(begin + _PART) if begin + _PART < entry.commitments else None,
        report=told.report,
        results=round_queries.results(db, name),
        attestations=round_queries.attestations(db, name),
        quorums=round_queries.quorums(db, name),
        voids=round_queries.voids(db, name),
        convictions=round_queries.convictions(db, name),
        expulsions=round_queries.expulsions(db, name),
        challenges=round_queries.challenges(db, name),
        demands=round_queries.demands(db, name),
        scoring=_scoring(told),
    )


def _listed(told: CommitmentProvenance) -> ListedCommitment:
    update = told.update
    return ListedCommitment(
        commitment=told.entry,
        reason=told.reason,
        share=told.share,
        factor=told.factor,
        published=update is not None,
        saturated=None if update is None else update.saturated,
        metrics={} if update is None else update.metrics,
        data_set=None if update is None else _data_set_of(update),
        data_set_name=None if told.data_set is None else told.data_set.name,
    )


def _data_set_of(update: UpdateManifest) -> bytes:
    named = update.data_set
    return named.digest if isinstance(named, Cid) else named


def _scoring(told: RoundProvenance) -> ValidatorsFacts | None:
    return None if told.scoring is None else validators_facts(told.scoring)


def _asked(reading: Reading, entry: RoundEntry, plan: PlanManifest | None) -> tuple[Address, ...] | None:
    """Return who was asked to take part; None if everybody was, or if nobody can tell."""
    try:
        share = Fraction(1) if plan is None else asks_of(plan.algorithm).share
        if share == 1:
            return None
        before = [m for m in queries.member_history(reading.db, entry.model_id) if m.at < entry.at]
        held = {member.account: member.roles for member in before}
        holders = sorted(account for account, roles in held.items() if roles & Role.PARTICIPANT)
        return tuple(asked_among(indexed_round(reading.db, entry), share, holders))
    except CairnError:  # an algorithm of a later release, or an index that lacks the round's parent
        return None
