"""Run long-lived loops and tasks until Ctrl-C or SIGTERM, which end them after the current step.

The health of tasks is written to a status file, which `status` shows, and optionally served to Prometheus.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from registry.cli.session import Session
from registry.errors import CairnError, InputError
from registry.facts.plain import plain

if TYPE_CHECKING:
    from registry.roles.loop import LoopTask, TaskHealth
    from registry.roles.monitoring import Sample

__all__ = ["Metrics", "alone", "read_status", "run_loop", "run_tasks", "say", "take_all_steps", "tell_status"]

Metrics = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="Serve Prometheus metrics here under /metrics, and /health."),
]
T = TypeVar("T")
_FINISHING = b"\nFinishing this step; press Ctrl-C again to abort it.\n"
_STATUS_EVERY = 5.0
"""Seconds between two writes of the status file."""
_STALE = 60.0
"""Seconds without a write after which a status file counts as stale."""


def run_loop(
    session: Session,
    advance: Callable[[], str],
    *,
    poll: float,
    who: str,
    metrics: str | None = None,
    samples: Callable[[], tuple[Sample, ...]] | None = None,
) -> None:
    """Call advance until stopped, and print what each step did.

    Args:
        session: The running command's.
        advance: Runs one step; returns what it did, empty if there was nothing to do.
        poll: Seconds between polls while there is nothing to do.
        who: For the first line.
        metrics: HOST:PORT to serve metrics and health on; None for nowhere.
        samples: Reads gauges for the metrics; called from another thread.

    Raises:
        InputError: The metrics address is unusable.
    """
    from registry.cli.metrics_server import serving_metrics
    from registry.roles.loop import TaskHealth, follow

    stop, health = threading.Event(), {"loop": TaskHealth()}
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s  %(message)s", datefmt="%H:%M:%S")
    with serving_metrics(metrics, health, samples, stop):
        _tell_beginning(session, who, metrics)
        with _stopping(session, stop):
            follow(advance, stop, poll=poll, done=lambda said: say(session, said), health=health["loop"])


def run_tasks(
    session: Session,
    tasks: Sequence[LoopTask],
    *,
    poll: float,
    who: str,
    status: Path,
    metrics: str | None = None,
    samples: Callable[[], tuple[Sample, ...]] | None = None,
) -> None:
    """Run tasks concurrently until stopped, and print what they did.

    Args:
        session: The running command's.
        tasks: The tasks to run.
        poll: Seconds between a task's polls while it has nothing to do.
        who: For the first line.
        status: File to write the tasks' health to every few seconds.
        metrics: HOST:PORT to serve Prometheus metrics and health on; None for nowhere.
        samples: Reads gauges for the metrics; called from another thread.

    Raises:
        InputError: The metrics address is unusable, or another process runs from the status file's folder.
    """
    from registry.cli.metrics_server import serving_metrics
    from registry.roles.loop import TaskHealth

    stop, health = threading.Event(), {task.name: TaskHealth() for task in tasks}
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s  %(threadName)s: %(message)s", datefmt="%H:%M:%S")
    with alone(status.with_suffix(".lock")), serving_metrics(metrics, health, samples, stop):
        _tell_beginning(session, who, metrics)
        _supervise(session, tasks, stop, poll, health, status, who)


def _supervise(
    session: Session,
    tasks: Sequence[LoopTask],
    stop: threading.Event,
    poll: float,
    health: Mapping[str, TaskHealth],
    status: Path,
    who: str,
) -> None:
    from registry.roles.loop import supervise

    writing = threading.Thread(target=_write_status, args=(status, who, health, stop), name="status")
    writing.start()
    try:
        with _stopping(session, stop):
            supervise(tasks, stop, poll=poll, done=lambda said: say(session, said), health=health)
    finally:
        stop.set()
        writing.join()


def _tell_beginning(session: Session, who: str, metrics: str | None) -> None:
    session.out.note(f"{who}; stop with Ctrl-C (twice: in the middle of a step), which is safe at any time.")
    if metrics is not None:
        session.out.note(f"Metrics: http://{metrics}/metrics, health: http://{metrics}/health")


def read_status(path: Path) -> dict[str, Any] | None:
    """Read a role's status file; None if nothing has run from its folder.

    Returns:
        who, pid, updated (Unix seconds), running, and by task what `TaskHealth` has.

    Raises:
        InputError: The file is not a status file.
    """
    from registry.roles.loop import TaskHealth

    try:
        found = json.loads(path.read_text())
        facts = {name: found[name] for name in ("who", "pid", "updated", "tasks")}
        fresh = time.time() - float(facts["updated"]) < _STALE
        running = not found["stopped"] and fresh and _is_alive(int(facts["pid"]))
        return {
            **facts,
            "running": running,
            "tasks": {name: TaskHealth(**task) for name, task in facts["tasks"].items()},
        }
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: expected the status of a running role, got something else") from error


def tell_status(
    session: Session,
    path: Path,
    facts: Callable[[], T],
    text: Callable[[T], None],
    **more: object,
) -> None:
    """Print a role's on-chain state, then its tasks' health, which is printed even if the chain is unreachable.

    Args:
        session: The running command's.
        path: The role's status file.
        facts: Reads the chain.
        text: Prints the facts.
        more: Further fields for JSON.

    Raises:
        CairnError: The error of facts, raised after the rest is printed.
    """
    running = read_status(path)
    found, failed = None, None
    try:
        found = facts()
    except CairnError as error:
        failed = error

    def show() -> None:
        if found is not None:
            text(found)
        if running is None:
            session.out.note(f"Nothing has been run from {path.parent}.")
        else:
            _show_tasks(session, running)

    session.out.result({**(plain(found) if found is not None else {}), **more, "loop": running}, show)
    if failed is not None:
        raise failed


def _is_alive(pid: int) -> bool:
    """Return whether a process runs on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # of another user
    return True


def _show_tasks(session: Session, found: Mapping[str, Any]) -> None:
    now = time.time()
    state = "running" if found["running"] else "not running"
    session.out.line(f"{found['who']}: {state}, last seen {now - found['updated']:.0f} s ago")
    rows = []
    for name, task in found["tasks"].items():
        doing = f"failing for {now - task.failing:.0f} s: {task.error}" if task.failing else "well"
        did = f"{task.did} ({now - task.did_at:.0f} s ago)" if task.did else ""
        rows.append((name, doing, f"{now - task.stepped:.0f} s ago" if task.stepped else "never", task.steps, did))
    session.out.table(("task", "state", "last step", "steps", "last did"), rows, right=("steps",))


def _write_status(path: Path, who: str, health: Mapping[str, TaskHealth], stop: threading.Event) -> None:
    from registry.durable import write_whole

    while True:
        stopped = stop.wait(_STATUS_EVERY)
        facts = {
            "who": who,
            "pid": os.getpid(),
            "updated": time.time(),
            "stopped": stopped,
            "tasks": {name: asdict(task) for name, task in health.items()},
        }
        try:
            write_whole(path, json.dumps(facts, indent=1).encode())
        except OSError as error:
            logging.getLogger(__name__).warning("%s: not written: %s", path, error)
        if stopped:
            return


def say(session: Session, said: str) -> None:
    """Print what a loop did, or begins to do, with the time."""
    if session.out.as_json:
        import sys

        sys.stdout.write(json.dumps({"time": int(time.time()), "did": said}) + "\n")
        sys.stdout.flush()
    else:
        session.out.line(f"{time.strftime('%H:%M:%S')}  {said}")


def take_all_steps(session: Session, step: Callable[[], str], doing: str) -> None:
    """Take steps until one does nothing; print what was done.

    Args:
        session: The command's session.
        step: Takes a step; returns what it did, nothing if there is nothing to do.
        doing: What a terminal shows meanwhile.
    """
    done: list[str] = []
    with session.out.waiting(doing):
        while said := step():
            done.append(said)
            session.out.line(said)
    if session.out.as_json:
        session.out.result({"did": done})
    elif not done:
        session.out.note("Nothing to do now.")


@contextmanager
def alone(path: Path, said: str = "runs from this folder: stop it, or give --folder") -> Iterator[None]:
    """Hold an exclusive lock file, so that no second process duplicates this one's work.

    Args:
        path: The lock file.
        said: What the other process does, for the error.

    Raises:
        InputError: Another process holds the lock.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(f"{path.parent}: another process {said}") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _stopping(session: Session, stop: threading.Event) -> Iterator[None]:
    """Set stop at the first SIGINT or SIGTERM; the second interrupts at once. Say both what happens and its end."""

    def ask(number: int, frame: Any) -> None:
        if not session.out.as_json:
            os.write(2, _FINISHING)  # a signal may come in the middle of a print, which must not be entered again
        for asked in (signal.SIGINT, signal.SIGTERM):
            signal.signal(asked, signal.default_int_handler)
        # Set from another thread: this thread may hold the event's lock at this moment and would deadlock.
        threading.Thread(target=stop.set, name="stopping").start()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
        session.out.note("Stopped.")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
