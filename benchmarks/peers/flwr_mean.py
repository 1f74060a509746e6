"""Flower's own aggregation of the same files, by `flwr.server.strategy.aggregate`. Prints its seconds as JSON.

    python flwr_mean.py {"paths": […], "weights": […]}

Runs in an environment of its own. The arrays are read with numpy, one file at a time into one buffer each, which is the
fastest way to get at them; Flower itself would have had them from the network, serialized.
"""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from flwr.server.strategy.aggregate import aggregate


def load(path: Path) -> list[np.ndarray]:
    """Return the arrays of a safetensors file of F32 tensors."""
    with path.open("rb") as file:
        fields = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = np.fromfile(file, dtype="<f4")
    arrays = []
    for field in fields.values():
        begin = field["data_offsets"][0] // 4
        arrays.append(data[begin : begin + math.prod(field["shape"])].reshape(field["shape"]))
    return arrays


def main() -> None:
    job = json.loads(sys.argv[1])
    begin = time.perf_counter()
    results = [(load(Path(path)), weight) for path, weight in zip(job["paths"], job["weights"], strict=True)]
    loaded = time.perf_counter()
    aggregate(results)
    end = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(json.dumps({"seconds": end - begin, "loading": loaded - begin, "peak_mb": peak, "version": version("flwr")}))


if __name__ == "__main__":
    main()
