"""Benchmark of a whole round of ten GPT-2-small updates on anvil and Kubo, broken down by step.

Run as `python -m benchmarks.round`; 14 GB of disk, Kubo (`make kubo`) and anvil (`npm ci`). One participant, aggregator
or auditor works at a time, all with one Kubo node on this machine, so that each step is timed alone; in production the
participants' steps run in parallel on ten machines. Training is excluded: updates are synthetic.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from benchmarks.gpt2 import GRID_BITS, write_update, write_version
from benchmarks.measure import Figure, workspace, write_results
from registry.chain.client import Client, open_journal
from registry.chain.contract_structs import Grant
from registry.chain.deploy import deploy
from registry.chain.transactions import Transactor
from registry.content.gate import describe
from registry.content.manifest import (
    DELTA,
    Code,
    DeltaFile,
    PlanManifest,
    Procedure,
    UpdateManifest,
    VersionFile,
    VersionManifest,
    digest_of,
    encode,
    manifest_cid,
)
from registry.dev.chains import DevChain, anvil_chain
from registry.dev.embedded import warp
from registry.dev.kubo_node import KuboNode, find_ipfs, init_node, start_node, stop_node
from registry.roles.aggregator import attest, judge_all
from registry.rounds.loaded_round import load_round
from registry.rounds.onchain import RoundRecord, participants_of, read_round
from registry.rounds.plans import add_plan, server_rule
from registry.rounds.results import compute_outcome, publish_outcome
from registry.store.base import ContentStore
from registry.store.blobs import add_blob, file_pieces
from registry.store.kubo import KuboStore
from registry.types import ModelId, Role
from registry.verification.verify import verify_version
from trainer.updates import Prepared, commit_update, publish_update

ROOT = Path(__file__).parent.parent
UPDATES = 10
PROCESSES = 2
DURATION = 3600
PLAN = PlanManifest(
    algorithm=Procedure("fedavg", {"epochs": 1}),
    combine_rule=1,
    combine_parameters={},
    weights="examples",
    server=server_rule("fedavg", {"rate": 1.0}, GRID_BITS),
    update_form=1,
    grid_bits=GRID_BITS,
    saturate=False,
    scales={},
    buffers={},
    values=1,
    header=bytes(32),
    segments=bytes(32),
    transforms=(),
    quorum=1,
    weight_cap=100_000,
    min_contributions=UPDATES,
    commit_duration=DURATION,
    publish_duration=DURATION,
    aggregate_duration=DURATION,
    challenge_duration=32 * DURATION,
    answer_duration=DURATION,
    bond_gwei=0,
    hooks=(),
)
T = TypeVar("T")


class Clock:
    """Adds up seconds by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def time(self, step: str, work: Callable[[], T]) -> T:
        begin = time.perf_counter()
        made = work()
        self.add(step, time.perf_counter() - begin)
        return made

    def add(self, step: str, seconds: float) -> None:
        self.seconds[step] = self.seconds.get(step, 0.0) + seconds


@dataclass(frozen=True, slots=True)
class Network:
    """A model with all its roles, on its own chain and Kubo node."""

    chain: DevChain
    store: ContentStore
    model_id: ModelId
    owner: Client
    participants: list[Client]
    aggregator: Client
    folder: Path


@contextmanager
def kubo_node(repo: Path) -> Iterator[KuboNode]:
    """Run a private Kubo node."""
    ipfs = find_ipfs(ROOT / ".tools" / "bin")
    if ipfs is None:
        raise SystemExit("no ipfs: make kubo")
    init_node(repo, ipfs)
    try:
        yield start_node(repo, ipfs)
    finally:
        stop_node(repo)


def prepare(chain: DevChain, store: ContentStore, folder: Path) -> Network:
    """Deploy, register a model, grant roles, set the plan and open round 1."""
    chain_id = chain.w3.eth.chain_id
    first = chain.signers[0]
    journal = open_journal(chain.w3, chain_id, first.address, folder / "journals")
    deployment = deploy(chain.w3, Transactor(chain.w3, first, journal, chain_id=chain_id), chain_id=chain_id)
    journal.close()
    owner, aggregator, *participants = (
        Client(
            chain.w3,
            deployment.address,
            signer=signer,
            journal=folder / "journals",
            deployed_at=deployment.block,
        )
        for signer in chain.signers[: UPDATES + 2]
    )
    write_version(folder / "genesis.safetensors", 1000)
    facts = describe(file_pieces(folder / "genesis.safetensors"))
    assert facts.sha256 is not None and facts.tensor_root is not None
    add_blob(store, file_pieces(folder / "genesis.safetensors"))
    store.pin(facts.blob.cid)
    weights = VersionFile(facts.blob.cid, facts.size, facts.sha256)
    genesis = VersionManifest(None, weights, facts.tensor_root, aliases={}, round=None, statement=None)
    store.put(manifest_cid(digest_of(genesis)), encode(genesis))
    owner.register_model(digest_of(genesis), facts.tensor_root, facts.rest_root)
    model_id = owner.model_id(owner.account, digest_of(genesis))
    grants = [Grant(client.account, Role.PARTICIPANT) for client in participants]
    owner.grant_roles_batch(model_id, [*grants, Grant(aggregator.account, Role.AGGREGATOR)])
    owner.set_plan(model_id, *add_plan(store, PLAN))
    owner.open_round(model_id, number=1)
    return Network(chain, store, model_id, owner, participants, aggregator, folder)


def prepare_update(record: RoundRecord, file: Path, participant: Client, weight: int) -> Prepared:
    """Hash an update's file and write its manifest."""
    facts = describe(file_pieces(file), sha256=False)
    assert facts.tensor_root is not None
    manifest = UpdateManifest(
        chain_id=record.chain_id,
        contract=record.contract,
        model=record.model_id,
        number=record.number,
        participant=participant.account,
        parent=manifest_cid(record.parent),
        plan=manifest_cid(record.plan.digest),
        files={DELTA: DeltaFile(facts.blob.cid, facts.size, facts.tensor_root)},
        weight=weight,
        steps=weight,
        saturated=0,
        metrics={},
        evaluation=None,
        data_set=bytes(32),
        code=Code("benchmark", "1"),
    )
    return Prepared(manifest, file)


def take_part(net: Network, clock: Clock) -> None:
    """Let every participant commit, end commits, and let every participant publish."""
    record = read_round(net.owner, net.model_id, 1)
    prepared = []
    for k, client in enumerate(net.participants):
        file = net.folder / f"update-{k}.safetensors"
        clock.time("left out: writing updates", lambda file=file, k=k: write_update(file, k))
        made = clock.time(
            "participants: name updates", lambda f=file, c=client, k=k: prepare_update(record, f, c, k + 1)
        )
        clock.time("participants: commit", lambda c=client, made=made: commit_update(c, record, made))
        prepared.append(made)
    accounts = participants_of(net.owner, net.model_id)
    clock.time("owner: end commits", lambda: net.owner.end_commits(net.model_id, 1, accounts))
    for made in prepared:
        clock.time("participants: publish and pin updates", lambda made=made: publish_update(net.store, made))
        made.file.unlink()


def aggregate(net: Network, clock: Clock) -> None:
    """Judge, combine, publish and attest; then let the challenge window pass and finalize."""
    folder = net.folder / "aggregator"
    folder.mkdir()
    record = read_round(net.aggregator, net.model_id, 1)
    loaded = load_round(net.store, record)
    verdicts = clock.time("aggregator: fetch and check updates", lambda: judge_all(net.store, loaded))
    assert all(verdict.admitted for verdict in verdicts)
    begin = last = time.perf_counter()

    def note(_: int) -> None:
        nonlocal last
        last = time.perf_counter()

    outcome = compute_outcome(
        net.store,
        record,
        loaded.plan,
        loaded.parent,
        loaded.form,
        verdicts,
        folder,
        processes=PROCESSES,
        progress=note,
    )
    clock.add("aggregator: combine, fetching again", last - begin)
    clock.add("aggregator: server step and names", time.perf_counter() - last)
    clock.time("aggregator: publish aggregate and version", lambda: publish_outcome(net.store, outcome))
    clock.time("aggregator: attest", lambda: attest(net.aggregator, record, outcome.result))
    warp(net.chain.w3, seconds=PLAN.challenge_duration + 1)
    clock.time("anyone: finalize", lambda: net.owner.finalize_round(net.model_id, 1, outcome.result))


def audit(net: Network, clock: Clock) -> None:
    """Verify the new version and the genesis as a third party."""
    folder = net.folder / "auditor"
    folder.mkdir()
    head = net.owner.model(net.model_id).head
    found = clock.time(
        "auditor: recompute and compare",
        lambda: list(verify_version(net.owner, net.store, net.model_id, head, folder)),
    )
    assert len(found) == 2 and all(verification.passed for verification in found)


def main() -> None:
    clock = Clock()
    anvil = ROOT / "node_modules" / ".bin" / "anvil"
    with (
        workspace("round") as folder,
        anvil_chain(anvil, "--accounts", str(UPDATES + 2), accounts=UPDATES + 2) as chain,
        kubo_node(folder / "kubo") as node,
        KuboStore(node.api, gateway=node.gateway) as store,
    ):
        net = prepare(chain, store, folder)
        for work in (take_part, aggregate, audit):
            work(net, clock)
            for step, seconds in clock.seconds.items():
                print(f"  {step}: {seconds:.2f} s", flush=True)
        size = (folder / "genesis.safetensors").stat().st_size
    steps = {step: seconds for step, seconds in clock.seconds.items() if not step.startswith("left out")}
    figures = [Figure(f"a round of {UPDATES} × {size / 1e6:.0f} MB, all steps", sum(steps.values()), "s")]
    figures += [Figure(step, seconds, "s") for step, seconds in steps.items()]
    write_results("round", figures, update_bytes=size, updates=UPDATES)


if __name__ == "__main__":
    main()
