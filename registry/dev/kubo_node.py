"""Start and stop a private Kubo node: no bootstrap peers, no announcements, no lookups.

Used by the local network and by tests. The repo folder has `daemon.log` and `daemon.pid` beside Kubo's own files, so
that one process can start the node and another stop it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.errors import InputError, StoreUnavailable

__all__ = ["KuboNode", "connect_nodes", "find_ipfs", "init_node", "node_alive", "start_node", "stop_node"]

PROFILES = "server,unixfs-v1-2025"


@dataclass(frozen=True, slots=True)
class KuboNode:
    """A running node.

    Attributes:
        repo: Its IPFS_PATH.
        pid: Process id of its daemon.
        api: Multiaddr of its RPC, as in `repo/api`.
        gateway: URL of its gateway.
        peer_id: Its libp2p peer id.
        swarm: A multiaddr for other nodes on this machine.
    """

    repo: Path
    pid: int
    api: str
    gateway: str
    peer_id: str
    swarm: str

    @property
    def api_url(self) -> str:
        """URL of its RPC, without `/api/v0`."""
        return _url(self.api)


def find_ipfs(*folders: Path) -> Path | None:
    """Return the `ipfs` program from the folders, else from the PATH, else from beside this Python, else None."""
    places = [*folders, *map(Path, os.get_exec_path()), Path(sys.executable).parent]
    found = shutil.which("ipfs", path=os.pathsep.join(map(str, places)))
    return Path(found) if found else None


def init_node(repo: Path, ipfs: Path, *, api_port: int = 0, gateway_port: int = 0, swarm_port: int = 0) -> None:
    """Initialize a repo for a private node; an existing repo keeps its key and blocks.

    Args:
        repo: Folder of the repo.
        ipfs: The Kubo program.
        api_port: RPC port on 127.0.0.1; 0 picks a free one at each start.
        gateway_port: Gateway port, likewise.
        swarm_port: Port for other nodes, likewise.

    Raises:
        StoreUnavailable: `ipfs init` failed.
    """
    config_path = repo / "config"
    if not config_path.exists():
        repo.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [ipfs, "init", f"--profile={PROFILES}"], env=_environment(repo), capture_output=True, text=True
        )
        if done.returncode:
            raise StoreUnavailable(f"ipfs init in {repo}: {done.stderr.strip()}")
    config: dict[str, Any] = json.loads(config_path.read_text())
    config["Addresses"] |= {
        "API": f"/ip4/127.0.0.1/tcp/{api_port}",
        "Gateway": f"/ip4/127.0.0.1/tcp/{gateway_port}",
        "Swarm": [f"/ip4/127.0.0.1/tcp/{swarm_port}"],
        "NoAnnounce": [],
    }
    config["Bootstrap"] = []
    config["Swarm"]["AddrFilters"] = []
    config["Swarm"]["RelayClient"] = {"Enabled": False}
    config["Swarm"]["RelayService"] = {"Enabled": False}
    config["Swarm"]["Transports"]["Network"] = {"Relay": False}
    config["AutoNAT"] = {"ServiceMode": "disabled"}
    config["AutoTLS"] = {"Enabled": False}
    config["AutoConf"] = {"Enabled": False}
    # Without AutoConf every placeholder "auto" is an error.
    config["Routing"] = {"Type": "none", "DelegatedRouters": []}
    config["Ipns"]["DelegatedPublishers"] = []
    config["DNS"] = {"Resolvers": {}}
    config["Discovery"]["MDNS"]["Enabled"] = False
    config["Provide"] = {"Enabled": False}
    config["HTTPRetrieval"] = {"Enabled": False}
    config["Version"] = {"SwarmCheckEnabled": False}
    config["Plugins"] = {"Plugins": {"telemetry": {"Config": {"Mode": "off"}}}}
    partial = config_path.with_name("config.partial")
    partial.write_text(json.dumps(config, indent=2))
    partial.chmod(0o600)  # it contains the node's private key
    partial.replace(config_path)


def start_node(repo: Path, ipfs: Path, *, wait: float = 30.0) -> KuboNode:
    """Start the daemon of an initialised repo and return once its RPC and gateway answer.

    The daemon runs in its own session: it outlives this process until `stop_node`.

    Raises:
        InputError: The repo is not initialised.
        StoreUnavailable: It did not start within wait seconds; the message ends with its log's last lines.
    """
    if not (repo / "config").exists():
        raise InputError(f"expected a Kubo repo at {repo}, found none: init_node first")
    for name in ("api", "gateway", "daemon.pid"):
        (repo / name).unlink(missing_ok=True)
    log = repo / "daemon.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [ipfs, "daemon", "--enable-gc=false"],
            env=_environment(repo),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    (repo / "daemon.pid").write_text(str(process.pid))
    deadline = time.monotonic() + wait
    while time.monotonic() < deadline and process.poll() is None:
        node = _answering(repo, process.pid)
        if node is not None:
            return node
        time.sleep(0.05)
    stop_node(repo)
    process.wait()
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
    raise StoreUnavailable(f"ipfs daemon in {repo} did not come up within {wait:g} s: {tail}")


def stop_node(repo: Path, *, wait: float = 10.0) -> None:
    """Stop the daemon that `start_node` started in repo; idempotent."""
    pid_path = repo / "daemon.pid"
    pid = _daemon_pid(repo)
    if pid is not None:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            os.kill(pid, sign)
            deadline = time.monotonic() + wait
            while _daemon_pid(repo) is not None and time.monotonic() < deadline:
                _reap(pid)
                time.sleep(0.02)
            if _daemon_pid(repo) is None:
                break
    pid_path.unlink(missing_ok=True)


def node_alive(repo: Path) -> KuboNode | None:
    """Return the node running in repo if it answers, else None."""
    pid = _daemon_pid(repo)
    return None if pid is None else _answering(repo, pid)


def connect_nodes(one: KuboNode, other: KuboNode) -> None:
    """Make two nodes peers (`ipfs swarm connect`)."""
    _rpc(one.api, f"swarm/connect?arg={other.swarm}")


def _answering(repo: Path, pid: int) -> KuboNode | None:
    try:
        api = (repo / "api").read_text().strip()
        gateway = (repo / "gateway").read_text().strip()
        identity = _rpc(api, "id")
    except (FileNotFoundError, StoreUnavailable):
        return None
    addresses = [a for a in identity["Addresses"] or [] if a.startswith("/ip4/127.0.0.1/tcp/")]
    if not gateway or not addresses:
        return None
    return KuboNode(repo, pid, api, gateway.rstrip("/"), identity["ID"], addresses[0])


def _rpc(api: str, call: str) -> Any:
    request = urllib.request.Request(f"{_url(api)}/api/v0/{call}", method="POST")
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as reply:
            return json.load(reply)
    except (OSError, urllib.error.URLError, ValueError) as error:
        raise StoreUnavailable(f"{api}: {call}: {error}") from error


def _url(api: str) -> str:
    _, _, host, _, port = api.split("/")
    return f"http://{host}:{port}"


def _daemon_pid(repo: Path) -> int | None:
    """Return the pid in daemon.pid if that process runs and is a Kubo daemon (pids are reused after a reboot)."""
    try:
        pid = int((repo / "daemon.pid").read_text())
        os.kill(pid, 0)
    except (FileNotFoundError, ValueError, ProcessLookupError, PermissionError):
        return None
    _reap(pid)
    if Path("/proc/self/stat").exists():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")  # empty once it has exited
        except (FileNotFoundError, ProcessLookupError):
            return None
    else:
        command = subprocess.run(["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True).stdout
    return pid if "ipfs" in command and "daemon" in command else None


def _reap(pid: int) -> None:
    """Reap the daemon if it is our child and has exited, so that no zombie remains."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _environment(repo: Path) -> dict[str, str]:
    return {**os.environ, "IPFS_PATH": str(repo), "IPFS_TELEMETRY": "off", "IPFS_LOGGING": "error"}
