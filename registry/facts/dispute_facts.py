"""Audits and disputes of a round's results: checks, an account's standing, open demands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.facts.round_facts import DEADLINES
from registry.types import ModelId, Phase
from registry.verification.checks import Check, Finding

if TYPE_CHECKING:
    from registry.chain.client import Client
    from registry.types import Address

__all__ = ["AuditFacts", "DemandFacts", "ResultCheck", "StandingFacts", "audit_facts", "standing_facts"]


@dataclass(frozen=True, slots=True)
class ResultCheck:
    """A check of an attested result, by the result's hash."""

    result: bytes
    name: str
    finding: Finding
    evidence: str


@dataclass(frozen=True, slots=True)
class AuditFacts:
    """The audit of every result attested in a round.

    Attributes:
        results: Number of different results.
        passed: Whether every check passed, or is the attesters' word.
    """

    model: ModelId
    round: int
    results: int
    passed: bool
    checks: tuple[ResultCheck, ...]


@dataclass(frozen=True, slots=True)
class DemandFacts:
    """An open demand.

    Attributes:
        index: The demanded leaf.
        root: Merkle root of its tree.
        seconds: Time left to answer, by the chain's clock; 0 once it is over.
        late_seconds: Time left to answer late.
    """

    index: int
    root: bytes
    seconds: int
    late_seconds: int


@dataclass(frozen=True, slots=True)
class StandingFacts:
    """An account's standing in a model's last round. Amounts are ether in plain decimals, six significant digits.

    Attributes:
        account: EIP-55 address.
        roles: Names of its roles, separated by `|`; none without one.
        round: Number of the last round; 0 before the first.
        seconds_left: Time left in the phase, by the chain's clock; None in a phase without end.
        attested: Whether it attested the result in question.
        balance_ether: Balance.
        bond_ether: Deposited bond.
        bond_asked_ether: Bond that attesting in this round requires.
        credit_ether: Withdrawable deposits and rewards.
        demands: Open demands of the result in its challenge window.
    """

    account: str
    model: ModelId
    roles: str
    round: int
    phase: Phase
    seconds_left: int | None
    attested: bool
    balance_ether: str
    bond_ether: str
    bond_asked_ether: str
    credit_ether: str
    demands: tuple[DemandFacts, ...]


def audit_facts(model: ModelId, number: int, checks: Sequence[tuple[bytes, Check]]) -> AuditFacts:
    """Return the facts of an audit, given the checks of each result hash."""
    return AuditFacts(
        model=model,
        round=number,
        results=len({result for result, _ in checks}),
        passed=all(check.finding in (Finding.PASSED, Finding.ASSERTED) for _, check in checks),
        checks=tuple(ResultCheck(result, c.name, c.finding, c.evidence) for result, c in checks),
    )


def standing_facts(client: Client, model: ModelId, account: Address) -> StandingFacts:
    """Read an account's roles, money and attestation in a model's last round, and the demands on its result."""
    from registry.chain.court import Court
    from registry.disputes.demands import demands_of
    from registry.ethereum.keys import to_checksum
    from registry.ethereum.money import ether
    from registry.ethereum.node import chain_time

    court, number = Court(client), client.model(model).rounds
    now = chain_time(client.w3)
    phase = client.phase(model, number) if number else Phase.NONE
    ends = getattr(client.round(model, number), DEADLINES[phase]) if phase in DEADLINES else None
    own = client.attestation(model, number, account) if number else b""
    attested, demands = any(own), list[DemandFacts]()
    if phase == Phase.CHALLENGE:
        dispute = client.dispute(model, number)
        attested = own == dispute.tally
        found = demands_of(court, dispute, since=client.round_began(model, number))
        demands = [
            DemandFacts(
                index=leaf.index,
                root=leaf.root,
                seconds=max(found.deadlines[leaf] - now, 0),
                late_seconds=max(found.late_deadlines[leaf] - now, 0),
            )
            for leaf in found.open
        ]
    return StandingFacts(
        account=to_checksum(account),
        model=model,
        roles=client.member(model, account).roles.name or "none",
        round=number,
        phase=phase,
        seconds_left=None if ends is None else max(ends - now, 0),
        attested=attested,
        balance_ether=ether(client.balance(account)),
        bond_ether=ether(court.bond(model, account).amount),
        bond_asked_ether=ether(court.bond_asked(model, number)) if number else "0",
        credit_ether=ether(court.credit(account)),
        demands=tuple(demands),
    )
