"""Benchmark of content stores: verified write and read throughput, compared with disk, hash and Kubo.

Run as `python -m benchmarks.store`; 4 GB of disk, and Kubo (`make kubo`) for its part.

Each turn writes a file of new random bytes and runs everything on it, so that other load on the machine affects all
contenders; ratios are medians over turns of figures from the same turn. Publishing includes the pin, as in `ipfs add`.
Rates are in MB/s (10^6).
"""

from __future__ import annotations

import hashlib
import os
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from benchmarks.measure import Figure, at_most, repeats, scale, workspace, write_results
from registry.dev.kubo_node import KuboNode, find_ipfs, init_node, start_node, stop_node
from registry.store.base import ContentStore
from registry.store.blobs import add_blob, add_file, blob_of_file, file_pieces, open_blob
from registry.store.gateway import GatewayStore
from registry.store.kubo import KuboStore
from registry.store.local import LocalStore
from registry.types import Blob

MIB = 1 << 20
SIZE = 475
"""MiB of the file: GPT-2 small in float32."""
MEMORY_LIMIT = 64.0  # MB
COMPARED = (
    ("local add, synced", "local add", "slower of sha2-256 and one write with sync", 0.7),
    ("local read, hashed", "local read", "sha2-256", 0.8),
    ("publish to Kubo what was hashed to commit it, pinned", "kubo publish and pin", "ipfs add", 0.75),
    ("fetch from Kubo, hashed", "kubo fetch", "ipfs cat", 0.6),
    ("the same, through the RPC alone", "kubo fetch through the RPC alone", "ipfs cat", None),
    ("the same, a CAR from its gateway", "gateway fetch as a CAR", "ipfs cat", None),
)
"""Rows of the table: label, measurement, peer, and minimum ratio."""


def main() -> None:
    mib = round(SIZE * scale())
    ipfs = find_ipfs(Path(__file__).parents[1] / ".tools" / "bin")
    with workspace("store") as folder, node(ipfs, folder) as running:
        turns = [measure(folder, mib, ipfs, running, turn=-1 if number % 2 else 1) for number in range(repeats())]
    figures = [compare(turns, *row) for row in COMPARED if row[1] in turns[0]]
    for name in ("local memory", "kubo memory"):
        if name in turns[0]:
            what = f"memory, {name.removesuffix(' memory')} store in and out"
            figures.append(at_most(what, max(found[name] for found in turns), "MB", MEMORY_LIMIT))
    write_results("store", figures, mib=mib, each=turns)


def compare(turns: list[dict[str, float]], what: str, mine: str, peer: str, target: float | None) -> Figure:
    """Return the two rates of every turn as a figure."""
    pairs = tuple((found[mine], found[peer]) for found in turns)
    ratio = statistics.median(a / b for a, b in pairs)
    return Figure(
        what=what,
        value=statistics.median(a for a, _ in pairs),
        unit="MB/s",
        peer=peer,
        peer_value=statistics.median(b for _, b in pairs),
        ratio=ratio,
        target=target,
        met=None if target is None else ratio >= target,
        turns=pairs,
    )


def measure(
    folder: Path, mib: int, ipfs: Path | None, running: KuboNode | None, *, turn: Literal[1, -1]
) -> dict[str, float]:
    """Run everything once on a new file; return rates in MB/s and memory in MB."""
    file, size = folder / "file", mib * MIB
    fill(file, mib)

    def rate(work: Callable[[], object]) -> float:
        began = time.perf_counter()
        work()
        took = time.perf_counter() - began
        print(f"  {took:.2f} s", flush=True)
        return size / 1e6 / took

    found: dict[str, float] = {}
    found["sha2-256"] = rate(lambda: hash_file(file))

    # Alternate the order: a disk may be slower just after a large write.
    with LocalStore(folder / "store") as local, watched_memory() as memory:
        tasks: list[tuple[str, Callable[[], object]]] = [
            ("write and sync", lambda: write_synced(file, folder / "copy")),
            ("local add", lambda: add_blob(local, file_pieces(file))),
        ]
        for name, work in tasks[::turn]:
            os.sync()
            time.sleep(1)
            found[name] = rate(work)
        blob = blob_of_file(file)
        found["local read"] = rate(lambda: drain(local, blob))
    found["local memory"] = memory()
    found["slower of sha2-256 and one write with sync"] = min(found["sha2-256"], found["write and sync"])
    subprocess.run(["rm", "-r", folder / "store", folder / "copy"], check=True)

    if ipfs is not None and running is not None:
        found |= measure_kubo(file, mib, ipfs, running, rate)
    return found


def measure_kubo(
    file: Path, mib: int, ipfs: Path, running: KuboNode, rate: Callable[[Callable[[], object]], float]
) -> dict[str, float]:
    """Measure publishing and fetching, and Kubo's own commands on the same node."""
    environment = {**os.environ, "IPFS_PATH": str(running.repo)}

    def command(*arguments: str) -> Callable[[], object]:
        quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": True}
        return lambda: subprocess.run([ipfs, *arguments], env=environment, **quiet)

    found: dict[str, float] = {}
    added = [rate(command("add", "-Q", str(file)))]
    fill(file, mib)  # new blocks for each: Kubo deduplicates existing ones
    with (
        KuboStore(running.api, gateway=running.gateway) as store,
        KuboStore(running.api) as plain,
        GatewayStore(running.gateway) as gateway,
        watched_memory() as memory,
    ):
        blob = blob_of_file(file)
        found["kubo publish"] = rate(lambda: add_file(store, file, blob))
        found["kubo pin"] = rate(lambda: store.pin(blob.cid))
        cats = [rate(command("cat", str(blob.cid)))]
        found["kubo fetch"] = rate(lambda: drain(store, blob))
        cats.append(rate(command("cat", str(blob.cid))))
        found["kubo fetch through the RPC alone"] = rate(lambda: drain(plain, blob))
        found["gateway fetch as a CAR"] = rate(lambda: drain(gateway, blob))
        store.unpin(blob.cid)
    found["kubo memory"] = memory()
    fill(file, mib)
    added.append(rate(command("add", "-Q", str(file))))
    found["ipfs add"], found["ipfs cat"] = statistics.mean(added), statistics.mean(cats)
    found["kubo publish and pin"] = 1 / (1 / found["kubo publish"] + 1 / found["kubo pin"])
    command("repo", "gc", "-q")()
    return found


@contextmanager
def node(ipfs: Path | None, folder: Path) -> Iterator[KuboNode | None]:
    """Run a private Kubo node if Kubo is installed."""
    if ipfs is None:
        yield None
        return
    init_node(folder / "kubo", ipfs)
    try:
        yield start_node(folder / "kubo", ipfs)
    finally:
        stop_node(folder / "kubo")


@contextmanager
def watched_memory() -> Iterator[Callable[[], float]]:
    """Yield a function that returns, afterwards, this process's peak private memory above its initial one."""
    before = most = private_memory()
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.05):
            most = max(most, private_memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: most - before
    finally:
        done.set()
        watcher.join()


def private_memory() -> float:
    """Return this process's private memory in MB, as Linux counts it."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) * 1024 / 1e6


def fill(file: Path, mib: int) -> None:
    """Write mib MiB, each different from all earlier ones."""
    body = os.urandom(MIB - 16)
    with file.open("r+b" if file.exists() else "wb") as out:  # in place: freeing disk blocks keeps a disk busy
        for _ in range(mib):
            out.write(os.urandom(16) + body)
    os.sync()


def hash_file(file: Path) -> None:
    """Hash each MiB of a file."""
    for piece in file_pieces(file):
        hashlib.sha256(piece).digest()


def write_synced(file: Path, copy: Path) -> None:
    """Copy a file and fsync the copy."""
    with copy.open("wb", buffering=0) as out:
        for piece in file_pieces(file):
            out.write(piece)
        os.fsync(out.fileno())


def drain(store: ContentStore, blob: Blob) -> None:
    """Read a whole blob, verifying its hashes."""
    if sum(map(len, open_blob(store, blob))) != blob.size:
        raise AssertionError(f"expected {blob.size} bytes")


if __name__ == "__main__":
    main()
