"""Hashes and encodings that Python mirrors, compared with the contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from eth_account.messages import encode_typed_data
from eth_hash.auto import keccak

from registry.chain.abi_values import unparse
from registry.chain.client import Client
from registry.chain.contract_events import RoundOpened, UpdateCommitted
from registry.chain.contract_hashes import (
    commitment_sought,
    contribution_leaf,
    plan_hash,
    result_hash,
    round_id_of,
    running_hash_begin,
    running_hash_count,
    running_hash_next,
)
from registry.chain.contract_structs import Listed, SignedUpdate
from registry.chain.contracts import abi_type, artifact
from registry.chain.phases import phase_at
from registry.chain.typed_data import commitment_typed_data
from registry.dev.chains import EXAMPLE_RULES, example_plan, example_result
from registry.dev.embedded import Embedded, warp
from registry.ethereum.node import chain_time
from registry.types import Address, Digest, ModelId, Phase, Role, Root

GENESIS, ROOT = Digest(b"\x11" * 32), Root(b"\x12" * 32)


def opened(clients: tuple[Client, ...], **plan: object) -> ModelId:
    """A model with an open round: client 0 owns, 1 and 2 take part, 3 aggregates."""
    owner = clients[0]
    model = owner.model_id(owner.account, GENESIS)
    owner.register_model(GENESIS, ROOT, ROOT)
    owner.set_plan(model, example_plan(**plan), EXAMPLE_RULES)
    for client in clients[1:3]:
        owner.grant_roles(model, client.account, Role.PARTICIPANT)
    owner.grant_roles(model, clients[3].account, Role.AGGREGATOR)
    owner.open_round(model)
    return model


def commit(client: Client, model: ModelId, seed: int) -> None:
    client.commit_update(model, 1, Digest(bytes([seed]) * 32), Root(bytes([seed + 1]) * 32), seed, 4)


def require_same_phase(client: Client, model: ModelId, expected: Phase) -> None:
    state, now = client.round(model, 1, block="pending"), chain_time(client.w3)
    assert phase_at(state, now) == client.phase(model, 1) == expected


def test_phase_at_is_the_contracts_phase_at_every_boundary_of_a_round_that_lapses(
    clients: tuple[Client, ...],
) -> None:
    model = opened(clients)
    state = clients[0].round(model, 1)
    boundaries = [
        (state.commit_deadline, Phase.COMMIT, Phase.PUBLISH),
        (state.publish_deadline, Phase.PUBLISH, Phase.AGGREGATE),
        (state.aggregate_deadline, Phase.AGGREGATE, Phase.CANCELLED),
    ]
    for deadline, before, after in boundaries:
        warp(clients[0].w3, to=deadline - 1)
        for moment in (deadline - 1, deadline, deadline + 1):
            while chain_time(clients[0].w3) < moment:
                clients[0].w3.provider.make_request("evm_mine", [])  # type: ignore[arg-type]
            # The block just mined and the pending one lie a second apart, on either side of the deadline.
            expected = before if chain_time(clients[0].w3) < deadline else after
            require_same_phase(clients[0], model, expected)


def test_phase_at_is_the_contracts_phase_through_challenge_and_finalization(clients: tuple[Client, ...]) -> None:
    model = opened(clients)
    commit(clients[1], model, 5)
    commit(clients[2], model, 7)
    clients[0].end_commits(model, 1, [clients[1].account, clients[2].account])
    require_same_phase(clients[0], model, Phase.PUBLISH)
    result = example_result()
    clients[3].attest_result(model, 1, result, clients[0].round(model, 1).running_hash)
    state = clients[0].round(model, 1)
    require_same_phase(clients[0], model, Phase.CHALLENGE)
    warp(clients[0].w3, to=state.challenge_deadline - 1)
    require_same_phase(clients[0], model, Phase.CHALLENGE)
    warp(clients[0].w3, to=state.challenge_deadline)
    require_same_phase(clients[0], model, Phase.FINAL)
    clients[0].finalize_round(model, 1, result)
    require_same_phase(clients[0], model, Phase.FINAL)
    # Once finalized, the contract calls a round final whatever the time; so does Python.
    assert phase_at(clients[0].round(model, 1), 1) == Phase.FINAL


def test_phase_at_is_the_contracts_phase_of_cancelled_and_absent_rounds(clients: tuple[Client, ...]) -> None:
    model = opened(clients)
    clients[0].cancel_round(model, 1)
    require_same_phase(clients[0], model, Phase.CANCELLED)
    assert phase_at(clients[0].round(model, 2), 10**10) == clients[0].phase(model, 2) == Phase.NONE


def test_ids_are_the_contracts(clients: tuple[Client, ...]) -> None:
    client = clients[0]
    model = client.model_id(client.account, GENESIS)
    assert bytes(client._view("modelIdOf", client.account, GENESIS)[0]) == model
    for number in (1, 2, 2**64 - 1):
        assert bytes(client._view("roundIdOf", model, number)[0]) == round_id_of(model, number)


def test_the_running_hash_is_the_contracts_after_each_commitment(clients: tuple[Client, ...]) -> None:
    model = opened(clients, weight_cap=99, quorum=2)
    client = clients[0]
    running = running_hash_begin(round_id_of(model, 1), GENESIS, client.plan(model, 0))
    assert client.round(model, 1).running_hash == running
    (event,) = client.events(RoundOpened)
    assert isinstance(event, RoundOpened)
    assert event.running_hash == running
    for participant, seed in ((clients[2], 3), (clients[1], 9)):
        commit(participant, model, seed)
        running = running_hash_next(
            running, participant.account, Digest(bytes([seed]) * 32), Root(bytes([seed + 1]) * 32), seed, 4
        )
        assert client.round(model, 1).running_hash == running
    assert running_hash_count(running) == client.round(model, 1).commitments == 2


@pytest.mark.parametrize("hooks", range(5))
def test_a_plan_hash_is_that_of_the_abi_with_any_number_of_hooks(clients: tuple[Client, ...], hooks: int) -> None:
    from eth_abi.abi import encode

    plan = example_plan(hooks=tuple(Address(bytes([number + 1]) * 20) for number in range(hooks)))
    (kind,) = (abi_type(event) for event in plan_types())
    assert plan_hash(plan) == keccak(encode([kind], [unparse(plan)]))
    model = opened(clients, hooks=plan.hooks)
    assert clients[0].plan(model, 0) == plan
    begun = running_hash_begin(round_id_of(model, 1), GENESIS, plan)
    assert clients[0].round(model, 1).running_hash == begun


def plan_types() -> list[Mapping[str, Any]]:
    return [
        item
        for entry in artifact("Cairn").abi
        if entry["type"] == "function" and entry["name"] == "setPlan"
        for item in entry["inputs"]
        if item["name"] == "newPlan"
    ]


ROOTS = ("tensor", "rest", "state", "state_layout")


def test_a_result_hash_is_the_contracts_and_depends_on_every_field(clients: tuple[Client, ...]) -> None:
    model = opened(clients, quorum=2)
    commit(clients[1], model, 5)
    result = example_result(contributions=1, total_weight=5)
    warp(clients[0].w3, to=clients[0].round(model, 1).publish_deadline)
    clients[3].attest_result(model, 1, result, clients[0].round(model, 1).running_hash)
    assert clients[0].attestation(model, 1, clients[3].account) == result_hash(result)
    votes = clients[0].votes(model, 1, result_hash(result))
    assert (votes.count, votes.contributions) == (1, 1)
    others = [
        replace(result, version_digest=b"\1" * 32),
        *(replace(result, roots=replace(result.roots, **{name: b"\1" * 32})) for name in ROOTS),
        replace(result, roots=replace(result.roots, step=1)),
        replace(result, report_digest=b"\1" * 32),
        replace(result, aggregate_root=b"\1" * 32),
        replace(result, contributions_root=b"\1" * 32),
        replace(result, contributions=2),
        replace(result, total_weight=6),
        replace(result, total_steps=6),
        replace(result, divisor=4),
    ]
    assert len({result_hash(other) for other in [result, *others]}) == 14


def test_a_contribution_leaf_is_what_abi_encode_makes() -> None:
    from eth_abi.abi import encode

    fields = (bytes(range(20)), b"\x05" * 32, b"\x06" * 32, 77, 5, 76)
    kinds = ["address", "bytes32", "bytes32", "uint32", "uint32", "uint32"]
    leaf = contribution_leaf(Listed(*fields))  # type: ignore[arg-type]
    assert leaf == encode(kinds, fields)
    assert commitment_sought(leaf) == keccak(encode(kinds[:5], fields[:5]))
    assert commitment_sought(leaf[:160]) == commitment_sought(leaf + b"\0") == b"\xff" * 32


@pytest.mark.parametrize("weight", [1, 2**28])
def test_the_typed_data_of_a_commitment_hash_as_the_contract_hashes_them(
    clients: tuple[Client, ...], weight: int
) -> None:
    sender = clients[0]
    model = sender.model_id(sender.account, GENESIS)
    for hook_data in ((), (b"hook",), (b"", b"another")):
        update = SignedUpdate(
            sender.account, Digest(b"\1" * 32), Root(b"\2" * 32), weight, 2**32 - 1, 1_234_567, hook_data
        )
        data = commitment_typed_data(sender.chain_id, sender.address, model, 3, update)
        signable = encode_typed_data(full_message=data)
        hashed = keccak(b"\x19" + signable.version + signable.header + signable.body)
        assert hashed == sender.commitment_hash(model, 3, update)


def test_anyone_can_send_what_a_participant_signed(clients: tuple[Client, ...], chain: Embedded) -> None:
    model = opened(clients)
    participant, sender = chain.signers[1], clients[4]
    update = SignedUpdate(participant.address, Digest(b"\5" * 32), Root(b"\6" * 32), 5, 4, 2**64 - 1)
    sender.commit_update_for(model, 1, sender.sign_commitment(participant, model, 1, update))
    assert [c.participant for c in sender.events(UpdateCommitted, subject=sender.round_id(model, 1))] == [
        participant.address
    ]
