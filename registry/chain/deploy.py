"""Putting the contracts on a chain, remembering where they are, and checking that what stands there is the source.

Where the usual CREATE2 deployer exists the address follows from the bytecode, so the same contract is at the same
address on every such chain and a second deployment finds the first by itself; elsewhere the record does. Records are
one file for each chain id; they name the genesis block too, since development chains begin again under the same id.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.chain.contracts import Artifact, artifact
from registry.chain.keys import address_of, to_checksum
from registry.chain.node import NodeRefused, asking, quantity
from registry.chain.records import keccak
from registry.chain.transactions import Call, Quote, Transactor
from registry.errors import FormError, InputError, TransactionFailed
from registry.types import Address

if TYPE_CHECKING:
    from web3 import Web3

__all__ = [
    "CREATE2_DEPLOYER",
    "DEPLOYER_CODE",
    "Deployment",
    "code_at",
    "create2_address",
    "deploy",
    "deployment_call",
    "load_deployment",
    "masked",
    "quote_deployment",
    "save_deployment",
]

CREATE2_DEPLOYER = Address(bytes.fromhex("4e59b44847b379578588920ca78fbf26c0b4956c"))
"""The deterministic deployment proxy that most chains carry at this address."""
DEPLOYER_CODE = bytes.fromhex(
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe03601600081602082378035828234f58015156039578182fd5b"
    "8082525050506014600cf3"
)
SALT = bytes(32)


@dataclass(frozen=True, slots=True)
class Deployment:
    """A contract on a chain.

    Attributes:
        contract: Its name.
        arguments: Constructor arguments, ABI-encoded.
        chain_id: The chain.
        genesis: Hash of the chain's first block.
        address: Where it is.
        block: Block it was made in: where its events begin.
        tx_hash: Transaction that made it; None if it was found there.
        create2: Made by the CREATE2 deployer.
        compiler: Compiler version and settings.
        code_hash: keccak256 of the runtime code as it stands there.
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


def deploy(
    w3: Web3,
    transactor: Transactor,
    *,
    chain_id: int,
    folder: Path | None = None,
    contract: str = "Cairn",
    arguments: Sequence[Any] = (),
) -> Deployment:
    """Put a contract on the chain, or find it where it was put before.

    Args:
        w3: The node.
        transactor: Who pays.
        chain_id: The node's chain.
        folder: Deployment records; None to keep none.
        contract: Which.
        arguments: Constructor arguments.

    Raises:
        TransactionFailed: It was not carried out, or what stands there afterwards is not this contract.
    """
    compiled = artifact(contract)
    encoded = _constructor(compiled, arguments)
    genesis = _genesis(w3)
    if folder is not None:
        known = load_deployment(folder, chain_id, contract, arguments=encoded)
        if known is not None and known.genesis == genesis and _is(compiled, code_at(w3, known.address)):
            return known
    create2 = code_at(w3, CREATE2_DEPLOYER) == DEPLOYER_CODE
    address = create2_address(compiled.bytecode + encoded) if create2 else None
    tx_hash: bytes | None = None
    if address is not None and _is(compiled, code_at(w3, address)):
        block = _first_block(w3, address)
    else:
        receipt = transactor.send(deployment_call(contract, arguments, create2=create2))
        tx_hash, block = receipt.tx_hash, receipt.block_number
        address = address or receipt.contract
    code = code_at(w3, address) if address is not None else b""
    if address is None or not _is(compiled, code):
        raise TransactionFailed(f"expected {contract} on the chain after its deployment, got {len(code)} other bytes")
    made = Deployment(
        contract=contract,
        arguments=encoded,
        chain_id=chain_id,
        genesis=genesis,
        address=address,
        block=block,
        tx_hash=tx_hash,
        create2=create2,
        compiler=dict(compiled.compiler),
        code_hash=keccak(code),
    )
    if folder is not None:
        save_deployment(folder, made)
    return made


def quote_deployment(w3: Web3, transactor: Transactor, contract: str = "Cairn", arguments: Sequence[Any] = ()) -> Quote:
    """Return what a deployment would cost; nothing is sent."""
    create2 = code_at(w3, CREATE2_DEPLOYER) == DEPLOYER_CODE
    return transactor.quote(deployment_call(contract, arguments, create2=create2))


def deployment_call(contract: str, arguments: Sequence[Any] = (), *, create2: bool) -> Call:
    """Return the transaction that makes a contract."""
    compiled = artifact(contract)
    code = compiled.bytecode + _constructor(compiled, arguments)
    key = f"deploy:{contract}:{keccak(code).hex()}"
    return Call(to=CREATE2_DEPLOYER, data=SALT + code, key=key) if create2 else Call(to=None, data=code, key=key)


def create2_address(code: bytes) -> Address:
    """Return where the CREATE2 deployer puts creation code (EIP-1014), under the salt of zeros."""
    return Address(keccak(b"\xff" + CREATE2_DEPLOYER + SALT + keccak(code))[12:])


def code_at(w3: Web3, address: Address) -> bytes:
    """Return the runtime code at an address; empty if there is none."""
    with asking("eth_getCode"):
        return bytes(w3.eth.get_code(to_checksum(address)))  # type: ignore[arg-type]


def masked(code: bytes, immutables: Mapping[str, Sequence[tuple[int, int]]]) -> bytes:
    """Return runtime code with its immutables set to zero, as the compiler writes it."""
    blank = bytearray(code)
    for places in immutables.values():
        for start, length in places:
            blank[start : start + length] = bytes(length)
    return bytes(blank)


def load_deployment(
    folder: Path, chain_id: int, contract: str = "Cairn", *, arguments: bytes = b""
) -> Deployment | None:
    """Return what is recorded of a contract on a chain.

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
    """Record a deployment, beside the others on its chain. The file is replaced whole."""
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


def _constructor(compiled: Artifact, arguments: Sequence[Any]) -> bytes:
    from eth_abi.abi import encode
    from eth_abi.exceptions import EncodingError

    types = [item["type"] for entry in compiled.abi if entry["type"] == "constructor" for item in entry["inputs"]]
    if len(types) != len(arguments):
        raise InputError(f"{compiled.name} takes {len(types)} constructor arguments, got {len(arguments)}")
    try:
        return bytes(encode(types, arguments))
    except (EncodingError, TypeError) as error:
        raise InputError(f"constructor of {compiled.name}: {error}") from error


def _is(compiled: Artifact, code: bytes) -> bool:
    return len(code) == len(compiled.deployed_bytecode) and masked(code, compiled.immutables) == masked(
        compiled.deployed_bytecode, compiled.immutables
    )


def _genesis(w3: Web3) -> bytes:
    with asking("eth_getBlockByNumber"):
        block: Any = w3.eth.get_block(0)
    return bytes(block["hash"])


def _first_block(w3: Web3, address: Address) -> int:
    """The block a contract appeared in, by bisection; 0 where the node does not keep old states."""
    with asking("eth_blockNumber"):
        latest: Any = w3.eth.block_number
    low, high = 0, quantity(latest, "blockNumber")
    try:
        while low < high:
            middle = (low + high) // 2
            with asking("eth_getCode"):
                there = w3.eth.get_code(to_checksum(address), middle)  # type: ignore[arg-type]
            low, high = (low, middle) if there else (middle + 1, high)
    except NodeRefused:
        return 0
    return low
