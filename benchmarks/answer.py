"""Benchmark of answering demands: time to open a demanded leaf while demands alternate over three trees.

Run as `python -m benchmarks.answer`; 2 GB of disk, which the page cache should hold. With `--billion` also of blobs of
10^9 values, 13 GB; what is read is then partly read from the disk.

Each blob is in a local store, and its tree is written once, as an aggregator does before attesting. An answer is a call
of `answer_to`: the path from the tree's file, the leaf from the store, and the proof checked up to the root. The
baseline keeps no tree: it hashes the file for each answer, since the three trees alternate.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.measure import Figure, at_most, in_turn, peak_memory, scale, workspace, write_results
from registry.content.merkle import VALUES, TensorRootHasher
from registry.content.tensors import encode_header, layout
from registry.disputes.openings import chunks_of_blob
from registry.disputes.tree_cache import find_opening, keep_blob, tree_bytes
from registry.store.blobs import add_blob
from registry.store.local import LocalStore
from registry.types import Blob, Root

SIZES = {10**6: None, 10**8: 100.0}
"""Values of a blob, and the target: hashing must take at least this many times as long as answering."""
BILLION = {10**9: 1000.0}
TREES = 3
ANSWERS = 300
MIB = 1 << 20
MEMORY_LIMIT = 128.0  # MB
Named = tuple[Blob, Root]


def imports() -> None:
    """Import the modules that answering needs."""
    import registry.disputes.answers  # noqa: F401


def stored(folder: Path, values: int) -> Named:
    """Store a blob of this many values, no two MiB of it alike; return its CID and root."""
    header, hasher, body = layout({"w": ("F32", (values,))}), TensorRootHasher(), os.urandom(MIB - 16)

    def pieces() -> Iterator[bytes]:
        yield encode_header(header.specs)
        for at in range(0, 4 * values, MIB):
            piece = (os.urandom(16) + body)[: 4 * values - at]
            hasher.update(piece)
            yield piece

    blob = add_blob(LocalStore(folder / "store"), pieces())
    return blob, hasher.digest()


def keep(folder: Path, named: Sequence[Named]) -> None:
    """Write the trees to disk."""
    for blob, root in named:
        if not keep_blob(folder / "trees", LocalStore(folder / "store"), blob, root, VALUES):
            raise AssertionError("expected the root that was computed while the blob was stored")


def answer(folder: Path, named: Sequence[Named], values: int, count: int) -> None:
    """Answer this many demands from the stored trees, in turn."""
    store, drawn = LocalStore(folder / "store"), random.Random(count)
    for turn in range(count):
        index = drawn.randrange(VALUES.leaves(values))
        if find_opening(folder / "trees", store, named[turn % TREES][1], VALUES, index) is None:
            raise AssertionError("expected a leaf with its proof")


def hash_for_each(folder: Path, named: Sequence[Named], values: int, count: int) -> None:
    """Answer this many demands without trees."""
    store, drawn = LocalStore(folder / "store"), random.Random(count)
    for turn in range(count):
        blob, root = named[turn % TREES]
        chunks = chunks_of_blob(store, blob)
        chunks.opening(drawn.randrange(VALUES.leaves(values)))
        if chunks.root != root:
            raise AssertionError("expected the root that was computed while the blob was stored")


def timed(work: partial[None], count: int) -> float:
    """Return the mean seconds per answer."""
    began = time.perf_counter()
    work(count)
    return (time.perf_counter() - began) / count


def measure(folder: Path, values: int, target: float | None) -> list[Figure]:
    """Measure answers over three blobs of this many values."""
    named = [stored(folder, values) for _ in range(TREES)]
    began = time.perf_counter()
    keep(folder, named)
    took = (time.perf_counter() - began) / TREES
    if any(path.stat().st_size != tree_bytes(values, VALUES) for path in (folder / "trees").iterdir()):
        raise AssertionError("expected files of the size that is told beforehand")
    kept, hashed = partial(answer, folder, named, values), partial(hash_for_each, folder, named, values)
    seconds = in_turn({"kept": partial(timed, kept, ANSWERS), "hashed": partial(timed, hashed, TREES)})
    pairs = tuple(zip(seconds["kept"], seconds["hashed"], strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    size = f"{values / 1e6:g} million"
    return [
        Figure(
            what=f"an answer to a demand, three trees of {size} values in turn",
            value=1e3 * statistics.median(seconds["kept"]),
            unit="ms",
            peer="hashing the file for each",
            peer_value=1e3 * statistics.median(seconds["hashed"]),
            ratio=ratio,
            target=target,
            met=None if target is None else ratio >= target,
            turns=tuple((1e3 * a, 1e3 * b) for a, b in pairs),
        ),
        at_most(f"memory, answers, {size} values", peak_memory(imports, partial(kept, ANSWERS)), "MB", MEMORY_LIMIT),
        Figure(
            f"the same, hashing the file for each, {size} values", peak_memory(imports, partial(hashed, TREES)), "MB"
        ),
        Figure(f"a tree of {size} values, written before attesting", took, "s"),
        at_most(
            f"memory, writing it, {size} values", peak_memory(imports, partial(keep, folder, named)), "MB", MEMORY_LIMIT
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--billion", action="store_true", help="also of 10^9 values")
    sizes = SIZES | (BILLION if parser.parse_args().billion else {})
    figures: list[Figure] = []
    for values, target in sizes.items():
        with workspace("answer") as folder:
            figures += measure(folder, round(values * scale()), target if scale() == 1 else None)
    write_results("answer", figures)


if __name__ == "__main__":
    main()
