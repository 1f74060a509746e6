"""One whole round through the client, on every kind of chain the client is meant for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry.chain import calls
from registry.chain.client import Client, open_journal
from registry.chain.contract_errors import AlreadyCommitted, WrongPhase
from registry.chain.contract_events import (
    CommitsEnded,
    ModelRegistered,
    QuorumReached,
    ResultAttested,
    RolesChanged,
    RoundFinalized,
    RoundOpened,
    UpdateCommitted,
)
from registry.chain.contract_hashes import result_hash, running_hash_begin, running_hash_next
from registry.chain.contract_structs import Grant
from registry.chain.deploy import deploy
from registry.chain.deployments import Deployment
from registry.chain.journal import IntentState
from registry.chain.phases import phase_at
from registry.chain.transactions import Transactor
from registry.dev.chains import EXAMPLE_RULES, DevChain, example_plan, example_result, geth_chain
from registry.dev.embedded import sleep_until
from registry.types import Digest, Phase, Role, Root

pytestmark = [pytest.mark.node, pytest.mark.slow]

GENESIS, ROOT = Digest(b"\x11" * 32), Root(b"\x12" * 32)


@pytest.fixture(scope="module")
def any_chain(any_chain: DevChain, find_tool: Callable[[str], Path]) -> Iterator[DevChain]:
    """Each kind of chain in turn; geth with a block for each transaction, so that blocks can move its clock."""
    if any_chain.name != "geth":
        yield any_chain
        return
    with geth_chain(find_tool("geth"), period=0) as prompt:
        yield prompt


def let_pass(chain: DevChain, when: int) -> None:
    """Let time pass without waiting for it: geth has no method for that, but each of its blocks takes a second."""
    if chain.movable:
        sleep_until(chain.w3, when, move=True)
        return
    rich = chain.w3.eth.accounts[0]
    while chain.w3.eth.get_block("latest")["timestamp"] < when:
        chain.w3.eth.send_transaction({"from": rich, "to": rich})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("journals")


@pytest.fixture(scope="module")
def deployed(any_chain: DevChain, folder: Path) -> Deployment:
    w3, signer = any_chain.w3, any_chain.signers[0]
    chain_id = w3.eth.chain_id
    journal = open_journal(w3, chain_id, signer.address, folder)
    return deploy(w3, Transactor(w3, signer, journal, chain_id=chain_id), chain_id=chain_id)


def client_of(chain: DevChain, deployed: Deployment, folder: Path, account: int) -> Client:
    return Client(
        chain.w3,
        deployed.address,
        chain_id=deployed.chain_id,
        signer=chain.signers[account],
        journal=folder,
        deployed_at=deployed.block,
    )


def test_a_round_goes_from_registration_to_finalization(
    any_chain: DevChain, deployed: Deployment, folder: Path
) -> None:
    owner, first, second, aggregator = (client_of(any_chain, deployed, folder, i) for i in range(4))
    model = owner.model_id(owner.account, GENESIS)
    assert owner.register_model(GENESIS, ROOT, ROOT).event(ModelRegistered).model_id == model
    taking = ((first, Role.PARTICIPANT), (second, Role.PARTICIPANT), (aggregator, Role.AGGREGATOR))
    owner.grant_roles_batch(model, [Grant(client.account, role) for client, role in taking])
    assert first.member(model, first.account).roles == Role.PARTICIPANT
    plan = example_plan(quorum=1, min_contributions=2)
    owner.set_plan(model, plan, EXAMPLE_RULES)
    assert owner.plan(model, 0) == plan

    opened = owner.open_round(model).event(RoundOpened)
    assert (opened.number, opened.parent) == (1, GENESIS)
    assert owner.phase(model, 1) == Phase.COMMIT

    updates = {
        first: (Digest(b"\x21" * 32), Root(b"\x22" * 32), 10, 3),
        second: (Digest(b"\x23" * 32), Root(b"\x24" * 32), 20, 4),
    }
    running = running_hash_begin(opened.round_id, GENESIS, plan)
    for client, update in updates.items():
        client.commit_update(model, 1, *update)
        running = running_hash_next(running, client.account, *update)
    with pytest.raises(AlreadyCommitted):
        first.commit_update(model, 1, Digest(b"\x31" * 32), Root(b"\x32" * 32), 5, 1)
    assert owner.round(model, 1).running_hash == running
    committed = list(owner.events(UpdateCommitted, subject=opened.round_id))
    assert [(c.participant, c.digest, c.tensor_root, c.weight, c.steps) for c in committed] == [
        (client.account, *update) for client, update in updates.items()
    ]

    ended = aggregator.end_commits(model, 1, [first.account, second.account]).event(CommitsEnded)
    assert ended.commitments == 2
    with pytest.raises(WrongPhase) as caught:
        aggregator.finalize_round(model, 1, example_result())
    assert (caught.value.expected, caught.value.actual) == (Phase.FINAL, Phase.PUBLISH)

    result = example_result(contributions=2, total_weight=30)
    receipt = aggregator.attest_result(model, 1, result, running)
    assert receipt.event(ResultAttested).result == result
    assert aggregator.attestation(model, 1, aggregator.account) == result_hash(result)
    assert aggregator.votes(model, 1, result_hash(result)).count == 1
    let_pass(any_chain, receipt.event(QuorumReached).challenge_deadline)

    finalized = second.finalize_round(model, 1, result).event(RoundFinalized)
    assert (finalized.version_digest, finalized.parent) == (result.version_digest, GENESIS)
    assert owner.model(model).head == result.version_digest
    assert owner.version(model, result.version_digest).parent == GENESIS
    state = owner.round(model, 1)
    assert phase_at(state, state.challenge_deadline) == owner.phase(model, 1) == Phase.FINAL

    kinds = [type(event) for event in owner.events(subject=model)]
    assert kinds[0] is ModelRegistered
    assert kinds.count(RolesChanged) == 3
    assert kinds[-1] is RoundFinalized
    assert {intent.state for c in (owner, first, second, aggregator) for intent in c.transactor.journal.all()} == {
        IntentState.FINAL
    }


def test_several_transactions_of_one_account_are_in_flight_together(
    any_chain: DevChain, deployed: Deployment, folder: Path
) -> None:
    client = client_of(any_chain, deployed, folder, 4)
    wanted = [calls.register_model(client.address, Digest(bytes([n]) * 32), ROOT, ROOT) for n in range(40, 46)]
    for call in wanted:
        client.submit(call)
    receipts = [client.wait(call) for call in wanted]
    assert len({receipt.tx_hash for receipt in receipts}) == len(wanted)
    nonces = [intent.nonce for intent in client.transactor.journal.all()]
    assert nonces == list(range(nonces[0] or 0, (nonces[0] or 0) + len(wanted)))


def test_a_second_client_on_the_same_journal_repeats_nothing(
    any_chain: DevChain, deployed: Deployment, folder: Path
) -> None:
    genesis = Digest(b"\x61" * 32)
    once = client_of(any_chain, deployed, folder, 4).register_model(genesis, ROOT, ROOT)
    account = any_chain.w3.to_checksum_address(any_chain.signers[4].address)
    sent = any_chain.w3.eth.get_transaction_count(account)
    again = client_of(any_chain, deployed, folder, 4).register_model(genesis, ROOT, ROOT)
    assert again == once
    assert sent == any_chain.w3.eth.get_transaction_count(
        any_chain.w3.to_checksum_address(any_chain.signers[4].address)
    )
