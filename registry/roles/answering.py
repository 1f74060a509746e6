"""Answering demands: whoever holds a demanded leaf shows it, and earns the deposit.

A step of it waits for nothing: answers are sent, and looked after at each further step until they are final, so that
neither a slow block nor a reorganisation of the chain costs a leaf that was to be shown.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from registry.chain.contract_errors import DemandIsClosed, NothingToWithdraw, TooLate
from registry.chain.contract_events import LeafShown
from registry.chain.contract_hashes import result_hash
from registry.chain.contract_structs import Demanded, Dispute, Result, Shown
from registry.chain.court import Court
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
    TransactionRefused,
    VerificationFailed,
)
from registry.ethereum.fees import block_gas, suggest_fees
from registry.ethereum.node import chain_time
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
        not_before: When a leaf that could not be made, or that the contract did not take, is tried again, Unix seconds.
        kept: What was kept of the result in its window when it was attested.
        heard: Of which round, and before which block, it is known who has attested anything.
        attesters: Who has.
        read: In which block each call was when it was read what it shows, by its key.
        shown: Leaves under way that were shown, so that they are told once.
        news: How many were shown since that was asked last.
        poor: Whether there was not money enough for all at the last look, which is said once.
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

    def knows(self, leaf: Demanded, now: int) -> bool:
        """Whether a leaf is to be let be for now."""
        return leaf in self.under_way or self.not_before.get(leaf, 0) > now

    def kept_of(self, folder: Path, model_id: ModelId, number: int, dispute: Dispute) -> Attested | None:
        """Return what was kept of the result in its window, read once."""
        kept = self.kept
        if kept is None or (kept.record.round_id, result_hash(kept.result)) != (dispute.round_id, dispute.result_hash):
            self.kept = kept_attested(folder, model_id, number, dispute)
        return self.kept

    def attested(
        self, client: Client, model_id: ModelId, number: int, kept: Attested | None, since: int
    ) -> set[Address]:
        """Return who has attested anything in a round; of final blocks each is read once."""
        round_id, final = client.round_id(model_id, number), client.final_block()
        if self.heard[0] != round_id:
            self.heard, self.attesters = (round_id, since), set(() if kept is None else kept.attesters)
        self.attesters |= attested_by(client, model_id, number, self.heard[1])
        self.heard = round_id, max(self.heard[1], final + 1)
        return self.attesters

    def newly_shown(self) -> int:
        """Return how many leaves were shown since this was asked last."""
        count, self.news = self.news, 0
        return count

    def release(self, leaves: Iterable[Demanded]) -> None:
        """Have leaves not under way any more."""
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
    kept = memory.kept_of(folder, model_id, number, dispute)
    since = client.round_began(model_id, number) if kept is None else kept.since
    demands, now = demands_of(Court(client), dispute, memory.seen, since=since), chain_time(client.w3)
    attested = bool(demands.open) and client.attestation(model_id, number, place) == dispute.tally
    worth = _worth(client, model_id, place, len(demands.open)) if attested else 0
    due = [leaf for leaf in _due(demands, now) if not memory.knows(leaf, now)]
    try:  # what is due goes first: looking after much that is on its way takes a while
        if due:
            record = read_round(client, model_id, number) if kept is None else kept.record
            result = attested_result(client, record, dispute.result_hash) if kept is None else kept.result
            if result is not None:
                among = memory.attested(client, model_id, number, kept, since)
                attesters = attesters_of(client, model_id, number, dispute.tally, among)
                trees = place_of(folder, model_id, number)
                # What is not here is not waited for: a liar withholds it, and own leaves may be demanded meanwhile.
                here = LimitedStore(store, 0.0)
                window = _Window(client, here, trees, record, result, demands, now, place, attesters, memory)
                _show(window, window.mine(due))
    finally:
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

    def turn(self, leaf: Demanded) -> int:
        """Return after how many other attesters a leaf is to be shown by this one."""
        return (self.attesters.index(self.place) - leaf.index) % len(self.attesters)

    def first(self, leaf: Demanded) -> bool:
        """Whether nobody's turn to show a leaf comes before."""
        return self.place in self.attesters and not self.turn(leaf)

    def mine(self, due: Sequence[Demanded]) -> list[Demanded]:
        """Return the leaves whose turn has come; who attested nothing has no turn and waits for none."""
        if self.place not in self.attesters:
            return list(due)
        duration, others = self.record.plan.answer_duration, len(self.attesters)
        return [
            leaf
            for leaf in due
            if self.now >= self.demands.deadlines[leaf] - duration + self.turn(leaf) * duration // (2 * others)
        ]

    def put_off(self, leaves: Iterable[Demanded]) -> None:
        """Try leaves again in a while."""
        self.memory.not_before.update(dict.fromkeys(leaves, self.now + self.record.plan.answer_duration // 16))

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
    """Get answers on their way, each transaction as soon as it is full. The node is asked nothing for a leaf of which
    this is the first turn, so the first of many is not late because there are many.
    """
    court = Court(window.client)
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
            break  # hashing took a while: before the next tree is made it is looked what has been demanded since
    window.memory.poor = False


def _shown(window: _Window, leaves: Sequence[Demanded], *, make: bool) -> list[Shown]:
    """Return those leaves of one tree that are to be had, with what shows them. Where anything fails, such as a full
    disk, all of them are put off, and keep no others back.
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
            break  # nor are the others
        found.append(Shown(leaf, opening))
    return found


def _send(window: _Window, court: Court, shown: Sequence[Shown]) -> bool:
    """Send answers: those in time, as of now, by one transaction, late ones alone; return whether all could be paid."""
    # Whose turn comes later asks what the others have in the pool: to fill blocks with it twice would make both late.
    shown = [
        one for one in shown if window.first(one.demanded) or not court.demand(one.demanded, block="pending").closed
    ]
    if not shown:
        return True
    window = replace(window, now=chain_time(window.client.w3))
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
            if not window.memory.under_way and not window.memory.poor:
                log.warning("round %d: a demanded leaf is not shown yet: %s", window.record.number, error)
            window.memory.poor = True
            return False  # what the others earn pays for this one
    return True


def _usual_price(client: Client) -> int:
    """Return what showing a leaf takes, wei."""
    fees = suggest_fees(client.w3)
    return _GAS_OF_ANSWER * ((fees.base_fee or 0) + fees.priority_fee)


def _together(client: Client) -> int:
    """Return how many leaves one transaction is to show on this chain."""
    return min(max(block_gas(client.w3) // (_SHARE_OF_BLOCK * _GAS_OF_ANSWER), 1), TOGETHER)


def _submit(window: _Window, court: Court, batch: Sequence[Shown]) -> None:
    """Send one answer, leaving enough to collect what it earns if something was earned already."""
    call, memory = court.anew(window.call(court, batch)), window.memory
    earns = bool(memory.under_way) or court.credit(window.client.account) > 0
    try:
        window.client.submit(call, spare_gas=_GAS_OF_WITHDRAWAL if earns else 0)
    except (ContractError, TransactionRefused) as error:
        if isinstance(error, TransactionRefused) and len(batch) > 1:
            raise
        if not isinstance(error, OUTRUN):
            log.warning("round %d: a leaf was not taken: %s", window.record.number, error)
        window.put_off(shown.demanded for shown in batch)
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
    """Return which leaves a mined call shows. Among many it skips those whose time was over, or whose demand came after
    it since the chain was reorganised, and succeeds: they are due again, if they are still demanded.
    """
    receipt = client.transactor.receipt(call)
    if receipt is None:
        return leaves  # taken out again since; it is looked at again
    shown = {leaf_of(event) for event in receipt.events if isinstance(event, LeafShown)}
    memory.read[call.key] = receipt.block_hash
    memory.news += len(shown - memory.shown)
    memory.shown |= shown
    return shown
