"""Replay on vectors gives what Python's own integers give, and refuses what is out of bounds."""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np
import pytest

from registry.errors import InputError
from registry.rules.interpreter import initial_states, replay
from registry.rules.program import Opcode, Operation, Program, RoundScalars, StateBounds, analyse
from registry.rules.server_programs import compile_rule

PROGRAMS = 10_000 if os.environ.get("CAIRN_SOAK") else 200
SCALARS = RoundScalars(3, 4, 500, 60)
LIMIT = 1 << 62
ADAM = {"rate": 0.1, "beta1": 0.9, "beta2": 0.99, "tau": 1e-3}


def test_random_programs_give_what_integers_give_within_their_intervals(
    evaluate: Any, random_program: Any, random_inputs: Any
) -> None:
    rng = random.Random(1)
    wide = reached = operations = 0
    kinds = dict.fromkeys(Opcode, 0)
    for _ in range(PROGRAMS):
        program = random_program(rng)
        intervals = analyse(program)
        q, states, scalars = random_inputs(rng, program, 12)
        expected = [evaluate(program, x, tuple(s), scalars) for x, s in zip(q, states, strict=True)]
        d, new = replay(program, np.array(q), np.array(states, dtype=np.int64).reshape(12, -1), scalars)
        assert d.tolist() == [e.d for e in expected], program
        assert new.tolist() == [list(e.states) for e in expected], program
        for e in expected:
            assert all(low <= x <= high for x, (low, high) in zip(e.registers, intervals, strict=True)), program
        made = slice(program.inputs, None)
        wide += max((max(-low, high) for low, high in intervals[made]), default=0) >= 1 << 55
        reached += max(abs(x) for e in expected for x in (0, *e.registers[made])) >= 1 << 55
        operations += len(program.operations)
        for operation in program.operations:
            kinds[operation.kind] += 1
    print(
        f"\n{PROGRAMS} programs of {operations / PROGRAMS:.1f} operations; results of 56 bits or more: "
        f"{wide / PROGRAMS:.0%} may have them, {reached / PROGRAMS:.0%} had; "
        + str({k.name: n for k, n in kinds.items()})
    )
    assert wide > PROGRAMS // 2
    assert reached > PROGRAMS // 4
    assert min(kinds.values()) > PROGRAMS // 4


# Operations at their edges --------------------------------------------------------------------------------------------


def binary(kind: Opcode, a: tuple[int, int], b: tuple[int, int]) -> Program:
    """The new first state is the two states' result."""
    states = tuple(StateBounds(low, high, low) for low, high in (a, b))
    bounds = StateBounds(1 - LIMIT, LIMIT - 1, 0)
    return Program((*states, bounds), 0, (), (Operation(kind, 1, 2),), 0, (1, 2, 8))


def test_quotients_are_rounded_half_to_even_at_and_beside_every_tie(evaluate: Any) -> None:
    rng = random.Random(2)
    for bits in range(1, 62):
        divisors = [min(LIMIT - 1, max(1, (1 << bits) + rng.randint(-3, 3))) for _ in range(40)]
        quotients = [rng.randint(-((LIMIT - 1) // b), (LIMIT - 1) // b) for b in divisors]
        rests = [rng.choice((b // 2 - 1, b // 2, b // 2 + 1, 0, b - 1)) for b in divisors]
        dividends = [
            max(1 - LIMIT, min(LIMIT - 1, b * n + rest)) for b, n, rest in zip(divisors, quotients, rests, strict=True)
        ]
        program = binary(Opcode.DIV, (1 - LIMIT, LIMIT - 1), (1, LIMIT - 1))
        states = np.array([(a, b, 0) for a, b in zip(dividends, divisors, strict=True)], dtype=np.int64)
        _, new = replay(program, np.zeros(40, dtype=np.int64), states, SCALARS)
        expected = [evaluate(program, 0, tuple(map(int, s)), SCALARS).states[2] for s in states]
        assert new[:, 2].tolist() == expected


def test_quotients_by_narrow_divisors_are_rounded_alike(evaluate: Any) -> None:
    """Where the intervals say that the first guess is within one, it is not improved."""
    rng = random.Random(3)
    for low_bits in range(13, 61):
        low = 1 << low_bits
        most = min(LIMIT - 1, (low << 49) - 1)
        program = binary(Opcode.DIV, (-most, most), (low, 2 * low))
        pairs = []
        for _ in range(40):
            b = rng.choice((low, low + 1, 2 * low - 1, 2 * low, rng.randint(low, 2 * low)))
            a = (most // b - rng.randint(0, 3)) * b + rng.choice((b // 2, b // 2 + 1, b // 2 - 1, 0))
            pairs.append((rng.choice((-1, 1)) * min(a, most), b, 0))
        _, new = replay(program, np.zeros(40, dtype=np.int64), np.array(pairs), SCALARS)
        assert new[:, 2].tolist() == [evaluate(program, 0, pair, SCALARS).states[2] for pair in pairs]


def test_division_by_a_power_of_two_is_rounded_alike(evaluate: Any) -> None:
    for bits in range(62):
        program = Program(
            (StateBounds(1 - LIMIT, LIMIT - 1, 0),), 0, (1 << bits,), (Operation(Opcode.DIV, 1, 2),), 0, (7,)
        )
        half = (1 << bits) >> 1
        around = [n * (1 << bits) + half + beside for n in range(-4, 4) for beside in (-1, 0, 1)]
        states = [[x] for x in (*around, LIMIT - 1, 1 - LIMIT) if abs(x) < LIMIT]
        _, new = replay(program, np.zeros(len(states), dtype=np.int64), np.array(states), SCALARS)
        assert new.tolist() == [list(evaluate(program, 0, tuple(s), SCALARS).states) for s in states]


def test_square_roots_are_floors_at_and_beside_every_square() -> None:
    program = Program((StateBounds(0, LIMIT - 1, 0),), 0, (), (Operation(Opcode.SQRT, 1),), 0, (6,))
    rng = random.Random(4)
    roots = [n for bits in range(31) for n in ((1 << bits), (2 << bits) - 1, rng.randint(1 << bits, (2 << bits) - 1))]
    squares = [max(0, n * n + beside) for n in roots for beside in (-1, 0, 1)] + [LIMIT - 1]
    squares = [x for x in squares if x < LIMIT]
    _, new = replay(program, np.zeros(len(squares), dtype=np.int64), np.array(squares).reshape(-1, 1), SCALARS)
    for x, (root,) in zip(squares, new.tolist(), strict=True):
        assert root * root <= x < (root + 1) * (root + 1)


# Bad input ------------------------------------------------------------------------------------------------------------


def test_inputs_outside_their_bounds_are_refused() -> None:
    program = compile_rule("fedadam", ADAM, 20)
    q, states = np.zeros(10, dtype=np.int64), initial_states(program, 10)
    for value in ((1 << 24) + 1, -(1 << 24) - 1):
        far = q.copy()
        far[7] = value
        with pytest.raises(InputError, match=rf"q of value 7: expected -16777216..16777216, got {value}"):
            replay(program, far, states, SCALARS)
    for column, value in ((0, (1 << 32) + 1), (1, -1), (1, 1 << 48)):
        wrong = states.copy()
        wrong[4, column] = value
        with pytest.raises(InputError, match=rf"state {column} of value 4: expected .*, got {value}"):
            replay(program, q, wrong, SCALARS)


def test_states_at_their_bounds_are_taken_and_stay_there_under_the_largest_update() -> None:
    program = compile_rule("fedadam", ADAM, 20)
    ends = np.array([[-(1 << 32), (1 << 48) - 1], [1 << 32, (1 << 48) - 1]])
    d, new = replay(program, np.array([-(1 << 24), 1 << 24]), ends, SCALARS)
    assert np.array_equal(new, ends)
    assert d[0] == -d[1] and abs(int(d[1]) - round(0.1 * 2**23)) < 100  # m / sqrt(v) is 1; tau is 2^-14 of it


@pytest.mark.parametrize(
    ("q", "states"),
    [
        (np.zeros(3, dtype=np.int32), np.zeros((3, 2), dtype=np.int64)),
        (np.zeros(3, dtype=np.int64), np.zeros((3, 2), dtype=np.float64)),
        (np.zeros(3, dtype=np.int64), np.zeros((3, 1), dtype=np.int64)),
        (np.zeros(3, dtype=np.int64), np.zeros((4, 2), dtype=np.int64)),
        (np.zeros((3, 1), dtype=np.int64), np.zeros((3, 2), dtype=np.int64)),
    ],
)
def test_other_shapes_and_types_are_refused(q: np.ndarray, states: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"expected int64 of shapes \(n,\) and \(n, 2\)"):
        replay(compile_rule("fedadam", ADAM, 20), q, states, SCALARS)


def test_a_program_that_may_overflow_is_not_run() -> None:
    program = Program((), 0, (1 << 40,), (Operation(Opcode.MUL, 0, 1),), 0, ())
    with pytest.raises(InputError, match="expected less than 2\\^62"):
        replay(program, np.zeros(1, dtype=np.int64), np.zeros((1, 0), dtype=np.int64), SCALARS)


def test_no_coordinates_give_no_steps() -> None:
    program = compile_rule("fedadam", ADAM, 20)
    d, new = replay(program, np.zeros(0, dtype=np.int64), initial_states(program, 0), SCALARS)
    assert d.shape == (0,) and new.shape == (0, 2)
