"""An auditor: the aggregator's functions again, on what was anchored, ending in a verdict and, if need be, a challenge.

Looking needs neither account nor torch; `cairn verify` is the same functions over a whole lineage. With a signer and a
purse it demands what nobody shows and convicts what is false.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from registry.chain import calls
from registry.chain.challenge_records import Basis, Target
from registry.chain.challenges import Challenges
from registry.chain.court import Court
from registry.chain.court_events import LeafShown
from registry.chain.court_records import MAX_DEPOSIT, Demanded
from registry.chain.keys import to_checksum
from registry.chain.local import chain_time
from registry.chain.records import Dispute, Result
from registry.content.manifest import PlanManifest, VersionManifest
from registry.errors import ContractError
from registry.provenance.admission import UpdateForm, update_form
from registry.provenance.charges import Charge, Inspection, Wanted, basis_of
from registry.provenance.demands import demands_of
from registry.provenance.inspection import Recomputed, inspect
from registry.provenance.plans import load_plan
from registry.provenance.rounds import RoundRecord, attested_results, commits_closed, read_round, unexpelled
from registry.provenance.verify import Check, until_failure, verify_round
from registry.provenance.versions import load_parent, read_header
from registry.store.base import ContentStore
from registry.types import ModelId, Part, Phase
from trainer.challenger import LimitReached, Purse, bring
from trainer.claims import Claim, collect, seal

if TYPE_CHECKING:
    from registry.chain.client import Client

__all__ = ["Memory", "advance", "audit"]

_TOGETHER = 100
"""Leaves demanded by one transaction, of some 60 000 gas each."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What an auditor remembers between steps; losing it costs time and nothing else."""

    inspected: dict[bytes, tuple[int, Inspection]] = field(default_factory=dict)
    """By tally: how many leaves had been shown, and what came of it."""
    recomputed: Recomputed = field(default_factory=dict)
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
    memory: Memory

    def round(self, record: RoundRecord) -> tuple[PlanManifest, VersionManifest, UpdateForm]:
        """Return a round's plan, its parent, and the form of its updates."""
        plan, parent = load_plan(self.store, record.plan), load_parent(self.store, record)
        return plan, parent, update_form(read_header(self.store, parent.weights.blob), plan)

    def basis(self, record: RoundRecord) -> Basis:
        """Return what results of a round are held against."""
        _, parent, form = self.round(record)
        return basis_of(form.rules, parent)

    def inspect(self, record: RoundRecord, result: Result, tally: bytes, shown: Sequence[LeafShown]) -> Inspection:
        """Recompute a result, and remember what came of it."""
        plan, parent, form = self.round(record)
        place, known = self.folder / "recomputed", self.memory.recomputed
        found = inspect(self.store, record, plan, parent, form, result, shown, place, known)
        self.memory.inspected[tally] = (len(shown), found)
        return found

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


def advance(
    client: Client,
    store: ContentStore,
    folder: Path,
    model_id: ModelId,
    *,
    purse: Purse | None = None,
    memory: Memory | None = None,
) -> str:
    """Do what the model's current round wants of an auditor next, if anything; return what was done or found.

    Results are recomputed as soon as they are attested. In its challenge window what is false is convicted, what nobody
    shows is demanded, and a demand that nobody answered is closed, which makes the result void. Attesters of void
    results are expelled, own seals revealed, rewards collected. Safe to call at any time and any number of times.

    Args:
        client: The chain, with the auditor's signer if it is to do more than report.
        store: Where updates and results are fetched from.
        folder: Of this auditor.
        model_id: The model.
        purse: Pays; None to report only.
        memory: The same object at each call, so that nothing is recomputed twice.
    """
    number = client.model(model_id).rounds
    if not number:
        return ""
    watch = _Watch(client, store, folder, model_id, number, purse, memory or Memory())
    try:
        return _advance(watch)
    except LimitReached as error:
        return watch.tell(f"round {number}: {error}")


def _advance(watch: _Watch) -> str:
    client, model_id, number = watch.client, watch.model_id, watch.number
    if watch.purse is not None:
        done = _expel(watch, watch.purse) or _collect(watch, watch.purse)
        if done:
            return done
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
            found = watch.inspect(record, event.result, tally, ())
            return watch.tell(f"round {watch.number}: result 0x{event.result_hash.hex()[:12]}: {found.said}")
    return ""


def _hold(watch: _Watch) -> str:
    """Hold the result in its window against what was committed, as far as what is there allows."""
    client, number, purse = watch.client, watch.number, watch.purse
    dispute = client.dispute(watch.model_id, number)
    record = read_round(client, watch.model_id, number)
    result = next((e.result for e in attested_results(client, record) if e.result_hash == dispute.result_hash), None)
    if result is None or not any(dispute.tally):
        return ""  # the quorum's attestation is in a block that the node shows no more
    court = Court(client, send=purse.send if purse else None)
    demands = demands_of(court, dispute)
    now = chain_time(client.w3)
    for leaf in demands.open if purse else ():
        if demands.late_deadlines[leaf] <= now and not court.demand(leaf, block="pending").closed:
            court.close_demand(watch.model_id, number, leaf, until="mined")
            return f"round {number}: leaf {leaf.index} of 0x{leaf.root.hex()[:12]} was not shown: the result is void"
    before, found = watch.memory.inspected.get(dispute.tally, (-1, None))
    waits = found is not None and any(_named(dispute, w) in demands.open for w in found.wanted)
    if found is None or before != len(demands.shown) or not (found.sound or found.charge or waits):
        found = watch.inspect(record, result, dispute.tally, demands.shown)
    if purse is not None:
        target = Target(watch.model_id, number, result)
        if found.charge is not None:
            try:
                return _charge(court, record, target, dispute, found.charge, watch, purse)
            except ContractError as error:
                watch.memory.inspected.pop(dispute.tally, None)  # not convinced: look again before it is charged again
                return watch.tell(f"round {number}: the contract is not convinced: {error}")
        wanted = [w for w in found.wanted if _named(dispute, w) not in demands.deadlines]
        if wanted:
            return _demand(court, record, target, dispute, wanted, watch)
    return watch.tell(f"round {number}: result 0x{dispute.result_hash.hex()[:12]}: {found.said}")


def _named(dispute: Dispute, wanted: Wanted) -> Demanded:
    rows = wanted.rows
    return Demanded(dispute.round_id, dispute.tally, wanted.root, rows.entry_bytes, rows.entries, wanted.index)


def _charge(
    court: Court, record: RoundRecord, target: Target, dispute: Dispute, charge: Charge, watch: _Watch, purse: Purse
) -> str:
    if record.plan.bond_gwei:
        seal(court, watch.folder, Claim(dispute.round_id, dispute.tally, charge.part, charge.index))
    bring(Challenges(court.client, send=purse.send), record, target, charge, watch.basis(record))
    return f"round {target.number}: result 0x{dispute.result_hash.hex()[:12]} convicted: {charge.fault.name.lower()}"


def _demand(
    court: Court,
    record: RoundRecord,
    target: Target,
    dispute: Dispute,
    wanted: Sequence[Wanted],
    watch: _Watch,
) -> str:
    for leaf in wanted:
        named = _named(dispute, leaf)
        if record.plan.bond_gwei:
            # Also what the leaf may turn out to show: whoever sees it demanded can guess that.
            for claim in (
                Claim(dispute.round_id, dispute.tally, Part.WHOLE, 0),
                *([] if leaf.tree is None else [Claim(dispute.round_id, dispute.tally, Part.VALUES, leaf.index)]),
                Claim(dispute.round_id, dispute.tally, Part.SERVICE, 0, named),
            ):
                seal(court, watch.folder, claim)
    for first, *others in _together(wanted):
        # The base fee may rise meanwhile.
        deposit = min(court.deposit_now(target) * 5 // 4, MAX_DEPOSIT)
        indices = [first.index, *(leaf.index for leaf in others)]
        if first.head is not None:
            court.demand_head(target, first.head, first.membership, deposit=deposit, until="mined")
        elif first.tree is None:
            court.demand_contributions(target, indices, deposit=deposit, until="mined")
        else:
            basis = watch.basis(record)
            court.demand_chunks(target, first.tree, indices, first.membership, basis, deposit=deposit, until="mined")
    leaves = "a leaf" if len(wanted) == 1 else f"{len(wanted)} leaves"
    return f"round {target.number}: demanded {leaves} of result 0x{dispute.result_hash.hex()[:12]}"


def _together(wanted: Sequence[Wanted]) -> Iterator[list[Wanted]]:
    """Yield leaves of one blob, as many as one transaction demands."""
    blobs: dict[tuple[object, ...], list[Wanted]] = {}
    for leaf in wanted:
        blobs.setdefault((leaf.root, leaf.tree, leaf.head), []).append(leaf)
    for leaves in blobs.values():
        for first in range(0, len(leaves), _TOGETHER):
            yield leaves[first : first + _TOGETHER]


def _collect(watch: _Watch, purse: Purse) -> str:
    """Reveal and collect; what cannot be is no reason not to look at the result in its window."""
    try:
        return collect(watch.client, purse, watch.folder)
    except ContractError as error:
        return watch.tell(f"round {watch.number}: nothing is collected: {error}")


def _expel(watch: _Watch, purse: Purse) -> str:
    attesters = unexpelled(watch.client, watch.model_id, watch.number)
    if not attesters:
        return ""
    purse.send(calls.expel(watch.client.address, watch.model_id, watch.number, attesters))
    return f"round {watch.number}: expelled {', '.join(to_checksum(account) for account in attesters)}"
