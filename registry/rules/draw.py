"""Public draws that anyone can redo: uniform permutations from sha2-256 in counter mode."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

__all__ = ["buckets", "shuffled"]

_WORD = 1 << 64


def shuffled(seed: bytes, count: int) -> tuple[int, ...]:
    """Return a permutation of 0..count-1, uniform if the seed is (Fisher-Yates; Knuth, TAOCP 2, 3.4.2, algorithm P).

    For j = count-1, ..., 1 place j is swapped with a place in 0..j: the next word w of the seed's stream, modulo j + 1.
    Words from the largest multiple of j + 1 on are skipped, so that no place is likelier than another. Word i of the
    stream is the first 8 bytes, big-endian, of sha2-256 of the seed followed by i as uint64, big-endian.
    """
    order, words = list(range(count)), _words(seed)
    for j in range(count - 1, 0, -1):
        most = _WORD - _WORD % (j + 1)
        k = next(word for word in words if word < most) % (j + 1)
        order[j], order[k] = order[k], order[j]
    return tuple(order)


def buckets(order: Sequence[int], size: int) -> list[Sequence[int]]:
    """Split an order into buckets of a size, the last of which may be smaller."""
    return [order[first : first + size] for first in range(0, len(order), size)]


def _words(seed: bytes) -> Iterator[int]:
    counter = 0
    while True:
        yield int.from_bytes(hashlib.sha256(seed + counter.to_bytes(8, "big")).digest()[:8], "big")
        counter += 1
