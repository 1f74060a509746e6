"""Reorgs between reading the chain and sending a transaction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from registry.chain.client import Client
from registry.chain.contract_errors import RunningHashMismatch
from registry.chain.contract_hashes import running_hash_begin, running_hash_next
from registry.chain.contract_structs import Result
from registry.chain.deploy import deploy
from registry.chain.journal import Journal
from registry.chain.transactions import Transactor
from registry.dev.chains import EXAMPLE_RULES, anvil_chain, example_plan, example_result, find_program
from registry.types import Digest, Role, Root

if TYPE_CHECKING:
    from conftest import Federation


def reorganised(house: Federation, before: Callable[[], None], after: Callable[[], None]) -> tuple[Result, bytes]:
    """Let `before` happen and a result be computed from it; then undo it and let `after` happen instead.

    Returns:
        The result, and the running hash that it was computed from.
    """
    tester = house.chain.w3.provider.ethereum_tester  # type: ignore[attr-defined]
    fork = tester.take_snapshot()
    before()
    house.sleep_to("publish_deadline")
    made, running = house.outcome().result, house.record().running_hash
    tester.revert_to_snapshot(fork)
    for name in list(house.clients):
        house.forget(name)
    after()
    house.sleep_to("publish_deadline")
    return made, running


def test_a_result_computed_before_a_commitment_was_reorganised_away_reverts(opened: Federation) -> None:
    opened.contribute("ann", opened.update("ann"))
    bob, cyn = opened.update("bob", seed=1), opened.update("cyn", seed=2)
    result, running = reorganised(opened, lambda: opened.contribute("bob", bob), lambda: opened.contribute("cyn", cyn))
    with pytest.raises(RunningHashMismatch) as refusal:
        opened.first.attest_result(opened.model_id, 1, result, running)
    assert refusal.value.given == running
    assert refusal.value.expected == opened.record().running_hash


def test_a_result_computed_in_another_commit_order_reverts(opened: Federation) -> None:
    ann, bob = opened.update("ann"), opened.update("bob", seed=1)

    def commit(*pairs: tuple[str, Any]) -> Callable[[], None]:
        return lambda: [opened.contribute(name, update) for name, update in pairs] and None

    result, running = reorganised(opened, commit(("ann", ann), ("bob", bob)), commit(("bob", bob), ("ann", ann)))
    with pytest.raises(RunningHashMismatch):
        opened.first.attest_result(opened.model_id, 1, result, running)


def test_a_result_computed_from_another_parent_reverts(opened: Federation) -> None:
    """The same commitments, but begun on another version: the hash is begun with the parent."""
    opened.contribute("ann", opened.update("ann"))
    opened.sleep_to("publish_deadline")
    record = opened.record()
    running = running_hash_begin(record.round_id, Digest(b"\x01" * 32), record.plan)
    for c in record.commitments:
        running = running_hash_next(running, c.participant, c.digest, c.tensor_root, c.weight, c.steps)
    with pytest.raises(RunningHashMismatch):
        opened.first.attest_result(opened.model_id, 1, opened.outcome().result, running)


def test_a_result_computed_under_another_plan_reverts(opened: Federation) -> None:
    opened.contribute("ann", opened.update("ann"))
    opened.sleep_to("publish_deadline")
    record = opened.record()
    running = running_hash_begin(record.round_id, record.parent, example_plan())
    for c in record.commitments:
        running = running_hash_next(running, c.participant, c.digest, c.tensor_root, c.weight, c.steps)
    with pytest.raises(RunningHashMismatch):
        opened.first.attest_result(opened.model_id, 1, opened.outcome().result, running)


@pytest.mark.node
def test_a_commitment_reorganised_away_on_a_real_node_convicts_nobody(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    with anvil_chain(find_program("anvil", [root / "node_modules" / ".bin"])) as chain:
        w3, signer, chain_id = chain.w3, chain.signers[0], chain.w3.eth.chain_id
        made = deploy(w3, Transactor(w3, signer, Journal(None), chain_id=chain_id), chain_id=chain_id)
        owner = Client(w3, made.address, signer=signer, journal=tmp_path)
        genesis = Digest(b"\x01" * 32)
        owner.register_model(genesis, Root(b"\x02" * 32), Root(b"\x02" * 32))
        model = owner.model_id(owner.account, genesis)
        owner.grant_roles(model, owner.account, Role.PARTICIPANT | Role.AGGREGATOR)
        owner.set_plan(model, example_plan(commit_duration=300), EXAMPLE_RULES)
        owner.open_round(model)
        before = owner.round(model, 1).running_hash
        owner.commit_update(model, 1, Digest(b"\x03" * 32), Root(b"\x04" * 32), 10, 3)
        seen = owner.round(model, 1).running_hash
        w3.manager.request_blocking("anvil_reorg", [1, []])  # type: ignore[arg-type]
        assert owner.round(model, 1).running_hash == before
        w3.manager.request_blocking("evm_increaseTime", [331])  # type: ignore[arg-type]
        w3.manager.request_blocking("evm_mine", [])  # type: ignore[arg-type]
        result = example_result(contributions=1, total_weight=10)
        with pytest.raises(RunningHashMismatch):
            owner.attest_result(model, 1, result, seen)
