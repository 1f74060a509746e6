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
import importlib.util
import json
import logging
import random
import sys
import tempfile
import threading
import time as wall
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from registry.chain.challenge_records import NOWHERE, Target
from registry.chain.client import Client
from registry.chain.court import Court
from registry.chain.court_events import LeafDemanded, LeafShown, ResultConvicted
from registry.chain.deploy import deploy
from registry.chain.fees import suggest_fees
from registry.chain.journal import Journal
from registry.chain.keys import to_checksum
from registry.chain.networks import Finality, FinalityRule
from registry.chain.records import Grant, Result, result_hash
from registry.chain.sending import Call, Sending
from registry.chain.testing import anvil_chain, find_program
from registry.chain.transactions import Transactor
from registry.content.manifest import Reason, digest_of
from registry.errors import CairnError, StoreUnavailable
from registry.provenance.charges import basis_of, listed
from registry.provenance.demands import SeenDemands, demands_of
from registry.provenance.openings import Listing
from registry.provenance.plans import plan_rules
from registry.provenance.results import compute_outcome
from registry.provenance.rounds import attested_results
from registry.provenance.testing import falsified, nudged
from registry.provenance.versions import add_version, save_arrays
from registry.store.memory import MemoryStore
from registry.types import Cid, Digest, Phase, Role, Root, Tree
from trainer import aggregator, auditor
from trainer.challenger import Purse
from trainer.loop import Health, Task, follow

ROOT = Path(__file__).resolve().parents[2]
PLACES = (ROOT / "node_modules" / ".bin",)
VALUES = 400 * 256
"""Of the model: more leaves in its trees than a flood demands, since one past the end is answered for a quarter."""
BLOCK = 12
"""Seconds from one block to the next."""
IDLE = 5
"""How much less often all look while nothing happens: the game is over sooner, and they are late by so much."""
FLOOD = 15
"""Blocks that a flood of demands goes on for: longer than an answer time, after which those before are due or lost."""
DEMAND_GAS = 60_000
"""Of a demanded leaf, among some others."""
DEAD, OWN_DEAD = 600, 40
"""Seconds that nothing can be had of what others publish, and that one's own store is away, at most."""
SHARE = 0.3
"""Of each block's gas that a flood of demands takes, where nothing else is said: below the bound, 36 %."""
START = 1_700_003_600
"""When a game begins, Unix seconds: later than the stage, which is deployed by the clock on the wall."""
GAS = 3_000_000
"""Of a block: small, so that filling it takes few transactions."""
ETHER = 10**18
HONEST, HOSTILE = ("first", "second"), ("mallory", "mike")
NAMES = ("owner", "ann", "bob", "cyn", "mallory", "mike", "first", "second", "watcher", "stranger")
STEP = 2.0**-22


def every_nudged(data: bytes) -> bytes:
    """Change every value of a file."""
    values = np.frombuffer(data[-4 * VALUES :], dtype="<f4")
    return data[: -4 * VALUES] + np.nextafter(values, np.float32(np.inf)).tobytes()


def house_module() -> Any:
    """The federation that the attacks are tried on."""
    spec = importlib.util.spec_from_file_location("attack_house", ROOT / "tests" / "attacks" / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


# Time -----------------------------------------------------------------------------------------------------------------


class GameOver(BaseException):
    """Ends a thread of a game; no program catches it."""


class Scheduler:
    """Runs threads one at a time, and moves the clock to when the next one wakes."""

    def __init__(self, draw: random.Random) -> None:
        self.now = 0.0
        self.over = False
        self._draw = draw
        self._wakes: dict[threading.Thread, float] = {}
        self._turns: dict[threading.Thread, threading.Semaphore] = {}
        self._mine = threading.Semaphore(0)
        self.failed: list[str] = []

    def spawn(self, name: str, work: Callable[[], None]) -> None:
        """Add a thread, which runs when its turn comes."""

        def run() -> None:
            self._turns[threading.current_thread()].acquire()
            try:
                if not self.over:
                    work()
            except GameOver:
                pass
            except BaseException as error:  # noqa: BLE001 (told as a loss of the game)
                self.failed.append(f"{name}: {type(error).__name__}: {error}")
            finally:
                self._wakes.pop(threading.current_thread(), None)
                self._mine.release()

        thread = threading.Thread(target=run, name=name, daemon=True)
        self._turns[thread], self._wakes[thread] = threading.Semaphore(0), self.now
        thread.start()

    def sleep(self, seconds: float) -> None:
        """Let others run until so much later; in threads that are not the game's, do nothing."""
        me = threading.current_thread()
        if me not in self._wakes:
            return
        self._wakes[me] = self.now + seconds
        self._mine.release()
        self._turns[me].acquire()
        if self.over:
            raise GameOver

    def run(self, done: Callable[[], bool]) -> None:
        """Go on until done, then end all threads."""
        while self._wakes and not done():
            first = min(self._wakes.values())
            ready = sorted((t for t, at in self._wakes.items() if at <= first), key=lambda thread: thread.name)
            chosen = self._draw.choice(ready)
            self.now = max(self.now, first)
            self._turns[chosen].release()
            self._mine.acquire()
        self.over = True
        while self._wakes:
            chosen = next(iter(self._wakes))
            self._turns[chosen].release()
            self._mine.acquire()


class Stop:
    """What `follow` waits on, by the game's clock."""

    def __init__(self, scheduler: Scheduler, game: Game) -> None:
        self._scheduler, self._game = scheduler, game

    def is_set(self) -> bool:
        return self._scheduler.over

    def wait(self, seconds: float) -> bool:
        self._scheduler.sleep(max(seconds, 0.01) * (IDLE if self._game.idle else 1))
        return self._scheduler.over


# Place ----------------------------------------------------------------------------------------------------------------


class PublicStore(MemoryStore):
    """What everybody sees; away while `dead`."""

    dead = False

    def _get(self, cid: Cid) -> bytes:
        if self.dead:
            raise StoreUnavailable("the store is away")
        return super()._get(cid)


class OwnStore(PublicStore):
    """Of one of the honest: finds in public what it has not, keeps what it has seen, and serves what it is given."""

    def __init__(self, public: PublicStore) -> None:
        super().__init__()
        self._public = public

    def _get(self, cid: Cid) -> bytes:
        if not self.dead and not self._has(cid):
            super()._put(cid, self._public._get(cid))
        return super()._get(cid)

    def _put(self, cid: Cid, data: bytes) -> None:
        if self.dead:
            raise StoreUnavailable("the store is away")
        super()._put(cid, data)
        self._public._put(cid, data)


@dataclass
class Stage:
    """A deployed federation on anvil, to go back to before each game."""

    house: Any
    module: Any
    chain: Any
    snapshot: Any
    folder: Path

    def rpc(self, method: str, *params: Any) -> Any:
        return self.chain.w3.manager.request_blocking(method, list(params))


def remember_answers(provider: Any) -> None:
    """While blocks are mined on demand alone, ask the node once for what only they and transactions change."""
    ask, known, automine = provider.make_request, {}, True

    def make_request(method: str, params: Any) -> Any:
        nonlocal automine
        if method == "evm_setAutomine":
            automine = params[0]
        if automine or method.startswith(("eth_send", "evm_", "anvil_")):
            known.clear()
            return ask(method, params)
        key = method, repr(params)
        if key not in known:
            known[key] = ask(method, params)
        return dict(known[key])

    provider.make_request = make_request
    provider._request_func_cache = (None, None)


def found(
    module: Any, chain: Any, folder: Path, store: MemoryStore, *, names: Sequence[str] = NAMES, **durations: int
) -> Any:
    """Deploy, register a model, give roles and bonds; return the federation. Blocks are mined on demand meanwhile.

    Args:
        module: The federation's.
        chain: With a signer for each name.
        folder: For the genesis.
        store: What everybody sees.
        names: Of all who play.
        durations: Of the plan.
    """
    module.NAMES = names
    w3, chain_id, at_once = chain.w3, chain.w3.eth.chain_id, Finality(FinalityRule.INSTANT)
    maker = Transactor(w3, chain.signers[0], Journal(None), chain_id=chain_id, finality=at_once)
    address = deploy(w3, maker, chain_id=chain_id).address
    clients = module.Clients(chain, address)
    clients.update(
        {
            name: Client(w3, address, signer=signer, journal=Journal(None), finality=at_once)
            for name, signer in zip(names, chain.signers, strict=True)
        }
    )
    owner = clients["owner"]
    draw = np.random.default_rng(7)
    save_arrays(folder / "genesis.safetensors", {"w": draw.normal(size=(VALUES // 256, 256)).astype(np.float32)})
    genesis = add_version(store, folder / "genesis.safetensors")
    owner.register_model(digest_of(genesis), Root(genesis.tensor_root), Root(genesis.rest_root))
    model = owner.model_id(owner.account, digest_of(genesis))
    roles = dict.fromkeys(("ann", "bob", "cyn"), Role.PARTICIPANT)
    roles |= dict.fromkeys(HONEST, Role.AGGREGATOR)
    roles |= {"mallory": Role.PARTICIPANT | Role.AGGREGATOR, "mike": Role.AGGREGATOR}
    owner.grant_roles_batch(model, [Grant(clients[name].account, role) for name, role in roles.items()])
    manifest = module.plan_manifest(quorum=2, min_contributions=1, bond_gwei=ETHER // 10**9, **durations)
    plan = module.anchor_plan(owner, store, model, manifest)
    for name in (*HONEST, *HOSTILE):
        Court(clients[name]).deposit_bond(model, 2 * ETHER)
    return module.Federation(chain, address, model, digest_of(genesis), plan, store, folder, clients)


@contextlib.contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """Start anvil, deploy, register a model, give roles and bonds."""
    module = house_module()
    program = find_program("anvil", PLACES)
    options = ("--order", "fees", "--no-request-size-limit", "--gas-limit", str(GAS * 5))
    options = (*options, "--timestamp", str(START - 3600))
    with anvil_chain(program, *options, accounts=len(NAMES)) as chain:
        remember_answers(chain.w3.provider)
        house = found(
            module, chain, folder, PublicStore(), commit_duration=600, publish_duration=120,
            aggregate_duration=3600, challenge_duration=5760, answer_duration=120, late_duration=60,
        )  # fmt: skip
        w3 = chain.w3
        rpc = chain.w3.manager.request_blocking
        rpc("evm_setAutomine", [False])
        assert w3.eth.get_block("latest")["timestamp"] < START
        made = Stage(house, module, chain, None, folder)
        made.snapshot = made.rpc("evm_snapshot")
        yield made


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
        base = place.house
        store = PublicStore()
        store._blocks.update(base.store._blocks)
        sending = Sending(
            poll=2.0, timeout=1e9, resend_after=30.0, sleep=self.clock.sleep, clock=lambda: self.clock.now
        )
        finality = Finality(FinalityRule.CONFIRMATIONS, 4)
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
        self.health: dict[str, Health] = {}
        self.said: list[str] = []
        self.stood = self.height = self.w3.eth.block_number
        self.base_fee: int | None = None
        self.began = {name: self.worth(name) for name in NAMES}
        self.honest_result: bytes | None = None
        self.honest_digest = b""
        self.false: list[Result] = []
        self.moves = list(moves) or self.chosen()
        self.busy = 0.0
        self.hidden: dict[Root, Any] = {}

    # The adversary's choice

    def chosen(self) -> list[str]:
        """Some of all moves, by the seed."""
        lies = ["aggregate", "version", "list", "hidden contribution", "empty list", "none"]
        others = [
            "copy commitments", "flood", "overtake", "withhold", "answer late", "base fee", "reorg", "dead store",
            "restart", "claims", "second model",
        ]  # fmt: skip
        count = self.draw.randint(2, 6)
        return [self.draw.choice(lies), *self.draw.sample(others, count)]

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
        rpc("evm_setNextBlockTimestamp", self.w3.eth.get_block("latest")["timestamp"] + BLOCK)

    def pending(self) -> bool:
        """Whether somebody wants something of the next block."""
        return int(self.place.rpc("txpool_status")["pending"], 16) > 0

    @property
    def idle(self) -> bool:
        """Whether nothing has happened for a while: then all look less often, and fewer blocks are mined."""
        return self.clock.now > self.busy + 10 * BLOCK

    def time(self) -> int:
        return START + int(self.clock.now)

    def miner(self) -> None:
        while True:
            if self.pending():
                self.busy = self.clock.now
            self.mine()
            self.clock.sleep(BLOCK * (IDLE if self.idle else 1))

    # The honest side

    def run_tasks(self, name: str, tasks: Callable[[], tuple[Task, ...]], polls: dict[str, float]) -> None:
        """Each task in a thread of its own; when the role is restarted all of its objects are made anew."""
        steps = {task.name: task for task in tasks()}
        current: dict[str, Task] = dict(steps)
        if self.does("restart"):

            def restart() -> None:
                for _ in range(3):
                    self.clock.sleep(self.draw.randint(300, 3000))
                    current.update({task.name: task for task in tasks()})

            self.clock.spawn(f"restart {name}", restart)
        for task in steps.values():
            health = self.health[f"{name} {task.name}"] = Health()
            poll = next((seconds for prefix, seconds in polls.items() if task.name.startswith(prefix)), 120.0)

            def step(of: str = task.name) -> str:
                return current[of].step()

            def work(step: Callable[[], str] = step, poll: float = poll, health: Health = health) -> None:
                follow(step, Stop(self.clock, self), poll=poll, done=self.tell, health=health, ends=())  # type: ignore[arg-type]

            self.clock.spawn(f"{name} {task.name}", work)

    def tell(self, said: str) -> None:
        self.said.append(f"{self.clock.now:8.0f} {threading.current_thread().name}: {said}")
        if self.verbose:
            print(self.said[-1])

    def honest(self) -> None:
        house = self.house
        for name in HONEST:
            client = house.clients[name]

            def made(client: Client = client, name: str = name) -> tuple[Task, ...]:
                return aggregator.tasks(client, self.stores[name], self.folder / name, self.model)

            self.run_tasks(name, made, {"answering": 12.0, "attesting": 48.0, "rounds": 60.0, "transactions": 24.0})
        watcher = house.clients["watcher"]
        models = [self.model] if not self.does("second model") else [self.second_model(), self.model]
        purse = Purse(watcher, self.folder / "purse.json", 5 * ETHER)

        def watching() -> tuple[Task, ...]:
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
        """A model of the adversary's of which nothing can be read."""
        mallory = self.house.clients["mallory"]
        self.now(
            mallory,
            lambda until: mallory.register_model(
                Digest(b"\x01" * 32), Root(b"\x02" * 32), Root(b"\x03" * 32), until=until
            ),
        )
        found = mallory.model_id(mallory.account, Digest(b"\x01" * 32))
        self.now(mallory, lambda until: mallory.set_plan(found, self.house.plan, self.house.rules, until=until))
        self.now(mallory, lambda until: mallory.open_round(found, number=1, until=until))
        return found

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
        if self.does("copy commitments"):
            self.commit("mallory", updates["ann"])
        for name, update in updates.items():
            self.commit(name, update)
        if self.does("hidden contribution"):
            self.own = house.sealed("mallory", updates["ann"].data[:-4] + updates["bob"].data[-4:])
            if not self.does("copy commitments"):
                self.commit("mallory", self.own)

        def publish() -> None:
            while house.clients["owner"].phase(self.model, 1) == Phase.COMMIT:
                self.clock.sleep(BLOCK)
            self.clock.sleep(5 * BLOCK)
            for update in updates.values():
                house.publish(update)

        self.clock.spawn("participants", publish)

    def commit(self, name: str, update: Any) -> None:
        client = self.house.clients[name]
        named = update.digest, Root(update.manifest.delta.tensor_root)
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
        ):
            if self.does(move):
                self.clock.spawn(f"mallory {move}", work)
        for name, store in self.stores.items() if self.does("dead store") else ():
            self.clock.spawn(f"mallory kills {name}'s store", partial(self.kill_store, store, OWN_DEAD))
        if not self.does("withhold"):
            self.clock.spawn("mallory answers", self.answer)

    def send(self, name: str, call: Call, *, tip: int = 0) -> None:
        """Send once, above what others pay; whatever comes of it."""
        client = self.house.clients[name]
        try:
            gas = client.quote(call).gas_limit
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
            self.clock.sleep(BLOCK)

    def lie(self) -> None:
        """Both liars attest something false as soon as anything can be attested."""
        from registry.chain import calls

        if self.does("none"):
            return
        self.wait_for(Phase.AGGREGATE)
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
        self.false.append(result)
        for name in HOSTILE:
            client = house.clients[name]
            self.send(name, calls.attest_result(client.address, self.model, 1, result, record.running_hash), tip=10**9)

    def falsehood(self, store: MemoryStore) -> Result:
        house, where = self.house, self.draw.randrange(VALUES)
        honest = house.outcome()
        if self.does("aggregate"):
            return falsified(store, honest, aggregate=nudged(where, STEP))
        if self.does("version"):
            return falsified(store, honest, version=nudged(where))
        entries = sorted(
            (listed(c, house.round().form.rules) for c in house.record().commitments),
            key=lambda entry: entry.participant,
        )
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
            if hasattr(self, "own"):
                house.publish(self.own, private)
            verdicts = [replace(v, reason=Reason.ADMITTED) for v in house.verdicts(private) if v.manifest is not None]
            round, place = house.round(), self.folder / "hidden"
            place.mkdir(exist_ok=True)
            try:
                made = compute_outcome(private, round.record, round.plan, round.parent, round.form, verdicts, place)
            except CairnError:
                made = honest
            return falsified(store, made, version=every_nudged)
        return replace(honest.result, contributions_root=Root(b"\x05" * 32), report_digest=Digest(b"\x09" * 32))

    def answer(self) -> None:
        """The liars show what is demanded of their result: some of it, some of it late."""
        seen = SeenDemands()
        while True:
            self.clock.sleep(BLOCK * (1 if not self.does("answer late") else 22))
            client = self.house.clients["mallory"]
            try:
                dispute = client.dispute(self.model, 1)
                if not any(dispute.tally):
                    continue
                for leaf in demands_of(Court(client), dispute, seen).open:
                    opening = self.hidden.get(Root(leaf.root))
                    if opening is not None and self.draw.random() < 0.8:
                        self.send("mallory", Court(client).call("showLeaf", leaf, opening(leaf.index)))
            except CairnError:
                continue

    def flood(self) -> None:
        """Demand as many leaves as fit into its share of each block, of whatever is in its window."""
        index, per_block = 0, int(GAS * self.share / DEMAND_GAS)
        client = self.house.clients["mike"]
        court = Court(client)
        asked: set[Any] = set()
        while index < self.flooded * per_block:
            self.clock.sleep(BLOCK)
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
                indices = list(range(index, index + per_block))
                index += per_block
                tree = (Tree.AGGREGATE, Tree.VERSION, Tree.PARENT)[index // per_block % 3]
                round = self.house.round()
                basis = basis_of(plan_rules(round.plan), round.parent)
                for first in range(0, len(indices), 30):
                    some = indices[first : first + 30]
                    call = court.call(
                        "demandChunks", target, basis, int(tree), NOWHERE, some, value=deposit * len(some)
                    )
                    self.send("mike", call, tip=300 * 10**9)  # more than answers ever bid
                asked.add(dispute.tally)
            except CairnError:
                continue

    def overtake(self) -> None:
        """Copy whatever the auditor sends, at a higher price."""
        watcher = to_checksum(self.house.clients["watcher"].account)
        seen: set[str] = set()
        while True:
            self.clock.sleep(1)
            for pending in self.place.rpc("txpool_content")["pending"].get(watcher, {}).values():
                if pending["hash"] in seen:
                    continue
                seen.add(pending["hash"])
                call = Call(
                    bytes.fromhex(pending["to"][2:]),
                    bytes.fromhex(pending["input"][2:]),
                    "",
                    value=int(pending["value"], 16),
                )  # type: ignore[arg-type]
                self.send("mallory", call, tip=20 * 10**9)

    def raise_fee(self) -> None:
        self.clock.sleep(self.draw.randint(700, 2500))
        self.base_fee = 100 * int(self.w3.eth.get_block("latest")["baseFeePerGas"])
        self.clock.sleep(BLOCK * self.draw.randint(5, 20))
        self.base_fee = None

    def reorganise(self) -> None:
        """Take the last blocks out, three times, with what was in them; and mine others."""
        for _ in range(3):
            self.clock.sleep(self.draw.randint(400, 2500))
            depth = self.draw.randint(1, 3)
            with contextlib.suppress(Exception):
                self.place.rpc("anvil_rollback", depth)
            self.mine()

    def kill_store(self, store: PublicStore, longest: int) -> None:
        self.clock.sleep(self.draw.randint(700, 3000))
        store.dead = True
        self.clock.sleep(self.draw.randint(longest // 4, longest))
        store.dead = False

    def squat(self) -> None:
        """Seal the claim that something is withheld, of each result, before anybody else can."""
        from registry.chain.court_records import claim_of, seal_of
        from registry.types import Part

        client = self.house.clients["mallory"]
        sealed: set[bytes] = set()
        while True:
            self.clock.sleep(BLOCK)
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
        with mock.patch("secrets.token_bytes", self.draw_salt.randbytes):
            outcome = self._play()
        outcome.seconds = wall.monotonic() - began
        return outcome

    def _play(self) -> Outcome:
        owner = self.house.clients["owner"]
        self.place.rpc("evm_setNextBlockTimestamp", START)
        self.mine()
        self.now(owner, lambda until: owner.open_round(self.model, number=1, until=until))
        first = self.w3.eth.get_block("latest")["timestamp"]
        self.clock.now = float(first - START)
        for _ in range(5):
            self.clock.now += BLOCK
            self.mine()
        self.participants()
        self.clock.now = float(self.w3.eth.get_block("latest")["timestamp"] - START + BLOCK)
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
        if int(self.clock.now) % (BLOCK * 10) >= BLOCK:
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
    parser.add_argument("-v", "--verbose", action="store_true")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO if arguments.verbose else logging.CRITICAL)
    lost = 0
    with tempfile.TemporaryDirectory(prefix="cairn-war-") as folder, stage(Path(folder)) as place:
        for seed in range(arguments.first, arguments.first + arguments.seeds):
            outcome = Game(place, seed, share=arguments.share, verbose=arguments.verbose).play()
            lost += bool(outcome.losses)
            print(json.dumps({**outcome.__dict__, "seconds": round(outcome.seconds, 1)}), flush=True)
    print(f"{lost} of {arguments.seeds} games lost")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
