"""Example model and training task: scikit-learn's handwritten digits, a thousandth of MNIST's size."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import nn

from registry import DataSetManifest
from trainer import Task


def module() -> nn.Module:
    """Return the shared model; its initial values become the genesis."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def task(part: int, parts: int) -> Task:
    """Return the task of participant `part` of `parts`: every parts-th digit."""
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images[part::parts] / 16, dtype=torch.float32)  # (n, 64)
    y = torch.tensor(labels[part::parts])  # (n,)

    def train_epoch(model: nn.Module, epoch: int) -> dict[str, float]:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
        for rows in torch.randperm(len(x), generator=torch.Generator().manual_seed(epoch)).split(32):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
        return {"loss": loss.item()}

    name = f"digits, every {parts}th from {part}"
    data_set = DataSetManifest(name, "scikit-learn's digits", "BSD-3-Clause", "sklearn.datasets", len(x), sha256=None)
    return Task(module(), train_epoch, len(x), data_set)
