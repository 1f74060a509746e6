"""Holding a result against what there is of it, where a contribution is not to be had as a whole.

The version follows from parent and aggregate, whoever contributed: where the attesters' aggregate is to be had, every
value of version and state is held against it. The aggregate itself, and what else is hidden, is looked at in a few
chunks that nobody can foresee: those are demanded of whatever nobody shows. A lie in a share f of the chunks is missed
with a probability of (1 - f)^n after n of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from registry.chain.challenge_records import Opening
from registry.content.merkle import CHUNK_VALUES
from registry.disputes.charges import (
    Case,
    Inspection,
    Wanted,
    aggregate_charge,
    off_grid,
    state_charge,
    version_charge,
)
from registry.disputes.faults import WrongChunk
from registry.disputes.narrowing import apart, published_aggregate, published_state, published_version
from registry.disputes.openings import Chunks, Listing, chunk_of_blob, chunks_of_blob, chunks_of_file
from registry.errors import FormError
from registry.rounds.admission import Verdict
from registry.rounds.server_steps import continues, next_version, step_number, stepped_values
from registry.rounds.writing import written
from registry.rules.columns import middle_sums
from registry.rules.combine import rounded_mean, weighted_sum
from registry.rules.encoding import RoundScalars, Shape
from registry.rules.grid import F32, grid_integers
from registry.rules.replay import I64, initial_states
from registry.rules.shapes import left_out
from registry.store.blobs import open_blob
from registry.types import Root, Tree

__all__ = ["held_by_parts"]


def held_by_parts(case: Case, listing: Listing, verdicts: Sequence[Verdict], wanted: Sequence[Wanted]) -> Inspection:
    """Hold a result against those of its contributions, and those leaves of the others, that there are.

    Args:
        case: The result.
        listing: Its contributions.
        verdicts: On each commitment; of what is listed some are not admitted here.
        wanted: What is to be demanded of those.
    """
    aggregate = published_aggregate(case)
    if aggregate is not None and aggregate.counted.count == case.values:
        found = _followed(case, aggregate)
        if found is not None and found.charge is not None:
            return found
        wanted = (*wanted, *(found.wanted if found is not None else ()))
    version = published_version(case) if aggregate is None else None
    for index in case.samples:
        found = _Sample(case, listing, verdicts, index).held(aggregate, version)
        if found.charge is not None:
            return found
        wanted = (*wanted, *found.wanted)
    if wanted:
        return Inspection("contributions: what nobody shows is demanded", wanted=tuple(dict.fromkeys(wanted)))
    chunks = ", ".join(map(str, case.samples))
    return Inspection(f"contributions: one is not to be had as a whole; what was shown of chunks {chunks} is right")


def _scalars(case: Case) -> RoundScalars:
    result = case.result
    number = step_number(case.round.parent, case.round.form.rules)
    return RoundScalars(number, result.contributions, result.total_weight, result.total_steps)


def _followed(case: Case, aggregate: Chunks) -> Inspection | None:
    """Take the server step on the attested aggregate, and hold version and state against what comes of it."""
    for index in range(aggregate.tree.leaves):
        chunk = aggregate.read(index)
        position = off_grid(chunk, case.round.form.grid_bits)
        if position is not None:
            wrong = WrongChunk(Tree.AGGREGATE, index * CHUNK_VALUES + position, aggregate.opening(index))
            return Inspection("aggregate: a value that no update may hold", wrong)
    place = {name: case.folder / f"followed-{name}.safetensors" for name in ("aggregate", "version", "state")}
    assert case.report is not None  # it names the aggregate
    for _ in written(place["aggregate"], open_blob(case.store, case.report.manifest.aggregate.blob)):
        pass
    state = place["state"] if case.round.form.rules.program.states else None
    try:
        made = next_version(case.store, case.round.parent, case.round.form, place["aggregate"], _scalars(case), state)
        for _ in written(place["version"], made):
            pass
    except FormError:
        return None  # a file of another layout around these values: what can be seen is in its leaves
    roots, own = case.result.roots, chunks_of_file(place["version"])
    if own.root != roots.tensor:
        return apart(
            case, own, published_version(case), roots.tensor, Tree.VERSION, "is not what the server step gives",
            lambda index, mine, shown: version_charge(case, index, mine, shown, aggregate.opening),
        )  # fmt: skip
    if state is not None:
        own = chunks_of_file(state, case.states)
        if own.root != roots.state:
            return apart(
                case, own, published_state(case), Root(roots.state), Tree.STATE, "is not what the server step leaves",
                lambda index, mine, shown: state_charge(case, index, mine, shown, aggregate.opening),
            )  # fmt: skip
    return None


class _Sample:
    """One chunk of a result: what it is computed from, as far as that is stored or was shown."""

    def __init__(self, case: Case, listing: Listing, verdicts: Sequence[Verdict], index: int) -> None:
        self._case, self._listing, self._index = case, listing, index
        self._blobs = {
            v.commitment.participant: v.manifest.delta.blob for v in verdicts if v.admitted and v.manifest is not None
        }

    def held(self, aggregate: Chunks | None, version: Chunks | None) -> Inspection:
        """Hold this chunk of aggregate and version against contributions and parent, or say what is missing of it.

        Args:
            aggregate: As its attesters published it, and then the version was held against all of it; None if hidden.
            version: Likewise.
        """
        case, index = self._case, self._index
        attested = self._attested(case.result.aggregate_root, Tree.AGGREGATE, aggregate)
        if isinstance(attested, Wanted):
            return Inspection("aggregate: demanded", wanted=(attested,))
        found = self._against_contributions(attested)
        if found is not None or aggregate is not None:
            return found or Inspection("")
        made = self._attested(case.result.roots.tensor, Tree.VERSION, version)
        if isinstance(made, Wanted):
            return Inspection("version: demanded", wanted=(made,))
        own, _ = self._stepped(attested.leaf)
        if own.tobytes() != made.leaf:
            charge = version_charge(case, index, own.tobytes(), made, lambda _: attested)
            return Inspection(f"version: chunk {index} is not what the server step gives", charge)
        return Inspection("")

    def _attested(self, root: Root, tree: Tree, whole: Chunks | None) -> Opening | Wanted:
        if whole is not None:
            return whole.opening(self._index)
        shown = self._case.shown_of(root)
        return shown[self._index] if self._index in shown else Wanted(root, tree, self._index)

    def _against_contributions(self, attested: Opening) -> Inspection | None:
        case, index = self._case, self._index
        leaves = list(self._leaves())
        if None in leaves:
            return None
        own = self._combined([leaf for leaf in leaves if leaf is not None]).tobytes()
        if own == attested.leaf:
            return None
        charge = aggregate_charge(case, self._listing, self._openings, index, own, attested)
        return Inspection(f"aggregate: chunk {index} is not what its contributions give", charge)

    def _leaves(self) -> Iterator[bytes | None]:
        """That chunk of every contribution, in the list's order; None where it is neither stored nor shown."""
        for entry in self._listing.contributions:
            if entry.participant in self._blobs:
                yield chunk_of_blob(self._case.store, self._blobs[entry.participant], self._index)
            else:
                shown = self._case.shown_of(entry.tensor_root)
                yield shown[self._index].leaf if self._index in shown else None

    def _openings(self) -> Iterator[Opening]:
        for entry in self._listing.contributions:
            if entry.participant in self._blobs:
                yield chunks_of_blob(self._case.store, self._blobs[entry.participant]).opening(self._index)
            else:
                yield self._case.shown_of(entry.tensor_root)[self._index]

    def _combined(self, leaves: Sequence[bytes]) -> F32:
        """What the rule makes of that chunk of every contribution."""
        form = self._case.round.form
        rules, bits = form.rules, form.grid_bits
        rows = np.stack([grid_integers(np.frombuffer(leaf, dtype="<f4"), bits) for leaf in leaves])
        sums = np.empty(rows.shape[1], dtype=np.float64)
        if rules.shape is Shape.COLUMNS:
            cut = left_out(rules.parameters[0], len(leaves))
            middle_sums(rows.astype(np.int32), cut, sums)
            return rounded_mean(sums, len(leaves) - 2 * cut, bits)
        factors = np.array([entry.factor for entry in self._listing.contributions], dtype=np.float64)
        weighted_sum(rows, factors, sums)
        return rounded_mean(sums, self._case.result.divisor, bits)

    def _stepped(self, delta: bytes) -> tuple[F32, I64]:
        case, first = self._case, self._index * CHUNK_VALUES
        parent = chunk_of_blob(case.store, case.round.parent.weights.blob, self._index)
        weights = np.frombuffer(parent, dtype="<f4")
        return stepped_values(
            case.round.form,
            _scalars(case),
            first,
            weights,
            np.frombuffer(delta, dtype="<f4"),
            self._states(len(weights)),
        )

    def _states(self, count: int) -> I64:
        """States of these coordinates before the step, (n, S)."""
        case, rules = self._case, self._case.round.form.rules
        width = len(rules.program.states)
        if case.round.parent.state is None or not continues(case.round.parent, rules):
            return initial_states(rules.program, count)
        blob = case.round.parent.state.blob
        first = self._index * CHUNK_VALUES * width // case.states.entries
        last = -(-(self._index * CHUNK_VALUES + count) * width // case.states.entries)
        data = b"".join(chunk_of_blob(case.store, blob, index, case.states) for index in range(first, last))
        skip = self._index * CHUNK_VALUES * width - first * case.states.entries
        values = np.frombuffer(data, dtype="<i8")[skip : skip + count * width]
        return values.reshape(count, width)
