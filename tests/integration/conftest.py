"""Fixtures: a network of killable processes with a chain, content stores, participants and aggregators."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from torch import nn

from registry.chain.client import Client
from registry.chain.contract_events import RoundFinalized
from registry.chain.contract_structs import Grant
from registry.chain.deploy import deploy
from registry.chain.journal import IntentState, Journal
from registry.chain.transactions import Transactor
from registry.content.manifest import PlanManifest, digest_of
from registry.dev.chains import DevChain
from registry.dev.embedded import sleep_until
from registry.rounds.plans import add_plan
from registry.store.base import ContentStore
from registry.store.uri import open_store
from registry.types import Digest, ModelId, Phase, Role, Root
from trainer.modules import propose_plan, publish_module

SCRIPT = Path(__file__).with_name("actors.py")
PATIENCE = 120.0
"""Seconds for a round, on a machine that does much else."""


@pytest.fixture(scope="session")
def actors() -> ModuleType:
    """The script that actors run."""
    return _loaded(SCRIPT)


@pytest.fixture(scope="session")
def faulty_nodes() -> ModuleType:
    """The proxy that spoils a node's answers."""
    return _loaded(SCRIPT.with_name("faulty_node.py"))


def _loaded(script: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"cairn_test_{script.stem}", script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@dataclass(slots=True)
class Network:
    """A model on a chain, and the processes that train it.

    Attributes:
        chain: The chain.
        owner: The model's owner.
        store: What the owner publishes to, and strangers read from.
        settings: What the actors are told.
        running: Process ids by name.
    """

    chain: DevChain
    owner: Client
    model_id: ModelId
    store: ContentStore
    folder: Path
    settings: Any
    running: dict[str, int] = field(default_factory=dict)
    nursery: subprocess.Popen[str] | None = None

    # Processes -------------------------------------------------------------------------------------------------------

    @contextmanager
    def processes(self) -> Iterator[None]:
        """Run every actor in a process started on its own."""
        started = {}
        try:
            for name in self.settings.names:
                with (self.folder / f"{name}.log").open("a") as log:
                    command = [sys.executable, str(SCRIPT), "run", str(self.folder / "settings.json"), name]
                    started[name] = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
                self.running[name] = started[name].pid
            yield
        finally:
            for process in started.values():
                process.kill()
                process.wait()

    @contextmanager
    def forked(self, *names: str) -> Iterator[None]:
        """Run actors, by default all, in processes that can be started again in no time."""
        command = [sys.executable, str(SCRIPT), "nursery", str(self.folder / "settings.json")]
        with (self.folder / "nursery.log").open("w") as log:
            self.nursery = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
            )
        try:
            for name in names or self.settings.names:
                self.start(name)
            yield
        finally:
            os.killpg(self.nursery.pid, signal.SIGKILL)
            self.nursery.communicate()

    def start(self, name: str) -> None:
        """Fork an actor, for the first time or again."""
        assert self.nursery is not None and self.nursery.stdin is not None and self.nursery.stdout is not None
        self.nursery.stdin.write(name + "\n")
        self.nursery.stdin.flush()
        answer = self.nursery.stdout.readline()
        assert answer, (self.folder / "nursery.log").read_text()
        self.running[name] = int(answer)

    def kill(self, name: str) -> None:
        """End an actor as a power cut would."""
        os.kill(self.running[name], signal.SIGKILL)
        while _alive(self.running[name]):
            time.sleep(0.001)

    def require_running(self) -> None:
        """Fail with the log of an actor that ended by itself."""
        for name, pid in self.running.items():
            if not _alive(pid):
                pytest.fail(f"{name} ended:\n{self.log(name)}")

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()[-4000:]

    # Rounds ----------------------------------------------------------------------------------------------------------

    def allow(self, rounds: int) -> None:
        """Let aggregators open rounds up to this number."""
        partial = self.folder / "rounds.partial"
        partial.write_text(str(rounds))
        partial.replace(self.settings.rounds)

    def finalized(self) -> list[Digest]:
        """The heads that rounds made, in order."""
        return [e.version_digest for e in self.owner.events(RoundFinalized, subject=self.model_id)]  # type: ignore[attr-defined]

    def let_windows_pass(self) -> None:
        """Move the clock past the challenge window of the round that is in one."""
        number = self.owner.model(self.model_id).rounds
        if number and self.owner.phase(self.model_id, number) == Phase.CHALLENGE:
            sleep_until(self.chain.w3, self.owner.round(self.model_id, number).challenge_deadline, move=True)

    def run(self, rounds: int, *, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Let the actors run until so many rounds are finalized."""
        self.allow(rounds)
        deadline = time.monotonic() + PATIENCE * rounds
        while len(self.finalized()) < rounds:
            meanwhile()
            self.let_windows_pass()
            self.require_running()
            if time.monotonic() > deadline:
                logs = "\n".join(f"--- {name}\n{self.log(name)}" for name in self.settings.names)
                pytest.fail(f"{len(self.finalized())} of {rounds} rounds after {PATIENCE * rounds:.0f} s\n{logs}")
            time.sleep(0.02)

    # What there is to compare ----------------------------------------------------------------------------------------

    def effects(self) -> Counter[object]:
        """Every event of the contract, without its place and time, and without who attested first."""
        found: Counter[object] = Counter()
        for event in self.owner.events():
            kept = [n for n in event.__dataclass_fields__ if n not in ("at", "votes") and not n.endswith("deadline")]
            found[type(event).__name__, *(getattr(event, name) for name in kept)] += 1
        return found

    def journaled(self) -> Counter[tuple[str, str]]:
        """The effects that each actor's journal calls carried out, once compared with the chain."""
        found: Counter[tuple[str, str]] = Counter()
        for number, name in enumerate(self.settings.names, 1):
            for path in (self.folder / name / "journals").rglob("*.sqlite"):
                journal = Journal(path)
                signer = self.chain.signers[number]
                transactor = Transactor(self.chain.w3, signer, journal, chain_id=self.owner.chain_id)
                # What was signed when the round ended is on its way. What was planned and not signed can be left:
                # another aggregator was quicker while this one was dead.
                deadline = time.monotonic() + PATIENCE
                while any(intent.state is not IntentState.PLANNED for intent in transactor.reconcile()):
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
                found.update((name, intent.key) for intent in journal.all() if intent.state is IntentState.FINAL)
                journal.close()
        return found


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # gone before it was opened, or before it was read
        return False


@pytest.fixture(scope="session")
def make_network(actors: ModuleType) -> Callable[..., Network]:
    """Deploys the contract, registers a model, grants the roles and sets a plan whose phases end by being done."""

    def make(
        chain: DevChain,
        folder: Path,
        *,
        stores: Sequence[str],
        participants: int = 3,
        aggregators: int = 2,
        auditors: int = 0,
        large: bool = False,
        **plan: Any,
    ) -> Network:
        """Stores: the owner's and participants', and the aggregators'; one for all if there is one."""
        folder.mkdir(parents=True, exist_ok=True)
        assert chain.url is not None
        store = open_store(stores[0])
        journal = Journal(folder / "owner.sqlite")
        maker = Transactor(chain.w3, chain.signers[0], journal, chain_id=chain.w3.eth.chain_id)
        made = deploy(chain.w3, maker, chain_id=chain.w3.eth.chain_id)
        owner = Client(chain.w3, made.address, signer=chain.signers[0], journal=journal, deployed_at=made.block)
        module = actors.module(large)
        genesis = publish_module(store, module, folder / "genesis.safetensors")
        owner.register_model(digest_of(genesis), Root(genesis.tensor_root), Root(genesis.rest_root))
        model_id = owner.model_id(owner.account, digest_of(genesis))
        members = [s.address for s in chain.signers[1 : 1 + participants + aggregators]]
        roles = [Role.PARTICIPANT] * participants + [Role.AGGREGATOR] * aggregators
        owner.grant_roles_batch(model_id, [Grant(*pair) for pair in zip(members, roles, strict=True)])
        owner.set_plan(model_id, *add_plan(store, patient_plan(module, participants, aggregators, **plan)))
        names = [f"participant-{i}" for i in range(participants)] + [f"aggregator-{i}" for i in range(aggregators)]
        names += [f"auditor-{i}" for i in range(auditors)]
        uris: Mapping[str, str] = {n: stores[-1] if n.startswith("aggregator") else stores[0] for n in names}
        settings = actors.Settings(
            url=chain.url,
            contract=made.address.hex(),
            block=made.block,
            model_id=model_id.hex(),
            large=large,
            folder=str(folder),
            stores=uris,
            participants=participants,
            aggregators=aggregators,
            rounds=str(folder / "rounds"),
            auditors=auditors,
        )
        settings.save(folder / "settings.json")
        network = Network(chain, owner, model_id, store, folder, settings)
        network.allow(0)
        return network

    return make


@pytest.fixture(scope="session")
def plan_of() -> Callable[..., PlanManifest]:
    """Makes plans; see `patient_plan`."""
    return patient_plan


def patient_plan(module: nn.Module, participants: int, aggregators: int, **changed: Any) -> PlanManifest:
    """A plan that waits for everybody: a day for each phase but the last."""
    proposed = propose_plan(module, quorum=aggregators, min_contributions=participants, grid_bits=20)
    day = 24 * 3600
    durations = {"commit_duration": day, "publish_duration": day, "aggregate_duration": day}
    return replace(proposed, **(durations | {"challenge_duration": 960, "answer_duration": 30} | changed))
