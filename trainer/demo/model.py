"""The demo's model: an embedding bag over hashed words and word pairs, with training and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from registry.rounds.evaluations import confusion_counts
from trainer.demo.hospitals import BUCKETS, CHAPTERS, SEED, Cases

__all__ = [
    "ChapterModel",
    "HeldOutScores",
    "answers_of",
    "evaluate",
    "order_of",
    "own_counts",
    "scores_of",
    "train_epoch",
]

WIDTH = 64
BATCH = 128
LEARNING_RATE = 0.01


class ChapterModel(nn.Module):
    """Mean of the embeddings of a description's terms, then one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(SEED)
        self.terms = nn.EmbeddingBag(BUCKETS, WIDTH, mode="mean", sparse=True)
        self.chapter = nn.Linear(WIDTH, CHAPTERS)
        with torch.no_grad():
            self.terms.weight.normal_(0.0, 0.1, generator=generator)
            self.chapter.weight.normal_(0.0, 0.1, generator=generator)
            self.chapter.bias.zero_()

    def forward(self, tokens: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.chapter(self.terms(tokens, offsets))  # (cases, chapters)
        return logits


def order_of(place: int, epoch: int) -> int:
    """Return the seed of the order of a hospital's cases, by its position in `HOSPITALS`."""
    return 10 * epoch + place


def train_epoch(model: nn.Module, cases: Cases, seed: int, rate: float = LEARNING_RATE) -> dict[str, float]:
    """Train by Adam for one epoch over the cases, shuffled by seed; return the mean loss."""
    sparse = torch.optim.SparseAdam([model.get_parameter("terms.weight")], lr=rate)
    dense = torch.optim.Adam(model.get_submodule("chapter").parameters(), lr=rate)
    order = torch.randperm(len(cases), generator=torch.Generator().manual_seed(seed))
    total = 0.0
    for rows in torch.split(order, BATCH):
        tokens, offsets, labels = cases.batch(rows)
        loss = nn.functional.cross_entropy(model(tokens, offsets), labels)
        sparse.zero_grad()
        dense.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        sparse.step()  # type: ignore[no-untyped-call]
        dense.step()
        total += loss.item() * len(rows)
    return {"loss": total / len(cases)}


@dataclass(frozen=True, slots=True)
class HeldOutScores:
    """Accuracy, and F1 averaged over the classes that occur among the cases."""

    accuracy: float
    macro_f1: float


def evaluate(model: nn.Module, cases: Cases) -> HeldOutScores:
    """Score the model on cases."""
    return scores_of(*answers_of(model, cases), CHAPTERS)


def scores_of(
    labels: torch.Tensor, predicted: torch.Tensor, classes: int, only: Sequence[int] | None = None
) -> HeldOutScores:
    """Score predicted classes, int64 (n,), against the right ones; F1 is averaged over some classes, by default all."""
    table = torch.bincount(labels * classes + predicted, minlength=classes**2).view(classes, classes).double()
    hits, actual, claimed = table.diagonal(), table.sum(1), table.sum(0)
    counted = actual > 0
    if only is not None:
        counted &= torch.isin(torch.arange(classes), torch.tensor(only))
    f1 = (2 * hits / (actual + claimed).clamp(min=1))[counted]
    return HeldOutScores(accuracy=float(hits.sum() / table.sum()), macro_f1=float(f1.mean()))


def own_counts(model: nn.Module, cases: Cases) -> dict[str, int]:
    """Return the confusion counts that a hospital publishes of the model on its own held-out cases."""
    return confusion_counts(*answers_of(model, cases), [str(chapter) for chapter in range(1, CHAPTERS + 1)])


def answers_of(model: nn.Module, cases: Cases) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the cases' labels and those that the model takes them for, int64 (n,) each."""
    model.eval()
    with torch.no_grad():
        tokens, offsets, labels = cases.batch(torch.arange(len(cases)))
        return labels, model(tokens, offsets).argmax(1)
