"""From the `store` setting to a content store.

    a folder                      blocks in files of this machine
    kubo                          the Kubo node that IPFS_PATH names, else 127.0.0.1:5001
    kubo:URL, kubo:/ip4/…         a Kubo node by its RPC
    https://…                     a trustless gateway, read-only

Several, separated by commas: what is read is looked for in this order and kept in the folder, where one is named; what
is published goes to the folder and the Kubo nodes. With gateways alone the default folder stands in front.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from registry.errors import InputError
from trainer.cli.settings import Settings

if TYPE_CHECKING:
    from registry.store.base import ContentStore
    from registry.store.local import LocalStore

__all__ = ["kubo_api", "local_folder", "open_local", "open_store"]

_DEFAULT_API = "/ip4/127.0.0.1/tcp/5001"


def open_store(settings: Settings) -> ContentStore:
    """Return the store that the settings name. Nothing is asked of it yet.

    Raises:
        InputError: They name none, or a folder after the first place.
    """
    named = _named(settings)
    apis = [kubo_api(settings, item) for item in named if _is_kubo(item)]
    gateways = [item for item in named if _is_url(item)]
    folders = [item for item in named if not _is_kubo(item) and not _is_url(item)]
    if len(folders) > 1:
        raise InputError(f"store: expected at most one folder, got {' and '.join(folders)}")
    from registry.store.gateway import GatewayStore
    from registry.store.layered import LayeredStore
    from registry.store.local import LocalStore

    kubo = _kubo(apis) if apis else None
    behind: list[ContentStore] = [*([kubo] if kubo else []), *(GatewayStore(url) for url in gateways)]
    if kubo is not None and not folders:
        return LayeredStore(kubo, behind[1:]) if gateways else kubo
    front = LocalStore(Path(folders[0]).expanduser() if folders else _default(settings))
    return LayeredStore(front, behind, publishers=[kubo] if kubo else []) if behind else front


def open_local(settings: Settings) -> LocalStore:
    """Return the folder that the settings name, for what only a folder can do.

    Raises:
        InputError: They name no folder.
    """
    from registry.store.local import LocalStore

    folder = local_folder(settings)
    if folder is None:
        raise InputError(f"expected a store that is a folder, got {settings['store']}: give --store FOLDER")
    return LocalStore(folder)


def local_folder(settings: Settings) -> Path | None:
    """Return the folder among the settings' stores."""
    for item in _named(settings):
        if not _is_kubo(item) and not _is_url(item):
            return Path(item).expanduser()
    return None


def kubo_api(settings: Settings, item: str) -> str:
    """Return the RPC endpoint that an item `kubo` or `kubo:…` names."""
    named = item.partition(":")[2]
    if named:
        return named
    try:
        return (settings.path("ipfs_path") / "api").read_text().strip() or _DEFAULT_API
    except OSError:  # the node is not running, or keeps its repo elsewhere: its usual place will say so
        return _DEFAULT_API


def _kubo(apis: list[str]) -> ContentStore:
    from registry.store.kubo import KuboStore

    return KuboStore(apis)


def _named(settings: Settings) -> list[str]:
    text = settings["store"]
    if text is None:
        return [str(_default(settings))]
    items = [item.strip() for item in text.split(",") if item.strip()]
    if not items:
        raise InputError("store: expected a folder, kubo, or gateway URLs, got nothing")
    return items


def _default(settings: Settings) -> Path:
    return settings.path("home") / "store"


def _is_kubo(item: str) -> bool:
    return item == "kubo" or item.startswith("kubo:")


def _is_url(item: str) -> bool:
    return item.startswith(("http://", "https://"))
