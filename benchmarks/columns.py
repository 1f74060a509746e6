"""Benchmark of the Byzantine-robust rules: median and trimmed mean of 20 updates of 10 M values, and memory.

Run as `python -m benchmarks.columns`; 3 GB of disk, which the page cache should hold. The peers are numpy's and
Flower's medians; they read the same files and drop their result, while ours writes and hashes it, in two processes.
Flower is included if `.tools/flwr` has it, or CAIRN_BENCH_FLWR names a Python that has it. Memory is measured with 1
000 updates (the same 20 files repeated), each a fifth of the size.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.aggregate import CHECKS, FLWR_PYTHON, run_peer
from benchmarks.gpt2 import GRID_BITS
from benchmarks.measure import Contender, Figure, at_most, in_turn, peak_memory, scale, versus, workspace, write_results
from registry.content.tensors import header_length, write_tensors
from registry.rules.grid import to_grid

UPDATES, MANY = 20, 1000
VALUES = 10_000_000
MEMORY_LIMIT = 128.0  # MB
MEDIAN = ("median", {})
TARGETS = {("median, nothing checked", "Flower's median"): 20.0}
TRIMMED = ("trimmed_mean", {"trimmed": 1 << 14})


def write_updates(folder: Path, values: int) -> list[Path]:
    """Write updates with values like a round's deltas: normal with standard deviation 0.01, no two alike."""
    paths = []
    for k in range(UPDATES):
        drawn = np.random.default_rng(k).normal(scale=0.01, size=values)
        tensors = {"w": ("F32", (values,), to_grid(drawn, GRID_BITS)[0])}
        paths.append(folder / f"{k}.safetensors")
        with paths[-1].open("wb") as file:
            for piece in write_tensors(tensors):
                file.write(piece)
    return paths


CHECKED = {**CHECKS, "as a round does": {"cids": False, "roots": True, "grid": True}}
"""The checks left to combining: the store has already hashed the blocks of a round's updates."""


def combine_files(
    paths: Sequence[Path], out: Path, check: str, rule: tuple[str, dict[str, int]], processes: int = 2
) -> None:
    """Combine files by a rule of columns."""
    from registry.rounds.aggregation import Checks, combine, leaves_of_file
    from registry.rules.table import COMBINE_RULES, UNIFORM, Combining, lookup

    size = paths[0].stat().st_size
    with paths[0].open("rb") as file:
        prefix = file.read(8)
        header = prefix + file.read(header_length(prefix) - 8)
    combine(
        [leaves_of_file(path, size) for path in paths],
        [1] * len(paths),
        header,
        size,
        grid_bits=GRID_BITS,
        combining=Combining(lookup(COMBINE_RULES, rule[0], "combine rule"), UNIFORM, rule[1]),
        out=out,
        check=Checks(**CHECKED[check]),
        processes=processes,
    )


def imports() -> None:
    """Import the modules that combining needs."""
    import registry.rounds.aggregation  # noqa: F401


def many(folder: Path, processes: int) -> None:
    """Combine a thousand updates."""
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    paths = sorted(folder.glob("*.safetensors")) * (MANY // UPDATES)
    combine_files(paths, folder / "out", "as a round does", MEDIAN, processes)


def peers(paths: Sequence[Path]) -> dict[str, Contender]:
    """Return the available peers that compute a median."""
    job = {"paths": [str(path) for path in paths], "weights": [1] * len(paths)}
    found: dict[str, Contender] = {"np.median": partial(run_peer, Path(sys.executable), "numpy_median.py", job)}
    flower = Path(os.environ.get("CAIRN_BENCH_FLWR", FLWR_PYTHON))
    if flower.exists():
        told: dict[str, Any] = {**job, "function": "aggregate_median"}
        found["Flower's median"] = partial(run_peer, flower, "flwr_mean.py", told)
    return found


def main() -> None:
    values = round(VALUES * scale())
    with workspace("columns") as folder:
        paths = write_updates(folder, values)
        amount = UPDATES * values / 1e6
        mine = {
            "median, everything checked": partial(combine_files, paths, folder / "out", "everything", MEDIAN),
            "median, nothing checked": partial(combine_files, paths, folder / "out", "nothing", MEDIAN),
            "trimmed mean, everything checked": partial(combine_files, paths, folder / "out", "everything", TRIMMED),
        }
        theirs = peers(paths)
        seconds = in_turn({**mine, **theirs}, turns=3)
        against = partial(versus, amount=amount, unit="M values/s")
        figures = [
            against(
                f"{name}, {UPDATES} × 10 M values", seconds[name], peer, seconds[peer], target=TARGETS.get((name, peer))
            )
            for name in mine
            for peer in theirs
        ]
    with workspace("columns") as folder:
        write_updates(folder, values // 5)
        figures += [_memory(folder, processes) for processes in (1, 2)]
    write_results("columns", figures, values=values, updates=UPDATES, flower="Flower's median" in theirs)


def _memory(folder: Path, processes: int) -> Figure:
    peak = peak_memory(imports, partial(many, folder, processes))
    what = f"memory, median of {MANY} updates, {processes} process{'es' if processes > 1 else ''}"
    return at_most(what, peak, "MB", MEMORY_LIMIT)


if __name__ == "__main__":
    main()
