"""Warnings about unwise plans, given when a plan is written or set and before a round opens; never a refusal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.cli.plan_defaults import aggregators_of, lag_of
from registry.cli.plan_files import show_duration
from registry.ethereum.money import ether
from registry.types import WALK_STEPS

if TYPE_CHECKING:
    from registry.chain.client import Client
    from registry.chain.contract_structs import Plan
    from registry.content.manifest import PlanManifest
    from registry.ethereum.fees import Fees
    from registry.ethereum.networks import Network
    from registry.types import ModelId

__all__ = [
    "TYPICAL_PURSE",
    "Warned",
    "data_warnings",
    "plan_warnings",
    "rule_warnings",
    "terms_warnings",
    "walk_warnings",
]

TYPICAL_PURSE = 5 * 10**17
"""Wei that an auditor is assumed to spend at most, as with `cairn auditor run MODEL --limit 0.5`."""
DATA_PRICE_GWEI = 50_000
"""Cost of opening a leaf on OP Mainnet at an Ethereum base fee of 300 gwei (`benchmarks/flood.py`), rounded up."""


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning.

    Attributes:
        code: Stable name across releases.
        text: The expected value, the plan's value, and what to change.
    """

    code: str
    text: str


def plan_warnings(client: Client, model: ModelId, plan: Plan, fees: Fees) -> list[Warned]:
    """Return all warnings about a plan, given its chain and model."""
    from registry.ethereum.networks import network_of

    network = network_of(client.chain_id)
    where = "" if network.local else network.name
    aggregators = aggregators_of(client, model)
    participants = client.model(model).participants
    said = terms_warnings(plan, where, lag_of(client), aggregators)
    return said + data_warnings(plan, network) + walk_warnings(plan, participants, fees)


def terms_warnings(plan: Plan, network: str, lag: int, aggregators: int) -> list[Warned]:
    """Return warnings about terms that weaken a round's safety.

    Args:
        plan: The plan as on chain, or to be.
        network: The chain's name; empty for a local one.
        lag: Seconds until a block is final.
        aggregators: Number of members with that role.
    """
    found = []
    if network and plan.answer_duration <= lag:
        answer, least = show_duration(plan.answer_duration), show_duration(lag)
        found.append(
            Warned(
                "answer_below_finality",
                f"answer_duration: expected more than {least}, in which an answer becomes final: one that a reorg "
                f"undoes has to be given again in time, got {answer}; set it longer, and challenge_duration to at "
                f"least {WALK_STEPS} times that",
            )
        )
    if network and not plan.bond_gwei:
        found.append(
            Warned(
                "no_bond",
                f"bond_gwei: expected a bond on {network}, got 0: a lie costs its attesters nothing, and whoever "
                "convicts it earns nothing; set bond_gwei",
            )
        )
    if plan.quorum == 1 and (network or aggregators > 1):
        change = "set quorum = 2" if aggregators > 1 else "grant the role to a second aggregator and set quorum = 2"
        found.append(
            Warned("quorum_of_one", f"quorum: expected at least 2, got 1: one aggregator decides alone; {change}")
        )
    if 0 < aggregators < plan.quorum:
        found.append(
            Warned(
                "quorum_above_aggregators",
                f"quorum: expected at most {aggregators}, the aggregators that the model has, got {plan.quorum}: no "
                "result can reach it; grant the role to more, or set a lower quorum",
            )
        )
    return found


def rule_warnings(manifest: PlanManifest) -> list[Warned]:
    """Return warnings about what the plan's combine rule does, alone or with its update form.

    A rule that takes each coordinate by itself (a median, a trimmed mean, Bulyan) may learn nothing where participants
    hold few labels each: most of them leave a label's weights alone, and so does the median. Under a rule that
    selects, false inner products of packed updates are not convicted: no contract multiplies packed rows.
    """
    from registry.rules.shapes import Columns, Select, SelectColumns
    from registry.rules.table import GEOMETRIC_MEDIAN, MULTI_KRUM, rules_of

    rules = rules_of(manifest)
    rule, packing, found = rules.combine.rule, rules.packing, []
    if isinstance(rule.shape, Columns | SelectColumns):
        text = (
            f"combine_rule: {rule.name} takes each coordinate by itself, and under strong label skew (Dirichlet 0.1) "
            f"it may learn next to nothing with no attack at all; {MULTI_KRUM.name} and {GEOMETRIC_MEDIAN.name} weigh "
            "whole updates"
        )
        found.append(Warned("coordinate_wise", text))
    if packing is not None and isinstance(rule.shape, Select | SelectColumns):
        text = (
            f"update_form: expected dense with {rule.name}, which selects updates, got {packing.name}: false inner "
            "products of packed updates, and the choice that follows from them, are found by readers, not convicted; "
            'set update_form = "dense", or a rule that does not select'
        )
        found.append(Warned("selection_replayed", text))
    return found


def data_warnings(plan: Plan, network: Network) -> list[Warned]:
    """Return warnings about unpaid data fees, on a network that charges transactions for their bytes."""
    if not network.data_fee or plan.demand_price_gwei >= DATA_PRICE_GWEI:
        return []
    return [
        Warned(
            "data_fee_unpaid",
            f"demand_price_gwei: expected at least {DATA_PRICE_GWEI} on {network.name}, where an answer pays for its "
            f"2 KB on Ethereum too and deposits follow gas alone, got {plan.demand_price_gwei}: whoever floods "
            "demands pays less than those who answer; set it higher",
        )
    ]


def walk_warnings(plan: Plan, participants: int, fees: Fees) -> list[Warned]:
    """Return warnings if a walk of demands and the most expensive conviction exceed a purse or the reward.

    Args:
        plan: The plan as on chain, or to be.
        participants: Maximum number of contributions.
        fees: Current fees.
    """
    from registry.roles.watch_costs import price_of, walk_costs

    base, priority = (0, fees.max_fee) if fees.base_fee is None else (fees.base_fee, fees.priority_fee)
    price = price_of(walk_costs(participants, states=True), plan, base, priority)
    cost, half = price.gas + price.deposits, plan.bond_gwei * 10**9 // 2
    dear = (
        f"{WALK_STEPS} demands and the dearest conviction take {ether(cost)} ether now, {ether(price.deposits)} of it "
        "deposits"
    )
    lower = (
        "lower demand_price_gwei" if plan.demand_price_gwei * 10**9 * 5 // 4 >= price.deposit else "wait for lower fees"
    )
    found = []
    if cost > TYPICAL_PURSE:
        purse = f"expected at most {ether(TYPICAL_PURSE)} ether, an auditor's usual purse"
        found.append(Warned("walk_above_purse", f"{dear}: {purse}; {lower}, or provide a larger purse"))
    if 0 < half < cost:
        reward = f"expected at most half a bond, {ether(half)} ether, which it earns"
        found.append(Warned("walk_above_reward", f"{dear}: {reward}; set a larger bond_gwei, or {lower}"))
    return found
