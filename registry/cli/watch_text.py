"""Cost of auditing a round, as `cairn auditor plan` computes it from the chain and prints it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from registry.cli.output import Output, short
from registry.cli.plan_files import show_duration
from registry.cli.session import Session
from registry.errors import InputError
from registry.ethereum.money import ether

if TYPE_CHECKING:
    from registry.roles.watch_costs import Price, WatchCosts
    from registry.types import ModelId

__all__ = ["Watched", "base_fees", "show_costs", "watched"]

_ROUND = 10**14
"""Granularity in wei to which a limit is rounded up: 0.0001 ether."""


@dataclass(frozen=True, slots=True)
class Watched:
    """The cost of auditing a round of a model.

    Attributes:
        model: The model.
        participants: Maximum number of contributions.
        costs: Cost in gas, demands and seconds.
        prices: Prices at today's fees, then at each requested base fee.
        data: All of it, for JSON.
    """

    model: ModelId
    participants: int
    costs: WatchCosts
    prices: tuple[Price, ...]
    data: dict[str, Any]


def base_fees(texts: Sequence[str]) -> list[int]:
    """Parse base fees in gwei, each text one fee or a comma-separated list, to wei.

    Raises:
        InputError: A fee is not an amount of gwei from 0 to a million, in whole wei.
    """
    found = []
    for text in (part.strip() for given in texts for part in given.split(",")):
        try:
            wei = Decimal(text) * 10**9 if text.isascii() else Decimal("NaN")
        except InvalidOperation:
            wei = Decimal("NaN")
        if not wei.is_finite() or not 0 <= wei <= 10**15 or wei != wei.to_integral_value():
            raise InputError(f"--base-fee: expected gwei such as 5, 0.05 or 5,30,100, got {text!r:.40}")
        found.append(int(wei))
    return found


def watched(session: Session, model: ModelId, fees: Sequence[int]) -> Watched:
    """Return the cost of auditing a round under a model's standing plan.

    Args:
        session: The running command's session.
        model: The model.
        fees: Base fees to price at besides today's, wei per gas.

    Raises:
        InputError: The model has no plan.
        ContentError: The plan's manifest is unavailable.
    """
    from registry.ethereum.fees import suggest_fees
    from registry.roles.watch_costs import price_of, watch_costs
    from registry.rounds.plans import load_plan, plan_rules

    client = session.reader
    shown = client.model(model)
    if not shown.plans:
        raise InputError("this model has no plan yet: cairn plan set MODEL FILE")
    plan = client.plan(model, shown.plans - 1)
    rules = plan_rules(load_plan(session.store, plan))
    states, selects = len(rules.program.states), rules.shape.selects
    costs = watch_costs(plan, shown.participants, rules.values, states, selects=selects)
    now = suggest_fees(client.w3)
    today = (0, now.max_fee) if now.base_fee is None else (now.base_fee, now.priority_fee)
    priced = (today, *((fee, today[1]) for fee in fees))
    prices = tuple(price_of(costs.lines, plan, *each) for each in priced)
    named = {"model": model, "plan": shown.plans - 1, "participants": shown.participants, "values": rules.values}
    return Watched(model, shown.participants, costs, prices, named | _facts(costs, prices))


def show_costs(out: Output, found: Watched) -> None:
    """Print one line per action that may be needed, with its price at each fee, then the totals."""
    costs, prices = found.costs, found.prices
    out.line(f"A result of {short(found.model)} with {found.participants} contributions, in ether at a base fee of")
    out.line()
    fees = [f"{_gwei(price.base_fee)} gwei{'' if number else ' (now)'}" for number, price in enumerate(prices)]
    columns = ("at most", "times", "gas", "deposits", *fees, "gas from")
    rows: list[tuple[object, ...]] = [
        (line.what, line.times, f"{line.gas:,}", line.deposits, *_ether(p.lines[n] for p in prices), line.source)
        for n, line in enumerate(costs.lines)
    ]
    rows.append(("left over in the purse", "", "", "", *_ether(p.headroom for p in prices), "twice the base fee"))
    total = f"{sum(line.gas for line in costs.lines):,}"
    demands = sum(line.deposits for line in costs.lines)
    rows.append(("--limit, at least", "", total, demands, *(_limit(price) for price in prices), ""))
    out.table(columns, rows, right=("times", "gas", "deposits", *fees))
    out.line()
    enough = "fits" if costs.fits else "does not fit"
    out.fields(
        {
            "deposits": f"{ether(prices[0].deposit)} ether each now, locked for at most {show_duration(costs.out)}: "
            "an answer earns it, without one it is refunded",
            "time": f"{costs.turns} demands in sequence, {costs.walk_steps} of them down a tree, and "
            f"{costs.blocks} blocks take at most {show_duration(costs.time)} "
            f"of a window of {show_duration(costs.window)}: {enough}",
            "reward": f"half a bond, {ether(costs.reward)} ether"
            if costs.reward
            else "none: the plan asks for no bond",
        }
    )


def _facts(costs: WatchCosts, prices: Sequence[Price]) -> dict[str, Any]:
    """Return the JSON data; amounts in wei, and limits in ether too, as `--limit` takes them."""
    return {
        "lines": costs.lines,
        "time": {
            "walk_steps": costs.walk_steps,
            "turns": costs.turns,
            "blocks": costs.blocks,
            "deposit_out_seconds": costs.out,
            "seconds": costs.time,
            "window_seconds": costs.window,
            "fits": costs.fits,
        },
        "reward_wei": costs.reward,
        "prices": [
            {
                "base_fee_wei": price.base_fee,
                "priority_fee_wei": price.priority_fee,
                "lines_wei": price.lines,
                "deposit_wei": price.deposit,
                "gas_wei": price.gas,
                "deposits_wei": price.deposits,
                "headroom_wei": price.headroom,
                "limit_wei": price.limit,
                "limit_ether": _limit(price),
            }
            for price in prices
        ],
    }


def _limit(price: Price) -> str:
    return ether(-(-price.limit // _ROUND) * _ROUND)


def _ether(amounts: Iterable[int]) -> list[str]:
    return [ether(amount) for amount in amounts]


def _gwei(wei: int) -> str:
    return f"{Decimal(wei) / 10**9:f}"
