"""`cairn doctor`: show every setting and check the environment."""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from registry.cli.command import Need, command, single
from registry.cli.explained import explained
from registry.cli.session import Session
from registry.cli.settings import SETTINGS
from registry.errors import CairnError, NodeUnavailable

app = single()


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The outcome of one check of the environment.

    Attributes:
        name: What was checked.
        good: Whether it is usable; None if it is missing and only some commands need it.
        said: The details.
    """

    name: str
    good: bool | None
    said: str


@command(
    app,
    "doctor",
    needs=Need.SEND & ~Need.DRY_RUN | Need.STORE,
    example="cairn doctor\ncairn doctor --rpc https://rpc.example",
)
def doctor(
    session: Session,
    rpc: Annotated[
        str | None, typer.Option("--rpc", metavar="URL", help="Try only this node, and say what it lacks.")
    ] = None,
) -> None:
    """Show each setting with its source, and check node, contract, account, store and programs.

    With --rpc, try one node instead: finality, pending block, batches, logs, receipts, old state, rate. Exit code 5 for
    a problem with node or contract, 4 with the store, 6 with the named account.
    """
    if rpc is not None:
        _try_node(session, rpc)
        return
    settings = [
        {"setting": s.name, "value": _shown(session, s.name), "from": session.settings.chosen[s.name].source}
        for s in SETTINGS
    ]
    findings: list[Diagnosis] = []
    code = 0
    for name, look in _CHECKS.items():
        try:
            findings += look(session)
        except CairnError as error:
            findings.append(Diagnosis(name, False, explained(session, error)))
            code = code or error.exit_code
    facts = {"settings": settings, "files": session.settings.files, "findings": findings, "healthy": code == 0}
    session.out.result(facts, lambda: _show(session, settings, findings))
    if code:
        raise typer.Exit(code)


def _try_node(session: Session, url: str) -> None:
    """Print what a node serves and lacks; exit code 5 if it lacks what every command needs."""
    from registry.ethereum.node import connect, named
    from registry.ethereum.probe import probe

    findings = []
    with session.out.waiting(f"trying {named(url)}") as say:
        for found in probe(connect(url)):
            say(f"trying {named(url)}: {found.name} is done")
            findings.append(Diagnosis(found.name, found.good, found.said))
    healthy = all(finding.good is not False for finding in findings)
    facts = {"node": named(url), "findings": findings, "healthy": healthy}
    session.out.result(facts, lambda: _show_findings(session, findings))
    if not healthy:
        raise typer.Exit(NodeUnavailable.exit_code)


def _show(session: Session, settings: list[dict[str, str]], findings: list[Diagnosis]) -> None:
    out = session.out
    rows = [(s["setting"], s["value"], s["from"]) for s in settings]
    out.table(("setting", "value", "from"), rows)
    out.line()
    _show_findings(session, findings)


def _show_findings(session: Session, findings: list[Diagnosis]) -> None:
    from rich.text import Text

    out = session.out
    signs = {True: ("ok     ", "green"), False: ("problem", "bold red"), None: ("missing", "yellow")}
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        out.show(Text.assemble(signs[finding.good], f"  {finding.name.ljust(width)}  ", finding.said))


def _shown(session: Session, name: str) -> str:
    from registry.ethereum.node import named

    value = session.settings[name]
    if value is None:
        return "-"
    return named(value) if name == "rpc_url" else value  # a URL's path or query may contain an API key


def _node(session: Session) -> Iterator[Diagnosis]:
    from registry.ethereum.networks import final_block, finality_of, network_of
    from registry.ethereum.node import latest_block

    chain_id = session.chain_id
    policy = finality_of(session.w3, chain_id, session.finality)
    block, final = latest_block(session.w3), final_block(session.w3, policy)
    network = network_of(chain_id).name
    yield Diagnosis("node", True, f"chain {chain_id} ({network}) at block {block}, final up to {final}: {policy}")


def _contract(session: Session) -> Iterator[Diagnosis]:
    from registry.ethereum.keys import to_checksum

    yield Diagnosis("contract", True, f"a Cairn at {to_checksum(session.reader.address)}")


def _account(session: Session) -> Iterator[Diagnosis]:
    from registry.ethereum.keys import to_checksum
    from registry.ethereum.node import asking

    if session.settings["from"] is None and session.keystore is None:
        yield Diagnosis("account", None, "none named: needed only to send transactions")
        return
    account = to_checksum(session.account)
    if session.keystore is not None and not session.keystore.exists():
        yield Diagnosis("account", False, f"no keystore at {session.keystore}")
        return
    try:
        with asking("eth_getBalance"):
            held = f", {session.w3.eth.get_balance(account) / 10**18:g} ether"  # type: ignore[arg-type]
    except NodeUnavailable:
        held = ""  # the node is reported on its own line
    yield Diagnosis("account", True, f"{account}{held}")


def _password(session: Session) -> Iterator[Diagnosis]:
    file = session.settings["password_file"]
    if file is not None:
        there = os.access(Path(file).expanduser(), os.R_OK)
        yield Diagnosis("password file", there, "readable" if there else "cannot be read")


def _store(session: Session) -> Iterator[Diagnosis]:
    from registry.cli.open_store import store_uri
    from registry.types import Cid, Codec

    session.store.has(Cid(Codec.RAW, bytes(32)))
    yield Diagnosis("store", True, store_uri(session.settings))


def _programs(session: Session) -> Iterator[Diagnosis]:
    from registry.cli.tools import find_solc, tool_folders
    from registry.dev.anvil_node import find_anvil
    from registry.dev.kubo_node import find_ipfs

    found: dict[str, tuple[Callable[[], Path | None], str]] = {
        "ipfs": (lambda: find_ipfs(*tool_folders()), "needed by localnet"),
        "anvil": (lambda: find_anvil(*tool_folders()), "needed by localnet"),
        "solc": (find_solc, "py-solc-x's own may serve `contracts verify`"),
    }
    for name, (find, use) in found.items():
        path = find()
        yield Diagnosis(name, None if path is None else True, use if path is None else f"{path}{_version(name, path)}")


def _python(session: Session) -> Iterator[Diagnosis]:
    from importlib.metadata import version

    yield Diagnosis("python", True, f"{platform.python_version()}, web3 {version('web3')}, numpy {version('numpy')}")
    if importlib.util.find_spec("torch") is None:
        yield Diagnosis("torch", None, "needed to train: in Cairn's checkout, pip install -e '.[train]'")
    else:
        yield Diagnosis("torch", True, version("torch"))


def _version(name: str, path: Path) -> str:
    if name == "solc":
        return ""
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return " (does not run)"
    lines = done.stdout.split()
    return f" ({' '.join(lines[:3])})" if done.returncode == 0 else " (does not run)"


_CHECKS: dict[str, Callable[[Session], Iterator[Diagnosis]]] = {
    "node": _node,
    "contract": _contract,
    "account": _account,
    "password file": _password,
    "store": _store,
    "programs": _programs,
    "python": _python,
}
