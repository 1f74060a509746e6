"""Calls without the role, outside the phase, or beyond the bounds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from registry.chain.contract_errors import (
    AlreadyAttested,
    AlreadyCommitted,
    BadTerm,
    BadWeight,
    IncompleteEarlyResult,
    MissingRole,
    NotAscending,
    NotCommitted,
    NotOwner,
    RoundNotEnded,
    RoundsAreSuspended,
    RunningHashMismatch,
    UnknownRound,
    WrongParticipantCount,
    WrongPhase,
    ZeroDigest,
    ZeroRoot,
)
from registry.content.manifest import Reason
from registry.types import MAX_TOTAL_WEIGHT, Digest, Phase, Role, Root

if TYPE_CHECKING:
    from conftest import Federation

DIGEST, ROOT = Digest(b"\x21" * 32), Root(b"\x22" * 32)


def bare(house: Federation, name: str, *, number: int = 1, weight: int = 1, **changed: Any) -> None:
    """Commit a digest that stands for nothing."""
    client = house.clients[name]
    client.commit_update(
        house.model_id,
        number,
        changed.get("digest", DIGEST),
        changed.get("tensor_root", ROOT),
        weight,
        changed.get("steps", 1),
    )


def test_a_stranger_cannot_commit(opened: Federation) -> None:
    with pytest.raises(MissingRole):
        bare(opened, "stranger")


def test_an_aggregator_cannot_commit(opened: Federation) -> None:
    with pytest.raises(MissingRole):
        bare(opened, "first")


def test_the_owner_cannot_commit_without_the_role(opened: Federation) -> None:
    with pytest.raises(MissingRole):
        bare(opened, "owner")


def test_a_revoked_member_cannot_commit(opened: Federation) -> None:
    opened.owner.revoke_roles(opened.model_id, opened.mallory.account, Role.PARTICIPANT)
    with pytest.raises(MissingRole):
        bare(opened, "mallory")


def test_a_member_revoked_and_granted_again_cannot_commit_twice(opened: Federation) -> None:
    bare(opened, "mallory")
    opened.forget("mallory")
    opened.owner.revoke_roles(opened.model_id, opened.mallory.account, Role.PARTICIPANT)
    opened.owner.grant_roles(opened.model_id, opened.mallory.account, Role.PARTICIPANT)
    with pytest.raises(AlreadyCommitted):
        bare(opened, "mallory")


def test_a_revoked_aggregator_cannot_attest(published: Federation) -> None:
    result = published.outcome().result
    published.owner.revoke_roles(published.model_id, published.first.account, Role.AGGREGATOR)
    with pytest.raises(MissingRole):
        published.attest("first", result)


def test_a_commitment_before_any_round_opens_reverts(federation: Federation) -> None:
    with pytest.raises(UnknownRound):
        bare(federation, "mallory")


def test_a_commitment_to_the_next_round_reverts(opened: Federation) -> None:
    with pytest.raises(UnknownRound):
        bare(opened, "mallory", number=2)


def test_a_commitment_in_the_first_second_after_the_deadline_reverts(opened: Federation) -> None:
    opened.sleep_to("commit_deadline")
    with pytest.raises(WrongPhase) as refusal:
        bare(opened, "mallory")
    assert (refusal.value.expected, refusal.value.actual) == (Phase.COMMIT, Phase.PUBLISH)


def test_a_commitment_after_commits_ended_early_reverts(opened: Federation) -> None:
    everybody = ("ann", "bob", "cyn", "mallory")
    for name in everybody:
        bare(opened, name)
    opened.stranger.end_commits(opened.model_id, 1, [opened.clients[name].account for name in everybody])
    opened.owner.grant_roles(opened.model_id, opened.stranger.account, Role.PARTICIPANT)
    with pytest.raises(WrongPhase):
        bare(opened, "stranger")


def test_a_commitment_to_a_cancelled_round_reverts(opened: Federation) -> None:
    opened.owner.cancel_round(opened.model_id, 1)
    with pytest.raises(WrongPhase):
        bare(opened, "mallory")


# Bounds ---------------------------------------------------------------------------------------------------------------


def test_weight_0_reverts(opened: Federation) -> None:
    with pytest.raises(BadWeight):
        bare(opened, "mallory", weight=0)


def test_weight_over_the_cap_reverts(federation: Federation, new_plan: Any) -> None:
    new_plan(federation, weight_cap=500)
    federation.owner.open_round(federation.model_id)
    bare(federation, "ann", weight=500)
    with pytest.raises(BadWeight):
        bare(federation, "mallory", weight=501)


def test_a_cap_raised_in_an_open_round_counts_from_the_next(federation: Federation, new_plan: Any) -> None:
    new_plan(federation, weight_cap=500)
    federation.owner.open_round(federation.model_id)
    new_plan(federation, weight_cap=1000)
    with pytest.raises(BadWeight):
        bare(federation, "mallory", weight=501)


def test_a_cap_over_2_28_reverts(federation: Federation) -> None:
    plan = replace(federation.plan, weight_cap=MAX_TOTAL_WEIGHT + 1)
    with pytest.raises(BadTerm, match="weightCap"):
        federation.owner.set_plan(federation.model_id, plan, federation.rules)


@pytest.mark.parametrize(
    ("changed", "refusal"), [({"digest": Digest(bytes(32))}, ZeroDigest), ({"tensor_root": Root(bytes(32))}, ZeroRoot)]
)
def test_a_commitment_to_nothing_reverts(opened: Federation, changed: dict[str, Any], refusal: type) -> None:
    with pytest.raises(refusal):
        bare(opened, "mallory", **changed)


def test_an_update_over_2_28_in_total_is_refused_and_the_rest_counted(opened: Federation) -> None:
    opened.contribute("mallory", opened.update("mallory", weight=MAX_TOTAL_WEIGHT))
    opened.contribute("ann", opened.update("ann", weight=1))
    opened.sleep_to("publish_deadline")
    assert opened.reasons() == {"mallory": Reason.ADMITTED, "ann": Reason.TOTAL_WEIGHT}


# Ending commits early -------------------------------------------------------------------------------------------------


def test_commits_do_not_end_early_while_a_participant_is_waited_for(opened: Federation) -> None:
    for name in ("ann", "bob", "cyn"):
        bare(opened, name)
    everybody = [opened.clients[name].account for name in ("ann", "bob", "cyn", "mallory")]
    with pytest.raises(NotCommitted):
        opened.stranger.end_commits(opened.model_id, 1, everybody)
    with pytest.raises(WrongParticipantCount):
        opened.stranger.end_commits(opened.model_id, 1, everybody[:3])


def test_a_participant_listed_twice_does_not_stand_for_another(opened: Federation) -> None:
    for name in ("ann", "bob", "cyn"):
        bare(opened, name)
    listed = [opened.clients[name].account for name in ("ann", "bob", "cyn", "cyn")]
    with pytest.raises(NotAscending):
        opened.stranger.end_commits(opened.model_id, 1, listed)


def test_an_aggregator_listed_as_a_participant_does_not_stand_for_one(opened: Federation) -> None:
    for name in ("ann", "bob", "cyn"):
        bare(opened, name)
    listed = [opened.clients[name].account for name in ("ann", "bob", "cyn", "first")]
    with pytest.raises(MissingRole):
        opened.stranger.end_commits(opened.model_id, 1, listed)


def test_what_a_revoked_participant_committed_still_belongs_to_an_early_result(opened: Federation) -> None:
    for name in ("ann", "bob", "cyn", "mallory"):
        opened.contribute(name, opened.update(name, seed=len(name)))
    opened.owner.revoke_roles(opened.model_id, opened.mallory.account, Role.PARTICIPANT)
    rest = [opened.clients[name].account for name in ("ann", "bob", "cyn")]
    opened.stranger.end_commits(opened.model_id, 1, rest)
    assert opened.owner.round(opened.model_id, 1).commitments == 4
    *others, last = opened.verdicts()
    assert last.commitment.participant == opened.mallory.account
    without = opened.outcome([*others, replace(last, reason=Reason.UNAVAILABLE)]).result
    with pytest.raises(IncompleteEarlyResult):
        opened.attest("first", without)
    opened.attest("first", opened.outcome().result)


def test_an_early_result_without_every_contribution_reverts(opened: Federation) -> None:
    everybody = ("ann", "bob", "cyn", "mallory")
    for seed, name in enumerate(everybody):
        opened.contribute(name, opened.update(name, seed=seed))
    opened.stranger.end_commits(opened.model_id, 1, [opened.clients[name].account for name in everybody])
    first, *rest = opened.verdicts()
    partial = opened.outcome([replace(first, reason=Reason.UNAVAILABLE), *rest]).result
    with pytest.raises(IncompleteEarlyResult):
        opened.attest("mallory", partial)
    opened.attest("first", opened.outcome().result)


# The owner ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ann", "first", "stranger"])
def test_only_the_owner_grants_plans_cancels_and_publishes(opened: Federation, name: str) -> None:
    client, model = opened.clients[name], opened.model_id
    for act in (
        lambda: client.grant_roles(model, client.account, Role.AGGREGATOR),
        lambda: client.revoke_roles(model, opened.bob.account, Role.PARTICIPANT),
        lambda: client.set_plan(model, opened.plan, opened.rules),
        lambda: client.cancel_round(model, 1),
        lambda: client.publish_version(model, opened.genesis, DIGEST, ROOT, ROOT),
        lambda: client.deprecate_version(model, opened.genesis, DIGEST),
        lambda: client.suspend_rounds(model),
        lambda: client.transfer_ownership(model, client.account),
    ):
        with pytest.raises(NotOwner):
            act()


def test_the_owner_cannot_cancel_what_has_been_attested(published: Federation) -> None:
    published.attest("first", published.outcome().result)
    with pytest.raises(AlreadyAttested):
        published.owner.cancel_round(published.model_id, 1)


def test_the_owner_cannot_publish_a_version_beside_an_open_round(opened: Federation) -> None:
    with pytest.raises(RoundNotEnded):
        opened.owner.publish_version(opened.model_id, opened.genesis, DIGEST, ROOT, ROOT)


def test_the_owner_cannot_move_the_head_by_deprecating_it_in_an_open_round(opened: Federation) -> None:
    with pytest.raises(RoundNotEnded):
        opened.owner.deprecate_version(opened.model_id, opened.genesis, DIGEST, opened.genesis)


def test_a_second_round_cannot_be_opened_beside_the_first(opened: Federation) -> None:
    with pytest.raises(RoundNotEnded):
        opened.first.open_round(opened.model_id)


def test_a_stranger_cannot_open_a_round(federation: Federation) -> None:
    with pytest.raises(MissingRole):
        federation.stranger.open_round(federation.model_id)


def test_nobody_opens_a_round_while_they_are_suspended(federation: Federation) -> None:
    federation.owner.suspend_rounds(federation.model_id)
    with pytest.raises(RoundsAreSuspended):
        federation.ann.open_round(federation.model_id)


def test_an_owner_who_is_silent_stalls_nobody(federation: Federation) -> None:
    federation.ann.open_round(federation.model_id)
    assert federation.owner.phase(federation.model_id, 1) == Phase.COMMIT


@pytest.mark.parametrize("running", [bytes(32), b"\x01" * 32])
def test_a_result_computed_from_other_commitments_reverts(published: Federation, running: bytes) -> None:
    result = published.outcome().result
    with pytest.raises(RunningHashMismatch):
        published.first.attest_result(published.model_id, 1, result, running)
