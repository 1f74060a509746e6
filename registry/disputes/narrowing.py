"""Bisection: locate where an attested tree differs from the recomputed one."""

from __future__ import annotations

from collections.abc import Callable

from registry.chain.contract_structs import Counted, Opening
from registry.content.manifest import VersionManifest
from registry.content.merkle import VALUES
from registry.disputes.charges import Case, Inspection, Wanted, attested_chunks
from registry.disputes.faults import FraudProof, WrongSize
from registry.disputes.openings import Chunks, differing_leaf
from registry.rounds.server_steps import state_header
from registry.store.manifests import found_manifest
from registry.types import Root, Tree

__all__ = ["apart", "published_aggregate", "published_state", "published_version"]


def apart(
    case: Case,
    own: Chunks,
    theirs: Chunks | None,
    root: Root,
    tree: Tree,
    said: str,
    charge: Callable[[int, bytes, Opening], FraudProof],
) -> Inspection:
    """Charge an attested blob that differs from the recomputed one, or demand the next leaf of the bisection.

    Args:
        case: The result.
        own: The recomputed blob.
        theirs: The attested blob; None if unavailable.
        root: The attested root.
        tree: Which blob it is.
        said: What is wrong with the chunk, in words.
        charge: Makes the charge from the chunk's index, the recomputed chunk and the opening of the attested one.
    """
    name, found = tree.name.lower(), _difference(case, own, theirs, root, tree)
    if isinstance(found, Counted):
        return Inspection(f"{name}: size", WrongSize(tree, found))
    if isinstance(found, Wanted):
        return Inspection(f"{name}: leaf {found.index} demanded", wanted=(found,))
    index, opening = found
    return Inspection(f"{name}: chunk {index} {said}", charge(index, own.read(index), opening))


def _difference(
    case: Case, own: Chunks, theirs: Chunks | None, root: Root, tree: Tree
) -> tuple[int, Opening] | Wanted | Counted:
    """Locate and open the first difference; else return the next leaf to demand, or an attested size that is wrong."""
    rows = case.states if tree is Tree.STATE else VALUES
    shown = case.shown_of(root, rows)
    counted = theirs.counted if theirs else next((opening.counted for opening in shown.values()), None)
    if counted is not None and counted.count != own.values:
        return counted
    if theirs is not None:
        index = next(i for i in range(own.tree.leaves) if own.tree.leaf(i) != theirs.tree.leaf(i))
        return index, theirs.opening(index)
    index = differing_leaf(own.tree, shown)
    return (index, shown[index]) if index in shown else Wanted(root, tree, index, rows=rows, own=own)


def published_aggregate(case: Case) -> Chunks | None:
    """Return the aggregate as published; None if it is unavailable or not the attested one."""
    if case.report is None:
        return None
    blob, size = case.report.manifest.aggregate.blob, case.round.form.aggregate.size
    return attested_chunks(case.store, blob, case.result.aggregate_root, size=size)


def published_version(case: Case) -> Chunks | None:
    """Return the version as published; None if it is unavailable or not the attested one."""
    made = _published_manifest(case)
    if made is None:
        return None
    return attested_chunks(case.store, made.weights.blob, case.result.roots.tensor, size=case.round.parent.weights.size)


def published_state(case: Case) -> Chunks | None:
    """Return the state as published; None if it is unavailable or not the attested one."""
    made = _published_manifest(case)
    if made is None or made.state is None:
        return None
    size = state_header(case.round.form.rules).file_bytes
    return attested_chunks(case.store, made.state.blob, case.result.roots.state, case.states, size=size)


def _published_manifest(case: Case) -> VersionManifest | None:
    return None if case.ahead else found_manifest(case.store, case.result.version_digest, VersionManifest)
