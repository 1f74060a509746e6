"""Figures of runs on disk, a JSON file each: a run whose file is there is not done again."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from registry.durable import write_whole

__all__ = ["kept_figures"]


def kept_figures(out: Path, name: str, run: Callable[[Path], Mapping[str, Any]]) -> dict[str, Any]:
    """Return a run's figures from its file in a folder; do it first, in a temporary folder, if there is none.

    Args:
        out: The folder of the files.
        name: The run's name, `run` in its figures; its file is called after it.
        run: Does the run; takes a folder for what it needs meanwhile.
    """
    file = out / f"{name.replace(': ', '-').replace(' ', '-')}.json"
    if not file.exists():
        with tempfile.TemporaryDirectory(prefix="cairn-run-") as folder:
            found = {"run": name, **run(Path(folder))}
        out.mkdir(parents=True, exist_ok=True)
        write_whole(file, (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode())
    told: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return told
