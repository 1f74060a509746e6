"""A network of one's own on this machine: anvil, Kubo nodes, the contract, and accounts that have money.

    FOLDER/cairn.toml     settings that commands run beside FOLDER, or below it, pick up
    FOLDER/localnet.json  ports and accounts
    FOLDER/chain/         anvil's state, log and pid
    FOLDER/kubo-1/ …      Kubo repos, with log and pid
    FOLDER/keys/          keystores by name; FOLDER/password opens them all
    FOLDER/home/          journals and deployment records

`up` starts what does not run and makes what is not there; it may be called as often as one likes, and after a crash.
The accounts are worth nothing anywhere else: their password lies beside them.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.chain.anvil_node import CHAIN_ID, AnvilNode, anvil_alive, start_anvil, stop_anvil
from registry.errors import FormError, InputError
from registry.store.kubo_node import KuboNode, connect_nodes, init_node, node_alive, start_node, stop_node
from registry.types import Address

if TYPE_CHECKING:
    from web3 import Web3

__all__ = ["ACCOUNTS", "Localnet", "down", "read", "up"]

ACCOUNTS = ("owner", "aggregator-1", "aggregator-2", "participant-1", "participant-2", "participant-3", "auditor")
FUNDS = 10_000 * 10**18
"""Wei that each account is given whenever it holds less than a hundredth of it."""
_KEYSTORE_ITERATIONS = 1 << 12  # of keys worth nothing: opening one takes milliseconds instead of a second
_RPC_PORT, _API_PORT, _GATEWAY_PORT, _SWARM_PORT = 8545, 5101, 8101, 4101
_NEW: Mapping[str, Any] = {
    "ports": {"rpc": _RPC_PORT, "kubo": [[_API_PORT, _GATEWAY_PORT, _SWARM_PORT]]},
    "block_time": 1,
}


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports on 127.0.0.1: the chain's, and (RPC, gateway, swarm) of each Kubo node."""

    rpc: int
    kubo: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Localnet:
    """A local network, running or not.

    Attributes:
        folder: Where it lives.
        chain: Its anvil; None if that is not running.
        nodes: Its Kubo nodes by number from 1; None for one that is not running.
        rpc_url: URL of the chain's RPC.
        contract: The Cairn on it; None before it was deployed.
        accounts: Accounts by the name of their keystore.
    """

    folder: Path
    chain: AnvilNode | None
    nodes: Mapping[int, KuboNode | None]
    rpc_url: str
    contract: Address | None
    accounts: Mapping[str, Address]

    @property
    def running(self) -> bool:
        """Whether all of it runs."""
        return self.chain is not None and all(self.nodes.values())


def up(
    folder: Path,
    *,
    anvil: Path,
    ipfs: Path | None,
    nodes: int | None = None,
    block_time: int | None = None,
    rpc_port: int | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Localnet:
    """Start what does not run, make what is not there.

    Args:
        folder: Where the network lives.
        anvil: The chain's program.
        ipfs: Kubo's; None only with no nodes.
        nodes: How many Kubo nodes, with none the store is a folder; None for as many as there were, or one.
        block_time: Seconds between blocks, 0 mines one for each transaction and calls it final at once; None for what
            it was, or 1. A chain that runs already keeps its own.
        rpc_port: The chain's port; None for the one it had, or the usual one if that is free.
        say: Told what is being done.

    Raises:
        InputError: There are nodes to run and no ipfs.
        ChainError: anvil does not come up, or the contract cannot be deployed.
        StoreUnavailable: A Kubo node does not come up.
    """
    from filelock import FileLock

    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock", timeout=120):
        had = _read(folder) if (folder / "localnet.json").exists() else _NEW
        count = len(had["ports"]["kubo"]) if nodes is None else nodes
        if count and ipfs is None:
            raise InputError("no ipfs program on the PATH or in .tools/bin: `make kubo` builds one, or ask for 0 nodes")
        ports = _ports(folder, had["ports"], count, rpc_port)
        say("starting anvil")
        chain = anvil_alive(folder / "chain", ports.rpc)
        pace = had["block_time"] if block_time is None or chain is not None else block_time
        chain = chain or start_anvil(folder / "chain", anvil, port=ports.rpc, block_time=pace)
        accounts = _accounts(folder)
        say("deploying the contract")
        contract, block = _deploy(folder, chain.url, accounts, instant=pace == 0)
        for number in range(count + 1, len(had["ports"]["kubo"]) + 1):
            stop_node(folder / f"kubo-{number}")
        running = _start_nodes(folder, ipfs, ports, say) if ipfs is not None else {}
        facts = {"ports": asdict(ports), "contract": "0x" + contract.hex(), "block_time": pace}
        _write(folder / "localnet.json", json.dumps(facts, indent=2) + "\n")
        _write(folder / "cairn.toml", _settings(chain.url, contract, block, running, pace))
        return Localnet(folder, chain, running, chain.url, contract, accounts)


def down(folder: Path) -> tuple[str, ...]:
    """Stop all of it; what it holds stays. Returns the names of what was running."""
    folder = folder.absolute()
    stopped = ["anvil"] if stop_anvil(folder / "chain") else []
    for repo in sorted(folder.glob("kubo-*")):
        if node_alive(repo) is not None:
            stopped.append(repo.name)
        stop_node(repo)
    return tuple(stopped)


def read(folder: Path) -> Localnet:
    """Return the network in folder as it stands now.

    Raises:
        InputError: There is none.
    """
    folder = folder.absolute()
    if not (folder / "localnet.json").exists():
        raise InputError(f"no local network in {folder}: cairn localnet up")
    facts = _read(folder)
    ports = Ports(facts["ports"]["rpc"], tuple(tuple(three) for three in facts["ports"]["kubo"]))
    return Localnet(
        folder=folder,
        chain=anvil_alive(folder / "chain", ports.rpc),
        nodes={number: node_alive(folder / f"kubo-{number}") for number in range(1, len(ports.kubo) + 1)},
        rpc_url=f"http://127.0.0.1:{ports.rpc}",
        contract=Address(bytes.fromhex(facts["contract"][2:])),
        accounts=_known_accounts(folder),
    )


# Parts -------------------------------------------------------------------------------------------------------------


def _start_nodes(folder: Path, ipfs: Path, ports: Ports, say: Callable[[str], None]) -> dict[int, KuboNode | None]:
    """Start the Kubo nodes that do not run, and make each a peer of the others."""
    running: dict[int, KuboNode | None] = {}
    for number, (api, gateway, swarm) in enumerate(ports.kubo, 1):
        repo = folder / f"kubo-{number}"
        node = node_alive(repo)
        if node is None:
            say(f"starting Kubo node {number}")
            stop_node(repo)  # one that hangs
            init_node(repo, ipfs, api_port=api, gateway_port=gateway, swarm_port=swarm)
            node = start_node(repo, ipfs)
        for other in running.values():
            if other is not None:
                connect_nodes(node, other)
        running[number] = node
    return running


def _ports(folder: Path, had: Mapping[str, Any], nodes: int, rpc_port: int | None) -> Ports:
    """The ports the network had, where they are free or its own; else the usual ones; else any."""
    wanted = rpc_port or had["rpc"]
    rpc = wanted if rpc_port or anvil_alive(folder / "chain", wanted) else _free(wanted)
    kubo = []
    for number in range(1, nodes + 1):
        usual = [port + number - 1 for port in (_API_PORT, _GATEWAY_PORT, _SWARM_PORT)]
        three = had["kubo"][number - 1] if number <= len(had["kubo"]) else usual
        if node_alive(folder / f"kubo-{number}") is None:
            three = [_free(port) for port in three]
        kubo.append((three[0], three[1], three[2]))
    return Ports(rpc, tuple(kubo))


def _free(port: int) -> int:
    """Return the port if nobody listens there, else one where nobody does."""
    for candidate in (port, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise InputError("no free port on 127.0.0.1")


def _accounts(folder: Path) -> Mapping[str, Address]:
    """Make the keystores that are not there; their password lies in a file beside them."""
    from registry.chain.keys import create_keystore

    password = folder / "password"
    if not password.exists():
        _write(password, secrets.token_urlsafe(18) + "\n", mode=0o600)
    for name in ACCOUNTS:
        if not (folder / "keys" / name).exists():
            create_keystore(folder / "keys" / name, password.read_text().strip(), iterations=_KEYSTORE_ITERATIONS)
    return _known_accounts(folder)


def _known_accounts(folder: Path) -> Mapping[str, Address]:
    from registry.chain.keys import address_of

    found = {}
    for path in sorted((folder / "keys").glob("*")):
        loaded = json.loads(path.read_text())
        found[path.name] = address_of(loaded["address"])
    return {name: found[name] for name in (*ACCOUNTS, *sorted(set(found) - set(ACCOUNTS))) if name in found}


def _deploy(folder: Path, url: str, accounts: Mapping[str, Address], *, instant: bool) -> tuple[Address, int]:
    from registry.chain.client import open_journal
    from registry.chain.deploy import deploy
    from registry.chain.keys import open_keystore
    from registry.chain.networks import parse_finality
    from registry.chain.node import connect
    from registry.chain.transactions import Transactor

    w3 = connect(url)
    for account in accounts.values():
        _fund(w3, account)
    signer = open_keystore(folder / "keys" / "owner", (folder / "password").read_text().strip())
    journal = open_journal(w3, CHAIN_ID, signer.address, folder / "home" / "journals")
    finality = parse_finality("instant" if instant else "finalized")
    try:
        transactor = Transactor(w3, signer, journal, chain_id=CHAIN_ID, finality=finality)
        made = deploy(w3, transactor, chain_id=CHAIN_ID, folder=folder / "home" / "deployments")
    finally:
        journal.close()
    return made.address, made.block


def _fund(w3: Web3, account: Address) -> None:
    from registry.chain.keys import to_checksum
    from registry.chain.node import asking

    address = to_checksum(account)
    with asking("anvil_setBalance"):
        if w3.eth.get_balance(address) < FUNDS // 100:  # type: ignore[arg-type]
            w3.manager.request_blocking("anvil_setBalance", [address, hex(FUNDS)])  # type: ignore[arg-type]


def _settings(url: str, contract: Address, block: int, nodes: Mapping[int, KuboNode | None], block_time: int) -> str:
    first = nodes.get(1)
    store = f"kubo:{first.api_url}" if first is not None else "store"
    values: dict[str, str | int] = {
        "rpc_url": url,
        "chain_id": CHAIN_ID,
        "contract": "0x" + contract.hex(),
        "from_block": block,
        "finality": "finalized" if block_time else "instant",
        "store": store,
        **({"ipfs_path": "kubo-1"} if first is not None else {}),
        "home": "home",
        "keys": "keys",
        "account": "owner",
        "password_file": "password",
    }
    head = "# Written by `cairn localnet up`, which writes it anew each time. Paths are relative to this file.\n"
    return head + "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())


def _read(folder: Path) -> dict[str, Any]:
    path = folder / "localnet.json"
    try:
        loaded: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise FormError(f"{path}: expected JSON as `cairn localnet up` writes it: {error}") from error
    return loaded


def _write(path: Path, text: str, *, mode: int = 0o644) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    handle = os.open(partial, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode)
    with os.fdopen(handle, "w") as file:
        file.write(text)
    partial.replace(path)
