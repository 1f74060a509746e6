"""Convert between wei and amounts of ether in plain decimals."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from registry.errors import InputError

__all__ = ["ether", "exact_ether", "wei_of"]


def wei_of(text: str, name: str) -> int:
    """Return the wei of an amount of ether.

    Raises:
        InputError: The text is not a positive amount of at most 18 decimals.
    """
    try:
        wei = Decimal(text) * 10**18
    except InvalidOperation:
        wei = Decimal("NaN")
    if not wei.is_finite() or wei <= 0 or wei != wei.to_integral_value() or wei >= 1 << 128:
        raise InputError(f"{name}: expected an amount of ether such as 0.5, got {text!r:.40}")
    return int(wei)


def ether(wei: int) -> str:
    """Return wei as ether in plain decimals, to six significant digits."""
    text = f"{wei / 10**18:.18f}"
    digits = text.lstrip("0.").rstrip("0")
    keep = len(text) - len(text.lstrip("0.")) + 6 if wei < 10**18 else text.index(".") + 7
    return (text[:keep].rstrip("0").rstrip(".") if digits else "0") or "0"


def exact_ether(wei: int) -> str:
    """Return wei as ether in plain decimals, all of them: an amount to be sent or deposited, not only read."""
    text = f"{Decimal(wei).scaleb(-18):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
