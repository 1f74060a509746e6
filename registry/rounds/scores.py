"""Scores of a version: macro-F1 or accuracy, by the evaluations of the round that has it as parent.

All of it is the participants' word: nobody sees the cases on which they evaluate. The sums are exact, the score is a
float for display.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from registry.content.manifest import SUM_BITS, Evaluation, SummedEvaluation
from registry.rounds.evaluations import CELLS, FEWEST, SUPPRESSED, classes_of, names_of, summed
from registry.types import Address

__all__ = ["ACCURACY", "MACRO_F1", "VersionScore", "figures", "score_of"]

MACRO_F1, ACCURACY = "macro_f1", "accuracy"


@dataclass(frozen=True, slots=True)
class VersionScore:
    """How good participants say that a version is, each by held-out data of its own.

    Attributes:
        round: The round in which they evaluated it, as its parent.
        metric: `macro_f1`, the unweighted mean of F1 over the classes that occur; or `accuracy`.
        value: The score by the summed counts.
        least: What the score is at least, given that suppressed cells may be 1 to 9; None without confusion counts, or
            if a manifest is unavailable.
        most: What it is at most, likewise.
        spread: Standard deviation of the participants' own scores, each counted once.
        worst: The lowest of them.
        worst_participant: Whose that is.
        best: The highest of them.
        participants: Number of participants whose evaluations are summed.
        examples: Number of examples in the sum.
    """

    round: int
    metric: str
    value: float
    least: float | None
    most: float | None
    spread: float | None
    worst: float | None
    worst_participant: Address | None
    best: float | None
    participants: int
    examples: int


def figures(evaluation: Evaluation | SummedEvaluation) -> dict[str, float]:
    """Return what readers show of an evaluation: accuracy and macro-F1 of confusion counts; of all else a mean.

    Each other count and sum is divided by the number of examples, such as mean loss.
    """
    labels = classes_of(evaluation.counts)
    cells = {f"{kind}:{label}" for kind in CELLS for label in labels}
    means = {name: value / evaluation.examples for name, value in evaluation.counts.items() if name not in cells}
    means |= {name: value / (evaluation.examples << SUM_BITS) for name, value in evaluation.sums.items()}
    if not labels:
        return means
    hits, missed = (sum(evaluation.counts[f"{kind}:{label}"] for label in labels) for kind in ("tp", "fn"))
    macro_f1 = _macro_f1(labels, evaluation.counts, evaluation.counts)
    return means | {ACCURACY: hits / max(1, hits + missed), MACRO_F1: macro_f1}


def score_of(
    number: int, total: SummedEvaluation | None, given: Sequence[tuple[Address, Evaluation]], cap: int
) -> VersionScore | None:
    """Return the score of a round's parent; None if nobody counted hits.

    Args:
        number: The round's number.
        total: The sum in its report.
        given: The admitted updates' evaluations with their participants, as far as available.
        cap: The plan's `weight_cap`.
    """
    found = None if total is None else _score(total)
    if total is None or found is None:
        return None
    metric, value = found
    own = [(who, each) for who, each in given if names_of(each) == names_of(total) and summed([each], cap) is not None]
    low = high = None
    if metric == MACRO_F1 and len(own) == total.updates:
        low, high = _bounds(classes_of(total.counts), [each for _, each in own], cap)
        low, high = min(low, value), max(high, value)  # the sum of scaled evaluations is rounded down
    scores = [(told[1], who) for who, each in own if (told := _score(each)) is not None]
    worst, who = min(scores, default=(None, None))
    values = [score for score, _ in scores]
    return VersionScore(
        round=number,
        metric=metric,
        value=value,
        least=low,
        most=high,
        spread=_deviation(values) if values else None,
        worst=worst,
        worst_participant=who,
        best=max(values, default=None),
        participants=total.updates,
        examples=total.examples,
    )


def _score(evaluation: Evaluation | SummedEvaluation) -> tuple[str, float] | None:
    """Return an evaluation's score with its name: macro-F1, else accuracy by a count called `correct`."""
    found = figures(evaluation)
    if MACRO_F1 in found and classes_of(evaluation.counts):
        return MACRO_F1, found[MACRO_F1]
    return (ACCURACY, found["correct"]) if "correct" in evaluation.counts else None


def _macro_f1(labels: Sequence[str], hits: Mapping[str, float], errors: Mapping[str, float]) -> float:
    """Return macro-F1 over the classes that occur, given true positives, and false positives and negatives."""
    scores = []
    for label in labels:
        tp, fp, fn = hits[f"tp:{label}"], errors[f"fp:{label}"], errors[f"fn:{label}"]
        if tp + fn:
            scores.append(2 * tp / (2 * tp + fp + fn))
    return math.fsum(scores) / max(1, len(scores))


def _bounds(labels: Sequence[str], evaluations: Sequence[Evaluation], cap: int) -> tuple[float, float]:
    """Return what macro-F1 is at least and at most: it grows with every hit, and falls with every error."""
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    for evaluation in evaluations:
        share = min(1.0, cap / evaluation.examples)
        for name in (f"{kind}:{label}" for kind in CELLS for label in labels):
            cell = evaluation.counts[name]
            few, many = (1, FEWEST - 1) if cell == SUPPRESSED else (cell, cell)
            low[name], high[name] = low.get(name, 0) + share * few, high.get(name, 0) + share * many
    return _macro_f1(labels, low, high), _macro_f1(labels, high, low)


def _deviation(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
