"""Gate and stop rule of a plan: whether validators' scores let the next round open.

They are parameters of the plan's algorithm, asked by whoever opens rounds, not by the contract:

- `least_score`: the head must have at least this score, if a round made it. The default is to open: a result that too
  few validators scored passes, so that nobody can stall the model.
- `max_rounds`: no round is opened after this many finalized ones.
- `patience`: no round is opened after this many scored results in a row without a gain over the best before them. A
  gain is a median difference above two standard errors of it, over the validators that scored both, each on its own
  cases: a minority of them can neither feign nor hide it. Where fewer than two scored both, nothing is known, and that
  counts as a gain.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from registry.chain.contract_events import RoundFinalized, ScoreRevealed
from registry.chain.validator_scores import SCORE_ONE, ScoredResult, Scores
from registry.ethereum.node import chain_time
from registry.rules.algorithms import Goals
from registry.types import Address, ModelId

if TYPE_CHECKING:
    from registry.chain.client import Client

__all__ = ["ScoredRound", "gained", "scored_rounds", "stalled", "why_not_open"]

_NORMAL_DEVIATION = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""
_MEDIAN_ERROR = math.sqrt(math.pi / 2)
"""Standard error of the median of many normal values over that of their mean."""


@dataclass(frozen=True, slots=True)
class ScoredRound:
    """A finalized round whose result has a score.

    Attributes:
        median: In millionths.
        scores: What each validator revealed, in millionths.
    """

    number: int
    median: int
    scores: Mapping[Address, int]


def why_not_open(client: Client, model_id: ModelId, goals: Goals) -> str:
    """Return why a plan's gate or stop rule lets no round open now; nothing if one may open."""
    if goals == Goals():
        return ""
    finalized = [
        event
        for event in client.events(RoundFinalized, subject=model_id, to_block=client.latest_block())
        if isinstance(event, RoundFinalized)
    ]
    if goals.max_rounds is not None and len(finalized) >= goals.max_rounds:
        return f"the plan's max_rounds: {len(finalized)} rounds are finalized, expected at most {goals.max_rounds}"
    if goals.least_score is not None and finalized and (why := _gate(client, finalized[-1], goals.least_score)):
        return why
    if goals.patience is not None and stalled(scored_rounds(client, finalized), goals.patience):
        return f"the plan's patience: no gain of two standard errors in the last {goals.patience} scored results"
    return ""


def _gate(client: Client, last: RoundFinalized, least: float) -> str:
    """Return why the result of the last finalized round keeps the gate shut; nothing if it does not."""
    if client.model(last.model_id).head != last.version_digest:
        return ""  # the owner published another version, which is its own judgement
    of, scores = _result_of(client, last), Scores(client)
    median = scores.median(of)
    if median is not None and median < least * SCORE_ONE:
        return (
            f"the plan's least_score: round {last.number}'s result has the score {median / SCORE_ONE:.6f}, expected at "
            f"least {least:g}: publish another version, or set a plan with another least_score"
        )
    until = scores.scoring(of).reveal_deadline
    if chain_time(client.w3) < until:
        date = datetime.fromtimestamp(until, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"the plan's least_score: round {last.number}'s result is still being scored, until {date}"
    return ""


def _result_of(client: Client, event: RoundFinalized) -> ScoredResult:
    return ScoredResult(event.model_id, event.number, client.round(event.model_id, event.number).result_hash)


def scored_rounds(client: Client, finalized: Sequence[RoundFinalized]) -> list[ScoredRound]:
    """Return the finalized rounds whose results have a score, oldest first."""
    scores = Scores(client)
    results = {event.round_id: _result_of(client, event) for event in finalized}
    told: dict[int, dict[Address, int]] = {}
    for event in scores.events(ScoreRevealed, to_block=client.latest_block()):
        of = results.get(event.round_id) if isinstance(event, ScoreRevealed) else None
        # A round may have had another result before, which was scored and became void.
        if of is not None and isinstance(event, ScoreRevealed) and event.result_hash == of.result_hash:
            told.setdefault(of.number, {})[event.validator] = event.score
    found = []
    for of in results.values():
        median = scores.median(of) if of.number in told else None
        if median is not None:
            found.append(ScoredRound(of.number, median, told[of.number]))
    return found


def stalled(rounds: Sequence[ScoredRound], patience: int) -> bool:
    """Return whether none of the last `patience` scored rounds gained over the best before them; oldest first."""
    before, last = rounds[:-patience], rounds[-patience:]
    if not before:
        return False
    best = max(before, key=lambda scored: scored.median)
    return not any(gained(best.scores, scored.scores) for scored in last)


def gained(before: Mapping[Address, int], after: Mapping[Address, int]) -> bool:
    """Return whether scores rose by more than two standard errors of the median of the validators' differences.

    The standard error is that of normal differences, whose spread the median absolute deviation estimates. With fewer
    than two validators in both, nothing is known, and that counts as a gain.

    Source: Huber and Ronchetti, Robust Statistics (2009), for both factors.
    """
    gains = [after[who] - before[who] for who in before.keys() & after.keys()]
    if len(gains) < 2:
        return True
    middle = statistics.median(gains)
    deviation = statistics.median(abs(gain - middle) for gain in gains)
    return middle > 2 * _MEDIAN_ERROR * _NORMAL_DEVIATION * deviation / math.sqrt(len(gains))
