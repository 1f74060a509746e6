"""Signers: interface, keystore v3 files compatible with cast, and unlocked accounts of a node.

Settings are those of cast: `ETH_KEYSTORE` (a file or folder), `ETH_KEYSTORE_ACCOUNT` (a name in ~/.foundry/keystores),
`ETH_PASSWORD` (a *file* that holds the password), `ETH_FROM`, `ETH_RPC_URL`. Keys are never read from arguments or the
environment and never printed: a signer shows only its address.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from registry.errors import InputError, SignerError
from registry.ethereum.node import NodeRefused, asking, bound_recursion
from registry.types import Address

if TYPE_CHECKING:
    from web3 import Web3

__all__ = [
    "LocalSigner",
    "Signer",
    "UnlockedSigner",
    "address_of",
    "check_signed",
    "create_keystore",
    "find_keystore",
    "open_keystore",
    "signer_from_settings",
    "to_checksum",
]

MAX_KEYSTORE_BYTES = 1 << 16


class Signer(Protocol):
    """Signer interface for one account: a local key, a hardware wallet or a remote signer."""

    @property
    def address(self) -> Address:
        """The account, 20 bytes."""
        ...

    def sign_transaction(self, transaction: Mapping[str, Any]) -> bytes:
        """Return the signed transaction, ready to send.

        Args:
            transaction: JSON-RPC field names; values as int and bytes; no `to` for a contract creation.

        Raises:
            SignerError: It will not or cannot sign.
        """
        ...

    def sign_typed_data(self, data: Mapping[str, Any]) -> bytes:
        """Return the 65-byte signature (r, s, v) of EIP-712 data: types, primaryType, domain, message.

        Raises:
            SignerError: It will not or cannot sign.
        """
        ...


class LocalSigner:
    """A key in this process's memory."""

    __slots__ = ("_account",)

    def __init__(self, private_key: bytes) -> None:
        """Create a signer from a key of 32 bytes.

        Raises:
            SignerError: It is not a secp256k1 key. The message does not show it.
        """
        from eth_account import Account

        bound_recursion()
        try:
            self._account = Account.from_key(private_key)
        except Exception:  # noqa: BLE001 - the error's text may contain the key
            raise SignerError(
                f"expected a secp256k1 private key of 32 bytes, got {len(private_key)} other bytes"
            ) from None

    def __repr__(self) -> str:
        return f"LocalSigner({to_checksum(self.address)})"

    def __reduce__(self) -> NoReturn:
        raise SignerError("a signer holds a key and is not pickled")

    @property
    def address(self) -> Address:
        """The account, 20 bytes."""
        return address_of(self._account.address)

    def sign_transaction(self, transaction: Mapping[str, Any]) -> bytes:
        """Return the signed transaction."""
        try:
            return bytes(self._account.sign_transaction(dict(transaction)).raw_transaction)
        except (TypeError, ValueError) as error:
            raise SignerError(f"cannot sign this transaction: {error}") from error

    def sign_typed_data(self, data: Mapping[str, Any]) -> bytes:
        """Return the EIP-712 signature."""
        return bytes(self._account.sign_typed_data(full_message=dict(data)).signature)


class UnlockedSigner:
    """An account unlocked on the node, as on development nodes. The node signs; Cairn journals and sends."""

    __slots__ = ("_address", "_w3")

    def __init__(self, w3: Web3, address: Address) -> None:
        self._w3 = w3
        self._address = address

    def __repr__(self) -> str:
        return f"UnlockedSigner({to_checksum(self._address)})"

    @property
    def address(self) -> Address:
        """The account, 20 bytes."""
        return self._address

    def sign_transaction(self, transaction: Mapping[str, Any]) -> bytes:
        """Ask the node to sign (`eth_signTransaction`)."""
        request = {name: _json(value) for name, value in transaction.items()} | {"from": to_checksum(self._address)}
        answer = self._ask("eth_signTransaction", [request])
        raw = answer.get("raw") if isinstance(answer, Mapping) else answer
        return _from_hex(raw, "eth_signTransaction")

    def sign_typed_data(self, data: Mapping[str, Any]) -> bytes:
        """Ask the node to sign (`eth_signTypedData_v4`)."""
        answer = self._ask("eth_signTypedData_v4", [to_checksum(self._address), _typed_json(data)])
        return _from_hex(answer, "eth_signTypedData_v4")

    def _ask(self, method: str, params: list[Any]) -> Any:
        try:
            with asking(method):
                # Bypasses web3's formatters for named methods: the answer is plain hex on every node.
                return self._w3.manager.request_blocking(method, params)  # type: ignore[arg-type]
        except NodeRefused as error:
            raise SignerError(
                f"the node does not sign for {to_checksum(self._address)} ({error.said}): use a keystore"
            ) from error


def open_keystore(path: Path, password: str) -> LocalSigner:
    """Return the signer of a keystore v3 file.

    Raises:
        SignerError: No such file, not a keystore, or a wrong password.
    """
    from eth_account import Account

    bound_recursion()
    try:
        with path.open("rb") as file:
            text = file.read(MAX_KEYSTORE_BYTES + 1)
        loaded = json.loads(text)
    except FileNotFoundError as error:
        raise SignerError(f"no keystore at {path}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise SignerError(f"{path} cannot be read as a keystore") from error
    if not isinstance(loaded, dict) or len(text) > MAX_KEYSTORE_BYTES:
        raise SignerError(f"expected a keystore v3 file, got something else at {path}")
    try:
        key = bytes(Account.decrypt(loaded, password))
    except ValueError as error:
        if "mac" in str(error).lower():
            raise SignerError(f"the password does not open {path}") from None
        raise SignerError(f"expected a keystore v3 file at {path}: {error}") from None
    except (KeyError, TypeError, NotImplementedError, AttributeError) as error:
        raise SignerError(f"expected a keystore v3 file at {path}, got one without {error}") from None
    return LocalSigner(key)


def create_keystore(path: Path, password: str, *, iterations: int = 1 << 18) -> Address:
    """Create a key and atomically write it as a keystore v3 file (scrypt), mode 0600.

    Args:
        path: Path of the file, which must not exist.
        password: Password, not empty.
        iterations: scrypt's N.

    Returns:
        The new account's address.

    Raises:
        InputError: The password is empty, or something is at `path`.
    """
    from eth_account import Account

    bound_recursion()
    if not password:
        raise InputError("expected a password for the keystore, got an empty one")
    account = Account.from_key(secrets.token_bytes(32))
    keystore = dict(Account.encrypt(account.key, password, kdf="scrypt", iterations=iterations))
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".keystore-")  # mode 0600
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(keystore, file)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)  # unlike a rename, a link never overwrites
    except FileExistsError as error:
        raise InputError(f"{path} exists already: a keystore is never overwritten") from error
    finally:
        os.unlink(temporary)
    return address_of(account.address)


def find_keystore(settings: Mapping[str, str]) -> Path | None:
    """Return the path of the keystore that cast's settings name; None if they name none.

    Raises:
        SignerError: The keystore does not exist, or is ambiguous in the folder.
    """
    if account := settings.get("ETH_KEYSTORE_ACCOUNT"):
        return Path(settings.get("HOME") or Path.home()) / ".foundry" / "keystores" / account
    named = settings.get("ETH_KEYSTORE")
    if not named:
        return None
    path = Path(named).expanduser()
    if not path.is_dir():
        return path
    wanted = settings.get("ETH_FROM", "").lower().removeprefix("0x")
    found = [file for file in sorted(path.iterdir()) if file.is_file() and (not wanted or _is_of(file, wanted))]
    if len(found) != 1:
        raise SignerError(
            f"expected one keystore in {path}, got {len(found)}: name the file, or its account in ETH_FROM"
        )
    return found[0]


def signer_from_settings(
    settings: Mapping[str, str], w3: Web3 | None = None, *, ask: Callable[[str], str] | None = None
) -> Signer:
    """Return the signer that cast's settings name: a keystore, or an unlocked account of the node.

    Args:
        settings: Environment variables.
        w3: The node, for unlocked accounts.
        ask: Prompts for the password if no password file is set.

    Raises:
        SignerError: No signer is named, the keystore cannot be opened, or its account is not ETH_FROM.
    """
    wanted = settings.get("ETH_FROM")
    keystore = find_keystore(settings)
    if keystore is None:
        if wanted and w3 is not None:
            return UnlockedSigner(w3, address_of(wanted))
        raise SignerError(
            "no account to sign with: set ETH_KEYSTORE or ETH_KEYSTORE_ACCOUNT, and ETH_PASSWORD to a file"
        )
    signer = open_keystore(keystore, _password(settings, keystore, ask))
    if wanted and address_of(wanted) != signer.address:
        raise SignerError(
            f"expected the keystore of {wanted}, as ETH_FROM says, {keystore} is {to_checksum(signer.address)}'s"
        )
    return signer


def check_signed(raw: bytes, transaction: Mapping[str, Any], address: Address) -> None:
    """Check that a signed transaction is the requested one, signed by the expected account.

    Raises:
        SignerError: It was signed by another account, or is another transaction.
    """
    from eth_account import Account
    from eth_account.typed_transactions.typed_transaction import TypedTransaction
    from hexbytes import HexBytes

    bound_recursion()
    try:
        sender = address_of(Account.recover_transaction(HexBytes(raw)))
        typed = raw[:1] == b"\x02"
        signed = TypedTransaction.from_bytes(HexBytes(raw)).as_dict() if typed else None
    except Exception as error:
        raise SignerError("expected a signed transaction from the signer, got other bytes") from error
    if sender != address:
        raise SignerError(f"expected a signature of {to_checksum(address)}, got one of {to_checksum(sender)}")
    if signed is None:
        return  # legacy transaction on a chain without EIP-1559: only the sender is checked
    for name in ("chainId", "nonce", "to", "value", "data", "gas", "maxFeePerGas", "maxPriorityFeePerGas"):
        expected, got = _plain(transaction.get(name, b"")), _plain(signed.get(name, b""))
        if expected != got:
            raise SignerError(f"the signer signed another transaction: {name} is not what it was asked for")


def address_of(text: str) -> Address:
    """Parse a hex address, 20 bytes; mixed case must be a valid checksum (EIP-55).

    Raises:
        InputError: It is not an address.
    """
    digits = text.removeprefix("0x")
    if len(digits) != 40 or any(c not in "0123456789abcdefABCDEF" for c in digits):
        raise InputError(f"expected an address of 20 bytes in hex, got {text!r:.60}")
    address = Address(bytes.fromhex(digits))
    if digits not in (digits.lower(), digits.upper()) and to_checksum(address)[2:] != digits:
        raise InputError(f"{text} has a wrong checksum: a digit or its case was mistyped")
    return address


def to_checksum(address: Address) -> str:
    """Return an address as checksummed hex (EIP-55)."""
    from eth_utils.address import to_checksum_address

    return str(to_checksum_address(address))


def _password(settings: Mapping[str, str], keystore: Path, ask: Callable[[str], str] | None) -> str:
    file = settings.get("ETH_PASSWORD")
    if file:
        try:
            return Path(file).expanduser().read_text().rstrip("\r\n")
        except (OSError, UnicodeDecodeError):
            # Do not show the value: users mistakenly set it to the password itself.
            raise SignerError("ETH_PASSWORD must name a readable file that holds the password") from None
    if ask is None:
        raise SignerError(f"no password for {keystore}: set ETH_PASSWORD to a file that holds it")
    return ask(f"Password of {keystore.name}: ")


def _is_of(file: Path, wanted: str) -> bool:
    if file.name.lower().endswith(wanted):
        return True
    try:
        loaded = json.loads(file.read_bytes()[:MAX_KEYSTORE_BYTES])
    except (OSError, ValueError):
        return False
    return isinstance(loaded, dict) and str(loaded.get("address", "")).lower().removeprefix("0x") == wanted


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return bytes.fromhex(value.removeprefix("0x"))
    return bytes(value) if isinstance(value, (bytes, bytearray)) else value


def _json(value: Any) -> Any:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    return hex(value) if isinstance(value, int) else "0x" + bytes(value).hex()


def _typed_json(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {key: _typed_json(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_typed_json(value) for value in data]
    return "0x" + data.hex() if isinstance(data, bytes) else data


def _from_hex(value: object, what: str) -> bytes:
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if isinstance(value, str) and value.startswith("0x"):
        return bytes.fromhex(value[2:])
    raise SignerError(f"{what}: expected hex from the node, got {type(value).__name__}")
