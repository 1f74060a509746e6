"""Flower's aggregation of the same files, with `flwr.server.strategy.aggregate`. Prints its seconds as JSON.

    python flwr_mean.py {"paths": […], "weights": […], "function": "aggregate_krum", "arguments": {"to_keep": 1, …}}

`function` names a function of that module, default `aggregate`, and `arguments` its own besides the results. Bulyan
selects by Flower's Krum, the only rule that it takes.

Runs in its own environment. numpy reads the arrays, one file at a time into one buffer each, the fastest way; Flower
itself would receive them from the network, serialized.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from importlib.metadata import version
from pathlib import Path

from flwr.server.strategy import aggregate
from numpy_median import load


def main() -> None:
    job = json.loads(sys.argv[1])
    begin = time.perf_counter()
    results = [(load(Path(path)), weight) for path, weight in zip(job["paths"], job["weights"], strict=True)]
    loaded = time.perf_counter()
    function, arguments = job.get("function", "aggregate"), job.get("arguments", {})
    if function == "aggregate_bulyan":
        arguments["aggregation_rule"] = aggregate.aggregate_krum
    getattr(aggregate, function)(results, **arguments)
    end = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(json.dumps({"seconds": end - begin, "loading": loaded - begin, "peak_mb": peak, "version": version("flwr")}))


if __name__ == "__main__":
    main()
