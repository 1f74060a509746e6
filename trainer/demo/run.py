"""The demo: federated learning at three hospitals, every update anchored, every round recomputed by a third party.

Five models are trained side by side on the same cases, epochs and settings: the federated one by anchored rounds, one
at each hospital alone, and one on all cases pooled, which nobody is allowed to do in practice.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from itertools import count
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from registry.chain.client import Client
from registry.chain.contract_events import ResultAttested, RoundFinalized, UpdateCommitted
from registry.content.manifest import DataSetManifest, PlanManifest, Procedure, Reason
from registry.dev.embedded import embedded
from registry.errors import VerificationFailed
from registry.explorer.snapshot import save_snapshot
from registry.lineage.dates_and_metrics import round_score
from registry.lineage.provenance import read_lineage
from registry.rounds.onchain import read_round
from registry.rounds.plans import server_rule
from registry.rounds.versions import load_version_manifest
from registry.store.blobs import leaf_cids
from registry.store.local import LocalStore
from registry.types import Digest
from registry.verification.verify import Finding, verify_version
from trainer.demo.bundling import bundle_and_verify
from trainer.demo.comparison import comparison
from trainer.demo.conviction import EXTRA_ACCOUNTS, convict_a_lie
from trainer.demo.hospitals import HOSPITALS, Cases, load, pooled
from trainer.demo.model import ChapterModel, evaluate, order_of, own_counts, train_epoch
from trainer.demo.plot import History, plot
from trainer.demo.poisoning import poisoned
from trainer.modules import load_version
from trainer.participant import Task
from trainer.simulation import Simulation, simulate_round, start
from trainer.updates import this_package

__all__ = ["ROUNDS", "run"]

ROUNDS = 20
AGGREGATORS = 2
PLAN = PlanManifest(
    algorithm=Procedure("fedavg", {"epochs": 1}),
    combine_rule=1,
    combine_parameters={},
    weights="examples",
    server=server_rule("fedavg", {"rate": 1.0}, 22),
    update_form=1,
    form_parameters={},
    grid_bits=22,
    saturate=False,
    scales={},
    buffers={},
    values=1,
    header=bytes(32),
    segments=bytes(32),
    transforms=(),
    quorum=2,
    weight_cap=100_000,
    min_contributions=2,
    commit_duration=3600,
    publish_duration=3600,
    aggregate_duration=3600,
    challenge_duration=3600,
    answer_duration=60,
    bond_gwei=0,
    hooks=(),
)


def run(console: Console, folder: Path, out: Path, *, rounds: int = ROUNDS) -> History:
    """Run the demo.

    Args:
        console: Where to tell about it.
        folder: For the content store and everybody's files; about 45 MB per round.
        out: The plot, the figures, the bundle and a snapshot for the explorer are written here.
        rounds: Number of rounds.

    Raises:
        VerificationFailed: A fault was missed, or an honest round failed verification.
    """
    torch.set_num_threads(1)  # single-threaded results are identical on every machine with the same build of torch
    began = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    console.print("[bold]Three hospitals, one model, no pooled data[/]: ICD-10-CM descriptions to their chapter of 22")
    training, own_held_out = load()
    held_out = pooled(own_held_out.values())
    console.print(_cases_table(training, own_held_out))
    store = LocalStore(folder / "store")
    tasks = {
        name: _task(place, name, cases, own_held_out[name]) for place, (name, cases) in enumerate(training.items())
    }
    chain = embedded(1 + len(tasks) + AGGREGATORS + EXTRA_ACCOUNTS, time=int(time.time()))
    sim = start(ChapterModel(), tasks, PLAN, store, folder, aggregators=AGGREGATORS, chain=chain)
    history = _train(console, sim, held_out, rounds)
    _show_own_scores(console, sim)
    history.poisoned = poisoned(console, sim, PLAN, held_out, folder / "poisoned")
    _save(history, out)
    _show_anchors(console, sim)
    _verify_as_a_stranger(console, sim, folder)
    _flip_a_bit(console, sim, store, folder)
    convict_a_lie(console, sim, chain, folder / "conviction")
    bundle_and_verify(console, sim, out / "model.car", folder / "bundle")
    shutil.rmtree(out / "explorer", ignore_errors=True)  # of an earlier demo, on another chain
    save_snapshot(sim.owner, sim.store, out / "explorer")
    federated, best, pool = (history.last(n).macro_f1 for n in ("federated", history.best_alone, "pooled"))
    console.print(
        f"\n[bold]Macro-F1[/] federated {federated:.3f}, all data pooled {pool:.3f}, "
        f"best hospital alone {best:.3f} ({history.best_alone})"
    )
    console.print(f"Plot: {out / 'rounds.png'}. Took {time.monotonic() - began:.0f} s. Look at all of it in a browser:")
    console.print(f"  {_command()} explorer {out / 'explorer'}", soft_wrap=True)
    return history


def _command() -> str:
    """Return how this shell calls `cairn`: by its path where it is not on the search path, as after `make demo`."""
    here = Path(sys.argv[0])
    return str(here) if here.name == "cairn" and shutil.which("cairn") is None else "cairn"


def _train(console: Console, sim: Simulation, held_out: Cases, rounds: int) -> History:
    history = History()
    federated = ChapterModel()
    columns = " ".join(f"{name:>22}" for name in HOSPITALS)
    console.print("\n[bold]Macro-F1 on the held-out categories[/], after each round of one local epoch")
    console.print(f"{'round':>5} {'federated':>10} {'pooled':>8} {columns}  version")
    with comparison(rounds) as others:
        for scores in others:
            number = simulate_round(sim)
            head = sim.owner.model(sim.model_id).head
            load_version(federated, sim.store, load_version_manifest(sim.store, head))
            history.add({**scores, "federated": evaluate(federated, held_out)})
            console.print(
                f"{number:>5} {history.last('federated').macro_f1:>10.3f} {history.last('pooled').macro_f1:>8.3f} "
                + " ".join(f"{history.last(name).macro_f1:>22.3f}" for name in HOSPITALS)
                + f"  0x{head.hex()[:12]}"
            )
    return history


def _task(place: int, name: str, cases: Cases, held_out: Cases) -> Task:
    """Return one hospital's task: training on its cases, evaluation on those that it holds out."""
    epochs = count()
    return Task(
        module=ChapterModel(),
        train_epoch=lambda module, _: train_epoch(module, cases, order_of(place, next(epochs))),
        examples=len(cases),
        data_set=DataSetManifest(
            name=f"ICD-10-CM descriptions at the {name}",
            description="Leaf codes with their chapter; four of five of the chapters this hospital specialises in",
            licence="public domain",
            source="simple-icd-10-cm",
            records=len(cases),
            sha256=None,
        ),
        code=this_package(),
        evaluate=lambda module: own_counts(module, held_out),
    )


def _cases_table(training: Mapping[str, Cases], held_out: Mapping[str, Cases]) -> Table:
    title = "Who holds what; held out: 15 % of the three-character categories, whole"
    table = Table("who", "cases", "held out", "specialises in chapters", title=title, title_justify="left")
    for name, chapters in HOSPITALS.items():
        numbers = (f"{len(cases[name]):,}" for cases in (training, held_out))
        table.add_row(name, *numbers, ", ".join(map(str, chapters)))
    return table


def _show_own_scores(console: Console, sim: Simulation) -> None:
    """Print how good the hospitals say that the last round's parent is, each by cases of its own."""
    newest = read_lineage(sim.owner, sim.store, sim.model_id, sim.owner.model(sim.model_id).head)[0]
    score = None if newest.round is None else round_score(newest.round)
    if score is None or score.least is None or score.most is None:
        raise VerificationFailed("the last round: expected every hospital's evaluation of its parent")
    console.print(
        f"\n[bold]By the hospitals' own word[/] the last round's parent has macro-F1 {score.value:.3f} on "
        f"{score.examples:,} cases, {score.least:.3f} to {score.most:.3f} as counts below 10 are hidden; "
        f"spread {score.spread:.3f}, worst hospital {score.worst:.3f}"
    )


def _show_anchors(console: Console, sim: Simulation) -> None:
    """Print the last round's records on chain."""
    number = sim.owner.model(sim.model_id).rounds
    record = read_round(sim.owner, sim.model_id, number)
    names = {client.account: name for name, (client, _) in sim.participants.items()}
    names |= {client.account: f"aggregator {i + 1}" for i, client in enumerate(sim.aggregators)}
    table = Table("block", "event", "by", "digest", "says", title=f"Round {number} on the chain", title_justify="left")
    events = sim.owner.events(UpdateCommitted, ResultAttested, subject=record.round_id)
    for event in sorted((*events, *sim.owner.events(RoundFinalized, subject=sim.model_id)), key=lambda e: e.at):
        block = str(event.at.block_number)
        match event:
            case UpdateCommitted():
                weight = f"weight {event.weight}"
                table.add_row(block, "UpdateCommitted", names[event.participant], _short(event.digest), weight)
            case ResultAttested():
                said = f"{event.result.contributions} contributions, vote {event.votes}"
                table.add_row(block, "ResultAttested", names[event.aggregator], _short(event.result_hash), said)
            case RoundFinalized() if event.number == number:
                table.add_row(block, "RoundFinalized", "anyone", _short(event.version_digest), "the head moved")
    console.print()
    console.print(table)


def _verify_as_a_stranger(console: Console, sim: Simulation, folder: Path) -> None:
    """Recompute every round from chain and content store, with no account and no participant's files."""
    stranger = Client(sim.w3, sim.owner.address, chain_id=sim.owner.chain_id, deployed_at=sim.owner.deployed_at)
    head = stranger.model(sim.model_id).head
    began, checks = time.monotonic(), 0
    for verification in verify_version(stranger, sim.store, sim.model_id, head, _made(folder / "stranger")):
        for check in verification.checks:
            checks += 1
            if check.finding is not Finding.PASSED:
                raise VerificationFailed(f"version 0x{verification.step.digest.hex()}: {check.name}: {check.evidence}")
    took = time.monotonic() - began
    console.print(
        f"\n[green]verified[/] {verification.step.round} rounds as a stranger: {checks} checks, "
        f"every average recomputed to the bit, in {took:.1f} s"
    )


def _flip_a_bit(console: Console, sim: Simulation, store: LocalStore, folder: Path) -> None:
    """Flip one bit of one hospital's stored update; verification must fail, and pass again once it is restored."""
    head = sim.owner.model(sim.model_id).head
    newest = read_lineage(sim.owner, store, sim.model_id, head)[0]
    assert newest.round is not None
    update = next(c.update for c in newest.round.commitments if c.reason == Reason.ADMITTED and c.update)
    leaf = leaf_cids(store, update.delta.blob)[-1].digest.hex()
    path = store.root / "blocks" / leaf[:2] / leaf
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    caught = _failure(sim, head, folder)
    path.write_bytes(whole)
    if caught is None or _failure(sim, head, folder) is not None:
        raise VerificationFailed("one flipped bit: expected it to be found, and gone once undone")
    console.print(f"[red]caught[/] one flipped bit in a stored update of {len(whole):,} bytes: {caught}")


def _failure(sim: Simulation, head: Digest, folder: Path) -> str | None:
    """Return the failure that verification of the newest version finds, if any."""
    *_, last = verify_version(sim.owner, sim.store, sim.model_id, head, _made(folder / "stranger"))
    return next((c.evidence for c in last.checks if c.finding is Finding.FAILED), None)


def _save(history: History, out: Path) -> None:
    """Write the scores as JSON and as a plot."""
    poisoned = {f"poisoned, {rule}": rows for rule, rows in history.poisoned.items()}
    scores = {name: [asdict(s) for s in rows] for name, rows in (history.scores | poisoned).items()}
    (out / "rounds.json").write_text(json.dumps(scores, indent=1) + "\n")
    plot(history, out / "rounds.png")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _short(digest: bytes) -> str:
    return f"0x{digest.hex()[:12]}…"
