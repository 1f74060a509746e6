"""Whether a deployed contract is its source: built again with py-solc-x and compared byte by byte.

Immutables are values that the constructor wrote into the code. They are left out of that comparison and checked each
by its name: Cairn names its factory and its partners, each partner its Cairn and those of its siblings that it calls,
and where they are follows from the factory's address and the hashes of all their creation codes.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.chain.contract_hashes import addresses_of
from registry.chain.contracts import DEPLOYED, artifact, immutables_of, standard_input
from registry.chain.deploy import code_at, masked
from registry.errors import InputError, VerificationFailed, WrongChain
from registry.ethereum.hashing import keccak
from registry.ethereum.keys import to_checksum
from registry.ethereum.node import asking
from registry.types import Address

if TYPE_CHECKING:
    from web3 import Web3

__all__ = ["Built", "VerifiedSource", "build", "verify_contract", "verify_deployment"]

NAMED = {
    "Cairn": ("Factory", "Challenges", "Court", "Rules"),
    "Challenges": ("Cairn", "Court", "Rules"),
    "Court": ("Cairn", "Challenges", "Rules"),
    "Rules": (),
}
"""Whom each contract names."""


@dataclass(frozen=True, slots=True)
class Built:
    """A contract as the compiler makes it from the sources that ship with this package.

    Attributes:
        creation: Creation code.
        runtime: Runtime code, immutables zero.
        immutables: (start, length) of every immutable, by name.
    """

    creation: bytes
    runtime: bytes
    immutables: Mapping[str, tuple[tuple[int, int], ...]]


@dataclass(frozen=True, slots=True)
class VerifiedSource:
    """A contract whose code was found equal, and the immutables it holds."""

    contract: str
    address: Address
    compiler: str
    code_hash: bytes
    immutables: Mapping[str, bytes]


def build(contract: str = "Cairn", *, solc: Path | None = None) -> Built:
    """Compile a contract from the shipped sources and settings.

    Args:
        contract: Which.
        solc: The compiler; None for the one py-solc-x has installed.

    Raises:
        InputError: No compiler, or not of the version that the artifacts were built with.
    """
    version = str(artifact(contract).compiler["version"])
    output = _compiled(version, solc)
    evm = output["contracts"][artifact(contract).source][contract]["evm"]
    names = _names([unit["ast"] for unit in output["sources"].values()])
    places = immutables_of(evm["deployedBytecode"]["immutableReferences"])
    return Built(
        creation=bytes.fromhex(evm["bytecode"]["object"]),
        runtime=bytes.fromhex(evm["deployedBytecode"]["object"]),
        immutables={names[int(number)]: where for number, where in places.items()},
    )


@functools.lru_cache(maxsize=1)
def _compiled(version: str, solc: Path | None) -> dict[str, Any]:
    """What the compiler makes of the shipped sources: of all contracts at once."""
    import solcx
    from solcx.exceptions import SolcError, SolcNotInstalled

    # The syntax tree is asked for too, since only there an immutable has a name; it does not change the code.
    request = copy.deepcopy(standard_input())
    request["settings"]["outputSelection"] = {
        "*": {
            "": ["ast"],
            "*": [
                "evm.bytecode.object",
                "evm.deployedBytecode.object",
                "evm.deployedBytecode.immutableReferences",
            ],
        }
    }
    try:
        if solc is not None:
            output: dict[str, Any] = solcx.compile_standard(request, solc_binary=solc)
        else:
            output = solcx.compile_standard(request, solc_version=version.partition("+")[0])
    except SolcNotInstalled as error:
        raise InputError(f"no solc {version}: install it with py-solc-x, or name a compiler") from error
    except (SolcError, OSError, ValueError) as error:
        raise InputError(f"the compiler failed; expected solc {version}: {error!s:.300}") from error
    return output


def verify_deployment(w3: Web3, address: Address, *, solc: Path | None = None) -> dict[str, VerifiedSource]:
    """Rebuild a deployment from source and compare it with what stands there: Cairn, its factory and its partners.

    Each must be the source's code, and name the others as the factory's list places them.

    Returns:
        What was found equal, by contract.

    Raises:
        VerificationFailed: They differ; the message says where.
        WrongChain: There is no contract.
        InputError: No fitting compiler.
    """
    found = {"Cairn": verify_contract(w3, address, "Cairn", solc=solc)}
    factory = Address(found["Cairn"].immutables["FACTORY"][12:])
    hashes = tuple(keccak(build(name, solc=solc).creation) for name in DEPLOYED)
    there = dict(zip(DEPLOYED, addresses_of(factory, hashes), strict=True))
    if there["Cairn"] != address:
        raise VerificationFailed(
            f"expected Cairn at {to_checksum(there['Cairn'])}, where its factory {to_checksum(factory)} puts it, "
            f"got {to_checksum(address)}"
        )
    found["Factory"] = verify_contract(w3, factory, "Factory", solc=solc)
    found |= {name: verify_contract(w3, there[name], name, solc=solc) for name in DEPLOYED[1:]}
    with asking("eth_chainId"):
        chain_id = w3.eth.chain_id
    for name, verified in found.items():
        expected = _expected(name, factory, hashes, there)
        if name == "Cairn":
            expected |= {"_chainId": chain_id.to_bytes(32, "big"), "_domain": _domain(chain_id, address)}
        _require_immutables(name, verified.immutables, expected)
    return found


def verify_contract(w3: Web3, address: Address, contract: str, *, solc: Path | None = None) -> VerifiedSource:
    """Rebuild one contract from source and compare its code, but for the immutables, with what is deployed.

    Raises:
        VerificationFailed: They differ; the message says where.
        WrongChain: There is no contract.
        InputError: No fitting compiler.
    """
    deployed = code_at(w3, address)
    if not deployed:
        raise WrongChain(f"expected {contract} at {to_checksum(address)}, got no contract there")
    built = build(contract, solc=solc)
    if built.creation != artifact(contract).bytecode:
        raise VerificationFailed(f"the compiler does not rebuild {contract}'s shipped bytecode: another version of it?")
    if len(deployed) != len(built.runtime):
        raise VerificationFailed(f"{contract}: expected {len(built.runtime)} bytes of code, got {len(deployed)}")
    expected, got = masked(built.runtime, built.immutables), masked(deployed, built.immutables)
    if expected != got:
        where = next(i for i, (a, b) in enumerate(zip(expected, got, strict=True)) if a != b)
        raise VerificationFailed(
            f"{contract}: the code differs from byte {where} on: expected {expected[where]}, got {got[where]}"
        )
    return VerifiedSource(
        contract=contract,
        address=address,
        compiler=str(artifact(contract).compiler["version"]),
        code_hash=keccak(deployed),
        immutables=_immutables(deployed, built.immutables),
    )


def _immutables(code: bytes, places: Mapping[str, tuple[tuple[int, int], ...]]) -> dict[str, bytes]:
    values = {}
    for name, where in places.items():
        found = {code[start : start + length] for start, length in where}
        if len(found) != 1:
            raise VerificationFailed(f"immutable {name}: expected one value in all its places, got {len(found)}")
        values[name] = found.pop()
    return values


def _expected(
    contract: str, factory: Address, hashes: Sequence[bytes], there: Mapping[str, Address]
) -> dict[str, bytes]:
    """The immutables that a contract of a deployment must hold: whom it names, and the factory's salt."""
    if contract == "Factory":
        return {"_salt": keccak(b"".join(hashes))}
    named = {"Factory": factory, **there}
    return {name.upper(): named[name].rjust(32, b"\0") for name in NAMED[contract]}


def _domain(chain_id: int, contract: Address) -> bytes:
    """The EIP-712 domain separator that signed commitments are made under."""
    kind = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    words = keccak(kind) + keccak(b"Cairn") + keccak(b"1") + chain_id.to_bytes(32, "big") + contract.rjust(32, b"\0")
    return keccak(words)


def _require_immutables(contract: str, values: Mapping[str, bytes], expected: Mapping[str, bytes]) -> None:
    if set(values) != set(expected):
        raise VerificationFailed(f"{contract}: expected the immutables {sorted(expected)}, got {sorted(values)}")
    for key, value in expected.items():
        if values[key] != value:
            raise VerificationFailed(
                f"{contract}: immutable {key}: expected 0x{value.hex()}, got 0x{values[key].hex()}"
            )


def _names(node: Any) -> dict[int, str]:
    """Name of every variable declared in a syntax tree, by the compiler's number for it."""
    found: dict[int, str] = {}
    pending = [node]
    while pending:
        here = pending.pop()
        if isinstance(here, dict):
            if here.get("nodeType") == "VariableDeclaration":
                found[here["id"]] = here["name"]
            pending.extend(here.values())
        elif isinstance(here, list):
            pending.extend(here)
    return found
