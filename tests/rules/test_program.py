"""Server programs: one canonical encoding, malformed bytes refused, and an interval analysis without overflow."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest

from registry.errors import FormError, InputError
from registry.rules.program import (
    SCALAR_BOUNDS,
    Interval,
    Opcode,
    Operation,
    Program,
    RoundScalars,
    StateBounds,
    analyse,
    decode,
    disassemble,
    encode,
)

MOST = (1 << 62) - 1
EMPTY = Program((), 0, (), (), 0, ())


def program(*operations: Operation, states: tuple[StateBounds, ...] = (), parameters: tuple[int, ...] = ()) -> Program:
    return Program(states, 0, parameters, operations, 0, (0,) * len(states))


# Encoding -------------------------------------------------------------------------------------------------------------


def test_the_encoding_is_as_written_down() -> None:
    made = Program(
        (StateBounds(-1000, 1000, 5),),
        7,
        (3, -4),
        (Operation(Opcode.MUL, 1, 2), Operation(Opcode.ADD, 8, 0), Operation(Opcode.SHR, 9, 3)),
        10,
        (9,),
    )
    by_hand = struct.pack(">B3qBB2qB9B2B", 1, -1000, 1000, 5, 7, 2, 3, -4, 3, 3, 1, 2, 1, 8, 0, 9, 9, 3, 10, 9)
    assert encode(made) == by_hand
    assert decode(by_hand) == made
    assert encode(EMPTY) == bytes(5)


def test_the_longest_program_has_553_bytes() -> None:
    states = tuple(StateBounds(-MOST, MOST, 0) for _ in range(4))
    operations = tuple(Operation(Opcode.ADD, 0, 40 + i) for i in range(64))
    made = Program(states, 48, (MOST,) * 32, operations, 104, (104,) * 4)
    assert len(encode(made)) == 553
    assert decode(encode(made)) == made


def test_random_programs_come_back_as_they_were(random_program: Any) -> None:
    rng = random.Random(1)
    for _ in range(200):
        made = random_program(rng)
        assert decode(encode(made)) == made


def test_no_two_byte_strings_are_one_program(random_program: Any) -> None:
    """Whatever is decoded encodes to the same bytes: there is no second encoding."""
    rng = random.Random(2)
    data = bytearray(encode(random_program(rng)))
    taken = 0
    for _ in range(3000):
        if rng.random() < 0.1:
            data = bytearray(encode(random_program(rng)))
        data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            made = decode(bytes(data))
        except FormError:
            continue
        taken += 1
        assert encode(made) == bytes(data)
    assert taken > 100


HEAD = bytes((0, 0, 0))
"""No states, no fraction bits, no parameters."""
Q = struct.pack


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "byte 0: expected 1 more bytes, got 0"),
        (bytes((5,)) + bytes(200), r"number of states: expected a whole number of 0\.\.4, got 5"),
        (bytes((1,)) + bytes(23), "byte 1: expected 24 more bytes, got 23"),
        (Q(">B3qBBBBB", 1, -MOST - 1, 0, 0, 0, 0, 0, 0, 0), "lower: expected .* got -4611686018427387904"),
        (Q(">B3qBBBBB", 1, 0, MOST + 1, 0, 0, 0, 0, 0, 0), "upper: expected .* got 4611686018427387904"),
        (Q(">B3qBBBBB", 1, 2, 1, 2, 0, 0, 0, 0, 0), r"upper: expected a whole number of 2\.\..*, got 1"),
        (Q(">B3qBBBBB", 1, 2, 5, 6, 0, 0, 0, 0, 0), r"initial: expected a whole number of 2\.\.5, got 6"),
        (Q(">B3qBBBBB", 1, 2, 5, 1, 0, 0, 0, 0, 0), r"initial: expected a whole number of 2\.\.5, got 1"),
        (bytes((0, 49, 0, 0, 0)), r"fraction bits: expected a whole number of 0\.\.48, got 49"),
        (bytes((0, 0, 33)) + bytes(300), r"number of parameters: expected a whole number of 0\.\.32, got 33"),
        (Q(">BBBqBB", 0, 0, 1, MOST + 1, 0, 0), "parameter 0: expected .* got 4611686018427387904"),
        (Q(">BBBqBB", 0, 0, 1, -(1 << 63), 0, 0), "parameter 0: expected .* got -9223372036854775808"),
        (HEAD + bytes((65,)) + bytes(300), r"number of operations: expected a whole number of 0\.\.64, got 65"),
        (HEAD + bytes((1, 0, 0, 0, 0)), r"operation 0: expected a whole number of 1\.\.11, got 0"),
        (HEAD + bytes((1, 12, 0, 0, 0)), r"operation 0: expected a whole number of 1\.\.11, got 12"),
        (HEAD + bytes((1, 1, 5, 0, 0)), r"operation 0 \(add\): register: expected a whole number of 0\.\.4, got 5"),
        (HEAD + bytes((1, 1, 0, 5, 0)), r"operation 0 \(add\): register: expected a whole number of 0\.\.4, got 5"),
        (HEAD + bytes((1, 4, 0, 1, 0)), r"operation 0 \(neg\): second operand: expected .* 0\.\.0, got 1"),
        (HEAD + bytes((1, 9, 0, 0, 0)), r"operation 0 \(shr\): bits: expected a whole number of 1\.\.61, got 0"),
        (HEAD + bytes((1, 9, 0, 62, 0)), r"operation 0 \(shr\): bits: expected a whole number of 1\.\.61, got 62"),
        (HEAD + bytes((0, 5)), r"register of d: expected a whole number of 0\.\.4, got 5"),
        (Q(">B3qBBBBB", 1, 0, 0, 0, 0, 0, 0, 0, 6), r"register of new state 0: expected .* 0\.\.5, got 6"),
        (bytes(6), "expected 5 bytes, got 6"),
    ],
)
def test_bytes_that_encode_no_program_are_refused(data: bytes, match: str) -> None:
    with pytest.raises(FormError, match=match):
        decode(data)


def test_a_program_cut_anywhere_or_with_a_byte_more_is_refused(random_program: Any) -> None:
    rng = random.Random(3)
    for _ in range(20):
        data = encode(random_program(rng))
        for length in range(len(data)):
            with pytest.raises(FormError, match="more bytes"):
                decode(data[:length])
        with pytest.raises(FormError, match=f"expected {len(data)} bytes, got {len(data) + 1}"):
            decode(data + b"\0")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Program((), True, (), (), 0, ()),
        lambda: Program((), 0, (1.0,), (), 0, ()),  # type: ignore[arg-type]
        lambda: Program((StateBounds(0, 0, 0),), 0, (), (), 0, ()),
        lambda: Program((), 0, (), (), -1, ()),
        lambda: RoundScalars(0, 1, 1, 0),
        lambda: RoundScalars((1 << 31) + 1, 1, 1, 0),
        lambda: RoundScalars(1, 0, 1, 0),
        lambda: RoundScalars(1, 1, (1 << 28) + 1, 0),
        lambda: RoundScalars(1, 1, 1, -1),
        lambda: RoundScalars(1, 1, 1, (1 << 37) + 1),
    ],
)
def test_numbers_out_of_range_are_refused_however_a_program_is_made(make: Any) -> None:
    with pytest.raises(InputError, match="expected a whole number of"):
        make()


# Intervals ------------------------------------------------------------------------------------------------------------

A = StateBounds(-5, 3, 0)
B = StateBounds(2, 7, 2)
A_AT, B_AT, FIRST = 1, 2, 7


def interval(kind: Opcode, a: int, b: int = 0) -> Interval:
    """Of an operation on two states: register 1 holds -5..3, register 2 holds 2..7."""
    return analyse(program(Operation(kind, a, b), states=(A, B)))[FIRST]


@pytest.mark.parametrize(
    ("kind", "a", "b", "expected"),
    [
        (Opcode.ADD, A_AT, B_AT, (-3, 10)),
        (Opcode.SUB, A_AT, B_AT, (-12, 1)),
        (Opcode.SUB, B_AT, A_AT, (-1, 12)),
        (Opcode.MUL, A_AT, B_AT, (-35, 21)),
        (Opcode.MUL, A_AT, A_AT, (0, 25)),
        (Opcode.MUL, B_AT, B_AT, (4, 49)),
        (Opcode.NEG, A_AT, 0, (-3, 5)),
        (Opcode.ABS, A_AT, 0, (0, 5)),
        (Opcode.ABS, B_AT, 0, (2, 7)),
        (Opcode.SIGN, A_AT, 0, (-1, 1)),
        (Opcode.SIGN, B_AT, 0, (1, 1)),
        (Opcode.MIN, A_AT, B_AT, (-5, 3)),
        (Opcode.MAX, A_AT, B_AT, (2, 7)),
        (Opcode.SHR, A_AT, 1, (-3, 1)),
        (Opcode.DIV, A_AT, B_AT, (-2, 2)),
        (Opcode.DIV, B_AT, B_AT, (0, 4)),
        (Opcode.SQRT, B_AT, 0, (1, 2)),
    ],
)
def test_intervals_by_hand(kind: Opcode, a: int, b: int, expected: tuple[int, int]) -> None:
    assert interval(kind, a, b) == expected


def test_intervals_hold_every_value_and_end_in_one(evaluate: Any) -> None:
    """Of one operation on two small ranges, every pair of values tried: the ends are reached."""
    rng = random.Random(4)
    for kind in Opcode:
        for _ in range(60):
            a = _bounds(rng, kind)
            b = _bounds(rng, Opcode.ADD) if kind != Opcode.DIV else StateBounds(rng.randint(1, 4), 9, 9)
            one = kind in (Opcode.NEG, Opcode.ABS, Opcode.SIGN, Opcode.SQRT)
            second = 0 if one else rng.randint(1, 3) if kind == Opcode.SHR else B_AT
            made = program(Operation(kind, A_AT, second), states=(a, b))
            values = [
                evaluate(made, 0, (x, y), RoundScalars(1, 1, 1, 0)).registers[FIRST]
                for x in range(a.lower, a.upper + 1)
                for y in range(b.lower, b.upper + 1)
            ]
            assert analyse(made)[FIRST] == (min(values), max(values)), (kind, a, b)


def _bounds(rng: random.Random, kind: Opcode) -> StateBounds:
    low, high = sorted(rng.randint(0 if kind == Opcode.SQRT else -9, 9) for _ in range(2))
    return StateBounds(low, high, low)


def test_inputs_have_the_intervals_that_the_form_gives_them() -> None:
    made = program(states=(A,), parameters=(-7,))
    assert analyse(made) == (
        (-(1 << 24), 1 << 24),
        (-5, 3),
        (-7, -7),
        (1, 1 << 31),
        (1, 1 << 28),
        (1, 1 << 28),
        (0, 1 << 37),
    )
    assert list(SCALAR_BOUNDS) == ["step", "contributions", "total_weight", "total_steps"]


@pytest.mark.parametrize("kind", [Opcode.ADD, Opcode.SUB, Opcode.MUL])
def test_a_result_that_may_reach_2_62_is_refused_and_one_less_is_not(kind: Opcode) -> None:
    pairs = {Opcode.ADD: (MOST - 9, 9), Opcode.SUB: (MOST - 9, -9), Opcode.MUL: (MOST // 3, 3)}
    a, b = pairs[kind]
    for sign in (1, -1):
        b_signed = b if kind == Opcode.MUL else sign * b
        fits = program(Operation(kind, 1, 2), parameters=(sign * a, b_signed))
        assert analyse(fits)[-1] == (sign * MOST, sign * MOST)
        far = program(
            Operation(kind, 1, 2), parameters=(sign * (a + 1), b_signed) if kind != Opcode.MUL else (sign << 61, 2)
        )
        with pytest.raises(InputError, match=r"operation 0 \(r7 = r1 . r2\): expected less than 2\^62 in magnitude"):
            analyse(far)


def test_refusals_name_the_operation_and_what_it_may_give() -> None:
    square = Operation(Opcode.MUL, 0, 0)
    with pytest.raises(InputError, match=r"operation 1 \(r6 = r5 \* r5\): expected less than 2\^62 .*, got 0\.\.79228"):
        analyse(program(square, Operation(Opcode.MUL, 5, 5)))
    with pytest.raises(InputError, match=r"operation 1 \(r6 = r0 / r5\): expected a divisor of at least 1, got 0\.\."):
        analyse(program(square, Operation(Opcode.DIV, 0, 5)))
    with pytest.raises(
        InputError, match=r"operation 0 \(r5 = sqrt\(r0\)\): expected a radicand of at least 0, got -16"
    ):
        analyse(program(Operation(Opcode.SQRT, 0)))


def test_a_divisor_of_one_and_a_radicand_of_zero_are_taken() -> None:
    analyse(program(Operation(Opcode.DIV, 0, 1)))  # the step, from 1
    analyse(program(Operation(Opcode.SQRT, 4)))  # total steps, from 0


def test_a_result_that_nothing_reads_is_analysed_too() -> None:
    with pytest.raises(InputError, match="operation 0"):
        analyse(program(Operation(Opcode.MUL, 1, 2), parameters=(MOST, MOST)))


# Text -----------------------------------------------------------------------------------------------------------------


def test_disassembly_is_a_register_a_line() -> None:
    made = Program(
        (A,), 3, (9,), (Operation(Opcode.MUL, 0, 2), Operation(Opcode.SHR, 7, 4), Operation(Opcode.SIGN, 8)), 8, (9,)
    )
    assert disassemble(made).splitlines() == [
        "r0   q                               -16777216..16777216",
        "r1   state 0, at first 0             -5..3",
        "r2   parameter 0                     9",
        "r3   step                            1..2147483648",
        "r4   contributions                   1..268435456",
        "r5   total_weight                    1..268435456",
        "r6   total_steps                     0..137438953472",
        "r7   r0 * r2                         -150994944..150994944",
        "r8   r7 >> 4                         -9437184..9437184",
        "r9   sign(r8)                        -1..1",
        "d    r8, in 2^-3 grid steps",
        "state 0 becomes r9",
    ]
