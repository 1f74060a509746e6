"""The compiled kernels give what hashlib and NumPy give, and are not used where they do not."""

from __future__ import annotations

import builtins
import hashlib
import logging
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import kernels as module
from registry.content.merkle import (
    Rows,
    TensorRootHasher,
    leaf_hash,
    leaf_hashes,
    level_above,
    node_hash,
    state_rows,
    tensor_root,
)
from registry.errors import FormError
from registry.kernels import Kernels, kernels
from registry.rounds.forked import answer, forked
from registry.rules.columns import middle_sums
from registry.rules.combine import rounded_mean
from registry.rules.grid import add_integers, grid_integers, write_integers


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Give the process back its kernels."""
    state = module._State
    before = state.handled, state.tried, state.found
    yield
    state.handled, state.tried, state.found = before


def begin_anew() -> None:
    module._State.handled, module._State.tried, module._State.found = 0, False, None


def reference() -> None:
    module._State.tried, module._State.found = True, None


def compiled() -> Kernels:
    begin_anew()
    found = kernels(1 << 30)
    assert found is not None, "numba is part of the test environment"
    return found


def test_a_process_forked_while_they_are_loaded_does_without_them() -> None:
    """The thread that loads them, and would release its locks, is not there."""
    begin_anew()
    with module._lock, forked(lambda pipe: kernels(1 << 30) is None) as pipe:
        assert pipe.poll(20)
        assert answer(pipe) is True


def test_rows_of_any_length_hash_as_with_hashlib() -> None:
    data = np.random.default_rng(5).bytes(1 << 16)
    for size in (24, 64, 192, 1008, 1024, 4096):
        rows = [data[at : at + size] for at in range(0, len(data) - size + 1, size)]
        compiled()
        assert leaf_hashes(data, size) == b"".join(map(leaf_hash, rows))
        reference()
        assert leaf_hashes(data, size) == b"".join(map(leaf_hash, rows))


@pytest.mark.parametrize("nodes", [1, 2, 3, 64, 65, 4096, 4097])
def test_levels_of_a_tree_hash_as_with_hashlib(nodes: int) -> None:
    level = np.random.default_rng(nodes).bytes(32 * nodes)
    each = [level[at : at + 32] for at in range(0, len(level), 32)]
    above = [node_hash(*pair) if len(pair) == 2 else pair[0] for pair in (each[i : i + 2] for i in range(0, nodes, 2))]
    for prepare in (compiled, reference):
        prepare()
        assert level_above(level) == b"".join(above)


@given(
    st.integers(0, 300_000),
    st.lists(st.integers(1, 300_000), max_size=5),
    st.sampled_from([Rows(4, 256), state_rows(3)]),
)
def test_roots_and_leaf_hashes_of_any_pieces_are_those_of_the_reference(size: int, cuts: list[int], rows: Rows) -> None:
    data = np.random.default_rng(size).bytes(size // rows.entry_bytes * rows.entry_bytes + rows.entry_bytes)
    bounds = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    roots, seen = set(), []
    for prepare in (compiled, reference):
        prepare()
        told = bytearray()

        def sink(index: int, hashes: bytes, told: bytearray = told) -> None:
            assert len(told) == 32 * index
            told += hashes

        hasher = TensorRootHasher(0, rows, sink)
        for begin, end in pairwise(bounds):
            hasher.update(data[begin:end])
        roots.add(hasher.digest())
        seen.append(bytes(told))
    expected = [leaf_hash(data[at : at + rows.size]) for at in range(0, len(data), rows.size)]
    assert len(roots) == 1
    assert seen == [b"".join(expected)] * 2


CASES = {
    "zero": 0.0,
    "negative zero": -0.0,
    "between two": 2.0**-25,
    "largest": 1.0,
    "above the largest": 1.0 + 2.0**-23,
    "infinite": np.inf,
    "negative infinite": -np.inf,
    "no number": np.nan,
    "subnormal": 1e-42,
}


def require_alike(case: str, place: int, begun: Any, write: Callable[[Any, Any], None]) -> None:
    """Check that both write the same values over a copy of `begun`, or refuse them with the same error."""
    values = np.arange(1000, dtype=np.float32) * np.float32(2.0**-24)
    values[place] = CASES[case]
    told = []
    for prepare in (compiled, reference):
        prepare()
        out = begun.copy()
        try:
            write(values, out)
            made: Any = out.tobytes()
        except FormError as error:
            made = str(error)
        told.append(made)
    assert told[0] == told[1]
    assert isinstance(told[0], bytes) == (case in ("zero", "largest"))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("place", [0, 7, 8, 999])
@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_values_are_refused_as_by_numpy(case: str, place: int, kind: type) -> None:
    require_alike(case, place, np.empty(1000, dtype=kind), lambda values, out: write_integers(values, 24, out))


@pytest.mark.parametrize("bits", [0, 24, 126])
def test_integers_on_any_grid_are_numpy_s(bits: int) -> None:
    integers = np.random.default_rng(bits).integers(-(2**24), 2**24, (3, 1000), endpoint=True)
    values = (integers * 2.0**-bits).astype(np.float32)
    compiled()
    assert (grid_integers(values, bits) == integers).all()
    assert (grid_integers(values[:, ::2], bits) == integers[:, ::2]).all()  # not contiguous: NumPy's work
    whole = np.empty(integers.shape, dtype=np.int32)
    for check in (True, False):
        write_integers(values, bits, whole, check=check)
        assert (whole == integers).all()
        whole[:] = 0


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("place", [0, 7, 8, 999])
def test_values_are_added_or_refused_as_by_numpy(case: str, place: int) -> None:
    sums = np.arange(1000, dtype=np.float64)
    require_alike(case, place, sums, lambda values, out: add_integers(values, 24, 3, out))


@pytest.mark.parametrize("bits", [0, 24, 126])
@pytest.mark.parametrize("weight", [0, 1, 2**28])
def test_sums_are_exact_in_any_shape(bits: int, weight: int) -> None:
    integers = np.random.default_rng(bits).integers(-(2**24), 2**24, (3, 70_000), endpoint=True)
    values = (integers * 2.0**-bits).astype(np.float32)
    for prepare in (compiled, reference):
        prepare()
        for taken in (np.s_[0], np.s_[:, ::2], np.s_[...], np.s_[1, 5]):
            sums = np.ones(integers.shape)[taken]
            sums = np.ascontiguousarray(sums).reshape(integers[taken].shape)
            add_integers(np.asarray(values[taken]), bits, weight, sums, check=bits != 0)
            assert (sums == 1 + weight * integers[taken]).all()


@pytest.mark.parametrize("bits", [0, 24, 126])
def test_means_round_half_to_even_as_numpy_s(bits: int) -> None:
    rng = np.random.default_rng(bits)
    divisor = 2 * 3 * 12345
    sums = divisor // 2 * rng.integers(-(2**25), 2**25, 5001, endpoint=True).astype(np.float64)
    sums[::3] += rng.integers(-1, 2, sums[::3].shape)
    sums[:2] = 0.0, -1.0
    np.clip(sums, -(2.0**24) * divisor, 2.0**24 * divisor, out=sums)
    made = []
    for prepare in (compiled, reference):
        prepare()
        made.append(rounded_mean(sums.copy(), divisor, bits).tobytes())
    assert made[0] == made[1]
    exact = [round(Fraction(int(total), divisor)) for total in sums]
    assert made[0] == (np.array(exact) * 2.0**-bits).astype(np.float32).tobytes()


@pytest.mark.parametrize(("count", "cut"), [(1, 0), (2, 0), (3, 1), (5, 0), (20, 9), (20, 4), (21, 10), (32, 15)])
@pytest.mark.parametrize("columns", [1, 511, 512, 513, 5000])
def test_middle_sums_are_numpy_s(count: int, cut: int, columns: int) -> None:
    rng = np.random.default_rng(count * columns)
    whole = rng.integers(-(2**24), 2**24, (count, columns + 7), dtype=np.int32, endpoint=True)
    whole[:, ::3] //= 2**22  # ties
    expected = np.sort(whole, axis=0)[cut : count - cut, 3 : columns + 3].sum(axis=0)
    for prepare in (compiled, reference):
        prepare()
        tile, out = whole.copy()[:, 3 : columns + 3], np.full(columns + 2, -1.0)
        middle_sums(tile, cut, out[1:-1])
        assert (out[1:-1] == expected).all()
        assert out[0] == out[-1] == -1


def test_little_work_loads_nothing() -> None:
    begin_anew()
    assert kernels((64 << 20) - 1) is None
    assert not module._State.tried
    assert kernels(1) is not None


def test_without_numba_all_works_by_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    load = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith(("numba", "llvmlite")):
            raise ImportError(name)
        return load(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    begin_anew()
    assert kernels(1 << 30) is None
    data = bytes(range(256)) * 20
    assert tensor_root(data) == tensor_root(memoryview(data))


@pytest.mark.parametrize(
    "fault",
    [
        AttributeError("SHA256_Init"),
        OSError("no such library"),
        RuntimeError("no locator"),
        EOFError("Ran out of input"),
    ],
)
def test_a_machine_on_which_they_cannot_be_made_uses_the_reference(
    monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def fails() -> Kernels:
        raise fault

    monkeypatch.setattr(module, "_compiled", fails)
    begin_anew()
    assert kernels(1 << 30) is None


def test_kernels_that_differ_from_the_reference_are_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    right = compiled()

    def wrong_rows(data: Any, size: int, tag: int, out: Any) -> None:
        right.hash_rows(data, size, tag, out)
        out[-1] ^= 1

    def accepting(*arguments: Any) -> bool:
        right.scale(*arguments)
        return True

    def adding(*arguments: Any) -> bool:
        right.add(*arguments)
        return True

    def truncated(sums: Any, divisor: float, step: float, out: Any) -> None:
        out[:] = np.trunc(sums / divisor) * step

    def unsorted(tile: Any, pairs: Any, cut: int, out: Any) -> None:
        out[:] = tile[cut]

    for wrong in (
        right._replace(hash_rows=wrong_rows),
        right._replace(scale=accepting),
        right._replace(add=adding),
        right._replace(add=lambda *given: right.scale(*given[:4], np.empty_like(given[0]))),
        right._replace(mean=truncated),
        right._replace(middle=unsorted),
    ):
        monkeypatch.setattr(module, "_compiled", lambda wrong=wrong: wrong)
        begin_anew()
        with caplog.at_level(logging.WARNING):
            assert kernels(1 << 30) is None
        assert "differ from hashlib" in caplog.text
        caplog.clear()


def test_the_context_of_sha256_is_reset_between_rows() -> None:
    made = compiled()
    out = np.empty(64, dtype=np.uint8)
    made.hash_rows(np.frombuffer(b"a" * 64 + b"b" * 64, dtype=np.uint8), 64, 0, out)
    assert out.tobytes() == b"".join(hashlib.sha256(b"\0" + letter * 64).digest() for letter in (b"a", b"b"))
