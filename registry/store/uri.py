"""Store URIs, as used in settings and on the command line.

memory:                                        in memory, not persistent
PATH  or  file:///PATH                         a folder
kubo:/ip4/127.0.0.1/tcp/5001                   a Kubo node's RPC, as multiaddr or URL; several with commas
gateway:https://gateway.example                a trustless gateway, read-only
PATH+kubo:…+gateway:…                          a cache with backing stores; puts are also published to each kubo
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from registry.errors import InputError
from registry.store.base import ContentStore

__all__ = ["kubo_api_of", "open_store"]

_NEXT_LAYER = re.compile(r"\+(?=(?:memory|file|kubo|gateway):)")


def open_store(uri: str) -> ContentStore:
    """Open the store that uri names, lazily: nothing is written or connected before first use.

    Raises:
        InputError: uri is not a valid store URI.
    """
    names = _NEXT_LAYER.split(uri)
    layers = [_open_layer(name) for name in names]
    if len(layers) == 1:
        return layers[0]
    from registry.store.layered import LayeredStore

    publishers = [store for name, store in zip(names[1:], layers[1:], strict=True) if name.startswith("kubo:")]
    return LayeredStore(layers[0], layers[1:], publishers=publishers)


def kubo_api_of(environment: Mapping[str, str]) -> str | None:
    """Return the RPC of the Kubo node that `ipfs` would use: the multiaddr in $IPFS_PATH/api, or ~/.ipfs/api.

    Args:
        environment: Names and values, as in os.environ.
    """
    home = environment.get("IPFS_PATH")
    repo = Path(home) if home else Path(environment.get("HOME", "~")).expanduser() / ".ipfs"
    try:
        return (repo / "api").read_text().strip() or None
    except FileNotFoundError:
        return None


def _open_layer(name: str) -> ContentStore:
    scheme, colon, rest = name.partition(":")
    if colon and scheme == "memory" and not rest:
        from registry.store.memory import MemoryStore

        return MemoryStore()
    if colon and scheme == "kubo":
        from registry.store.kubo import KuboStore

        return KuboStore([api.strip() for api in rest.split(",")])
    if colon and scheme == "gateway":
        from registry.store.gateway import GatewayStore

        return GatewayStore(rest)
    if colon and scheme == "file":
        parts = urlsplit(name)
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise InputError(f"expected file:///path on this machine, got {name!r}")
        return _folder(unquote(parts.path))
    if not name or re.match(r"[a-z][a-z0-9+.-]+:", name):
        raise InputError(f"expected a path, memory:, file:///…, kubo:… or gateway:…, got {name!r}")
    return _folder(name)


def _folder(path: str) -> ContentStore:
    from registry.store.local import LocalStore

    return LocalStore(Path(path).expanduser())
