"""Worst-case cost of auditing a round: every demand, seal and transaction that one result can take.

Pure functions of the plan, the number of participants and the size of a version; no chain or store is queried. Gas
figures are those of `contracts/gas.json`, rounded up, or estimates of `registry.disputes.streaming`; a test compares
them.
"""

from __future__ import annotations

from dataclasses import dataclass

from registry.chain.contract_structs import Plan
from registry.chain.demand_terms import ANSWER_GAS, MAX_DEPOSIT
from registry.content.merkle import CHUNK_VALUES, state_rows
from registry.disputes.streaming import conviction_gas, dearest_gas
from registry.rounds.gram_tree import has_gram, row_count
from registry.types import WALK_STEPS

__all__ = ["GAS", "Line", "Price", "WatchCosts", "price_of", "walk_costs", "walk_steps", "watch_costs"]

GAS = {
    "seal claim": 51_000,
    "demand head": 170_000,
    "demand contribution": 145_000,
    "demand chunk of a contribution of 100, 10^8 values": 166_000,
    "demand chunk, first in its window, 10^8 values": 173_000,
    "demand chunk of a state, first in its window, 10^8 values": 190_000,
    "demand inner products, first in its window, 10^8 values": 178_000,
    "demand one of 10 chunks": 60_000,
    "reveal claim": 57_000,
    "collect reward": 43_000,
    "withdraw": 31_000,
    "expel one with a bond": 95_000,
    "expel one": 40_000,
}
"""Gas by the name of its measurement in `contracts/gas.json`."""
SAMPLES = 4
"""Leaves that an auditor demands of a withheld contribution, beside the first."""
TOGETHER = 100
"""Leaves that an auditor demands in one transaction."""
BLOCK_SECONDS = 12
"""Block time of Ethereum; other chains' are shorter."""
BLOCK_GAS = 15_000_000
"""Gas that an auditor has pending at once: half of a block with the lowest usual gas limit."""
ADDED = 50
"""Contributions that one transaction of a fraud proof adds up."""


@dataclass(frozen=True, slots=True)
class Line:
    """A cost item: one kind of work that an auditor may have to do.

    Attributes:
        what: In words.
        times: How often, at most.
        gas: Total gas.
        dearest: Gas of its dearest transaction.
        deposits: Number of leaves and heads demanded, each against a deposit.
        source: Source of its gas: names in `contracts/gas.json`, or a function.
    """

    what: str
    times: int
    gas: int
    dearest: int
    deposits: int
    source: str


@dataclass(frozen=True, slots=True)
class WatchCosts:
    """Worst-case cost of auditing one result of a round; durations in seconds.

    Attributes:
        lines: The cost items.
        walk_steps: Sequential demands of a bisection of the deepest tree.
        turns: All sequential demands: the bisection, and those that may come before it.
        blocks: Blocks waited for: per turn one for the demands and one for their seals, more where gas requires it, and
            those of the fraud proof.
        out: Longest time that a deposit is outstanding: answer time plus late period. The answer earns it; without
            one it is returned.
        time: Time of all turns, and to close the last demand.
        window: Least time that a challenge or demand leaves of the window: the challenge duration.
        reward: Reward of a conviction, half a bond, wei.
    """

    lines: tuple[Line, ...]
    walk_steps: int
    turns: int
    blocks: int
    out: int
    time: int
    window: int
    reward: int

    @property
    def fits(self) -> bool:
        """Whether there is time for all of it."""
        return self.time <= self.window


@dataclass(frozen=True, slots=True)
class Price:
    """The cost at a base fee; all in wei.

    Attributes:
        lines: Cost of each item, its deposits included.
        deposit: Deposit of one demand as the auditor pays it: a quarter over the minimum, since the base fee may rise.
        gas: Cost of all gas.
        deposits: Sum of all deposits.
        headroom: What the purse reserves beyond the cost of the dearest transaction, since it books five quarters of
            its gas at twice the base fee.
        limit: The total, the least value for `--limit`.
    """

    base_fee: int
    priority_fee: int
    lines: tuple[int, ...]
    deposit: int
    gas: int
    deposits: int
    headroom: int
    limit: int


def walk_steps(leaves: int) -> int:
    """Return the most leaves that a bisection demands until it finds a wrong one: each halves the range."""
    return max(leaves - 1, 0).bit_length() + 1


def watch_costs(plan: Plan, participants: int, values: int, states: int, *, selects: bool = False) -> WatchCosts:
    """Return the worst-case cost of auditing a round under a plan.

    Args:
        plan: As on chain.
        participants: Number of participants that may contribute.
        values: F32 values of a version.
        states: States of the server program, per coordinate.
        selects: Whether factors follow from the updates, so that reports anchor inner products.
    """
    leaves = -(-values // CHUNK_VALUES)
    trees = [("demand chunk, first in its window, 10^8 values", leaves)]
    if states:
        of_state = -(-values * states // state_rows(states).entries)
        trees.append(("demand chunk of a state, first in its window, 10^8 values", of_state))
    if has_gram(selects, participants):
        sums = row_count(values) * participants
        trees.append(("demand inner products, first in its window, 10^8 values", sums))
    walk = max(
        (_each(f"walk down a tree of {n:,} leaves", source, walk_steps(n)) for source, n in trees),
        key=lambda line: line.gas,
    )
    lines = [*_before(participants, leaves, states), walk]
    bond = plan.bond_gwei * 10**9
    if bond:
        # One for the result, one for the withheld leaf, one for each chunk that is demanded or convicts.
        # Aggregate and version are sampled at the chunks at which contributions are.
        chunks = walk.times + 2 + participants * min(SAMPLES, leaves - 1)
        chunks += _sampled_states(leaves, states) if states else 0
        lines.append(_each("seals", "seal claim", 2 + min(chunks, sum(n for _, n in trees)), deposits=False))
    sent = sum(line.gas for line in lines)
    lines.append(_conviction(participants, selects=selects))
    expel = "expel one with a bond" if bond else "expel one"
    lines.append(Line("expel all attesters", 1, GAS[expel] * plan.quorum, GAS[expel] * plan.quorum, 0, expel))
    if bond:
        lines += [_each(name, name, 1, deposits=False) for name in ("reveal claim", "collect reward")]
    lines.append(_each("withdraw deposits and reward", "withdraw", 1 + bool(bond), deposits=False))
    out = plan.answer_duration + plan.late_duration
    turns = walk.times + min(participants, 2) + (2 if leaves > 1 else 1) + bool(states)
    blocks = turns * (1 + bool(bond)) + sent // BLOCK_GAS + 1 + -(-participants // ADDED)
    needs = turns * out + plan.answer_duration + blocks * BLOCK_SECONDS
    return WatchCosts(tuple(lines), walk.times, turns, blocks, out, needs, plan.challenge_duration, bond // 2)


def walk_costs(participants: int, *, states: bool) -> tuple[Line, ...]:
    """Return the cost of the longest bisection that fits into a window, and of the dearest conviction."""
    tree = "demand chunk of a state" if states else "demand chunk"
    walk = _each(f"walk of {WALK_STEPS} demands", f"{tree}, first in its window, 10^8 values", WALK_STEPS)
    return walk, _conviction(participants)


def price_of(lines: tuple[Line, ...], plan: Plan, base_fee: int, priority_fee: int) -> Price:
    """Return the price of cost items under a plan at these fees, wei per gas."""
    least = max(min(ANSWER_GAS * base_fee, MAX_DEPOSIT), plan.demand_price_gwei * 10**9)
    deposit = min(least * 5 // 4, MAX_DEPOSIT)
    each = base_fee + priority_fee
    gas, deposits = sum(line.gas for line in lines) * each, sum(line.deposits for line in lines) * deposit
    dearest = max(line.dearest for line in lines)
    headroom = dearest * 5 // 4 * (2 * base_fee + priority_fee) - dearest * each
    priced = tuple(line.gas * each + line.deposits * deposit for line in lines)
    return Price(base_fee, priority_fee, priced, deposit, gas, deposits, headroom, gas + deposits + headroom)


def _before(participants: int, leaves: int, states: int) -> list[Line]:
    """Return the demands that may come before a bisection."""
    head, chunk = "demand head", "demand chunk of a contribution of 100, 10^8 values"
    one, more = "demand contribution", "demand one of 10 chunks"
    rest, sends = max(participants - 1, 0), -(-max(participants - 1, 0) // TOGETHER)
    listed = GAS[one] * (1 + sends) + GAS[more] * (rest - sends)
    largest = GAS[one] + GAS[more] * max(min(rest, TOGETHER) - 1, 0)
    samples = min(SAMPLES, leaves - 1)
    sampled = GAS[chunk] + GAS[more] * (samples - 1) if samples else 0
    hidden = participants * (GAS[head] + GAS[chunk] + sampled)
    count, of_samples = participants * (2 + samples), f"{head}; {chunk}; {more}"
    lines = [
        _each("heads of version and report", head, 2),
        Line("hidden list of contributions", 1 + rest, listed, largest, 1 + rest, f"{one}; {more}"),
        Line("samples of hidden contributions", count, hidden, max(sampled, GAS[head]), count, of_samples),
        _samples_of_result(leaves, states),
    ]
    if states:
        lines.append(_each("parent's state", "demand chunk of a state, first in its window, 10^8 values", 1))
    return lines


def _samples_of_result(leaves: int, states: int) -> Line:
    """Return the sampled chunks of a hidden aggregate and version, and of the state of their coordinates.

    The leaves of one blob are demanded together; the first takes more gas.
    """
    first, more = "demand chunk, first in its window, 10^8 values", "demand one of 10 chunks"
    trees = [(first, min(SAMPLES, leaves))] * 2
    if states:
        trees.append(("demand chunk of a state, first in its window, 10^8 values", _sampled_states(leaves, states)))
    gas = [GAS[name] + GAS[more] * (count - 1) for name, count in trees]
    times = sum(count for _, count in trees)
    names = "; ".join([*dict.fromkeys(name for name, _ in trees), more])
    return Line("samples of a hidden result", times, sum(gas), max(gas), times, names)


def _sampled_states(leaves: int, states: int) -> int:
    """Return the most leaves of a state's tree that hold the states of the sampled chunks."""
    entries, of_chunk = state_rows(states).entries, CHUNK_VALUES * states
    each = -(-of_chunk // entries) + bool(of_chunk % entries)  # one more where a chunk begins within a leaf
    return min(min(SAMPLES, leaves) * each, -(-leaves * of_chunk // entries))


def _each(what: str, name: str, times: int, *, deposits: bool = True) -> Line:
    return Line(what, times, GAS[name] * times, GAS[name], times if deposits else 0, name)


def _conviction(participants: int, *, selects: bool = False) -> Line:
    gas, dearest = conviction_gas(participants, selects=selects), dearest_gas(participants, selects=selects)
    return Line("dearest conviction", 1, gas, dearest, 0, "conviction_gas of registry/disputes/streaming.py")
