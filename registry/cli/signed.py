"""Signed commitments as JSON files: a participant signs, anyone may send."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from registry.chain.contract_structs import SignedUpdate
from registry.cli.local_files import pieces_of, size_of, write_whole
from registry.errors import FormError
from registry.facts.plain import plain
from registry.types import MAX_STEPS, MAX_TOTAL_WEIGHT, Address, Digest, ModelId, Root

__all__ = ["SignedCommitment", "read_signed", "write_signed"]

_MAX_BYTES = 1 << 20
_LENGTHS = {"contract": 20, "participant": 20, "model": 32, "digest": 32, "tensor_root": 32}
_NUMBERS = {
    "chain_id": (1 << 64) - 1,
    "number": (1 << 64) - 1,
    "weight": MAX_TOTAL_WEIGHT,
    "steps": MAX_STEPS,
    "valid_until": (1 << 64) - 1,
}


@dataclass(frozen=True, slots=True)
class SignedCommitment:
    """Arguments of `commitUpdateFor`, with chain and contract.

    The signature is EIP-712 for an externally owned account, EIP-1271 for a contract account.

    Attributes:
        valid_until: Last second at which the signature is valid, Unix time.
        hook_data: Data for each of the plan's hooks, in order.
    """

    chain_id: int
    contract: Address
    participant: Address
    model: ModelId
    number: int
    digest: Digest
    tensor_root: Root
    weight: int
    steps: int
    valid_until: int
    hook_data: tuple[bytes, ...]
    signature: bytes

    @classmethod
    def of(
        cls, update: SignedUpdate, chain_id: int, contract: Address, model: ModelId, number: int
    ) -> SignedCommitment:
        """Return a signed update with its chain, contract and round."""
        said = {field.name: getattr(update, field.name) for field in fields(SignedUpdate)}
        return cls(chain_id=chain_id, contract=contract, model=model, number=number, **said)

    @property
    def update(self) -> SignedUpdate:
        """The update as the contract's argument."""
        return SignedUpdate(**{field.name: getattr(self, field.name) for field in fields(SignedUpdate)})


def write_signed(signed: SignedCommitment, out: Path) -> None:
    """Write a signed commitment as JSON."""
    write_whole([(json.dumps(plain(signed), indent=1) + "\n").encode()], out)


def read_signed(path: Path) -> SignedCommitment:
    """Read a signed commitment.

    Raises:
        InputError: The file does not exist.
        FormError: The file is not a signed commitment.
    """
    size = size_of(path)
    if size is not None and size > _MAX_BYTES:
        raise FormError(f"{path}: expected a signed commitment of at most {_MAX_BYTES} bytes, got {size}")
    try:
        found = json.loads(b"".join(pieces_of(path)))
    except (ValueError, RecursionError) as error:
        raise FormError(f"{path}: expected the JSON of a signed commitment, got something else ({error})") from None
    names = [field.name for field in fields(SignedCommitment)]
    if not isinstance(found, dict) or sorted(found) != sorted(names):
        raise FormError(f"{path}: expected an object with {', '.join(names)}")
    return SignedCommitment(**{name: _value(path, name, found[name]) for name in names})


def _value(path: Path, name: str, value: Any) -> Any:
    if name in _NUMBERS:
        if type(value) is not int or not 1 <= value <= _NUMBERS[name]:
            raise FormError(f"{path}: {name}: expected a whole number of 1..{_NUMBERS[name]}, got {value!r:.80}")
        return value
    if name == "hook_data":
        if not isinstance(value, list):
            raise FormError(f"{path}: {name}: expected a list, got {value!r:.80}")
        return tuple(_value(path, f"{name}[{index}]", item) for index, item in enumerate(value))
    try:
        if not isinstance(value, str) or not value.startswith("0x"):
            raise ValueError
        data = bytes.fromhex(value[2:])
        if len(data) != _LENGTHS.get(name, len(data)):
            raise ValueError
    except ValueError:
        length = f"{_LENGTHS[name]} bytes" if name in _LENGTHS else "bytes"
        raise FormError(f"{path}: {name}: expected {length} as 0x and hex, got {value!r:.80}") from None
    return data
