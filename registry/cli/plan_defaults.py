"""Defaults for the terms that a plan omits, chosen for its model and chain.

A local chain, whose blocks are final at once, keeps the usual terms: a practice run takes minutes. Elsewhere a reorg
may undo an answer until its block is final, so only a longer answer time leaves room to resend it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from registry.types import WALK_STEPS, Role

if TYPE_CHECKING:
    from registry.chain.client import Client
    from registry.types import ModelId

__all__ = ["CHOSEN", "Choice", "Surroundings", "aggregators_of", "choose_terms", "lag_of", "surroundings"]

CHOSEN = ("quorum", "challenge_duration", "answer_duration")
"""Terms that are chosen if a plan omits them."""
_HOUR, _LONGEST = 3600, 90 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen term, with the reason."""

    term: str
    value: int
    why: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The model and chain that a plan is for.

    Attributes:
        network: The network's name.
        local: Whether it is a development chain.
        lag: Seconds until a block is final.
        aggregators: Number of members with that role.
    """

    network: str
    local: bool
    lag: int
    aggregators: int


def aggregators_of(client: Client, model: ModelId) -> int:
    """Return the number of members with the aggregator role."""
    from registry.facts.member_facts import members_of

    return sum(Role.AGGREGATOR in roles for roles in members_of(client, model).values())


def lag_of(client: Client) -> int:
    """Return the seconds until a block is final on a client's chain, under its finality policy."""
    from registry.ethereum.networks import finality_lag

    return finality_lag(client.w3, client.chain_id, client.finality)


def surroundings(client: Client, model: ModelId) -> Surroundings:
    """Read the surroundings of a plan from a model and its chain."""
    from registry.ethereum.networks import network_of

    network = network_of(client.chain_id)
    return Surroundings(network.name, network.local, lag_of(client), aggregators_of(client, model))


def choose_terms(given: Mapping[str, Any], around: Surroundings) -> tuple[Choice, ...]:
    """Choose the omitted terms whose usual values do not suit the model and chain.

    Args:
        given: The given terms, by name, as in a plan's file.
        around: The surroundings of the plan.

    Raises:
        InputError: A given duration is malformed.
    """
    if around.local:
        return ()
    found = []
    if "quorum" not in given and around.aggregators > 1:
        why = f"{around.aggregators} members aggregate, and one alone should not decide what a result is"
        found.append(Choice("quorum", 2, why))
    if "challenge_duration" not in given:
        found += _window(given, around)
    return tuple(found)


def _window(given: Mapping[str, Any], around: Surroundings) -> list[Choice]:
    """Choose a challenge duration with room for a walk of answers, each of which can become final in time."""
    from registry.cli.plan_files import duration, show_duration
    from registry.content.manifest import plan_terms

    late = duration(given.get("late_duration", 0), "late_duration")
    said = given.get("answer_duration")
    # 1.5 times the time to finality: recompute, send the answer, and bump its fee.
    answer = around.lag * 3 // 2 if said is None else duration(said, "answer_duration")
    hours = -(-WALK_STEPS * (answer + late) // _HOUR)
    challenge = min(hours * _HOUR, _LONGEST)
    if challenge <= duration(plan_terms()["challenge_duration"]["usual"], "challenge_duration"):
        return []
    walk = f"a window holds {WALK_STEPS} answers"
    if said is not None:
        why = (
            f"{walk} of {show_duration(answer)}{f' and as many late periods of {show_duration(late)}' if late else ''}"
        )
        return [Choice("challenge_duration", challenge, why)]
    allowed = challenge // WALK_STEPS - late
    final = f"a reorg may undo an answer until it is final, up to {show_duration(around.lag)} on {around.network}"
    why = f"{final}, so each has {show_duration(allowed)}; {walk}"
    return [Choice("challenge_duration", challenge, why)]
