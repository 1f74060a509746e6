"""Order statistics for Byzantine-robust aggregation: sums of the middle values (median, trimmed mean), or of those
nearest to the median (Bulyan).

Up to a fixed number of rows are sorted by a sorting network (Batcher's odd-even merge sort, AFIPS 1968; Knuth, TAOCP 3,
5.3.4, algorithm M). Its comparators operate on whole rows, so there is no call per coordinate, and comparators that
affect no wanted rank are pruned. More rows are sorted column by column. Both methods return the same integers, the
order statistics of one multiset.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from registry.kernels import kernels
from registry.rules.grid import F64, I32

__all__ = ["NETWORK_ROWS", "middle_sums", "nearest_sums"]

NETWORK_ROWS = 32
"""Most rows for the sorting network; beyond, sorting columns is faster (measured per coordinate: 26 ns by the network
against 97 ns at 20 rows; at 100 rows the order is reversed)."""
_WIDE = 1 << 13
"""Columns per pass of the network, so that they stay in the L2 cache."""
_NARROW = 1 << 8
"""Columns transposed and sorted per pass, for the same reason."""


def middle_sums(tile: I32, cut: int, out: F64) -> None:
    """Write to out, exactly, each column's sum without its cut smallest and cut largest values.

    Args:
        tile: (K, n), int32, at most 2^24 in magnitude; overwritten.
        cut: Values dropped at each end, less than K / 2.
        out: (n,), float64; integers of at most 2^24 K in magnitude.
    """
    few = len(tile) <= NETWORK_ROWS
    compiled = kernels(0) if few else None
    if compiled is not None:
        compiled.middle(tile, _pairs(len(tile), cut), cut, out)
        return
    block, sums_of = (_WIDE, _by_network) if few else (_NARROW, _by_sorting)
    for first in range(0, tile.shape[1], block):
        sums_of(tile[:, first : first + block], cut, out[first : first + block])


def nearest_sums(tile: I32, left_out: int, out: F64) -> None:
    """Write to out, exactly, 2 m times the mean of each column's m values nearest to its median.

    Of K values in ascending order v_0, ..., v_(K-1) those are a window of m = K - left_out. With M twice the median,
    the sum of the two middle values, the window from i + 1 is nearer than that from i if v_i + v_(i+m) < M, and as near
    if these are equal. Of several nearest windows the sums of the first and of the last are added.

    Args:
        tile: (K, n), int32, at most 2^24 in magnitude; overwritten.
        left_out: Values left out, 0..K-1.
        out: (n,), float64; integers of at most 2^25 m in magnitude.
    """
    few = len(tile) <= NETWORK_ROWS
    block = _WIDE if few else _NARROW
    for first in range(0, tile.shape[1], block):
        part = tile[:, first : first + block]
        rows = _ordered(part, 0) if few else np.ascontiguousarray(np.sort(part.T, axis=1).T)
        _add_windows(rows, left_out, out[first : first + block])


def _add_windows(rows: Sequence[I32] | I32, left_out: int, out: F64) -> None:
    kept = len(rows) - left_out
    twice = rows[(len(rows) - 1) // 2] + rows[len(rows) // 2]
    out[:] = rows[0]
    for row in rows[1:kept]:
        out += row
    out *= 2.0
    for i in range(left_out):
        low, high = rows[i], rows[i + kept]
        ends = low + high
        out += (high - low) * ((ends < twice).view(np.int8) + (ends <= twice).view(np.int8))


def _by_sorting(tile: I32, cut: int, out: F64) -> None:
    columns = np.ascontiguousarray(tile.T)  # (n, K)
    columns.sort(axis=1)
    np.einsum("nk->n", columns[:, cut : len(tile) - cut], out=out, dtype=np.float64, casting="safe")


def _by_network(tile: I32, cut: int, out: F64) -> None:
    rows = _ordered(tile, cut)
    out[:] = rows[0]
    for row in rows[1:]:
        np.add(out, row, out=out)


def _ordered(tile: I32, cut: int) -> list[I32]:
    """Return the rows of the middle order statistics, in ascending order."""
    rows, spare = list(tile), np.empty_like(tile[0])
    for a, b, least, greatest in _network(len(rows), cut):
        low, high = rows[a], rows[b]
        if least and greatest:
            np.minimum(low, high, out=spare)
            rows[a], spare = spare, low
        elif least:
            np.minimum(low, high, out=low)
        if greatest:
            np.maximum(low, high, out=high)
    return rows[cut : len(rows) - cut]


@cache
def _network(count: int, cut: int) -> tuple[tuple[int, int, bool, bool], ...]:
    """Return the comparators needed for the middle order statistics: two rows, and which of the outputs are used."""
    wanted, kept = set(range(cut, count - cut)), []
    for a, b in reversed(list(_comparators(count))):
        if a in wanted or b in wanted:
            kept.append((a, b, a in wanted, b in wanted))
            wanted |= {a, b}
    return tuple(reversed(kept))


@cache
def _pairs(count: int, cut: int) -> NDArray[np.int64]:
    """Return the rows of these comparators, (n, 2)."""
    pairs = np.array([(a, b) for a, b, _, _ in _network(count, cut)], dtype=np.int64).reshape(-1, 2)
    pairs.flags.writeable = False
    return pairs


def _comparators(count: int) -> Iterator[tuple[int, int]]:
    """Yield Batcher's odd-even merge sort for any count: pairs of rows, the first of which receives the minimum."""
    size = 1
    while size < count:
        step = size
        while step:
            for begin in range(step % size, count - step, 2 * step):
                for a in range(begin, min(begin + step, count - step)):
                    if a // (2 * size) == (a + step) // (2 * size):
                        yield a, a + step
            step //= 2
        size *= 2
