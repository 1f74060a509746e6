"""An auditor: the aggregator's functions again, on what was anchored, ending in a verdict and, if need be, a challenge.

Looking needs neither account nor torch; `cairn verify` is the same functions over a whole lineage. With a signer and a
purse it demands what nobody shows and convicts what is false.

Its work is tasks that do not wait for one another, and none of a model waits for another model (`tasks`). `advance` is
one step of each for one model, the most urgent first.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from registry.chain import calls
from registry.chain.challenges import Challenges
from registry.chain.contract_events import LeafShown
from registry.chain.contract_structs import Basis, Demanded, Dispute, Opening, Result, Target
from registry.chain.court import Court
from registry.chain.demand_terms import MAX_DEPOSIT
from registry.chain.sending import Call
from registry.disputes.answers import answer_to
from registry.disputes.charges import Inspection, Wanted, basis_of
from registry.disputes.demands import Demands, SeenDemands, demands_of
from registry.disputes.faults import FraudProof
from registry.disputes.inspection import Recomputed, inspect
from registry.disputes.openings import differing_leaf
from registry.disputes.streaming import conviction_gas
from registry.disputes.tree_cache import place_of, remove_before
from registry.durable import write_whole
from registry.errors import CairnError, ContractError, NotEnoughMoney, TransactionRefused
from registry.ethereum.fees import block_gas
from registry.ethereum.keys import to_checksum
from registry.ethereum.node import chain_time
from registry.roles.claims import Claim, collect, sealing
from registry.roles.loop import LoopTask, keeping, take_step
from registry.roles.purse import LimitReached, Purse
from registry.rounds.loaded_round import LoadedRound, load_round
from registry.rounds.onchain import (
    RoundRecord,
    attested_result,
    attested_results,
    attesters_of,
    commits_closed,
    read_round,
    unexpelled,
)
from registry.store.base import ContentStore
from registry.store.limited import LimitedStore
from registry.types import HeadKind, ModelId, Part, Phase, Tree
from registry.verification.verify import Check, until_failure, verify_round

if TYPE_CHECKING:
    from registry.chain.client import Client

__all__ = ["AuditorMemory", "advance", "audit", "tasks"]

_SALTING = threading.Lock()
_LOOKS = 4
"""The first look takes this part of the time that is left."""
_LATER_LOOKS = 16
"""Each look after it takes this part."""
_LOOKS_AGAIN = 64
"""A result that could not be judged is looked at again after this part of its window."""
_TOGETHER = 100
"""Leaves demanded by one transaction, of some 60 000 gas each."""
_PART_OF_BLOCK = 2
"""Transactions that ask for more than this part of a block's gas are not on their way at once: they fit beside what
others send, and do not raise the base fee, which their deposits follow.
"""


@dataclass(frozen=True, slots=True)
class AuditorMemory:
    """What an auditor remembers between steps; losing it costs time and nothing else."""

    rounds: dict[RoundRecord, LoadedRound] = field(default_factory=dict)
    """The last one, so that a step that looks at nothing reads nothing."""
    inspected: dict[bytes, Inspection] = field(default_factory=dict)
    """By tally: what came of the last look."""
    again: dict[bytes, int] = field(default_factory=dict)
    """By tally, of those looked at in their window: before when none is again for nothing new, Unix seconds."""
    refused: dict[bytes, int] = field(default_factory=dict)
    """By tally of which a charge was not taken: before when none is brought again, Unix seconds."""
    recomputed: Recomputed = field(default_factory=dict)
    seen: dict[str, SeenDemands] = field(default_factory=lambda: defaultdict(SeenDemands))
    """By task, since each has a thread: demands in final blocks."""
    said: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Watch:
    """One look at a model's current round."""

    client: Client
    store: ContentStore
    folder: Path
    model_id: ModelId
    number: int
    purse: Purse | None
    memory: AuditorMemory
    clock: Callable[[], float]

    def round(self, record: RoundRecord) -> LoadedRound:
        """Return a round, read once."""
        known = self.memory.rounds
        if record not in known:
            loaded = load_round(self.store, record)
            known.clear()
            known[record] = loaded
        return known[record]

    def basis(self, record: RoundRecord) -> Basis:
        """Return what results of a round are held against."""
        round = self.round(record)
        return basis_of(round.form.rules, round.parent)

    def inspect(
        self, record: RoundRecord, result: Result, tally: bytes, shown: Sequence[LeafShown], end: int
    ) -> Inspection:
        """Recompute a result, and remember what came of it. It takes a part of the time to end, then what has not come
        counts as hidden: there must be time to demand it.
        """
        now = chain_time(self.client.w3)
        part = _LATER_LOOKS if tally in self.memory.again else _LOOKS
        store = LimitedStore(self.store, max(end - now, 0) / part, self.clock)
        place, known = self.folder / f"recomputed-{self.model_id.hex()[:16]}", self.memory.recomputed
        round = load_round(self.store, record)
        found = inspect(store, round, result, shown, place, known, salt=self.salt() + tally)
        self.memory.inspected[tally] = found
        return found

    def salt(self) -> bytes:
        """What chooses the chunks that are looked at of hidden contributions, known to nobody else; the same later."""
        path = self.folder / "salt"
        with _SALTING:
            if not path.exists():
                self.folder.mkdir(parents=True, exist_ok=True)
                write_whole(path, secrets.token_bytes(32))
            return path.read_bytes()

    def tell(self, said: str) -> str:
        """Return what has not been said before."""
        if said in self.memory.said:
            return ""
        self.memory.said.add(said)
        return said


def audit(
    client: Client, store: ContentStore, folder: Path, model_id: ModelId, number: int
) -> Iterator[tuple[bytes, Check]]:
    """Recompute every result attested in a round, whether or not it has a quorum.

    Args:
        client: The chain; no signer is needed.
        store: Holds, or finds, the round's blobs.
        folder: For recomputed files.
        model_id: The model.
        number: The round.

    Yields:
        The hash of a result and one check of it; a result ends at its first failed check.

    Raises:
        NodeUnavailable: The chain cannot be asked, which says nothing of any result.
    """
    record = read_round(client, model_id, number)
    folder.mkdir(parents=True, exist_ok=True)
    for attested in {event.result_hash: event for event in attested_results(client, record)}.values():
        for check in until_failure(verify_round(client, store, record, attested.result, folder)):
            yield attested.result_hash, check


def tasks(
    client: Client,
    store: ContentStore,
    folder: Path,
    models: Sequence[ModelId],
    *,
    purse: Purse | None = None,
    memories: Sequence[AuditorMemory] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[LoopTask, ...]:
    """Return what an auditor does, the most urgent first, as steps that may be taken side by side.

    Results are recomputed as soon as they are attested. In its challenge window what is false is convicted, what nobody
    shows is demanded, and a demand that nobody answered is closed, which makes the result void. What was demanded of a
    result that is found to be right, and is late, is shown. Attesters of void results are expelled, own seals revealed,
    rewards collected.

    Args:
        client: The chain, with the auditor's signer if it is to do more than report.
        store: Where updates and results are fetched from.
        folder: Of this auditor.
        models: The models; each has tasks of its own.
        purse: Pays; None to report only.
        memories: One a model, the same objects at each call, so that nothing is recomputed twice.
        clock: Returns seconds; what a look may take is counted by it.
    """
    kept = memories or [AuditorMemory() for _ in models]
    pairs = list(zip(models, kept, strict=True))

    def each(name: str, step: Callable[[_Watch], str]) -> list[LoopTask]:
        return [
            LoopTask(f"{name} {m.hex()[:10]}", partial(_watched, client, store, folder, m, purse, memory, clock, step))
            for m, memory in pairs
        ]

    if purse is None:
        return tuple(each("looking", _look))
    own = LoopTask("collecting", partial(collect, client, purse, folder)), keeping(client)
    return (
        *each("closing", _close),
        *each("expelling", _expel),
        *own,
        *each("looking", _look),
        *each("showing", _show_late),
    )


def advance(
    client: Client,
    store: ContentStore,
    folder: Path,
    model_id: ModelId,
    *,
    purse: Purse | None = None,
    memory: AuditorMemory | None = None,
) -> str:
    """Do what the model's current round wants of an auditor next, if anything; return what was done or found.

    Safe to call at any time and any number of times. Arguments as `tasks` has them, whose steps these are.
    """
    memories = None if memory is None else [memory]
    steps = tasks(client, store, folder, [model_id], purse=purse, memories=memories)
    return take_step(steps)


def _watched(
    client: Client,
    store: ContentStore,
    folder: Path,
    model_id: ModelId,
    purse: Purse | None,
    memory: AuditorMemory,
    clock: Callable[[], float],
    step: Callable[[_Watch], str],
) -> str:
    """Take a step for a model's current round."""
    number = client.model(model_id).rounds
    if not number:
        return ""
    watch = _Watch(client, store, folder, model_id, number, purse, memory, clock)
    try:
        return step(watch)
    except (LimitReached, NotEnoughMoney) as error:
        return watch.tell(f"round {number}: {error}")


def _look(watch: _Watch) -> str:
    client, model_id, number = watch.client, watch.model_id, watch.number
    phase = client.phase(model_id, number)
    if not commits_closed(client, model_id, number):
        return ""  # the list of commitments, as far as it is final, may lack some that the result rightly has
    if phase == Phase.CHALLENGE:
        return _hold(watch)
    if phase in (Phase.PUBLISH, Phase.AGGREGATE) and client.round(model_id, number).attested:
        return _look_ahead(watch)
    return ""


def _look_ahead(watch: _Watch) -> str:
    """Recompute what is attested and has no quorum yet, so that a charge is ready when it has."""
    record = read_round(watch.client, watch.model_id, watch.number)
    for event in attested_results(watch.client, record):
        tally = watch.client.tally(watch.model_id, watch.number, event.result_hash)
        if tally not in watch.memory.inspected:
            end = watch.client.round(watch.model_id, watch.number).aggregate_deadline
            found = watch.inspect(record, event.result, tally, (), end)
            return watch.tell(f"round {watch.number}: result 0x{event.result_hash.hex()[:12]}: {found.said}")
    return ""


def _close(watch: _Watch) -> str:
    """Close a demand that nobody answered, which makes the result void."""
    client, number, purse = watch.client, watch.number, watch.purse
    if client.phase(watch.model_id, number) != Phase.CHALLENGE or purse is None:
        return ""
    court = Court(client, send=purse.send)
    demands, now = _demands(watch, court, client.dispute(watch.model_id, number), "closing"), chain_time(client.w3)
    for leaf in demands.open:
        if demands.late_deadlines[leaf] <= now and not court.demand(leaf, block="pending").closed:
            court.close_demand(watch.model_id, number, leaf, until="mined")
            return f"round {number}: leaf {leaf.index} of 0x{leaf.root.hex()[:12]} was not shown: the result is void"
    return ""


def _demands(watch: _Watch, court: Court, dispute: Dispute, task: str) -> Demands:
    since = watch.client.round_began(watch.model_id, watch.number)
    return demands_of(court, dispute, watch.memory.seen[task], since=since)


def _in_window(watch: _Watch) -> tuple[Dispute, RoundRecord, Result] | None:
    """The result in its window; None if the quorum's attestation is in a block that the node shows no more."""
    dispute = watch.client.dispute(watch.model_id, watch.number)
    record = read_round(watch.client, watch.model_id, watch.number)
    result = attested_result(watch.client, record, dispute.result_hash)
    return None if result is None or not any(dispute.tally) else (dispute, record, result)


def _hold(watch: _Watch) -> str:
    """Hold the result in its window against what was committed, as far as what is there allows."""
    client, number, purse = watch.client, watch.number, watch.purse
    window = _in_window(watch)
    if window is None:
        return ""
    dispute, record, result = window
    court = Court(client, send=purse.send if purse else None)
    demands, memory, now = _demands(watch, court, dispute, "looking"), watch.memory, chain_time(client.w3)
    found = _walked_down(memory.inspected.get(dispute.tally), demands)
    if found is None or _looked_at_again(found, dispute, demands, now >= memory.again.get(dispute.tally, 0)):
        end = client.round(watch.model_id, number).challenge_deadline
        found = watch.inspect(record, result, dispute.tally, demands.shown, end)
        memory.again[dispute.tally] = now + record.plan.challenge_duration // _LOOKS_AGAIN
    if purse is not None:
        target = Target(watch.model_id, number, result)
        if found.charge is not None:
            if now < memory.refused.get(dispute.tally, 0):
                return ""
            try:
                return _charge(court, record, target, dispute, found.charge, watch, purse)
            except ContractError as error:
                # Not convinced, or overtaken: look again before it is charged again, and not at once.
                memory.inspected.pop(dispute.tally, None)
                memory.refused[dispute.tally] = now + record.plan.answer_duration // 16
                return watch.tell(f"round {number}: the contract is not convinced: {error}")
        # By name: the mean of one contribution has its root, and one leaf answers for both.
        wanted = {named: w for w in found.wanted if (named := _named(dispute, w)) not in demands.deadlines}
        if wanted:
            return _demand(record, target, dispute, tuple(wanted.values()), watch, purse)
    return watch.tell(f"round {number}: result 0x{dispute.result_hash.hex()[:12]}: {found.said}")


def _walked_down(found: Inspection | None, demands: Demands) -> Inspection | None:
    """What came of the last look, each tree walked down as far as its leaves were shown; None at the end of a walk.

    No step of a walk reads what others publish: as many looks as a tree has levels would take longer than a window.
    """
    if found is None:
        return None
    wanted = []
    for leaf in found.wanted:
        if leaf.own is not None:
            shown = {e.index: Opening(e.counted, e.leaf, e.proof) for e in demands.shown if _is_of(e, leaf)}
            if any(opening.counted.count != leaf.own.values for opening in shown.values()):
                return None
            leaf = replace(leaf, index=differing_leaf(leaf.own.tree, shown))
            if leaf.index in shown:
                return None
        wanted.append(leaf)
    return replace(found, wanted=tuple(wanted))


def _is_of(event: LeafShown, leaf: Wanted) -> bool:
    """Whether what was shown is a leaf of the same blob."""
    return (event.root, event.entry_bytes, event.entries) == (leaf.root, leaf.rows.entry_bytes, leaf.rows.entries)


def _looked_at_again(found: Inspection, dispute: Dispute, demands: Demands, paused: bool) -> bool:
    """Whether another look may find more: all that is awaited beside walks is shown; or, after a pause, nothing was
    found, nothing is awaited and no walk goes on. What else is shown, by whom and of what it may be, is no reason.
    """
    if found.sound or found.charge:
        return False
    awaited = [(leaf, _named(dispute, leaf)) for leaf in found.wanted]
    for_look = {named for leaf, named in awaited if leaf.own is None}
    shown = {Demanded(e.round_id, e.tally, e.root, e.entry_bytes, e.entries, e.index) for e in demands.shown}
    if for_look & shown and not for_look & set(demands.open):
        return True
    return paused and not any(leaf.own is not None or named in demands.open for leaf, named in awaited)


def _show_late(watch: _Watch) -> str:
    """Show what was demanded of a result that is right and that its attesters have not shown in time."""
    client, number, purse = watch.client, watch.number, watch.purse
    remove_before(watch.folder, watch.model_id, number)
    if client.phase(watch.model_id, number) != Phase.CHALLENGE or purse is None:
        return ""
    window = _in_window(watch)
    if window is None:
        return ""
    dispute, record, result = window
    found = watch.memory.inspected.get(dispute.tally)
    court, now = Court(client, send=purse.send), chain_time(client.w3)
    if found is None or not found.sound:
        return ""
    demands = _demands(watch, court, dispute, "showing")
    for leaf in demands.open:
        if not demands.deadlines[leaf] <= now < demands.late_deadlines[leaf]:
            continue
        opening = answer_to(watch.store, record, result, leaf, place_of(watch.folder, watch.model_id, number))
        if opening is not None and not court.demand(leaf, block="pending").closed:
            attesters = attesters_of(client, watch.model_id, number, dispute.tally)
            court.show_late(watch.model_id, number, leaf, opening, attesters, until="mined")
            return f"round {number}: showed leaf {leaf.index} of 0x{leaf.root.hex()[:12]} late, for the result is right"
    return ""


def _named(dispute: Dispute, wanted: Wanted) -> Demanded:
    rows = wanted.rows
    return Demanded(dispute.round_id, dispute.tally, wanted.root, rows.entry_bytes, rows.entries, wanted.index)


def _charge(
    court: Court, record: RoundRecord, target: Target, dispute: Dispute, charge: FraudProof, watch: _Watch, purse: Purse
) -> str:
    if record.plan.bond_gwei:
        claim = Claim(dispute.round_id, dispute.tally, charge.part, charge.index)
        _raise_first(purse.send_all(sealing(court, watch.folder, [claim]), together=0))
    charge.convict(Challenges(court.client, send=purse.send), target, watch.basis(record))
    return f"round {target.number}: result 0x{dispute.result_hash.hex()[:12]} convicted: {charge.fault.name.lower()}"


def _demand(
    record: RoundRecord,
    target: Target,
    dispute: Dispute,
    wanted: Sequence[Wanted],
    watch: _Watch,
    purse: Purse,
) -> str:
    """Demand leaves, all at once; their claims are sealed in blocks before, for a demand on its way shows them.

    Nodes limit what a transaction may cost, so leaves that are refused together are demanded by halves.
    """
    court, together = Court(watch.client), block_gas(watch.client.w3) // _PART_OF_BLOCK
    spare_gas = conviction_gas(target.result.contributions)  # what is found must still be paid for
    ordered, basis = sorted(wanted, key=_of_a_contribution), watch.basis(record)
    if record.plan.bond_gwei:
        claims = (claim for leaf in ordered for claim in _claims(dispute, leaf))
        _raise_first(purse.send_all(sealing(court, watch.folder, claims), together=together, spare_gas=spare_gas))
    groups, refused = list(_together(ordered)), dict[str, CairnError]()
    while groups:
        named: dict[str, list[Wanted]] = {}
        errors = purse.send_all(_demanding(court, target, groups, basis, named), together=together, spare_gas=spare_gas)
        groups = []
        for key, error in errors.items():
            half = len(named[key]) // 2
            if half and isinstance(error, TransactionRefused):
                groups += [named[key][:half], named[key][half:]]
            else:
                refused[key] = error  # which keeps none of the others back
    _raise_first(refused)
    leaves = "a leaf" if len(wanted) == 1 else f"{len(wanted)} leaves"
    return f"round {target.number}: demanded {leaves} of result 0x{dispute.result_hash.hex()[:12]}"


def _raise_first(refused: Mapping[str, CairnError]) -> None:
    for error in refused.values():
        raise error


def _of_a_contribution(leaf: Wanted) -> bool:
    """Whether a leaf is one of many like it. What there is one of goes first: a walk down a tree takes the longest."""
    return leaf.tree is Tree.CONTRIBUTION or leaf.head is HeadKind.UPDATE


def _claims(dispute: Dispute, leaf: Wanted) -> Iterator[Claim]:
    """What is sealed before a leaf is demanded, also what it may turn out to show: whoever sees it can guess that."""
    yield Claim(dispute.round_id, dispute.tally, Part.WHOLE, 0)
    if leaf.tree is not None:
        yield Claim(dispute.round_id, dispute.tally, Part.VALUES, leaf.index)
    yield Claim(dispute.round_id, dispute.tally, Part.SERVICE, 0, _named(dispute, leaf))


def _demanding(
    court: Court, target: Target, groups: Iterable[list[Wanted]], basis: Basis, named: dict[str, list[Wanted]]
) -> Iterator[Call]:
    """Yield a call for each group of leaves of one blob, and note the group by the call's key."""
    for group in groups:
        first, indices = group[0], [leaf.index for leaf in group]
        # The base fee may rise meanwhile.
        deposit = min(court.deposit_now(target) * 5 // 4, MAX_DEPOSIT)
        if first.head is not None:
            call = court.head_demand(target, first.head, first.membership, deposit=deposit)
        elif first.tree is None:
            call = court.contributions_demand(target, indices, deposit=deposit)
        else:
            call = court.chunks_demand(target, first.tree, indices, first.membership, basis, deposit=deposit)
        named[call.key] = group
        yield call


def _together(wanted: Sequence[Wanted]) -> Iterator[list[Wanted]]:
    """Yield leaves of one blob, as many as one transaction demands."""
    blobs: dict[tuple[object, ...], list[Wanted]] = {}
    for leaf in wanted:
        blobs.setdefault((leaf.root, leaf.tree, leaf.head), []).append(leaf)
    for leaves in blobs.values():
        for first in range(0, len(leaves), _TOGETHER):
            yield leaves[first : first + _TOGETHER]


def _expel(watch: _Watch) -> str:
    attesters = unexpelled(watch.client, watch.model_id, watch.number)
    if not attesters or watch.purse is None:
        return ""
    watch.purse.send(calls.expel(watch.client.address, watch.model_id, watch.number, attesters))
    return f"round {watch.number}: expelled {', '.join(to_checksum(account) for account in attesters)}"
