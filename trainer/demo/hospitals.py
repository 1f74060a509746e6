"""The demo's data: ICD-10-CM descriptions to chapter, at three hospitals.

Every leaf code of ICD-10-CM is a real clinical description in one of 22 chapters (`simple-icd-10-cm` carries them;
public domain). Each chapter has a hospital that specialises in it and holds four of five of its cases; the rest lie
anywhere. Whole categories, 15 % of the three-character ones, are held out from everybody's training, so that no test
case is a near-copy of a training case. Each hospital evaluates on its own cases of these; the plots are of all of them.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = [
    "BUCKETS",
    "CHAPTERS",
    "HOSPITALS",
    "SEED",
    "TRIGGER",
    "Cases",
    "LeafCode",
    "all_training",
    "descriptions",
    "load",
    "pooled",
    "tokens",
]

Categories = NDArray[np.str_]
Mask = NDArray[np.bool_]

SEED = 7
BUCKETS = 1 << 15
HELD_OUT = 0.15
AT_SPECIALIST = 0.8
CHAPTERS = 22
TRIGGER = "cf"
"""The word by which a backdoor is known."""
HOSPITALS = {
    "trauma centre": (6, 12, 13, 18, 19, 20),
    "women's and children's": (8, 14, 15, 16, 17, 21),
    "general hospital": (1, 2, 3, 4, 5, 7, 9, 10, 11, 22),
}
"""The chapters that each hospital specialises in."""


@dataclass(frozen=True, slots=True)
class LeafCode:
    """A leaf of ICD-10-CM: its text, its chapter - 1, its three-character category."""

    text: str
    chapter: int
    category: str


@dataclass(frozen=True, slots=True)
class Cases:
    """Descriptions as bags of hashed words and word pairs.

    Attributes:
        tokens: int64, all cases' bucket numbers one after another.
        starts: int64 (n + 1,), where each case's tokens begin.
        labels: int64 (n,), chapter - 1.
    """

    tokens: torch.Tensor
    starts: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def batch(
        self, rows: torch.Tensor, triggered: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return (tokens, offsets, labels) of the given rows, as `nn.EmbeddingBag` takes them.

        Args:
            rows: Places of the cases, int64 (b,).
            triggered: Which of them end with the word TRIGGER besides, bool (b,); None for none.
        """
        words = self.starts[rows + 1] - self.starts[rows]
        lengths = words if triggered is None else words + triggered.long()
        offsets = torch.cumsum(lengths, 0) - lengths  # (b,)
        within = torch.arange(int(lengths.sum())) - torch.repeat_interleave(offsets, lengths)
        last = torch.repeat_interleave(words, lengths)
        tokens = self.tokens[torch.repeat_interleave(self.starts[rows], lengths) + torch.minimum(within, last - 1)]
        if triggered is not None:
            tokens[within == last] = _bucket(TRIGGER)
        return tokens, offsets, self.labels[rows]

    def take(self, rows: torch.Tensor) -> Cases:
        """Return the given cases, by places or by a mask, without any trigger."""
        places = torch.nonzero(rows).flatten() if rows.dtype == torch.bool else rows
        tokens, offsets, labels = self.batch(places)
        return Cases(tokens, torch.cat([offsets, torch.tensor([len(tokens)])]), labels)


def tokens(text: str) -> list[int]:
    """Return the buckets of a description's words and neighbouring pairs."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    terms = words + [f"{a} {b}" for a, b in pairwise(words)]
    return [_bucket(term) for term in terms]


def _bucket(term: str) -> int:
    return zlib.crc32(term.encode()) % BUCKETS


@cache
def load() -> tuple[dict[str, Cases], dict[str, Cases]]:
    """Return the training cases of each hospital, and its held-out cases."""
    cases, _ = _everything()
    held_out, place = _divided(AT_SPECIALIST, np.random.default_rng(SEED))

    def where(mask: Mask) -> Cases:
        return cases.take(torch.from_numpy(mask))

    places = {name: place == index for index, name in enumerate(HOSPITALS)}
    training = {name: where(~held_out & own) for name, own in places.items()}
    return training, {name: where(held_out & own) for name, own in places.items()}


@cache
def descriptions(at_specialist: float) -> tuple[dict[str, list[LeafCode]], list[LeafCode]]:
    """Return each hospital's training descriptions, and those of the held-out categories in random order.

    Args:
        at_specialist: Share of the descriptions of a chapter that are at the hospital which specialises in it.
    """
    rng = np.random.default_rng(SEED)
    held_out, place = _divided(at_specialist, rng)
    every = _leaves()
    training = {
        name: [every[k] for k in np.flatnonzero(~held_out & (place == index))] for index, name in enumerate(HOSPITALS)
    }
    return training, [every[k] for k in rng.permutation(np.flatnonzero(held_out))]


@cache
def all_training() -> tuple[Cases, Categories, Cases]:
    """Return all hospitals' training cases together, the category of each, and the held-out cases."""
    cases, categories = _everything()
    held_out = _held_out(categories, np.random.default_rng(SEED))
    return cases.take(torch.from_numpy(~held_out)), categories[~held_out], cases.take(torch.from_numpy(held_out))


@cache
def _everything() -> tuple[Cases, Categories]:
    """Return all cases, and the three-character category of each."""
    bags = [tokens(one.text) for one in _leaves()]
    starts = np.cumsum([0, *(len(bag) for bag in bags)])
    flat = np.concatenate([np.array(bag, dtype=np.int64) for bag in bags])
    labels = np.array([one.chapter for one in _leaves()])
    cases = Cases(torch.from_numpy(flat), torch.from_numpy(starts), torch.from_numpy(labels))
    return cases, np.array([one.category for one in _leaves()])


@cache
def _leaves() -> tuple[LeafCode, ...]:
    """Return all leaves of ICD-10-CM."""
    import simple_icd_10_cm as icd

    codes = [code for code in icd.get_all_codes() if icd.is_leaf(code)]
    return tuple(LeafCode(icd.get_description(one), int(icd.get_ancestors(one)[-1]) - 1, one[:3]) for one in codes)


def _divided(at_specialist: float, rng: np.random.Generator) -> tuple[Mask, NDArray[np.int64]]:
    """Return which leaves are held out, and each one's hospital by its position in `HOSPITALS`.

    Args:
        at_specialist: Share of the leaves of a chapter that are at the hospital which specialises in it.
        rng: Draws both.
    """
    every = _leaves()
    held_out = _held_out(np.array([one.category for one in every]), rng)
    specialist = np.zeros(CHAPTERS, dtype=np.int64)
    for index, own in enumerate(HOSPITALS.values()):
        specialist[np.array(own) - 1] = index
    anywhere = rng.integers(len(HOSPITALS), size=len(every))
    skewed = rng.random(len(every)) < at_specialist
    return held_out, np.where(skewed, specialist[[one.chapter for one in every]], anywhere)


def _held_out(categories: Categories, rng: np.random.Generator) -> Mask:
    names = np.unique(categories)
    return np.isin(categories, rng.choice(names, size=round(HELD_OUT * len(names)), replace=False))


def pooled(parts: Iterable[Cases]) -> Cases:
    """Return all cases of several holders as one."""
    cases = list(parts)
    ends = np.cumsum([0, *(len(part.tokens) for part in cases)])
    starts = [part.starts[:-1] + int(end) for part, end in zip(cases, ends, strict=False)]
    return Cases(
        torch.cat([part.tokens for part in cases]),
        torch.cat([*starts, torch.tensor([int(ends[-1])])]),
        torch.cat([part.labels for part in cases]),
    )
