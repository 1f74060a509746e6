"""Worker in a forked process, which exits with its parent and ignores Ctrl-C."""

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
    """Run work(*arguments, pipe) in a forked process; its return value or CairnError is sent last over the pipe.

    The process is terminated on exit. It must not use connections, locks or threads of this process.
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
    """Receive the next object from a forked process.

    Raises:
        CairnError: The error that it raised.
        InputError: It exited without a result, as when the system kills it.
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
    here.close()  # else this process would keep its own pipe open after the parent's exit
    try:
        made = work(*arguments, there)
    except CairnError as error:
        made = error
    except (EOFError, BrokenPipeError):
        return  # the parent has exited
    there.send(made)
