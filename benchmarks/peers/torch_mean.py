"""Streaming mean in torch: read tile by tile, `acc += w * x`, float32, unchecked. Prints its seconds as JSON.

    python torch_mean.py {"paths": […], "weights": […], "begin": bytes of header, "size": …, "processes": 2,
                          "threads": 1, "fused": false, "out": null or a path}

With an output path the mean is written there and hashed as Cairn does: sha2-256 of every MiB, and of every 4 KiB with
the Merkle tree above them.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from typing import Any

import torch

TILE = 1 << 20


def stream(job: dict[str, Any], begin: int, end: int) -> None:
    """Take the mean of bytes begin..end-1 of every file."""
    files = [os.open(path, os.O_RDONLY) for path in job["paths"]]
    out = os.open(job["out"], os.O_RDWR) if job["out"] else None
    tile, total = torch.empty(TILE // 4), float(sum(job["weights"]))
    buffer = memoryview(tile.numpy()).cast("B")
    for at in range(begin, end, TILE):
        count = min(TILE, end - at)
        x = tile[: count // 4]
        acc = torch.zeros(count // 4)
        for file, w in zip(files, job["weights"], strict=True):
            os.preadv(file, [buffer[:count]], at)
            if job["fused"]:
                acc.add_(x, alpha=w)
            else:
                acc += w * x
        acc /= total
        if out is not None:
            mean = memoryview(acc.numpy()).cast("B")
            hash_tile(mean)
            os.pwrite(out, mean, at)


def hash_tile(data: memoryview) -> None:
    """Hash a whole tile, and its 4 KiB chunks up to their Merkle root."""
    hashlib.sha256(data).digest()
    nodes = [hashlib.sha256(b"\x00" + data[i : i + 4096]).digest() for i in range(0, len(data), 4096)]
    while len(nodes) > 1:
        nodes = [hashlib.sha256(b"\x01" + a + b).digest() for a, b in zip(nodes[::2], nodes[1::2], strict=False)]


def main() -> None:
    job = json.loads(sys.argv[1])
    torch.set_num_threads(job["threads"])
    if job["out"]:
        with open(job["out"], "wb") as file:
            file.truncate(job["size"])
    tiles = -(-(job["size"] - job["begin"]) // TILE)
    bounds = [job["begin"] + tiles * i // job["processes"] * TILE for i in range(job["processes"])] + [job["size"]]
    begin = time.perf_counter()
    children = []
    for i in range(1, job["processes"]):
        child = os.fork()
        if not child:
            stream(job, bounds[i], bounds[i + 1])
            os._exit(0)
        children.append(child)
    stream(job, bounds[0], bounds[1])
    failed = [child for child in children if os.waitpid(child, 0)[1]]
    print(json.dumps({"seconds": time.perf_counter() - begin, "failed": len(failed)}))


if __name__ == "__main__":
    main()
