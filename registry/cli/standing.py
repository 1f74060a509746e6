"""Print an aggregator's or auditor's on-chain standing as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.cli.output import short
from registry.cli.session import Session

if TYPE_CHECKING:
    from registry.facts.dispute_facts import StandingFacts

__all__ = ["tell_standing"]


def tell_standing(session: Session, facts: StandingFacts) -> None:
    """Print an account's standing."""
    left = f", {facts.seconds_left} s left by the chain's clock" if facts.seconds_left is not None else ""
    session.out.fields(
        {
            "account": facts.account,
            "roles": facts.roles,
            "round": f"{facts.round}, {facts.phase.name.lower()}{left}",
            "stands_by_the_result": "yes" if facts.attested else "no",
            "balance": f"{facts.balance_ether} ether",
            "bond": f"{facts.bond_ether} ether; the round asks for {facts.bond_asked_ether}",
            "to_be_withdrawn": f"{facts.credit_ether} ether",
        }
    )
    rows = [(d.index, short(d.root), f"{d.seconds} s", f"{d.late_seconds} s") for d in facts.demands]
    session.out.table(("leaf", "root", "in time for", "late for"), rows, right=("leaf",), empty="No open demands.")
