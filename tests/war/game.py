"""A simulated war: honest aggregators, participants and one auditor against an adversary, on the real bytecode.

    python tests/war/game.py --seeds 20                # games 0..19
    python tests/war/game.py --first 7 --seeds 1 -v    # one of them, told block by block

The programs of the honest side are those that ship, each task in its own thread. A scheduler lets one of them run at a
time and moves the clock when all sleep, so a seed gives the same game to the bit. anvil runs the contracts, ordering
transactions by what they pay; a block is mined every twelve seconds of the game's clock. Transactions of the adversary
fill a share of each block.

What must hold after each game: no honest role or bond is lost, no false result is final, no task has ended or keeps
failing, the Court holds what it owes, and the adversary has not gained.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import logging
import random
import resource
import sys
import tempfile
import threading
import time as wall
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from simulated import (
    BLOCK,
    DRIPS,
    ETHER,
    GAS,
    HONEST,
    HOSTILE,
    IDLE,
    NAMES,
    START,
    TERMS,
    VALUES,
    Hurried,
    OwnStore,
    PublicStore,
    Scheduler,
    Stage,
    Stop,
    stage,
)

from registry.chain import calls
from registry.chain.client import Client
from registry.chain.contract_events import LeafDemanded, LeafShown, ResultConvicted
from registry.chain.contract_hashes import contribution_leaf, result_hash
from registry.chain.contract_structs import Counted, Grant, Membership, Opening, Plan, Result, Target
from registry.chain.court import Court
from registry.chain.journal import Journal
from registry.chain.sending import Call, Sending
from registry.chain.sentinels import NOWHERE
from registry.content.manifest import Reason
from registry.content.merkle import counted_root, leaf_hash, node_hash
from registry.dev.chains import example_result
from registry.dev.forgeries import falsified, nudged
from registry.disputes import answers
from registry.disputes.charges import basis_of, reported
from registry.disputes.demands import SeenDemands, demands_of
from registry.disputes.openings import Listing, listing_of
from registry.errors import CairnError
from registry.ethereum.fees import suggest_fees
from registry.ethereum.keys import to_checksum
from registry.ethereum.networks import Finality, FinalityRule
from registry.roles import aggregator, auditor
from registry.roles.answering import Answering, answer_demands
from registry.roles.loop import LoopTask, TaskHealth, follow
from registry.roles.purse import Purse
from registry.rounds.onchain import attested_result, attested_results, read_round
from registry.rounds.plans import add_plan, fitted, plan_rules
from registry.rounds.reports import load_report
from registry.rounds.results import compute_outcome
from registry.rounds.versions import load_version_manifest, read_header
from registry.store.memory import MemoryStore
from registry.types import Digest, Phase, Role, Root, Tree

FLOOD = 15
"""Blocks that a flood of demands goes on for: longer than an answer time, after which those before are due or lost."""
VOIDING = 0.6
"""Share of a flood that is to keep a true result of the liars' from being shown."""
HIGH_TIP = 300 * 10**9
"""What a flood of demands pays, wei per gas: more than answers ever bid."""
DEMAND_GAS = 60_000
"""Of a demanded leaf, among some others."""
LIES = ("aggregate", "version", "list", "hidden contribution", "empty list", "huge count", "truth", "none")
"""What the liars attest; `truth` is true, and nobody has attested it before them."""
MOVES = (
    "copy commitments", "copy root", "two faces", "split", "flood", "past the end", "overtake", "withhold",
    "answer late", "drip", "base fee", "poor", "reorg", "slow finality", "dead store", "restart", "claims",
    "second model", "median",
)  # fmt: skip
HASHING = 20
"""Seconds that hashing a file takes, as a larger one would."""
POOR, PRICE = ETHER // 30, 10 * 10**9
"""What an honest aggregator has where it has little, wei, and the base fee then, wei per gas."""
DEAD, OWN_DEAD = 600, 40
"""Seconds that nothing can be had of what others publish, and that one's own store is away, at most."""
SHARE = 0.3
"""Of each block's gas that a flood of demands takes, where nothing else is said: below the bound, 36 %."""
STEP = 2.0**-22


def every_nudged(data: bytes) -> bytes:
    """Change every value of a file."""
    values = np.frombuffer(data[-4 * VALUES :], dtype="<f4")
    return data[: -4 * VALUES] + np.nextafter(values, np.float32(np.inf)).tobytes()


# Play -----------------------------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """How a game ended.

    Attributes:
        seed: Of the game.
        moves: What the adversary did.
        losses: What must not have happened, in words; empty if all held.
        blocks: How long it took.
        convicted: Faults by which results were convicted.
        final: Whether an honest result became final.
        spent: By honest name, wei that the game cost beside bonds.
        gain: Of the adversary, wei.
        demanded, shown: Leaves.
        seconds: That it took to play.
        trace: A digest of every transaction that was mined, block by block, and of what the honest said they did: two
            games with one are the same game.
    """

    seed: int
    moves: list[str]
    losses: list[str]
    blocks: int = 0
    convicted: list[str] = field(default_factory=list)
    final: bool = False
    spent: dict[str, int] = field(default_factory=dict)
    gain: int = 0
    demanded: int = 0
    shown: int = 0
    seconds: float = 0.0
    trace: str = ""


class Game:
    """One game.

    Args:
        place: Where it is played; goes back to its beginning.
        seed: Decides all that chance does: two games of one seed are the same.
        share: Of each block's gas that a flood of demands takes.
        moves: The adversary's; by the seed if none are named.
        flooded: Blocks that a flood goes on for.
        verbose: Print what the honest do.
    """

    block = BLOCK

    def __init__(
        self,
        place: Stage,
        seed: int,
        *,
        share: float = SHARE,
        moves: Sequence[str] = (),
        flooded: int = FLOOD,
        verbose: bool = False,
    ) -> None:
        self.place, self.seed, self.share, self.flooded, self.verbose = place, seed, share, flooded, verbose
        self.draw, self.draw_salt = random.Random(seed), random.Random(seed + 2)
        self.clock = Scheduler(random.Random(seed + 1))
        place.rpc("evm_revert", place.snapshot)
        place.snapshot = place.rpc("evm_snapshot")
        place.rpc("anvil_setNextBlockBaseFeePerGas", hex(10**9))  # which going back leaves as it was
        self.folder = Path(tempfile.mkdtemp(dir=place.folder))
        self.moves = list(moves) or self.chosen()
        base = place.house
        store = PublicStore(self.clock)
        store._blocks.update(base.store._blocks)
        sending = Sending(
            poll=2.0, timeout=1e9, resend_after=30.0, sleep=self.clock.sleep, clock=lambda: self.clock.now
        )
        finality = Finality(FinalityRule.CONFIRMATIONS, 16 if self.does("slow finality") else 4)
        clients = place.module.Clients(base.chain, base.address)
        clients.update(
            {
                name: Client(
                    base.chain.w3,
                    base.address,
                    signer=signer,
                    journal=Journal(None),
                    finality=finality,
                    sending=sending,
                )
                for name, signer in zip(NAMES, base.chain.signers, strict=True)
            }
        )
        self.house = replace(base, store=store, folder=self.folder, clients=clients)
        self.stores = {name: OwnStore(store) for name in (*HONEST, "watcher")}
        self.w3, self.model = base.chain.w3, base.model_id
        self.health: dict[str, TaskHealth] = {}
        self.said: list[str] = []
        self.stood = self.height = self.w3.eth.block_number
        self.base_fee = PRICE if self.does("poor") else None
        for name in HONEST if self.does("poor") else ():
            place.rpc("anvil_setBalance", to_checksum(clients[name].account), hex(POOR))
        self.began = {name: self.worth(name) for name in NAMES}
        self.false: list[Result] = []
        self.busy = 0.0
        self.hidden: dict[Root, Callable[[int], Opening | None]] = {}
        self.kept = MemoryStore()

    # The adversary's choice

    def chosen(self) -> list[str]:
        """Some of all moves, by the seed."""
        moves = [self.draw.choice(LIES), *self.draw.sample(MOVES, self.draw.randint(2, 7))]
        if "truth" in moves and "flood" not in moves:
            moves.append("flood")
        return [move for move in moves if move != "base fee" or "poor" not in moves]

    def does(self, move: str) -> bool:
        return move in self.moves

    # The chain

    def worth(self, name: str) -> int:
        """What somebody holds, has deposited and is owed, wei."""
        client = self.house.clients[name]
        court = Court(client)
        return int(
            client.balance(client.account)
            + court.credit(client.account)
            + court.bond(self.model, client.account).amount
        )

    def mine(self) -> None:
        """One block, twelve seconds after the last."""
        rpc, latest = self.place.rpc, self.w3.eth.get_block("latest")
        rpc("evm_setBlockGasLimit", hex(GAS))
        if self.base_fee is not None:
            rpc("anvil_setNextBlockBaseFeePerGas", hex(self.base_fee))
        rpc("evm_setNextBlockTimestamp", max(latest["timestamp"] + 1, self.time()))
        rpc("evm_mine")
        self.height += 1
        rpc("evm_setNextBlockTimestamp", self.w3.eth.get_block("latest")["timestamp"] + self.block)

    def pending(self) -> bool:
        """Whether somebody wants something of the next block."""
        return int(self.place.rpc("txpool_status")["pending"], 16) > 0

    @property
    def idle(self) -> bool:
        """Whether nothing has happened for a while: then all look less often, and fewer blocks are mined."""
        return self.clock.now > self.busy + 10 * self.block

    def time(self) -> int:
        return START + int(self.clock.now)

    def miner(self) -> None:
        while True:
            if self.pending():
                self.busy = self.clock.now
            self.mine()
            self.clock.sleep(self.block * (IDLE if self.idle else 1))

    # The honest side

    def run_tasks(self, name: str, tasks: Callable[[], tuple[LoopTask, ...]], polls: dict[str, float]) -> None:
        """Each task in a thread of its own; when the role is restarted all of its objects are made anew."""
        steps = {task.name: task for task in tasks()}
        current: dict[str, LoopTask] = dict(steps)
        if self.does("restart"):

            def restart() -> None:
                for _ in range(3):
                    self.clock.sleep(self.draw.randint(300, 3000))
                    current.update({task.name: task for task in tasks()})

            self.clock.spawn(f"restart {name}", restart)
        for task in steps.values():
            health = self.health[f"{name} {task.name}"] = TaskHealth()
            poll = next((seconds for prefix, seconds in polls.items() if task.name.startswith(prefix)), 120.0)

            def step(of: str = task.name) -> str:
                return current[of].step()

            def work(step: Callable[[], str] = step, poll: float = poll, health: TaskHealth = health) -> None:
                follow(step, Stop(self.clock, lambda: self.idle), poll=poll, done=self.tell, health=health, ends=())  # type: ignore[arg-type]

            self.clock.spawn(f"{name} {task.name}", work)

    def tell(self, said: str) -> None:
        self.said.append(f"{self.clock.now:8.0f} {threading.current_thread().name}: {said}")
        if self.verbose:
            print(self.said[-1])

    def honest(self) -> None:
        house = self.house
        for name in HONEST:
            client = house.clients[name]

            def made(client: Client = client, name: str = name) -> tuple[LoopTask, ...]:
                return aggregator.tasks(client, self.stores[name], self.folder / name, self.model)

            self.run_tasks(name, made, {"answering": 12.0, "attesting": 48.0, "rounds": 60.0, "transactions": 24.0})
        watcher = house.clients["watcher"]
        models = [self.model] if not self.does("second model") else [self.second_model(), self.model]
        purse = Purse(watcher, self.folder / "purse.json", 5 * ETHER)

        def watching() -> tuple[LoopTask, ...]:
            return auditor.tasks(
                watcher,
                self.stores["watcher"],
                self.folder / "auditor",
                models,
                purse=purse,
                clock=lambda: self.clock.now,
            )

        self.run_tasks("watcher", watching, {"closing": 24.0, "looking": 24.0, "showing": 36.0, "transactions": 24.0})

    def second_model(self) -> Any:
        """A model of the adversary's of which nothing can be read, and in which a result is attested all the same."""
        mallory = self.house.clients["mallory"]
        self.now(
            mallory,
            lambda until: mallory.register_model(
                Digest(b"\x01" * 32), Root(b"\x02" * 32), Root(b"\x03" * 32), until=until
            ),
        )
        found = mallory.model_id(mallory.account, Digest(b"\x01" * 32))
        plan, rules = self.plan(quorum=1, challenge_duration=4 * TERMS["challenge_duration"])
        self.now(mallory, lambda until: mallory.set_plan(found, plan, rules, until=until))
        everything = Grant(mallory.account, Role.PARTICIPANT | Role.AGGREGATOR)
        self.now(mallory, lambda until: mallory.grant_roles_batch(found, [everything], until=until))
        self.now(mallory, lambda until: mallory.open_round(found, number=1, until=until))
        self.now(
            mallory,
            lambda until: mallory.commit_update(
                found, 1, Digest(b"\x04" * 32), Root(b"\x05" * 32), 100, 1, until=until
            ),
        )
        self.now(mallory, lambda until: Court(mallory).deposit_bond(found, ETHER, until=until))
        self.elsewhere = found
        return found

    def plan(self, **changed: Any) -> tuple[Plan, bytes]:
        """Store a plan of other terms; return what is set of it."""
        owner, store = self.house.clients["owner"], self.house.store
        head = load_version_manifest(store, owner.model(self.model).head)
        manifest = self.place.module.plan_manifest(**{**TERMS, **changed})
        return add_plan(store, fitted(manifest, read_header(store, head.weights.blob)))

    def attest_elsewhere(self) -> None:
        mallory, found = self.house.clients["mallory"], self.elsewhere
        while mallory.phase(found, 1) != Phase.AGGREGATE:
            self.clock.sleep(self.block)
        result = example_result(contributions=1)
        while not mallory.round(found, 1).attested and mallory.phase(found, 1) == Phase.AGGREGATE:
            self.clock.sleep(self.block)
            with contextlib.suppress(CairnError):
                run = read_round(mallory, found, 1).running_hash
                self.send("mallory", calls.attest_result(mallory.address, found, 1, result, run))

    def now(self, client: Client, send: Callable[[Any], Any]) -> None:
        """Have something carried out before the game begins."""
        rpc = self.place.rpc
        rpc("evm_setAutomine", True)
        rpc("evm_setNextBlockTimestamp", self.w3.eth.get_block("latest")["timestamp"] + 1)  # not the wall's
        try:
            send("mined")
        finally:
            rpc("evm_setAutomine", False)

    def participants(self) -> None:
        """Commit, and publish once commits are closed."""
        house = self.house
        updates = {name: house.update(name, seed=seed) for seed, name in enumerate(("ann", "bob", "cyn"))}
        data = updates["ann"].data
        self.own = house.sealed("mallory", data[:-4] + updates["bob"].data[-4:])
        broken = house.sealed("mallory", data[:-4] + (1 + self.seed % 2**20).to_bytes(4, "little"))  # off the grid
        ways = {  # one is all that it can commit
            "hidden contribution": lambda: self.commit("mallory", self.own),
            "copy commitments": lambda: self.commit("mallory", updates["ann"]),
            "copy root": lambda: self.commit("mallory", updates["ann"], digest=Digest(b"\x07" * 32)),
            "two faces": lambda: self.commit("mallory", broken),
        }
        chosen = next((way for way in ways if self.does(way)), None)
        if chosen is not None:
            ways[chosen]()
        for name, update in updates.items():
            self.commit(name, update)

        def publish() -> None:
            while house.clients["owner"].phase(self.model, 1) == Phase.COMMIT:
                self.clock.sleep(self.block)
            self.clock.sleep(5 * self.block)
            for name, update in updates.items():
                if self.does("split") and name != "cyn":
                    self.give("first" if name == "ann" else "second", update)
                else:
                    house.publish(update)
            if chosen == "two faces":
                self.give(HONEST[self.seed % 2], broken)

        self.clock.spawn("participants", publish)

    def give(self, name: str, update: Any) -> None:
        """Publish an update to one of the honest alone."""
        alone = MemoryStore()
        self.house.publish(update, alone)
        self.stores[name]._blocks.update(alone._blocks)

    def commit(self, name: str, update: Any, digest: Digest | None = None) -> None:
        client = self.house.clients[name]
        named = digest or update.digest, Root(update.manifest.delta.tensor_root)
        self.now(
            client,
            lambda until: client.commit_update(
                self.model, 1, *named, update.manifest.weight, update.manifest.steps, until=until
            ),
        )

    # The adversary

    def adversary(self) -> None:
        self.clock.spawn("mallory lies", self.lie)
        for move, work in (
            ("flood", self.flood),
            ("overtake", self.overtake),
            ("base fee", self.raise_fee),
            ("reorg", self.reorganise),
            ("dead store", lambda: self.kill_store(self.house.store, DEAD)),
            ("claims", self.squat),
            ("past the end", self.ask_past_the_end),
            ("second model", self.attest_elsewhere),
        ):
            if self.does(move):
                self.clock.spawn(f"mallory {move}", work)
        for name, store in self.stores.items() if self.does("dead store") else ():
            self.clock.spawn(f"mallory kills {name}'s store", partial(self.kill_store, store, OWN_DEAD))
        if not self.does("withhold"):
            self.clock.spawn("mallory answers", self.answer)

    def send(self, name: str, call: Call, *, tip: int = 0, gas: int = 0) -> None:
        """Send once, above what others pay; whatever comes of it."""
        client = self.house.clients[name]
        try:
            gas = gas or client.quote(call).gas_limit
            fees = suggest_fees(self.w3)
            transaction = {
                "type": 2, "chainId": client.chain_id, "to": to_checksum(call.to or bytes(20)), "data": call.data,
                "value": call.value, "gas": gas, "maxPriorityFeePerGas": fees.priority_fee + tip,
                "maxFeePerGas": fees.max_fee + tip,
                "nonce": self.w3.eth.get_transaction_count(to_checksum(client.account), "pending"),
            }  # fmt: skip
            self.w3.eth.send_raw_transaction(client.transactor._signer.sign_transaction(transaction))
        except Exception:  # noqa: BLE001 (an adversary does not mind)
            return

    def wait_for(self, *phases: Phase) -> None:
        while self.house.clients["owner"].phase(self.model, 1) not in phases:
            self.clock.sleep(self.block)

    def lie(self) -> None:
        """Two liars attest something false as soon as anything can be attested, and two others after them.

        Of a true result the others attest nothing: once it was voided, that would help the honest.
        """
        pairs = (HOSTILE[:2],) if self.does("truth") else (HOSTILE[:2], HOSTILE[2:])
        for liars in () if self.does("none") else pairs:
            self.wait_for(Phase.AGGREGATE)
            self.attest_falsehood(liars)
            self.wait_for(Phase.CHALLENGE)

    def attest_falsehood(self, liars: Sequence[str]) -> None:
        house = self.house
        private = MemoryStore()
        shown = private if self.does("withhold") or self.draw.random() < 0.5 else house.store
        keep = dict(house.store._blocks)
        record = house.record()
        try:
            result = self.falsehood(shown)
        except CairnError:
            return
        finally:
            if shown is private:  # what computing it put into the public store is the honest result's
                house.store._blocks.update(keep)
        if self.does("drip"):
            new = house.store._blocks.keys() - keep.keys()
            house.store.slow = {name: DRIPS if len(house.store._blocks[name]) > 100_000 else 1 for name in new}
        for held in (house.store, private):
            self.kept._blocks.update(held._blocks)
        if not self.does("truth"):
            self.false.append(result)
        for name in liars:
            client = house.clients[name]
            self.send(name, calls.attest_result(client.address, self.model, 1, result, record.running_hash), tip=10**9)

    def falsehood(self, store: MemoryStore) -> Result:
        house, where = self.house, self.draw.randrange(VALUES)
        honest = house.outcome()
        if self.does("truth"):
            return honest.result
        entries = [entry for page in honest.pages for entry in page.entries if entry.reason == Reason.ADMITTED]
        entries = sorted(map(reported, entries), key=lambda entry: entry.participant)
        true = listing_of(entries)
        self.hidden[true.root] = true.opening
        if self.does("aggregate"):
            return falsified(store, honest, aggregate=nudged(where, STEP))
        if self.does("version"):
            return falsified(store, honest, version=nudged(where))
        if self.does("huge count"):
            return replace(honest.result, contributions_root=self.huge(true), report_digest=Digest(b"\x09" * 32))
        if self.does("list"):
            listing = Listing((replace(entries[0], factor=1), *entries[1:]))
            self.hidden[listing.root] = listing.opening
            return replace(
                honest.result,
                contributions_root=listing.root,
                report_digest=Digest(b"\x09" * 32),
                contributions=len(entries),
                total_weight=sum(entry.weight for entry in entries),
                total_steps=sum(entry.steps for entry in entries),
                divisor=sum(entry.weight for entry in entries),
            )
        if self.does("hidden contribution"):
            private = MemoryStore()
            private._blocks.update(house.store._blocks)
            for held in (private, self.kept):
                house.publish(self.own, held)
            verdicts = [replace(v, reason=Reason.ADMITTED) for v in house.verdicts(private) if v.manifest is not None]
            round, place = house.round(), self.folder / "hidden"
            place.mkdir(exist_ok=True)
            try:
                made = compute_outcome(private, round, verdicts, place)
            except CairnError:
                made = honest
            return falsified(store, made, version=every_nudged)
        return replace(honest.result, contributions_root=Root(b"\x05" * 32), report_digest=Digest(b"\x09" * 32))

    def huge(self, true: Listing) -> Root:
        """Return the root of a list of 2^28 contributions, of which there is but the first to be shown."""
        leaf, proof = contribution_leaf(true.contributions[0]), [self.draw.randbytes(32) for _ in range(28)]
        counted = Counted(1 << len(proof), reduce(node_hash, proof, leaf_hash(leaf)))
        root = counted_root(counted.count, counted.inner)
        first, beyond = Opening(counted, leaf, tuple(proof)), Opening(counted, b"", ())
        self.hidden[root] = lambda index: first if not index else beyond if index >= counted.count else None
        return root

    def answer(self) -> None:
        """The liars show what is demanded of their result, by the program of the honest, and what that does not show:
        some of it, some of it late.
        """
        seen, memory = SeenDemands(), Answering()
        client, folder = self.house.clients["mallory"], self.folder / "mallory"
        while True:
            self.clock.sleep(self.block * (1 if not self.does("answer late") else 22))
            with contextlib.suppress(CairnError):
                dispute = client.dispute(self.model, 1)
                attested = attested_result(client, self.house.record(), dispute.result_hash)
                if not any(dispute.tally) or attested not in self.false:
                    continue
                for leaf in demands_of(Court(client), dispute, seen).open:
                    opening = self.hidden.get(Root(leaf.root), lambda _: None)(leaf.index)
                    if opening is not None and self.draw.random() < 0.8:
                        self.send("mallory", Court(client).call("showLeaf", leaf, opening))
                answer_demands(client, self.kept, folder, self.model, 1, memory)

    def ask_past_the_end(self) -> None:
        """Demand leaf 2^40 of the list of contributions, which the liars show not to be there."""
        client = self.house.clients["stranger"]
        while not self.false or client.phase(self.model, 1) != Phase.CHALLENGE:
            self.clock.sleep(self.block)
        target = Target(self.model, 1, self.false[0])
        court = Court(client)
        deposit = court.deposit_now(target) * 5 // 4
        self.send("stranger", court.call("demandContributions", target, [1 << 40], value=deposit), tip=10**9)

    def flood(self) -> None:
        """Demand as many leaves as fit into its share of each block, of whatever is in its window."""
        tip = 10**9 if self.does("poor") else HIGH_TIP
        index = turn = 0
        client = self.house.clients["mike"]
        court = Court(client)
        honest = {self.house.clients[name].account for name in HONEST}
        while turn < self.flooded:
            self.clock.sleep(self.block)
            try:
                if client.phase(self.model, 1) != Phase.CHALLENGE:
                    continue
                dispute = client.dispute(self.model, 1)
                attested = [
                    e for e in attested_results(client, self.house.record()) if e.result_hash == dispute.result_hash
                ]
                if not attested or attested[0].result in self.false:
                    continue
                target = Target(self.model, 1, attested[0].result)
                deposit = court.deposit_now(target) * 5 // 4
                # What is above the bound is for the liars' own result alone.
                alone = self.does("truth") and not any(event.aggregator in honest for event in attested)
                per_block = int(GAS * (VOIDING if alone else self.share) / DEMAND_GAS)
                indices = list(range(index, index + per_block))
                index, turn = index + per_block, turn + 1
                tree = (Tree.AGGREGATE, Tree.VERSION, Tree.PARENT, Tree.CONTRIBUTION)[turn % 4]
                round = self.house.round()
                basis = basis_of(plan_rules(round.plan), round.parent)
                place = NOWHERE if tree is not Tree.CONTRIBUTION else self.membership(attested[0].result, turn)
                for first in range(0, len(indices), 30):
                    some = indices[first : first + 30]
                    call = court.call("demandChunks", target, basis, int(tree), place, some, value=deposit * len(some))
                    self.send("mike", call, tip=tip)
            except CairnError:
                continue

    def membership(self, result: Result, turn: int) -> Membership:
        """Return one of the contributions that a result of the honest lists."""
        report = load_report(self.house.store, result.report_digest, len(self.house.record().commitments))
        true = listing_of(reported(entry) for entry in report.entries if entry.reason == Reason.ADMITTED)
        return true.membership(turn % result.contributions)

    def overtake(self) -> None:
        """Copy whatever the auditor sends, at a higher price."""
        watcher = "0x" + self.house.clients["watcher"].account.hex()
        seen: set[str] = set()
        while True:
            self.clock.sleep(1)
            pool = {account.lower(): sent for account, sent in self.place.rpc("txpool_content")["pending"].items()}
            for pending in pool.get(watcher, {}).values():
                if pending["hash"] in seen:
                    continue
                seen.add(pending["hash"])
                call = Call(
                    bytes.fromhex(pending["to"][2:]),
                    bytes.fromhex(pending["input"][2:]),
                    "",
                    value=int(pending["value"], 16),
                )  # type: ignore[arg-type]
                self.send("mallory", call, tip=20 * 10**9, gas=int(pending["gas"], 16))  # no quote: it is made already

    def raise_fee(self) -> None:
        self.clock.sleep(self.draw.randint(700, 2500))
        self.base_fee = 100 * int(self.w3.eth.get_block("latest")["baseFeePerGas"])
        self.clock.sleep(self.block * self.draw.randint(5, 20))
        self.base_fee = None

    def reorganise(self) -> None:
        """Take the last blocks out, three times, with what was in them; and mine others."""
        honest = {to_checksum(self.house.clients[name].account) for name in (*HONEST, "watcher")}
        for _ in range(3):
            self.clock.sleep(self.draw.randint(400, 2500))
            depth, end = self.draw.randint(1, 3), self.clock.now + 2000
            while self.clock.now < end and not honest & self.senders():
                self.clock.sleep(self.block)
            with contextlib.suppress(Exception):
                self.place.rpc("anvil_rollback", depth)
            self.mine()

    def senders(self) -> set[str]:
        """Whose transactions the last block holds."""
        block: Any = self.w3.eth.get_block("latest", True)
        return {transaction["from"] for transaction in block["transactions"]}

    def kill_store(self, store: PublicStore, longest: int) -> None:
        self.clock.sleep(self.draw.randint(700, 3000))
        store.dead = True
        self.clock.sleep(self.draw.randint(longest // 4, longest))
        store.dead = False

    def squat(self) -> None:
        """Seal the claim that something is withheld, of each result, before anybody else can."""
        from registry.chain.contract_hashes import claim_of, seal_of
        from registry.types import Part

        client = self.house.clients["mallory"]
        sealed: set[bytes] = set()
        while True:
            self.clock.sleep(self.block)
            with contextlib.suppress(CairnError):
                dispute = client.dispute(self.model, 1)
                if any(dispute.tally) and dispute.tally not in sealed:
                    sealed.add(dispute.tally)
                    claim = claim_of(dispute.round_id, dispute.tally, Part.SERVICE, 0)
                    self.send("mallory", Court(client).call("sealClaim", seal_of(client.account, b"\x01" * 32, claim)))

    # The game

    def play(self) -> Outcome:
        """Play it to its end, and look at what came of it."""
        began = wall.monotonic()
        hashed = answers.keep_blob

        def slowly(*arguments: Any, **named: Any) -> bool:
            self.clock.sleep(HASHING)
            return hashed(*arguments, **named)

        salted = mock.patch("secrets.token_bytes", self.draw_salt.randbytes)
        hurried = mock.patch("registry.roles.auditor.LimitedStore", Hurried)
        # The machine's clock tells nothing of the game's.
        paced = mock.patch("registry.roles.aggregator.AggregatorMemory.pace", return_value=1.0)
        with salted, hurried, paced, mock.patch("registry.disputes.answers.keep_blob", slowly):
            outcome = self._play()
        outcome.seconds = wall.monotonic() - began
        return outcome

    def _play(self) -> Outcome:
        owner = self.house.clients["owner"]
        self.place.rpc("evm_setNextBlockTimestamp", START)
        self.mine()
        if self.does("median"):
            self.house.plan, rules = self.plan(combine_rule=2, weights="uniform")
            self.now(owner, lambda until: owner.set_plan(self.model, self.house.plan, rules, until=until))
        self.now(owner, lambda until: owner.open_round(self.model, number=1, until=until))
        first = self.w3.eth.get_block("latest")["timestamp"]
        self.clock.now = float(first - START)
        for _ in range(20 if self.does("slow finality") else 5):
            self.clock.now += self.block
            self.mine()
        self.participants()
        self.clock.now = float(self.w3.eth.get_block("latest")["timestamp"] - START + self.block)
        self.clock.spawn("miner", self.miner)
        self.honest()
        self.adversary()
        state = owner.round(self.model, 1)
        limit = float(state.aggregate_deadline - START + 4 * 5760 + 7200)
        self.clock.run(lambda: self.clock.now > limit or self.ended())
        outcome = Outcome(self.seed, self.moves, list(self.clock.failed))
        self.judge(outcome)
        return outcome

    def ended(self) -> bool:
        """Whether the round is over and everybody had time to collect."""
        if int(self.clock.now) % (self.block * 10) >= self.block:
            return False
        owner = self.house.clients["owner"]
        over = owner.round(self.model, 1).finalized or owner.phase(self.model, 1) == Phase.CANCELLED
        if not over:
            return False
        if not hasattr(self, "_ended"):
            self._ended = self.clock.now
        return self.clock.now > self._ended + 1500

    def judge(self, outcome: Outcome) -> None:
        house, losses = self.house, outcome.losses
        owner = house.clients["owner"]
        court = Court(owner)
        outcome.blocks = self.height - self.stood
        for name in HONEST:
            account = house.clients[name].account
            if not owner.member(self.model, account).roles & Role.AGGREGATOR:
                losses.append(f"{name} lost its role")
            bond = court.bond(self.model, account).amount
            if bond < 2 * ETHER:
                losses.append(f"{name} lost {2 * ETHER - bond} wei of its bond")
        latest = self.w3.eth.block_number
        round_id = owner.round_id(self.model, 1)
        outcome.convicted = [e.fault.name for e in court.events(ResultConvicted, subject=round_id, to_block=latest)]
        outcome.demanded = sum(1 for _ in court.events(LeafDemanded, subject=round_id, to_block=latest))
        outcome.shown = sum(1 for _ in court.events(LeafShown, subject=round_id, to_block=latest))
        state = owner.round(self.model, 1)
        if state.finalized:
            outcome.final = True
            hashes = {result_hash(result) for result in self.false}
            if state.result_hash in hashes:
                losses.append("a false result is final")
        else:
            losses.append("no result is final")
        for name, health in self.health.items():
            if health.failing and not self._excused(name):
                losses.append(f"{name} keeps failing: {health.error}")
        outcome.gain = sum(self.worth(name) - self.began[name] for name in (*HOSTILE, "stranger"))
        if outcome.gain > 0:
            losses.append(f"the adversary gained {outcome.gain} wei")
        blocks = (self.w3.eth.get_block(number) for number in range(self.stood + 1, latest + 1))
        told = [[block["timestamp"], *(tx.hex() for tx in block["transactions"])] for block in blocks]  # type: ignore[union-attr]
        outcome.trace = hashlib.sha256(json.dumps([told, self.said]).encode()).hexdigest()
        outcome.spent = {name: self.began[name] - self.worth(name) for name in (*HONEST, "watcher")}

    def _excused(self, name: str) -> bool:
        """What the adversary's own model makes fail is no loss."""
        return self.does("second model") and name.startswith("watcher") and self.model.hex()[:10] not in name


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--first", type=int, default=0, metavar="SEED")
    parser.add_argument("--seeds", type=int, default=20, metavar="N")
    parser.add_argument("--share", type=float, default=SHARE, help="of each block's gas that the adversary fills")
    parser.add_argument("--flooded", type=int, default=FLOOD, help="blocks that a flood of demands goes on for")
    parser.add_argument("--moves", default="", help="with commas between; by the seed if none are named")
    parser.add_argument("--until-lost", action="store_true", help="play no game after one that is lost")
    parser.add_argument("--memory", type=int, metavar="GIB", help="what this process may take")
    parser.add_argument("-v", "--verbose", action="store_true")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO if arguments.verbose else logging.CRITICAL)
    lost = 0
    moves = [move for move in arguments.moves.split(",") if move]
    unknown = set(moves) - {*LIES, *MOVES}
    if unknown:
        parser.error(f"expected moves out of {', '.join((*LIES, *MOVES))}, got {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory(prefix="cairn-war-") as folder, stage(Path(folder)) as place:
        if arguments.memory:
            resource.setrlimit(resource.RLIMIT_AS, (arguments.memory << 30, -1))
        for seed in range(arguments.first, arguments.first + arguments.seeds):
            flood = {"share": arguments.share, "flooded": arguments.flooded}
            outcome = Game(place, seed, **flood, moves=moves, verbose=arguments.verbose).play()
            played = seed + 1 - arguments.first
            lost += bool(outcome.losses)
            print(json.dumps({**outcome.__dict__, "seconds": round(outcome.seconds, 1)}), flush=True)
            if lost and arguments.until_lost:
                break
    print(f"{lost} of {played} games lost")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
