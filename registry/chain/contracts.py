"""Compiled contract artifacts (ABI, bytecode, storage layout), and ABI encoding and decoding of calls.

Artifacts are loaded lazily and cached.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from registry.errors import InputError, WrongChain
from registry.ethereum.hashing import keccak

__all__ = [
    "DEPLOYED",
    "Artifact",
    "EventAbi",
    "Function",
    "abi_type",
    "artifact",
    "decode_output",
    "encode_call",
    "error_of",
    "events",
    "function",
    "immutables_of",
    "standard_input",
]


DEPLOYED = ("Cairn", "Challenges", "Court", "Rules", "Labels", "Selections", "Scores")
"""The contracts of a deployment, in the order of the factory's list."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A compiled contract.

    Attributes:
        name: Its name.
        source: Path of its source file in the compiler's input.
        abi: The entries of its ABI.
        bytecode: Creation code, without constructor arguments.
        deployed_bytecode: Runtime code, immutables zeroed.
        immutables: (start, length) of every immutable in the runtime code, by the compiler's node id.
        compiler: Version and settings.
        storage: Storage layout: `variables`, and their `types`.
    """

    name: str
    source: str
    abi: tuple[Mapping[str, Any], ...]
    bytecode: bytes
    deployed_bytecode: bytes
    immutables: Mapping[str, tuple[tuple[int, int], ...]]
    compiler: Mapping[str, Any]
    storage: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the ABI: selector, and types of inputs and outputs."""

    signature: str
    selector: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EventAbi:
    """An event of the ABI: its topic and (name, type, indexed) of each field."""

    name: str
    topic: bytes
    inputs: tuple[tuple[str, str, bool], ...]


@functools.cache
def artifact(name: str) -> Artifact:
    """Return a compiled contract that ships with the package.

    Raises:
        InputError: No contract of that name ships.
    """
    path = files("registry.chain") / "artifacts" / f"{name}.json"
    if not path.is_file():
        raise InputError(f"no contract named {name!r} ships with this package")
    loaded = json.loads(path.read_text())
    return Artifact(
        name=loaded["contractName"],
        source=loaded["sourceName"],
        abi=tuple(MappingProxyType(entry) for entry in loaded["abi"]),
        bytecode=_unhex(loaded["bytecode"]),
        deployed_bytecode=_unhex(loaded["deployedBytecode"]),
        immutables=MappingProxyType(immutables_of(loaded["immutableReferences"])),
        compiler=MappingProxyType(loaded["compiler"]),
        storage=MappingProxyType(loaded["storage"]),
    )


def immutables_of(references: Mapping[str, Any]) -> dict[str, tuple[tuple[int, int], ...]]:
    """Return the compiler's `immutableReferences` as (start, length) pairs."""
    return {key: tuple((int(r["start"]), int(r["length"])) for r in places) for key, places in references.items()}


def standard_input() -> dict[str, Any]:
    """Return the compiler's standard JSON input that the artifacts were built from: settings and all sources."""
    path = files("registry.chain") / "artifacts" / "standard_input.json"
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def function(contract: str, name: str, arity: int) -> Function:
    """Return the function with a name and number of arguments, which distinguishes overloads."""
    found = _functions(contract).get((name, arity))
    if found is None:
        raise InputError(f"{contract} has no function {name} of {arity} arguments")
    return found


def events(contract: str) -> tuple[EventAbi, ...]:
    """Return the events of a contract."""
    return tuple(
        EventAbi(
            name=entry["name"],
            topic=keccak(_signature(entry).encode()),
            inputs=tuple((item["name"], abi_type(item), bool(item["indexed"])) for item in entry["inputs"]),
        )
        for entry in artifact(contract).abi
        if entry["type"] == "event"
    )


def error_of(selector: bytes) -> tuple[str, tuple[str, ...]] | None:
    """Return name and argument types of the custom error with a selector; None if no contract defines it."""
    return _errors().get(selector)


def encode_call(contract: str, name: str, arguments: Sequence[Any]) -> bytes:
    """Return the calldata of a call.

    Raises:
        InputError: An argument does not fit its type.
    """
    from eth_abi import grammar
    from eth_abi.abi import encode
    from eth_abi.exceptions import EncodingError

    called = function(contract, name, len(arguments))
    for kind, value in zip(called.inputs, arguments, strict=True):
        _require_lengths(called.signature, grammar.parse(kind), value)
    try:
        return called.selector + encode(called.inputs, arguments)
    except (EncodingError, TypeError) as error:
        raise InputError(f"{called.signature}: {error}") from error


def decode_output(contract: str, name: str, arity: int, data: bytes) -> tuple[Any, ...]:
    """Decode the return data of a call.

    Raises:
        WrongChain: The data does not decode, so the address holds another contract.
    """
    from eth_abi.abi import decode
    from eth_abi.exceptions import DecodingError

    called = function(contract, name, arity)
    try:
        return tuple(decode(called.outputs, data))
    except DecodingError as error:
        raise WrongChain(f"expected a {contract} there, got {len(data)} bytes from {called.signature}") from error


def abi_type(item: Mapping[str, Any]) -> str:
    """Return the canonical type of an ABI item, structs as tuples, as in selectors and eth_abi."""
    kind = str(item["type"])
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(abi_type(part) for part in item['components'])}){kind.removeprefix('tuple')}"


@functools.cache
def _functions(contract: str) -> Mapping[tuple[str, int], Function]:
    found = {}
    for entry in artifact(contract).abi:
        if entry["type"] == "function":
            signature = _signature(entry)
            found[entry["name"], len(entry["inputs"])] = Function(
                signature=signature,
                selector=keccak(signature.encode())[:4],
                inputs=tuple(abi_type(item) for item in entry["inputs"]),
                outputs=tuple(abi_type(item) for item in entry["outputs"]),
            )
    return found


@functools.cache
def _errors() -> Mapping[bytes, tuple[str, tuple[str, ...]]]:
    return {
        keccak(_signature(entry).encode())[:4]: (entry["name"], tuple(abi_type(item) for item in entry["inputs"]))
        for contract in ("Factory", *DEPLOYED)
        for entry in artifact(contract).abi
        if entry["type"] == "error"
    }


def _require_lengths(signature: str, kind: Any, value: Any) -> None:
    """Check lengths of fixed bytes: eth_abi silently pads a short bytes32, but a short digest is always an error."""
    if kind.is_array:
        for item in value:
            _require_lengths(signature, kind.item_type, item)
    elif hasattr(kind, "components"):
        for part, item in zip(kind.components, value, strict=True):
            _require_lengths(signature, part, item)
    else:
        length = {"bytes32": 32, "address": 20}.get(kind.to_type_str())
        if length is not None and (not isinstance(value, bytes) or len(value) != length):
            got = f"{len(value)} bytes" if isinstance(value, bytes) else repr(value)
            raise InputError(f"{signature}: expected {length} bytes, got {got:.60}")


def _signature(entry: Mapping[str, Any]) -> str:
    return f"{entry['name']}({','.join(abi_type(item) for item in entry['inputs'])})"


def _unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
