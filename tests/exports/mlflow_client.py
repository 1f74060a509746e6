"""What tests of the MLflow plug-in share: whether it is there, and the errors that it raises."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest


def require_plugin() -> None:
    """Skip a module of tests, with the reason, where MLflow or the plug-in's entry points are missing."""
    missing = ""
    if find_spec("mlflow") is None:
        missing = "mlflow-skinny is not installed, the extra `mlflow`"
    elif not importlib.metadata.entry_points(group="mlflow.model_registry_store", name="cairn"):
        missing = "this checkout is installed without its entry points for MLflow"
    if missing and os.environ.get("CAIRN_REQUIRE_ALL") == "1":
        pytest.fail(f"CAIRN_REQUIRE_ALL is set and {missing}", pytrace=False)
    if missing:
        pytest.skip(missing, allow_module_level=True)


def set_environment(patch: pytest.MonkeyPatch) -> None:
    """Have MLflow report nothing to its makers, and name a tracking server that no test asks."""
    patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")


def code_of(call: Callable[[], Any]) -> tuple[str, str]:
    """Return the error code of the MlflowException that a call raises, and its message."""
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException) as raised:
        call()
    return raised.value.error_code, raised.value.message
