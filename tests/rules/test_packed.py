"""Packed rows: names, what no row may hold, and that the contract takes and reads the rows that Python takes."""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np
import pytest
from integer_rows import integers_of, row_of

from registry.chain.contracts import artifact
from registry.content.merkle import CHUNK_VALUES
from registry.errors import FormError
from registry.rules.encoding import RuleSet, Shape, encode_rules
from registry.rules.packed import MOST_KEPT, ROW_VALUES, Packing, packing_named
from registry.rules.program import Program
from registry.rules.table import PACKED
from registry.types import GRID_LIMIT, Root

SOAK = bool(os.environ.get("CAIRN_SOAK"))
ROWS = {name: 1000 if SOAK else count for name, count in {"int8": 14, "int4": 14, "top-8": 30, "top-3": 40}.items()}
"""Rows of each layout that are held against the contract, half of them spoilt."""
LAYOUTS = ("int8", "int4", "int16", "top-8", "top-8-int8", "top-3")


def layout(name: str) -> Packing:
    found = packing_named(name)
    assert found is not None
    return found


def unpacked(packing: Packing, *rows: bytes, first: int = 0, values: int = 1 << 20) -> list[int]:
    data = np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(-1, packing.row_bytes)
    return [int(q) for q in packing.unpack(data, first=first, values=values)]


# Names and layouts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "bits", "kept", "row_bytes"),
    [("int8", 8, 0, 257), ("int4", 4, 0, 129), ("int16", 16, 0, 513), ("top-8", 16, 8, 25), ("top-8-int8", 8, 8, 17),
     ("top-1", 16, 1, 4), ("top-128-int8", 8, 128, 257)],
)  # fmt: skip
def test_a_layout_has_a_name_and_a_length(name: str, bits: int, kept: int, row_bytes: int) -> None:
    found = layout(name)
    assert (found, found.row_bytes) == (Packing(bits, kept), row_bytes)
    assert found.name == name
    assert [found.rows(n) for n in (1, 256, 257, 512)] == [1, 1, 2, 2]


def test_a_row_has_the_coordinates_of_a_leaf() -> None:
    assert ROW_VALUES == CHUNK_VALUES
    assert {p.name: (p.low, p.high) for p in PACKED.parameters} == {"bits": (4, 16), "kept": (0, MOST_KEPT)}


@pytest.mark.parametrize("name", ["", "dense", "int5", "int08", "INT8", "top-0", "top--1", "top-8-int4", "top-8 ", "8"])
def test_other_names_name_no_layout(name: str) -> None:
    assert packing_named(name) is None


@pytest.mark.parametrize(("bits", "kept"), [(5, 0), (0, 0), (4, 8), (8, -1), (8, 129), (32, 0), (16, 256)])
def test_other_layouts_are_refused(bits: int, kept: int) -> None:
    with pytest.raises(FormError, match=rf"expected bits 4, 8 or 16 .* got bits {bits} and kept {kept}"):
        Packing(bits, kept)
    with pytest.raises(FormError, match="got bits 16 and kept 129"):
        packing_named("top-129")


# Packing -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("largest", [GRID_LIMIT, GRID_LIMIT - 1, 127, 128, 255, 7, 8, 0])
def test_the_ends_of_the_grid_fit_under_the_smallest_exponent(name: str, largest: int) -> None:
    packing, values = layout(name), [largest, -largest, 0, 3, -3] + [0] * 251
    row = packing.pack(np.array(values, dtype=np.float64)).tobytes()
    assert row == row_of(values, packing.bits, packing.kept)
    held = unpacked(packing, row)
    assert held == integers_of(row, packing.bits, packing.kept)
    step = 1 << row[0]
    assert all(abs(a - b) * 2 <= step for a, b in zip(values, held, strict=True) if b)


def test_halves_are_rounded_to_even_and_of_equal_values_the_first_is_kept() -> None:
    values = [1 << 10, 12, 20, -12, -20] + [0] * 251  # in units of 8: 1.5, 2.5
    assert unpacked(layout("int8"), layout("int8").pack(np.array(values)).tobytes())[:5] == [1 << 10, 16, 16, -16, -16]
    equal = [0, 5, -5, 5] + [0] * 252
    assert unpacked(layout("top-2"), layout("top-2").pack(np.array(equal)).tobytes())[:4] == [0, 5, -5, 0]


def test_what_is_kept_but_rounds_to_zero_is_not_written() -> None:
    values = np.array([GRID_LIMIT, 3] + [0] * 254)
    row = layout("top-2-int8").pack(values).tobytes()
    assert row == bytes([18, 0, 0, 64, 0])


# What no row may hold ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "edits", "said"),
    [
        ("int8", {1: 0x80}, "mantissas of at most 127 in magnitude, got exponent 0, mantissas -128 to 0"),
        ("int4", {1: 0x80}, "mantissas of at most 7 in magnitude"),
        ("int16", {2: 0x80}, "mantissas of at most 32767 in magnitude"),
        ("int8", {0: 19, 1: 64}, "an exponent of 0..18"),
        ("int4", {0: 23, 1: 4}, "an exponent of 0..22"),
        ("int16", {0: 11, 2: 0x40}, "an exponent of 0..10"),
        ("int8", {0: 255}, "an exponent of 0..18"),
        ("int8", {0: 18, 1: 65}, "integers of at most 2^24 in magnitude"),
        ("int8", {0: 1, 1: 63}, "the smallest exponent that its mantissas allow"),
        ("int8", {0: 1}, "the smallest exponent that its mantissas allow"),
        ("top-3", {1: 7, 2: 6, 4: 1, 6: 1}, "positions in ascending order, each once"),
        ("top-3", {1: 7, 2: 7, 4: 1, 6: 1}, "positions in ascending order, each once"),
        ("top-3", {1: 7, 2: 9, 6: 1}, "mantissas that are not zero before its padding"),
        ("top-3", {1: 7, 3: 9, 4: 1}, "padding of zeros"),
        ("top-3", {1: 7}, "padding of zeros"),
    ],
)
def test_a_row_that_is_not_canonical_is_named(name: str, edits: dict[int, int], said: str) -> None:
    packing = layout(name)
    row = bytearray(packing.row_bytes)
    for at, value in edits.items():
        row[at] = value
    with pytest.raises(FormError) as refused:
        unpacked(packing, bytes(packing.row_bytes), bytes(row), first=5)
    assert str(refused.value).startswith(f"row 6: expected {said}")
    unpacked(packing, bytes(packing.row_bytes))  # zeros are


@pytest.mark.parametrize(("name", "at"), [("int8", 1), ("int4", 1), ("top-3", 4)])
def test_nothing_stands_past_the_end(name: str, at: int) -> None:
    packing = layout(name)
    place = 200
    row = bytearray(packing.row_bytes)
    if packing.kept:
        row[1], row[at] = place, 1
    else:
        row[at + place * packing.bits // 8] = 1
    assert unpacked(packing, bytes(row), first=1, values=457)[place] == 1
    for values in (456, 300, 256, 3):
        with pytest.raises(FormError, match=f"row 1: expected zeros past coordinate {values - 1}, got"):
            unpacked(packing, bytes(row), first=1, values=values)


# The contract --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rules_contract() -> Any:
    from registry.dev.embedded import embedded

    chain, made = embedded(1), artifact("Rules")
    factory = chain.w3.eth.contract(abi=made.abi, bytecode=made.bytecode)
    sent = factory.constructor().transact({"from": chain.w3.eth.accounts[0]})
    receipt = chain.w3.eth.wait_for_transaction_receipt(sent)
    return chain.w3.eth.contract(address=receipt["contractAddress"], abi=made.abi).functions


def rules_with(packing: Packing, values: int) -> bytes:
    parameters = (packing.bits, packing.kept)
    shape, number = Shape.FOLD, PACKED.number
    told = (1, shape, number, False, 24, values, bytes(32), Root(bytes(32)), parameters)
    return encode_rules(RuleSet(*told, Program((), 0, (), (), 0, ())))


def spoilt(rng: random.Random, row: bytes) -> bytes:
    changed = bytearray(row)
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.choice((0, 1, len(row) - 1, rng.randrange(len(row)), rng.randrange(min(len(row), 18))))
        changed[at] = rng.choice((0, 1, 0x80, 0x88, 0x7F, 255, changed[at] ^ 1 << rng.randrange(8)))
    return bytes(changed)


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_the_contract_takes_and_reads_the_rows_that_python_does(rules_contract: Any, name: str) -> None:
    rng, packing, taken = random.Random(name), layout(name), 0
    for k in range(ROWS[name]):
        reach = rng.choice((1, 5, 100, 1 << 12, GRID_LIMIT))
        left = rng.choice((256, 256, 200, 1))
        row = row_of([rng.randint(-reach, reach) if i < left else 0 for i in range(256)], packing.bits, packing.kept)
        row = spoilt(rng, row) if k % 2 else row
        place = rng.choice((0, 1, left - 1, rng.randrange(256)))
        rules = rules_with(packing, 512 + left)
        try:
            held, canonical = unpacked(packing, row, first=2, values=512 + left), True
        except FormError:
            held, canonical = [], False
        assert rules_contract.unpack(rules, row, 512 + place, True).call()[0] is canonical, row.hex()
        taken += canonical
        if canonical:
            assert rules_contract.unpack(rules, row, 512 + place, False).call() == [True, held[place]]
    assert ROWS[name] // 2 <= taken < ROWS[name], "rows of both kinds"
