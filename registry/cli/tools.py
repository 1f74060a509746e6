"""Where programs that a project installs for itself lie."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

__all__ = ["find_solc", "tool_folders"]


def tool_folders() -> tuple[Path, ...]:
    """Return the tool folders of the project that we stand in, and of the checkout that this package runs from."""
    roots = [*(Path.cwd(), *Path.cwd().parents), Path(__file__).absolute().parents[2]]
    places = [root / name for root in roots for name in (Path(".tools") / "bin", Path("node_modules") / ".bin")]
    return tuple(dict.fromkeys(place for place in places if place.is_dir()))


def find_solc() -> Path | None:
    """Return a solc from the PATH, or the checkout's, which runs npm's compiler; None leaves it to py-solc-x."""
    found = shutil.which("solc")
    if found is not None:
        return Path(found)
    shim = Path(__file__).absolute().parents[2] / "contracts" / "tools" / "solc.js"
    installed = (shim.parents[2] / "node_modules" / "solc").is_dir()
    if not (installed and shim.is_file()):
        return None
    # The shim is a script for node, which may be installed beside this Python and nowhere else.
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)])
    return shim if shutil.which("node") and os.access(shim, os.X_OK) else None
