"""Lies to try an auditor on: results whose manifests, blobs and roots all agree, and whose numbers are false."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from registry.chain.records import Result
from registry.content.manifest import DeltaFile, Manifest, VersionFile, digest_of, encode, manifest_cid
from registry.content.merkle import tensor_root
from registry.content.tensors import header_length
from registry.provenance.results import Outcome
from registry.store.base import ContentStore
from registry.store.blobs import add_blob
from registry.types import Root

__all__ = ["Edit", "falsified", "nudged"]

Edit = Callable[[bytes], bytes]
"""What becomes of a file."""


def nudged(position: int, by: float | None = None) -> Edit:
    """Return an edit that changes one F32 value of a safetensors file.

    Args:
        position: Of the value in the tensor data.
        by: Added to it; None for the next larger float32.
    """

    def edit(data: bytes) -> bytes:
        begin = header_length(data, len(data))
        values = np.frombuffer(data[begin:], dtype="<f4").copy()
        old = values[position]
        values[position] = np.nextafter(old, np.float32(np.inf)) if by is None else old + np.float32(by)
        return data[:begin] + values.tobytes()

    return edit


def falsified(store: ContentStore, made: Outcome, *, aggregate: Edit = bytes, version: Edit = bytes) -> Result:
    """Return what a liar attests in place of an honest outcome, its blobs and manifests published.

    Holds them in memory.

    Args:
        store: Where to.
        made: The honest outcome.
        aggregate: What becomes of the aggregate's file.
        version: What becomes of the version's file.
    """
    deltas, weights = aggregate(made.aggregate_file.read_bytes()), version(made.version_file.read_bytes())
    blob = add_blob(store, [deltas])
    delta = DeltaFile(blob.cid, blob.size, tensor_root(deltas[header_length(deltas, len(deltas)) :]))
    report = replace(made.report, aggregate=delta)
    held = add_blob(store, [weights])
    assert made.version.round is not None
    manifest = replace(
        made.version,
        weights=VersionFile(held.cid, held.size, hashlib.sha256(weights).digest()),
        tensor_root=tensor_root(weights[header_length(weights, len(weights)) :]),
        round=replace(made.version.round, aggregate=delta, report=manifest_cid(digest_of(report))),
    )
    manifests: tuple[Manifest, ...] = (*made.pages, report, manifest)
    for entry in manifests:
        store.put(manifest_cid(digest_of(entry)), encode(entry))
    return replace(
        made.result,
        version_digest=digest_of(manifest),
        version_root=Root(manifest.tensor_root),
        report_digest=digest_of(report),
        aggregate_root=Root(delta.tensor_root),
    )
