"""Deep verification for visitors: a few at once, a bounded queue, progress, and the verdicts of the last ones."""

from __future__ import annotations

import enum
import logging
import tempfile
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from registry.errors import CairnError
from registry.facts.verification_facts import VerificationFacts, verification_facts, without_places
from registry.store.limited import LimitedStore
from registry.types import Digest, ModelId
from registry.verification.verify import verify_version

if TYPE_CHECKING:
    from registry.chain.anchors import ChainView
    from registry.lineage.graph import VersionNode
    from registry.store.base import ContentStore
    from registry.verification.cache import VerificationCache

__all__ = ["Busy", "VerificationJob", "JobState", "Verifier"]

log = logging.getLogger(__name__)

_PATIENCE = 1800.0
"""Seconds after which a verification waits for no further block of others."""


class Busy(CairnError):
    """As much of this is under way as may be."""


class JobState(enum.StrEnum):
    """What became of a verification."""

    WAITING = "waiting"
    RUNNING = "running"
    STOPPING = "stopping"
    DONE = "done"
    STOPPED = "stopped"
    BROKEN = "broken"
    """Chain or store could not be read."""


@dataclass(frozen=True, slots=True)
class VerificationJob:
    """A verification of a version with all its ancestors.

    Attributes:
        begun: When it was asked for, Unix seconds of this machine.
        step: What is being verified: genesis, round N, an owner's version; empty before and after.
        combined: Bytes of updates combined so far.
        verified: Versions verified so far, genesis first.
        said: Why it broke off; empty if it did not.
    """

    model: ModelId
    version: Digest
    state: JobState
    begun: int
    step: str = ""
    combined: int = 0
    verified: tuple[VerificationFacts, ...] = ()
    said: str = ""

    @property
    def open(self) -> bool:
        """Whether it waits or runs."""
        return self.state in (JobState.WAITING, JobState.RUNNING, JobState.STOPPING)


class _Stop(Exception):
    """Ends a verification that was told to stop."""


_Key = tuple[ModelId, Digest]


class Verifier:
    """Verifies versions in threads of its own; shared by threads."""

    def __init__(
        self,
        client: ChainView,
        store: ContentStore,
        *,
        cache: VerificationCache | None = None,
        at_once: int = 1,
        waiting: int = 8,
        kept: int = 64,
    ) -> None:
        """Bind to chain and store.

        Args:
            client: Read by the threads alone.
            store: Of the versions' blocks.
            cache: Verdicts of earlier verifications on this machine; None to recompute everything.
            at_once: Most that run.
            waiting: Most that wait.
            kept: Verdicts that are kept, the newest.
        """
        self._client, self._store, self._cache = client, store, cache
        self._at_once, self._waiting, self._kept = at_once, waiting, kept
        self._lock = threading.Lock()
        self._jobs: OrderedDict[_Key, VerificationJob] = OrderedDict()
        self._threads: set[threading.Thread] = set()
        self._changes = 0

    @property
    def changes(self) -> int:
        """A number that grows whenever a job changes."""
        with self._lock:
            return self._changes

    def states(self) -> dict[JobState, int]:
        """Return the number of jobs in each state, of those that are kept."""
        with self._lock:
            found = [job.state for job in self._jobs.values()]
        return {state: found.count(state) for state in JobState}

    def job(self, model: ModelId, version: Digest) -> VerificationJob | None:
        """Return the newest verification of a version; None if there was none."""
        with self._lock:
            return self._jobs.get((model, version))

    def start(self, model: ModelId, version: Digest) -> None:
        """Verify a version, unless that is under way.

        Raises:
            Busy: As many wait as may.
        """
        key = (model, version)
        with self._lock:
            held = self._jobs.get(key)
            if held is not None and held.open:
                return
            waiting = sum(job.state is JobState.WAITING for job in self._jobs.values())
            if waiting >= self._waiting:
                raise Busy(f"{waiting} verifications wait, which is as many as may: try again later")
            self._put(key, VerificationJob(model, version, JobState.WAITING, int(time.time())))
            self._jobs.move_to_end(key)
            for old in [k for k, job in self._jobs.items() if not job.open][: -self._kept or None]:
                del self._jobs[old]
            if len(self._threads) < self._at_once:
                thread = threading.Thread(target=self._work, name="verify", daemon=True)
                self._threads.add(thread)
                thread.start()

    def stop(self, model: ModelId, version: Digest) -> None:
        """Stop a verification; one that runs stops at its next step."""
        with self._lock:
            self._told_to_stop((model, version))

    def close(self, seconds: float = 10.0) -> None:
        """Stop all, and wait so long for those that run."""
        with self._lock:
            for key in list(self._jobs):
                self._told_to_stop(key)
            threads = list(self._threads)
        for thread in threads:
            thread.join(seconds)

    def _told_to_stop(self, key: _Key) -> None:
        held = self._jobs.get(key)
        if held is not None and held.state is JobState.WAITING:
            self._put(key, replace(held, state=JobState.STOPPED))
        if held is not None and held.state is JobState.RUNNING:
            self._put(key, replace(held, state=JobState.STOPPING))

    def _put(self, key: _Key, job: VerificationJob) -> None:
        self._jobs[key] = job
        self._changes += 1

    def _work(self) -> None:
        while True:
            with self._lock:
                key = next((k for k, job in self._jobs.items() if job.state is JobState.WAITING), None)
                if key is None:
                    self._threads.discard(threading.current_thread())
                    return
                self._put(key, replace(self._jobs[key], state=JobState.RUNNING))
            self._ended(key, self._verified(key))

    def _verified(self, key: _Key) -> tuple[JobState, str]:
        """Carry out a job; return its end and why it broke off."""

        def progress(step: VersionNode, combined: int) -> None:
            with self._lock:
                job = self._jobs[key]
                if job.state is JobState.STOPPING:
                    raise _Stop
                name = f"round {step.round}" if step.round else "owner's version" if any(step.parent) else "genesis"
                self._put(key, replace(job, step=name, combined=job.combined + combined))

        try:
            with tempfile.TemporaryDirectory(prefix="cairn-verify-") as folder:
                store = LimitedStore(self._store, _PATIENCE)
                for one in verify_version(
                    self._client, store, *key, Path(folder), verified=self._cache, progress=progress
                ):
                    facts = verification_facts(one)
                    facts = replace(facts, checks=tuple(map(without_places, facts.checks)))
                    with self._lock:
                        self._put(key, replace(self._jobs[key], verified=(*self._jobs[key].verified, facts)))
                        if self._jobs[key].state is JobState.STOPPING:
                            raise _Stop
        except _Stop:
            return JobState.STOPPED, ""
        except Exception as error:  # noqa: BLE001 - whatever it is, the page says so and the next one runs
            log.warning("a verification broke off: %s: %s", type(error).__name__, error)  # it may name hosts
            return JobState.BROKEN, f"{type(error).__name__}, of which the explorer's log says more"
        return JobState.DONE, ""

    def _ended(self, key: _Key, end: tuple[JobState, str]) -> None:
        with self._lock:
            self._put(key, replace(self._jobs[key], state=end[0], step="", said=end[1]))
