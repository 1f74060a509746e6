"""Server programs in Python's own integers, programs drawn at random, and the contract's library behind its mock."""

from __future__ import annotations

import math
import posixpath
import random
import re
from collections.abc import Callable
from dataclasses import astuple, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from registry.errors import InputError
from registry.rules.program import (
    MAX_OPERATIONS,
    MAX_PARAMETERS,
    SCALAR_BOUNDS,
    VALUE_LIMIT,
    Interval,
    Opcode,
    Operation,
    Program,
    RoundScalars,
    StateBounds,
    analyse,
)
from registry.types import GRID_LIMIT

ROOT = Path(__file__).resolve().parents[2]
MOCKS = "contracts/test/mocks"


# One coordinate in Python's integers ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Evaluated:
    """What one coordinate gives, and every register's value on the way."""

    d: int
    states: tuple[int, ...]
    registers: tuple[int, ...]


def _evaluate(program: Program, q: int, states: tuple[int, ...], scalars: RoundScalars) -> Evaluated:
    r = [q, *states, *program.parameters, *astuple(scalars)]
    for operation in program.operations:
        x = r[operation.a]
        y = operation.b if operation.kind is Opcode.SHR else r[operation.b]
        match operation.kind.name:
            case "ADD":
                value = x + y
            case "SUB":
                value = x - y
            case "MUL":
                value = x * y
            case "NEG":
                value = 0 - x
            case "ABS":
                value = abs(x)
            case "SIGN":
                value = 0 if x == 0 else x // abs(x)
            case "MIN":
                value = min(x, y)
            case "MAX":
                value = max(x, y)
            case "SHR":
                value = math.floor(Fraction(x, 2**y))
            case "DIV":
                assert y >= 1
                value = round(Fraction(x, y))  # half to even
            case "SQRT":
                value = math.isqrt(x)
        r.append(value)
    d = max(-(2**24), min(2**24, r[program.d]))
    new = [max(b.lower, min(b.upper, r[at])) for b, at in zip(program.states, program.new_states, strict=True)]
    return Evaluated(d, tuple(new), tuple(r))


@pytest.fixture(scope="session")
def evaluate() -> Callable[..., Evaluated]:
    return _evaluate


# Random programs ------------------------------------------------------------------------------------------------------


def _magnitude(rng: random.Random, most: int) -> int:
    """An integer whose number of bits, not whose value, is uniform."""
    return min(most, rng.getrandbits(rng.randint(1, most.bit_length())))


def _signed(rng: random.Random, most: int) -> int:
    return rng.choice((-1, 1)) * _magnitude(rng, most)


def _state(rng: random.Random) -> StateBounds:
    lower, initial, upper = sorted(_signed(rng, VALUE_LIMIT - 1) for _ in range(3))
    return StateBounds(lower, upper, initial)


def _operation(rng: random.Random, found: tuple[Interval, ...], first_state: int) -> Operation:
    """An operation that tends to read late and wide registers, and to bring down what is wide."""
    registers = range(len(found))
    late = [max(rng.choice(registers), rng.choice(registers)) for _ in range(2)]
    a, b = (rng.choice((at, 0, first_state)) if rng.random() < 0.2 else at for at in late)
    wide = max(-found[a].low, found[a].high).bit_length()
    kinds = (
        [Opcode.MUL] * 5
        + [Opcode.ADD, Opcode.SUB] * 2
        + [Opcode.NEG, Opcode.ABS, Opcode.SIGN, Opcode.MIN, Opcode.MAX, Opcode.SQRT]
    )
    kinds += [Opcode.SHR, Opcode.DIV] * (4 if wide > 50 else 1)
    kind = rng.choice(kinds)
    if kind is Opcode.MUL and rng.random() < 0.2:
        b = a
    if kind is Opcode.DIV:
        b = rng.choice([at for at in registers if found[at].low >= 1])
    if kind is Opcode.SQRT:
        a = rng.choice([at for at in registers if found[at].low >= 0])
    if kind is Opcode.SHR:
        return Operation(kind, a, rng.randint(1, min(61, max(1, wide))))
    return Operation(kind, a, 0 if kind in (Opcode.NEG, Opcode.ABS, Opcode.SIGN, Opcode.SQRT) else b)


def _random_program(rng: random.Random) -> Program:
    """A program that `analyse` accepts: an operation that it refuses is drawn again."""
    states = tuple(_state(rng) for _ in range(rng.randint(0, 4)))
    parameters = tuple(_signed(rng, VALUE_LIMIT - 1) for _ in range(rng.choice((1, 4, 8, MAX_PARAMETERS))))
    wanted = rng.choice((1, 4, 12, 24, MAX_OPERATIONS))
    program = Program(states, rng.randint(0, 48), parameters, (), 0, tuple(0 for _ in states))
    found = analyse(program)
    for _ in range(4 * wanted):
        if len(program.operations) == wanted:
            break
        operation = _operation(rng, found, min(1, len(states)))
        try:
            longer = Program(
                states, program.fraction_bits, parameters, (*program.operations, operation), 0, program.new_states
            )
            found = analyse(longer)
        except InputError:
            continue
        program = longer
    last = program.registers - 1
    results = [rng.randint(max(0, last - 6), last) for _ in range(1 + len(states))]
    return Program(states, program.fraction_bits, parameters, program.operations, results[0], tuple(results[1:]))


def _draw(rng: random.Random, low: int, high: int) -> int:
    """A number of low..high: an end, near zero, or any."""
    near = min(high, max(low, rng.randint(-2, 2)))
    small = min(high, max(low, _signed(rng, high - low + 1)))
    return rng.choice((low, high, near, small, rng.randint(low, high)))


def _inputs(rng: random.Random, program: Program, count: int) -> tuple[list[int], list[list[int]], RoundScalars]:
    """Numbers for a program: q and states of some coordinates, and the round's scalars."""
    q = [_draw(rng, -GRID_LIMIT, GRID_LIMIT) for _ in range(count)]
    states = [[_draw(rng, bounds.lower, bounds.upper) for bounds in program.states] for _ in range(count)]
    return q, states, RoundScalars(*(_draw(rng, low, high) for low, high in SCALAR_BOUNDS.values()))


@pytest.fixture(scope="session")
def random_program() -> Callable[[random.Random], Program]:
    return _random_program


@pytest.fixture(scope="session")
def random_inputs() -> Callable[..., tuple[list[int], list[list[int]], RoundScalars]]:
    return _inputs


# The contract ---------------------------------------------------------------------------------------------------------


def _sources(entry: str) -> dict[str, dict[str, str]]:
    """Every source that the entry needs, by the name it is imported under."""
    found: dict[str, dict[str, str]] = {}
    waiting = [entry]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        text = (ROOT / ("node_modules" if name.startswith("@") else "") / name).read_text(encoding="utf-8")
        found[name] = {"content": text}
        for target in re.findall(r'^import .*from "(.*)";', text, flags=re.MULTILINE):
            waiting.append(
                posixpath.normpath(posixpath.join(posixpath.dirname(name), target)) if target[0] == "." else target
            )
    return found


@pytest.fixture(scope="session")
def mock(find_tool: Callable[[str], Path]) -> Callable[[str], Any]:
    """Returns a library behind its mock, by the code generator that ships, on a chain in process."""
    import solcx

    from registry.dev.embedded import embedded

    find_tool("node")

    def deployed(name: str) -> Any:
        source = f"{MOCKS}/{name}.sol"
        request = {
            "language": "Solidity",
            "sources": _sources(source),
            "settings": {
                "evmVersion": "prague",
                "optimizer": {"enabled": True, "runs": 800},
                "viaIR": True,
                "outputSelection": {source: {name: ["abi", "evm.bytecode.object"]}},
            },
        }
        output = solcx.compile_standard(request, solc_binary=ROOT / "contracts" / "tools" / "solc.js")
        made = output["contracts"][source][name]
        chain = embedded(1)
        factory = chain.w3.eth.contract(abi=made["abi"], bytecode=made["evm"]["bytecode"]["object"])
        receipt = chain.w3.eth.wait_for_transaction_receipt(
            factory.constructor().transact({"from": chain.w3.eth.accounts[0]})
        )
        return chain.w3.eth.contract(address=receipt["contractAddress"], abi=made["abi"])

    return deployed


@pytest.fixture(scope="session")
def contract(mock: Callable[[str], Any]) -> Any:
    """The library of server programs."""
    return mock("ProgramsMock")
