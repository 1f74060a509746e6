"""Queries of the index agree with the contract's views."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from registry.chain.contract_events import ResultAttested, RoundCancelled, UpdateCommitted
from registry.chain.contract_hashes import roots_hash
from registry.chain.contract_structs import Round as ShownRound
from registry.chain.phases import phase_at
from registry.dev.chains import example_result
from registry.index import queries, round_queries
from registry.index.database import read_index
from registry.index.entries import LogPlace, RoundEntry
from registry.index.for_now import following_of
from registry.types import Address, Digest, Fault, ModelId, Phase, Role, Standing

if TYPE_CHECKING:
    import sqlite3

    from conftest import Indexing

    from registry.chain.client import Client

ZERO20, ZERO32 = Address(bytes(20)), bytes(32)


def compare_model(db: sqlite3.Connection, client: Client, model_id: ModelId) -> None:
    """Everything that views show of a model against the index."""
    entry, shown = queries.model(db, model_id), client.model(model_id)
    assert entry is not None
    names = ("owner", "pending_owner", "head", "participants", "rounds", "plans", "suspended")
    assert {name: getattr(entry, name) for name in names} == {name: getattr(shown, name) for name in names}
    assert entry.genesis == queries.heads(db, model_id)[0].digest
    assert entry.head == queries.heads(db, model_id)[-1].digest
    assert entry.owner == queries.owners(db, model_id)[-1].owner
    for member in queries.members(db, model_id):
        assert member.roles == client.member(model_id, member.account).roles
        numbers = [c.number for c in round_queries.commitments_by(db, member.account) if c.model_id == model_id]
        assert max(numbers, default=0) == client.member(model_id, member.account).last_round
    for planned in queries.plans(db, model_id):
        assert planned.plan == client.plan(model_id, planned.plan_index)
    assert [p.plan_index for p in queries.plans(db, model_id)] == list(range(shown.plans))
    for version in queries.versions(db, model_id):
        seen = client.version(model_id, version.digest)
        assert seen.known
        assert (version.parent, roots_hash(version.roots), version.deprecated) == (
            seen.parent,
            seen.roots,
            seen.deprecated,
        )
        assert (version.round_id is None) == (version.number == 0) == seen.outside_round
    assert [r.number for r in round_queries.rounds(db, model_id)] == list(range(1, shown.rounds + 1))
    for found in round_queries.rounds(db, model_id):
        compare_round(db, client, found)


def compare_round(db: sqlite3.Connection, client: Client, entry: RoundEntry) -> None:
    shown = client.round(entry.model_id, entry.number)
    assert entry.round_id == client.round_id(entry.model_id, entry.number)
    assert round_queries.round_of(db, entry.round_id) == entry
    names = (
        "commit_deadline", "publish_deadline", "aggregate_deadline", "challenge_deadline", "plan_index", "cancelled",
    )  # fmt: skip
    assert {name: getattr(entry, name) for name in names} == {name: getattr(shown, name) for name in names}
    assert (entry.attestations > 0) == shown.attested
    assert (entry.version_digest is not None) == shown.finalized
    assert (entry.result_hash or ZERO32) == shown.result_hash
    assert (entry.ended_early, entry.commitments) == (shown.ended_early, shown.commitments)
    committed = round_queries.commitments(db, entry.round_id)
    events = list(client.events(UpdateCommitted, subject=entry.round_id))
    names = ("participant", "digest", "tensor_root", "weight")
    assert [[getattr(c, n) for n in names] for c in committed] == [[getattr(e, n) for n in names] for e in events]
    assert entry.commitments == len(committed)
    for attestation in round_queries.attestations(db, entry.round_id):
        votes = client.votes(entry.model_id, entry.number, attestation.result_hash)
        assert votes.count >= attestation.votes
    for found in round_queries.results(db, entry.round_id):
        attested = client.events(ResultAttested, subject=entry.round_id)
        assert found.result in [e.result for e in attested if isinstance(e, ResultAttested)]


def test_the_index_of_a_life_of_a_model_says_what_the_views_say(indexing: Indexing, play_on: Any) -> None:
    models = [play_on(indexing, seed) for seed in (1, 2)]
    indexing.sync()
    with read_index(indexing.folder / "index.sqlite") as db:
        assert [entry.model_id for entry in queries.models(db)] == models
        for model_id in models:
            compare_model(db, indexing.clients[0], model_id)
        assert queries.model(db, ModelId(b"\xff" * 32)) is None
        assert round_queries.round_of(db, models[0]) is None  # type: ignore[arg-type]


def test_a_void_result_does_not_stand_and_a_later_one_does(disputed: Indexing) -> None:
    disputed.sync()
    client = disputed.clients[0]
    with read_index(disputed.folder / "index.sqlite") as db:
        (entry,) = queries.models(db)
        compare_model(db, client, entry.model_id)
        last = round_queries.rounds(db, entry.model_id)[-1]
        first, second = round_queries.quorums(db, last.round_id)
        (void,) = round_queries.voids(db, last.round_id)
        (conviction,) = round_queries.convictions(db, last.round_id)
        (expulsion,) = round_queries.expulsions(db, last.round_id)
    assert first.at < void.at < second.at
    assert first.result_hash == void.result_hash == second.result_hash == last.result_hash
    assert last.challenge_deadline == second.challenge_deadline
    assert (void.standing, void.tally) == (Standing.UNANSWERED, conviction.tally)
    assert (conviction.fault, conviction.challenger) == (Fault.UNANSWERED, disputed.clients[2].account)
    assert (expulsion.aggregator, expulsion.tally) == (disputed.clients[3].account, void.tally)


def test_after_every_block_of_a_dispute_a_round_stands_as_the_contract_says(disputed: Indexing) -> None:
    client = disputed.clients[0]
    head = client.w3.eth.block_number
    *_, cancelled = client.events(RoundCancelled)  # of the round before
    seen = set()
    disputed.sync()
    for number in range(head, cancelled.at.block_number - 1, -1):
        with disputed.open() as index:
            index.undo(above=number)
            (entry,) = queries.models(index.db)
            last = round_queries.rounds(index.db, entry.model_id)[-1]
        shown = client.round(entry.model_id, last.number, block=number)
        assert (last.result_hash or ZERO32) == shown.result_hash
        assert (last.challenge_deadline, last.aggregate_deadline) == (
            shown.challenge_deadline,
            shown.aggregate_deadline,
        )
        assert (last.attestations > 0) == shown.attested
        seen.add((last.result_hash is None, shown.extended, last.version_digest is not None))
    assert len(seen) >= 4, "without, with, extended, final"


@pytest.mark.slow
def test_the_index_of_a_simulated_model_says_what_the_views_say(tmp_path: Any) -> None:
    import torch
    from torch import nn

    from registry.content.manifest import DataSetManifest
    from registry.index.database import Index
    from registry.index.sync import Follower
    from registry.store.memory import MemoryStore
    from trainer.modules import propose_plan
    from trainer.participant import Task
    from trainer.simulation import simulate_round, start

    def train(module: nn.Module, epoch: int) -> dict[str, float]:
        with torch.no_grad():
            for value in module.parameters():
                value.add_(0.25)
        return {"loss": 0.5}

    module = nn.Linear(2, 1)
    tasks = {name: Task(module, train, 10, DataSetManifest(name, "", "", "", 10, None)) for name in "abc"}
    simulation = start(module, tasks, propose_plan(module, quorum=2, min_contributions=2), MemoryStore(), tmp_path)
    assert [simulate_round(simulation) for _ in range(2)] == [1, 2]
    owner = simulation.owner
    with Index(tmp_path / "index.sqlite", following_of(owner)) as index:
        Follower(index, owner.w3, owner.finality).sync()
        compare_model(index.db, owner, simulation.model_id)
        head = queries.heads(index.db, simulation.model_id)[-1].digest
        assert [v.number for v in queries.ancestors(index.db, simulation.model_id, head)] == [0, 1, 2]
        votes = [
            a.votes
            for r in (1, 2)
            for a in round_queries.attestations(index.db, owner.round_id(simulation.model_id, r))
        ]
        assert votes == [1, 2, 1, 2]


@pytest.fixture
def read(played: Indexing) -> Any:
    """An index of all that can happen, open to read."""
    played.sync()
    with read_index(played.folder / "index.sqlite") as db:
        yield db


def named(seed: int, number: int) -> Digest:
    return Digest(bytes([seed, number]) * 16)


def test_versions_are_found_by_digest_lineage_and_descent(read: Any) -> None:
    (model,) = queries.models(read)
    genesis, first, second, made = (named(1, n) for n in (1, 3, 5, 12))
    assert [v.digest for v in queries.versions(read, model.model_id)] == [genesis, first, second, made]
    (found,) = queries.versions_of_digest(read, made)
    assert (found.model_id, found.parent, found.number, found.deprecated) == (model.model_id, genesis, 2, False)
    assert queries.versions_of_digest(read, named(9, 9)) == ()
    assert [v.digest for v in queries.ancestors(read, model.model_id, second)] == [genesis, first, second]
    assert [v.digest for v in queries.ancestors(read, model.model_id, made)] == [genesis, made]
    assert [v.digest for v in queries.descendants(read, model.model_id, first)] == [first, second]
    assert len(queries.descendants(read, model.model_id, genesis)) == 4
    assert queries.ancestors(read, model.model_id, named(9, 9)) == ()
    assert [h.digest for h in queries.heads(read, model.model_id)] == [genesis, first, second, genesis, made]
    gone = queries.deprecations(read, model.model_id)
    assert [(d.digest, d.replacement) for d in gone] == [(first, Digest(ZERO32)), (second, genesis)]


def test_commitments_are_found_by_round_participant_and_digest(read: Any, played: Indexing) -> None:
    ann, bob = (client.account for client in played.clients[1:3])
    assert [(c.number, c.digest) for c in round_queries.commitments_by(read, ann)] == [
        (2, named(1, 8)),
        (3, named(1, 13)),
    ]
    (found,) = round_queries.commitments_of(read, named(1, 9))
    assert (found.participant, found.number, found.weight) == (bob, 2, 15)
    assert round_queries.commitments_by(read, ZERO20) == round_queries.commitments_of(read, named(9, 9)) == ()


def test_owners_and_roles_keep_their_history(read: Any, played: Indexing) -> None:
    owner, ann, _, judge, heir = (client.account for client in played.clients[:5])
    (model,) = queries.models(read)
    assert [o.owner for o in queries.owners(read, model.model_id)] == [owner, heir]
    assert (model.owner, model.pending_owner) == (heir, ann)
    history = queries.member_history(read, model.model_id, heir)
    assert [entry.roles for entry in history] == [Role.READER | Role.PARTICIPANT, Role.READER]
    now = {m.account: m.roles for m in queries.members(read, model.model_id)}
    assert now[judge] == Role.AGGREGATOR | Role.AUDITOR
    assert now[heir] == Role.READER
    assert len(queries.member_history(read, model.model_id)) == 5


def test_a_round_keeps_what_was_attested_and_agreed(read: Any, played: Indexing) -> None:
    (model,) = queries.models(read)
    cancelled, done, running = round_queries.rounds(read, model.model_id)
    assert (cancelled.cancelled, done.cancelled, running.cancelled) == (True, False, False)
    assert (done.commitments, done.ended_early, done.version_digest) == (2, True, named(1, 12))
    (attested,) = round_queries.attestations(read, done.round_id)
    (agreed,) = round_queries.quorums(read, done.round_id)
    (result,) = round_queries.results(read, done.round_id)
    assert attested.result_hash == agreed.result_hash == result.result_hash == done.result_hash
    assert (attested.aggregator, attested.votes) == (played.clients[3].account, 1)
    assert result.result == example_result(version_digest=named(1, 12))
    assert agreed.challenge_deadline == done.challenge_deadline


def test_the_phase_that_follows_from_an_entry_is_the_contract_s(read: Any, played: Indexing) -> None:
    (model,) = queries.models(read)
    now = played.chain.w3.eth.get_block("pending")["timestamp"]
    for entry in round_queries.rounds(read, model.model_id):
        deadlines = (entry.commit_deadline, entry.publish_deadline, entry.aggregate_deadline, entry.challenge_deadline)
        facts = (entry.cancelled, entry.attestations > 0, entry.version_digest is not None)
        state = ShownRound(*deadlines, 0, 0, entry.plan_index, *facts, b"", b"", 0, False, False, 0)
        assert phase_at(state, now) == played.clients[0].phase(model.model_id, entry.number) != Phase.NONE


def test_what_is_not_final_is_shown_as_provisional(indexing: Indexing, play_on: Any) -> None:
    model_id = play_on(indexing)
    indexing.sync(finality="1")
    with read_index(indexing.folder / "index.sqlite") as db:
        head, final = queries.head_block(db), queries.final_block(db)
        assert head is not None and final is not None
        assert head.number == final.number + 1
        entry = queries.model(db, model_id)
        rounds = round_queries.rounds(db, model_id)
        assert entry is not None
        assert entry.at.final
        assert entry.final  # the last block holds a commitment, which changes nothing that is shown of the model
        assert [r.final for r in rounds] == [True, True, False]
        (old, new) = round_queries.commitments_by(db, indexing.clients[1].account)
        assert (old.at.final, new.at.final) == (True, False)
        assert new.at == LogPlace(head.number, new.at.log_index, head.hash, False)
    indexing.sync(finality="instant")
    with read_index(indexing.folder / "index.sqlite") as db:
        assert all(r.final for r in round_queries.rounds(db, model_id))


def test_a_model_whose_last_change_is_not_final_is_shown_as_provisional(indexing: Indexing) -> None:
    owner = indexing.clients[0]
    model = owner.model_id(owner.account, named(1, 1))
    owner.register_model(named(1, 1), named(1, 2), named(1, 2))  # type: ignore[arg-type]
    owner.grant_roles(model, owner.account, Role.PARTICIPANT)
    indexing.sync(finality="1")
    with read_index(indexing.folder / "index.sqlite") as db:
        entry = queries.model(db, model)
        assert entry is not None
        assert (entry.at.final, entry.final, entry.participants) == (True, False, 1)
    indexing.sync(finality="100")
    with read_index(indexing.folder / "index.sqlite") as db:
        entry = queries.model(db, model)
        assert entry is not None
        assert entry.at.final, "what was final stays final"
