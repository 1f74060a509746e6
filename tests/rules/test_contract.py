"""The contract's library takes the programs that Python takes, and gives on one coordinate what integers give."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registry.errors import FormError
from registry.rules.interpreter import replay
from registry.rules.program import MAX_OPERATIONS, Program, StateBounds, decode, encode
from registry.rules.server_programs import compile_rule

pytestmark = pytest.mark.slow

SOAK = bool(os.environ.get("CAIRN_SOAK"))
PROGRAMS = 10_000 if SOAK else 150
MUTANTS = 40_000 if SOAK else 1500
COORDINATES = 2
GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "rules" / "programs.json"
CALL = {"gas": 25_000_000}
GAS_OF_OPERATION = 1500
"""More than an operation takes, for the size of batches."""


def batches(programs: list[Program]) -> Iterator[list[Program]]:
    """Pieces that one call's gas is enough for."""
    batch: list[Program] = []
    gas = 0
    for program in programs:
        needed = COORDINATES * (40_000 + GAS_OF_OPERATION * len(program.operations))
        if batch and gas + needed > CALL["gas"]:
            yield batch
            batch, gas = [], 0
        batch.append(program)
        gas += needed
    yield batch


def test_random_programs_give_in_the_contract_what_they_give_in_integers_and_numpy(
    contract: Any, evaluate: Any, random_program: Any, random_inputs: Any
) -> None:
    rng = random.Random(11)
    programs = [random_program(rng) for _ in range(PROGRAMS)]
    reached = calls = 0
    for batch in batches(programs):
        inputs = [random_inputs(rng, program, COORDINATES) for program in batch]
        cases = [
            (encode(program), astuple(scalars), q, states)
            for program, (q, states, scalars) in zip(batch, inputs, strict=True)
        ]
        found = contract.functions.run(cases).call(CALL)
        calls += 1
        for program, (q, states, scalars), numbers in zip(batch, inputs, found, strict=True):
            expected = [evaluate(program, x, tuple(s), scalars) for x, s in zip(q, states, strict=True)]
            assert numbers == [x for e in expected for x in (e.d, *e.states)], program
            d, new = replay(program, np.array(q), np.array(states, dtype=np.int64).reshape(len(q), -1), scalars)
            assert np.column_stack([d, new]).reshape(-1).tolist() == numbers, program
            made = program.inputs
            reached += max(abs(x) for e in expected for x in (0, *e.registers[made:])) >= 1 << 55
    print(f"\n{PROGRAMS} programs on {COORDINATES} coordinates in {calls} calls; {reached} reached 56 bits")
    assert reached > PROGRAMS // 5


@pytest.mark.parametrize("name", json.loads(GOLDEN.read_text()))
def test_the_rules_that_ship_give_in_the_contract_what_they_give_in_integers(
    contract: Any, evaluate: Any, random_inputs: Any, name: str
) -> None:
    program = decode(bytes.fromhex(json.loads(GOLDEN.read_text())[name]["encoding"]))
    q, states, scalars = random_inputs(random.Random(name), program, 60)
    (found,) = contract.functions.run([(encode(program), astuple(scalars), q, states)]).call(CALL)
    expected = [evaluate(program, x, tuple(s), scalars) for x, s in zip(q, states, strict=True)]
    assert found == [x for e in expected for x in (e.d, *e.states)]


# Form -----------------------------------------------------------------------------------------------------------------


def is_valid(data: bytes) -> bool:
    try:
        decode(data)
    except FormError:
        return False
    return True


def mutant(rng: random.Random, data: bytes) -> bytes:
    """The encoding with one or a few things wrong with it, or changed and still right."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(changed))
        match rng.randrange(6):
            case 0:
                changed[at] = rng.randrange(256)
            case 1:
                changed[at] = (changed[at] + rng.choice((-1, 1))) % 256
            case 2:
                changed[at] ^= 1 << rng.randrange(8)
            case 3:
                changed.insert(at, rng.choice((0, 1, 255)))
            case 4 if len(changed) > 1:
                del changed[at]
            case 5:
                del changed[max(1, at) :]
    return bytes(changed)


def edges() -> list[bytes]:
    """Every byte of small encodings at every value (a soak) or at those that bound something; numbers at 2^62."""
    small = [
        bytes(5),
        encode(Program((StateBounds(-3, 4, 1),), 0, (5,), (), 0, (1,))),
        bytes((0, 0, 0, 2, 1, 0, 4, 9, 5, 1, 6)),
        bytes((0, 0, 0, 1, 11, 4, 0, 5)),
    ]
    values = range(256) if SOAK else (*range(14), 48, 49, 61, 62, 127, 128, 255)
    found = [
        data[:at] + bytes((value,)) + data[at + 1 :] for data in small for at in range(len(data)) for value in values
    ]
    limit = 1 << 62
    for value in (limit, limit - 1, -limit, 1 - limit, (1 << 63) - 1, -(1 << 63)):
        number = value.to_bytes(8, "big", signed=True)
        found.append(bytes((0, 0, 1)) + number + bytes(2))
        for place in range(3):
            numbers = [bytes(8)] * 3
            numbers[place] = number
            found.append(bytes((1,)) + b"".join(numbers) + bytes(5))
    return found


def test_contract_and_python_take_the_same_bytes_and_refuse_the_same(contract: Any, random_program: Any) -> None:
    rng = random.Random(12)
    valid = [encode(random_program(rng)) for _ in range(MUTANTS // 40)]
    data = [*valid, *edges(), b"", *(mutant(rng, rng.choice(valid)) for _ in range(MUTANTS))]
    verdicts: list[bool] = []
    for i in range(0, len(data), 100):
        verdicts += contract.functions.valid(data[i : i + 100]).call(CALL)
    expected = [is_valid(one) for one in data]
    differing = [one.hex() for one, ours, theirs in zip(data, expected, verdicts, strict=True) if ours != theirs]
    assert differing == []
    print(f"\n{len(data)} encodings, of which {sum(verdicts)} are programs")
    assert len(data) // 20 < sum(verdicts) < len(data) // 2


def test_the_contract_reads_bounds_and_fraction_bits_where_python_writes_them(
    contract: Any, random_program: Any
) -> None:
    rng = random.Random(13)
    for _ in range(30):
        program = random_program(rng)
        data = encode(program)
        fraction_bits, section, bounds = contract.functions.shapeOf(data).call()
        assert fraction_bits == program.fraction_bits
        assert section == data[1 : 1 + 24 * len(program.states)]
        assert [tuple(b) for b in bounds] == [astuple(b) for b in program.states]


# Gas ------------------------------------------------------------------------------------------------------------------


def test_a_coordinate_and_a_program_cost_little_gas(contract: Any, random_program: Any) -> None:
    adaptive = {"rate": 0.1, "beta1": 0.9, "beta2": 0.99, "tau": 1e-3}
    programs = {
        "fedavg": compile_rule("fedavg", {"rate": 1.0}, 20),
        "fedavgm": compile_rule("fedavgm", {"rate": 1.0, "momentum": 0.9}, 20),
        "fedadam": compile_rule("fedadam", adaptive, 20),
        "fedyogi": compile_rule("fedyogi", adaptive, 20),
        "scaffold": compile_rule("scaffold", {"rate": 1.0, "participants": 7.0}, 20),
        "feddyn": compile_rule("feddyn", {"participants": 7.0}, 20),
    }
    rng = random.Random(14)
    while "64 operations" not in programs:
        program = random_program(rng)
        if len(program.operations) == MAX_OPERATIONS and len(program.states) == 4:
            programs["64 operations"] = program
    run, valid = {}, {}
    for name, program in programs.items():
        states = [b.initial for b in program.states]
        data = encode(program)
        run[name] = contract.functions.gasOfRun(data, 12345, states, [1, 3, 10, 0]).call(CALL)
        valid[name] = contract.functions.gasOfValid(data).call(CALL)
    print(f"\ngas of a coordinate {run}, of a program's form {valid}")
    assert run["fedadam"] < 20_000
    assert max(*run.values(), *valid.values()) < 80_000
