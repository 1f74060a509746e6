"""Manifests in a content store: put, pin and fetch by on-chain digest, through heads where kinds have them."""

from __future__ import annotations

from registry.content.heads import body_of, head_size
from registry.content.manifest import HEADS, M, Schema, blocks_of, decode, head_of, manifest_cid
from registry.errors import ContentError, FormError
from registry.store.base import ContentStore
from registry.types import Cid

__all__ = ["found_manifest", "get_manifest", "pin_manifest", "put_manifest"]


def put_manifest(store: ContentStore, manifest: Schema) -> Cid:
    """Store and pin a manifest, its head last; return the CID for its on-chain digest."""
    blocks = blocks_of(manifest)
    for cid, data in blocks:
        store.put(cid, data)
        store.pin(cid, recursive=False)
    return blocks[-1].cid


def pin_manifest(store: ContentStore, manifest: Schema) -> None:
    """Pin a manifest that the store has or can fetch, directly: its links are not pinned."""
    for cid, _ in blocks_of(manifest):
        store.pin(cid, recursive=False)


def get_manifest(store: ContentStore, digest: bytes, kind: type[M]) -> M:
    """Fetch a manifest.

    Args:
        store: A store that has it or can fetch it.
        digest: On-chain digest.
        kind: Expected kind.

    Raises:
        BlockNotFound, StoreUnavailable: The manifest or its head is unavailable.
        FormError: It is not a manifest of that kind, or its head is malformed or does not match it.
    """
    data = store.get(manifest_cid(digest))
    heads = HEADS.get(kind)
    if heads is None:
        return decode(data, kind)
    link = body_of(next((head for head in heads if head_size(head) == len(data)), heads[0]), data)
    manifest = decode(store.get(link), kind)
    if head_of(manifest, link.digest) != data:
        raise FormError(f"{kind.KIND}: expected the head of this manifest, got another")
    return manifest


def found_manifest(store: ContentStore, digest: bytes, kind: type[M]) -> M | None:
    """Return a manifest; None if it is unavailable or not of that kind: verification reports which."""
    try:
        return get_manifest(store, digest, kind)
    except (ContentError, FormError):
        return None
