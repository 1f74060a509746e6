"""What validators say of a model's last results, and on which terms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.chain.contract_structs import ScoreTerms
from registry.chain.validator_scores import SCORE_ONE, ScoredResult, Scores, median_at
from registry.ethereum.node import chain_time
from registry.index.entries import ScoringEntry
from registry.types import Address, ModelId

if TYPE_CHECKING:
    from registry.chain.client import Client

__all__ = [
    "ScoreStandingFacts",
    "ScoringFacts",
    "ValidatorScore",
    "ValidatorsFacts",
    "score_standing_facts",
    "validators_facts",
]

_ROUNDS = 5
"""How many of the last rounds are shown."""


@dataclass(frozen=True, slots=True)
class ScoringFacts:
    """The scores of a round's result.

    Attributes:
        score: The median, 0 to 1; None until the reveals are over, or if they were too few.
        scores: The revealed scores, 0 to 1, ascending.
        commitments: Number of validators who committed.
        minimum: Number of reveals that a score needs.
        commit_deadline: Unix seconds, as reveal_deadline; None before the first commitment.
        open_commitment: Whether the account committed to a score that it has not revealed.
    """

    round: int
    result_hash: bytes
    score: float | None
    scores: tuple[float, ...]
    commitments: int
    minimum: int
    commit_deadline: int | None
    reveal_deadline: int | None
    open_commitment: bool


@dataclass(frozen=True, slots=True)
class ScoreStandingFacts:
    """Scores of a model's last results, newest first, and the terms of further ones; None where there are none."""

    model: ModelId
    terms: ScoreTerms | None
    results: tuple[ScoringFacts, ...]


@dataclass(frozen=True, slots=True)
class ValidatorScore:
    """A score that a validator revealed, 0 to 1."""

    validator: Address
    score: float


@dataclass(frozen=True, slots=True)
class ValidatorsFacts:
    """What validators say of a version, each by a hidden set of its own.

    Attributes:
        score: The median of what they revealed, 0 to 1; None if they are too few.
        scores: In the order of their reveals.
        commitments: Number of validators who committed to a score.
        minimum: Number of reveals that a score needs.
        reveal_deadline: Until when more may be revealed, Unix seconds.
    """

    score: float | None
    scores: tuple[ValidatorScore, ...]
    commitments: int
    minimum: int
    reveal_deadline: int


def validators_facts(told: ScoringEntry) -> ValidatorsFacts:
    """Return the facts of a result's scores in the index."""
    return ValidatorsFacts(
        score=None if told.median is None else told.median / SCORE_ONE,
        scores=tuple(ValidatorScore(who, score / SCORE_ONE) for who, score in told.scores),
        commitments=told.commitments,
        minimum=told.minimum,
        reveal_deadline=told.reveal_deadline,
    )


def score_standing_facts(client: Client, model_id: ModelId, account: Address) -> ScoreStandingFacts:
    """Read the scores of a model's last rounds with a result, as an account sees them."""
    scores, terms = Scores(client), Scores(client).score_terms(model_id)
    last = client.model(model_id).rounds
    found = []
    for number in range(last, max(0, last - _ROUNDS), -1):
        result_hash = client.round(model_id, number).result_hash
        if any(result_hash):
            found.append(_scoring_facts(scores, ScoredResult(model_id, number, result_hash), account))
    return ScoreStandingFacts(model_id, terms if terms.minimum else None, tuple(found))


def _scoring_facts(scores: Scores, of: ScoredResult, account: Address) -> ScoringFacts:
    scoring, revealed = scores.scoring(of), scores.revealed_scores(of)
    median = median_at(scoring, revealed, chain_time(scores.client.w3))
    return ScoringFacts(
        round=of.number,
        result_hash=of.result_hash,
        score=None if median is None else median / SCORE_ONE,
        scores=tuple(score / SCORE_ONE for score in revealed),
        commitments=scoring.commitments,
        minimum=scoring.minimum,
        commit_deadline=scoring.commit_deadline or None,
        reveal_deadline=scoring.reveal_deadline or None,
        open_commitment=any(scores.committed_score(of, account)),
    )
