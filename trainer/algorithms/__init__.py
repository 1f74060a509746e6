"""Local training algorithms, by the name that plans use."""

from __future__ import annotations

from trainer.algorithms import fedavg, fedprox

__all__ = ["ALGORITHMS"]

ALGORITHMS = {fedavg.NAME: fedavg.client_update, fedprox.NAME: fedprox.client_update}
