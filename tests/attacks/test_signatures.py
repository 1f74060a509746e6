"""Replay and malleability of the signatures that let others relay a participant's commitment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from registry.chain.client import Client
from registry.chain.contract_errors import AlreadyCommitted, BadSignature, MissingRole, SignatureExpired, WrongPhase
from registry.chain.contract_events import CommitmentSkipped
from registry.chain.contract_structs import SignedUpdate
from registry.chain.contracts import error_of
from registry.chain.deploy import deploy
from registry.chain.typed_data import commitment_typed_data
from registry.content.manifest import Reason
from registry.dev.embedded import warp
from registry.types import Digest, Phase, Role, Root

if TYPE_CHECKING:
    from conftest import Federation

ROOT = Root(b"\x01" * 32)
SIGNED: dict[str, Any] = {
    "chain_id": 1,
    "contract": b"\x01" * 20,
    "participant": b"\x02" * 20,
    "model": b"\x03" * 32,
    "number": 2,
    "digest": Digest(b"\x04" * 32),
    "tensor_root": Root(b"\x05" * 32),
    "weight": 101,
    "steps": 7,
    "valid_until": 2**64 - 2,
    "hook_data": (b"\x06",),
}


def domain(house: Federation, **changed: Any) -> dict[str, Any]:
    """What Ann signs when she lets anybody commit for her in round 1, or something near it."""
    fields = {
        "chain_id": house.ann.chain_id,
        "contract": house.address,
        "participant": house.ann.account,
        "model": house.model_id,
        "number": 1,
        "digest": Digest(b"\x11" * 32),
        "tensor_root": Root(b"\x12" * 32),
        "weight": 100,
        "steps": 4,
        "valid_until": 2**64 - 1,
        "hook_data": (),
    }
    return fields | changed


def signature(house: Federation, name: str = "ann", **changed: Any) -> bytes:
    said = domain(house, **changed)
    data = commitment_typed_data(said["chain_id"], said["contract"], said["model"], said["number"], update_of(said))
    return house.chain.signers[1 if name == "ann" else 4].sign_typed_data(data)


def update_of(said: dict[str, Any], signed: bytes = b"") -> SignedUpdate:
    names = ("participant", "digest", "tensor_root", "weight", "steps", "valid_until", "hook_data")
    return SignedUpdate(**{name: said[name] for name in names}, signature=signed)


def relay(house: Federation, signed: bytes, *, sender: str = "stranger", number: int = 1, **changed: Any) -> None:
    said = domain(house, **changed)
    house.clients[sender].commit_update_for(house.model_id, number, update_of(said, signed))


def test_anyone_may_send_what_a_participant_signed(opened: Federation) -> None:
    relay(opened, signature(opened))
    assert [c.participant for c in opened.record().commitments] == [opened.ann.account]


@pytest.mark.parametrize("field", SIGNED)
def test_a_signature_over_anything_else_reverts(opened: Federation, field: str) -> None:
    with pytest.raises(BadSignature):
        relay(opened, signature(opened, **{field: SIGNED[field]}))


@pytest.mark.parametrize("field", ["digest", "tensor_root", "weight", "steps", "valid_until", "hook_data"])
def test_a_signed_commitment_cannot_be_changed_by_whoever_sends_it(opened: Federation, field: str) -> None:
    with pytest.raises(BadSignature):
        relay(opened, signature(opened), **{field: SIGNED[field]})


def test_a_signature_does_not_serve_for_another_participant(opened: Federation) -> None:
    with pytest.raises(BadSignature):
        relay(opened, signature(opened), participant=opened.bob.account)


def test_a_signature_of_somebody_else_reverts(opened: Federation) -> None:
    with pytest.raises(BadSignature):
        relay(opened, signature(opened, name="mallory"))


@pytest.mark.parametrize("signed", [b"", bytes(65), b"\xff" * 65, bytes(64), bytes(200)], ids=len)
def test_bytes_that_are_no_signature_revert(opened: Federation, signed: bytes) -> None:
    with pytest.raises(BadSignature):
        relay(opened, signed)


def test_a_signature_with_its_s_mirrored_reverts(opened: Federation) -> None:
    signed = signature(opened)
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    mirrored = (order - int.from_bytes(signed[32:64], "big")).to_bytes(32, "big")
    with pytest.raises(BadSignature):
        relay(opened, signed[:32] + mirrored + bytes([55 - signed[64]]))


def test_a_signature_replayed_in_the_same_round_reverts(opened: Federation) -> None:
    relay(opened, signature(opened))
    with pytest.raises(AlreadyCommitted):
        relay(opened, signature(opened), sender="mallory")


def test_a_signature_replayed_in_the_next_round_reverts(opened: Federation) -> None:
    signed = signature(opened)
    relay(opened, signed)
    opened.owner.cancel_round(opened.model_id, 1)
    opened.owner.open_round(opened.model_id)
    with pytest.raises(BadSignature):
        relay(opened, signed, number=2)


def test_a_signature_replayed_in_another_model_reverts(opened: Federation) -> None:
    signed = signature(opened)
    owner = opened.mallory
    owner.register_model(opened.genesis, ROOT, ROOT)
    theirs = replace(opened, model_id=owner.model_id(owner.account, opened.genesis))
    owner.grant_roles(theirs.model_id, opened.ann.account, Role.PARTICIPANT)
    owner.set_plan(theirs.model_id, opened.plan, opened.rules)
    owner.open_round(theirs.model_id)
    with pytest.raises(BadSignature):
        relay(theirs, signed)


def test_a_signature_replayed_in_another_contract_reverts(opened: Federation) -> None:
    """A second Cairn on the same chain, with the same model in it."""
    signed = signature(opened)
    made = deploy(opened.chain.w3, opened.mallory.transactor, chain_id=opened.mallory.chain_id)
    assert made.address != opened.mallory.address
    owner = Client(opened.chain.w3, made.address, signer=opened.chain.signers[0])
    owner.register_model(opened.genesis, ROOT, ROOT)
    model = owner.model_id(owner.account, opened.genesis)
    owner.grant_roles(model, opened.ann.account, Role.PARTICIPANT)
    owner.set_plan(model, opened.plan, opened.rules)
    owner.open_round(model)
    said = domain(opened)
    with pytest.raises(BadSignature):
        owner.commit_update_for(model, 1, update_of(said, signed))


def test_a_signature_outlives_neither_role_nor_phase(opened: Federation) -> None:
    signed = signature(opened)
    opened.owner.revoke_roles(opened.model_id, opened.ann.account, Role.PARTICIPANT)
    with pytest.raises(MissingRole):
        relay(opened, signed)
    opened.owner.grant_roles(opened.model_id, opened.ann.account, Role.PARTICIPANT)
    opened.sleep_to("commit_deadline")
    with pytest.raises(WrongPhase):
        relay(opened, signed, sender="mallory")


def test_a_signature_replayed_after_its_time_reverts(opened: Federation) -> None:
    until = opened.owner.round(opened.model_id, 1).commit_deadline - 100
    signed = signature(opened, valid_until=until)
    warp(opened.chain.w3, to=until + 1)
    assert opened.owner.phase(opened.model_id, 1) is Phase.COMMIT
    with pytest.raises(SignatureExpired):
        relay(opened, signed, valid_until=until)
    with pytest.raises(BadSignature):
        relay(opened, signed, valid_until=2**64 - 1)


POISON: dict[str, Callable[[Federation], SignedUpdate]] = {
    "BadSignature": lambda house: replace(of_name(house, "bob"), weight=1 << 20),
    "SignatureExpired": lambda house: of_name(house, "bob", valid_until=1),
    "MissingRole": lambda house: of_name(house, "first"),
    "AlreadyCommitted": lambda house: of_name(house, "ann"),
    "BadSteps": lambda house: of_name(house, "bob", steps=0),
}


def of_name(house: Federation, name: str, **changed: Any) -> SignedUpdate:
    """What somebody signs in good order, or something near it."""
    said = domain(house, participant=house.clients[name].account, **changed)
    signer = next(s for s in house.chain.signers if s.address == said["participant"])
    return house.stranger.sign_commitment(signer, house.model_id, 1, update_of(said))


@pytest.mark.parametrize("reason", POISON)
def test_a_poisoned_member_of_a_list_spoils_nothing(opened: Federation, reason: str) -> None:
    poisoned = POISON[reason](opened)
    updates = [of_name(opened, "ann"), poisoned, of_name(opened, "cyn"), of_name(opened, "mallory")]
    receipt = opened.stranger.commit_updates_for(opened.model_id, 1, updates)
    committed = [opened.clients[name].account for name in ("ann", "cyn", "mallory")]
    assert [c.participant for c in opened.record().commitments] == committed
    (skipped,) = (event for event in receipt.events if isinstance(event, CommitmentSkipped))
    named = error_of(skipped.reason)
    assert (skipped.participant, named and named[0]) == (poisoned.participant, reason)


def test_a_list_sent_again_commits_nobody_twice(opened: Federation) -> None:
    updates = [of_name(opened, name) for name in ("ann", "cyn")]
    for sender in ("stranger", "mallory"):
        opened.clients[sender].commit_updates_for(opened.model_id, 1, updates)
    assert len(opened.record().commitments) == 2


def test_a_relayed_commitment_counts_for_its_signer_and_not_for_its_sender(opened: Federation) -> None:
    update = opened.update("ann")
    delta = {"digest": update.digest, "tensor_root": Root(update.manifest.delta.tensor_root)}
    relay(opened, signature(opened, **delta), sender="mallory", **delta)
    opened.publish(update)
    opened.sleep_to("publish_deadline")
    assert opened.reasons() == {"ann": Reason.ADMITTED}
