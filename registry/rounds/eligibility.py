"""Eligibility of commitments and attestations: role, deadline and round of each.

The contract enforces all of this; these pure functions of records verify it again from its events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from registry.chain.contract_events import (
    CommitsEnded,
    QuorumReached,
    ResultAttested,
    ResultVoided,
    RolesChanged,
    RoundOpened,
)
from registry.errors import VerificationFailed
from registry.ethereum.positions import Event
from registry.rounds.onchain import RoundRecord
from registry.types import Address, Role

__all__ = ["RoundEvents", "require_commitments", "require_in_time", "require_quorum"]


@dataclass(frozen=True, slots=True)
class RoundEvents:
    """Events that affect a round.

    Attributes:
        opened: Opening of the round.
        events: All events of the round, in chain order.
        roles: All role changes in the model, in chain order.
        times: Timestamps of the blocks of its events, Unix seconds, by block number.
    """

    opened: RoundOpened
    events: Sequence[Event]
    roles: Sequence[RolesChanged]
    times: Mapping[int, int]

    def held(self, account: Address, at: Event) -> Role:
        """Return the roles that an account held at an event."""
        before = [change.roles for change in self.roles if change.account == account and change.at < at.at]
        return before[-1] if before else Role(0)


def require_commitments(record: RoundRecord, around: RoundEvents) -> None:
    """Check that each commitment was made by a participant, in phase Commit of this round, with a weight up to the cap
    and at least one step.

    Raises:
        VerificationFailed: A commitment was not; the message says which and why.
    """
    ended = next((event for event in around.events if isinstance(event, CommitsEnded)), None)
    for entry in record.commitments:
        who = f"commitment of 0x{entry.participant.hex()}"
        if not around.held(entry.participant, entry) & Role.PARTICIPANT:
            raise VerificationFailed(f"{who}: expected the participant role in block {entry.at.block_number}, got none")
        if entry.at < around.opened.at or entry.round_id != around.opened.round_id:
            raise VerificationFailed(f"{who}: expected it after round {record.number} was opened, got it before")
        if ended is not None and ended.at < entry.at:
            raise VerificationFailed(f"{who}: expected it before commits ended, got it after")
        time, deadline = around.times[entry.at.block_number], around.opened.commit_deadline
        if time >= deadline:
            raise VerificationFailed(f"{who}: expected it before {deadline}, got it at {time}")
        if not 1 <= entry.weight <= record.plan.weight_cap:
            raise VerificationFailed(f"{who}: expected a weight of 1 to {record.plan.weight_cap}, got {entry.weight}")
        if entry.steps < 1:
            raise VerificationFailed(f"{who}: expected one step or more, got {entry.steps}")


def require_quorum(record: RoundRecord, around: RoundEvents, result_hash: bytes) -> tuple[Address, ...]:
    """Return the aggregators whose attestations form a result's quorum, each with the role at that time.

    Attestations that were moved to another result do not count, nor do those from before the result became void.

    Raises:
        VerificationFailed: There are fewer than the plan's quorum, or an attester lacked the role.
    """
    own = _attestations(around, result_hash)
    if len(own) < record.plan.quorum:
        raise VerificationFailed(f"expected {record.plan.quorum} attestations of the result, got {len(own)}")
    for event in own:
        if not around.held(event.aggregator, event) & Role.AGGREGATOR:
            raise VerificationFailed(
                f"attestation of 0x{event.aggregator.hex()}: expected the aggregator role in block "
                f"{event.at.block_number}, got none"
            )
    return tuple(event.aggregator for event in own)


def require_in_time(around: RoundEvents, result_hash: bytes) -> None:
    """Check that each attestation of a result's quorum was made in phase Aggregate, or in phase Publish after commits
    had ended early.

    Raises:
        VerificationFailed: An attestation was not; the message says which and when.
    """
    for event in _attestations(around, result_hash):
        before = [e for e in around.events if isinstance(e, CommitsEnded | ResultVoided) and e.at < event.at]
        ended = next((e for e in before if isinstance(e, CommitsEnded)), None)
        begin = around.opened.publish_deadline if ended is None else ended.commit_deadline
        end = before[-1].aggregate_deadline if before else around.opened.aggregate_deadline
        time = around.times[event.at.block_number]
        if not begin <= time < end:
            raise VerificationFailed(
                f"attestation of 0x{event.aggregator.hex()}: expected it from {begin} on and before {end}, "
                f"got it at {time}"
            )


def _attestations(around: RoundEvents, result_hash: bytes) -> list[ResultAttested]:
    """Return the attestations of a valid result's quorum."""
    reached = [event for event in around.events if isinstance(event, QuorumReached)]
    voided = [event for event in around.events if isinstance(event, ResultVoided)]
    if not reached or reached[-1].result_hash != result_hash or (voided and voided[-1].at > reached[-1].at):
        raise VerificationFailed(f"expected a quorum for result 0x{result_hash.hex()}, got none that stands")
    again = [event.at for event in voided if event.result_hash == result_hash]  # each restarts the count at zero
    attested = {e.aggregator: e for e in around.events if isinstance(e, ResultAttested) and e.at < reached[-1].at}
    return [e for e in attested.values() if e.result_hash == result_hash and (not again or again[-1] < e.at)]
