"""What a plan's manifest may say of its rules: a program is what its name says, and none leaves its range."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from registry.content.manifest import PlanManifest, ServerRule
from registry.errors import FormError, InputError
from registry.rounds.plans import plan_rules, server_rule
from registry.rules.encoding import encode_program
from registry.rules.program import Opcode, Operation, Program
from registry.rules.table import (
    BULYAN,
    GEOMETRIC_MEDIAN,
    MULTI_KRUM,
    NORM_CLIP,
    TRIMMED_MEAN,
    UNIFORM,
    CombineRule,
    with_usual_values,
)


def test_a_named_rule_is_the_program_that_it_compiles_to(example: PlanManifest) -> None:
    half = server_rule("fedavg", {"rate": 0.5}, example.grid_bits)
    assert plan_rules(replace(example, server=half)).program != plan_rules(example).program
    for false in (
        replace(half, parameters={"rate": 1.0}),
        replace(half, program=example.server.program),
        replace(half, name="fedavgm", parameters={"rate": 0.5, "momentum": 0.5}),
    ):
        with pytest.raises(FormError, match=f"expected the program that {false.name} compiles to, got another"):
            plan_rules(replace(example, server=false))


def test_a_program_of_the_plan_s_own_needs_no_name(example: PlanManifest) -> None:
    own = replace(example, server=ServerRule(None, {}, example.server.program))
    assert plan_rules(own) == plan_rules(example)


def test_a_program_that_may_leave_its_range_is_refused(example: PlanManifest) -> None:
    square, again = Operation(Opcode.MUL, 0, 0), Operation(Opcode.MUL, 5, 5)
    program = Program((), 0, (), (square, again), 6, ())
    with pytest.raises(InputError, match="operation 1"):
        plan_rules(replace(example, server=ServerRule(None, {}, encode_program(program))))


@pytest.mark.parametrize(
    ("rule", "given", "formula", "least"),
    [(MULTI_KRUM, {"byzantine": 2}, "2f + 3", 7), (BULYAN, {"byzantine": 2}, "4f + 3", 11),
     (MULTI_KRUM, {"byzantine": 1, "bucket": 2}, "s(2f + 2) + 1 (2f + 3 buckets)", 9),
     (MULTI_KRUM, {"byzantine": 1, "selected": 9}, "byzantine + selected means", 10),
     (GEOMETRIC_MEDIAN, {"mixed": 4}, "2 * mixed + 1", 9),
     (NORM_CLIP, {"bucket": 5}, "2 * bucket + 1 (three buckets)", 11),
     (TRIMMED_MEAN, {"trimmed": 13107}, "65536 / trimmed", 6)],
    ids=lambda value: value if isinstance(value, str) else None,
)  # fmt: skip
def test_a_rule_needs_its_least_contributions(
    example: PlanManifest, rule: CombineRule, given: dict[str, int], formula: str, least: int
) -> None:
    parameters = with_usual_values(rule, given)
    made = {"combine_rule": rule.number, "weights": UNIFORM, "combine_parameters": parameters}
    assert plan_rules(replace(example, **made, min_contributions=least)).combine_rule == rule.number
    said = f"{rule.number} ({rule.name}) needs n >= {formula} contributions"
    with pytest.raises(
        FormError, match=rf"{re.escape(said)} .* min_contributions of {least} or more, got {least - 1}$"
    ):
        plan_rules(replace(example, **made, min_contributions=least - 1))


@pytest.mark.parametrize(("scale", "exponent"), [(-128, -150), (126, 104)])
def test_a_scale_that_takes_a_step_out_of_range_is_refused(example: PlanManifest, scale: int, exponent: int) -> None:
    with pytest.raises(InputError, match=rf"expected -149\.\.103, got {exponent}"):
        plan_rules(replace(example, scales={"weight": scale}))
