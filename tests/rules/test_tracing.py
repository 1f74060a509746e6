"""A traced function gives the program that does what the function says."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from math import isqrt as integer_root
from typing import Any

import numpy as np
import pytest

from registry.errors import InputError
from registry.rules.program import Opcode, Operation, Program, RoundScalars, StateBounds, analyse, encode
from registry.rules.tracing import divide, isqrt, maximum, minimum, sign, trace

WIDE = StateBounds(-(1 << 30), 1 << 30, 0)


def kinds(program: Program) -> list[Opcode]:
    return [operation.kind for operation in program.operations]


def of_q(function: Callable[[Any], Any]) -> Program:
    return trace(lambda q, states, scalars: (function(q), ()))


def test_a_function_of_one_s_own_does_what_it_says(evaluate: Any) -> None:
    """Something between Adagrad and sign descent that no paper has, with every operation and every scalar."""

    def mine(q: Any, states: Any, scalars: Any) -> Any:
        total, last = states
        total = minimum(total + abs(q), 1 << 29)
        lead = maximum(sign(q - last) * 100, -50) - (-q >> 3)
        d = divide(lead * scalars.contributions, isqrt(total) + scalars.step) + 7 - scalars.total_weight * 0
        return d, (total, q - divide(scalars.total_steps, 1000))

    def expected(q: int, total: int, last: int, s: RoundScalars) -> tuple[int, int, int]:
        total = min(total + abs(q), 1 << 29)
        side = (q > last) - (q < last)
        lead = max(side * 100, -50) - ((-q) // 8)
        d = round(Fraction(lead * s.contributions, integer_root(total) + s.step)) + 7
        clipped = max(-(2**24), min(2**24, d))
        return clipped, total, max(-(1 << 30), min(1 << 30, q - round(Fraction(s.total_steps, 1000))))

    program = trace(mine, states=(StateBounds(0, 1 << 29, 5), WIDE), fraction_bits=3)
    assert set(kinds(program)) == set(Opcode)
    assert program.fraction_bits == 3
    rng = random.Random(1)
    for _ in range(500):
        q, total, last = rng.randint(-(2**24), 2**24), rng.randint(0, 1 << 29), rng.randint(-(1 << 30), 1 << 30)
        scalars = RoundScalars(rng.randint(1, 99), rng.randint(1, 9), rng.randint(1, 99), rng.randint(0, 10**6))
        found = evaluate(program, q, (total, last), scalars)
        assert (found.d, *found.states) == expected(q, total, last, scalars)


def test_equal_work_is_done_once_and_unneeded_work_not_at_all() -> None:
    program = of_q(lambda q: (q * 3 + 5) * (5 + 3 * q) + (q * 7) * 0)
    assert kinds(program) == [Opcode.MUL, Opcode.ADD, Opcode.MUL, Opcode.MUL, Opcode.MUL, Opcode.ADD]
    assert program.parameters == (3, 5, 7, 0)

    def dead(q: Any, states: Any, scalars: Any) -> Any:
        isqrt(q * q)
        q * 99
        return q + 1, ()

    program = trace(dead)
    assert kinds(program) == [Opcode.ADD]
    assert program.parameters == (1,)


def test_what_changes_nothing_is_left_out() -> None:
    for same in (
        lambda q: q + 0,
        lambda q: 0 + q,
        lambda q: q - 0,
        lambda q: q * 1,
        lambda q: 1 * q,
        lambda q: divide(q, 1),
        lambda q: q >> 0,
    ):
        assert encode(of_q(same)) == bytes(5)


def test_integers_on_either_side() -> None:
    assert kinds(of_q(lambda q: 5 - q)) == [Opcode.SUB]
    assert of_q(lambda q: 5 - q).operations == (Operation(Opcode.SUB, 1, 0),)
    assert kinds(of_q(lambda q: 0 - q)) == [Opcode.NEG]
    assert of_q(lambda q: divide(9, q * q + 1)).operations[-1].kind is Opcode.DIV
    assert of_q(lambda q: minimum(4, q)) == of_q(lambda q: minimum(q, 4))
    assert of_q(lambda q: maximum(4, q)) == of_q(lambda q: maximum(q, 4))
    assert of_q(lambda q: q * np.int64(3)) == of_q(lambda q: q * 3)


def test_results_may_be_inputs_or_constants() -> None:
    program = trace(lambda q, states, scalars: (0, (states[1], scalars.step)), states=(WIDE, WIDE))
    assert program == Program((WIDE, WIDE), 0, (0,), (), 3, (2, 4))


def test_the_same_function_gives_the_same_bytes_again(random_program: Any) -> None:
    """A program replayed through the tracer comes out no longer than it went in, and does the same."""
    rng = random.Random(2)
    for _ in range(100):
        program = random_program(rng)
        again = retraced(program)
        assert retraced(again) == again
        assert len(again.operations) <= len(program.operations)
        assert again.fraction_bits == program.fraction_bits


def retraced(program: Program) -> Program:
    binary = {Opcode.DIV: divide, Opcode.MIN: minimum, Opcode.MAX: maximum}
    unary = {Opcode.NEG: lambda x: -x, Opcode.ABS: abs, Opcode.SIGN: sign, Opcode.SQRT: isqrt}

    def rule(q: Any, states: Any, scalars: Any) -> Any:
        base = q * 0  # a traced nothing, so that constants are values
        r = [q, *states, *(base.tape.value(p) for p in program.parameters)]
        r += [scalars.step, scalars.contributions, scalars.total_weight, scalars.total_steps]
        for o in program.operations:
            if o.kind in unary:
                r.append(unary[o.kind](r[o.a]))
            elif o.kind in binary:
                r.append(binary[o.kind](r[o.a], r[o.b]))
            elif o.kind is Opcode.SHR:
                r.append(r[o.a] >> o.b)
            else:
                r.append(
                    {Opcode.ADD: r[o.a].__add__, Opcode.SUB: r[o.a].__sub__, Opcode.MUL: r[o.a].__mul__}[o.kind](r[o.b])
                )
        return r[program.d], [r[at] for at in program.new_states]

    return trace(rule, states=program.states, fraction_bits=program.fraction_bits)


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda q: q * 0.5, "expected a whole number, got 0.5: scale fractions to integers"),
        (lambda q: q + "1", "expected a whole number, got '1'"),
        (lambda q: q // 2, "has no //: use divide"),
        (lambda q: 2 // q, "has no //"),
        (lambda q: q / 2, "has no //"),
        (lambda q: q if q > 0 else -q, "has no branches"),
        (lambda q: q if q else 1, "has no branches"),
        (lambda q: q if q == 0 else 1, "has no branches"),
        (lambda q: max(q, 0), "has no branches"),
        (lambda q: divide(3, 4), "expected a traced value, got 3 and 4"),
        (lambda q: q + isqrt(9), "sqrt: expected a traced value, got 9"),
        (lambda q: q * sign(-2.5), "sign: expected a traced value, got -2.5"),
        (lambda q: q >> 62, r"bits: expected a whole number of 1\.\.61, got 62"),
        (lambda q: q >> -1, r"bits: expected a whole number of 1\.\.61, got -1"),
        (lambda q: q * (1 << 62), "parameter 0: expected a whole number of"),
        (lambda q: q * (1 << 40), r"operation 0 \(r6 = r0 \* r1\): expected less than 2\^62"),
        (lambda q: divide(5, q), "expected a divisor of at least 1"),
        (lambda q: isqrt(q), "expected a radicand of at least 0"),
        (lambda q: sum((q * i for i in range(2, 40)), q), "number of"),
        (lambda q: 1.5, "expected a whole number, got 1.5"),
    ],
)
def test_what_no_program_can_do_is_refused(function: Callable[[Any], Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        of_q(function)


def test_values_of_two_functions_do_not_mix() -> None:
    kept: list[Any] = []
    of_q(lambda q: kept.append(q) or q)
    with pytest.raises(InputError, match="expected a value of the function that is traced, got one of another"):
        of_q(lambda q: q + kept[0])
    with pytest.raises(InputError, match="got one of another"):
        of_q(lambda q: kept[0])


def test_another_number_of_new_states_is_refused() -> None:
    with pytest.raises(InputError, match="expected 1 new states, got 2"):
        trace(lambda q, states, scalars: (q, (q, q)), states=(WIDE,))


def test_what_is_traced_is_analysed() -> None:
    program = of_q(lambda q: isqrt(q * q))
    assert analyse(program)[-1] == (0, 1 << 24)
