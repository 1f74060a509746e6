"""Streaming admission of updates: in chunks of any size, with every fault that they may have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from registry.content.manifest import PlanManifest, Reason
from registry.content.merkle import tensor_root
from registry.content.tensors import TensorHeader, layout
from registry.errors import InputError
from registry.rounds.admission import UpdateForm, judge_blob, update_form
from registry.rounds.plans import fitted, server_rule
from registry.rules.grid import to_grid

BITS = 20


def parent(dtype: str = "F32") -> TensorHeader:
    return layout({"w": (dtype, (300_000,)), "b": ("F32", (5,))})


@pytest.fixture
def plan(example: PlanManifest) -> PlanManifest:
    return fitted(replace(example, grid_bits=BITS, server=server_rule("fedavg", {"rate": 1.0}, BITS)), parent())


@pytest.fixture
def form(plan: PlanManifest) -> UpdateForm:
    return update_form(parent(), plan)


@pytest.fixture
def update(form: UpdateForm) -> bytes:
    draw = np.random.default_rng(0)
    return form.header + to_grid(draw.normal(size=300_005), BITS)[0].tobytes()


def root_of(form: UpdateForm, data: bytes) -> bytes:
    return tensor_root(data[len(form.header) :])


def pieces(data: bytes, step: int) -> Iterator[bytes]:
    return (data[at : at + step] for at in range(0, len(data), step))


@pytest.mark.parametrize("step", [1 << 22, 1 << 20, 65_537, 4099, 1021])
def test_an_update_is_admitted_whatever_pieces_it_comes_in(form: UpdateForm, update: bytes, step: int) -> None:
    assert judge_blob(pieces(update, step), form, root_of(form, update)) == (Reason.ADMITTED, "")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.0, 2.0**-21, 17.0])
@pytest.mark.parametrize("step", [1 << 20, 4099, 1021])
def test_a_bad_value_is_found_whatever_pieces_it_comes_in(
    form: UpdateForm, update: bytes, bad: float, step: int
) -> None:
    values = np.frombuffer(update[len(form.header) :], "<f4").copy()
    for at in (0, 1018, 150_001, -1):
        spoilt = values.copy()
        spoilt[at] = bad
        data = form.header + spoilt.tobytes()
        assert judge_blob(pieces(data, step), form, root_of(form, data))[0] == Reason.VALUE


def test_a_bad_value_counts_before_a_wrong_root(form: UpdateForm, update: bytes) -> None:
    data = update[:-4] + np.float32(np.nan).tobytes()
    assert judge_blob([data], form, bytes(32))[0] == Reason.VALUE


@pytest.mark.parametrize("change", [-1, -4, 1, 4])
def test_another_length_is_refused(form: UpdateForm, update: bytes, change: int) -> None:
    data = update[:change] if change < 0 else update + bytes(change)
    reason, detail = judge_blob([data], form, root_of(form, update))
    assert (reason, detail) == (Reason.BLOB_FORM, f"size: expected {form.size}, got {form.size + change}")


def test_another_length_counts_before_a_bad_value(form: UpdateForm, update: bytes) -> None:
    data = update[:-8] + np.float32(np.nan).tobytes()
    assert judge_blob([data], form, root_of(form, update))[0] == Reason.BLOB_FORM


@pytest.mark.parametrize("step", [1 << 20, 7])
def test_another_header_is_refused_at_the_piece_that_differs(form: UpdateForm, update: bytes, step: int) -> None:
    data = bytearray(update)
    data[len(form.header) - 1] ^= 1
    taken = 0

    def counted() -> Iterator[bytes]:
        nonlocal taken
        for piece in pieces(bytes(data), step):
            taken += len(piece)
            yield piece

    assert judge_blob(counted(), form, root_of(form, update))[0] == Reason.BLOB_FORM
    assert taken < len(form.header) + step


def test_another_root_is_refused(form: UpdateForm, update: bytes) -> None:
    assert judge_blob([update], form, bytes(32))[0] == Reason.WRONG_ROOT


@pytest.mark.parametrize("dtype", ["F64", "F16", "BF16"])
def test_a_parent_of_another_form_than_the_plan_is_for_has_no_update_form(plan: PlanManifest, dtype: str) -> None:
    with pytest.raises(InputError, match="plan: expected values 5 as the parent has, got 300005"):
        update_form(parent(dtype), plan)


@pytest.mark.parametrize(("scales", "far"), [({"w": 80}, False), ({"w": 81}, True), ({"w": -40, "b": 41}, True)])
def test_scales_too_far_apart_for_a_word_are_refused(plan: PlanManifest, scales: dict[str, int], far: bool) -> None:
    """Under rules that select, whose inner products are anchored; buffers have no say in them."""
    krum = {"byzantine": 0, "selected": 0, "mixed": 0, "bucket": 0}
    selecting = replace(plan, combine_rule=5, weights="uniform", combine_parameters=krum, scales=scales)
    if far:
        with pytest.raises(InputError, match=r"within 2\^80 of each other under a rule that selects, got 2\^"):
            update_form(parent(), fitted(selecting, parent()))
    else:
        assert update_form(parent(), fitted(selecting, parent())).segments
    assert update_form(parent(), fitted(replace(selecting, buffers={"w": 1}), parent())).segments
    assert update_form(parent(), fitted(replace(plan, scales=scales), parent())).segments
