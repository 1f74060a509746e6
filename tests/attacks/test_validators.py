"""Validators on the real contract: what they commit is revealed and counted; copies and false versions are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hearing import convicted, lie

from registry.chain.contract_errors import AlreadyScored, MissingRole, NoTimeToReveal, OtherScore
from registry.chain.contract_events import RoundFinalized
from registry.chain.contract_structs import Grant, ScoreTerms
from registry.chain.validator_scores import ScoredResult, Scores
from registry.content.manifest import digest_of
from registry.content.merkle import counted_root, leaf_hash, prove, verify_inclusion
from registry.dev.embedded import sleep_until
from registry.dev.forgeries import nudged
from registry.errors import FormError, InputError, VerificationFailed
from registry.facts.score_facts import score_standing_facts
from registry.roles import aggregator, auditor
from registry.roles.validator import advance, kept_score, secret_for
from registry.rounds.gates import ScoredRound, scored_rounds
from registry.rounds.predictions import measure, prediction_salt, prediction_tree
from registry.store.manifests import put_manifest
from registry.types import Fault, Role

if TYPE_CHECKING:
    from conftest import Federation

VALIDATORS = ("ann", "bob", "first")
STEP = 2.0**-22
TERMS = ScoreTerms(2, 3600, 7200)


def fixed(value: float, predictions: Sequence[int | str | bytes] = (1, 0, 1)) -> Any:
    """A validator's function that says the same of every version."""
    return lambda arrays: (value, predictions)


@pytest.fixture
def judged(published: Federation) -> Federation:
    """A model with validators and terms, whose first round has a result in its challenge window."""
    owner = published.owner
    grants = [Grant(published.clients[name].account, Role.VALIDATOR) for name in VALIDATORS]
    owner.grant_roles_batch(published.model_id, grants)
    Scores(owner).set_score_terms(published.model_id, TERMS)
    published.attest("mallory", published.outcome().result)
    return published


def result_of(house: Federation) -> ScoredResult:
    return ScoredResult(house.model_id, 1, house.owner.round(house.model_id, 1).result_hash)


def take_steps(house: Federation, name: str, function: Any) -> str:
    place = house.folder / f"validator {name}"
    return advance(house.clients[name], house.store, place, house.model_id, function)


def pass_to(house: Federation, deadline: str) -> None:
    scoring = Scores(house.owner).scoring(result_of(house))
    sleep_until(house.chain.w3, getattr(scoring, deadline))


def test_what_validators_measure_is_committed_revealed_and_its_median_counts(judged: Federation) -> None:
    seen: list[Mapping[str, Any]] = []

    def seeing(arrays: Mapping[str, Any]) -> tuple[float, list[Any]]:
        seen.append(arrays)
        return 0.5, [np.int64(3), "b", b"c"]

    functions = {"ann": fixed(0.9), "bob": fixed(0.7), "first": seeing}
    assert [take_steps(judged, name, f) for name, f in functions.items()] == ["round 1: committed to a score"] * 3
    assert [take_steps(judged, name, f) for name, f in functions.items()] == [""] * 3, "each once"
    assert len(seen) == 1 and set(seen[0]) == {"w", "b"}
    scores, of = Scores(judged.reader()), result_of(judged)
    assert scores.revealed_scores(of) == ()
    pass_to(judged, "commit_deadline")
    assert take_steps(judged, "first", seeing) == "round 1: revealed the score 0.500000"
    assert take_steps(judged, "ann", functions["ann"]) == "round 1: revealed the score 0.900000"
    assert take_steps(judged, "ann", functions["ann"]) == ""
    assert (scores.revealed_scores(of), scores.median(of)) == ((500_000, 900_000), None)
    pass_to(judged, "reveal_deadline")
    assert scores.median(of) == 700_000
    facts = score_standing_facts(judged.reader(), judged.model_id, judged.bob.account)
    (found,) = facts.results
    assert (found.score, found.scores, found.commitments, found.open_commitment) == (0.7, (0.5, 0.9), 3, True)
    assert facts.terms == TERMS
    assert take_steps(judged, "bob", functions["bob"]) == "", "too late"
    judged.owner.grant_roles(judged.model_id, judged.cyn.account, Role.READER)  # a block of that time
    assert (scores.scoring(of).counted, scores.scoring(of).median) == (True, 700_000), "as the contract says"


def test_a_score_of_a_result_that_became_void_is_not_that_of_its_successor(published: Federation) -> None:
    house, terms = published, ScoreTerms(1, 60, 60)
    grants = [Grant(house.clients[name].account, Role.VALIDATOR) for name in ("ann", "bob")]
    house.owner.grant_roles_batch(house.model_id, grants)
    Scores(house.owner).set_score_terms(house.model_id, terms)

    def score(name: str, value: float) -> None:
        take_steps(house, name, fixed(value))
        pass_to(house, "commit_deadline")
        assert take_steps(house, name, fixed(value)) == f"round 1: revealed the score {value:.6f}"

    house.attest("mallory", lie(house, house.store, aggregate=nudged(0, STEP)))
    score("ann", 0.9)
    assert convicted(house) is Fault.AGGREGATE
    auditor.advance(house.stranger, house.store, house.folder / "auditor", house.model_id)  # mallory is expelled
    assert aggregator.advance(house.first, house.store, house.folder / "first", house.model_id)
    score("bob", 0.4)
    house.sleep_to("challenge_deadline")
    house.first.finalize_round(house.model_id, 1, house.outcome().result)
    finalized = [e for e in house.owner.events(RoundFinalized, subject=house.model_id) if isinstance(e, RoundFinalized)]
    assert scored_rounds(house.owner, finalized) == [ScoredRound(1, 400_000, {house.bob.account: 400_000})]


def test_scores_are_revealed_however_many_rounds_came_since(judged: Federation) -> None:
    """Windows may be longer than rounds, and whoever opens rounds could make them so."""
    assert take_steps(judged, "ann", fixed(0.9)) == "round 1: committed to a score"
    judged.sleep_to("challenge_deadline")
    judged.first.finalize_round(judged.model_id, 1, judged.outcome().result)
    for number in (2, 3, 4):
        judged.owner.open_round(judged.model_id)
        judged.owner.cancel_round(judged.model_id, number)
    pass_to(judged, "commit_deadline")
    assert take_steps(judged, "ann", fixed(0.9)) == "round 1: revealed the score 0.900000"
    assert take_steps(judged, "ann", fixed(0.9)) == ""
    pass_to(judged, "reveal_deadline")
    assert take_steps(judged, "ann", fixed(0.9)) == ""


def test_too_few_reveals_are_no_score(judged: Federation) -> None:
    for name in VALIDATORS:
        take_steps(judged, name, fixed(0.9))
    pass_to(judged, "commit_deadline")
    take_steps(judged, "ann", fixed(0.9))
    pass_to(judged, "reveal_deadline")
    assert Scores(judged.owner).median(result_of(judged)) is None


def test_whoever_is_no_validator_evaluates_nothing(judged: Federation) -> None:
    def never(arrays: Mapping[str, Any]) -> Any:
        raise AssertionError("evaluated without the role")

    assert take_steps(judged, "cyn", never) == ""
    with pytest.raises(MissingRole):
        Scores(judged.cyn).commit_score(result_of(judged), b"\x01" * 32)


def test_without_terms_nothing_is_evaluated(published: Federation) -> None:
    published.owner.grant_roles(published.model_id, published.ann.account, Role.VALIDATOR)
    published.attest("mallory", published.outcome().result)
    assert take_steps(published, "ann", fixed(0.9)) == ""


def test_a_copied_commitment_reveals_nothing(judged: Federation) -> None:
    of = result_of(judged)
    take_steps(judged, "ann", fixed(0.9))
    copied = Scores(judged.ann).committed_score(of, judged.ann.account)
    Scores(judged.bob).commit_score(of, copied)
    pass_to(judged, "commit_deadline")
    take_steps(judged, "ann", fixed(0.9))
    kept = kept_score(judged.folder / "validator ann", of)
    assert kept is not None
    with pytest.raises(OtherScore):
        Scores(judged.bob).reveal_score(of, kept.score, kept.root)


def test_no_second_score_and_none_out_of_time(judged: Federation) -> None:
    of = result_of(judged)
    take_steps(judged, "ann", fixed(0.9))
    with pytest.raises(AlreadyScored):
        Scores(judged.ann).commit_score(of, b"\x01" * 32)
    kept = kept_score(judged.folder / "validator ann", of)
    assert kept is not None
    with pytest.raises(NoTimeToReveal):
        Scores(judged.ann).reveal_score(of, kept.score, kept.root)


def test_a_restarted_validator_reveals_what_it_committed(judged: Federation) -> None:
    take_steps(judged, "ann", fixed(0.9))
    judged.forget("ann")
    pass_to(judged, "commit_deadline")
    assert take_steps(judged, "ann", fixed(0.1)) == "round 1: revealed the score 0.900000"


def test_a_version_of_other_roots_than_attested_is_not_scored(judged: Federation) -> None:
    honest = judged.outcome()
    false = replace(honest.version, tensor_root=b"\x07" * 32)
    put_manifest(judged.store, false)
    with pytest.raises(VerificationFailed, match="other roots than were attested"):
        measure(judged.store, digest_of(false), fixed(0.5), bytes(32), roots=bytes(32))


@pytest.mark.parametrize(
    "returned",
    [None, 0.5, (0.5,), (1.01, [1]), (-0.1, [1]), (float("nan"), [1]), ("x", [1]), (0.5, []), (0.5, [0.5]), (0.5, 7)],
    ids=str,
)
def test_what_is_no_score_is_refused(judged: Federation, returned: Any) -> None:
    with pytest.raises(InputError, match="score: expected"):
        measure(judged.store, judged.genesis, lambda arrays: returned, bytes(32))


def test_one_prediction_is_opened_without_the_others(judged: Federation) -> None:
    found = measure(judged.store, judged.genesis, fixed(0.5, [3, 1, 4, 1, 5]), b"\x05" * 32)
    tree = prediction_tree(found.predictions, b"\x05" * 32, judged.genesis)
    assert found.root == counted_root(5, tree.root)
    shown = prediction_salt(b"\x05" * 32, judged.genesis, 2) + b"4"
    assert verify_inclusion(leaf_hash(shown), 2, 5, prove(tree, 2), tree.root)
    assert not verify_inclusion(leaf_hash(shown[:-1] + b"3"), 2, 5, prove(tree, 2), tree.root)
    others = {measure(judged.store, judged.genesis, fixed(0.5, [3, 1, 4, 1, 5]), secret).root for secret in (b"", b"a")}
    assert len({found.root, *others}) == 3, "salted"


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b'{"score": "x", "root": "", "predictions": []}', b"\xff"],
    ids=["empty", "object", "list", "text", "bytes"],
)
def test_a_damaged_score_or_secret_is_refused(judged: Federation, data: bytes, tmp_path: Path) -> None:
    of = result_of(judged)
    (tmp_path / f"{of.model_id.hex()[:16]}-1-{of.result_hash.hex()[:16]}.json").write_bytes(data)
    with pytest.raises(FormError, match="expected a score that was committed to"):
        kept_score(tmp_path, of)
    (tmp_path / "secret").write_bytes(data)
    with pytest.raises(FormError, match="expected 32 bytes"):
        secret_for(tmp_path)
