"""Registry URIs: which index and store `cairn:…` names, and the operator's names for models.

    cairn:                       the one index in Cairn's home folder that the settings allow
    cairn:FILE                   the index in this file
    cairn:FOLDER                 a snapshot of `cairn explorer --save`, with its own store
    cairn:…?SETTING=VALUE&…      settings before those of environment and cairn.toml, as flags are for a command
    cairn:…?name=WORD:0xID       call a model WORD; once for each
    cairn:…?deprecated=yes       hand out the files of deprecated versions too

Values are percent-encoded; a plus stands for itself. No node is asked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from registry.cli.session import Session
from registry.errors import IndexUnusable, InputError
from registry.explorer.reading import Present, Shelf
from registry.explorer.snapshot import open_snapshot
from registry.types import ModelId

__all__ = ["RegistryUri", "open_shelf", "parse_registry_uri"]

_SETTINGS = ("chain_id", "contract", "home", "ipfs_path", "store")
_NAME = re.compile(r"(?!0x)[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}:0x[0-9a-f]{64}", re.ASCII)
_ADDRESS = re.compile(r"0x[0-9a-f]{40}", re.ASCII)


@dataclass(frozen=True, slots=True)
class RegistryUri:
    """What a registry URI says.

    Attributes:
        path: An index or a snapshot; None for the index in the home folder.
        settings: Settings by name.
        names: Models by the operator's names.
        deprecated: Whether files of deprecated versions are handed out.
    """

    path: Path | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, ModelId] = field(default_factory=dict)
    deprecated: bool = False


def parse_registry_uri(uri: str) -> RegistryUri:
    """Parse a registry URI.

    Raises:
        InputError: It is none.
    """
    split = urlsplit(uri)
    if split.scheme != "cairn" or split.netloc or split.fragment or "\0" in unquote(uri):
        raise InputError(f"expected cairn:, cairn:FILE or cairn:FOLDER, with ?NAME=VALUE&… after it, got {uri!r:.200}")
    settings: dict[str, str] = {}
    names: dict[str, ModelId] = {}
    deprecated = False
    for part in split.query.split("&") if split.query else ():
        key, _, value = (unquote(text) for text in part.partition("="))
        if key == "name" and _NAME.fullmatch(value):
            word, _, model = value.partition(":")
            if word in names or ModelId(bytes.fromhex(model[2:])) in names.values():
                raise InputError(f"{uri!r:.200}: expected one name a model, got {value!r} beside another")
            names[word] = ModelId(bytes.fromhex(model[2:]))
        elif key == "deprecated" and value == "yes":
            deprecated = True
        elif key in _SETTINGS and value and key not in settings:
            settings[key] = value
        else:
            expected = f"name=WORD:0xID, deprecated=yes, or one of {', '.join(_SETTINGS)} once with a value"
            raise InputError(f"{uri!r:.200}: expected {expected}, got {part!r:.100}")
    path = Path(unquote(split.path)).expanduser() if split.path else None
    return RegistryUri(path, settings, names, deprecated)


def open_shelf(uri: RegistryUri) -> Shelf:
    """Return where a registry URI's models are read from.

    Raises:
        InputError: Settings are malformed, or leave several indexes.
        IndexUnusable: There is no index.
    """
    if uri.path is not None and uri.path.is_dir():
        if "store" in uri.settings:
            raise InputError(f"store: a snapshot has its own, expected none beside {uri.path}")
        return open_snapshot(uri.path)
    session = Session(uri.settings)
    index = _only_index(session) if uri.path is None else uri.path
    if not index.is_file():
        raise IndexUnusable(f"expected an index at {index}, found none: `cairn index sync` makes it")
    return Shelf(index, session.home / "catalogue.sqlite", session.store, Present())


def _only_index(session: Session) -> Path:
    """Return the index in the home folder of the chain and the contract that the settings name, if they name any."""
    chain, contract = session.settings.number("chain_id"), session.settings["contract"]
    folder = session.home / "index"
    found = [
        path
        for path in sorted(folder.glob("*/0x*.sqlite"))
        if _ADDRESS.fullmatch(path.stem)
        if chain is None or path.parent.name.startswith(f"{chain}-")
        if contract is None or path.stem == contract.lower()
    ]
    if not found:
        raise IndexUnusable(f"expected an index in {folder}, found none: `cairn index sync` makes it")
    if len(found) > 1:
        raise InputError(
            f"expected settings that leave one index, got {len(found)} in {folder}: give contract and chain_id, or the "
            "file itself"
        )
    return found[0]
