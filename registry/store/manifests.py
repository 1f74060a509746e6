"""Manifests in a content store, by what names them on chain: some kinds have a head before them."""

from __future__ import annotations

from registry.content.heads import body_of
from registry.content.manifest import HEADS, M, Schema, blocks_of, decode, head_of, manifest_cid
from registry.errors import ContentError, FormError
from registry.store.base import ContentStore
from registry.types import Cid

__all__ = ["found_manifest", "get_manifest", "pin_manifest", "put_manifest"]


def put_manifest(store: ContentStore, manifest: Schema) -> Cid:
    """Keep and pin a manifest, its head last; return the CID of what names it on chain."""
    blocks = blocks_of(manifest)
    for cid, data in blocks:
        store.put(cid, data)
        store.pin(cid, recursive=False)
    return blocks[-1].cid


def pin_manifest(store: ContentStore, manifest: Schema) -> None:
    """Keep a manifest that the store has, or finds, from here on; what it links to is not."""
    for cid, _ in blocks_of(manifest):
        store.pin(cid, recursive=False)


def get_manifest(store: ContentStore, digest: bytes, kind: type[M]) -> M:
    """Fetch a manifest.

    Args:
        store: Holds, or finds, it.
        digest: Its name on chain.
        kind: Which it must be.

    Raises:
        BlockNotFound, StoreUnavailable: It is not to be had, or its head.
        FormError: It is none of that kind, or its head is none of such a manifest or says something else.
    """
    data = store.get(manifest_cid(digest))
    head = HEADS.get(kind)
    if head is None:
        return decode(data, kind)
    link = body_of(head, data)
    manifest = decode(store.get(link), kind)
    if head_of(manifest, link.digest) != data:
        raise FormError(f"{kind.KIND}: its head says something else than the manifest")
    return manifest


def found_manifest(store: ContentStore, digest: bytes, kind: type[M]) -> M | None:
    """Return a manifest; None where it is not to be had, or is none of that kind: verifying says which."""
    try:
        return get_manifest(store, digest, kind)
    except (ContentError, FormError):
        return None
