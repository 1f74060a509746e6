"""The chains that the tests run on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry.chain.client import Client
from registry.chain.deploy import deploy
from registry.chain.journal import Journal
from registry.chain.transactions import Transactor
from registry.dev.chains import DevChain, anvil_chain, embedded_chain, geth_chain, hardhat_chain
from registry.dev.embedded import Embedded, embedded

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session", autouse=True)
def node_on_path() -> None:
    """Hardhat and the solc shim are node programs; node may come with the Python environment."""
    os.environ["PATH"] = os.pathsep.join([str(ROOT / ".venv" / "bin"), os.environ.get("PATH", "")])


@pytest.fixture
def chain() -> Embedded:
    """A fresh chain in process."""
    return embedded(6)


@pytest.fixture
def anvil(find_tool: Callable[[str], Path]) -> Iterator[DevChain]:
    """A fresh anvil that mines each transaction at once."""
    with anvil_chain(find_tool("anvil")) as running:
        yield running


@pytest.fixture(scope="module", params=["embedded", "anvil", "hardhat", "geth"])
def any_chain(request: pytest.FixtureRequest, find_tool: Callable[[str], Path]) -> Iterator[DevChain]:
    """Each kind of chain in turn."""
    starters = {
        "embedded": lambda: embedded_chain(),
        "anvil": lambda: anvil_chain(find_tool("anvil")),
        "hardhat": lambda: hardhat_chain(find_tool("hardhat"), ROOT),
        "geth": lambda: geth_chain(find_tool("geth")),
    }
    with starters[request.param]() as running:
        yield running


@pytest.fixture
def clients(chain: Embedded) -> tuple[Client, ...]:
    """A Cairn on a fresh chain in process, and a client for each account; the first made it."""
    chain_id = chain.w3.eth.chain_id
    maker = Transactor(chain.w3, chain.signers[0], Journal(None), chain_id=chain_id)
    made = deploy(chain.w3, maker, chain_id=chain_id)
    return tuple(Client(chain.w3, made.address, signer=signer) for signer in chain.signers)
