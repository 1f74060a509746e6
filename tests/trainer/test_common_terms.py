"""What participants must have in common is compared with the plan before anybody trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from torch import nn

from registry.content.manifest import encode
from registry.errors import InputError
from registry.rounds.plans import plan_rules
from registry.rules.algorithms import COMMON, require_parameters
from trainer.common_terms import canonical_json, json_digest, parsed_settings, with_common
from trainer.modules import propose_plan
from trainer.participant import Task

Make = Callable[..., Any]

ONE, OTHER = json_digest("one"), json_digest("other")
SETTINGS, ELSE = '{"lora_alpha":16,"r":8}', '{"lora_alpha":32,"r":8}'
TERMS = {"adapter": SETTINGS, "labels": ONE, "task": ONE, "tokenizer": ONE}
WRONG = {"adapter": ELSE, "labels": OTHER, "task": OTHER, "tokenizer": OTHER}


def trained_by(change: Callable[[nn.Module], Mapping[str, float]], make_task: Make, **common: str) -> Task:
    task: Task = replace(make_task(nn.Linear(2, 1), change), common=common)
    return task


def nobody(module: nn.Module) -> Mapping[str, float]:
    raise AssertionError("time was spent on training")


def something(module: nn.Module) -> Mapping[str, float]:
    module.bias.data += 0.5  # type: ignore[union-attr, operator]
    return {}


@pytest.fixture
def planned(hand_made: Make) -> Callable[..., Any]:
    """Makes a round whose plan names these terms."""

    def make(**common: str) -> Any:
        module = nn.Linear(2, 1)
        return hand_made(module, with_common(propose_plan(module, quorum=1, min_contributions=1), common))

    return make


@pytest.mark.parametrize("name", COMMON)
def test_another_term_is_refused_before_training(planned: Make, make_task: Make, name: str) -> None:
    task = trained_by(nobody, make_task, **{**TERMS, name: WRONG[name]})
    with pytest.raises(InputError, match=rf"{name}: expected .* that the plan names, .*, got ") as caught:
        planned(**TERMS).prepare(task)
    said = ("lora_alpha 16, got lora_alpha 32",) if name == "adapter" else (TERMS[name], WRONG[name])
    assert all(each in str(caught.value) for each in said)


@pytest.mark.parametrize("name", COMMON)
def test_a_task_that_does_not_state_what_the_plan_names_is_refused(planned: Make, make_task: Make, name: str) -> None:
    task = trained_by(nobody, make_task, **{each: text for each, text in TERMS.items() if each != name})
    with pytest.raises(InputError, match=f"{name}: the plan names .*, and the task states none: give it in common="):
        planned(**TERMS).prepare(task)


def test_equal_terms_and_those_that_the_plan_does_not_name_are_taken(planned: Make, make_task: Make) -> None:
    for common in (TERMS, {"labels": ONE}, {}):
        made = planned(**common).prepare(trained_by(something, make_task, **TERMS), folder=f"of {len(common)}")
        assert made.manifest.weight == 10


def test_a_plan_that_names_none_has_the_bytes_that_it_had(planned: Make) -> None:
    plan = planned().plan
    assert with_common(with_common(plan, TERMS), {}) == plan
    assert not any(name.encode() in encode(plan) for name in ("adapter", "tokenizer"))


def test_terms_are_no_part_of_the_rules_that_a_round_is_computed_by(planned: Make) -> None:
    assert plan_rules(planned(**TERMS).plan) == plan_rules(planned().plan)


@pytest.mark.parametrize(
    ("name", "text"),
    [("labels", ONE.upper()), ("task", ONE[:-1]), ("tokenizer", ONE + "\n"), ("labels", ""), ("adapter", 7)],
)
def test_a_term_that_no_plan_may_have_is_refused(make_task: Make, name: str, text: Any) -> None:
    with pytest.raises(InputError, match=f"common: {name}: expected"):
        trained_by(something, make_task, **{name: text})
    with pytest.raises(InputError, match=r"texts adapter, labels, task, tokenizer \(optional\)"):
        require_parameters("fedavg", {name: text})


def test_a_term_of_another_name_is_refused(make_task: Make) -> None:
    with pytest.raises(InputError, match=r"common: expected names of adapter, .*, got 'licence'"):
        trained_by(something, make_task, licence=ONE)


@pytest.mark.parametrize("text", ["", "[1]", "{", "[" * 60_000, "nonsense", "\x00"])
def test_settings_that_are_no_object_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="adapter: expected a JSON object in the plan, got"):
        parsed_settings(text)


def test_one_meaning_has_one_text() -> None:
    assert canonical_json({"b": [1, 2.5], "a": "ü"}) == '{"a":"ü","b":[1,2.5]}'
    for value in ({1, 2}, float("nan"), b"bytes"):
        with pytest.raises(InputError, match="expected what JSON holds"):
            canonical_json(value)
