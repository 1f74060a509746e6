"""How fast blobs go into stores and come out of them again, hashed, beside what the machine and Kubo can do.

    python benchmarks/store.py [--mib 475] [--rounds 5] [--ipfs .tools/bin/ipfs] > store.json

Each round writes a file of new random bytes and runs everything on it in turn, so that a busy machine is as busy for
the one as for the other; ratios are medians over rounds of figures from the same round. Rates are in MB/s (10^6).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from registry.content.unixfs import blob_of
from registry.store.base import ContentStore
from registry.store.blobs import add_blob, file_pieces, open_blob
from registry.store.gateway import GatewayStore
from registry.store.kubo import KuboStore
from registry.store.kubo_node import KuboNode, find_ipfs, init_node, start_node, stop_node
from registry.store.local import LocalStore
from registry.types import Blob

MIB = 1 << 20
TARGETS = {
    "cid / sha256 on two threads": 0.85,
    "local add / slower of hashing and writing": 0.7,
    "local read / hashing": 0.8,
    "kubo publish / ipfs add": 0.75,
    "kubo fetch / ipfs cat": 0.6,
}
MEMORY_TARGET = 64.0
"""MiB of private memory above what was there before."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=475, help="size of the file (default: GPT-2 small in float32)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ipfs", type=Path, help="the Kubo program (default: the project's, else the one on the PATH)")
    options = parser.parse_args()
    ipfs = options.ipfs or find_ipfs(Path(__file__).parents[1] / ".tools" / "bin")
    with tempfile.TemporaryDirectory() as folder, node(ipfs, Path(folder)) as running:
        rounds = [
            measure(Path(folder), options.mib, ipfs, running, turn=-1 if number % 2 else 1)
            for number in range(options.rounds)
        ]
    print(json.dumps(summary(options.mib, rounds), indent=2))


def measure(
    folder: Path, mib: int, ipfs: Path | None, running: KuboNode | None, *, turn: Literal[1, -1]
) -> dict[str, float]:
    """Run everything once on a new file; return rates, ratios and memory."""
    file, size = folder / "file", mib * MIB
    fill(file, mib)

    def rate(work: Callable[[], object]) -> float:
        began = time.perf_counter()
        work()
        return size / 1e6 / (time.perf_counter() - began)

    found: dict[str, float] = {}
    found["sha256"] = rate(lambda: hash_file(file))
    found["sha256 on two threads"] = rate(lambda: hash_file(file, threads=2))
    found["cid"] = rate(lambda: blob_of(file_pieces(file), workers=2))
    found["cid / sha256 on two threads"] = found["cid"] / found["sha256 on two threads"]

    # In turns, which first: a disk that has just taken much may take the next more slowly.
    with LocalStore(folder / "store") as local, watched_memory() as memory:
        tasks: list[tuple[str, Callable[[], object]]] = [
            ("write and sync", lambda: write_synced(file, folder / "copy")),
            ("local add", lambda: add_blob(local, file_pieces(file))),
        ]
        for name, work in tasks[::turn]:
            os.sync()
            time.sleep(1)
            found[name] = rate(work)
        blob = blob_of(file_pieces(file))
        found["local read"] = rate(lambda: drain(local, blob))
    found["local memory, MiB"] = memory()
    found["local add / slower of hashing and writing"] = found["local add"] / min(
        found["sha256"], found["write and sync"]
    )
    found["local read / hashing"] = found["local read"] / found["sha256"]
    subprocess.run(["rm", "-r", folder / "store", folder / "copy"], check=True)

    if ipfs is not None and running is not None:
        found |= measure_kubo(file, mib, ipfs, running, rate)
    return found


def measure_kubo(
    file: Path, mib: int, ipfs: Path, running: KuboNode, rate: Callable[[Callable[[], object]], float]
) -> dict[str, float]:
    """Publish and fetch, between two runs of Kubo's own commands on the node."""
    environment = {**os.environ, "IPFS_PATH": str(running.repo)}

    def command(*arguments: str) -> Callable[[], object]:
        quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": True}
        return lambda: subprocess.run([ipfs, *arguments], env=environment, **quiet)

    found: dict[str, float] = {}
    added = [rate(command("add", "-Q", str(file)))]
    fill(file, mib)  # new blocks for each: those that are there are not written again
    with (
        KuboStore(running.api, gateway=running.gateway) as store,
        KuboStore(running.api) as plain,
        GatewayStore(running.gateway) as gateway,
        watched_memory() as memory,
    ):
        found["kubo publish"] = rate(lambda: add_blob(store, file_pieces(file)))
        blob = blob_of(file_pieces(file))
        found["kubo pin"] = rate(lambda: store.pin(blob.cid))
        cats = [rate(command("cat", str(blob.cid)))]
        found["kubo fetch"] = rate(lambda: drain(store, blob))
        cats.append(rate(command("cat", str(blob.cid))))
        found["kubo fetch through the RPC alone"] = rate(lambda: drain(plain, blob))
        found["gateway fetch as a CAR"] = rate(lambda: drain(gateway, blob))
        store.unpin(blob.cid)
    found["kubo memory, MiB"] = memory()
    fill(file, mib)
    added.append(rate(command("add", "-Q", str(file))))
    found["ipfs add"], found["ipfs cat"] = statistics.mean(added), statistics.mean(cats)
    found["kubo publish / ipfs add"] = found["kubo publish"] / found["ipfs add"]
    both = 1 / (1 / found["kubo publish"] + 1 / found["kubo pin"])
    found["kubo publish and pin / ipfs add"] = both / found["ipfs add"]
    found["kubo fetch / ipfs cat"] = found["kubo fetch"] / found["ipfs cat"]
    command("repo", "gc", "-q")()
    return found


def summary(mib: int, rounds: list[dict[str, float]]) -> dict[str, object]:
    """Medians over the rounds, and which targets they meet."""
    medians = {name: round(statistics.median(found[name] for found in rounds), 3) for name in rounds[0]}
    met = {name: medians[name] >= target for name, target in TARGETS.items() if name in medians}
    met |= {name: medians[name] <= MEMORY_TARGET for name in medians if "memory" in name}
    return {
        "mib": mib,
        "rounds": len(rounds),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "medians": medians,
        "targets": TARGETS | {"memory, MiB": MEMORY_TARGET},
        "met": met,
        "each": [{name: round(value, 3) for name, value in found.items()} for found in rounds],
    }


@contextmanager
def node(ipfs: Path | None, folder: Path) -> Iterator[KuboNode | None]:
    """Run a private node, where there is Kubo."""
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
    """Yield a function that tells, afterwards, the most private memory of this process above what it began with."""
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
    """Return this process's private memory in MiB, as Linux counts it."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def fill(file: Path, mib: int) -> None:
    """Write mib MiB of which no two, here or before, are equal."""
    body = os.urandom(MIB - 16)
    with file.open("r+b" if file.exists() else "wb") as out:  # in place: giving blocks back keeps a disk busy
        for _ in range(mib):
            out.write(os.urandom(16) + body)
    os.sync()


def hash_file(file: Path, *, threads: int = 1) -> None:
    """Hash each MiB of a file."""
    pieces = file_pieces(file)
    if threads == 1:
        for piece in pieces:
            hashlib.sha256(piece).digest()
        return
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                piece = next(pieces, None)
            if piece is None:
                return
            hashlib.sha256(piece).digest()

    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work) for _ in range(threads)]:
            done.result()


def write_synced(file: Path, copy: Path) -> None:
    """Write a file's bytes to another and wait for the disk."""
    with copy.open("wb", buffering=0) as out:
        for piece in file_pieces(file):
            out.write(piece)
        os.fsync(out.fileno())


def drain(store: ContentStore, blob: Blob) -> None:
    """Read a blob, hashed, to its end."""
    if sum(map(len, open_blob(store, blob))) != blob.size:
        raise AssertionError(f"expected {blob.size} bytes")


if __name__ == "__main__":
    main()
