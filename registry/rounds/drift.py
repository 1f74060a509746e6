"""Drift variables of SCAFFOLD and FedDyn: the participants' c_k and g_k, which follow from public updates alone.

Both are kept in units of the update: int64 multiples of 1/256 grid step, one for each coordinate of the version. After
a finalized round that lists the participant's update q, in grid steps, with C the server program's state before it:

    SCAFFOLD    C_k <- C_k - C + 256 q       c_k = -C_k / (K lr)
    FedDyn      G_k <- G_k + 256 q           g_k = -alpha G_k

A round that does not list the update moves nothing. The variables begin at zero with the server's state, and anew where
that begins anew: under another grid, other scales or bounds, or on a version that no round made.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from registry.content.manifest import (
    DELTA,
    PlanManifest,
    Procedure,
    Reason,
    ReportManifest,
    ReportPage,
    UpdateManifest,
    VersionManifest,
    decode,
)
from registry.errors import FormError, InputError
from registry.rounds.admission import UpdateForm
from registry.rounds.server_steps import PieceReader, continues, read_states
from registry.rounds.versions import load_version_manifest
from registry.rules.algorithms import CLIENT_ALGORITHMS, require_parameters
from registry.rules.interpreter import I64
from registry.rules.server_programs import MOMENT
from registry.store.base import ContentStore
from registry.store.blobs import open_blob
from registry.store.manifests import get_manifest
from registry.types import Address, Digest

__all__ = ["DRIFTING", "Kept", "moved_drift", "own_drift", "shared_drift"]

DRIFTING = ("scaffold", "feddyn")
"""The algorithms whose participants have a drift variable; the one state of their server programs is the mean drift."""

Kept = Callable[[int, Digest], I64 | None]
"""Returns the drift after the round of this number, if it is kept for the update with this digest; else None."""


def moved_drift(algorithm: str, own: I64, shared: I64, q: I64) -> I64:
    """Return a participant's drift after a round that lists its update.

    Args:
        algorithm: A name in `DRIFTING`.
        own: (n,), int64, before the round.
        shared: (n,), int64, the server's before the round.
        q: (n,), int64, grid integers of the update.
    """
    return own + MOMENT * q - (shared if algorithm == "scaffold" else 0)


def shared_drift(store: ContentStore, version: VersionManifest, form: UpdateForm) -> I64:
    """Return the server's drift that a version brings, (n,), int64: the first state of its server program.

    Raises:
        VerificationFailed: The state does not match its manifest.
    """
    return np.concatenate([states[:, 0] for states in read_states(store, version, form)])


def own_drift(
    store: ContentStore,
    plan: PlanManifest,
    parent: VersionManifest,
    form: UpdateForm,
    participant: Address,
    kept: Kept = lambda number, digest: None,
) -> I64:
    """Return a participant's drift at the beginning of a round, (n,), int64, from the lineage of the round's parent.

    Args:
        store: Has the reports of the lineage, and the participant's updates with their parents' states as far back as
            nothing is kept.
        plan: The round's plan.
        parent: The round's parent.
        form: The round's form.
        participant: Whose drift.
        kept: Looks up what was computed before.

    Raises:
        InputError: The state that the parent brings was made under other parameters of the algorithm.
        ContentError: A report, update or state is unavailable.
    """
    listed: list[tuple[VersionManifest, Digest]] = []
    found, version = None, parent
    while found is None and continues(version, form.rules):
        assert version.round is not None and version.state is not None and version.parent is not None
        _require_same(store, plan, version)
        before = load_version_manifest(store, version.parent.digest)
        update = _listed(store, version, participant)
        if update is not None:
            found = kept(version.round.number, update)
            if found is None:
                listed.append((before, update))
        if version.state.step == 1:
            break
        version = before
    drift = np.zeros(form.rules.values, dtype=np.int64) if found is None else found
    for before, update in reversed(listed):
        drift = moved_drift(plan.algorithm.name, drift, shared_drift(store, before, form), _update(store, update, form))
    return drift


def _require_same(store: ContentStore, plan: PlanManifest, version: VersionManifest) -> None:
    """Check that the round that made a version had the plan's algorithm: its state is in the units of that."""
    assert version.round is not None
    made = get_manifest(store, Digest(version.round.plan.digest), PlanManifest).algorithm
    if _own_numbers(made) != _own_numbers(plan.algorithm):
        raise InputError(
            f"{plan.algorithm.name}: expected {dict(made.parameters)}, as in round {version.round.number}, whose state "
            f"goes on, got {dict(plan.algorithm.parameters)}: another grid_bits in the plan begins a new state"
        )


def _own_numbers(algorithm: Procedure) -> dict[str, object]:
    """Return an algorithm's name and own numbers: what every algorithm may have says nothing of a state's units."""
    found = require_parameters(algorithm.name, algorithm.parameters)
    own = {p.name: found[p.name] for p in CLIENT_ALGORITHMS[algorithm.name].parameters}
    return {"name": algorithm.name, **own}


def _listed(store: ContentStore, version: VersionManifest, participant: Address) -> Digest | None:
    """Return the digest of a participant's update that is in a version; None if there is none."""
    assert version.round is not None
    report = get_manifest(store, Digest(version.round.report.digest), ReportManifest)
    for page in report.pages:
        for entry in decode(store.get(page), ReportPage).entries:
            if entry.participant == participant and entry.reason == Reason.ADMITTED:
                return entry.digest
    return None


def _update(store: ContentStore, digest: Digest, form: UpdateForm) -> I64:
    """Return the grid integers of a stored update, (n,), int64."""
    manifest = get_manifest(store, digest, UpdateManifest)
    if DELTA not in manifest.files or manifest.delta.size != form.size:
        raise FormError(f"update 0x{digest.hex()}: expected a file of {form.size} bytes")
    source = PieceReader(open_blob(store, manifest.delta.blob))
    source.read(len(form.header))
    values = b"".join(source.pieces(form.size - len(form.header)))
    source.finish()
    return form.integers(values).astype(np.int64)
