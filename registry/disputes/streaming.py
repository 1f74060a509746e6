"""Fraud proofs over several transactions: contributions are added up, or commitments replayed, in batches.

The contract stores a hash of the progress so far. This module computes the progress and passes it with each batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from registry.chain.challenges import Challenges
from registry.chain.contract_hashes import contribution_leaf, running_hash_next
from registry.chain.contract_structs import Basis, Commitment, Middle, Step, Sum, Target, Window
from registry.chain.sentinels import NO_COORDINATE
from registry.content.merkle import CHUNK_VALUES, leaf_hash, node_hash
from registry.ethereum.fees import block_gas
from registry.rounds.gram_tree import has_gram
from registry.rules.encoding import RuleSet, Shape, decode_rules
from registry.rules.grid import grid_integers
from registry.rules.shapes import kept, left_out

__all__ = ["add_most", "add_steps", "conviction_gas", "dearest_gas", "nearest_ends", "replay_most"]

MOST_GAS = 1 << 24
"""Gas limit of one transaction, also where a block takes more (EIP-7825)."""
MOST_BYTES = 120_000
"""Bytes of entries in a transaction: the mempools of geth and others refuse transactions over 131 072 bytes, and a
transaction holds more than its entries."""
GAS_OF_STEP = 95_000
"""Gas of a contribution with its chunk: the floor price of its calldata, rounded up."""
GAS_OF_CONVICTION = 500_000
"""Gas of the convicting transaction: a version under a program of two states costs most (`contracts/gas.json`)."""
GAS_OF_PRODUCT = 4_000_000
"""Gas of `convictProduct`: 4096 coordinates of two contributions."""
GAS_OF_PAIR = 10_000
"""Gas of `convictSelection` for each pair of contributions, by the geometric median in 64 steps."""
GAS_OF_ENTRY = 20_000
"""Gas of a contribution without its chunk, or of a commitment."""
BYTES_OF_STEP = 544
"""Bytes of an ABI-encoded contribution, without its chunk and Merkle path."""
BYTES_OF_ENTRY = 160
"""Bytes of an ABI-encoded commitment."""


def conviction_gas(contributions: int, *, selects: bool = False) -> int:
    """Estimate the gas of the dearest conviction.

    It is that of an aggregate, with every contribution opened at one coordinate; or under rules that select of a sum of
    inner products, or of the selection.
    """
    return max(GAS_OF_STEP * contributions + GAS_OF_CONVICTION, _selection_gas(contributions, selects))


def dearest_gas(contributions: int, *, selects: bool = False) -> int:
    """Estimate the gas of its dearest transaction, which holds as many contributions as fit by size."""
    most = min(contributions, MOST_BYTES // (BYTES_OF_STEP + 4 * CHUNK_VALUES))
    return max(conviction_gas(most), _selection_gas(contributions, selects))


def _selection_gas(contributions: int, selects: bool) -> int:
    if not has_gram(selects, contributions):
        return 0
    return max(GAS_OF_PRODUCT, GAS_OF_PAIR * contributions**2 + GAS_OF_CONVICTION)


def add_most(
    challenges: Challenges, target: Target, basis: Basis, coordinate: int, steps: Sequence[Step]
) -> tuple[Sum, Sequence[Step]]:
    """Add contributions up in batches; leave the last batch for the convicting transaction.

    Args:
        challenges: The contract.
        target: The result.
        basis: Rule bytes and the parent's roots.
        coordinate: The coordinate to add up; NO_COORDINATE for weights, steps and factors alone.
        steps: Contributions, in order.

    Returns:
        The progress made, and the contributions left.
    """
    numbers_alone, rules = coordinate == NO_COORDINATE, decode_rules(basis.rules)
    progress = Sum() if numbers_alone else _beginning(rules, coordinate, steps)
    gas = GAS_OF_ENTRY if numbers_alone else GAS_OF_STEP
    size = _at_once(challenges, gas, max(_bytes_of(step) for step in steps))
    while len(steps) > size:
        challenges.add_contributions(target, basis, coordinate, progress, steps[:size])
        progress = add_steps(progress, steps[:size], coordinate, rules)
        steps = steps[size:]
    return progress, steps


def replay_most(
    challenges: Challenges, target: Target, sought: bytes, beginning: bytes, commitments: Sequence[Commitment]
) -> tuple[bytes, Sequence[Commitment]]:
    """Replay commitments in batches; leave the last batch for the convicting transaction.

    Args:
        challenges: The contract.
        target: The result.
        sought: Hash of the commitment that must not occur.
        beginning: The running hash before the first commitment.
        commitments: All commitments of the round, in order.

    Returns:
        The running hash so far, zero before the first transaction, and the commitments left.
    """
    running, rest = bytes(32), commitments
    size = _at_once(challenges, GAS_OF_ENTRY, BYTES_OF_ENTRY)
    while len(rest) > size:
        challenges.replay_commitments(target, sought, running, rest[:size])
        running = _replayed(running if any(running) else beginning, rest[:size])
        rest = rest[size:]
    return running, rest


def _replayed(running: bytes, commitments: Sequence[Commitment]) -> bytes:
    for c in commitments:
        running = running_hash_next(running, c.participant, c.digest, c.tensor_root, c.weight, c.steps)
    return running


def _bytes_of(step: Step) -> int:
    return BYTES_OF_STEP + len(step.chunk.leaf) + 32 * len(step.chunk.proof)


def _at_once(challenges: Challenges, gas: int, size: int) -> int:
    """Return how many entries of this gas and size fit into a transaction that leaves a fifth of its gas unused."""
    most_gas = min(block_gas(challenges.client.w3), MOST_GAS) * 4 // 5
    return max(1, min(most_gas // gas, MOST_BYTES // size))


def _beginning(rules: RuleSet, coordinate: int, steps: Sequence[Step]) -> Sum:
    """Return the first progress: where rules order the values of a coordinate, with the ends of those that count."""
    if rules.shape is Shape.COLUMNS:
        values = sorted(_value(step, coordinate, rules) for step in steps)
        cut = left_out(rules.parameters[0], len(values))
        return Sum(middle=Middle(values[cut], values[-1 - cut]))
    if rules.shape is Shape.SELECT_COLUMNS:
        selected = [_value(step, coordinate, rules) for step in steps if step.contribution.factor]
        middle, window = nearest_ends(selected, rules.parameters[0])
        return Sum(middle=middle, window=window)
    return Sum()


def nearest_ends(selected: Sequence[int], omitted: int) -> tuple[Middle, Window]:
    """Return the two values in the middle, and the window of those nearest to the median, with nothing counted yet.

    Args:
        selected: The selected values of a coordinate, grid integers.
        omitted: How many of them are left out.
    """
    values = sorted(selected)
    low, high = values[(len(values) - 1) // 2], values[len(values) // 2]
    twice = low + high
    far = sorted(abs(2 * value - twice) for value in values)[kept(omitted, len(values)) - 1]
    return Middle(low, high), Window((twice - far) // 2)


def _value(step: Step, coordinate: int, rules: RuleSet) -> int:
    row, place = divmod(coordinate, CHUNK_VALUES)
    if rules.packing is not None:
        rows = np.frombuffer(step.chunk.leaf, dtype=np.uint8).reshape(1, -1)
        return int(rules.packing.unpack(rows, first=row, values=rules.values)[place])
    at = place * 4
    return int(grid_integers(np.frombuffer(step.chunk.leaf[at : at + 4], dtype="<f4"), rules.grid_bits)[0])


def _placed(middle: Middle, value: int) -> Middle:
    return replace(
        middle,
        below=middle.below + (value < middle.least),
        at_least=middle.at_least + (value == middle.least),
        at_greatest=middle.at_greatest + (value == middle.greatest),
        above=middle.above + (value > middle.greatest),
    )


def _placed_within(window: Window, value: int, twice: int) -> Window:
    """Count a value in the window around half of twice."""
    greatest = twice - window.least
    return replace(
        window,
        within=window.within + (window.least < value < greatest),
        at_least=window.at_least + (value == window.least),
        at_greatest=window.at_greatest + (value == greatest),
    )


def add_steps(progress: Sum, steps: Sequence[Step], coordinate: int, rules: RuleSet) -> Sum:
    """Return the progress after `addContributions`, which the next transaction must pass.

    Args:
        progress: The progress before.
        steps: Contributions, in order.
        coordinate: The coordinate to add up; NO_COORDINATE for weights, steps and factors alone.
        rules: The round's rules.
    """
    peaks, count, total = list(progress.peaks), progress.next, progress.sum
    middle, window = progress.middle, progress.window
    for step in steps:
        entry = step.contribution
        node = leaf_hash(contribution_leaf(entry))
        below = count
        while below & 1:  # a right child whose left sibling is the last peak
            node = node_hash(peaks.pop(), node)
            below >>= 1
        peaks.append(node)
        if coordinate != NO_COORDINATE:
            value = _value(step, coordinate, rules)
            if rules.shape is Shape.COLUMNS:
                middle = _placed(middle, value)
                total += value if middle.least < value < middle.greatest else 0
            elif rules.shape is Shape.SELECT_COLUMNS:
                if entry.factor:
                    before = window.within
                    window = _placed_within(window, value, middle.least + middle.greatest)
                    middle = _placed(middle, value)
                    total += value * (window.within - before)
            else:
                total += entry.factor * value
        count += 1
    added = [step.contribution for step in steps]
    return Sum(
        count,
        progress.weight + sum(entry.weight for entry in added),
        progress.steps + sum(entry.steps for entry in added),
        progress.factor + sum(entry.factor for entry in added),
        total,
        middle,
        window,
        tuple(peaks),
    )
