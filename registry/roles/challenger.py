"""Bringing a charge: the transactions that convict, and the money they may cost."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from registry.chain.challenge_records import (
    NO_COORDINATE,
    Basis,
    Commitment,
    Middle,
    Step,
    Sum,
    Target,
    commitment_sought,
    contribution_leaf,
)
from registry.chain.challenges import Challenges
from registry.chain.client import Client
from registry.chain.records import running_hash_begin, running_hash_next
from registry.chain.sending import Call, SentReceipt, Until
from registry.content.merkle import CHUNK_VALUES, leaf_hash, node_hash
from registry.disputes.charges import Charge
from registry.durable import write_whole
from registry.errors import InputError, NotEnoughMoney
from registry.ethereum.fees import block_gas
from registry.rounds.onchain import RoundRecord
from registry.rules.encoding import RuleSet, Shape, decode_rules
from registry.rules.grid import grid_integers
from registry.rules.shapes import left_out
from registry.types import Fault

__all__ = ["LimitReached", "Purse", "add_steps", "bring", "conviction_gas", "dearest_gas", "spent_of"]

MOST_GAS = 1 << 24
"""Gas of one transaction, where a block would take more (EIP-7825)."""
MOST_BYTES = 120_000
"""Of a transaction: nodes pass on none of more than 131 072 (geth's pool, and others after it), and there is more in it
than what is added up."""
GAS_OF_STEP = 95_000
"""Of a contribution with its chunk: its calldata's floor price and some."""
GAS_OF_CONVICTION = 500_000
"""Of the transaction that convicts: a version under a program of two states is the dearest (`contracts/gas.json`)."""
GAS_OF_ENTRY = 20_000
"""Of a contribution, or a commitment, alone."""
BYTES_OF_STEP = 544
"""Of a contribution as ABI-encoded, beside the bytes of its chunk and its proof."""
BYTES_OF_ENTRY = 160
"""Of a commitment."""


class LimitReached(InputError):
    """A transaction would cost more than may still be spent."""


class Purse:
    """What an auditor may still spend, kept in a file: what is about to be sent is written down before it is sent.

    May be used from several threads, of one process.
    """

    def __init__(self, client: Client, path: Path, limit: int) -> None:
        """Open a purse.

        Args:
            client: Who sends.
            path: The file; made at the first payment.
            limit: Wei that may be spent in all, deposits that are out included.
        """
        self._client, self._path, self._limit = client, path, limit
        self._lock = threading.Lock()

    @property
    def spent(self) -> int:
        """Wei spent so far, and not come back."""
        return spent_of(self._path)

    def send(self, call: Call, until: Until = "mined", *, spare_gas: int = 0) -> SentReceipt:
        """Send a call if its price is within the limit.

        Args:
            call: What to send.
            until: How long to wait.
            spare_gas: What must be within the limit beside it, because it is to follow.

        Raises:
            LimitReached: It is not.
        """
        quote = self._client.quote(call)
        price, spare = quote.max_cost + call.value, spare_gas * quote.fees.max_fee
        with self._lock:
            before = self.spent
            if before + price + spare > self._limit:
                raise LimitReached(
                    f"expected to spend at most {self._limit} wei, got {before} spent and {price} to pay"
                    + (f", {spare} to keep for a conviction" if spare else "")
                    + ": nothing is sent"
                )
            self._write(before + price)
        try:
            receipt = self._client.send(call, until)
        except NotEnoughMoney:
            self.give_back(price)  # nothing was sent
            raise
        self.give_back(price - receipt.gas_used * receipt.gas_price - call.value)
        return receipt

    def give_back(self, amount: int) -> None:
        """Count what came back, or was not spent after all: deposits that were not earned, rewards."""
        with self._lock:
            self._write(self.spent - amount)

    def _write(self, spent: int) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self._path, json.dumps({"spent": spent}).encode())


def spent_of(path: Path) -> int:
    """Return what a purse's file says was spent, wei; 0 if there is none.

    Raises:
        InputError: It says something else.
    """
    try:
        return int(json.loads(path.read_text())["spent"])
    except FileNotFoundError:
        return 0
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: expected what was spent so far, got something else") from error


_ON_BASIS = (Fault.FACTOR, Fault.ROOTS, Fault.SIZE, Fault.CHUNK, Fault.VERSION, Fault.STATE)


def conviction_gas(contributions: int) -> int:
    """Return about what the dearest conviction takes: an aggregate's, every contribution opened at one coordinate."""
    return GAS_OF_STEP * contributions + GAS_OF_CONVICTION


def dearest_gas(contributions: int) -> int:
    """Return about what the dearest of its transactions takes: as many contributions as their bytes leave room for."""
    return conviction_gas(min(contributions, MOST_BYTES // (BYTES_OF_STEP + 4 * CHUNK_VALUES)))


def bring(challenges: Challenges, record: RoundRecord, target: Target, charge: Charge, basis: Basis) -> SentReceipt:
    """Send everything that a charge takes; the last transaction convicts.

    Args:
        challenges: The contract.
        record: The round.
        target: The result.
        charge: What is wrong with it.
        basis: What it is held against.

    Raises:
        ContractError: The contract is not convinced.
    """
    if charge.fault in (Fault.AGGREGATE, Fault.TOTAL):
        return _sum(challenges, target, charge, basis)
    if charge.fault is Fault.UNCOMMITTED:
        return _replay(challenges, record, target, charge)
    convict = getattr(challenges, f"convict_{charge.fault.name.lower()}")
    against = (target, basis) if charge.fault in _ON_BASIS else (target,)
    receipt: SentReceipt = convict(*against, *charge.evidence, until="mined")
    return receipt


def _sum(challenges: Challenges, target: Target, charge: Charge, basis: Basis) -> SentReceipt:
    numbers_alone = charge.fault is Fault.TOTAL
    coordinate: Any = NO_COORDINATE if numbers_alone else charge.evidence[0]
    rules, steps = decode_rules(basis.rules), charge.steps
    progress = Sum() if numbers_alone else Sum(middle=_middle(rules, coordinate, steps))
    gas = GAS_OF_ENTRY if numbers_alone else GAS_OF_STEP
    size = _at_once(challenges, gas, max(_bytes_of(step) for step in steps))
    while len(steps) > size:
        challenges.add_contributions(target, basis, coordinate, progress, steps[:size])
        progress = add_steps(progress, steps[:size], coordinate, rules)
        steps = steps[size:]
    if numbers_alone:
        return challenges.convict_total(target, basis, progress, steps, until="mined")
    aggregate: Any = charge.evidence[1]
    return challenges.convict_aggregate(target, basis, coordinate, progress, steps, aggregate, until="mined")


def _replay(challenges: Challenges, record: RoundRecord, target: Target, charge: Charge) -> SentReceipt:
    index: Any = charge.evidence[0]
    opening: Any = charge.evidence[1]
    running, rest = bytes(32), charge.commitments
    size = _at_once(challenges, GAS_OF_ENTRY, BYTES_OF_ENTRY)
    while len(rest) > size:
        challenges.replay_commitments(target, commitment_sought(opening.leaf), running, rest[:size])
        running = _run(record, running, rest[:size])
        rest = rest[size:]
    return challenges.convict_uncommitted(target, index, opening, running, rest, until="mined")


def _run(record: RoundRecord, running: bytes, commitments: Sequence[Commitment]) -> bytes:
    if not any(running):
        running = running_hash_begin(record.round_id, record.parent, record.plan)
    for c in commitments:
        running = running_hash_next(running, c.participant, c.digest, c.tensor_root, c.weight, c.steps)
    return running


def _bytes_of(step: Step) -> int:
    return BYTES_OF_STEP + len(step.chunk.leaf) + 32 * len(step.chunk.proof)


def _at_once(challenges: Challenges, gas: int, size: int) -> int:
    """How many of so much gas and so many bytes fit into a transaction, with a fifth of the gas to spare."""
    most_gas = min(block_gas(challenges.client.w3), MOST_GAS) * 4 // 5
    return max(1, min(most_gas // gas, MOST_BYTES // size))


def _middle(rules: RuleSet, coordinate: int, steps: Sequence[Step]) -> Middle:
    """The least and the greatest value of a coordinate that columns do not leave out; zeros for another shape."""
    if rules.shape is not Shape.COLUMNS:
        return Middle()
    values = sorted(_value(step, coordinate, rules) for step in steps)
    cut = left_out(rules.parameters[0], len(values))
    return Middle(values[cut], values[-1 - cut])


def _value(step: Step, coordinate: int, rules: RuleSet) -> int:
    at = coordinate % CHUNK_VALUES * 4
    return int(grid_integers(np.frombuffer(step.chunk.leaf[at : at + 4], dtype="<f4"), rules.grid_bits)[0])


def _placed(middle: Middle, value: int) -> Middle:
    return replace(
        middle,
        below=middle.below + (value < middle.least),
        at_least=middle.at_least + (value == middle.least),
        at_greatest=middle.at_greatest + (value == middle.greatest),
        above=middle.above + (value > middle.greatest),
    )


def add_steps(progress: Sum, steps: Sequence[Step], coordinate: int, rules: RuleSet) -> Sum:
    """Return what `addContributions` makes of a progress, to be passed with what follows.

    Args:
        progress: So far.
        steps: Contributions, in order.
        coordinate: Whose values are added; NO_COORDINATE for weights, steps and factors alone.
        rules: The round's.
    """
    peaks, count, total, middle = list(progress.peaks), progress.next, progress.sum, progress.middle
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
        tuple(peaks),
    )
