"""keccak-256 and CREATE2 addresses."""

from __future__ import annotations

from registry.types import Address

__all__ = ["create2_address", "keccak"]


def keccak(data: bytes) -> bytes:
    """Return keccak256 of data, 32 bytes."""
    from eth_hash.auto import keccak as hashed

    return bytes(hashed(data))


def create2_address(creator: Address, salt: bytes, code_hash: bytes) -> Address:
    """Return the CREATE2 address (EIP-1014) for a creator, salt and hash of creation code."""
    return Address(keccak(b"\xff" + creator + salt + code_hash)[12:])
