"""The tree of inner products that a report anchors: against integers, whatever splits it; and the walk down one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registry.chain.contract_structs import Counted, Opening
from registry.content.merkle import (
    MerkleTree,
    counted_root,
    leaf_hash,
    merkle_root,
    merkle_tree,
    peaks_before,
    prove,
    verify_inclusion,
)
from registry.content.segments import Segment, SegmentKind
from registry.disputes.openings import differing_leaf, shown_path
from registry.errors import InputError
from registry.rounds.aggregation import combine, gram_tree, leaves_of_file
from registry.rounds.gram_tree import NO_SEGMENT, finest_segment, gram_count, has_gram
from registry.rules.gram import (
    ROW_VALUES,
    inner_products,
    row_products,
    summed_up,
    upper_triangle,
    word_bytes,
    words_in,
)
from registry.rules.table import MULTI_KRUM, UNIFORM, Combining
from registry.types import GRID_LIMIT

PARAMETER, BUFFER = SegmentKind.PARAMETER, SegmentKind.BUFFER
HEADER = b" " * 120
BITS = 20
KRUM = Combining(MULTI_KRUM, UNIFORM, {"byzantine": 0, "selected": 0, "mixed": 0, "bucket": 0})


def expected(q: Any, segments: Sequence[Segment]) -> bytes:
    """Every leaf, in Python's integers."""
    least = min((s.exponent for s in segments if s.kind is PARAMETER), default=0)
    weights = np.zeros(q.shape[1], dtype=object)
    for s in segments:
        if s.kind is PARAMETER:
            weights[s.first : s.first + s.length] = 1 << 2 * (s.exponent - least)
    sums = np.zeros((len(q), len(q)), dtype=object)
    data = b""
    for first in range(0, q.shape[1], ROW_VALUES):
        row = q[:, first : first + ROW_VALUES].astype(object)
        sums = sums + (row * weights[first : first + ROW_VALUES]) @ row.T
        data += b"".join(int(value).to_bytes(32, "big", signed=True) for value in sums.ravel())
    return data


def files(folder: Path, q: Any) -> list[Path]:
    paths = [folder / f"update-{k}" for k in range(len(q))]
    for path, row in zip(paths, q, strict=True):
        path.write_bytes(HEADER + (row * 2.0**-BITS).astype("<f4").tobytes())
    return paths


CASES = {
    "one row": (3, (Segment(0, 5, 0, PARAMETER),)),
    "rows and a rest": (2, (Segment(0, 9001, 4, PARAMETER),)),
    "scales and a buffer": (
        2,
        (Segment(0, 100, 3, PARAMETER), Segment(100, 4996, -70, PARAMETER), Segment(5096, 3000, 9, BUFFER)),
    ),
    "buffers alone": (1, (Segment(0, 5000, 0, BUFFER),)),
    "files of several blocks": (2, (Segment(0, 300_000, 0, PARAMETER), Segment(300_000, 240_000, 1, PARAMETER))),
}


@pytest.mark.parametrize(("updates", "segments"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("processes", [1, 3])
def test_every_sum_is_that_of_integers(
    tmp_path: Path, updates: int, segments: tuple[Segment, ...], processes: int
) -> None:
    values = segments[-1].first + segments[-1].length
    q = np.random.default_rng(values).integers(-GRID_LIMIT, GRID_LIMIT + 1, size=(updates, values))
    size, paths = len(HEADER) + 4 * values, files(tmp_path, q)
    readers = [leaves_of_file(path, size) for path in paths]
    given: dict[str, Any] = {"grid_bits": BITS, "segments": segments}
    made = combine(
        readers, [1] * updates, HEADER, size,
        combining=KRUM, out=tmp_path / "aggregate", processes=processes, **given,
    )  # fmt: skip
    assert made.gram is not None and made.gram.updates == updates
    data = made.gram.file.read_bytes()
    assert data == expected(q, segments)
    leaves = [leaf_hash(data[at : at + 32 * updates]) for at in range(0, len(data), 32 * updates)]
    count = gram_count(values, updates)
    assert len(data) == 32 * count and made.gram.root == counted_root(count, merkle_root(leaves))
    again = tmp_path / "again"
    again.mkdir()
    assert gram_tree(readers, HEADER, size, folder=again, **given).root == made.gram.root


def test_products_of_a_row_shift_and_add_up_beyond_every_word() -> None:
    q = np.full((2, 3 * ROW_VALUES), GRID_LIMIT, dtype=np.int32)
    q[1] *= -1
    for shift in (0, 1, 31, 32, 63, 64, 159, 160):
        sums = summed_up(np.zeros((2, 2, 8), np.int64), row_products(q.reshape(2, 3, ROW_VALUES), shift))
        for row in range(3):
            right = [value << shift for value in inner_products(q[:, : ROW_VALUES * (row + 1)])]
            assert upper_triangle(sums[row]) == right
        assert (words_in(word_bytes(sums), 2) == sums).all()


def test_few_enough_updates_have_inner_products() -> None:
    assert has_gram(True, 1) and has_gram(True, 32)
    assert not has_gram(True, 33) and not has_gram(True, 0) and not has_gram(False, 3)


def test_the_first_of_the_finest_parameters_gives_the_unit() -> None:
    segments = [Segment(0, 1, -9, BUFFER), Segment(1, 1, 2, PARAMETER), Segment(2, 1, 1, PARAMETER)]
    assert finest_segment(segments) == 2
    assert finest_segment([*segments, Segment(3, 1, 1, PARAMETER)]) == 2
    assert finest_segment(segments[:1]) == NO_SEGMENT


# Trees ---------------------------------------------------------------------------------------------------------------


def drawn_tree(count: int, seed: int = 0) -> tuple[list[bytes], MerkleTree]:
    leaves = [bytes([seed]) + index.to_bytes(4, "big") for index in range(count)]
    return leaves, merkle_tree(map(leaf_hash, leaves))


@pytest.mark.parametrize("count", [1, 2, 3, 7, 16, 17, 33, 48])
def test_a_node_is_proved_as_a_leaf_of_the_tree_above(count: int) -> None:
    leaves, tree = drawn_tree(count)
    for level in range(7):
        nodes = -(-count // (1 << level))
        for index in range(nodes):
            under = merkle_root(map(leaf_hash, leaves[index << level : (index + 1) << level]))
            assert verify_inclusion(under, index, nodes, prove(tree, index, level=level), tree.root)
        with pytest.raises(InputError, match=f"expected an index below {nodes}, got {nodes}"):
            prove(tree, nodes, level=level)


@pytest.mark.parametrize("count", [1, 2, 5, 8, 13, 31])
def test_peaks_are_the_perfect_subtrees_before(count: int) -> None:
    leaves, tree = drawn_tree(count)
    for before in range(count):
        found, begin = [], 0
        for level in reversed(range(6)):
            if before >> level & 1:
                found.append(merkle_root(map(leaf_hash, leaves[begin : begin + (1 << level)])))
                begin += 1 << level
        assert peaks_before(tree, before) == tuple(found)


@pytest.mark.parametrize("count", [1, 2, 3, 6, 9, 16, 21])
def test_the_first_leaf_that_differs_is_found_whatever_else_is_shown(count: int) -> None:
    rng = random.Random(count)
    leaves, own = drawn_tree(count)
    for wrong in range(count):
        theirs = [
            leaf if k < wrong else leaf + b"x" * (k == wrong or rng.random() < 0.5) for k, leaf in enumerate(leaves)
        ]
        tree = merkle_tree(map(leaf_hash, theirs))
        shown = {
            index: Opening(Counted(count, tree.root), theirs[index], prove(tree, index))
            for index in rng.sample(range(count), rng.randrange(count))
        }
        while (index := differing_leaf(own, shown, first=True)) not in shown:
            shown[index] = Opening(Counted(count, tree.root), theirs[index], prove(tree, index))
        assert index == wrong
        for before in range(wrong):
            assert shown_path(own, before, wrong, shown[wrong]) == prove(tree, before)
