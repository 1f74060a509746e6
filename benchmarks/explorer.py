"""Benchmark of the explorer: every page under 20 clients, over an index of a million commitments.

Run as `python -m benchmarks.explorer`; 0.6 GB of disk. A process serves the generated index of `benchmarks.index` from
an empty store; 20 clients on loopback, each with one connection kept open, ask for the pages in turn without a pause
for CAIRN_BENCH_SECONDS, default 60. The 95th percentile of each page counts, and how much the server grew meanwhile.
Each page has 50 addresses, so most answers are made once for many; then 1000, so that most are made for one.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import threading
import time
from collections import defaultdict
from multiprocessing.connection import Connection
from pathlib import Path

from web3 import Web3

from benchmarks.index import A_ROUND, COMMITMENTS, INSTANT, Generated
from benchmarks.measure import Figure, at_most, scale, workspace, write_results
from registry.index import queries
from registry.index.database import Index, read_index
from registry.index.entries import Following
from registry.index.sync import Follower

CLIENTS = 20
SECONDS = float(os.environ.get("CAIRN_BENCH_SECONDS", "60"))
LIMIT = 50.0  # ms
GROWTH = 32.0  # MB
Times = dict[str, list[float]]


def indexed(folder: Path, commitments: int) -> Path:
    """Index generated commitments; return the index."""
    provider = Generated(commitments)
    path = folder / "index.sqlite"
    with Index(path, Following(1, provider.hash_of(0), (provider.contract,), 1)) as index:
        Follower(index, Web3(provider), INSTANT).sync()
    return path


def serve_index(index: Path, told: Connection) -> None:
    """Serve an index until told to stop; tell the port first."""
    from registry.explorer.reading import Present, Shelf
    from registry.explorer.serving import listening, serve
    from registry.store.memory import MemoryStore

    listener, stop = listening("127.0.0.1", 0), threading.Event()
    shelf = Shelf(index, index.parent / "catalogue.sqlite", MemoryStore(), Present())
    threading.Thread(target=lambda: (told.recv(), stop.set()), daemon=True).start()
    told.send(listener.getsockname()[1])
    serve(shelf, listener, stop=stop)


def pages(index: Path, chance: random.Random, spread: int) -> dict[str, list[str]]:
    """Return so many addresses of each page, over the whole index."""
    model = f"/models/0x{Generated.model.hex()}"
    with read_index(index) as db:
        rows = db.execute("SELECT participant, digest FROM commitments WHERE block % 37 = 0 LIMIT 40000").fetchall()
        rounds = db.execute("SELECT count(*) FROM rounds").fetchone()[0]
        head = queries.head_block(db)
    assert head is not None
    some = [chance.choice(rows) for _ in range(spread)]
    numbers = [chance.randint(1, rounds) for _ in range(spread)]
    return {
        "models": ["/models"],
        "model": [model],
        "versions": [f"{model}/versions"],
        "rounds": [f"{model}/rounds?before={number + 1}" for number in numbers],
        "members": [f"{model}/members"],
        "version": [f"{model}/versions/0x{'33' * 32}"],
        "round": [f"{model}/rounds/{number}?after={100 * (number % 10)}" for number in numbers],
        "plan": [f"{model}/plans/0"],
        "participant": [f"/participants/0x{bytes(who).hex()}" for who, _ in some],
        "block": [f"/blocks/{chance.randint(2, head.number)}" for _ in range(spread)],
        "search": [f"/search?q={bytes(digest).hex()}" for _, digest in some],
        "round.json": [f"{model}/rounds/{number}.json" for number in numbers],
    }


async def client(port: int, asked: dict[str, list[str]], end: float, chance: random.Random, times: Times) -> None:
    """Ask for pages over one connection until the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < end:
        name = chance.choice(list(asked))
        begin = time.perf_counter()
        writer.write(f"GET {chance.choice(asked[name])} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        if status not in (200, 303):
            raise SystemExit(f"{name}: expected status 200 or 303, got {status}")
        lines = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:-2])
        await reader.readexactly(int(lines[b"content-length"]))
        times[name].append(time.perf_counter() - begin)
    writer.close()


async def crowd(port: int, asked: dict[str, list[str]], seconds: float, clients: int) -> Times:
    """Let clients ask at once; return the seconds of every answer, by page."""
    times: Times = defaultdict(list)
    end = time.perf_counter() + seconds
    await asyncio.gather(*(client(port, asked, end, random.Random(n), times) for n in range(clients)))
    return times


def resident(process: int) -> float:
    """Return the anonymous memory of a process, MB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024 / 1e6


def measured(index: Path, seconds: float) -> list[Figure]:
    """Serve an index to the clients; return a figure for each page, and one for the memory."""
    mine, told = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve_index, args=(index, told))
    process.start()
    assert process.pid is not None
    try:
        port, asked, all_new = mine.recv(), *(pages(index, random.Random(0), spread) for spread in (50, 1000))
        asyncio.run(crowd(port, asked, min(5.0, seconds), CLIENTS))
        before = resident(process.pid)
        times = asyncio.run(crowd(port, asked, seconds, CLIENTS))
        grown = resident(process.pid) - before
        alone = asyncio.run(crowd(port, asked, min(5.0, seconds), 1))
        rare = asyncio.run(crowd(port, all_new, seconds / 2, CLIENTS))
    finally:
        mine.send("stop")
        process.join(30)
    figures = []
    for name, took in times.items():
        took.sort()
        p50, p95 = (1000 * took[int(part * (len(took) - 1))] for part in (0.5, 0.95))
        lone = sorted(alone[name])[len(alone[name]) // 2] * 1000 if alone[name] else float("nan")
        print(f"  {name}: p50 {p50:.1f} ms, p95 {p95:.1f} ms, {len(took)} answers; alone {lone:.1f} ms", flush=True)
        figures.append(at_most(f"page {name}, 20 clients, 95th percentile", p95, "ms", LIMIT))
    slow = sorted(second for name in ("round", "rounds", "participant", "search") for second in rare[name])
    figures.append(Figure("pages made for one reader, 95th percentile", 1000 * slow[int(0.95 * (len(slow) - 1))], "ms"))
    figures.append(Figure("pages made for one reader, all", sum(map(len, rare.values())) / (seconds / 2), "a second"))
    answers = sum(map(len, times.values())) / seconds
    print(f"  {answers:.0f} answers a second; memory {before:.0f} MB, grown by {grown:.1f} MB", flush=True)
    figures.append(at_most("memory that the explorer grew by", max(grown, 0.0), "MB", GROWTH))
    return figures


def main() -> None:
    with workspace("explorer") as folder:
        index = indexed(folder, max(A_ROUND, round(COMMITMENTS * scale())))
        write_results("explorer", measured(index, SECONDS))


if __name__ == "__main__":
    main()
