"""An aggregator: read commitments, fetch and judge updates, combine, publish, attest.

All its state can be recomputed, so it may be stopped anywhere. Aggregators that saw different blobs converge: each one
admits every update that it fetches before the quorum, and moves to another's result if that has more contributions, or
as many and a smaller tally, and no local blob disproves it.

Its work is independent tasks (`tasks`): answering demands, which is the most urgent; judging, combining and attesting;
and the other transactions that advance a round. `advance` takes one step of each, in that order.
"""

from __future__ import annotations

import itertools
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from registry.chain import calls
from registry.chain.contract_events import UpdateCommitted
from registry.chain.contract_hashes import result_hash
from registry.chain.contract_structs import Result
from registry.chain.contract_structs import Round as RoundState
from registry.content.manifest import Reason
from registry.disputes.answers import keep_trees, keeping_updates, require_room_for_trees
from registry.disputes.tree_cache import place_of, remove_before
from registry.errors import ContentError, FormError, VerificationFailed
from registry.ethereum.keys import to_checksum
from registry.ethereum.networks import network_of
from registry.ethereum.node import chain_time
from registry.roles.answering import Answering, answer_demands, collect_deposits
from registry.roles.attested import Attested, forget_before, keep_attested
from registry.roles.loop import LoopTask, keeping, take_step
from registry.rounds.admission import Verdict, judge, judge_declared, judge_weights
from registry.rounds.gates import why_not_open
from registry.rounds.loaded_round import LoadedRound, load_round
from registry.rounds.onchain import (
    RoundRecord,
    attested_results,
    chosen_result,
    commits_closed,
    final_phase,
    read_round,
    unexpelled,
    who_ends_commits,
)
from registry.rounds.plans import load_plan
from registry.rounds.reports import load_report
from registry.rounds.results import Outcome, compute_outcome, publish_outcome
from registry.rules.algorithms import goals_of
from registry.store.base import ContentStore
from registry.store.limited import LimitedStore
from registry.store.manifests import pin_manifest
from registry.types import ModelId, Phase, Role
from registry.verification.verify import Finding, standing

if TYPE_CHECKING:
    from registry.chain.client import Client

__all__ = ["AggregatorMemory", "advance", "aggregate", "attest", "judge_all", "rivals_of", "tasks"]

log = logging.getLogger(__name__)

_CLOCKS = 4
"""Readings of the clocks from which a local chain's pace follows."""
_LONGEST_LOOK = 300.0
"""Seconds that one pass over the updates may take at most."""
_NOT_SLOW = 4 << 20
"""Bytes per second. An update this fast is read to its end, however many there are: else none might ever be."""
_AT_ONCE = 4
"""Updates fetched and judged in parallel."""
_SILENT = 5.0
"""Seconds of a pass over the updates after which those that do not come are named."""
_MOST_TOLD = 5
"""Most participants named in one line."""


@dataclass(frozen=True, slots=True)
class AggregatorMemory:
    """Cache of an aggregator between steps; losing it costs only time.

    Attributes:
        keeps_pace: Whether to hurry where a local chain's clock runs fast; not where it is moved once all have acted.
    """

    verdicts: dict[UpdateCommitted, Verdict] = field(default_factory=dict)
    results: dict[tuple[tuple[UpdateCommitted, Reason], ...], Result | None] = field(default_factory=dict)
    answering: Answering = field(default_factory=Answering)
    clocks: list[tuple[float, int]] = field(default_factory=list)
    awaited: set[UpdateCommitted] = field(default_factory=set)
    said: set[str] = field(default_factory=set)
    keeps_pace: bool = True

    def note_clocks(self, wall: float, chain: int) -> None:
        """Remember what two clocks show: this machine's, in any seconds that run evenly, and the chain's."""
        if self.keeps_pace and (not self.clocks or wall - self.clocks[-1][0] >= 1):
            self.clocks.append((wall, chain))
            del self.clocks[:-_CLOCKS]

    def pace(self) -> float:
        """Return how many seconds pass on the chain in one here, at least 1; a clock moved once is no pace."""
        paces = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in itertools.pairwise(self.clocks)]
        return max(1.0, min(paces)) if len(paces) > 1 else 1.0

    def keep_only(self, record: RoundRecord) -> None:
        """Clear the cache if it is of another round."""
        if not self.verdicts.keys() <= set(record.commitments):
            self.verdicts.clear()
            self.results.clear()
        self.awaited.intersection_update(record.commitments)


def tasks(
    client: Client,
    store: ContentStore,
    folder: Path,
    model_id: ModelId,
    *,
    open_rounds: bool = False,
    processes: int = 1,
    memory: AggregatorMemory | None = None,
    answerer: Client | None = None,
) -> tuple[LoopTask, ...]:
    """Return an aggregator's tasks, the most urgent first; they may run in parallel.

    Args:
        client: The chain, with this aggregator's signer.
        store: Updates are fetched from it, and results published to it.
        folder: This aggregator's folder.
        model_id: The model.
        open_rounds: Whether to open the next round once the last has ended.
        processes: See `combine`.
        memory: Cache, the same object at each call: nothing is fetched, judged or combined twice.
        answerer: The chain with another signer, for answers alone, so that no other transaction delays them. None for
            the aggregator itself.
    """
    kept = memory or AggregatorMemory()
    shows = answerer or client
    return (
        LoopTask("answering", lambda: _answer(client, shows, store, folder, model_id, kept)),
        LoopTask("attesting", lambda: _attest(client, store, folder, model_id, processes, kept)),
        LoopTask("rounds", lambda: _move_on(client, store, folder, model_id, kept, open_rounds=open_rounds)),
        LoopTask("deposits", lambda: collect_deposits(shows)),
        keeping(client),
        *(() if shows is client else (keeping(shows, "answers"),)),
    )


def advance(
    client: Client,
    store: ContentStore,
    folder: Path,
    model_id: ModelId,
    *,
    open_rounds: bool = False,
    processes: int = 1,
    memory: AggregatorMemory | None = None,
) -> str:
    """Take this aggregator's next step in the model's current round, if any; return what was done.

    Safe to call at any time and any number of times. Arguments as for `tasks`, whose steps it takes.
    """
    return take_step(
        tasks(client, store, folder, model_id, open_rounds=open_rounds, processes=processes, memory=memory)
    )


def _answer(
    client: Client, answerer: Client, store: ContentStore, folder: Path, model_id: ModelId, memory: AggregatorMemory
) -> str:
    """Answer demands of the result in its challenge window, and track the answers until they are final."""
    number = client.model(model_id).rounds
    if not number or client.phase(model_id, number) != Phase.CHALLENGE:
        return ""
    return answer_demands(answerer, store, folder, model_id, number, memory.answering, place=client.account)


def _attest(
    client: Client, store: ContentStore, folder: Path, model_id: ModelId, processes: int, memory: AggregatorMemory
) -> str:
    number = client.model(model_id).rounds
    if not number:
        return ""
    if network_of(client.chain_id).local:  # whose clock may run faster than this machine's
        memory.note_clocks(time.monotonic(), chain_time(client.w3))
    phase = client.phase(model_id, number)
    if phase not in (Phase.PUBLISH, Phase.AGGREGATE) or not commits_closed(client, model_id, number):
        return ""
    if not client.member(model_id, client.account).roles & Role.AGGREGATOR:
        return ""
    record = read_round(client, model_id, number)
    return _attest_best(client, store, folder, record, phase, processes, memory)


def _move_on(
    client: Client, store: ContentStore, folder: Path, model_id: ModelId, memory: AggregatorMemory, *, open_rounds: bool
) -> str:
    """Advance the round, as anyone may: end commits, finalize, expel, open the next. Remove files of earlier rounds."""
    number = client.model(model_id).rounds
    phase = client.phase(model_id, number) if number else Phase.CANCELLED
    remove_before(folder, model_id, number)
    forget_before(folder, model_id, number)
    if phase == Phase.COMMIT:
        return _end_commits(client, model_id, number)
    if phase == Phase.FINAL and not client.round(model_id, number).finalized:
        if final_phase(client, model_id, number) == Phase.NONE:
            return ""  # the window is shorter than finality: read_round must wait
        result = chosen_result(client, read_round(client, model_id, number))
        if result is None:
            return ""  # the quorum's attestation is in a block that the node no longer has
        client.finalize_round(model_id, number, result, until="mined")
        return f"round {number}: finalized"
    if phase in (Phase.FINAL, Phase.CANCELLED):
        remove_before(folder, model_id, number + 1)
    if phase in (Phase.FINAL, Phase.CANCELLED) and open_rounds and not client.model(model_id).suspended:
        attesters = unexpelled(client, model_id, number) if number else {}
        if attesters:
            client.expel(model_id, number, attesters, until="mined")
        if why := _why_not_open(client, store, model_id):
            return _said_once(memory, f"round {number + 1} is not opened: {why}")
        client.open_round(model_id, number=number + 1, until="mined")
        return f"round {number + 1}: opened"
    return ""


def _why_not_open(client: Client, store: ContentStore, model_id: ModelId) -> str:
    """Return why the standing plan lets no round open now; nothing if one may open, or without a plan."""
    plans = client.model(model_id).plans
    plan = client.plan(model_id, plans - 1) if plans else None
    return "" if plan is None else why_not_open(client, model_id, goals_of(load_plan(store, plan).algorithm))


def _said_once(memory: AggregatorMemory, text: str) -> str:
    said = text in memory.said
    memory.said.add(text)
    return "" if said else text


def _end_commits(client: Client, model_id: ModelId, number: int) -> str:
    """End commits early once every participant of the model has committed, or as many as the plan calls enough."""
    named = who_ends_commits(client, model_id, number)
    if named is None:
        return ""
    client.end_commits(model_id, number, named, until="mined")
    return f"round {number}: commits ended early"


def _attest_best(
    client: Client,
    store: ContentStore,
    folder: Path,
    record: RoundRecord,
    phase: Phase,
    processes: int,
    memory: AggregatorMemory,
) -> str:
    """Attest the local result, or another aggregator's that is better and that no local blob disproves."""
    if not record.commitments:
        return ""
    memory.keep_only(record)
    round = load_round(store, record)
    state = client.round(record.model_id, record.number)
    patience = _patience(state, phase, chain_time(client.w3)) / memory.pace()

    def acceptable(verdicts: Sequence[Verdict]) -> bool:
        """Whether the contract accepts a result of these now: before the publish deadline, only a complete one."""
        complete = state.ended_early and sum(v.admitted for v in verdicts) == state.commitments
        return phase != Phase.PUBLISH or complete

    begun = time.monotonic()
    with _saying_whom_it_awaits(round, memory, patience) as arrived:
        if not memory.verdicts:
            hurry = partial(_judge_while_combining, patience=patience / 2, processes=processes, arrived=arrived)
            hurry(store, round, folder, memory, acceptable)
        patience -= time.monotonic() - begun
        verdicts = judge_all(store, round, memory.verdicts, patience=patience, arrived=arrived)
    if not acceptable(verdicts):
        left = (state.publish_deadline - chain_time(client.w3)) / memory.pace()
        _say_whom_it_awaits(round, memory, {v.commitment for v in verdicts if v.reason == Reason.UNAVAILABLE}, left)
        return ""

    def result_of(verdicts: tuple[Verdict, ...]) -> Result | None:
        key = _reasons(verdicts)
        if key not in memory.results:
            try:
                outcome = aggregate(store, round, verdicts, folder, processes=processes)
            except ContentError:
                memory.verdicts.clear()  # a blob became unavailable: judge all updates again
                raise
            memory.results[key] = outcome.result if outcome else None
        return memory.results[key]

    result, chosen = result_of(verdicts), verdicts
    hurried = LimitedStore(store, patience / 4)  # a rival's unavailable blobs must not delay our attestation
    for rival, reconciled in rivals_of(client, hurried, round, verdicts, result):
        if result_of(reconciled) == rival:  # else the result does not follow from its report
            result, chosen = rival, reconciled
            break
    if result is None:
        _say_too_few(record, memory, verdicts)
    if result is None or not attest(client, record, result, folder):
        return ""
    return f"round {record.number}: attested {result.contributions} contributions{_refused(chosen)}"


def _say_too_few(record: RoundRecord, memory: AggregatorMemory, verdicts: Sequence[Verdict]) -> None:
    """Say, once for each outcome, that a round has fewer contributions than its plan asks for."""
    admitted = sum(v.admitted for v in verdicts)
    said = (
        f"round {record.number}: nothing to attest: {admitted} of {len(verdicts)} updates admitted, the plan asks for "
        f"{record.plan.min_contributions}{_refused(verdicts)}"
    )
    if said not in memory.said:
        memory.said.add(said)
        log.warning("%s", said)


def _refused(verdicts: Sequence[Verdict]) -> str:
    """Return how many updates were refused, and why each; empty if none was."""
    refused = [v for v in verdicts if not v.admitted]
    told = [f"{to_checksum(v.commitment.participant)} {v.reason.name.lower().replace('_', ' ')}" for v in refused]
    return f"; {len(refused)} refused: {_first_of(told)}" if refused else ""


def _first_of(names: Sequence[str]) -> str:
    """Return the first names for a line, and how many more there are."""
    more = [f"{len(names) - _MOST_TOLD} more"] if len(names) > _MOST_TOLD else []
    return ", ".join([*names[:_MOST_TOLD], *more])


@contextmanager
def _saying_whom_it_awaits(
    round: LoadedRound, memory: AggregatorMemory, patience: float
) -> Iterator[Callable[[UpdateCommitted], None]]:
    """Say once, while updates are fetched, whose do not come; yield what is told of each that came."""
    missing = {c for c in round.record.commitments if c not in memory.verdicts}
    timer = threading.Timer(_SILENT, lambda: _say_whom_it_awaits(round, memory, set(missing), patience - _SILENT))
    timer.daemon = True
    timer.start()
    try:
        yield missing.discard
    finally:
        timer.cancel()


def _say_whom_it_awaits(
    round: LoadedRound, memory: AggregatorMemory, missing: set[UpdateCommitted], seconds: float
) -> None:
    new = [c for c in round.record.commitments if c in missing and c not in memory.awaited]
    memory.awaited.update(new)
    if not new:
        return
    names = _first_of([to_checksum(commitment.participant) for commitment in new])
    noun = "the update" if len(new) == 1 else "the updates"
    log.warning("round %d: waiting for %s of %s, up to %.0f s",
                round.record.number, noun, names, max(seconds, 0))  # fmt: skip


def _judge_while_combining(
    store: ContentStore,
    round: LoadedRound,
    folder: Path,
    memory: AggregatorMemory,
    acceptable: Callable[[Sequence[Verdict]], bool],
    *,
    patience: float,
    processes: int,
    arrived: Callable[[UpdateCommitted], None],
) -> None:
    """Judge all updates by their manifests, and the files of the admitted while they are combined, in one pass.

    Remembers nothing unless all of this succeeds: else each update is judged separately, which finds the faulty one.
    """
    hurried = LimitedStore(store, patience)

    def look(commitment: UpdateCommitted) -> Verdict:
        verdict = judge_declared(hurried, round.record, round.form, commitment)
        if verdict.reason != Reason.UNAVAILABLE:
            arrived(commitment)
        return verdict

    with ThreadPoolExecutor(_AT_ONCE, "judge") as pool:
        declared = judge_weights(pool.map(look, round.record.commitments))
    if not acceptable(declared) or any(v.reason == Reason.TOTAL_WEIGHT for v in declared):
        return
    try:
        outcome = aggregate(hurried, round, declared, folder, judged=False, processes=processes)
    except (ContentError, FormError, VerificationFailed) as error:
        log.info("round %d: judging each update separately: %s", round.record.number, error)
        return
    if outcome is None:
        return
    for verdict in declared:
        _keep_available(store, verdict)
    memory.verdicts.update(zip(round.record.commitments, declared, strict=True))
    memory.results[_reasons(declared)] = outcome.result


def _reasons(verdicts: Sequence[Verdict]) -> tuple[tuple[UpdateCommitted, Reason], ...]:
    return tuple((verdict.commitment, verdict.reason) for verdict in verdicts)


def _keep_available(store: ContentStore, verdict: Verdict) -> None:
    """Pin an admitted update: it is available from now on, whatever its author does."""
    if verdict.admitted and verdict.manifest is not None:
        store.pin(verdict.manifest.delta.cid)
        pin_manifest(store, verdict.manifest)


def _patience(state: RoundState, phase: Phase, now: int) -> float:
    """Return the seconds that one pass over the updates may take, five minutes at most.

    In Publish this is all the time left, after it a quarter: what is available is attested in time, and later passes
    fetch the rest.
    """
    left = state.publish_deadline - now if phase == Phase.PUBLISH else (state.aggregate_deadline - now) / 4
    return min(max(left, 0), _LONGEST_LOOK)


def judge_all(
    store: ContentStore,
    round: LoadedRound,
    known: dict[UpdateCommitted, Verdict] | None = None,
    *,
    patience: float = math.inf,
    arrived: Callable[[UpdateCommitted], None] = lambda commitment: None,
) -> tuple[Verdict, ...]:
    """Judge every commitment, a few in parallel, and pin the admitted updates.

    Args:
        store: Updates are fetched from it.
        round: The round.
        known: Verdicts so far; updated. Only unavailable updates are fetched again.
        patience: Seconds for all updates. Each has an equal share, or the time of its bytes at _NOT_SLOW if that is
            more: a slow update takes no time from the others. Blocks fetched so far stay in the store for the next
            pass.
        arrived: Called with each commitment whose update was judged, from several threads.
    """
    known = {} if known is None else known
    wanted = [c for c in round.record.commitments if c not in known or known[c].reason == Reason.UNAVAILABLE]
    share = max(patience * _AT_ONCE / max(len(wanted), _AT_ONCE), round.form.size / _NOT_SLOW)
    stopped = threading.Event()

    def look(commitment: UpdateCommitted) -> Verdict:
        end = time.monotonic() + share
        verdict = judge(store, round.record, round.form, commitment, lambda: stopped.is_set() or time.monotonic() > end)
        _keep_available(store, verdict)
        if verdict.reason != Reason.UNAVAILABLE:
            arrived(commitment)
        return verdict

    with ThreadPoolExecutor(_AT_ONCE, "judge") as pool:
        try:
            known.update(zip(wanted, pool.map(look, wanted), strict=True))
        finally:
            stopped.set()  # when interrupted, pending fetches end at their next piece
    return judge_weights(known[commitment] for commitment in round.record.commitments)


def aggregate(
    store: ContentStore,
    round: LoadedRound,
    verdicts: Sequence[Verdict],
    folder: Path,
    *,
    judged: bool = True,
    processes: int = 1,
) -> Outcome | None:
    """Combine the admitted updates, publish the result's blobs and manifests, and cache its trees for demands.

    Args:
        store: Holds the updates.
        round: The round.
        verdicts: One a commitment, in commit order.
        folder: This aggregator's folder.
        judged: Whether the admitted updates' files were judged; if not, each is judged while it is combined.
        processes: See `combine`.

    Returns:
        The outcome; None if too few updates were admitted.

    Raises:
        InputError: The disk has no room for files or trees.
        FormError, VerificationFailed: A file that was not judged is not to be admitted.
    """
    if sum(v.admitted for v in verdicts) < round.record.plan.min_contributions:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    trees = place_of(folder, round.record.model_id, round.record.number)
    require_room_for_trees(trees, round.form.rules, verdicts)
    with keeping_updates(trees, round.form, verdicts) as sinks:
        outcome = compute_outcome(store, round, verdicts, folder, judged=judged, processes=processes, sinks=sinks)
    publish_outcome(store, outcome)
    store.pin(round.parent.weights.cid)  # leaves of the parent may be demanded too
    if round.parent.state is not None:
        store.pin(round.parent.state.cid)
    keep_trees(store, trees, round.parent, round.form.rules, verdicts, outcome, processes=processes)
    return outcome


def attest(client: Client, record: RoundRecord, result: Result, folder: Path | None = None) -> bool:
    """Attest a result, or move to it; return whether a transaction was sent.

    Sends nothing if this result or a better one is attested already, or the transaction is pending. The record and the
    result, from which demands are answered, are written to the folder first.
    """
    own = client.attestation(record.model_id, record.number, client.account)
    tally = client.tally(record.model_id, record.number, result_hash(result))
    call = calls.attest_result(client.address, record.model_id, record.number, result, record.running_hash, tally=tally)
    if own == tally or client.transactor.journal.on_its_way(call.key) is not None:
        return False
    if any(own):
        standing = client.votes(record.model_id, record.number, own).contributions
        if (-standing, own) < (-result.contributions, tally):
            return False
    if folder is not None:
        since = client.final_block() + 1
        before = sorted({event.aggregator for event in attested_results(client, record)})
        keep_attested(folder, Attested(record, result, before, since))
    client.submit(call)  # not waited for: demands must be answered before it is final
    return True


def rivals_of(
    client: Client, store: ContentStore, round: LoadedRound, verdicts: Sequence[Verdict], own: Result | None
) -> Iterator[tuple[Result, tuple[Verdict, ...]]]:
    """Yield the attested results that are better than our own, best first, with their verdicts.

    Skips a result that admits an update unavailable here, or refuses one found to be good. The caller must compute
    whether a result follows from its verdicts.
    """
    latest = {event.aggregator: event.result for event in attested_results(client, round.record)}
    possible = {r for r in latest.values() if r.contributions <= len(round.record.commitments)}
    rank = partial(_rank, client, round.record)
    for result in sorted(possible, key=rank):
        if own is not None and rank(result) >= rank(own):
            return
        reconciled = _reconciled(store, result, round, verdicts)
        if reconciled is not None:
            yield result, reconciled


def _reconciled(
    store: ContentStore, result: Result, round: LoadedRound, verdicts: Sequence[Verdict]
) -> tuple[Verdict, ...] | None:
    """Return verdicts with the reasons of a rival's report; None if a local blob disproves one of them."""
    try:
        entries = load_report(store, result.report_digest, len(round.record.commitments)).entries
    except (ContentError, FormError):
        return None  # an unavailable or malformed report is no evidence
    if [entry.digest for entry in entries] != [commitment.digest for commitment in round.record.commitments]:
        return None
    if sum(entry.reason == Reason.ADMITTED for entry in entries) != result.contributions:
        return None  # a false count, to rank before better results
    reasons = [Reason(entry.reason) for entry in entries]
    if {Finding.FAILED, Finding.UNCHECKED} & set(standing(reasons, verdicts)):
        return None
    return tuple(replace(verdict, reason=reason) for verdict, reason in zip(verdicts, reasons, strict=True))


def _rank(client: Client, record: RoundRecord, result: Result) -> tuple[int, bytes]:
    """Return a sort key for the contract's preference: more contributions first, then the smaller tally.

    The tally differs from the result's hash once the result was voided by an unanswered demand.
    """
    return -result.contributions, client.tally(record.model_id, record.number, result_hash(result))
