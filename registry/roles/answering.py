"""Answer demands: whoever holds a demanded leaf shows it and earns the deposit.

A step never blocks: it sends answers, and later steps track them until they are final. So neither a slow block nor a
reorg makes a leaf miss its deadline.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from registry.chain.contract_errors import DemandIsClosed, NothingToWithdraw, TooLate
from registry.chain.contract_events import LeafShown
from registry.chain.contract_hashes import result_hash
from registry.chain.contract_structs import Demanded, Dispute, Result, Shown
from registry.chain.court import Court
from registry.chain.demand_terms import ANSWER_GAS
from registry.chain.journal import IntentState
from registry.chain.sending import Call
from registry.disputes.answers import Misnamed, answer_to
from registry.disputes.demands import Demands, SeenDemands, demands_of, leaf_of
from registry.disputes.tree_cache import disk_bytes, place_of
from registry.errors import (
    CairnError,
    ContentError,
    ContractError,
    InputError,
    NotEnoughMoney,
    TransactionFailed,
    TransactionRefused,
    VerificationFailed,
)
from registry.ethereum.fees import block_gas, suggest_fees
from registry.ethereum.node import NodeRefused, chain_time
from registry.roles.attested import Attested, kept_attested
from registry.rounds.onchain import RoundRecord, attested_by, attested_result, attesters_of, read_round
from registry.rounds.plans import load_plan, plan_rules
from registry.store.base import ContentStore
from registry.store.limited import LimitedStore
from registry.types import Address, ModelId, Root

if TYPE_CHECKING:
    from registry.chain.client import Client

__all__ = ["Answering", "answer_demands", "collect_deposits", "disk_needed"]

log = logging.getLogger(__name__)

_MUCH = 10
"""Part of the free disk from which on what answers take is said: a tenth."""
OUTRUN = (DemandIsClosed, TooLate)
"""Someone else showed the leaf first, or its time is over: expected, and no reason to skip other leaves."""
TOGETHER = 32
"""Most leaves per transaction: each takes up to 2.5 KiB of the 128 KiB that nodes relay."""
_GAS_OF_ANSWER = 100_000
"""Gas allowed per leaf where a transaction shows several: five quarters of that of a leaf of 10^8 values."""
_GAS_OF_BURNING = 50_000
"""Gas allowed per attester for a late answer, where the node estimates none."""
_SHARE_OF_BLOCK = 8
"""A transaction asks for at most a block's gas divided by this, so that it fits into nearly full blocks."""
_SHARE_OF_BOND = 4
"""Fee bumps of answers may cost at most the bond divided by this, or what follows if that is more."""
_ROLE_IN_ANSWERS = 64
"""What the role is worth without a bond: so many answers at the usual price."""
_OTHERS_EARN = 2
"""An answerer that has not attested the result shows a leaf if its deposit covers the usual cost divided by this."""
_WORTH = 4
"""Deposits are collected once they are worth this many times the highest cost of collecting them."""
_GAS_OF_WITHDRAWAL = 60_000
"""Gas reserved while the account has credit, so that it can withdraw and pay for more answers."""


@dataclass(slots=True)
class Answering:
    """Cache of an answerer between steps; losing it costs only time.

    Attributes:
        misnamed: Blobs with a wrong root, to skip.
        seen: Demands in final blocks.
        under_way: The call that shows each leaf, until it is final.
        not_before: When to retry a leaf that was unavailable or that the contract rejected, Unix seconds.
        kept: The stored record of the result in its challenge window.
        heard: Round and block up to which `attesters` is complete, the block excluded.
        attesters: Everyone who has attested a result in the round.
        read: By key of a call: hash of the block whose receipt was read.
        shown: Leaves under way that were reported as shown.
        news: Leaves shown since the last report.
        poor: Whether an answer waits for funds, lower fees or another node, which is logged once.
        failed: Whether one of this step does.
    """

    misnamed: Misnamed = field(default_factory=set)
    seen: SeenDemands = field(default_factory=SeenDemands)
    under_way: dict[Demanded, Call] = field(default_factory=dict)
    not_before: dict[Demanded, int] = field(default_factory=dict)
    kept: Attested | None = None
    heard: tuple[bytes, int] = (b"", 0)
    attesters: set[Address] = field(default_factory=set)
    read: dict[str, bytes] = field(default_factory=dict)
    shown: set[Demanded] = field(default_factory=set)
    news: int = 0
    poor: bool = False
    failed: bool = False

    def knows(self, leaf: Demanded, now: int) -> bool:
        """Whether to skip a leaf for now: its answer is pending, or its retry not due."""
        return leaf in self.under_way or self.not_before.get(leaf, 0) > now

    def kept_of(self, folder: Path, model_id: ModelId, number: int, dispute: Dispute) -> Attested | None:
        """Return the stored record of the result in its challenge window, read once."""
        kept = self.kept
        if kept is None or (kept.record.round_id, result_hash(kept.result)) != (dispute.round_id, dispute.result_hash):
            self.kept = kept_attested(folder, model_id, number, dispute)
        return self.kept

    def attested(
        self, client: Client, record: RoundRecord, tally: bytes, kept: Attested | None, since: int, *, place: Address
    ) -> list[Address]:
        """Return who attests the result of a tally. Each final block is read once if all of the quorum are found."""
        final, named = client.final_block(), (record.model_id, record.number)
        if self.heard[0] != record.round_id:
            self.heard, self.attesters = (record.round_id, since), set(() if kept is None else kept.attesters)
        self.attesters |= attested_by(client, *named, self.heard[1])
        found = attesters_of(client, *named, tally, self.attesters | {place})
        complete = len(found) == record.plan.quorum  # else a node may have returned no logs of blocks that have some
        self.heard = record.round_id, max(self.heard[1], final + 1) if complete else since
        return found

    def newly_shown(self) -> int:
        """Return how many leaves were shown since the last call."""
        count, self.news = self.news, 0
        return count

    def release(self, leaves: Iterable[Demanded]) -> None:
        """Stop tracking the answers of these leaves."""
        for leaf in leaves:
            self.under_way.pop(leaf, None)
        self.shown &= self.under_way.keys()
        keys = {call.key for call in self.under_way.values()}
        self.read = {key: block for key, block in self.read.items() if key in keys}


def answer_demands(
    client: Client,
    store: ContentStore,
    folder: Path,
    model_id: ModelId,
    number: int,
    memory: Answering | None = None,
    *,
    place: Address | None = None,
) -> str:
    """Show every demanded leaf of the result in its challenge window that is held locally; return what was done.

    Sends all answers, the most urgent first, before waiting for any: many demands may come at once, each with its own
    answer time. After it a leaf is shown late, while the plan allows: this burns part of the attesters' bonds, while an
    unanswered demand slashes them whole. The attesters take turns, so that not all pay for the same leaf; all turns
    begin in the first half of the answer time.

    Args:
        client: The chain, with the answerer's signer.
        store: Holds the blobs. Blobs that are not local are not fetched.
        folder: This aggregator's folder, with the cached trees.
        model_id: The model.
        number: Its current round.
        memory: Cache, the same object at each call: no blob is hashed, and no leaf shown, twice.
        place: The attester whose turns apply; by default the account that answers.
    """
    memory, place = memory or Answering(), place or client.account
    dispute = client.dispute(model_id, number)
    kept = memory.kept_of(folder, model_id, number, dispute)
    since = client.round_began(model_id, number) if kept is None else kept.since
    demands, now = demands_of(Court(client), dispute, memory.seen, since=since), chain_time(client.w3)
    attested = bool(demands.open) and client.attestation(model_id, number, place) == dispute.tally
    due = [leaf for leaf in _due(demands, now) if not memory.knows(leaf, now)]
    try:  # due answers go first: tracking many pending ones is slow
        if due:
            record = read_round(client, model_id, number) if kept is None else kept.record
            result = attested_result(client, record, dispute.result_hash) if kept is None else kept.result
            if result is not None:
                attesters = memory.attested(client, record, dispute.tally, kept, since, place=place)
                trees = place_of(folder, model_id, number)
                # Do not wait for missing blobs: a liar withholds them, while our own leaves may be demanded.
                here = LimitedStore(store, 0.0)
                window = _Window(client, here, trees, record, result, demands, now, place, attesters, memory)
                _show(window, window.mine(due))
    finally:
        _track(client, memory, demands, now, lambda: _worth(client, model_id, place, demands) if attested else 0)
    shown = memory.newly_shown()
    return f"round {number}: showed {'a leaf' if shown == 1 else f'{shown} leaves'}" if shown else ""


def collect_deposits(client: Client, *, poor: bool = False) -> str:
    """Withdraw earned deposits once they are worth it; return what was done. Does not wait.

    Args:
        client: The chain, with the signer that earned them.
        poor: Whether the account lacks funds; it then withdraws as soon as that pays for itself.
    """
    court = Court(client)
    credit = court.credit(client.account)
    if not credit:
        return ""
    call = court.withdrawal()
    if client.transactor.journal.on_its_way(call.key) is not None:
        return ""
    try:
        quote = client.quote(call)
        if credit < (quote.cost if poor else _WORTH * quote.max_cost):
            return ""
        client.submit(call)
    except (NothingToWithdraw, TransactionFailed, NodeRefused):
        return ""  # retry: pending calls are mined for less than their maximum, fees fall, a node estimates again
    return f"collected {credit} wei of deposits"


def disk_needed(client: Client, store: ContentStore, model_id: ModelId, free: int) -> str:
    """Say how much disk a round's answers take under the model's current plan, if that is much of what is free.

    Args:
        client: The chain.
        store: Holds the plan.
        model_id: The model.
        free: Free bytes of the aggregator's disk.

    Returns:
        '' if it is less than a tenth of that, or unknown because the plan is unavailable.
    """
    plans = client.model(model_id).plans
    if not plans:
        return ""
    try:
        rules = plan_rules(load_plan(store, client.plan(model_id, plans - 1)))
    except (ContentError, InputError, VerificationFailed):
        return ""  # the round's first step reports it
    participants = client.model(model_id).participants
    selects = rules.shape.selects
    needed = disk_bytes(participants, rules.values, len(rules.program.states), selects=selects)
    if needed * _MUCH < free:
        return ""
    return (
        f"This disk has {free / 1e9:.3g} GB free; a round of {participants} participants takes up to "
        f"{needed / 1e9:.3g} GB of it, to prove its result if somebody disputes it."
    )


@dataclass(frozen=True, slots=True)
class _Window:
    """The challenge window of a result, with what an answerer needs in it."""

    client: Client
    store: ContentStore
    trees: Path
    record: RoundRecord
    result: Result
    demands: Demands
    now: int
    place: Address
    attesters: Sequence[Address]
    memory: Answering

    def late(self, leaf: Demanded) -> bool:
        """Whether a leaf's answer time is over."""
        return self.demands.deadlines[leaf] <= self.now

    def turn(self, leaf: Demanded) -> int:
        """Return this attester's turn to show a leaf: how many others come before."""
        return (self.attesters.index(self.place) - leaf.index) % len(self.attesters)

    def first(self, leaf: Demanded) -> bool:
        """Whether this attester has the first turn to show a leaf."""
        return self.place in self.attesters and not self.turn(leaf)

    def yields(self, leaf: Demanded) -> bool:
        """Whether another's answer in the mempool postpones this attester's."""
        return not self.first(leaf) and self.demands.yields(leaf, self.now, self.record.plan.answer_duration)

    def mine(self, due: Sequence[Demanded]) -> list[Demanded]:
        """Return the leaves whose turn has come. An answerer that has not attested has no turn and does not wait."""
        if self.place not in self.attesters:
            return list(due)
        duration, others = self.record.plan.answer_duration, len(self.attesters)
        return [
            leaf
            for leaf in due
            if self.now >= self.demands.deadlines[leaf] - duration + self.turn(leaf) * duration // (2 * others)
        ]

    def put_off(self, leaves: Iterable[Demanded]) -> None:
        """Retry leaves after a sixteenth of the answer time, or a quarter of the time that is left if that is less."""
        for leaf in leaves:
            end = (self.demands.late_deadlines if self.late(leaf) else self.demands.deadlines)[leaf]
            self.memory.not_before[leaf] = self.now + min(self.record.plan.answer_duration, 4 * (end - self.now)) // 16

    def call(self, court: Court, leaves: Sequence[Shown]) -> Call:
        """Return the call that shows leaves.

        A single leaf is shown by `showLeaf`, which reverts, and so is not sent, if a block has someone else's answer.
        `showLeaves` skips such leaves instead.
        """
        first = leaves[0]
        if self.late(first.demanded):
            named = self.record.model_id, self.record.number
            call = court.call("showLate", *named, first.demanded, first.opening, self.attesters)
            return replace(call, gas=ANSWER_GAS + _GAS_OF_BURNING * len(self.attesters))
        if len(leaves) == 1:
            return replace(court.call("showLeaf", first.demanded, first.opening), gas=ANSWER_GAS)
        return replace(court.call("showLeaves", leaves), gas=ANSWER_GAS * len(leaves))


def _due(demands: Demands, now: int) -> list[Demanded]:
    """Return the leaves that may still be shown: those in time before late ones, then by time left."""
    found = [leaf for leaf in demands.open if demands.late_deadlines[leaf] > now]
    return sorted(found, key=lambda leaf: (demands.deadlines[leaf] <= now, demands.late_deadlines[leaf], leaf.root))


def _show(window: _Window, leaves: Sequence[Demanded]) -> None:
    """Send answers, each transaction as soon as it is full.

    For a leaf of which this attester has the first turn the node is not queried: many leaves must not delay any.
    """
    court, window.memory.failed = Court(window.client), False
    least = 0 if window.place in window.attesters else _usual_price(window.client) // _OTHERS_EARN
    together = _together(window.client)
    batch: list[Shown] = []
    not_kept: dict[tuple[Root, int, int], list[Demanded]] = {}
    for leaf in leaves:
        if window.demands.deposits[leaf] < least:
            continue
        shown = _shown(window, [leaf], make=False)
        if not shown:
            not_kept.setdefault((leaf.root, leaf.entry_bytes, leaf.entries), []).append(leaf)
        batch += shown
        if len(batch) == together:
            if not _send(window, court, batch):
                return
            batch = []
    if not _send(window, court, batch):
        return
    for of_one in not_kept.values():
        batch = _shown(window, of_one, make=True)
        for first in range(0, len(batch), together):
            if not _send(window, court, batch[first : first + together]):
                return
        if batch:
            break  # hashing is slow: read new demands before building the next tree
    window.memory.poor = window.memory.failed


def _shown(window: _Window, leaves: Sequence[Demanded], *, make: bool) -> list[Shown]:
    """Return the available leaves of one tree, with their openings.

    On any error, such as a full disk, all leaves of this tree are retried later; other trees are not affected.
    """
    memory, found = window.memory, list[Shown]()
    for leaf in leaves:
        try:
            opening = answer_to(
                window.store, window.record, window.result, leaf, window.trees, memory.misnamed, make=make
            )
        except Exception as error:
            foreseen = isinstance(error, (CairnError, OSError))
            log.warning(
                "round %d: leaves of 0x%s cannot be shown: %s: %s",
                window.record.number,
                leaf.root.hex()[:12],
                type(error).__name__,
                error,
                exc_info=None if foreseen else error,
            )
            window.put_off(leaves)
            return []
        if opening is None:
            break  # the others of this tree are unavailable too
        found.append(Shown(leaf, opening))
    return found


def _send(window: _Window, court: Court, shown: Sequence[Shown]) -> bool:
    """Send answers, those in time by one transaction and late ones alone; return whether the funds sufficed."""
    window = replace(window, now=chain_time(window.client.w3))
    # A later turn first checks the mempool for the others' answers: duplicates would fill blocks and delay both.
    shown = [
        one
        for one in shown
        if not window.yields(one.demanded) or not court.demand(one.demanded, block="pending").closed
    ]
    if not shown:
        return True
    in_time = [one for one in shown if not window.late(one.demanded)]
    queue = [in_time] if in_time else []
    queue += [[one] for one in shown if window.late(one.demanded)]
    while queue:
        batch = queue.pop(0)
        try:
            _submit(window, court, batch)
        except (NotEnoughMoney, TransactionRefused) as error:
            if len(batch) > 1:
                queue[:0] = [batch[: len(batch) // 2], batch[len(batch) // 2 :]]
                continue
            collect_deposits(window.client, poor=True)
            _hinder(window, error, said=not window.memory.under_way)
            return False  # the deposits of other answers will pay for this one
        except TransactionFailed as error:
            _hinder(window, error)
            return False  # fees are over the cap for every answer
        except NodeRefused as error:
            _hinder(window, error)  # another answer may pass
    return True


def _hinder(window: _Window, error: CairnError, *, said: bool = True) -> None:
    """Note that a leaf is sent by a later step, and log it once until all leaves are sent."""
    if said and not window.memory.poor:
        log.warning("round %d: a demanded leaf is not shown yet: %s", window.record.number, error)
    window.memory.poor = window.memory.failed = True


def _usual_price(client: Client) -> int:
    """Return the usual cost of showing a leaf, wei."""
    fees = suggest_fees(client.w3)
    return _GAS_OF_ANSWER * ((fees.base_fee or 0) + fees.priority_fee)


def _together(client: Client) -> int:
    """Return how many leaves one transaction shows on this chain."""
    return min(max(block_gas(client.w3) // (_SHARE_OF_BLOCK * _GAS_OF_ANSWER), 1), TOGETHER)


def _submit(window: _Window, court: Court, batch: Sequence[Shown]) -> None:
    """Send one transaction of answers. If deposits are due, reserve the gas to withdraw them."""
    call, memory = court.anew(window.call(court, batch)), window.memory
    earns = bool(memory.under_way) or court.credit(window.client.account) > 0
    try:
        window.client.submit(call, spare_gas=_GAS_OF_WITHDRAWAL if earns else 0)
    except (ContractError, TransactionRefused) as error:
        if isinstance(error, TransactionRefused) and len(batch) > 1:
            raise
        if not isinstance(error, OUTRUN):
            log.warning("round %d: an answer was rejected: %s", window.record.number, error)
        window.put_off(shown.demanded for shown in batch)
        return
    memory.under_way.update((shown.demanded, call) for shown in batch)


def _worth(client: Client, model_id: ModelId, attester: Address, demands: Demands) -> int:
    """Return the highest price to bid for the open answers, wei per gas.

    Together they cost at most a part of the bond, what they earn, or what the role is worth, whichever is most.
    """
    bond = Court(client).bond(model_id, attester).amount
    earned = sum(demands.deposits[leaf] for leaf in demands.open)
    most = max(bond // _SHARE_OF_BOND, earned, _ROLE_IN_ANSWERS * _usual_price(client))
    return most // (_GAS_OF_ANSWER * max(len(demands.open), 1))


def _track(client: Client, memory: Answering, demands: Demands, now: int, worth: Callable[[], int]) -> None:
    """Track pending answers: bump their fees, make failed ones due again, and drop final ones."""
    if not memory.under_way:
        return
    open_ones = [leaf for leaf in memory.under_way if leaf in demands.open]
    ends = [(demands.deadlines[leaf], demands.late_deadlines[leaf]) for leaf in open_ones]
    left = min((in_time - now if in_time > now else late - now for in_time, late in ends), default=0)
    client.transactor.keep(left=left if left > 0 else None, most=worth())
    sent: dict[Call, set[Demanded]] = {}
    for leaf, call in memory.under_way.items():
        sent.setdefault(call, set()).add(leaf)
    for call, leaves in sent.items():
        intent = client.transactor.journal.latest(call.key)
        if intent is None or intent.state is IntentState.FAILED or intent.succeeded is False:
            memory.release(leaves)
            continue
        if intent.succeeded and memory.read.get(call.key) != intent.block_hash:
            memory.release(leaves - _read(client, memory, call, leaves))
        if intent.state is IntentState.FINAL:
            memory.release(leaves)


def _read(client: Client, memory: Answering, call: Call, leaves: set[Demanded]) -> set[Demanded]:
    """Return the leaves that a mined call has shown; the others are due again if still demanded.

    `showLeaves` succeeds while it skips a leaf: its time was over, or a reorg moved its demand behind this call.
    """
    receipt = client.transactor.receipt(call)
    if receipt is None:
        return leaves  # reorged out meanwhile; the next step looks again
    shown = {leaf_of(event) for event in receipt.events if isinstance(event, LeafShown)}
    memory.read[call.key] = receipt.block_hash
    memory.news += len(shown - memory.shown)
    memory.shown |= shown
    return shown
