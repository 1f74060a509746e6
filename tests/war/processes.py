"""A war of processes: honest aggregators and an auditor as they are run, on anvil and Kubo, against an adversary.

    python tests/war/processes.py --first 7 --seeds 4 --at-once 2
    python tests/war/processes.py --first 7 -v --keep /tmp/war         # one of them, told as it goes, its logs kept

Two `cairn aggregator run` and one `cairn auditor run` are processes of their own, which are killed and started again.
anvil mines a block a second, and one Kubo node is the store of all. The adversary plays from here, with the quorum's
two accounts and strangers. A seed gives the same moves; when what happens is up to the machine. The clock is moved over
what is left of an honest result's window alone, once nothing is pending.

What must hold after each game: no honest role or bond is lost, a result that verifies is final, no honest process has
ended by itself, met what nobody foresaw or keeps failing, the Court holds what it owes, and the adversary has not
gained.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import game as war
import simulated

from registry.chain import calls
from registry.chain.client import Client
from registry.chain.contract_events import LeafDemanded, ResultConvicted
from registry.chain.contract_hashes import result_hash
from registry.chain.contract_structs import Result, Target
from registry.chain.court import Court
from registry.chain.journal import Journal
from registry.chain.sending import Sending
from registry.chain.sentinels import NO_BASIS, NOWHERE
from registry.cli.run_loops import read_status
from registry.dev.chains import anvil_chain, find_program, free_port
from registry.dev.embedded import warp
from registry.dev.kubo_node import init_node, start_node, stop_node
from registry.disputes.answers import answer_to
from registry.disputes.charges import basis_of, listed
from registry.disputes.demands import SeenDemands, demands_of
from registry.disputes.openings import listing_of
from registry.errors import CairnError, NodeUnavailable, StoreUnavailable
from registry.ethereum.keys import LocalSigner, to_checksum
from registry.ethereum.networks import Finality, FinalityRule
from registry.ethereum.node import chain_time
from registry.rounds.onchain import attested_results, commits_closed
from registry.rounds.plans import plan_rules
from registry.store.kubo import KuboStore
from registry.types import Cid, Digest, HeadKind, Phase, Role, Root, Tree
from registry.verification.verify import verify_version

house_module = simulated.house_module()

ROOT = Path(__file__).resolve().parents[2]
PLACES = (ROOT / "node_modules" / ".bin", ROOT / ".tools" / "bin")
CHAIN_ID = 77_411
"""Of no network that is known: programs look as often, and take a block for final, as on any other."""
CONFIRMATIONS = 3
DEEPEST = 2
"""Blocks that a reorganisation takes out at most."""
ANSWER, LATE = 45, 15
"""Seconds to show a leaf in, and then late."""
DURATIONS = {
    "commit_duration": 30, "publish_duration": 30, "aggregate_duration": 300,
    "challenge_duration": 32 * (ANSWER + LATE), "answer_duration": ANSWER, "late_duration": LATE,
}  # fmt: skip
DOWN = 6.0
"""Seconds that a process is dead, or Kubo stopped, at most; starting takes some more. Beside each other a third of the
answer time."""
LIMIT = 5
"""Ether of the auditor's purse."""
PATIENCE = 1500.0
"""Seconds of a game. The longest walk down a hidden tree: the store is asked at each step, half a minute at most."""
SETTLING = 100.0
"""Seconds to collect in, and for whoever failed to look again."""
PASSWORD = "worth nothing"
NAMES = (*simulated.NAMES, "passer")
HOSTILE = (*simulated.HOSTILE, "stranger", "passer")
PROGRAMS = (*simulated.HONEST, "watcher")
LIES = ("aggregate", "version", "list", "hidden contribution", "empty list", "none")
MOVES = (
    "copy digest", "copy root", "withhold", "flood", "at once", "overtake", "kill", "kubo", "base fee", "reorg",
    "claims", "second model",
)  # fmt: skip
FINITE = ("flood", "kill", "kubo", "base fee", "reorg")
"""Moves that come to their end, and are waited for."""


class WallClock:
    """What the game's scheduler is, by the clock on the wall: threads that sleep, and end together."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self.failed: list[str] = []

    @property
    def now(self) -> float:
        """Seconds since the game began."""
        return time.monotonic() - self._began

    @property
    def over(self) -> bool:
        """Whether threads are to end."""
        return self._stop.is_set()

    def sleep(self, seconds: float) -> None:
        """Wait, unless the game is over meanwhile, which ends the thread."""
        if self._stop.wait(seconds):
            raise simulated.GameOver

    def spawn(self, name: str, work: Callable[[], None]) -> None:
        """Start a thread."""

        def run() -> None:
            try:
                work()
            except simulated.GameOver:
                pass
            except Exception as error:  # noqa: BLE001 (told as a loss of the game)
                self.failed.append(f"{name}: {type(error).__name__}: {error}")

        thread = threading.Thread(target=run, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def running(self, names: Sequence[str]) -> bool:
        """Whether a thread of one of these names goes on."""
        return any(thread.is_alive() and thread.name in names for thread in self._threads)

    def end(self) -> None:
        """End all threads."""
        self._stop.set()
        for thread in self._threads:
            thread.join(60)


class Program:
    """An honest process, whose log is in the game's folder."""

    def __init__(self, name: str, folder: Path, arguments: Sequence[str]) -> None:
        self.name, self.folder = name, folder
        self.log = folder / f"{name}.log"
        self._command = [sys.executable, "-m", "trainer.cli", *arguments, "--folder", str(folder / name)]
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._fell = ""

    def start(self) -> None:
        """Start it, for the first time or again."""
        kept = {n: value for n, value in os.environ.items() if not n.startswith(("CAIRN_", "ETH_", "IPFS_"))}
        own = {"PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": str(self.folder / "config")}
        own["CAIRN_HOME"] = str(self.folder / f"home-{self.name}")
        with self._lock, self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self.folder, env=kept | own, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def kill(self) -> None:
        """End it as a power cut would."""
        self.ended()
        with self._lock:
            if self._process is not None:
                self._process.kill()
                self._process.wait()
            self._process = None

    def is_down(self) -> bool:
        """Whether it was killed and has not been started again."""
        return self._process is None

    def ended(self) -> str:
        """Say that it has ended without having been told to; nothing if it has not."""
        with self._lock:
            code = None if self._process is None else self._process.poll()
            if code is not None:
                self._fell = f"{self.name} ended by itself with exit code {code}"
            return self._fell

    def stop(self) -> str:
        """Ask it to end, and say what was wrong with how it did."""
        if self._process is None:
            return ""
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(90)
        except subprocess.TimeoutExpired:
            self.kill()
            return f"{self.name} did not stop"
        self._process = None
        return f"{self.name} stopped with exit code {code}" if code else ""

    def failing(self) -> dict[str, str]:
        """Tasks whose steps fail, with what, as it wrote last."""
        found = read_status(self.folder / self.name / "status.json")
        tasks = {} if found is None else found["tasks"]
        return {task: health.error for task, health in tasks.items() if health.failing}


class Kept(simulated.PublicStore):  # type: ignore[name-defined,misc]
    """Blocks in memory, by the names under which they are published."""

    def __init__(self) -> None:
        super().__init__()
        self.named: dict[Cid, bytes] = {}

    def _put(self, cid: Cid, data: bytes) -> None:
        super()._put(cid, data)
        self.named[cid] = data


@dataclass
class Place:
    """What the game's own moves ask for of a stage."""

    chain: Any
    module: Any

    def rpc(self, method: str, *params: Any) -> Any:
        return self.chain.w3.manager.request_blocking(method, list(params))


@dataclass
class Outcome(war.Outcome):  # type: ignore[name-defined,misc]
    """How a game ended, and how often honest processes were killed in it."""

    killed: int = 0
    told: list[str] = field(default_factory=list)


class Battle(war.Game):  # type: ignore[name-defined,misc]
    """One game.

    Args:
        folder: For all that it writes, which is not there yet.
        seed: Decides the moves.
        moves: The adversary's; by the seed if none are named.
        verbose: Print what happens.
    """

    block = 1

    def __init__(self, folder: Path, seed: int, *, moves: Sequence[str] = (), verbose: bool = False) -> None:
        self.folder, self.seed, self.verbose = folder, seed, verbose
        self.draw = random.Random(seed)
        self.moves = list(moves) or self.chosen()
        self.share, self.flooded = war.SHARE, self.draw.randint(15, 40)
        self.false: list[Result] = []
        self.hidden: dict[Root, Any] = {}
        self.said: list[str] = []
        self.health: dict[str, Any] = {}
        self.killed = 0
        self.liars = self.kept = Kept()
        self.programs: dict[str, Program] = {}

    def chosen(self) -> list[str]:
        """A lie and some other moves, by the seed."""
        return [self.draw.choice(LIES), *self.draw.sample(MOVES, self.draw.randint(3, 6))]

    def drawing(self, move: str) -> random.Random:
        """Chance of one move alone: threads do not disturb each other's."""
        return random.Random(f"{self.seed} {move}")

    def tell(self, said: str) -> None:
        """Keep what happens, with when."""
        line = f"{self.seed} {time.strftime('%H:%M:%S')} {self.clock.now:5.0f}  {said}"
        self.said.append(line)
        if self.verbose:
            print(line, file=sys.stderr, flush=True)

    # The place

    def prepare(self, stack: contextlib.ExitStack) -> None:
        """Start the servers, deploy, register a model, give roles and bonds, write settings."""
        self.folder.mkdir(parents=True)
        options = ("--order", "fees", "--no-request-size-limit", "--gas-limit", str(simulated.GAS * 5))
        options = (*options, "--chain-id", str(CHAIN_ID))
        started = stack.enter_context(anvil_chain(find_program("anvil", PLACES), *options, accounts=1))
        keys = {name: hashlib.sha256(f"{self.seed} {name}".encode()).digest() for name in NAMES}
        chain = replace(started, name="war", signers=tuple(map(LocalSigner, keys.values())))
        self.place, self.w3 = Place(chain, house_module), chain.w3
        for signer in chain.signers:
            self.place.rpc("anvil_setBalance", to_checksum(signer.address), hex(10_000 * simulated.ETHER))
        store = Kept()
        self.house = simulated.found(house_module, chain, self.folder, store, names=NAMES, **DURATIONS)
        self.model = self.house.model_id
        owner = self.house.clients["owner"]
        owner.grant_roles(self.model, self.house.clients["mike"].account, Role.PARTICIPANT)
        self.models = [self.model]
        if self.does("second model"):
            self.models.insert(0, self.second_model())
        self.began = {name: self.worth(name) for name in NAMES}
        for name, signer in zip(NAMES, chain.signers, strict=True):
            self.house.clients[name] = Client(
                chain.w3,
                self.house.address,
                signer=signer,
                journal=Journal(None),
                finality=Finality(FinalityRule.CONFIRMATIONS, CONFIRMATIONS),
                sending=Sending(poll=0.3, resend_after=20.0),
            )
        self.start_kubo(stack)
        self.publish(store)
        self.write_settings(keys, started.url)
        self.place.rpc("evm_setBlockGasLimit", hex(simulated.GAS))
        self.place.rpc("anvil_setNextBlockBaseFeePerGas", hex(10**9))
        self.place.rpc("evm_setIntervalMining", 1)
        self.stood = self.w3.eth.block_number

    def start_kubo(self, stack: contextlib.ExitStack) -> None:
        """Make a repo whose node has the same ports whenever it is started."""
        repo, program = self.folder / "kubo", find_program("ipfs", PLACES)
        init_node(repo, program, api_port=free_port(), gateway_port=free_port(), swarm_port=free_port())
        stack.callback(stop_node, repo)
        self.api = start_node(repo, program).api_url
        self.kubo = KuboStore(self.api)

    def write_settings(self, keys: dict[str, bytes], url: str | None) -> None:
        """Write what the programs find beside them: settings and keystores."""
        from eth_account import Account

        (self.folder / "keys").mkdir()
        for name in PROGRAMS:
            keystore = Account.encrypt(keys[name], PASSWORD, kdf="scrypt", iterations=1 << 10)
            (self.folder / "keys" / name).write_text(json.dumps(keystore))
        (self.folder / "password").write_text(PASSWORD + "\n")
        settings = {
            "rpc_url": url, "chain_id": CHAIN_ID, "contract": "0x" + self.house.address.hex(),
            "finality": str(CONFIRMATIONS), "store": f"kubo:{self.api}", "keys": "keys", "password_file": "password",
        }  # fmt: skip
        (self.folder / "cairn.toml").write_text("".join(f"{n} = {json.dumps(v)}\n" for n, v in settings.items()))

    def publish(self, store: Kept) -> None:
        """Have Kubo hold what a store does, whenever it runs."""
        for cid, data in list(store.named.items()):
            while True:
                try:
                    self.kubo.put(cid, data)
                    break
                except StoreUnavailable:
                    self.clock.sleep(1)

    def now(self, client: Client, send: Callable[[Any], Any]) -> None:
        """Have something carried out while blocks are mined on demand."""
        send("mined")

    # The honest side

    def honest(self) -> None:
        """Start the programs."""
        model = "0x" + self.model.hex()
        for name in simulated.HONEST:
            self.programs[name] = Program(name, self.folder, ["aggregator", "run", model, "--account", name])
        models = ["0x" + each.hex() for each in self.models]
        watch = ["auditor", "run", *models, "--limit", str(LIMIT), "--account", "watcher"]
        self.programs["watcher"] = Program("watcher", self.folder, watch)
        for program in self.programs.values():
            program.start()

    def participants(self) -> None:
        """Ann, Bob and Cyn commit, each by itself; the adversary commits what it likes."""
        house, draw = self.house, self.drawing("participants")
        updates = {name: house.update(name, seed=seed) for seed, name in enumerate(("ann", "bob", "cyn"))}
        for update in updates.values():
            house.publish(update)
        copied = updates["ann"]
        for move, digest in (("copy digest", copied.digest), ("copy root", Digest(b"\x07" * 32))):
            if self.does(move):
                copy = digest, Root(copied.manifest.delta.tensor_root), 100, 4
                self.clock.spawn("mike copies", partial(self.commit_as, "mike", copy, draw.uniform(0, 8)))
                break
        if self.does("hidden contribution"):
            self.own = house.sealed("mallory", copied.data[:-4] + updates["bob"].data[-4:])
            self.clock.spawn("mallory commits", partial(self.commit_as, "mallory", said_of(self.own), 0))
        for name, update in updates.items():
            self.clock.spawn(name, partial(self.take_part, name, update, draw.uniform(0, 4)))

    def commit_as(self, name: str, said: tuple[Any, ...], after: float) -> None:
        """Commit until that is final."""
        self.clock.sleep(after)
        self.house.clients[name].commit_update(self.model, 1, *said)

    def take_part(self, name: str, update: Any, after: float) -> None:
        """Commit, and publish once the commits are closed for good."""
        self.commit_as(name, said_of(update), after)
        while not self.commits_closed(name):
            self.clock.sleep(1)
        published = Kept()
        self.house.publish(update, published)
        self.publish(published)
        self.tell(f"{name} has published")

    def commits_closed(self, name: str) -> bool:
        """Whether commits are closed for good; not known while blocks are taken out."""
        try:
            return commits_closed(self.house.clients[name], self.model, 1)
        except NodeUnavailable:
            return False

    # The adversary

    def adversary(self) -> None:
        """Start its moves; what has an end is waited for."""
        self.clock.spawn("lie", self.lie)
        for move, work in (
            ("flood", self.flood),
            ("at once", self.demand_at_once),
            ("overtake", self.overtake),
            ("kill", self.kill),
            ("kubo", self.stop_kubo),
            ("base fee", self.raise_fee),
            ("reorg", self.reorganise),
            ("claims", self.squat),
        ):
            if self.does(move):
                self.clock.spawn(move, work)
        if not self.does("withhold"):
            self.clock.spawn("answer", self.answer)

    def lie(self) -> None:
        """Both liars attest something false as soon as anything can be attested."""
        if self.does("none"):
            return
        self.wait_for(Phase.AGGREGATE)
        draw, house, shown = self.drawing("lie"), self.house, Kept()
        record = house.record()
        result = self.falsehood(shown)
        self.false.append(result)
        if not self.does("withhold") and draw.random() < 0.7:
            self.publish(shown)
        self.liars._blocks.update(house.store._blocks | shown._blocks)
        if self.does("hidden contribution"):
            house.publish(self.own, self.liars)
        for name in simulated.HOSTILE[:2]:
            client = house.clients[name]
            call = calls.attest_result(client.address, self.model, 1, result, record.running_hash)
            self.send(name, call, tip=10**9)
        self.tell(f"lied: 0x{result_hash(result).hex()[:12]}")
        if self.does("withhold") and draw.random() < 0.5:
            self.demand_of_itself(result)

    def demand_of_itself(self, result: Result) -> None:
        """Demand of the lie what nobody has: whoever looks for it has no time for anything else."""
        owner = self.house.clients["owner"]
        while owner.dispute(self.model, 1).result_hash != result_hash(result):
            self.clock.sleep(1)
        self.demand_all_kinds(result)
        self.tell("demanded what it withholds")

    def answer(self) -> None:
        """Show what is demanded of the lie, most of it, published or not."""
        seen, client = SeenDemands(), self.house.clients["mallory"]
        while True:
            self.clock.sleep(1)
            with contextlib.suppress(CairnError):
                dispute = client.dispute(self.model, 1)
                result = next((r for r in self.false if result_hash(r) == dispute.result_hash), None)
                for leaf in demands_of(Court(client), dispute, seen).open if result else ():
                    opening = self.hidden.get(leaf.root, lambda _: None)(leaf.index) or answer_to(
                        self.liars, self.house.record(), result, leaf, self.folder / "shown"
                    )
                    if opening is not None and self.draw.random() < 0.8:
                        self.send("mallory", Court(client).call("showLeaf", leaf, opening))

    def demand_at_once(self) -> None:
        """Demand of each honest result as soon as the attestation that makes its quorum is sent: in its block."""
        asked: set[bytes] = set()
        client = self.house.clients["stranger"]
        while True:
            self.clock.sleep(0.2)
            with contextlib.suppress(CairnError):
                dispute = client.dispute(self.model, 1)
                if not any(dispute.tally) or dispute.tally in asked:
                    continue
                attested = (event.result for event in attested_results(client, self.house.record()))
                result = next((r for r in attested if result_hash(r) == dispute.result_hash), None)
                if result is None or result in self.false:
                    continue
                asked.add(dispute.tally)
                self.demand_all_kinds(result)
                self.tell(f"demanded at once of 0x{dispute.result_hash.hex()[:12]}")

    def demand_all_kinds(self, result: Result) -> None:
        """Demand some leaves of each tree of an honest result, its list and its heads."""
        house, draw = self.house, self.drawing("at once")
        court, target, round = Court(house.clients["stranger"]), Target(self.model, 1, result), house.round()
        basis, deposit = basis_of(plan_rules(round.plan), round.parent), court.deposit_now(target) * 2
        for tree in (Tree.AGGREGATE, Tree.VERSION, Tree.PARENT):
            indices = draw.sample(range(simulated.VALUES // 256 + 1), 20)
            arguments = target, basis, int(tree), NOWHERE, indices
            self.send("stranger", court.call("demandChunks", *arguments, value=20 * deposit))
        count = result.contributions
        everything = list(range(count + 1))
        self.send("passer", court.call("demandContributions", target, everything, value=(count + 1) * deposit))
        for kind in (HeadKind.VERSION, HeadKind.REPORT):
            self.send("passer", court.call("demandHead", target, int(kind), NOWHERE, value=deposit))
        honest = {house.clients[name].account for name in ("ann", "bob", "cyn")}
        entries = [listed(c, round.form.rules) for c in round.record.commitments if c.participant in honest]
        listing = listing_of(entries)
        if listing.root == result.contributions_root:
            leaves = target, NO_BASIS, int(Tree.CONTRIBUTION), listing.membership(0), [0, 7]
            self.send("passer", court.call("demandChunks", *leaves, value=2 * deposit))

    def kill(self) -> None:
        """Kill honest processes, one at a time, and start them again."""
        draw = self.drawing("kill")
        for _ in range(draw.randint(3, 8)):
            self.clock.sleep(draw.uniform(8, 30))
            program = self.programs[draw.choice(PROGRAMS)]
            program.kill()
            self.killed += 1
            self.tell(f"killed {program.name}")
            try:
                self.clock.sleep(draw.uniform(0, DOWN))
            finally:
                program.start()
            self.tell(f"started {program.name}")

    def stop_kubo(self) -> None:
        """Stop the content store for some seconds."""
        draw, repo, program = self.drawing("kubo"), self.folder / "kubo", find_program("ipfs", PLACES)
        for _ in range(draw.randint(1, 2)):
            self.clock.sleep(draw.uniform(30, 100))
            began = time.monotonic()
            stop_node(repo)
            self.tell("stopped Kubo")
            try:
                self.clock.sleep(draw.uniform(1, DOWN))
            finally:
                start_again(repo, program)
            self.tell(f"started Kubo, which was away for {time.monotonic() - began:.1f} s")

    def raise_fee(self) -> None:
        """Set the base fee of some blocks."""
        draw = self.drawing("base fee")
        for _ in range(draw.randint(1, 2)):
            self.clock.sleep(draw.uniform(30, 100))
            fee, blocks = draw.randint(20, 200) * 10**9, draw.randint(5, 20)
            self.tell(f"base fee of {fee // 10**9} gwei for {blocks} blocks")
            end = self.clock.now + blocks
            while self.clock.now < end:
                self.place.rpc("anvil_setNextBlockBaseFeePerGas", hex(fee))
                self.clock.sleep(0.4)

    def reorganise(self) -> None:
        """Take the last blocks out, three times, with what was in them."""
        draw = self.drawing("reorg")
        for _ in range(3):
            self.clock.sleep(draw.uniform(15, 60))
            depth, emptied = draw.randint(1, DEEPEST), draw.random() < 0.5
            self.tell(f"reorganising {depth} blocks, {'mined anew without' if emptied else 'rolled back'}")
            self.place.rpc(*(("anvil_reorg", depth, []) if emptied else ("anvil_rollback", depth)))

    # The game

    def play(self) -> Outcome:
        """Play it to its end, and look at what came of it."""
        outcome = Outcome(self.seed, self.moves, [])
        self.clock, began = WallClock(), time.monotonic()
        with contextlib.ExitStack() as stack:
            self.prepare(stack)
            stack.callback(self.stop_all)
            self.tell(f"moves: {', '.join(self.moves)}")
            self.honest()
            self.house.clients["owner"].open_round(self.model, number=1)
            self.participants()
            self.adversary()
            self.wait_for_the_end(outcome)
            self.clock.end()
            outcome.losses += self.clock.failed
            self.settle(outcome)
            outcome.losses += filter(None, [program.stop() for program in self.programs.values()])
            self.judge(outcome)
        outcome.seconds, outcome.killed, outcome.told = time.monotonic() - began, self.killed, self.said
        for loss in outcome.losses:
            self.tell(f"LOST: {loss}")
        (self.folder / "told.log").write_text("\n".join(self.said) + "\n")
        return outcome

    def stop_all(self) -> None:
        """Leave nothing running, whatever went wrong."""
        self.clock.end()
        for program in self.programs.values():
            program.kill()

    def wait_for_the_end(self, outcome: Outcome) -> None:
        """Look on until the round is over, moving the clock once nothing is pending."""
        quiet, told, owner = 0, "", self.house.clients["owner"]
        while True:
            time.sleep(0.7)
            losses = [said for program in self.programs.values() if (said := program.ended())]
            if losses or self.clock.now > PATIENCE:
                outcome.losses += losses or [f"not over after {PATIENCE:.0f} s"]
                return
            try:
                state, phase = owner.round(self.model, 1), owner.phase(self.model, 1)
                if state.finalized or phase == Phase.CANCELLED:
                    self.tell(f"over: {'final' if state.finalized else 'cancelled'}")
                    return
                told, doing = phase.name, told
                if told != doing:
                    self.tell(f"phase {told}")
                quiet = quiet + 1 if self.nothing_pends() else 0
                if quiet >= 6:
                    left = state.challenge_deadline - 5 - chain_time(self.w3)
                    self.tell(f"nothing pends: moving the clock by {left} s")
                    warp(self.w3, seconds=left)
                    quiet = -(10**6)
            except CairnError as error:  # a block was asked for that is gone
                self.tell(f"looked in vain: {error}")
                quiet = 0

    def nothing_pends(self) -> bool:
        """Whether an honest result is in its window, and there is nothing for anybody to do but wait."""
        owner = self.house.clients["owner"]
        dispute = owner.dispute(self.model, 1)
        if not any(dispute.tally) or any(result_hash(result) == dispute.result_hash for result in self.false):
            return False
        if self.clock.running(FINITE) or any(program.is_down() for program in self.programs.values()):
            return False
        waiting = self.place.rpc("txpool_status")
        if any(int(waiting[kind], 16) for kind in ("pending", "queued")):
            return False
        return not Court(owner).open_demands(dispute.round_id, dispute.tally).count

    def settle(self, outcome: Outcome) -> None:
        """Give the honest time to collect, and to look again at what failed."""
        owner, end = self.house.clients["owner"], time.monotonic() + SETTLING
        court, watcher, least = Court(owner), self.house.clients["watcher"].account, time.monotonic() + 12
        owed = 0
        for event in self.convictions():  # until then nothing is paid; the round is over
            warp(self.w3, to=event.reveal_deadline + 1)
        while time.monotonic() < end:
            time.sleep(1)
            outcome.losses += [said for program in self.programs.values() if (said := program.ended())]
            owed = court.credit(watcher) + self.uncollected(watcher)
            failing = any(self.really_failing(program) for program in self.programs.values())
            if outcome.losses or (time.monotonic() > least and not owed and not failing):
                return
        if owed:
            outcome.losses.append(f"the auditor has not collected {owed} wei")

    def really_failing(self, program: Program) -> dict[str, str]:
        """What fails, but for what the adversary's own model makes fail."""
        return {t: e for t, e in program.failing().items() if not self._excused(f"{program.name} {t}")}

    # What came of it

    def worth(self, name: str) -> int:
        """What somebody holds, has deposited, is owed, and could collect, wei."""
        return int(super().worth(name)) + self.uncollected(self.house.clients[name].account)

    def uncollected(self, account: bytes) -> int:
        """Rewards of which an account has shown the earliest seal, wei."""
        court = Court(self.house.clients["owner"])
        named = [(event.round_id, event.tally) for event in self.convictions()]
        return sum(court.reward(*each) for each in named if court.conviction(*each).leader == account)

    def convictions(self) -> list[ResultConvicted]:
        """Of all results so far."""
        owner = self.house.clients["owner"]
        events = Court(owner).events(ResultConvicted, to_block=owner.latest_block())
        return [event for event in events if isinstance(event, ResultConvicted)]

    def judge(self, outcome: Outcome) -> None:
        """Add to an outcome what it came to, and what of it must not be."""
        self.height = self.w3.eth.block_number
        super().judge(outcome)
        owner = self.house.clients["owner"]
        outcome.gain = sum(self.worth(name) - self.began[name] for name in HOSTILE)
        if outcome.gain > 0 and not any("gained" in loss for loss in outcome.losses):
            outcome.losses.append(f"the adversary gained {outcome.gain} wei")
        if not outcome.final:
            outcome.losses.append("no honest result is final")
        else:
            head = owner.model(self.model).head
            reader = Client(self.w3, self.house.address, finality=owner.finality)
            for found in verify_version(reader, self.kubo, self.model, head, self.folder / "verified"):
                if not found.passed:
                    wrong = [check for check in found.checks if check.finding != "passed"]
                    outcome.losses.append(f"what is final does not verify: {wrong}")
        for program in self.programs.values():
            if "Traceback" in program.log.read_text(errors="replace"):
                outcome.losses.append(f"{program.name} met what nobody foresaw: see its log")
            for task, error in self.really_failing(program).items():
                outcome.losses.append(f"{program.name} {task} keeps failing: {error}")
        over = self.difference()
        if over:
            outcome.losses.append(f"the Court holds {over} wei more than it owes")

    def difference(self) -> int:
        """What the Court holds beyond bonds, credits, rewards, deposits of open demands and what is burnt, wei."""
        owner = self.house.clients["owner"]
        court, latest = Court(owner), owner.latest_block()
        accounts = [client.account for client in self.house.clients.values()]
        owed = court.burnt() + sum(court.credit(account) for account in accounts)
        owed += sum(court.bond(model, account).amount for model in self.models for account in accounts)
        owed += sum(court.reward(event.round_id, event.tally) for event in self.convictions())
        demanded = court.events(LeafDemanded, to_block=latest)
        tallies = {(e.round_id, e.tally) for e in demanded if isinstance(e, LeafDemanded)}
        owed += sum(court.open_demands(*tally).deposits for tally in tallies)
        return int(self.w3.eth.get_balance(to_checksum(court.address))) - owed


def start_again(repo: Path, program: Path) -> None:
    """Start a node whose ports somebody may have taken for a moment."""
    for _ in range(5):
        with contextlib.suppress(StoreUnavailable):
            start_node(repo, program)
            return
    start_node(repo, program)


def said_of(update: Any) -> tuple[Any, ...]:
    """What is committed of an update."""
    manifest = update.manifest
    return update.digest, Root(manifest.delta.tensor_root), manifest.weight, manifest.steps


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--first", type=int, default=0, metavar="SEED")
    parser.add_argument("--seeds", type=int, default=1, metavar="K")
    parser.add_argument("--at-once", type=int, default=1, metavar="J")
    parser.add_argument("--moves", default="", metavar="A,B", help="instead of those that a seed chooses")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave logs and files there")
    parser.add_argument("-v", "--verbose", action="store_true")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.CRITICAL)
    moves = [move for move in arguments.moves.split(",") if move]
    lost = 0
    with tempfile.TemporaryDirectory(prefix="cairn-war-") as folder, ThreadPoolExecutor(arguments.at_once) as pool:
        place = arguments.keep or Path(folder)
        games = [
            pool.submit(Battle(place / str(seed), seed, moves=moves, verbose=arguments.verbose).play)
            for seed in range(arguments.first, arguments.first + arguments.seeds)
        ]
        for game in as_completed(games):
            outcome = game.result()
            lost += bool(outcome.losses)
            facts = {name: value for name, value in outcome.__dict__.items() if name not in ("told", "trace")}
            print(json.dumps({**facts, "seconds": round(outcome.seconds, 1)}), flush=True)
    print(f"{lost} of {arguments.seeds} games lost")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
