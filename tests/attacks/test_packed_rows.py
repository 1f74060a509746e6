"""Whole rounds in update form 2: what nobody may publish in packed rows, and what convicts who attests it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hearing import convicted, show, update_of, without

from registry.chain.contract_errors import BadRules
from registry.chain.contract_structs import Target
from registry.chain.court import Court
from registry.content.manifest import Reason
from registry.content.merkle import Rows
from registry.dev.forgeries import falsified, nudged
from registry.disputes.charges import basis_of, listed
from registry.disputes.demands import demands_of
from registry.disputes.openings import chunks_of_blob, listing_of
from registry.errors import FormError
from registry.ethereum.hashing import keccak
from registry.roles import aggregator
from registry.rounds.server_steps import next_version
from registry.rules.encoding import RoundScalars
from registry.rules.packed import packing_named
from registry.types import Fault, Tree

pytestmark = pytest.mark.slow

STEP = 2.0**-22
RowsEdit = Callable[[npt.NDArray[np.uint8]], None]


def begun(house: Any, new_plan: Any, form: str, **changed: Any) -> None:
    """Open a round whose updates are packed."""
    packing = packing_named(form)
    assert packing is not None
    new_plan(house, update_form=2, form_parameters={"bits": packing.bits, "kept": packing.kept}, **changed)
    house.owner.open_round(house.model_id)


def contribute(house: Any, edit: RowsEdit | None = None) -> None:
    """Three publish; the rows of bob's update, (rows, bytes), are edited."""
    form = house.round().form
    for seed, name in enumerate(("ann", "bob", "cyn")):
        update = house.update(name, seed=seed)
        if edit is not None and name == "bob":
            rows = np.frombuffer(update.data[len(form.header) :], dtype=np.uint8).reshape(-1, form.packing.row_bytes)
            rows = rows.copy()
            edit(rows)
            update = house.sealed(name, form.header + rows.tobytes(), rows=form.rows)
        house.contribute(name, update)
    house.sleep_to("publish_deadline")


def all_listed(house: Any, alone: Any) -> Any:
    """A result that counts everybody, whose numbers are otherwise those of another."""
    rules = house.round().form.rules
    listing = listing_of(listed(c, rules) for c in house.record().commitments)
    said = {"contributions": 3, "total_weight": 300, "total_steps": 12, "divisor": 300}
    return replace(alone, contributions_root=listing.root, **said)


@pytest.mark.parametrize("form", ["int8", "int4", "top-8", "top-8-int8"])
def test_a_false_sum_of_packed_updates_is_convicted(federation: Any, new_plan: Any, form: str) -> None:
    house = federation
    begun(house, new_plan, form)
    contribute(house)
    honest = house.outcome()
    assert len(honest.factors) == 3
    house.attest("mallory", falsified(house.store, honest, aggregate=nudged(260, STEP)))
    assert convicted(house) is Fault.AGGREGATE


def test_a_false_median_of_packed_updates_is_convicted(federation: Any, new_plan: Any) -> None:
    house = federation
    begun(house, new_plan, "int8", combine_rule=2, weights="uniform")
    contribute(house)
    house.attest("mallory", falsified(house.store, house.outcome(), aggregate=nudged(17, STEP)))
    assert convicted(house) is Fault.AGGREGATE


def test_an_honest_round_of_packed_updates_stands_and_is_verified(federation: Any, new_plan: Any) -> None:
    house = federation
    begun(house, new_plan, "top-8", combine_rule=5, weights="uniform",
          combine_parameters={"byzantine": 0, "selected": 2, "mixed": 0, "bucket": 0})  # fmt: skip
    contribute(house)
    result = house.outcome().result
    house.attest("first", result)
    assert house.audit()[-1].finding != "failed"
    house.sleep_to("challenge_deadline")
    house.stranger.finalize_round(house.model_id, 1, result)
    assert all(found.passed for found in house.verify())


def set_to(place: tuple[Any, ...], *values: int) -> RowsEdit:
    def edit(rows: npt.NDArray[np.uint8]) -> None:
        rows[place] = values[0] if len(values) == 1 else np.array(values, dtype=np.uint8)

    return edit


def swapped(rows: npt.NDArray[np.uint8]) -> None:
    for first in (1, 9):  # positions, then mantissas
        rows[0, [first, first + 1]] = rows[0, [first + 1, first]]


def coarser(rows: npt.NDArray[np.uint8]) -> None:
    rows[0, 0], rows[0, 1:] = 3, 1


ROWS: dict[str, tuple[str, RowsEdit, str]] = {
    "-128": ("int8", set_to((0, 5), 0x80), "mantissas of at most 127 in magnitude"),
    "-8": ("int4", set_to((0, 5), 0x08), "mantissas of at most 7 in magnitude"),
    "an exponent out of range": ("int8", set_to((0, 0), 19), "an exponent of 0..18"),
    "an integer beyond the grid": ("int8", set_to((0, [0, 1]), 18, 127), "integers of at most 2^24 in magnitude"),
    "an exponent that is not the smallest": ("int8", coarser, "the smallest exponent that its mantissas allow"),
    "a value past the end": ("int8", set_to((1, 256), 1), "zeros past coordinate 282"),
    "a position past the end": ("top-8-int8", set_to((1, 8), 255), "zeros past coordinate 282"),
    "positions out of order": ("top-8-int8", swapped, "positions in ascending order, each once"),
    "a position twice": ("top-8-int8", set_to((0, [1, 2]), 7, 7), "positions in ascending order, each once"),
    "a mantissa of zero": ("top-8-int8", set_to((0, 10), 0), "mantissas that are not zero before its padding"),
    "padding that is not zero": ("top-8-int8", set_to((0, 16), 0), "padding of zeros"),
}


@pytest.mark.parametrize(("form", "edit", "said"), ROWS.values(), ids=ROWS)
def test_rows_that_are_not_canonical_are_refused_and_convict_whoever_counts_them(
    federation: Any, new_plan: Any, form: str, edit: RowsEdit, said: str
) -> None:
    house = federation
    begun(house, new_plan, form)
    contribute(house, edit)
    verdict = next(v for v in house.verdicts() if v.commitment.participant == house.bob.account)
    assert verdict.reason == Reason.VALUE and f"expected {said}, got" in verdict.detail
    house.attest("mallory", all_listed(house, house.outcome().result))
    assert convicted(house) is Fault.CHUNK


def test_an_update_of_another_stride_is_refused_and_convicts_whoever_counts_it(federation: Any, new_plan: Any) -> None:
    house = federation
    begun(house, new_plan, "int8")
    form = house.round().form
    house.contribute("ann", house.update("ann", seed=1))
    longer = form.header + house.update("bob", seed=2).data[len(form.header) :] + bytes(257)
    house.contribute("bob", house.sealed("bob", longer, rows=form.rows))
    house.contribute("cyn", house.update("cyn", seed=3))
    house.sleep_to("publish_deadline")
    assert house.reasons()["bob"] is Reason.BLOB_SIZE
    house.attest("mallory", all_listed(house, house.outcome().result))
    assert convicted(house) is Fault.SIZE


@pytest.mark.parametrize("form", ["int4", "top-8"])
def test_rows_of_a_hidden_update_are_demanded_and_compared(federation: Any, new_plan: Any, form: str) -> None:
    """The version follows from the false aggregate."""
    house = federation
    begun(house, new_plan, form)
    contribute(house)
    made, round = house.outcome(), house.round()
    path = house.folder / "false.safetensors"
    path.write_bytes(nudged(17, STEP)(made.aggregate_file.read_bytes()))
    told = made.result.contributions, made.result.total_weight, made.result.total_steps
    version = b"".join(next_version(house.store, round.parent, round.form, path, RoundScalars(1, *told), None))
    hidden = update_of(house, "ann")
    chunks = chunks_of_blob(house.store, hidden, round.form.rows)
    house.attest("mallory", falsified(house.store, made, aggregate=nudged(17, STEP), version=lambda _: version))
    assert (
        convicted(house, without(house, hidden), lambda: show(house, {chunks.root: chunks.opening})) is Fault.AGGREGATE
    )


def test_whoever_attests_packed_updates_answers_for_their_rows(federation: Any, new_plan: Any) -> None:
    house, court = federation, Court(federation.stranger)
    begun(house, new_plan, "top-8")
    contribute(house)
    assert aggregator.advance(house.first, house.store, house.folder / "first", house.model_id)
    round, target = house.round(), Target(house.model_id, 1, house.outcome().result)
    basis = basis_of(round.form.rules, round.parent)
    listing = listing_of(listed(c, round.form.rules) for c in round.record.commitments)
    for tree, indices, of in ((Tree.CONTRIBUTION, [0, 1, 2], listing.membership(1)), (Tree.AGGREGATE, [1], None)):
        member = {} if of is None else {"membership": of}
        court.demand_chunks(target, tree, indices, basis=basis, deposit=court.deposit_now(target), **member)
    open_ = demands_of(court, house.first.dispute(house.model_id, 1)).open
    assert {Rows(leaf.entry_bytes, leaf.entries) for leaf in open_} == {Rows(1, 25), Rows(4, 256)}
    assert aggregator.advance(house.first, house.store, house.folder / "first", house.model_id).endswith("4 leaves")
    assert not demands_of(court, house.first.dispute(house.model_id, 1)).open


@pytest.mark.parametrize("combine", [{"combine_rule": 2}, {"combine_rule": 8, "combine_parameters": {"byzantine": 0}}])
def test_a_plan_that_orders_values_of_which_most_are_left_out_is_refused(
    federation: Any, new_plan: Any, combine: dict[str, Any]
) -> None:
    house = federation
    top = {"update_form": 2, "form_parameters": {"bits": 16, "kept": 8}}
    with pytest.raises(FormError, match=r"update form top-8: expected a combine rule that does not order values"):
        new_plan(house, weights="uniform", **combine, **top)
    plan = new_plan(house, weights="uniform", **combine, update_form=2, form_parameters={"bits": 16, "kept": 0})
    rules = house.rules
    place = rules.index(bytes(7) + b"\x10" + bytes(8)) + 15
    forged = rules[:place] + b"\x08" + rules[place + 1 :]
    with pytest.raises(BadRules):
        house.owner.set_plan(house.model_id, replace(plan, rules_hash=keccak(forged)), forged)
