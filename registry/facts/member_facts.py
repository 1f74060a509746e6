"""A model's members: their roles, bonds and updates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.types import Address, Digest, ModelId, Role, Root

if TYPE_CHECKING:
    from registry.chain.client import Client
    from registry.content.manifest import UpdateManifest

__all__ = [
    "BondFacts",
    "MemberFacts",
    "UpdateFacts",
    "bond_facts",
    "member_facts",
    "members_of",
    "update_facts",
]


@dataclass(frozen=True, slots=True)
class MemberFacts:
    """An account's roles in a model.

    Attributes:
        account: EIP-55 address.
        roles: Current roles.
        last_round: Number of the last round that it committed to; None before.
    """

    account: str
    roles: Role
    last_round: int | None


@dataclass(frozen=True, slots=True)
class BondFacts:
    """An account's bond in a model, and its credit.

    Attributes:
        account: EIP-55 address.
        bond_ether: Deposited bond, ether in plain decimals to six significant digits.
        last_round: Number of the last round that it attested with it; None before.
        owed_ether: Withdrawable credit of all models, like `bond_ether`.
    """

    model: ModelId
    account: str
    bond_ether: str
    last_round: int | None
    owed_ether: str


@dataclass(frozen=True, slots=True)
class UpdateFacts:
    """A participant's update of a round.

    Attributes:
        update: Digest of its manifest.
        tensor_root: Merkle root of its values.
        weight: Its weight.
        steps: Training steps behind it.
        saturated: Number of values clipped to the grid.
        metrics: The participant's own metrics by name; nobody checks them.
    """

    model: ModelId
    round: int
    update: Digest
    tensor_root: Root
    weight: int
    steps: int
    saturated: int
    metrics: Mapping[str, float]


def members_of(client: Client, model: ModelId) -> dict[Address, Role]:
    """Return every account that has, or had, a role in a model, with its current roles, at the latest block."""
    from registry.chain.contract_events import RolesChanged

    roles: dict[Address, Role] = {}
    for event in client.events(RolesChanged, subject=model, to_block=client.latest_block()):
        if isinstance(event, RolesChanged):
            roles[event.account] = event.roles
    return roles


def member_facts(client: Client, model: ModelId, *, everybody: bool = False) -> Iterator[MemberFacts]:
    """Yield a model's members; with `everybody` also accounts without a current role."""
    from registry.ethereum.keys import to_checksum

    for account, roles in members_of(client, model).items():
        if roles or everybody:
            yield MemberFacts(to_checksum(account), roles, client.member(model, account).last_round or None)


def bond_facts(client: Client, model: ModelId, account: Address) -> BondFacts:
    """Read an account's bond in a model, and its credit."""
    from registry.chain.court import Court
    from registry.ethereum.keys import to_checksum
    from registry.ethereum.money import ether

    court = Court(client)
    held = court.bond(model, account)
    owed = ether(court.credit(account))
    return BondFacts(model, to_checksum(account), ether(held.amount), held.locked_round or None, owed)


def update_facts(manifest: UpdateManifest) -> UpdateFacts:
    """Return the facts of an update's manifest."""
    from registry.content.manifest import digest_of

    return UpdateFacts(
        model=ModelId(manifest.model),
        round=manifest.number,
        update=digest_of(manifest),
        tensor_root=Root(manifest.delta.tensor_root),
        weight=manifest.weight,
        steps=manifest.steps,
        saturated=manifest.saturated,
        metrics=manifest.metrics,
    )
