"""Parse trusted block hashes, and other 32-byte hashes, from the command line."""

from __future__ import annotations

from registry.errors import InputError

__all__ = ["TRUST_HELP", "block_hash", "hash_of_32"]

TRUST_HELP = "A block hash from a source you trust. There is no default."


def block_hash(text: str) -> bytes:
    """Parse a block hash of 64 hex digits, with or without 0x.

    Raises:
        InputError: The text is not a block hash.
    """
    return hash_of_32(text.removeprefix("0x"), "a block hash")


def hash_of_32(digits: str, what: str) -> bytes:
    """Parse 64 hex digits to 32 bytes.

    Raises:
        InputError: The text is anything else.
    """
    if len(digits) != 64 or not set(digits) <= set("0123456789abcdefABCDEF"):
        raise InputError(f"expected {what} of 64 hex digits, got {digits!r:.80}")
    return bytes.fromhex(digits)
