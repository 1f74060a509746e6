"""One round in one process and the same round in six: on an embedded chain and memory, on anvil and two Kubo nodes.

What is named by its bytes alone is equal everywhere; digests too, where chain and contract are.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from registry.chain.client import Client
from registry.content.manifest import ReportManifest, UpdateManifest
from registry.content.merkle import tensor_root
from registry.content.tensors import parse_header
from registry.dev.chains import anvil_chain
from registry.rounds.aggregation import combine, leaves_of_file
from registry.rounds.onchain import chosen_result, read_round
from registry.rounds.versions import load_version_manifest
from registry.rules.combine import weighted_mean
from registry.rules.table import EXAMPLES, MEAN, Combining
from registry.store.base import ContentStore
from registry.store.blobs import open_blob
from registry.store.manifests import get_manifest
from registry.store.memory import MemoryStore
from registry.types import Blob, Cid, ModelId
from trainer.simulation import simulate_round, start

pytestmark = pytest.mark.xdist_group("networks")  # they share two runs

ROUNDS = 2
PARTICIPANTS = 3


@dataclass(frozen=True, slots=True)
class Named:
    """What a round's bytes are called: the updates in commit order, the aggregate, the version."""

    updates: tuple[tuple[Cid, bytes, int], ...]
    aggregate: tuple[Cid, bytes]
    contributions: int
    version: tuple[Cid, bytes]


@dataclass(frozen=True, slots=True)
class Ran:
    """A run of rounds: what everything is called, and the files of its last round."""

    rounds: tuple[Named, ...]
    digests: tuple[bytes, ...]
    updates: tuple[Path, ...]
    aggregate: Path


def named(client: Client, store: ContentStore, model_id: ModelId, number: int) -> tuple[Named, list[UpdateManifest]]:
    """Read a round as a stranger does."""
    record = read_round(client, model_id, number)
    result = chosen_result(client, record)
    assert result is not None
    report = get_manifest(store, result.report_digest, ReportManifest)
    version = load_version_manifest(store, result.version_digest)
    updates = [get_manifest(store, c.digest, UpdateManifest) for c in record.commitments]
    assert report.aggregate.tensor_root == result.aggregate_root
    names = Named(
        updates=tuple((u.delta.cid, u.delta.tensor_root, u.weight) for u in updates),
        aggregate=(report.aggregate.cid, report.aggregate.tensor_root),
        contributions=result.contributions,
        version=(version.weights.cid, version.weights.sha256),
    )
    return names, updates


def ran(client: Client, store: ContentStore, model_id: ModelId, folder: Path) -> Ran:
    """Read a run, and keep the files of its last round."""
    rounds, digests = [], []
    updates: list[UpdateManifest] = []
    for number in range(1, ROUNDS + 1):
        names, updates = named(client, store, model_id, number)
        rounds.append(names)
        result = chosen_result(client, read_round(client, model_id, number))
        assert result is not None
        digests.append(result.version_digest)
    folder.mkdir()
    files = []
    for i, update in enumerate(updates):
        files.append(_fetched(store, update.delta.blob, folder / f"{i}.safetensors"))
    report = get_manifest(store, result.report_digest, ReportManifest)
    aggregate = _fetched(store, report.aggregate.blob, folder / "aggregate.safetensors")
    return Ran(tuple(rounds), tuple(digests), tuple(files), aggregate)


def _fetched(store: ContentStore, blob: Blob, path: Path) -> Path:
    with path.open("wb") as file:
        file.writelines(open_blob(store, blob))
    return path


@pytest.fixture(scope="module")
def embedded_run(actors: ModuleType, plan_of: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The rounds in this process: an embedded chain, a store in memory."""
    torch.set_num_threads(1)
    folder, store = tmp_path_factory.mktemp("embedded"), MemoryStore()
    tasks = {f"participant-{i}": actors.task(i, True) for i in range(PARTICIPANTS)}
    module = actors.module(True)
    sim = start(module, tasks, plan_of(module, PARTICIPANTS, 2), store, folder / "sim")
    for _ in range(ROUNDS):
        simulate_round(sim)
    return ran(sim.owner, store, sim.model_id, folder / "files")


@pytest.fixture(scope="module")
def kubo_run(
    make_network: Callable[..., Any],
    find_tool: Callable[[str], Path],
    kubo_pair: Sequence[Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Ran, Any, str]]:
    """The rounds in five processes: anvil, participants on one Kubo node, aggregators on the other."""
    folder = tmp_path_factory.mktemp("kubo-run")
    with anvil_chain(find_tool("anvil")) as chain:
        stores = [f"kubo:{node.api}" for node in kubo_pair]
        network = make_network(chain, folder / "network", stores=stores, large=True)
        with network.processes():
            network.run(ROUNDS)
        yield ran(network.owner, network.store, network.model_id, folder / "files"), network, stores[1]


@pytest.mark.slow
@pytest.mark.node
def test_blobs_and_roots_are_the_same_embedded_and_on_anvil_and_kubo(
    embedded_run: Ran, kubo_run: tuple[Ran, Any, str]
) -> None:
    found, network, _ = kubo_run
    assert found.rounds == embedded_run.rounds
    assert all(entry.contributions == PARTICIPANTS for entry in found.rounds)
    assert found.aggregate.stat().st_size > 1 << 20  # more than one leaf
    assert found.digests != embedded_run.digests  # other chain, other contract
    assert network.finalized() == list(found.digests)


@pytest.mark.slow
@pytest.mark.node
def test_digests_are_the_same_on_two_chains_of_one_id_and_address_whatever_the_store(
    kubo_run: tuple[Ran, Any, str],
    make_network: Callable[..., Any],
    find_tool: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    found, network, _ = kubo_run
    with anvil_chain(find_tool("anvil")) as chain:
        other = make_network(chain, tmp_path / "network", stores=[str(tmp_path / "store")], large=True)
        with other.forked():
            other.run(ROUNDS)
        assert other.model_id == network.model_id
        assert tuple(other.finalized()) == found.digests


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_aggregate_is_the_same_in_any_number_of_processes_and_any_order(
    processes: int, order: Sequence[int], embedded_run: Ran, tmp_path: Path
) -> None:
    last = embedded_run.rounds[-1]
    data = embedded_run.updates[0].read_bytes()
    header = data[: parse_header(data, len(data)).header_bytes]
    made = combine(
        [leaves_of_file(embedded_run.updates[i], len(data)) for i in order],
        [last.updates[i][2] for i in order],
        header,
        len(data),
        grid_bits=20,
        combining=Combining(MEAN, EXAMPLES),
        out=tmp_path / "aggregate",
        processes=processes,
    )
    assert (made.cid, made.tensor_root) == last.aggregate
    assert [(facts.cid, facts.tensor_root) for facts in made.updates] == [last.updates[i][:2] for i in order]
    assert (tmp_path / "aggregate").read_bytes() == embedded_run.aggregate.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("by", ["numpy", "torch", "integers"])
def test_aggregate_is_the_same_by_numpy_torch_and_integers(by: str, threads: int, embedded_run: Ran) -> None:
    last = embedded_run.rounds[-1]
    weights = [weight for _, _, weight in last.updates]
    updates = [_values(path) for path in embedded_run.updates]
    if by == "numpy":
        made = weighted_mean(updates[::-1], weights[::-1], 20)
    elif by == "torch":
        torch.set_num_threads(threads)
        integers = [torch.from_numpy(values.copy()).double() * 2**20 for values in updates]
        total = torch.stack([q * n for q, n in zip(integers, weights, strict=True)]).sum(0)
        made = ((total / sum(weights)).round() * 2.0**-20 + 0.0).float().numpy()
        torch.set_num_threads(1)
    else:
        made = _by_integers(updates, weights)
    assert tensor_root(made.tobytes()) == last.aggregate[1]


def _values(path: Path) -> np.ndarray:
    data = path.read_bytes()
    return np.frombuffer(data, dtype="<f4", offset=parse_header(data, len(data)).header_bytes)


def _by_integers(updates: Sequence[np.ndarray], weights: Sequence[int]) -> np.ndarray:
    """The definition, in Python's integers; equal columns are computed once."""
    columns = np.stack([(values.astype(np.float64) * 2**20).astype(np.int64) for values in updates])
    distinct, place = np.unique(columns, axis=1, return_inverse=True)
    means = [
        round(Fraction(sum(n * int(q) for n, q in zip(weights, column, strict=True)), sum(weights)))  # half to even
        for column in distinct.T
    ]
    return np.array([mean / 2**20 for mean in means], dtype=np.float32)[place.reshape(-1)]


WITHOUT_TORCH = """
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "trainer"):
            raise ImportError(f"{name} is not to be had here")
sys.meta_path.insert(0, NoTorch())
from pathlib import Path
from registry.chain.client import Client
from registry.ethereum.node import connect
from registry.verification.verify import verify_version
from registry.store.uri import open_store
url, contract, block, model, store, folder = sys.argv[1:]
client = Client(connect(url), bytes.fromhex(contract), deployed_at=int(block))
model_id = bytes.fromhex(model)
head = client.model(model_id).head
for version in verify_version(client, open_store(store), model_id, head, Path(folder)):
    print(version.step.round, version.passed)
assert not {"torch", "trainer"} & set(sys.modules)
"""


@pytest.mark.slow
@pytest.mark.node
def test_a_stranger_without_torch_verifies_what_the_processes_anchored(
    kubo_run: tuple[Ran, Any, str], tmp_path: Path
) -> None:
    _, network, store = kubo_run
    settings = network.settings
    arguments = [settings.url, settings.contract, str(settings.block), settings.model_id, store, str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:-1] == ["0 True", "1 True", "2 True"]
