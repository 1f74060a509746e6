"""Learning problems of simulated federations: a module, cases with classes, training and evaluation.

Built in are `icd10`, ICD-10-CM descriptions to their chapter, of `trainer.demo`; `digits`, handwritten digits by a
dense network; and `synthetic`, FedProx's devices that differ in their data and in what is to be learned. All train by
stochastic gradient descent. A function of one's own returns another `Problem`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from registry.content.manifest import Code
from registry.errors import InputError
from trainer.demo.hospitals import CHAPTERS, Cases, all_training
from trainer.demo.model import ChapterModel, answers_of, scores_of
from trainer.experiments.partitions import I64
from trainer.updates import this_package

__all__ = ["PROBLEMS", "Batch", "Problem", "Split", "digits", "icd10", "synthetic"]

Split = Literal["validation", "test"]


@dataclass(frozen=True, slots=True)
class Batch:
    """Cases that a participant trains on for an epoch.

    Attributes:
        rows: Places of the cases in the training data, int64 (n,).
        labels: Their classes, as an attacker may have changed them, int64 (n,).
        triggered: Whether a case carries a backdoor's trigger, bool (n,).
        seed: Of the order and of whatever else training draws.
    """

    rows: torch.Tensor
    labels: torch.Tensor
    triggered: torch.Tensor
    seed: int


@dataclass(frozen=True, slots=True)
class Problem:
    """A learning problem.

    Attributes:
        module: Returns the module with its first values, the same each time.
        labels: Classes of the training cases, int64 (n,), 0 or more.
        train: Trains the module for one epoch on a batch; returns metrics.
        evaluate: Returns scores of the module on cases of a split that nobody trains on; the first is the main one.
            With a class, also `backdoor`: the share of the others' cases, with the trigger, that are taken for it.
        features: One number a training case, for partitions by a feature; None if there is none.
        code: The code that trains.
        answers: Returns the classes of a split's cases and those that the module takes them for, int64 (n,) each; for
            scores of participants' own models.
    """

    module: Callable[[], nn.Module]
    labels: I64
    train: Callable[[nn.Module, Batch], Mapping[str, float]]
    evaluate: Callable[[nn.Module, Split, int | None], Mapping[str, float]]
    features: NDArray[np.float64] | None = None
    code: Code | None = None
    answers: Callable[[nn.Module, Split], tuple[torch.Tensor, torch.Tensor]] | None = None

    def __post_init__(self) -> None:
        if self.labels.ndim != 1 or not len(self.labels) or self.labels.dtype != np.int64 or self.labels.min() < 0:
            raise InputError(
                f"problem: labels: expected int64 classes of 0 or more, one a case, got {self.labels.dtype} of shape "
                f"{self.labels.shape}"
            )

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.labels.max()) + 1


# ICD-10-CM -----------------------------------------------------------------------------------------------------------

BATCH = 64
VALIDATION_SHARE = 0.1
"""Share of the training categories that is held out for validation: the test set chooses nothing."""


def icd10(*, learning_rate: float = 10.0, share: float = 1.0, sparse: bool = True) -> Problem:
    """Return the problem of ICD-10-CM descriptions to 22 chapters: 2.1 M values, SGD in batches of 64.

    Args:
        learning_rate: Of SGD, above 0.
        share: Share of the training categories in use, 0..1: less is faster.
        sparse: Whether gradients hold the terms of the cases at hand alone: faster, but algorithms that adjust
            gradients need them dense.

    Raises:
        InputError: A number lies outside its range.
    """
    if not learning_rate > 0 or not 0 < share <= 1:
        raise InputError(
            "problem: icd10: expected learning_rate > 0 and share of more than 0 and at most 1, "
            f"got {learning_rate} and {share}"
        )
    training, validation, test = _icd10_cases(share)
    held_out = {"validation": validation, "test": test}

    def train(module: nn.Module, batch: Batch) -> Mapping[str, float]:
        return _descend(module, training, learning_rate, batch)

    def answers(module: nn.Module, split: Split) -> tuple[torch.Tensor, torch.Tensor]:
        return answers_of(module, held_out[split])

    def evaluate(module: nn.Module, split: Split, target: int | None) -> Mapping[str, float]:
        cases = held_out[split]
        scores = scores_of(*answers(module, split), CHAPTERS)
        told = {"macro_f1": scores.macro_f1, "accuracy": scores.accuracy}
        if target is not None:
            others = torch.nonzero(cases.labels != target).flatten()
            tokens, offsets, _ = cases.batch(others, torch.ones(len(others), dtype=torch.bool))
            module.eval()
            with torch.no_grad():
                taken = module(tokens, offsets).argmax(1) == target
            told["backdoor"] = float(taken.double().mean())
        return told

    def module() -> nn.Module:
        made = ChapterModel()
        made.terms.sparse = sparse
        return made

    lengths = (training.starts[1:] - training.starts[:-1]).double().numpy()
    classes = training.labels.numpy()
    return Problem(module, classes, train, evaluate, features=lengths, code=this_package(), answers=answers)


@cache
def _icd10_cases(share: float) -> tuple[Cases, Cases, Cases]:
    """Return training, validation and test cases; whole categories apart, as in the demo."""
    training, categories, test = all_training()
    rng = np.random.default_rng(8)
    names = rng.permutation(np.unique(categories))
    held = names[: round(VALIDATION_SHARE * len(names))]
    used = names[len(held) :][: max(1, round(share * (len(names) - len(held))))]
    fitting, validation = (torch.from_numpy(np.isin(categories, some)) for some in (used, held))
    return training.take(fitting), training.take(validation), test


def _descend(module: nn.Module, cases: Cases, learning_rate: float, batch: Batch) -> Mapping[str, float]:
    """Train for one epoch of SGD over the batch's cases, in an order of its seed; return the mean loss."""
    optimizer = torch.optim.SGD(module.parameters(), lr=learning_rate)
    order = torch.randperm(len(batch.rows), generator=torch.Generator().manual_seed(batch.seed))
    total = 0.0
    for places in torch.split(order, BATCH):
        tokens, offsets, _ = cases.batch(batch.rows[places], batch.triggered[places])
        loss = nn.functional.cross_entropy(module(tokens, offsets), batch.labels[places])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += loss.item() * len(places)
    return {"loss": total / len(batch.rows)}


# Digits --------------------------------------------------------------------------------------------------------------

_CLASSES = 10
_HIDDEN = 256


def digits(*, learning_rate: float = 0.1) -> Problem:
    """Return the problem of 8 x 8 handwritten digits (UCI, in scikit-learn): a dense network of 85 002 values.

    Every step changes nearly all values, unlike those of `icd10`, which change the terms of the cases at hand alone.

    Args:
        learning_rate: Of SGD in batches of 32, above 0.

    Raises:
        InputError: It is not above 0.
    """
    if not learning_rate > 0:
        raise InputError(f"problem: digits: expected learning_rate > 0, got {learning_rate}")
    pixels, classes = _digits_cases()
    order = torch.from_numpy(np.random.default_rng(9).permutation(len(classes)))
    fitting, rest = order[: len(order) * 7 // 10], order[len(order) * 7 // 10 :]
    places = {"validation": rest[::3], "test": torch.cat([rest[1::3], rest[2::3]])}
    held_out = {split: (pixels[rows], classes[rows]) for split, rows in places.items()}
    return _of_vectors(_digits_model, (pixels[fitting], classes[fitting]), held_out, learning_rate, 32, "macro_f1")


_Vectors = tuple[torch.Tensor, torch.Tensor]
"""Inputs, float32 (n, features), and their classes, int64 (n,)."""


def _of_vectors(
    module: Callable[[], nn.Module],
    fitting: _Vectors,
    held_out: Mapping[str, _Vectors],
    learning_rate: float,
    size: int,
    metric: str,
    features: NDArray[np.float64] | None = None,
) -> Problem:
    """Return the problem of vectors to ten classes, by SGD in batches of a size; `metric` is the main score."""
    inputs, classes = fitting

    def train(module: nn.Module, batch: Batch) -> Mapping[str, float]:
        return _classify(module, inputs[batch.rows], batch, learning_rate, size)

    def answers(module: nn.Module, split: Split) -> tuple[torch.Tensor, torch.Tensor]:
        x, y = held_out[split]
        with torch.no_grad():
            return y, module(x).argmax(1)

    def evaluate(module: nn.Module, split: Split, target: int | None) -> Mapping[str, float]:
        scores = scores_of(*answers(module, split), _CLASSES)
        told = {"macro_f1": scores.macro_f1, "accuracy": scores.accuracy}
        return {metric: told[metric], **told}

    return Problem(module, classes.numpy(), train, evaluate, features=features, code=this_package(), answers=answers)


def _classify(
    module: nn.Module, inputs: torch.Tensor, batch: Batch, learning_rate: float, size: int
) -> Mapping[str, float]:
    """Train for one epoch of SGD over the batch's inputs, (n, features), in an order of its seed; return the loss."""
    optimizer = torch.optim.SGD(module.parameters(), lr=learning_rate)
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(batch.seed))
    total = 0.0
    for places in torch.split(order, size):
        loss = nn.functional.cross_entropy(module(inputs[places]), batch.labels[places])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += loss.item() * len(places)
    return {"loss": total / len(inputs)}


def _digits_model() -> nn.Module:
    generator = torch.Generator().manual_seed(9)
    module = nn.Sequential(
        nn.Linear(64, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, _CLASSES)
    )
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_() if parameter.dim() == 1 else nn.init.kaiming_uniform_(parameter, generator=generator)
    return module


@cache
def _digits_cases() -> tuple[torch.Tensor, torch.Tensor]:
    """Return the pixels, float32 (n, 64) of 0..1, and the classes, int64 (n,)."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return torch.from_numpy(found.data / 16).float(), torch.from_numpy(found.target).long()


# Synthetic(alpha, beta) ----------------------------------------------------------------------------------------------

_FEATURES = 60


def synthetic(
    *, alpha: float = 1.0, beta: float = 1.0, devices: int = 30, draw: int = 0, learning_rate: float = 0.01
) -> Problem:
    """Return Synthetic(alpha, beta) of Li et al., Federated Optimization in Heterogeneous Networks, MLSys 2020, 5.1.

    Device k has cases x ~ N(v_k, Sigma), 60 values with Sigma_jj = j^-1.2 and v_k ~ N(B_k, 1), B_k ~ N(0, beta); their
    class, of ten, is argmax(W_k x + b_k), with W_k, b_k ~ N(u_k, 1), u_k ~ N(0, alpha). So alpha says how much the
    devices' models differ, beta how much their data. Sizes are 50 plus a lognormal draw (mean 4 and deviation 2 of the
    logarithm), at most 5000. Of each device's cases a fifth is for testing and a tenth for validation. The partition
    `natural_id` gives each device its own. The model is multinomial logistic regression, by SGD in batches of 10.

    Args:
        alpha: Variance of u_k, 0 or more.
        beta: Variance of B_k, 0 or more.
        devices: How many, 1..1000.
        draw: Seed of the data.
        learning_rate: Of SGD, above 0.

    Raises:
        InputError: A number lies outside its range.
    """
    if not (alpha >= 0 and beta >= 0 and 1 <= devices <= 1000 and draw >= 0 and learning_rate > 0):
        raise InputError(
            "problem: synthetic: expected alpha, beta and draw of 0 or more, 1..1000 devices and learning_rate > 0, "
            f"got {alpha}, {beta}, {draw}, {devices} and {learning_rate}"
        )
    inputs, classes, owners, split = _synthetic_cases(alpha, beta, devices, draw)
    x, y = torch.from_numpy(inputs), torch.from_numpy(classes)

    def module() -> nn.Module:
        made = nn.Linear(_FEATURES, _CLASSES)
        nn.init.zeros_(made.weight)
        nn.init.zeros_(made.bias)
        return made

    fitting, *rest = (torch.from_numpy(np.flatnonzero(split == part)) for part in range(3))
    held_out = {name: (x[rows], y[rows]) for name, rows in zip(("validation", "test"), rest, strict=True)}
    owned = owners[fitting.numpy()].astype(np.float64)
    return _of_vectors(module, (x[fitting], y[fitting]), held_out, learning_rate, 10, "accuracy", owned)


@cache
def _synthetic_cases(
    alpha: float, beta: float, devices: int, draw: int
) -> tuple[NDArray[np.float32], I64, I64, NDArray[np.int8]]:
    """Return inputs, float32 (n, 60), classes, owners, and the split: 0 training, 1 validation, 2 test; each (n,)."""
    rng = np.random.default_rng([13, draw])
    deviations = np.arange(1, _FEATURES + 1) ** -0.6
    sizes = 50 + np.minimum(rng.lognormal(4, 2, devices), 4950).astype(np.int64)
    inputs, classes, split = [], [], []
    for size in sizes:
        about, shift = rng.normal(0, np.sqrt(alpha)), rng.normal(0, np.sqrt(beta))
        weights, bias = rng.normal(about, 1, (_FEATURES, _CLASSES)), rng.normal(about, 1, _CLASSES)
        x = rng.normal(rng.normal(shift, 1, _FEATURES), deviations, (size, _FEATURES))
        inputs.append(x.astype(np.float32))
        classes.append((x @ weights + bias).argmax(1))
        split.append(rng.permutation(np.arange(size) * 10 // size).astype(np.int8))  # tenths
    tenths = np.concatenate(split)
    return (
        np.concatenate(inputs),
        np.concatenate(classes).astype(np.int64),
        np.repeat(np.arange(devices), sizes),
        np.select([tenths < 7, tenths < 8], [0, 1], 2).astype(np.int8),
    )


PROBLEMS: Mapping[str, Callable[..., Problem]] = {"icd10": icd10, "digits": digits, "synthetic": synthetic}
"""Built-in problems, by name."""
