"""Real Kubo nodes for tests: private, on free ports of this machine, gone afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.store.kubo_node import KuboNode, connect_nodes, find_ipfs, init_node, start_node, stop_node


@pytest.fixture(scope="session")
def ipfs() -> Path:
    """Return the Kubo program: the project's own, else the one on the PATH."""
    tools = Path(__file__).parents[2] / ".tools" / "bin"
    found = find_ipfs(tools)
    if found is None:
        reason = f"no ipfs in {tools} or on the PATH: make kubo builds it"
        if os.environ.get("CAIRN_REQUIRE_ALL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="session")
def kubo(ipfs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KuboNode]:
    """Yield a running node that is nobody's peer."""
    yield from _running(ipfs, tmp_path_factory.mktemp("kubo"))


@pytest.fixture(scope="session")
def kubo_pair(ipfs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[KuboNode, KuboNode]]:
    """Yield two running nodes that are each other's only peer; neither is `kubo`."""
    one = _running(ipfs, tmp_path_factory.mktemp("kubo-one"))
    other = _running(ipfs, tmp_path_factory.mktemp("kubo-other"))
    pair = (next(one), next(other))
    connect_nodes(*pair)
    yield pair
    for nodes in (one, other):
        next(nodes, None)


def _running(ipfs: Path, repo: Path) -> Iterator[KuboNode]:
    init_node(repo, ipfs)
    try:
        yield start_node(repo, ipfs)
    finally:
        stop_node(repo)
