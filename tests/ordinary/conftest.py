"""What people bring, through the command line: the worlds of `tests/cli`, in this process."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_spec = importlib.util.spec_from_file_location("cli_worlds", Path(__file__).parents[1] / "cli" / "conftest.py")
assert _spec is not None and _spec.loader is not None
_worlds = sys.modules["cli_worlds"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_worlds)

cairn, done, chain = _worlds.cairn, _worlds.done, _worlds.chain
world, shared_world, open_world = _worlds.world, _worlds.shared_world, _worlds.open_world
