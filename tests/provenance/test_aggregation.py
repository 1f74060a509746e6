"""Combining files leaf by leaf gives what integers give, in one process or several, in any order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from registry.content.gate import describe
from registry.content.merkle import VALUES
from registry.content.tensors import parse_header, write_tensors
from registry.disputes.tree_cache import find_opening, tree_writers
from registry.errors import FormError, InputError
from registry.rounds.aggregation import Checks, Leaves, combine, leaves_of_blob, leaves_of_file
from registry.rules.combine import weighted_mean
from registry.rules.grid import to_grid
from registry.rules.table import EXAMPLES, MEAN, MEDIAN, UNIFORM, Combining
from registry.store.blobs import add_blob
from registry.store.local import LocalStore
from registry.store.memory import MemoryStore
from registry.types import Blob, Cid, Codec, Root

BITS = 20
MEAN_BY_EXAMPLES = Combining(MEAN, EXAMPLES)


def write(path: Path, values: np.ndarray, name: str = "w") -> Path:
    path.write_bytes(b"".join(bytes(p) for p in write_tensors({name: ("F32", values.shape, values)})))
    return path


def make(folder: Path, count: int, values: int) -> tuple[list[Path], list[np.ndarray], list[int]]:
    rng = np.random.default_rng(values)
    arrays = [to_grid(rng.normal(size=values), BITS)[0] for _ in range(count)]
    paths = [write(folder / f"{k}.safetensors", array) for k, array in enumerate(arrays)]
    return paths, arrays, [int(w) for w in rng.integers(1, 10_000, size=count)]


def run(  # type: ignore[no-untyped-def]
    paths: list[Path], weights: list[int], out: Path, combining: Combining = MEAN_BY_EXAMPLES, **options: object
):
    data = paths[0].read_bytes()
    header = parse_header(data, len(data))
    leaves = [leaves_of_file(path, len(data)) for path in paths]
    rules = {"grid_bits": BITS, "combining": combining}
    return combine(leaves, weights, data[: header.header_bytes], len(data), out=out, **rules, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("values", [1, 1023, 1025, 262_100, 262_144, 800_001])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_files_give_the_mean_of_their_arrays_and_its_names(tmp_path: Path, values: int, processes: int) -> None:
    paths, arrays, weights = make(tmp_path, 3, values)
    seen: list[int] = []
    made = run(paths, weights, tmp_path / "out", processes=processes, progress=seen.append)
    expected = write(tmp_path / "expected", weighted_mean(arrays, weights, BITS))
    assert (tmp_path / "out").read_bytes() == expected.read_bytes()
    facts = describe([expected.read_bytes()])
    assert (made.cid, made.tensor_root, made.size) == (facts.cid, facts.tensor_root, facts.size)
    for path, update in zip(paths, made.updates, strict=True):
        facts = describe([path.read_bytes()])
        assert (update.cid, update.tensor_root) == (facts.cid, facts.tensor_root)
    assert sum(seen) == 3 * made.size


@pytest.mark.parametrize("combining", [MEAN_BY_EXAMPLES, Combining(MEDIAN, UNIFORM)], ids=["mean", "median"])
@pytest.mark.parametrize("processes", [1, 3])
@pytest.mark.parametrize("streams", [True, False])
def test_stored_updates_give_what_files_give(
    tmp_path: Path, combining: Combining, processes: int, streams: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read as one stream per update, or block by block; one of them may stand in a file."""
    paths, _, weights = make(tmp_path, 4, 800_001)
    expected = run(paths, weights, tmp_path / "expected", combining, processes=1)
    store = LocalStore(tmp_path / "store")
    blobs = [add_blob(store, [path.read_bytes()]) for path in paths]
    if streams:
        monkeypatch.setattr(
            LocalStore, "stream", lambda self, root, cids, begin, end: self.get_many(cids[begin:end]), raising=True
        )
    data = paths[0].read_bytes()
    leaves: list[Leaves] = [leaves_of_blob(store, blob) for blob in blobs]
    leaves[2] = leaves_of_file(paths[2], len(data))
    header = parse_header(data, len(data))
    made = combine(
        leaves, weights, data[: header.header_bytes], len(data), grid_bits=BITS, combining=combining,
        out=tmp_path / "out", processes=processes,
    )  # fmt: skip
    assert made == expected
    assert (tmp_path / "out").read_bytes() == (tmp_path / "expected").read_bytes()


@pytest.mark.parametrize("values", [1, 255, 256, 257, 262_100, 800_001])
@pytest.mark.parametrize("processes", [1, 3])
def test_leaf_hashes_given_while_combining_are_those_of_the_updates_trees(
    tmp_path: Path, values: int, processes: int
) -> None:
    paths, arrays, weights = make(tmp_path, 3, values)
    size, place = paths[0].stat().st_size, tmp_path / "trees"
    begin = size - 4 * values
    with tree_writers(place, 2) as writers:
        made = run(paths, weights, tmp_path / "out", processes=processes, sinks=[writers[0], None, writers[1]])
        for writer, k in zip(writers, (0, 2), strict=True):
            facts = made.updates[k]
            assert facts.cid is not None and facts.tensor_root is not None
            assert writer.complete(Blob(facts.cid, size), begin, facts.tensor_root, VALUES)
            store = MemoryStore()
            add_blob(store, [paths[k].read_bytes()])
            leaves = -(-values // 256)
            for index in {0, leaves // 2, leaves - 1}:
                found = find_opening(place, store, facts.tensor_root, VALUES, index)
                assert found is not None
                assert found.leaf == arrays[k].tobytes()[1024 * index : 1024 * index + 1024]
    assert len(list(place.iterdir())) == 2  # complete trees alone, nothing left of the writers


def test_an_incomplete_tree_is_removed(tmp_path: Path) -> None:
    with tree_writers(tmp_path, 2) as writers:
        writers[0](5, bytes(64))
        blob = Blob(Cid(Codec.RAW, bytes(32)), 104 + 4096)
        assert not writers[0].complete(blob, 104, Root(bytes(32)), VALUES)
    assert list(tmp_path.iterdir()) == []


def test_order_changes_nothing(tmp_path: Path) -> None:
    paths, _, weights = make(tmp_path, 4, 300_000)
    one = run(paths, weights, tmp_path / "one")
    other = run(paths[::-1], weights[::-1], tmp_path / "other", processes=2)
    assert (one.cid, one.tensor_root) == (other.cid, other.tensor_root)


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("value", [np.nan, -0.0, 2.0**-21, 32.0])
def test_value_off_the_grid_is_refused_and_names_its_update(tmp_path: Path, value: float, processes: int) -> None:
    paths, arrays, weights = make(tmp_path, 2, 600_000)
    arrays[1][-1] = value
    write(paths[1], arrays[1])
    with pytest.raises(FormError, match="update 1: value"):
        run(paths, weights, tmp_path / "out", processes=processes)


def test_other_header_or_size_is_refused(tmp_path: Path) -> None:
    paths, arrays, weights = make(tmp_path, 2, 5000)
    write(paths[1], arrays[1], name="v")
    with pytest.raises(FormError, match="update 1: expected the header"):
        run(paths, weights, tmp_path / "out")
    paths[1].write_bytes(paths[0].read_bytes()[:-4])
    with pytest.raises(FormError, match="expected 2"):
        run(paths, weights, tmp_path / "out")


def test_total_weight_over_the_lemma_is_refused(tmp_path: Path) -> None:
    paths, _, _ = make(tmp_path, 2, 10)
    with pytest.raises(InputError, match="total weight: expected at most 2\\^28"):
        run(paths, [1 << 28, 1], tmp_path / "out")


def test_unchecked_combining_gives_the_same_aggregate(tmp_path: Path) -> None:
    paths, _, weights = make(tmp_path, 2, 300_000)
    full = run(paths, weights, tmp_path / "full")
    bare = run(paths, weights, tmp_path / "bare", check=Checks(cids=False, roots=False, grid=False))
    assert (full.cid, full.tensor_root) == (bare.cid, bare.tensor_root)
    assert bare.updates[0].cid is None
