"""Deployment records: one JSON file per chain id, replaced atomically.

Records include the genesis hash, because development chains restart under the same chain id.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.errors import FormError, InputError
from registry.ethereum.hashing import keccak
from registry.ethereum.keys import address_of, to_checksum
from registry.types import Address

__all__ = ["Deployment", "load_deployment", "save_deployment"]


@dataclass(frozen=True, slots=True)
class Deployment:
    """A contract on a chain.

    Attributes:
        contract: Its name.
        arguments: Constructor arguments, ABI-encoded.
        chain_id: The chain.
        genesis: Hash of the chain's first block.
        address: Its address.
        block: Creation block. For a Cairn, that of its factory, before which no contract of the deployment has events.
        tx_hash: Transaction that created it; None if it already existed.
        create2: Whether the CREATE2 deployer created it.
        compiler: Compiler version and settings.
        code_hash: keccak256 of the runtime code on chain.
    """

    contract: str
    arguments: bytes
    chain_id: int
    genesis: bytes
    address: Address
    block: int
    tx_hash: bytes | None
    create2: bool
    compiler: Mapping[str, Any]
    code_hash: bytes


def load_deployment(
    folder: Path, chain_id: int, contract: str = "Cairn", *, arguments: bytes = b""
) -> Deployment | None:
    """Return the record of a contract on a chain; None if there is none.

    Raises:
        FormError: The record cannot be read.
    """
    entry = _read(folder / f"{chain_id}.json").get(_entry_name(contract, arguments))
    if entry is None:
        return None
    try:
        return Deployment(
            contract=contract,
            arguments=bytes.fromhex(entry["arguments"][2:]),
            chain_id=chain_id,
            genesis=bytes.fromhex(entry["genesis"][2:]),
            address=address_of(entry["address"]),
            block=int(entry["block"]),
            tx_hash=bytes.fromhex(entry["transaction"][2:]) if entry["transaction"] else None,
            create2=bool(entry["create2"]),
            compiler=entry["compiler"],
            code_hash=bytes.fromhex(entry["codeHash"][2:]),
        )
    except (KeyError, TypeError, ValueError, InputError) as error:
        raise FormError(
            f"{folder / f'{chain_id}.json'}: expected a deployment record, got one without {error}"
        ) from error


def save_deployment(folder: Path, made: Deployment) -> None:
    """Add a deployment to the records of its chain. The file is replaced atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{made.chain_id}.json"
    entries = _read(path) | {
        _entry_name(made.contract, made.arguments): {
            "address": to_checksum(made.address),
            "block": made.block,
            "transaction": "0x" + made.tx_hash.hex() if made.tx_hash else None,
            "create2": made.create2,
            "arguments": "0x" + made.arguments.hex(),
            "genesis": "0x" + made.genesis.hex(),
            "codeHash": "0x" + made.code_hash.hex(),
            "compiler": dict(made.compiler),
        }
    }
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".deployment-")
    with os.fdopen(handle, "w") as file:
        json.dump(entries, file, indent=2, sort_keys=True)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)


def _entry_name(contract: str, arguments: bytes) -> str:
    return contract if not arguments else f"{contract}:{keccak(arguments).hex()[:16]}"


def _read(path: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise FormError(f"{path}: expected a deployment record, got something that is no JSON") from error
    if not isinstance(loaded, dict):
        raise FormError(f"{path}: expected a deployment record, got {type(loaded).__name__}")
    return loaded
