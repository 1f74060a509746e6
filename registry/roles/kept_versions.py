"""Versions that an auditor recomputed, in its own folder: it audits the next round even if others withhold its parent.

They are in a content store apart from the shared one, whose pins may be another role's and are not to be removed. It
holds the version of the last audited window, and that round's parent.
"""

from __future__ import annotations

from pathlib import Path

from registry.content.manifest import VersionManifest, blocks_of
from registry.errors import FormError
from registry.rounds.results import Outcome
from registry.store.base import ContentStore
from registry.store.blobs import add_file
from registry.store.links import reachable
from registry.store.local import LocalStore
from registry.store.manifests import found_manifest, put_manifest
from registry.store.retention import collect
from registry.types import Cid, Digest

__all__ = ["keep_version", "restore_version"]


def keep_version(folder: Path, outcome: Outcome, parent: Digest) -> None:
    """Keep a recomputed version with its state and manifest; drop all others but the round's parent.

    Raises:
        FormError: A file changed since it was computed.
        StoreUnavailable: The disk is full.
    """
    kept, version = LocalStore(folder), outcome.version
    files = [(outcome.version_file, version.weights.blob)]
    if outcome.state_file is not None and version.state is not None:
        files.append((outcome.state_file, version.state.blob))
    for path, blob in files:
        if not add_file(kept, path, blob):
            raise FormError(f"{path}: changed since it was computed")
        kept.pin(blob.cid)
    put_manifest(kept, version)  # last, since a version is restored by its manifest
    before = found_manifest(kept, parent, VersionManifest)
    wanted = {*_roots(version), *(_roots(before) if before is not None else ())}
    for cid, _ in list(kept.pins()):
        if cid not in wanted:
            kept.unpin(cid)
    collect(kept, grace=0.0)


def restore_version(folder: Path, store: ContentStore, digest: Digest) -> None:
    """Put what a store lacks of a version that is kept."""
    kept = LocalStore(folder)
    version = found_manifest(kept, digest, VersionManifest)
    if version is None:
        return
    for root in _roots(version):
        for cid in reachable(kept.get, root) if root in _blobs(version) else (root,):
            if not store.has(cid):
                store.put(cid, kept.get(cid))


def _blobs(version: VersionManifest) -> tuple[Cid, ...]:
    return (version.weights.cid, *(() if version.state is None else (version.state.cid,)))


def _roots(version: VersionManifest) -> tuple[Cid, ...]:
    return (*_blobs(version), *(cid for cid, _ in blocks_of(version)))
