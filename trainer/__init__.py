"""Cairn with torch: modules as versions, tasks, and taking part in rounds. `docs/library.md` shows how."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainer import participant, simulation
    from trainer.modules import load_version, propose_plan, publish_module, register_module
    from trainer.participant import Task
    from trainer.private import load_personal

__all__ = [
    "Task",
    "load_personal",
    "load_version",
    "participant",
    "propose_plan",
    "publish_module",
    "register_module",
    "simulation",
]

_PLACES = {
    "Task": "trainer.participant",
    "load_personal": "trainer.private",
    "load_version": "trainer.modules",
    "propose_plan": "trainer.modules",
    "publish_module": "trainer.modules",
    "register_module": "trainer.modules",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: `import trainer` itself loads nothing."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)
