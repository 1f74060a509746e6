"""Matched against plain averaging of networks that were trained apart, once, on scikit-learn's digits (1 797 images).

Run as `python -m benchmarks.learning.matching`. Three participants train one hidden layer of ReLU units each, from
different first weights: with equal widths and data alike (IID), with widths 32, 48 and 64, and with equal widths and
skewed labels (Dirichlet, alpha 0.3). A quarter of the images is the test set, an eighth is for validation, which says
who is best alone, and by the first seed which of three learning rates a way takes. Five seeds; JSON and a plot go to
benchmarks/results.
"""

from __future__ import annotations

import json
from functools import cache
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
RATES = (0.03, 0.1, 0.3)
WAYS = ("best alone", "mean alone", "plain mean", "matched")
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


def trained(width: int, x: torch.Tensor, y: torch.Tensor, seed: int, rate: float) -> Network:
    """Return a network trained from first weights of its own."""
    torch.manual_seed(seed)
    network = Network(width)
    optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9)
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


@cache
def figures(case: str, seed: int, rate: float) -> dict[str, tuple[float, float]]:
    """Return each way's scores of one seed at one rate, on validation and test images."""
    widths, name, parameters = CASES[case]
    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    x, y = torch.from_numpy(digits.data[order] / 16).float(), torch.from_numpy(digits.target[order])
    test, held = len(order) // 4, 3 * len(order) // 8
    own = partition(y[held:].numpy().astype(np.int64), len(widths), seed, name, parameters)
    networks = [
        trained(width, x[held:][rows], y[held:][rows], 100 * seed + k, rate)
        for k, (width, rows) in enumerate(zip(widths, own, strict=True))
    ]
    arrays = [{name: value.numpy() for name, value in network.state_dict().items()} for network in networks]
    sizes = [len(rows) for rows in own]
    made = {"matched": filled(max(widths), match(arrays, LAYERS, sizes).arrays)}
    if len(set(widths)) == 1:
        shares = [size / sum(sizes) for size in sizes]
        plain = {name: sum(s * one[name] for s, one in zip(shares, arrays, strict=True)) for name in arrays[0]}
        made["plain mean"] = filled(widths[0], plain)
    validation, test_part = slice(test, held), slice(0, test)

    def scores(network: nn.Module) -> tuple[float, float]:
        return score(network, x[validation], y[validation]), score(network, x[test_part], y[test_part])

    alone = [scores(network) for network in networks]
    means = mean(one for one, _ in alone), mean(one for _, one in alone)
    return {"best alone": max(alone), "mean alone": means} | {way: scores(one) for way, one in made.items()}


def best(case: str, way: str) -> float:
    """Return the rate whose networks score best on the first seed's validation images."""
    return max(RATES, key=lambda rate: figures(case, SEEDS[0], rate)[way][0])


def draw(told: dict[str, Any], file: Path) -> None:
    """Draw the mean of each way as a bar, with the least and the most."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 4), layout="constrained")
    for place, way in enumerate(WAYS):
        scores = {at: told[case][way]["test"] for at, case in enumerate(CASES) if way in told[case]}
        means = [mean(one) for one in scores.values()]
        errors = [
            [middle - min(one) for middle, one in zip(means, scores.values(), strict=True)],
            [max(one) - middle for middle, one in zip(means, scores.values(), strict=True)],
        ]
        axes.bar([at + 0.2 * place - 0.3 for at in scores], means, 0.2, yerr=errors, capsize=2, label=way)
    axes.set_xticks(range(len(CASES)), list(CASES))
    axes.set(ylabel="macro-F1 (test)", ylim=(0, 1))
    axes.legend(loc="lower right", fontsize="small")
    figure.savefig(file)


def main() -> None:
    torch.set_num_threads(1)
    told: dict[str, dict[str, Any]] = {}
    for case in CASES:
        rates = {way: best(case, way) for way in WAYS if way in figures(case, SEEDS[0], RATES[0])}
        told[case] = {
            way: {"rate": rate, "test": [round(figures(case, seed, rate)[way][1], 4) for seed in SEEDS]}
            for way, rate in rates.items()
        }
        print(case, {way: (one["rate"], round(mean(one["test"]), 3)) for way, one in told[case].items()}, flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "matching.json").write_text(json.dumps(told, indent=1) + "\n")
    draw(told, RESULTS / "matching.png")


if __name__ == "__main__":
    main()
