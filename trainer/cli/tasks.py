"""Load tasks and modules from `module:function` or `file.py:function`, and require torch."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from registry.errors import InputError
from trainer.callbacks import placed, user_callback

if TYPE_CHECKING:
    from types import ModuleType

    from torch import nn

    from registry.rules.program import Program
    from trainer.participant import Task

__all__ = ["Unshared", "load_module", "load_problem", "load_program", "load_score", "load_task", "named", "need_torch"]


Unshared = Annotated[
    list[str] | None,
    typer.Option(
        "--without",
        metavar="PATTERN",
        help="Tensors of the module that are not shared: private to participants, or of the base; repeatable.",
    ),
]


def need_torch(what: str) -> None:
    """Require torch.

    Raises:
        InputError: It is not installed; the message names the package to install.
    """
    if importlib.util.find_spec("torch") is None:
        raise InputError(f"{what} needs torch, which is not installed: in Cairn's checkout, pip install -e '.[train]'")


def load_task(spec: str) -> Task:
    """Return the `trainer.participant.Task` that the named function returns.

    Args:
        spec: `package.module:function`, found from the current folder and the Python path, or `file.py:function`.

    Raises:
        InputError: The function does not exist, fails, or returns something else.
    """
    need_torch("training")
    from trainer.participant import Task

    task = _called("task", spec)
    if not isinstance(task, Task):
        raise InputError(f"task: expected {spec} to return a trainer.participant.Task, got {type(task).__name__}")
    return task


def load_problem(spec: str) -> object:
    """Return what the named function returns, as a learning problem. Arguments and errors as in `load_task`."""
    need_torch("a problem")
    return _called("problem", spec)


def named(spec: str) -> str:
    """Return what identifies a task that was loaded: its name as given, and the digest of its file."""
    place = spec.rpartition(":")[0]
    loaded = sys.modules.get(place)
    file = Path(place) if place.endswith(".py") else Path(getattr(loaded, "__file__", None) or "")
    digest = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
    return f"--task {spec}\n{digest}"


def load_module(spec: str) -> nn.Module:
    """Return the torch module that the named function returns. Arguments and errors as in `load_task`."""
    need_torch("a module")
    from torch import nn

    module = _called("module", spec)
    if not isinstance(module, nn.Module):
        raise InputError(f"module: expected {spec} to return a torch.nn.Module, got {type(module).__name__}")
    return module


def load_score(spec: str) -> Callable[..., Any]:
    """Return the named function, as a validator's. Arguments and errors as in `load_task`; nothing here needs torch."""
    found: Callable[..., Any] = _found("task", spec)
    return found


def load_program(spec: str) -> Program:
    """Return the server program of the named function, traced; or the program itself, where a decorator has traced it.

    Args:
        spec: `package.module:function`, found from the current folder and the Python path, or `file.py:function`.

    Raises:
        InputError: The function does not exist, fails, or cannot be traced.
    """
    from registry.rules.program import Program
    from registry.rules.tracing import trace

    what = f"server: {spec}"
    with placed(what):
        found = _found("server", spec)
    if isinstance(found, Program):
        return found
    try:
        with placed(what), user_callback(what):
            return trace(found)
    except InputError as error:
        raise error if str(error).startswith(what) else InputError(f"{what}: {error}") from error


def _called(what: str, spec: str) -> Any:
    function = _found(what, spec)
    with user_callback(f"{what}: {spec}"):
        return function()


def _found(what: str, spec: str) -> Any:
    """Return what a name stands for in a file or module: a function, or a server program."""
    place, colon, name = spec.rpartition(":")
    if not colon or not place or not name:
        raise InputError(f"{what}: expected module:function or file.py:function, got {spec!r}")
    with user_callback(f"{what}: {place}"):
        module = _from_file(what, Path(place)) if place.endswith(".py") else _from_path(what, place)
    function: Any = getattr(module, name, None)
    if not callable(function) and not (what == "server" and type(function).__name__ == "Program"):
        raise InputError(f"{what}: {place} has no function {name!r}")
    return function


def _from_file(what: str, path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(f"{what}: no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{what}: {path} is no Python file")
    sys.path.insert(0, str(path.absolute().parent))  # imports resolve as for a script run from here
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _from_path(what: str, name: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise InputError(f"{what}: no module {name!r} here or on the Python path") from error
        raise InputError(f"{what}: {name} imports {error.name!r}, which is not installed") from error
