"""Open the content store that the `store` setting names, in the form of `registry.store.uri` or as `kubo`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from registry.cli.settings import Settings
from registry.errors import InputError

if TYPE_CHECKING:
    from registry.store.local import LocalStore

__all__ = ["open_local", "store_uri"]

_DEFAULT_API = "/ip4/127.0.0.1/tcp/5001"
_LAYER = re.compile(r"\+(?=(?:memory|file|kubo|gateway)\b)")


def store_uri(settings: Settings) -> str:
    """Return the store's URI, with `kubo` expanded to the node of IPFS_PATH and http(s) URLs to gateways."""
    named = settings["store"]
    if named is None:
        return str(settings.path("home") / "store")
    return "+".join(_full(settings, layer) for layer in _LAYER.split(named))


def open_local(settings: Settings) -> LocalStore:
    """Return the folder store that the settings name, for operations that only a folder supports.

    Raises:
        InputError: The store is not a folder.
    """
    from registry.store.local import LocalStore
    from registry.store.uri import open_store

    front = open_store(_LAYER.split(store_uri(settings))[0])
    if not isinstance(front, LocalStore):
        raise InputError(f"expected a store that is a folder, got {settings['store']}: give --store FOLDER")
    return front


def _full(settings: Settings, layer: str) -> str:
    if layer == "kubo":
        return f"kubo:{_kubo_api(settings)}"
    return f"gateway:{layer}" if layer.startswith(("http://", "https://")) else layer


def _kubo_api(settings: Settings) -> str:
    """Return the RPC of the node that `ipfs` would use, at the default address if the node is not running."""
    from registry.store.uri import kubo_api_of

    return kubo_api_of({"IPFS_PATH": str(Path(settings.need("ipfs_path")).expanduser())}) or _DEFAULT_API
