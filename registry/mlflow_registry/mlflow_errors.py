"""Cairn's errors as MLflow's, with the error codes that its clients and server know."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INTERNAL_ERROR,
    INVALID_PARAMETER_VALUE,
    INVALID_STATE,
    RESOURCE_DOES_NOT_EXIST,
    TEMPORARILY_UNAVAILABLE,
)

from registry.errors import CairnError, ChainError, ContentError, IndexUnusable, InputError
from registry.explorer.reading import NotThere

__all__ = ["reported_to_mlflow"]

_CODES = (
    (NotThere, RESOURCE_DOES_NOT_EXIST),
    (IndexUnusable, INVALID_STATE),
    (InputError, INVALID_PARAMETER_VALUE),
    (ContentError, TEMPORARILY_UNAVAILABLE),
    (ChainError, TEMPORARILY_UNAVAILABLE),
    (CairnError, INVALID_STATE),
)


@contextmanager
def reported_to_mlflow() -> Iterator[None]:
    """Raise MlflowException for what Cairn raises on purpose inside, and for files and indexes that fail."""
    try:
        yield
    except OSError as error:
        told = f"{error.filename or 'input and output'}: {error.strerror or error}"
        raise MlflowException(told, error_code=INTERNAL_ERROR) from error
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise MlflowException(f"the index cannot be read: {error}", error_code=TEMPORARILY_UNAVAILABLE) from error
    except CairnError as error:
        code = next(code for kind, code in _CODES if isinstance(error, kind))
        raise MlflowException(str(error), error_code=code) from error
