"""User-supplied callbacks: report an error in one as the user's, with file and line."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import registry
from registry.errors import CairnError, InputError

__all__ = ["placed", "user_callback"]

_PATHS = [sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
_LIBRARIES = tuple(f"{Path(folder)}/" for folder in (*_PATHS, str(Path(__file__).parent), *registry.__path__))
"""Folders of code that is not the user's: the error's line is the last one outside them."""
_HINTS = {"Expected more than 1 value per channel when training": "; a batch of one: drop_last=True in the DataLoader"}


@contextmanager
def user_callback(what: str) -> Iterator[None]:
    """Run user code within the context, converting its errors to InputError.

    Args:
        what: Whose code it is and its name, for the message: `task: train_epoch`.

    Raises:
        InputError: The callback failed or exited; the message has the error and its line. Cairn's own errors pass
            through, and so does Ctrl-C.
    """
    try:
        yield
    except CairnError:
        raise
    except (Exception, SystemExit) as error:
        text = f"{what} raised {type(error).__name__}{_place(error)}: {error}".removesuffix(": ")
        hint = next((hint for said, hint in _HINTS.items() if said in text), "")
        raise InputError(text + hint) from error


@contextmanager
def placed(what: str) -> Iterator[None]:
    """Name the line of the user's code in an InputError that it meets within the context, after whose code it is."""
    try:
        yield
    except InputError as error:
        place = _place(error)
        if not place:
            raise
        raise InputError(f"{what}{place}: {error}") from error


def _place(error: BaseException) -> str:
    """Return ` at FILE:LINE`, the last line of the user's own code; nothing if no frame is theirs."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith((*_LIBRARIES, "<"))]
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f" at {_short(error.filename)}:{error.lineno}"
    return f" at {_short(own[-1].filename)}:{own[-1].lineno}" if own else ""


def _short(file: str) -> str:
    """Return a path relative to the current folder if it is within."""
    path = Path(file)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
