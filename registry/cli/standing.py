"""Collect an aggregator's or auditor's on-chain standing for display."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from registry.cli.money import ether
from registry.cli.output import short
from registry.cli.round_facts import DEADLINES
from registry.cli.session import Session

if TYPE_CHECKING:
    from registry.chain.client import Client
    from registry.types import Address, ModelId

__all__ = ["standing_of", "tell_standing"]


def standing_of(client: Client, model: ModelId, account: Address) -> dict[str, Any]:
    """Return an account's roles, money and attestation in a model's current round, and the demands on its result.

    Returns:
        account, model, roles, round, phase, seconds_left (None in a phase without end), attested (whether this account
            attested the result in question), balance_ether, bond_ether, bond_asked_ether, credit_ether (deposits and
            rewards that can be withdrawn), demands: each open one, with index, root, and seconds left in time and late.
    """
    from registry.chain.court import Court
    from registry.disputes.demands import demands_of
    from registry.ethereum.keys import to_checksum
    from registry.ethereum.node import chain_time
    from registry.types import Phase

    court, number = Court(client), client.model(model).rounds
    now = chain_time(client.w3)
    phase = client.phase(model, number) if number else Phase.NONE
    facts: dict[str, Any] = {
        "account": to_checksum(account),
        "model": model,
        "roles": client.member(model, account).roles.name or "none",
        "round": number,
        "phase": phase.name.lower(),
        "seconds_left": None,
        "attested": False,
        "balance_ether": ether(client.balance(account)),
        "bond_ether": ether(court.bond(model, account).amount),
        "bond_asked_ether": ether(court.bond_asked(model, number)) if number else "0",
        "credit_ether": ether(court.credit(account)),
        "demands": [],
    }
    if phase in DEADLINES:
        facts["seconds_left"] = max(getattr(client.round(model, number), DEADLINES[phase]) - now, 0)
    if number:
        own = client.attestation(model, number, account)
        facts["attested"] = any(own)
    if phase == Phase.CHALLENGE:
        dispute = client.dispute(model, number)
        facts["attested"] = own == dispute.tally
        demands = demands_of(court, dispute, since=client.round_began(model, number))
        facts["demands"] = [
            {
                "index": leaf.index,
                "root": leaf.root,
                "seconds": max(demands.deadlines[leaf] - now, 0),
                "late_seconds": max(demands.late_deadlines[leaf] - now, 0),
            }
            for leaf in demands.open
        ]
    return facts


def tell_standing(session: Session, facts: dict[str, Any]) -> None:
    """Print an account's standing."""
    left = f", {facts['seconds_left']} s left by the chain's clock" if facts["seconds_left"] is not None else ""
    session.out.fields(
        {
            "account": facts["account"],
            "roles": facts["roles"],
            "round": f"{facts['round']}, {facts['phase']}{left}",
            "stands_by_the_result": "yes" if facts["attested"] else "no",
            "balance": f"{facts['balance_ether']} ether",
            "bond": f"{facts['bond_ether']} ether; the round asks for {facts['bond_asked_ether']}",
            "to_be_withdrawn": f"{facts['credit_ether']} ether",
        }
    )
    rows = [(d["index"], short(d["root"]), f"{d['seconds']} s", f"{d['late_seconds']} s") for d in facts["demands"]]
    session.out.table(("leaf", "root", "in time for", "late for"), rows, right=("leaf",), empty="No open demands.")
