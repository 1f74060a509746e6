"""An auditor: recompute attested results, demand unavailable leaves, and convict wrong results by fraud proofs.

It runs the aggregator's functions on the anchored data. Recomputing needs neither account nor torch; `cairn verify`
runs the same functions over a whole lineage. Demands and fraud proofs need a signer and a purse.

Its work is independent tasks per model (`tasks`): none waits for another task or another model. `advance` takes one
step of each for one model, the most urgent first.
"""

from __future__ import annotations

import logging
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
from registry.chain.demand_terms import ANSWER_GAS, MAX_DEPOSIT
from registry.chain.sending import Call
from registry.content.manifest import VersionManifest
from registry.disputes.answers import answer_to
from registry.disputes.charges import Inspection, Wanted, basis_of
from registry.disputes.demands import Demands, SeenDemands, demands_of
from registry.disputes.faults import FraudProof
from registry.disputes.inspection import Recomputed, inspect
from registry.disputes.openings import differing_leaf
from registry.disputes.streaming import conviction_gas
from registry.disputes.tree_cache import place_of, remove_before
from registry.errors import (
    CairnError,
    ContractError,
    FormError,
    NotEnoughMoney,
    TransactionRefused,
)
from registry.ethereum.fees import block_gas, suggest_fees
from registry.ethereum.keys import to_checksum
from registry.ethereum.node import chain_time
from registry.roles.activity import Activity
from registry.roles.claims import Claim, Collecting, collect, sealing, secret_of
from registry.roles.kept_versions import keep_version, kept_version, restore_version
from registry.roles.loop import LoopTask, keeping, take_step
from registry.roles.purse import LimitReached, Purse
from registry.roles.watch_costs import price_of, watch_costs
from registry.rounds.loaded_round import LoadedRound, load_by_updates, load_round
from registry.rounds.onchain import (
    RoundRecord,
    attested_result,
    attested_results,
    attesters_of,
    commits_closed,
    read_round,
    unexpelled,
)
from registry.rounds.results import Outcome
from registry.rules.encoding import decode_rules
from registry.store.base import ContentStore
from registry.store.limited import LimitedStore
from registry.types import Address, Cid, HeadKind, ModelId, Part, Phase, Tree
from registry.verification.verify import Check, until_failure, verify_round

if TYPE_CHECKING:
    from registry.chain.client import Client

__all__ = ["AuditorMemory", "advance", "audit", "tasks"]

log = logging.getLogger(__name__)

_LOOKS = 4
"""The first audit of a result takes at most the time left divided by this."""
_LATER_LOOKS = 16
"""Each later audit takes at most the time left divided by this."""
_AHEAD = 60
"""Seconds that an audit before the quorum takes at most: a sixteenth of the shortest challenge window, which may open
meanwhile, of this round or of the next.
"""
_LOOKS_AGAIN = 64
"""A result that could not be judged is audited again after its challenge window divided by this."""
_TOGETHER = 100
"""Most leaves that one transaction demands, at about 60 000 gas each."""
_PART_OF_BLOCK = 2
"""Pending transactions together ask for at most a block's gas divided by this. They fit beside those of others, and do
not raise the base fee, which their deposits follow.
"""


_Attested = tuple[RoundRecord, bytes]
"""A round's record and the tally of a result. A tally alone names no round: a result keeps it in every later one."""


@dataclass(frozen=True, slots=True)
class AuditorMemory:
    """Cache of an auditor between steps; losing it costs only time."""

    rounds: dict[RoundRecord, LoadedRound] = field(default_factory=dict)
    """The last round loaded, so that an idle step reads nothing."""
    inspected: dict[_Attested, Inspection] = field(default_factory=dict)
    """The outcome of the last audit."""
    ahead: set[_Attested] = field(default_factory=set)
    """Audited before their quorum, each once."""
    again: dict[_Attested, int] = field(default_factory=dict)
    """Of results audited in their window: when to audit again without new data, Unix seconds."""
    refused: dict[_Attested, int] = field(default_factory=dict)
    """Of rejected charges: when to charge again, Unix seconds."""
    recomputed: Recomputed = field(default_factory=dict)
    missed: dict[Cid, int] = field(default_factory=dict)
    """Blocks waited for in vain, see `LimitedStore`: whoever commits what nobody serves uses up one audit with it."""
    unkept: list[tuple[Outcome, bytes]] = field(default_factory=list)
    """A recomputed outcome that is still to be kept, and the anchored hash of its parent's roots."""
    seen: dict[str, SeenDemands] = field(default_factory=lambda: defaultdict(SeenDemands))
    """Demands in final blocks, by task, since each task has a thread."""
    said: set[str] = field(default_factory=set)

    def forget(self) -> None:
        """Drop what was found in an earlier round, or in this one before a reorg changed its record."""
        for kept in (self.rounds, self.inspected, self.ahead, self.again, self.refused):
            kept.clear()


@dataclass(frozen=True, slots=True)
class _Watch:
    """One step's view of a model's current round."""

    client: Client
    store: ContentStore
    folder: Path
    model_id: ModelId
    number: int
    purse: Purse | None
    memory: AuditorMemory
    clock: Callable[[], float]
    reserves: dict[ModelId, int | None]
    """What auditing a result of each watched model may cost at most, wei at current fees; None if not known yet."""

    def round(self, record: RoundRecord, store: ContentStore | None = None) -> LoadedRound:
        """Return a round, read once, from the time-limited store of an audit."""
        known = self.memory.rounds
        if record not in known:
            try:
                loaded = load_round(store or self.store, record, kept=self._kept(record))
            except CairnError:  # the parent is withheld, or its manifest names another file
                loaded = load_by_updates(store or self.store, record)
            self.memory.forget()
            known[record] = loaded
        return known[record]

    def _kept(self, record: RoundRecord) -> VersionManifest | None:
        """Return the round's parent as recomputed here, its files put into the store; None if it is not kept."""
        try:
            kept = kept_version(self.versions, record.parent_roots)
            if kept is not None:
                restore_version(self.versions, self.store, kept)
        except (CairnError, OSError) as error:  # it is only a help where others withhold it
            log.info("round %d: the kept parent is not restored: %s", record.number, error)
            return None
        return kept

    def basis(self, record: RoundRecord) -> Basis:
        """Return the basis of a round's challenges: rule bytes and the parent's roots."""
        round = self.round(record)
        return basis_of(round.form.rules, round.parent)

    def inspect(
        self, record: RoundRecord, result: Result, tally: bytes, shown: Sequence[LeafShown], end: int
    ) -> Inspection:
        """Audit a result and cache the outcome.

        The audit has a part of the time left until `end`. Blobs not fetched by then count as withheld, so that there is
        time to demand them.
        """
        # A conviction may end this window, and another begin: so no more than a part of one, extended or not.
        left = min(max(end - chain_time(self.client.w3), 0), record.plan.challenge_duration)
        part = _LATER_LOOKS if (record, tally) in self.memory.again else _LOOKS
        missed, recomputed = self.memory.missed, self.memory.recomputed
        store = LimitedStore(self.store, left / part, self.clock, missed)
        salt = self.salt() + record.round_id + tally
        try:
            found = inspect(store, self.round(record, store), result, shown, self.place, recomputed, salt=salt)
        finally:
            if not store.spent:
                missed.clear()
        self.memory.inspected[record, tally] = found
        if found.outcome is not None:
            self.memory.unkept[:] = [(found.outcome, record.parent_roots)]
        return found

    def keep(self) -> None:
        """Keep the version recomputed last, for an audit of the next round; a later step tries again what fails."""
        for outcome, parent in self.memory.unkept[:]:
            try:
                keep_version(self.versions, outcome, parent)
            except FormError:
                log.info("round %d: the recomputed version is not kept: its files are of a later one", self.number)
            except (CairnError, OSError) as error:
                self.tell(f"round {self.number}: the recomputed version is not kept yet: {error}")
                return
            self.memory.unkept.clear()

    def inspect_ahead(self, record: RoundRecord, result: Result, tally: bytes) -> Inspection:
        """Audit a result before its quorum, so that in the window it need not be recomputed.

        The audit reads nothing that the attesters publish: anyone with the role may attest anything, at the price of a
        transaction, and have it fetched and kept.
        """
        self.memory.ahead.add((record, tally))
        store = LimitedStore(self.store, _AHEAD, self.clock)
        return inspect(store, self.round(record, store), result, (), self.place, self.memory.recomputed, ahead=True)

    @property
    def place(self) -> Path:
        """The folder of the model's recomputed files."""
        return self.folder / f"recomputed-{self.model_id.hex()[:16]}"

    @property
    def versions(self) -> Path:
        """The folder of the model's kept versions."""
        return self.folder / f"versions-{self.model_id.hex()[:16]}"

    def salt(self) -> bytes:
        """Return the secret that samples the chunks of withheld contributions; stored, so the same after a restart."""
        return secret_of(self.folder)

    def tell(self, said: str) -> str:
        """Return a message, or '' if it was reported before."""
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
        store: Holds, or fetches, the round's blobs.
        folder: For recomputed files.
        model_id: The model.
        number: The round.

    Yields:
        The hash of a result and one check of it; a result ends at its first failed check.

    Raises:
        NodeUnavailable: The chain cannot be queried, which says nothing about any result.
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
    """Return an auditor's tasks, the most urgent first; they may run in parallel.

    A result is recomputed as soon as it is attested. In its challenge window a wrong result is convicted, unavailable
    leaves are demanded, and an unanswered demand is closed, which voids the result. Overdue demands of a right result
    are answered by the auditor. Attesters of void results are expelled, own seals revealed, rewards collected.

    Args:
        client: The chain, with the auditor's signer unless it only reports.
        store: Updates and results are fetched from it.
        folder: This auditor's folder.
        models: The models; each has its own tasks.
        purse: Pays; None to report only.
        memories: Caches, one per model, the same objects at each call: nothing is recomputed twice.
        clock: Returns seconds, to limit the time of an audit.
    """
    kept, activity = memories or [AuditorMemory() for _ in models], Activity(client, models, clock)
    reserves: dict[ModelId, int | None] = dict.fromkeys(models)
    watches = [
        _Watch(client, store, folder, m, 0, purse, memory, clock, reserves)
        for m, memory in zip(models, kept, strict=True)
    ]

    def each(name: str, step: Callable[[_Watch], str]) -> list[LoopTask]:
        return [LoopTask(f"{name} {w.model_id.hex()[:10]}", partial(_watched, w, activity, step)) for w in watches]

    if purse is None:
        return tuple(each("looking", _look))
    own = LoopTask("collecting", partial(collect, client, purse, folder, Collecting())), keeping(client)
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
    """Take an auditor's next step in the model's current round, if any; return what was done or found.

    Safe to call at any time and any number of times. Arguments as for `tasks`, whose steps it takes.
    """
    memories = None if memory is None else [memory]
    steps = tasks(client, store, folder, [model_id], purse=purse, memories=memories)
    return take_step(steps)


def _watched(watch: _Watch, activity: Activity, step: Callable[[_Watch], str]) -> str:
    """Take a step for a model's current round, if that needs one."""
    number = activity.round_of(watch.model_id)
    if not number:
        return ""
    try:
        done = step(replace(watch, number=number))
    except (LimitReached, NotEnoughMoney) as error:
        return watch.tell(f"round {number}: {error}")
    if done:
        activity.expire()
    return done


def _look(watch: _Watch) -> str:
    client, model_id, number = watch.client, watch.model_id, watch.number
    phase = client.phase(model_id, number)
    if phase == Phase.CHALLENGE:
        said = _audit_window(watch)
        watch.keep()
        return said
    watch.keep()
    if phase in (Phase.PUBLISH, Phase.AGGREGATE) and client.round(model_id, number).attested:
        # Once, so not before updates are published, which nobody honest does until then.
        return _look_ahead(watch) if commits_closed(client, model_id, number) else ""
    return ""


def _look_ahead(watch: _Watch) -> str:
    """Audit attested results before their quorum, so that the window begins with the recomputed files."""
    record = read_round(watch.client, watch.model_id, watch.number)
    newest = {event.aggregator: event for event in attested_results(watch.client, record)}
    for event in newest.values():
        tally = watch.client.tally(watch.model_id, watch.number, event.result_hash)
        if (record, tally) not in watch.memory.ahead:
            found = watch.inspect_ahead(record, event.result, tally)
            said = found.said if found.sound or found.charge else "not what was recomputed, or updates are missing"
            return watch.tell(f"round {watch.number}: result 0x{event.result_hash.hex()[:12]}: {said}")
    return ""


def _close(watch: _Watch) -> str:
    """Close an unanswered demand, which voids the result."""
    client, number, purse = watch.client, watch.number, watch.purse
    if client.phase(watch.model_id, number) != Phase.CHALLENGE or purse is None:
        return ""
    court = Court(client, send=purse.send)
    demands, now = _demands(watch, court, client.dispute(watch.model_id, number), "closing"), chain_time(client.w3)
    for leaf in demands.open:
        if demands.late_deadlines[leaf] <= now and not court.demand(leaf).closed:
            court.close_demand(watch.model_id, number, leaf, until="mined")
            return f"round {number}: leaf {leaf.index} of 0x{leaf.root.hex()[:12]} was not shown: the result is void"
    return ""


def _demands(watch: _Watch, court: Court, dispute: Dispute, task: str) -> Demands:
    since = watch.client.round_began(watch.model_id, watch.number)
    return demands_of(court, dispute, watch.memory.seen[task], since=since)


def _in_window(watch: _Watch) -> tuple[Dispute, RoundRecord, Result] | None:
    """Return the result in its window; None if the quorum's attestation is in a block that the node no longer has.

    The record is that of the latest block: a window may be shorter than finality, and the contract compares a charge
    with the commitments of its own block. If a reorg changes them, the record differs and is audited anew.
    """
    dispute = watch.client.dispute(watch.model_id, watch.number)
    record = read_round(watch.client, watch.model_id, watch.number, block=watch.client.latest_block())
    result = attested_result(watch.client, record, dispute.result_hash)
    return None if result is None or not any(dispute.tally) else (dispute, record, result)


def _audit_window(watch: _Watch) -> str:
    """Audit the result in its window with the data available; convict, demand or report."""
    client, number, purse = watch.client, watch.number, watch.purse
    window = _in_window(watch)
    if window is None:
        return ""
    dispute, record, result = window
    court = Court(client, send=purse.send if purse else None)
    demands, memory, now = _demands(watch, court, dispute, "looking"), watch.memory, chain_time(client.w3)
    attested = record, dispute.tally
    found = _bisected(memory.inspected.get(attested), demands)
    if found is None or _is_audited_again(found, dispute, demands, now >= memory.again.get(attested, 0)):
        end = client.round(watch.model_id, number).challenge_deadline
        found = watch.inspect(record, result, dispute.tally, demands.shown, end)
        memory.again[attested] = now + record.plan.challenge_duration // _LOOKS_AGAIN
    if purse is not None:
        target = Target(watch.model_id, number, result)
        if found.charge is not None:
            if now < memory.refused.get(attested, 0):
                return ""
            try:
                return _charge(court, record, target, dispute, found.charge, watch, purse)
            except ContractError as error:
                # Rejected or overtaken: audit again before the next charge, after a pause.
                memory.inspected.pop(attested, None)
                memory.refused[attested] = now + record.plan.answer_duration // 16
                return watch.tell(f"round {number}: the contract rejected the fraud proof: {error}")
        # Deduplicate by name: the mean of a single contribution has its root, and one leaf answers both demands.
        wanted = {named: w for w in found.wanted if (named := _named(dispute, w)) not in demands.deadlines}
        if wanted:
            return _demand(record, target, dispute, tuple(wanted.values()), watch, purse)
    return watch.tell(f"round {number}: result 0x{dispute.result_hash.hex()[:12]}: {found.said}")


def _bisected(found: Inspection | None, demands: Demands) -> Inspection | None:
    """Advance the bisections of the last audit by the leaves shown since; None when one has found its leaf.

    A bisection step reads no blobs: one audit per tree level would take longer than the window.
    """
    if found is None:
        return None
    wanted = []
    for leaf in found.wanted:
        if leaf.own is not None:
            shown = {e.index: Opening(e.counted, e.leaf, e.proof) for e in demands.shown if _is_of(e, leaf)}
            if any(opening.counted.count != leaf.own.values for opening in shown.values()):
                return None
            leaf = replace(leaf, index=differing_leaf(leaf.own.tree, shown, first=bool(leaf.gram)))
            if leaf.index in shown:
                return None
        wanted.append(leaf)
    return replace(found, wanted=tuple(wanted))


def _is_of(event: LeafShown, leaf: Wanted) -> bool:
    """Whether a shown leaf is of the same blob."""
    return (event.root, event.entry_bytes, event.entries) == (leaf.root, leaf.rows.entry_bytes, leaf.rows.entries)


def _is_audited_again(found: Inspection, dispute: Dispute, demands: Demands, paused: bool) -> bool:
    """Whether to audit again: all leaves demanded outside of bisections were shown; or the pause is over, nothing was
    found, no demand is open and no bisection is in progress. Other leaves, whoever demands or shows them, do not count.
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
    """Answer demands of a right result that its attesters have not answered in time. Does not wait.

    Answers under way are urgent: they are resent, with fee bumps by the time left, for no more than they earn.
    """
    client, number, purse = watch.client, watch.number, watch.purse
    remove_before(watch.folder, watch.model_id, number)
    if client.phase(watch.model_id, number) != Phase.CHALLENGE or purse is None:
        return ""
    window = _in_window(watch)
    if window is None:
        return ""
    dispute, record, result = window
    found, now = watch.memory.inspected.get((record, dispute.tally)), chain_time(client.w3)
    if found is None or not found.sound:
        return ""
    demands = _demands(watch, Court(client), dispute, "showing")
    late = [leaf for leaf in demands.open if demands.deadlines[leaf] <= now < demands.late_deadlines[leaf]]
    if not late:
        return ""
    attesters = attesters_of(client, watch.model_id, number, dispute.tally)
    # An answer in the mempool, which may never be mined, postpones the auditor's for half of the late period.
    early = {leaf for leaf in late if demands.yields(leaf, now, record.plan.answer_duration)}
    due = [leaf for leaf in late if leaf not in early or not Court(client).demand(leaf, block="pending").closed]
    shown, poor, reserve = 0, "", _reserve(watch, record) if due else 0
    try:
        for leaf in due:
            shown += _is_shown_late(watch, purse, record, result, leaf, attesters, reserve)
    except (LimitReached, NotEnoughMoney) as error:
        poor = watch.tell(f"round {number}: late answers wait, for audits come first: {error}")
    left = min(demands.late_deadlines[leaf] for leaf in late) - now
    client.transactor.keep(left=left, most=max(demands.deposits[leaf] for leaf in late) // ANSWER_GAS)
    leaves = "a leaf" if shown == 1 else f"{shown} leaves"
    return f"round {number}: showed {leaves} late, for the result is right" if shown else poor


def _reserve(watch: _Watch, record: RoundRecord) -> int:
    """Return what late answers leave in the purse, wei: what an audit of each watched model may cost at most.

    Else whoever demands leaves of a right result, and does not answer, would empty it before the next result is false.
    """
    rules, fees = watch.round(record).form.rules, suggest_fees(watch.client.w3)
    sizes = len(record.commitments), rules.values, len(rules.program.states)
    costs = watch_costs(record.plan, *sizes, selects=rules.shape.selects)
    own = price_of(costs.lines, record.plan, fees.base_fee or fees.max_fee, fees.priority_fee).limit
    watch.reserves[watch.model_id] = own
    return sum(own if known is None else known for known in watch.reserves.values())


def _is_shown_late(
    watch: _Watch,
    purse: Purse,
    record: RoundRecord,
    result: Result,
    leaf: Demanded,
    attesters: Sequence[Address],
    reserve: int,
) -> bool:
    """Whether the auditor has sent a late answer now; one that is refused keeps no other leaf back."""
    court, place = Court(watch.client), place_of(watch.folder, watch.model_id, watch.number)
    opening = answer_to(watch.store, record, result, leaf, place)
    if opening is None or court.demand(leaf).closed:
        return False
    call = court.anew(court.call("showLate", watch.model_id, watch.number, leaf, opening, list(attesters)))
    if watch.client.transactor.journal.on_its_way(call.key) is not None:
        return False
    try:
        purse.submit(call, reserve=reserve)
    except (ContractError, TransactionRefused) as error:
        log.info("round %d: a late answer was rejected: %s", watch.number, error)
        return False
    return True


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
    """Demand leaves, all at once. Their claims are sealed in earlier blocks, since a pending demand exposes them.

    Nodes cap the cost of a transaction, so a refused group of leaves is split in halves.
    """
    court, together = Court(watch.client), block_gas(watch.client.w3) // _PART_OF_BLOCK
    ordered, basis = sorted(wanted, key=_of_a_contribution), watch.basis(record)
    selects = decode_rules(basis.rules).shape.selects
    spare_gas = conviction_gas(target.result.contributions, selects=selects)  # the fraud proof must stay affordable
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
                refused[key] = error  # the others are sent all the same
    _raise_first(refused)
    leaves = "a leaf" if len(wanted) == 1 else f"{len(wanted)} leaves"
    return f"round {target.number}: demanded {leaves} of result 0x{dispute.result_hash.hex()[:12]}"


def _raise_first(refused: Mapping[str, CairnError]) -> None:
    for error in refused.values():
        raise error


def _of_a_contribution(leaf: Wanted) -> bool:
    """Whether a leaf is of a contribution. As a sort key it puts single trees first: their bisection takes longest."""
    return leaf.tree is Tree.CONTRIBUTION or leaf.head is HeadKind.UPDATE


def _claims(dispute: Dispute, leaf: Wanted) -> Iterator[Claim]:
    """Yield the claims to seal before a demand, including the fault that the leaf may show: others could guess it."""
    yield Claim(dispute.round_id, dispute.tally, Part.WHOLE, 0)
    if leaf.tree is not None:
        yield Claim(dispute.round_id, dispute.tally, Part.VALUES, leaf.index)
    yield Claim(dispute.round_id, dispute.tally, Part.SERVICE, 0)


def _demanding(
    court: Court, target: Target, groups: Iterable[list[Wanted]], basis: Basis, named: dict[str, list[Wanted]]
) -> Iterator[Call]:
    """Yield a call for each group of leaves of one blob, and enter the group in `named` by the call's key."""
    for group in groups:
        first, indices = group[0], [leaf.index for leaf in group]
        # A quarter more, since the base fee may rise meanwhile.
        deposit = min(court.deposit_now(target) * 5 // 4, MAX_DEPOSIT)
        if first.head is not None:
            call = court.head_demand(target, first.head, first.membership, deposit=deposit)
        elif first.gram:
            call = court.gram_demand(target, first.gram, indices, deposit=deposit)
        elif first.tree is None:
            call = court.contributions_demand(target, indices, deposit=deposit)
        else:
            call = court.chunks_demand(target, first.tree, indices, first.membership, basis, deposit=deposit)
        named[call.key] = group
        yield call


def _together(wanted: Sequence[Wanted]) -> Iterator[list[Wanted]]:
    """Yield groups of leaves of one blob, each as large as one transaction demands."""
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
