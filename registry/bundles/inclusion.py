"""Inclusion proofs: whether a participant is in the version that a round made, in a file of a few kilobytes.

An inclusion proof shows a contribution at its index in the contributions root of a result; a proof of exclusion shows
the neighbours between which the contribution would stand. Both are checked offline against the result's hash. That the
round is finalized with this result is proved against a trusted block hash, or by a call of the contract.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from registry.bundles.chain_proofs import block_proofs, read_block_proof, read_state_proof, state_proofs
from registry.bundles.proven_chain import read_transactions
from registry.chain.challenges import Challenges
from registry.chain.contract_errors import NotFinalized
from registry.chain.contract_events import ModelRegistered, RoundFinalized
from registry.chain.contract_hashes import contribution_leaf, model_id_of, result_hash, round_id_of
from registry.chain.contract_structs import Counted, Listed, Membership, Result, Roots, Target
from registry.chain.storage import round_in, round_slots
from registry.content.manifest import Reason
from registry.content.merkle import counted_root, leaf_hash, verify_inclusion
from registry.content.proof_manifests import (
    BlockProofManifest,
    InclusionProofManifest,
    Place,
    ResultFields,
    RootsFields,
    StateProofManifest,
)
from registry.disputes.charges import reported
from registry.disputes.openings import Listing, listing_of
from registry.errors import InputError, VerificationFailed
from registry.ethereum.blocks import fetch_headers
from registry.ethereum.headers import Header, decode_header
from registry.ethereum.node import NodeRefused
from registry.lineage.graph import versions_of
from registry.rounds.onchain import chosen_result, read_round
from registry.rounds.reports import load_report
from registry.store.base import ContentStore
from registry.types import Address, Digest, ModelId, Root
from registry.verification.verify import Check, Finding

if TYPE_CHECKING:
    from registry.chain.client import Client

__all__ = ["check_on_chain", "check_inclusion_proof", "create_inclusion_proof", "is_inclusion", "model_of"]


def create_inclusion_proof(
    client: Client, store: ContentStore, model_id: ModelId, digest: bytes, participant: Address
) -> InclusionProofManifest:
    """Return the proof that a participant is in a version, or is not, as of the last final block.

    Args:
        client: The chain.
        store: Has the report of the round that made the version.
        model_id: The model.
        digest: The version.
        participant: The participant's address.

    Raises:
        InputError: The version does not exist, or no round made it.
        VerificationFailed: The report differs from what was attested.
        ContentError: The report is unavailable.
    """
    block = client.final_block()
    step = versions_of(client, model_id, block=block).get(Digest(digest))
    if step is None or not step.round:
        got = "none" if step is None else "one that its owner published"
        raise InputError(f"model 0x{model_id.hex()}: expected a version 0x{digest.hex()} that a round made, got {got}")
    record = read_round(client, model_id, step.round)
    result = chosen_result(client, record)
    if result is None:
        raise VerificationFailed(f"round {step.round}: no attestation gives the result hash that the chain holds")
    report = load_report(store, result.report_digest, len(record.commitments))
    listing = listing_of(reported(entry) for entry in report.entries if entry.reason == Reason.ADMITTED)
    if listing.root != result.contributions_root:
        raise VerificationFailed(
            f"report: expected contributions of root 0x{result.contributions_root.hex()}, got 0x{listing.root.hex()}"
        )
    registered = next(e for e in client.events(ModelRegistered, subject=model_id) if isinstance(e, ModelRegistered))
    header, state, proof = _proof_of(client, model_id, step.round, block)
    return InclusionProofManifest(
        chain_id=client.chain_id,
        contract=client.address,
        owner=registered.owner,
        genesis=registered.genesis_digest,
        number=step.round,
        participant=participant,
        result=ResultFields(**(asdict(result) | {"roots": RootsFields(**asdict(result.roots))})),
        count=listing.counted.count,
        inner=listing.counted.inner,
        places=tuple(_place(listing, index) for index in _shown(listing, participant)),
        header=header.encode(),
        state=state,
        block=proof,
    )


def is_inclusion(proof: InclusionProofManifest) -> bool:
    """Return whether a proof shows the participant's own contribution: inclusion, not exclusion."""
    return [place.participant for place in proof.places] == [proof.participant]


def model_of(proof: InclusionProofManifest) -> ModelId:
    """Return the id of a proof's model, unique across chains and contracts."""
    address, genesis = Address(proof.contract), Digest(proof.genesis)
    return model_id_of(proof.chain_id, address, Address(proof.owner), genesis)


def check_inclusion_proof(proof: InclusionProofManifest, trusted: bytes | None = None) -> Iterator[Check]:
    """Yield the checks of an inclusion proof: membership, then its anchor in a trusted block.

    Raises:
        VerificationFailed: The proof is invalid. `until_failure` turns this error into a failed check.
    """
    yield _check_places(proof)
    if proof.header is None:
        yield Check("anchor", Finding.UNCHECKED, f"{_claim(proof)}: the file has no proof of it: ask a node")
        return
    header = decode_header(proof.header)
    if trusted is not None and header.hash != trusted:
        raise VerificationFailed(f"header: expected trusted hash 0x{trusted.hex()}, got 0x{header.hash.hex()}")
    finding, how = _check_anchor(proof, header)
    block = f"block {header.number} 0x{header.hash.hex()}"
    if trusted is None:
        yield Check("anchor", Finding.UNCHECKED, f"{_claim(proof)}: {how} {block}, if that is trusted")
    else:
        yield Check("anchor", finding, f"{_claim(proof)}: {how} trusted {block}")


def check_on_chain(client: Client, proof: InclusionProofManifest) -> Check:
    """Return the check of an inclusion proof by the Challenges contract.

    Raises:
        VerificationFailed: The proof is of another chain or contract, or the contract disagrees.
    """
    where = (client.chain_id, client.address)
    if (proof.chain_id, proof.contract) != where:
        raise VerificationFailed(
            f"expected an inclusion proof of chain {where[0]}, contract 0x{where[1].hex()}, got another"
        )
    contract = Challenges(client)
    target = Target(model_of(proof), proof.number, _result(proof))
    places = [_membership(proof, place) for place in proof.places]
    try:
        if is_inclusion(proof):
            agreed = contract.is_included(target, places[0])
        else:
            agreed = contract.is_excluded(target, Address(proof.participant), places)
    except NotFinalized as error:
        raise VerificationFailed(
            f"round {proof.number}: expected it finalized with this result, got {error}"
        ) from error
    if not agreed:
        raise VerificationFailed(f"expected the contract to agree that {_statement(proof)}, got no")
    return Check("chain", Finding.PASSED, f"the contract agrees that {_statement(proof)}")


def _proof_of(
    client: Client, model_id: ModelId, number: int, block: int
) -> tuple[Header, StateProofManifest | None, BlockProofManifest | None]:
    """Prove that a round is finalized with its result: by the state after a block, else by the finalizing call."""
    header = fetch_headers(client.w3, [block])[0]
    try:
        (state,) = state_proofs(client.w3, header, client.address, round_slots(round_id_of(model_id, number)))
    except NodeRefused:
        pass
    else:
        return header, state, None
    finalized = client.events(RoundFinalized, subject=model_id, to_block=block)
    at = next(event.at for event in finalized if isinstance(event, RoundFinalized) and event.number == number)
    header = fetch_headers(client.w3, [at.block_number])[0]
    receipts, calls = block_proofs(client.w3, header, [at.log_index], [at.log_index])
    proof = BlockProofManifest(header.number, receipts.receipts, receipts.receipt_nodes, calls.calls, calls.call_nodes)
    return header, None, proof


def _shown(listing: Listing, participant: Address) -> list[int]:
    """Return the index of the participant's contribution, or those of its neighbours."""
    people = [entry.participant for entry in listing.contributions]
    if participant in people:
        return [people.index(participant)]
    after = sum(1 for each in people if each < participant)
    return [index for index in (after - 1, after) if 0 <= index < len(people)]


def _place(listing: Listing, index: int) -> Place:
    found = listing.membership(index)
    each = found.contribution
    return Place(index, proof=found.proof, **asdict(each))


def _check_places(proof: InclusionProofManifest) -> Check:
    if counted_root(proof.count, proof.inner) != proof.result.contributions_root:
        raise VerificationFailed("count: expected what the contributions root hashes, got something else")
    for place in proof.places:
        leaf = leaf_hash(contribution_leaf(_entry(place)))
        if not verify_inclusion(leaf, place.index, proof.count, place.proof, proof.inner):
            raise VerificationFailed(f"place {place.index}: expected a proof of it in the contributions root, got none")
    if not is_inclusion(proof):
        _require_gap(proof.places, proof.participant, proof.count)
    text = f"by this result {_statement(proof)}, of {proof.count} in its contributions root"
    if not is_inclusion(proof):
        text += ", whose order anybody could have challenged"
    return Check("membership", Finding.PASSED, text)


def _require_gap(places: Sequence[Place], participant: bytes, count: int) -> None:
    """Require adjacent places that rule out a contribution by the participant, in an ascending list."""
    low, high = places[0], places[-1]
    if len(places) == 2:
        holds = low.index + 1 == high.index and low.participant < participant < high.participant
    else:
        first = low.index == 0 and participant < low.participant
        holds = first or (low.index == count - 1 and low.participant < participant)
    if not holds:
        raise VerificationFailed(f"expected neighbours between which 0x{participant.hex()} would stand, got others")


def _check_anchor(proof: InclusionProofManifest, header: Header) -> tuple[Finding, str]:
    """Verify the proof of finalization against a header; return the finding and what it rests on."""
    address, round_id = Address(proof.contract), round_id_of(model_of(proof), proof.number)
    expected = result_hash(_result(proof))
    if proof.state is not None:
        state = read_state_proof(header, address, proof.state)
        words = dict(zip((int.from_bytes(slot, "big") for slot in proof.state.slots), state.words, strict=True))
        if sorted(words) != sorted(round_slots(round_id)):
            raise VerificationFailed(f"state: expected the words of round {proof.number}, got others")
        held = round_in(words, round_id, 0)
        if not held.finalized or held.result_hash != expected:
            raise VerificationFailed(
                f"round {proof.number}: expected it finalized with this result, got a state without"
            )
        return Finding.PASSED, "proved by the contract's state of"
    assert proof.block is not None  # the manifest has a proof exactly if it has a header
    transactions = read_transactions(address, header, read_block_proof(header, proof.block))
    if len(transactions) != 1:
        raise VerificationFailed(f"block: expected the proof of one transaction, got {len(transactions)}")
    made = [e for e in transactions[0].events if isinstance(e, RoundFinalized) and e.round_id == round_id]
    said = (proof.result.version_digest, Roots(**asdict(proof.result.roots)))
    if [(event.version_digest, event.roots) for event in made] != [said]:
        raise VerificationFailed(f"round {proof.number}: expected RoundFinalized with this version, got none")
    call = transactions[0].call
    if call is None:
        return (
            Finding.UNCHECKED,
            "no call of finalizeRound inside proves it; only that the round made this version is proved, by",
        )
    if call.round_id != round_id or result_hash(call.result) != expected:
        raise VerificationFailed(f"round {proof.number}: expected it finalized with this result, got another call")
    return Finding.PASSED, "proved by the call that finalized it in"


def _statement(proof: InclusionProofManifest) -> str:
    who = f"0x{proof.participant.hex()}"
    if is_inclusion(proof):
        return f"{who} is in version 0x{proof.result.version_digest.hex()[:12]} with weight {proof.places[0].weight}"
    return f"{who} is not in version 0x{proof.result.version_digest.hex()[:12]}"


def _claim(proof: InclusionProofManifest) -> str:
    expected = result_hash(_result(proof)).hex()[:12]
    return (
        f"round {proof.number} of model 0x{model_of(proof).hex()[:12]} in contract 0x{proof.contract.hex()} "
        f"is finalized with result 0x{expected}"
    )


def _result(proof: InclusionProofManifest) -> Result:
    return Result(**(asdict(proof.result) | {"roots": Roots(**asdict(proof.result.roots))}))


def _membership(proof: InclusionProofManifest, place: Place) -> Membership:
    return Membership(Counted(proof.count, proof.inner), place.index, _entry(place), place.proof)


def _entry(place: Place) -> Listed:
    named = Address(place.participant), Digest(place.digest), Root(place.tensor_root)
    return Listed(*named, place.weight, place.steps, place.factor)
