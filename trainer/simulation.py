"""Simulation: owner, participants and aggregators in one process, on an embedded chain and any content store."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from registry.chain.client import Client, chain_id_of
from registry.chain.contract_structs import Grant
from registry.chain.deploy import deploy
from registry.chain.journal import Journal
from registry.chain.transactions import Transactor
from registry.content.manifest import BaseFile, PlanManifest
from registry.dev.embedded import Embedded, embedded, warp
from registry.errors import CairnError
from registry.ethereum.keys import LocalSigner
from registry.ethereum.networks import Finality, FinalityRule
from registry.roles import aggregator
from registry.rounds.plans import publish_plan
from registry.rounds.versions import load_version_manifest, read_header
from registry.store.base import ContentStore
from registry.types import ModelId, Phase, Role
from registry.verification.verify import verify_version
from trainer import participant
from trainer.common_terms import with_common
from trainer.modules import load_version, register_module
from trainer.participant import OnGrid, Task

if TYPE_CHECKING:
    from web3 import Web3

__all__ = ["RunOutcome", "Simulation", "aggregate_round", "pass_time", "run_rounds", "simulate_round", "start", "step"]

_AT_ONCE = Finality(FinalityRule.INSTANT)
_A_MOMENT = 0.1
"""Seconds between polls for pending transactions."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """A model with its owner, participants and aggregators.

    Attributes:
        owner: The owner's client.
        signers: Everybody's keys, in any order.
        participants: Client and task of each participant, by name.
        aggregators: Clients of the aggregators.
        store: The shared content store.
        folder: Folder with a subfolder for each role.
        stores: Separate stores that replace the shared one, by participant's name, or `aggregator-0` and so on.
        memories: Each aggregator's memory.
        on_grid: Told what the grid made of each tensor of every update.
    """

    model_id: ModelId
    owner: Client
    signers: Sequence[LocalSigner]
    participants: Mapping[str, tuple[Client, Task]]
    aggregators: Sequence[Client]
    store: ContentStore
    folder: Path
    stores: Mapping[str, ContentStore] = field(default_factory=dict)
    memories: Mapping[str, aggregator.AggregatorMemory] = field(
        default_factory=lambda: defaultdict(partial(aggregator.AggregatorMemory, keeps_pace=False))
    )
    on_grid: OnGrid | None = None

    @property
    def w3(self) -> Web3:
        return self.owner.w3

    def store_of(self, name: str) -> ContentStore:
        """Return the store of a participant or aggregator, by name."""
        return self.stores.get(name, self.store)


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """What a federation of some rounds came to.

    Attributes:
        scores: What `score` returned of each version, by round; 0 for the genesis.
        bytes: Bytes of the largest update file.
        values: Shared F32 values.
        verified: Whether a stranger could recompute every version from the chain and the store.
    """

    scores: Mapping[int, Any]
    bytes: int
    values: int
    verified: bool


def start(
    module: nn.Module,
    tasks: Mapping[str, Task],
    plan: PlanManifest,
    store: ContentStore,
    folder: Path,
    *,
    aggregators: int = 2,
    chain: Embedded | None = None,
    without: Sequence[str] = (),
    fixed: Sequence[str] = (),
    base: BaseFile | None = None,
) -> Simulation:
    """Deploy, register a model, grant the roles and set the plan.

    Args:
        module: The module whose values become the genesis.
        tasks: Each participant's task, by name.
        plan: The plan of the rounds.
        store: The shared content store.
        folder: For everybody's files.
        aggregators: Number of aggregators.
        chain: A chain with an account for everybody, which ends with the simulation; default an in-process chain.
        without: Patterns for the names of tensors that are not shared.
        fixed: Patterns for the names of shared tensors that no round changes.
        base: Frozen base weights of the genesis.
    """
    count = 1 + len(tasks) + aggregators
    chain = chain or embedded(count, time=int(time.time()))
    if len(chain.signers) < count:
        raise CairnError(f"expected {count} accounts, got {len(chain.signers)}")
    first = chain.signers[0]
    chain_id = chain_id_of(chain.w3)
    transactor = Transactor(chain.w3, first, Journal(None), chain_id=chain_id, finality=_AT_ONCE)
    deployment = deploy(chain.w3, transactor, chain_id=chain_id)
    clients = [
        Client(
            chain.w3,
            deployment.address,
            signer=signer,
            journal=Journal(None),
            finality=_AT_ONCE,
            deployed_at=deployment.block,
        )
        for signer in chain.signers[:count]
    ]
    owner, rest = clients[0], clients[1:]
    folder.mkdir(parents=True, exist_ok=True)
    genesis = folder / "genesis.safetensors"
    model_id = register_module(owner, store, module, genesis, without=without, fixed=fixed, base=base)
    members = dict(zip(tasks, rest, strict=False))
    servers = rest[len(tasks) :]
    grants = [Grant(c.account, Role.PARTICIPANT) for c in members.values()]
    owner.grant_roles_batch(model_id, grants + [Grant(c.account, Role.AGGREGATOR) for c in servers])
    publish_plan(owner, store, model_id, plan)
    people = {name: (client, tasks[name]) for name, client in members.items()}
    return Simulation(model_id, owner, chain.signers, people, servers, store, folder)


def simulate_round(simulation: Simulation) -> int:
    """Run one round from opening to the new head; return its number.

    Everybody acts in turn until the round is finalized; when nobody can act, the clock moves to the next deadline.

    Raises:
        CairnError: The round ended without a result.
    """
    number = simulation.owner.model(simulation.model_id).rounds + 1
    simulation.owner.open_round(simulation.model_id, number=number)
    _until_finalized(simulation, number, step)
    return number


def run_rounds(
    module: nn.Module,
    tasks: Mapping[str, Task],
    plan: PlanManifest,
    store: ContentStore,
    folder: Path,
    *,
    rounds: int,
    score: Callable[[int, nn.Module], Any],
    without: Sequence[str] = (),
    fixed: Sequence[str] = (),
    base: BaseFile | None = None,
) -> RunOutcome:
    """Run rounds of a new model with one aggregator, score its versions, and verify them as a stranger does.

    Args: as of `start`, and
        rounds: Number of rounds.
        score: Takes a round's number, 0 for the genesis, and the module with that version's values, which it may not
            change; what it returns is kept unless it is None.

    The plan names what the first task states as common.
    """
    plan = with_common(plan, next(iter(tasks.values())).common)
    simulation = start(module, tasks, plan, store, folder, aggregators=1, without=without, fixed=fixed, base=base)
    owner, model_id = simulation.owner, simulation.model_id
    scores = {0: score(0, module)}
    for number in range(1, rounds + 1):
        simulate_round(simulation)
        load_version(module, store, load_version_manifest(store, owner.model(model_id).head), without=without)
        scores[number] = score(number, module)
    head = owner.model(model_id).head
    verdicts = list(verify_version(owner, store, model_id, head, folder / "stranger"))
    specs = read_header(store, load_version_manifest(store, head).weights.blob).specs
    return RunOutcome(
        {number: found for number, found in scores.items() if found is not None},
        max(file.stat().st_size for file in folder.glob("*/round-*/update.safetensors")),
        sum(spec.end - spec.begin for spec in specs if spec.dtype == "F32") // 4,
        all(verdict.passed for verdict in verdicts),
    )


def aggregate_round(simulation: Simulation, number: int) -> None:
    """Let the aggregators take a round, whose updates are committed and published, to the new head.

    Raises:
        CairnError: The round ended without a result.
    """
    _until_finalized(simulation, number, _step_of_aggregators)


def _until_finalized(simulation: Simulation, number: int, act: Callable[[Simulation], list[str]]) -> None:
    """Let people act until a round is finalized; when nobody can, move the clock to the next deadline."""
    owner, model_id = simulation.owner, simulation.model_id
    while not owner.round(model_id, number).finalized:
        if owner.phase(model_id, number) == Phase.CANCELLED:
            raise CairnError(f"round {number}: cancelled, for no result had a quorum in time")
        if act(simulation):
            continue
        if any(client.transactor.unmined() for client in simulation.aggregators):
            time.sleep(_A_MOMENT)  # transactions that nobody waits for must be mined in the phase they were sent in
        else:
            pass_time(simulation, number)


def step(simulation: Simulation) -> list[str]:
    """Let everybody take their next step in turn, aggregators once no participant has one; return what was done."""
    sim = simulation
    done = [
        participant.advance(client, sim.store_of(name), sim.folder / name, sim.model_id, task, on_grid=sim.on_grid)
        for name, (client, task) in sim.participants.items()
    ]
    return [said for said in done if said] or _step_of_aggregators(sim)


def _step_of_aggregators(simulation: Simulation) -> list[str]:
    sim, done = simulation, []
    for i, client in enumerate(sim.aggregators):
        name = f"aggregator-{i}"
        memory = sim.memories[name]
        done.append(aggregator.advance(client, sim.store_of(name), sim.folder / name, sim.model_id, memory=memory))
    return [said for said in done if said]


def pass_time(simulation: Simulation, number: int) -> None:
    """Move the clock to the end of the phase that a round is in."""
    state = simulation.owner.round(simulation.model_id, number)
    deadlines = {
        Phase.COMMIT: state.commit_deadline,
        Phase.PUBLISH: state.publish_deadline,
        Phase.AGGREGATE: state.aggregate_deadline,
        Phase.CHALLENGE: state.challenge_deadline,
    }
    phase = simulation.owner.phase(simulation.model_id, number)
    if phase not in deadlines:
        raise CairnError(f"round {number}: {phase.name}, and nobody can act")
    warp(simulation.w3, to=deadlines[phase])
