"""What comes of an attested blob that is not the recomputed one: a charge, or the next leaf to demand."""

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
    """What comes of an attested blob that is not the recomputed one; charge takes a chunk's place, and both of it."""
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
    """Where an attested blob differs from the recomputed one, opened; or what must be demanded to find it; or what its
    root counts, if that is another number of values.
    """
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
    """The aggregate as its attesters published it, if that is what they attested."""
    if case.report is None:
        return None
    return attested_chunks(
        case.store, case.report.manifest.aggregate.blob, case.result.aggregate_root, size=case.round.form.size
    )


def published_version(case: Case) -> Chunks | None:
    made = found_manifest(case.store, case.result.version_digest, VersionManifest)
    if made is None:
        return None
    return attested_chunks(case.store, made.weights.blob, case.result.roots.tensor, size=case.round.parent.weights.size)


def published_state(case: Case) -> Chunks | None:
    made = found_manifest(case.store, case.result.version_digest, VersionManifest)
    if made is None or made.state is None:
        return None
    size = state_header(case.round.form.rules).file_bytes
    return attested_chunks(case.store, made.state.blob, case.result.roots.state, case.states, size=size)
