"""Rounds of real training on an in-process chain, with faults."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registry.chain.client import Client
from registry.chain.contract_errors import BadWeight, WrongPhase
from registry.chain.contract_events import ResultAttested
from registry.chain.contract_hashes import result_hash
from registry.content.manifest import (
    DeltaFile,
    Reason,
    ReportEntry,
    UpdateManifest,
    blocks_of,
    digest_of,
)
from registry.content.merkle import VALUES, tensor_root
from registry.dev.forgeries import headed
from registry.disputes.tree_cache import disk_bytes, is_kept, keep_blob, place_of
from registry.errors import BlockNotFound, CairnError
from registry.ethereum.keys import to_checksum
from registry.lineage.provenance import read_lineage
from registry.roles import aggregator
from registry.roles.answering import disk_needed
from registry.roles.auditor import audit
from registry.rounds.loaded_round import load_round
from registry.rounds.onchain import attested_results, chosen_result, read_round
from registry.rounds.reports import load_report
from registry.store.base import ContentStore
from registry.store.blobs import add_blob
from registry.store.local import LocalStore
from registry.store.manifests import get_manifest, put_manifest
from registry.store.memory import MemoryStore
from registry.types import Address, Blob, Cid, Digest, ModelId, Phase, Root
from registry.verification.verify import Verification, verify_version
from trainer import participant
from trainer.participant import prepare_update
from trainer.simulation import Simulation, pass_time, simulate_round, step

Start = Callable[..., Simulation]


class Hiding(ContentStore):
    """A store that lacks some blobs until told otherwise; what is put goes to the store behind it."""

    def __init__(self, behind: ContentStore) -> None:
        self.behind = behind
        self.hidden: set[bytes] = set()

    def pin(self, cid: Cid, *, recursive: bool = True) -> None:
        self.behind.pin(cid, recursive=recursive)

    def unpin(self, cid: Cid) -> None:
        self.behind.unpin(cid)

    def pins(self) -> Iterator[tuple[Cid, bool]]:
        return self.behind.pins()

    def _get(self, cid: Cid) -> bytes:
        if cid.digest in self.hidden:
            raise BlockNotFound(f"{cid}: not here yet")
        return self.behind.get(cid)

    def _put(self, cid: Cid, data: bytes) -> None:
        self.behind.put(cid, data)

    def _has(self, cid: Cid) -> bool:
        return cid.digest not in self.hidden and self.behind.has(cid)


def open_round(sim: Simulation) -> int:
    number = sim.owner.model(sim.model_id).rounds + 1
    sim.owner.open_round(sim.model_id, number=number)
    return number


def run_to(sim: Simulation, number: int, phase: Phase) -> None:
    """Let everybody act, and time pass, until a round is in a phase."""
    while sim.owner.phase(sim.model_id, number) != phase:
        if not step(sim):
            pass_time(sim, number)


def settle(sim: Simulation) -> list[str]:
    """Let everybody act until nobody has anything to do."""
    done: list[str] = []
    while said := step(sim):
        done += said
    return done


def head_of(sim: Simulation) -> Digest:
    return sim.owner.model(sim.model_id).head


def entries_of(sim: Simulation, number: int) -> tuple[ReportEntry, ...]:
    record = read_round(sim.owner, sim.model_id, number)
    result = chosen_result(sim.owner, record)
    assert result is not None
    return load_report(sim.store, result.report_digest, len(record.commitments)).entries


def admitted_to(sim: Simulation, number: int) -> int:
    return sum(entry.reason == Reason.ADMITTED for entry in entries_of(sim, number))


def verified(sim: Simulation, folder: Path) -> list[Verification]:
    """Every version up to the head, recomputed by somebody with no account."""
    folder.mkdir(exist_ok=True)
    stranger = Client(sim.w3, sim.owner.address, deployed_at=sim.owner.deployed_at)
    return list(verify_version(stranger, sim.store, sim.model_id, head_of(sim), folder))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["memory", "local"])
def test_rounds_learn_move_the_head_and_verify(kind: str, lines: Start, tmp_path: Path) -> None:
    sim = lines(store=LocalStore(tmp_path / "store") if kind == "local" else MemoryStore())
    heads = [head_of(sim)]
    for number in (1, 2, 3):
        assert simulate_round(sim) == number
        heads.append(head_of(sim))
    assert len(set(heads)) == 4
    found = verified(sim, tmp_path / "stranger")
    assert [v.step.digest for v in found] == heads
    assert all(v.passed for v in found)
    losses = [
        [c.update.metrics["loss"] for c in told.round.commitments if c.update] if told.round else []
        for told in read_lineage(sim.owner, sim.store, sim.model_id, heads[-1])
    ]
    assert [len(entry) for entry in losses] == [3, 3, 3, 0]
    assert sum(losses[0]) < sum(losses[2])


def test_an_aggregator_says_beforehand_what_disk_its_answers_take_where_that_is_much(lines: Start) -> None:
    sim = lines()
    needed = disk_bytes(3, 5, 0)
    said = f"a round of 3 participants takes up to {needed / 1e9:.3g} GB of it"
    assert said in disk_needed(sim.owner, sim.store, sim.model_id, 10 * needed)
    assert disk_needed(sim.owner, sim.store, sim.model_id, 10 * needed + 1) == ""
    assert disk_needed(sim.owner, MemoryStore(), sim.model_id, 0) == ""
    assert disk_needed(sim.owner, sim.store, ModelId(bytes(32)), 0) == ""


@pytest.mark.slow
def test_an_aggregator_reads_each_update_once_and_judges_it_while_combining(
    lines: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No update is judged beforehand, nor read again for the tree by which its leaves are shown."""
    sim = lines(store=(store := MemoryStore()))
    number = open_round(sim)
    run_to(replace(sim, aggregators=[]), number, Phase.AGGREGATE)
    client, folder = sim.aggregators[0], tmp_path / "fresh"
    record = read_round(sim.owner, sim.model_id, number)
    deltas = [get_manifest(store, c.digest, UpdateManifest).delta for c in record.commitments]
    streamed: list[Cid] = []
    get_many = MemoryStore.get_many

    def noting(self: MemoryStore, cids: Iterable[Cid], *, parent: Cid | None = None) -> Iterator[bytes]:
        names = list(cids)
        streamed.extend(names)
        return get_many(self, names, parent=parent)

    monkeypatch.setattr(MemoryStore, "get_many", noting)
    monkeypatch.setattr(aggregator, "judge", lambda *arguments: pytest.fail("judged separately"))
    read_for_trees: list[Cid] = []

    def keeping(place: Path, store: ContentStore, blob: Blob, *rest: Any, file: Path | None = None) -> bool:
        read_for_trees.append(blob.cid)
        return keep_blob(place, store, blob, *rest, file=file)

    monkeypatch.setattr("registry.disputes.answers.keep_blob", keeping)
    memory = aggregator.AggregatorMemory()
    said = aggregator.advance(client, store, folder, sim.model_id, memory=memory)
    assert said == f"round {number}: attested 3 contributions"
    assert [streamed.count(delta.cid) for delta in deltas] == [1, 1, 1]
    assert not {delta.cid for delta in deltas} & set(read_for_trees)
    assert memory.verdicts.keys() == set(record.commitments)
    assert len(memory.results) == 1
    place = place_of(folder, sim.model_id, number)
    assert all(is_kept(place, Root(delta.tensor_root), VALUES) for delta in deltas)
    assert {delta.cid for delta in deltas} <= {cid for cid, _ in store.pins()}


def test_two_runs_and_two_stores_give_the_same_digests(lines: Start, tmp_path: Path) -> None:
    one = lines(tmp_path / "one")
    other = lines(tmp_path / "other", store=LocalStore(tmp_path / "store"))
    for place in (sim.folder / name for sim in (one, other) for name in sim.participants):
        place.mkdir()
        (place / "salt").write_bytes(place.name.encode().ljust(32, b"."))  # data is named by salted digests
    for _ in range(2):
        simulate_round(one)
        simulate_round(other)
        assert head_of(one) == head_of(other)


def test_aggregators_that_saw_different_blobs_converge_once_they_see_them(lines: Start, tmp_path: Path) -> None:
    shared = MemoryStore()
    first, second = Hiding(shared), Hiding(shared)
    sim = replace(lines(store=shared), stores={"aggregator-0": first, "aggregator-1": second})
    number = open_round(sim)
    run_to(sim, number, Phase.PUBLISH)
    mine = {c.participant: c.digest for c in read_round(sim.owner, sim.model_id, number).commitments}
    accounts = {name: client.account for name, (client, _) in sim.participants.items()}
    first.hidden.add(mine[accounts["a"]])
    second.hidden.add(mine[accounts["b"]])
    run_to(sim, number, Phase.AGGREGATE)
    told = [said for said in settle(sim) if "attested" in said]
    hidden = [to_checksum(accounts[name]) for name in "ab"]
    attested = f"round {number}: attested 2 contributions; 1 refused"
    assert told == [f"{attested}: {account} unavailable" for account in hidden]
    record = read_round(sim.owner, sim.model_id, number)
    assert len({event.result_hash for event in attested_results(sim.owner, record)}) == 2
    assert chosen_result(sim.owner, record) is None

    first.hidden.clear()
    assert settle(sim) == [f"round {number}: attested 3 contributions"]
    second.hidden.clear()
    assert settle(sim) == [f"round {number}: attested 3 contributions"]
    run_to(sim, number, Phase.FINAL)
    settle(sim)
    assert admitted_to(sim, number) == 3
    assert all(v.passed for v in verified(sim, tmp_path / "stranger"))


@pytest.mark.parametrize("blind", ["aggregator-0", "aggregator-1"])
def test_aggregators_that_refuse_for_different_reasons_agree_on_the_smaller_hash(
    blind: str, lines: Start, tmp_path: Path
) -> None:
    shared = MemoryStore()
    hiding = Hiding(shared)
    sim = replace(lines(store=shared), stores={blind: hiding})
    number = open_round(sim)
    crooked = Crooked(sim, number, "c")
    crooked.commit(crooked.file(2.0**-30))
    hiding.hidden.add(crooked.digest)  # one sees that the value is off the grid, the other sees nothing
    run_to(sim, number, Phase.PUBLISH)
    settle(sim)
    record = read_round(sim.owner, sim.model_id, number)
    found = {}
    for store in (shared, hiding):
        round = load_round(store, record)
        verdicts = aggregator.judge_all(store, round)
        outcome = aggregator.aggregate(store, round, verdicts, tmp_path / "found")
        assert outcome is not None
        found[verdicts[0].reason] = outcome.result
    assert found.keys() == {Reason.VALUE, Reason.UNAVAILABLE}
    run_to(sim, number, Phase.FINAL)
    settle(sim)
    assert chosen_result(sim.owner, record) == min(found.values(), key=result_hash)
    assert all(v.passed for v in verified(sim, tmp_path / "stranger"))


def test_aggregator_that_claims_more_than_its_report_shows_does_not_keep_others_apart(
    lines: Start, tmp_path: Path
) -> None:
    shared = MemoryStore()
    hiding = Hiding(shared)
    sim = replace(lines(aggregators=3, store=shared, quorum=2), stores={"aggregator-0": hiding})
    *honest, liar = sim.aggregators
    sim = replace(sim, aggregators=honest)
    number = open_round(sim)
    crooked = Crooked(sim, number, "c")
    crooked.commit(crooked.file(2.0**-30))
    hiding.hidden.add(crooked.digest)
    run_to(sim, number, Phase.AGGREGATE)

    record = read_round(sim.owner, sim.model_id, number)
    round = load_round(shared, record)
    first, *others = aggregator.judge_all(shared, round)
    false = (replace(first, reason=Reason.BLOB_FORM), *others)  # which whoever lacks the blob cannot disprove
    outcome = aggregator.aggregate(shared, round, false, tmp_path / "liar")
    assert outcome is not None
    lie = replace(outcome.result, contributions=len(record.commitments))
    liar.attest_result(sim.model_id, number, lie, record.running_hash)

    run_to(sim, number, Phase.FINAL)
    settle(sim)
    assert admitted_to(sim, number) == 2
    assert entries_of(sim, number)[0].reason in (Reason.VALUE, Reason.UNAVAILABLE)


class Crooked:
    """A participant of a simulation who commits something else than what was trained."""

    def __init__(self, sim: Simulation, number: int, name: str) -> None:
        self.sim, self.number = sim, number
        self.client, task = sim.participants[name]
        self.record = read_round(sim.owner, sim.model_id, number)
        self.honest = prepare_update(sim.store, sim.folder / f"crooked-{name}", self.record, task, self.client.account)
        self.digest = digest_of(self.honest.manifest)

    def file(self, value: float) -> bytes:
        """The honest file with another first value."""
        data = bytearray(self.honest.file.read_bytes())
        data[-20:-16] = np.float32(value).tobytes()
        return bytes(data)

    def commit(
        self,
        data: bytes | None = None,
        *,
        published: bool = True,
        anchored: dict[str, Any] | None = None,
        manifest: bytes | None = None,
        **changed: Any,
    ) -> None:
        """Commit and publish: another file, other fields in the manifest, another manifest, other things on chain."""
        data = self.honest.file.read_bytes() if data is None else data
        blob = add_blob(self.sim.store if published else MemoryStore(), [data])
        delta = DeltaFile(blob.cid, blob.size, tensor_root(data[-20:]))
        said: UpdateManifest = replace(self.honest.manifest, **({"files": {"delta": delta}} | changed))
        blocks = blocks_of(said) if manifest is None else headed(said, manifest)
        self.digest = Digest(blocks[-1].cid.digest)
        for cid, block in blocks if published else ():
            self.sim.store.put(cid, block)
        fields: dict[str, Any] = {
            "tensor_root": Root(said.delta.tensor_root),
            "weight": said.weight,
            "steps": said.steps,
        }
        fields |= anchored or {}
        self.client.commit_update(self.sim.model_id, self.number, self.digest, **fields)


CROOKED: dict[str, tuple[Reason, Callable[[Crooked], None]]] = {
    "not published": (Reason.UNAVAILABLE, lambda c: c.commit(published=False)),
    "for another round": (Reason.WRONG_BINDING, lambda c: c.commit(number=c.number + 1)),
    "for another model": (Reason.WRONG_BINDING, lambda c: c.commit(model=bytes(32))),
    "for another chain": (Reason.WRONG_BINDING, lambda c: c.commit(chain_id=1)),
    "for another contract": (Reason.WRONG_BINDING, lambda c: c.commit(contract=Address(bytes(20)))),
    "of somebody else": (Reason.WRONG_BINDING, lambda c: c.commit(participant=Address(bytes(20)))),
    "no manifest": (Reason.MANIFEST_FORM, lambda c: c.commit(manifest=b"\xa0")),
    "another weight": (Reason.WRONG_DECLARATION, lambda c: c.commit(anchored={"weight": 1})),
    "other steps": (Reason.WRONG_DECLARATION, lambda c: c.commit(anchored={"steps": 1})),
    "another root": (Reason.WRONG_DECLARATION, lambda c: c.commit(anchored={"tensor_root": Root(b"\x01" * 32)})),
    "too long": (Reason.BLOB_SIZE, lambda c: c.commit(c.honest.file.read_bytes() + bytes(4))),
    "another header": (Reason.BLOB_FORM, lambda c: c.commit(c.file(0.0).replace(b"bias", b"mias"))),
    "off the grid": (Reason.VALUE, lambda c: c.commit(c.file(2.0**-30))),
    "not finite": (Reason.VALUE, lambda c: c.commit(c.file(float("nan")))),
    "negative zero": (Reason.VALUE, lambda c: c.commit(c.file(-0.0))),
    "not what was committed": (
        Reason.WRONG_ROOT,
        lambda c: c.commit(c.file(0.5), files={"delta": _swapped(c, c.file(0.5))}, anchored={"tensor_root": _root(c)}),
    ),
}


def _root(crooked: Crooked) -> Root:
    return Root(crooked.honest.manifest.delta.tensor_root)


def _swapped(crooked: Crooked, data: bytes) -> DeltaFile:
    """Another file under the honest root."""
    blob = add_blob(MemoryStore(), [data])
    return DeltaFile(blob.cid, blob.size, _root(crooked))


@pytest.mark.slow
def test_whatever_is_wrong_with_an_update_is_in_the_report_and_the_round_goes_on(lines: Start, tmp_path: Path) -> None:
    sim = lines(participants=2 + len(CROOKED))
    honest = {name: sim.participants[name] for name in ("a", "b")}
    number = open_round(sim)
    others = list(sim.participants)[2:]
    expected = {}
    for name, (reason, act) in zip(others, CROOKED.values(), strict=True):
        crooked = Crooked(sim, number, name)
        act(crooked)
        expected[crooked.client.account] = reason
    sim = replace(sim, participants=honest)
    run_to(sim, number, Phase.FINAL)
    settle(sim)
    entries = entries_of(sim, number)
    trusted = {client.account for client, _ in honest.values()}
    assert {e.participant: e.reason for e in entries if e.participant not in trusted} == expected
    assert admitted_to(sim, number) == 2
    assert all(v.passed for v in verified(sim, tmp_path / "stranger"))


@pytest.mark.parametrize("fault", ["another header", "off the grid", "not finite", "not what was committed"])
def test_an_aggregator_started_late_finds_the_update_whose_file_is_at_fault(
    lines: Start, tmp_path: Path, fault: str
) -> None:
    """It judges files while it combines them; where that fails, each by itself."""
    sim = lines()
    number = open_round(sim)
    crooked = Crooked(sim, number, "a")
    reason, act = CROOKED[fault]
    act(crooked)
    people = {name: sim.participants[name] for name in ("b", "c")}
    run_to(replace(sim, participants=people, aggregators=[]), number, Phase.AGGREGATE)
    run_to(replace(sim, participants={}), number, Phase.FINAL)
    settle(sim)
    assert {e.participant: e.reason for e in entries_of(sim, number)}[crooked.client.account] == reason
    assert admitted_to(sim, number) == 2
    assert all(v.passed for v in verified(sim, tmp_path / "stranger"))


def test_the_contract_takes_neither_a_late_update_nor_one_over_the_cap(lines: Start) -> None:
    sim = lines(weight_cap=42)
    number = open_round(sim)
    crooked = Crooked(sim, number, "c")
    with pytest.raises(BadWeight):
        crooked.commit(weight=43)
    with pytest.raises(BadWeight):
        crooked.commit(anchored={"weight": 0})
    sim_without = replace(sim, participants={name: sim.participants[name] for name in ("a", "b")})
    run_to(sim_without, number, Phase.PUBLISH)
    with pytest.raises(WrongPhase):
        crooked.commit()
    run_to(sim_without, number, Phase.FINAL)
    settle(sim_without)
    assert admitted_to(sim, number) == 2


def test_update_prepared_too_late_stays_where_it_is(lines: Start) -> None:
    sim = lines()
    number = open_round(sim)
    client, task = sim.participants["c"]
    record = read_round(sim.owner, sim.model_id, number)
    prepare_update(sim.store, sim.folder / "c", record, task, client.account)
    others = replace(sim, participants={name: sim.participants[name] for name in ("a", "b")})
    run_to(others, number, Phase.PUBLISH)
    assert participant.advance(client, sim.store, sim.folder / "c", sim.model_id, task) == ""
    run_to(others, number, Phase.FINAL)
    assert admitted_to(sim, number) == 2
    settle(others)
    newest = read_lineage(sim.owner, sim.store, sim.model_id, head_of(sim))[0].round
    assert newest is not None
    assert [c.reason for c in newest.commitments] == [Reason.ADMITTED] * 2  # though commits were not ended early


def test_weights_beyond_the_exact_sum_are_refused_in_commit_order(lines: Start, tmp_path: Path) -> None:
    sim = lines(weight_cap=1 << 28)
    number = open_round(sim)
    for name, weight in (("a", (1 << 28) - 50), ("b", 51), ("c", 50)):
        crooked = Crooked(sim, number, name)
        crooked.commit(weight=weight)
    run_to(sim, number, Phase.FINAL)
    settle(sim)
    entries = entries_of(sim, number)
    assert [entry.reason for entry in entries] == [Reason.ADMITTED, Reason.TOTAL_WEIGHT, Reason.ADMITTED]
    assert sum(entry.weight for entry in entries if entry.reason == Reason.ADMITTED) == 1 << 28
    assert all(v.passed for v in verified(sim, tmp_path / "stranger"))


def test_after_a_round_without_a_quorum_the_next_one_goes_on_from_the_same_head(lines: Start, tmp_path: Path) -> None:
    sim = lines()
    head = head_of(sim)
    alone = replace(sim, aggregators=sim.aggregators[:1])
    number = open_round(alone)
    run_to(alone, number, Phase.CANCELLED)
    assert step(alone) == []
    with pytest.raises(CairnError, match="round 1: CANCELLED, and nobody can act"):
        pass_time(alone, number)
    assert head_of(sim) == head
    assert simulate_round(sim) == 2
    assert sim.owner.version(sim.model_id, head_of(sim)).parent == head
    assert all(v.passed for v in verified(sim, tmp_path / "stranger"))


def test_too_few_contributions_cancel_a_round(lines: Start) -> None:
    sim = lines(min_contributions=3)
    absent = replace(sim, participants={name: sim.participants[name] for name in ("a", "b")})
    with pytest.raises(CairnError, match="round 1: cancelled"):
        simulate_round(absent)
    assert simulate_round(sim) == 2


def test_round_cancelled_by_its_owner_is_followed_by_another(lines: Start) -> None:
    sim = lines()
    number = open_round(sim)
    run_to(sim, number, Phase.PUBLISH)
    sim.owner.cancel_round(sim.model_id, number)
    assert step(sim) == []
    assert simulate_round(sim) == 2


def test_aggregators_open_the_next_round_where_they_are_told_to(lines: Start) -> None:
    sim = lines()
    simulate_round(sim)
    assert step(sim) == []
    client = sim.aggregators[0]
    said = aggregator.advance(client, sim.store, sim.folder / "aggregator-0", sim.model_id, open_rounds=True)
    assert said == "round 2: opened"
    sim.owner.cancel_round(sim.model_id, 2)
    sim.owner.suspend_rounds(sim.model_id)
    assert aggregator.advance(client, sim.store, sim.folder / "x", sim.model_id, open_rounds=True) == ""


def test_after_a_head_is_deprecated_rounds_go_on_from_its_replacement(lines: Start, tmp_path: Path) -> None:
    sim = lines()
    genesis = head_of(sim)
    simulate_round(sim)
    bad = head_of(sim)
    sim.owner.deprecate_version(sim.model_id, bad, Digest(b"\x01" * 32), genesis)
    simulate_round(sim)
    found = verified(sim, tmp_path / "stranger")
    assert [v.step.digest for v in found] == [genesis, head_of(sim)]
    assert all(v.passed for v in found)


def test_update_published_after_the_quorum_convicts_nobody(lines: Start, tmp_path: Path) -> None:
    sim = lines()
    number = open_round(sim)
    crooked = Crooked(sim, number, "c")
    crooked.commit(published=False)
    run_to(sim, number, Phase.FINAL)
    settle(sim)
    assert admitted_to(sim, number) == 2
    add_blob(sim.store, [crooked.honest.file.read_bytes()])
    put_manifest(sim.store, crooked.honest.manifest)
    assert all(v.passed for v in verified(sim, tmp_path / "stranger"))


def test_audit_tells_a_lie_from_the_result_it_stands_beside(lines: Start, tmp_path: Path) -> None:
    sim = lines()
    number = open_round(sim)
    run_to(sim, number, Phase.CHALLENGE)
    record = read_round(sim.owner, sim.model_id, number)
    honest = chosen_result(sim.owner, record)
    assert honest is not None
    assert all(
        check.finding == "passed" for _, check in audit(sim.owner, sim.store, tmp_path / "audit", sim.model_id, number)
    )

    run_to(sim, number, Phase.FINAL)
    settle(sim)
    number = open_round(sim)
    run_to(sim, number, Phase.PUBLISH)
    settled: list[str] = []
    while not any("published" in said for said in settled):
        settled = [
            participant.advance(client, sim.store, sim.folder / name, sim.model_id, task)
            for name, (client, task) in sim.participants.items()
        ]
    record = read_round(sim.owner, sim.model_id, number)
    liar = sim.aggregators[1]
    round = load_round(sim.store, record)
    outcome = aggregator.aggregate(sim.store, round, aggregator.judge_all(sim.store, round), sim.folder / "liar")
    assert outcome is not None
    lie = replace(outcome.result, aggregate_root=Root(b"\x01" * 32))
    liar.attest_result(sim.model_id, number, lie, record.running_hash)
    aggregator.advance(sim.aggregators[0], sim.store, sim.folder / "aggregator-0", sim.model_id)
    events = [e for e in sim.owner.events(ResultAttested, subject=record.round_id) if isinstance(e, ResultAttested)]
    lies = {event.result_hash for event in events if event.result == lie}
    verdicts: dict[bytes, bool] = {}
    for result, check in audit(sim.owner, sim.store, tmp_path / "audit", sim.model_id, number):
        verdicts[result] = verdicts.get(result, True) and check.finding != "failed"
    assert len(verdicts) == 2
    assert {result for result, sound in verdicts.items() if not sound} == lies
