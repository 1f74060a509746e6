"""Golden digests: computed by integers alone, and what every machine, thread count and library must reproduce.

`python tests/rules/test_golden.py` computes them again from integers and rewrites the file: nothing should change.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from registry.rules.combine import rounded_mean, weighted_mean, weighted_sum
from registry.rules.grid import grid_integers
from registry.rules.step import server_step
from registry.types import GRID_LIMIT, MAX_TOTAL_WEIGHT

GOLDEN = Path(__file__).parents[1] / "golden" / "rules" / "means.json"
CASES = {"one": (1, 24), "three": (3, 24), "ten": (10, 0), "many": (100, 126), "heavy": (7, 20)}
"""Name to number of updates and grid bits."""
VALUES = 5000


def draw(seed: str, count: int, bits: int) -> list[int]:
    """Return integers below 2^bits, from sha256 in counter mode: the same everywhere for ever."""
    words = (hashlib.sha256(f"{seed}/{i}".encode()).digest() for i in range(-(-count // 4)))
    return [int.from_bytes(w[k : k + 8], "big") >> (64 - bits) for w in words for k in range(0, 32, 8)][:count]


def integers(name: str) -> tuple[list[list[int]], list[int]]:
    """Return each update's grid integers and its weight; extremes, zeros and ties are among them."""
    count, _ = CASES[name]
    updates = [[q - GRID_LIMIT for q in draw(f"{name}/{k}", VALUES, 25)] for k in range(count)]
    for update in updates:
        update[:4] = [GRID_LIMIT, -GRID_LIMIT, 0, 1]
    updates[0][4:8] = [1, -1, 3, -3]
    for update in updates[1:]:
        update[4:8] = [0, 0, 0, 0]  # ties and values near them, for even totals
    if name == "heavy":
        weights = [1] * (count - 1) + [MAX_TOTAL_WEIGHT - count + 1]
    else:
        weights = [1 + w for w in draw(f"{name}/weights", count, 20)]
    return updates, weights


def integer_mean(name: str) -> list[int]:
    """Return the mean of each coordinate, rounded half to even, in integers."""
    updates, weights = integers(name)
    total = sum(weights)
    means = []
    for column in zip(*updates, strict=True):
        whole, rest = divmod(sum(n * q for n, q in zip(weights, column, strict=True)), total)
        means.append(whole + (2 * rest > total or (2 * rest == total and whole % 2)))
    return means


def packed(values: list[int], bits: int) -> bytes:
    """Return integers times 2^-bits as little-endian float32; each is exact."""
    return b"".join(struct.pack("<f", value * 2.0**-bits) for value in values)


def golden() -> dict[str, str]:
    return {name: hashlib.sha256(packed(integer_mean(name), bits)).hexdigest() for name, (_, bits) in CASES.items()}


def arrays(name: str) -> tuple[list[np.ndarray], list[int], int]:
    updates, weights = integers(name)
    bits = CASES[name][1]
    return [np.frombuffer(packed(update, bits), dtype="<f4") for update in updates], weights, bits


def digest(values: np.ndarray) -> str:
    return hashlib.sha256(values.astype("<f4").tobytes()).hexdigest()


@pytest.mark.parametrize("name", CASES)
def test_numpy_gives_the_golden_mean_in_any_order(name: str) -> None:
    updates, weights, bits = arrays(name)
    expected = json.loads(GOLDEN.read_text())[name]
    assert digest(weighted_mean(updates, weights, bits)) == expected
    order = sorted(range(len(updates)), key=lambda k: hashlib.sha256(bytes([k])).digest())
    assert digest(weighted_mean([updates[k] for k in order], [weights[k] for k in order], bits)) == expected


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_number_of_threads_and_any_split_gives_the_golden_mean(name: str, threads: int) -> None:
    updates, weights, bits = arrays(name)
    groups = [range(k, len(updates), threads) for k in range(min(threads, len(updates)))]

    def part(group: range) -> np.ndarray:
        sums = np.empty(VALUES)
        factors = np.array([weights[k] * 2.0**bits for k in group])
        weighted_sum(np.stack([updates[k] for k in group]), factors, sums)
        return sums

    with ThreadPoolExecutor(threads) as pool:
        total = sum(pool.map(part, groups), np.zeros(VALUES))
    assert digest(rounded_mean(total, sum(weights), bits)) == json.loads(GOLDEN.read_text())[name]


@pytest.mark.parametrize("name", CASES)
def test_torch_gives_the_golden_mean(name: str) -> None:
    updates, weights, bits = arrays(name)
    stacked = torch.from_numpy(np.stack(updates)).double() * 2.0**bits  # (updates, values)
    sums = (stacked * torch.tensor(weights, dtype=torch.float64)[:, None]).sum(0)
    mean = (sums / torch.tensor(float(sum(weights)), dtype=torch.float64)).round() + 0.0
    assert digest((mean * 2.0**-bits).float().numpy()) == json.loads(GOLDEN.read_text())[name]


def test_server_step_gives_the_golden_version() -> None:
    updates, weights, bits = arrays("three")
    parent = np.array(draw("parent", VALUES, 24), dtype=np.float32) / np.float32(2**24)
    q = grid_integers(weighted_mean(updates, weights, bits), bits).astype(np.int64)
    made = server_step(parent, q, -bits)
    assert digest(made) == json.loads(GOLDEN.read_text())["step"]


def golden_step() -> str:
    """Redo the server step in integers: both terms are multiples of 2^-24, so their sum is, and rounds once."""
    sums = [p + a for p, a in zip(draw("parent", VALUES, 24), integer_mean("three"), strict=True)]
    rounded = []
    for value in sums:
        shift = max(0, abs(value).bit_length() - 24)
        whole, rest = divmod(abs(value), 1 << shift)
        half = 1 << shift >> 1
        whole += shift > 0 and (rest > half or (rest == half and whole % 2))
        rounded.append((whole << shift) * (-1 if value < 0 else 1))
    return hashlib.sha256(packed(rounded, 24)).hexdigest()


if __name__ == "__main__":
    GOLDEN.parent.mkdir(parents=True, exist_ok=True)
    GOLDEN.write_text(json.dumps(golden() | {"step": golden_step()}, indent=1) + "\n")
    sys.exit(0)
