"""Replay of an update or a report from another round, model, contract, chain, parent or plan."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from registry.chain.contract_errors import MissingRole
from registry.content.manifest import PlanManifest, Reason, digest_of, manifest_cid
from registry.errors import InputError, UnknownRule, VerificationFailed
from registry.ethereum.hashing import keccak
from registry.roles.aggregator import judge_all
from registry.rounds.plans import plan_rules
from registry.rules.encoding import encode_rules
from registry.store.manifests import get_manifest, put_manifest
from registry.types import Digest, Role, Root

if TYPE_CHECKING:
    from conftest import Federation

ROOT = Root(b"\x01" * 32)
ELSEWHERE: dict[str, Any] = {
    "chain_id": 1,
    "contract": b"\x01" * 20,
    "model": b"\x02" * 32,
    "number": 2,
    "participant": b"\x03" * 20,
    "parent": manifest_cid(b"\x04" * 32),
    "plan": manifest_cid(b"\x05" * 32),
}


@pytest.mark.parametrize("field", ELSEWHERE)
def test_an_update_bound_elsewhere_is_refused(opened: Federation, field: str) -> None:
    opened.contribute("mallory", opened.update("mallory", **{field: ELSEWHERE[field]}))
    opened.contribute("ann", opened.update("ann"))
    opened.sleep_to("publish_deadline")
    assert opened.reasons() == {"mallory": Reason.WRONG_BINDING, "ann": Reason.ADMITTED}


@pytest.mark.parametrize("field", ELSEWHERE)
def test_the_refusal_names_the_field_with_expected_and_found(opened: Federation, field: str) -> None:
    opened.contribute("mallory", opened.update("mallory", **{field: ELSEWHERE[field]}))
    opened.sleep_to("publish_deadline")
    (verdict,) = opened.verdicts()
    assert verdict.detail.startswith(f"{field}: expected ")
    assert ", got " in verdict.detail


def test_an_update_of_the_last_round_is_refused_in_the_next(published: Federation) -> None:
    published.force(published.outcome().result)
    old = published.record(1).commitments[0]
    published.owner.open_round(published.model_id)
    published.ann.commit_update(published.model_id, 2, old.digest, old.tensor_root, old.weight, old.steps)
    published.sleep_to("publish_deadline", 2)
    round = published.round(2)
    (verdict,) = judge_all(published.store, round)
    assert verdict.reason == Reason.WRONG_BINDING
    assert verdict.detail.startswith("number: expected 2, got 1")


def test_an_update_of_another_model_with_the_same_genesis_is_refused(opened: Federation) -> None:
    """Same bytes, parent and plan, but registered by somebody else: another model."""
    theirs = opened.mallory.model_id(opened.mallory.account, opened.genesis)
    opened.mallory.register_model(opened.genesis, ROOT, ROOT)
    assert theirs != opened.model_id
    opened.contribute("mallory", opened.update("mallory", model=theirs))
    opened.sleep_to("publish_deadline")
    assert opened.reasons() == {"mallory": Reason.WRONG_BINDING}


@pytest.mark.parametrize("field", ["chain_id", "contract", "model", "number", "parent", "plan", "running_hash"])
def test_a_report_bound_elsewhere_fails_verification(published: Federation, failed: Any, field: str) -> None:
    honest = published.outcome()
    report = replace(honest.report, **{field: ELSEWHERE.get(field, bytes(32))})
    put_manifest(published.store, report)
    published.force(replace(honest.result, report_digest=digest_of(report)))
    assert "report: round" in failed(published.verify()[-1].checks)


def test_a_round_version_replayed_in_another_model_fails_verification(published: Federation, failed: Any) -> None:
    """Mallory registers, as a genesis of her own, what others trained in rounds."""
    stolen = published.outcome()
    published.mallory.register_model(stolen.result.version_digest, stolen.result.roots.tensor, stolen.result.roots.rest)
    theirs = published.mallory.model_id(published.mallory.account, Digest(stolen.result.version_digest))
    elsewhere = replace(published, model_id=theirs)
    assert "claims a round" in failed(elsewhere.verify()[-1].checks)


def test_a_member_of_another_model_has_no_role_in_this_one(opened: Federation) -> None:
    opened.stranger.register_model(opened.genesis, ROOT, ROOT)
    theirs = opened.stranger.model_id(opened.stranger.account, opened.genesis)
    opened.stranger.grant_roles(theirs, opened.stranger.account, Role.PARTICIPANT)
    update = opened.update("stranger")
    with pytest.raises(MissingRole):
        opened.commit("stranger", update)


def test_a_plan_manifest_that_says_other_than_the_chain_is_refused(federation: Federation) -> None:
    """The owner anchors the digest of one plan and the numbers of another."""
    said = get_manifest(federation.store, federation.plan.digest, PlanManifest)
    lenient = replace(said, weight_cap=5)
    put_manifest(federation.store, lenient)
    rules = encode_rules(plan_rules(said))
    federation.owner.set_plan(federation.model_id, replace(federation.plan, digest=digest_of(lenient)), rules)
    federation.owner.open_round(federation.model_id)
    with pytest.raises(VerificationFailed, match="plan: the manifest has weight_cap 5, the chain"):
        federation.round()


def test_rules_of_a_later_release_are_not_anchored(federation: Federation, new_plan: Any) -> None:
    with pytest.raises(UnknownRule, match=r"plan: expected combine rule 1 \(mean\), .*, got 9"):
        new_plan(federation, combine_rule=9)


def test_rules_of_a_later_release_are_not_guessed_at(federation: Federation) -> None:
    """The contract takes them; nobody here computes with them."""
    said = get_manifest(federation.store, federation.plan.digest, PlanManifest)
    later = replace(said, combine_rule=9)
    put_manifest(federation.store, later)
    rules = encode_rules(replace(plan_rules(said), combine_rule=9))
    federation.plan = replace(federation.plan, digest=digest_of(later), rules_hash=keccak(rules))
    federation.owner.set_plan(federation.model_id, federation.plan, rules)
    federation.owner.open_round(federation.model_id)
    federation.ann.commit_update(federation.model_id, 1, Digest(b"\x01" * 32), ROOT, 1, 1)
    federation.sleep_to("publish_deadline")
    with pytest.raises(UnknownRule, match=r"plan: expected combine rule 1 \(mean\), .*, got 9"):
        federation.outcome()


def test_a_version_that_the_model_does_not_have_is_not_verified(federation: Federation) -> None:
    with pytest.raises(InputError, match="expected a version"):
        federation.verify(b"\x07" * 32)
