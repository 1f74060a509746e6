"""Functions that users bring: an error in one of them is theirs to mend, and says so."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from registry.errors import CairnError, InputError

__all__ = ["brought"]


@contextmanager
def brought(what: str) -> Iterator[None]:
    """Run a user's code.

    Args:
        what: What it is, for the error.

    Raises:
        InputError: It failed; says how, and at which line. Cairn's own errors stay as they are.
    """
    try:
        yield
    except CairnError:
        raise
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        raise InputError(f"{what} failed: {type(error).__name__}: {error} ({at.filename}:{at.lineno})") from error
