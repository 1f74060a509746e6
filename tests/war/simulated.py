"""Environment of simulated wars: a discrete-event clock, stores, and a federation on anvil."""

from __future__ import annotations

import contextlib
import importlib.util
import random
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from registry.chain.client import Client
from registry.chain.contract_structs import Grant
from registry.chain.court import Court
from registry.chain.deploy import deploy
from registry.chain.journal import Journal
from registry.chain.transactions import Transactor
from registry.content.manifest import digest_of
from registry.dev.chains import anvil_chain, find_program
from registry.errors import BlockNotFound, StoreUnavailable
from registry.ethereum.keys import to_checksum
from registry.ethereum.networks import Finality, FinalityRule
from registry.rounds.versions import add_version, save_arrays
from registry.store.limited import LimitedStore
from registry.store.links import reachable
from registry.store.memory import MemoryStore
from registry.types import Cid, Role, Root

ROOT = Path(__file__).resolve().parents[2]
PLACES = (ROOT / "node_modules" / ".bin",)
ETHER = 10**18
VALUES = 400 * 256
"""Of the model: more leaves in its trees than a flood demands, since one past the end is answered for a quarter."""
BLOCK = 12
"""Seconds from one block to the next."""
IDLE = 5
"""How much less often all look while nothing happens: the game is over sooner, and they are late by so much."""
DRIPPING, DRIPS = 25, 300
"""Seconds that a block takes of what is served as slowly as is borne, and blocks that one of a file stands for."""
START = 1_700_003_600
"""When a game begins, Unix seconds: later than the stage, which is deployed by the clock on the wall."""
GAS = 3_000_000
"""Of a block: small, so that filling it takes few transactions."""
HONEST, HOSTILE = ("first", "second"), ("mallory", "mike", "moe", "max")
NAMES = ("owner", "ann", "bob", "cyn", *HOSTILE, *HONEST, "watcher", "stranger")


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

    def __init__(self, scheduler: Scheduler, idle: Callable[[], bool]) -> None:
        self._scheduler, self._idle = scheduler, idle

    def is_set(self) -> bool:
        return self._scheduler.over

    def wait(self, seconds: float) -> bool:
        self._scheduler.sleep(max(seconds, 0.01) * (IDLE if self._idle() else 1))
        return self._scheduler.over


# Place ----------------------------------------------------------------------------------------------------------------


class PublicStore(MemoryStore):
    """What everybody sees; away while `dead`. What is slow comes drip by drip, and what has come stays."""

    def __init__(self, clock: Scheduler | None = None) -> None:
        super().__init__()
        self.dead, self.slow, self.clock = False, dict[bytes, int](), clock

    def _get(self, cid: Cid) -> bytes:
        if self.dead:
            raise StoreUnavailable("the store is away")
        return super()._get(cid)

    def drip(self, cid: Cid, end: float) -> None:
        """Wait for a slow block, until the time of whoever wants it is over."""
        while self.clock is not None and self.slow.get(cid.digest, 0):
            if self.clock.now > end:
                raise BlockNotFound(f"{cid}: too slow")
            self.clock.sleep(DRIPPING)
            self.slow[cid.digest] -= 1


class OwnStore(PublicStore):
    """Of one of the honest: finds in public what it lacks, keeps what it has seen, serves what it is given and pins."""

    def __init__(self, public: PublicStore) -> None:
        super().__init__()
        self._public, self.end = public, float("inf")

    def _get(self, cid: Cid) -> bytes:
        if not self.dead and not self._has(cid):
            self._public.drip(cid, self.end)
            super()._put(cid, self._public._get(cid))
        return super()._get(cid)

    def _put(self, cid: Cid, data: bytes) -> None:
        if self.dead:
            raise StoreUnavailable("the store is away")
        super()._put(cid, data)
        self._public._put(cid, data)

    def pin(self, cid: Cid, *, recursive: bool = True) -> None:
        super().pin(cid, recursive=recursive)
        for member in reachable(self.get, cid) if recursive else (cid,):
            self._public._put(member, self.get(member))


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


class Hurried(LimitedStore):
    """Limits not only before a block, but between those that it stands for."""

    def _require_time(self, cid: Cid) -> None:
        super()._require_time(cid)
        self._store.end = self._end  # type: ignore[attr-defined]


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


TERMS = {
    "quorum": 2, "min_contributions": 1, "bond_gwei": ETHER // 10**9, "commit_duration": 600, "publish_duration": 120,
    "aggregate_duration": 3600, "challenge_duration": 5760, "answer_duration": 120, "late_duration": 60,
}  # fmt: skip
"""Of the plan."""


def found(
    module: Any, chain: Any, folder: Path, store: MemoryStore, *, names: Sequence[str] = NAMES, **terms: int
) -> Any:
    """Deploy, register a model, give roles and bonds; return the federation. Blocks are mined on demand meanwhile.

    Args:
        module: The federation's.
        chain: With a signer for each name, who has money.
        folder: For the genesis.
        store: What everybody sees.
        names: Of all who play.
        terms: Of the plan, in place of `TERMS`.
    """
    module.NAMES = names
    w3, chain_id, at_once = chain.w3, chain.w3.eth.chain_id, Finality(FinalityRule.INSTANT)
    maker = Transactor(w3, chain.signers[0], Journal(None), chain_id=chain_id, finality=at_once)
    address = deploy(w3, maker, chain_id=chain_id).address
    clients = module.Clients(chain, address)
    for name, signer in zip(names, chain.signers, strict=True):
        clients[name] = Client(w3, address, signer=signer, journal=Journal(None), finality=at_once)
    owner = clients["owner"]
    draw = np.random.default_rng(7)
    save_arrays(folder / "genesis.safetensors", {"w": draw.normal(size=(VALUES // 256, 256)).astype(np.float32)})
    genesis = add_version(store, folder / "genesis.safetensors")
    owner.register_model(digest_of(genesis), Root(genesis.tensor_root), Root(genesis.rest_root))
    model = owner.model_id(owner.account, digest_of(genesis))
    roles = dict.fromkeys(("ann", "bob", "cyn"), Role.PARTICIPANT)
    roles |= dict.fromkeys(HONEST, Role.AGGREGATOR)
    roles |= dict.fromkeys(HOSTILE, Role.AGGREGATOR) | {"mallory": Role.PARTICIPANT | Role.AGGREGATOR}
    owner.grant_roles_batch(model, [Grant(clients[name].account, role) for name, role in roles.items()])
    plan = module.anchor_plan(owner, store, model, module.plan_manifest(**{**TERMS, **terms}))
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
        rpc = chain.w3.manager.request_blocking
        for signer in chain.signers:  # the node has money for ten alone
            rpc("anvil_setBalance", [to_checksum(signer.address), hex(10_000 * ETHER)])
        house = found(module, chain, folder, PublicStore())
        rpc("evm_setAutomine", [False])
        assert chain.w3.eth.get_block("latest")["timestamp"] < START
        made = Stage(house, module, chain, None, folder)
        made.snapshot = made.rpc("evm_snapshot")
        yield made
