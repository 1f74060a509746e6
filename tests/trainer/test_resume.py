"""Crash recovery of participants and aggregators: stopped between any two steps, they resume to the same state.

The undisturbed round names every step that leaves something behind: a file written, a block put or pinned, a journal
entry. Then the same round is run once for each of them, in the same world, and the actor is stopped right before it:
all that it held in memory is gone, and what comes next is a new one in the same folder with the same journal.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from registry.chain.client import Client, chain_id_of
from registry.chain.contract_structs import Grant
from registry.chain.deploy import deploy
from registry.chain.journal import IntentState, Journal
from registry.chain.transactions import Transactor
from registry.content.manifest import DataSetManifest, digest_of
from registry.dev.embedded import Embedded, embedded, sleep_until
from registry.ethereum.keys import LocalSigner
from registry.roles import aggregator
from registry.rounds.plans import add_plan
from registry.store.base import ContentStore
from registry.store.memory import MemoryStore
from registry.types import Address, Cid, Digest, ModelId, Phase, Role, Root
from trainer import participant
from trainer.modules import propose_plan, publish_module
from trainer.participant import Task


class Crash(BaseException):
    """The process ends here."""


@dataclass(slots=True)
class Fuse:
    """Counts the steps of one actor that leave something behind, and ends it before one of them."""

    blow_at: int | None = None
    steps: list[str] = field(default_factory=list)

    def __call__(self, step: str) -> None:
        self.steps.append(step)
        if self.blow_at is not None and len(self.steps) == self.blow_at:
            raise Crash(step)


class Watch:
    """Tells a fuse of every file that is opened for writing or renamed in a folder."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.fuse: Fuse | None = None
        sys.addaudithook(self._heard)  # stays for the life of the process, doing nothing but while a folder is watched

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is None or self.fuse is None or event not in ("open", "os.rename"):
            return
        path, mode = arguments[0], arguments[1]
        writes = event == "os.rename" or (isinstance(mode, str) and ("w" in mode or "+" in mode))
        if writes and isinstance(path, str) and Path(path).is_relative_to(self.folder):
            self.fuse(f"{event} {Path(path).name}")


@pytest.fixture(scope="module")
def watch() -> Watch:
    return Watch()


class Fused(ContentStore):
    """A store that tells a fuse before everything it keeps."""

    def __init__(self, behind: ContentStore, fuse: Fuse) -> None:
        self.behind, self.fuse = behind, fuse

    def pin(self, cid: Cid, *, recursive: bool = True) -> None:
        self.fuse("pin")
        self.behind.pin(cid, recursive=recursive)

    def unpin(self, cid: Cid) -> None:
        self.behind.unpin(cid)

    def pins(self) -> Iterator[tuple[Cid, bool]]:
        return self.behind.pins()

    def _get(self, cid: Cid) -> bytes:
        return self.behind.get(cid)

    def _put(self, cid: Cid, data: bytes) -> None:
        self.fuse("put")
        self.behind.put(cid, data)

    def _has(self, cid: Cid) -> bool:
        return self.behind.has(cid)


def module() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(2, 1)


def train(trained: nn.Module, epoch: int) -> dict[str, float]:
    with torch.no_grad():
        for value in trained.parameters():
            value.add_(value, alpha=-0.125)
    return {}


class World:
    """A model on a chain in this process, that can be put back to before its first round."""

    def __init__(self) -> None:
        self.chain: Embedded = embedded(3)
        owner, *self.signers = self.chain.signers
        chain_id = chain_id_of(self.chain.w3)
        maker = Transactor(self.chain.w3, owner, Journal(None), chain_id=chain_id)
        self.address: Address = deploy(self.chain.w3, maker, chain_id=chain_id).address
        self.owner = Client(self.chain.w3, self.address, signer=owner, journal=maker.journal)
        self.task = Task(module(), train, 10, DataSetManifest("data", "", "", "", 10, None))
        self.plan = propose_plan(module(), quorum=1, min_contributions=1)
        self.model_id = ModelId(bytes(32))
        self._snapshot: Any = None

    def found(self, folder: Path) -> MemoryStore:
        """Go back to before the first round, and return the store as it was."""
        store = MemoryStore()
        folder.mkdir()
        genesis = publish_module(store, module(), folder / "genesis.safetensors")
        plan, rules = add_plan(store, self.plan)
        if self._snapshot is None:
            self.owner.register_model(digest_of(genesis), Root(genesis.tensor_root), Root(genesis.rest_root))
            self.model_id = self.owner.model_id(self.owner.account, digest_of(genesis))
            roles = (Role.PARTICIPANT, Role.AGGREGATOR)
            grants = [Grant(signer.address, role) for signer, role in zip(self.signers, roles, strict=True)]
            self.owner.grant_roles_batch(self.model_id, grants)
            self.owner.set_plan(self.model_id, plan, rules)
            self.owner.open_round(self.model_id, number=1)
        else:
            self._rpc("evm_revert", self._snapshot)
        self._snapshot = self._rpc("evm_snapshot")
        return store

    def _rpc(self, method: str, *parameters: object) -> Any:
        return self.chain.w3.manager.request_blocking(method, list(parameters))  # type: ignore[arg-type]


@dataclass(slots=True)
class Actor:
    """The participant or the aggregator: what it does next, and the fuse it burns."""

    world: World
    store: MemoryStore
    folder: Path
    role: Role
    fuse: Fuse
    watch: Watch

    def journaled(self) -> list[tuple[str, IntentState]]:
        """The journal as the next transaction will find it: compared with the chain."""
        journal = Journal(self.folder / "journal.sqlite")
        assert (
            Transactor(self.world.chain.w3, self.signer, journal, chain_id=self.world.owner.chain_id).reconcile() == ()
        )
        return [(intent.key, intent.state) for intent in journal.all()]

    @property
    def signer(self) -> LocalSigner:
        return self.world.signers[0 if self.role is Role.PARTICIPANT else 1]

    def run(self) -> str:
        """Be a new process: do the next thing, or end on the way."""
        journal = Journal(self.folder / "journal.sqlite", crash_point=self._journaled)
        client = Client(self.world.chain.w3, self.world.address, signer=self.signer, journal=journal)
        store = Fused(self.store, self.fuse)
        self.watch.folder, self.watch.fuse = self.folder, self.fuse
        try:
            if self.role is Role.PARTICIPANT:
                return participant.advance(client, store, self.folder, self.world.model_id, self.world.task)
            return aggregator.advance(client, store, self.folder, self.world.model_id)
        except Crash:
            return "crashed"
        finally:
            self.watch.folder = None
            journal.close()

    def _journaled(self, point: str) -> None:
        if point.startswith("before"):
            self.fuse(point)


def run_round(
    world: World, folder: Path, watch: Watch, fuses: dict[Role, Fuse]
) -> tuple[Digest, list[object], list[tuple[str, IntentState]], list[int]]:
    """Run a round to its end; return the head, the chain's events, the journals, and how much each account sent."""
    store = world.found(folder)
    actors = [Actor(world, store, folder / role.name, role, fuse, watch) for role, fuse in fuses.items()]
    for actor in actors:
        actor.folder.mkdir()
        (actor.folder / "salt").write_bytes(bytes(32))  # else two runs name the same data by two digests
    while not (state := world.owner.round(world.model_id, 1)).finalized:
        said = [actor.run() for actor in actors]
        if not any(said):
            phase = world.owner.phase(world.model_id, 1)
            assert phase in (Phase.PUBLISH, Phase.CHALLENGE), phase
            sleep_until(world.chain.w3, state.challenge_deadline or state.publish_deadline)
    events: list[object] = [
        (type(event).__name__, *(getattr(event, name) for name in event.__dataclass_fields__ if _lasting(name)))
        for event in world.owner.events()
    ]
    journals = [entry for actor in actors for entry in actor.journaled()]
    count = world.chain.w3.eth.get_transaction_count
    sent = [int(count(world.chain.w3.to_checksum_address(signer.address))) for signer in world.signers]
    return world.owner.model(world.model_id).head, events, journals, sent


def _lasting(name: str) -> bool:
    """Whether an event's field is the same whenever it happened."""
    return name != "at" and not name.endswith("deadline")


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [Role.PARTICIPANT, Role.AGGREGATOR], ids=lambda role: role.name.lower())
def test_stopped_before_any_step_the_round_ends_in_the_same_state_with_each_effect_once(
    stopped: Role, world: World, watch: Watch, tmp_path: Path
) -> None:
    roles = (Role.PARTICIPANT, Role.AGGREGATOR)
    undisturbed = {role: Fuse() for role in roles}
    expected = run_round(world, tmp_path / "undisturbed", watch, undisturbed)
    steps = undisturbed[stopped].steps
    assert {"put", "pin", "before plan", "before sign", "before send", "before mine", "before finalize"} <= set(steps)
    assert any(step.startswith("open") for step in steps)
    first, apart = (1, 1) if os.environ.get("CAIRN_SOAK") else (1 + int(time.time() // 86400) % 2, 2)
    for point in range(first, len(steps) + 1, apart):  # every other step a day
        fuses = {role: Fuse(point if role is stopped else None) for role in roles}
        found = run_round(world, tmp_path / f"{stopped.name}-{point}", watch, fuses)
        assert found == expected, f"stopped before {steps[point - 1]} ({point})"
