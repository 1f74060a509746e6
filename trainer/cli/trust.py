"""Block hashes that somebody trusts, as they are given."""

from __future__ import annotations

from registry.errors import InputError

__all__ = ["TRUST_HELP", "block_hash"]

TRUST_HELP = "A block hash that you know from elsewhere. There is no default for whom to trust."


def block_hash(text: str) -> bytes:
    """Return a block hash given as 64 hex digits, with 0x or without.

    Raises:
        InputError: It is none.
    """
    digits = text.removeprefix("0x")
    if len(digits) != 64 or not set(digits) <= set("0123456789abcdefABCDEF"):
        raise InputError(f"expected a block hash of 64 hex digits, got {text!r:.80}")
    return bytes.fromhex(digits)
