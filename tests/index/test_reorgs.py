"""Reorgs: the index rolls back up to finality, and halts with an error if a finalized block disappears."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from registry.chain import calls
from registry.chain.contract_structs import Grant
from registry.dev.chains import EXAMPLE_RULES, anvil_chain, example_plan
from registry.dev.embedded import embedded
from registry.errors import FinalityBroken
from registry.ethereum.networks import parse_finality
from registry.index import queries
from registry.index.sync import Follower
from registry.types import Address, Digest, Role, Root

if TYPE_CHECKING:
    from conftest import Indexing

    from registry.chain.sending import Call

REORGS = 1000 if os.environ.get("CAIRN_SOAK") else 50
A_CHAIN = 100
"""Reorgs of one chain: what it takes to make an index anew grows with the chain."""
DEEPEST = 64


class Fork:
    """A point of a chain in process to which it can be taken back."""

    def __init__(self, indexing: Indexing) -> None:
        self.tester = indexing.chain.w3.provider.ethereum_tester
        self.snapshot = self.tester.take_snapshot()

    def back(self) -> None:
        self.tester.revert_to_snapshot(self.snapshot)


def grant(indexing: Indexing, count: int, first: int = 0) -> None:
    """So many blocks, a grant in each."""
    owner = indexing.clients[0]
    model = owner.model_id(owner.account, Digest(b"\x01" * 32))
    for number in range(first, first + count):
        owner.grant_roles(model, Address(bytes([1, number]) * 10), Role.READER)


@pytest.fixture
def registered(indexing: Indexing) -> Indexing:
    """A contract with one model."""
    indexing.clients[0].register_model(Digest(b"\x01" * 32), Root(b"\x02" * 32), Root(b"\x02" * 32))
    return indexing


@pytest.mark.parametrize(("before", "after"), [(3, 3), (3, 5), (5, 3), (4, 0)])
def test_blocks_that_are_no_more_are_undone_and_others_read(registered: Indexing, before: int, after: int) -> None:
    registered.sync(finality="20")
    fork = Fork(registered)
    grant(registered, before)
    assert registered.sync(finality="20").logs == before
    fork.back()
    again = registered.forget()
    grant(again, after, first=100)
    done = again.sync(finality="20")
    assert (done.undone, done.logs) == (before, after)
    assert again.dump() == again.fresh("20")


def test_a_chain_that_only_got_shorter_is_followed_back(registered: Indexing) -> None:
    fork = Fork(registered)
    grant(registered, 3)
    registered.sync(finality="20")
    fork.back()
    assert registered.sync(finality="20").undone == 3
    assert registered.dump() == registered.fresh("20")


def test_a_reorg_deeper_than_finality_stops_loudly_and_writes_nothing(registered: Indexing) -> None:
    fork = Fork(registered)
    grant(registered, 6)
    registered.sync(finality="2")
    final = registered.chain.w3.eth.block_number - 2
    before = registered.dump()
    fork.back()
    again = registered.forget()
    grant(again, 7, first=100)
    said = rf"block {final} was final as 0x\w+, got 0x\w+ .* `cairn index repair`"
    for _ in range(2):
        with pytest.raises(FinalityBroken, match=said):
            again.sync(finality="2")
        assert again.dump() == before


def test_a_shorter_chain_that_is_another_one_breaks_finality(registered: Indexing) -> None:
    grant(registered, 2)
    fork = Fork(registered)
    common = registered.chain.w3.eth.block_number
    grant(registered, 4, first=50)
    registered.sync()
    before = registered.dump()
    fork.back()
    again = registered.forget()
    grant(again, 2, first=100)
    with pytest.raises(FinalityBroken, match=rf"block {common + 2} was final as 0x\w+, got 0x\w+ "):
        again.sync()
    assert again.dump() == before


def test_what_was_final_stays_final_under_a_laxer_policy(registered: Indexing) -> None:
    """Finality is a promise made when a block was read: asking for more confirmations later does not take it back."""
    fork = Fork(registered)
    grant(registered, 3)
    registered.sync(finality="instant")
    fork.back()
    grant(registered.forget(), 4, first=100)
    with pytest.raises(FinalityBroken):
        registered.sync(finality="64")


def test_repair_goes_back_to_the_last_common_block_and_reads_on(registered: Indexing) -> None:
    grant(registered, 3)
    fork = Fork(registered)
    common = registered.chain.w3.eth.block_number
    grant(registered, 6, first=50)
    registered.sync(finality="2")
    fork.back()
    again = registered.forget()
    grant(again, 9, first=100)
    with again.open() as index:
        follower = Follower(index, again.chain.w3, parse_finality("2"))
        with pytest.raises(FinalityBroken):
            follower.sync()
        assert follower.repair() == common
        assert index.head == index.final == queries.blocks_between(index.db, common - 1, common)[0]
        assert follower.sync().logs == 9
    assert again.dump() == again.fresh("2")


def test_repair_of_an_index_that_is_right_takes_nothing_away(registered: Indexing) -> None:
    grant(registered, 3)
    registered.sync(finality="1")
    before = registered.dump()
    with registered.open() as index:
        Follower(index, registered.chain.w3, parse_finality("1")).repair()
        assert list(queries.dump(index.db)) == before


def test_repair_begins_anew_where_nothing_is_common(deployed_on: Callable[[Any], Indexing], play_on: Any) -> None:
    chain = embedded(6)
    tester = chain.w3.provider.ethereum_tester  # type: ignore[attr-defined]
    snapshot = tester.take_snapshot()
    tester.mine_blocks(1)
    here = replace(deployed_on(chain), first_block=1)
    play_on(here, 1)
    here.sync()
    tester.revert_to_snapshot(snapshot)
    tester.mine_blocks(1, coinbase="0x" + "07" * 20)
    again = replace(deployed_on(chain), first_block=1)
    assert again.following == here.following
    play_on(again, 2)
    with again.open() as index:
        follower = Follower(index, chain.w3, parse_finality("instant"))
        with pytest.raises(FinalityBroken):
            follower.sync()
        assert follower.repair() is None
        follower.sync()
    assert again.dump() == again.fresh()


# Random reorgs of a real node -----------------------------------------------------------------------------------------


class Dice:
    """Transactions at random, valid or not, from accounts that anvil has unlocked."""

    def __init__(self, indexing: Indexing, seed: int) -> None:
        self.indexing, self.rng = indexing, random.Random(seed)
        self.w3 = indexing.chain.w3
        self.owner = indexing.clients[0]
        self.model = self.owner.model_id(self.owner.account, Digest(b"\x01" * 32))
        self.people = [client.account for client in indexing.clients]

    def rpc(self, method: str, *params: object) -> Any:
        return self.w3.manager.request_blocking(method, list(params))  # type: ignore[arg-type]

    def call(self) -> tuple[bytes, Call]:
        rng, contract, model = self.rng, self.owner.address, self.model
        who, digest = rng.choice(self.people), Digest(rng.randbytes(32))
        number = rng.randint(1, 3)
        mine: list[Call] = [
            calls.grant_roles(contract, model, who, Role(rng.randint(1, 15))),
            calls.revoke_roles(contract, model, who, Role(rng.randint(1, 15))),
            calls.set_plan(contract, model, example_plan(commit_duration=rng.randint(30, 4000)), EXAMPLE_RULES),
            calls.publish_version(contract, model, Digest(b"\x01" * 32), digest, Root(digest), Root(digest)),
            calls.register_model(contract, digest, Root(digest), Root(digest)),
            calls.open_round(contract, model, 1),
            calls.cancel_round(contract, model, number),
            calls.suspend_rounds(contract, model),
            calls.resume_rounds(contract, model),
            calls.transfer_ownership(contract, model, who),
        ]
        if rng.random() < 0.4:
            return who, calls.commit_update(contract, model, number, digest, Root(digest), 1, 1, participant=who)
        return self.people[0], rng.choice(mine)

    def mine(self, blocks: int) -> None:
        """So many blocks, transactions in some of them."""
        while blocks > 0:
            for _ in range(self.rng.randint(0, 4)):
                sender, call = self.call()
                sent = {
                    "from": "0x" + sender.hex(),
                    "to": "0x" + self.owner.address.hex(),
                    "data": "0x" + call.data.hex(),
                }
                self.rpc("eth_sendTransaction", {**sent, "gas": hex(600_000)})
            empty = self.rng.randint(0, min(blocks - 1, 20))
            self.rpc("evm_mine")
            if empty:
                self.rpc("anvil_mine", hex(empty))
            blocks -= 1 + empty

    def reorganise(self, depth: int, *, replaced: bool) -> None:
        """Take so many blocks back and put others in their place: with other transactions, or without any."""
        if not replaced:
            self.rpc("anvil_reorg", depth, [])
            return
        self.rpc("anvil_rollback", depth)
        self.rpc("anvil_dropAllTransactions")
        self.mine(depth + self.rng.randint(0, 3))


@pytest.mark.node
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(REORGS // A_CHAIN))
def test_after_every_random_reorg_the_index_is_a_fresh_one(
    find_tool: Callable[[str], Path], deployed_on: Callable[[Any], Indexing], seed: int
) -> None:
    policy = str(DEEPEST)
    with anvil_chain(find_tool("anvil"), accounts=6) as chain:
        indexing = deployed_on(chain)
        owner = indexing.clients[0]
        owner.register_model(Digest(b"\x01" * 32), Root(b"\x02" * 32), Root(b"\x02" * 32))
        dice = Dice(indexing, seed)
        owner.grant_roles_batch(dice.model, [Grant(person, Role.PARTICIPANT) for person in dice.people])
        owner.set_plan(dice.model, example_plan(commit_duration=1_000_000), EXAMPLE_RULES)
        owner.open_round(dice.model)
        dice.rpc("evm_setAutomine", False)
        dice.mine(DEEPEST + 1)
        indexing.sync(finality=policy)
        undone = added = 0
        seen = Counter[str]()
        for number in range(A_CHAIN):
            dice.mine(dice.rng.randint(1, 5))
            if number % 3:  # else the blocks before the reorg are never seen
                indexing.sync(finality=policy)
            dice.reorganise(dice.rng.randint(1, DEEPEST), replaced=number % 2 == 0)
            done = indexing.sync(finality=policy)
            undone, added = undone + done.undone, added + done.logs
            assert indexing.dump() == indexing.fresh(policy), f"reorg {number}"
            with indexing.open() as index:
                seen.update(table for table, count in queries.count_facts(index.db).items() if count)
        assert undone > 10 * A_CHAIN
        assert added > A_CHAIN
        assert set(seen) >= {"models", "offers", "suspensions", "members", "plans", "versions", "rounds", "commitments"}
