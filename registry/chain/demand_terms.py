"""Demands: the court's limits on deposits and heads, and the kinds of a demanded leaf."""

from __future__ import annotations

from registry.chain.contract_structs import Demanded

__all__ = ["ANSWER_GAS", "MAX_DEPOSIT", "MAX_HEAD", "is_of_contributions", "is_of_head"]

ANSWER_GAS = 150_000
"""Gas whose price at the base fee is the least deposit of a demand, unless the plan sets a higher one."""
MAX_DEPOSIT = 10**17
"""Largest deposit of a demand, wei."""
MAX_HEAD = 1024
"""Largest head that an answer may show, bytes."""


def is_of_contributions(demanded: Demanded) -> bool:
    """Return whether a contribution is demanded, and not numbers or a head."""
    return demanded.entries == 1


def is_of_head(demanded: Demanded) -> bool:
    """Return whether a head is demanded, by its digest."""
    return demanded.entries == 0
