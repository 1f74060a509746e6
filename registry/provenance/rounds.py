"""What the chain says of a round, read and checked against its running hash."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from registry.chain.events import Event, ResultAttested, RolesChanged, RoundOpened, UpdateCommitted
from registry.chain.records import Plan, Result, phase_at, round_id_of, running_hash_begin, running_hash_next
from registry.content.manifest import PlanManifest, decode
from registry.errors import InputError, VerificationFailed
from registry.store.base import ContentStore
from registry.types import Address, Cid, Codec, Digest, ModelId, Phase, Role, RoundId

if TYPE_CHECKING:
    from registry.chain.client import Client

__all__ = [
    "RoundRecord",
    "attested_results",
    "check_plan",
    "chosen_result",
    "commits_closed",
    "load_plan",
    "participants_of",
    "read_round",
]

E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """A round as anchored: what was committed, in commit order, under which plan and on which parent."""

    chain_id: int
    contract: Address
    model_id: ModelId
    number: int
    round_id: RoundId
    parent: Digest
    plan: Plan
    commitments: tuple[UpdateCommitted, ...]
    running_hash: bytes


def read_round(client: Client, model_id: ModelId, number: int) -> RoundRecord:
    """Read a round as of the last final block, and prove that no commitment is missing, invented or out of order.

    Raises:
        InputError: There is no such round in a final block.
        VerificationFailed: The node's events do not give the running hash that the contract holds.
    """
    block = client.final_block()
    opened = next((e for e in _events(client, RoundOpened, model_id, block) if e.number == number), None)
    if opened is None:
        raise InputError(f"model 0x{model_id.hex()}: expected a round {number} in a final block, found none")
    round_id = round_id_of(model_id, number)
    plan = client.plan(model_id, opened.plan_index)
    commitments = tuple(_events(client, UpdateCommitted, round_id, block))
    running = running_hash_begin(round_id, opened.parent, plan)
    for entry in commitments:
        running = running_hash_next(running, entry.participant, entry.digest, entry.tensor_root, entry.weight)
    anchored = client.round(model_id, number, block=block).running_hash
    if running != anchored:
        raise VerificationFailed(
            f"round {number}: expected commitments that hash to 0x{anchored.hex()}, "
            f"the node's {len(commitments)} events give 0x{running.hex()}"
        )
    return RoundRecord(
        chain_id=client.chain_id,
        contract=client.address,
        model_id=model_id,
        number=number,
        round_id=round_id,
        parent=opened.parent,
        plan=plan,
        commitments=commitments,
        running_hash=running,
    )


def commits_closed(client: Client, model_id: ModelId, number: int) -> bool:
    """Say whether the block that closed a round's commits is final: from then on publishing gives nothing away."""
    block = client.final_block()
    if block < 0:
        return False
    time = client.w3.eth.get_block(block)["timestamp"]
    return phase_at(client.round(model_id, number, block=block), time) not in (Phase.NONE, Phase.COMMIT)


def attested_results(client: Client, record: RoundRecord) -> list[ResultAttested]:
    """Return every attestation of the round so far, final or not, oldest first."""
    return list(_events(client, ResultAttested, record.round_id, client.w3.eth.block_number))


def chosen_result(client: Client, record: RoundRecord) -> Result | None:
    """Return the result that a quorum attested, or None while there is none."""
    chosen = client.round(record.model_id, record.number).result_hash
    return next((e.result for e in attested_results(client, record) if e.result_hash == chosen), None)


def participants_of(client: Client, model_id: ModelId) -> list[Address]:
    """Return the accounts that hold the participant role, ascending, as `endCommits` wants them."""
    roles: dict[Address, Role] = {}
    for event in _events(client, RolesChanged, model_id, client.w3.eth.block_number):
        roles[event.account] = event.roles
    return sorted(account for account, held in roles.items() if held & Role.PARTICIPANT)


def _events(client: Client, kind: type[E], subject: bytes, block: int) -> Iterator[E]:
    return (e for e in client.events(kind, subject=subject, to_block=block) if isinstance(e, kind))


def load_plan(store: ContentStore, plan: Plan) -> PlanManifest:
    """Fetch the manifest of an anchored plan.

    Raises:
        VerificationFailed: It says other than the chain.
    """
    manifest = decode(store.get(Cid(Codec.DAG_CBOR, plan.digest)), PlanManifest)
    check_plan(manifest, plan)
    return manifest


def check_plan(manifest: PlanManifest, plan: Plan) -> None:
    """Compare a plan manifest with what the chain holds of it.

    Raises:
        VerificationFailed: They differ.
    """
    for name in plan.__dataclass_fields__:
        if name == "digest":
            continue
        said, anchored = getattr(manifest, name), getattr(plan, name)
        if name == "hook":
            said = said or bytes(20)
        if said != anchored:
            raise VerificationFailed(f"plan: the manifest has {name} {said!r}, the chain {anchored!r}")
