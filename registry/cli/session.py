"""A command's session: its settings, and the chain, store and signer that they name, opened lazily."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from registry.cli.output import Output
from registry.cli.settings import Settings, config_files, resolve
from registry.errors import InputError, SignerError

if TYPE_CHECKING:
    from web3 import Web3

    from registry.chain.client import Client
    from registry.chain.deployments import Deployment
    from registry.chain.sending import SentReceipt
    from registry.ethereum.keys import Signer
    from registry.ethereum.networks import Finality
    from registry.store.base import ContentStore
    from registry.types import Address

__all__ = ["Session"]


class Session:
    """One run of one command.

    Args:
        flags: Settings given as flags, by name; None if not given.
        as_json: Print JSON.
        dry_run: Send no transaction.
    """

    def __init__(self, flags: Mapping[str, str | None], *, as_json: bool = False, dry_run: bool = False) -> None:
        self.out = Output(as_json)
        self.dry_run = dry_run
        self._flags = flags

    @cached_property
    def settings(self) -> Settings:
        """All settings, each from its first source."""
        return resolve(self._flags, os.environ, config_files(Path.cwd(), os.environ))

    @cached_property
    def home(self) -> Path:
        """The folder of Cairn's own files."""
        return self.settings.path("home")

    @cached_property
    def store(self) -> ContentStore:
        """The content store that the settings name."""
        from registry.cli.open_store import store_uri
        from registry.store.uri import open_store

        return open_store(store_uri(self.settings))

    @cached_property
    def w3(self) -> Web3:
        """The node that the settings name; no request is made yet."""
        from registry.ethereum.node import connect

        return connect(self.settings.need("rpc_url"))

    @cached_property
    def reader(self) -> Client:
        """A read-only client of the contract that the settings name.

        Raises:
            InputError: They name none, and none is recorded as deployed on this chain.
        """
        return self._client(None)

    @cached_property
    def client(self) -> Client:
        """A client of the contract that the settings name, with the signing account."""
        return self._client(self.signer)

    def client_of(self, account: str) -> Client:
        """Return a client that signs with another keystore of the keys folder, by name."""
        from registry.ethereum.keys import signer_from_settings

        named = {**self._signer_settings(), "ETH_KEYSTORE": str(self._named_keystore(account))}
        named.pop("ETH_FROM", None)
        return self._client(signer_from_settings(named, self.w3, ask=_ask_password))

    @property
    def deployments(self) -> Path:
        """The folder of deployment records."""
        return self.home / "deployments"

    @property
    def journals(self) -> Path:
        """The folder of journals."""
        return self.home / "journals"

    @property
    def finality(self) -> Finality | None:
        """The finality policy that the settings name; None for the network's own."""
        from registry.ethereum.networks import parse_finality

        named = self.settings["finality"]
        return None if named is None else parse_finality(named)

    @cached_property
    def chain_id(self) -> int:
        """The node's chain id, which must match the setting, if given.

        Raises:
            WrongChain: The node is on another chain.
        """
        from registry.chain.client import chain_id_of

        return chain_id_of(self.w3, expected=self.settings.number("chain_id"))

    def contract(self) -> tuple[Address, int]:
        """Return the contract's address and the first block to read its events from.

        Raises:
            InputError: The settings name none, and none is recorded as deployed on this chain.
        """
        from registry.chain.deployments import load_deployment
        from registry.ethereum.keys import address_of

        named, block = self.settings["contract"], self.settings.number("from_block")
        known = load_deployment(self.deployments, self.chain_id)
        if named is None and known is None:
            raise InputError(
                f"no contract on chain {self.chain_id}: give --contract or CAIRN_CONTRACT, or `cairn contracts deploy`"
            )
        address = address_of(named) if named is not None else known.address  # type: ignore[union-attr]
        if block is None:
            block = known.block if known is not None and known.address == address else 0
        return address, block

    def deploy(self, sent: Callable[[str, SentReceipt], None] | None = None) -> Deployment:
        """Deploy the contracts, or resume or find an earlier deployment; record them in the home folder. Idempotent.

        Args:
            sent: Called with each contract's name and the receipt of its transaction.
        """
        from registry.chain.client import open_journal
        from registry.chain.deploy import deploy
        from registry.chain.transactions import Transactor

        signer, chain_id = self.signer, self.chain_id
        journal = open_journal(self.w3, chain_id, signer.address, self.journals)
        transactor = Transactor(self.w3, signer, journal, chain_id=chain_id, finality=self.finality)
        return deploy(self.w3, transactor, chain_id=chain_id, folder=self.deployments, sent=sent)

    def _client(self, signer: Signer | None) -> Client:
        from registry.chain.client import Client

        address, block = self.contract()
        return Client(
            self.w3,
            address,
            chain_id=self.chain_id,
            signer=signer,
            journal=self.journals if signer is not None else None,
            finality=self.finality,
            deployed_at=block,
        )

    @cached_property
    def signer(self) -> Signer:
        """The account that the settings name.

        Raises:
            SignerError: No account is named, or its keystore does not open.
        """
        from registry.ethereum.keys import signer_from_settings

        return signer_from_settings(self._signer_settings(), self.w3, ask=_ask_password)

    @property
    def account(self) -> Address:
        """The signing account; the keystore is opened only if neither --from nor its file names the account."""
        from registry.cli.keystores import account_of
        from registry.ethereum.keys import address_of

        named = self.settings["from"]
        if named is not None:
            return address_of(named)
        said = account_of(self.keystore) if self.keystore is not None else None
        return said or self.signer.address

    def account_in(self, keystore: Path) -> Address:
        """Return a keystore's account: as the file says, else, since cast writes no address, by opening it.

        Raises:
            SignerError: The file says none, and there is no password that opens it.
        """
        from registry.cli.keystores import account_of
        from registry.ethereum.keys import signer_from_settings

        said = account_of(keystore)
        if said is not None:
            return said
        opened = {**self._signer_settings(), "ETH_KEYSTORE": str(keystore)}
        opened.pop("ETH_FROM", None)
        try:
            return signer_from_settings(opened, ask=_ask_password).address
        except SignerError as error:
            raise SignerError(
                f"the keystore {keystore.name!r} holds no address, so it must be opened: {error}"
            ) from None

    @cached_property
    def keystore(self) -> Path | None:
        """The keystore that the settings name, as a file or folder."""
        account, keystore = self.settings["account"], self.settings["keystore"]
        if account is None:
            return None if keystore is None else Path(keystore).expanduser()
        return self._named_keystore(account)

    def _named_keystore(self, account: str) -> Path:
        folder = self.settings.path("keys")
        for name in (account, f"{account}.json"):
            if (folder / name).is_file():
                return folder / name
        there = sorted(path.stem for path in folder.glob("*") if path.is_file()) if folder.is_dir() else []
        raise SignerError(f"no keystore {account!r} in {folder}: there {_are(there)}")

    def close(self) -> None:
        """Close all open resources."""
        store = self.__dict__.pop("store", None)
        if store is not None:
            store.close()

    def _signer_settings(self) -> dict[str, str]:
        """Return the signer's settings under cast's names.

        Raises:
            SignerError: A flag or file of settings names a password file that is not there.
        """
        password = self.settings.chosen["password_file"]
        told = not password.source.startswith("environment")  # there it may be the password itself
        if told and password.value and not Path(password.value).expanduser().is_file():
            raise SignerError(
                f"password_file ({password.source}): expected a readable file that holds the keystore's password, "
                f"found none at {password.value}"
            )
        named = {
            "ETH_KEYSTORE": str(self.keystore) if self.keystore else None,
            "ETH_PASSWORD": self.settings["password_file"],
            "ETH_FROM": self.settings["from"],
        }
        return {name: value for name, value in named.items() if value}


def _ask_password(prompt: str) -> str:
    if not sys.stdin.isatty():
        raise SignerError("no password: give --password-file, ETH_PASSWORD, or `password_file = …` in cairn.toml")
    import getpass

    try:
        return getpass.getpass(prompt)
    except EOFError:
        raise InputError("no password was given") from None


def _are(names: list[str]) -> str:
    return f"are {', '.join(names[:8])}{', …' if len(names) > 8 else ''}" if names else "is none"
