"""Looked at before a plan stands or a round opens: that it fits the head, and what convicting by it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from registry.chain.client import Client
from registry.chain.fees import suggest_fees
from registry.chain.records import Plan
from registry.errors import CairnError, InputError, VerificationFailed
from registry.types import ModelId
from trainer.cli.money import ether
from trainer.cli.session import Session

if TYPE_CHECKING:
    from registry.content.tensors import TensorHeader

__all__ = ["conviction_cost", "head_header", "require_fit", "tell_cost"]


def head_header(session: Session, model: ModelId) -> TensorHeader:
    """Return the header of the head's file."""
    from registry.provenance.versions import load_version_manifest, read_header

    head = load_version_manifest(session.store, session.reader.model(model).head)
    return read_header(session.store, head.weights.blob)


def require_fit(session: Session, model: ModelId, plan: Plan) -> None:
    """Refuse a plan that rounds on the head cannot run under; warn where a store does not let it be seen.

    Raises:
        InputError, VerificationFailed: The plan is for versions of another form, or its manifest says other than the
            chain.
    """
    from registry.provenance.plans import load_plan, plan_segments

    try:
        plan_segments(load_plan(session.store, plan), head_header(session, model))
    except (InputError, VerificationFailed):
        raise
    except CairnError as error:
        session.out.warn(f"the plan was not checked against the head: {error}")


def conviction_cost(client: Client, model: ModelId, plan: Plan) -> dict[str, Any]:
    """Return what the dearest conviction by a plan takes if every participant contributes, at today's fees.

    Returns:
        participants; gas; cost_ether; half_bond_ether, which is what it earns: zero without a bond.
    """
    from trainer.challenger import conviction_gas

    participants = client.model(model).participants
    gas = conviction_gas(participants)
    fees = suggest_fees(client.w3)
    cost = gas * (fees.max_fee if fees.base_fee is None else fees.base_fee + fees.priority_fee)
    return {
        "participants": participants,
        "gas": gas,
        "cost_ether": ether(cost),
        "half_bond_ether": ether(plan.bond_gwei * 10**9 // 2),
        "paid": cost <= plan.bond_gwei * 10**9 // 2,
    }


def tell_cost(session: Session, cost: dict[str, Any]) -> None:
    """Say it, and warn where convicting costs more than it earns."""
    text = (
        f"convicting takes at most about {cost['gas']:,} gas with {cost['participants']} contributions: "
        f"{cost['cost_ether']} ether now; half a bond is {cost['half_bond_ether']} ether"
    )
    if cost["paid"] or cost["half_bond_ether"] == "0":
        session.out.note(text)
    else:
        session.out.warn(f"{text}: whoever convicts pays for it; a larger bond_gwei would change that")
