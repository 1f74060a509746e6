"""Start development chains for tests: an in-process EVM, anvil, Hardhat's node, geth --dev.

Each starter is a context manager that stops what it started. A missing node raises `NodeMissing`, which names the
program.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.chain.contract_structs import Plan, Result, Roots
from registry.content.segments import Segment, segments_root
from registry.dev.embedded import embedded
from registry.errors import CairnError, NodeUnavailable
from registry.ethereum.hashing import keccak
from registry.ethereum.keys import LocalSigner, to_checksum
from registry.ethereum.node import asking, connect
from registry.rules.encoding import RuleSet, Shape, encode_rules
from registry.rules.program import Program
from registry.types import Address, Digest, Root, SegmentKind

if TYPE_CHECKING:
    from web3 import Web3

__all__ = [
    "DevChain",
    "EXAMPLE_RULES",
    "NodeMissing",
    "anvil_chain",
    "development_signers",
    "embedded_chain",
    "example_plan",
    "example_result",
    "find_program",
    "free_port",
    "geth_chain",
    "hardhat_chain",
]

MNEMONIC = "test test test test test test test test test test test junk"
"""Mnemonic of the accounts of anvil and Hardhat."""


class NodeMissing(CairnError):
    """A program that a test needs is not installed."""


@dataclass(frozen=True, slots=True)
class DevChain:
    """A development chain.

    Attributes:
        name: The name of its kind.
        w3: A web3 connection to it.
        signers: Funded accounts.
        movable: Whether its clock can be moved.
        url: Its RPC URL; None in process.
        process: Its process id; None in process.
    """

    name: str
    w3: Web3
    signers: tuple[LocalSigner, ...]
    movable: bool
    url: str | None = None
    process: int | None = None


def find_program(name: str, places: Sequence[Path] = ()) -> Path:
    """Return a program from the given folders, else from the PATH.

    Raises:
        NodeMissing: It is in none of them.
    """
    for folder in places:
        if os.access(folder / name, os.X_OK):
            return folder / name
    found = shutil.which(name)
    if found is None:
        raise NodeMissing(f"{name} is neither on the path nor in {[str(place) for place in places]}")
    return Path(found)


def free_port() -> int:
    """Return a TCP port that is free at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def embedded_chain(accounts: int = 10) -> Iterator[DevChain]:
    """Run an in-process chain."""
    chain = embedded(accounts)
    yield DevChain(name="embedded", w3=chain.w3, signers=chain.signers, movable=True)


@contextlib.contextmanager
def anvil_chain(program: Path, *options: str, accounts: int = 10) -> Iterator[DevChain]:
    """Run anvil, with finality that advances block by block.

    Past states go to a temporary folder: where anvil is killed, those in its own place under the home folder stay.
    """
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="anvil-") as folder:
        fixed = ["--hardfork", "prague", "--slots-in-an-epoch", 1, "--silent", "--cache-path", folder]
        with _running([program, "--port", port, *fixed, *options]) as process:
            url = f"http://127.0.0.1:{port}"
            w3 = _answering(url, process)
            yield DevChain("anvil", w3, development_signers(accounts), movable=True, url=url, process=process.pid)


@contextlib.contextmanager
def hardhat_chain(program: Path, project: Path, *, accounts: int = 10) -> Iterator[DevChain]:
    """Run Hardhat's node in a folder that has a Hardhat configuration."""
    port = free_port()
    with _running([program, "node", "--hostname", "127.0.0.1", "--port", port], cwd=project) as process:
        url = f"http://127.0.0.1:{port}"
        w3 = _answering(url, process, patience=60.0)
        yield DevChain("hardhat", w3, development_signers(accounts), movable=True, url=url, process=process.pid)


@contextlib.contextmanager
def geth_chain(program: Path, *, accounts: int = 6, period: int = 1) -> Iterator[DevChain]:
    """Run geth --dev with a block every `period` seconds; 0 mines one per transaction.

    Its clock is wall time, but each block is at least a second after its parent.
    """
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="geth-") as folder:
        listening = ["--http", "--http.port", port, "--authrpc.port", free_port(), "--port", 0, "--ipcdisable"]
        chain = [
            "--dev",
            "--dev.period",
            period,
            "--dev.gaslimit",
            36_000_000,
            "--nodiscover",
            "--datadir",
            folder,
            "--verbosity",
            1,
        ]
        with _running([program, *chain, *listening]) as process:
            url = f"http://127.0.0.1:{port}"
            w3 = _answering(url, process, patience=60.0)
            signers = tuple(LocalSigner(os.urandom(32)) for _ in range(accounts))
            _fund(w3, [signer.address for signer in signers])
            yield DevChain("geth", w3, signers, movable=False, url=url, process=process.pid)


def development_signers(count: int) -> tuple[LocalSigner, ...]:
    """Return the accounts that anvil and Hardhat fund, whose keys are public."""
    from eth_account.hdaccount import seed_from_mnemonic
    from eth_account.hdaccount.deterministic import HDPath

    seed = seed_from_mnemonic(MNEMONIC, "")
    return tuple(LocalSigner(bytes(HDPath(f"m/44'/60'/0'/0/{i}").derive(seed))) for i in range(count))


EXAMPLE_RULES = encode_rules(
    RuleSet(
        combine_rule=1,
        shape=Shape.FOLD,
        update_form=1,
        uniform=False,
        grid_bits=24,
        values=40,
        header=bytes(32),
        segments=segments_root([Segment(0, 40, 0, SegmentKind.PARAMETER)]),
        parameters=(),
        program=Program((), 0, (), (), 0, ()),
    )
)
"""Rule bytes of the weighted mean and of FedAvg at rate 1, for forty values."""


def example_plan(**changed: Any) -> Plan:
    """Return a plan that the contract accepts, with the shortest durations."""
    fields: dict[str, Any] = {
        "digest": Digest(b"\x70" * 32),
        "rules_hash": keccak(EXAMPLE_RULES),
        "quorum": 1,
        "weight_cap": 1000,
        "min_contributions": 1,
        "commit_duration": 30,
        "publish_duration": 30,
        "aggregate_duration": 30,
        "challenge_duration": 960,
        "answer_duration": 30,
        "bond_gwei": 0,
        "hooks": (),
    }
    return Plan(**(fields | changed))


def example_result(**changed: Any) -> Result:
    """Return a result that the contract accepts, of two contributions; its divisor is the total weight."""
    fields: dict[str, Any] = {
        "version_digest": Digest(b"\x81" * 32),
        "roots": Roots(Root(b"\x82" * 32), Root(b"\x86" * 32)),
        "report_digest": Digest(b"\x83" * 32),
        "aggregate_root": Root(b"\x84" * 32),
        "contributions_root": Root(b"\x85" * 32),
        "contributions": 2,
        "total_weight": 30,
    }
    fields |= changed
    return Result(**({"total_steps": 3 * fields["contributions"], "divisor": fields["total_weight"]} | fields))


@contextlib.contextmanager
def _running(command: Sequence[object], cwd: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    environment: Mapping[str, str] = {**os.environ, "NO_PROXY": "127.0.0.1", "HARDHAT_DISABLE_TELEMETRY_PROMPT": "true"}
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # so that its own child processes (node's workers) end with it
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answering(url: str, process: subprocess.Popen[bytes], *, patience: float = 20.0) -> Web3:
    w3 = connect(url, timeout=20.0)
    deadline = time.monotonic() + patience
    while True:
        try:
            with asking("eth_chainId"):
                w3.eth.chain_id  # noqa: B018 - evaluated for its request
            return w3
        except NodeUnavailable:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _fund(w3: Web3, accounts: Sequence[Address]) -> None:
    """Fund each account with ten ether from the node's unlocked account."""
    with asking("funding"):
        rich = w3.eth.accounts[0]
        sent = [
            w3.eth.send_transaction({"from": rich, "to": to_checksum(account), "value": 10**19})  # type: ignore[typeddict-item]
            for account in accounts
        ]
        for tx_hash in sent:
            w3.eth.wait_for_transaction_receipt(tx_hash, timeout=30)
