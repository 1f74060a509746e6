"""Local training algorithms, by the name that plans use; `registry.rules.algorithms` has their parameters."""

from __future__ import annotations

from collections.abc import Mapping

from trainer.algorithms import fedavg, feddyn, fednova, fedprox, fedrep, fedsgd, scaffold
from trainer.local_training import ClientUpdate

__all__ = ["ALGORITHMS"]

ALGORITHMS: Mapping[str, ClientUpdate] = {
    algorithm.NAME: algorithm.client_update
    for algorithm in (fedavg, fedsgd, fedprox, scaffold, fednova, feddyn, fedrep)
}
