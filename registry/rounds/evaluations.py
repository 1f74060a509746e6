"""Federated evaluation: sums of the participants' local metrics of a round's parent.

Participants may report different metrics. Ratios of sums are meaningful only if every count comes with its examples, so
only evaluations with the same names are summed: the most frequent set of names, ties broken by order. So no participant
can spoil the others' sum, or inflate the report, with names of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from fractions import Fraction

from registry.content.manifest import SUM_BITS, Evaluation, SummedEvaluation
from registry.errors import InputError

__all__ = ["evaluation_of", "ratios", "summed"]

_MOST = 2**63 - 1

Names = tuple[tuple[str, ...], tuple[str, ...]]


def summed(evaluations: Iterable[Evaluation | None]) -> SummedEvaluation | None:
    """Sum the evaluations that have the most frequent set of names. The result does not depend on their order.

    Args:
        evaluations: Evaluations of the admitted updates.

    Returns:
        The sum; None if there are no evaluations.
    """
    there = [evaluation for evaluation in evaluations if evaluation is not None]
    if not there:
        return None
    tally = Counter(map(_names, there))
    counts, sums = min(tally, key=lambda names: (-tally[names], names))
    chosen = [evaluation for evaluation in there if _names(evaluation) == (counts, sums)]
    return SummedEvaluation(
        updates=len(chosen),
        examples=sum(evaluation.examples for evaluation in chosen),
        counts={name: sum(evaluation.counts[name] for evaluation in chosen) for name in counts},
        sums={name: _saturated(sum(evaluation.sums[name] for evaluation in chosen)) for name in sums},
    )


def _names(evaluation: Evaluation) -> Names:
    return tuple(sorted(evaluation.counts)), tuple(sorted(evaluation.sums))


def _saturated(value: int) -> int:
    return max(-_MOST - 1, min(_MOST, value))


def evaluation_of(measured: Mapping[str, int | float]) -> Evaluation:
    """Return an evaluation for a manifest.

    Args:
        measured: `examples` and further metrics by name: an int is a count, a float is a sum over the examples, which
            is rounded half to even to a multiple of 2^-20.

    Raises:
        InputError: There is no number of examples, or a value is neither a count nor a finite sum.
        FormError: A number exceeds the format's range.
    """
    examples = measured.get("examples")
    if type(examples) is not int or examples < 1:
        raise InputError(f"evaluate: expected the number of examples, an int of 1 or more, got {examples!r}")
    counts: dict[str, int] = {}
    sums: dict[str, int] = {}
    for name, value in measured.items():
        if name == "examples":
            continue
        if type(value) is int:
            counts[name] = value
        elif type(value) is float and abs(value) < float("inf"):
            sums[name] = round(Fraction(value) * 2**SUM_BITS)
        else:
            raise InputError(f"evaluate: expected {name} to be an int or a finite float, got {value!r}")
    return Evaluation(examples, counts, sums)


def ratios(evaluation: Evaluation | SummedEvaluation) -> dict[str, float]:
    """Return each count and sum divided by the number of examples, such as accuracy and mean loss, for display."""
    counts = {name: value / evaluation.examples for name, value in evaluation.counts.items()}
    return counts | {name: value / (evaluation.examples << SUM_BITS) for name, value in evaluation.sums.items()}
