"""Training of simulated participants on Ray, the extra `ray`; the updates are those of one process, to the bit."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from registry.errors import CairnError, InputError
from registry.rounds.onchain import RoundRecord
from registry.store.base import ContentStore
from registry.types import Address
from trainer.participant import Task, prepare_update

__all__ = ["Job", "Ray", "ray_on_this_machine"]

Job = tuple[ContentStore, Path, RoundRecord, Task, Address]
"""What `prepare_update` takes."""


class Ray:
    """A Ray instance on this machine."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._prepare = ray.remote(_prepare)

    def by_value(self, function: object) -> None:
        """Send a function's module along, if it is of a file of the user's, which Ray's processes cannot import."""
        module = sys.modules.get(getattr(function, "__module__", ""))
        if module is not None and not module.__name__.startswith(("trainer.", "registry.")):
            self._ray.cloudpickle.register_pickle_by_value(module)

    def prepare(self, jobs: Sequence[Job]) -> None:
        """Prepare updates, which are left in the participants' folders.

        Raises:
            CairnError: One of them failed.
        """
        try:
            self._ray.get([self._prepare.remote(job) for job in jobs])
        except self._ray.exceptions.RayTaskError as error:
            raise CairnError(f"training on Ray: {error.cause}") from error


def _prepare(job: Job) -> None:
    torch.set_num_threads(1)
    prepare_update(*job)


@contextmanager
def ray_on_this_machine(processes: int) -> Iterator[Ray]:
    """Start Ray on this machine, without its dashboard and usage reports, and stop it afterwards.

    Raises:
        InputError: Ray is not installed.
    """
    told: Mapping[str, str] = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    os.environ.update({name: value for name, value in told.items() if name not in os.environ})
    try:
        import ray
    except ImportError as error:
        raise InputError(
            "--ray needs Ray, which is not installed: in Cairn's checkout, pip install -e '.[ray]'"
        ) from error
    ray.init(num_cpus=processes, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield Ray(ray)
    finally:
        ray.shutdown()
