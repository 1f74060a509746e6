"""Versions that an auditor recomputed, in its own folder: it audits the next round even if others withhold its parent.

They are in a content store apart from the shared one, whose pins may be another role's and are not to be removed. It
holds the version of the last audited window, and that round's parent.
"""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

from registry.chain.contract_hashes import roots_hash
from registry.content.manifest import VersionManifest, blocks_of
from registry.errors import BlockNotFound, CairnError, FormError
from registry.rounds.results import Outcome
from registry.rounds.versions import roots_of
from registry.store.base import ContentStore
from registry.store.blobs import add_file
from registry.store.links import reachable
from registry.store.local import LocalStore
from registry.store.manifests import found_manifest, put_manifest
from registry.store.retention import collect
from registry.types import Cid, Digest

__all__ = ["keep_version", "kept_version", "restore_version"]


def keep_version(folder: Path, outcome: Outcome, parent: bytes) -> None:
    """Keep a recomputed version with its state and manifest; drop all others but the one with the parent's roots.

    Raises:
        FormError: A file changed since it was computed.
        ContentError: The disk is full, or the folder is damaged.
    """
    kept = LocalStore(folder)
    try:
        _add(kept, outcome)
    except BaseException:
        collect(kept, grace=0.0)  # what is half kept takes room from the next attempt
        raise
    before = kept_version(folder, parent)
    wanted = {*_roots(outcome.version), *(_roots(before) if before is not None else ())}
    _unpin_all_but(kept, wanted)
    try:
        collect(kept, grace=0.0)
    except BlockNotFound:  # the parent, kept earlier, is damaged
        _unpin_all_but(kept, set(_roots(outcome.version)))
        collect(kept, grace=0.0)


def kept_version(folder: Path, roots: bytes) -> VersionManifest | None:
    """Return the manifest of the kept version with these roots, by their anchored hash; None if none is kept.

    The roots alone count: an attester can anchor them with a manifest that names another file, or that nobody has.
    """
    kept = LocalStore(folder)
    for cid, _ in kept.pins():
        try:
            version = found_manifest(kept, Digest(cid.digest), VersionManifest)
        except CairnError:  # a file, or damaged
            continue
        if version is not None and roots_hash(roots_of(version)) == roots:
            return version
    return None


def _add(kept: LocalStore, outcome: Outcome) -> None:
    version = outcome.version
    files = [(outcome.version_file, version.weights.blob)]
    if outcome.state_file is not None and version.state is not None:
        files.append((outcome.state_file, version.state.blob))
    for path, blob in files:
        if not add_file(kept, path, blob):
            raise FormError(f"{path}: changed since it was computed")
        kept.pin(blob.cid)
    put_manifest(kept, version)  # last, since a version is restored by its manifest


def _unpin_all_but(kept: LocalStore, wanted: Set[Cid]) -> None:
    for cid, _ in list(kept.pins()):
        if cid not in wanted:
            kept.unpin(cid)


def restore_version(folder: Path, store: ContentStore, version: VersionManifest) -> None:
    """Put what a store lacks of a version that is kept."""
    kept = LocalStore(folder)
    for root in _roots(version):
        for cid in reachable(kept.get, root) if root in _blobs(version) else (root,):
            if not store.has(cid):
                store.put(cid, kept.get(cid))


def _blobs(version: VersionManifest) -> tuple[Cid, ...]:
    return (version.weights.cid, *(() if version.state is None else (version.state.cid,)))


def _roots(version: VersionManifest) -> tuple[Cid, ...]:
    return (*_blobs(version), *(cid for cid, _ in blocks_of(version)))
