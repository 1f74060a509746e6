"""Programs and nodes shared by all tests: private, on free local ports, stopped afterwards.

A missing program skips the test with its reason; CAIRN_REQUIRE_ALL=1 makes that a failure.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from registry.dev.chains import NodeMissing, find_program
from registry.dev.kubo_node import KuboNode, connect_nodes, init_node, start_node, stop_node

settings.register_profile("cairn", deadline=None)  # other work on the machine is no fault of a test
settings.load_profile("cairn")

ROOT = Path(__file__).resolve().parents[1]
PLACES = (ROOT / "node_modules" / ".bin", ROOT / ".tools" / "bin")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a file in one process, so that what it shares is made once; begin with what takes longest."""
    marks: dict[str, set[str]] = {}
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(group_of(item)))
        marks.setdefault(group_of(item), set()).update(mark.name for mark in item.iter_markers())
    items.sort(key=lambda item: [name not in marks[group_of(item)] for name in ("node", "slow")])


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse to run where xdist names no groups: what files share would be made once for each test that is apart."""
    groups = getattr(session.config.option, "loadgroup", False)
    if groups and session.items and "@" not in session.items[0].nodeid:
        raise pytest.UsageError(f"expected xdist to keep groups; under pytest {pytest.__version__} it does not")


def group_of(item: pytest.Item) -> str:
    """Which process a test runs in: the one its mark names, or its file's."""
    mark = item.get_closest_marker("xdist_group")
    return str(mark.args[0]) if mark else item.nodeid.partition("::")[0]


@pytest.fixture(scope="session")
def find_tool() -> Callable[[str], Path]:
    """Finds a program, or skips the test."""

    def find(name: str) -> Path:
        try:
            return find_program(name, PLACES)
        except NodeMissing as missing:
            if os.environ.get("CAIRN_REQUIRE_ALL") == "1":
                pytest.fail(f"CAIRN_REQUIRE_ALL is set and {missing}")
            pytest.skip(f"{name} is not installed")

    return find


@pytest.fixture
def fee_cap(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, int], list[int]]:
    """Has a node refuse what may cost more than so many wei, as geth does by default; returns what was refused."""
    from eth_account.typed_transactions import TypedTransaction
    from hexbytes import HexBytes

    def cap(w3: Any, most: int) -> list[int]:
        refused: list[int] = []
        real = w3.provider.make_request

        def make_request(method: str, params: Any) -> Any:
            if method == "eth_sendRawTransaction":
                said = TypedTransaction.from_bytes(HexBytes(params[0])).as_dict()
                cost = int(said["gas"]) * int(said["maxFeePerGas"])
                if cost > most:
                    refused.append(cost)
                    words = f"tx fee ({cost / 1e18:.2f} ether) exceeds the configured cap ({most / 1e18:.2f} ether)"
                    return {"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": words}}
            return real(method, params)

        monkeypatch.setattr(w3.provider, "make_request", make_request)
        monkeypatch.setattr(w3.provider, "_request_func_cache", (None, None))
        return refused

    return cap


@pytest.fixture(scope="session")
def ipfs_program(find_tool: Callable[[str], Path]) -> Path:
    """Return the Kubo program: the project's own, else the one on the PATH."""
    return find_tool("ipfs")


@pytest.fixture(scope="session")
def kubo(ipfs_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KuboNode]:
    """Yield a running node that is nobody's peer."""
    yield from _running(ipfs_program, tmp_path_factory.mktemp("kubo"))


@pytest.fixture(scope="session")
def kubo_pair(ipfs_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[KuboNode, KuboNode]]:
    """Yield two running nodes that are each other's only peer; neither is `kubo`."""
    one = _running(ipfs_program, tmp_path_factory.mktemp("kubo-one"))
    other = _running(ipfs_program, tmp_path_factory.mktemp("kubo-other"))
    pair = (next(one), next(other))
    connect_nodes(*pair)
    yield pair
    for nodes in (one, other):
        next(nodes, None)


@pytest.fixture
def silent() -> Iterator[str]:
    """Yield the URL of a server that takes connections and bytes, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        held: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    held.append(listener.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    for connection in held:
        connection.close()


def _running(ipfs: Path, repo: Path) -> Iterator[KuboNode]:
    init_node(repo, ipfs)
    try:
        yield start_node(repo, ipfs)
    finally:
        stop_node(repo)
