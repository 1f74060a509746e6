"""Source verification: recompiles with py-solc-x and compares with the deployed bytecode.

Immutables, which the constructor writes into the code, are masked in that comparison and checked by name: Cairn holds
the addresses of its factory and partners, each partner those of its Cairn and of the siblings that it calls. The
addresses follow from the factory's address and the hashes of all creation codes.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.chain.contract_hashes import addresses_of
from registry.chain.contracts import DEPLOYED, artifact, immutables_of, standard_input
from registry.chain.deploy import code_at, masked
from registry.durable import write_whole
from registry.errors import InputError, VerificationFailed, WrongChain
from registry.ethereum.hashing import keccak
from registry.ethereum.keys import to_checksum
from registry.ethereum.node import asking
from registry.types import Address

if TYPE_CHECKING:
    from web3 import Web3

__all__ = ["Built", "KeptBuilds", "VerifiedSource", "build", "build_all", "verify_contract", "verify_deployment"]

NAMED = {
    "Cairn": ("Factory", "Challenges", "Court", "Rules"),
    "Challenges": ("Cairn", "Court", "Rules"),
    "Court": ("Cairn", "Challenges", "Selections", "Rules"),
    "Rules": (),
    "Labels": ("Cairn",),
    "Selections": ("Cairn", "Court", "Rules"),
    "Scores": ("Cairn",),
}
"""Contracts whose addresses each contract holds as immutables."""


@dataclass(frozen=True, slots=True)
class Built:
    """Compiler output for a contract, from the sources that ship with this package.

    Attributes:
        creation: Creation code.
        runtime: Runtime code, immutables zeroed.
        immutables: (start, length) of every immutable, by name.
    """

    creation: bytes
    runtime: bytes
    immutables: Mapping[str, tuple[tuple[int, int], ...]]


@dataclass(frozen=True, slots=True)
class VerifiedSource:
    """A contract with verified code, and its immutables."""

    contract: str
    address: Address
    compiler: str
    code_hash: bytes
    immutables: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class KeptBuilds:
    """Folder of the compiler's output, each file named by the hash of source, settings and compiler.

    Attributes:
        folder: The folder; created when needed.
        again: Compile even if the output is kept.
    """

    folder: Path
    again: bool = False

    def read(self, name: str) -> dict[str, Built] | None:
        """Return what was kept under a name; None if there is nothing readable."""
        try:
            kept = json.loads((self.folder / name).read_text())
            return {
                contract: Built(
                    bytes.fromhex(one["creation"]),
                    bytes.fromhex(one["runtime"]),
                    {each: tuple((start, length) for start, length in at) for each, at in one["immutables"].items()},
                )
                for contract, one in kept.items()
            }
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return None

    def write(self, name: str, built: Mapping[str, Built]) -> None:
        """Keep builds under a name."""
        self.folder.mkdir(parents=True, exist_ok=True)
        shown = {
            contract: {"creation": one.creation.hex(), "runtime": one.runtime.hex(), "immutables": one.immutables}
            for contract, one in built.items()
        }
        write_whole(self.folder / name, json.dumps(shown).encode())


def build_all(*, solc: Path | None = None, kept: KeptBuilds | None = None) -> dict[str, Built]:
    """Compile a deployment's contracts, or return what the same compiler made of the same source before.

    Args:
        solc: Path of the compiler; None for the one that py-solc-x installed.
        kept: Earlier output; updated. None to compile now.

    Raises:
        InputError: There is no compiler of the version that the artifacts were built with.
    """
    names = ("Factory", *DEPLOYED)
    compiler = b"" if solc is None else solc.read_bytes() if solc.is_file() else str(solc).encode()
    parts = (json.dumps(standard_input(), sort_keys=True), str(artifact("Cairn").compiler["version"]))
    name = hashlib.sha256("\n".join(parts).encode() + hashlib.sha256(compiler).digest()).hexdigest() + ".json"
    found = None if kept is None or kept.again else kept.read(name)
    if found is None or set(found) != set(names):
        found = {contract: build(contract, solc=solc) for contract in names}
        if kept is not None:
            kept.write(name, found)
    return found


def build(contract: str = "Cairn", *, solc: Path | None = None) -> Built:
    """Compile a contract from the shipped sources and settings.

    Args:
        contract: Name of the contract.
        solc: Path of the compiler; None for the one that py-solc-x installed.

    Raises:
        InputError: There is no compiler of the version that the artifacts were built with.
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
    """Compile all shipped sources; return the compiler's output."""
    import solcx
    from solcx.exceptions import SolcError, SolcNotInstalled

    # Also request the AST, the only output with names of immutables; it does not change the code.
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


def verify_deployment(
    w3: Web3, address: Address, *, solc: Path | None = None, kept: KeptBuilds | None = None
) -> dict[str, VerifiedSource]:
    """Verify a deployment against the source: Cairn, its factory and its partners.

    Each must have the source's code and hold the addresses of the others that follow from the factory's list.

    Args:
        w3: The node.
        address: Cairn's address.
        solc: Path of the compiler; None for the one that py-solc-x installed.
        kept: Earlier output of the compiler; None to compile now.

    Returns:
        The verified contracts, by name.

    Raises:
        VerificationFailed: They differ; the message says where.
        WrongChain: There is no contract.
        InputError: No fitting compiler.
    """
    if not code_at(w3, address):
        raise WrongChain(f"expected Cairn at {to_checksum(address)}, got no contract there")
    built = build_all(solc=solc, kept=kept)
    found = {"Cairn": verify_contract(w3, address, "Cairn", built["Cairn"])}
    factory = Address(found["Cairn"].immutables["FACTORY"][12:])
    hashes = tuple(keccak(built[name].creation) for name in DEPLOYED)
    there = dict(zip(DEPLOYED, addresses_of(factory, hashes), strict=True))
    if there["Cairn"] != address:
        raise VerificationFailed(
            f"expected Cairn at {to_checksum(there['Cairn'])}, where its factory {to_checksum(factory)} puts it, "
            f"got {to_checksum(address)}"
        )
    found["Factory"] = verify_contract(w3, factory, "Factory", built["Factory"])
    found |= {name: verify_contract(w3, there[name], name, built[name]) for name in DEPLOYED[1:]}
    with asking("eth_chainId"):
        chain_id = w3.eth.chain_id
    for name, verified in found.items():
        expected = _expected(name, factory, hashes, there)
        if name == "Cairn":
            expected |= {"_chainId": chain_id.to_bytes(32, "big"), "_domain": _domain(chain_id, address)}
        _require_immutables(name, verified.immutables, expected)
    return found


def verify_contract(w3: Web3, address: Address, contract: str, built: Built) -> VerifiedSource:
    """Verify one contract's code against the source, with immutables masked.

    Raises:
        VerificationFailed: They differ; the message says where.
        WrongChain: There is no contract.
    """
    deployed = code_at(w3, address)
    if not deployed:
        raise WrongChain(f"expected {contract} at {to_checksum(address)}, got no contract there")
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
    """Return the expected immutables of a contract of a deployment: addresses, and the factory's salt."""
    if contract == "Factory":
        return {"_salt": keccak(b"".join(hashes))}
    named = {"Factory": factory, **there}
    return {name.upper(): named[name].rjust(32, b"\0") for name in NAMED[contract]}


def _domain(chain_id: int, contract: Address) -> bytes:
    """Return the EIP-712 domain separator of signed commitments."""
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
    """Return the name of every variable declared in an AST, by the compiler's node id."""
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
