"""From `module:function` or `file.py:function` to a participant's task; and what is said where torch is missing."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.errors import InputError

if TYPE_CHECKING:
    from types import ModuleType

    from trainer.participant import Task

__all__ = ["load_task", "need_torch"]


def need_torch(what: str) -> None:
    """Say what to install, if torch is not there.

    Raises:
        InputError: It is not.
    """
    if importlib.util.find_spec("torch") is None:
        raise InputError(f"{what} needs torch, which is not installed: pip install 'cairn-registry[train]'")


def load_task(spec: str) -> Task:
    """Return what the function that spec names returns: a `trainer.participant.Task`.

    Args:
        spec: `package.module:function`, found from the current folder and the Python path, or `file.py:function`.

    Raises:
        InputError: There is no such function, it fails, or it returns something else.
    """
    need_torch("training")
    from trainer.participant import Task

    place, colon, name = spec.rpartition(":")
    if not colon or not place or not name:
        raise InputError(f"task: expected module:function or file.py:function, got {spec!r}")
    module = _from_file(Path(place)) if place.endswith(".py") else _from_path(place)
    function: Any = getattr(module, name, None)
    if not callable(function):
        raise InputError(f"task: {place} has no function {name!r}")
    task = function()
    if not isinstance(task, Task):
        raise InputError(f"task: expected {spec} to return a trainer.participant.Task, got {type(task).__name__}")
    return task


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(f"task: no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"task: {path} is no Python file")
    sys.path.insert(0, str(path.absolute().parent))  # what a script may import, this may too
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _from_path(name: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise InputError(f"task: no module {name!r} here or on the Python path") from error
        raise InputError(f"task: {name} imports {error.name!r}, which is not installed") from error
