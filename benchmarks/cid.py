"""Benchmark of CIDs: naming a 500 MB file, compared with sha2-256 of the same bytes on two threads.

Run as `python -m benchmarks.cid`; 0.5 GB of disk. The peer is the lower bound for two threads: each hashes one half of
the file as one stream, read into a buffer that stays in cache.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from benchmarks.measure import at_most, in_turn, peak_memory, scale, versus, workspace, write_results

SIZE = 500_000_000
BUFFER = 1 << 18
MEMORY_LIMIT = 64.0  # MB


def name_file(path: Path) -> None:
    """Compute the file's CID as `cairn cid` does."""
    from registry.store.blobs import blob_of_file

    blob_of_file(path)


def imports() -> None:
    """Import the modules that naming a file needs."""
    import registry.store.blobs  # noqa: F401


def hash_halves(path: Path, size: int) -> None:
    """Hash each half of a file on its own thread."""
    with path.open("rb") as file, ThreadPoolExecutor(2) as pool:
        for _ in pool.map(partial(_hash_range, file.fileno()), (0, size // 2), (size // 2, size)):
            pass


def _hash_range(file: int, at: int, end: int) -> bytes:
    buffer, state = memoryview(bytearray(BUFFER)), hashlib.sha256()
    while at < end:
        count = os.preadv(file, [buffer[: end - at]], at)
        state.update(buffer[:count])
        at += count
    return state.digest()


def main() -> None:
    size = round(SIZE * scale())
    with workspace("cid") as folder:
        path = folder / "file"
        with path.open("wb") as file:
            for at in range(0, size, 1 << 20):
                file.write(os.urandom(min(1 << 20, size - at)))
        seconds = in_turn({"CID": partial(name_file, path), "sha2-256": partial(hash_halves, path, size)})
        figures = [
            versus(
                "CID of 500 MB",
                seconds["CID"],
                "sha2-256 on 2 threads",
                seconds["sha2-256"],
                amount=size / 1e9,
                unit="GB/s",
                target=0.85,
            ),
            at_most("memory, CID of 500 MB", peak_memory(imports, partial(name_file, path)), "MB", MEMORY_LIMIT),
        ]
        write_results("cid", figures)


if __name__ == "__main__":
    main()
