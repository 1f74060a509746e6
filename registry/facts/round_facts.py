"""A round on chain: phase, deadlines, commitments and attestations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.types import Digest, ModelId, Phase

if TYPE_CHECKING:
    from registry.chain.client import Client
    from registry.store.base import ContentStore

__all__ = ["DEADLINES", "Attestation", "CommitmentFacts", "RoundFacts", "asked_in", "round_facts"]

DEADLINES = {
    Phase.COMMIT: "commit_deadline",
    Phase.PUBLISH: "publish_deadline",
    Phase.AGGREGATE: "aggregate_deadline",
    Phase.CHALLENGE: "challenge_deadline",
}
"""The field of a round that holds each phase's deadline."""


@dataclass(frozen=True, slots=True)
class CommitmentFacts:
    """A committed update.

    Attributes:
        participant: EIP-55 address.
        digest: Digest of its manifest.
        tensor_root: Merkle root of its values.
        steps: Training steps that the participant declared.
        block: Number of the block that committed it.
    """

    participant: str
    digest: Digest
    tensor_root: bytes
    weight: int
    steps: int
    block: int


@dataclass(frozen=True, slots=True)
class Attestation:
    """An attested result.

    Attributes:
        aggregator: EIP-55 address.
        block: Number of the block that attested it.
    """

    aggregator: str
    result_hash: bytes
    contributions: int
    total_weight: int
    version: Digest
    block: int


@dataclass(frozen=True, slots=True)
class RoundFacts:
    """A round's state at the pending block, whose timestamp is the present.

    Attributes:
        time: The chain's time, Unix seconds.
        deadlines: Unix seconds by name; the challenge deadline is 0 while no valid result has a quorum.
        plan_index: Index of its plan, from 0.
        recorded: Whether a cancellation is recorded on chain, not only implied by a passed deadline.
        votes: Number of attestations of the most-attested result.
        result_hash: Hash of that result; None before an attestation.
        version: Version of the result that a quorum attested; None before.
        contributions: Likewise.
        total_weight: Likewise.
    """

    model: ModelId
    number: int
    phase: Phase
    time: int
    deadlines: Mapping[str, int]
    parent: Digest
    plan_index: int
    quorum: int
    weight_cap: int
    commitments: tuple[CommitmentFacts, ...]
    attestations: tuple[Attestation, ...]
    votes: int
    finalized: bool
    recorded: bool
    result_hash: bytes | None
    version: Digest | None
    contributions: int | None
    total_weight: int | None


def round_facts(client: Client, model: ModelId, number: int) -> RoundFacts:
    """Read a round, up to the latest block."""
    from registry.chain.contract_events import ResultAttested, RoundOpened, UpdateCommitted
    from registry.ethereum.keys import to_checksum
    from registry.ethereum.node import chain_time

    state = client.round(model, number)
    latest = client.latest_block()
    round_id = client.round_id(model, number)
    opened = [e for e in client.events(RoundOpened, subject=model, to_block=latest) if isinstance(e, RoundOpened)]
    parent = next((e.parent for e in opened if e.number == number), Digest(bytes(32)))
    commitments, attestations = [], []
    for event in client.events(UpdateCommitted, ResultAttested, subject=round_id, to_block=latest):
        if isinstance(event, UpdateCommitted):
            who = to_checksum(event.participant)
            said = event.digest, event.tensor_root, event.weight, event.steps
            commitments.append(CommitmentFacts(who, *said, event.at.block_number))
        elif isinstance(event, ResultAttested):
            made = event.result
            attestations.append(
                Attestation(
                    to_checksum(event.aggregator),
                    event.result_hash,
                    made.contributions,
                    made.total_weight,
                    made.version_digest,
                    event.at.block_number,
                )
            )
    chosen = next((a for a in attestations if a.result_hash == state.result_hash), None)
    leading = {a.result_hash: client.votes(model, number, a.result_hash).count for a in attestations}
    return RoundFacts(
        model=model,
        number=number,
        phase=client.phase(model, number),
        time=chain_time(client.w3),
        deadlines={name: getattr(state, name) for name in DEADLINES.values()},
        parent=parent,
        plan_index=state.plan_index,
        quorum=state.quorum,
        weight_cap=state.weight_cap,
        commitments=tuple(commitments),
        attestations=tuple(attestations),
        votes=max(leading.values(), default=0),
        finalized=state.finalized,
        recorded=state.cancelled,
        result_hash=max(leading, key=lambda result: leading[result], default=None),
        version=chosen.version if chosen else None,
        contributions=chosen.contributions if chosen else None,
        total_weight=chosen.total_weight if chosen else None,
    )


def asked_in(client: Client, store: ContentStore, model: ModelId, number: int) -> tuple[str, ...] | None:
    """Return who was asked to take part in a round, of those who held the role when it was opened, as EIP-55 addresses.

    Returns:
        Ascending; None if the round's plan asks everybody, or if its opening is not final yet.

    Raises:
        ContentError: The plan's manifest is unavailable.
    """
    from registry.chain.contract_events import RolesChanged, RoundOpened
    from registry.ethereum.keys import to_checksum
    from registry.rounds.client_sampling import asked_among
    from registry.rounds.onchain import read_round
    from registry.rounds.plans import load_plan
    from registry.rules.algorithms import asks_of
    from registry.types import Role

    events = list(client.events(RolesChanged, RoundOpened, subject=model, to_block=client.final_block()))
    opened = next((e for e in events if isinstance(e, RoundOpened) and e.number == number), None)
    if opened is None:
        return None
    record = read_round(client, model, number)
    share = asks_of(load_plan(store, record.plan).algorithm).share
    if share == 1:
        return None
    before = [e for e in events if isinstance(e, RolesChanged) and e.at < opened.at]
    roles = {e.account: e.roles for e in sorted(before, key=lambda event: event.at)}
    holders = sorted(account for account, held in roles.items() if held & Role.PARTICIPANT)
    return tuple(to_checksum(account) for account in asked_among(record, share, holders))
