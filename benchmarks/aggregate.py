"""Benchmark of aggregation: the mean of ten GPT-2-small updates from files, with all checks, CIDs only, or none.

Run as `python -m benchmarks.aggregate`; 6 GB of disk, which the page cache should hold, and 11 GB of memory for Flower.

Every combination of ours writes its result and names it (CID and tensor root). The peers are

- hashing alone: two processes that read the same files and compute what the checks need, sha2-256 of every MiB and, for
  tensor roots, of every 4 KiB with the tree above them, and nothing else (rows of 1 KiB, as tensor roots have, are more
  hashing, and take hashlib twice as long);
- torch: reading the same files a MiB at a time, `acc += w * x` in float32, in two processes or two threads, whichever
  is faster; with its mean dropped, and with it written and hashed as ours is;
- Flower: its own `aggregate` on arrays read from the same files.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import statistics
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpt2 import GRID_BITS, write_update
from benchmarks.measure import Contender, Figure, at_most, in_turn, peak_memory, versus, workspace, write_results

UPDATES, MANY = 10, 50
LEAF, CHUNK = 1 << 20, 1 << 12
MEMORY_LIMIT = 128.0  # MB
PEERS = Path(__file__).parent / "peers"
FLWR_PYTHON = Path(__file__).parent.parent / ".tools" / "flwr" / "bin" / "python"

CHECKS = {
    "everything": {"cids": True, "roots": True, "grid": True},
    "CIDs only": {"cids": True, "roots": False, "grid": True},
    "nothing": {"cids": False, "roots": False, "grid": False},
}
"""The checks on updates; the header's form is always checked."""


# Ours -------------------------------------------------------------------------------------------------------------


def combine_files(paths: Sequence[Path], out: Path, check: str) -> None:
    """Combine files in two processes."""
    from registry.content.tensors import header_length
    from registry.rounds.aggregation import Checks, combine, leaves_of_file
    from registry.rules.table import EXAMPLES, MEAN, Combining

    size = paths[0].stat().st_size
    with paths[0].open("rb") as file:
        prefix = file.read(8)
        header = prefix + file.read(header_length(prefix) - 8)
    combine(
        [leaves_of_file(path, size) for path in paths],
        weights(len(paths)),
        header,
        size,
        grid_bits=GRID_BITS,
        combining=Combining(MEAN, EXAMPLES),
        out=out,
        check=Checks(**CHECKS[check]),
        processes=2,
    )


def imports() -> None:
    """Import the modules that combining needs."""
    import registry.rounds.aggregation  # noqa: F401


def weights(count: int) -> list[int]:
    """Return unequal numbers of examples."""
    return [1000 + 17 * k for k in range(count)]


# Peers ------------------------------------------------------------------------------------------------------------


def hash_alone(paths: Sequence[Path], roots: bool) -> None:
    """Hash files in two processes, half of the files each."""
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_hash_files, args=(paths[i::2], roots)) for i in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0


def _hash_files(paths: Sequence[Path], roots: bool) -> None:
    buffer = memoryview(bytearray(LEAF))
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                hashlib.sha256(buffer[:count]).digest()
                if roots:
                    hash_chunks(buffer[:count])


def hash_chunks(leaf: memoryview) -> None:
    """Hash every 4 KiB of a leaf and the tree above them, as a tensor root takes it."""
    sha256, begun, nodes = hashlib.sha256, hashlib.sha256(b"\x00"), []
    for at in range(0, len(leaf), CHUNK):
        state = begun.copy()
        state.update(leaf[at : at + CHUNK])
        nodes.append(state.digest())
    while len(nodes) > 1:
        pairs = zip(nodes[::2], nodes[1::2], strict=False)
        nodes = [sha256(b"\x01" + left + right).digest() for left, right in pairs]


def run_peer(python: Path, script: str, job: dict[str, Any], told: list[dict[str, Any]] | None = None) -> float:
    """Run a peer's script and return the seconds that it reports for its work, without imports."""
    done = subprocess.run([python, PEERS / script, json.dumps(job)], capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    if told is not None:
        told.append(answer)
    return float(answer["seconds"])


def torch_contenders(paths: Sequence[Path], out: Path) -> dict[str, Contender]:
    """Return torch's contenders."""
    with paths[0].open("rb") as file:
        begin = 8 + int.from_bytes(file.read(8), "little")
    job = {
        "paths": [str(path) for path in paths],
        "weights": weights(len(paths)),
        "begin": begin,
        "size": paths[0].stat().st_size,
    }
    run = partial(run_peer, Path(sys.executable), "torch_mean.py")
    ways: dict[str, dict[str, Any]] = {
        "torch, 2 processes": {"processes": 2, "threads": 1, "fused": False, "out": None},
        "torch, 2 threads": {"processes": 1, "threads": 2, "fused": False, "out": None},
        "torch, fused multiply-add": {"processes": 2, "threads": 1, "fused": True, "out": None},
        "torch, result written and hashed": {"processes": 2, "threads": 1, "fused": False, "out": str(out)},
    }
    return {name: partial(run, {**job, **way}) for name, way in ways.items()}


# The figures ------------------------------------------------------------------------------------------------------


def main() -> None:
    with workspace("aggregate") as folder:
        paths = [folder / f"{k}.safetensors" for k in range(UPDATES)]
        for k, path in enumerate(paths):
            write_update(path, k)
        amount = sum(path.stat().st_size for path in paths) / 1e9
        figures = [*_against_hashing(paths, folder / "out", amount), *_against_torch(paths, folder / "out", amount)]
        flower: list[dict[str, Any]] = []
        figures += _against_flower(paths, folder / "out", amount, flower)
        for count, repeated in ((UPDATES, 1), (MANY, MANY // UPDATES)):
            peak = peak_memory(imports, partial(combine_files, paths * repeated, folder / "out", "everything"))
            figures.append(at_most(f"memory, {count} updates, everything checked", peak, "MB", MEMORY_LIMIT))
        write_results("aggregate", figures, gigabytes=amount, flower=flower)


def _against_hashing(paths: Sequence[Path], out: Path, amount: float) -> list[Figure]:
    seconds = in_turn(
        {
            "everything checked": partial(combine_files, paths, out, "everything"),
            "both hashes alone": partial(hash_alone, paths, True),
            "CIDs only": partial(combine_files, paths, out, "CIDs only"),
            "one hash alone": partial(hash_alone, paths, False),
        }
    )
    compare = partial(versus, amount=amount, unit="GB/s")
    return [
        compare(
            "mean of 10 updates, everything checked",
            seconds["everything checked"],
            "both hashes alone, 2 processes",
            seconds["both hashes alone"],
            target=0.8,
        ),
        compare(
            "the same, CIDs, form and grid checked",
            seconds["CIDs only"],
            "sha2-256 alone, 2 processes",
            seconds["one hash alone"],
            target=0.4,
        ),
    ]


def _against_torch(paths: Sequence[Path], out: Path, amount: float) -> list[Figure]:
    seconds = in_turn(
        {"nothing checked": partial(combine_files, paths, out, "nothing"), **torch_contenders(paths, out)}
    )
    mine = seconds.pop("nothing checked")
    plain = min(("torch, 2 processes", "torch, 2 threads"), key=lambda name: statistics.median(seconds[name]))
    return [
        versus(
            "the same, nothing checked",
            mine,
            name if name != plain else f"{name}, result dropped",
            seconds[name],
            amount=amount,
            unit="GB/s",
            target=target,
        )
        for name, target in (
            (plain, None),
            ("torch, result written and hashed", 1.0),
            ("torch, fused multiply-add", None),
        )
    ]


def _against_flower(paths: Sequence[Path], out: Path, amount: float, told: list[dict[str, Any]]) -> list[Figure]:
    job = {"paths": [str(path) for path in paths], "weights": weights(len(paths))}
    seconds = in_turn(
        {
            "everything checked": partial(combine_files, paths, out, "everything"),
            "Flower": partial(run_peer, FLWR_PYTHON, "flwr_mean.py", job, told),
        },
        turns=3,
    )
    name = f"Flower {told[-1]['version']}, result dropped"
    what = "the same, everything checked"
    return [
        versus(what, seconds["everything checked"], name, seconds["Flower"], amount=amount, unit="GB/s", target=1.5)
    ]


if __name__ == "__main__":
    main()
