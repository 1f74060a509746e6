"""Benchmark of `cairn verify --deep` on a round of ten GPT-2-small updates, compared with hashing the same bytes.

Run as `python -m benchmarks.verify`; 15 GB of disk, which the page cache should hold, and anvil (`npm ci`). The blobs
are in a local store. The genesis is verified and cached beforehand, as it is in practice, so the benchmark measures one
round: judging and combining its updates, reading the parent, the server step, hashing aggregate and version, and
reading the stored files of both.

The upper bound is two processes that compute the hashes that these checks need: of every update, of the parent,
the aggregate and the version, sha2-256 of every block and the tensor root; of parent and version also the plain sha256;
and of the stored aggregate and version sha2-256 of every block once more.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.aggregate import LEAF, MEMORY_LIMIT, hash_chunks
from benchmarks.measure import at_most, in_turn, peak_memory, versus, workspace, write_results
from benchmarks.round import ROOT, UPDATES, Clock, Network, aggregate, prepare, take_part
from registry.content.manifest import UpdateManifest
from registry.dev.chains import anvil_chain
from registry.rounds.onchain import chosen_result, read_round
from registry.rounds.versions import load_version_manifest
from registry.store.blobs import leaf_cids
from registry.store.local import LocalStore
from registry.store.manifests import get_manifest
from registry.types import Blob

PROCESSES = 2


def verify(url: str, contract: bytes, model: bytes, store: Path, folder: Path) -> None:
    """Verify a model's head as the command does, with its genesis cached."""
    from registry.chain.client import Client
    from registry.ethereum.node import connect
    from registry.types import Address, ModelId
    from registry.verification.cache import VerificationCache
    from registry.verification.verify import verify_version

    client = Client(connect(url), Address(contract))
    head = client.model(ModelId(model)).head
    before = folder / "verified"
    if not before.is_dir():  # cache the genesis
        genesis = client.version(ModelId(model), head).parent
        kept = VerificationCache(before)
        for found in verify_version(
            client, LocalStore(store), ModelId(model), genesis, folder, deep=True, verified=kept
        ):
            assert found.passed
    held = folder / "held"
    shutil.rmtree(held, ignore_errors=True)
    shutil.copytree(before, held)
    kept = VerificationCache(held)
    found = list(verify_version(client, LocalStore(store), ModelId(model), head, folder, deep=True, verified=kept))
    assert [one.before for one in found] == [True, False] and all(one.passed for one in found)


def imports() -> None:
    """Import the modules that verifying and the node connection need."""
    import web3  # noqa: F401

    import registry.chain.client
    import registry.ethereum.node
    import registry.verification.cache
    import registry.verification.verify  # noqa: F401


def hash_alone(store: Path, rooted: Sequence[Blob], stored: Sequence[Blob], versions: Sequence[Blob]) -> None:
    """Compute the hashes that verification needs in two processes, which split each blob.

    Args:
        store: The store of the blobs.
        rooted: Blobs to hash by block and tensor root.
        stored: Blobs to hash by block only.
        versions: Blobs to hash as a whole, each in one process.
    """
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=_hash_share, args=(store, i, rooted, stored, versions[i::PROCESSES]))
        for i in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0


def _hash_share(
    folder: Path, share: int, rooted: Sequence[Blob], stored: Sequence[Blob], versions: Sequence[Blob]
) -> None:
    store, buffer = LocalStore(folder), memoryview(bytearray(LEAF))

    def leaves(blob: Blob, first: int = 0, step: int = 1) -> Iterator[memoryview]:
        for cid in leaf_cids(store, blob)[first::step]:
            with store.path_of(cid.digest).open("rb", buffering=0) as file:
                yield buffer[: file.readinto(buffer)]

    for blob in rooted:
        for leaf in leaves(blob, share, PROCESSES):
            hashlib.sha256(leaf).digest()
            hash_chunks(leaf)
    for blob in stored:
        for leaf in leaves(blob, share, PROCESSES):
            hashlib.sha256(leaf).digest()
    for blob in versions:
        plain = hashlib.sha256()
        for leaf in leaves(blob):
            plain.update(leaf)


def blobs_of(net: Network) -> tuple[list[Blob], list[Blob], list[Blob]]:
    """Return the blobs to hash by block and root, by block only, and as a whole."""
    record = read_round(net.owner, net.model_id, 1)
    result = chosen_result(net.owner, record)
    assert result is not None
    made = load_version_manifest(net.store, result.version_digest)
    parent = load_version_manifest(net.store, record.parent)
    assert made.round is not None
    aggregated = made.round.aggregate.blob
    updates = [get_manifest(net.store, c.digest, UpdateManifest).delta.blob for c in record.commitments]
    versions = [parent.weights.blob, made.weights.blob]
    return [*updates, aggregated, *versions], [aggregated, made.weights.blob], versions


def main() -> None:
    anvil = ROOT / "node_modules" / ".bin" / "anvil"
    with (
        workspace("verify") as folder,
        anvil_chain(anvil, "--accounts", str(UPDATES + 2), accounts=UPDATES + 2) as chain,
    ):
        net = prepare(chain, LocalStore(folder / "store"), folder)
        clock = Clock()
        take_part(net, clock)
        aggregate(net, clock)
        shutil.rmtree(folder / "aggregator")
        rooted, stored, versions = blobs_of(net)
        work = partial(verify, str(chain.url), net.owner.address, net.model_id, folder / "store", folder / "auditor")
        seconds = in_turn(
            {
                "verify --deep": work,
                "its hashes alone": partial(hash_alone, folder / "store", rooted, stored, versions),
            }
        )
        figure = versus(
            f"verify --deep, a round of {UPDATES} × {rooted[0].size / 1e6:.0f} MB",
            seconds["verify --deep"],
            "its hashes alone, 2 processes",
            seconds["its hashes alone"],
            amount=sum(blob.size for blob in rooted) / 1e9,
            unit="GB/s",
            target=0.75,
        )
        memory = at_most("memory, verify --deep", peak_memory(imports, work), "MB", MEMORY_LIMIT)
        write_results("verify", [figure, memory], updates=UPDATES)


if __name__ == "__main__":
    main()
