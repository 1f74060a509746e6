"""Measurement harness: run contenders in turn, measure memory of a process and its children, write JSON results.

A figure compares a rate with a peer's. Both are measured in one run, interleaved (A B A B …), so that other load on the
machine affects both. The rate is the median over the turns, the ratio the median of each turn's ratio; a ratio of
medians would compare turns under different load.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

__all__ = [
    "Contender",
    "Figure",
    "at_most",
    "in_turn",
    "peak_memory",
    "repeats",
    "scale",
    "versus",
    "workspace",
    "write_results",
]

RESULTS = Path(__file__).parent / "results"
Contender = Callable[[], float | None]
"""Does the work; may return the seconds it took, which replace those of the outer clock."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    Attributes:
        what: What was measured.
        value: The median, in `unit`.
        unit: GB/s, MB/s, MB, gas, s or ms.
        peer: The peer it is compared with, if any.
        peer_value: The peer's median, in the same unit.
        ratio: Median of the ratios of each turn.
        target: Minimum ratio, or without a peer the maximum value; None without a target.
        met: Whether the target is met.
        turns: Every measured value, paired with the peer's.
    """

    what: str
    value: float
    unit: str
    peer: str | None = None
    peer_value: float | None = None
    ratio: float | None = None
    target: float | None = None
    met: bool | None = None
    turns: tuple[tuple[float, ...], ...] = ()


def scale() -> float:
    """Return the fraction of the full size to measure with: CAIRN_BENCH_SCALE, default 1."""
    return float(os.environ.get("CAIRN_BENCH_SCALE", "1"))


def repeats() -> int:
    """Return the number of turns: CAIRN_BENCH_TURNS, default 5."""
    return int(os.environ.get("CAIRN_BENCH_TURNS", "5"))


@contextmanager
def workspace(name: str) -> Iterator[Path]:
    """Yield a folder for data, deleted at the end: in CAIRN_BENCH_FOLDER, default the temporary folder."""
    with tempfile.TemporaryDirectory(prefix=f"cairn-{name}-", dir=os.environ.get("CAIRN_BENCH_FOLDER")) as folder:
        yield Path(folder)


def in_turn(contenders: Mapping[str, Contender], *, turns: int | None = None) -> dict[str, list[float]]:
    """Run each contender once per turn, after one warm-up turn; return their seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range((turns or repeats()) + 1):
        for name, work in contenders.items():
            begin = time.perf_counter()
            known = work()
            took = time.perf_counter() - begin if known is None else known
            if turn:
                seconds[name].append(took)
            print(f"  {name}: {took:.3f} s{'' if turn else ' (warming up)'}", flush=True)
    return seconds


def versus(
    what: str,
    mine: Sequence[float],
    peer: str,
    theirs: Sequence[float],
    *,
    amount: float,
    unit: str,
    target: float | None,
) -> Figure:
    """Compare two contenders that processed the same amount in each turn (rates in `unit`)."""
    ratio = statistics.median(b / a for a, b in zip(mine, theirs, strict=True))
    return Figure(
        what=what,
        value=amount / statistics.median(mine),
        unit=unit,
        peer=peer,
        peer_value=amount / statistics.median(theirs),
        ratio=ratio,
        target=target,
        met=None if target is None else ratio >= target,
        turns=tuple((amount / a, amount / b) for a, b in zip(mine, theirs, strict=True)),
    )


def at_most(what: str, value: float, unit: str, target: float) -> Figure:
    """Return a figure with a limit instead of a peer."""
    return Figure(what=what, value=value, unit=unit, target=target, met=value <= target)


# Memory -----------------------------------------------------------------------------------------------------------


def peak_memory(imports: Callable[[], object], work: Callable[[], object]) -> float:
    """Return the peak memory growth of a fresh process and its children during work, MB (10^6 bytes).

    Anonymous memory counts; pages shared after a fork count once (Pss_Anon). The page cache of files read and written
    does not count.

    Args:
        imports: Called first; the memory afterwards is the baseline.
        work: The function to measure. Both must be module-level functions, so that another process can call them.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    worker = context.Process(target=_measured, args=(there, imports, work))
    worker.start()
    there.close()
    here.recv()
    assert worker.pid is not None
    before = peak = _anonymous(worker.pid)
    here.send("go")
    while not here.poll(0.002):
        peak = max(peak, _anonymous(worker.pid))
    here.recv()
    worker.join()
    if worker.exitcode:
        raise SystemExit(f"the measured process failed with {worker.exitcode}")
    return (peak - before) / 1e6


def _measured(pipe: Connection, imports: Callable[[], object], work: Callable[[], object]) -> None:
    imports()
    pipe.send("ready")
    pipe.recv()
    work()
    pipe.send("done")


def _anonymous(pid: int) -> int:
    """Return the anonymous memory of a process and its descendants, bytes."""
    total = 0
    for member in _family(pid):
        try:
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has exited
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Pss_Anon:", "SwapPss:")))
    return total


def _family(pid: int) -> Iterator[int]:
    yield pid
    try:
        children = [c for task in Path(f"/proc/{pid}/task").iterdir() for c in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return
    for child in children:
        yield from _family(int(child))


# Results ----------------------------------------------------------------------------------------------------------


def write_results(name: str, figures: Sequence[Figure], **facts: object) -> None:
    """Write results/NAME.json: the figures, with machine and versions."""
    RESULTS.mkdir(exist_ok=True)
    report = {
        "benchmark": name,
        "scale": scale(),
        "machine": {"processor": _processor(), "cores": os.cpu_count(), "python": platform.python_version()},
        "load_at_end": round(os.getloadavg()[1], 2),
        "figures": [asdict(figure) for figure in figures],
        **facts,
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
    for figure in figures:
        print(line_of(figure))


def line_of(figure: Figure) -> str:
    """Return a figure as one line of text."""
    text = f"{figure.what}: {figure.value:.3g} {figure.unit}"
    if figure.peer:
        text += f"; {figure.peer}: {figure.peer_value:.3g}; ratio {figure.ratio:.2f}"
    if figure.target is not None:
        text += f"; target {figure.target:g}{'' if figure.met else ' MISSED'}"
    return text


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
