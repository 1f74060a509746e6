"""The court's terms of demands: its limits, and how a demand says what it is of."""

from __future__ import annotations

from registry.chain.contract_structs import Demanded

__all__ = ["ANSWER_GAS", "MAX_DEPOSIT", "MAX_HEAD", "is_of_contributions", "is_of_head"]

ANSWER_GAS = 150_000
"""Times the base fee it is the least deposit of a demand, where the plan asks for no more."""
MAX_DEPOSIT = 10**17
"""Largest deposit of a demand, wei."""
MAX_HEAD = 1024
"""Bytes that are shown of a demanded head at most."""


def is_of_contributions(demanded: Demanded) -> bool:
    """Return whether the leaf is a contribution; else it holds numbers, or is a head."""
    return demanded.entries == 1


def is_of_head(demanded: Demanded) -> bool:
    """Return whether what is demanded is a head, by its digest."""
    return demanded.entries == 0
