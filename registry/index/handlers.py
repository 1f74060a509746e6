"""Event handlers: pure functions from an event to table rows.

A row is (table, values), values in column order. To add an event, add its event to the contract, a handler and its line
in `HANDLERS` here, and a table in a new migration if none fits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from registry.chain.abi_values import unparse
from registry.chain.contract_events import (
    AggregatorExpelled,
    AliasRemoved,
    AliasSet,
    AnswerSkipped,
    BondDeposited,
    BondReleased,
    BondSlashed,
    ChallengeAdvanced,
    ClaimRevealed,
    ClaimSealed,
    CommitmentSkipped,
    CommitsEnded,
    DemandClosed,
    DemandSkipped,
    LeafDemanded,
    LeafShown,
    ModelRegistered,
    NoteAdded,
    OwnershipTransferred,
    OwnershipTransferStarted,
    PlanSet,
    QuorumReached,
    ResultAttested,
    ResultConvicted,
    ResultVoided,
    RewardCollected,
    RolesChanged,
    RoundCancelled,
    RoundFinalized,
    RoundOpened,
    RoundsResumed,
    RoundsSuspended,
    ScoreCommitted,
    ScoreRevealed,
    ScoreTermsSet,
    UpdateCommitted,
    VersionDeprecated,
    VersionPublished,
    VersionTagged,
    VersionUntagged,
    WindowExtended,
    Withdrawn,
)
from registry.chain.contract_structs import Result, Roots
from registry.chain.labels import LabelEvent, label_of
from registry.ethereum.positions import Event

__all__ = ["HANDLERS", "Rows", "wide"]

Rows = tuple[tuple[str, tuple[Any, ...]], ...]


def wide(number: int) -> bytes:
    """Encode an integer beyond 63 bits for a column, preserving its order."""
    return number.to_bytes(32, "big")


def _place(event: Event) -> tuple[int, int]:
    return event.at.block_number, event.at.log_index


def _model_registered(e: ModelRegistered) -> Rows:
    at = _place(e)
    return (
        ("models", (*at, e.model_id, e.owner, e.genesis_digest, e.tensor_root, e.rest_root)),
        ("owners", (*at, e.model_id, e.owner)),
        ("versions", (*at, e.model_id, e.genesis_digest, None, *_roots(Roots(e.tensor_root, e.rest_root)), None)),
        ("heads", (*at, e.model_id, e.genesis_digest)),
    )


def _ownership_transfer_started(e: OwnershipTransferStarted) -> Rows:
    return (("offers", (*_place(e), e.model_id, e.owner, e.pending_owner)),)


def _ownership_transferred(e: OwnershipTransferred) -> Rows:
    return (("owners", (*_place(e), e.model_id, e.owner)),)


def _rounds_suspended(e: RoundsSuspended) -> Rows:
    return (("suspensions", (*_place(e), e.model_id, 1)),)


def _rounds_resumed(e: RoundsResumed) -> Rows:
    return (("suspensions", (*_place(e), e.model_id, 0)),)


def _version_published(e: VersionPublished) -> Rows:
    at = _place(e)
    return (
        ("versions", (*at, e.model_id, e.digest, e.parent, *_roots(Roots(e.tensor_root, e.rest_root)), None)),
        ("heads", (*at, e.model_id, e.digest)),
    )


def _version_deprecated(e: VersionDeprecated) -> Rows:
    at = _place(e)
    deprecation = ("deprecations", (*at, e.model_id, e.digest, e.reason_digest, e.replacement))
    if not any(e.replacement):  # it was not the head
        return (deprecation,)
    return (deprecation, ("heads", (*at, e.model_id, e.replacement)))


def _roles_changed(e: RolesChanged) -> Rows:
    return (("members", (*_place(e), e.model_id, e.account, int(e.roles))),)


def _plan_set(e: PlanSet) -> Rows:
    terms = {name: getattr(e.plan, name) for name in e.plan.__dataclass_fields__}
    digest, rules_hash = terms.pop("digest"), terms.pop("rules_hash")
    text = json.dumps(terms | {"hooks": ["0x" + hook.hex() for hook in e.plan.hooks]})
    return (("plans", (*_place(e), e.model_id, e.plan_index, digest, rules_hash, text, e.rules)),)


def _round_opened(e: RoundOpened) -> Rows:
    return (
        (
            "rounds",
            (
                *_place(e),
                e.model_id,
                e.number,
                e.round_id,
                e.parent,
                e.plan_index,
                e.commit_deadline,
                e.publish_deadline,
                e.aggregate_deadline,
                e.running_hash,
            ),
        ),
    )


def _update_committed(e: UpdateCommitted) -> Rows:
    at = e.at
    row = (at.block_number, at.log_index, e.round_id, e.participant, e.digest, e.tensor_root, e.weight, e.steps)
    return (("commitments", row),)


def _commitment_skipped(e: CommitmentSkipped) -> Rows:
    return ()  # only informs the sender; the round is unchanged


def _commits_ended(e: CommitsEnded) -> Rows:
    deadlines = (e.commit_deadline, e.publish_deadline, e.aggregate_deadline)
    return (("commit_ends", (*_place(e), e.round_id, e.commitments, *deadlines)),)


def _result_attested(e: ResultAttested) -> Rows:
    at = _place(e)
    return (
        ("results", (*at, e.round_id, e.result_hash, *_result(e.result))),
        ("attestations", (*at, e.round_id, e.aggregator, e.result_hash, e.votes)),
    )


def _result(result: Result) -> tuple[object, ...]:
    digest, _, *rest = unparse(result)
    return (digest, *_roots(result.roots), *rest)


def _roots(roots: Roots) -> tuple[object, ...]:
    *hashes, step = unparse(roots)
    return (*hashes, wide(step))


def _quorum_reached(e: QuorumReached) -> Rows:
    return (("quorums", (*_place(e), e.round_id, e.result_hash, e.challenge_deadline)),)


def _window_extended(e: WindowExtended) -> Rows:
    return (("extensions", (*_place(e), e.round_id, e.challenge_deadline)),)


def _result_voided(e: ResultVoided) -> Rows:
    row = (*_place(e), e.round_id, e.result_hash, e.tally, int(e.standing), e.aggregate_deadline)
    return (("voids", row),)


def _aggregator_expelled(e: AggregatorExpelled) -> Rows:
    return (("expulsions", (*_place(e), e.round_id, e.aggregator, e.tally)),)


def _round_finalized(e: RoundFinalized) -> Rows:
    at = _place(e)
    return (
        ("finalizations", (*at, e.round_id, e.version_digest)),
        ("versions", (*at, e.model_id, e.version_digest, e.parent, *_roots(e.roots), e.round_id)),
        ("heads", (*at, e.model_id, e.version_digest)),
    )


def _round_cancelled(e: RoundCancelled) -> Rows:
    return (("cancellations", (*_place(e), e.round_id)),)


# Challenges ---------------------------------------------------------------------------------------------------------


def _claim_sealed(e: ClaimSealed) -> Rows:
    return (("seals", (*_place(e), e.seal, e.order)),)


def _challenge_advanced(e: ChallengeAdvanced) -> Rows:
    return (("advances", (*_place(e), e.round_id, e.tally, e.challenger, e.next)),)


def _result_convicted(e: ResultConvicted) -> Rows:
    row = (*_place(e), e.round_id, e.tally, e.challenger, int(e.fault), e.claim, e.reveal_deadline)
    return (("convictions", row),)


def _leaf_demanded(e: LeafDemanded) -> Rows:
    what = (e.root, int(e.entries == 1), wide(e.index), wide(e.deposit), e.deadline, e.late_deadline)
    return (("demands", (*_place(e), e.round_id, e.tally, e.demander, *what)),)


def _demand_skipped(e: DemandSkipped) -> Rows:
    return ()  # only informs the sender that the leaf was already demanded


def _leaf_shown(e: LeafShown) -> Rows:
    what = (e.root, wide(e.index), wide(e.counted.count), e.counted.inner, int(bool(e.leaf)))
    return (("answers", (*_place(e), e.round_id, e.tally, e.answerer, *what)),)


def _answer_skipped(e: AnswerSkipped) -> Rows:
    return ()  # only informs the sender; the demand is unchanged


def _demand_closed(e: DemandClosed) -> Rows:
    return (("closures", (*_place(e), e.round_id, e.tally, e.root, wide(e.index))),)


def _claim_revealed(e: ClaimRevealed) -> Rows:
    return (("reveals", (*_place(e), e.round_id, e.tally, e.challenger, e.order)),)


def _reward_collected(e: RewardCollected) -> Rows:
    return (("rewards", (*_place(e), e.round_id, e.tally, e.challenger, wide(e.amount))),)


def _bond_deposited(e: BondDeposited) -> Rows:
    return (("bonds", (*_place(e), e.model_id, e.aggregator, "deposited", None, wide(e.amount))),)


def _bond_released(e: BondReleased) -> Rows:
    return (("bonds", (*_place(e), e.model_id, e.aggregator, "released", None, wide(e.amount))),)


def _bond_slashed(e: BondSlashed) -> Rows:
    return (("bonds", (*_place(e), e.model_id, e.aggregator, "slashed", e.round_id, wide(e.amount))),)


def _withdrawn(e: Withdrawn) -> Rows:
    return (("withdrawals", (*_place(e), e.account, wide(e.amount))),)


# Labels -------------------------------------------------------------------------------------------------------------


def _labelled(e: LabelEvent) -> Rows:
    said = label_of(e)
    row = (*_place(e), said.model_id, said.digest, said.owner, said.change.value, said.text)
    return (("labels", row),)


# Scores -------------------------------------------------------------------------------------------------------------


def _score_terms_set(e: ScoreTermsSet) -> Rows:
    terms = e.terms.minimum, e.terms.commit_duration, e.terms.reveal_duration
    return (("score_terms", (*_place(e), e.model_id, e.owner, *terms)),)


def _score_committed(e: ScoreCommitted) -> Rows:
    what = e.commitment, e.commit_deadline, e.reveal_deadline
    return (("score_commitments", (*_place(e), e.round_id, e.validator, e.result_hash, *what)),)


def _score_revealed(e: ScoreRevealed) -> Rows:
    what = e.score, e.predictions_root
    return (("scores", (*_place(e), e.round_id, e.validator, e.result_hash, *what)),)


HANDLERS: Mapping[type[Event], Callable[[Any], Rows]] = {
    ModelRegistered: _model_registered,
    OwnershipTransferStarted: _ownership_transfer_started,
    OwnershipTransferred: _ownership_transferred,
    RoundsSuspended: _rounds_suspended,
    RoundsResumed: _rounds_resumed,
    VersionPublished: _version_published,
    VersionDeprecated: _version_deprecated,
    RolesChanged: _roles_changed,
    PlanSet: _plan_set,
    RoundOpened: _round_opened,
    UpdateCommitted: _update_committed,
    CommitmentSkipped: _commitment_skipped,
    CommitsEnded: _commits_ended,
    ResultAttested: _result_attested,
    QuorumReached: _quorum_reached,
    WindowExtended: _window_extended,
    ResultVoided: _result_voided,
    AggregatorExpelled: _aggregator_expelled,
    RoundFinalized: _round_finalized,
    RoundCancelled: _round_cancelled,
    ClaimSealed: _claim_sealed,
    ChallengeAdvanced: _challenge_advanced,
    ResultConvicted: _result_convicted,
    LeafDemanded: _leaf_demanded,
    DemandSkipped: _demand_skipped,
    LeafShown: _leaf_shown,
    AnswerSkipped: _answer_skipped,
    DemandClosed: _demand_closed,
    ClaimRevealed: _claim_revealed,
    RewardCollected: _reward_collected,
    BondDeposited: _bond_deposited,
    BondReleased: _bond_released,
    BondSlashed: _bond_slashed,
    Withdrawn: _withdrawn,
    AliasSet: _labelled,
    AliasRemoved: _labelled,
    VersionTagged: _labelled,
    VersionUntagged: _labelled,
    NoteAdded: _labelled,
    ScoreTermsSet: _score_terms_set,
    ScoreCommitted: _score_committed,
    ScoreRevealed: _score_revealed,
}
