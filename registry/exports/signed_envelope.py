"""DSSE envelopes, signed by a P-256 key from a PEM file (https://github.com/secure-systems-lab/dsse, v1.0).

The key is read from a file that the user names and stays in this process; no message and no output shows it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.errors import InputError, SignerError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

__all__ = ["PAYLOAD_TYPE", "SigningKey", "envelope", "opened", "read_signing_key"]

PAYLOAD_TYPE = "application/vnd.in-toto+json"
_MAX_KEY_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, repr=False)
class SigningKey:
    """A private key on the curve P-256.

    Attributes:
        public_pem: Its public key as PEM (SubjectPublicKeyInfo).
    """

    _private: EllipticCurvePrivateKey
    public_pem: bytes

    def __repr__(self) -> str:
        return f"SigningKey(sha256 of the public key {self.fingerprint})"

    @property
    def fingerprint(self) -> str:
        """Return sha256 of the public key's PEM, hex."""
        return hashlib.sha256(self.public_pem).hexdigest()

    def sign(self, message: bytes) -> bytes:
        """Return the ECDSA signature over SHA-256 of a message, DER."""
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.hashes import SHA256

        return self._private.sign(message, ECDSA(SHA256()))


def read_signing_key(path: Path, password: bytes | None = None) -> SigningKey:
    """Return the key of a PEM file.

    Raises:
        InputError: The package that reads keys is not installed.
        SignerError: There is no such file, it holds no P-256 key, or the password does not open it.
    """
    if find_spec("cryptography") is None:
        raise InputError(
            "signing needs cryptography: pip install 'cairn-registry[exports]', or in Cairn's checkout "
            "pip install -e '.[exports]'"
        )
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    expected = f"{path}: expected a PEM file with a private key on P-256, as `openssl ecparam -genkey -name prime256v1`"
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_KEY_BYTES + 1)
    except OSError as error:
        raise SignerError(f"{expected} writes, {error.strerror}") from None
    try:
        key = serialization.load_pem_private_key(data, password) if len(data) <= _MAX_KEY_BYTES else None
    except TypeError:
        asked = "a password: --key-password-file" if password is None else "no password, the key is not encrypted"
        raise SignerError(f"{path}: expected {asked}") from None
    except Exception:  # noqa: BLE001 - the error's text may quote the file
        raise SignerError(f"{expected} writes, got something else or a wrong password") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise SignerError(f"{expected} writes, got another kind of key")
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return SigningKey(key, key.public_key().public_bytes(serialization.Encoding.PEM, form))


def envelope(statement: Mapping[str, Any], key: SigningKey, *, key_id: str) -> dict[str, Any]:
    """Return the envelope of a statement with one signature."""
    payload = json.dumps(statement, ensure_ascii=False, separators=(",", ":")).encode()
    signature = key.sign(f"DSSEv1 {len(PAYLOAD_TYPE)} {PAYLOAD_TYPE} {len(payload)} ".encode() + payload)
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": key_id, "sig": base64.b64encode(signature).decode()}],
    }


def opened(held: Any) -> Any:
    """Return an envelope's statement; its signature is not checked.

    Raises:
        InputError: It is no envelope of an in-toto statement.
    """
    try:
        if held["payloadType"] != PAYLOAD_TYPE:
            raise ValueError(held["payloadType"])
        return json.loads(base64.b64decode(held["payload"], validate=True))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"expected a DSSE envelope of type {PAYLOAD_TYPE}: {type(error).__name__}") from error
