"""The name that every export carries: a version, where it is anchored, and back from the name to both."""

from __future__ import annotations

import re
from dataclasses import dataclass

from registry.errors import InputError
from registry.ethereum.keys import to_checksum
from registry.types import Address, Digest, ModelId

__all__ = ["MAX_NAME", "ExportedVersion", "only_name", "parse_name"]

MAX_NAME = 512
"""Longest name that is read, characters."""
_NAME = re.compile(
    r"urn:cairn:(0|[1-9][0-9]{0,19}):0x([0-9a-f]{40}):0x([0-9a-f]{64}):0x([0-9a-f]{64}):(0|[1-9][0-9]{0,19}):0x([0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class ExportedVersion:
    """A version of a model, and the block that anchored it.

    Attributes:
        block: Number of the block that anchored it.
        block_hash: Its hash, 32 bytes.
    """

    chain_id: int
    contract: Address
    model: ModelId
    version: Digest
    block: int
    block_hash: bytes

    @property
    def place(self) -> str:
        """Its contract as a URN, under which everything of that contract is named."""
        return f"urn:cairn:{self.chain_id}:0x{self.contract.hex()}"

    @property
    def name(self) -> str:
        """All of it as a URN: `urn:cairn:CHAIN:CONTRACT:MODEL:VERSION:BLOCK:HASH`, lower-case hex."""
        return f"{self.place}:0x{self.model.hex()}:0x{self.version.hex()}:{self.block}:0x{self.block_hash.hex()}"

    @property
    def wanted(self) -> str:
        """MODEL@VERSION, as Cairn's commands take it."""
        return f"0x{self.model.hex()}@0x{self.version.hex()}"

    @property
    def verify(self) -> str:
        """The command that verifies it."""
        return f"cairn verify {self.wanted} --contract {to_checksum(self.contract)}"


def parse_name(text: object) -> ExportedVersion:
    """Return what a URN of `ExportedVersion.name` names.

    Raises:
        InputError: It is no such URN.
    """
    found = _NAME.fullmatch(text) if isinstance(text, str) and len(text) <= MAX_NAME else None
    if found is None:
        raise InputError(f"expected urn:cairn:CHAIN:CONTRACT:MODEL:VERSION:BLOCK:HASH, got {str(text)[:100]!r}")
    chain, contract, model, version, block, block_hash = found.groups()
    return ExportedVersion(
        int(chain),
        Address(bytes.fromhex(contract)),
        ModelId(bytes.fromhex(model)),
        Digest(bytes.fromhex(version)),
        int(block),
        bytes.fromhex(block_hash),
    )


def only_name(found: list[object]) -> ExportedVersion:
    """Return what the one URN in a list names.

    Raises:
        InputError: There is none, or several differ.
    """
    if len({str(one) for one in found}) != 1:
        raise InputError(f"expected one version's name, found {len(found)}")
    return parse_name(found[0])
