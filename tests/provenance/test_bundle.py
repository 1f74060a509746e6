"""Bundles verify offline and state which trusted block proves what."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registry.bundles.chain_proofs import state_proofs
from registry.bundles.create_bundle import Bundle, gather_bundle
from registry.bundles.verify_bundle import BundleVerdict, verify_bundle
from registry.chain.client import Client
from registry.chain.contract_events import ResultAttested, UpdateCommitted, VersionDeprecated
from registry.chain.deploy import deploy
from registry.chain.journal import Journal
from registry.chain.transactions import Transactor
from registry.content.car import write_car
from registry.content.manifest import Schema, decode, digest_of
from registry.content.proof_manifests import BlockProofManifest, BundleManifest, StateProofManifest
from registry.dev.chains import DevChain, anvil_chain, embedded_chain, geth_chain
from registry.dev.kubo_node import KuboNode
from registry.errors import InputError, VerificationFailed
from registry.ethereum.blocks import fetch_headers
from registry.lineage.graph import lineage
from registry.rounds.versions import add_version, save_arrays
from registry.store.base import ContentStore
from registry.store.car_store import CarStore, walk_links
from registry.store.manifests import put_manifest
from registry.store.memory import MemoryStore
from registry.types import Address, Cid, Digest, ModelId, Root
from registry.verification.verify import Finding, verify_version
from trainer.simulation import Simulation

PASSED, ASSERTED, UNCHECKED = Finding.PASSED, Finding.ASSERTED, Finding.UNCHECKED


@dataclass(frozen=True)
class Made:
    """A bundle in a file."""

    bundle: Bundle
    path: Path

    @property
    def trust(self) -> list[bytes]:
        return [point.hash for point in self.bundle.anchors]

    def verify(self, folder: Path, trust: Collection[bytes] | None = None) -> BundleVerdict:
        return verify_bundle(CarStore(self.path), self.trust if trust is None else trust, folder)


def made(path: Path, client: Client, store: ContentStore, model: ModelId, digest: bytes, **options: Any) -> Made:
    bundle = gather_bundle(client, store, model, digest, **options)
    with path.open("wb") as file:
        file.writelines(write_car(bundle.root, bundle.blocks))
    return Made(bundle, path)


def of(sim: Simulation, path: Path, **options: Any) -> Made:
    reader = Client(sim.w3, sim.owner.address)
    return made(path, reader, sim.store, sim.model_id, sim.owner.model(sim.model_id).head, **options)


@pytest.fixture(scope="module")
def whole(trained: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """With files, of a chain in process: there is no proof of state."""
    return of(trained, tmp_path_factory.mktemp("whole") / "whole.car", with_blobs=True)


@pytest.fixture(scope="module")
def slim(trained: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Without files."""
    return of(trained, tmp_path_factory.mktemp("slim") / "slim.car")


def findings(verdict: BundleVerdict, name: str) -> list[Finding]:
    return [check.finding for one in verdict.versions for check in one.checks if check.name == name]


def evidence(verdict: BundleVerdict, name: str) -> list[str]:
    return [check.evidence for one in verdict.versions for check in one.checks if check.name == name]


# In process: receipts and calls, no state ----------------------------------------------------------------------------


def test_a_bundle_with_files_gives_the_verdict_that_chain_and_store_give(
    trained: Simulation, whole: Made, tmp_path: Path
) -> None:
    verdict = whole.verify(tmp_path)
    head = trained.owner.model(trained.model_id).head
    direct = list(verify_version(trained.owner, trained.store, trained.model_id, head, tmp_path))
    assert verdict.passed
    assert [[(c.name, c.finding) for c in one.checks] for one in verdict.versions] == [
        # A bundle proves that commitments stand in their round, and has no history of roles beside it.
        [(c.name, c.finding) for c in one.checks if c.name != "eligibility"]
        for one in direct
    ]
    assert [replace(one.step, block=0) for one in verdict.versions] == [replace(one.step, block=0) for one in direct]
    assert [one.step.block for one in verdict.versions] == [one.step.block for one in direct]


def test_without_files_arithmetic_is_asserted_and_never_passed(slim: Made, tmp_path: Path) -> None:
    verdict = slim.verify(tmp_path)
    assert verdict.passed
    assert findings(verdict, "arithmetic") == [ASSERTED, ASSERTED]
    assert findings(verdict, "contributions") == [PASSED, PASSED]
    assert [one.finding for one in verdict.versions] == [ASSERTED] * 3
    assert not [name for name in ("aggregate", "server step") if findings(verdict, name)]


def test_calls_stand_in_for_state_that_nobody_proved(slim: Made, tmp_path: Path) -> None:
    verdict = slim.verify(tmp_path)
    assert not slim.bundle.state
    assert all("accepts with this running hash only" in text for text in evidence(verdict, "commitments"))
    assert all("accepts with this result only" in text for text in evidence(verdict, "quorum"))
    assert all("that it was not deprecated since is not proved" in text for text in evidence(verdict, "anchor"))
    attested = [entry.event for entry in verdict.events if isinstance(entry.event, ResultAttested)]
    for step, text in zip(list(verdict.versions)[1:], evidence(verdict, "quorum"), strict=True):
        own = [event for event in attested if event.result.version_digest == step.step.digest]
        assert own and all(f"0x{event.aggregator.hex()[:8]}" in text for event in own)
    contract = next(check for check in verdict.checks if check.name == "contract")
    assert (contract.finding, "is assumed" in contract.evidence) == (ASSERTED, True)


def test_the_contract_that_is_meant_is_known_by_its_address_alone(slim: Made, tmp_path: Path) -> None:
    meant = Address(slim.verify(tmp_path).manifest.contract)
    for address, finding in ((meant, Finding.PASSED), (Address(meant[::-1]), Finding.FAILED)):
        verdict = verify_bundle(CarStore(slim.path), slim.trust, tmp_path, contract=address)
        (contract,) = [check for check in verdict.checks if check.name == "contract"]
        assert (verdict.passed, contract.finding) == (finding is Finding.PASSED, finding)


def test_every_event_is_told_with_the_block_that_proves_it(slim: Made, tmp_path: Path) -> None:
    verdict = slim.verify(tmp_path)
    assert len(verdict.events) == slim.bundle.events == 18
    assert {entry.trusted for entry in verdict.events} == set(slim.bundle.anchors)
    numbers = [entry.event.at.block_number for entry in verdict.events]
    assert numbers == sorted(numbers)


def test_no_trusted_hash_is_an_error_and_another_is_refused_with_what_it_hangs_on(slim: Made, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected one trusted block hash"):
        slim.verify(tmp_path, [])
    with pytest.raises(VerificationFailed, match=f"anchored in block .*0x{slim.trust[0].hex()}"):
        slim.verify(tmp_path, [bytes(32)])


def test_an_older_trusted_block_proves_what_came_before_it_and_no_more(
    trained: Simulation, slim: Made, tmp_path: Path
) -> None:
    first = lineage(trained.owner, trained.model_id, trained.owner.model(trained.model_id).head)[1]
    block: Any = trained.w3.eth.get_block(first.block)
    verdict = slim.verify(tmp_path, [bytes(block["hash"])])
    assert not verdict.passed
    assert findings(verdict, "anchor") == [PASSED, PASSED, UNCHECKED]
    assert findings(verdict, "commitments") == findings(verdict, "quorum") == [PASSED, UNCHECKED]
    assert ["proved attesters: none" in text for text in evidence(verdict, "quorum")] == [False, True]
    loose = [entry for entry in verdict.events if entry.trusted is None]
    assert loose and all(entry.event.at.block_number > first.block for entry in loose)
    assert "no trusted block proves RoundFinalized in block" in evidence(verdict, "anchor")[2]


def test_far_blocks_hang_on_trusted_blocks_of_their_own(trained: Simulation, tmp_path: Path) -> None:
    spread = of(trained, tmp_path / "spread.car", max_gap=1)
    assert len(spread.trust) > 1
    assert spread.verify(tmp_path).passed
    for left_out in range(len(spread.trust)):
        some = [point for at, point in enumerate(spread.trust) if at != left_out]
        assert any(entry.trusted is None for entry in spread.verify(tmp_path, some).events)


def test_a_genesis_and_a_first_round_have_bundles_of_their_own(trained: Simulation, tmp_path: Path) -> None:
    steps = lineage(trained.owner, trained.model_id, trained.owner.model(trained.model_id).head)
    for count, step in enumerate(steps, 1):
        one = made(tmp_path / f"{count}.car", trained.owner, trained.store, trained.model_id, step.digest)
        verdict = one.verify(tmp_path)
        assert (verdict.passed, len(verdict.versions)) == (True, count)
        commits = [e for e in verdict.events if isinstance(e.event, UpdateCommitted)]
        assert len(commits) == 2 * (count - 1)


def test_a_genesis_that_descends_from_another_model_says_that_it_does_and_no_more(tmp_path: Path) -> None:
    with embedded_chain() as chain:
        it = published_model(chain, tmp_path)
        version = add_version(it.store, tmp_path / "version.safetensors", parent=it.versions[1])
        it.client.register_model(digest_of(version), Root(version.tensor_root), Root(version.rest_root))
        model = it.client.model_id(it.client.account, digest_of(version))
        verdict = made(tmp_path / "own.car", it.client, it.store, model, digest_of(version)).verify(tmp_path)
        other = made(tmp_path / "other.car", it.client, it.store, it.model, it.versions[1]).verify(tmp_path)
    said = f"descends from 0x{it.versions[1].hex()[:12]} of another model, of which nothing is proved here"
    assert (verdict.passed, said in verdict.checks[0].evidence) == (True, True)
    assert (other.passed, "descends" in other.checks[0].evidence) == (True, False)


# Real nodes ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Owned:
    """A model whose owner has published versions, on some chain."""

    client: Client
    store: MemoryStore
    model: ModelId
    versions: list[Digest]


def published_model(chain: DevChain, folder: Path) -> Owned:
    """Register a model, publish two versions and deprecate the first of them."""
    store, signer = MemoryStore(), chain.signers[0]
    maker = Transactor(chain.w3, signer, Journal(None), chain_id=chain.w3.eth.chain_id)
    place = deploy(chain.w3, maker, chain_id=chain.w3.eth.chain_id)
    client = Client(chain.w3, place.address, signer=signer, journal=Journal(None), deployed_at=place.block)
    digests: list[Digest] = []
    model = ModelId(b"")
    for number in range(3):
        save_arrays(folder / "version.safetensors", {"w": np.full((3, 5), number, np.float32)})
        version = add_version(store, folder / "version.safetensors", parent=digests[-1] if digests else None)
        digest, roots = digest_of(version), (Root(version.tensor_root), Root(version.rest_root))
        if digests:
            client.publish_version(model, digests[-1], digest, *roots)
        else:
            client.register_model(digest, *roots)
            model = client.model_id(client.account, digest)
        digests.append(digest)
    client.deprecate_version(model, digests[1], Digest(b"\x01" * 32))
    return Owned(client, store, model, digests)


@pytest.fixture(scope="module", params=["embedded", "anvil", "geth"])
def owned(
    request: pytest.FixtureRequest, find_tool: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Owned]]:
    starters = {
        "embedded": embedded_chain,
        "anvil": lambda: anvil_chain(find_tool("anvil")),
        "geth": lambda: geth_chain(find_tool("geth")),
    }
    with starters[request.param]() as chain:  # type: ignore[operator]
        yield request.param, published_model(chain, tmp_path_factory.mktemp("owned"))


@pytest.mark.node
@pytest.mark.slow
def test_each_node_gives_a_bundle_that_verifies(owned: tuple[str, Owned], tmp_path: Path) -> None:
    name, it = owned
    one = made(tmp_path / "owned.car", it.client, it.store, it.model, it.versions[2], with_blobs=True)
    verdict = one.verify(tmp_path)
    assert verdict.passed
    assert one.bundle.state is (name != "embedded")
    assert [one.step.deprecated for one in verdict.versions] == [False, True, False]
    assert [check.finding for check in verdict.checks] == [PASSED, PASSED if one.bundle.state else ASSERTED, PASSED]


@pytest.mark.node
@pytest.mark.slow
def test_a_deprecation_that_is_left_out_shows_where_state_is_proved(owned: tuple[str, Owned], tmp_path: Path) -> None:
    name, it = owned
    one = made(tmp_path / "owned.car", it.client, it.store, it.model, it.versions[2])
    store = CarStore(one.path)
    manifest = decode(store.get(store.root), BundleManifest)
    event = next(iter(it.client.events(VersionDeprecated, subject=it.model)))
    proofs = [decode(store.get(link), BlockProofManifest) for link in manifest.blocks]
    kept = [proof for proof in proofs if proof.number != event.at.block_number]
    assert len(kept) == len(proofs) - 1
    verdict = remade(one, tmp_path / "less.car", blocks=kept).verify(tmp_path)
    if name == "embedded":
        assert verdict.passed
        assert "that it was not deprecated since is not proved" in evidence(verdict, "anchor")[1]
        return
    (failed,) = (check for check in verdict.versions[1].checks if check.finding is Finding.FAILED)
    assert "version: deprecated: expected True, got False" in failed.evidence


@pytest.fixture(scope="module")
def on_anvil(
    find_tool: Callable[[str], Path], simulated: Callable[..., Simulation], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Simulation]:
    """Two rounds on anvil, which proves its state."""
    with anvil_chain(find_tool("anvil")) as chain:
        yield simulated(chain, tmp_path_factory.mktemp("anvil"))


@pytest.mark.node
@pytest.mark.slow
def test_state_of_one_trusted_block_proves_rounds_whose_events_nothing_links_to_it(
    on_anvil: Simulation, tmp_path: Path
) -> None:
    one = of(on_anvil, tmp_path / "far.car", with_blobs=True, max_gap=1)
    verdict = one.verify(tmp_path, one.trust[-1:])
    assert one.bundle.state
    assert verdict.passed
    assert all(check.finding is PASSED for version in verdict.versions for check in version.checks)
    for name in ("anchor", "commitments", "quorum"):
        assert all("the state of block" in text for text in evidence(verdict, name))
    assert "though not since when" in evidence(verdict, "anchor")[0]
    events = next(check for check in verdict.checks if check.name == "events")
    assert events.finding is PASSED
    assert "by no trusted block: they count where the state of block" in events.evidence


def remade(one: Made, path: Path, **changed: Any) -> Made:
    """A bundle with other fields, each part given as what it is, in good form again."""
    parts, store = MemoryStore(), CarStore(one.path)

    def put(part: Schema) -> Cid:
        return put_manifest(parts, part)

    fields = {name: tuple(map(put, part)) if isinstance(part, list) else part for name, part in changed.items()}
    root = put(replace(decode(store.get(store.root), BundleManifest), **fields))
    with path.open("wb") as file:
        file.writelines(write_car(root, walk_links(lambda cid: (parts if parts.has(cid) else store).get(cid), root)))
    return replace(one, path=path)


@pytest.mark.node
@pytest.mark.slow
def test_state_that_is_not_the_lineage_s_is_refused(on_anvil: Simulation, tmp_path: Path) -> None:
    one, path = of(on_anvil, tmp_path / "one.car"), tmp_path / "other.car"
    store, w3 = CarStore(one.path), on_anvil.w3
    manifest = decode(store.get(store.root), BundleManifest)
    proofs = [decode(store.get(link), StateProofManifest) for link in manifest.state]
    (header,) = fetch_headers(w3, [proofs[0].number])
    slots = [int.from_bytes(slot, "big") for proof in proofs for slot in proof.slots]

    def asked(address: Address, wanted: list[int]) -> list[StateProofManifest]:
        return list(state_proofs(w3, header, address, wanted))

    assert remade(one, path, state=asked(on_anvil.owner.address, slots)).verify(tmp_path).passed
    with pytest.raises(VerificationFailed, match="got 1"):
        remade(one, path, state=asked(on_anvil.owner.address, slots[:1])).verify(tmp_path)
    with pytest.raises(VerificationFailed, match="words of the lineage, got"):
        remade(one, path, state=asked(on_anvil.owner.address, [*slots, 5])).verify(tmp_path)
    with pytest.raises(VerificationFailed, match="trie proof: expected a node"):
        remade(one, path, state=asked(on_anvil.owner.challenges(), slots)).verify(tmp_path)
    with pytest.raises(VerificationFailed, match="trie proof: expected a node"):
        remade(one, path, state=[replace(proof, number=proof.number - 1) for proof in proofs]).verify(tmp_path)
    other_code = remade(one, path, code=manifest.headers[0])  # some bytes that are there
    with pytest.raises(VerificationFailed, match="to have code of hash"):
        other_code.verify(tmp_path)


@pytest.mark.node
def test_kubo_takes_a_bundle_as_it_is_and_gives_the_same_bytes_back(
    whole: Made, slim: Made, kubo: KuboNode, ipfs_program: Path
) -> None:
    environment = {**os.environ, "IPFS_PATH": str(kubo.repo)}

    def ipfs(*arguments: str) -> bytes:
        done = subprocess.run([ipfs_program, *arguments], env=environment, capture_output=True, check=True, timeout=60)
        return done.stdout

    for one in (slim, whole):
        ipfs("dag", "import", str(one.path))
        root = str(one.bundle.root)
        assert root in ipfs("pin", "ls", "--type=recursive", "-q").decode()
        assert ipfs("dag", "export", "--progress=false", root) == one.path.read_bytes()
