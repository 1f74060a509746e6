"""Synthetic updates of GPT-2 small's shapes: 124 439 808 values in 148 tensors, on the grid, no two alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.measure import scale
from registry.content.tensors import write_tensors
from registry.rules.grid import F32, to_grid

__all__ = ["GRID_BITS", "shapes", "write_update", "write_version"]

GRID_BITS = 24
WIDTH, LAYERS, CONTEXT, VOCABULARY = 768, 12, 1024, 50257
_PERIOD = (1 << 20) + 257
"""Period of the values; odd, so that no two leaves of a file begin at the same value."""


def shapes() -> dict[str, tuple[int, ...]]:
    """Return the tensors by name; at a scale below 1 the vocabulary and the layers shrink."""
    vocabulary, layers = round(VOCABULARY * scale()), max(1, round(LAYERS * scale()))
    found: dict[str, tuple[int, ...]] = {"wte.weight": (vocabulary, WIDTH), "wpe.weight": (CONTEXT, WIDTH)}
    for i in range(layers):
        found |= {
            f"h.{i}.ln_1.weight": (WIDTH,),
            f"h.{i}.ln_1.bias": (WIDTH,),
            f"h.{i}.attn.c_attn.weight": (WIDTH, 3 * WIDTH),
            f"h.{i}.attn.c_attn.bias": (3 * WIDTH,),
            f"h.{i}.attn.c_proj.weight": (WIDTH, WIDTH),
            f"h.{i}.attn.c_proj.bias": (WIDTH,),
            f"h.{i}.ln_2.weight": (WIDTH,),
            f"h.{i}.ln_2.bias": (WIDTH,),
            f"h.{i}.mlp.c_fc.weight": (WIDTH, 4 * WIDTH),
            f"h.{i}.mlp.c_fc.bias": (4 * WIDTH,),
            f"h.{i}.mlp.c_proj.weight": (4 * WIDTH, WIDTH),
            f"h.{i}.mlp.c_proj.bias": (WIDTH,),
        }
    return found | {"ln_f.weight": (WIDTH,), "ln_f.bias": (WIDTH,)}


def write_update(path: Path, seed: int) -> None:
    """Write an update with values like a round's deltas: normal with standard deviation 0.01."""
    values = np.random.default_rng(seed).normal(scale=0.01, size=_PERIOD)
    _write(path, to_grid(values, GRID_BITS)[0], seed)


def write_version(path: Path, seed: int) -> None:
    """Write a version, with weights off the grid."""
    _write(path, np.random.default_rng(seed).normal(scale=0.02, size=_PERIOD).astype(np.float32), seed)


def _write(path: Path, period: F32, seed: int) -> None:
    """Fill every tensor with the periodic values, at a different offset in each."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in shapes().items():
        begin = int(rng.integers(_PERIOD))
        flat = np.resize(np.roll(period, -begin), int(np.prod(shape)))
        tensors[name] = ("F32", shape, flat.reshape(shape))
    with path.open("wb") as file:
        for piece in write_tensors(tensors):
            file.write(piece)
