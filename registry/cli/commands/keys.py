"""`cairn key …`: make and show keystores v3, the files that cast, geth and wallets read."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated, Any

import typer

from registry.cli.command import Need, command, group
from registry.cli.keystores import account_of, keystores_in, read_keystore
from registry.cli.session import Session
from registry.errors import InputError, SignerError

app = group("Keystores to sign with, in the format of cast, geth and wallets.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name in the keys folder.")]


@command(app, "new", needs=Need.KEYS, example="cairn key new hospital-1\ncairn key new ci --password-file pw.txt")
def new(
    session: Session,
    name: Name,
    password_file: Annotated[
        Path | None, typer.Option("--password-file", metavar="FILE", help="File with the password; created if absent.")
    ] = None,
) -> None:
    """Generate a key and write it as an encrypted keystore. The key itself is never shown."""
    from registry.ethereum.keys import create_keystore, to_checksum

    if name in ("", ".", "..") or "/" in name:
        raise InputError(f"expected a name for a file, got {name!r}")
    path = session.settings.path("keys") / name
    if path.exists():
        raise InputError(f"{path} exists already: a keystore is never overwritten")
    address = create_keystore(path, _password(password_file))
    found = {"name": name, "address": to_checksum(address), "keystore": path}
    session.out.result(found)
    if password_file is None:
        session.out.note("Whoever loses the password loses the account: write it down.")


@command(app, "list", needs=Need.KEYS, example="cairn key list")
def list_keys(session: Session) -> None:
    """List the keystores of the keys folder with their accounts."""
    folder = session.settings.path("keys")
    found = [_facts(name, path) for name, path in keystores_in(folder).items()]
    empty = f"No keystore in {folder}. Make one: cairn key new NAME"
    rows = [(entry["name"], entry["address"]) for entry in found]
    session.out.result(found, lambda: session.out.table(("name", "address"), rows, empty=empty))


@command(app, "show", needs=Need.KEYS, example="cairn key show hospital-1")
def show(session: Session, name: Name) -> None:
    """Show a keystore's account and path, without decrypting it."""
    folder = session.settings.path("keys")
    path = keystores_in(folder).get(name) or Path(name)
    if not path.is_file():
        raise SignerError(f"no keystore {name!r} in {folder}")
    if read_keystore(path) is None:
        raise SignerError(f"expected a keystore v3 file, got something else at {path}")
    session.out.result(_facts(name, path))


def _facts(name: str, path: Path) -> dict[str, Any]:
    from registry.ethereum.keys import to_checksum

    account = account_of(path)
    return {"name": name, "address": to_checksum(account) if account else None, "keystore": path}


def _password(file: Path | None) -> str:
    if file is None:
        return _ask_twice()
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x") as out:
            file.chmod(0o600)
            out.write(secrets.token_urlsafe(24) + "\n")
    password = file.read_text().rstrip("\r\n")
    if not password:
        raise InputError(f"{file}: expected a password, got an empty file")
    return password


def _ask_twice() -> str:
    import getpass
    import sys

    if not sys.stdin.isatty():
        raise SignerError("no terminal to ask for a password: give --password-file FILE")
    password = getpass.getpass("Password for the new keystore: ")
    if getpass.getpass("Again: ") != password:
        raise InputError("the two passwords differ")
    return password
