"""Economics of flooding: the cost of a flood of demands to its sender, and to those who answer.

Run as `python -m benchmarks.flood`; nothing is timed. Gas is from `contracts/gas.json`: per leaf, with ten leaves
demanded or answered by one transaction, for a model of 10^8 values. The sender loses the deposit of each answered leaf
to the answerer. An OP-stack roll-up also charges a data fee, as of its Fjord upgrade: by the transaction's compressed
size (a leaf and its proof do not compress) and by Ethereum's base fee and blob base fee.

The ratio is the flood's cost (gas, data, deposits) divided by the cost of answering (gas, data) before deposits. Also
printed are the cost of answering after deposits, and the `demand_price_gwei` from which answering costs nothing.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from web3 import Web3

from benchmarks.measure import Figure, write_results
from registry.chain.contracts import artifact
from registry.chain.demand_terms import ANSWER_GAS, MAX_DEPOSIT
from registry.content.merkle import CHUNK_BYTES

GWEI = 10**9
GAS = json.loads((Path(__file__).parent.parent / "contracts" / "gas.json").read_text())
DEMAND, ANSWER = GAS["demand one of 10 chunks"], GAS["show one of 10 chunks, 10^8 values"]
DEPTH = 19
"""Proof nodes in a tree of 10^8 values."""
TIP = GWEI // 10
"""Priority fee on both networks, wei per gas."""
BASE_FEES = (0.1, 1, 30, 300)
"""Base fees of Ethereum, gwei."""
TOGETHER = 10
SIGNED = 120
"""Bytes of a signed transaction without its calldata."""
ROLL_UP_BASE_FEE = GWEI // 100
"""Base fee of the roll-up, wei per gas."""
SCALARS = 5227, 1_014_213
"""Data fee scalars of OP Mainnet: base fee scalar, blob base fee scalar (set in SystemConfig)."""
BLOB_BASE_FEE = GWEI
"""Blob base fee of Ethereum, wei."""


@dataclass(frozen=True, slots=True)
class Flood:
    """Wei per leaf: the cost of a demand, the cost of an answer, and the answer's reward."""

    demand: float
    answer: float
    deposit: float

    @property
    def ratio(self) -> float:
        return (self.demand + self.deposit) / self.answer


def data_of() -> tuple[int, int]:
    """Return the calldata bytes of ten demands and of ten answers, with random proofs and leaves."""
    court = Web3().eth.contract(abi=artifact("Court").abi)
    root = secrets.token_bytes
    demanded = lambda index: (root(32), root(32), root(32), 4, 256, index)  # noqa: E731
    opening = lambda: ((10**8, root(32)), root(CHUNK_BYTES), [root(32) for _ in range(DEPTH)])  # noqa: E731
    shown = [(demanded(index), opening()) for index in range(TOGETHER)]
    call = court.encode_abi("showLeaves", [shown])
    # Target and basis are shared by all ten demands; each index is one word.
    return 32 * (TOGETHER + 60), len(call) // 2 - 1


def data_fee(size: int, base_fee: int) -> float:
    """Return a roll-up's data fee for a transaction of incompressible bytes, wei (Fjord).

    Args:
        size: Bytes, signature included.
        base_fee: Ethereum's base fee, wei per gas.
    """
    estimated = max(100_000_000, 836_500 * size - 42_585_600)
    return estimated * (16 * base_fee * SCALARS[0] + BLOB_BASE_FEE * SCALARS[1]) / 1e12


def on_ethereum(base_fee: int) -> Flood:
    """Return the cost of a leaf on Ethereum, gas only."""
    deposit = min(ANSWER_GAS * base_fee, MAX_DEPOSIT)
    return Flood(DEMAND * (base_fee + TIP), ANSWER * (base_fee + TIP), deposit)


def on_roll_up(base_fee: int) -> Flood:
    """Return the cost of a leaf on a roll-up at a base fee of Ethereum."""
    gas, deposit = ROLL_UP_BASE_FEE + TIP // 100, ANSWER_GAS * ROLL_UP_BASE_FEE
    demanding, answering = (data_fee(size + SIGNED, base_fee) / TOGETHER for size in data_of())
    return Flood(DEMAND * gas + demanding, ANSWER * gas + answering, deposit)


def main() -> None:
    floods = {f"Ethereum, base fee {fee:g} gwei": on_ethereum(int(fee * GWEI)) for fee in BASE_FEES}
    floods |= {f"OP Mainnet, Ethereum's {fee:g} gwei": on_roll_up(int(fee * GWEI)) for fee in BASE_FEES}
    figures = [
        Figure(f"a leaf demanded: {name}", (f.demand + f.deposit) / GWEI, "gwei", "shown", f.answer / GWEI, f.ratio)
        for name, f in floods.items()
    ]
    wei = {name: {"demand": f.demand, "answer": f.answer, "deposit": f.deposit} for name, f in floods.items()}
    write_results("flood", figures, wei_of_a_leaf=wei, data_bytes_of_ten=data_of())
    for name, flood in floods.items():
        after = (flood.answer - flood.deposit) / GWEI
        print(f"{name}: after deposits a leaf costs {after:,.0f} gwei; nothing from {flood.answer / GWEI:,.0f} gwei")


if __name__ == "__main__":
    main()
