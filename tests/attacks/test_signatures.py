"""Replaying, or bending, a signature that lets others commit for a participant."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from registry.chain.client import Client, commitment_typed_data
from registry.chain.deploy import deploy
from registry.chain.errors import AlreadyCommitted, BadSignature, MissingRole, WrongPhase
from registry.content.manifest import Reason
from registry.types import Digest, Role, Root

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
    "hook_data": b"\x06",
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
        "hook_data": b"",
    }
    return fields | changed


def signature(house: Federation, name: str = "ann", **changed: Any) -> bytes:
    return house.chain.signers[1 if name == "ann" else 4].sign_typed_data(
        commitment_typed_data(**domain(house, **changed))
    )


def relay(house: Federation, signed: bytes, *, sender: str = "stranger", number: int = 1, **changed: Any) -> None:
    said = domain(house, **changed)
    house.clients[sender].commit_update_for(
        said["participant"],
        house.model_id,
        number,
        said["digest"],
        said["tensor_root"],
        said["weight"],
        signature=signed,
    )


def test_anyone_may_send_what_a_participant_signed(opened: Federation) -> None:
    relay(opened, signature(opened))
    assert [c.participant for c in opened.record().commitments] == [opened.ann.account]


@pytest.mark.parametrize("field", SIGNED)
def test_a_signature_over_anything_else_reverts(opened: Federation, field: str) -> None:
    with pytest.raises(BadSignature):
        relay(opened, signature(opened, **{field: SIGNED[field]}))


@pytest.mark.parametrize("field", ["digest", "tensor_root", "weight"])
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
        owner.commit_update_for(
            opened.ann.account, model, 1, said["digest"], said["tensor_root"], said["weight"], signature=signed
        )


def test_a_signature_outlives_neither_role_nor_phase(opened: Federation) -> None:
    signed = signature(opened)
    opened.owner.revoke_roles(opened.model_id, opened.ann.account, Role.PARTICIPANT)
    with pytest.raises(MissingRole):
        relay(opened, signed)
    opened.owner.grant_roles(opened.model_id, opened.ann.account, Role.PARTICIPANT)
    opened.sleep_to("commit_deadline")
    with pytest.raises(WrongPhase):
        relay(opened, signed, sender="mallory")


def test_a_relayed_commitment_counts_for_its_signer_and_not_for_its_sender(opened: Federation) -> None:
    update = opened.update("ann")
    delta = {"digest": update.digest, "tensor_root": Root(update.manifest.delta.tensor_root)}
    relay(opened, signature(opened, **delta), sender="mallory", **delta)
    opened.publish(update)
    opened.sleep_to("publish_deadline")
    assert opened.reasons() == {"ann": Reason.ADMITTED}
