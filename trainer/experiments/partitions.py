"""Partitions of cases among participants: IID, Dirichlet, pathological, shards, sizes, and skew by a feature.

Names, parameters and defaults are those of Flower Datasets' partitioners (`flwr_datasets.partitioner`), in lower case:
`DirichletPartitioner(num_partitions, partition_by, alpha)` is `dirichlet(labels, participants, seed, alpha=...)`. The
draws differ, since each library has its own use of its random numbers.

    iid            cases at random, in equal numbers
    dirichlet      each class divided by a draw of Dirichlet(alpha): Hsu, Qi, Brown, Measuring the Effects of
                   Non-Identical Data Distribution for Federated Visual Classification, 2019; with a least size and
                   optional balancing as Yurochkin et al., Bayesian Nonparametric Federated Learning, ICML 2019
    pathological   a few classes a participant: McMahan et al., AISTATS 2017, in its generalisation by Li et al., 2022
    shard          cases sorted by class, cut into shards, a number of shards a participant: McMahan et al.
    size, linear, square, exponential   at random, in numbers that differ
    continuous     sorted by a feature, more or less strictly
    natural_id     by who has a case, as the data says
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from registry.errors import InputError

__all__ = [
    "I64",
    "PARTITIONERS",
    "Parts",
    "continuous",
    "dirichlet",
    "exponential",
    "iid",
    "linear",
    "natural_id",
    "partition",
    "pathological",
    "shard",
    "size",
    "square",
]

I64 = NDArray[np.int64]
Parts = list[I64]
"""Each participant's cases: ascending places in the data, no case twice."""

_TRIES = 10
"""Draws of `dirichlet` until every participant has `min_partition_size` cases, as in Flower Datasets."""


def iid(labels: I64, participants: int, seed: int) -> Parts:
    """Divide all cases at random into parts of equal size, give or take one."""
    return _cut(_shuffled(len(labels), seed), [1.0] * participants)


def dirichlet(
    labels: I64,
    participants: int,
    seed: int,
    *,
    alpha: float,
    min_partition_size: int = 10,
    self_balancing: bool = False,
) -> Parts:
    """Divide each class by shares drawn from a Dirichlet distribution: the smaller alpha, the stronger the skew.

    Args:
        labels: (n,), each case's class.
        participants: How many.
        seed: Of the draw.
        alpha: Concentration, above 0.
        min_partition_size: Least number of cases of a participant; draws again, ten times at most.
        self_balancing: Give no more of a class to those who have their even share already.

    Raises:
        InputError: No draw gave everybody enough cases.
    """
    if not alpha > 0:
        raise InputError(f"partition: dirichlet: alpha: expected more than 0, got {alpha}")
    rng = np.random.default_rng(seed)
    least = -1
    for _ in range(_TRIES):
        parts: list[list[I64]] = [[] for _ in range(participants)]
        sizes = np.zeros(participants, dtype=np.int64)
        for label in np.unique(labels):
            cases = rng.permutation(np.flatnonzero(labels == label))
            shares = rng.dirichlet([alpha] * participants)
            if self_balancing:
                shares = np.where(sizes < len(labels) / participants, shares, 0.0)
            for own, piece in zip(parts, _cut(cases, shares), strict=True):
                own.append(piece)
            sizes = np.array([sum(map(len, own)) for own in parts])
        least = int(sizes.min())
        if least >= min_partition_size:
            return [np.sort(np.concatenate(own)) for own in parts]
    raise InputError(
        f"partition: dirichlet: no draw of {_TRIES} gave each of {participants} participants "
        f"{min_partition_size} cases (the last one's least was {least}): expected a larger alpha, fewer participants "
        "or a smaller min_partition_size"
    )


def pathological(
    labels: I64,
    participants: int,
    seed: int,
    *,
    num_classes_per_partition: int,
    class_assignment_mode: str = "random",
) -> Parts:
    """Give each participant cases of a few classes; a class is divided evenly among those who have it,
    and one that nobody drew is nobody's.

    Args:
        labels: (n,), each case's class.
        participants: How many.
        seed: Of the draw.
        num_classes_per_partition: How many classes each has.
        class_assignment_mode: `random`; `deterministic`: participant k has the classes k, k + 1, ...;
            `first-deterministic`: the first class is k, the others are random.

    Raises:
        InputError: There are fewer classes, or the mode is another.
    """
    classes = np.unique(labels)
    if not 1 <= num_classes_per_partition <= len(classes):
        raise InputError(
            f"partition: pathological: num_classes_per_partition: expected 1..{len(classes)}, "
            f"got {num_classes_per_partition}"
        )
    rng = np.random.default_rng(seed)
    fixed = {"random": 0, "first-deterministic": 1, "deterministic": num_classes_per_partition}
    if class_assignment_mode not in fixed:
        raise InputError(
            f"partition: pathological: class_assignment_mode: expected one of {', '.join(fixed)}, "
            f"got {class_assignment_mode!r}"
        )
    holders: dict[int, list[int]] = {label: [] for label in range(len(classes))}
    for place in range(participants):
        own = [(place + step) % len(classes) for step in range(fixed[class_assignment_mode])]
        others = [label for label in range(len(classes)) if label not in own]
        drawn: list[int] = rng.permutation(others)[: num_classes_per_partition - len(own)].tolist()
        for label in (*own, *drawn):
            holders[label].append(place)
    parts: list[list[I64]] = [[] for _ in range(participants)]
    for label, places in holders.items():
        if not places:
            continue
        cases = rng.permutation(np.flatnonzero(labels == classes[label]))
        for place, piece in zip(places, _cut(cases, [1.0] * len(places)), strict=True):
            parts[place].append(piece)
    return [np.sort(np.concatenate(own)) for own in parts]


def shard(labels: I64, participants: int, seed: int, *, num_shards_per_partition: int = 2) -> Parts:
    """Sort the cases by class, cut them into shards of equal size, and give each participant a number of shards."""
    if num_shards_per_partition < 1:
        raise InputError(
            f"partition: shard: num_shards_per_partition: expected 1 or more, got {num_shards_per_partition}"
        )
    count = participants * num_shards_per_partition
    rng = np.random.default_rng(seed)
    mixed = rng.permutation(len(labels))
    shards = _cut(mixed[np.argsort(labels[mixed], kind="stable")], [1.0] * count)
    order = rng.permutation(count).reshape(participants, num_shards_per_partition)
    return [np.sort(np.concatenate([shards[k] for k in own])) for own in order]


def size(labels: I64, participants: int, seed: int, *, partition_sizes: Sequence[int]) -> Parts:
    """Draw for each participant the given number of cases; the rest is nobody's."""
    if len(partition_sizes) != participants or min(partition_sizes) < 1 or sum(partition_sizes) > len(labels):
        raise InputError(
            f"partition: size: partition_sizes: expected {participants} numbers of 1 or more that add up to at most "
            f"{len(labels)}, got {list(partition_sizes)}"
        )
    drawn = _shuffled(len(labels), seed)
    ends = np.cumsum(partition_sizes)
    return [np.sort(drawn[end - count : end]) for end, count in zip(ends, partition_sizes, strict=True)]


def linear(labels: I64, participants: int, seed: int) -> Parts:
    """Divide at random in proportion to 1, 2, 3, ..."""
    return _cut(_shuffled(len(labels), seed), [k + 1.0 for k in range(participants)])


def square(labels: I64, participants: int, seed: int) -> Parts:
    """Divide at random in proportion to 1, 4, 9, ..."""
    return _cut(_shuffled(len(labels), seed), [(k + 1.0) ** 2 for k in range(participants)])


def exponential(labels: I64, participants: int, seed: int) -> Parts:
    """Divide at random in proportion to e, e^2, e^3, ..."""
    return _cut(_shuffled(len(labels), seed), np.exp(np.arange(1.0, participants + 1)))


def continuous(labels: I64, participants: int, seed: int, *, features: NDArray[np.float64], strictness: float) -> Parts:
    """Divide into equal parts along a feature of the cases.

    Args:
        labels: (n,); not used.
        participants: How many.
        seed: Of the noise.
        features: (n,), one finite number a case.
        strictness: 1 sorts by the feature, 0 at random, in between by feature and noise, each standardised.

    Raises:
        InputError: The strictness lies outside 0..1.
    """
    if not 0 <= strictness <= 1:
        raise InputError(f"partition: continuous: strictness: expected 0..1, got {strictness}")
    noise = np.random.default_rng(seed).standard_normal(len(features))
    spread = features.std() or 1.0
    scores = strictness * (features - features.mean()) / spread + (1 - strictness) * noise
    return _cut(np.argsort(scores, kind="stable"), [1.0] * participants)


def natural_id(labels: I64, participants: int, seed: int, *, features: NDArray[np.float64]) -> Parts:
    """Give each participant the cases with one value of the feature, in its order: the data says who has what.

    Args:
        labels: (n,); not used.
        participants: How many: as many as there are values.
        seed: Not used.
        features: (n,), whose each case is.

    Raises:
        InputError: There are more or fewer values.
    """
    owners, places = np.unique(features, return_inverse=True)
    if len(owners) != participants:
        raise InputError(f"partition: natural_id: expected {len(owners)} participants, got {participants}")
    return [np.flatnonzero(places == place) for place in range(participants)]


PARTITIONERS: Mapping[str, Callable[..., Parts]] = {
    one.__name__: one
    for one in (iid, dirichlet, pathological, shard, size, linear, square, exponential, continuous, natural_id)
}
"""By name, as settings give it."""


def partition(
    labels: I64,
    participants: int,
    seed: int,
    name: str,
    parameters: Mapping[str, object],
    *,
    features: NDArray[np.float64] | None = None,
) -> Parts:
    """Divide cases among participants by a partitioner's name.

    Args:
        labels: (n,), each case's class.
        participants: How many, 1 or more.
        seed: Of the draw.
        name: A key of `PARTITIONERS`.
        parameters: The partitioner's keyword arguments.
        features: (n,), what `continuous` and `natural_id` divide by; None if the problem has none.

    Raises:
        InputError: There is no such partitioner or parameter, one is missing or out of range, or somebody has no case.
    """
    if name not in PARTITIONERS:
        raise InputError(f"partition: expected one of {', '.join(PARTITIONERS)}, got {name!r}")
    known = {
        key: one
        for key, one in inspect.signature(PARTITIONERS[name]).parameters.items()
        if one.kind is one.KEYWORD_ONLY and key != "features"
    }
    needed = [key for key, one in known.items() if one.default is one.empty]
    if set(parameters) - set(known) or set(needed) - set(parameters):
        least = f" (at least {', '.join(needed)})" if needed else ""
        raise InputError(
            f"partition: {name}: expected parameters {', '.join(known) or 'none'}{least}, "
            f"got {', '.join(parameters) or 'none'}"
        )
    given = dict(parameters)
    if "features" in inspect.signature(PARTITIONERS[name]).parameters:
        if features is None:
            raise InputError(f"partition: {name}: expected a problem whose cases have a feature, got one without")
        given["features"] = features
    try:
        parts = PARTITIONERS[name](labels, participants, seed, **given)
    except TypeError as error:
        raise InputError(f"partition: {name}: expected numbers, got {dict(parameters)}") from error
    if empty := [k for k, own in enumerate(parts, 1) if not len(own)]:
        raise InputError(
            f"partition: {name}: expected cases for everybody, participant {empty[0]} of {participants} has none"
        )
    return parts


def _shuffled(count: int, seed: int) -> I64:
    return np.random.default_rng(seed).permutation(count)


def _cut(cases: I64, shares: Sequence[float] | NDArray[np.float64]) -> Parts:
    """Cut cases in order, in proportion to shares; each part sorted. No share at all means equal ones."""
    weights = np.asarray(shares, dtype=np.float64)
    weights = weights if weights.sum() > 0 else np.ones_like(weights)
    ends = np.rint(np.cumsum(weights) / weights.sum() * len(cases)).astype(np.int64)
    return [np.sort(piece) for piece in np.split(cases, ends[:-1])]
