"""Inclusion proofs: of participants in a version and of others, checked offline and by the contract."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from registry.bundles.inclusion import check_inclusion_proof, check_on_chain, create_inclusion_proof, is_inclusion
from registry.chain.client import Client
from registry.chain.contract_structs import Listed
from registry.content.manifest import decode, encode
from registry.content.proof_manifests import InclusionProofManifest, Place
from registry.dev.chains import anvil_chain
from registry.disputes.openings import listing_of
from registry.errors import CairnError, FormError, InputError, VerificationFailed
from registry.ethereum.headers import decode_header
from registry.lineage.graph import lineage
from registry.rounds.onchain import participants_of
from registry.types import Address, Digest, Root
from registry.verification.verify import Finding, until_failure
from trainer.simulation import Simulation

CASES = 10_000 if os.environ.get("CAIRN_SOAK") else 500
SEED = int(os.environ.get("CAIRN_MUTATIONS_SEED", "0")) or time.time_ns() % 10**9


def reader(sim: Simulation) -> Client:
    return Client(sim.w3, sim.owner.address)


def proof_of(sim: Simulation, participant: bytes, number: int = 2) -> InclusionProofManifest:
    version = lineage(sim.owner, sim.model_id, sim.owner.model(sim.model_id).head)[number].digest
    return create_inclusion_proof(reader(sim), sim.store, sim.model_id, version, Address(participant))


def strangers(sim: Simulation) -> dict[str, bytes]:
    """Accounts that would stand before, between and after the two participants."""
    low, high = participants_of(sim.owner, sim.model_id)
    between = (int.from_bytes(low, "big") + 1).to_bytes(20, "big")
    assert low < between < high
    return {"before": bytes(20), "between": between, "after": b"\xff" * 20}


def findings(proof: InclusionProofManifest, trusted: bytes | None = None) -> dict[str, Finding]:
    return {check.name: check.finding for check in until_failure(check_inclusion_proof(proof, trusted))}


def hash_in(proof: InclusionProofManifest) -> bytes:
    assert proof.header is not None
    return decode_header(proof.header).hash


def test_a_participant_s_proof_shows_its_weight_and_verifies_offline_and_on_chain(
    trained: Simulation,
) -> None:
    for participant, weight in zip(participants_of(trained.owner, trained.model_id), (50, 51), strict=True):
        proof = proof_of(trained, participant)
        assert is_inclusion(proof)
        assert [place.weight for place in proof.places] == [weight]
        assert findings(proof, hash_in(proof)) == {"membership": Finding.PASSED, "anchor": Finding.PASSED}
        assert check_on_chain(reader(trained), proof).finding is Finding.PASSED
        assert decode(encode(proof), InclusionProofManifest) == proof
        assert len(encode(proof)) < 5_000


@pytest.mark.parametrize(("where", "count"), [("before", 1), ("between", 2), ("after", 1)])
def test_a_stranger_s_proof_shows_its_neighbours(trained: Simulation, where: str, count: int) -> None:
    proof = proof_of(trained, strangers(trained)[where])
    assert not is_inclusion(proof)
    assert len(proof.places) == count
    assert findings(proof, hash_in(proof)) == {"membership": Finding.PASSED, "anchor": Finding.PASSED}
    assert check_on_chain(reader(trained), proof).finding is Finding.PASSED


def test_an_inclusion_proof_proves_no_round_without_a_hash_to_trust(trained: Simulation) -> None:
    proof = proof_of(trained, strangers(trained)["before"])
    assert findings(proof) == {"membership": Finding.PASSED, "anchor": Finding.UNCHECKED}
    bare = replace(proof, header=None, block=None, state=None)
    assert findings(bare, hash_in(proof)) == {"membership": Finding.PASSED, "anchor": Finding.UNCHECKED}
    with pytest.raises(VerificationFailed, match="header: expected trusted hash 0x00"):
        list(check_inclusion_proof(proof, bytes(32)))


def test_a_version_that_no_round_made_has_no_inclusion_proofs(trained: Simulation) -> None:
    with pytest.raises(InputError, match="that a round made, got one that its owner published"):
        proof_of(trained, bytes(20), 0)
    with pytest.raises(InputError, match="that a round made, got none"):
        create_inclusion_proof(reader(trained), trained.store, trained.model_id, bytes(32), Address(bytes(20)))


def lies(sim: Simulation) -> Iterator[tuple[str, InclusionProofManifest]]:
    """False proofs, each built from parts of valid ones."""
    low, high = participants_of(sim.owner, sim.model_id)
    inside, between = proof_of(sim, low), proof_of(sim, strangers(sim)["between"])
    (place,), (first, last) = inside.places, between.places

    def of(*places: Place) -> tuple[Place, ...]:
        return places

    yield "another weight", replace(inside, places=of(replace(place, weight=place.weight + 1)))
    yield "other steps", replace(inside, places=of(replace(place, steps=place.steps + 1)))
    yield "another factor", replace(inside, places=of(replace(place, factor=place.factor - 1)))
    yield "another place", replace(inside, places=of(replace(place, index=1 - place.index)))
    yield "another's place", replace(inside, participant=high)
    yield "who is there is not", replace(between, participant=low)
    yield "neighbours in another order", replace(between, places=of(last, first))
    yield "the first alone", replace(between, places=of(first))
    yield "the last alone", replace(between, places=of(last))
    yield "one twice", replace(between, places=of(first, first))
    yield "another count", replace(inside, count=3)
    weight = place.weight + 1
    alone = Listed(low, Digest(place.digest), Root(place.tensor_root), weight, place.steps, weight)
    tree = listing_of([alone])
    own = replace(place, index=0, weight=weight, factor=weight, proof=())
    yield "another tree", replace(inside, places=of(own), count=1, inner=tree.counted.inner)
    yield "another result", replace(inside, result=replace(inside.result, total_weight=7))
    yield "other total steps", replace(inside, result=replace(inside.result, total_steps=7))
    yield "another divisor", replace(inside, result=replace(inside.result, divisor=7))
    yield "another root", replace(inside, result=replace(inside.result, contributions_root=bytes(32)))
    yield "another round", replace(inside, number=1)
    yield "another owner", replace(inside, owner=bytes(20))
    yield "another genesis", replace(inside, genesis=bytes(32))
    yield "another chain", replace(inside, chain_id=1)
    yield "another contract", replace(inside, contract=bytes(20))


NAMES = ["another weight", "other steps", "another factor", "another place", "another's place",
         "who is there is not", "neighbours in another order",
         "the first alone", "the last alone", "one twice", "another count", "another tree", "another result",
         "other total steps", "another divisor", "another root", "another round", "another owner", "another genesis",
         "another chain", "another contract"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_an_inclusion_proof_that_lies_is_refused_offline_and_by_the_contract(trained: Simulation, name: str) -> None:
    told = dict(lies(trained))
    assert list(told) == NAMES
    proof = told[name]
    assert Finding.FAILED in findings(proof, hash_in(proof)).values()
    with pytest.raises(CairnError):
        check_on_chain(reader(trained), proof)


def test_an_inclusion_proof_of_round_one_proves_nothing_of_round_two(trained: Simulation) -> None:
    participant = participants_of(trained.owner, trained.model_id)[0]
    one, two = (proof_of(trained, participant, number) for number in (1, 2))
    mixed = replace(one, header=two.header, block=two.block)
    with pytest.raises(VerificationFailed, match="round 1: expected RoundFinalized with this version"):
        list(check_inclusion_proof(mixed, hash_in(two)))
    with pytest.raises(VerificationFailed, match="finalized with this result"):
        check_on_chain(reader(trained), replace(one, number=2))


def test_an_inclusion_proof_with_any_byte_changed_is_refused(trained: Simulation) -> None:
    proof = proof_of(trained, strangers(trained)["between"])
    refused_as_changed(proof)


def refused_as_changed(proof: InclusionProofManifest) -> None:
    data, trusted, draw = encode(proof), hash_in(proof), random.Random(SEED)
    for case in range(CASES):
        made = bytearray(data)
        made[draw.randrange(len(made))] ^= 1 << draw.randrange(8)
        try:
            other = decode(bytes(made), InclusionProofManifest)
        except FormError:
            continue
        if Finding.FAILED in findings(other, trusted).values():
            continue
        # Between two neighbours there is room for many accounts; nothing else passes.
        truth = replace(other, participant=proof.participant)
        assert truth == proof and not is_inclusion(other), f"seed {SEED}, case {case}"


@pytest.mark.node
@pytest.mark.slow
def test_on_a_node_that_proves_state_an_inclusion_proof_rests_on_it(
    find_tool: Callable[[str], Path], simulated: Callable[..., Simulation], tmp_path: Path
) -> None:
    with anvil_chain(find_tool("anvil")) as chain:
        sim = simulated(chain, tmp_path)
        low, _ = participants_of(sim.owner, sim.model_id)
        for participant in (low, strangers(sim)["between"]):
            proof = proof_of(sim, participant)
            assert proof.state is not None and proof.block is None
            assert findings(proof, hash_in(proof)) == {"membership": Finding.PASSED, "anchor": Finding.PASSED}
            assert check_on_chain(reader(sim), proof).finding is Finding.PASSED
            refused_as_changed(proof)
        one, two = (proof_of(sim, low, number) for number in (1, 2))
        with pytest.raises(VerificationFailed, match="expected the words of round 1, got others"):
            list(check_inclusion_proof(replace(one, header=two.header, state=two.state), hash_in(two)))
        false: Any = replace(one, result=replace(one.result, report_digest=bytes(32)))
        with pytest.raises(VerificationFailed, match="got a state without"):
            list(check_inclusion_proof(false, hash_in(one)))
