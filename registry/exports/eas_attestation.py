"""EAS off-chain attestation of a version, version 2, as EAS's SDK verifies it (https://docs.attest.org).

Signed by an account for a contract of EAS that the user names. It states the anchors and the worst finding of the
checks; it is not sent anywhere.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from registry.errors import InputError
from registry.ethereum.keys import Signer, to_checksum
from registry.exports.exported_version import ExportedVersion
from registry.exports.version_record import VersionRecord
from registry.types import Address, Digest, ModelId

__all__ = ["SCHEMA", "Attesting", "attestation", "read_attestation", "schema_uid"]

_FIELDS = (
    ("uint256", "chainId"),
    ("address", "registry"),
    ("bytes32", "modelId"),
    ("bytes32", "versionDigest"),
    ("uint64", "blockNumber"),
    ("bytes32", "blockHash"),
    ("bytes32", "weightsSha256"),
    ("string", "finding"),
)
SCHEMA = ",".join(f"{kind} {name}" for kind, name in _FIELDS)
"""Schema of the attestation's data, without a resolver, revocable."""
_KINDS = [kind for kind, _ in _FIELDS]
_NONE20, _NONE32 = "0x" + "00" * 20, "0x" + "00" * 32
_VERSION = 2
_TYPES = {
    "EIP712Domain": [
        {"name": "name", "type": "string"},
        {"name": "version", "type": "string"},
        {"name": "chainId", "type": "uint256"},
        {"name": "verifyingContract", "type": "address"},
    ],
    "Attest": [
        {"name": "version", "type": "uint16"},
        {"name": "schema", "type": "bytes32"},
        {"name": "recipient", "type": "address"},
        {"name": "time", "type": "uint64"},
        {"name": "expirationTime", "type": "uint64"},
        {"name": "revocable", "type": "bool"},
        {"name": "refUID", "type": "bytes32"},
        {"name": "data", "type": "bytes"},
        {"name": "salt", "type": "bytes32"},
    ],
}


@dataclass(frozen=True, slots=True)
class Attesting:
    """Who attests, for which contract of EAS, and when.

    Attributes:
        contract: EAS's contract on the version's chain.
        release: That contract's version, which its signatures are bound to, such as 1.3.0.
        at: Time of the attestation, Unix seconds.
    """

    signer: Signer
    contract: Address
    release: str
    at: int


def schema_uid() -> bytes:
    """Return the UID of the schema, 32 bytes."""
    from eth_utils.crypto import keccak

    return keccak(SCHEMA.encode() + bytes(20) + b"\1")


def attestation(record: VersionRecord, by: Attesting) -> bytes:
    """Return the signed attestation, JSON, as EAS's explorer and SDK exchange it.

    Raises:
        InputError: The release is no version.
        SignerError: The account does not sign.
    """
    from eth_abi.abi import encode

    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,4}){1,2}", by.release):
        raise InputError(f"--eas-version: expected a version such as 1.3.0, got {by.release!r:.100}")
    exported = record.exported
    values = [exported.chain_id, exported.contract, exported.model, exported.version, exported.block]
    values += [exported.block_hash, record.manifest.weights.sha256, record.finding.value]
    data = encode(_KINDS, values)
    message: dict[str, Any] = {
        "version": _VERSION,
        "schema": "0x" + schema_uid().hex(),
        "recipient": _NONE20,
        "time": by.at,
        "expirationTime": 0,
        "revocable": True,
        "refUID": _NONE32,
        "data": "0x" + data.hex(),
        "salt": "0x" + hashlib.sha256(exported.name.encode() + by.signer.address + bytes([_VERSION])).hexdigest(),
    }
    domain = {
        "name": "EAS Attestation",
        "version": by.release,
        "chainId": exported.chain_id,
        "verifyingContract": to_checksum(by.contract),
    }
    signed = by.signer.sign_typed_data(
        {"types": _TYPES, "primaryType": "Attest", "domain": domain, "message": _unhexed(message)}
    )
    told = {
        "signer": to_checksum(by.signer.address),
        "sig": {
            "version": _VERSION,
            "uid": "0x" + _uid(message).hex(),
            "domain": {**domain, "chainId": str(exported.chain_id)},
            "primaryType": "Attest",
            "types": {"Attest": _TYPES["Attest"]},
            "message": {**message, "time": str(by.at), "expirationTime": "0"},
            "signature": {"r": "0x" + signed[:32].hex(), "s": "0x" + signed[32:64].hex(), "v": signed[64]},
        },
    }
    return json.dumps(told, indent=1).encode() + b"\n"


def read_attestation(data: bytes) -> ExportedVersion:
    """Return the version that an attestation is of; its signature is not checked.

    Raises:
        InputError: It is no such attestation.
    """
    from eth_abi.abi import decode
    from eth_abi.exceptions import DecodingError

    try:
        message = json.loads(data)["sig"]["message"]
        if message["schema"] != "0x" + schema_uid().hex():
            raise ValueError("another schema")
        values = decode(_KINDS, bytes.fromhex(message["data"].removeprefix("0x")))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, DecodingError) as error:
        raise InputError(f"expected an EAS attestation of a version: {type(error).__name__}") from error
    chain_id, contract, model, version, block, block_hash, *_ = values
    address = Address(bytes.fromhex(contract.removeprefix("0x")))
    return ExportedVersion(chain_id, address, ModelId(model), Digest(version), block, block_hash)


def _unhexed(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message whose bytes are bytes; addresses stay text."""
    return {
        name: bytes.fromhex(value[2:]) if isinstance(value, str) and name != "recipient" else value
        for name, value in message.items()
    }


def _uid(message: dict[str, Any]) -> bytes:
    """Return the attestation's UID: keccak256 over its packed fields, the schema's UID as text."""
    from eth_utils.crypto import keccak

    raw = _unhexed(message)
    packed = (
        message["version"].to_bytes(2, "big")
        + message["schema"].encode()
        + bytes.fromhex(message["recipient"][2:])
        + bytes(20)
        + message["time"].to_bytes(8, "big")
        + message["expirationTime"].to_bytes(8, "big")
        + bytes([message["revocable"]])
        + raw["refUID"]
        + raw["data"]
        + raw["salt"]
        + bytes(4)
    )
    return keccak(packed)
