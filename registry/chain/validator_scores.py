"""The Scores contract as a typed object: what validators say of results, committed, revealed, and their median.

It belongs to one Cairn, whose address tells its own. Methods have the names of the functions in
`contracts/interfaces/IScores.sol`, which specifies them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from registry.chain.abi_values import parse
from registry.chain.contract_structs import ScoreTerms, Scoring
from registry.chain.partner import Partner
from registry.chain.sending import SentReceipt, Until
from registry.chain.views import Block
from registry.ethereum.node import chain_time
from registry.types import Address, ModelId

__all__ = ["SCORE_ONE", "ScoredResult", "Scores", "median_at", "median_of"]

SCORE_ONE = 1_000_000
"""The highest score; the contract's constant."""


@dataclass(frozen=True, slots=True)
class ScoredResult:
    """A round's result, as the Scores contract names it.

    Attributes:
        number: Number of the round.
        result_hash: keccak256 of the result.
    """

    model_id: ModelId
    number: int
    result_hash: bytes


def median_of(scores: Sequence[int], minimum: int) -> int | None:
    """Return the median of revealed scores, ascending; None if they are fewer than the minimum, or none."""
    count = len(scores)
    if not count or count < minimum:
        return None
    return (scores[(count - 1) // 2] + scores[count // 2]) // 2


def median_at(scoring: Scoring, revealed: Sequence[int], time: int) -> int | None:
    """Return the median that counts at a time, in millionths; None if the reveals are not over, or are too few.

    The contract's view says the same in a block of that time; a local chain may have none yet.

    Args:
        scoring: The scoring of a result.
        revealed: Its revealed scores, ascending.
        time: Unix seconds.
    """
    return None if time < scoring.reveal_deadline else median_of(revealed, scoring.minimum)


class Scores(Partner):
    """The Scores of a Cairn, to read and, with the client's signer, to write."""

    contract = "Scores"

    def score_terms(self, model: ModelId, *, block: Block = "latest") -> ScoreTerms:
        """Return the terms that new scorings of a model begin with; zeros if its owner has set none."""
        return parse(ScoreTerms, self._view("scoreTerms", model, block=block)[0])

    def scoring(self, of: ScoredResult, *, block: Block = "latest") -> Scoring:
        """Return the scoring of a result; zeros for one that nobody scored."""
        return parse(Scoring, self._view("scoring", *_named(of), block=block)[0])

    def revealed_scores(self, of: ScoredResult, *, block: Block = "latest") -> tuple[int, ...]:
        """Return the scores of a result that were revealed so far, in millionths, ascending."""
        return tuple(self._view("revealedScores", *_named(of), block=block)[0])

    def median(self, of: ScoredResult) -> int | None:
        """Return the score of a result that counts now, in millionths; None if there is none."""
        return median_at(self.scoring(of), self.revealed_scores(of), chain_time(self.client.w3))

    def committed_score(self, of: ScoredResult, validator: Address, *, block: Block = "latest") -> bytes:
        """Return what a validator committed to and has not revealed; zeros for nothing."""
        return bytes(self._view("committedScore", *_named(of), validator, block=block)[0])

    def score_commitment(self, of: ScoredResult, validator: Address, score: int, predictions_root: bytes) -> bytes:
        """Return the commitment to a score, as the contract computes it."""
        return bytes(self._view("scoreCommitment", *_named(of), validator, score, predictions_root)[0])

    def set_score_terms(self, model: ModelId, terms: ScoreTerms, *, until: Until = "final") -> SentReceipt:
        """Say how results of a model are scored."""
        return self._send(until, "setScoreTerms", model, terms)

    def commit_score(self, of: ScoredResult, commitment: bytes, *, until: Until = "final") -> SentReceipt:
        """Commit to a score of the result that has a quorum."""
        return self._send(until, "commitScore", *_named(of), commitment)

    def reveal_score(
        self, of: ScoredResult, score: int, predictions_root: bytes, *, until: Until = "final"
    ) -> SentReceipt:
        """Reveal a committed score."""
        return self._send(until, "revealScore", *_named(of), score, predictions_root)


def _named(of: ScoredResult) -> tuple[ModelId, int, bytes]:
    return of.model_id, of.number, of.result_hash
