"""What a running command works with: its settings, and the chain, store and signer that they name, opened when used."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from registry.errors import InputError, SignerError
from trainer.cli.output import Output
from trainer.cli.settings import Settings, config_files, resolve

if TYPE_CHECKING:
    from web3 import Web3

    from registry.chain.keys import Signer
    from registry.store.base import ContentStore
    from registry.types import Address

__all__ = ["Session"]


class Session:
    """One run of one command.

    Args:
        flags: Settings given as flags, by name; None where not given.
        as_json: Print JSON.
        dry_run: Send no transaction.
    """

    def __init__(self, flags: Mapping[str, str | None], *, as_json: bool = False, dry_run: bool = False) -> None:
        self.out = Output(as_json)
        self.dry_run = dry_run
        self._flags = flags

    @cached_property
    def settings(self) -> Settings:
        """All settings, each from where it is named first."""
        return resolve(self._flags, os.environ, config_files(Path.cwd(), os.environ))

    @cached_property
    def home(self) -> Path:
        """The folder of Cairn's own files."""
        return self.settings.path("home")

    @cached_property
    def store(self) -> ContentStore:
        """The content store that the settings name."""
        from trainer.cli.stores import open_store

        return open_store(self.settings)

    @cached_property
    def w3(self) -> Web3:
        """The node that the settings name; nothing is asked of it yet."""
        from registry.chain.node import connect

        return connect(self.settings.need("rpc_url"))

    @cached_property
    def signer(self) -> Signer:
        """The account that the settings name.

        Raises:
            SignerError: They name none, or it does not open.
        """
        from registry.chain.keys import signer_from_settings

        return signer_from_settings(self._signer_settings(), self.w3, ask=_ask_password)

    @property
    def account(self) -> Address:
        """Who would sign, without opening a keystore where --from or a dry run makes that unnecessary."""
        from registry.chain.keys import address_of

        named = self.settings["from"]
        return address_of(named) if named is not None and self.dry_run else self.signer.address

    @cached_property
    def keystore(self) -> Path | None:
        """The keystore that the settings name, as a file or folder."""
        account, keystore = self.settings["account"], self.settings["keystore"]
        if account is None:
            return None if keystore is None else Path(keystore).expanduser()
        folder = self.settings.path("keys")
        for name in (account, f"{account}.json"):
            if (folder / name).is_file():
                return folder / name
        there = sorted(path.stem for path in folder.glob("*") if path.is_file()) if folder.is_dir() else []
        raise SignerError(f"no keystore {account!r} in {folder}: there {_are(there)}")

    def close(self) -> None:
        """Close what was opened."""
        for name in ("store", "client"):
            opened = self.__dict__.pop(name, None)
            close = getattr(opened, "close", None)
            if close is not None:
                close()

    def _signer_settings(self) -> dict[str, str]:
        """The settings under the names that cast gives them."""
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
