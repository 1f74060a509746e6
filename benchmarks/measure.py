"""How the benchmarks measure: contenders in turn, memory of a process and its children, results as JSON.

A figure is a rate beside a peer's. Both are measured in one run, one after the other, as often as asked (A B A B …), so
that what else the machine does meets both. The rate is the median over the turns, the ratio the median of the ratios
of each turn; a ratio of medians would compare turns that had another machine.
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
"""Does the work; returns the seconds it took where it knows better than the clock around it."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    Attributes:
        what: What was measured.
        value: Its median, in unit.
        unit: GB/s, MB/s, MB, gas, s or ms.
        peer: What it is compared with, if anything.
        peer_value: The peer's median, in the same unit.
        ratio: Median of the ratios of each turn.
        target: Least ratio, or with no peer most units; None where there is none.
        met: Whether the target is met.
        turns: Every measured value, the peer's beside it.
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
    """Return the share of the full size to measure with: CAIRN_BENCH_SCALE, 1 if unset."""
    return float(os.environ.get("CAIRN_BENCH_SCALE", "1"))


def repeats() -> int:
    """Return the turns to take: CAIRN_BENCH_TURNS, 5 if unset."""
    return int(os.environ.get("CAIRN_BENCH_TURNS", "5"))


@contextmanager
def workspace(name: str) -> Iterator[Path]:
    """Make a folder for data, removed at the end: in CAIRN_BENCH_FOLDER, or where temporary files go."""
    with tempfile.TemporaryDirectory(prefix=f"cairn-{name}-", dir=os.environ.get("CAIRN_BENCH_FOLDER")) as folder:
        yield Path(folder)


def in_turn(contenders: Mapping[str, Contender], *, turns: int | None = None) -> dict[str, list[float]]:
    """Let each contender work once in every turn, after one turn that does not count; return their seconds."""
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
    """Compare two contenders that moved the same amount (in units of `unit` per second) in each turn."""
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
    """A value that has a limit instead of a peer."""
    return Figure(what=what, value=value, unit=unit, target=target, met=value <= target)


# Memory -----------------------------------------------------------------------------------------------------------


def peak_memory(imports: Callable[[], object], work: Callable[[], object]) -> float:
    """Return by how many MB (10^6 bytes) a fresh process, with its children, grows while it works.

    Counted is anonymous memory; what processes share after a fork counts once (Pss_Anon). The page cache, which holds
    the files read and written, is the system's and not counted.

    Args:
        imports: Called first; what the process holds afterwards is where counting begins.
        work: What is measured. Both are functions of a module, so that another process can call them.
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
    """Bytes of anonymous memory of a process and its descendants."""
    total = 0
    for member in _family(pid):
        try:
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
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
    """Write results/NAME.json: the figures, and what they were measured on and with."""
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
    """Return a figure as one line for people."""
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
