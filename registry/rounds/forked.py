"""Work in a forked process, which ends when this one does and leaves Ctrl-C to it."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from registry.errors import CairnError, InputError

__all__ = ["Pipe", "answer", "forked"]

Pipe = Connection  # of multiprocessing: it carries Python objects between processes of one program


@contextmanager
def forked(work: Callable[..., object], *arguments: object) -> Iterator[Pipe]:
    """Call work(*arguments, pipe) in a forked process; what it returns, or the CairnError it raises, comes last.

    The process is ended on the way out. It must not use connections, locks or threads of this one.
    """
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(work, arguments, here, there))
    process.start()
    there.close()
    try:
        yield here
    finally:
        process.terminate()
        process.join()
        here.close()


def answer(pipe: Pipe) -> Any:
    """Return the next thing that a forked process says.

    Raises:
        CairnError: What it raised.
        InputError: It ended without a word, as one does that the system killed.
    """
    try:
        said = pipe.recv()
    except (EOFError, ConnectionResetError):
        raise InputError("a forked process ended early: is there enough memory?") from None
    if isinstance(said, CairnError):
        raise said
    return said


def _work(work: Callable[..., object], arguments: tuple[object, ...], here: Pipe, there: Pipe) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    here.close()  # else this process would keep its own pipe open once the other is gone
    try:
        made = work(*arguments, there)
    except CairnError as error:
        made = error
    except (EOFError, BrokenPipeError):
        return  # nobody is left to be told
    there.send(made)
