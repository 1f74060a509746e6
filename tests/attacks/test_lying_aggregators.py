"""Byzantine aggregators, up to a whole quorum, that attest results which do not follow from the commitments."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from registry.chain.contract_errors import (
    BadTotalSteps,
    BadTotalWeight,
    MissingRole,
    NotBetter,
    ResultMismatch,
    TooFewContributions,
    TooManyContributions,
    VersionExists,
    WrongDivisor,
    WrongPhase,
    ZeroDigest,
    ZeroRoot,
)
from registry.chain.contract_hashes import contribution_leaf, result_hash
from registry.chain.contract_structs import Result, Roots
from registry.content.manifest import Reason, VersionManifest, digest_of, manifest_cid
from registry.content.merkle import counted_root, leaf_hash, merkle_root
from registry.disputes.charges import listed
from registry.errors import FormError
from registry.roles.aggregator import advance, rivals_of
from registry.rounds.results import publish_outcome
from registry.rounds.versions import add_version, read_arrays, roots_of, save_arrays
from registry.store.manifests import put_manifest
from registry.types import Digest, Root

if TYPE_CHECKING:
    from conftest import Federation

LIES: dict[str, tuple[Any, str]] = {
    "aggregate_root": (Root(b"\x01" * 32), "recomputed aggregate_root"),
    "contributions_root": (Root(b"\x02" * 32), "recomputed contributions_root"),
    "roots": (Roots(Root(b"\x03" * 32), Root(b"\x04" * 32)), "roots in the contract|recomputed roots"),
    "contributions": (2, "recomputed result"),
    "total_weight": (304, "recomputed result"),
    "total_steps": (13, "recomputed result"),
    "divisor": (7, "recomputed result"),
}


@pytest.mark.parametrize("field", LIES)
def test_a_false_field_of_a_finalized_result_fails_verification(published: Federation, failed: Any, field: str) -> None:
    value, expected = LIES[field]
    published.force(replace(published.outcome().result, **{field: value}))
    assert any(part in failed(published.verify()[-1].checks) for part in expected.split("|"))


@pytest.mark.parametrize("field", LIES)
def test_a_false_field_of_an_attested_result_fails_the_audit(published: Federation, failed: Any, field: str) -> None:
    value, expected = LIES[field]
    published.attest("mallory", replace(published.outcome().result, **{field: value}))
    assert any(part in failed(published.audit()) for part in expected.split("|"))


def test_a_result_that_names_a_report_nobody_has_is_not_verified(published: Federation) -> None:
    published.force(replace(published.outcome().result, report_digest=Digest(b"\x05" * 32)))
    last = published.verify()[-1]
    assert (last.finding, last.passed) == ("unchecked", False)
    assert "BlockNotFound" in last.checks[-1].evidence


def test_a_result_that_names_a_version_nobody_has_fails_verification(published: Federation, failed: Any) -> None:
    published.force(replace(published.outcome().result, version_digest=Digest(b"\x05" * 32)))
    assert "recomputed version_digest" in failed(published.verify()[-1].checks)


def test_the_right_aggregate_with_another_version_fails_verification(
    published: Federation, failed: Any, tmp_path: Path
) -> None:
    """Everything is as it should be but for one weight of the model, a backdoor of one value."""
    honest = published.outcome()
    arrays = {name: np.array(values) for name, values in read_arrays(published.store, honest.version).items()}
    arrays["w"][3, 3] += np.float32(1)
    save_arrays(tmp_path / "backdoor.safetensors", arrays)
    planted = add_version(published.store, tmp_path / "backdoor.safetensors")
    version = replace(honest.version, weights=planted.weights, tensor_root=planted.tensor_root)
    lie = told(published, version, honest.result)
    published.force(lie)
    assert "recomputed roots" in failed(published.verify()[-1].checks)


def test_the_right_version_under_another_parent_fails_verification(published: Federation, failed: Any) -> None:
    honest = published.outcome()
    version = replace(honest.version, parent=manifest_cid(b"\x07" * 32))
    published.force(told(published, version, honest.result))
    assert "recomputed version_digest" in failed(published.verify()[-1].checks)


def test_a_version_that_names_another_report_fails_verification(published: Federation, failed: Any) -> None:
    honest = published.outcome()
    assert honest.version.round is not None
    origin = replace(honest.version.round, report=manifest_cid(b"\x08" * 32))
    published.force(told(published, replace(honest.version, round=origin), honest.result))
    assert "recomputed version_digest" in failed(published.verify()[-1].checks)


def told(house: Federation, version: VersionManifest, result: Result) -> Result:
    """Store a false version's manifest and return the result that names it."""
    put_manifest(house.store, version)
    return replace(result, version_digest=digest_of(version), roots=roots_of(version))


def test_an_update_counted_with_twice_its_weight_fails_verification(published: Federation, failed: Any) -> None:
    first, *rest = published.verdicts()
    heavy = replace(first, commitment=replace(first.commitment, weight=2 * first.commitment.weight))
    published.force(published.outcome([heavy, *rest]).result)
    assert "recomputed contributions_root" in failed(published.verify()[-1].checks)


def test_an_update_counted_twice_fails_verification(published: Federation, failed: Any) -> None:
    """The same participant stands among the contributions twice, under a root that only a liar computes."""
    honest = published.outcome().result
    entries = sorted((v.commitment for v in published.verdicts()), key=lambda c: c.participant)
    twice = (entries[0], *entries[:-1])
    leaves = [contribution_leaf(listed(c, published.round().form.rules)) for c in twice]
    doubled = counted_root(len(leaves), merkle_root(leaf_hash(leaf) for leaf in leaves))
    weight = sum(c.weight for c in twice)
    published.force(replace(honest, contributions_root=doubled, total_weight=weight, divisor=weight))
    assert "recomputed contributions_root" in failed(published.verify()[-1].checks)


# What the contract refuses on its own ---------------------------------------------------------------------------------


def test_a_participant_cannot_attest(published: Federation) -> None:
    with pytest.raises(MissingRole):
        published.attest("ann", published.outcome().result)


def test_a_stranger_cannot_attest(published: Federation) -> None:
    with pytest.raises(MissingRole):
        published.attest("stranger", published.outcome().result)


def test_a_result_cannot_be_attested_before_the_publish_deadline(opened: Federation) -> None:
    opened.contribute("ann", opened.update("ann"))
    opened.sleep_to("commit_deadline")
    with pytest.raises(WrongPhase):
        opened.attest("first", opened.outcome().result)


def test_a_result_cannot_be_attested_after_the_aggregate_deadline(published: Federation) -> None:
    result = published.outcome().result
    published.sleep_to("aggregate_deadline")
    with pytest.raises(WrongPhase):
        published.attest("first", result)


def test_a_result_cannot_be_finalized_in_its_challenge_window(published: Federation) -> None:
    result = published.outcome().result
    published.attest("first", result)
    with pytest.raises(WrongPhase):
        published.stranger.finalize_round(published.model_id, 1, result)


def test_another_result_than_the_attested_one_cannot_be_finalized(published: Federation) -> None:
    result = published.outcome().result
    published.attest("first", result)
    published.sleep_to("challenge_deadline")
    with pytest.raises(ResultMismatch):
        published.stranger.finalize_round(published.model_id, 1, replace(result, version_digest=Digest(b"\x09" * 32)))


@pytest.mark.parametrize(
    ("changed", "refusal"),
    [
        ({"version_digest": Digest(bytes(32))}, ZeroDigest),
        ({"report_digest": Digest(bytes(32))}, ZeroDigest),
        ({"aggregate_root": Root(bytes(32))}, ZeroRoot),
        ({"contributions_root": Root(bytes(32))}, ZeroRoot),
        ({"contributions": 0}, TooFewContributions),
        ({"total_weight": 2}, BadTotalWeight),
        ({"total_weight": (1 << 28) + 1}, BadTotalWeight),
        ({"total_steps": 2}, BadTotalSteps),
        ({"total_steps": (1 << 37) + 1}, BadTotalSteps),
        ({"divisor": 0}, WrongDivisor),
        ({"divisor": (1 << 28) + 1}, WrongDivisor),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else value.__name__,
)
def test_a_result_out_of_bounds_reverts(published: Federation, changed: dict[str, Any], refusal: type) -> None:
    with pytest.raises(refusal):
        published.attest("mallory", replace(published.outcome().result, **changed))


def test_a_known_version_cannot_be_attested_as_a_new_one(published: Federation) -> None:
    with pytest.raises(VersionExists):
        published.attest("mallory", replace(published.outcome().result, version_digest=published.genesis))


def test_one_aggregator_does_not_make_a_quorum_of_two(federation: Federation, new_plan: Any) -> None:
    new_plan(federation, quorum=2)
    lone = after_a_round(federation)
    federation.attest("mallory", lone)
    federation.forget("mallory")
    with pytest.raises(NotBetter):
        federation.attest("mallory", lone)
    federation.sleep_to("aggregate_deadline")
    with pytest.raises(WrongPhase):
        federation.stranger.finalize_round(federation.model_id, 1, lone)
    assert federation.owner.model(federation.model_id).head == federation.genesis


# What honest aggregators do about it ----------------------------------------------------------------------------------


def after_a_round(house: Federation) -> Result:
    """Open, commit and publish, and return the honest result."""
    house.owner.open_round(house.model_id)
    for seed, name in enumerate(("ann", "bob")):
        house.contribute(name, house.update(name, seed=seed))
    house.sleep_to("publish_deadline")
    return house.outcome().result


def followed(house: Federation, own: Result | None) -> list[Result]:
    """The attested results that an honest aggregator who computed `own` considers better, and not disproved."""
    return [result for result, _ in rivals_of(house.first, house.store, house.round(), house.verdicts(), own)]


def test_a_lie_with_more_contributions_than_its_report_shows_is_not_followed(
    federation: Federation, new_plan: Any
) -> None:
    new_plan(federation, quorum=2)
    honest = after_a_round(federation)
    first, *rest = federation.verdicts()
    fewer = federation.outcome([replace(first, reason=Reason.UNAVAILABLE), *rest]).result
    federation.attest("mallory", replace(fewer, contributions=2))
    assert followed(federation, fewer) == followed(federation, None) == []
    with pytest.raises(TooManyContributions):
        federation.attest("mallory", replace(honest, contributions=3))
    assert followed(federation, honest) == []


def test_a_lie_whose_report_nobody_has_is_not_followed(federation: Federation, new_plan: Any) -> None:
    new_plan(federation, quorum=2)
    honest = after_a_round(federation)
    federation.attest("mallory", replace(honest, report_digest=Digest(b"\x0a" * 32)))
    assert followed(federation, None) == []


def test_a_rival_that_admits_what_is_refused_here_is_not_followed(federation: Federation, new_plan: Any) -> None:
    new_plan(federation, quorum=2)
    federation.owner.open_round(federation.model_id)
    federation.contribute("ann", federation.update("ann"))
    federation.contribute("mallory", federation.update("mallory", number=2))
    federation.sleep_to("publish_deadline")
    honest = federation.outcome().result
    generous = [replace(v, reason=Reason.ADMITTED) for v in federation.verdicts()]
    lie = federation.outcome(generous).result
    assert lie.contributions > honest.contributions
    federation.attest("mallory", lie)
    assert followed(federation, honest) == []


@pytest.mark.parametrize("reason", [r for r in Reason if r not in (Reason.ADMITTED, Reason.UNAVAILABLE)])
def test_a_rival_that_refuses_for_what_is_disproved_here_is_not_followed(
    federation: Federation, new_plan: Any, reason: Reason
) -> None:
    new_plan(federation, quorum=2)
    after_a_round(federation)
    first, second = federation.verdicts()
    federation.attest("mallory", federation.outcome([first, replace(second, reason=reason)]).result)
    assert followed(federation, None) == []


def test_a_rival_with_fewer_contributions_is_not_followed(federation: Federation, new_plan: Any) -> None:
    new_plan(federation, quorum=2)
    honest = after_a_round(federation)
    first, second = federation.verdicts()
    censored = federation.outcome([first, replace(second, reason=Reason.UNAVAILABLE)]).result
    federation.attest("mallory", censored)
    assert followed(federation, honest) == []


@pytest.mark.parametrize("lie", ["reorders", "replaces", "omits"])
def test_a_rival_that_names_other_commitments_is_not_followed(federation: Federation, new_plan: Any, lie: str) -> None:
    new_plan(federation, quorum=2)
    after_a_round(federation)
    first, second = federation.verdicts()
    other = replace(second, commitment=replace(second.commitment, digest=Digest(b"\x07" * 32)))
    verdicts = {"reorders": [second, first], "replaces": [first, other], "omits": [first]}[lie]
    federation.attest("mallory", federation.outcome(verdicts).result)
    assert followed(federation, None) == []


def test_honest_aggregators_agree_on_the_truth_beside_a_liar(federation: Federation, new_plan: Any) -> None:
    """Mallory's report is true and looks better, her aggregate is not: it is recomputed, and the truth attested."""
    new_plan(federation, quorum=2)
    honest = after_a_round(federation)
    seeds = (replace(honest, aggregate_root=Root(bytes([n]) * 32)) for n in range(1, 256))
    federation.attest("mallory", next(lie for lie in seeds if result_hash(lie) < result_hash(honest)))
    for name in ("first", "second"):
        said = advance(federation.clients[name], federation.store, federation.folder / name, federation.model_id)
        assert said == "round 1: attested 2 contributions"
    assert federation.owner.round(federation.model_id, 1).result_hash == result_hash(honest)
    federation.sleep_to("challenge_deadline")
    federation.stranger.finalize_round(federation.model_id, 1, honest)
    assert all(v.passed for v in federation.verify())


@pytest.mark.parametrize("name", ["aggregate.safetensors", "model.safetensors"])
def test_a_file_changed_between_computing_and_publishing_is_not_published(published: Federation, name: str) -> None:
    made = published.outcome()
    path = published.folder / "outcome" / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(FormError, match="changed since it was computed"):
        publish_outcome(published.store, made)
