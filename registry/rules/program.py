"""Server programs: straight-line integer code of server optimizers, its encoding and interval analysis.

A program maps one coordinate at a time: (q, states, parameters, round scalars) -> (d, new states). Its registers are
numbered in this order: q; the states; the parameters; the round scalars step, contributions, total weight and total
steps; the result of each operation. An operation reads registers before its own.

Encoding, big-endian, nothing before, between or after:

    u8 S                        states, 0..4
    S x (i64, i64, i64)         lower <= initial <= upper, each below 2^62 in magnitude: lower, upper, initial
    u8 f                        fraction bits of d, 0..48
    u8 P                        parameters, 0..32
    P x i64                     each below 2^62 in magnitude
    u8 n                        operations, 0..64
    n x (u8, u8, u8)            operation, register a, register b
    u8                          register of d
    S x u8                      registers of the new states

Each program has one encoding. A unary operation has b = 0; a shift's b is the number of bits, 1..61. Dead registers are
allowed: operands and operations can be reordered anyway, so rejecting dead registers would not make programs unique.

Arithmetic. |q| <= 2^24. New states saturate to their bounds and d to 2^24 in magnitude, so the bounds hold in every
round. `analyse` proves that every value stays strictly below 2^62 in magnitude, every divisor is at least 1 and every
radicand at least 0. The contract checks form alone; at run time it reverts on a value of 2^63 or more, a divisor below
1 or a radicand below 0, none of which an analysed program reaches.
"""

from __future__ import annotations

import enum
import math
import struct
from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import NamedTuple

from registry.errors import FormError, InputError
from registry.types import GRID_LIMIT, MAX_TOTAL_WEIGHT

__all__ = [
    "Interval",
    "Opcode",
    "MAX_FRACTION_BITS",
    "MAX_OPERATIONS",
    "MAX_PARAMETERS",
    "MAX_STATES",
    "Operation",
    "Program",
    "RoundScalars",
    "SCALAR_BOUNDS",
    "StateBounds",
    "VALUE_LIMIT",
    "analyse",
    "decode",
    "disassemble",
    "encode",
]

MAX_STATES = 4
MAX_PARAMETERS = 32
MAX_OPERATIONS = 64
MAX_FRACTION_BITS = 48
"""At 48 the largest step, 2^24 * 2^-48, is to a grid step as a grid step is to the largest update. A rule that needs
smaller steps needs a finer grid."""
VALUE_LIMIT = 1 << 62
"""Exclusive bound on the magnitude of every value."""


class Interval(NamedTuple):
    """Integers from low to high, inclusive."""

    low: int
    high: int


SCALAR_BOUNDS = {
    "step": Interval(1, 1 << 31),
    "contributions": Interval(1, MAX_TOTAL_WEIGHT),
    "total_weight": Interval(1, MAX_TOTAL_WEIGHT),
    # Below 2^37, q * total_steps, FedNova's product, stays in range. 2^37 is 2^20 local steps of 2^17 contributions.
    "total_steps": Interval(0, 1 << 37),
}
"""Bounds of the round scalars, in the order of their registers."""


class Opcode(enum.IntEnum):
    """Opcodes."""

    ADD = 1
    SUB = 2
    MUL = 3
    NEG = 4
    ABS = 5
    SIGN = 6
    """-1, 0 or 1."""
    MIN = 7
    MAX = 8
    SHR = 9
    """a / 2^b rounded towards minus infinity; b is the number of bits, not a register."""
    DIV = 10
    """a / b rounded to the nearest integer, ties to even; b >= 1."""
    SQRT = 11
    """The largest integer whose square is at most a; a >= 0."""


UNARY = frozenset({Opcode.NEG, Opcode.ABS, Opcode.SIGN, Opcode.SQRT})
SHIFT_BITS = Interval(1, 61)


@dataclass(frozen=True, slots=True)
class StateBounds:
    """Saturation bounds and initial value of one state of a coordinate."""

    lower: int
    upper: int
    initial: int

    def __post_init__(self) -> None:
        for name in ("lower", "upper", "initial"):
            _require(name, getattr(self, name), 1 - VALUE_LIMIT, VALUE_LIMIT - 1)
        _require("upper", self.upper, self.lower, VALUE_LIMIT - 1)
        _require("initial", self.initial, self.lower, self.upper)


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a program.

    Attributes:
        kind: Opcode.
        a: Register of the first operand.
        b: Register of the second operand; the number of bits for a shift; 0 for a unary operation.
    """

    kind: Opcode
    a: int
    b: int = 0

    @property
    def operands(self) -> tuple[int, ...]:
        """The registers it reads."""
        return (self.a,) if self.kind in UNARY or self.kind == Opcode.SHR else (self.a, self.b)


@dataclass(frozen=True, slots=True)
class RoundScalars:
    """Inputs that all coordinates of a round share.

    Attributes:
        step: t, 1 for the first round of the states.
        contributions: Number of contributions combined.
        total_weight: Sum of their weights.
        total_steps: Sum of their declared training steps.

    Raises:
        InputError: One is outside its bounds.
    """

    step: int
    contributions: int
    total_weight: int
    total_steps: int

    def __post_init__(self) -> None:
        for name, (low, high) in SCALAR_BOUNDS.items():
            _require(name, getattr(self, name), low, high)


@dataclass(frozen=True, slots=True)
class Program:
    """A well-formed server program; `analyse` proves that its values stay in range.

    Attributes:
        states: Bounds and initial value per state of a coordinate.
        fraction_bits: f; d is in units of 2^-f grid steps.
        parameters: Constants.
        operations: In execution order.
        d: Register of the step.
        new_states: Registers of the new states.

    Raises:
        InputError: A number is out of range, or a register is read before it is written.
    """

    states: tuple[StateBounds, ...]
    fraction_bits: int
    parameters: tuple[int, ...]
    operations: tuple[Operation, ...]
    d: int
    new_states: tuple[int, ...]

    def __post_init__(self) -> None:
        _require("number of states", len(self.states), 0, MAX_STATES)
        _require("fraction bits", self.fraction_bits, 0, MAX_FRACTION_BITS)
        _require("number of parameters", len(self.parameters), 0, MAX_PARAMETERS)
        _require("number of operations", len(self.operations), 0, MAX_OPERATIONS)
        _require("number of new states", len(self.new_states), len(self.states), len(self.states))
        for i, parameter in enumerate(self.parameters):
            _require(f"parameter {i}", parameter, 1 - VALUE_LIMIT, VALUE_LIMIT - 1)
        for i, operation in enumerate(self.operations):
            _check_operation(f"operation {i}", operation, self.inputs + i - 1)
        last = self.registers - 1
        _require("register of d", self.d, 0, last)
        for i, register in enumerate(self.new_states):
            _require(f"register of new state {i}", register, 0, last)

    @property
    def inputs(self) -> int:
        """Number of input registers, before those of the operations."""
        return 1 + len(self.states) + len(self.parameters) + len(SCALAR_BOUNDS)

    @property
    def registers(self) -> int:
        return self.inputs + len(self.operations)


def encode(program: Program) -> bytes:
    """Return the program's canonical encoding, at most 553 bytes."""
    states = [number for bounds in program.states for number in astuple(bounds)]
    operations = [byte for operation in program.operations for byte in astuple(operation)]
    return b"".join(
        (
            struct.pack(f">B{len(states)}q", len(program.states), *states),
            struct.pack(">B", program.fraction_bits),
            struct.pack(f">B{len(program.parameters)}q", len(program.parameters), *program.parameters),
            struct.pack(f">B{len(operations)}B", len(program.operations), *operations),
            struct.pack(f">B{len(program.states)}B", program.d, *program.new_states),
        )
    )


def decode(data: bytes) -> Program:
    """Decode a program. Call `analyse` to prove that its values stay in range.

    Raises:
        FormError: The bytes are not a canonical encoding.
    """
    reader = _Reader(data)
    try:
        states = tuple(StateBounds(*reader.take("3q", 24)) for _ in range(reader.count("number of states", MAX_STATES)))
        (fraction_bits,) = reader.take("B", 1)
        number = reader.count("number of parameters", MAX_PARAMETERS)
        parameters = reader.take(f"{number}q", 8 * number)
        number = reader.count("number of operations", MAX_OPERATIONS)
        operations = tuple(_operation(i, *reader.take("3B", 3)) for i in range(number))
        (d,) = reader.take("B", 1)
        new_states = reader.take(f"{len(states)}B", len(states))
        program = Program(states, fraction_bits, parameters, operations, d, new_states)
    except InputError as error:
        raise FormError(f"server program: {error}") from error
    if reader.at != len(data):
        raise FormError(f"server program: expected {reader.at} bytes, got {len(data)}")
    return program


class _Reader:
    """Cursor that reads numbers from bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, form: str, size: int) -> tuple[int, ...]:
        if len(self.data) - self.at < size:
            raise InputError(f"byte {self.at}: expected {size} more bytes, got {len(self.data) - self.at}")
        self.at += size
        return struct.unpack_from(f">{form}", self.data, self.at - size)

    def count(self, name: str, most: int) -> int:
        (number,) = self.take("B", 1)
        return _require(name, number, 0, most)


def _operation(number: int, kind: int, a: int, b: int) -> Operation:
    _require(f"operation {number}", kind, min(Opcode), max(Opcode))
    return Operation(Opcode(kind), a, b)


def _check_operation(name: str, operation: Operation, last: int) -> None:
    name = f"{name} ({operation.kind.name.lower()})"
    for register in operation.operands:
        _require(f"{name}: register", register, 0, last)
    if operation.kind == Opcode.SHR:
        _require(f"{name}: bits", operation.b, *SHIFT_BITS)
    elif operation.kind in UNARY:
        _require(f"{name}: second operand", operation.b, 0, 0)


def _require(name: str, value: int, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise InputError(f"{name}: expected a whole number of {low}..{high}, got {value!r}")
    return value


# Interval analysis ----------------------------------------------------------------------------------------------------


def analyse(program: Program) -> tuple[Interval, ...]:
    """Return a sound interval for each register, over all inputs within their bounds.

    Raises:
        InputError: A value may reach 2^62 in magnitude, a divisor may be below 1, or a radicand below 0.
    """
    found = [Interval(-GRID_LIMIT, GRID_LIMIT)]
    found += [Interval(bounds.lower, bounds.upper) for bounds in program.states]
    found += [Interval(parameter, parameter) for parameter in program.parameters]
    found += SCALAR_BOUNDS.values()
    for i, operation in enumerate(program.operations):
        name = f"operation {i} (r{len(found)} = {_text(operation)})"
        a = found[operation.a]
        b = Interval(operation.b, operation.b) if operation.kind == Opcode.SHR else found[operation.b]
        if operation.kind == Opcode.DIV and b.low < 1:
            raise InputError(f"{name}: expected a divisor of at least 1, got {b.low}..{b.high}")
        if operation.kind == Opcode.SQRT and a.low < 0:
            raise InputError(f"{name}: expected a radicand of at least 0, got {a.low}..{a.high}")
        square = operation.kind == Opcode.MUL and operation.a == operation.b
        result = _square(a) if square else _BOUNDS[operation.kind](a, b)
        if result.low <= -VALUE_LIMIT or result.high >= VALUE_LIMIT:
            raise InputError(
                f"{name}: expected less than 2^62 in magnitude, got {result.low}..{result.high}: narrow it before, by "
                "minimum and maximum, >> or tighter bounds of a state"
            )
        found.append(result)
    return tuple(found)


def _square(a: Interval) -> Interval:
    ends = (a.low * a.low, a.high * a.high)
    return Interval(0 if a.low <= 0 <= a.high else min(ends), max(ends))


def _corners(function: Callable[[int, int], int]) -> Callable[[Interval, Interval], Interval]:
    """Interval extension of a function monotone in each operand, in a direction that may depend on the other's sign."""

    def bounds(a: Interval, b: Interval) -> Interval:
        ends = [function(x, y) for x in a for y in b]
        return Interval(min(ends), max(ends))

    return bounds


def _half_even(a: int, b: int) -> int:
    whole, rest = divmod(a, b)
    return whole + (2 * rest > b or (2 * rest == b and whole % 2 == 1))


_BOUNDS: dict[Opcode, Callable[[Interval, Interval], Interval]] = {
    Opcode.ADD: _corners(lambda a, b: a + b),
    Opcode.SUB: _corners(lambda a, b: a - b),
    Opcode.MUL: _corners(lambda a, b: a * b),
    Opcode.NEG: lambda a, _: Interval(-a.high, -a.low),
    Opcode.ABS: lambda a, _: Interval(max(a.low, -a.high, 0), max(-a.low, a.high)),
    Opcode.SIGN: _corners(lambda a, _: (a > 0) - (a < 0)),
    Opcode.MIN: _corners(min),
    Opcode.MAX: _corners(max),
    Opcode.SHR: _corners(lambda a, bits: a >> bits),
    Opcode.DIV: _corners(_half_even),
    Opcode.SQRT: _corners(lambda a, _: math.isqrt(a)),
}


# Text -----------------------------------------------------------------------------------------------------------------


def disassemble(program: Program) -> str:
    """Return the program as text: one line per register, with its operation and interval.

    Raises:
        InputError: `analyse` rejects the program.
    """
    names = ["q"]
    names += [f"state {i}, at first {bounds.initial}" for i, bounds in enumerate(program.states)]
    names += [f"parameter {i}" for i in range(len(program.parameters))]
    names += list(SCALAR_BOUNDS)
    names += [_text(operation) for operation in program.operations]
    lines = [
        f"r{i:<4}{name:<32}{low if low == high else f'{low}..{high}'}"
        for i, (name, (low, high)) in enumerate(zip(names, analyse(program), strict=True))
    ]
    lines.append(f"d    r{program.d}, in 2^-{program.fraction_bits} grid steps")
    lines += [f"state {i} becomes r{register}" for i, register in enumerate(program.new_states)]
    return "\n".join(lines) + "\n"


_SIGNS = {Opcode.ADD: "+", Opcode.SUB: "-", Opcode.MUL: "*", Opcode.DIV: "/", Opcode.SHR: ">>"}


def _text(operation: Operation) -> str:
    if operation.kind in _SIGNS:
        b = operation.b if operation.kind == Opcode.SHR else f"r{operation.b}"
        return f"r{operation.a} {_SIGNS[operation.kind]} {b}"
    return f"{operation.kind.name.lower()}({', '.join(f'r{register}' for register in operation.operands)})"
