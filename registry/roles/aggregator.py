"""An aggregator: read commitments, fetch and judge each, combine, publish, attest.

It holds nothing that cannot be computed again, so it may be stopped anywhere. Aggregators that saw different blobs
converge: each admits whatever it comes to hold before the quorum, and moves to another's result where that has more
contributions, or as many and a smaller tally, and nothing held here disproves it.

Its work is tasks that do not wait for one another (`tasks`): answering demands, which has the least time; judging,
combining and attesting; and all else that moves a round on. `advance` is one step of each, in that order.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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
from registry.disputes.answers import keep_trees, require_room_for_trees
from registry.disputes.tree_cache import place_of, remove_before
from registry.errors import ContentError, FormError
from registry.ethereum.node import chain_time
from registry.roles.answering import Answering, answer_demands, collect_deposits
from registry.roles.attested import Attested, forget_before, keep_attested
from registry.roles.loop import LoopTask, keeping, take_step
from registry.rounds.admission import Verdict, judge, judge_weights
from registry.rounds.loaded_round import LoadedRound, load_round
from registry.rounds.onchain import (
    RoundRecord,
    attested_results,
    chosen_result,
    commits_closed,
    final_phase,
    participants_of,
    read_round,
    unexpelled,
)
from registry.rounds.reports import load_report
from registry.rounds.results import Outcome, compute_outcome, publish_outcome
from registry.store.base import ContentStore
from registry.store.limited import LimitedStore
from registry.store.manifests import pin_manifest
from registry.types import ModelId, Phase
from registry.verification.verify import Finding, standing

if TYPE_CHECKING:
    from registry.chain.client import Client

__all__ = ["AggregatorMemory", "advance", "aggregate", "attest", "judge_all", "rivals_of", "tasks"]

_MOST_NAMED = 2000
"""Participants that one transaction can name to end commits early; where there are more, the deadline ends them."""
_LONGEST_LOOK = 300.0
_NOT_SLOW = 4 << 20
"""Bytes a second at which an update is always looked at to its end, however many there are: else none ever would be."""
_AT_ONCE = 4
"""Updates that are fetched and judged at once."""


@dataclass(frozen=True, slots=True)
class AggregatorMemory:
    """What an aggregator remembers between steps; losing it costs time and nothing else."""

    verdicts: dict[UpdateCommitted, Verdict] = field(default_factory=dict)
    results: dict[tuple[tuple[UpdateCommitted, Reason], ...], Result | None] = field(default_factory=dict)
    answering: Answering = field(default_factory=Answering)

    def keep_only(self, record: RoundRecord) -> None:
        """Forget other rounds."""
        if not self.verdicts.keys() <= set(record.commitments):
            self.verdicts.clear()
            self.results.clear()


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
    """Return what an aggregator does, the most urgent first, as steps that may be taken side by side.

    Args:
        client: The chain, with this aggregator's signer.
        store: Where updates are fetched from and results published to.
        folder: Of this aggregator.
        model_id: The model.
        open_rounds: Whether to open the next round once the last has ended.
        processes: See `combine`.
        memory: The same object at each call, so that nothing is fetched, judged or combined twice.
        answerer: The chain with another signer, who shows what is demanded: one whose transactions nothing else holds
            up. None for the aggregator itself.
    """
    kept = memory or AggregatorMemory()
    shows = answerer or client
    return (
        LoopTask("answering", lambda: _answer(client, shows, store, folder, model_id, kept)),
        LoopTask("attesting", lambda: _attest(client, store, folder, model_id, processes, kept)),
        LoopTask("rounds", lambda: _move_on(client, folder, model_id, open_rounds=open_rounds)),
        LoopTask("deposits", lambda: collect_deposits(shows)),
        keeping(client),
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
    """Do what the model's current round wants of this aggregator next, if anything; return what was done.

    Safe to call at any time and any number of times. Arguments as `tasks` has them, whose steps these are.
    """
    return take_step(
        tasks(client, store, folder, model_id, open_rounds=open_rounds, processes=processes, memory=memory)
    )


def _answer(
    client: Client, answerer: Client, store: ContentStore, folder: Path, model_id: ModelId, memory: AggregatorMemory
) -> str:
    """Show what is demanded of the result in its window, and look after what was shown."""
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
    phase = client.phase(model_id, number)
    if phase not in (Phase.PUBLISH, Phase.AGGREGATE) or not commits_closed(client, model_id, number):
        return ""
    record = read_round(client, model_id, number)
    return _attest_best(client, store, folder, record, phase, processes, memory)


def _move_on(client: Client, folder: Path, model_id: ModelId, *, open_rounds: bool) -> str:
    """Do what anybody may do once it is time: end commits, finalize, expel, open the next round; and tidy up."""
    number = client.model(model_id).rounds
    phase = client.phase(model_id, number) if number else Phase.CANCELLED
    remove_before(folder, model_id, number)
    forget_before(folder, model_id, number)
    if phase == Phase.COMMIT:
        return _end_commits(client, model_id, number)
    if phase == Phase.FINAL and not client.round(model_id, number).finalized:
        if final_phase(client, model_id, number) == Phase.NONE:
            return ""  # a window shorter than finality: read_round has to wait
        result = chosen_result(client, read_round(client, model_id, number))
        if result is None:
            return ""  # the quorum's attestation is in a block that the node shows no more
        client.finalize_round(model_id, number, result, until="mined")
        return f"round {number}: finalized"
    if phase in (Phase.FINAL, Phase.CANCELLED):
        remove_before(folder, model_id, number + 1)
    if phase in (Phase.FINAL, Phase.CANCELLED) and open_rounds and not client.model(model_id).suspended:
        attesters = unexpelled(client, model_id, number) if number else {}
        if attesters:
            client.expel(model_id, number, attesters, until="mined")
        client.open_round(model_id, number=number + 1, until="mined")
        return f"round {number + 1}: opened"
    return ""


def _end_commits(client: Client, model_id: ModelId, number: int) -> str:
    """End commits early once every participant of the model has committed."""
    participants = participants_of(client, model_id)
    if not 0 < len(participants) <= _MOST_NAMED or any(
        client.member(model_id, account).last_round != number for account in participants
    ):
        return ""
    client.end_commits(model_id, number, participants, until="mined")
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
    """Attest what was computed here, or another's result that is better and stands up to what is held here."""
    if not record.commitments:
        return ""
    memory.keep_only(record)
    round = load_round(store, record)
    state = client.round(record.model_id, record.number)
    patience = _patience(state, phase, chain_time(client.w3))
    verdicts = judge_all(store, round, memory.verdicts, patience=patience)
    complete = state.ended_early and sum(v.admitted for v in verdicts) == state.commitments
    if phase == Phase.PUBLISH and not complete:
        return ""  # the contract takes a result this early only if nothing is missing

    def result_of(verdicts: tuple[Verdict, ...]) -> Result | None:
        key = tuple((v.commitment, v.reason) for v in verdicts)
        if key not in memory.results:
            try:
                outcome = aggregate(store, round, verdicts, folder, processes=processes)
            except ContentError:
                memory.verdicts.clear()  # something that was there is gone: look again at all of it
                raise
            memory.results[key] = outcome.result if outcome else None
        return memory.results[key]

    result = result_of(verdicts)
    hurried = LimitedStore(store, patience / 4)  # who attests what nobody has keeps nobody from attesting in time
    for rival, reconciled in rivals_of(client, hurried, round, verdicts, result):
        if result_of(reconciled) == rival:  # else it was not what its report says
            result = rival
            break
    if result is None or not attest(client, record, result, folder):
        return ""
    return f"round {record.number}: attested {result.contributions} contributions"


def _patience(state: RoundState, phase: Phase, now: int) -> float:
    """Return the seconds one look at the updates may take: what is left of Publish, or a quarter of what is left after
    it, but no more than five minutes. So what is there is attested in time, and looked at again after that.
    """
    left = state.publish_deadline - now if phase == Phase.PUBLISH else (state.aggregate_deadline - now) / 4
    return min(max(left, 0), _LONGEST_LOOK)


def judge_all(
    store: ContentStore,
    round: LoadedRound,
    known: dict[UpdateCommitted, Verdict] | None = None,
    *,
    patience: float = math.inf,
) -> tuple[Verdict, ...]:
    """Judge every commitment, a few at once, and pin what is admitted.

    Args:
        store: Where updates are fetched from.
        round: The round.
        known: Verdicts so far, to be added to; of those in it only what was unavailable is looked for again.
        patience: Seconds for all. Each update has an equal share, or what its bytes take at _NOT_SLOW if that is more,
            so that one that comes slowly costs the others none of theirs; what came of it is in the store when it is
            looked for again.
    """
    known = {} if known is None else known
    wanted = [c for c in round.record.commitments if c not in known or known[c].reason == Reason.UNAVAILABLE]
    share = max(patience * _AT_ONCE / max(len(wanted), _AT_ONCE), round.form.size / _NOT_SLOW)
    stopped = threading.Event()

    def look(commitment: UpdateCommitted) -> Verdict:
        end = time.monotonic() + share
        verdict = judge(store, round.record, round.form, commitment, lambda: stopped.is_set() or time.monotonic() > end)
        if verdict.admitted and verdict.manifest is not None:
            store.pin(verdict.manifest.delta.cid)  # kept and served from here on, whatever its author does
            pin_manifest(store, verdict.manifest)
        return verdict

    with ThreadPoolExecutor(_AT_ONCE, "judge") as pool:
        try:
            known.update(zip(wanted, pool.map(look, wanted), strict=True))
        finally:
            stopped.set()  # when interrupted, those under way end at their next piece
    return judge_weights(known[commitment] for commitment in round.record.commitments)


def aggregate(
    store: ContentStore, round: LoadedRound, verdicts: Sequence[Verdict], folder: Path, *, processes: int = 1
) -> Outcome | None:
    """Combine what was admitted, publish the result's blobs and manifests, and keep the trees that demands of it are
    answered from; None if too little was admitted.

    Raises:
        InputError: The disk has no room for files or trees.
    """
    if sum(v.admitted for v in verdicts) < round.record.plan.min_contributions:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    trees = place_of(folder, round.record.model_id, round.record.number)
    require_room_for_trees(trees, round.form.rules, verdicts)
    outcome = compute_outcome(store, round, verdicts, folder, processes=processes)
    publish_outcome(store, outcome)
    store.pin(round.parent.weights.cid)  # leaves of the parent may be demanded of whoever attests what it became
    if round.parent.state is not None:
        store.pin(round.parent.state.cid)
    keep_trees(store, trees, round.parent, round.form.rules, verdicts, outcome, processes=processes)
    return outcome


def attest(client: Client, record: RoundRecord, result: Result, folder: Path | None = None) -> bool:
    """Attest a result, or move to it; returns whether that was needed and allowed.

    An aggregator that already stands by this result, or by a better one, or is about to, sends nothing. What demands of
    it are answered by is kept in its folder before.
    """
    own = client.attestation(record.model_id, record.number, client.account, block="pending")
    tally = client.tally(record.model_id, record.number, result_hash(result), block="pending")
    call = calls.attest_result(client.address, record.model_id, record.number, result, record.running_hash, tally=tally)
    if own == tally or client.transactor.journal.on_its_way(call.key) is not None:
        return False
    if any(own):
        standing = client.votes(record.model_id, record.number, own, block="pending").contributions
        if (-standing, own) < (-result.contributions, tally):
            return False
    if folder is not None:
        since = client.final_block() + 1
        before = sorted({event.aggregator for event in attested_results(client, record)})
        keep_attested(folder, Attested(record, result, before, since))
    client.submit(call)  # not waited for: whoever waits until it is final answers no demand meanwhile
    return True


def rivals_of(
    client: Client, store: ContentStore, round: LoadedRound, verdicts: Sequence[Verdict], own: Result | None
) -> Iterator[tuple[Result, tuple[Verdict, ...]]]:
    """Yield the results aggregators stand by that are better than our own, best first, with their verdicts.

    Left out is what claims to admit an update that is not held here, or to refuse one that is found to be good. Whether
    a result follows from its verdicts is for the caller to compute.
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
    """Return verdicts with a rival report's reasons, or None if something held here disproves one of them."""
    try:
        entries = load_report(store, result.report_digest, len(round.record.commitments)).entries
    except (ContentError, FormError):
        return None  # a report that is not to be had, or not one, convinces nobody
    if [entry.digest for entry in entries] != [commitment.digest for commitment in round.record.commitments]:
        return None
    if sum(entry.reason == Reason.ADMITTED for entry in entries) != result.contributions:
        return None  # claims more than it shows, to go before better ones
    reasons = [Reason(entry.reason) for entry in entries]
    if {Finding.FAILED, Finding.UNCHECKED} & set(standing(reasons, verdicts)):
        return None
    return tuple(replace(verdict, reason=reason) for verdict, reason in zip(verdicts, reasons, strict=True))


def _rank(client: Client, record: RoundRecord, result: Result) -> tuple[int, bytes]:
    """Results in the contract's order of preference: more contributions first, then the smaller tally, which is another
    than the result's hash once the result was void for want of an answer.
    """
    return -result.contributions, client.tally(record.model_id, record.number, result_hash(result))
