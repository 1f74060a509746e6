"""A local development network: anvil, Kubo nodes, the contract, and funded accounts.

    FOLDER/cairn.toml     settings that commands beside FOLDER, or below it, use
    FOLDER/localnet.json  ports and accounts
    FOLDER/chain/         anvil's state, log and pid
    FOLDER/kubo-1/ …      Kubo repos, with log and pid
    FOLDER/keys/          keystores by name; FOLDER/password opens them all
    FOLDER/home/          journals and deployment records

`up` is idempotent, also after a crash: it starts missing processes and creates missing parts. The accounts are
worthless anywhere else: their password is stored beside them.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from registry.dev.anvil_node import CHAIN_ID, AnvilNode, anvil_alive, start_anvil, stop_anvil
from registry.dev.kubo_node import KuboNode, connect_nodes, init_node, node_alive, start_node, stop_node
from registry.dev.localnet_chain import known_accounts, make_accounts, prepare_chain
from registry.errors import FormError, InputError
from registry.types import Address

__all__ = ["Localnet", "Ports", "down", "read", "up"]

_RPC_PORT, _API_PORT, _GATEWAY_PORT, _SWARM_PORT = 8545, 5101, 8101, 4101
_NEW: Mapping[str, Any] = {
    "ports": {"rpc": _RPC_PORT, "kubo": [[_API_PORT, _GATEWAY_PORT, _SWARM_PORT]]},
    "block_time": 1,
    "speed": 1,
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
        folder: Its folder.
        chain: Its anvil; None if not running.
        nodes: Its Kubo nodes by number from 1; None for one that is not running.
        rpc_url: URL of the chain's RPC.
        contract: Its Cairn contract; None before deployment.
        accounts: Accounts by the name of their keystore.
        block_time: Seconds between blocks; 0 mines one per transaction.
        speed: Speed of the chain's clock relative to wall time.
    """

    folder: Path
    chain: AnvilNode | None
    nodes: Mapping[int, KuboNode | None]
    rpc_url: str
    contract: Address | None
    accounts: Mapping[str, Address]
    block_time: int
    speed: int

    @property
    def running(self) -> bool:
        """Whether every node runs."""
        return self.chain is not None and all(self.nodes.values())


def up(
    folder: Path,
    *,
    anvil: Path,
    ipfs: Path | None,
    nodes: int | None = None,
    block_time: int | None = None,
    speed: int | None = None,
    rpc_port: int | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Localnet:
    """Start missing nodes and create missing parts; idempotent.

    Args:
        folder: The network's folder.
        anvil: The anvil program.
        ipfs: The Kubo program; None only without nodes.
        nodes: Number of Kubo nodes, 0 for a folder as store; None for the previous number, or one.
        block_time: Seconds between blocks; 0 mines one per transaction, final at once; None for the previous value, or
            1. A running chain keeps its own.
        speed: Speed of the chain's clock relative to wall time; None for the previous value, or 1. A running chain
            keeps its own.
        rpc_port: The chain's port; None for the previous one, or the usual one if free.
        say: Called with progress messages.

    Raises:
        InputError: Kubo nodes are requested without the ipfs program.
        ChainError: anvil does not start, or the contract cannot be deployed.
        StoreUnavailable: A Kubo node does not start.
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
        fast = had.get("speed", 1) if speed is None or chain is not None else speed
        chain = chain or start_anvil(folder / "chain", anvil, port=ports.rpc, block_time=pace, speed=fast)
        accounts = make_accounts(folder)
        say("deploying the contract")
        contract, block = prepare_chain(folder, chain.url, accounts, instant=pace == 0)
        for number in range(count + 1, len(had["ports"]["kubo"]) + 1):
            stop_node(folder / f"kubo-{number}")
        running = _start_nodes(folder, ipfs, ports, say) if ipfs is not None else {}
        facts = {"ports": asdict(ports), "contract": "0x" + contract.hex(), "block_time": pace, "speed": fast}
        _write(folder / "localnet.json", json.dumps(facts, indent=2) + "\n")
        _write(folder / "cairn.toml", _settings(chain.url, contract, block, running, pace))
        return Localnet(folder, chain, running, chain.url, contract, accounts, pace, fast)


def down(folder: Path) -> tuple[str, ...]:
    """Stop every node, keeping all state; return the names of those that were running."""
    folder = folder.absolute()
    stopped = ["anvil"] if stop_anvil(folder / "chain") else []
    for repo in sorted(folder.glob("kubo-*")):
        if node_alive(repo) is not None:
            stopped.append(repo.name)
        stop_node(repo)
    return tuple(stopped)


def read(folder: Path) -> Localnet:
    """Return the current state of the network in folder.

    Raises:
        InputError: The folder has no network.
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
        accounts=known_accounts(folder),
        block_time=facts["block_time"],
        speed=facts.get("speed", 1),
    )


# Parts -------------------------------------------------------------------------------------------------------------


def _start_nodes(folder: Path, ipfs: Path, ports: Ports, say: Callable[[str], None]) -> dict[int, KuboNode | None]:
    """Start the Kubo nodes that do not run, and connect all of them."""
    running: dict[int, KuboNode | None] = {}
    for number, (api, gateway, swarm) in enumerate(ports.kubo, 1):
        repo = folder / f"kubo-{number}"
        node = node_alive(repo)
        if node is None:
            say(f"starting Kubo node {number}")
            stop_node(repo)  # stop a hung process
            init_node(repo, ipfs, api_port=api, gateway_port=gateway, swarm_port=swarm)
            node = start_node(repo, ipfs)
        for other in running.values():
            if other is not None:
                connect_nodes(node, other)
        running[number] = node
    return running


def _ports(folder: Path, had: Mapping[str, Any], nodes: int, rpc_port: int | None) -> Ports:
    """Return the network's previous ports if they are free or its own, else the usual ones, else any."""
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
    """Return the port if it is free, else a free one."""
    for candidate in (port, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise InputError("no free port on 127.0.0.1")


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
    head = "# Written by `cairn localnet up`, which overwrites it each time. Paths are relative to this file.\n"
    return head + "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())


def _read(folder: Path) -> dict[str, Any]:
    path = folder / "localnet.json"
    try:
        loaded: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise FormError(f"{path}: expected JSON as `cairn localnet up` writes it: {error}") from error
    return loaded


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)
