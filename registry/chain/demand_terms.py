"""Demands: the court's limits on deposits and heads, and the kinds of a demanded leaf."""

from __future__ import annotations

from registry.chain.contract_hashes import CONTRIBUTION_BYTES
from registry.chain.contract_structs import Demanded

__all__ = ["ANSWER_GAS", "MAX_DEPOSIT", "MAX_HEAD", "SUM_BYTES", "is_of_contributions", "is_of_gram", "is_of_head"]

ANSWER_GAS = 150_000
"""Gas whose price at the base fee is the least deposit of a demand, unless the plan sets a higher one."""
MAX_DEPOSIT = 10**17
"""Largest deposit of a demand, wei."""
MAX_HEAD = 1024
"""Largest head that an answer may show, bytes."""
SUM_BYTES = 32
"""Bytes of a sum of inner products. A leaf holds as many as there are contributions."""


def is_of_contributions(demanded: Demanded) -> bool:
    """Return whether a contribution is demanded, and not numbers or a head."""
    return (demanded.entry_bytes, demanded.entries) == (CONTRIBUTION_BYTES, 1)


def is_of_gram(demanded: Demanded) -> bool:
    """Return whether sums of inner products are demanded."""
    return demanded.entry_bytes == SUM_BYTES


def is_of_head(demanded: Demanded) -> bool:
    """Return whether a head is demanded, by its digest."""
    return demanded.entries == 0
