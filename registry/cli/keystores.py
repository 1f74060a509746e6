"""Read the public fields of keystore files, without a password."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from registry.types import Address

__all__ = ["account_of", "keystores_in", "read_keystore"]

_MAX_BYTES = 1 << 16


def read_keystore(path: Path) -> dict[str, Any] | None:
    """Return a keystore's JSON; None if the file is not a keystore."""
    try:
        with path.open("rb") as file:
            loaded = json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError):
        return None
    return loaded if isinstance(loaded, dict) and "crypto" in {key.lower() for key in loaded} else None


def account_of(path: Path) -> Address | None:
    """Return the account that a keystore names; None if it names none."""
    from registry.ethereum.keys import address_of

    named = (read_keystore(path) or {}).get("address")
    return address_of(named) if isinstance(named, str) and named else None


def keystores_in(folder: Path) -> dict[str, Path]:
    """Return the keystores of a folder by name."""
    files = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    return {path.name.removesuffix(".json"): path for path in files if read_keystore(path) is not None}
