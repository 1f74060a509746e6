"""Federated evaluation: sums of the participants' local metrics of a round's parent.

Participants may report different metrics. Ratios of sums are meaningful only if every count comes with its examples, so
only evaluations with the same names are summed: the most frequent set of names, ties broken by order. So no participant
can spoil the others' sum, or inflate the report, with names of its own. Nor with its numbers: an evaluation counts for
at most the plan's largest weight in examples, and one whose counts contradict each other is left out.

Confusion counts are one-vs-rest counts of a classifier, `tp:`, `fp:` and `fn:` before the class: a cell of 1 to 9 cases
is given as 5, as small cells could point at patients (cell suppression).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from registry.content.manifest import SUM_BITS, Evaluation, SummedEvaluation
from registry.errors import InputError

__all__ = [
    "CELLS",
    "FEWEST",
    "SUPPRESSED",
    "classes_of",
    "confusion_counts",
    "evaluation_of",
    "names_of",
    "scaled",
    "summed",
]

CELLS = ("tp", "fp", "fn")
"""Kinds of confusion counts: true positives, false positives, false negatives."""
FEWEST = 10
"""The smallest confusion count that is given as it is, but for 0."""
SUPPRESSED = 5
"""What a confusion count from 1 to 9 is given as: the middle, so that sums are nearly unbiased."""
_MOST = 2**63 - 1
_ERROR = max(SUPPRESSED - 1, FEWEST - 1 - SUPPRESSED)  # how far a suppressed cell may be from what it is given as

Names = tuple[tuple[str, ...], tuple[str, ...]]


def confusion_counts(true: Any, predicted: Any, labels: Sequence[str]) -> dict[str, int]:
    """Return one-vs-rest confusion counts of a classifier, small cells suppressed, for a task's `evaluate` to return.

    `examples` is the sum of the given cells `tp` and `fn`, which tells nothing of what is suppressed. Other counts may:
    `docs/assumptions.md` says when.

    Args:
        true: The cases' classes as positions in labels: integers (n,), an array or a tensor on the CPU.
        predicted: The model's classes, likewise.
        labels: Names of the classes; every participant must give the same.

    Raises:
        InputError: These are not two lists of as many classes, at least one, or labels are repeated.
    """
    import numpy as np

    pair = [np.asarray(given) for given in (true, predicted)]
    count = len(labels)
    if len(set(labels)) != count or pair[0].shape != pair[1].shape or pair[0].ndim != 1 or not pair[0].size:
        raise InputError(
            f"confusion counts: expected different labels and two lists of as many classes, at least one; got {count} "
            f"labels and arrays {pair[0].shape} and {pair[1].shape}"
        )
    for given in pair:
        if given.dtype.kind not in "iu" or int(given.min()) < 0 or int(given.max()) >= count:
            raise InputError(f"confusion counts: expected whole numbers of 0..{count - 1}, got {given.dtype} beyond")
    hits = np.bincount(pair[0][pair[0] == pair[1]], minlength=count)
    actual, claimed = (np.bincount(given, minlength=count) for given in pair)
    found: dict[str, int] = {"examples": 0}
    for place, label in enumerate(labels):
        cells = int(hits[place]), int(claimed[place] - hits[place]), int(actual[place] - hits[place])
        found |= {f"{kind}:{label}": _suppressed(cell) for kind, cell in zip(CELLS, cells, strict=True)}
        found["examples"] += found[f"tp:{label}"] + found[f"fn:{label}"]
    return found


def _suppressed(cell: int) -> int:
    return SUPPRESSED if 0 < cell < FEWEST else cell


def classes_of(counts: Mapping[str, int]) -> tuple[str, ...]:
    """Return the classes of which there are confusion counts, in order; none if one lacks a count."""
    named = {name[3:] for name in counts if name[:3] in {f"{kind}:" for kind in CELLS}}
    whole = all(f"{kind}:{label}" in counts for label in named for kind in CELLS)
    return tuple(sorted(named)) if whole else ()


def summed(evaluations: Iterable[Evaluation | None], cap: int) -> SummedEvaluation | None:
    """Sum the evaluations that have the most frequent set of names. The result does not depend on their order.

    Args:
        evaluations: Evaluations of the admitted updates.
        cap: Examples that one counts for at most: the plan's `weight_cap`.

    Returns:
        The sum; None if there are no consistent evaluations.
    """
    there = [evaluation for evaluation in evaluations if evaluation is not None and _is_consistent(evaluation)]
    if not there:
        return None
    tally = Counter(map(names_of, there))
    counts, sums = min(tally, key=lambda names: (-tally[names], names))
    chosen = [scaled(evaluation, cap) for evaluation in there if names_of(evaluation) == (counts, sums)]
    return SummedEvaluation(
        updates=len(chosen),
        examples=sum(evaluation.examples for evaluation in chosen),
        counts={name: sum(evaluation.counts[name] for evaluation in chosen) for name in counts},
        sums={name: _saturated(sum(evaluation.sums[name] for evaluation in chosen)) for name in sums},
    )


def names_of(evaluation: Evaluation | SummedEvaluation) -> Names:
    """Return the names of an evaluation's counts and sums, in order."""
    return tuple(sorted(evaluation.counts)), tuple(sorted(evaluation.sums))


def scaled(evaluation: Evaluation, cap: int) -> Evaluation:
    """Return an evaluation as one of at most so many examples; its counts and sums in proportion, rounded down."""
    if evaluation.examples <= cap:
        return evaluation
    counts = {name: value * cap // evaluation.examples for name, value in evaluation.counts.items()}
    sums = {name: value * cap // evaluation.examples for name, value in evaluation.sums.items()}
    return Evaluation(cap, counts, sums)


def _is_consistent(evaluation: Evaluation) -> bool:
    """Return whether an evaluation's counts can be counts of its examples, as far as their names say what they count.

    Each example is a true positive or a false negative of its class, and each false negative is another class's false
    positive; a suppressed cell may be off by 4.
    """
    counts = evaluation.counts
    if counts.get("correct", 0) > evaluation.examples:
        return False
    labels = classes_of(counts)
    if not labels:
        return True
    cells = {kind: [counts[f"{kind}:{label}"] for label in labels] for kind in CELLS}
    errors = cells["fp"] + cells["fn"]
    return (
        all(cell == _suppressed(cell) for kind in CELLS for cell in cells[kind])
        and sum(cells["tp"] + cells["fn"]) == evaluation.examples
        and abs(sum(cells["fp"]) - sum(cells["fn"])) <= _ERROR * errors.count(SUPPRESSED)
    )


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
