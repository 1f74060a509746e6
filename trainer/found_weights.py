"""What was read from files of weights: the tensors by name, their aliases, and what differs from the files."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import torch

from registry.errors import InputError

__all__ = ["Change", "WeightFiles", "require_library"]


@dataclass(frozen=True, slots=True)
class Change:
    """Something that an import changed.

    Attributes:
        change: What was done, such as "converted from BF16 to F32".
        tensors: The names that it was done to.
        alters: Whether the values or the set of tensors are others than those of the file.
    """

    change: str
    tensors: tuple[str, ...]
    alters: bool

    def __str__(self) -> str:
        more = f" and {len(self.tensors) - 3} more" if len(self.tensors) > 3 else ""
        return f"{self.change}: {', '.join(self.tensors[:3])}{more}"


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """The tensors of one or more files.

    Attributes:
        label: What errors call the files.
        tensors: Dense tensors by name, in the files' dtypes; quantized ones as the float32 values they stand for.
        aliases: Other names of tied tensors, mapped to the name in `tensors`.
        changes: What else the files held, and what became of it.
    """

    label: str
    tensors: dict[str, torch.Tensor]
    aliases: dict[str, str]
    changes: tuple[Change, ...]


def require_library(file: Path, library: str, extra: str) -> None:
    """Make sure that a library which reads a kind of file is installed.

    Raises:
        InputError: It is not; the message names the extra of this package that installs it.
    """
    if importlib.util.find_spec(library) is None:
        raise InputError(
            f"{file}: reading it needs {library}, which is not installed: pip install 'cairn-registry[{extra}]', "
            f"or in Cairn's checkout pip install -e '.[{extra}]'"
        )
