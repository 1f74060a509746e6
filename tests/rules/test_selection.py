"""Rules that weigh whole updates: inner products to the last digit, and what each rule is for."""

from __future__ import annotations

import gc
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registry.content.segments import Segment
from registry.content.tensors import parse_header, write_tensors
from registry.rounds.aggregation import combine, leaves_of_file
from registry.rules import gram
from registry.rules.draw import shuffled
from registry.rules.selection import clipped_norms, geometric_median, multi_krum, repeated_krum, selecting
from registry.rules.table import GEOMETRIC_MEDIAN, MULTI_KRUM, NORM_CLIP, UNIFORM, CombineRule, Combining
from registry.types import GRID_LIMIT, MAX_SHARE, SegmentKind

BITS = 20


def drawn(seed: int, count: int, length: int) -> Any:
    """Integers of the grid, the extremes among them."""
    rows = np.random.default_rng(seed).integers(-GRID_LIMIT, GRID_LIMIT, (count, length), endpoint=True, dtype=np.int32)
    rows[:, : length // 8] = np.where(rows[:, : length // 8] < 0, -GRID_LIMIT, GRID_LIMIT)
    return rows


def products(rows: Any) -> list[list[int]]:
    """The Gram matrix by Python's integers."""
    listed = [row.tolist() for row in rows]
    return [[sum(a * b for a, b in zip(one, other, strict=True)) for other in listed] for one in listed]


@pytest.mark.parametrize(("count", "length"), [(1, 1), (3, 0), (2, 8191), (3, 8193), (9, 20_000)])
def test_inner_products_are_exact(count: int, length: int) -> None:
    rows = drawn(count, count, length)
    assert gram.square(gram.inner_products(rows), count) == products(rows)


def test_the_products_of_means_are_those_of_the_means() -> None:
    rows, members = drawn(4, 4, 50), [[0, 1], [1, 2, 3], [3]]
    found, unit = gram.mixed(products(rows), members)
    means = [sum(rows[k].astype(object) for k in places) * (unit // len(places)) for places in members]
    assert unit == 6
    assert found == [[int(one @ other) for other in means] for one in means]


def test_means_of_many_sizes_have_a_unit_beyond_a_machine_s_word() -> None:
    """Ties with copied updates give every mixed update as many members as its sender likes."""
    members = [list(range(size)) for size in range(44, 65)]
    found, unit = gram.mixed([[int(i == j) for j in range(64)] for i in range(64)], members)
    assert unit == math.lcm(*range(44, 65)) > 2**63
    assert found[0][0] == 44 * (unit // 44) ** 2


def files(folder: Path, tensors: dict[str, Any]) -> list[Path]:
    """An update a row: tensors of (updates, values) integers."""
    made = []
    for k in range(len(next(iter(tensors.values())))):
        parts = {n: ("F32", rows[k].shape, (rows[k] * 2.0**-BITS).astype(np.float32)) for n, rows in tensors.items()}
        made.append(folder / f"{k}.safetensors")
        made[-1].write_bytes(b"".join(bytes(piece) for piece in write_tensors(parts)))
    return made


def factors(paths: list[Path], rule: CombineRule, segments: list[Segment], processes: int = 1, **given: int) -> Any:
    data = paths[0].read_bytes()
    header = data[: parse_header(data, len(data)).header_bytes]
    made = combine(
        [leaves_of_file(path, len(data)) for path in paths], [1] * len(paths), header, len(data), grid_bits=BITS,
        combining=Combining(rule, UNIFORM, {"mixed": 0, "bucket": 0, **given}),
        out=paths[0].parent / "out", segments=segments, processes=processes,
    )  # fmt: skip
    return made.factors


@pytest.mark.parametrize("processes", [1, 3])
def test_scales_weigh_distances_and_buffers_have_no_say(tmp_path: Path, processes: int) -> None:
    """Values of one tensor count 2^5 as much as those of the others, across leaves; of a buffer nothing."""
    a, b, c = (drawn(seed, 5, length) // 4096 for seed, length in ((1, 300_000), (2, 10), (3, 280_000)))
    noise = drawn(9, 5, 40)
    paths = files(tmp_path, {"a": a, "b": noise, "c": b, "d": c})
    kinds = [(300_000, -2, SegmentKind.PARAMETER), (40, 7, SegmentKind.BUFFER),
             (10, 3, SegmentKind.PARAMETER), (280_000, -2, SegmentKind.PARAMETER)]  # fmt: skip
    segments, first = [], 0
    for length, exponent, kind in kinds:
        segments.append(Segment(first, length, exponent, kind))
        first += length
    weighed = np.concatenate([a, 32 * b, c], axis=1).astype(np.float64)
    exact = [[int(x) for x in row] for row in weighed @ weighed.T]  # below 2^53
    found = factors(paths, GEOMETRIC_MEDIAN, segments, processes, steps=3)
    assert found.factors == tuple(geometric_median(exact, {"steps": 3}, 1))
    assert found.factors != factors(paths, GEOMETRIC_MEDIAN, [], processes, steps=3).factors


def attacked(count: int, liars: int, seed: int = 0) -> Any:
    """Updates about a common one; the first few times -4."""
    draw = np.random.default_rng(seed)
    rows = 1000 * draw.normal(size=1000) + 300 * draw.normal(size=(count, 1000))
    rows[:liars] *= -4
    return np.rint(rows).astype(np.int32)


@pytest.mark.parametrize(("count", "liars"), [(5, 1), (10, 2), (11, 4), (31, 14)])
def test_multi_krum_leaves_out_who_turns_signs(count: int, liars: int) -> None:
    found = multi_krum(products(attacked(count, liars)), {"byzantine": liars, "selected": 0}, 1)
    assert found == [0] * liars + [1] * (count - liars)
    one = multi_krum(products(attacked(count, liars)), {"byzantine": liars, "selected": 1}, 1)
    assert sum(one) == 1 and not any(one[:liars])


@pytest.mark.parametrize(("count", "liars"), [(7, 1), (11, 2), (31, 7)])
def test_repeated_krum_leaves_out_who_turns_signs(count: int, liars: int) -> None:
    found = repeated_krum(products(attacked(count, liars)), {"byzantine": liars}, 1)
    assert not any(found[:liars]) and sum(found) == count - 2 * liars


@pytest.mark.parametrize(("count", "byzantine"), [(1, 1), (2, 0), (5, 4096), (12, 2), (12, 0), (40, 9), (40, 19)])
def test_repeated_krum_is_krum_again_and_again(count: int, byzantine: int) -> None:
    """Scores computed anew each time, with ties among equal updates and those that are nearest to each other."""
    rows = drawn(count, count, 6) // (1 << 22)
    rows[count // 2 :: 3] = rows[0]
    left, chosen = list(range(count)), list[int]()
    while len(chosen) < max(1, count - 2 * byzantine):
        far = [sorted(int(((rows[k] - rows[j]) ** 2).sum()) for j in left if j != k) for k in left]
        scores = [(sum(row[: max(1, len(left) - byzantine - 2)]), row) for row in far]
        best = [k for k, score in zip(left, scores, strict=True) if score == min(scores)]
        left, chosen = [k for k in left if k not in best], chosen + best
    expected = [int(k in chosen) for k in range(count)]
    assert repeated_krum(products(rows), {"byzantine": byzantine}, 1) == expected


def test_in_buckets_liars_spoil_at_most_as_many_means() -> None:
    """Whatever the draw, none of two liars is in what Multi-Krum selects of eight means of two."""
    gram_of = gram.inner_products(attacked(16, 2))
    shape, given = selecting(multi_krum), {"byzantine": 2, "selected": 0, "mixed": 0, "bucket": 2}
    for seed in range(40):
        order = shuffled(bytes([seed]), 16)
        found = shape.factors(gram_of, [1] * 16, given, order, uniform=True)
        assert not any(found.factors[:2])
        pairs = [{found.factors[a], found.factors[b]} for a, b in zip(order[::2], order[1::2], strict=True)]
        assert all(len(pair) == 1 for pair in pairs) and sum(map(max, pairs)) * 2 == found.divisor


def test_full_buckets_lose_nothing_to_rounding() -> None:
    """A mean of clipped means with a wide bound is the mean: no share is rounded down."""
    rows = attacked(10, 0)
    shape, given = selecting(clipped_norms, whole=True), {"bound": 1 << 40, "mixed": 0, "bucket": 2}
    found = shape.factors(gram.inner_products(rows), [1] * 10, given, shuffled(b"", 10), uniform=True)
    assert set(found.factors) == {MAX_SHARE} and found.divisor == 10 * MAX_SHARE


def test_the_geometric_median_is_that_of_floating_point() -> None:
    rows = attacked(12, 4, seed=5)
    found = np.array(geometric_median(products(rows), {"steps": 24}, 1), dtype=np.float64)
    centre = rows.mean(0)
    for _ in range(24):
        weights = 1 / np.linalg.norm(rows - centre, axis=1)
        centre = (weights[:, None] * rows).sum(0) / weights.sum()
    made = (found[:, None] * rows).sum(0) / found.sum()
    assert found.max() == MAX_SHARE
    assert np.linalg.norm(made - centre) < 1e-3 * np.linalg.norm(rows.mean(0) - centre)


def test_norms_are_clipped_to_the_median_or_a_bound_and_never_stretched() -> None:
    rows = attacked(9, 3, seed=6)
    norms = np.linalg.norm(rows, axis=1)
    for bound in (0, 20_000, 1 << 40):
        shares = np.array(clipped_norms(products(rows), {"bound": bound}, 1)) / MAX_SHARE
        limit = bound or np.sort(norms)[4]
        assert np.allclose(shares, np.minimum(1, limit / norms), rtol=1e-3)


@pytest.mark.parametrize("rule", [MULTI_KRUM, GEOMETRIC_MEDIAN, NORM_CLIP], ids=lambda rule: rule.name)
def test_equal_updates_count_alike(tmp_path: Path, rule: CombineRule) -> None:
    """Also where all are zero."""
    given = {p.name: p.example for p in rule.parameters}
    for value in (0, 77):
        paths = files(tmp_path, {"w": np.full((5, 100), value, dtype=np.int32)})
        found = factors(paths, rule, [], **given)
        assert len(set(found.factors)) == 1 and sum(found.factors) == found.divisor


def test_readers_of_files_close_them(tmp_path: Path) -> None:
    (path,) = files(tmp_path, {"w": np.zeros((1, 10), dtype=np.int32)})
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        leaves_of_file(path, path.stat().st_size)(0)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before + 1
