"""The demo's last round: a whole quorum attests a false result, and one auditor without a role convicts it."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from registry.chain.client import Client
from registry.chain.contract_events import ResultConvicted
from registry.chain.contract_structs import Grant
from registry.chain.court import Court
from registry.dev.embedded import Embedded, sleep_until
from registry.dev.forgeries import falsified, nudged
from registry.errors import VerificationFailed
from registry.roles import aggregator, auditor
from registry.roles.purse import Purse
from registry.rounds.loaded_round import load_round
from registry.rounds.onchain import participants_of, read_round
from registry.rounds.results import compute_outcome
from registry.types import Phase, Role
from trainer import participant
from trainer.simulation import Simulation

__all__ = ["EXTRA_ACCOUNTS", "convict_a_lie"]

EXTRA_ACCOUNTS = 3
"""Two aggregators that take over, and an auditor."""
_LIMIT = 10**18
"""Wei that the auditor may spend."""


def convict_a_lie(console: Console, sim: Simulation, chain: Embedded, folder: Path) -> None:
    """Run a round whose whole quorum lies, and print its conviction.

    Args:
        console: Where to print.
        sim: The simulation after its rounds.
        chain: The simulation's chain, with EXTRA_ACCOUNTS unused accounts.
        folder: Scratch space.

    Raises:
        VerificationFailed: The lie was not convicted, or the honest result is not final.
    """
    clients = [
        Client(chain.w3, sim.owner.address, signer=signer, deployed_at=sim.owner.deployed_at)
        for signer in chain.signers[-EXTRA_ACCOUNTS:]
    ]
    watcher, successors = clients[0], clients[1:]
    sim.owner.grant_roles_batch(sim.model_id, [Grant(c.account, Role.AGGREGATOR) for c in successors])
    number = _take_part(sim)
    values = _lie(sim, number, folder)
    console.print(
        f"\n[red]lied[/] in round {number}: both aggregators attest an average of which one value in {values:,} is off "
        "by 2^-22"
    )
    purse, memory = Purse(watcher, folder / "auditor" / "spent.json", _LIMIT), auditor.AuditorMemory()

    def watch() -> str:
        return auditor.advance(watcher, sim.store, folder / "auditor", sim.model_id, purse=purse, memory=memory)

    while said := watch():
        console.print(f"  auditor: {said}")
    convicted = list(Court(watcher).events(ResultConvicted, subject=read_round(watcher, sim.model_id, number).round_id))
    roles = [sim.owner.member(sim.model_id, client.account).roles for client in sim.aggregators]
    if len(convicted) != 1 or any(held & Role.AGGREGATOR for held in roles):
        raise VerificationFailed("one wrong value: expected its attesters convicted and expelled")
    for client in successors:
        aggregator.advance(client, sim.store, folder / client.account.hex(), sim.model_id)
    while said := watch():
        console.print(f"  auditor: {said}")
    sleep_until(sim.w3, sim.owner.round(sim.model_id, number).challenge_deadline)
    aggregator.advance(successors[0], sim.store, folder / successors[0].account.hex(), sim.model_id)
    if not sim.owner.round(sim.model_id, number).finalized:
        raise VerificationFailed("after the conviction: expected the honest result to be final")
    console.print(
        "[green]convicted[/] by one auditor with no role in the model; both lost theirs, and what was committed is "
        f"final: version 0x{sim.owner.model(sim.model_id).head.hex()[:12]}"
    )


def _take_part(sim: Simulation) -> int:
    """Open a round in which all hospitals commit and publish."""
    owner, model_id = sim.owner, sim.model_id
    number = owner.model(model_id).rounds + 1
    owner.open_round(model_id, number=number)
    _everybody(sim)
    owner.end_commits(model_id, number, participants_of(owner, model_id))
    _everybody(sim)
    return number


def _everybody(sim: Simulation) -> None:
    for name, (client, task) in sim.participants.items():
        while participant.advance(client, sim.store_of(name), sim.folder / name, sim.model_id, task):
            pass


def _lie(sim: Simulation, number: int, folder: Path) -> int:
    """Let both aggregators attest an average with one wrong value; return how many values it has."""
    record = read_round(sim.owner, sim.model_id, number)
    round = load_round(sim.store, record)
    verdicts = aggregator.judge_all(sim.store, round)
    (folder / "liars").mkdir(parents=True, exist_ok=True)
    made = compute_outcome(sim.store, round, verdicts, folder / "liars")
    values = round.form.rules.values
    result = falsified(sim.store, made, aggregate=nudged(values // 2, 2.0**-22))
    for client in sim.aggregators:
        client.attest_result(sim.model_id, number, result, record.running_hash)
    if sim.owner.phase(sim.model_id, number) != Phase.CHALLENGE:
        raise VerificationFailed("expected the liars to have their quorum")
    return values
