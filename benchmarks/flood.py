"""What a flood of demands costs whoever sends it, beside what it costs those who answer.

Run as `python -m benchmarks.flood`; nothing is timed. Gas is that of `contracts/gas.json`: of a leaf out of ten that
are demanded, or shown, by one transaction, of a model of 10^8 values. Whoever demands loses the deposit of each leaf
that is shown, which its answer earns. A roll-up of the OP stack charges for the bytes of each transaction too, as its
Fjord upgrade counts them: by their size after compression, of which a leaf and its proof leave everything, and by the
base fee and the blob base fee of Ethereum.

The ratio is what the flood costs (gas, data, deposits) by what answering costs (gas, data) before deposits; printed
beside it is what answering costs after them, and the `demand_price_gwei` of a plan from which it costs nothing.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from web3 import Web3

from benchmarks.measure import Figure, write_results
from registry.chain.contracts import artifact
from registry.chain.court_records import ANSWER_GAS, MAX_DEPOSIT
from registry.content.merkle import CHUNK_BYTES

GWEI = 10**9
GAS = json.loads((Path(__file__).parent.parent / "contracts" / "gas.json").read_text())
DEMAND, ANSWER = GAS["demand one of 10 chunks"], GAS["show one of 10 chunks, 10^8 values"]
DEPTH = 19
"""Nodes of a proof in a tree of 10^8 values."""
TIP = GWEI // 10
"""Priority fee of both, wei per gas."""
BASE_FEES = (0.1, 1, 30, 300)
"""Of Ethereum, gwei."""
TOGETHER = 10
SIGNED = 120
"""Bytes of a signed transaction beside its call data."""
ROLL_UP_BASE_FEE = GWEI // 100
"""Of a roll-up, wei per gas."""
SCALARS = 5227, 1_014_213
"""What data costs by on OP Mainnet: base fee scalar, blob base fee scalar (its owner sets them in SystemConfig)."""
BLOB_BASE_FEE = GWEI
"""Of Ethereum, wei."""


@dataclass(frozen=True, slots=True)
class Flood:
    """What a leaf costs, wei: whoever demands it, whoever shows it, and what that earns."""

    demand: float
    answer: float
    deposit: float

    @property
    def ratio(self) -> float:
        return (self.demand + self.deposit) / self.answer


def data_of() -> tuple[int, int]:
    """Return the bytes of call data of ten demands, and of ten answers; proofs and leaves are random, as hashes are."""
    court = Web3().eth.contract(abi=artifact("Court").abi)
    root = secrets.token_bytes
    demanded = lambda index: (root(32), root(32), root(32), 4, 256, index)  # noqa: E731
    opening = lambda: ((10**8, root(32)), root(CHUNK_BYTES), [root(32) for _ in range(DEPTH)])  # noqa: E731
    shown = [(demanded(index), opening()) for index in range(TOGETHER)]
    call = court.encode_abi("showLeaves", [shown])
    # A demand's target and basis stand once for all; each index is one word.
    return 32 * (TOGETHER + 60), len(call) // 2 - 1


def data_fee(size: int, base_fee: int) -> float:
    """Return what a roll-up charges for a transaction of so many bytes that do not compress, wei (Fjord).

    Args:
        size: Bytes, signature included.
        base_fee: Of Ethereum, wei per gas.
    """
    estimated = max(100_000_000, 836_500 * size - 42_585_600)
    return estimated * (16 * base_fee * SCALARS[0] + BLOB_BASE_FEE * SCALARS[1]) / 1e12


def on_ethereum(base_fee: int) -> Flood:
    """Return what a leaf costs where there is gas alone."""
    deposit = min(ANSWER_GAS * base_fee, MAX_DEPOSIT)
    return Flood(DEMAND * (base_fee + TIP), ANSWER * (base_fee + TIP), deposit)


def on_roll_up(base_fee: int) -> Flood:
    """Return what a leaf costs on a roll-up while Ethereum has a base fee."""
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
