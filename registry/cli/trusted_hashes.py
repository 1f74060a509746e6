"""Block hashes that somebody trusts, and other hashes, as they are given."""

from __future__ import annotations

from registry.errors import InputError

__all__ = ["TRUST_HELP", "block_hash", "hash_of_32"]

TRUST_HELP = "A block hash that you know from elsewhere. There is no default for whom to trust."


def block_hash(text: str) -> bytes:
    """Return a block hash given as 64 hex digits, with 0x or without.

    Raises:
        InputError: It is none.
    """
    return hash_of_32(text.removeprefix("0x"), "a block hash")


def hash_of_32(digits: str, what: str) -> bytes:
    """Return the 32 bytes that 64 hex digits stand for.

    Raises:
        InputError: There are others; the message says what was expected.
    """
    if len(digits) != 64 or not set(digits) <= set("0123456789abcdefABCDEF"):
        raise InputError(f"expected {what} of 64 hex digits, got {digits!r:.80}")
    return bytes.fromhex(digits)
