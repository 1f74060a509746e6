"""Gate and stop rule on the real contract: what scores let a round open, and that silence opens it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.chain.contract_structs import ScoreTerms
from registry.chain.validator_scores import ScoredResult, Scores
from registry.content.manifest import PlanManifest, Procedure
from registry.dev.chains import DevChain
from registry.dev.embedded import embedded, sleep_until
from registry.errors import InputError
from registry.roles import aggregator
from registry.rounds.gates import ScoredRound, gained, stalled, why_not_open
from registry.rounds.plans import publish_plan
from registry.rules.algorithms import Goals, goals_of, require_parameters
from registry.types import Address, Role
from trainer.simulation import Simulation

A, B, C = (Address(bytes([i]) * 20) for i in (1, 2, 3))


def test_goals_are_parameters_of_every_algorithm_and_of_none_by_default() -> None:
    given = {"least_score": 0.7, "max_rounds": 40, "patience": 3}
    for name, own in (("fedavg", {}), ("fedprox", {"mu": 0.1}), ("scaffold", {"lr": 0.1, "steps": 5})):
        assert goals_of(Procedure(name, {**own, **given})) == Goals(0.7, 40, 3)
        assert goals_of(Procedure(name, dict(own))) == Goals()


@pytest.mark.parametrize(
    "given",
    [{"least_score": 1.5}, {"least_score": -1}, {"max_rounds": 0}, {"max_rounds": 1.5}, {"patience": 0}],
    ids=str,
)
def test_goals_out_of_bounds_are_no_plan(given: dict[str, float]) -> None:
    with pytest.raises(InputError, match="fedavg: expected parameters"):
        require_parameters("fedavg", given)
    assert goals_of(Procedure("fedavg", given)) == Goals()


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({A: 500, B: 300, C: 100}, {A: 510, B: 311, C: 109}, True),  # each a little better: sets differ, gains do not
        ({A: 500, B: 300, C: 100}, {A: 510, B: 390, C: 60}, False),  # one better, one much better, one worse
        ({A: 500, B: 300, C: 100}, {A: 500, B: 300, C: 100}, False),
        ({A: 500, B: 300}, {A: 510, B: 310}, True),  # without any spread
        ({A: 500, B: 300}, {A: 400, B: 200}, False),
        ({A: 500, B: 300}, {A: 400, C: 200}, True),  # one in both: nothing is known
        ({}, {}, True),
    ],
)
def test_a_gain_is_two_standard_errors_of_the_validators_differences(
    before: dict[Address, int], after: dict[Address, int], said: bool
) -> None:
    assert gained(before, after) is said


@given(liars=st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=3), honest=st.integers(4, 7))
def test_a_minority_of_validators_neither_hides_nor_feigns_a_gain(liars: list[int], honest: int) -> None:
    people = [Address(bytes([i]) * 20) for i in range(honest + len(liars))]
    for step, said in ((10, True), (0, False), (-10, False)):
        gains = [step + i % 2 * (step > 0) for i in range(honest)] + liars
        assert gained(dict.fromkeys(people, 0), dict(zip(people, gains, strict=True))) is said


def test_patience_looks_at_the_best_before() -> None:
    def scored(*medians: int) -> list[ScoredRound]:
        return [ScoredRound(i, m, {A: m, B: m + 1, C: m - 1}) for i, m in enumerate(medians, 1)]

    assert not stalled(scored(), 2)
    assert not stalled(scored(700, 700), 2), "nothing before them"
    assert stalled(scored(700, 700, 700), 2)
    assert stalled(scored(700, 600, 650, 690), 2), "better than the last and not than the best"
    assert not stalled(scored(700, 600, 800), 2)
    assert not stalled(scored(700, 800, 800), 2)
    assert stalled(scored(700, 800, 800), 1)


@pytest.fixture
def scored(simulated: Callable[[DevChain, Path], Simulation], tmp_path: Path) -> Simulation:
    """A model of two finalized rounds, whose aggregators are validators too."""
    chain = embedded(5)
    simulation = simulated(chain, tmp_path / "simulation")  # type: ignore[arg-type]
    for client in simulation.aggregators:
        simulation.owner.grant_roles(simulation.model_id, client.account, Role.VALIDATOR)
    Scores(simulation.owner).set_score_terms(simulation.model_id, ScoreTerms(2, 60, 60))
    return simulation


def score(simulation: Simulation, number: int, *values: int) -> str:
    """Let the validators score a round's result, and its windows pass; return what a gate says before they have."""
    owner, model = simulation.owner, simulation.model_id
    of, scores = ScoredResult(model, number, owner.round(model, number).result_hash), Scores(owner)
    pairs = list(zip(map(Scores, simulation.aggregators), values, strict=True))
    for mine, value in pairs:
        mine.commit_score(of, mine.score_commitment(of, mine.client.account, value, bytes(32)))
    sleep_until(simulation.w3, scores.scoring(of).commit_deadline)
    for mine, value in pairs:
        mine.reveal_score(of, value, bytes(32))
    meanwhile = told(simulation, Goals(least_score=0.1))
    sleep_until(simulation.w3, scores.scoring(of).reveal_deadline)
    return meanwhile


def told(simulation: Simulation, goals: Goals) -> str:
    return why_not_open(simulation.owner, simulation.model_id, goals)


def test_scores_shut_the_gate_and_silence_opens_it(scored: Simulation, example: PlanManifest, tmp_path: Path) -> None:
    owner, model = scored.owner, scored.model_id

    def plan(**goals: float) -> None:
        algorithm = Procedure("fedavg", {"epochs": 1, **goals})
        publish_plan(owner, scored.store, model, replace(example, algorithm=algorithm))

    plan(least_score=0.7)
    goals = Goals(least_score=0.7)
    assert told(scored, goals) == "", "nobody scored it: the default"
    assert "max_rounds: 2 rounds are finalized, expected at most 2" in told(scored, Goals(max_rounds=2))
    assert told(scored, Goals(max_rounds=3, patience=1)) == ""
    assert score(scored, 1, 610_000, 620_000) == ""
    assert told(scored, goals) == "", "the head is another result"
    assert "is still being scored, until " in score(scored, 2, 600_000, 600_002)
    assert "round 2's result has the score 0.600001, expected at least 0.7" in told(scored, goals)
    assert told(scored, Goals(least_score=0.6)) == ""
    assert "patience: no gain of two standard errors in the last 1" in told(scored, Goals(patience=1))
    assert told(scored, Goals(patience=2)) == "", "nothing before them"
    memory = aggregator.AggregatorMemory()

    def opening() -> str:
        return aggregator.advance(owner, scored.store, tmp_path, model, open_rounds=True, memory=memory)

    assert "round 3 is not opened: the plan's least_score" in opening()
    assert opening() == "", "told once"
    assert owner.model(model).rounds == 2
    plan(least_score=0.5, patience=2)
    assert opening() == "round 3: opened"
