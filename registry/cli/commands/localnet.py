"""`cairn localnet …`: run a local development chain with Kubo nodes."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.command import command, group
from registry.cli.session import Session
from registry.errors import ChainError, InputError

if TYPE_CHECKING:
    from registry.dev.localnet import Localnet

app = group("A local chain and content nodes for development, with the contract deployed and accounts funded.")

Folder = Annotated[
    Path,
    typer.Option("--folder", metavar="DIR", envvar="CAIRN_LOCALNET", help="The network's folder.", show_envvar=False),
]
DEFAULT = Path(".localnet")


@command(app, "up", example="cairn localnet up\ncairn localnet up --nodes 2")
def up(
    session: Session,
    folder: Folder = DEFAULT,
    nodes: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=2,
            metavar="N",
            help="Number of Kubo nodes; default as before, or 1. With 0 the store is a folder.",
        ),
    ] = None,
    block_time: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="Seconds between blocks; default as before, or 1. 0 mines one per transaction, final at once.",
        ),
    ] = None,
    speed: Annotated[
        int | None,
        typer.Option(
            min=1, max=3600, metavar="N", help="Speed of the chain's clock, as a multiple; default as before, or 1."
        ),
    ] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, metavar="PORT", help="The chain's RPC port.")] = None,
) -> None:
    """Start anvil and Kubo, deploy the contract, fund accounts. Idempotent: running parts stay as they are.

    State persists in the folder. Commands in its parent folder, or below, use the network automatically.
    """
    from registry.cli.tools import tool_folders
    from registry.dev.anvil_node import find_anvil
    from registry.dev.kubo_node import find_ipfs
    from registry.dev.localnet import up as start

    anvil = find_anvil(*tool_folders())
    if anvil is None:
        raise InputError("no anvil on the PATH or in node_modules: `npm ci`, or install Foundry")
    ipfs = find_ipfs(*tool_folders())
    with session.out.waiting("starting") as say:
        network = start(
            folder,
            anvil=anvil,
            ipfs=ipfs,
            nodes=nodes,
            block_time=block_time,
            speed=speed,
            rpc_port=port,
            say=say,
        )
    for name, asked, runs in (("block-time", block_time, network.block_time), ("speed", speed, network.speed)):
        if asked is not None and asked != runs:
            session.out.warn(
                f"--{name} {asked} ignored: the chain runs with {runs}: `cairn localnet down`, then up with it"
            )
    session.out.result(_facts(network), lambda: _show(session, network, started=True))


@command(app, "status", example="cairn localnet status")
def status(session: Session, folder: Folder = DEFAULT) -> None:
    """Show the state of every node; exit code 5 if one is not running."""
    from registry.dev.localnet import read

    network = read(_found(folder))
    session.out.result(_facts(network), lambda: _show(session, network, started=False))
    if not network.running:
        raise typer.Exit(ChainError.exit_code)


@command(app, "down", example="cairn localnet down")
def down(session: Session, folder: Folder = DEFAULT) -> None:
    """Stop every node. State persists for the next `up`."""
    from registry.dev.localnet import down as stop

    place = _found(folder)
    with session.out.waiting("stopping"):
        stopped = stop(place)
    text = f"Stopped {', '.join(stopped)}." if stopped else f"Nothing was running in {place}."
    session.out.result({"stopped": stopped}, lambda: session.out.line(text))


@command(app, "env", example='eval "$(cairn localnet env)"\ncairn localnet env --account participant-1')
def env(
    session: Session,
    folder: Folder = DEFAULT,
    account: Annotated[str, typer.Option(metavar="NAME", help="The keystore to export.")] = "owner",
    node: Annotated[int, typer.Option(min=1, max=2, metavar="N", help="Which Kubo node.")] = 1,
) -> None:
    """Print environment variables of the network, for Cairn, cast and ipfs."""
    from registry.dev.localnet import read

    network = read(_found(folder))
    if account not in network.accounts:
        raise InputError(f"expected an account of {', '.join(network.accounts)}, got {account!r}")
    values = _exports(network, account, node)
    text = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in values.items())
    session.out.result(values, lambda: session.out.line(text))


@command(app, "warp", example="cairn localnet warp 3600")
def warp(
    session: Session,
    seconds: Annotated[int, typer.Argument(min=1, metavar="SECONDS", help="How far.")],
    folder: Folder = DEFAULT,
) -> None:
    """Move the chain's clock forward, past deadlines."""
    from registry.dev.embedded import warp as move
    from registry.dev.localnet import read
    from registry.ethereum.node import connect

    network = read(_found(folder))
    if network.chain is None:
        raise ChainError(f"the chain in {network.folder} is not running: cairn localnet up")
    now = move(connect(network.rpc_url), seconds=seconds)
    session.out.result({"time": now}, lambda: session.out.line(f"The chain's time is now {now}."))


def _found(folder: Path) -> Path:
    """Return the network's folder: without one given, that of the current folder or the nearest above it."""
    if folder != DEFAULT:
        return folder
    places = [place / folder for place in (Path.cwd(), *Path.cwd().parents)]
    return next((place for place in places if (place / "localnet.json").exists()), folder)


def _exports(network: Localnet, account: str, number: int) -> dict[str, str]:
    from registry.ethereum.keys import to_checksum

    node = network.nodes.get(number)
    values = {
        "CAIRN_CONFIG": str(network.folder / "cairn.toml"),
        "CAIRN_HOME": str(network.folder / "home"),
        "CAIRN_STORE": str(network.folder / "store"),
        "ETH_RPC_URL": network.rpc_url,
        "CAIRN_CONTRACT": to_checksum(network.contract) if network.contract else "",
        "ETH_KEYSTORE": str(network.folder / "keys" / account),
        "ETH_PASSWORD": str(network.folder / "password"),
        "ETH_FROM": to_checksum(network.accounts[account]),
    }
    if node is not None:
        values |= {"CAIRN_STORE": f"kubo:{node.api_url}", "IPFS_PATH": str(node.repo)}
    return values


def _facts(network: Localnet) -> dict[str, object]:
    from registry.ethereum.keys import to_checksum

    return {
        "folder": network.folder,
        "running": network.running,
        "rpc_url": network.rpc_url,
        "anvil": network.chain.pid if network.chain else None,
        "block_time": network.block_time,
        "speed": network.speed,
        "contract": to_checksum(network.contract) if network.contract else None,
        "kubo": [
            {"number": number, "pid": node.pid, "api": node.api_url, "gateway": node.gateway, "peer_id": node.peer_id}
            if node
            else {"number": number, "pid": None}
            for number, node in network.nodes.items()
        ],
        "accounts": {name: to_checksum(address) for name, address in network.accounts.items()},
    }


def _show(session: Session, network: Localnet, *, started: bool) -> None:
    from registry.ethereum.keys import to_checksum

    out = session.out
    chain = f"{network.rpc_url}, chain 31337" if network.chain else "not running"
    pace = f"a block every {network.block_time} s" if network.block_time else "a block per transaction"
    parts: dict[str, object] = {"chain": chain, "pace": f"{pace}, its clock at {network.speed} times real time"}
    for number, node in network.nodes.items():
        parts[f"kubo {number}"] = f"{node.api_url}, gateway {node.gateway}" if node else "not running"
    parts["contract"] = to_checksum(network.contract) if network.contract else None
    parts["folder"] = network.folder
    out.fields(parts)
    out.line()
    out.table(("account", "address"), [(name, to_checksum(address)) for name, address in network.accounts.items()])
    out.line()
    if started:
        here = network.folder.parent == Path.cwd() and network.folder.name == DEFAULT.name
        out.line(
            "Commands run here use it: try `cairn doctor`, sign with `--account NAME`."
            if here
            else f"To use it:  export CAIRN_CONFIG={shlex.quote(str(network.folder / 'cairn.toml'))}"
        )
        out.line('For cast and ipfs:  eval "$(cairn localnet env)"    Stop it:  cairn localnet down')
    elif not network.running:
        out.line("Start it:  cairn localnet up")
