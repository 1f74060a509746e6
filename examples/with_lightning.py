"""Personalized federated learning with Lightning: a shared body, and a private head at each participant.

Requires `pip install -e '.[integrations]'`.

    cairn model register --module examples/with_lightning.py:module --without 'head.*'
    cairn participant run MODEL --task examples/with_lightning.py:task
"""

from __future__ import annotations

from collections.abc import Mapping

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from registry.content.manifest import DataSetManifest
from trainer.participant import Task
from trainer.updates import this_package

PRIVATE = ("head.*",)


class Regression(lightning.LightningModule):
    """A shared body and a private head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 8)
        self.head = nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # [B, 4] -> [B, 1]
        made: torch.Tensor = self.head(torch.tanh(self.body(x)))
        return made

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> torch.Tensor:
        """Return the loss of a batch."""
        x, y = batch
        return nn.functional.mse_loss(self(x), y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer; the plan's algorithm, such as FedProx, hooks its steps."""
        return torch.optim.SGD(self.parameters(), lr=0.05)


def module() -> nn.Module:
    """Return the initial module."""
    torch.manual_seed(0)
    return Regression()


def task(seed: int = 0) -> Task:
    """Return a participant's task: the sums of its own inputs."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(40, 4, generator=generator)
    data = TensorDataset(x, x.sum(1, keepdim=True) + seed)

    def train_epoch(model: nn.Module, epoch: int) -> Mapping[str, float]:
        assert isinstance(model, Regression)
        trainer = lightning.Trainer(
            max_epochs=1,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(model, DataLoader(data, batch_size=10))
        return {"loss": nn.functional.mse_loss(model(x), data.tensors[1]).item()}

    about = DataSetManifest(f"sums {seed}", "", "CC0-1.0", "", len(data), None)
    code = this_package()  # of your own: Code("REPOSITORY", "COMMIT")
    return Task(module(), train_epoch, len(data), about, private=PRIVATE, code=code)
