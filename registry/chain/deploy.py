"""Idempotent, permissionless deployment of the contracts by a factory, one transaction each.

The factory is created with the hashes of the creation codes: anyone who has the codes can make it create the missing
contracts, and nobody can make it create anything else. Cairn comes last. So `deploy` resumes an interrupted deployment:
it finds existing contracts and creates missing ones.

If the standard CREATE2 deployer exists, the factory's address follows from the codes: contracts have the same addresses
on every such chain, and a second deployment finds the first; on other chains the deployment record serves for that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.chain.contract_hashes import addresses_of
from registry.chain.contracts import DEPLOYED, Artifact, artifact, encode_call
from registry.chain.deployments import Deployment, load_deployment, save_deployment
from registry.chain.sending import SentReceipt
from registry.chain.transactions import Call, Transactor
from registry.errors import ContractError, InputError, TransactionFailed
from registry.ethereum.hashing import create2_address, keccak
from registry.ethereum.keys import to_checksum
from registry.ethereum.node import NodeBusy, NodeRefused, asking, latest_block
from registry.types import Address

if TYPE_CHECKING:
    from web3 import Web3

__all__ = [
    "CREATE2_DEPLOYER",
    "DEPLOYER_CODE",
    "code_at",
    "code_hashes",
    "creation_call",
    "deploy",
    "deploy_contract",
    "deployment_gas",
    "masked",
    "predicted",
]

CREATE2_DEPLOYER = Address(bytes.fromhex("4e59b44847b379578588920ca78fbf26c0b4956c"))
"""Address of the deterministic deployment proxy (CREATE2) on most chains."""
DEPLOYER_CODE = bytes.fromhex(
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe03601600081602082378035828234f58015156039578182fd5b"
    "8082525050506014600cf3"
)
SALT = bytes(32)


Sent = Callable[[str, SentReceipt], None]
"""Called with a contract's name and the receipt of the transaction that created it."""


def deploy(
    w3: Web3, transactor: Transactor, *, chain_id: int, folder: Path | None = None, sent: Sent | None = None
) -> Deployment:
    """Deploy a Cairn and its partners; finds existing contracts and creates missing ones.

    Args:
        w3: The node.
        transactor: Sender that pays.
        chain_id: The node's chain.
        folder: Folder of deployment records; None to keep none.
        sent: Called with what each transaction did.

    Returns:
        Deployment of the Cairn, which is created last.

    Raises:
        TransactionFailed: A transaction failed, or the code at the address is not the contract.
    """
    known = _recorded(w3, folder, chain_id, "Cairn", b"")
    if known is not None:
        return known
    factory = deploy_contract(w3, transactor, "Factory", [code_hashes()], chain_id=chain_id, folder=folder, sent=sent)
    addresses = addresses_of(factory.address, code_hashes())

    def make(place: int) -> Deployment:
        call = _factory_call(factory.address, place)
        there = addresses[place]
        made = _put(w3, transactor, DEPLOYED[place], b"", call, there, chain_id=chain_id, last=place == 0, sent=sent)
        made = replace(made, create2=factory.create2, block=factory.block if place == 0 else made.block)
        if folder is not None:
            save_deployment(folder, made)
        return made

    for place in reversed(range(1, len(DEPLOYED))):
        make(place)
    return make(0)


def deploy_contract(
    w3: Web3,
    transactor: Transactor,
    contract: str,
    arguments: Sequence[Any] = (),
    *,
    chain_id: int,
    folder: Path | None = None,
    sent: Sent | None = None,
) -> Deployment:
    """Deploy a standalone contract, such as a hook, or find an earlier deployment of it.

    Args:
        w3: The node.
        transactor: Sender that pays.
        contract: Name of the contract.
        arguments: Constructor arguments.
        chain_id: The node's chain.
        folder: Folder of deployment records; None to keep none.
        sent: Called with what the transaction did.

    Raises:
        InputError: There is no such contract, or the arguments do not fit its constructor.
        TransactionFailed: The transaction failed, or the code at the address is not this contract.
    """
    encoded = _constructor(artifact(contract), arguments)
    known = _recorded(w3, folder, chain_id, contract, encoded)
    if known is not None:
        return known
    create2 = _has_create2(w3)
    code = artifact(contract).bytecode + encoded
    address = create2_address(CREATE2_DEPLOYER, SALT, keccak(code)) if create2 else None
    call = creation_call(contract, arguments, create2=create2)
    last = contract != "Factory"
    made = _put(w3, transactor, contract, encoded, call, address, chain_id=chain_id, last=last, sent=sent)
    if folder is not None:
        save_deployment(folder, made)
    return made


def creation_call(contract: str, arguments: Sequence[Any] = (), *, create2: bool) -> Call:
    """Return the call that creates one contract, without a factory."""
    compiled = artifact(contract)
    code = compiled.bytecode + _constructor(compiled, arguments)
    key = f"deploy:{contract}:{keccak(code).hex()}"
    return Call(to=CREATE2_DEPLOYER, data=SALT + code, key=key) if create2 else Call(to=None, data=code, key=key)


def code_hashes() -> tuple[bytes, ...]:
    """Return keccak256 of the creation code of each contract of a deployment, in the factory's order."""
    return tuple(keccak(artifact(name).bytecode) for name in DEPLOYED)


def predicted(w3: Web3, *, chain_id: int, folder: Path | None = None) -> Mapping[str, Address]:
    """Return the addresses, actual or predicted, of factory and contracts; empty if they are not predictable."""
    arguments = _constructor(artifact("Factory"), [code_hashes()])
    known = _recorded(w3, folder, chain_id, "Factory", arguments)
    if known is not None:
        factory = known.address
    elif _has_create2(w3):
        factory = create2_address(CREATE2_DEPLOYER, SALT, keccak(artifact("Factory").bytecode + arguments))
    else:
        return {}
    return {"Factory": factory, **dict(zip(DEPLOYED, addresses_of(factory, code_hashes()), strict=True))}


def deployment_gas(w3: Web3, *, chain_id: int, folder: Path | None = None) -> Mapping[str, int]:
    """Estimate the deployment gas of each contract that does not exist yet; sends nothing.

    Computed from the codes (yellow paper, appendix G; EIP-3860): a node cannot estimate a creation by the factory
    before the factory exists.
    """
    there = predicted(w3, chain_id=chain_id, folder=folder)
    arguments = _constructor(artifact("Factory"), [code_hashes()])
    missing = {}
    for name in ("Factory", *DEPLOYED):
        if name not in there or not _is(artifact(name), code_at(w3, there[name])):
            data = artifact(name).bytecode + (arguments if name == "Factory" else b"")
            stored = 1 + len(DEPLOYED) if name == "Factory" else 0  # the list and its length
            missing[name] = _creation_gas(data, len(artifact(name).deployed_bytecode)) + 22_100 * stored
    return missing


def code_at(w3: Web3, address: Address) -> bytes:
    """Return the runtime code at an address; empty if there is no contract."""
    with asking("eth_getCode"):
        return bytes(w3.eth.get_code(to_checksum(address)))  # type: ignore[arg-type]


def masked(code: bytes, immutables: Mapping[str, Sequence[tuple[int, int]]]) -> bytes:
    """Return runtime code with its immutables zeroed, as in the compiler's output."""
    blank = bytearray(code)
    for places in immutables.values():
        for start, length in places:
            blank[start : start + length] = bytes(length)
    return bytes(blank)


def _factory_call(factory: Address, place: int) -> Call:
    """Call that makes the factory create the contract at a place."""
    code = artifact(DEPLOYED[place]).bytecode
    key = f"deploy:{DEPLOYED[place]}:{keccak(code).hex()}@{factory.hex()}"
    return Call(to=factory, data=encode_call("Factory", "deploy", (place, code)), key=key)


def _put(
    w3: Web3,
    transactor: Transactor,
    contract: str,
    encoded: bytes,
    call: Call,
    address: Address | None,
    *,
    chain_id: int,
    last: bool,
    sent: Sent | None = None,
) -> Deployment:
    """Create a contract, or find it at its address. Waits for finality only of the last, which implies the others'."""
    compiled, tx_hash = artifact(contract), None
    if address is not None and _is(compiled, code_at(w3, address)):
        block = _first_block(w3, address)
    else:
        try:
            receipt = transactor.send(call, "final" if last else "mined")
        except ContractError:
            # Another account may have created it meanwhile, with the same code.
            if address is None or not _is(compiled, code_at(w3, address)):
                raise
            block = _first_block(w3, address)
        else:
            tx_hash, block = receipt.tx_hash, receipt.block_number
            address = address or receipt.contract
            if sent is not None:
                sent(contract, receipt)
    code = code_at(w3, address) if address is not None else b""
    if address is None or not _is(compiled, code):
        raise TransactionFailed(f"expected {contract} on the chain after its deployment, got {len(code)} other bytes")
    return Deployment(
        contract=contract,
        arguments=encoded,
        chain_id=chain_id,
        genesis=_genesis(w3),
        address=address,
        block=block,
        tx_hash=tx_hash,
        create2=call.to == CREATE2_DEPLOYER,
        compiler=dict(compiled.compiler),
        code_hash=keccak(code),
    )


def _recorded(w3: Web3, folder: Path | None, chain_id: int, contract: str, encoded: bytes) -> Deployment | None:
    """Return the record of a contract, if it is of this chain and the contract exists."""
    known = None if folder is None else load_deployment(folder, chain_id, contract, arguments=encoded)
    if known is None or known.genesis != _genesis(w3) or not _is(artifact(contract), code_at(w3, known.address)):
        return None
    return known


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


def _creation_gas(data: bytes, length: int) -> int:
    """Sum of gas: transaction, calldata, CREATE, code deposit, initcode hashing, cold accounts and slots."""
    zeros = data.count(0)
    words = (len(data) + 31) // 32
    run = 16 * (len(data) - zeros) + 4 * zeros + 32_000 + 200 * length + 20 * words + words**2 // 512 + 60_000
    return 21_000 + max(run, 40 * (len(data) - zeros) + 10 * zeros)


def _has_create2(w3: Web3) -> bool:
    return code_at(w3, CREATE2_DEPLOYER) == DEPLOYER_CODE


def _is(compiled: Artifact, code: bytes) -> bool:
    return len(code) == len(compiled.deployed_bytecode) and masked(code, compiled.immutables) == masked(
        compiled.deployed_bytecode, compiled.immutables
    )


def _genesis(w3: Web3) -> bytes:
    with asking("eth_getBlockByNumber"):
        block: Any = w3.eth.get_block(0)
    return bytes(block["hash"])


def _first_block(w3: Web3, address: Address) -> int:
    """Return the block of a contract's creation, by bisection; 0 if the node is not an archive node."""
    low, high = 0, latest_block(w3)
    try:
        while low < high:
            middle = (low + high) // 2
            with asking("eth_getCode"):
                there = w3.eth.get_code(to_checksum(address), middle)  # type: ignore[arg-type]
            low, high = (low, middle) if there else (middle + 1, high)
    except (NodeBusy, NodeRefused):
        return 0
    return low
