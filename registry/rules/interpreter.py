"""Vectorised interpreter of server programs: exact numpy int64, tile by tile.

`analyse` has proved that every value stays below 2^62 in magnitude, so nothing overflows. Square roots and divisions
start from a float64 guess and are corrected in integers; their results do not depend on how the guess was rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple

import numpy as np
import numpy.typing as npt

from registry.errors import InputError
from registry.rules.program import Interval, Opcode, Operation, Program, RoundScalars, analyse
from registry.types import GRID_LIMIT

__all__ = ["I64", "initial_states", "replay"]

I64 = npt.NDArray[np.int64]

TILE = 16384
"""Coordinates per tile: a register takes 128 KiB, so those in use together stay in the L2 cache."""


def initial_states(program: Program, count: int) -> I64:
    """Return the initial states of count coordinates, (count, S), int64."""
    initial = np.array([bounds.initial for bounds in program.states], dtype=np.int64)
    return np.tile(initial, (count, 1))


def replay(program: Program, q: I64, states: I64, scalars: RoundScalars) -> tuple[I64, I64]:
    """Return the step d and the new states of each coordinate.

    Args:
        program: A program that `analyse` accepts.
        q: (n,), int64, grid integers of the aggregate.
        states: (n, S), int64, within the program's bounds.
        scalars: Inputs that all coordinates share.

    Returns:
        d, (n,), int64, in 2^-f grid steps, at most 2^24 in magnitude; the new states, (n, S), int64.

    Raises:
        InputError: `analyse` rejects the program, or q or states have a wrong shape or dtype or are out of bounds.
    """
    intervals = analyse(program)
    count = len(program.states)
    if q.dtype != np.int64 or states.dtype != np.int64 or q.ndim != 1 or states.shape != (len(q), count):
        raise InputError(
            f"expected int64 of shapes (n,) and (n, {count}), got {q.dtype} {q.shape} and {states.dtype} {states.shape}"
        )
    d, new_states = np.empty_like(q), np.empty_like(states)
    constants = [np.array([value], dtype=np.int64) for value in (*program.parameters, *astuple(scalars))]
    last_reads = _last_reads(program)
    for first in range(0, len(q), TILE):
        tile = slice(first, first + TILE)
        registers: list[I64 | None] = [q[tile], *states[tile].T]
        for i, value in enumerate(registers):
            _check_bounds("q" if i == 0 else f"state {i - 1}", value, intervals[i], first)
        registers += constants
        for operation, unread in zip(program.operations, last_reads, strict=True):
            registers.append(_apply(operation, registers, intervals))
            for register in unread:
                registers[register] = None
        d[tile] = np.clip(_of(registers, program.d), -GRID_LIMIT, GRID_LIMIT)
        for i, (bounds, register) in enumerate(zip(program.states, program.new_states, strict=True)):
            new_states[tile, i] = np.clip(_of(registers, register), bounds.lower, bounds.upper)
    return d, new_states


def _last_reads(program: Program) -> list[list[int]]:
    """Liveness: for each operation, the registers that nothing reads after it."""
    seen = {program.d, *program.new_states}
    unread: list[list[int]] = []
    for operation in reversed(program.operations):
        unread.append([register for register in set(operation.operands) if register not in seen])
        seen.update(operation.operands)
    return unread[::-1]


def _check_bounds(name: str, values: I64 | None, bounds: Interval, first: int) -> None:
    assert values is not None
    outside = (values < bounds.low) | (values > bounds.high)
    if outside.any():
        at = int(np.argmax(outside))
        raise InputError(f"{name} of value {first + at}: expected {bounds.low}..{bounds.high}, got {values[at]}")


def _of(registers: Sequence[I64 | None], register: int) -> I64:
    values = registers[register]
    assert values is not None, f"register {register} was freed"
    return values


def _apply(operation: Operation, registers: Sequence[I64 | None], intervals: Sequence[Interval]) -> I64:
    a = _of(registers, operation.a)
    if operation.kind == Opcode.SHR:
        return a >> operation.b
    if operation.kind == Opcode.DIV:
        divisor = intervals[operation.b]
        if divisor.low == divisor.high and divisor.low & (divisor.low - 1) == 0:
            return _divide_by_power(a, divisor.low.bit_length() - 1)
        dividend = max(-intervals[operation.a].low, intervals[operation.a].high)
        return _divide(a, _of(registers, operation.b), wide=dividend >= divisor.low << 49)
    if len(operation.operands) == 1:
        return _UNARY[operation.kind](a)
    return _BINARY[operation.kind](a, _of(registers, operation.b))


def _divide(a: I64, b: I64, *, wide: bool) -> I64:
    """Return a / b rounded half to even.

    The guess is off by at most 1/2 + 3 * 2^-53 of the quotient: by less than 1 unless the quotient may reach 2^49. In
    that case the remainder is divided once more, which brings the error below 1.
    """
    quotient = np.rint(a / b).astype(np.int64)
    rest = a - quotient * b
    if wide:
        more = np.rint(rest / b).astype(np.int64)
        quotient += more
        rest -= more * b
    # |rest| < b. Adjust the quotient by one if |rest| > b / 2, or if |rest| == b / 2 and the quotient is odd.
    rest += rest
    half = b - (quotient & 1)
    up, down = rest > half, rest < -half
    quotient += up
    quotient -= down
    return quotient


def _divide_by_power(a: I64, bits: int) -> I64:
    """Return a / 2^bits rounded half to even."""
    if bits == 0:
        return a
    quotient = a >> bits
    rest = a & ((1 << bits) - 1)
    rest += quotient & 1
    quotient += rest > 1 << (bits - 1)
    return quotient


def _square_root(a: I64) -> I64:
    """Return floor(sqrt(a)). The float64 guess is off by less than 2^-20, so the rounded one by at most one."""
    root = np.sqrt(a).astype(np.int64)
    root -= root * root > a
    root += (root + 1) * (root + 1) <= a
    return root


_UNARY: dict[Opcode, Callable[[I64], I64]] = {
    Opcode.NEG: np.negative,
    Opcode.ABS: np.absolute,
    Opcode.SIGN: np.sign,
    Opcode.SQRT: _square_root,
}
_BINARY: dict[Opcode, Callable[[I64, I64], I64]] = {
    Opcode.ADD: np.add,
    Opcode.SUB: np.subtract,
    Opcode.MUL: np.multiply,
    Opcode.MIN: np.minimum,
    Opcode.MAX: np.maximum,
}
