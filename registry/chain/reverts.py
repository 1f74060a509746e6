"""Decode revert data into exceptions: the contracts' custom errors, panics and error strings."""

from __future__ import annotations

from registry.chain import contract_errors
from registry.chain.abi_values import parse
from registry.chain.contracts import error_of
from registry.chain.custom_error import CustomError
from registry.errors import ContractError

__all__ = ["decode_error"]

PANIC = bytes.fromhex("4e487b71")
"""Selector of Panic(uint256)."""
ERROR_STRING = bytes.fromhex("08c379a0")
"""Selector of Error(string)."""


def decode_error(data: bytes) -> ContractError:
    """Return the exception for revert data.

    Args:
        data: Selector and arguments, or nothing.
    """
    from eth_abi.abi import decode
    from eth_abi.exceptions import DecodingError

    if not data:
        return ContractError("reverted without a reason")
    try:
        if data[:4] == ERROR_STRING:
            return ContractError(f"reverted: {decode(['string'], data[4:])[0]}")
        if data[:4] == PANIC:
            return ContractError(f"panicked with code {decode(['uint256'], data[4:])[0]:#x}")
        known = error_of(data[:4])
        if known is None:
            return ContractError(f"reverted with an error that is not Cairn's (a hook's?): 0x{data[:68].hex()}")
        name, types = known
        values = decode(types, data[4:])
    except (DecodingError, UnicodeDecodeError):
        return ContractError(f"reverted with data that do not decode: 0x{data[:68].hex()}")
    cls = vars(contract_errors).get(name)
    if isinstance(cls, type) and issubclass(cls, CustomError):
        return parse(cls, values)
    # The factory's errors have no class: deployers need only their names.
    return ContractError(f"{name}: {', '.join(map(str, values))}")
