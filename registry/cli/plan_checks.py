"""Checks before a plan is set or a round opens: it fits the head, the cost of a conviction, unwise terms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from registry.chain.client import Client
from registry.chain.contract_structs import Plan
from registry.cli.plan_warnings import Warned, plan_warnings
from registry.cli.session import Session
from registry.errors import CairnError, InputError, VerificationFailed
from registry.ethereum.fees import Fees, suggest_fees
from registry.ethereum.money import ether
from registry.types import ModelId

if TYPE_CHECKING:
    from registry.content.tensors import TensorHeader

__all__ = ["check_plan", "conviction_cost", "head_header", "require_fit"]


def head_header(session: Session, model: ModelId) -> TensorHeader:
    """Return the safetensors header of the head's file."""
    from registry.rounds.versions import load_version_manifest, read_header

    head = load_version_manifest(session.store, session.reader.model(model).head)
    return read_header(session.store, head.weights.blob)


def require_fit(session: Session, model: ModelId, plan: Plan) -> list[Warned]:
    """Refuse a plan that does not fit the head; return a warning if the store cannot show whether it does.

    Raises:
        InputError, VerificationFailed: The plan is for versions of another form, or its manifest contradicts the chain.
    """
    from registry.rounds.plans import load_plan, plan_segments

    try:
        plan_segments(load_plan(session.store, plan), head_header(session, model))
    except (InputError, VerificationFailed):
        raise
    except CairnError as error:
        return [Warned("plan_not_checked", f"the plan was not checked against the head: {error}")]
    return []


def check_plan(
    session: Session, model: ModelId, plan: Plan, warned: list[Warned] | None = None
) -> tuple[dict[str, Any], list[Warned]]:
    """Warn of unwise terms, such as a bond that pays no conviction; return what one costs, and the warnings.

    Args:
        session: The running command's session.
        model: The model that has, or will have, the plan.
        plan: The plan.
        warned: Earlier warnings, to print with these.
    """
    client = session.reader
    fees = suggest_fees(client.w3)
    cost = conviction_cost(client, model, plan, fees, selects=_selects(session, plan))
    found = [*(warned or []), *plan_warnings(client, model, plan, fees)]
    text = (
        f"proving on chain that a result is wrong takes up to {cost['cost_ether']} ether now ({cost['gas']:,} gas with "
        f"{cost['participants']} contributions), and the reward is half a bond, {cost['half_bond_ether']} ether"
    )
    if plan.bond_gwei and not cost["paid"]:
        text = f"{text}: the challenger loses money by it; a larger bond_gwei would change that"
        found = [Warned("conviction_above_reward", text), *(w for w in found if w.code != "walk_above_reward")]
    for warning in found:
        session.out.warn(warning.text)
    return cost, found


def _selects(session: Session, plan: Plan) -> bool:
    """Whether the plan's rules select, as far as its manifest is at hand."""
    from registry.content.manifest import PlanManifest
    from registry.rules.shapes import Select, SelectColumns
    from registry.rules.table import COMBINE_RULES, find
    from registry.store.manifests import found_manifest

    manifest = found_manifest(session.store, plan.digest, PlanManifest)
    rule = None if manifest is None else find(COMBINE_RULES, manifest.combine_rule)
    return rule is not None and isinstance(rule.shape, Select | SelectColumns)


def conviction_cost(client: Client, model: ModelId, plan: Plan, fees: Fees, *, selects: bool = False) -> dict[str, Any]:
    """Return the cost of the most expensive conviction under a plan if every participant contributes, at today's fees.

    Args:
        client: The chain.
        model: The model.
        plan: The plan.
        fees: Today's.
        selects: Whether its rules select.

    Returns:
        participants; gas; cost_ether; half_bond_ether, the reward, zero without a bond; paid, whether the reward covers
            the cost.
    """
    from registry.disputes.streaming import conviction_gas

    participants = client.model(model).participants
    gas = conviction_gas(participants, selects=selects)
    cost = gas * (fees.max_fee if fees.base_fee is None else fees.base_fee + fees.priority_fee)
    return {
        "participants": participants,
        "gas": gas,
        "cost_ether": ether(cost),
        "half_bond_ether": ether(plan.bond_gwei * 10**9 // 2),
        "paid": cost <= plan.bond_gwei * 10**9 // 2,
    }
