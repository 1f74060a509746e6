"""Byzantine results for tests of auditors: manifests, blobs and roots agree, the numbers are false."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from registry.chain.contract_structs import Result
from registry.content.manifest import (
    DeltaFile,
    Manifest,
    StateFile,
    UpdateManifest,
    VersionFile,
    digest_of,
    head_of,
    manifest_cid,
)
from registry.content.merkle import TensorRootHasher, state_rows, tensor_root
from registry.content.tensors import parse_header
from registry.rounds.results import Outcome
from registry.rounds.versions import roots_of
from registry.store.base import ContentStore
from registry.store.blobs import add_blob
from registry.store.manifests import put_manifest
from registry.types import NamedBlock, Root

__all__ = ["Edit", "falsified", "headed", "nudged"]

Edit = Callable[[bytes], bytes]
"""Maps a file's bytes to the forged ones."""


def nudged(position: int, by: float | None = None) -> Edit:
    """Return an edit that changes one F32 value of a safetensors file.

    Args:
        position: Index of the value among the file's F32 values.
        by: The amount to add; None for the next larger float32.
    """

    def edit(data: bytes) -> bytes:
        begin, end = _values(data)
        values = np.frombuffer(data[begin:end], dtype="<f4").copy()
        old = values[position]
        values[position] = np.nextafter(old, np.float32(np.inf)) if by is None else old + np.float32(by)
        return data[:begin] + values.tobytes() + data[end:]

    return edit


def headed(manifest: UpdateManifest, body: bytes) -> tuple[NamedBlock, NamedBlock]:
    """Return forged bytes in a manifest's place, with the head that matches them."""
    name = hashlib.sha256(body).digest()
    head = head_of(manifest, name)
    assert head is not None
    return NamedBlock(manifest_cid(name), body), NamedBlock(manifest_cid(hashlib.sha256(head).digest()), head)


def falsified(
    store: ContentStore, made: Outcome, *, aggregate: Edit = bytes, version: Edit = bytes, state: Edit = bytes
) -> Result:
    """Return a false outcome derived from an honest one, and publish its blobs and manifests.

    Files are held in memory.

    Args:
        store: The store to publish to.
        made: The honest outcome.
        aggregate: Edit of the aggregate's file.
        version: Edit of the version's file.
        state: Edit of the state's file, if there is one.
    """
    deltas, weights = aggregate(made.aggregate_file.read_bytes()), version(made.version_file.read_bytes())
    blob = add_blob(store, [deltas])
    delta = DeltaFile(blob.cid, blob.size, _root(deltas))
    report = replace(made.report, aggregate=delta)
    held = add_blob(store, [weights])
    assert made.version.round is not None
    manifest = replace(
        made.version,
        weights=VersionFile(held.cid, held.size, hashlib.sha256(weights).digest()),
        tensor_root=_root(weights),
        state=_falsified_state(store, made, state),
        round=replace(made.version.round, aggregate=delta, report=manifest_cid(digest_of(report))),
    )
    manifests: tuple[Manifest, ...] = (*made.pages, report, manifest)
    for entry in manifests:
        put_manifest(store, entry)
    return replace(
        made.result,
        version_digest=digest_of(manifest),
        roots=roots_of(manifest),
        report_digest=digest_of(report),
        aggregate_root=Root(delta.tensor_root),
    )


def _falsified_state(store: ContentStore, made: Outcome, edit: Edit) -> StateFile | None:
    if made.state_file is None or made.version.state is None:
        return None
    data = edit(made.state_file.read_bytes())
    blob, header = add_blob(store, [data]), parse_header(data)
    hasher = TensorRootHasher(0, state_rows(header.specs[0].shape[1]))
    hasher.update(data[header.header_bytes :])
    return replace(made.version.state, cid=blob.cid, size=blob.size, root=hasher.digest())


def _values(data: bytes) -> tuple[int, int]:
    """Return the offsets of a file's F32 values; the file may have trailing bytes."""
    header = parse_header(data)
    begin, end = header.range_of("F32")
    return header.header_bytes + begin, len(data) if end == header.data_bytes else header.header_bytes + end


def _root(data: bytes) -> Root:
    begin, end = _values(data)
    return tensor_root(data[begin:end])
