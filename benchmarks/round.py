"""Benchmark of a whole round of ten GPT-2-small updates on anvil and Kubo, broken down by step.

Run as `python -m benchmarks.round [kubo] [local]`; 14 GB of disk, Kubo (`make kubo`) and anvil (`npm ci`). One
participant, aggregator or auditor works at a time, all with one Kubo node on this machine, so that each step is timed
alone; in production the participants' steps run in parallel on ten machines. Training is excluded: updates are
synthetic.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TypeVar
from unittest.mock import patch

from benchmarks.gpt2 import GRID_BITS, write_update, write_version
from benchmarks.measure import Figure, workspace, write_results
from registry.chain.client import Client, open_journal
from registry.chain.contract_structs import Grant
from registry.chain.deploy import deploy
from registry.chain.transactions import Transactor
from registry.content.gate import describe
from registry.content.manifest import (
    DataSetManifest,
    PlanManifest,
    Procedure,
    VersionFile,
    VersionManifest,
    digest_of,
)
from registry.dev.chains import DevChain, anvil_chain
from registry.dev.embedded import warp
from registry.dev.kubo_node import KuboNode, find_ipfs, init_node, start_node, stop_node
from registry.roles import aggregator
from registry.rounds.onchain import chosen_result, participants_of, read_round
from registry.rounds.plans import publish_plan, server_rule
from registry.store.base import ContentStore
from registry.store.blobs import add_blob, file_pieces
from registry.store.kubo import KuboStore
from registry.store.local import LocalStore
from registry.store.manifests import put_manifest
from registry.types import ModelId, Role
from registry.verification.verify import verify_version
from trainer.updates import commit_update, finalize_update, publish_update

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
    form_parameters={},
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
    assert facts.rest_root is not None
    genesis = VersionManifest(
        parent=None,
        weights=weights,
        tensor_root=facts.tensor_root,
        rest_root=facts.rest_root,
        state=None,
        base=None,
        frozen=(),
        aliases={},
        round=None,
        statement=None,
    )
    put_manifest(store, genesis)
    owner.register_model(digest_of(genesis), facts.tensor_root, facts.rest_root)
    model_id = owner.model_id(owner.account, digest_of(genesis))
    grants = [Grant(client.account, Role.PARTICIPANT) for client in participants]
    owner.grant_roles_batch(model_id, [*grants, Grant(aggregator.account, Role.AGGREGATOR)])
    publish_plan(owner, store, model_id, PLAN)
    owner.open_round(model_id, number=1)
    return Network(chain, store, model_id, owner, participants, aggregator, folder)


def take_part(net: Network, clock: Clock) -> None:
    """Let every participant commit, end commits, and let every participant publish."""
    record = read_round(net.owner, net.model_id, 1)
    prepared = []
    for k, client in enumerate(net.participants):
        place = net.folder / f"participant-{k}" / "round-1"
        place.mkdir(parents=True)
        clock.time("left out: writing updates", lambda file=place / "update.safetensors", k=k: write_update(file, k))
        data_set = DataSetManifest("synthetic", "", "CC0-1.0", "", k + 1, None)
        made = clock.time(
            "participants: hash updates",
            lambda p=place, c=client, k=k, d=data_set: finalize_update(
                p, record, c.account, weight=k + 1, steps=k + 1, data_set=d
            ),
        )
        clock.time("participants: commit", lambda c=client, made=made: commit_update(c, record, made))
        prepared.append(made)
    accounts = participants_of(net.owner, net.model_id)
    clock.time("owner: end commits", lambda: net.owner.end_commits(net.model_id, 1, accounts))
    for made in prepared:
        clock.time("participants: publish and pin updates", lambda made=made: publish_update(net.store, made))
        made.file.unlink()


@contextmanager
def timed(clock: Clock, module: ModuleType, steps: dict[str, str]) -> Iterator[None]:
    """Time calls of a module's functions, each by the step that it is."""
    with ExitStack() as stack:
        for name, step in steps.items():
            work = getattr(module, name)
            timer = partial(_timed, clock, step, work)
            stack.enter_context(patch.object(module, name, timer))
        yield


def _timed(clock: Clock, step: str, work: Callable[..., T], *arguments: object, **named: object) -> T:
    return clock.time(step, lambda: work(*arguments, **named))


def aggregate(net: Network, clock: Clock) -> None:
    """Take the aggregator's step; then let the challenge window pass and finalize."""
    steps = {
        "compute_outcome": "aggregator: fetch, check and combine updates, server step",
        "publish_outcome": "aggregator: publish aggregate and version",
        "keep_trees": "aggregator: trees of parent, aggregate and version",
        "attest": "aggregator: attest",
    }
    began, before = time.perf_counter(), sum(clock.seconds.values())
    with timed(clock, aggregator, steps):
        done = aggregator.advance(
            net.aggregator, net.store, net.folder / "aggregator", net.model_id, processes=PROCESSES
        )
    assert done == f"round 1: attested {UPDATES} contributions", done
    rest = time.perf_counter() - began - (sum(clock.seconds.values()) - before)
    clock.add("aggregator: manifests, pins, trees of updates", rest)
    warp(net.chain.w3, seconds=PLAN.challenge_duration + 1)
    record = read_round(net.owner, net.model_id, 1)
    result = chosen_result(net.owner, record)
    assert result is not None
    clock.time("anyone: finalize", lambda: net.owner.finalize_round(net.model_id, 1, result))


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


def play(store: ContentStore, chain: DevChain, folder: Path) -> tuple[dict[str, float], int]:
    """Play the round; return the seconds of each step, and the bytes of a version."""
    clock = Clock()
    net = prepare(chain, store, folder)
    for work in (take_part, aggregate, audit):
        work(net, clock)
    for step, seconds in clock.seconds.items():
        print(f"  {step}: {seconds:.2f} s", flush=True)
    steps = {step: seconds for step, seconds in clock.seconds.items() if not step.startswith("left out")}
    return steps, (folder / "genesis.safetensors").stat().st_size


def main() -> None:
    anvil = ROOT / "node_modules" / ".bin" / "anvil"
    figures, size = [], 0
    for where in sys.argv[1:] or ["kubo", "local"]:
        with ExitStack() as stack:
            folder = stack.enter_context(workspace("round"))
            chain = stack.enter_context(anvil_chain(anvil, "--accounts", str(UPDATES + 2), accounts=UPDATES + 2))
            store: ContentStore = LocalStore(folder / "store")
            if where == "kubo":
                node = stack.enter_context(kubo_node(folder / "kubo"))
                store = stack.enter_context(KuboStore(node.api, gateway=node.gateway))
            steps, size = play(store, chain, folder)
        what = f"a round of {UPDATES} × {size / 1e6:.0f} MB, {'Kubo' if where == 'kubo' else 'local stores'}"
        figures.append(Figure(f"{what}, all steps", sum(steps.values()), "s"))
        if where == "kubo":
            figures += [Figure(step, seconds, "s") for step, seconds in steps.items()]
    write_results("round", figures, update_bytes=size, updates=UPDATES)


if __name__ == "__main__":
    main()
