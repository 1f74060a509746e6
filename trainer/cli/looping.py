"""Running a loop until somebody stops it: Ctrl-C and SIGTERM end it after the step in hand."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from trainer.cli.session import Session

__all__ = ["run_loop"]


def run_loop(session: Session, advance: Callable[[], str], *, poll: float, who: str) -> None:
    """Call advance until stopped, and print what it did.

    Args:
        session: The running command's.
        advance: One step; says what it did, nothing if there was nothing to do.
        poll: Seconds between two looks when there is nothing to do.
        who: For the first line.
    """
    from trainer.loop import follow

    stop = threading.Event()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s  %(message)s", datefmt="%H:%M:%S")
    session.out.note(f"{who}; stop with Ctrl-C (twice: in the middle of a step), which is safe at any time.")
    with _stopping(stop):
        follow(advance, stop, poll=poll, done=lambda said: _tell(session, said))


def _tell(session: Session, said: str) -> None:
    import time

    if session.out.as_json:
        import json
        import sys

        sys.stdout.write(json.dumps({"time": int(time.time()), "did": said}) + "\n")
        sys.stdout.flush()
    else:
        session.out.line(f"{time.strftime('%H:%M:%S')}  {said}")


@contextmanager
def _stopping(stop: threading.Event) -> Iterator[None]:
    """Set stop at the first SIGINT or SIGTERM; a second one interrupts at once."""

    def ask(number: int, frame: Any) -> None:
        stop.set()
        for asked in (signal.SIGINT, signal.SIGTERM):
            signal.signal(asked, signal.default_int_handler)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
