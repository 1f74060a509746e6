"""Properties that every combine rule of the table must have.

Each rule is defined here once more, over Python's integers and fractions alone, and its golden digests come of that:
`python tests/rules/test_laws.py` writes them. A rule without a definition fails. A rule of shape *select* with weights,
of which the table has none, is defined here and held to the same laws.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import statistics
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from integer_rows import integers_of, row_of

from registry.content.merkle import Rows, TensorRootHasher
from registry.content.tensors import encode_header, packed_layout, parse_header, write_tensors
from registry.content.tensors import layout as layout_of
from registry.errors import FormError, InputError
from registry.rounds import tiles
from registry.rounds.aggregation import combine, leaves_of_file
from registry.rounds.leaf_aggregation import PackedLeaves
from registry.rules import columns, grid
from registry.rules.draw import shuffled
from registry.rules.packed import packing_named
from registry.rules.shapes import Factors, Parameters, Select
from registry.rules.table import COMBINE_RULES, EXAMPLES, PACKED, CombineRule, Combining, Rules
from registry.types import GRID_LIMIT

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "rules" / "combine.json"
FORMS_GOLDEN = GOLDEN.with_name("forms.json")
BITS = 20
VALUES = 600
SIZES = (1, 2, 9, 40)
"""Contributions: fewer and more than a network orders, or are held in memory."""
SEED = b"laws"
"""Of the draw of rules that need one."""


# A rule of shape select: who is further out than the median counts half -----------------------------------------------


def _measure(tile: Any, parameters: Parameters) -> list[int]:
    """Sum of squares of each row: at most 2^48 a value, so 2^15 of them fit into an int64, and the rest is Python's."""
    squares = tile.astype(np.int64) ** 2
    return [sum(int(s) for s in np.add.reduceat(row, range(0, len(row), 1 << 14))) for row in squares]


def _choose(norms: Sequence[int], weights: Sequence[int], parameters: Parameters, drawn: Sequence[int]) -> Factors:
    far = sorted(norms)[len(norms) // 2]
    factors = tuple(w // 2 if norm > far else w for norm, w in zip(norms, weights, strict=True))
    return Factors(factors, sum(weights))


HALVED = CombineRule(
    number=65_000,
    name="halved",
    description="defined by a test",
    shape=Select(_measure, _choose),
    weights=(EXAMPLES,),
    paper="none",
)


# Definitions, in integers --------------------------------------------------------------------------------------------

Matrix = Sequence[Sequence[int]]
Definition = Callable[[Matrix, Sequence[int], Mapping[str, int]], list[Fraction]]


def _fold(updates: Matrix, factors: Sequence[int], divisor: int) -> list[Fraction]:
    return [Fraction(sum(f * q for f, q in zip(factors, c, strict=True)), divisor) for c in zip(*updates, strict=True)]


def _trimmed(column: Sequence[int], share: int) -> Fraction:
    left_out = int(Fraction(len(column) * share, 65_536))
    kept = column[left_out : len(column) - left_out]
    return Fraction(sum(kept), len(kept))


def _distance(one: Sequence[int], other: Sequence[int]) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def _with_ties(scores: Sequence[int], count: int) -> list[int]:
    return [k for k, score in enumerate(scores) if score <= sorted(scores)[count - 1]]


def _drawn(count: int) -> list[int]:
    """The draw that all cases are computed with: a Fisher-Yates shuffle from sha2-256 of SEED and a counter."""
    order, counter = list(range(count)), 0
    for j in reversed(range(1, count)):
        word = 1 << 64
        while word >= 2**64 // (j + 1) * (j + 1):
            word = int.from_bytes(hashlib.sha256(SEED + struct.pack(">Q", counter)).digest(), "big") >> 192
            counter += 1
        k = word % (j + 1)
        order[j], order[k] = order[k], order[j]
    return order


def _selected(weigh: Callable[[Matrix, int, Mapping[str, int]], list[int]], *, whole: bool = False) -> Definition:
    """A rule that weighs updates, or means of those nearest to each or in a bucket, coordinate by coordinate."""

    def defined(updates: Matrix, weights: Sequence[int], given: Mapping[str, int]) -> list[Fraction]:
        count, unit = len(updates), 1 << 16
        dropped, size = min(given["mixed"], (count - 1) // 2), given["bucket"]
        near = [_with_ties([_distance(one, other) for other in updates], count - dropped) for one in updates]
        parts = 1
        if size > 1:
            near = [_drawn(count)[first : first + size] for first in range(0, count, size)]
            parts = len(near) * min(map(len, near))
        elif not dropped:
            factors = weigh(updates, 1, given)
            return _fold(updates, factors, count * unit if whole else sum(factors))
        common = math.lcm(*map(len, near))
        means = [[sum(c) * (common // len(places)) for c in zip(*(updates[k] for k in places), strict=True)]
                 for places in near]  # fmt: skip
        factors = weigh(means, common, given)
        shares = [sum((f * unit) // len(p) for f, p in zip(factors, near, strict=True) if k in p) for k in range(count)]
        if whole:
            return _fold(updates, [share * parts // (len(near) * unit) for share in shares], parts * unit)
        shrunk = [share * unit // max(shares) for share in shares]
        return _fold(updates, shrunk, sum(shrunk))

    return defined


def _krum(updates: Matrix, unit: int, given: Mapping[str, int]) -> list[int]:
    count = len(updates)
    f = max(b for b in range(given["byzantine"] + 1) if not b or count >= 2 * b + 3)
    scores = []
    for k, one in enumerate(updates):
        others = sorted(_distance(one, other) for j, other in enumerate(updates) if j != k)
        scores.append(sum(others[: max(1, count - f - 2)]))
    wanted = count - f if not given["selected"] else min(given["selected"], count - f)
    return [int(k in _with_ties(scores, wanted)) for k in range(count)]


def _weiszfeld(updates: Matrix, unit: int, given: Mapping[str, int]) -> list[int]:
    factors = [1] * len(updates)
    for _ in range(given["steps"]):
        total = sum(factors)
        centre = [sum(f * q for f, q in zip(factors, c, strict=True)) for c in zip(*updates, strict=True)]
        far = [max(1, math.isqrt(_distance([total * q for q in update], centre))) for update in updates]
        factors = [65_536 * min(far) // distance for distance in far]
    return factors


def _clipped(updates: Matrix, unit: int, given: Mapping[str, int]) -> list[int]:
    norms = [math.isqrt(sum(q * q for q in update)) for update in updates]
    bound = given["bound"] * unit if given["bound"] else statistics.median_low(norms)
    return [65_536 if norm <= bound else 65_536 * bound // norm for norm in norms]


def _nearest(column: Sequence[int], left_out: int) -> Fraction:
    """Mean of the values nearest to the median; of those as far from it, the mean of taking lower and higher first."""
    kept = max(1, len(column) - left_out)
    centre = statistics.median(map(Fraction, column))
    low_first = sorted(column, key=lambda q: (abs(q - centre), q))
    high_first = sorted(column, key=lambda q: (abs(q - centre), -q))
    return Fraction(sum(low_first[:kept]) + sum(high_first[:kept]), 2 * kept)


def _bulyan(updates: Matrix, weights: Sequence[int], given: Mapping[str, int]) -> list[Fraction]:
    f, left, chosen = given["byzantine"], list(range(len(updates))), list[int]()
    distances = [[_distance(one, other) for other in updates] for one in updates]
    while len(chosen) < max(1, len(updates) - 2 * f):
        far = [sorted(distances[k][j] for j in left if j != k) for k in left]
        scores = [(sum(row[: max(1, len(left) - f - 2)]), row) for row in far]
        best = [k for k, score in zip(left, scores, strict=True) if score == min(scores)]
        chosen += best
        left = [k for k in left if k not in best]
    return [_nearest(column, 2 * f) for column in zip(*(updates[k] for k in chosen), strict=True)]


DEFINITIONS: dict[str, Definition] = {
    "mean": lambda updates, weights, given: _fold(updates, weights, sum(weights)),
    "median": lambda updates, weights, given: [
        Fraction(statistics.median(map(Fraction, column))) for column in zip(*updates, strict=True)
    ],
    "trimmed_mean": lambda updates, weights, given: [
        _trimmed(sorted(column), given["trimmed"]) for column in zip(*updates, strict=True)
    ],
    "uniform_mean": lambda updates, weights, given: _fold(updates, [1] * len(updates), len(updates)),
    "multi_krum": _selected(_krum),
    "geometric_median": _selected(_weiszfeld),
    "norm_clip": _selected(_clipped, whole=True),
    "bulyan": _bulyan,
}


# Cases ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    combining: Combining

    def __str__(self) -> str:
        given = "".join(f",{name}={value}" for name, value in sorted(self.combining.parameters.items()))
        return f"{self.combining.rule.name},{self.combining.weights}{given}"


OTHER = {"bound": 1 << 27, "bucket": 3, "selected": 2, "steps": 1}
"""Of parameters, a value besides the example that changes something."""


def cases(rules: Sequence[CombineRule] = COMBINE_RULES) -> list[Case]:
    """Every rule with every kind of weights that it takes and, for each parameter, its example and another.

    Buckets go with the examples of other parameters alone.
    """
    found = []
    for rule in rules:
        settings: list[dict[str, int]] = [{}]
        for p in rule.parameters:
            settings = [
                s | {p.name: v} for s in settings for v in (p.example, OTHER.get(p.name, (p.low + p.high) // 2))
            ]
        examples = {p.name: p.example for p in rule.parameters}
        settings = [s for s in settings if not s.get("bucket") or s == examples | {"bucket": s["bucket"]}]
        found += [Case(Combining(rule, weights, given)) for weights in rule.weights for given in settings]
    return found


CASES = cases()
ALL = [*CASES, Case(Combining(HALVED, EXAMPLES))]
each_case = pytest.mark.parametrize("case", ALL, ids=str)


def draw(seed: str, count: int, bits: int) -> list[int]:
    """Return integers below 2^bits, from sha256 in counter mode: the same everywhere for ever."""
    words = (hashlib.sha256(f"{seed}/{i}".encode()).digest() for i in range(-(-count // 4)))
    return [int.from_bytes(w[k : k + 8], "big") >> (64 - bits) for w in words for k in range(0, 32, 8)][:count]


def contributions(count: int) -> tuple[list[list[int]], list[int]]:
    """Grid integers of so many updates, with extremes, zeros, ties and equal values among them, and weights."""
    updates = [[q - GRID_LIMIT for q in draw(f"laws/{count}/{k}", VALUES, 25)] for k in range(count)]
    for k, update in enumerate(updates):
        update[:8] = [GRID_LIMIT, -GRID_LIMIT, 0, 1, k % 2, -(k % 2), k % 3 - 1, 7 if k else -7]
        update[8:40] = [q % 5 - 2 for q in update[8:40]]  # few values, so that many are equal
    return updates, [1 + w for w in draw(f"laws/{count}/weights", count, 18)]


def digest_of(case: Case, count: int) -> str:
    """The digest of the aggregate's values, by the definition: rounded half to even, as little-endian float32."""
    updates, weights = contributions(count)
    made = DEFINITIONS[case.combining.rule.name](updates, weights, case.combining.parameters)
    return hashlib.sha256(b"".join(struct.pack("<f", round(value) * 2.0**-BITS) for value in made)).hexdigest()


def golden() -> dict[str, dict[str, str]]:
    return {str(case): {str(count): digest_of(case, count) for count in SIZES} for case in CASES}


# The engine ----------------------------------------------------------------------------------------------------------


def write(folder: Path, updates: Any) -> list[Path]:
    paths = []
    for k, update in enumerate(updates):
        values = np.array(update, dtype=np.float64) * 2.0**-BITS
        paths.append(folder / f"{k}.safetensors")
        tensors = {"w": ("F32", values.shape, values.astype(np.float32))}
        paths[-1].write_bytes(b"".join(bytes(piece) for piece in write_tensors(tensors)))
    return paths


def computed(
    case: Case,
    paths: Sequence[Path],
    weights: Sequence[int],
    out: Path,
    processes: int = 1,
    drawn: Sequence[int] | None = None,
) -> str:
    """The same digest, by the engine on files."""
    data = paths[0].read_bytes()
    header = data[: parse_header(data, len(data)).header_bytes]
    readers = [leaves_of_file(path, len(data)) for path in paths]
    combine(readers, weights, header, len(data), grid_bits=BITS, combining=case.combining, out=out,
            processes=processes, drawn=shuffled(SEED, len(paths)) if drawn is None else drawn)  # fmt: skip
    return hashlib.sha256(out.read_bytes()[len(header) :]).hexdigest()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[list[Path], list[int]]]:
    """By how many: the files of the contributions, and their weights."""
    made = {}
    for count in SIZES:
        updates, weights = contributions(count)
        made[count] = (write(tmp_path_factory.mktemp(f"of{count}"), updates), weights)
    return made


# The laws ------------------------------------------------------------------------------------------------------------


def test_the_laws_run_over_the_whole_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert {case.combining.rule.name for case in CASES} == {rule.name for rule in COMBINE_RULES} == set(DEFINITIONS)
    assert json.loads(GOLDEN.read_text()).keys() == {str(case) for case in CASES}
    with capsys.disabled():
        print("\nlaws over", "; ".join(f"{case.combining.rule.number} {case}" for case in CASES))


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("count", SIZES)
def test_the_engine_gives_the_digest_that_integers_give(case: Case, count: int, files: Any, tmp_path: Path) -> None:
    expected = json.loads(GOLDEN.read_text())[str(case)][str(count)]
    assert digest_of(case, count) == expected
    assert computed(case, *files[count], tmp_path / "out") == expected


def test_another_rule_or_parameter_gives_another_digest() -> None:
    digests = json.loads(GOLDEN.read_text())
    for one, other in combinations(digests, 2):
        assert digests[one]["40"] != digests[other]["40"], (one, other)


@each_case
@pytest.mark.parametrize("count", [9, 40])
def test_order_changes_nothing(case: Case, count: int, files: Any, tmp_path: Path) -> None:
    paths, weights = files[count]
    order = sorted(range(count), key=lambda k: hashlib.sha256(bytes([k])).digest())
    drawn = [order.index(k) for k in shuffled(SEED, count)]  # the same updates, at their places here
    given = [paths[k] for k in order], [weights[k] for k in order]
    made = computed(case, *given, tmp_path / "out", drawn=drawn)
    assert made == computed(case, paths, weights, tmp_path / "in order")


@each_case
def test_threads_change_nothing(case: Case, files: Any, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda k: computed(case, *files[9], tmp_path / f"out{k}"), range(4)))
    assert set(found) == {computed(case, *files[9], tmp_path / "out")}


@each_case
@pytest.mark.parametrize(
    "sizes",
    [
        {"HELD_ROWS": 0},
        {"HELD_ROWS": 0, "_TILE_BYTES": 1},
        {"HELD_ROWS": 1 << 20},
        {"NETWORK_ROWS": 0},
        {"NETWORK_ROWS": 64, "_WIDE": 7},
        {"NETWORK_ROWS": 0, "_NARROW": 3},
        {"_PIECE": 11},
    ],
    ids=str,
)
def test_sizes_of_tiles_and_ways_to_order_change_nothing(
    case: Case, sizes: dict[str, int], files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {count: computed(case, *files[count], tmp_path / "before") for count in (9, 40)}
    for name, value in sizes.items():
        holders = [module for module in (tiles, columns, grid) if hasattr(module, name)]
        assert holders, f"nothing is called {name}"
        for module in holders:
            monkeypatch.setattr(module, name, value)
    for count, digest in expected.items():
        assert computed(case, *files[count], tmp_path / "after") == digest


@each_case
def test_splits_into_processes_change_nothing(case: Case, tmp_path: Path) -> None:
    """Over three leaves, the last a short one; by columns of more rows than are held in memory."""
    rng = np.random.default_rng(5)
    for count in (3, 30):
        paths = write(tmp_path, rng.integers(-(1 << 22), 1 << 22, size=(count, 540_001)))
        weights = [int(w) for w in rng.integers(1, 1000, size=count)]
        found = {computed(case, paths, weights, tmp_path / "out", processes) for processes in (1, 2, 3)}
        assert len(found) == 1


def isa_levels() -> list[str]:
    """What numpy was built to choose from on this machine, the least first."""
    from numpy._core._multiarray_umath import (  # type: ignore[attr-defined]
        __cpu_dispatch__,
        __cpu_features__,
    )

    return [name for name in __cpu_dispatch__ if __cpu_features__.get(name)]


def test_every_level_of_vector_instructions_gives_the_golden_digests() -> None:
    levels = isa_levels()
    for last in range(len(levels) + 1):
        environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(levels[last:]), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, __file__, "compute"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert said["levels"] == levels[:last]
        assert said["digests"] == json.loads(GOLDEN.read_text())
        assert said["forms"] == json.loads(FORMS_GOLDEN.read_text())


def test_a_disk_without_room_is_told_before_anything_is_read(files: Any, tmp_path: Path, monkeypatch: Any) -> None:
    paths, weights = files[40]
    case = next(case for case in CASES if case.combining.rule.name == "median")
    size = paths[0].stat().st_size

    def free(bytes_free: int) -> None:
        monkeypatch.setattr("shutil.disk_usage", lambda folder: type("", (), {"free": bytes_free}))

    needed = size + tiles.scratch_bytes(40, size // 4)
    assert needed > 40 * size
    free(needed)
    computed(case, paths, weights, tmp_path / "out")
    free(needed - 1)
    with pytest.raises(InputError, match=rf"expected {needed} bytes of free disk for combining 40 updates by rule med"):
        computed(case, paths, weights, tmp_path / "none")
    assert not (tmp_path / "none").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


# A rule that selects -------------------------------------------------------------------------------------------------


def test_a_rule_that_selects_is_a_fold_with_the_factors_it_chose(files: Any, tmp_path: Path) -> None:
    for count in SIZES:
        updates, weights = contributions(count)
        norms = [sum(q * q for q in update) for update in updates]
        chosen = _choose(norms, weights, {}, ())
        assert count < 3 or chosen.factors != tuple(weights)
        made = _fold(updates, chosen.factors, chosen.divisor)
        packed = b"".join(struct.pack("<f", round(value) * 2.0**-BITS) for value in made)
        case = Case(Combining(HALVED, EXAMPLES))
        assert computed(case, *files[count], tmp_path / "out") == hashlib.sha256(packed).hexdigest()


def test_factors_above_the_weights_are_never_folded(files: Any, tmp_path: Path) -> None:
    greedy = Select(_measure, lambda norms, weights, given, drawn: Factors(tuple(w + 1 for w in weights), 1 << 28))
    rule = CombineRule(number=65_001, name="greedy", description="", shape=greedy, weights=(EXAMPLES,), paper="")
    with pytest.raises(InputError, match="factors: expected at most the weight"):
        computed(Case(Combining(rule, EXAMPLES)), *files[9], tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Signs and draws -----------------------------------------------------------------------------------------------------


@each_case
def test_a_change_of_all_signs_changes_the_sign_alone(case: Case, tmp_path: Path) -> None:
    """Also where values are as far from a median on both sides, and quotients are ties."""
    updates, weights = contributions(9)
    made = []
    for sign in (1, -1):
        paths = write(tmp_path, [[sign * q for q in update] for update in updates])
        computed(case, paths, weights, tmp_path / "out")
        values = np.frombuffer((tmp_path / "out").read_bytes()[-4 * VALUES :], dtype="<f4")
        made.append(values * np.float32(sign) + np.float32(0))
    assert np.array_equal(*made)


def test_another_draw_gives_other_buckets(files: Any, tmp_path: Path) -> None:
    paths, weights = files[9]
    case = next(case for case in CASES if case.combining.parameters.get("bucket") and "steps" in str(case))
    other = computed(case, paths, weights, tmp_path / "out", drawn=range(9))
    assert other != computed(case, paths, weights, tmp_path / "out")
    with pytest.raises(InputError, match="buckets: expected a draw, an order of 9 updates, got one of 0"):
        computed(case, paths, weights, tmp_path / "out", drawn=())


# Packed rows ---------------------------------------------------------------------------------------------------------

FORMS = ("int8", "int4", "int16", "top-8", "top-8-int8", "top-1", "top-128")


def packed_rows(form: str, count: int = 3) -> list[tuple[bytes, list[int]]]:
    """Each update's rows by the definition, and the integers that they hold."""
    layout, found = packing_named(form), []
    assert layout is not None
    for update in contributions(count)[0]:
        # Of small and of large values, so that exponents differ.
        values = [q >> (k // 256 * 9) for k, q in enumerate(update)] + [0] * (-len(update) % 256)
        rows = [row_of(values[k : k + 256], layout.bits, layout.kept) for k in range(0, len(values), 256)]
        held = [q for row in rows for q in integers_of(row, layout.bits, layout.kept)]
        found.append((b"".join(rows), held[: len(update)]))
    return found


def golden_forms() -> dict[str, str]:
    return {form: hashlib.sha256(b"".join(rows for rows, _ in packed_rows(form))).hexdigest() for form in FORMS}


def packed_here(form: str) -> list[bytes]:
    """The same rows, by the engine of this process."""
    layout = packing_named(form)
    assert layout is not None
    updates = [[q >> (k // 256 * 9) for k, q in enumerate(update)] for update in contributions(3)[0]]
    return [layout.pack(np.array(update, dtype=np.float64)).tobytes() for update in updates]


@pytest.mark.parametrize("form", FORMS)
def test_the_engine_packs_and_unpacks_as_integers_do(form: str) -> None:
    layout = packing_named(form)
    assert layout is not None
    expected = packed_rows(form)
    assert packed_here(form) == [rows for rows, _ in expected]
    assert hashlib.sha256(b"".join(packed_here(form))).hexdigest() == json.loads(FORMS_GOLDEN.read_text())[form]
    for rows, held in expected:
        data = np.frombuffer(rows, dtype=np.uint8).reshape(-1, layout.row_bytes)
        assert layout.unpack(data, first=0, values=VALUES)[:VALUES].tolist() == held
        assert layout.pack(np.array(held, dtype=np.float64)).tobytes() == rows  # one encoding
    assert packed_here(form)[0] != packed_here("top-2")[0]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("form", ["int4", "top-8"])
def test_packed_updates_are_combined_as_the_integers_that_they_hold(form: str, case: Case, tmp_path: Path) -> None:
    layout, held = packing_named(form), packed_rows(form)
    assert layout is not None
    if layout.kept and case.combining.rule.shape.NAME in ("columns", "select_columns"):
        with pytest.raises(FormError, match="expected a combine rule that does not order values"):
            Rules(case.combining, PACKED, layout)
        return
    weights = contributions(3)[1]
    made = DEFINITIONS[case.combining.rule.name]([q for _, q in held], weights, case.combining.parameters)
    expected = b"".join(struct.pack("<f", round(value) * 2.0**-BITS) for value in made)
    dense = layout_of({"w": ("F32", (VALUES,))})
    header = encode_header(packed_layout(layout.rows(VALUES), layout.row_bytes).specs)
    files = [header + rows for rows, _ in held]

    def reader(data: bytes) -> PackedLeaves:
        return PackedLeaves(lambda begin, end: data[begin:end], header, dense.header_bytes, VALUES, layout)

    out = tmp_path / "out"
    readers, own = [reader(data) for data in files], encode_header(dense.specs)
    found = combine(readers, weights, own, dense.file_bytes, grid_bits=BITS, combining=case.combining, out=out,
                    drawn=shuffled(SEED, 3))  # fmt: skip
    assert out.read_bytes() == own + expected
    for update, data in zip(found.updates, files, strict=True):
        hasher = TensorRootHasher(rows=Rows(1, layout.row_bytes))
        hasher.update(data[len(header) :])
        assert update.tensor_root == hasher.digest()


def compute() -> dict[str, Any]:
    """Every golden digest, by the engine of this process."""
    with tempfile.TemporaryDirectory() as name:
        folder, digests = Path(name), {str(case): {} for case in CASES}
        for count in SIZES:
            updates, weights = contributions(count)
            paths = write(folder, updates)
            for case in CASES:
                digests[str(case)][str(count)] = computed(case, paths, weights, folder / "out")
    forms = {form: hashlib.sha256(b"".join(packed_here(form))).hexdigest() for form in FORMS}
    return {"levels": isa_levels(), "digests": digests, "forms": forms}


if __name__ == "__main__":
    if sys.argv[1:] == ["compute"]:
        json.dump(compute(), sys.stdout)
    else:
        GOLDEN.write_text(json.dumps(golden(), indent=1) + "\n")
        FORMS_GOLDEN.write_text(json.dumps(golden_forms(), indent=1) + "\n")
