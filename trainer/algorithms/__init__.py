"""What participants run, by the name plans use."""

from __future__ import annotations

from trainer.algorithms import fedavg

ALGORITHMS = {fedavg.NAME: fedavg.client_update}
