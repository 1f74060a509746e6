"""The demo's baselines: one model per hospital trained alone, and one on all cases pooled.

A separate process trains them alongside the federated rounds, on the same cases, epochs and settings.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import torch

from registry.errors import CairnError
from trainer.demo.hospitals import load, pooled
from trainer.demo.model import ChapterModel, HeldOutScores, evaluate, order_of, train_epoch

__all__ = ["comparison"]


@contextmanager
def comparison(rounds: int) -> Iterator[Iterator[dict[str, HeldOutScores]]]:
    """Train the baselines; yields their scores by name after each round."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_train, args=(rounds, sender), daemon=True)
    process.start()
    sender.close()
    try:
        yield (_receive(receiver) for _ in range(rounds))
    finally:
        process.terminate()
        process.join()


def _receive(receiver: Connection) -> dict[str, HeldOutScores]:
    try:
        scores: dict[str, HeldOutScores] = receiver.recv()
    except EOFError:
        raise CairnError("the process that trains the baselines ended early") from None
    return scores


def _train(rounds: int, sender: Connection) -> None:
    torch.set_num_threads(1)
    training, own_held_out = load()
    everything, held_out = pooled(training.values()), pooled(own_held_out.values())
    models = {name: ChapterModel() for name in (*training, "pooled")}
    for epoch in range(rounds):
        for place, (name, cases) in enumerate(training.items()):
            train_epoch(models[name], cases, order_of(place, epoch))
        train_epoch(models["pooled"], everything, epoch)
        sender.send({name: evaluate(model, held_out) for name, model in models.items()})
