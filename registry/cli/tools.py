"""Find programs that a project installs locally."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

__all__ = ["find_solc", "tool_folders"]


def tool_folders() -> tuple[Path, ...]:
    """Return the tool folders of the current project and of the checkout that this package runs from."""
    roots = [*(Path.cwd(), *Path.cwd().parents), Path(__file__).absolute().parents[2]]
    places = [root / name for root in roots for name in (Path(".tools") / "bin", Path("node_modules") / ".bin")]
    return tuple(dict.fromkeys(place for place in places if place.is_dir()))


def find_solc() -> Path | None:
    """Return solc from the PATH, else the checkout's shim of npm's compiler; None to let py-solc-x choose."""
    found = shutil.which("solc")
    if found is not None:
        return Path(found)
    shim = Path(__file__).absolute().parents[2] / "contracts" / "tools" / "solc.js"
    installed = (shim.parents[2] / "node_modules" / "solc").is_dir()
    if not (installed and shim.is_file()):
        return None
    # The shim is a node script, and node may be installed only beside this Python.
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)])
    return shim if shutil.which("node") and os.access(shim, os.X_OK) else None
