"""numpy's median of the same files, layer by layer. Prints its seconds as JSON.

    python numpy_median.py {"paths": […], "weights": […]}

The arrays are read one file at a time into one buffer each, and the median is `np.median` over their stack.
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path

import numpy as np


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
    for layer in zip(*(load(Path(path)) for path in job["paths"]), strict=True):
        np.median(np.stack(layer), axis=0)
    print(json.dumps({"seconds": time.perf_counter() - begin}))


if __name__ == "__main__":
    main()
