"""What the updates of a round say of each tensor: whether it moves, and whether the grid clips it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from registry.content.manifest import Reason
from registry.errors import ContentError, FormError
from registry.ethereum.keys import to_checksum
from registry.rounds.admission import UpdateForm, judge_manifest
from registry.rules.grid import F32
from registry.store.blobs import open_blob
from registry.types import GRID_LIMIT, Blob

if TYPE_CHECKING:
    from registry.rounds.loaded_round import LoadedRound
    from registry.store.base import ContentStore

__all__ = ["RoundTensors", "TensorFacts", "round_tensors"]


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """What the updates of a round say of a tensor.

    Attributes:
        values: Number of its values.
        scale: Its scale exponent in the plan.
        still: Number of updates in which none of its values changes.
        moved: Number of values that change, over all updates.
        saturated: Number of these that are as large as the grid allows: clipped, or just fitting.
    """

    tensor: str
    values: int
    scale: int
    still: int
    moved: int
    saturated: int


@dataclass(frozen=True, slots=True)
class RoundTensors:
    """The tensors of a round's updates.

    Attributes:
        updates: Number of updates that were read.
        unread: EIP-55 addresses of those whose update is unavailable, or not of the round's form.
    """

    updates: int
    unread: tuple[str, ...]
    tensors: tuple[TensorFacts, ...]


def round_tensors(
    store: ContentStore, round: LoadedRound, *, progress: Callable[[int], None] = lambda done: None
) -> RoundTensors:
    """Read each update of a round once, in a stream.

    Args:
        store: Has the updates, or can fetch them.
        round: The round.
        progress: Called with the number of bytes read since its last call.
    """
    form, names = round.form, round.form.dense.specs
    ends = np.array([spec.end // 4 for spec in names])
    moved, saturated = (np.zeros((len(round.record.commitments), len(names)), dtype=np.int64) for _ in range(2))
    read, unread = [], []
    for i, commitment in enumerate(round.record.commitments):
        try:
            reason, _, manifest = judge_manifest(store, round.record, form.size, form.asks, commitment)
            if reason != Reason.ADMITTED or manifest is None:
                raise FormError("not of the round's form")
            for first, values in _integers(store, manifest.delta.blob, form, progress):
                for counts, which in ((moved, values != 0), (saturated, np.abs(values) >= GRID_LIMIT)):
                    at = np.searchsorted(ends, first + np.flatnonzero(which), side="right")
                    counts[i] += np.bincount(at, minlength=len(names))
        except (ContentError, FormError):
            unread.append(to_checksum(commitment.participant))
        else:
            read.append(i)
    facts = (
        TensorFacts(
            spec.name,
            (spec.end - spec.begin) // 4,
            round.plan.scales.get(spec.name, 0),
            int((moved[read, at] == 0).sum()),
            int(moved[read, at].sum()),
            int(saturated[read, at].sum()),
        )
        for at, spec in enumerate(names)
    )
    return RoundTensors(len(read), tuple(unread), tuple(facts))


def _integers(
    store: ContentStore, blob: Blob, form: UpdateForm, progress: Callable[[int], None]
) -> Iterator[tuple[int, F32]]:
    """Yield an update's grid integers piece by piece, each with the coordinate of its first."""
    first, rest, skip = 0, b"", len(form.header)
    for piece in open_blob(store, blob):
        progress(len(piece))
        data = rest + piece[skip:]
        skip = max(0, skip - len(piece))
        whole = len(data) - len(data) % form.unit
        rest = data[whole:]
        integers = form.integers(data[:whole], first)
        yield first, integers
        first += len(integers)
