"""Offline verification of a bundle: a version's lineage with its chain proofs in one file.

`registry.store.car_store` first hashes every block of the file. Then each proof is verified against its block's header,
and `registry.verification` runs over the proven chain. Each check states the trusted block that proves it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from registry.bundles.chain_proofs import BlockFacts, read_block_proof, read_state_proof
from registry.bundles.create_bundle import lineage_content, lineage_events, lineage_slots
from registry.bundles.footing import Footing
from registry.bundles.header_links import HeaderChain, headers_in
from registry.bundles.proven_chain import ProvenChain, read_transactions
from registry.chain.contract_events import ModelRegistered
from registry.chain.contract_hashes import model_id_of
from registry.chain.contracts import artifact
from registry.chain.deploy import masked
from registry.content.manifest import M, decode
from registry.content.proof_manifests import BlockProofManifest, BundleManifest, BundlePage, StateProofManifest
from registry.errors import FormError, InputError, VerificationFailed
from registry.ethereum.blocks import Checkpoint
from registry.ethereum.hashing import keccak
from registry.ethereum.headers import Header
from registry.ethereum.positions import Event
from registry.lineage.graph import VersionNode, lineage
from registry.rounds.versions import load_version_manifest
from registry.store.car_store import CarStore
from registry.types import Address, Cid, Codec, Digest, ModelId
from registry.verification.verify import Check, Finding, Verification, verify_version

__all__ = ["BundleVerdict", "ProvenEvent", "verify_bundle"]


@dataclass(frozen=True, slots=True)
class ProvenEvent:
    """An event of a bundle with the trusted block that proves it; None if none does."""

    event: Event
    trusted: Checkpoint | None


@dataclass(frozen=True, slots=True)
class BundleVerdict:
    """The verdict on a bundle.

    Attributes:
        manifest: The bundle's root manifest.
        anchors: The last block of each run of headers: trusting all of their hashes proves everything.
        events: The events that the lineage depends on, in order.
        checks: Checks of the bundle as a whole.
        versions: Verification of each version, genesis first; descendants of an unproved version are not checked.
    """

    manifest: BundleManifest
    anchors: tuple[Checkpoint, ...]
    events: tuple[ProvenEvent, ...]
    checks: tuple[Check, ...]
    versions: tuple[Verification, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed and nothing is unchecked; an asserted check counts as passed."""
        findings = [check.finding for check in self.checks] + [one.finding for one in self.versions]
        return all(finding in (Finding.PASSED, Finding.ASSERTED) for finding in findings)


@dataclass(frozen=True, slots=True)
class _Proofs:
    """The facts that a bundle's proofs prove, each of a block with a header.

    `state` is the block whose state a trusted block proves, and `words` its storage; None and empty without one.
    """

    headers: HeaderChain
    chain: ProvenChain
    state: int | None
    words: dict[int, int]


def verify_bundle(
    store: CarStore,
    trust: Collection[bytes],
    folder: Path,
    *,
    contract: Address | None = None,
    progress: Callable[[VersionNode, int], None] | None = None,
) -> BundleVerdict:
    """Verify a bundle against trusted block hashes.

    Args:
        store: The opened file, whose every block has been hashed.
        trust: Trusted block hashes; there is no default.
        folder: Scratch space for the files of a recomputed round.
        contract: The expected contract, if known from elsewhere.
        progress: See `verify_version`.

    Raises:
        FormError: The file is not a bundle, or contains what a valid one may not.
        BlockNotFound: The file lacks a block that every bundle has.
        VerificationFailed: A proof is invalid, the events lack the version, or no header has a trusted hash.
        InputError: `trust` is empty.
    """
    if not trust:
        raise InputError("expected one trusted block hash or more, got none")
    manifest = decode(store.get(store.root), BundleManifest)
    model = ModelId(manifest.model)
    proofs = _read_proofs(store, manifest, trust)
    steps = _lineage(proofs.chain, model, manifest.version)
    events = lineage_events(proofs.chain, steps)
    _require_no_more(proofs, steps, events)
    behind = proofs.headers.behind
    footing = Footing(proofs.chain, behind, proofs.state)
    files = manifest.blobs is not None
    run = verify_version(proofs.chain, store, model, manifest.version, folder, files=files, progress=progress)
    versions = _grounded(run, footing, steps)
    origin = None
    anchored = all(one.checks[0].finding is Finding.PASSED for one in versions)
    if anchored and not any(one.finding is Finding.FAILED for one in versions):
        _require_content(store, manifest, proofs.chain, steps)
        origin = load_version_manifest(store, steps[0].digest).parent
    return BundleVerdict(
        manifest=manifest,
        anchors=proofs.headers.ends,
        events=tuple(ProvenEvent(event, behind(event.at.block_number)) for event in events),
        checks=(
            _model(manifest, steps[0].digest, events, origin),
            _contract(store, manifest, proofs, contract),
            _events(proofs, events),
        ),
        versions=versions,
    )


def _lineage(chain: ProvenChain, model: ModelId, version: bytes) -> list[VersionNode]:
    try:
        return lineage(chain, model, version)
    except InputError as error:
        raise VerificationFailed(f"bundle: {error}") from error


def _grounded(run: Iterator[Verification], footing: Footing, steps: Sequence[VersionNode]) -> tuple[Verification, ...]:
    """Verify versions up to the first unproved one: the file's author may have invented what follows."""
    found: list[Verification] = []
    for one in run:
        found.append(footing.grounded(one))
        if found[-1].checks[0].finding is not Finding.PASSED:
            break
    unseen = Check("anchor", Finding.UNCHECKED, "not checked: an ancestor is not proved")
    return (*found, *(Verification(step, (unseen,)) for step in steps[len(found) :]))


def _read_proofs(store: CarStore, manifest: BundleManifest, trust: Collection[bytes]) -> _Proofs:
    proofs = list(_each(store, manifest.blocks, BlockProofManifest))
    parts = list(_each(store, manifest.state, StateProofManifest))
    states = {part.number for part in parts}
    if len(states) > 1:
        raise VerificationFailed(f"state: expected proof of one block, got of {sorted(states)[:2]}")
    needed = states | {proof.number for proof in proofs}
    headers = HeaderChain(_headers(store, manifest), needed, frozenset(trust))
    if not headers.trusted:
        ends = ", ".join(f"{end.number} 0x{end.hash.hex()}" for end in headers.ends)
        raise VerificationFailed(
            f"expected a header with a trusted hash, got none: this bundle is anchored in block {ends}"
        )
    if loose := [number for number in headers.starts if number not in needed]:
        raise VerificationFailed(f"headers: expected none before what is proved, got block {loose[0]}")
    state = next((number for number in states if headers.behind(number)), None)
    words = {} if state is None else dict(_words(store, manifest, headers.header(state), parts))
    address = Address(manifest.contract)
    transactions = [
        each if headers.behind(number) else replace(each, call=None)
        for number, found in _facts(proofs, headers).items()
        for each in read_transactions(address, headers.header(number), found)
    ]
    top = headers.ends[-1].number
    chain = ProvenChain(manifest.chain_id, address, transactions, top, None if state is None else words)
    return _Proofs(headers, chain, state, words)


def _headers(store: CarStore, manifest: BundleManifest) -> Iterator[Header]:
    for link in manifest.headers:
        yield from headers_in(store.get(link))


def _facts(proofs: Iterable[BlockProofManifest], headers: HeaderChain) -> dict[int, BlockFacts]:
    """Merge the proven transactions of each block from all its manifests."""
    found: dict[int, BlockFacts] = {}
    for proof in proofs:
        part = read_block_proof(headers.header(proof.number), proof)
        known = found.setdefault(proof.number, BlockFacts({}, {}))
        if known.receipts.keys() & part.receipts or known.calls.keys() & part.calls:
            raise VerificationFailed(f"block {proof.number}: expected each proof once, got one twice")
        known.receipts.update(part.receipts)
        known.calls.update(part.calls)
    return found


def _words(
    store: CarStore, manifest: BundleManifest, header: Header, parts: Iterable[StateProofManifest]
) -> Iterator[tuple[int, int]]:
    """Yield the proven words of the contract's storage, by slot."""
    address, code = Address(manifest.contract), keccak(_code(store, manifest))
    for proof in parts:
        state = read_state_proof(header, address, proof)
        if state.account is None or state.account.code_hash != code:
            raise VerificationFailed(
                f"state: expected 0x{address.hex()} to have code of hash {code.hex()}, got another"
            )
        yield from zip((int.from_bytes(slot, "big") for slot in proof.slots), state.words, strict=True)


def _require_no_more(proofs: _Proofs, steps: Sequence[VersionNode], events: Sequence[Event]) -> None:
    """Refuse proofs that the lineage does not depend on, such as of another model."""
    ours = set(events)
    for each in proofs.chain.transactions:
        if ours.isdisjoint(each.events):
            raise VerificationFailed(f"block {each.block}: transaction {each.index} is unrelated to the lineage")
    expected = lineage_slots(steps)
    if proofs.state is not None and sorted(proofs.words) != expected:
        raise VerificationFailed(f"state: expected the {len(expected)} words of the lineage, got {len(proofs.words)}")


def _require_content(
    store: CarStore, manifest: BundleManifest, chain: ProvenChain, steps: Sequence[VersionNode]
) -> None:
    """Require exactly the manifests and blobs that the lineage names."""
    named = lineage_content(chain, store, steps)
    pages = {"manifests": (manifest.manifests, [Cid(Codec.RAW, digest) for digest in named.manifests])}
    if manifest.blobs is not None:
        pages["blobs"] = (manifest.blobs, list(named.blobs))
    for name, (links, expected) in pages.items():
        held = [entry for page in _each(store, links, BundlePage) for entry in page.entries]
        if held != expected:
            raise FormError(f"bundle: expected the {len(expected)} {name} of the lineage in order, got {len(held)}")


def _model(manifest: BundleManifest, genesis: Digest, events: Sequence[Event], origin: Cid | None) -> Check:
    """Check the model's id against chain, contract and genesis; `origin` is the parent that a genesis claims."""
    registered = next((event for event in events if isinstance(event, ModelRegistered)), None)
    if registered is None:
        return Check("model", Finding.UNCHECKED, "expected ModelRegistered, got no proof of one")
    expected = model_id_of(manifest.chain_id, Address(manifest.contract), registered.owner, genesis)
    if expected != manifest.model:
        return Check("model", Finding.FAILED, f"expected the id 0x{expected.hex()}, got 0x{manifest.model.hex()}")
    said = f"its id is of chain {manifest.chain_id}, this contract and its genesis"
    if origin is not None:
        said += f"; that descends from 0x{origin.digest.hex()[:12]} of another model, of which nothing is proved here"
    return Check("model", Finding.PASSED, said)


def _events(proofs: _Proofs, events: Sequence[Event]) -> Check:
    """Count the events that each trusted block proves. An event that none proves is the file author's word."""
    behind = proofs.headers.behind
    counts = Counter(behind(event.at.block_number) for event in events)
    said = [f"{counts[p]} by trusted block {p.number} 0x{p.hash.hex()}" for p in proofs.headers.trusted if counts[p]]
    told = f"of {len(events)} are proved {', '.join(said) or 'none'}"
    if not counts[None]:
        return Check("events", Finding.PASSED, told)
    point = None if proofs.state is None else behind(proofs.state)
    if point is None:
        return Check("events", Finding.UNCHECKED, f"{told}, {counts[None]} by no trusted block")
    return Check(
        "events",
        Finding.PASSED,
        f"{told}, {counts[None]} by no trusted block: they count where the state of block {proofs.state}, "
        f"proved by trusted block {point.number} 0x{point.hash.hex()}, says the same",
    )


def _contract(store: CarStore, manifest: BundleManifest, proofs: _Proofs, meant: Address | None) -> Check:
    """Check that the contract is the expected one, else that its code is a Cairn's, immutables aside."""
    where = f"0x{manifest.contract.hex()}"
    if meant is not None:
        if meant != manifest.contract:
            return Check("contract", Finding.FAILED, f"expected contract 0x{meant.hex()}, got a bundle of {where}")
        return Check("contract", Finding.PASSED, f"{where}, as was asked for")
    point = None if proofs.state is None else proofs.headers.behind(proofs.state)
    if point is None:
        return Check(
            "contract",
            Finding.ASSERTED,
            f"that {where} is a Cairn is assumed: no trusted state proves its code; you must know its address",
        )
    ours, code = artifact("Cairn"), _code(store, manifest)
    if len(code) != len(ours.deployed_bytecode) or masked(code, ours.immutables) != ours.deployed_bytecode:
        return Check("contract", Finding.UNCHECKED, f"{where} has other code than the Cairn of this release")
    return Check(
        "contract",
        Finding.PASSED,
        f"{where} has a Cairn's code, proved by trusted block {point.number}; its initial storage is not: "
        "you must know its address",
    )


def _code(store: CarStore, manifest: BundleManifest) -> bytes:
    if manifest.code is None:
        raise FormError("bundle: expected the contract's code beside its state")
    return store.get(manifest.code)


def _each(store: CarStore, links: Sequence[Cid], kind: type[M]) -> Iterator[M]:
    for link in links:
        yield decode(store.get(link), kind)
