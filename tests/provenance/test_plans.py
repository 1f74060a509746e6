"""What a plan's manifest may say of its rules: a program is what its name says, and none leaves its range."""

from __future__ import annotations

from dataclasses import replace

import pytest

from registry.content.manifest import PlanManifest, ServerRule
from registry.errors import FormError, InputError
from registry.rounds.plans import plan_rules, server_rule
from registry.rules.encoding import Shape, encode_program
from registry.rules.program import Opcode, Operation, Program
from registry.rules.table import MULTI_KRUM, UNIFORM


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


def test_a_rule_needs_its_least_contributions(example: PlanManifest) -> None:
    krum = {"combine_rule": MULTI_KRUM.number, "weights": UNIFORM}
    krum["combine_parameters"] = {"byzantine": 2, "selected": 0, "mixed": 0, "bucket": 0}
    assert plan_rules(replace(example, **krum, min_contributions=7)).shape is Shape.SELECT
    with pytest.raises(
        FormError, match=r"5 \(multi_krum\) needs n >= 2f \+ 3 .* min_contributions of 7 or more, got 6"
    ):
        plan_rules(replace(example, **krum, min_contributions=6))


@pytest.mark.parametrize(("scale", "exponent"), [(-128, -150), (126, 104)])
def test_a_scale_that_takes_a_step_out_of_range_is_refused(example: PlanManifest, scale: int, exponent: int) -> None:
    with pytest.raises(InputError, match=rf"expected -149\.\.103, got {exponent}"):
        plan_rules(replace(example, scales={"weight": scale}))
