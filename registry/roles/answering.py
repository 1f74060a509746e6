"""Answering demands: whoever holds a demanded leaf shows it, and earns the deposit.

A step of it waits for nothing: answers are sent, and looked after at each further step until they are final, so that
neither a slow block nor a reorganisation of the chain costs a leaf that was to be shown.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from registry.chain.court import Court
from registry.chain.court_errors import DemandIsClosed, NothingToWithdraw, TooLate
from registry.chain.court_events import LeafShown
from registry.chain.court_records import Demanded, Shown
from registry.chain.journal import IntentState
from registry.chain.records import Result
from registry.chain.sending import Call
from registry.disputes.answers import Misnamed, answer_to
from registry.disputes.demands import Demands, SeenDemands, demands_of
from registry.disputes.tree_cache import disk_bytes, place_of
from registry.errors import (
    ContentError,
    ContractError,
    InputError,
    NotEnoughMoney,
    TransactionRefused,
    VerificationFailed,
)
from registry.ethereum.fees import block_gas, suggest_fees
from registry.ethereum.node import chain_time
from registry.rounds.onchain import RoundRecord, attested_result, attesters_of, read_round
from registry.rounds.plans import load_plan, plan_rules
from registry.store.base import ContentStore
from registry.store.limited import LimitedStore
from registry.types import Address, ModelId

if TYPE_CHECKING:
    from registry.chain.client import Client

__all__ = ["Answering", "answer_demands", "collect_deposits", "disk_needed"]

log = logging.getLogger(__name__)

OUTRUN = (DemandIsClosed, TooLate)
"""Somebody else showed it meanwhile, or it is too late: no reason not to show the others."""
TOGETHER = 32
"""Leaves shown by one transaction: each takes up to 2.5 KiB of the 128 that nodes pass on."""
_GAS_OF_ANSWER = 100_000
"""Allowed for each leaf of some that are shown by one transaction: five quarters of what one of 10^8 values takes."""
_SHARE_OF_BLOCK = 8
"""No transaction asks for more than this part of a block's gas: it is to fit beside what others fill blocks with."""
_SHARE_OF_BOND = 4
"""What is bid for answers that do not get into blocks at the usual price takes no more than this part of a bond."""
_OTHERS_EARN = 2
"""Who has not attested the result shows what earns this part of its usual price at least."""
_WORTH = 4
"""Deposits are collected once they are so many times what collecting them may cost."""
_GAS_OF_WITHDRAWAL = 60_000
"""Kept back while something is owed to the account, so that what answers earn can pay for more of them."""


@dataclass(slots=True)
class Answering:
    """What an answerer remembers between steps; losing it costs time and nothing else.

    Attributes:
        misnamed: Blobs that need not be read again.
        seen: Demands in final blocks.
        under_way: The call that shows a leaf, until it is final.
        not_before: When a leaf that the contract did not take is tried again, Unix seconds.
        told: How many leaves each call showed, by its key, so that they are told once.
        poor: Whether there was not money enough for all at the last look, which is said once.
    """

    misnamed: Misnamed = field(default_factory=set)
    seen: SeenDemands = field(default_factory=SeenDemands)
    under_way: dict[Demanded, Call] = field(default_factory=dict)
    not_before: dict[Demanded, int] = field(default_factory=dict)
    told: dict[str, int] = field(default_factory=dict)
    poor: bool = False

    def knows(self, leaf: Demanded, now: int) -> bool:
        """Whether a leaf is to be let be for now."""
        return leaf in self.under_way or self.not_before.get(leaf, 0) > now

    def newly_shown(self) -> int:
        """Return how many leaves were shown since this was asked last."""
        count = sum(self.told.values())
        self.told.update(dict.fromkeys(self.told, 0))
        return count


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
    """Show every leaf that is demanded of the result in its window and is held here; return what was done.

    All answers are on their way before the first is waited for, the most urgent first: demands may come many at once,
    and each has one answer time. What is past it is shown late, as long as the plan gives: that burns of the attesters'
    bonds, but a leaf that nobody shows takes them whole. The attesters take turns, so that not all pay for showing the
    same leaf: the last one's is at half of the answer time.

    Args:
        client: The chain, with the signer of whoever answers.
        store: Has the blobs; what it would have to look for elsewhere is not shown.
        folder: Of this aggregator, where trees are kept.
        model_id: The model.
        number: Its current round.
        memory: The same object at each call, so that no blob is hashed, and nothing shown, for each look.
        place: The attester whose turns these are; by default the account that answers.
    """
    memory, place = memory or Answering(), place or client.account
    dispute = client.dispute(model_id, number)
    demands, now = demands_of(Court(client), dispute, memory.seen), chain_time(client.w3)
    attested = bool(demands.open) and client.attestation(model_id, number, place) == dispute.tally
    worth = _worth(client, model_id, place, len(demands.open)) if attested else 0
    _look_after(client, memory, demands, now, worth)
    due = [leaf for leaf in _due(demands, now) if not memory.knows(leaf, now)]
    if due:
        record = read_round(client, model_id, number)
        result = attested_result(client, record, dispute.result_hash)
        if result is not None:
            attesters = attesters_of(client, model_id, number, dispute.tally)
            trees = place_of(folder, model_id, number)
            # What is not here is not waited for: a liar withholds it, and own leaves may be demanded meanwhile.
            here = LimitedStore(store, 0.0)
            window = _Window(client, here, trees, record, result, demands, now, place, attesters, memory)
            _show(window, window.mine(due))
            _look_after(client, memory, demands, now, worth)
    shown = memory.newly_shown()
    return f"round {number}: showed {'a leaf' if shown == 1 else f'{shown} leaves'}" if shown else ""


def collect_deposits(client: Client, *, poor: bool = False) -> str:
    """Have deposits that were earned paid out, once they are worth it; return what was done. Waits for nothing.

    Args:
        client: The chain, with the signer of whoever earned them.
        poor: Whether the account needs every wei.
    """
    court = Court(client)
    credit = court.credit(client.account, block="pending")
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
    except (NothingToWithdraw, NotEnoughMoney):
        return ""  # the latter once what is on its way is mined, and costs less than it might have
    return f"collected {credit} wei of deposits"


def disk_needed(client: Client, store: ContentStore, model_id: ModelId) -> str:
    """Say how much disk the trees of a round take, as the model's plan stands; nothing where that is not to be had."""
    plans = client.model(model_id).plans
    if not plans:
        return ""
    try:
        rules = plan_rules(load_plan(store, client.plan(model_id, plans - 1)))
    except (ContentError, InputError, VerificationFailed):
        return ""  # the round's first step says so
    beside, with_one = (disk_bytes(count, rules.values, len(rules.program.states)) for count in (0, 1))
    each, rest = ((size / 1e6) for size in (with_one - beside, beside))
    return f"Answering demands takes {each:.3g} MB of disk for each contribution of a round, and {rest:.3g} MB beside."


@dataclass(frozen=True, slots=True)
class _Window:
    """The challenge window of a result, as an answerer sees it."""

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

    def mine(self, due: Sequence[Demanded]) -> list[Demanded]:
        """Return the leaves whose turn has come; who attested nothing has no turn and waits for none."""
        if self.place not in self.attesters:
            return list(due)
        duration, others = self.record.plan.answer_duration, len(self.attesters)
        first = self.attesters.index(self.place)
        return [
            leaf
            for leaf in due
            if self.now
            >= self.demands.deadlines[leaf] - duration + (first - leaf.index) % others * duration // (2 * others)
        ]

    def call(self, court: Court, leaves: Sequence[Shown]) -> Call:
        """Alone, so that one that somebody else has shown is not sent; else all, of which such ones are skipped."""
        first = leaves[0]
        if self.late(first.demanded):
            named = self.record.model_id, self.record.number
            return court.call("showLate", *named, first.demanded, first.opening, self.attesters)
        if len(leaves) == 1:
            return court.call("showLeaf", first.demanded, first.opening)
        return court.call("showLeaves", leaves)


def _due(demands: Demands, now: int) -> list[Demanded]:
    """Leaves that may still be shown: what is in time before what is late, then what has the least time left."""
    found = [leaf for leaf in demands.open if demands.late_deadlines[leaf] > now]
    return sorted(found, key=lambda leaf: (demands.deadlines[leaf] <= now, demands.late_deadlines[leaf], leaf.root))


def _show(window: _Window, leaves: Sequence[Demanded]) -> None:
    """Get answers on their way: those in time by the batch, late ones alone."""
    court = Court(window.client)
    least = 0 if window.place in window.attesters else _usual_price(window.client) // _OTHERS_EARN
    in_time: list[Shown] = []
    late: list[list[Shown]] = []
    for leaf in leaves:
        demand = court.demand(leaf, block="pending")
        if demand.closed or demand.deposit < least:
            continue
        opening = answer_to(window.store, window.record, window.result, leaf, window.trees, window.memory.misnamed)
        if opening is not None:
            shown = Shown(leaf, opening)
            late.append([shown]) if window.late(leaf) else in_time.append(shown)
    together = _together(window.client) if in_time else 1
    queue = [in_time[first : first + together] for first in range(0, len(in_time), together)] + late
    while queue:
        batch = queue.pop(0)
        try:
            _submit(window, court, batch)
        except (NotEnoughMoney, TransactionRefused) as error:
            if len(batch) > 1:
                queue[:0] = [batch[: len(batch) // 2], batch[len(batch) // 2 :]]
                continue
            collect_deposits(window.client, poor=True)
            if not window.memory.under_way and not window.memory.poor:
                log.warning("round %d: a demanded leaf is not shown yet: %s", window.record.number, error)
            window.memory.poor = True
            return  # what the others earn pays for this one
    window.memory.poor = False


def _usual_price(client: Client) -> int:
    """Return what showing a leaf takes, wei."""
    fees = suggest_fees(client.w3)
    return _GAS_OF_ANSWER * ((fees.base_fee or 0) + fees.priority_fee)


def _together(client: Client) -> int:
    """Return how many leaves one transaction is to show on this chain."""
    return min(max(block_gas(client.w3) // (_SHARE_OF_BLOCK * _GAS_OF_ANSWER), 1), TOGETHER)


def _submit(window: _Window, court: Court, batch: Sequence[Shown]) -> None:
    """Send one answer, leaving enough to collect what it earns if something was earned already."""
    call, memory = window.call(court, batch), window.memory
    earns = bool(memory.under_way) or court.credit(window.client.account) > 0
    try:
        window.client.submit(call, spare_gas=_GAS_OF_WITHDRAWAL if earns else 0)
    except (ContractError, TransactionRefused) as error:
        if isinstance(error, TransactionRefused) and len(batch) > 1:
            raise
        if not isinstance(error, OUTRUN):
            log.warning("round %d: a leaf was not taken: %s", window.record.number, error)
        again = window.now + window.record.plan.answer_duration // 16
        memory.not_before.update((shown.demanded, again) for shown in batch)
        return
    memory.under_way.update((shown.demanded, call) for shown in batch)


def _worth(client: Client, model_id: ModelId, attester: Address, answers: int) -> int:
    """Return what so many answers are worth at most, wei per gas: all of them no more than a part of the bond."""
    return Court(client).bond(model_id, attester).amount // (_SHARE_OF_BOND * _GAS_OF_ANSWER * max(answers, 1))


def _look_after(client: Client, memory: Answering, demands: Demands, now: int, worth: int) -> None:
    """Look once at every answer on its way; one that was refused is due again, and one that is final is done with."""
    if not memory.under_way:
        return
    open_ones = [leaf for leaf in memory.under_way if leaf in demands.open]
    ends = [(demands.deadlines[leaf], demands.late_deadlines[leaf]) for leaf in open_ones]
    left = min((in_time - now if in_time > now else late - now for in_time, late in ends), default=0)
    client.transactor.keep(left=left if left > 0 else None, most=worth)
    for call in dict.fromkeys(memory.under_way.values()):
        intent = client.transactor.journal.latest(call.key)
        refused = intent is None or intent.state is IntentState.FAILED or intent.succeeded is False
        if intent is not None and intent.succeeded and call.key not in memory.told:
            memory.told[call.key] = sum(isinstance(e, LeafShown) for e in client.wait(call, "mined").events)
        if refused or (intent is not None and intent.state is IntentState.FINAL):
            for leaf in [leaf for leaf, other in memory.under_way.items() if other == call]:
                del memory.under_way[leaf]
