"""Rule bytes: canonical encoding of what a round computes, committed to on chain.

They follow from a plan's manifest alone. The on-chain plan holds their hash, and the event that sets the plan publishes
them. A challenger passes them to the contract as input of a fraud proof; `contracts/interfaces/IRules.sol` has the same
table.

Encoding, integers big-endian, no trailing bytes, one encoding per meaning:

    version      uint8 = 1
    combine      rule uint16, shape uint8, updateForm uint16, uniform uint8, gridBits uint8
    file         values uint64, header bytes32, segments bytes32
    parameters   uint8 count, that many int64
    server       a server program, see `program`
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from registry.errors import FormError, InputError
from registry.rules.program import Program, RoundScalars, StateBounds
from registry.rules.program import decode as decode_program
from registry.rules.program import encode as encode_program
from registry.rules.shapes import HALF, kept
from registry.types import MAX_GRID_BITS, MAX_SHARE, Root

if TYPE_CHECKING:
    from registry.rules.packed import Packing

__all__ = [
    "MAX_PARAMETERS",
    "MAX_VALUES",
    "RoundScalars",
    "RuleSet",
    "Shape",
    "decode_rules",
    "divides",
    "encode_rules",
    "factor_of",
    "largest_factor",
    "least_sum",
    "state_layout",
]

MAX_PARAMETERS = 8
"""Most parameters of combine rule and update form."""
MAX_VALUES = (1 << 40) - 1
"""Most coordinates of a version."""
_FIXED = struct.Struct(">BHBHBBQ32s32sB")


class Shape(IntEnum):
    """How contributions are combined, which also selects the contract's fraud proof; the contract's numbers."""

    FOLD = 1
    """Weighted sum over a divisor: sum of factor times value."""
    COLUMNS = 2
    """Coordinate-wise trimmed mean or median; the first parameter is the share trimmed at each end."""
    SELECT = 3
    """A fold whose factors and divisor are computed from statistics of the updates, which readers replay."""
    SELECT_COLUMNS = 4
    """Factors of 0 and 1 from such statistics, and the mean of the selected values nearest to their median; the first
    parameter is how many of them are left out."""

    @property
    def selects(self) -> bool:
        """Whether factors are computed from statistics of the updates."""
        return self in (Shape.SELECT, Shape.SELECT_COLUMNS)

    @property
    def ordered(self) -> bool:
        """Whether the values of a coordinate are ordered, and the first parameter says which are left out."""
        return self in (Shape.COLUMNS, Shape.SELECT_COLUMNS)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Decoded rule bytes: what a round computes.

    Attributes:
        combine_rule: Number of the combine rule.
        shape: Shape of the combine rule.
        update_form: Number of the update form.
        uniform: Whether each contribution counts once, regardless of its weight.
        grid_bits: s: update values are integers times 2^-s.
        values: Number of coordinates of a version.
        header: sha2-256 of the header of an update's file.
        segments: Counted Merkle root of the segments.
        parameters: Of the combine rule, then of the update form; for COLUMNS the first is the share trimmed at each
            end, in 65536ths, for SELECT_COLUMNS, the number of values left out.
        program: Server program.

    Raises:
        InputError: A number is out of range.
    """

    combine_rule: int
    shape: Shape
    update_form: int
    uniform: bool
    grid_bits: int
    values: int
    header: bytes
    segments: Root
    parameters: tuple[int, ...]
    program: Program

    def __post_init__(self) -> None:
        for name, low, high in (
            ("combine_rule", 1, 2**16 - 1),
            ("update_form", 1, 2**16 - 1),
            ("grid_bits", 0, MAX_GRID_BITS),
            ("values", 1, MAX_VALUES),
        ):
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise InputError(f"rules: {name}: expected {low}..{high}, got {value!r}")
        if len(self.parameters) > MAX_PARAMETERS:
            raise InputError(f"rules: expected at most {MAX_PARAMETERS} parameters, got {len(self.parameters)}")
        if self.shape.ordered and not (self.parameters and 0 <= self.parameters[0] <= HALF):
            raise InputError(f"rules: expected what columns leave out, 0..{HALF}, got parameters {self.parameters}")
        for value in self.parameters:
            if not -(2**63) <= value < 2**63:
                raise InputError(f"rules: parameters: expected integers of 64 bits, got {value}")

    @property
    def packing(self) -> Packing | None:
        """Layout of packed rows of the update form; None where values are float32 on the grid.

        Raises:
            UnknownRule: The form is of a later release.
            FormError: The form has other parameters.
        """
        from registry.rules.table import packing_in

        return packing_in(self.update_form, self.parameters)


def encode_rules(rules: RuleSet) -> bytes:
    """Return the canonical encoding of rules."""
    fixed = _FIXED.pack(
        1,
        rules.combine_rule,
        rules.shape,
        rules.update_form,
        rules.uniform,
        rules.grid_bits,
        rules.values,
        rules.header,
        rules.segments,
        len(rules.parameters),
    )
    return fixed + struct.pack(f">{len(rules.parameters)}q", *rules.parameters) + encode_program(rules.program)


def decode_rules(data: bytes) -> RuleSet:
    """Decode rule bytes.

    Raises:
        FormError: They are not a canonical encoding.
    """
    if len(data) < _FIXED.size:
        raise FormError(f"rules: expected at least {_FIXED.size} bytes, got {len(data)}")
    version, combine, shape, form, uniform, grid_bits, values, header, segments, count = _FIXED.unpack_from(data)
    if version != 1:
        raise FormError(f"rules: expected version 1, got {version}")
    if shape not in set(Shape):
        raise FormError(f"rules: shape: expected 1..{max(Shape)}, got {shape}")
    if uniform > 1:
        raise FormError(f"rules: uniform: expected 0 or 1, got {uniform}")
    end = _FIXED.size + 8 * count
    if count > MAX_PARAMETERS or len(data) < end:
        raise FormError(f"rules: expected at most {MAX_PARAMETERS} parameters, within the bytes, got {count}")
    parameters = struct.unpack_from(f">{count}q", data, _FIXED.size)
    program = decode_program(data[end:])
    try:
        return RuleSet(
            combine, Shape(shape), form, uniform == 1, grid_bits, values, header, Root(segments), parameters, program
        )
    except InputError as error:
        raise FormError(str(error)) from error


def factor_of(rules: RuleSet, weight: int) -> int:
    """Return a contribution's factor under rules without selection: its weight, or 1 if each counts once."""
    return 1 if rules.uniform else weight


def largest_factor(rules: RuleSet, weight: int) -> int:
    """Return a contribution's largest factor: its weight; where each counts once 1, or 2^16 under SELECT."""
    return MAX_SHARE if rules.shape is Shape.SELECT and rules.uniform else factor_of(rules, weight)


def least_sum(rules: RuleSet, contributions: int) -> int:
    """Return the least sum of factors: under SELECT_COLUMNS, how many contributions are selected at least; else 0."""
    return kept(rules.parameters[0], contributions) if rules.shape is Shape.SELECT_COLUMNS else 0


def divides(rules: RuleSet, factors: Sequence[int], divisor: int) -> bool:
    """Whether a list of factors may have this divisor: their sum, or no less than it under SELECT."""
    total = sum(factors)
    exact = total <= divisor if rules.shape is Shape.SELECT else total == divisor
    return exact and total >= least_sum(rules, len(factors))


def state_layout(rules: RuleSet) -> bytes:
    """Return the hash of the server state's layout, 32 bytes, equal to the contract's `layoutOf`.

    keccak256 over grid bits, segments root, and the encoded bounds and initial values of the states; zero for rules
    without state.
    """
    from eth_hash.auto import keccak

    if not rules.program.states:
        return bytes(32)
    return bytes(keccak(bytes((rules.grid_bits,)) + rules.segments + _states(rules.program.states)))


def _states(states: tuple[StateBounds, ...]) -> bytes:
    return b"".join(struct.pack(">3q", state.lower, state.upper, state.initial) for state in states)
