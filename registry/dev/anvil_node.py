"""Start and stop anvil: a local chain with persistent state and moving finality.

A chain's folder has `state.json` (written every few seconds and on exit), `anvil.log` and `anvil.pid`, so that one
process can start the chain and another stop it. anvil loses two things on restart. The first is its genesis block,
which depends on the start time: `genesis-time` keeps it. The second is its clock offset: anvil restarts with mining off
and its clock set past the last block, because the contract relies on time not running backwards.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.errors import ChainError, NodeUnavailable

__all__ = [
    "AnvilNode",
    "CHAIN_ID",
    "anvil_alive",
    "find_anvil",
    "start_anvil",
    "stop_anvil",
]

CHAIN_ID = 31337
HARDFORK = "prague"
_UNTIL_FINAL = 3
"""Blocks until the last final one is of this start: state of earlier blocks was lost with the process."""
STATE_INTERVAL = 5
"""Seconds between writes of the state; a killed anvil loses at most this much."""


@dataclass(frozen=True, slots=True)
class AnvilNode:
    """A running anvil.

    Attributes:
        folder: Folder of its state, log and pid.
        pid: Process id.
        url: URL of its RPC.
    """

    folder: Path
    pid: int
    url: str


def find_anvil(*folders: Path) -> Path | None:
    """Return the anvil program from one of the folders, else from the PATH, else None.

    npm installs a wrapper script in node_modules/.bin; this returns the program itself, so that the process we start is
    the process we stop.
    """
    for folder in folders:
        for machine in (platform.machine(), {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "")):
            system = platform.system().lower()
            native = folder.parent / "@foundry-rs" / f"anvil-{system}-{machine}" / "bin" / "anvil"
            if os.access(native, os.X_OK):
                return native
    found = shutil.which("anvil", path=os.pathsep.join([*map(str, folders), *os.get_exec_path()]))
    return Path(found) if found else None


def start_anvil(
    folder: Path, anvil: Path, *, port: int, block_time: int = 1, speed: int = 1, wait: float = 30.0
) -> AnvilNode:
    """Start a chain in folder, or resume the one that is there, and return once it answers.

    Args:
        folder: Its folder.
        anvil: The program.
        port: RPC port on 127.0.0.1.
        block_time: Seconds between blocks; 0 mines a block for each transaction, and finality stands still.
        speed: Speed of the chain's clock relative to wall time: each block is speed * block_time after the last.
        wait: Timeout for startup, seconds.

    Raises:
        ChainError: anvil did not start in time; the message ends with the log's last lines.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stop_anvil(folder)  # stop a hung process
    state, backup = folder / "state.json", folder / "state.backup.json"
    try:
        node = _start(folder, anvil, port, wait)
    except ChainError:
        if not state.exists() or not backup.exists():
            raise
        state.replace(folder / "state.broken.json")  # killed while writing: the copy made at the last start is intact
        shutil.copyfile(backup, state)
        node = _start(folder, anvil, port, wait)
    if state.exists():
        shutil.copyfile(state, folder / "state.backup.partial")
        (folder / "state.backup.partial").replace(backup)
    _set_clock(node)
    if backup.exists():
        for _ in range(_UNTIL_FINAL):
            _rpc(node.url, "evm_mine", [])
    if speed > 1:
        _rpc(node.url, "anvil_setBlockTimestampInterval", [speed * max(block_time, 1)])
    _rpc(node.url, *(("evm_setIntervalMining", [block_time]) if block_time else ("evm_setAutomine", [True])))
    return node


def stop_anvil(folder: Path, *, wait: float = 30.0) -> bool:
    """Stop the anvil that runs in folder, which writes its state first; return whether one ran."""
    pid = _pid(folder)
    ran = pid is not None
    if pid is not None:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            os.killpg(pid, sign)
            deadline = time.monotonic() + wait
            while _pid(folder) is not None and time.monotonic() < deadline:
                time.sleep(0.02)
            if _pid(folder) is None:
                break
    (folder / "anvil.pid").unlink(missing_ok=True)
    return ran


def anvil_alive(folder: Path, port: int) -> AnvilNode | None:
    """Return the anvil running in folder if it answers, else None."""
    pid = _pid(folder)
    if pid is None:
        return None
    node = AnvilNode(folder, pid, f"http://127.0.0.1:{port}")
    try:
        _rpc(node.url, "eth_chainId", [])
    except NodeUnavailable:
        return None
    return node


def _start(folder: Path, anvil: Path, port: int, wait: float) -> AnvilNode:
    log, genesis = folder / "anvil.log", folder / "genesis-time"
    if not genesis.exists():
        genesis.write_text(f"{time.time():.0f}\n")
    arguments = [
        *(str(anvil), "--quiet", "--host", "127.0.0.1", "--port", str(port), "--chain-id", str(CHAIN_ID)),
        *("--hardfork", HARDFORK, "--slots-in-an-epoch", "1", "--accounts", "0", "--no-mining"),
        *("--timestamp", genesis.read_text().strip()),
        *("--state", str(folder / "state.json"), "--state-interval", str(STATE_INTERVAL)),
    ]
    with log.open("wb") as out:
        process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    (folder / "anvil.pid").write_text(str(process.pid))
    deadline = time.monotonic() + wait
    while time.monotonic() < deadline and process.poll() is None:
        node = anvil_alive(folder, port)
        if node is not None:
            return node
        time.sleep(0.05)
    stop_anvil(folder)
    process.wait()
    tail = " ".join(log.read_text(errors="replace").split()[-40:])
    raise ChainError(f"anvil in {folder} did not come up within {wait:g} s: {tail}")


def _set_clock(node: AnvilNode) -> None:
    """Set the clock to the present, or to the last block's time if that is later."""
    latest = int(_rpc(node.url, "eth_getBlockByNumber", ["latest", False])["timestamp"], 16)
    _rpc(node.url, "evm_setTime", [max(int(time.time()), latest + 1)])


def _rpc(url: str, method: str, params: list[Any]) -> Any:
    import requests

    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    try:
        with requests.Session() as session:
            session.trust_env = False  # no proxy for localhost
            answer = session.post(url, json=request, timeout=10.0).json()
    except (requests.RequestException, ValueError) as error:
        raise NodeUnavailable(f"{url}: {method}: {error}") from error
    if "result" not in answer:
        raise NodeUnavailable(f"{url}: {method}: expected a result, got {answer.get('error', answer)}")
    return answer["result"]


def _pid(folder: Path) -> int | None:
    """Return the pid in anvil.pid if that process runs and is an anvil (pids are reused)."""
    try:
        pid = int((folder / "anvil.pid").read_text())
        os.kill(pid, 0)
    except (FileNotFoundError, ValueError, ProcessLookupError, PermissionError):
        return None
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # reap it if it is our child and has exited
    return pid if "anvil" in _command(pid) else None


def _command(pid: int) -> str:
    """Return the command line of a process; empty if it has exited."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return ""
    shown = subprocess.run(["ps", "-o", "stat=,args=", "-p", str(pid)], capture_output=True, text=True).stdout
    return "" if shown.startswith("Z") else shown
