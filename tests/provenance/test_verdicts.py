"""Every check of a verification has a lie that only this check detects: all earlier checks pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from registry.chain.client import Client
from registry.chain.contract_events import (
    CommitsEnded,
    QuorumReached,
    ResultAttested,
    ResultVoided,
    RolesChanged,
    RoundOpened,
    UpdateCommitted,
)
from registry.chain.contract_hashes import result_hash
from registry.chain.contract_structs import Result, Roots
from registry.content.manifest import Reason, ReportPage, UpdateManifest, digest_of, manifest_cid
from registry.disputes.charges import reported
from registry.disputes.openings import listing_of
from registry.errors import VerificationFailed
from registry.ethereum.positions import Event, Position
from registry.rounds.eligibility import RoundEvents, require_commitments, require_in_time, require_quorum
from registry.rounds.onchain import RoundRecord, chosen_result, read_round
from registry.rounds.reports import load_report
from registry.rounds.versions import load_version_manifest
from registry.store.local import LocalStore
from registry.store.manifests import get_manifest, put_manifest
from registry.store.memory import MemoryStore
from registry.types import Address, Cid, Codec, Digest, Role, Root, Standing
from registry.verification.cache import VerificationCache
from registry.verification.checks import Check, Finding, until_failure
from registry.verification.verify import verify_records, verify_round, verify_version
from trainer.simulation import Simulation

HASH = b"\x07" * 32


class Lying(Client):
    """A reader whose node edits its events, or what the contract says of versions."""

    edit: Callable[[Event], Event | None] = staticmethod(lambda event: event)
    version_edit: Callable[[Any], Any] = staticmethod(lambda version: version)

    def events(self, *kinds: Any, **asked: Any) -> Iterator[Event]:
        return (changed for event in super().events(*kinds, **asked) if (changed := self.edit(event)) is not None)

    def version(self, *asked: Any, **options: Any) -> Any:
        return self.version_edit(super().version(*asked, **options))


@dataclass(frozen=True)
class Case:
    """What a lie is told about: round 2 of a model."""

    sim: Simulation
    record: RoundRecord
    result: Result
    store: MemoryStore

    def copied(self) -> MemoryStore:
        store = MemoryStore()
        store._blocks.update(self.store._blocks)
        return store

    def put(self, store: MemoryStore, manifest: Any) -> Digest:
        put_manifest(store, manifest)
        return digest_of(manifest)


@pytest.fixture
def case(trained: Simulation) -> Case:
    record = read_round(trained.owner, trained.model_id, 2)
    result = chosen_result(trained.owner, record)
    assert result is not None
    assert isinstance(trained.store, MemoryStore)
    return Case(trained, record, result, trained.store)


def only_the_last(checks: list[Check], name: str, said: str) -> None:
    assert [check.finding for check in checks[:-1]] == ["passed"] * (len(checks) - 1)
    assert (checks[-1].name, checks[-1].finding) == (name, "failed"), checks[-1]
    assert said in checks[-1].evidence


# What is computed again -----------------------------------------------------------------------------------------------


Tell = Callable[[Case], tuple[MemoryStore, RoundRecord, Result]]
"""Makes what is looked at of a case."""


def damaged(case: Case, key: bytes) -> MemoryStore:
    store = case.copied()
    store._blocks[key] = store._blocks[key][:-1] + bytes([store._blocks[key][-1] ^ 1])
    return store


def report_with(case: Case, **changed: Any) -> tuple[MemoryStore, Result]:
    """A report that is otherwise right."""
    store = case.copied()
    report = load_report(store, case.result.report_digest, len(case.record.commitments))
    if "reasons" in changed:
        reasons = changed.pop("reasons")
        entries = tuple(
            entry if reason == 0 else replace(entry, reason=int(reason), update=bytes(entry.digest), factor=0)
            for entry, reason in zip(report.entries, reasons, strict=True)
        )
        held = [entry for entry in entries if entry.reason == 0]
        weight, steps = sum(entry.weight for entry in held), sum(entry.steps for entry in held)
        changed |= {"contributions": len(held), "total_weight": weight, "total_steps": steps, "divisor": weight}
    else:
        entries = changed.pop("entries", report.entries)
    page = ReportPage(entries)
    case.put(store, page)
    manifest = replace(report.manifest, pages=(manifest_cid(digest_of(page)),), **changed)
    return store, replace(case.result, report_digest=case.put(store, manifest))


def a_false_report_aggregate(case: Case) -> tuple[MemoryStore, RoundRecord, Result]:
    report = load_report(case.store, case.result.report_digest, 2).manifest
    store, result = report_with(case, aggregate=replace(report.aggregate, tensor_root=HASH))
    return store, case.record, result


def a_swapped_order(case: Case) -> tuple[MemoryStore, RoundRecord, Result]:
    entries = load_report(case.store, case.result.report_digest, 2).entries
    store, result = report_with(case, entries=entries[::-1])
    return store, case.record, result


def a_refused_contribution(case: Case) -> tuple[MemoryStore, RoundRecord, Result]:
    store, result = report_with(case, reasons=(Reason.VALUE, Reason.ADMITTED))
    return store, case.record, result


def a_report_of_another_round(case: Case) -> tuple[MemoryStore, RoundRecord, Result]:
    store, result = report_with(case, number=9)
    return store, case.record, result


def with_result(**changed: Any) -> Tell:
    return lambda case: (case.store, case.record, replace(case.result, **changed))


def with_record(
    change: Callable[[RoundRecord], RoundRecord],
) -> Callable[[Case], tuple[MemoryStore, RoundRecord, Result]]:
    return lambda case: (case.store, change(case.record), case.result)


def with_damage(key: Callable[[Case], bytes]) -> Tell:
    return lambda case: (damaged(case, key(case)), case.record, case.result)


def version_file(case: Case) -> bytes:
    return load_version_manifest(case.store, case.result.version_digest).weights.cid.digest


def aggregate_file(case: Case) -> bytes:
    return load_report(case.store, case.result.report_digest, 2).manifest.aggregate.cid.digest


RECOMPUTED: dict[str, tuple[str, Any, str]] = {
    "a report of another round": ("report manifest", a_report_of_another_round, "report: round"),
    "another plan": (
        "plan", with_record(lambda r: replace(r, plan=replace(r.plan, weight_cap=5))), "the manifest has weight_cap",
    ),
    "other parent roots": ("parent", with_record(lambda r: replace(r, parent_roots=HASH)), "anchored with"),
    "entries in another order": ("completeness", a_swapped_order, "report: commitments"),
    "a sound update refused": ("update of", a_refused_contribution, "the report says value, found admitted"),
    "another contributions root": ("contributions", with_result(contributions_root=Root(HASH)), "contributions_root"),
    "another aggregate": ("aggregate", with_result(aggregate_root=Root(HASH)), "aggregate_root"),
    "other roots": ("server step", with_result(roots=Roots(Root(HASH), Root(HASH))), "roots"),
    "a report that names another aggregate": ("report", a_false_report_aggregate, "report_digest"),
    "another version": ("version", with_result(version_digest=Digest(HASH)), "version_digest"),
    "another total weight": ("result", with_result(total_weight=7), "recomputed result"),
    "a version's file that rots": ("version file", with_damage(version_file), "BlockMismatch"),
    "an aggregate's file that rots": ("aggregate file", with_damage(aggregate_file), "BlockMismatch"),
}  # fmt: skip


@pytest.mark.parametrize("lie", RECOMPUTED)
def test_each_check_of_a_round_fails_alone(case: Case, tmp_path: Path, lie: str) -> None:
    name, tell, said = RECOMPUTED[lie]
    store, record, result = tell(case)
    found = list(until_failure(verify_round(case.sim.owner, store, record, result, tmp_path, deep=True)))
    if name == "update of":
        name = f"update of 0x{record.commitments[0].participant.hex()[:8]}"
    only_the_last(found, name, said)


@pytest.mark.parametrize(("which", "name"), [("update", "update of"), ("parent", "parent")])
def test_damage_fails_though_a_store_sets_it_aside_at_first_sight(
    case: Case, tmp_path: Path, which: str, name: str
) -> None:
    store = LocalStore(tmp_path / "store")
    for digest, block in case.store._blocks.items():
        store.put(Cid(Codec.RAW, Digest(digest)), block)
    if which == "parent":
        file = load_version_manifest(store, case.record.parent).weights.cid
    else:
        file = get_manifest(store, case.record.commitments[1].digest, UpdateManifest).delta.cid
    path = store.path_of(file.digest)
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    found = list(until_failure(verify_round(case.sim.owner, store, case.record, case.result, tmp_path)))
    assert found[-1].name.startswith(name)
    assert (found[-1].finding, "BlockMismatch" in found[-1].evidence) == ("failed", True)


def test_a_true_round_fails_nothing(case: Case, tmp_path: Path) -> None:
    found = list(until_failure(verify_round(case.sim.owner, case.store, case.record, case.result, tmp_path, deep=True)))
    assert [check.finding for check in found] == ["passed"] * len(found)
    assert {"completeness", "aggregate file"} <= {check.name for check in found}


# By manifests alone ---------------------------------------------------------------------------------------------------


def a_smaller_factor(case: Case) -> tuple[MemoryStore, RoundRecord, Result]:
    """A list whose root has it too: what is wrong is that a mean gives every update its weight."""
    first, *rest = load_report(case.store, case.result.report_digest, 2).entries
    entries = (replace(first, factor=first.factor - 1), *rest)
    root = listing_of(reported(entry) for entry in entries).root
    store, result = report_with(case, entries=entries, contributions_root=root)
    return store, case.record, replace(result, contributions_root=root)


def an_own_divisor(case: Case) -> tuple[MemoryStore, RoundRecord, Result]:
    more = case.result.divisor + 1
    store, result = report_with(case, divisor=more)
    return store, case.record, replace(result, divisor=more)


LISTED: dict[str, tuple[Any, str]] = {
    "another contributions root": (with_result(contributions_root=Root(HASH)), "contributions root"),
    "another total weight": (with_result(total_weight=7), "total weight"),
    "other total steps": (with_result(total_steps=7), "total steps"),
    "a factor below the weight": (a_smaller_factor, "factors: expected"),
    "a divisor above the total weight": (an_own_divisor, "divisor"),
    "another divisor than the report's": (with_result(divisor=7), "divisor"),
}


@pytest.mark.parametrize("lie", LISTED)
def test_a_false_list_fails_by_manifests_alone(case: Case, lie: str) -> None:
    tell, said = LISTED[lie]
    only_the_last(list(until_failure(verify_records(*tell(case)))), "contributions", said)


def test_a_true_list_passes_by_manifests_alone(case: Case) -> None:
    found = list(until_failure(verify_records(case.store, case.record, case.result)))
    assert "failed" not in [check.finding for check in found]
    assert "contributions" in {check.name for check in found if check.finding == "passed"}


# What is read off the chain -------------------------------------------------------------------------------------------


def other_root(version: Any) -> Any:
    return replace(version, roots=HASH)


def without_roles(event: Event) -> Event | None:
    """Participants' roles come too late."""
    if isinstance(event, RolesChanged) and event.roles & Role.PARTICIPANT:
        return replace(event, at=replace(event.at, block_number=10**6))
    return event


def without_aggregators(event: Event) -> Event | None:
    return None if isinstance(event, RolesChanged) and event.roles & Role.AGGREGATOR else event


def heavier(event: Event) -> Event | None:
    return replace(event, weight=9) if isinstance(event, UpdateCommitted) else event


def another_hash(event: Event) -> Event | None:
    """An event that no other check looks at, as the chain does not have it."""
    if isinstance(event, RolesChanged) and event.roles & Role.AGGREGATOR:
        return replace(event, roles=event.roles | Role.READER)
    return event


ON_CHAIN: dict[str, tuple[str, dict[str, Any], str]] = {
    "a root that the contract does not hold": ("anchor", {"version_edit": other_root}, "roots in the contract"),
    "a commitment edited": ("commitments", {"edit": heavier}, "expected commitments that hash to"),
    "aggregators without the role": ("quorum", {"edit": without_aggregators}, "expected the aggregator role"),
    "participants without the role": ("eligibility", {"edit": without_roles}, "expected the participant role"),
}


@pytest.mark.parametrize("lie", ON_CHAIN)
def test_each_check_of_the_chain_fails_alone(case: Case, tmp_path: Path, lie: str) -> None:
    name, edits, said = ON_CHAIN[lie]
    client = Lying(case.sim.w3, case.sim.owner.address)
    for what, edit in edits.items():
        setattr(client, what, edit)
    *_, last = verify_version(client, case.store, case.sim.model_id, case.result.version_digest, tmp_path)
    only_the_last(list(last.checks), name, said)


def test_an_event_that_is_not_in_the_receipts_fails_deep_and_only_deep(case: Case, tmp_path: Path) -> None:
    client = Lying(case.sim.w3, case.sim.owner.address)
    client.edit = another_hash  # type: ignore[method-assign]
    asked = (case.store, case.sim.model_id, case.result.version_digest, tmp_path)
    first, *_ = verify_version(client, *asked, deep=True)
    only_the_last(list(first.checks), "receipts", "expected RolesChanged as the node gave it")
    assert all(found.passed for found in verify_version(client, *asked))


def test_an_event_that_the_node_leaves_out_of_a_block_that_deep_opens_fails(case: Case, tmp_path: Path) -> None:
    client = Lying(case.sim.w3, case.sim.owner.address)
    granted = [e for e in case.sim.owner.events(RolesChanged) if isinstance(e, RolesChanged)]
    blocks = [e.at.block_number for e in granted]
    hidden = next(e for e in granted if blocks.count(e.at.block_number) > 1 and e.roles == Role.PARTICIPANT)
    client.edit = lambda event: None if event == hidden else event  # type: ignore[method-assign]
    asked = (case.store, case.sim.model_id, case.result.version_digest, tmp_path)
    first, *_ = verify_version(client, *asked, deep=True)
    only_the_last(list(first.checks), "receipts", "which the node left out")


def test_a_true_version_is_verified_deep(case: Case, tmp_path: Path) -> None:
    reader = Client(case.sim.w3, case.sim.owner.address)
    found = list(verify_version(reader, case.store, case.sim.model_id, case.result.version_digest, tmp_path, deep=True))
    assert all(check.finding == "passed" for one in found for check in one.checks)
    assert all("receipts" in {check.name for check in one.checks} for one in found)


# Who might, and when --------------------------------------------------------------------------------------------------


def at(block: int, index: int = 0) -> Position:
    return Position(block, index, bytes(32), bytes(32))


def around(case: Case, **changed: Any) -> RoundEvents:
    """What happened around round 2, as it is or changed."""
    client, record = case.sim.owner, case.record
    own = tuple(client.events(subject=record.round_id))
    model = list(client.events(subject=record.model_id))
    opened = next(e for e in model if isinstance(e, RoundOpened) and e.number == 2)
    roles = [e for e in model if isinstance(e, RolesChanged)]
    times = {c.at.block_number: opened.commit_deadline - 1 for c in record.commitments}
    return RoundEvents(**({"opened": opened, "events": own, "roles": roles, "times": times} | changed))


def test_commitments_and_quorum_of_a_true_round_are_eligible(case: Case) -> None:
    require_commitments(case.record, around(case))
    assert len(require_quorum(case.record, around(case), result_hash(case.result))) == case.record.plan.quorum


def test_a_commitment_by_a_revoked_participant_is_not_eligible(case: Case) -> None:
    true, first = around(case), case.record.commitments[0]
    revoked = RolesChanged(replace(first.at, log_index=0), case.record.model_id, first.participant, Role(0))
    revoked = replace(revoked, at=at(first.at.block_number - 1))
    with pytest.raises(VerificationFailed, match="expected the participant role"):
        require_commitments(case.record, replace(true, roles=[*true.roles, revoked]))
    later = replace(revoked, at=at(first.at.block_number + 1))
    require_commitments(case.record, replace(true, roles=[*true.roles, later]))


def test_a_commitment_before_its_round_is_not_eligible(case: Case) -> None:
    true = around(case)
    opened = replace(true.opened, at=at(case.record.commitments[-1].at.block_number + 1))
    with pytest.raises(VerificationFailed, match="after round 2 was opened"):
        require_commitments(case.record, replace(true, opened=opened))


def test_a_commitment_of_another_round_is_not_eligible(case: Case) -> None:
    true = around(case)
    with pytest.raises(VerificationFailed, match="after round 2 was opened"):
        require_commitments(case.record, replace(true, opened=replace(true.opened, round_id=bytes(32))))  # type: ignore[arg-type]


def test_a_commitment_without_steps_is_not_eligible(case: Case) -> None:
    first, *rest = case.record.commitments
    idle = replace(case.record, commitments=(replace(first, steps=0), *rest))
    with pytest.raises(VerificationFailed, match="expected one step or more, got 0"):
        require_commitments(idle, around(case))


def test_a_commitment_after_an_early_end_is_not_eligible(case: Case) -> None:
    true, first = around(case), case.record.commitments[0]
    ended = CommitsEnded(at(first.at.block_number - 1), case.record.round_id, 2, 1, 2, 3)
    with pytest.raises(VerificationFailed, match="before commits ended"):
        require_commitments(case.record, replace(true, events=[ended]))


@pytest.mark.parametrize("late", [0, 1])
def test_a_commitment_at_or_after_the_deadline_is_not_eligible(case: Case, late: int) -> None:
    true = around(case)
    times = dict.fromkeys(true.times, true.opened.commit_deadline + late)
    with pytest.raises(VerificationFailed, match="expected it before"):
        require_commitments(case.record, replace(true, times=times))


def test_a_commitment_over_the_weight_cap_is_not_eligible(case: Case) -> None:
    capped = replace(case.record, plan=replace(case.record.plan, weight_cap=50))  # the second weighs 51
    with pytest.raises(VerificationFailed, match="expected a weight of 1 to 50, got 51"):
        require_commitments(capped, around(case))


@pytest.mark.parametrize("early", [False, True])
def test_an_attestation_out_of_its_phase_is_not_eligible(case: Case, early: bool) -> None:
    true, own = around(case), result_hash(case.result)
    attested = [e for e in true.events if isinstance(e, ResultAttested)]
    others = [e for e in true.events if not isinstance(e, CommitsEnded)]
    ended = CommitsEnded(at(attested[0].at.block_number - 1), case.record.round_id, 2, 1000, 2000, 3000)
    opened = replace(true.opened, publish_deadline=2000, aggregate_deadline=3000)
    events = sorted([*others, *([ended] if early else [])], key=lambda event: event.at)
    first = 1000 if early else 2000

    def attested_at(time: int, *more: Event) -> RoundEvents:
        times = {e.at.block_number: time for e in attested}
        return replace(true, opened=opened, events=[*more, *events], times=times)

    for time in (first, 2999):
        require_in_time(attested_at(time), own)
    for time in (first - 1, 3000):
        with pytest.raises(VerificationFailed, match=f"expected it from {first} on and before 3000, got it at {time}"):
            require_in_time(attested_at(time), own)
    later = ResultVoided(
        at(attested[0].at.block_number - 1, 9), case.record.round_id, HASH, HASH, Standing.UNANSWERED, 5000
    )
    require_in_time(attested_at(4999, later) if not early else attested_at(2999), own)


def test_a_result_without_its_quorum_does_not_stand(case: Case) -> None:
    true, own = around(case), result_hash(case.result)
    for left_out in (QuorumReached, ResultAttested):
        fewer = [event for event in true.events if not isinstance(event, left_out)]
        with pytest.raises(VerificationFailed, match=r"expected a quorum|expected 2 attestations"):
            require_quorum(case.record, replace(true, events=fewer), own)
    with pytest.raises(VerificationFailed, match="expected a quorum"):
        require_quorum(case.record, true, HASH)


def test_a_void_result_does_not_stand_until_it_is_attested_anew(case: Case) -> None:
    true, own = around(case), result_hash(case.result)
    attested = [e for e in true.events if isinstance(e, ResultAttested)]
    (reached,) = [e for e in true.events if isinstance(e, QuorumReached)]
    void = ResultVoided(at(10**6), case.record.round_id, own, own, Standing.UNANSWERED, 5)
    with pytest.raises(VerificationFailed, match="got none that stands"):
        require_quorum(case.record, replace(true, events=[*true.events, void]), own)
    again = replace(reached, at=at(10**6 + 9))
    with pytest.raises(VerificationFailed, match="expected 2 attestations of the result, got 0"):
        require_quorum(case.record, replace(true, events=[*true.events, void, again]), own)
    anew = [replace(e, at=at(10**6 + 1, n)) for n, e in enumerate(attested)]
    assert len(require_quorum(case.record, replace(true, events=[*true.events, void, *anew, again]), own)) == 2


def test_an_attestation_that_was_moved_does_not_count(case: Case) -> None:
    true, own = around(case), result_hash(case.result)
    first = next(e for e in true.events if isinstance(e, ResultAttested))
    (reached,) = [e for e in true.events if isinstance(e, QuorumReached)]
    moved = replace(first, result_hash=HASH, at=replace(reached.at, log_index=reached.at.log_index - 1))
    events = [*true.events]
    events.insert(events.index(reached), replace(moved, at=at(reached.at.block_number - 1, 10**6)))
    with pytest.raises(VerificationFailed, match="expected 2 attestations of the result, got 1"):
        require_quorum(case.record, replace(true, events=events), own)


def test_an_aggregator_without_the_role_makes_no_quorum(case: Case) -> None:
    true = around(case)
    roles = [e for e in true.roles if not e.roles & Role.AGGREGATOR]
    with pytest.raises(VerificationFailed, match="expected the aggregator role"):
        require_quorum(case.record, replace(true, roles=roles), result_hash(case.result))
    assert true.held(Address(bytes(20)), case.record.commitments[0]) == Role(0)


# What was verified before ---------------------------------------------------------------------------------------------


def test_what_passed_is_not_done_again_unless_asked_or_deeper(case: Case, tmp_path: Path) -> None:
    reader = Client(case.sim.w3, case.sim.owner.address)
    verified = VerificationCache(tmp_path / "verified")
    asked = (reader, case.store, case.sim.model_id, case.result.version_digest, tmp_path)
    first = list(verify_version(*asked, verified=verified))
    assert [one.before for one in first] == [False] * 3
    empty = (reader, MemoryStore(), *asked[2:])
    again = list(verify_version(*empty, verified=verified))
    assert [(one.before, one.passed) for one in again] == [(True, True)] * 3
    assert [one.checks for one in again] == [one.checks for one in first]
    assert [one.before for one in verify_version(*empty, verified=verified, again=True)] == [False] * 3
    assert [one.before for one in verify_version(*empty, verified=verified, deep=True)] == [False] * 3
    assert [one.before for one in verify_version(*asked, verified=verified, deep=True)] == [False] * 3
    assert [one.before for one in verify_version(*empty, verified=verified)] == [True] * 3


def test_what_passed_by_one_node_s_word_is_done_again_by_another_s(case: Case, tmp_path: Path) -> None:
    verified = VerificationCache(tmp_path / "verified")
    client = Lying(case.sim.w3, case.sim.owner.address)
    client.edit = elsewhere  # type: ignore[method-assign]
    asked = (case.store, case.sim.model_id, case.result.version_digest, tmp_path)
    assert all(one.passed for one in verify_version(client, *asked, verified=verified))
    honest = Client(case.sim.w3, case.sim.owner.address)
    assert [one.before for one in verify_version(honest, *asked, verified=verified)] == [True, False, False]
    assert [one.before for one in verify_version(honest, *asked, verified=verified)] == [True] * 3


def elsewhere(event: Event) -> Event:
    """Each attestation in a block of another hash."""
    return replace(event, at=replace(event.at, tx_hash=HASH)) if isinstance(event, ResultAttested) else event


def test_what_failed_or_could_not_be_looked_at_is_done_again(case: Case, tmp_path: Path) -> None:
    verified = VerificationCache(tmp_path / "verified")
    for store, finding in ((MemoryStore(), Finding.UNCHECKED), (damaged(case, version_file(case)), Finding.FAILED)):
        for _ in range(2):
            *_, last = verify_version(
                case.sim.owner, store, case.sim.model_id, case.result.version_digest, tmp_path, verified=verified
            )
            assert (last.before, last.finding) == (False, finding)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"subject": 3}', '{"subject": "x", "checks": [3]}'])
def test_a_damaged_memory_of_what_passed_is_none(tmp_path: Path, text: str) -> None:
    verified = VerificationCache(tmp_path)
    verified.keep("x", [("anchor", "passed", "held")])
    assert verified.find("x") == (("anchor", "passed", "held"),)
    assert verified.find("y") is None
    (path,) = tmp_path.iterdir()
    path.write_text(text)
    assert verified.find("x") is None
    path.write_bytes(b"\xff\xfe")
    assert verified.find("x") is None
