"""The contract's arithmetic is that of `registry.rules` and `registry.rules.step`: the same bits for the same bits."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from registry.dev.chains import anvil_chain
from registry.errors import FormError
from registry.rules.combine import rounded_mean
from registry.rules.grid import F32, grid_integers
from registry.rules.step import EXPONENTS, server_step
from registry.types import GRID_LIMIT, MAX_GRID_BITS, MAX_TOTAL_WEIGHT

pytestmark = [pytest.mark.slow, pytest.mark.node]

ROOT = Path(__file__).resolve().parents[2]
SOURCE = "contracts/test/mocks/GridMock.sol"
BATCH = 1024
COUNT = (40 if os.environ.get("CAIRN_SOAK") else 3) * BATCH
"""Bit patterns of each kind that are compared."""

U32 = npt.NDArray[np.uint32]
SIGN = np.uint32(1 << 31)
EDGES = [0, 1, 2, 0x3FFFFF, 0x400000, 0x7FFFFE, 0x7FFFFF]
"""Significands next to where something changes."""


def compiled() -> tuple[Any, str]:
    import solcx

    files = {SOURCE: ROOT / SOURCE, "contracts/challenges/Grid.sol": ROOT / "contracts" / "challenges" / "Grid.sol"}
    for name in ("math/Math.sol", "math/SafeCast.sol", "Panic.sol"):
        path = f"@openzeppelin/contracts/utils/{name}"
        files[path] = ROOT / "node_modules" / path
    request = {
        "language": "Solidity",
        "sources": {name: {"content": path.read_text(encoding="utf-8")} for name, path in files.items()},
        "settings": {
            "evmVersion": "prague",
            "optimizer": {"enabled": True, "runs": 800},
            "outputSelection": {SOURCE: {"GridMock": ["abi", "evm.bytecode.object"]}},
        },
    }
    output = solcx.compile_standard(request, solc_binary=ROOT / "contracts" / "tools" / "solc.js")
    made = output["contracts"][SOURCE]["GridMock"]
    return made["abi"], made["evm"]["bytecode"]["object"]


@pytest.fixture(scope="module")
def grid(find_tool: Callable[[str], Path]) -> Iterator[Any]:
    """The mock on anvil, which computes many times as fast as the EVM in process."""
    find_tool("node")
    abi, code = compiled()
    with anvil_chain(find_tool("anvil")) as chain:
        contract = chain.w3.eth.contract(abi=abi, bytecode=code)
        sent = contract.constructor().transact({"from": chain.w3.eth.accounts[0]})
        receipt = chain.w3.eth.wait_for_transaction_receipt(sent)
        yield chain.w3.eth.contract(address=receipt["contractAddress"], abi=abi)


def asked(function: Any, *columns: list[int]) -> list[int]:
    """Call a view of whole arrays, a batch at a time."""
    found: list[int] = []
    for i in range(0, len(columns[0]), BATCH):
        found += function(*(column[i : i + BATCH] for column in columns)).call({"gas": 25_000_000})
    return found


def as_floats(bits: U32) -> F32:
    return bits.view(np.float32)


def random_bits(rng: np.random.Generator, count: int) -> U32:
    return rng.integers(0, 1 << 32, count, dtype=np.uint32)


def finite(bits: U32) -> U32:
    """The same with infinities and NaN brought down to the largest binade."""
    special = (bits & 0x7F800000) == 0x7F800000
    return np.where(special, bits & ~np.uint32(0x00800000), bits).astype(np.uint32)


def edges() -> U32:
    """Every exponent with every significand at an edge, of both signs."""
    exponents = np.arange(256, dtype=np.uint32) << 23
    magnitudes = (exponents[:, None] | np.array(EDGES, dtype=np.uint32)[None, :]).reshape(-1)
    return np.concatenate([magnitudes, magnitudes | SIGN])


# Grid integers --------------------------------------------------------------------------------------------------------


def expected_integer(value: F32, grid_bits: int) -> tuple[bool, int]:
    try:
        return True, int(grid_integers(value.reshape(1), grid_bits)[0])
    except FormError:
        return False, 0


@pytest.mark.parametrize("grid_bits", [0, 1, 23, 24, 25, 100, 125, 126])
def test_the_contract_takes_the_values_that_the_gate_takes_for_the_same_integers(grid: Any, grid_bits: int) -> None:
    rng = np.random.default_rng(grid_bits)
    whole = rng.integers(-GRID_LIMIT - 4, GRID_LIMIT + 5, BATCH)
    near = (whole * 2.0**-grid_bits).astype(np.float32).view(np.uint32)
    off = near ^ (np.uint32(1) << rng.integers(0, 32, BATCH, dtype=np.uint32))
    bits = np.concatenate([edges(), random_bits(rng, BATCH), near, off, near + 1, near - 1])
    canonical: list[bool] = []
    integers: list[int] = []
    for i in range(0, len(bits), BATCH):
        answer = grid.functions.toInteger(bits[i : i + BATCH].tolist(), grid_bits).call({"gas": 25_000_000})
        canonical += answer[0]
        integers += answer[1]
    expected = [expected_integer(value, grid_bits) for value in as_floats(bits)]
    assert list(zip(canonical, integers, strict=True)) == expected
    assert 1024 < sum(canonical) < len(bits) - 1024  # both kinds were there


def test_every_number_of_grid_bits_has_the_same_ends(grid: Any) -> None:
    for grid_bits in range(MAX_GRID_BITS + 1):
        ends = np.array([1, GRID_LIMIT - 1, GRID_LIMIT], dtype=np.float64) * 2.0**-grid_bits
        exact = ends.astype(np.float32).view(np.uint32)
        bits = np.concatenate([exact, exact + 1, exact - 1])
        answer = grid.functions.toInteger(bits.tolist(), grid_bits).call()
        assert list(zip(*answer, strict=True)) == [expected_integer(value, grid_bits) for value in as_floats(bits)]


# The mean -------------------------------------------------------------------------------------------------------------


def test_the_contracts_mean_is_the_combine_rules(grid: Any) -> None:
    rng = np.random.default_rng(1)
    weights = rng.integers(1, MAX_TOTAL_WEIGHT + 1, COUNT, dtype=np.int64)
    weights[: COUNT // 2] = 2 ** rng.integers(0, 29, COUNT // 2)  # where ties are
    weights[:BATCH] = MAX_TOTAL_WEIGHT
    quotients = rng.integers(-GRID_LIMIT, GRID_LIMIT, COUNT, dtype=np.int64)
    # At a tie, one beside it, and anywhere.
    beside = rng.integers(-1, 2, COUNT)
    rests = np.where(rng.random(COUNT) < 0.7, weights // 2 + beside, rng.integers(0, 1 << 28, COUNT) % weights)
    sums = np.clip(quotients * weights + rests, -GRID_LIMIT * weights, GRID_LIMIT * weights)
    found = asked(grid.functions.mean, sums.tolist(), weights.tolist())
    expected = [
        int(rounded_mean(np.array([s], dtype=np.float64), int(w), 0)[0]) for s, w in zip(sums, weights, strict=True)
    ]
    assert found == expected
    assert np.count_nonzero(2 * (sums % weights) == weights) > COUNT // 10  # ties were there


# The server step ------------------------------------------------------------------------------------------------------


def step_of(w: U32, x: U32) -> U32:
    """The sum in float64, rounded once."""
    with np.errstate(over="ignore"):
        plain = (as_floats(w).astype(np.float64) + as_floats(x).astype(np.float64)).astype(np.float32)
    return plain.view(np.uint32)


def agrees(grid: Any, w: U32, x: U32) -> None:
    """Compare where the contract adds: both finite, and the second, a grid value, not -0.0."""
    w, x = finite(w), finite(x)
    x = np.where(x == SIGN, np.uint32(0), x).astype(np.uint32)
    found = np.array(asked(grid.functions.add, w.tolist(), x.tolist()), dtype=np.uint32)
    expected = step_of(w, x)
    different = np.flatnonzero(found != expected)
    assert different.size == 0, [(hex(w[i]), hex(x[i]), hex(found[i]), hex(expected[i])) for i in different[:5]]


def test_the_contracts_sum_of_any_two_floats_is_the_server_steps(grid: Any) -> None:
    rng = np.random.default_rng(2)
    agrees(grid, random_bits(rng, COUNT), random_bits(rng, COUNT))


def test_the_contracts_sum_of_floats_a_given_number_of_exponents_apart_is_the_server_steps(grid: Any) -> None:
    rng = np.random.default_rng(3)
    gaps = np.arange(COUNT, dtype=np.uint32) % 73
    low = rng.integers(0, 256 - 73, COUNT, dtype=np.uint32)
    significands = np.array(EDGES, dtype=np.uint32)
    w = ((low + gaps) << 23) | rng.choice(significands, COUNT) | (random_bits(rng, COUNT) & SIGN)
    x = (low << 23) | rng.choice(significands, COUNT) | (random_bits(rng, COUNT) & SIGN)
    agrees(grid, w.astype(np.uint32), x.astype(np.uint32))
    agrees(grid, x.astype(np.uint32), w.astype(np.uint32))


def test_the_contracts_sum_at_and_beside_ties_is_the_server_steps(grid: Any) -> None:
    rng = np.random.default_rng(4)
    exponents = rng.integers(30, 250, COUNT, dtype=np.uint32)
    w = (exponents << 23) | rng.integers(0, 1 << 23, COUNT, dtype=np.uint32) | (random_bits(rng, COUNT) & SIGN)
    half = (exponents - 24) << 23  # half a unit in the last place of w
    beside = rng.integers(-2, 3, COUNT)
    x = (half.astype(np.int64) + beside).astype(np.uint32) | (random_bits(rng, COUNT) & SIGN)
    agrees(grid, w.astype(np.uint32), x)


def test_the_contracts_sum_that_nearly_cancels_is_the_server_steps(grid: Any) -> None:
    rng = np.random.default_rng(5)
    w = finite(random_bits(rng, COUNT))
    x = (w.astype(np.int64) + rng.integers(-40, 41, COUNT)).astype(np.uint32) ^ SIGN
    agrees(grid, w, x)


def test_the_contracts_sum_around_the_subnormals_and_the_largest_is_the_server_steps(grid: Any) -> None:
    rng = np.random.default_rng(6)
    small = rng.integers(0, 3 << 23, COUNT, dtype=np.uint32) | (random_bits(rng, COUNT) & SIGN)
    agrees(grid, small, rng.permutation(small))
    large = rng.integers(0x7E000000, 0x7F800000, COUNT, dtype=np.uint32) | (random_bits(rng, COUNT) & SIGN)
    agrees(grid, large, rng.permutation(large))


def test_the_contracts_sum_of_a_weight_and_a_grid_value_is_the_server_steps(grid: Any) -> None:
    rng = np.random.default_rng(7)
    weights = rng.normal(0, 0.1, COUNT).astype(np.float32)
    for grid_bits in (0, 24, 126):
        values = (rng.integers(-GRID_LIMIT, GRID_LIMIT + 1, COUNT) * 2.0**-grid_bits).astype(np.float32)
        agrees(grid, weights.view(np.uint32), values.view(np.uint32))


def test_the_contracts_sum_of_every_pair_of_edges_with_zeros_is_the_server_steps(grid: Any) -> None:
    every = edges()
    for zero in (0, 1 << 31):
        agrees(grid, every, np.full_like(every, zero))
        agrees(grid, np.full_like(every, zero), every)


# The step of every server rule ----------------------------------------------------------------------------------------


def steps_agree(grid: Any, w: U32, d: npt.NDArray[np.int64], k: npt.NDArray[np.int64]) -> None:
    """Compare for finite weights, a call of numpy for each exponent."""
    w = finite(w)
    found = np.array(asked(grid.functions.step, w.tolist(), d.tolist(), k.tolist()), dtype=np.uint32)
    expected = np.empty_like(found)
    for one in np.unique(k):
        at = k == one
        expected[at] = server_step(as_floats(w[at]), d[at], int(one)).view(np.uint32)
    different = np.flatnonzero(found != expected)
    assert different.size == 0, [(hex(w[i]), d[i], k[i], hex(found[i]), hex(expected[i])) for i in different[:5]]


def some_steps(rng: np.random.Generator, count: int) -> npt.NDArray[np.int64]:
    """Of all magnitudes, powers of two and both ends among them."""
    d = rng.integers(-GRID_LIMIT, GRID_LIMIT + 1, count) >> rng.integers(0, 25, count)
    powers = rng.choice([-1, 1], count) << rng.integers(0, 25, count)
    return np.where(rng.random(count) < 0.3, powers, d)


def test_the_contracts_step_of_any_weight_is_the_server_step(grid: Any) -> None:
    rng = np.random.default_rng(8)
    k = rng.integers(EXPONENTS[0], EXPONENTS[1] + 1, COUNT)
    steps_agree(grid, random_bits(rng, COUNT), some_steps(rng, COUNT), k)
    ends = rng.choice(EXPONENTS, COUNT)
    steps_agree(grid, random_bits(rng, COUNT), some_steps(rng, COUNT), ends)


def test_the_contracts_step_beside_ties_powers_and_opposites_is_the_server_step(grid: Any) -> None:
    rng = np.random.default_rng(9)
    k = rng.integers(EXPONENTS[0], EXPONENTS[1] + 1, COUNT)
    d = some_steps(rng, COUNT)
    with np.errstate(over="ignore"):
        beside = (d * 2.0**k * 2.0 ** rng.choice([-26, -25, -24, -1, 0, 1, 23, 24, 25, 64, 65], COUNT)).astype(
            np.float32
        )
    near = finite(beside.view(np.uint32)) ^ (rng.integers(0, 2, COUNT, dtype=np.uint32) << 31)
    w = np.maximum(near.astype(np.int64) + rng.integers(-2, 3, COUNT), 0).astype(np.uint32)
    steps_agree(grid, w, d, k)


def test_the_contracts_step_around_the_subnormals_and_the_largest_is_the_server_step(grid: Any) -> None:
    rng = np.random.default_rng(10)
    signs = random_bits(rng, COUNT) & SIGN
    small = rng.integers(0, 3 << 23, COUNT, dtype=np.uint32) | signs
    steps_agree(grid, small, some_steps(rng, COUNT), rng.integers(-149, -120, COUNT))
    large = rng.integers(0x7E000000, 0x7F800000, COUNT, dtype=np.uint32) | signs
    steps_agree(grid, large, some_steps(rng, COUNT), rng.integers(75, 104, COUNT))


def test_the_contracts_step_of_every_weight_at_an_edge_is_the_server_step(grid: Any) -> None:
    every = edges()
    for d, k in ((0, 0), (1, -149), (GRID_LIMIT, 103), (-3, -20)):
        steps_agree(grid, every, np.full(len(every), d), np.full(len(every), k))
