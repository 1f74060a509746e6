"""Participants pack their updates by the plan's form, and feed back what packing left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from registry.chain.contract_hashes import round_id_of
from registry.content.manifest import PlanManifest, Procedure
from registry.content.tensors import parse_header
from registry.durable import write_whole
from registry.errors import InputError
from registry.rounds.admission import judge_blob, update_form
from registry.rounds.plans import add_plan, fitted
from registry.rounds.versions import read_header
from registry.rules.packed import packing_named
from trainer.modules import propose_plan
from trainer.transforms import error_feedback
from trainer.updates import adopt_update

Make = Callable[..., Any]
FEEDBACK = (Procedure("error_feedback", {}),)
PARTICIPANT = bytes([10]) * 20


def module_of(width: int = 30) -> nn.Module:
    """930 values: four rows, the last of 162 coordinates; b's stand before w's in the file."""
    torch.manual_seed(0)
    return nn.Linear(width, width)


def plan_of(form: str, **changed: Any) -> PlanManifest:
    packing = packing_named(form)
    assert packing is not None
    plan = propose_plan(module_of(), quorum=1, min_contributions=1)
    named = {"update_form": 2, "form_parameters": {"bits": packing.bits, "kept": packing.kept}}
    return replace(plan, **named, **changed)


def planned(hand_made: Make, form: str, **changed: Any) -> Any:
    """A round under a plan that is fitted to its genesis."""
    made = hand_made(module_of())
    plan = fitted(plan_of(form, **changed), read_header(made.store, made.genesis.weights.blob))
    anchored, _ = add_plan(made.store, plan)
    return replace(made, plan=plan, record=replace(made.record, plan=anchored))


def moving(seed: int) -> Callable[[nn.Module], Mapping[str, float]]:
    """Training that adds numbers of very different sizes."""

    def change(module: nn.Module) -> Mapping[str, float]:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for value in module.parameters():
                value.add_(torch.randn(value.shape, generator=generator).pow(5) / 4096)
        return {}

    return change


def integers_of(made: Any, prepared: Any) -> Any:
    form = update_form(read_header(made.store, made.genesis.weights.blob), made.plan)
    return form.integers(prepared.file.read_bytes()[len(form.header) :]).astype(np.int64)


def wanted(made: Any, task: Any) -> Any:
    """The grid integers that a dense update would hold."""
    dense = replace(made, plan=fitted(replace(made.plan, update_form=1, form_parameters={}, transforms=()),
                                      read_header(made.store, made.genesis.weights.blob)))  # fmt: skip
    anchored, _ = add_plan(made.store, dense.plan)
    dense = replace(dense, record=replace(made.record, plan=anchored))
    return integers_of(dense, dense.prepare(task, "dense"))


@pytest.mark.parametrize("name", ["int8", "int4", "top-8", "top-8-int8"])
def test_an_update_is_packed_and_passes_every_judgement(hand_made: Make, make_task: Make, name: str) -> None:
    made, packing = planned(hand_made, name), packing_named(name)
    assert packing is not None
    prepared = made.prepare(make_task(module_of(), moving(1)))
    data = prepared.file.read_bytes()
    header = parse_header(data, len(data))
    assert [(s.name, s.dtype, s.shape) for s in header.specs] == [("packed", "U8", (4, packing.row_bytes))]
    form = update_form(read_header(made.store, made.genesis.weights.blob), made.plan)
    delta = prepared.manifest.delta
    for cut in (len(data), 100, 7):
        pieces = [data[k : k + cut] for k in range(0, len(data), cut)]
        assert judge_blob(pieces, form, delta.tensor_root) == (0, "")
    assert delta.size == form.size == len(data) and len(data) < form.aggregate.size / 3
    exact = wanted(made, make_task(module_of(), moving(1)))
    assert np.array_equal(integers_of(made, prepared), packing.unpack(packing.pack(exact), first=0, values=930)[:930])


def following(made: Any, number: int) -> Any:
    """A later round of the same model on the same parent."""
    round_id = round_id_of(made.record.model_id, number)
    return replace(made, record=replace(made.record, number=number, round_id=round_id))


@pytest.mark.parametrize("name", ["int4", "top-8"])
def test_what_packing_leaves_out_goes_into_the_next_published_update(
    hand_made: Make, make_task: Make, name: str
) -> None:
    made, packing = planned(hand_made, name, transforms=FEEDBACK), packing_named(name)
    assert packing is not None
    owed = np.zeros(930, dtype=np.int64)
    for number in (1, 2, 3):
        here = following(made, number)
        exact = owed + wanted(here, make_task(module_of(), moving(number)))
        prepared = here.prepare(make_task(module_of(), moving(number)))
        sent = integers_of(here, prepared)
        assert np.array_equal(sent, packing.unpack(packing.pack(exact), first=0, values=930)[:930])
        if number != 2:  # round 2 is not published: what it left out never was sent
            write_whole(prepared.file.parent / "published", b"")
            owed = exact - sent
        assert owed.any()


def test_feedback_begins_anew_where_nothing_fits_it(hand_made: Make, make_task: Make) -> None:
    made = planned(hand_made, "top-8", transforms=FEEDBACK)
    task = make_task(module_of(), moving(1))
    plain = integers_of(made, made.prepare(task, "plain"))
    first = made.prepare(task)
    write_whole(first.file.parent / "published", b"")
    again = following(made, 2)
    assert not np.array_equal(integers_of(again, again.prepare(task)), plain)
    residual = first.file.parent / "residual.safetensors"
    data = residual.read_bytes()
    for number, damaged in enumerate((data[:-1], b"", data.replace(made.plan.segments[:4], bytes(4))), 3):
        residual.write_bytes(damaged)
        later = following(made, number)
        assert np.array_equal(integers_of(later, later.prepare(task, "participant")), plain)
    residual.unlink()
    assert error_feedback.load_residual(made.folder / "participant", following(made, 2).record, PARTICIPANT,
                                        made.plan).any() == np.False_  # fmt: skip


def test_feedback_needs_a_form_that_leaves_something_out(hand_made: Make, make_task: Make) -> None:
    made = hand_made(
        module_of(), replace(propose_plan(module_of(), quorum=1, min_contributions=1), transforms=FEEDBACK)
    )
    with pytest.raises(InputError, match="expected a packed update form, such as int8, with error_feedback, got dense"):
        made.prepare(make_task(module_of(), moving(1)))
    with pytest.raises(InputError, match="error_feedback: expected no parameters"):
        error_feedback.outgoing({}, {"rate": 1})


def test_a_packed_update_that_was_made_elsewhere_is_taken(hand_made: Make, make_task: Make) -> None:
    made = planned(hand_made, "int8")
    prepared = made.prepare(make_task(module_of(), moving(1)))
    task = make_task(module_of(), moving(1))
    place = made.folder / "adopted"
    taken = adopt_update(made.store, place, made.record, prepared.file, PARTICIPANT, weight=3, steps=2,
                         data_set=task.data_set)  # fmt: skip
    assert taken.manifest.delta == prepared.manifest.delta
