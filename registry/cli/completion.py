"""Shell completion of models, accounts and roles from local files: index files and keystores, never the network."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.errors import CairnError
from registry.types import Role

if TYPE_CHECKING:
    from registry.cli.settings import Settings

__all__ = ["completing"]

_PATIENCE = 0.3
"""Seconds to wait for an index file that is being written."""
_MOST = 200
"""Models completed at most."""


def completing(metavar: str | None) -> Callable[[Any, str], list[str]] | None:
    """Return what completes a parameter, by its metavar; None for one that nothing completes."""
    name = (metavar or "").rstrip(".…")
    return {
        "MODEL": _models,
        "MODEL[@VERSION]": _models,
        "VERSION": _models,
        "ACCOUNT": _accounts,
        "NAME": _accounts,
        "ROLE": _roles,
    }.get(name)


def _models(ctx: Any, incomplete: str) -> list[str]:
    """Models of every index file here, as prefixes of ten digits, with 0x if the text begins so."""
    from registry.index.queries import newest_models

    found: dict[str, None] = {}
    wanted = incomplete.lower().removeprefix("0x")
    for path in _index_files(_settings(ctx)):
        try:
            with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=_PATIENCE)) as db:
                ids = newest_models(db, _MOST)
        except sqlite3.Error:  # damaged, locked or of another release: nothing to offer
            continue
        found |= dict.fromkeys(model.hex() for model in ids if model.hex().startswith(wanted))
    return ["0x" + digits[: max(10, len(wanted))] for digits in found]


def _index_files(settings: Settings | None) -> list[Path]:
    if settings is None:
        return []
    try:
        return sorted((settings.path("home") / "index").absolute().glob("*/*.sqlite"))
    except (CairnError, OSError):
        return []


def _accounts(ctx: Any, incomplete: str) -> list[str]:
    """Names of the keystores in the keys folder."""
    from registry.cli.keystores import keystores_in

    settings = _settings(ctx)
    try:
        names = [] if settings is None else list(keystores_in(settings.path("keys")))
    except (CairnError, OSError):
        return []
    return [name for name in names if name.startswith(incomplete)]


def _roles(ctx: Any, incomplete: str) -> list[str]:
    return [name for name in (str(role.name).lower() for role in Role) if name.startswith(incomplete.lower())]


def _settings(ctx: Any) -> Settings | None:
    """Return the settings of the command line so far; None if they cannot be read."""
    from registry.cli.settings import SETTINGS, config_files, resolve

    flags = {setting.name: ctx.params.get(f"setting_{setting.name}") for setting in SETTINGS}
    try:
        return resolve(flags, os.environ, config_files(Path.cwd(), os.environ))
    except (CairnError, OSError):
        return None
