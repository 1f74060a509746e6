"""User-supplied callbacks: report an error in one as the user's, with file and line."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from registry.errors import CairnError, InputError

__all__ = ["user_callback"]


@contextmanager
def user_callback(what: str) -> Iterator[None]:
    """Run user code within the context, converting its errors to InputError.

    Args:
        what: Name of the callback, for the message.

    Raises:
        InputError: The callback failed; the message has the error and its line. Cairn's own errors pass through.
    """
    try:
        yield
    except CairnError:
        raise
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        raise InputError(f"{what} failed: {type(error).__name__}: {error} ({at.filename}:{at.lineno})") from error
