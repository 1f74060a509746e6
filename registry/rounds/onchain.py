"""On-chain records of a round, read from events and verified against the contract's running hash."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from registry.chain.contract_events import ResultAttested, RolesChanged, RoundOpened, UpdateCommitted
from registry.chain.contract_hashes import result_hash, round_id_of, running_hash_begin, running_hash_next
from registry.chain.contract_structs import Plan, Result
from registry.chain.phases import phase_at
from registry.errors import NodeUnavailable, VerificationFailed
from registry.ethereum.networks import FinalityRule
from registry.ethereum.node import asking, chain_time, quantity
from registry.ethereum.positions import Event, Position
from registry.types import Address, Digest, ModelId, Phase, Role, RoundId, Standing

if TYPE_CHECKING:
    from registry.chain.anchors import ChainView
    from registry.chain.client import Client
    from registry.chain.views import Views

__all__ = [
    "RoundRecord",
    "attested_by",
    "attested_result",
    "attested_results",
    "attesters_of",
    "block_times",
    "chosen_result",
    "commits_closed",
    "final_phase",
    "participants_of",
    "read_round",
    "unexpelled",
    "who_ends_commits",
]

_MOST_NAMED = 2000
"""Most participants that one transaction lists to end commits early; with more, the deadline ends them."""

E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """A round's on-chain record: plan, parent, and commitments in commit order.

    Attributes:
        opened_in: Hash of the block that opened it.
        parent_roots: Anchored hash of the parent's roots.
    """

    chain_id: int
    contract: Address
    model_id: ModelId
    number: int
    round_id: RoundId
    opened_in: bytes
    parent: Digest
    parent_roots: bytes
    plan: Plan
    commitments: tuple[UpdateCommitted, ...]
    running_hash: bytes


def read_round(client: ChainView, model_id: ModelId, number: int, *, block: int | None = None) -> RoundRecord:
    """Read a round as of a block, and verify that no commitment is missing, invented or out of order.

    Args:
        client: The chain.
        model_id: The model.
        number: The round.
        block: The block; by default the last final one, whose record no reorg changes.

    Raises:
        NodeUnavailable: The node has no block up to this one that opens the round, or not yet.
        VerificationFailed: The node's events do not hash to the contract's running hash.
    """
    block, began = client.final_block() if block is None else block, client.round_began(model_id, number)
    opened = next((e for e in _events(client, RoundOpened, model_id, block, began) if e.number == number), None)
    if opened is None:
        raise NodeUnavailable(f"model 0x{model_id.hex()}: expected a round {number} by block {block}, found none")
    round_id = round_id_of(model_id, number)
    plan = client.plan(model_id, opened.plan_index, block=block)
    commitments = tuple(_events(client, UpdateCommitted, round_id, block, began))
    running = running_hash_begin(round_id, opened.parent, plan)
    for entry in commitments:
        running = running_hash_next(
            running, entry.participant, entry.digest, entry.tensor_root, entry.weight, entry.steps
        )
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
        opened_in=opened.at.block_hash,
        parent=opened.parent,
        parent_roots=client.version(model_id, opened.parent, block=block).roots,
        plan=plan,
        commitments=commitments,
        running_hash=running,
    )


def final_phase(client: Client, model_id: ModelId, number: int) -> Phase:
    """Return a round's phase at the last final block, which no reorg undoes.

    While it is NONE, a reorg may still change the round's opening, and with it parent and plan. On chains with instant
    finality it is the current phase, since such a chain may produce no block until a transaction is sent.
    """
    block = client.final_block()
    if block < 0:
        return Phase.NONE
    if client.finality.rule is FinalityRule.INSTANT:
        return client.phase(model_id, number)
    with asking("eth_getBlockByNumber"):
        time = quantity(client.w3.eth.get_block(block)["timestamp"], "timestamp")
    return phase_at(client.round(model_id, number, block=block), time)


def commits_closed(client: Client, model_id: ModelId, number: int) -> bool:
    """Return whether the end of a round's phase Commit is final: from then on published updates cannot be copied."""
    return final_phase(client, model_id, number) not in (Phase.NONE, Phase.COMMIT)


def attested_results(client: ChainView, record: RoundRecord) -> list[ResultAttested]:
    """Return every attestation of the round so far, final or not, oldest first.

    Raises:
        VerificationFailed: A result does not hash to the hash in its event.
    """
    began = client.round_began(record.model_id, record.number)
    found = list(_events(client, ResultAttested, record.round_id, client.latest_block(), began))
    for event in found:
        if result_hash(event.result) != event.result_hash:
            raise VerificationFailed(
                f"round {record.number}: expected an attested result that hashes to 0x{event.result_hash.hex()}, "
                f"the node's event gives 0x{result_hash(event.result).hex()}"
            )
    return found


def attested_result(client: ChainView, record: RoundRecord, hashed: bytes) -> Result | None:
    """Return the attested result with a hash; None if the node has no attestation of it, or no longer has one."""
    return next((e.result for e in attested_results(client, record) if e.result_hash == hashed), None)


def chosen_result(client: ChainView, record: RoundRecord) -> Result | None:
    """Return the result with a quorum; None if there is none yet."""
    return attested_result(client, record, client.round(record.model_id, record.number).result_hash)


def attested_by(client: Client, model_id: ModelId, number: int, since: int | None = None) -> set[Address]:
    """Return who has attested anything in a round, from a block on, or from the round's first."""
    first = client.round_began(model_id, number) if since is None else since
    attested = _events(client, ResultAttested, round_id_of(model_id, number), client.latest_block(), first)
    return {event.aggregator for event in attested}


def attesters_of(
    client: Client, model_id: ModelId, number: int, tally: bytes, among: Iterable[Address] | None = None
) -> list[Address]:
    """Return who attests a result now, ascending, among these accounts, or all that have attested anything."""
    found = sorted(set(attested_by(client, model_id, number) if among is None else among))
    return [aggregator for aggregator in found if client.attestation(model_id, number, aggregator) == tally]


def unexpelled(client: Client, model_id: ModelId, number: int) -> dict[Address, bytes]:
    """Return the attesters of a round's void results that still hold role or bond, with the tally of each."""
    if not client.round(model_id, number).unexpelled:
        return {}
    found = {}
    for aggregator in sorted(attested_by(client, model_id, number)):
        tally = client.attestation(model_id, number, aggregator)
        if client.standing(model_id, number, tally) is not Standing.SOUND:
            found[aggregator] = tally
    return found


def block_times(client: Views, places: Iterable[Position]) -> dict[int, int]:
    """Return the timestamps of blocks by number, Unix seconds.

    Raises:
        VerificationFailed: The node's block of a number is not the block of the event.
    """
    times = {}
    for number, block_hash in sorted({(at.block_number, at.block_hash) for at in places}):
        with asking("eth_getBlockByNumber"):
            block = client.w3.eth.get_block(number)
            found, times[number] = bytes(block["hash"]), quantity(block["timestamp"], "timestamp")
        if found != block_hash:
            raise VerificationFailed(
                f"block {number}: expected 0x{block_hash.hex()}, got 0x{found.hex()} from the node"
            )
    return times


def participants_of(client: ChainView, model_id: ModelId) -> list[Address]:
    """Return the accounts that hold the participant role, ascending, as `endCommits` requires."""
    roles: dict[Address, Role] = {}
    for event in _events(client, RolesChanged, model_id, client.latest_block()):
        roles[event.account] = event.roles
    return sorted(account for account, held in roles.items() if held & Role.PARTICIPANT)


def who_ends_commits(client: Client, model_id: ModelId, number: int) -> list[Address] | None:
    """Return whom to list to end a round's commits now; None if nobody can end them yet.

    That is every participant once all have committed, and nobody once as many have as the plan calls enough, after the
    time that it gives them at least.
    """
    participants = participants_of(client, model_id)
    if 0 < len(participants) <= _MOST_NAMED and all(
        client.member(model_id, account).last_round == number for account in participants
    ):
        return participants
    state = client.round(model_id, number)
    plan = client.plan(model_id, state.plan_index)
    earliest = state.commit_deadline - plan.commit_duration + plan.least_commit_duration
    enough = 0 < plan.enough_commitments <= state.commitments and chain_time(client.w3) >= earliest
    return [] if enough else None


def _events(client: ChainView, kind: type[E], subject: bytes, block: int, first: int | None = None) -> Iterator[E]:
    found = client.events(kind, subject=subject, from_block=first, to_block=block)
    return (e for e in found if isinstance(e, kind))
