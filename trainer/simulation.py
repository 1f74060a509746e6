"""Participants, aggregators and owner in one process, on an embedded chain and any content store."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from registry.chain.client import Client, chain_id_of, open_journal
from registry.chain.deploy import deploy
from registry.chain.records import Grant
from registry.chain.transactions import Transactor
from registry.content.manifest import BaseFile, PlanManifest
from registry.dev.embedded import Embedded, embedded, sleep_until
from registry.errors import CairnError
from registry.roles import aggregator
from registry.rounds.plans import publish_plan
from registry.store.base import ContentStore
from registry.types import ModelId, Phase, Role
from trainer import participant
from trainer.modules import register_module
from trainer.participant import Task

if TYPE_CHECKING:
    from web3 import Web3

__all__ = ["Simulation", "pass_time", "simulate_round", "start", "step"]

_A_MOMENT = 0.1
"""Seconds between two looks at what is still to be mined."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """A model and everybody who has to do with it.

    Attributes:
        owner: The owner's client.
        participants: A client and a task by name.
        aggregators: Their clients.
        store: One content store for all but those who have their own.
        folder: A sub-folder for each of them is made in it.
        stores: Stores of their own, by the name of a participant, or `aggregator-0` and so on.
        memories: What each aggregator remembers.
    """

    model_id: ModelId
    owner: Client
    participants: Mapping[str, tuple[Client, Task]]
    aggregators: Sequence[Client]
    store: ContentStore
    folder: Path
    stores: Mapping[str, ContentStore] = field(default_factory=dict)
    memories: Mapping[str, aggregator.AggregatorMemory] = field(
        default_factory=lambda: defaultdict(aggregator.AggregatorMemory)
    )

    @property
    def w3(self) -> Web3:
        return self.owner.w3

    def store_of(self, name: str) -> ContentStore:
        """Return the store that somebody uses."""
        return self.stores.get(name, self.store)


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
    base: BaseFile | None = None,
) -> Simulation:
    """Deploy, register a model, grant the roles and set the plan.

    Args:
        module: Its values are the genesis.
        tasks: What each participant brings, by name.
        plan: The rounds' rules.
        store: One content store for all.
        folder: For everybody's files.
        aggregators: How many.
        chain: Has an account for everybody; by default a chain in this process.
        without: Patterns for the names of tensors that are not shared.
        base: Frozen weights that the genesis stands on.
    """
    count = 1 + len(tasks) + aggregators
    chain = chain or embedded(count, time=int(time.time()))
    if len(chain.signers) < count:
        raise CairnError(f"expected {count} accounts, got {len(chain.signers)}")
    first = chain.signers[0]
    chain_id = chain_id_of(chain.w3)
    transactor = Transactor(chain.w3, first, open_journal(chain.w3, chain_id, first.address, None), chain_id=chain_id)
    deployment = deploy(chain.w3, transactor, chain_id=chain_id)
    clients = [
        Client(chain.w3, deployment.address, signer=signer, deployed_at=deployment.block)
        for signer in chain.signers[:count]
    ]
    owner, rest = clients[0], clients[1:]
    folder.mkdir(parents=True, exist_ok=True)
    model_id = register_module(owner, store, module, folder / "genesis.safetensors", without=without, base=base)
    members = dict(zip(tasks, rest, strict=False))
    servers = rest[len(tasks) :]
    grants = [Grant(c.account, Role.PARTICIPANT) for c in members.values()]
    owner.grant_roles_batch(model_id, grants + [Grant(c.account, Role.AGGREGATOR) for c in servers])
    publish_plan(owner, store, model_id, plan)
    people = {name: (client, tasks[name]) for name, client in members.items()}
    return Simulation(model_id, owner, people, servers, store, folder)


def simulate_round(simulation: Simulation) -> int:
    """Run one round from opening to the moved head; return its number.

    Everybody does what is theirs to do, in turn, until the round is finalized; when nobody has anything to do, the
    clock is moved to the next deadline.

    Raises:
        CairnError: The round ended without a result.
    """
    owner, model_id = simulation.owner, simulation.model_id
    number = owner.model(model_id).rounds + 1
    owner.open_round(model_id, number=number)
    while not owner.round(model_id, number).finalized:
        if owner.phase(model_id, number) == Phase.CANCELLED:
            raise CairnError(f"round {number}: cancelled, for no result had a quorum in time")
        if step(simulation):
            continue
        if any(client.transactor.unmined() for client in simulation.aggregators):
            time.sleep(_A_MOMENT)  # what nobody waits for is still to be mined, in the phase it was sent in
        else:
            pass_time(simulation, number)
    return number


def step(simulation: Simulation) -> list[str]:
    """Let everybody in turn do the next thing that is theirs to do; return what was done."""
    sim = simulation
    done = [
        participant.advance(client, sim.store_of(name), sim.folder / name, sim.model_id, task)
        for name, (client, task) in sim.participants.items()
    ]
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
        raise CairnError(f"round {number}: {phase.name}, and nobody there to go on")
    sleep_until(simulation.w3, deadlines[phase])
