"""Matched against plain averaging of networks that were trained apart, once, on scikit-learn's digits (1 797 images).

Run as `python -m benchmarks.learning.matching`. Three participants train one hidden layer of ReLU units each, from
different first weights: with equal widths and data alike (IID), with widths 32, 48 and 64, and with equal widths and
skewed labels (Dirichlet, alpha 0.3). A quarter of the images is the test set; nothing is tuned. Five seeds; JSON goes
to benchmarks/results/matching.json.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import f1_score
from torch import nn

from registry.rules.matching import match
from trainer.experiments.partitions import partition

RESULTS = Path(__file__).parents[1] / "results"
SEEDS = range(5)
EPOCHS = 40
CASES: dict[str, tuple[tuple[int, ...], str, dict[str, float]]] = {
    "same data, widths 64": ((64, 64, 64), "iid", {}),
    "same data, widths 32, 48, 64": ((32, 48, 64), "iid", {}),
    "skewed data, widths 64": ((64, 64, 64), "dirichlet", {"alpha": 0.3}),
}
LAYERS = ("hidden", "out")


class Network(nn.Module):
    """One hidden layer of ReLU units."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(64, width), nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.out(torch.relu(self.hidden(x)))
        return found


def trained(width: int, x: torch.Tensor, y: torch.Tensor, seed: int) -> Network:
    """Return a network trained from first weights of its own."""
    torch.manual_seed(seed)
    network = Network(width)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x[rows]), y[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return network


def score(network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    """Return macro-F1."""
    with torch.no_grad():
        return float(f1_score(y, network(x).argmax(1), average="macro"))


def filled(width: int, arrays: Any) -> Network:
    """Return a network with these tensors."""
    network = Network(width)
    network.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})
    return network


def figures(widths: Sequence[int], name: str, parameters: dict[str, float], seed: int) -> dict[str, float]:
    """Return the scores of one seed."""
    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    x, y = torch.from_numpy(digits.data[order] / 16).float(), torch.from_numpy(digits.target[order])
    held = len(order) // 4
    own = partition(y[held:].numpy().astype(np.int64), len(widths), seed, name, parameters)
    networks = [
        trained(width, x[held:][rows], y[held:][rows], 100 * seed + k)
        for k, (width, rows) in enumerate(zip(widths, own, strict=True))
    ]
    arrays = [{name: value.numpy() for name, value in network.state_dict().items()} for network in networks]
    sizes = [len(rows) for rows in own]
    alone = [score(network, x[:held], y[:held]) for network in networks]
    matched = filled(max(widths), match(arrays, LAYERS, sizes).arrays)
    found = {"best alone": max(alone), "mean alone": mean(alone), "matched": score(matched, x[:held], y[:held])}
    if len(set(widths)) == 1:
        shares = [size / sum(sizes) for size in sizes]
        plain = {name: sum(s * one[name] for s, one in zip(shares, arrays, strict=True)) for name in arrays[0]}
        found["plain mean"] = score(filled(widths[0], plain), x[:held], y[:held])
    return found


def main() -> None:
    torch.set_num_threads(1)
    told: dict[str, dict[str, list[float]]] = {}
    for case, (widths, name, parameters) in CASES.items():
        runs = [figures(widths, name, parameters, seed) for seed in SEEDS]
        told[case] = {what: [round(run[what], 4) for run in runs] for what in runs[0]}
        print(case, {what: round(mean(values), 3) for what, values in told[case].items()}, flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "matching.json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
