"""Benchmark of Krum, Multi-Krum, Bulyan and the median beside Flower's, on the same 20 updates of 10 M values.

Run as `python -m benchmarks.robust`; 1 GB of disk, which the page cache should hold, and 6 GB of memory for Flower.
Every contender reads the same files and is timed in the same run, in turn. Ours writes its result and names it (CID and
tensor root), in two processes: once unchecked, as Flower's is, and once with all that a round checks. Flower drops its
result. It is `flwr.server.strategy.aggregate` of `.tools/flwr`, or of the Python that CAIRN_BENCH_FLWR names; without
it nothing is measured.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.aggregate import FLWR_PYTHON, run_peer
from benchmarks.columns import UPDATES, VALUES, combine_files, write_updates
from benchmarks.measure import Contender, in_turn, repeats, scale, versus, workspace, write_results

BYZANTINE = 4
"""f: as many as Bulyan survives of 20."""
_PLAIN = {"mixed": 0, "bucket": 0}
RULES: dict[str, tuple[tuple[str, dict[str, int]], dict[str, Any], float]] = {
    "Krum": (
        ("multi_krum", {"byzantine": BYZANTINE, "selected": 1, **_PLAIN}),
        {"function": "aggregate_krum", "arguments": {"num_malicious": BYZANTINE, "to_keep": 0}},
        4.0,
    ),
    "Multi-Krum": (
        ("multi_krum", {"byzantine": BYZANTINE, "selected": UPDATES - BYZANTINE, **_PLAIN}),
        {"function": "aggregate_krum", "arguments": {"num_malicious": BYZANTINE, "to_keep": UPDATES - BYZANTINE}},
        4.0,
    ),
    "Bulyan": (
        ("bulyan", {"byzantine": BYZANTINE}),
        {"function": "aggregate_bulyan", "arguments": {"num_malicious": BYZANTINE, "to_keep": 0}},
        4.0,
    ),
    "median": (("median", {}), {"function": "aggregate_median"}, 20.0),
}
"""Ours with its parameters, Flower's function with its, and how many times as fast ours should be."""
CHECKED = {"unchecked": "nothing", "checked as a round does": "as a round does"}


def contenders(paths: Sequence[Path], flower: Path, out: Path) -> dict[str, Contender]:
    """Return ours and Flower's of every rule, by name."""
    job = {"paths": [str(path) for path in paths], "weights": [1] * len(paths)}
    found: dict[str, Contender] = {}
    for name, (rule, told, _) in RULES.items():
        for words, check in CHECKED.items():
            found[f"{name}, {words}"] = partial(combine_files, paths, out, check, rule)
        found[f"Flower's {name}"] = partial(run_peer, flower, "flwr_mean.py", {**job, **told})
    return found


def main() -> None:
    flower = Path(os.environ.get("CAIRN_BENCH_FLWR", FLWR_PYTHON))
    if not flower.exists():
        raise SystemExit(f"expected Flower's Python at {flower}: make .tools/flwr/installed, or set CAIRN_BENCH_FLWR")
    values = round(VALUES * scale())
    with workspace("robust") as folder:
        paths = write_updates(folder, values)
        seconds = in_turn(contenders(paths, flower, folder / "out"), turns=min(3, repeats()))
    figures = [
        versus(
            f"{name}, {UPDATES} × 10 M values, {words}", seconds[f"{name}, {words}"],
            f"Flower's {name}", seconds[f"Flower's {name}"],
            amount=UPDATES * values / 1e6, unit="M values/s", target=target if words == "unchecked" else None,
        )
        for name, (_, _, target) in RULES.items()
        for words in CHECKED
    ]  # fmt: skip
    write_results("robust", figures, values=values, updates=UPDATES, byzantine=BYZANTINE, seconds=seconds)


if __name__ == "__main__":
    main()
