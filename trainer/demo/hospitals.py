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
    cases, categories = _everything()
    rng = np.random.default_rng(SEED)
    held_out = _held_out(categories, rng)
    chapters = cases.labels.numpy() + 1
    specialist = np.zeros(CHAPTERS + 1, dtype=int)
    for index, own in enumerate(HOSPITALS.values()):
        specialist[list(own)] = index
    anywhere = rng.integers(len(HOSPITALS), size=len(cases))
    place = np.where(rng.random(len(cases)) < AT_SPECIALIST, specialist[chapters], anywhere)

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
    import simple_icd_10_cm as icd

    leaves = [code for code in icd.get_all_codes() if icd.is_leaf(code)]
    every = [LeafCode(icd.get_description(code), int(icd.get_ancestors(code)[-1]) - 1, code[:3]) for code in leaves]
    rng = np.random.default_rng(SEED)
    held_out = _held_out(np.array([one.category for one in every]), rng)
    specialist = {chapter - 1: name for name, chapters in HOSPITALS.items() for chapter in chapters}
    anywhere, skewed = rng.integers(len(HOSPITALS), size=len(every)), rng.random(len(every)) < at_specialist
    training: dict[str, list[LeafCode]] = {name: [] for name in HOSPITALS}
    for place, one in enumerate(every):
        if not held_out[place]:
            training[specialist[one.chapter] if skewed[place] else list(HOSPITALS)[anywhere[place]]].append(one)
    test = [one for place, one in enumerate(every) if held_out[place]]
    return training, [test[place] for place in rng.permutation(len(test))]


@cache
def all_training() -> tuple[Cases, Categories, Cases]:
    """Return all hospitals' training cases together, the category of each, and the held-out cases."""
    cases, categories = _everything()
    held_out = _held_out(categories, np.random.default_rng(SEED))
    return cases.take(torch.from_numpy(~held_out)), categories[~held_out], cases.take(torch.from_numpy(held_out))


@cache
def _everything() -> tuple[Cases, Categories]:
    """Return all cases, and the three-character category of each."""
    import simple_icd_10_cm as icd

    leaves = [code for code in icd.get_all_codes() if icd.is_leaf(code)]
    chapters = np.array([int(icd.get_ancestors(code)[-1]) for code in leaves])
    bags = [tokens(icd.get_description(code)) for code in leaves]
    starts = np.cumsum([0, *(len(bag) for bag in bags)])
    flat = np.concatenate([np.array(bag, dtype=np.int64) for bag in bags])
    cases = Cases(torch.from_numpy(flat), torch.from_numpy(starts), torch.from_numpy(chapters - 1))
    return cases, np.array([code[:3] for code in leaves])


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
