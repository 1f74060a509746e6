"""Forged bundles: changed, truncated, reordered, or rebuilt around proofs of something else."""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import dag_cbor
import numpy as np
import pytest
from eth_abi.abi import encode as abi_encode

from registry.bundles.chain_proofs import block_proofs
from registry.bundles.create_bundle import Bundle, gather_bundle, lineage_slots
from registry.bundles.footing import Footing
from registry.bundles.header_links import header_blocks, headers_in
from registry.bundles.inclusion import check_inclusion_proof, create_inclusion_proof, is_inclusion
from registry.bundles.proven_chain import ProvenCall, ProvenChain, ProvenTransaction
from registry.bundles.verify_bundle import BundleVerdict, verify_bundle
from registry.chain.abi_values import unparse
from registry.chain.client import Client
from registry.chain.contract_events import (
    QuorumReached,
    ResultAttested,
    RoundOpened,
    UpdateCommitted,
    VersionDeprecated,
    VersionPublished,
)
from registry.chain.contract_hashes import result_hash, running_hash_begin, running_hash_next
from registry.chain.contract_structs import Listed, Result, Round
from registry.chain.contracts import function
from registry.chain.event_logs import topic_of
from registry.content.car import write_car
from registry.content.cid import encode_varint
from registry.content.manifest import Schema, VersionManifest, decode, digest_of, encode
from registry.content.proof_manifests import BlockProofManifest, BundleManifest, BundlePage, Place, StateProofManifest
from registry.disputes.openings import listing_of
from registry.errors import BlockNotFound, CairnError, FormError, VerificationFailed
from registry.ethereum import rlp
from registry.ethereum.blocks import fetch_headers
from registry.ethereum.hashing import keccak
from registry.ethereum.headers import Header, decode_header
from registry.ethereum.keys import to_checksum
from registry.ethereum.patricia import index_key, indexed_root, prove, trie_root
from registry.ethereum.proofs import prove_receipt
from registry.ethereum.receipts import Log, Receipt, decode_receipt
from registry.lineage.graph import lineage
from registry.rounds.onchain import RoundRecord
from registry.rounds.results import compute_outcome, publish_outcome
from registry.rounds.versions import add_version, load_version_manifest, save_arrays
from registry.store.car_store import CarStore, walk_links
from registry.store.manifests import put_manifest
from registry.store.memory import MemoryStore
from registry.types import Address, Cid, Codec, Digest, ModelId, Root
from registry.verification.verify import Check, Finding, until_failure

SOAK = bool(os.environ.get("CAIRN_SOAK"))
SEED = int(os.environ.get("CAIRN_MUTATIONS_SEED", "0")) or time.time_ns() % 10**9


class Forge:
    """An honest bundle, and what is made of its parts."""

    def __init__(self, house: Any, folder: Path, client: Client | None = None, **options: Any) -> None:
        self.house, self.folder, self._count = house, folder, 0
        head = house.owner.model(house.model_id).head
        self.bundle: Bundle = gather_bundle(client or house.reader(), house.store, house.model_id, head, **options)
        self.blocks = list(self.bundle.blocks)
        self.honest = b"".join(write_car(self.bundle.root, self.blocks))
        self.parts = MemoryStore()
        for cid, data in self.blocks:
            self.parts.put(cid, data)
        self.manifest = decode(self.parts.get(self.bundle.root), BundleManifest)

    @property
    def trust(self) -> list[bytes]:
        return [point.hash for point in self.bundle.anchors]

    def path(self, data: bytes) -> Path:
        self._count += 1
        path = self.folder / f"{self._count}.car"
        path.write_bytes(data)
        return path

    def open(self, data: bytes) -> CarStore:
        return CarStore(self.path(data))

    def put(self, manifest: Schema) -> Cid:
        return put_manifest(self.parts, manifest)

    def raw(self, data: bytes) -> Cid:
        cid = Cid(Codec.RAW, hashlib.sha256(data).digest())
        self.parts.put(cid, data)
        return cid

    def remade(self, **changed: Any) -> CarStore:
        """The bundle with other fields, in good form: every block hashes to its name again."""
        root = self.put(replace(self.manifest, **changed))
        return self.open(b"".join(write_car(root, walk_links(self.parts.get, root))))

    def verify(self, store: CarStore) -> BundleVerdict:
        return verify_bundle(store, self.trust, self.folder / "verify")

    def proofs(self) -> list[BlockProofManifest]:
        return [decode(self.parts.get(link), BlockProofManifest) for link in self.manifest.blocks]

    def with_proofs(self, proofs: Iterable[BlockProofManifest]) -> CarStore:
        return self.remade(blocks=tuple(self.put(proof) for proof in proofs))

    def headers(self) -> list[Header]:
        return [header for link in self.manifest.headers for header in headers_in(self.parts.get(link))]

    def with_headers(self, headers: Iterable[Header], **changed: Any) -> CarStore:
        return self.remade(headers=tuple(self.raw(data) for data in header_blocks(headers)), **changed)

    def with_forged(
        self, proofs: Iterable[BlockProofManifest] | None = None, /, *logs: Log, **changed: Any
    ) -> CarStore:
        """The bundle with a forged block after all others, of which proofs may be added; these logs are in it."""
        receipt, last = Receipt(2, True, 50_000, logs), self.headers()[-1]
        fields = {"receipts_root": indexed_root([receipt.encode()]), "extra_data": b"forged"} | changed.pop(
            "header", {}
        )
        forged = replace(last, number=last.number + 9, **fields)
        kept = list(self.proofs() if proofs is None else proofs)
        if logs:
            kept.append(BlockProofManifest(forged.number, (0,), prove_receipt([receipt], 0), (), ()))
        blocks = tuple(self.put(proof) for proof in kept)
        return self.with_headers([*self.headers(), forged], blocks=blocks, **changed)


@pytest.fixture
def make_forge(published: Any, tmp_path: Path) -> Callable[..., Forge]:
    """Makes the bundle of a round of three, to be forged."""

    def make(**options: Any) -> Forge:
        published.force(published.outcome().result)
        return Forge(published, tmp_path, **options)

    return make


@pytest.fixture
def forge(make_forge: Callable[..., Forge]) -> Forge:
    """With files."""
    return make_forge(with_blobs=True)


def test_the_honest_bundle_verifies(forge: Forge) -> None:
    assert forge.verify(forge.open(forge.honest)).passed


# The file ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_file_with_any_bytes_changed_is_refused_as_what_it_is_not(forge: Forge) -> None:
    draw = random.Random(SEED)
    for case in range(20_000 if SOAK else 750):
        made = bytearray(forge.honest)
        for _ in range(draw.choice((1, 1, 2))):
            at = draw.randrange(len(made))
            made[at] ^= 1 << draw.randrange(8)
        if bytes(made) == forge.honest:
            continue
        path = forge.folder / "changed.car"
        path.write_bytes(made)
        with pytest.raises(FormError):  # whatever is not refused as such, or passes, fails here
            CarStore(path)
        assert case >= 0, f"seed {SEED}"


def test_a_file_cut_anywhere_is_refused(forge: Forge) -> None:
    draw = random.Random(SEED)
    for length in {0, 1, 58, 59, len(forge.honest) - 1, *(draw.randrange(len(forge.honest)) for _ in range(200))}:
        with pytest.raises(FormError):
            forge.open(forge.honest[:length])


def test_blocks_left_out_added_doubled_or_exchanged_are_refused(forge: Forge) -> None:
    root, blocks = forge.bundle.root, forge.blocks
    stranger = (forge.raw(b"stranger"), b"stranger")
    for at in range(1, len(blocks)):
        swapped = [*blocks[: at - 1], blocks[at], blocks[at - 1], *blocks[at + 1 :]]
        for made in (
            blocks[:at] + blocks[at + 1 :],
            [*blocks[:at], stranger, *blocks[at:]],
            [*blocks[:at], blocks[at], *blocks[at:]],
            swapped,
        ):
            with pytest.raises(FormError, match="CAR: expected"):
                forge.open(b"".join(write_car(root, made)))


def test_a_root_nested_beyond_reason_or_of_another_kind_is_refused(forge: Forge) -> None:
    deep = b"\x81" * 100_000 + b"\x00"
    cid = Cid(Codec.DAG_CBOR, hashlib.sha256(deep).digest())
    with pytest.raises(FormError):
        forge.open(b"".join(write_car(cid, [(cid, deep)])))
    plain = forge.raw(b"plain")
    with pytest.raises(FormError):
        forge.verify(forge.open(b"".join(write_car(plain, [(plain, b"plain")]))))
    page = BundlePage((plain,))
    other = forge.put(page)
    with pytest.raises(FormError, match="expected kind 'cairn/bundle/1'"):
        forge.verify(forge.open(b"".join(write_car(other, [(other, encode(page)), (plain, b"plain")]))))


def test_a_block_that_claims_to_be_giant_is_refused_before_it_is_read(forge: Forge) -> None:
    claimed = encode_varint((1 << 28) - 1) + bytes(forge.bundle.root)
    with pytest.raises(FormError, match="expected a block of at most 2097152 bytes"):
        forge.open(forge.honest[:59] + claimed)


# What is in it -------------------------------------------------------------------------------------------------------


def test_a_bundle_of_another_chain_fails_by_the_model_s_id(forge: Forge) -> None:
    verdict = forge.verify(forge.remade(chain_id=1))
    assert not verdict.passed
    assert [check.finding for check in verdict.checks if check.name == "model"] == [Finding.FAILED]


def test_proofs_of_another_contract_are_refused(forge: Forge) -> None:
    with pytest.raises(VerificationFailed, match="expected receipts with logs of 0x9999"):
        forge.verify(forge.remade(contract=b"\x99" * 20))


def test_proofs_of_another_model_or_version_are_refused(forge: Forge) -> None:
    with pytest.raises(VerificationFailed, match="bundle: expected a model"):
        forge.verify(forge.remade(model=b"\x99" * 32))
    with pytest.raises(VerificationFailed, match="expected a version 0x9999"):
        forge.verify(forge.remade(version=b"\x99" * 32))


def test_a_transaction_of_another_model_is_refused(forge: Forge) -> None:
    house = forge.house
    house.stranger.register_model(Digest(b"\x07" * 32), Root(b"\x08" * 32), Root(b"\x08" * 32))
    other = ModelId(house.stranger.model_id(house.stranger.account, Digest(b"\x07" * 32)))
    event = next(iter(house.reader().events(subject=other)))
    longer = Forge(house, forge.folder, with_blobs=True)
    header = next(each for each in longer.headers() if each.number == event.at.block_number)
    (extra,) = block_proofs(house.chain.w3, header, [event.at.log_index])
    assert longer.verify(longer.open(longer.honest)).passed
    proofs = sorted([*longer.proofs(), extra], key=lambda proof: proof.number)
    with pytest.raises(VerificationFailed, match="is unrelated to the lineage"):
        longer.verify(longer.with_proofs(proofs))


def test_a_commitment_whose_proof_is_left_out_is_missed(forge: Forge) -> None:
    """Ann's, Bob's and Cyn's each stand in a block of their own."""
    receipts = [proof for proof in forge.proofs() if proof.receipts]
    numbers = {entry.event.at.block_number for entry in forge.verify(forge.open(forge.honest)).events
               if type(entry.event).__name__ == "UpdateCommitted"}  # fmt: skip
    assert len(numbers) == 3
    for number in numbers:
        verdict = forge.verify(forge.with_proofs(proof for proof in forge.proofs() if proof.number != number))
        assert not verdict.passed
        *_, last = verdict.versions[-1].checks
        assert (last.finding, "expected commitments that hash to" in last.evidence) == (Finding.FAILED, True)
    assert receipts


def test_without_the_attestation_s_call_completeness_is_asserted_only(forge: Forge) -> None:
    verdict = forge.verify(forge.with_proofs(proof for proof in forge.proofs() if not proof.calls))
    found = {check.name: check for check in verdict.versions[-1].checks}
    assert found["commitments"].finding is found["quorum"].finding is Finding.ASSERTED
    assert "that there were no others is the attesters' word" in found["commitments"].evidence


def test_a_proof_said_to_be_of_another_block_is_refused(forge: Forge) -> None:
    proofs = forge.proofs()
    others = [proof.number for proof in proofs]
    for at, proof in list(enumerate(proofs))[1:]:  # the first header is there for the first
        moved = replace(proof, number=next(number for number in others if number != proof.number))
        with pytest.raises(VerificationFailed, match="trie proof: expected a node that hashes to"):
            forge.verify(forge.with_proofs([*proofs[:at], moved, *proofs[at + 1 :]]))


def test_nodes_that_no_path_uses_are_refused(forge: Forge) -> None:
    first, *rest = forge.proofs()
    padded = replace(first, receipt_nodes=tuple(sorted({*first.receipt_nodes, b"\xc2\x20\x01"})))
    with pytest.raises(VerificationFailed, match="expected no more nodes than the paths have"):
        forge.verify(forge.with_proofs([padded, *rest]))


def test_a_proof_that_stands_there_twice_is_refused(forge: Forge) -> None:
    """Under two names: once beside the call of the same transaction, once alone."""
    by_number: dict[int, list[BlockProofManifest]] = defaultdict(list)
    for proof in forge.proofs():
        by_number[proof.number].append(proof)
    receipts, calls = next(proofs for proofs in by_number.values() if len(proofs) == 2)
    both = replace(receipts, calls=calls.calls, call_nodes=calls.call_nodes)
    rest = [proof for proof in forge.proofs() if proof is not calls and proof != calls]
    assert forge.verify(forge.with_proofs([both, *(proof for proof in rest if proof != receipts)])).passed
    with pytest.raises(VerificationFailed, match="expected each proof once"):
        forge.verify(forge.with_proofs([both, *rest]))


def test_a_list_that_links_to_the_same_again_is_refused(forge: Forge) -> None:
    """A link takes 41 bytes, and what it links to a megabyte, to be read each time."""
    for name in ("headers", "blocks", "manifests", "blobs"):
        links = getattr(forge.manifest, name)
        body = dag_cbor.decode(encode(forge.manifest))
        body[name] = [*body[name], *body[name][:1]]
        data = dag_cbor.encode(body)
        root = Cid(Codec.DAG_CBOR, hashlib.sha256(data).digest())
        forge.parts.put(root, data)
        assert links
        with pytest.raises(FormError, match=f"{name}: expected distinct links, got a duplicate"):
            forge.verify(forge.open(b"".join(write_car(root, walk_links(forge.parts.get, root)))))


def test_no_proof_is_read_twice_and_code_not_for_each_part_of_the_state(
    forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, reads, get = forge.house, Counter[Cid](), CarStore._get
    code = bytes(house.chain.w3.eth.get_code(to_checksum(house.address)))
    steps = lineage(house.reader(), house.model_id, Digest(forge.manifest.version))
    words = words_of(house, lineage_slots(steps))
    number = forge.headers()[-1].number + 9
    root, _ = state_proof(words, house.address, code, number)
    parts = [state_proof(words, house.address, code, number, {slot})[1] for slot in sorted(words)]
    links = tuple(forge.put(part) for part in parts)
    store = forge.with_forged(header={"state_root": root}, state=links, code=forge.raw(code))
    manifest = decode(store.get(store.root), BundleManifest)
    *_, last = headers_in(store.get(manifest.headers[-1]))

    def counting(self: CarStore, cid: Cid) -> bytes:
        reads[cid] += 1
        return get(self, cid)

    monkeypatch.setattr(CarStore, "_get", counting)
    verdict = verify_bundle(store, [*forge.trust, last.hash], forge.folder / "verify")
    assert (verdict.passed, len(parts) > 3) == (True, True)
    assert {reads[link] for link in (*manifest.headers, *manifest.blocks, *manifest.state)} == {1}
    assert manifest.code is not None and reads[manifest.code] == 2  # for the state, and to be compared with ours


def test_no_version_after_one_that_nothing_proves_is_looked_at(
    published: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events that nothing proves cost their writer nothing: each round could name the same report of a megabyte."""
    published.force(published.outcome().result)
    for number in (2, 3):
        published.owner.open_round(published.model_id)
        published.contribute_to(number, "ann")
        published.force(published.outcome(number=number).result, number=number)
    forge = Forge(published, tmp_path)
    genesis, first, *_ = lineage(published.reader(), published.model_id, Digest(forge.manifest.version))
    reads, get = Counter[bytes](), CarStore._get

    def counting(self: CarStore, cid: Cid) -> bytes:
        reads[cid.digest] += 1
        return get(self, cid)

    monkeypatch.setattr(CarStore, "_get", counting)
    trust = next(header.hash for header in forge.headers() if header.number == genesis.block)
    verdict = verify_bundle(forge.open(forge.honest), [trust], tmp_path / "verify")
    anchors = [one.checks[0] for one in verdict.versions]
    assert [check.finding for check in anchors] == [Finding.PASSED] + [Finding.UNCHECKED] * 3
    assert [check.evidence.startswith("not checked") for check in anchors] == [False, False, True, True]
    assert [one.step.digest for one in verdict.versions if reads[one.step.digest]] == [genesis.digest, first.digest]


def test_one_receipt_at_the_end_of_many_paths_is_refused_before_it_is_read_for_each(
    forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred thousand indices that lead to one receipt of a megabyte would be a hundred gigabytes."""
    read, decoding = [], decode_receipt
    monkeypatch.setattr(
        "registry.bundles.chain_proofs.decode_receipt", lambda raw: read.append(len(raw)) or decoding(raw)
    )
    log = Log(forge.house.address, (topic_of(VersionDeprecated), forge.manifest.model, bytes(32)), bytes(64))
    leaf = rlp.encode((b"\x20", Receipt(2, True, 50_000, (log,) * 500).encode()))
    low = rlp.encode((keccak(leaf),) * 16 + (b"",))
    high = rlp.encode((keccak(low),) * 8 + (b"",) * 9)
    number = forge.headers()[-1].number + 9
    proof = BlockProofManifest(number, tuple(range(16, 128)), tuple(sorted((leaf, low, high))), (), ())
    store = forge.with_forged([*forge.proofs(), proof], header={"receipts_root": keccak(high)})
    with pytest.raises(VerificationFailed, match="expected each value in a node of its own"):
        forge.verify(store)
    assert sum(read) < 2 * len(store.path.read_bytes())


def test_headers_that_do_not_link_are_refused(forge: Forge) -> None:
    headers = forge.headers()
    for at in (1, len(headers) // 2, len(headers) - 2):
        forged = replace(headers[at], extra_data=b"forged")
        with pytest.raises(VerificationFailed, match=f"block {forged.number}: expected hash"):
            forge.verify(forge.with_headers([*headers[:at], forged, *headers[at + 1 :]]))


def test_headers_left_out_leave_what_is_before_them_unproved(forge: Forge) -> None:
    headers = forge.headers()
    needed = {proof.number for proof in forge.proofs()}
    spare = next(at for at, header in enumerate(headers) if header.number not in needed and header.number + 1 in needed)
    verdict = forge.verify(forge.with_headers([*headers[:spare], *headers[spare + 1 :]]))
    assert not verdict.passed
    assert {entry.trusted is None for entry in verdict.events} == {True, False}


def test_headers_before_what_is_proved_are_refused(forge: Forge) -> None:
    headers = forge.headers()
    before = fetch_headers(forge.house.chain.w3, [headers[0].number - 1])
    with pytest.raises(VerificationFailed, match="headers: expected none before what is proved"):
        forge.verify(forge.with_headers([*before, *headers]))


def test_headers_in_another_order_are_refused(forge: Forge) -> None:
    with pytest.raises(VerificationFailed, match="expected a header after block"):
        forge.verify(forge.with_headers(forge.headers()[::-1]))


def of_a_published_version(published: Any, folder: Path) -> tuple[Forge, VersionManifest]:
    """The bundle of a version that its owner published after a round, to be forged, and its manifest."""
    published.force(published.outcome().result)
    parent = published.owner.model(published.model_id).head
    save_arrays(folder / "next.safetensors", {"w": np.ones((4, 4), np.float32)})
    version = add_version(published.store, folder / "next.safetensors", parent=parent)
    published.owner.publish_version(
        published.model_id, parent, digest_of(version), Root(version.tensor_root), Root(version.rest_root)
    )
    return Forge(published, folder), version


@pytest.fixture
def forged_after(published: Any, tmp_path: Path) -> Callable[..., BundleVerdict]:
    """Verifies the bundle of a version that its owner published, with a log in a forged block after all others."""
    forge, _ = of_a_published_version(published, tmp_path)
    assert forge.verify(forge.open(forge.honest)).passed

    def verify(topics: Sequence[bytes], data: bytes, alone: Digest | None = None) -> BundleVerdict:
        """Alone: the version of which alone there are proofs and manifests."""
        proofs, pages = forge.proofs(), forge.manifest.manifests
        if alone is not None:
            proofs = [proofs[0], proofs[-1]]
            pages = (forge.put(BundlePage((Cid(Codec.RAW, alone),))),)
        return forge.verify(forge.with_forged(proofs, Log(published.address, tuple(topics), data), manifests=pages))

    return verify


def test_a_forged_block_beside_the_trusted_ones_hides_no_ancestors(published: Any, forged_after: Any) -> None:
    head = published.owner.model(published.model_id).head
    version = load_version_manifest(published.store, head)
    data = version.tensor_root + version.rest_root
    verdict = forged_after([topic_of(VersionPublished), published.model_id, head, bytes(32)], data, head)
    assert [one.step.digest for one in verdict.versions] == [head]
    assert not verdict.passed
    assert verdict.checks[0].finding is Finding.FAILED  # the model's id is not of what is shown as its genesis
    assert verdict.versions[0].checks[0].finding is Finding.UNCHECKED


def test_a_forged_block_beside_the_trusted_ones_deprecates_nothing(published: Any, forged_after: Any) -> None:
    head = published.owner.model(published.model_id).head
    verdict = forged_after([topic_of(VersionDeprecated), published.model_id, head], b"\x01" * 64)
    assert verdict.versions[-1].step.deprecated
    assert not verdict.passed
    assert verdict.versions[-1].checks[0].finding is Finding.UNCHECKED


class Censor(Client):
    """Shows the chain as if one participant had committed nothing."""

    def leave_out(self, participant: Address, running: bytes) -> Client:
        self.left_out, self.running = participant, running
        return self

    def events(self, *kinds: Any, **options: Any) -> Iterator[Any]:
        for event in super().events(*kinds, **options):
            if not isinstance(event, UpdateCommitted) or event.participant != self.left_out:
                yield event

    def round(self, *arguments: Any, **options: Any) -> Round:
        return replace(super().round(*arguments, **options), running_hash=self.running)


@dataclass(frozen=True)
class Censored:
    """The bundle of a round in which a lying quorum left Cyn's commitment out, made as if she had made none."""

    forge: Forge
    record: RoundRecord
    running: bytes
    result: Result

    def commitments(self, store: CarStore) -> Check:
        verdict = self.forge.verify(store)
        assert not verdict.passed
        (found,) = (check for check in verdict.versions[-1].checks if check.name == "commitments")
        return found


def censor(house: Any, folder: Path) -> Censored:
    round, cyn = house.round(), house.cyn.account
    kept = tuple(each for each in round.record.commitments if each.participant != cyn)
    running = running_hash_begin(round.record.round_id, round.record.parent, round.record.plan)
    for each in kept:
        running = running_hash_next(running, each.participant, each.digest, each.tensor_root, each.weight, each.steps)
    lie = replace(round.record, commitments=kept, running_hash=running)
    verdicts = [verdict for verdict in house.verdicts() if verdict.commitment.participant != cyn]
    made = compute_outcome(house.store, replace(round, record=lie), verdicts, folder)
    publish_outcome(house.store, made)
    house.force(made.result)
    client = Censor(house.chain.w3, house.address).leave_out(cyn, running)
    return Censored(Forge(house, folder, client), round.record, running, made.result)


@pytest.fixture
def censored(published: Any, tmp_path: Path) -> Censored:
    return censor(published, tmp_path)


def word(value: int | bytes) -> bytes:
    return value.to_bytes(32, "big") if isinstance(value, int) else value.rjust(32, b"\0")


def words_of(house: Any, slots: Iterable[int]) -> dict[int, int]:
    eth, place = house.chain.w3.eth, to_checksum(house.address)
    return {slot: int.from_bytes(eth.get_storage_at(place, slot), "big") for slot in slots}


def state_proof(
    words: dict[int, int], address: Address, code: bytes, number: int, shown: Collection[int] = ()
) -> tuple[bytes, StateProofManifest]:
    """A state root under which a contract with this code has these words, and the proof of all or some of them."""
    storage = {keccak(word(slot)): rlp.encode(rlp.int_to(value)) for slot, value in words.items() if value}
    state = {keccak(address): rlp.encode((b"\x01", b"", trie_root(storage), keccak(code)))}
    nodes = {node for slot in shown or words for node in prove(storage, keccak(word(slot)))}
    slots = tuple(word(slot) for slot in sorted(shown or words))
    proof = StateProofManifest(number, slots, prove(state, keccak(address)), tuple(sorted(nodes)))
    return trie_root(state), proof


def test_a_commitment_left_out_is_missed_whatever_a_forged_state_says(censored: Censored) -> None:
    forge, house = censored.forge, censored.forge.house
    assert censored.commitments(forge.open(forge.honest)).finding is Finding.FAILED
    words = words_of(house, lineage_slots(lineage(house.reader(), house.model_id, censored.result.version_digest)))
    truth, lie = (int.from_bytes(running, "big") for running in (censored.record.running_hash, censored.running))
    assert truth in words.values()
    words = {slot: lie if value == truth else value for slot, value in words.items()}
    code = bytes(house.chain.w3.eth.get_code(to_checksum(house.address)))
    root, proof = state_proof(words, house.address, code, forge.headers()[-1].number + 9)
    store = forge.with_forged(header={"state_root": root}, state=(forge.put(proof),), code=forge.raw(code))
    assert censored.commitments(store).finding is Finding.FAILED


def test_a_forged_state_convicts_nobody(forge: Forge) -> None:
    """One in which nothing was ever written: of a block that nothing links to a trusted one, it is not looked at."""
    house = forge.house
    code = bytes(house.chain.w3.eth.get_code(to_checksum(house.address)))
    slots = lineage_slots(lineage(house.reader(), house.model_id, Digest(forge.manifest.version)))
    root, proof = state_proof(
        {**dict.fromkeys(slots, 0), slots[0]: 1}, house.address, code, forge.headers()[-1].number + 9
    )
    store = forge.with_forged(header={"state_root": root}, state=(forge.put(proof),), code=forge.raw(code))
    honest, forged = forge.verify(forge.open(forge.honest)), forge.verify(store)
    assert (forged.versions, forged.checks, forged.passed) == (honest.versions, honest.checks, True)


def test_a_forged_call_before_the_proved_one_does_not_stand_in_its_place(censored: Censored) -> None:
    forge, address = censored.forge, censored.forge.house.address
    entry, lie = function("Cairn", "attestResult", 4), unparse(censored.result)
    data = entry.selector + abi_encode(entry.inputs, (forge.manifest.model, 1, lie, censored.running))
    mined = rlp.encode((b"", b"\x01", b"\x01", address, b"", data, b"\x1b", b"\x01", b"\x01"))
    topics = (topic_of(ResultAttested), censored.record.round_id, word(b"\x01"), result_hash(censored.result))
    receipt = Receipt(0, True, 50_000, (Log(address, topics, abi_encode([entry.inputs[2], "uint32"], (lie, 1))),))
    first = forge.headers()[0]
    roots = {"receipts_root": indexed_root([receipt.encode()]), "transactions_root": indexed_root([mined])}
    forged = replace(first, number=first.number - 2, **roots)
    nodes = prove({index_key(0): mined}, index_key(0))
    proof = BlockProofManifest(forged.number, (0,), prove_receipt([receipt], 0), (0,), nodes)
    blocks = tuple(forge.put(each) for each in (proof, *forge.proofs()))
    store = forge.with_headers([forged, *forge.headers()], blocks=blocks)
    assert censored.commitments(store).finding is Finding.FAILED


def test_a_commitment_that_commits_ended_counts_is_missed_without_any_call(opened: Any, tmp_path: Path) -> None:
    everybody = ("ann", "bob", "cyn", "mallory")
    for seed, name in enumerate(everybody):
        opened.contribute(name, opened.update(name, seed=seed))
    opened.stranger.end_commits(opened.model_id, 1, sorted(opened.clients[name].account for name in everybody))
    opened.sleep_to("publish_deadline")
    censored = censor(opened, tmp_path)
    found = censored.commitments(censored.forge.with_proofs(p for p in censored.forge.proofs() if not p.calls))
    assert (found.finding, "expected 3, CommitsEnded" in found.evidence) == (Finding.FAILED, True)
    assert "counts 4" in found.evidence


@pytest.mark.parametrize("name", ["commitments", "quorum"])
def test_what_a_proved_call_was_made_with_counts_before_words_that_say_otherwise(forge: Forge, name: str) -> None:
    """Whoever asks for a footing may hand in words that nothing proves; `verify_bundle` has none."""
    honest = forge.verify(forge.open(forge.honest))
    record = forge.house.record()
    result = forge.house.outcome().result
    events = [entry.event for entry in honest.events]
    transactions = [
        ProvenTransaction(0, 0, tuple(events), ProvenCall(record.round_id, record.running_hash, result, 0)),
        ProvenTransaction(0, 1, (), ProvenCall(record.round_id, None, result, 0)),
    ]
    words: defaultdict[int, int] = defaultdict(int)
    chain = ProvenChain(record.chain_id, record.contract, transactions, events[-1].at.block_number, words)
    footing = Footing(chain, lambda number: forge.bundle.anchors[0], None)
    (found,) = (check for check in footing.grounded(honest.versions[-1]).checks if check.name == name)
    assert (found.finding, "with another" in found.evidence) == (Finding.FAILED, True)


def test_a_round_opened_with_the_id_of_another_is_refused(censored: Censored) -> None:
    """Whose running hash, and whose quorum, would stand in for those that are proved."""
    forge, address = censored.forge, censored.forge.house.address
    opened = next(event for event in forge.house.reader().events() if isinstance(event, RoundOpened))
    other, fields = b"\x66" * 32, (opened.parent, 0, opened.commit_deadline, opened.publish_deadline)
    data = b"".join(map(word, (*fields, opened.aggregate_deadline, censored.running)))
    logs = (
        Log(address, (topic_of(RoundOpened), opened.model_id, word(1), other), data),
        Log(address, (topic_of(QuorumReached), other, result_hash(censored.result)), word(5)),
    )
    kept = [proof for proof in forge.proofs() if proof.number != opened.at.block_number]
    with pytest.raises(VerificationFailed, match="expected round 1 to have the id 0x"):
        forge.verify(forge.with_forged(kept, *logs))


def test_manifests_and_files_beside_those_of_the_lineage_are_refused(forge: Forge) -> None:
    junk = forge.raw(b"junk")
    for name in ("manifests", "blobs"):
        (link,) = getattr(forge.manifest, name)
        page = decode(forge.parts.get(link), BundlePage)
        more = forge.put(BundlePage((*page.entries, junk)))
        with pytest.raises(FormError, match=f"expected the .* {name} of the lineage"):
            forge.verify(forge.remade(**{name: (more,)}))


def test_a_manifest_or_file_left_out_never_passes(forge: Forge) -> None:
    for name in ("manifests", "blobs"):
        (link,) = getattr(forge.manifest, name)
        page = decode(forge.parts.get(link), BundlePage)
        for at in range(len(page.entries)):
            less = forge.put(BundlePage((*page.entries[:at], *page.entries[at + 1 :])))
            with pytest.raises((FormError, BlockNotFound)):
                forge.verify(forge.remade(**{name: (less,)}))


@pytest.mark.parametrize("inside", [True, False])
def test_an_inclusion_proof_of_a_made_up_result_is_not_proved(published: Any, inside: bool) -> None:
    """That the round made the version is, but not of which result: anybody could be in it, or not."""
    head = published.force(published.outcome().result)
    who = published.stranger.account if inside else published.ann.account
    honest = create_inclusion_proof(
        published.reader(), published.store, published.model_id, head, published.ann.account
    )
    other = Listed(published.stranger.account, Digest(b"\x01" * 32), Root(b"\x02" * 32), 1 << 20, 3, 1 << 20)
    listing = listing_of([other])
    place = Place(0, proof=listing.membership(0).proof, **asdict(other))
    forged = replace(
        honest,
        participant=who,
        result=replace(honest.result, contributions_root=listing.root, contributions=1, total_weight=1 << 20),
        count=listing.counted.count,
        inner=listing.counted.inner,
        places=(place,),
    )
    assert honest.header is not None and honest.block is not None
    trusted = decode_header(honest.header).hash
    bare = replace(forged, block=replace(honest.block, calls=(), call_nodes=()))
    assert is_inclusion(bare) is inside
    found = {check.name: check for check in until_failure(check_inclusion_proof(bare, trusted))}
    assert found["anchor"].finding is Finding.UNCHECKED
    assert "no call of finalizeRound inside proves it" in found["anchor"].evidence
    with pytest.raises(VerificationFailed, match="expected it finalized with this result, got another call"):
        list(check_inclusion_proof(forged, trusted))


def test_a_lineage_without_its_registration_is_not_verified(published: Any, tmp_path: Path) -> None:
    """A version of the owner's that a forged event says has no parent."""
    forge, version = of_a_published_version(published, tmp_path)
    head = Digest(forge.manifest.version)
    log = Log(
        published.address,
        (topic_of(VersionPublished), published.model_id, head, bytes(32)),
        version.tensor_root + version.rest_root,
    )
    receipt = Receipt(2, True, 50_000, (log,))
    last = forge.headers()[-1]
    forged = replace(last, number=last.number + 9, receipts_root=indexed_root([receipt.encode()]))
    proof = BlockProofManifest(forged.number, (0,), prove_receipt([receipt], 0), (), ())
    blocks = [each for each in forge.proofs() if each.number == last.number]
    page = forge.put(BundlePage((Cid(Codec.RAW, head),)))
    links = tuple(forge.put(each) for each in (*blocks, proof))
    verdict = forge.verify(forge.with_headers([last, forged], blocks=links, manifests=(page,)))
    found = {check.name: check for check in verdict.checks}
    assert not verdict.passed
    assert (found["model"].finding, found["events"].finding) == (Finding.UNCHECKED, Finding.UNCHECKED)
    assert found["model"].evidence == "expected ModelRegistered, got no proof of one"


def test_code_without_state_is_no_bundle(forge: Forge) -> None:
    with pytest.raises(FormError, match="code: expected the contract's code exactly if its state is proved"):
        encode(replace(forge.manifest, code=forge.raw(b"\x60\x00")))


@pytest.mark.slow
def test_what_is_believed_of_a_bundle_made_anew_with_bytes_changed_is_the_truth(
    make_forge: Callable[..., Forge],
) -> None:
    """Somebody who names every block anew can leave proofs out; nothing that is not so is ever believed."""
    forge = make_forge()
    truth = [one.step for one in forge.verify(forge.open(forge.honest)).versions]
    draw, refused = random.Random(SEED), 0
    cases = 3_000 if SOAK else 250
    for case in range(cases):
        proofs, headers = forge.proofs(), forge.headers()
        at = draw.randrange(len(proofs))
        if draw.random() < 0.25:
            victim = draw.randrange(len(headers))
            kept = [header for index, header in enumerate(headers) if index != victim]
            store = forge.with_headers(kept)
        elif draw.random() < 0.3:
            store = forge.with_proofs([*proofs[:at], *proofs[at + 1 :]])
        else:
            changed = _changed(proofs[at], draw)
            try:
                store = forge.with_proofs([*proofs[:at], changed, *proofs[at + 1 :]])
            except FormError:
                refused += 1
                continue
        try:
            verdict = forge.verify(store)
        except CairnError:
            refused += 1
            continue
        if not verdict.passed:
            refused += 1
            continue
        assert [one.step for one in verdict.versions] == truth, f"seed {SEED}, case {case}"
    assert refused > cases // 3


def _changed(proof: BlockProofManifest, draw: random.Random) -> BlockProofManifest:
    """A proof with a bit of a node, an index or the number changed."""
    name = draw.choice(["receipt_nodes", "call_nodes", "receipts", "calls", "number"])
    value = getattr(proof, name)
    if name == "number":
        return replace(proof, number=draw.randrange(40))
    if not value:
        return replace(proof, **{name: (draw.randrange(9),) if not name.endswith("nodes") else (b"\x80",)})
    items = list(value)
    at = draw.randrange(len(items))
    if isinstance(items[at], int):
        items[at] ^= 1 << draw.randrange(4)
    else:
        node = bytearray(items[at])
        node[draw.randrange(len(node))] ^= 1 << draw.randrange(8)
        items[at] = bytes(node)
    return replace(proof, **{name: tuple(sorted(items))})
