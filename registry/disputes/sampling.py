"""Audit a result by random samples, where a contribution is not available as a whole.

The version follows from parent and aggregate alone. If the attesters' aggregate is public, in any layout, every value
of version and state is checked against it. The aggregate, and whatever else is hidden, is sampled: the auditor demands
a few chunks that nobody can predict. A fault in a share f of the chunks escapes n samples with probability (1 - f)^n.
What could not be compared is demanded and never counts as right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from registry.chain.contract_structs import Membership, Opening
from registry.content.merkle import CHUNK_VALUES, VALUES, Rows
from registry.disputes.charges import (
    Case,
    Inspection,
    Wanted,
    aggregate_charge,
    attested_chunks,
    off_grid,
    off_grid_in,
    state_charge,
    version_charge,
)
from registry.disputes.faults import WrongChunk, WrongSize
from registry.disputes.narrowing import apart, published_aggregate, published_state, published_version
from registry.disputes.openings import (
    Chunks,
    Listing,
    chunk_of_blob,
    chunks_of_blob,
    chunks_of_file,
    relay_numbers,
)
from registry.errors import CairnError, ContentError
from registry.rounds.server_steps import continues, next_version, step_number, stepped_values
from registry.rounds.writing import written
from registry.rules.columns import middle_sums, nearest_sums
from registry.rules.combine import rounded_mean, weighted_sum
from registry.rules.encoding import RoundScalars, Shape
from registry.rules.grid import F32
from registry.rules.interpreter import I64, initial_states
from registry.rules.shapes import kept, left_out
from registry.types import Address, Blob, Root, Tree

__all__ = ["held_by_parts", "sampled"]


def sampled(case: Case, membership: Membership) -> tuple[Wanted, ...]:
    """Return the sampled chunks of a contribution that were not shown yet."""
    root, rows = membership.contribution.tensor_root, case.round.form.rows
    shown = case.shown_of(root, rows)
    return tuple(Wanted(root, Tree.CONTRIBUTION, i, membership, rows) for i in case.samples if i not in shown)


def held_by_parts(case: Case, listing: Listing, blobs: Mapping[Address, Blob], wanted: Sequence[Wanted]) -> Inspection:
    """Audit a result at its sampled chunks, with the contributions and shown leaves available.

    Args:
        case: The result.
        listing: Its contributions.
        blobs: The updates whose numbers are public, by participant.
        wanted: Leaves to demand of the others.
    """
    aggregate = published_aggregate(case)
    if aggregate is not None:
        try:
            found = _audited_step(case, aggregate)
        except CairnError:  # it became unavailable meanwhile, or the parent is withheld or another
            aggregate = None
        else:
            if found is not None and found.charge is not None:
                return found
            wanted = (*wanted, *(found.wanted if found is not None else ()))
    published = {
        Tree.AGGREGATE: aggregate,
        Tree.VERSION: published_version(case) if aggregate is None else None,
        Tree.STATE: published_state(case) if aggregate is None and case.round.form.rules.program.states else None,
    }
    if aggregate is None:
        published |= _published_parent(case)
    for index in case.samples:
        sample = _Sample(case, listing, blobs, published, index)
        found = sample.audited()
        if found.charge is not None:
            return found
        wanted = (*wanted, *found.wanted)
    if wanted:
        return Inspection("contributions: unavailable leaves demanded", wanted=tuple(dict.fromkeys(wanted)))
    chunks = ", ".join(map(str, case.samples))
    return Inspection(f"not everything is available as a whole; sampled chunks {chunks} are right")


def _published_parent(case: Case) -> dict[Tree, Chunks | None]:
    """Return the chunks of the parent and its state, None for one of which no file with the anchored root is public."""
    parent = case.round.parent
    found = {Tree.PARENT: attested_chunks(case.store, parent.weights.blob, Root(parent.tensor_root))}
    if parent.state is not None:
        found[Tree.PARENT_STATE] = attested_chunks(case.store, parent.state.blob, Root(parent.state.root), case.states)
    return found


def _scalars(case: Case) -> RoundScalars:
    result = case.result
    number = step_number(case.round.parent, case.round.form.rules)
    return RoundScalars(number, result.contributions, result.total_weight, result.total_steps)


def _audited_step(case: Case, aggregate: Chunks) -> Inspection | None:
    """Recompute the server step from the attested aggregate, and compare version and state with its outcome."""
    form = case.round.form
    if aggregate.counted.count != case.values:
        return Inspection("aggregate: size", WrongSize(Tree.AGGREGATE, aggregate.counted))
    place = {name: case.folder / f"followed-{name}.safetensors" for name in ("aggregate", "version", "state")}
    assert case.report is not None  # it names the aggregate
    relay_numbers(case.store, case.report.manifest.aggregate.blob, form.aggregate.header, place["aggregate"])
    coordinate = off_grid_in(place["aggregate"], form.aggregate)
    if coordinate is not None:
        wrong = WrongChunk(Tree.AGGREGATE, coordinate, aggregate.opening(coordinate // CHUNK_VALUES))
        return Inspection("aggregate: a value off the grid", wrong)
    state = place["state"] if form.rules.program.states else None
    for _ in written(
        place["version"], next_version(case.store, case.round.parent, form, place["aggregate"], _scalars(case), state)
    ):
        pass
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
                case, own, published_state(case), Root(roots.state), Tree.STATE, "is not what the server step gives",
                lambda index, mine, shown: state_charge(case, index, mine, shown, aggregate.opening),
            )  # fmt: skip
    return None


class _Sample:
    """One sampled chunk of a result, with those of its inputs that are stored or were shown."""

    def __init__(
        self,
        case: Case,
        listing: Listing,
        blobs: Mapping[Address, Blob],
        published: Mapping[Tree, Chunks | None],
        index: int,
    ) -> None:
        self._case, self._listing, self._blobs, self._index = case, listing, blobs, index
        self._published = published

    def audited(self) -> Inspection:
        """Check this chunk of aggregate, version and state against contributions, parent and the parent's state.

        With a public aggregate only the aggregate is checked: all of version and state were checked before.
        """
        case, roots = self._case, self._case.result.roots
        attested = self._attested(case.result.aggregate_root, Tree.AGGREGATE, self._index, VALUES)
        if not isinstance(attested, Opening):
            return attested
        position = off_grid(attested.leaf, case.round.form.aggregate)
        if position is not None:
            wrong = WrongChunk(Tree.AGGREGATE, self._index * CHUNK_VALUES + position, attested)
            return Inspection("aggregate: a value off the grid", wrong)
        found = self._against_contributions(attested)
        if found.charge is not None or self._published[Tree.AGGREGATE] is not None:
            return found
        wanted = found.wanted
        made = self._attested(roots.tensor, Tree.VERSION, self._index, VALUES)
        before = list(self._before())
        known = [leaf for leaf in before if isinstance(leaf, bytes)]
        if len(known) < len(before):
            missing = (leaf for leaf in before if isinstance(leaf, Wanted))
            return Inspection("", wanted=(*wanted, *missing, *(made.wanted if isinstance(made, Inspection) else ())))
        values, states = self._stepped(attested.leaf, *known)
        if isinstance(made, Opening):
            if values.tobytes() != made.leaf:
                charge = version_charge(case, self._index, values.tobytes(), made, lambda _: attested)
                return Inspection(f"version: chunk {self._index} is not what the server step gives", charge)
        elif made.charge is not None:
            return made
        else:
            wanted = (*wanted, *made.wanted)
        left = self._states_left(states, attested) if case.round.form.rules.program.states else Inspection("")
        if left.charge is not None:
            return left
        return Inspection("", wanted=(*wanted, *left.wanted))

    def _attested(self, root: Root, tree: Tree, index: int, rows: Rows) -> Opening | Inspection:
        """Return an attested leaf, published or shown; else demand the leaf, or charge the blob's wrong size."""
        whole, shown = self._published[tree], self._case.shown_of(root, rows)
        counted = whole.counted if whole is not None else next((o.counted for o in shown.values()), None)
        expected = self._case.values * (1 if rows == VALUES else len(self._case.round.form.rules.program.states))
        if counted is not None and counted.count != expected:
            return Inspection(f"{tree.name.lower()}: size", WrongSize(tree, counted))
        if whole is not None:
            try:
                return whole.opening(index)
            except ContentError:  # became unavailable meanwhile
                pass
        if index in shown:
            return shown[index]
        return Inspection(f"{tree.name.lower()}: demanded", wanted=(Wanted(root, tree, index, rows=rows),))

    def _against_contributions(self, attested: Opening) -> Inspection:
        case, index = self._case, self._index
        leaves = list(self._leaves())
        wanted = [leaf for leaf in leaves if isinstance(leaf, Wanted)]
        known = [leaf for leaf in leaves if isinstance(leaf, bytes)]
        if len(known) < len(leaves):
            return Inspection("", wanted=tuple(wanted))
        own = self._combined(known).tobytes()
        if own == attested.leaf:
            return Inspection("")
        charge = aggregate_charge(case, self._listing, self._openings, index, own, attested)
        return Inspection(f"aggregate: chunk {index} is not what its contributions give", charge)

    def _leaves(self) -> Iterator[bytes | Wanted | None]:
        """Yield this chunk of every contribution, in the list's order.

        Where a public blob became unavailable, yield the leaf to demand; None where it is demanded already.
        """
        rows = self._case.round.form.rows
        for place, entry in enumerate(self._listing.contributions):
            shown = self._case.shown_of(entry.tensor_root, rows)
            if self._index in shown:
                yield shown[self._index].leaf
            elif entry.participant in self._blobs:
                try:
                    yield chunk_of_blob(self._case.store, self._blobs[entry.participant], self._index, rows)
                except ContentError:
                    member = self._listing.membership(place)
                    yield Wanted(entry.tensor_root, Tree.CONTRIBUTION, self._index, member, rows)
            else:
                yield None

    def _openings(self) -> Iterator[Opening]:
        rows = self._case.round.form.rows
        for entry in self._listing.contributions:
            shown = self._case.shown_of(entry.tensor_root, rows)
            if self._index in shown:
                yield shown[self._index]
            else:
                yield chunks_of_blob(self._case.store, self._blobs[entry.participant], rows).opening(self._index)

    def _combined(self, leaves: Sequence[bytes]) -> F32:
        """Apply the combine rule to this chunk of every contribution."""
        form = self._case.round.form
        rules, bits = form.rules, form.grid_bits
        rows = np.stack([form.integers(leaf, self._index * CHUNK_VALUES) for leaf in leaves])
        sums = np.empty(rows.shape[1], dtype=np.float64)
        if rules.shape is Shape.COLUMNS:
            cut = left_out(rules.parameters[0], len(leaves))
            middle_sums(rows.astype(np.int32), cut, sums)
            return rounded_mean(sums, len(leaves) - 2 * cut, bits)
        if rules.shape is Shape.SELECT_COLUMNS:
            selected = rows[[entry.factor != 0 for entry in self._listing.contributions]]
            most = kept(rules.parameters[0], len(selected))
            nearest_sums(selected.astype(np.int32), len(selected) - most, sums)
            return rounded_mean(sums, 2 * most, bits)
        factors = np.array([entry.factor for entry in self._listing.contributions], dtype=np.float64)
        weighted_sum(rows, factors, sums)
        return rounded_mean(sums, self._case.result.divisor, bits)

    def _before(self) -> Iterator[bytes | Wanted]:
        """Yield this chunk of the parent, then the leaves with its states; instead of a withheld one, the demand."""
        parent = self._case.round.parent
        yield self._of_parent(Root(parent.tensor_root), Tree.PARENT, self._index, VALUES)
        if parent.state is not None and continues(parent, self._case.round.form.rules):
            first, last = self._leaves_of_states()
            for index in range(first, last):
                root, rows = Root(parent.state.root), self._case.states
                yield self._of_parent(root, Tree.PARENT_STATE, index, rows)

    def _of_parent(self, root: Root, tree: Tree, index: int, rows: Rows) -> bytes | Wanted:
        whole, shown = self._published[tree], self._case.shown_of(root, rows)
        if whole is not None:
            try:
                return whole.opening(index).leaf
            except ContentError:  # became unavailable meanwhile
                pass
        return shown[index].leaf if index in shown else Wanted(root, tree, index, rows=rows)

    def _leaves_of_states(self) -> tuple[int, int]:
        """Return the first leaf of a state with coordinates of this chunk, and the one after the last."""
        case, first = self._case, self._index * CHUNK_VALUES
        width, end = len(case.round.form.rules.program.states), min(first + CHUNK_VALUES, case.values)
        return first * width // case.states.entries, -(-end * width // case.states.entries)

    def _stepped(self, delta: bytes, parent: bytes, *states: bytes) -> tuple[F32, I64]:
        case, first = self._case, self._index * CHUNK_VALUES
        weights = np.frombuffer(parent, dtype="<f4")
        return stepped_values(
            case.round.form,
            _scalars(case),
            first,
            weights,
            np.frombuffer(delta, dtype="<f4"),
            self._states(len(weights), states),
        )

    def _states_left(self, after: I64, attested: Opening) -> Inspection:
        """Compare the states of these coordinates, (n, S) after the step, with the attested ones, leaf by leaf."""
        case, rows, root = self._case, self._case.states, Root(self._case.result.roots.state)
        own = after.astype("<i8").reshape(-1)  # of states begin..end-1 of the version
        begin = self._index * CHUNK_VALUES * after.shape[1]
        wanted: tuple[Wanted, ...] = ()
        for leaf in range(begin // rows.entries, -(-(begin + own.size) // rows.entries)):
            made = self._attested(root, Tree.STATE, leaf, rows)
            if not isinstance(made, Opening):
                if made.charge is not None:
                    return made
                wanted = (*wanted, *made.wanted)
                continue
            first = max(leaf * rows.entries, begin)
            last = min((leaf + 1) * rows.entries, begin + own.size)
            at, here = 8 * (first - leaf * rows.entries), own[first - begin : last - begin].tobytes()
            expected = made.leaf[:at] + here + made.leaf[at + len(here) :]
            if expected != made.leaf:
                charge = state_charge(case, leaf, expected, made, lambda _: attested)
                return Inspection(f"state: leaf {leaf} is not what the server step gives", charge)
        return Inspection("", wanted=wanted)

    def _states(self, count: int, leaves: Sequence[bytes]) -> I64:
        """States of these coordinates before the step, (n, S), in these leaves or, if there are none, initial."""
        case, rules = self._case, self._case.round.form.rules
        width = len(rules.program.states)
        if not leaves:
            return initial_states(rules.program, count)
        skip = self._index * CHUNK_VALUES * width - self._leaves_of_states()[0] * case.states.entries
        values = np.frombuffer(b"".join(leaves), dtype="<i8")[skip : skip + count * width]
        return values.reshape(count, width)
