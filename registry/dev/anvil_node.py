"""Start and stop anvil: a chain of one's own whose state is kept and whose finality moves.

A chain lives in its folder: `state.json` (written every few seconds and at the end), `anvil.log` and `anvil.pid`, so
that one process can start it and another stop it. anvil forgets two things between two runs. One is its first block: it
makes another, unless it is told the same time for it, which is kept in `genesis-time`. The other is how far its clock
was moved: it is started with mining off and its clock set past its last block, because the contract relies on time not
running backwards.
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
"""Blocks until the last final one is of this start: the state of those before went with the process."""
STATE_INTERVAL = 5
"""Seconds between two writes of the state; a killed anvil loses at most these."""


@dataclass(frozen=True, slots=True)
class AnvilNode:
    """A running anvil.

    Attributes:
        folder: Where its state, log and pid are.
        pid: Process id.
        url: URL of its RPC.
    """

    folder: Path
    pid: int
    url: str


def find_anvil(*folders: Path) -> Path | None:
    """Return anvil from one of folders, else from the PATH, else None.

    What npm puts into node_modules/.bin is a script around the program; the program itself is taken, so that the
    process we start is the process we stop.
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
    """Start a chain in folder, or go on with the one that was there, and return once it answers.

    Args:
        folder: Its folder.
        anvil: The program.
        port: RPC port on 127.0.0.1.
        block_time: Seconds between blocks; 0 mines a block for each transaction, and finality stands still.
        speed: How much faster than the wall's the chain's clock runs: each block is speed * block_time after the last.
        wait: Seconds it has to come up.

    Raises:
        ChainError: It did not come up; the message ends with its log's last lines.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stop_anvil(folder)  # one that hangs
    state, backup = folder / "state.json", folder / "state.backup.json"
    try:
        node = _start(folder, anvil, port, wait)
    except ChainError:
        if not state.exists() or not backup.exists():
            raise
        state.replace(folder / "state.broken.json")  # killed while it was writing: the copy of its last start is whole
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
    """Stop the anvil that runs in folder, which writes its state first; say whether one ran."""
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
    """Let the clock show the present, or go on from the last block where that was further."""
    latest = int(_rpc(node.url, "eth_getBlockByNumber", ["latest", False])["timestamp"], 16)
    _rpc(node.url, "evm_setTime", [max(int(time.time()), latest + 1)])


def _rpc(url: str, method: str, params: list[Any]) -> Any:
    import requests

    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    try:
        with requests.Session() as session:
            session.trust_env = False  # a proxy has no business on this machine's own chain
            answer = session.post(url, json=request, timeout=10.0).json()
    except (requests.RequestException, ValueError) as error:
        raise NodeUnavailable(f"{url}: {method}: {error}") from error
    if "result" not in answer:
        raise NodeUnavailable(f"{url}: {method}: expected a result, got {answer.get('error', answer)}")
    return answer["result"]


def _pid(folder: Path) -> int | None:
    """Return the pid in anvil.pid if that process runs and is an anvil (pids are used again)."""
    try:
        pid = int((folder / "anvil.pid").read_text())
        os.kill(pid, 0)
    except (FileNotFoundError, ValueError, ProcessLookupError, PermissionError):
        return None
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # collect it if it is our child and has ended
    return pid if "anvil" in _command(pid) else None


def _command(pid: int) -> str:
    """The command line of a process; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return ""
    shown = subprocess.run(["ps", "-o", "stat=,args=", "-p", str(pid)], capture_output=True, text=True).stdout
    return "" if shown.startswith("Z") else shown
